-- Owners list accounts, invite people and lock accounts. Until now the address of every account was shown to be its owner's.
ALTER TABLE accounts ADD COLUMN verified INTEGER NOT NULL DEFAULT 1;
ALTER TABLE accounts ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN locked_until INTEGER;
CREATE INDEX accounts_role ON accounts (role, member);
