CREATE SCHEMA salesforce;

CREATE TABLE salesforce.accounts (
    organization_id uuid NOT NULL,
    id text NOT NULL,
    name text NOT NULL
);

ALTER TABLE ONLY salesforce.accounts FORCE ROW LEVEL SECURITY;

CREATE TABLE salesforce.cases (
    organization_id uuid NOT NULL,
    id text NOT NULL,
    number text NOT NULL,
    external_id text,
    subject bytea,
    description bytea,
    status text NOT NULL,
    priority text NOT NULL,
    origin text NOT NULL,
    queue text NOT NULL,
    contact_id text,
    sla_deadline timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT chk_cases_priority CHECK ((priority = ANY (ARRAY['Low'::text, 'Medium'::text, 'High'::text, 'Critical'::text]))),
    CONSTRAINT chk_cases_status CHECK ((status = ANY (ARRAY['New'::text, 'Working'::text, 'Escalated'::text, 'Closed'::text])))
);

ALTER TABLE ONLY salesforce.cases FORCE ROW LEVEL SECURITY;

CREATE TABLE salesforce.changes (
    organization_id uuid NOT NULL,
    number bigint NOT NULL,
    origin text NOT NULL,
    case_id text NOT NULL,
    comment_id text,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT chk_changes_origin CHECK ((origin = ANY (ARRAY['switchboard'::text, 'person'::text])))
);

ALTER TABLE ONLY salesforce.changes FORCE ROW LEVEL SECURITY;

CREATE TABLE salesforce.comments (
    organization_id uuid NOT NULL,
    id text NOT NULL,
    case_id text NOT NULL,
    external_id text,
    body bytea,
    author bytea,
    created_at timestamp with time zone NOT NULL,
    number bigint NOT NULL
);

ALTER TABLE ONLY salesforce.comments FORCE ROW LEVEL SECURITY;

CREATE TABLE salesforce.contacts (
    organization_id uuid NOT NULL,
    id text NOT NULL,
    external_id text,
    email bytea,
    email_index bytea,
    name bytea,
    account_id text,
    number bigint NOT NULL
);

ALTER TABLE ONLY salesforce.contacts FORCE ROW LEVEL SECURITY;

CREATE TABLE salesforce.counters (
    organization_id uuid NOT NULL,
    kind text NOT NULL,
    last bigint NOT NULL
);

ALTER TABLE ONLY salesforce.counters FORCE ROW LEVEL SECURITY;

CREATE TABLE salesforce.orders (
    organization_id uuid NOT NULL,
    id text NOT NULL,
    number text NOT NULL,
    plain text NOT NULL,
    digits text NOT NULL,
    status text NOT NULL,
    items text NOT NULL,
    tracking_url text NOT NULL,
    delivery_at timestamp with time zone,
    CONSTRAINT chk_orders_status CHECK ((status = ANY (ARRAY['Processing'::text, 'Shipped'::text, 'Delivered'::text, 'Cancelled'::text])))
);

ALTER TABLE ONLY salesforce.orders FORCE ROW LEVEL SECURITY;

