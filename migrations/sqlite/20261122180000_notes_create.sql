-- What long work remembers between one step and the next, such as how far the provider's list of events has been read.
-- The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE notes (
    name TEXT NOT NULL PRIMARY KEY,
    text TEXT NOT NULL
) STRICT, WITHOUT ROWID;
