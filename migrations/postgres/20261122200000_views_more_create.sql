-- A payer may be found not to be a member's, so a link has an end; what was given and where somebody buys is looked up too.
-- What the view held can be computed from the log again, so it is made anew under another name.
TRUNCATE projections, generations, directory_members, directory_subscriptions, parked_streams;

DROP TABLE directory_customers;

CREATE TABLE directory_customers (
    generation bigint NOT NULL,
    customer   text COLLATE "C" NOT NULL,
    member     text COLLATE "C" NOT NULL,
    linked     boolean NOT NULL,
    position   bigint NOT NULL,
    PRIMARY KEY (generation, customer, member)
);

CREATE INDEX directory_customers_member ON directory_customers (generation, member, customer);

COMMENT ON TABLE directory_customers IS 'Whose each payer is, and whose she once was thought to be';
COMMENT ON COLUMN directory_customers.generation IS 'The generation of the view';
COMMENT ON COLUMN directory_customers.customer IS 'The payer';
COMMENT ON COLUMN directory_customers.member IS 'The member';
COMMENT ON COLUMN directory_customers.linked IS 'Whether the payer is hers; at most one member has her';
COMMENT ON COLUMN directory_customers.position IS 'The event that says so';

CREATE TABLE directory_grants (
    generation bigint NOT NULL,
    grant_id   text COLLATE "C" NOT NULL,
    member     text COLLATE "C" NOT NULL,
    plan       text COLLATE "C" NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz,
    revoked    boolean NOT NULL,
    position   bigint NOT NULL,
    PRIMARY KEY (generation, grant_id)
);

CREATE INDEX directory_grants_member ON directory_grants (generation, member, grant_id);

COMMENT ON TABLE directory_grants IS 'Access that was given without a payment';
COMMENT ON COLUMN directory_grants.generation IS 'The generation of the view';
COMMENT ON COLUMN directory_grants.grant_id IS 'The grant';
COMMENT ON COLUMN directory_grants.member IS 'The member';
COMMENT ON COLUMN directory_grants.plan IS 'It opens what this plan opens';
COMMENT ON COLUMN directory_grants.starts_at IS 'From when';
COMMENT ON COLUMN directory_grants.ends_at IS 'Until when; for good where it is null';
COMMENT ON COLUMN directory_grants.revoked IS 'Whether it was taken back';
COMMENT ON COLUMN directory_grants.position IS 'The event that says so';

CREATE TABLE directory_checkouts (
    generation bigint NOT NULL,
    checkout   text COLLATE "C" NOT NULL,
    member     text COLLATE "C" NOT NULL,
    position   bigint NOT NULL,
    PRIMARY KEY (generation, checkout)
);

COMMENT ON TABLE directory_checkouts IS 'Whose each checkout is';
COMMENT ON COLUMN directory_checkouts.generation IS 'The generation of the view';
COMMENT ON COLUMN directory_checkouts.checkout IS 'The provider''s id of it';
COMMENT ON COLUMN directory_checkouts.member IS 'The member';
COMMENT ON COLUMN directory_checkouts.position IS 'The event that says so';
