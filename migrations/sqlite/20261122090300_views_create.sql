-- Views that outlive the process, each with how far it has read, so that both change together.
-- The columns are explained in the PostgreSQL file of the same name.
CREATE TABLE projections (
    name     TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE directory_members (
    member        TEXT NOT NULL PRIMARY KEY,
    registered_at INTEGER NOT NULL,
    position      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE directory_customers (
    customer TEXT NOT NULL PRIMARY KEY,
    member   TEXT NOT NULL,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX directory_customers_member ON directory_customers (member, customer);

CREATE TABLE directory_subscriptions (
    subscription TEXT NOT NULL PRIMARY KEY,
    customer     TEXT NOT NULL,
    standing     TEXT NOT NULL,
    position     INTEGER NOT NULL
) STRICT;

CREATE INDEX directory_subscriptions_customer ON directory_subscriptions (customer, subscription);
