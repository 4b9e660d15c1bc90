-- Times are microseconds since 1970, ids hyphenated UUIDs. What was said, and to whom, is not kept.

CREATE TABLE deliveries (
    id         TEXT PRIMARY KEY,
    org        TEXT NOT NULL,
    key        TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('email', 'slack', 'webhook')),
    status     TEXT NOT NULL CHECK (status IN ('delivering', 'delivered', 'failed')),
    transport  TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (org, key)
) STRICT;
CREATE INDEX deliveries_by_time ON deliveries (org, created_at, id);
-- What a process that died left open; nearly always empty.
CREATE INDEX deliveries_open ON deliveries (status) WHERE status = 'delivering';
