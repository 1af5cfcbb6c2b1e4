-- Names and addresses are personal data, so that they are kept beside the log. Events that tell them come in any order: each
-- part is kept with when it was so, and an older one never takes the place of a newer.
CREATE TABLE payers (
    customer    text COLLATE "C" PRIMARY KEY,
    name        text COLLATE "C",
    name_at     timestamptz,
    email       text COLLATE "C",
    email_lower text COLLATE "C",
    email_at    timestamptz
);
CREATE INDEX payers_email ON payers (email_lower) WHERE email_lower IS NOT NULL;

COMMENT ON TABLE payers IS 'Who payers are, as the billing provider said';
COMMENT ON COLUMN payers.customer IS 'The payer';
COMMENT ON COLUMN payers.name IS 'Her name';
COMMENT ON COLUMN payers.name_at IS 'When that was her name, by the provider''s clock; null where nothing was said of it';
COMMENT ON COLUMN payers.email IS 'The address that bills go to';
COMMENT ON COLUMN payers.email_lower IS 'The address in small letters, made by the service so that every database agrees on it';
COMMENT ON COLUMN payers.email_at IS 'When that was the address; null where nothing was said of it';

CREATE TABLE payer_words (
    word     text COLLATE "C" NOT NULL,
    customer text COLLATE "C" NOT NULL REFERENCES payers (customer) ON DELETE CASCADE,
    PRIMARY KEY (word, customer)
);
CREATE INDEX payer_words_of ON payer_words (customer, word);

COMMENT ON TABLE payer_words IS 'What payers are found by';
COMMENT ON COLUMN payer_words.word IS 'A word of her name in small letters without accents, made by the service';
COMMENT ON COLUMN payer_words.customer IS 'The payer';
