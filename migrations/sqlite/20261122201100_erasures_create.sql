-- Whom the service has to forget, and what of the provider's was hers: what is delivered about that later is not kept either.
-- The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE erasures (
    member    TEXT NOT NULL PRIMARY KEY,
    erased_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE erased_ids (
    id     TEXT NOT NULL PRIMARY KEY,
    member TEXT NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE inbox ADD COLUMN erased_at INTEGER;
CREATE INDEX inbox_erased ON inbox (arrival) WHERE erased_at IS NOT NULL;
CREATE INDEX inbox_concerns ON inbox (concerns) WHERE concerns IS NOT NULL;
