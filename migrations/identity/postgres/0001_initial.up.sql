-- Ids are UUIDs, times TIMESTAMPTZ, hashes SHA-256, actors and roles words. A "sealed" column is noise without the person's
-- key (ADR 0010); a "_blind" one is a keyed hash by which a sealed value is found. Both are made by the program.
--
-- switchboard_identity sees the rows of the organization in app.current_org_id. switchboard_identity_worker sees, of all
-- organizations, the columns that say whose a token or a name is, and what is due: it finds, the other one acts. Its policies
-- ask who acts, because whoever owns the tables is a member of both roles and would else see everything.

-- ---------------------------------------------------------------------------------------------------------------------
-- Of the installation

-- What was made once and is kept: the signing key, the secret that one-time tokens are derived from, the id of the demo
-- organization, the key of the blind indexes. Each value is sealed under a key of its own, which a master key wraps; where
-- the key itself is what is kept there is no value.
CREATE TABLE keys (
    name        TEXT        PRIMARY KEY,
    wrapped_key BYTEA       NOT NULL,
    value       BYTEA,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE ON keys TO switchboard_identity;

-- By the blind index of the name that was typed: names that nobody has are counted too. Whoever signs in says no
-- organization, so these rows have none.
CREATE TABLE sign_in_failures (
    name_blind BYTEA       PRIMARY KEY,
    failures   INTEGER     NOT NULL,
    last_at    TIMESTAMPTZ NOT NULL
);
CREATE INDEX sign_in_failures_by_time ON sign_in_failures (last_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON sign_in_failures TO switchboard_identity;

-- Work that one replica does for all: due when its time has come, then due again later.
CREATE TABLE duties (
    name TEXT        PRIMARY KEY,
    due  TIMESTAMPTZ NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON duties TO switchboard_identity;

-- ---------------------------------------------------------------------------------------------------------------------
-- Of an organization

CREATE TABLE organizations (
    id                UUID        PRIMARY KEY,
    name              TEXT        NOT NULL,
    salesforce_org_id TEXT        CONSTRAINT organizations_salesforce_org_id_key UNIQUE,   -- none: not connected
    subscription_tier TEXT        NOT NULL DEFAULT 'standard',
    settings          JSONB       NOT NULL DEFAULT '{}' CONSTRAINT chk_settings CHECK (jsonb_typeof(settings) = 'object'),
    guests_allowed    BOOLEAN     NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL,
    updated_at        TIMESTAMPTZ NOT NULL,
    CONSTRAINT chk_subscription_tier CHECK (subscription_tier IN ('free', 'standard', 'professional', 'enterprise'))
);
ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE organizations FORCE ROW LEVEL SECURITY;
CREATE POLICY organizations_isolation ON organizations TO switchboard_identity
    USING (id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (id = nullif(current_setting('app.current_org_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE ON organizations TO switchboard_identity;

-- Whoever was erased keeps the row, so that the id in other services' rows can be explained: nothing in it is personal.
-- An unused request id, email address or external id is NULL. The unique constraints begin with what is looked up, since a
-- sign-in says no organization; their order is the one in which they are checked.
CREATE TABLE users (
    id                UUID        PRIMARY KEY,
    organization_id   UUID        NOT NULL REFERENCES organizations (id),
    request_id        UUID,
    external_id       BYTEA,      -- sealed
    external_id_blind BYTEA,
    email             BYTEA,      -- sealed
    email_blind       BYTEA,
    full_name         BYTEA,      -- sealed; none if it is empty
    role              TEXT        NOT NULL,
    subscription_tier TEXT        NOT NULL DEFAULT 'standard',
    guest             BOOLEAN     NOT NULL,          -- a web visitor who never signed in
    created_at        TIMESTAMPTZ NOT NULL,
    updated_at        TIMESTAMPTZ NOT NULL,
    erased_at         TIMESTAMPTZ,
    CONSTRAINT users_request_id_key UNIQUE (organization_id, request_id),
    CONSTRAINT users_external_id_key UNIQUE (external_id_blind, organization_id),
    CONSTRAINT users_email_key UNIQUE (email_blind, organization_id),
    CONSTRAINT users_organization_key UNIQUE (organization_id, id),
    CONSTRAINT chk_role CHECK (role IN ('customer', 'agent', 'supervisor', 'admin', 'service')),
    CONSTRAINT chk_subscription_tier CHECK (subscription_tier IN ('free', 'standard', 'professional', 'enterprise')),
    CONSTRAINT chk_erased CHECK (erased_at IS NULL OR (external_id IS NULL AND external_id_blind IS NULL
        AND email IS NULL AND email_blind IS NULL AND full_name IS NULL))
);
-- Guests whose time is up.
CREATE INDEX users_guests ON users (created_at) WHERE guest AND erased_at IS NULL;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY users_isolation ON users TO switchboard_identity
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
CREATE POLICY users_found ON users FOR SELECT TO switchboard_identity_worker
    USING (current_user = 'switchboard_identity_worker');
GRANT SELECT, INSERT, UPDATE ON users TO switchboard_identity;
GRANT SELECT (id, organization_id, external_id_blind, email_blind, guest, created_at, erased_at)
    ON users TO switchboard_identity_worker;

-- One key per person, wrapped by the master key of this number. Erasing the person deletes it.
CREATE TABLE person_keys (
    organization_id UUID        NOT NULL,
    person_id       UUID        NOT NULL,
    master          SMALLINT    NOT NULL,
    wrapped_key     BYTEA       NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization_id, person_id),
    FOREIGN KEY (organization_id, person_id) REFERENCES users (organization_id, id),
    CONSTRAINT chk_master CHECK (master = get_byte(wrapped_key, 0))
);
-- Keys that an older master wraps.
CREATE INDEX person_keys_by_master ON person_keys (master);
ALTER TABLE person_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE person_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY person_keys_isolation ON person_keys TO switchboard_identity
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
CREATE POLICY person_keys_found ON person_keys FOR SELECT TO switchboard_identity_worker
    USING (current_user = 'switchboard_identity_worker');
GRANT SELECT, INSERT, UPDATE, DELETE ON person_keys TO switchboard_identity;
GRANT SELECT (organization_id, person_id, master) ON person_keys TO switchboard_identity_worker;

CREATE TABLE credentials (
    organization_id UUID        NOT NULL,
    user_id         UUID        NOT NULL,
    password_hash   BYTEA       NOT NULL,   -- sealed
    updated_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization_id, user_id),
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id)
);
ALTER TABLE credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY credentials_isolation ON credentials TO switchboard_identity
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
CREATE POLICY credentials_found ON credentials FOR SELECT TO switchboard_identity_worker
    USING (current_user = 'switchboard_identity_worker');
GRANT SELECT, INSERT, UPDATE, DELETE ON credentials TO switchboard_identity;
GRANT SELECT (organization_id, user_id) ON credentials TO switchboard_identity_worker;

-- A family is what came from one sign-in. A token is used once; used again, its family ends.
CREATE TABLE refresh_tokens (
    hash            BYTEA       PRIMARY KEY,
    family          UUID        NOT NULL,
    organization_id UUID        NOT NULL,
    user_id         UUID        NOT NULL,
    guest           BOOLEAN     NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    expires_at      TIMESTAMPTZ NOT NULL,
    used_at         TIMESTAMPTZ,
    revoked_at      TIMESTAMPTZ,
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id)
);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (organization_id, user_id);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);
ALTER TABLE refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE refresh_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY refresh_tokens_isolation ON refresh_tokens TO switchboard_identity
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
CREATE POLICY refresh_tokens_found ON refresh_tokens FOR SELECT TO switchboard_identity_worker
    USING (current_user = 'switchboard_identity_worker');
GRANT SELECT, INSERT, UPDATE, DELETE ON refresh_tokens TO switchboard_identity;
GRANT SELECT (hash, organization_id, user_id, expires_at, revoked_at) ON refresh_tokens TO switchboard_identity_worker;

CREATE TABLE reset_tokens (
    hash            BYTEA       PRIMARY KEY,
    organization_id UUID        NOT NULL,
    request_id      UUID        NOT NULL,
    user_id         UUID        NOT NULL,
    expires_at      TIMESTAMPTZ NOT NULL,
    used_at         TIMESTAMPTZ,
    CONSTRAINT reset_tokens_request_id_key UNIQUE (organization_id, request_id),
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id)
);
CREATE INDEX reset_tokens_by_user ON reset_tokens (organization_id, user_id);
CREATE INDEX reset_tokens_by_end ON reset_tokens (expires_at);
ALTER TABLE reset_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE reset_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY reset_tokens_isolation ON reset_tokens TO switchboard_identity
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
CREATE POLICY reset_tokens_found ON reset_tokens FOR SELECT TO switchboard_identity_worker
    USING (current_user = 'switchboard_identity_worker');
GRANT SELECT, INSERT, UPDATE, DELETE ON reset_tokens TO switchboard_identity;
GRANT SELECT (hash, organization_id, user_id, expires_at) ON reset_tokens TO switchboard_identity_worker;

-- ---------------------------------------------------------------------------------------------------------------------
-- Who did what

-- The last row of each organization's log: whoever writes the next one holds it, so that the chain has no fork, and a log
-- whose end was cut off shows.
CREATE TABLE activity_heads (
    organization_id UUID   PRIMARY KEY REFERENCES organizations (id),
    seq             BIGINT NOT NULL,
    hash            BYTEA  NOT NULL
);
ALTER TABLE activity_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE activity_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY activity_heads_isolation ON activity_heads TO switchboard_identity
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE ON activity_heads TO switchboard_identity;

-- Each row's hash covers the row and the hash of the one before. Nobody may change or delete one. Details are numbers: no
-- person's words can get in. Partitions are made by the program, two months at a time.
CREATE TABLE activity_log (
    organization_id UUID         NOT NULL,
    seq             BIGINT       NOT NULL,
    timestamp       TIMESTAMPTZ  NOT NULL,
    user_id         UUID,                    -- who did it; none: the installation itself
    action          VARCHAR(100) NOT NULL,
    resource_type   VARCHAR(50)  NOT NULL,
    resource_id     UUID         NOT NULL,
    details         JSONB        NOT NULL,
    hash            BYTEA        NOT NULL,
    PRIMARY KEY (organization_id, seq, timestamp)
) PARTITION BY RANGE (timestamp);
CREATE INDEX idx_activity_log_user ON activity_log (organization_id, user_id);
CREATE INDEX idx_activity_log_resource ON activity_log (organization_id, resource_id);
ALTER TABLE activity_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE activity_log FORCE ROW LEVEL SECURITY;
CREATE POLICY activity_log_isolation ON activity_log TO switchboard_identity
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
GRANT SELECT, INSERT ON activity_log TO switchboard_identity;

-- Makes the partition of a month, the next one unless told otherwise, if it is not there. It acts as the owner of the
-- tables, which the service is not. The table is made first and attached then: that keeps nobody from writing meanwhile.
CREATE FUNCTION create_monthly_partition(month TIMESTAMPTZ DEFAULT now() + INTERVAL '1 month') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = identity, pg_temp SET timezone = 'UTC' AS $$
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
REVOKE ALL ON FUNCTION create_monthly_partition(TIMESTAMPTZ) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION create_monthly_partition(TIMESTAMPTZ) TO switchboard_identity;
