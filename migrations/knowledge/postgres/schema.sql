CREATE SCHEMA knowledge;

CREATE FUNCTION knowledge.create_monthly_partition(month timestamp with time zone DEFAULT (now() + '1 mon'::interval)) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'knowledge', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
DECLARE
    start_date     TIMESTAMPTZ := date_trunc('month', month);
    end_date       TIMESTAMPTZ := start_date + INTERVAL '1 month';
    partition_name TEXT        := 'activity_log_' || to_char(start_date, 'YYYY_MM');
BEGIN
    IF to_regclass(partition_name) IS NOT NULL THEN RETURN; END IF;
    -- Who made it meanwhile held this lock, which attaching takes too; waiting for another one would not show the new table.
    LOCK TABLE activity_log IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass(partition_name) IS NOT NULL THEN RETURN; END IF;
    EXECUTE format('CREATE TABLE %I (LIKE activity_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition_name);
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', partition_name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', partition_name);
    EXECUTE format(
        'CREATE POLICY %I ON %I TO switchboard_knowledge
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

CREATE FUNCTION knowledge.put_indexes_behind() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'knowledge', 'pg_temp'
    AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('knowledge.index_generations', 0));
    INSERT INTO index_behind (generation, organization_id, article_id, version)
    SELECT generation, NEW.organization_id, NEW.id, CASE WHEN NEW.archived_at IS NULL THEN NEW.version END
    FROM index_generations
    ON CONFLICT (generation, organization_id, article_id) DO UPDATE SET version = excluded.version;
    RETURN NULL;
END;
$$;

CREATE FUNCTION knowledge.refuse_to_edit_a_version() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.is_current AND NOT NEW.is_current
        AND to_jsonb(NEW) - 'is_current' = to_jsonb(OLD) - 'is_current' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a version of an article is never edited or deleted';
END;
$$;

CREATE TABLE knowledge.activity_heads (
    organization_id uuid NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL
);

ALTER TABLE ONLY knowledge.activity_heads FORCE ROW LEVEL SECURITY;

