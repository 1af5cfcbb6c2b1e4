-- With which providers people sign in, and who is under way to one. What a provider calls somebody is personal, so it is here and
-- not in the log, which names a row of this table by its id.
CREATE TABLE account_identities (
    issuer    text COLLATE "C" NOT NULL,
    subject   text COLLATE "C" NOT NULL,
    id        text COLLATE "C" NOT NULL UNIQUE,
    member    text COLLATE "C" NOT NULL,
    provider  text NOT NULL,
    email     text,
    linked_at timestamptz NOT NULL,
    used_at   timestamptz,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX account_identities_member ON account_identities (member, linked_at);

COMMENT ON TABLE account_identities IS 'By what people are known to the providers that they sign in with';
COMMENT ON COLUMN account_identities.issuer IS 'The provider, by its own name, a URL';
COMMENT ON COLUMN account_identities.subject IS 'Whom it means, in its own words; never the address, which may change hands';
COMMENT ON COLUMN account_identities.id IS 'By which the log and she name this row';
COMMENT ON COLUMN account_identities.member IS 'Who she is here';
COMMENT ON COLUMN account_identities.provider IS 'The name of the provider in the settings when this was linked';
COMMENT ON COLUMN account_identities.email IS 'Her address there when this was linked, so that she knows which one it is; nothing depends on it';
COMMENT ON COLUMN account_identities.linked_at IS 'Since when';
COMMENT ON COLUMN account_identities.used_at IS 'When she last signed in with it';

CREATE TABLE account_flows (
    state      bytea PRIMARY KEY,
    browser    bytea NOT NULL,
    provider   text NOT NULL,
    return_to  text NOT NULL,
    member     text COLLATE "C",
    session    text COLLATE "C",
    expires_at timestamptz NOT NULL
);
CREATE INDEX account_flows_expiry ON account_flows (expires_at);
CREATE INDEX account_flows_member ON account_flows (member);

COMMENT ON TABLE account_flows IS 'Who was sent to a provider and has not come back; each row is used once';
COMMENT ON COLUMN account_flows.state IS 'SHA-256 of what the provider is to send back';
COMMENT ON COLUMN account_flows.browser IS 'SHA-256 of what the browser keeps in a cookie';
COMMENT ON COLUMN account_flows.provider IS 'Where she was sent, by its name in the settings';
COMMENT ON COLUMN account_flows.return_to IS 'The page where she goes on';
COMMENT ON COLUMN account_flows.member IS 'Whose account the identity is to be linked to; none to sign in';
COMMENT ON COLUMN account_flows.session IS 'The session that this was asked in';
COMMENT ON COLUMN account_flows.expires_at IS 'Until when it counts';
