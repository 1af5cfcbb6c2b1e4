-- What long work remembers between one step and the next, such as how far the provider's list of events has been read.
CREATE TABLE notes (
    name text COLLATE "C" PRIMARY KEY,
    text text NOT NULL
);

COMMENT ON TABLE notes IS 'What long work remembers between one step and the next';
COMMENT ON COLUMN notes.name IS 'Which work, and of what where there are several';
COMMENT ON COLUMN notes.text IS 'What it remembers; only the work itself reads it';
