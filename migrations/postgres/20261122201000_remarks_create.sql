-- What staff writes may hold personal data, so that it is kept beside the log, whose events carry ids of these rows.
CREATE TABLE remarks (
    id         text COLLATE "C" PRIMARY KEY,
    member     text COLLATE "C" NOT NULL,
    text       text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX remarks_member ON remarks (member);

COMMENT ON TABLE remarks IS 'Words of staff about members: reasons and notes';
COMMENT ON COLUMN remarks.id IS 'What the event that speaks of it carries';
COMMENT ON COLUMN remarks.member IS 'About whom; erasing her deletes it';
COMMENT ON COLUMN remarks.text IS 'The words';
COMMENT ON COLUMN remarks.created_at IS 'When they were written';
