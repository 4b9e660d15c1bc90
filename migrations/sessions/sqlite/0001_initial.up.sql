-- Documents that left the ledger: how conversations stood, and what their turns were given. Rows are inserted and deleted,
-- never changed. Times are microseconds since 1970, ids are UUIDs as text.
CREATE TABLE documents (
    organization_id TEXT    NOT NULL,
    conversation_id TEXT    NOT NULL,
    person_id       TEXT    NOT NULL,
    kind            TEXT    NOT NULL CHECK (kind IN ('snapshot', 'capsule')),
    seq             INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    -- Of what is sealed in the body.
    schema          INTEGER NOT NULL,
    -- Sealed under a key of the ledger.
    body            BLOB    NOT NULL,
    PRIMARY KEY (conversation_id, seq, kind)
);
CREATE INDEX documents_by_time ON documents (organization_id, kind, created_at, conversation_id, seq);
CREATE INDEX documents_by_age ON documents (created_at);
