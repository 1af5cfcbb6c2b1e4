-- Whoever asks why a delivery was used late has to see who had it looked at again, when and why, which its row forgets.
-- Moments are microseconds since 1970. The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE delivery_steps (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    arrival INTEGER NOT NULL REFERENCES inbox (arrival) ON DELETE CASCADE,
    at      INTEGER NOT NULL,
    step    TEXT NOT NULL,
    actor   TEXT,
    code    TEXT,
    detail  TEXT
) STRICT;

CREATE INDEX delivery_steps_of ON delivery_steps (arrival, number);
-- Instead of one for some outcomes only, so that all of a payer's deliveries are found and none is kept later for it.
DROP INDEX inbox_unused;
CREATE INDEX inbox_customer ON inbox (customer, arrival);
