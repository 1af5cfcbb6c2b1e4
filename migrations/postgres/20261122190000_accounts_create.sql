-- What people sign in with. Addresses stay in the table of people; of secrets there are hashes only, but for those of
-- authenticator apps, which the service has to know.
CREATE TABLE accounts (
    member         text COLLATE "C" PRIMARY KEY,
    opened_at      timestamptz NOT NULL,
    password       text,
    role           text NOT NULL,
    announced      boolean NOT NULL,
    signed_in_at   timestamptz,
    totp_secret    bytea,
    totp_confirmed boolean NOT NULL,
    totp_step      bigint NOT NULL,
    deleted_at     timestamptz
);
CREATE INDEX accounts_unfinished ON accounts (member) WHERE deleted_at IS NOT NULL OR NOT announced;

COMMENT ON TABLE accounts IS 'What people sign in with';
COMMENT ON COLUMN accounts.member IS 'Whose account';
COMMENT ON COLUMN accounts.opened_at IS 'Since when there is one';
COMMENT ON COLUMN accounts.password IS 'The argon2id hash of her password; none until she has chosen one';
COMMENT ON COLUMN accounts.role IS 'What she may do';
COMMENT ON COLUMN accounts.announced IS 'Whether the log knows of the account';
COMMENT ON COLUMN accounts.signed_in_at IS 'When she last signed in';
COMMENT ON COLUMN accounts.totp_secret IS 'What her authenticator app knows too';
COMMENT ON COLUMN accounts.totp_confirmed IS 'Whether a code of it is asked for';
COMMENT ON COLUMN accounts.totp_step IS 'The step of the last code that was used: none counts twice';
COMMENT ON COLUMN accounts.deleted_at IS 'Set between the deletion and the moment the log knows of it';

CREATE TABLE account_backup_codes (
    member text COLLATE "C" NOT NULL,
    hash   bytea NOT NULL,
    PRIMARY KEY (member, hash)
);

COMMENT ON TABLE account_backup_codes IS 'Codes for when an authenticator app is lost; a used one is removed';
COMMENT ON COLUMN account_backup_codes.member IS 'Whose';
COMMENT ON COLUMN account_backup_codes.hash IS 'SHA-256 of the code';

CREATE TABLE account_tokens (
    hash        bytea PRIMARY KEY,
    kind        text NOT NULL,
    member      text COLLATE "C",
    email       text,
    email_lower text COLLATE "C",
    password    text,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    tries       bigint NOT NULL
);
CREATE INDEX account_tokens_email ON account_tokens (email_lower, created_at);
CREATE INDEX account_tokens_member ON account_tokens (member);
CREATE INDEX account_tokens_expiry ON account_tokens (expires_at);

COMMENT ON TABLE account_tokens IS 'Secrets in letters, and what waits for a second factor; a used one is removed';
COMMENT ON COLUMN account_tokens.hash IS 'SHA-256 of the token';
COMMENT ON COLUMN account_tokens.kind IS 'What it is good for: registration, new_email, reset, challenge, or void for nothing';
COMMENT ON COLUMN account_tokens.member IS 'Whose, where that is known';
COMMENT ON COLUMN account_tokens.email IS 'The address it is about, as it was written';
COMMENT ON COLUMN account_tokens.email_lower IS 'The same in small letters, made by the service';
COMMENT ON COLUMN account_tokens.password IS 'The hash of the password chosen with it, in force once the link is followed';
COMMENT ON COLUMN account_tokens.created_at IS 'When it was made';
COMMENT ON COLUMN account_tokens.expires_at IS 'Until when it counts';
COMMENT ON COLUMN account_tokens.tries IS 'How often it was tried';

CREATE TABLE account_sessions (
    id         text COLLATE "C" PRIMARY KEY,
    member     text COLLATE "C" NOT NULL,
    family     bytea NOT NULL UNIQUE,
    current    bytea NOT NULL,
    previous   bytea,
    salt       bytea NOT NULL,
    generation bigint NOT NULL,
    seen       bigint NOT NULL,
    created_at timestamptz NOT NULL,
    rotated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    device     text,
    network    text,
    ended_why  text
);
CREATE INDEX account_sessions_member ON account_sessions (member, created_at);
CREATE INDEX account_sessions_expiry ON account_sessions (expires_at);
CREATE INDEX account_sessions_ended ON account_sessions (id) WHERE ended_why IS NOT NULL;

