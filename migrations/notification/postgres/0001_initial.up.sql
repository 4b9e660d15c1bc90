-- What was said, and to whom, is not kept: keyed hashes find a person's deliveries again, when the person is known.

CREATE TABLE deliveries (
    organization_id uuid        NOT NULL,
    id              uuid        NOT NULL,
    idempotency_key text        NOT NULL,
    kind            text        NOT NULL CONSTRAINT chk_deliveries_kind CHECK (kind IN ('email', 'slack', 'webhook')),
    status          text        NOT NULL CONSTRAINT chk_deliveries_status CHECK (status IN ('delivering', 'delivered', 'failed')),
    transport       text        NOT NULL,
    -- keyed hash of the address, of the user
    recipient_index bytea,
    person_index    bytea,
    -- who has it in hand, and until when at most
    claimed_by      uuid,
    claimed_until   timestamptz,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, idempotency_key),
    CONSTRAINT chk_deliveries_claim CHECK ((status = 'delivering') = (claimed_by IS NOT NULL)
                                           AND (claimed_by IS NULL) = (claimed_until IS NULL))
);
CREATE INDEX deliveries_by_time ON deliveries (organization_id, created_at, id);
CREATE INDEX deliveries_by_recipient ON deliveries (organization_id, recipient_index) WHERE recipient_index IS NOT NULL;
CREATE INDEX deliveries_by_person ON deliveries (organization_id, person_index) WHERE person_index IS NOT NULL;
-- What is in hand, or was in the hand of a process that died; nearly always empty.
CREATE INDEX deliveries_open ON deliveries (claimed_until) WHERE status = 'delivering';

-- Wrapped keys of the hashes.
CREATE TABLE index_keys (
    organization_id uuid        NOT NULL PRIMARY KEY,
    wrapped_key     bytea       NOT NULL,
    created_at      timestamptz NOT NULL
);

-- A transaction sees the organization that it names; one that names none sees nothing. The owner of the tables is held, too.
DO $$
DECLARE
    name text;
    own constant text := 'organization_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid';
BEGIN
    FOREACH name IN ARRAY ARRAY['deliveries', 'index_keys']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON %I TO switchboard_notification USING (%s) WITH CHECK (%s)',
                       name || '_isolation', name, own, own);
    END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON deliveries TO switchboard_notification;
GRANT SELECT, INSERT, UPDATE ON index_keys TO switchboard_notification;

-- The worker learns which deliveries nobody has in hand any more, and which organizations have keys to wrap anew.
CREATE POLICY deliveries_worker ON deliveries FOR SELECT TO switchboard_notification_worker USING (true);
GRANT SELECT (organization_id, id, status, claimed_until) ON deliveries TO switchboard_notification_worker;
CREATE POLICY index_keys_worker ON index_keys FOR SELECT TO switchboard_notification_worker USING (true);
GRANT SELECT (organization_id) ON index_keys TO switchboard_notification_worker;
