-- Articles, what each search index lacks of them, and who changed what. Ids are UUIDs, times TIMESTAMPTZ. Nothing here is
-- personal but the ids of those who changed something: articles are the company's own text.
--
-- switchboard_knowledge sees the rows of the organization in app.current_org_id. switchboard_knowledge_worker sees, of all
-- organizations, which articles an index lacks.

-- One row per article; what changes over its life.
CREATE TABLE articles (
    organization_id UUID             NOT NULL,
    id              UUID             NOT NULL,
    slug            TEXT             NOT NULL,              -- '' if it has none
    version         INTEGER          NOT NULL CONSTRAINT chk_version CHECK (version >= 1),      -- the newest one
    usage_count     BIGINT           NOT NULL DEFAULT 0 CONSTRAINT chk_usage_count CHECK (usage_count >= 0),
    success_rate    DOUBLE PRECISION CONSTRAINT chk_success_rate CHECK (success_rate BETWEEN 0 AND 1),
    created_at      TIMESTAMPTZ      NOT NULL,
    archived_at     TIMESTAMPTZ,                            -- set: it is never cited again
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX articles_slug ON articles (organization_id, slug) WHERE slug <> '' AND archived_at IS NULL;
ALTER TABLE articles ENABLE ROW LEVEL SECURITY;
ALTER TABLE articles FORCE ROW LEVEL SECURITY;
CREATE POLICY articles_isolation ON articles TO switchboard_knowledge
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
GRANT SELECT, INSERT ON articles TO switchboard_knowledge;
GRANT UPDATE (slug, version, archived_at) ON articles TO switchboard_knowledge;

-- One row per version. Never edited: only is_current goes from true to false.
CREATE TABLE knowledge_entries (
    organization_id  UUID             NOT NULL,
    article_id       UUID             NOT NULL,
    version          INTEGER          NOT NULL CONSTRAINT chk_version CHECK (version >= 1),
    is_current       BOOLEAN          NOT NULL,
    title            TEXT             NOT NULL,
    body             TEXT             NOT NULL,
    language         TEXT             NOT NULL,
    category         TEXT             NOT NULL,
    subcategory      TEXT             NOT NULL,
    tags             TEXT[]           NOT NULL,
    internal         BOOLEAN          NOT NULL,
    source           TEXT             NOT NULL,
    source_url       TEXT             NOT NULL,
    confidence_score DOUBLE PRECISION NOT NULL CONSTRAINT chk_confidence_score CHECK (confidence_score BETWEEN 0 AND 1),
    validated_at     TIMESTAMPTZ,
    expires_at       TIMESTAMPTZ,
    slug             TEXT             NOT NULL,
    errors           TEXT[]           NOT NULL,
    features         TEXT[]           NOT NULL,
    see_also         TEXT[]           NOT NULL,
    product          TEXT             NOT NULL,
    hash             TEXT             NOT NULL,             -- SHA-256 of the content, to see whether an import brings something new
    created_at       TIMESTAMPTZ      NOT NULL,
    PRIMARY KEY (organization_id, article_id, version),
    FOREIGN KEY (organization_id, article_id) REFERENCES articles (organization_id, id)
);
CREATE UNIQUE INDEX idx_knowledge_current ON knowledge_entries (organization_id, article_id) WHERE is_current;
CREATE INDEX idx_knowledge_category ON knowledge_entries (organization_id, category, article_id) WHERE is_current;
ALTER TABLE knowledge_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE knowledge_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY knowledge_entries_isolation ON knowledge_entries TO switchboard_knowledge
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
GRANT SELECT, INSERT ON knowledge_entries TO switchboard_knowledge;
GRANT UPDATE (is_current) ON knowledge_entries TO switchboard_knowledge;

-- Holds whoever owns the table too.
CREATE FUNCTION refuse_to_edit_a_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.is_current AND NOT NEW.is_current
        AND to_jsonb(NEW) - 'is_current' = to_jsonb(OLD) - 'is_current' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a version of an article is never edited or deleted';
END;
$$;
CREATE TRIGGER knowledge_entries_are_final BEFORE UPDATE OR DELETE ON knowledge_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_to_edit_a_version();

-- Answers already given, by the caller's request id.
CREATE TABLE requests (
    organization_id UUID        NOT NULL,
    request_id      UUID        NOT NULL,
    article_id      UUID        NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization_id, request_id)
);
ALTER TABLE requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE requests FORCE ROW LEVEL SECURITY;
CREATE POLICY requests_isolation ON requests TO switchboard_knowledge
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
GRANT SELECT, INSERT ON requests TO switchboard_knowledge;

-- ---------------------------------------------------------------------------------------------------------------------
-- What search indexes lack

