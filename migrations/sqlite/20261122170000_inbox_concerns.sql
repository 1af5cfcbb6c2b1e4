-- A refund or a dispute names a payment and no payer: what waits for that payment has to be found by it.
ALTER TABLE inbox ADD COLUMN concerns TEXT;

CREATE INDEX inbox_set_aside_concerns ON inbox (why_code, concerns) WHERE outcome IN ('parked', 'ignored');
