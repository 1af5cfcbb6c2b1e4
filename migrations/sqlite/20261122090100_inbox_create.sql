-- Deliveries are kept, byte for byte, before they are acknowledged, so that none is lost and each can be run again.
-- Moments are microseconds since 1970. The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE inbox (
    arrival        INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    event_type     TEXT NOT NULL,
    created_at     INTEGER,
    customer       TEXT,
    body           BLOB NOT NULL,
    received_at    INTEGER NOT NULL,
    times_received INTEGER NOT NULL DEFAULT 1,
    outcome        TEXT NOT NULL DEFAULT 'pending',
    why_code       TEXT,
    why_detail     TEXT,
    attempts       INTEGER NOT NULL DEFAULT 0,
    redriven       INTEGER NOT NULL DEFAULT 0,
    settled_at     INTEGER,
    due_at         INTEGER,
    claimed_until  INTEGER
) STRICT;

CREATE INDEX inbox_pending ON inbox (redriven, arrival) WHERE outcome = 'pending';
CREATE INDEX inbox_outcome ON inbox (outcome, arrival);
CREATE INDEX inbox_set_aside ON inbox (why_code, customer) WHERE outcome IN ('parked', 'ignored');
