-- A refund or a dispute names a payment and no payer: what waits for that payment has to be found by it.
ALTER TABLE inbox ADD COLUMN concerns text COLLATE "C";

CREATE INDEX inbox_set_aside_concerns ON inbox (why_code, concerns) WHERE outcome IN ('parked', 'ignored');

COMMENT ON COLUMN inbox.concerns IS 'The payment or invoice it speaks of, where it is about one';
