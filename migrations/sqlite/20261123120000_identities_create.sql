-- With which providers people sign in, and who is under way to one. What a provider calls somebody is personal, so it is here and
-- not in the log, which names a row of this table by its id.
-- The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE account_identities (
    issuer    TEXT NOT NULL,
    subject   TEXT NOT NULL,
    id        TEXT NOT NULL UNIQUE,
    member    TEXT NOT NULL,
    provider  TEXT NOT NULL,
    email     TEXT,
    linked_at INTEGER NOT NULL,
    used_at   INTEGER,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX account_identities_member ON account_identities (member, linked_at);

CREATE TABLE account_flows (
    state      BLOB NOT NULL PRIMARY KEY,
    browser    BLOB NOT NULL,
    provider   TEXT NOT NULL,
    return_to  TEXT NOT NULL,
    member     TEXT,
    session    TEXT,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX account_flows_expiry ON account_flows (expires_at);
CREATE INDEX account_flows_member ON account_flows (member);
