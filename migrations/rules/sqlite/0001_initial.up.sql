-- Which bundle decided when.
CREATE TABLE activation (
    position INTEGER PRIMARY KEY AUTOINCREMENT, -- order of activation; clocks may go backwards
    organization_id TEXT NOT NULL,              -- the nil UUID: the whole installation
    version TEXT NOT NULL,                      -- content hash of the bundle
    name TEXT NOT NULL,
    activated_at INTEGER NOT NULL,              -- microseconds since 1970
    files TEXT NOT NULL                         -- JSON: path to content, so that an old decision can be replayed
) STRICT;

CREATE INDEX activation_by_organization ON activation (organization_id, position);
