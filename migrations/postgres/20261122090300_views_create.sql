-- Views that outlive the process, each with how far it has read, so that both change together.
CREATE TABLE projections (
    name     text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL
);

COMMENT ON TABLE projections IS 'How far each projection has read the log';
COMMENT ON COLUMN projections.name IS 'The projection';
COMMENT ON COLUMN projections.position IS 'Everything up to here is in its tables';

CREATE TABLE directory_members (
    member        text COLLATE "C" PRIMARY KEY,
    registered_at timestamptz NOT NULL,
    position      bigint NOT NULL
);

COMMENT ON TABLE directory_members IS 'Members that exist';
COMMENT ON COLUMN directory_members.member IS 'The member';
COMMENT ON COLUMN directory_members.registered_at IS 'When she was registered';
COMMENT ON COLUMN directory_members.position IS 'The event that says so';

CREATE TABLE directory_customers (
    customer text COLLATE "C" PRIMARY KEY,
    member   text COLLATE "C" NOT NULL,
    position bigint NOT NULL
);

CREATE INDEX directory_customers_member ON directory_customers (member, customer);

COMMENT ON TABLE directory_customers IS 'Whose each payer is';
COMMENT ON COLUMN directory_customers.customer IS 'The payer';
COMMENT ON COLUMN directory_customers.member IS 'The member';
COMMENT ON COLUMN directory_customers.position IS 'The event that says so';

CREATE TABLE directory_subscriptions (
    subscription text COLLATE "C" PRIMARY KEY,
    customer     text COLLATE "C" NOT NULL,
    standing     jsonb NOT NULL,
    position     bigint NOT NULL
);

CREATE INDEX directory_subscriptions_customer ON directory_subscriptions (customer, subscription);

COMMENT ON TABLE directory_subscriptions IS 'Where each subscription stands';
COMMENT ON COLUMN directory_subscriptions.subscription IS 'The subscription';
COMMENT ON COLUMN directory_subscriptions.customer IS 'The payer, taken out of standing';
COMMENT ON COLUMN directory_subscriptions.standing IS 'Its terms and anchors';
COMMENT ON COLUMN directory_subscriptions.position IS 'The event that says so';
