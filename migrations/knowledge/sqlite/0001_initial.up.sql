-- Times are microseconds since 1970, ids are hyphenated UUIDs, lists are JSON.

-- One row per article; what changes over its life.
CREATE TABLE articles (
    org          TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    slug         TEXT    NOT NULL,              -- '' if it has none
    version      INTEGER NOT NULL,              -- the newest one
    indexed      INTEGER NOT NULL DEFAULT 0,    -- the version that the search index holds; 0: none
    usage_count  INTEGER NOT NULL DEFAULT 0,
    success_rate REAL,
    created_at   INTEGER NOT NULL,
    archived_at  INTEGER,                       -- set: it is never cited again
    PRIMARY KEY (org, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX articles_slug ON articles (org, slug) WHERE slug <> '' AND archived_at IS NULL;
-- Rows whose index is behind; nearly always empty, so that the check at the start costs nothing.
CREATE INDEX articles_behind ON articles (org, id)
    WHERE (archived_at IS NULL AND indexed <> version) OR (archived_at IS NOT NULL AND indexed <> 0);

-- One row per version. Never edited: only is_current goes from 1 to 0.
CREATE TABLE article_versions (
    org          TEXT    NOT NULL,
    article_id   TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    is_current   INTEGER NOT NULL,
    title        TEXT    NOT NULL,
    body         TEXT    NOT NULL,
    language     TEXT    NOT NULL,
    category     TEXT    NOT NULL,
    subcategory  TEXT    NOT NULL,
    tags         TEXT    NOT NULL,
    internal     INTEGER NOT NULL,
    source       TEXT    NOT NULL,
    source_url   TEXT    NOT NULL,
    confidence   REAL    NOT NULL,
    validated_at INTEGER,
    expires_at   INTEGER,
    slug         TEXT    NOT NULL,
    errors       TEXT    NOT NULL,
    features     TEXT    NOT NULL,
    see_also     TEXT    NOT NULL,
    product      TEXT    NOT NULL,
    hash         TEXT    NOT NULL,              -- SHA-256 of the content, to see whether an import brings something new
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (org, article_id, version),
    FOREIGN KEY (org, article_id) REFERENCES articles (org, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX article_versions_current ON article_versions (org, article_id) WHERE is_current = 1;

CREATE TRIGGER article_versions_are_final BEFORE UPDATE ON article_versions
WHEN NOT (OLD.is_current = 1 AND NEW.is_current = 0 AND NEW.body = OLD.body AND NEW.title = OLD.title AND NEW.hash = OLD.hash)
BEGIN
    SELECT RAISE(ABORT, 'a version of an article is never edited');
END;

CREATE TRIGGER article_versions_stay BEFORE DELETE ON article_versions
BEGIN
    SELECT RAISE(ABORT, 'a version of an article is never deleted');
END;

-- Answers already given, by the caller's request id.
CREATE TABLE requests (
    org        TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    article_id TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, request_id)
) STRICT, WITHOUT ROWID;

-- Which generation of the index the marks in articles.indexed speak of.
CREATE TABLE index_generation (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    generation TEXT    NOT NULL
) STRICT;

-- Who changed what; each row carries the hash of the one before.
CREATE TABLE audit (
    org     TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,                   -- created | updated | archived
    article TEXT    NOT NULL,
    version INTEGER NOT NULL,
    hash    TEXT    NOT NULL,
    PRIMARY KEY (org, seq)
) STRICT, WITHOUT ROWID;
