-- Whom the service has to forget, and what of the provider's was hers: what is delivered about that later is not kept either.
CREATE TABLE erasures (
    member     text COLLATE "C" PRIMARY KEY,
    erased_at  timestamptz NOT NULL
);

COMMENT ON TABLE erasures IS 'Members of whom nothing is kept beside the log';
COMMENT ON COLUMN erasures.member IS 'The member';
COMMENT ON COLUMN erasures.erased_at IS 'When it was first asked for';

CREATE TABLE erased_ids (
    id     text COLLATE "C" PRIMARY KEY,
    member text COLLATE "C" NOT NULL
);

COMMENT ON TABLE erased_ids IS 'Payers, subscriptions, invoices and payments of theirs: bodies of deliveries about these are not kept';
COMMENT ON COLUMN erased_ids.id IS 'The id at the provider';
COMMENT ON COLUMN erased_ids.member IS 'Whose it was';

ALTER TABLE inbox ADD COLUMN erased_at timestamptz;
COMMENT ON COLUMN inbox.erased_at IS 'Since when its body is not to be kept: it is empty once the delivery is settled';
CREATE INDEX inbox_erased ON inbox (arrival) WHERE erased_at IS NOT NULL;
CREATE INDEX inbox_concerns ON inbox (concerns) WHERE concerns IS NOT NULL;