CREATE TABLE salesforce.person_keys (
    organization_id uuid NOT NULL,
    person_id text NOT NULL,
    wrapped_key bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY salesforce.person_keys FORCE ROW LEVEL SECURITY;

CREATE TABLE salesforce.replay_events (
    organization_id uuid NOT NULL,
    topic text NOT NULL,
    event_id text NOT NULL,
    created_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY salesforce.replay_events FORCE ROW LEVEL SECURITY;

CREATE TABLE salesforce.replay_positions (
    organization_id uuid NOT NULL,
    topic text NOT NULL,
    "position" bytea NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY salesforce.replay_positions FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY salesforce.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY salesforce.cases
    ADD CONSTRAINT cases_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY salesforce.changes
    ADD CONSTRAINT changes_pkey PRIMARY KEY (organization_id, number);

ALTER TABLE ONLY salesforce.comments
    ADD CONSTRAINT comments_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY salesforce.contacts
    ADD CONSTRAINT contacts_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY salesforce.counters
    ADD CONSTRAINT counters_pkey PRIMARY KEY (organization_id, kind);

ALTER TABLE ONLY salesforce.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY salesforce.person_keys
    ADD CONSTRAINT person_keys_pkey PRIMARY KEY (organization_id, person_id);

ALTER TABLE ONLY salesforce.replay_events
    ADD CONSTRAINT replay_events_pkey PRIMARY KEY (organization_id, topic, event_id);

ALTER TABLE ONLY salesforce.replay_positions
    ADD CONSTRAINT replay_positions_pkey PRIMARY KEY (organization_id, topic);

CREATE INDEX cases_by_contact ON salesforce.cases USING btree (organization_id, contact_id) WHERE (contact_id IS NOT NULL);

CREATE UNIQUE INDEX cases_by_external_id ON salesforce.cases USING btree (organization_id, external_id) WHERE (external_id IS NOT NULL);

CREATE UNIQUE INDEX cases_by_number ON salesforce.cases USING btree (organization_id, number);

CREATE INDEX changes_by_case ON salesforce.changes USING btree (organization_id, case_id);

CREATE INDEX changes_by_people ON salesforce.changes USING btree (organization_id, number) WHERE (origin = 'person'::text);

CREATE INDEX comments_by_case ON salesforce.comments USING btree (organization_id, case_id, number);

CREATE UNIQUE INDEX comments_by_external_id ON salesforce.comments USING btree (organization_id, external_id) WHERE (external_id IS NOT NULL);

CREATE INDEX contacts_by_email ON salesforce.contacts USING btree (organization_id, email_index) WHERE (email_index IS NOT NULL);

CREATE UNIQUE INDEX contacts_by_external_id ON salesforce.contacts USING btree (organization_id, external_id) WHERE (external_id IS NOT NULL);

CREATE INDEX orders_by_digits ON salesforce.orders USING btree (organization_id, digits);

CREATE UNIQUE INDEX orders_by_plain ON salesforce.orders USING btree (organization_id, plain);

CREATE INDEX replay_events_by_time ON salesforce.replay_events USING btree (organization_id, topic, created_at);

ALTER TABLE ONLY salesforce.cases
    ADD CONSTRAINT cases_organization_id_contact_id_fkey FOREIGN KEY (organization_id, contact_id) REFERENCES salesforce.contacts(organization_id, id);

ALTER TABLE ONLY salesforce.changes
    ADD CONSTRAINT changes_organization_id_case_id_fkey FOREIGN KEY (organization_id, case_id) REFERENCES salesforce.cases(organization_id, id);

ALTER TABLE ONLY salesforce.changes
    ADD CONSTRAINT changes_organization_id_comment_id_fkey FOREIGN KEY (organization_id, comment_id) REFERENCES salesforce.comments(organization_id, id);

ALTER TABLE ONLY salesforce.comments
    ADD CONSTRAINT comments_organization_id_case_id_fkey FOREIGN KEY (organization_id, case_id) REFERENCES salesforce.cases(organization_id, id);

ALTER TABLE ONLY salesforce.contacts
    ADD CONSTRAINT contacts_organization_id_account_id_fkey FOREIGN KEY (organization_id, account_id) REFERENCES salesforce.accounts(organization_id, id);

ALTER TABLE salesforce.accounts ENABLE ROW LEVEL SECURITY;

CREATE POLICY accounts_isolation ON salesforce.accounts TO switchboard_salesforce USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE salesforce.cases ENABLE ROW LEVEL SECURITY;

CREATE POLICY cases_isolation ON salesforce.cases TO switchboard_salesforce USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE salesforce.changes ENABLE ROW LEVEL SECURITY;

CREATE POLICY changes_isolation ON salesforce.changes TO switchboard_salesforce USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE salesforce.comments ENABLE ROW LEVEL SECURITY;

CREATE POLICY comments_isolation ON salesforce.comments TO switchboard_salesforce USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE salesforce.contacts ENABLE ROW LEVEL SECURITY;

CREATE POLICY contacts_isolation ON salesforce.contacts TO switchboard_salesforce USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE salesforce.counters ENABLE ROW LEVEL SECURITY;

CREATE POLICY counters_isolation ON salesforce.counters TO switchboard_salesforce USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE salesforce.orders ENABLE ROW LEVEL SECURITY;

CREATE POLICY orders_isolation ON salesforce.orders TO switchboard_salesforce USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE salesforce.person_keys ENABLE ROW LEVEL SECURITY;

CREATE POLICY person_keys_isolation ON salesforce.person_keys TO switchboard_salesforce USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY person_keys_worker ON salesforce.person_keys FOR SELECT TO switchboard_salesforce_worker USING (true);

ALTER TABLE salesforce.replay_events ENABLE ROW LEVEL SECURITY;

CREATE POLICY replay_events_isolation ON salesforce.replay_events TO switchboard_salesforce USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE salesforce.replay_positions ENABLE ROW LEVEL SECURITY;

CREATE POLICY replay_positions_isolation ON salesforce.replay_positions TO switchboard_salesforce USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

GRANT USAGE ON SCHEMA salesforce TO switchboard_salesforce;

GRANT USAGE ON SCHEMA salesforce TO switchboard_salesforce_worker;

GRANT SELECT,INSERT ON TABLE salesforce.accounts TO switchboard_salesforce;

GRANT SELECT,INSERT,UPDATE ON TABLE salesforce.cases TO switchboard_salesforce;

GRANT SELECT,INSERT,DELETE ON TABLE salesforce.changes TO switchboard_salesforce;

GRANT SELECT,INSERT,UPDATE ON TABLE salesforce.comments TO switchboard_salesforce;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE salesforce.contacts TO switchboard_salesforce;

GRANT SELECT,INSERT,UPDATE ON TABLE salesforce.counters TO switchboard_salesforce;

GRANT SELECT,INSERT ON TABLE salesforce.orders TO switchboard_salesforce;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE salesforce.person_keys TO switchboard_salesforce;

GRANT SELECT(organization_id) ON TABLE salesforce.person_keys TO switchboard_salesforce_worker;

GRANT SELECT,INSERT,DELETE ON TABLE salesforce.replay_events TO switchboard_salesforce;

GRANT SELECT,INSERT,UPDATE ON TABLE salesforce.replay_positions TO switchboard_salesforce;
