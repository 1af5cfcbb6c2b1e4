-- What people sign in with. Addresses stay in the table of people; of secrets there are hashes only, but for those of
-- authenticator apps, which the service has to know.
-- The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE accounts (
    member         TEXT NOT NULL PRIMARY KEY,
    opened_at      INTEGER NOT NULL,
    password       TEXT,
    role           TEXT NOT NULL,
    announced      INTEGER NOT NULL,
    signed_in_at   INTEGER,
    totp_secret    BLOB,
    totp_confirmed INTEGER NOT NULL,
    totp_step      INTEGER NOT NULL,
    deleted_at     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX accounts_unfinished ON accounts (member) WHERE deleted_at IS NOT NULL OR announced = 0;

CREATE TABLE account_backup_codes (
    member TEXT NOT NULL,
    hash   BLOB NOT NULL,
    PRIMARY KEY (member, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE account_tokens (
    hash        BLOB NOT NULL PRIMARY KEY,
    kind        TEXT NOT NULL,
    member      TEXT,
    email       TEXT,
    email_lower TEXT,
    password    TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    tries       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX account_tokens_email ON account_tokens (email_lower, created_at);
CREATE INDEX account_tokens_member ON account_tokens (member);
CREATE INDEX account_tokens_expiry ON account_tokens (expires_at);

CREATE TABLE account_sessions (
    id         TEXT NOT NULL PRIMARY KEY,
    member     TEXT NOT NULL,
    family     BLOB NOT NULL UNIQUE,
    current    BLOB NOT NULL,
    previous   BLOB,
    salt       BLOB NOT NULL,
    generation INTEGER NOT NULL,
    seen       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    rotated_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    device     TEXT,
    network    TEXT,
    ended_why  TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX account_sessions_member ON account_sessions (member, created_at);
CREATE INDEX account_sessions_expiry ON account_sessions (expires_at);
CREATE INDEX account_sessions_ended ON account_sessions (id) WHERE ended_why IS NOT NULL;

CREATE TABLE account_devices (
    hash    BLOB NOT NULL PRIMARY KEY,
    member  TEXT NOT NULL,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX account_devices_member ON account_devices (member, used_at);
CREATE INDEX account_devices_age ON account_devices (used_at);

CREATE TABLE account_counters (
    key   TEXT NOT NULL PRIMARY KEY,
    count INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX account_counters_age ON account_counters (until);

CREATE TABLE account_news (
    id         TEXT NOT NULL PRIMARY KEY,
    member     TEXT NOT NULL,
    text       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX account_news_age ON account_news (created_at);

CREATE TABLE service_tokens (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
