-- The log: every domain event, in an order that followers can rely on.
CREATE TABLE events (
    aggregate_type text COLLATE "C" NOT NULL,
    aggregate_id   text COLLATE "C" NOT NULL,
    sequence       bigint NOT NULL CHECK (sequence > 0),
    event_type     text NOT NULL,
    event_version  text NOT NULL,
    payload        jsonb NOT NULL,
    metadata       jsonb NOT NULL,
    position       bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);

COMMENT ON TABLE events IS 'Every domain event; rows are only ever added';
COMMENT ON COLUMN events.aggregate_type IS 'The kind of aggregate the event belongs to';
COMMENT ON COLUMN events.aggregate_id IS 'The aggregate the event belongs to';
COMMENT ON COLUMN events.sequence IS 'Place in the aggregate''s stream, from 1; its key makes two writers conflict';
COMMENT ON COLUMN events.event_type IS 'The stored name of the event';
COMMENT ON COLUMN events.event_version IS 'The version of the shape of payload';
COMMENT ON COLUMN events.payload IS 'What the event says';
COMMENT ON COLUMN events.metadata IS 'When it was true, when it was learned, who, why';
COMMENT ON COLUMN events.position IS 'Place in the log; may be read up to the watermark only, gaps are harmless';
COMMENT ON COLUMN events.recorded_at IS 'The database''s clock at the insert, for operators';

CREATE TABLE watermark (
    id       smallint PRIMARY KEY CHECK (id = 1),
    position bigint NOT NULL
);

COMMENT ON TABLE watermark IS 'One row: up to where the log is complete';
COMMENT ON COLUMN watermark.id IS 'Always 1';
COMMENT ON COLUMN watermark.position IS 'No event at or before this position can appear any more; never goes back';

INSERT INTO watermark (id, position) VALUES (1, 0);

-- Numbers are drawn in one order and become visible in another. Every writer holds this lock, shared, from before its
-- first number until its commit is visible; whoever gets it alone knows that all numbers drawn before are settled.
CREATE FUNCTION events_hold_position_lock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7236837246119);
    RETURN NULL;
END
$$;

CREATE TRIGGER events_hold_position_lock BEFORE INSERT ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_hold_position_lock();

CREATE FUNCTION events_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed or deleted';
END
$$;

CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_refuse_change();
