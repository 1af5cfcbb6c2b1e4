-- Personal data lives beside the log, so that it can be deleted without touching history.
-- The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE people (
    member      TEXT NOT NULL PRIMARY KEY,
    email       TEXT,
    email_lower TEXT UNIQUE,
    external_id TEXT UNIQUE,
    created_at  INTEGER NOT NULL,
    CHECK ((email IS NULL) = (email_lower IS NULL))
) STRICT, WITHOUT ROWID;
