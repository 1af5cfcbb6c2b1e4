-- What staff writes may hold personal data, so that it is kept beside the log, whose events carry ids of these rows.
-- The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE remarks (
    id         TEXT NOT NULL PRIMARY KEY,
    member     TEXT NOT NULL,
    text       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX remarks_member ON remarks (member);
