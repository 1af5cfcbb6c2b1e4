-- Personal data lives beside the log, so that it can be deleted without touching history.
CREATE TABLE people (
    member      text COLLATE "C" PRIMARY KEY,
    email       text,
    email_lower text COLLATE "C" UNIQUE,
    external_id text COLLATE "C" UNIQUE,
    created_at  timestamptz NOT NULL,
    CHECK ((email IS NULL) = (email_lower IS NULL))
);

COMMENT ON TABLE people IS 'What is known of members beside the log';
COMMENT ON COLUMN people.member IS 'The member';
COMMENT ON COLUMN people.email IS 'Her e-mail address as she wrote it';
COMMENT ON COLUMN people.email_lower IS 'The address in small letters, made by the service so that every database agrees on it';
COMMENT ON COLUMN people.external_id IS 'Her id at the site that asked for her';
COMMENT ON COLUMN people.created_at IS 'When the record was made';
