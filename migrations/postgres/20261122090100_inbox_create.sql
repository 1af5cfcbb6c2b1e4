-- Deliveries are kept, byte for byte, before they are acknowledged, so that none is lost and each can be run again.
CREATE TABLE inbox (
    arrival        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    id             text COLLATE "C" PRIMARY KEY,
    event_type     text NOT NULL,
    created_at     timestamptz,
    customer       text COLLATE "C",
    body           bytea NOT NULL,
    received_at    timestamptz NOT NULL,
    times_received integer NOT NULL DEFAULT 1,
    outcome        text NOT NULL DEFAULT 'pending',
    why_code       text,
    why_detail     text,
    attempts       integer NOT NULL DEFAULT 0,
    redriven       boolean NOT NULL DEFAULT false,
    settled_at     timestamptz,
    due_at         timestamptz,
    claimed_until  timestamptz
);

CREATE INDEX inbox_pending ON inbox (redriven, arrival) WHERE outcome = 'pending';
CREATE INDEX inbox_outcome ON inbox (outcome, arrival);
CREATE INDEX inbox_set_aside ON inbox (why_code, customer) WHERE outcome IN ('parked', 'ignored');

COMMENT ON TABLE inbox IS 'Webhook deliveries and what became of them';
COMMENT ON COLUMN inbox.arrival IS 'Order of first arrival';
COMMENT ON COLUMN inbox.id IS 'The provider''s event id, or sha256: and the hash of the body';
COMMENT ON COLUMN inbox.event_type IS 'The provider''s event type; empty where the body names none';
COMMENT ON COLUMN inbox.created_at IS 'The provider''s time of the event';
COMMENT ON COLUMN inbox.customer IS 'The payer it speaks of';
COMMENT ON COLUMN inbox.body IS 'The body as it was signed';
COMMENT ON COLUMN inbox.received_at IS 'When it first arrived';
COMMENT ON COLUMN inbox.times_received IS 'How many times it arrived';
COMMENT ON COLUMN inbox.outcome IS 'What became of it: pending, applied, no_change, stale, parked, ignored or failed';
COMMENT ON COLUMN inbox.why_code IS 'A stable code for the reason of the outcome';
COMMENT ON COLUMN inbox.why_detail IS 'The reason as a sentence for staff';
COMMENT ON COLUMN inbox.attempts IS 'How many times carrying it out was begun';
COMMENT ON COLUMN inbox.redriven IS 'Pending only: it had an outcome before, and waits behind those that had none';
COMMENT ON COLUMN inbox.settled_at IS 'When the outcome was set';
COMMENT ON COLUMN inbox.due_at IS 'Pending only: not before this moment; null is at once';
COMMENT ON COLUMN inbox.claimed_until IS 'Pending only: until then one worker has it';
