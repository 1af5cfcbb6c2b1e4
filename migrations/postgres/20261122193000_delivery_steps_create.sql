-- Whoever asks why a delivery was used late has to see who had it looked at again, when and why, which its row forgets.
CREATE TABLE delivery_steps (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    arrival bigint NOT NULL REFERENCES inbox (arrival) ON DELETE CASCADE,
    at      timestamptz NOT NULL,
    step    text NOT NULL,
    actor   text,
    code    text,
    detail  text
);

CREATE INDEX delivery_steps_of ON delivery_steps (arrival, number);
-- Instead of one for some outcomes only, so that all of a payer's deliveries are found and none is kept later for it.
DROP INDEX inbox_unused;
CREATE INDEX inbox_customer ON inbox (customer, arrival);

COMMENT ON TABLE delivery_steps IS 'What was done with each delivery after it arrived; the oldest steps of one that has many are forgotten';
COMMENT ON COLUMN delivery_steps.number IS 'Steps of a delivery in their order';
COMMENT ON COLUMN delivery_steps.arrival IS 'The delivery';
COMMENT ON COLUMN delivery_steps.at IS 'When';
COMMENT ON COLUMN delivery_steps.step IS 'postponed, redriven, or the outcome that was set';
COMMENT ON COLUMN delivery_steps.actor IS 'Who had it looked at again; null for what the service does with any delivery';
COMMENT ON COLUMN delivery_steps.code IS 'The code of the reason for the outcome';
COMMENT ON COLUMN delivery_steps.detail IS 'The reason as a sentence';
