-- A view can be built anew beside the live one: each generation has rows of its own, and a projection says which is live.
-- What these tables held can be computed from the log again, so they are made anew.
-- The columns are explained in the PostgreSQL file of the same name.
DROP TABLE directory_members;
DROP TABLE directory_customers;
DROP TABLE directory_subscriptions;
DROP TABLE projections;

CREATE TABLE generations (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    projection TEXT NOT NULL
) STRICT;

CREATE TABLE projections (
    name       TEXT NOT NULL PRIMARY KEY,
    position   INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    revision   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE directory_members (
    generation    INTEGER NOT NULL,
    member        TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    PRIMARY KEY (generation, member)
) STRICT, WITHOUT ROWID;

CREATE TABLE directory_customers (
    generation INTEGER NOT NULL,
    customer   TEXT NOT NULL,
    member     TEXT NOT NULL,
    position   INTEGER NOT NULL,
    PRIMARY KEY (generation, customer)
) STRICT, WITHOUT ROWID;

CREATE INDEX directory_customers_member ON directory_customers (generation, member, customer);

CREATE TABLE directory_subscriptions (
    generation   INTEGER NOT NULL,
    subscription TEXT NOT NULL,
    customer     TEXT NOT NULL,
    standing     TEXT NOT NULL,
    position     INTEGER NOT NULL,
    PRIMARY KEY (generation, subscription)
) STRICT;

CREATE INDEX directory_subscriptions_customer ON directory_subscriptions (generation, customer, subscription);

CREATE TABLE parked_streams (
    generation     INTEGER NOT NULL,
    aggregate_type TEXT NOT NULL,
    aggregate_id   TEXT NOT NULL,
    position       INTEGER NOT NULL,
    why            TEXT NOT NULL,
    PRIMARY KEY (generation, aggregate_type, aggregate_id)
) STRICT, WITHOUT ROWID;
