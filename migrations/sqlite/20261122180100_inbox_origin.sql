-- Deliveries also come from the provider's list of events; which of them told nothing yet may be why something is not known.
ALTER TABLE inbox ADD COLUMN origin TEXT NOT NULL DEFAULT 'webhook';

CREATE INDEX inbox_unused ON inbox (customer, arrival) WHERE outcome IN ('pending', 'parked', 'failed');
