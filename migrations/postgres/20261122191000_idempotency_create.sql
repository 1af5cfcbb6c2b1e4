-- Commands that came with an Idempotency-Key, and what was answered to them, so that one that comes again is not carried
-- out again.
CREATE TABLE idempotency (
    id bytea PRIMARY KEY,
    fingerprint bytea NOT NULL,
    attempt bigint NOT NULL,
    begun_at timestamptz NOT NULL,
    claimed_until timestamptz NOT NULL,
    kept_until timestamptz NOT NULL,
    status integer,
    headers text,
    body bytea
);

CREATE INDEX idempotency_kept_until ON idempotency (kept_until);

COMMENT ON TABLE idempotency IS 'Commands that came with an Idempotency-Key; rows may be deleted once kept_until is over';
COMMENT ON COLUMN idempotency.id IS 'SHA-256 of the caller, the method, the path and the key';
COMMENT ON COLUMN idempotency.fingerprint IS 'SHA-256 of the query and the body';
COMMENT ON COLUMN idempotency.attempt IS 'Counts who has begun it; only the last may finish it';
COMMENT ON COLUMN idempotency.begun_at IS 'When it was begun first; ids that it makes come from this moment and its id';
COMMENT ON COLUMN idempotency.claimed_until IS 'Until when the one who began it is taken to be at it still';
COMMENT ON COLUMN idempotency.status IS 'What was answered; null as long as nothing was';
COMMENT ON COLUMN idempotency.headers IS 'A JSON list of names and values';
