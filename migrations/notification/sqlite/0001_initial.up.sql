-- Times are microseconds since 1970, ids hyphenated UUIDs. What was said, and to whom, is not kept: keyed hashes find a person's
-- deliveries again, when the person is known.

CREATE TABLE deliveries (
    organization_id TEXT NOT NULL,
    id              TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    kind            TEXT NOT NULL CONSTRAINT chk_deliveries_kind CHECK (kind IN ('email', 'slack', 'webhook')),
    status          TEXT NOT NULL CONSTRAINT chk_deliveries_status CHECK (status IN ('delivering', 'delivered', 'failed')),
    transport       TEXT NOT NULL,
    -- keyed hash of the address, of the user
    recipient_index BLOB,
    person_index    BLOB,
    -- who has it in hand, and until when at most
    claimed_by      TEXT,
    claimed_until   INTEGER,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, idempotency_key),
    CONSTRAINT chk_deliveries_claim CHECK ((status = 'delivering') = (claimed_by IS NOT NULL)
                                           AND (claimed_by IS NULL) = (claimed_until IS NULL))
) STRICT;
CREATE INDEX deliveries_by_time ON deliveries (organization_id, created_at, id);
CREATE INDEX deliveries_by_recipient ON deliveries (organization_id, recipient_index) WHERE recipient_index IS NOT NULL;
CREATE INDEX deliveries_by_person ON deliveries (organization_id, person_index) WHERE person_index IS NOT NULL;
-- What is in hand, or was in the hand of a process that died; nearly always empty.
CREATE INDEX deliveries_open ON deliveries (claimed_until) WHERE status = 'delivering';

-- Wrapped keys of the hashes.
CREATE TABLE index_keys (
    organization_id TEXT    NOT NULL PRIMARY KEY,
    wrapped_key     BLOB    NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