COMMENT ON TABLE account_sessions IS 'From a sign-in to its end';
COMMENT ON COLUMN account_sessions.id IS 'The session';
COMMENT ON COLUMN account_sessions.member IS 'Whose';
COMMENT ON COLUMN account_sessions.family IS 'SHA-256 of the part of its refresh tokens that stays';
COMMENT ON COLUMN account_sessions.current IS 'SHA-256 of the other part of the refresh token that counts now';
COMMENT ON COLUMN account_sessions.previous IS 'The same of the one before';
COMMENT ON COLUMN account_sessions.salt IS 'With what the present one follows from the one before';
COMMENT ON COLUMN account_sessions.generation IS 'How many refresh tokens there have been';
COMMENT ON COLUMN account_sessions.seen IS 'The latest generation an access token of which was seen in a request';
COMMENT ON COLUMN account_sessions.created_at IS 'When she signed in';
COMMENT ON COLUMN account_sessions.rotated_at IS 'When the present refresh token was made';
COMMENT ON COLUMN account_sessions.expires_at IS 'When it ends at the latest';
COMMENT ON COLUMN account_sessions.device IS 'What the browser calls itself';
COMMENT ON COLUMN account_sessions.network IS 'The network it began in';
COMMENT ON COLUMN account_sessions.ended_why IS 'Set between its end and the moment the log knows of it';

CREATE TABLE account_devices (
    hash    bytea PRIMARY KEY,
    member  text COLLATE "C" NOT NULL,
    used_at timestamptz NOT NULL
);
CREATE INDEX account_devices_member ON account_devices (member, used_at);
CREATE INDEX account_devices_age ON account_devices (used_at);

COMMENT ON TABLE account_devices IS 'Browsers that somebody has signed in from before';
COMMENT ON COLUMN account_devices.hash IS 'SHA-256 of the secret it is known by';
COMMENT ON COLUMN account_devices.member IS 'Whose';
COMMENT ON COLUMN account_devices.used_at IS 'When she last signed in from it';

CREATE TABLE account_counters (
    key   text COLLATE "C" PRIMARY KEY,
    count bigint NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL
);
CREATE INDEX account_counters_age ON account_counters (until);

COMMENT ON TABLE account_counters IS 'How often something was tried';
COMMENT ON COLUMN account_counters.key IS 'What, without anything personal';
COMMENT ON COLUMN account_counters.count IS 'How often';
COMMENT ON COLUMN account_counters.since IS 'Since when, or when last';
COMMENT ON COLUMN account_counters.until IS 'No other try before this';

CREATE TABLE account_news (
    id         text COLLATE "C" PRIMARY KEY,
    member     text COLLATE "C" NOT NULL,
    text       text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX account_news_age ON account_news (created_at);

COMMENT ON TABLE account_news IS 'What the log is to be told of changes; removed once it knows';
COMMENT ON COLUMN account_news.id IS 'The id of one';
COMMENT ON COLUMN account_news.member IS 'Whose account was changed';
COMMENT ON COLUMN account_news.text IS 'What is told, as the service writes it; nothing personal';
COMMENT ON COLUMN account_news.created_at IS 'When it was changed';

CREATE TABLE service_tokens (
    id         text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL,
    scopes     text NOT NULL,
    hash       bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    revoked_at timestamptz
);

COMMENT ON TABLE service_tokens IS 'Tokens that other back ends ask with, made while the service runs';
COMMENT ON COLUMN service_tokens.id IS 'By which it is revoked';
COMMENT ON COLUMN service_tokens.name IS 'The back end';
COMMENT ON COLUMN service_tokens.scopes IS 'What it may do, joined by +';
COMMENT ON COLUMN service_tokens.hash IS 'SHA-256 of the token';
COMMENT ON COLUMN service_tokens.created_at IS 'When it was made';
COMMENT ON COLUMN service_tokens.created_by IS 'Who made it';
COMMENT ON COLUMN service_tokens.revoked_at IS 'When it was revoked';