CREATE TABLE knowledge.activity_log (
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

ALTER TABLE ONLY knowledge.activity_log FORCE ROW LEVEL SECURITY;

CREATE TABLE knowledge.articles (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    slug text NOT NULL,
    version integer NOT NULL,
    usage_count bigint DEFAULT 0 NOT NULL,
    success_rate double precision,
    created_at timestamp with time zone NOT NULL,
    archived_at timestamp with time zone,
    CONSTRAINT chk_success_rate CHECK (((success_rate >= (0)::double precision) AND (success_rate <= (1)::double precision))),
    CONSTRAINT chk_usage_count CHECK ((usage_count >= 0)),
    CONSTRAINT chk_version CHECK ((version >= 1))
);

ALTER TABLE ONLY knowledge.articles FORCE ROW LEVEL SECURITY;

CREATE TABLE knowledge.index_behind (
    generation uuid NOT NULL,
    organization_id uuid NOT NULL,
    article_id uuid NOT NULL,
    version integer
);

ALTER TABLE ONLY knowledge.index_behind FORCE ROW LEVEL SECURITY;

CREATE TABLE knowledge.index_generations (
    generation uuid NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    complete boolean NOT NULL
);

CREATE TABLE knowledge.knowledge_entries (
    organization_id uuid NOT NULL,
    article_id uuid NOT NULL,
    version integer NOT NULL,
    is_current boolean NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    language text NOT NULL,
    category text NOT NULL,
    subcategory text NOT NULL,
    tags text[] NOT NULL,
    internal boolean NOT NULL,
    source text NOT NULL,
    source_url text NOT NULL,
    confidence_score double precision NOT NULL,
    validated_at timestamp with time zone,
    expires_at timestamp with time zone,
    slug text NOT NULL,
    errors text[] NOT NULL,
    features text[] NOT NULL,
    see_also text[] NOT NULL,
    product text NOT NULL,
    hash text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT chk_confidence_score CHECK (((confidence_score >= (0)::double precision) AND (confidence_score <= (1)::double precision))),
    CONSTRAINT chk_version CHECK ((version >= 1))
);

ALTER TABLE ONLY knowledge.knowledge_entries FORCE ROW LEVEL SECURITY;

CREATE TABLE knowledge.requests (
    organization_id uuid NOT NULL,
    request_id uuid NOT NULL,
    article_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY knowledge.requests FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY knowledge.activity_heads
    ADD CONSTRAINT activity_heads_pkey PRIMARY KEY (organization_id);

ALTER TABLE ONLY knowledge.activity_log
    ADD CONSTRAINT activity_log_pkey PRIMARY KEY (organization_id, seq, "timestamp");

ALTER TABLE ONLY knowledge.articles
    ADD CONSTRAINT articles_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY knowledge.index_behind
    ADD CONSTRAINT index_behind_pkey PRIMARY KEY (generation, organization_id, article_id);

ALTER TABLE ONLY knowledge.index_generations
    ADD CONSTRAINT index_generations_pkey PRIMARY KEY (generation);

ALTER TABLE ONLY knowledge.knowledge_entries
    ADD CONSTRAINT knowledge_entries_pkey PRIMARY KEY (organization_id, article_id, version);

ALTER TABLE ONLY knowledge.requests
    ADD CONSTRAINT requests_pkey PRIMARY KEY (organization_id, request_id);

CREATE UNIQUE INDEX articles_slug ON knowledge.articles USING btree (organization_id, slug) WHERE ((slug <> ''::text) AND (archived_at IS NULL));

CREATE INDEX idx_knowledge_category ON knowledge.knowledge_entries USING btree (organization_id, category, article_id) WHERE is_current;

CREATE UNIQUE INDEX idx_knowledge_current ON knowledge.knowledge_entries USING btree (organization_id, article_id) WHERE is_current;

CREATE TRIGGER articles_put_indexes_behind AFTER INSERT OR UPDATE OF version, archived_at ON knowledge.articles FOR EACH ROW EXECUTE FUNCTION knowledge.put_indexes_behind();

CREATE TRIGGER knowledge_entries_are_final BEFORE DELETE OR UPDATE ON knowledge.knowledge_entries FOR EACH ROW EXECUTE FUNCTION knowledge.refuse_to_edit_a_version();

ALTER TABLE ONLY knowledge.index_behind
    ADD CONSTRAINT index_behind_generation_fkey FOREIGN KEY (generation) REFERENCES knowledge.index_generations(generation) ON DELETE CASCADE;

ALTER TABLE ONLY knowledge.knowledge_entries
    ADD CONSTRAINT knowledge_entries_organization_id_article_id_fkey FOREIGN KEY (organization_id, article_id) REFERENCES knowledge.articles(organization_id, id);

ALTER TABLE knowledge.activity_heads ENABLE ROW LEVEL SECURITY;

CREATE POLICY activity_heads_found ON knowledge.activity_heads FOR SELECT TO switchboard_knowledge_worker USING (true);

CREATE POLICY activity_heads_isolation ON knowledge.activity_heads TO switchboard_knowledge USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE knowledge.activity_log ENABLE ROW LEVEL SECURITY;

CREATE POLICY activity_log_isolation ON knowledge.activity_log TO switchboard_knowledge USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE knowledge.articles ENABLE ROW LEVEL SECURITY;

CREATE POLICY articles_isolation ON knowledge.articles TO switchboard_knowledge USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE knowledge.index_behind ENABLE ROW LEVEL SECURITY;

CREATE POLICY index_behind_found ON knowledge.index_behind FOR SELECT TO switchboard_knowledge_worker USING (true);

CREATE POLICY index_behind_isolation ON knowledge.index_behind TO switchboard_knowledge USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE knowledge.knowledge_entries ENABLE ROW LEVEL SECURITY;

CREATE POLICY knowledge_entries_isolation ON knowledge.knowledge_entries TO switchboard_knowledge USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

ALTER TABLE knowledge.requests ENABLE ROW LEVEL SECURITY;

CREATE POLICY requests_isolation ON knowledge.requests TO switchboard_knowledge USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

GRANT USAGE ON SCHEMA knowledge TO switchboard_knowledge;

GRANT USAGE ON SCHEMA knowledge TO switchboard_knowledge_worker;

REVOKE ALL ON FUNCTION knowledge.create_monthly_partition(month timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION knowledge.create_monthly_partition(month timestamp with time zone) TO switchboard_knowledge;

GRANT SELECT,INSERT,UPDATE ON TABLE knowledge.activity_heads TO switchboard_knowledge;

GRANT SELECT(organization_id) ON TABLE knowledge.activity_heads TO switchboard_knowledge_worker;

GRANT SELECT,INSERT ON TABLE knowledge.activity_log TO switchboard_knowledge;

GRANT SELECT,INSERT ON TABLE knowledge.articles TO switchboard_knowledge;

GRANT UPDATE(slug) ON TABLE knowledge.articles TO switchboard_knowledge;

GRANT UPDATE(version) ON TABLE knowledge.articles TO switchboard_knowledge;

GRANT UPDATE(archived_at) ON TABLE knowledge.articles TO switchboard_knowledge;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE knowledge.index_behind TO switchboard_knowledge;

GRANT SELECT ON TABLE knowledge.index_behind TO switchboard_knowledge_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE knowledge.index_generations TO switchboard_knowledge;

GRANT SELECT,INSERT ON TABLE knowledge.knowledge_entries TO switchboard_knowledge;

GRANT UPDATE(is_current) ON TABLE knowledge.knowledge_entries TO switchboard_knowledge;

GRANT SELECT,INSERT ON TABLE knowledge.requests TO switchboard_knowledge;
