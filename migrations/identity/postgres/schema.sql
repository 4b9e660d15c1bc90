CREATE SCHEMA identity;

CREATE FUNCTION identity.create_monthly_partition(month timestamp with time zone DEFAULT (now() + '1 mon'::interval)) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'identity', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
DECLARE
    start_date     TIMESTAMPTZ := date_trunc('month', month);
    end_date       TIMESTAMPTZ := start_date + INTERVAL '1 month';
    partition_name TEXT        := 'activity_log_' || to_char(start_date, 'YYYY_MM');
BEGIN
    IF to_regclass(partition_name) IS NOT NULL THEN RETURN; END IF;
    PERFORM pg_advisory_xact_lock(hashtext('identity.activity_log'));
    -- Somebody else may have made it while we waited; to_regclass remembers that it was not there.
    IF EXISTS (SELECT FROM pg_class WHERE relname = partition_name AND relnamespace = 'identity'::regnamespace) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE activity_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition_name);
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', partition_name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', partition_name);
    EXECUTE format(
        'CREATE POLICY %I ON %I TO switchboard_identity
            USING (organization_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid)
            WITH CHECK (organization_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid)',
        partition_name || '_isolation', partition_name
    );
    EXECUTE format(
        'ALTER TABLE activity_log ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        partition_name, start_date, end_date
    );
END;
$$;

CREATE TABLE identity.activity_heads (
    organization_id uuid NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL
);

ALTER TABLE ONLY identity.activity_heads FORCE ROW LEVEL SECURITY;

CREATE TABLE identity.activity_log (
    organization_id uuid NOT NULL,
    seq bigint NOT NULL,
    "timestamp" timestamp with time zone NOT NULL,
    user_id uuid,
    action character varying(100) NOT NULL,
    resource_type character varying(50) NOT NULL,
    resource_id uuid NOT NULL,
    details jsonb NOT NULL,
    hash bytea NOT NULL
)
PARTITION BY RANGE ("timestamp");

ALTER TABLE ONLY identity.activity_log FORCE ROW LEVEL SECURITY;