-- The indexes there are: each replica has its own.
CREATE TABLE index_generations (
    generation UUID        PRIMARY KEY,
    seen_at    TIMESTAMPTZ NOT NULL,    -- when it was last known to be in use
    complete   BOOLEAN     NOT NULL     -- false while index_behind is being filled for it
);
GRANT SELECT, INSERT, UPDATE, DELETE ON index_generations TO switchboard_knowledge;

-- The articles that an index holds in another version than this one; none: it should not hold the article at all.
CREATE TABLE index_behind (
    generation      UUID    NOT NULL REFERENCES index_generations (generation) ON DELETE CASCADE,
    organization_id UUID    NOT NULL,
    article_id      UUID    NOT NULL,
    version         INTEGER,
    PRIMARY KEY (generation, organization_id, article_id)
);
ALTER TABLE index_behind ENABLE ROW LEVEL SECURITY;
ALTER TABLE index_behind FORCE ROW LEVEL SECURITY;
CREATE POLICY index_behind_isolation ON index_behind TO switchboard_knowledge
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
CREATE POLICY index_behind_found ON index_behind FOR SELECT TO switchboard_knowledge_worker USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON index_behind TO switchboard_knowledge;
GRANT SELECT ON index_behind TO switchboard_knowledge_worker;

-- No write can forget an index. The lock keeps generations from coming and going meanwhile: one that came would not get this
-- article, one that went would fail the write.
CREATE FUNCTION put_indexes_behind() RETURNS trigger LANGUAGE plpgsql SET search_path = knowledge, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('knowledge.index_generations', 0));
    INSERT INTO index_behind (generation, organization_id, article_id, version)
    SELECT generation, NEW.organization_id, NEW.id, CASE WHEN NEW.archived_at IS NULL THEN NEW.version END
    FROM index_generations
    ON CONFLICT (generation, organization_id, article_id) DO UPDATE SET version = excluded.version;
    RETURN NULL;
END;
$$;
CREATE TRIGGER articles_put_indexes_behind AFTER INSERT OR UPDATE OF version, archived_at ON articles
    FOR EACH ROW EXECUTE FUNCTION put_indexes_behind();

-- ---------------------------------------------------------------------------------------------------------------------
-- Who did what

-- The last row of each organization's log. Whoever writes anything of an organization holds it first: so the chain has no
-- fork, writers of one organization go one after the other and never wait for each other in a circle, and a log whose end
-- was cut off shows.
CREATE TABLE activity_heads (
    organization_id UUID   PRIMARY KEY,
    seq             BIGINT NOT NULL,
    hash            BYTEA  NOT NULL
);
ALTER TABLE activity_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE activity_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY activity_heads_isolation ON activity_heads TO switchboard_knowledge
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
CREATE POLICY activity_heads_found ON activity_heads FOR SELECT TO switchboard_knowledge_worker USING (true);
GRANT SELECT, INSERT, UPDATE ON activity_heads TO switchboard_knowledge;
GRANT SELECT (organization_id) ON activity_heads TO switchboard_knowledge_worker;

-- Each row's hash covers the row and the hash of the one before. The service cannot change or delete one, and what somebody
-- else changes shows. Partitions are made by the write that needs one first.
CREATE TABLE activity_log (
    organization_id UUID         NOT NULL,
    seq             BIGINT       NOT NULL,
    timestamp       TIMESTAMPTZ  NOT NULL,
    user_id         UUID,                       -- who did it; none: the service itself
    action          VARCHAR(100) NOT NULL,      -- created | updated | archived
    resource_type   VARCHAR(50)  NOT NULL,      -- article
    resource_id     UUID         NOT NULL,
    details         JSONB        NOT NULL,      -- {"version": …}
    hash            BYTEA        NOT NULL,
    PRIMARY KEY (organization_id, seq, timestamp)
) PARTITION BY RANGE (timestamp);
ALTER TABLE activity_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE activity_log FORCE ROW LEVEL SECURITY;
CREATE POLICY activity_log_isolation ON activity_log TO switchboard_knowledge
    USING (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
GRANT SELECT, INSERT ON activity_log TO switchboard_knowledge;

-- Makes the partition of a month, the next one unless told otherwise, if it is not there. It acts as the owner of the
-- tables, which the service is not. The table is made first and attached then: other writers go on meanwhile.
CREATE FUNCTION create_monthly_partition(month TIMESTAMPTZ DEFAULT now() + INTERVAL '1 month') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = knowledge, pg_temp SET timezone = 'UTC' AS $$
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
REVOKE ALL ON FUNCTION create_monthly_partition(TIMESTAMPTZ) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION create_monthly_partition(TIMESTAMPTZ) TO switchboard_knowledge;
