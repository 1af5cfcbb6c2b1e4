-- Names and addresses are personal data, so that they are kept beside the log. Events that tell them come in any order: each
-- part is kept with when it was so, and an older one never takes the place of a newer.
-- Moments are microseconds since 1970. The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE payers (
    customer    TEXT NOT NULL PRIMARY KEY,
    name        TEXT,
    name_at     INTEGER,
    email       TEXT,
    email_lower TEXT,
    email_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX payers_email ON payers (email_lower) WHERE email_lower IS NOT NULL;

CREATE TABLE payer_words (
    word     TEXT NOT NULL,
    customer TEXT NOT NULL REFERENCES payers (customer) ON DELETE CASCADE,
    PRIMARY KEY (word, customer)
) STRICT, WITHOUT ROWID;
CREATE INDEX payer_words_of ON payer_words (customer, word);