CREATE TABLE identity.credentials (
    organization_id uuid NOT NULL,
    user_id uuid NOT NULL,
    password_hash bytea NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY identity.credentials FORCE ROW LEVEL SECURITY;

CREATE TABLE identity.duties (
    name text NOT NULL,
    due timestamp with time zone NOT NULL
);

CREATE TABLE identity.keys (
    name text NOT NULL,
    wrapped_key bytea NOT NULL,
    value bytea,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE identity.organizations (
    id uuid NOT NULL,
    name text NOT NULL,
    salesforce_org_id text,
    subscription_tier text DEFAULT 'standard'::text NOT NULL,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    guests_allowed boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT chk_settings CHECK ((jsonb_typeof(settings) = 'object'::text)),
    CONSTRAINT chk_subscription_tier CHECK ((subscription_tier = ANY (ARRAY['free'::text, 'standard'::text, 'professional'::text, 'enterprise'::text])))
);

ALTER TABLE ONLY identity.organizations FORCE ROW LEVEL SECURITY;

CREATE TABLE identity.person_keys (
    organization_id uuid NOT NULL,
    person_id uuid NOT NULL,
    master smallint NOT NULL,
    wrapped_key bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT chk_master CHECK ((master = get_byte(wrapped_key, 0)))
);

ALTER TABLE ONLY identity.person_keys FORCE ROW LEVEL SECURITY;

CREATE TABLE identity.refresh_tokens (
    hash bytea NOT NULL,
    family uuid NOT NULL,
    organization_id uuid NOT NULL,
    user_id uuid NOT NULL,
    guest boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    revoked_at timestamp with time zone
);

ALTER TABLE ONLY identity.refresh_tokens FORCE ROW LEVEL SECURITY;

CREATE TABLE identity.reset_tokens (
    hash bytea NOT NULL,
    organization_id uuid NOT NULL,
    request_id uuid NOT NULL,
    user_id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone
);

ALTER TABLE ONLY identity.reset_tokens FORCE ROW LEVEL SECURITY;

CREATE TABLE identity.sign_in_failures (
    name_blind bytea NOT NULL,
    failures integer NOT NULL,
    last_at timestamp with time zone NOT NULL
);

CREATE TABLE identity.users (
    id uuid NOT NULL,
    organization_id uuid NOT NULL,
    request_id uuid,
    external_id bytea,
    external_id_blind bytea,
    email bytea,
    email_blind bytea,
    full_name bytea,
    role text NOT NULL,
    subscription_tier text DEFAULT 'standard'::text NOT NULL,
    guest boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    erased_at timestamp with time zone,
    CONSTRAINT chk_erased CHECK (((erased_at IS NULL) OR ((external_id IS NULL) AND (external_id_blind IS NULL) AND (email IS NULL) AND (email_blind IS NULL) AND (full_name IS NULL)))),
    CONSTRAINT chk_role CHECK ((role = ANY (ARRAY['customer'::text, 'agent'::text, 'supervisor'::text, 'admin'::text, 'service'::text]))),
    CONSTRAINT chk_subscription_tier CHECK ((subscription_tier = ANY (ARRAY['free'::text, 'standard'::text, 'professional'::text, 'enterprise'::text])))
);

ALTER TABLE ONLY identity.users FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY identity.activity_heads
    ADD CONSTRAINT activity_heads_pkey PRIMARY KEY (organization_id);

ALTER TABLE ONLY identity.activity_log
    ADD CONSTRAINT activity_log_pkey PRIMARY KEY (organization_id, seq, "timestamp");

ALTER TABLE ONLY identity.credentials
    ADD CONSTRAINT credentials_pkey PRIMARY KEY (organization_id, user_id);

ALTER TABLE ONLY identity.duties
    ADD CONSTRAINT duties_pkey PRIMARY KEY (name);

ALTER TABLE ONLY identity.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (name);

ALTER TABLE ONLY identity.organizations
    ADD CONSTRAINT organizations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY identity.organizations
    ADD CONSTRAINT organizations_salesforce_org_id_key UNIQUE (salesforce_org_id);

ALTER TABLE ONLY identity.person_keys
    ADD CONSTRAINT person_keys_pkey PRIMARY KEY (organization_id, person_id);

ALTER TABLE ONLY identity.refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY identity.reset_tokens
    ADD CONSTRAINT reset_tokens_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY identity.reset_tokens
    ADD CONSTRAINT reset_tokens_request_id_key UNIQUE (organization_id, request_id);

ALTER TABLE ONLY identity.sign_in_failures
    ADD CONSTRAINT sign_in_failures_pkey PRIMARY KEY (name_blind);

ALTER TABLE ONLY identity.users
    ADD CONSTRAINT users_email_key UNIQUE (email_blind, organization_id);

ALTER TABLE ONLY identity.users
    ADD CONSTRAINT users_external_id_key UNIQUE (external_id_blind, organization_id);

ALTER TABLE ONLY identity.users
    ADD CONSTRAINT users_organization_key UNIQUE (organization_id, id);

ALTER TABLE ONLY identity.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY identity.users
    ADD CONSTRAINT users_request_id_key UNIQUE (organization_id, request_id);

CREATE INDEX idx_activity_log_resource ON ONLY identity.activity_log USING btree (organization_id, resource_id);

CREATE INDEX idx_activity_log_user ON ONLY identity.activity_log USING btree (organization_id, user_id);

CREATE INDEX person_keys_by_master ON identity.person_keys USING btree (master);

CREATE INDEX refresh_tokens_by_end ON identity.refresh_tokens USING btree (expires_at);

CREATE INDEX refresh_tokens_by_user ON identity.refresh_tokens USING btree (organization_id, user_id);

CREATE INDEX reset_tokens_by_end ON identity.reset_tokens USING btree (expires_at);

CREATE INDEX reset_tokens_by_user ON identity.reset_tokens USING btree (organization_id, user_id);

CREATE INDEX sign_in_failures_by_time ON identity.sign_in_failures USING btree (last_at);

CREATE INDEX users_guests ON identity.users USING btree (created_at) WHERE (guest AND (erased_at IS NULL));

ALTER TABLE ONLY identity.activity_heads
    ADD CONSTRAINT activity_heads_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES identity.organizations(id);

ALTER TABLE ONLY identity.credentials
    ADD CONSTRAINT credentials_organization_id_user_id_fkey FOREIGN KEY (organization_id, user_id) REFERENCES identity.users(organization_id, id);

ALTER TABLE ONLY identity.person_keys
    ADD CONSTRAINT person_keys_organization_id_person_id_fkey FOREIGN KEY (organization_id, person_id) REFERENCES identity.users(organization_id, id);

ALTER TABLE ONLY identity.refresh_tokens
    ADD CONSTRAINT refresh_tokens_organization_id_user_id_fkey FOREIGN KEY (organization_id, user_id) REFERENCES identity.users(organization_id, id);

ALTER TABLE ONLY identity.reset_tokens
    ADD CONSTRAINT reset_tokens_organization_id_user_id_fkey FOREIGN KEY (organization_id, user_id) REFERENCES identity.users(organization_id, id);

ALTER TABLE ONLY identity.users
    ADD CONSTRAINT users_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES identity.organizations(id);

ALTER TABLE identity.activity_heads ENABLE ROW LEVEL SECURITY;

CREATE POLICY activity_heads_isolation ON identity.activity_heads TO switchboard_identity USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE identity.activity_log ENABLE ROW LEVEL SECURITY;

CREATE POLICY activity_log_isolation ON identity.activity_log TO switchboard_identity USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE identity.credentials ENABLE ROW LEVEL SECURITY;

CREATE POLICY credentials_found ON identity.credentials FOR SELECT TO switchboard_identity_worker USING ((CURRENT_USER = 'switchboard_identity_worker'::name));

CREATE POLICY credentials_isolation ON identity.credentials TO switchboard_identity USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE identity.organizations ENABLE ROW LEVEL SECURITY;

CREATE POLICY organizations_isolation ON identity.organizations TO switchboard_identity USING ((id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE identity.person_keys ENABLE ROW LEVEL SECURITY;

CREATE POLICY person_keys_found ON identity.person_keys FOR SELECT TO switchboard_identity_worker USING ((CURRENT_USER = 'switchboard_identity_worker'::name));

CREATE POLICY person_keys_isolation ON identity.person_keys TO switchboard_identity USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE identity.refresh_tokens ENABLE ROW LEVEL SECURITY;

CREATE POLICY refresh_tokens_found ON identity.refresh_tokens FOR SELECT TO switchboard_identity_worker USING ((CURRENT_USER = 'switchboard_identity_worker'::name));

CREATE POLICY refresh_tokens_isolation ON identity.refresh_tokens TO switchboard_identity USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE identity.reset_tokens ENABLE ROW LEVEL SECURITY;

CREATE POLICY reset_tokens_found ON identity.reset_tokens FOR SELECT TO switchboard_identity_worker USING ((CURRENT_USER = 'switchboard_identity_worker'::name));

CREATE POLICY reset_tokens_isolation ON identity.reset_tokens TO switchboard_identity USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE identity.users ENABLE ROW LEVEL SECURITY;

CREATE POLICY users_found ON identity.users FOR SELECT TO switchboard_identity_worker USING ((CURRENT_USER = 'switchboard_identity_worker'::name));

CREATE POLICY users_isolation ON identity.users TO switchboard_identity USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

GRANT USAGE ON SCHEMA identity TO switchboard_identity;

GRANT USAGE ON SCHEMA identity TO switchboard_identity_worker;

REVOKE ALL ON FUNCTION identity.create_monthly_partition(month timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION identity.create_monthly_partition(month timestamp with time zone) TO switchboard_identity;

GRANT SELECT,INSERT,UPDATE ON TABLE identity.activity_heads TO switchboard_identity;

GRANT SELECT,INSERT ON TABLE identity.activity_log TO switchboard_identity;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.credentials TO switchboard_identity;

GRANT SELECT(organization_id) ON TABLE identity.credentials TO switchboard_identity_worker;

GRANT SELECT(user_id) ON TABLE identity.credentials TO switchboard_identity_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE identity.duties TO switchboard_identity;

GRANT SELECT,INSERT,UPDATE ON TABLE identity.keys TO switchboard_identity;

GRANT SELECT,INSERT,UPDATE ON TABLE identity.organizations TO switchboard_identity;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.person_keys TO switchboard_identity;

GRANT SELECT(organization_id) ON TABLE identity.person_keys TO switchboard_identity_worker;

GRANT SELECT(person_id) ON TABLE identity.person_keys TO switchboard_identity_worker;

GRANT SELECT(master) ON TABLE identity.person_keys TO switchboard_identity_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.refresh_tokens TO switchboard_identity;

GRANT SELECT(hash) ON TABLE identity.refresh_tokens TO switchboard_identity_worker;

GRANT SELECT(organization_id) ON TABLE identity.refresh_tokens TO switchboard_identity_worker;

GRANT SELECT(user_id) ON TABLE identity.refresh_tokens TO switchboard_identity_worker;

GRANT SELECT(expires_at) ON TABLE identity.refresh_tokens TO switchboard_identity_worker;

GRANT SELECT(revoked_at) ON TABLE identity.refresh_tokens TO switchboard_identity_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.reset_tokens TO switchboard_identity;

GRANT SELECT(hash) ON TABLE identity.reset_tokens TO switchboard_identity_worker;

GRANT SELECT(organization_id) ON TABLE identity.reset_tokens TO switchboard_identity_worker;

GRANT SELECT(user_id) ON TABLE identity.reset_tokens TO switchboard_identity_worker;

GRANT SELECT(expires_at) ON TABLE identity.reset_tokens TO switchboard_identity_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.sign_in_failures TO switchboard_identity;

GRANT SELECT,INSERT,UPDATE ON TABLE identity.users TO switchboard_identity;

GRANT SELECT(id) ON TABLE identity.users TO switchboard_identity_worker;

GRANT SELECT(organization_id) ON TABLE identity.users TO switchboard_identity_worker;

GRANT SELECT(external_id_blind) ON TABLE identity.users TO switchboard_identity_worker;

GRANT SELECT(email_blind) ON TABLE identity.users TO switchboard_identity_worker;

GRANT SELECT(guest) ON TABLE identity.users TO switchboard_identity_worker;

GRANT SELECT(created_at) ON TABLE identity.users TO switchboard_identity_worker;

GRANT SELECT(erased_at) ON TABLE identity.users TO switchboard_identity_worker;
