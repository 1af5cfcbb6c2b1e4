-- Commands that came with an Idempotency-Key, and what was answered to them, so that one that comes again is not carried
-- out again. The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE idempotency (
    id BLOB NOT NULL PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    begun_at INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL,
    kept_until INTEGER NOT NULL,
    status INTEGER,
    headers TEXT,
    body BLOB
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_kept_until ON idempotency (kept_until);
