-- Times are microseconds since 1970, ids are hyphenated UUIDs, lists are JSON. Nothing here is personal but the ids of those
-- who changed something: articles are the company's own text.

-- One row per article; what changes over its life.
CREATE TABLE articles (
    organization_id TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    slug            TEXT    NOT NULL,              -- '' if it has none
    version         INTEGER NOT NULL CONSTRAINT chk_version CHECK (version >= 1),   -- the newest one
    usage_count     INTEGER NOT NULL DEFAULT 0 CONSTRAINT chk_usage_count CHECK (usage_count >= 0),
    success_rate    REAL    CONSTRAINT chk_success_rate CHECK (success_rate BETWEEN 0 AND 1),
    created_at      INTEGER NOT NULL,
    archived_at     INTEGER,                       -- set: it is never cited again
    PRIMARY KEY (organization_id, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX articles_slug ON articles (organization_id, slug) WHERE slug <> '' AND archived_at IS NULL;

-- One row per version. Never edited: only is_current goes from 1 to 0.
CREATE TABLE knowledge_entries (
    organization_id  TEXT    NOT NULL,
    article_id       TEXT    NOT NULL,
    version          INTEGER NOT NULL CONSTRAINT chk_version CHECK (version >= 1),
    is_current       INTEGER NOT NULL,
    title            TEXT    NOT NULL,
    body             TEXT    NOT NULL,
    language         TEXT    NOT NULL,
    category         TEXT    NOT NULL,
    subcategory      TEXT    NOT NULL,
    tags             TEXT    NOT NULL,
    internal         INTEGER NOT NULL,
    source           TEXT    NOT NULL,
    source_url       TEXT    NOT NULL,
    confidence_score REAL    NOT NULL CONSTRAINT chk_confidence_score CHECK (confidence_score BETWEEN 0 AND 1),
    validated_at     INTEGER,
    expires_at       INTEGER,
    slug             TEXT    NOT NULL,
    errors           TEXT    NOT NULL,
    features         TEXT    NOT NULL,
    see_also         TEXT    NOT NULL,
    product          TEXT    NOT NULL,
    hash             TEXT    NOT NULL,              -- SHA-256 of the content, to see whether an import brings something new
    created_at       INTEGER NOT NULL,
    PRIMARY KEY (organization_id, article_id, version),
    FOREIGN KEY (organization_id, article_id) REFERENCES articles (organization_id, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX idx_knowledge_current ON knowledge_entries (organization_id, article_id) WHERE is_current = 1;
CREATE INDEX idx_knowledge_category ON knowledge_entries (organization_id, category, article_id) WHERE is_current = 1;

CREATE TRIGGER knowledge_entries_are_final BEFORE UPDATE OF
    organization_id, article_id, version, title, body, language, category, subcategory, tags, internal, source, source_url,
    confidence_score, validated_at, expires_at, slug, errors, features, see_also, product, hash, created_at
ON knowledge_entries BEGIN
    SELECT RAISE(ABORT, 'a version of an article is never edited or deleted');
END;
CREATE TRIGGER knowledge_entries_stay_old BEFORE UPDATE OF is_current ON knowledge_entries
WHEN NOT (OLD.is_current = 1 AND NEW.is_current = 0) BEGIN
    SELECT RAISE(ABORT, 'a version of an article is never edited or deleted');
END;
CREATE TRIGGER knowledge_entries_stay BEFORE DELETE ON knowledge_entries BEGIN
    SELECT RAISE(ABORT, 'a version of an article is never edited or deleted');
END;

-- Answers already given, by the caller's request id.
CREATE TABLE requests (
    organization_id TEXT    NOT NULL,
    request_id      TEXT    NOT NULL,
    article_id      TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, request_id)
) STRICT, WITHOUT ROWID;

-- The indexes there are: one that was lost is followed by another.
CREATE TABLE index_generations (
    generation TEXT    PRIMARY KEY,
    seen_at    INTEGER NOT NULL,    -- when it was last known to be in use
    complete   INTEGER NOT NULL     -- 0 while index_behind is being filled for it
) STRICT, WITHOUT ROWID;

-- The articles that an index holds in another version than this one; none: it should not hold the article at all.
CREATE TABLE index_behind (
    generation      TEXT    NOT NULL REFERENCES index_generations (generation) ON DELETE CASCADE,
    organization_id TEXT    NOT NULL,
    article_id      TEXT    NOT NULL,
    version         INTEGER,
    PRIMARY KEY (generation, organization_id, article_id)
) STRICT, WITHOUT ROWID;

-- No write can forget an index.
CREATE TRIGGER articles_put_indexes_behind AFTER INSERT ON articles BEGIN
    INSERT INTO index_behind (generation, organization_id, article_id, version)
    SELECT generation, NEW.organization_id, NEW.id, NEW.version FROM index_generations;
END;
CREATE TRIGGER articles_put_indexes_behind_again AFTER UPDATE OF version, archived_at ON articles BEGIN
    INSERT INTO index_behind (generation, organization_id, article_id, version)
    SELECT generation, NEW.organization_id, NEW.id, CASE WHEN NEW.archived_at IS NULL THEN NEW.version END
    FROM index_generations WHERE true
    ON CONFLICT (generation, organization_id, article_id) DO UPDATE SET version = excluded.version;
END;

-- The last row of each organization's log: a log whose end was cut off shows.
CREATE TABLE activity_heads (
    organization_id TEXT    PRIMARY KEY,
    seq             INTEGER NOT NULL,
    hash            BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Each row's hash covers the row and the hash of the one before.
CREATE TABLE activity_log (
    organization_id TEXT    NOT NULL,
    seq             INTEGER NOT NULL,
    timestamp       INTEGER NOT NULL,
    user_id         TEXT,                          -- who did it; none: the service itself
    action          TEXT    NOT NULL,              -- created | updated | archived
    resource_type   TEXT    NOT NULL,              -- article
    resource_id     TEXT    NOT NULL,
    details         TEXT    NOT NULL,              -- {"version": …}
    hash            BLOB    NOT NULL,
    PRIMARY KEY (organization_id, seq)
) STRICT, WITHOUT ROWID;
