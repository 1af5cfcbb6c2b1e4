-- A payer may be found not to be a member's, so a link has an end; what was given and where somebody buys is looked up too.
-- What the view held can be computed from the log again, so it is made anew under another name.
-- The columns are explained in the PostgreSQL file of the same name.
DELETE FROM projections;
DELETE FROM generations;
DELETE FROM directory_members;
DELETE FROM directory_subscriptions;
DELETE FROM parked_streams;

DROP TABLE directory_customers;

CREATE TABLE directory_customers (
    generation INTEGER NOT NULL,
    customer   TEXT NOT NULL,
    member     TEXT NOT NULL,
    linked     INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    PRIMARY KEY (generation, customer, member)
) STRICT, WITHOUT ROWID;

CREATE INDEX directory_customers_member ON directory_customers (generation, member, customer);

CREATE TABLE directory_grants (
    generation INTEGER NOT NULL,
    grant_id   TEXT NOT NULL,
    member     TEXT NOT NULL,
    plan       TEXT NOT NULL,
    starts_at  INTEGER NOT NULL,
    ends_at    INTEGER,
    revoked    INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    PRIMARY KEY (generation, grant_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX directory_grants_member ON directory_grants (generation, member, grant_id);

CREATE TABLE directory_checkouts (
    generation INTEGER NOT NULL,
    checkout   TEXT NOT NULL,
    member     TEXT NOT NULL,
    position   INTEGER NOT NULL,
    PRIMARY KEY (generation, checkout)
) STRICT, WITHOUT ROWID;
