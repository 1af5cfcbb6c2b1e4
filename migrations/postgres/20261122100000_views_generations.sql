-- A view can be built anew beside the live one: each generation has rows of its own, and a projection says which is live.
-- What these tables held can be computed from the log again, so they are made anew.
DROP TABLE directory_members, directory_customers, directory_subscriptions, projections;

CREATE TABLE generations (
    generation bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    projection text NOT NULL
);

COMMENT ON TABLE generations IS 'Every generation of a view that may have rows; one that no projection names is to be removed';
COMMENT ON COLUMN generations.generation IS 'Its number';
COMMENT ON COLUMN generations.projection IS 'The projection it was begun for, for operators';

CREATE TABLE projections (
    name       text COLLATE "C" PRIMARY KEY,
    position   bigint NOT NULL,
    generation bigint NOT NULL,
    revision   bigint NOT NULL
);

COMMENT ON TABLE projections IS 'How far each projection has read the log, and which rows are its own';
COMMENT ON COLUMN projections.name IS 'The projection and its version';
COMMENT ON COLUMN projections.position IS 'Everything up to here is in its rows';
COMMENT ON COLUMN projections.generation IS 'Which rows are its own';
COMMENT ON COLUMN projections.revision IS 'Counts its changes, so that nobody changes what he has not seen';

CREATE TABLE directory_members (
    generation    bigint NOT NULL,
    member        text COLLATE "C" NOT NULL,
    registered_at timestamptz NOT NULL,
    position      bigint NOT NULL,
    PRIMARY KEY (generation, member)
);

COMMENT ON TABLE directory_members IS 'Members that exist';
COMMENT ON COLUMN directory_members.generation IS 'The generation of the view';
COMMENT ON COLUMN directory_members.member IS 'The member';
COMMENT ON COLUMN directory_members.registered_at IS 'When she was registered';
COMMENT ON COLUMN directory_members.position IS 'The event that says so';

CREATE TABLE directory_customers (
    generation bigint NOT NULL,
    customer   text COLLATE "C" NOT NULL,
    member     text COLLATE "C" NOT NULL,
    position   bigint NOT NULL,
    PRIMARY KEY (generation, customer)
);

CREATE INDEX directory_customers_member ON directory_customers (generation, member, customer);

COMMENT ON TABLE directory_customers IS 'Whose each payer is';
COMMENT ON COLUMN directory_customers.generation IS 'The generation of the view';
COMMENT ON COLUMN directory_customers.customer IS 'The payer';
COMMENT ON COLUMN directory_customers.member IS 'The member';
COMMENT ON COLUMN directory_customers.position IS 'The event that says so';

CREATE TABLE directory_subscriptions (
    generation   bigint NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    customer     text COLLATE "C" NOT NULL,
    standing     jsonb NOT NULL,
    position     bigint NOT NULL,
    PRIMARY KEY (generation, subscription)
);

CREATE INDEX directory_subscriptions_customer ON directory_subscriptions (generation, customer, subscription);

COMMENT ON TABLE directory_subscriptions IS 'Where each subscription stands';
COMMENT ON COLUMN directory_subscriptions.generation IS 'The generation of the view';
COMMENT ON COLUMN directory_subscriptions.subscription IS 'The subscription';
COMMENT ON COLUMN directory_subscriptions.customer IS 'The payer, taken out of standing';
COMMENT ON COLUMN directory_subscriptions.standing IS 'Its terms and anchors';
COMMENT ON COLUMN directory_subscriptions.position IS 'The event that says so';

CREATE TABLE parked_streams (
    generation     bigint NOT NULL,
    aggregate_type text COLLATE "C" NOT NULL,
    aggregate_id   text COLLATE "C" NOT NULL,
    position       bigint NOT NULL,
    why            text NOT NULL,
    PRIMARY KEY (generation, aggregate_type, aggregate_id)
);

COMMENT ON TABLE parked_streams IS 'Streams with an event that cannot be read: the view keeps what it knew of each before that event';
COMMENT ON COLUMN parked_streams.generation IS 'The generation of the view';
COMMENT ON COLUMN parked_streams.aggregate_type IS 'The kind of aggregate';
COMMENT ON COLUMN parked_streams.aggregate_id IS 'The aggregate';
COMMENT ON COLUMN parked_streams.position IS 'The event that cannot be read';
COMMENT ON COLUMN parked_streams.why IS 'The event and what is wrong with it, for staff';
