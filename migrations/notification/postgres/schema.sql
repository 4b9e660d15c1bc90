CREATE SCHEMA notification;

CREATE TABLE notification.deliveries (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    idempotency_key text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    transport text NOT NULL,
    recipient_index bytea,
    person_index bytea,
    claimed_by uuid,
    claimed_until timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT chk_deliveries_claim CHECK ((((status = 'delivering'::text) = (claimed_by IS NOT NULL)) AND ((claimed_by IS NULL) = (claimed_until IS NULL)))),
    CONSTRAINT chk_deliveries_kind CHECK ((kind = ANY (ARRAY['email'::text, 'slack'::text, 'webhook'::text]))),
    CONSTRAINT chk_deliveries_status CHECK ((status = ANY (ARRAY['delivering'::text, 'delivered'::text, 'failed'::text])))
);

ALTER TABLE ONLY notification.deliveries FORCE ROW LEVEL SECURITY;

CREATE TABLE notification.index_keys (
    organization_id uuid NOT NULL,
    wrapped_key bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY notification.index_keys FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY notification.deliveries
    ADD CONSTRAINT deliveries_organization_id_idempotency_key_key UNIQUE (organization_id, idempotency_key);

ALTER TABLE ONLY notification.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY notification.index_keys
    ADD CONSTRAINT index_keys_pkey PRIMARY KEY (organization_id);

CREATE INDEX deliveries_by_person ON notification.deliveries USING btree (organization_id, person_index) WHERE (person_index IS NOT NULL);

CREATE INDEX deliveries_by_recipient ON notification.deliveries USING btree (organization_id, recipient_index) WHERE (recipient_index IS NOT NULL);

CREATE INDEX deliveries_by_time ON notification.deliveries USING btree (organization_id, created_at, id);

CREATE INDEX deliveries_open ON notification.deliveries USING btree (claimed_until) WHERE (status = 'delivering'::text);

ALTER TABLE notification.deliveries ENABLE ROW LEVEL SECURITY;

CREATE POLICY deliveries_isolation ON notification.deliveries TO switchboard_notification USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY deliveries_worker ON notification.deliveries FOR SELECT TO switchboard_notification_worker USING (true);

ALTER TABLE notification.index_keys ENABLE ROW LEVEL SECURITY;

CREATE POLICY index_keys_isolation ON notification.index_keys TO switchboard_notification USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY index_keys_worker ON notification.index_keys FOR SELECT TO switchboard_notification_worker USING (true);

GRANT USAGE ON SCHEMA notification TO switchboard_notification;

GRANT USAGE ON SCHEMA notification TO switchboard_notification_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE notification.deliveries TO switchboard_notification;

GRANT SELECT(organization_id) ON TABLE notification.deliveries TO switchboard_notification_worker;

GRANT SELECT(id) ON TABLE notification.deliveries TO switchboard_notification_worker;

GRANT SELECT(status) ON TABLE notification.deliveries TO switchboard_notification_worker;

GRANT SELECT(claimed_until) ON TABLE notification.deliveries TO switchboard_notification_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE notification.index_keys TO switchboard_notification;

GRANT SELECT(organization_id) ON TABLE notification.index_keys TO switchboard_notification_worker;
