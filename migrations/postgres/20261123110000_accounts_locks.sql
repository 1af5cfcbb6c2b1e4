-- Owners list accounts, invite people and lock accounts. Until now the address of every account was shown to be its owner's.
ALTER TABLE accounts ADD COLUMN verified boolean NOT NULL DEFAULT true;
ALTER TABLE accounts ADD COLUMN locked boolean NOT NULL DEFAULT false;
ALTER TABLE accounts ADD COLUMN locked_until timestamptz;
CREATE INDEX accounts_role ON accounts (role, member);

COMMENT ON COLUMN accounts.verified IS 'Whether the address was shown to be hers; not yet, where she was invited';
COMMENT ON COLUMN accounts.locked IS 'Whether she may not sign in';
COMMENT ON COLUMN accounts.locked_until IS 'Until when; none for good';
