-- The embedded org, and where reading of a real one stands. Every table begins with the organization, and so does every index.
-- What people are called and what they wrote is sealed under the key of the contact whom it is about; NULL where there is none,
-- or no more.

-- Wrapped keys: a contact's under its id, that of cases without a contact under `organization`, that of blind indexes under
-- `index`, which is also the sign that an organization was seen, and given its demo records if they were wanted.
CREATE TABLE person_keys (
    organization_id uuid        NOT NULL,
    person_id       text        NOT NULL,
    wrapped_key     bytea       NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (organization_id, person_id)
);

-- The last number given per organization and kind; `change` counts the change log.
CREATE TABLE counters (
    organization_id uuid   NOT NULL,
    kind            text   NOT NULL,
    last            bigint NOT NULL,
    PRIMARY KEY (organization_id, kind)
);

CREATE TABLE accounts (
    organization_id uuid NOT NULL,
    id              text NOT NULL,
    name            text NOT NULL,
    PRIMARY KEY (organization_id, id)
);

CREATE TABLE contacts (
    organization_id uuid   NOT NULL,
    id              text   NOT NULL,
    external_id     text,
    -- sealed, lower case
    email           bytea,
    -- keyed hash of the address
    email_index     bytea,
    -- sealed
    name            bytea,
    account_id      text,
    -- the order in which contacts were made
    number          bigint NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, account_id) REFERENCES accounts (organization_id, id)
);
CREATE UNIQUE INDEX contacts_by_external_id ON contacts (organization_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX contacts_by_email ON contacts (organization_id, email_index) WHERE email_index IS NOT NULL;

CREATE TABLE cases (
    organization_id uuid        NOT NULL,
    id              text        NOT NULL,
    number          text        NOT NULL,
    external_id     text,
    -- sealed
    subject         bytea,
    -- sealed
    description     bytea,
    status          text        NOT NULL CONSTRAINT chk_cases_status CHECK (status IN ('New', 'Working', 'Escalated', 'Closed')),
    priority        text        NOT NULL CONSTRAINT chk_cases_priority CHECK (priority IN ('Low', 'Medium', 'High', 'Critical')),
    origin          text        NOT NULL,
    queue           text        NOT NULL,
    contact_id      text,
    sla_deadline    timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, contact_id) REFERENCES contacts (organization_id, id)
);
CREATE UNIQUE INDEX cases_by_number ON cases (organization_id, number);
CREATE UNIQUE INDEX cases_by_external_id ON cases (organization_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX cases_by_contact ON cases (organization_id, contact_id) WHERE contact_id IS NOT NULL;

-- Sealed under the key of the case's contact.
CREATE TABLE comments (
    organization_id uuid        NOT NULL,
    id              text        NOT NULL,
    case_id         text        NOT NULL,
    external_id     text,
    -- sealed
    body            bytea,
    -- sealed
    author          bytea,
    created_at      timestamptz NOT NULL,
    -- the order in which comments were made
    number          bigint      NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, case_id) REFERENCES cases (organization_id, id)
);
CREATE UNIQUE INDEX comments_by_external_id ON comments (organization_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX comments_by_case ON comments (organization_id, case_id, number);

CREATE TABLE orders (
    organization_id uuid        NOT NULL,
    id              text        NOT NULL,
    number          text        NOT NULL,
    -- the number without signs, and its digits alone: what people write is looked up by these
    plain           text        NOT NULL,
    digits          text        NOT NULL,
    status          text        NOT NULL
        CONSTRAINT chk_orders_status CHECK (status IN ('Processing', 'Shipped', 'Delivered', 'Cancelled')),
    items           text        NOT NULL,
    tracking_url    text        NOT NULL,
    delivery_at     timestamptz,
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX orders_by_plain ON orders (organization_id, plain);
CREATE INDEX orders_by_digits ON orders (organization_id, digits);

-- What happened to cases and comments, by whom: `switchboard` is this service, `person` everybody else.
CREATE TABLE changes (
    organization_id uuid        NOT NULL,
    number          bigint      NOT NULL,
    origin          text        NOT NULL CONSTRAINT chk_changes_origin CHECK (origin IN ('switchboard', 'person')),
    case_id         text        NOT NULL,
    comment_id      text,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (organization_id, number),
    FOREIGN KEY (organization_id, case_id) REFERENCES cases (organization_id, id),
    FOREIGN KEY (organization_id, comment_id) REFERENCES comments (organization_id, id)
);
CREATE INDEX changes_by_people ON changes (organization_id, number) WHERE origin = 'person';
CREATE INDEX changes_by_case ON changes (organization_id, case_id);

-- Up to where the events of a topic were taken; the position is Salesforce's own, opaque to us.
CREATE TABLE replay_positions (
    organization_id uuid        NOT NULL,
    topic           text        NOT NULL,
    position        bytea       NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (organization_id, topic)
);

-- Events that were taken, as long as Salesforce may send them again.
CREATE TABLE replay_events (
    organization_id uuid        NOT NULL,
    topic           text        NOT NULL,
    event_id        text        NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (organization_id, topic, event_id)
);
CREATE INDEX replay_events_by_time ON replay_events (organization_id, topic, created_at);

-- A transaction sees the organization that it names; one that names none sees nothing. The owner of the tables is held, too.
DO $$
DECLARE
    name text;
    own constant text := 'organization_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid';
BEGIN
    FOREACH name IN ARRAY ARRAY['person_keys', 'counters', 'accounts', 'contacts', 'cases', 'comments', 'orders', 'changes',
                                'replay_positions', 'replay_events']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON %I TO switchboard_salesforce USING (%s) WITH CHECK (%s)',
                       name || '_isolation', name, own, own);
    END LOOP;
END $$;

GRANT SELECT, INSERT ON accounts, orders TO switchboard_salesforce;
GRANT SELECT, INSERT, UPDATE ON counters, cases, comments, replay_positions TO switchboard_salesforce;
GRANT SELECT, INSERT, DELETE ON changes, replay_events TO switchboard_salesforce;
GRANT SELECT, INSERT, UPDATE, DELETE ON contacts, person_keys TO switchboard_salesforce;

-- Wrapping keys anew goes through all organizations: the worker learns which there are.
CREATE POLICY person_keys_worker ON person_keys FOR SELECT TO switchboard_salesforce_worker USING (true);
GRANT SELECT (organization_id) ON person_keys TO switchboard_salesforce_worker;
