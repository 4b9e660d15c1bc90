-- The ledger of conversations. Times are microseconds since 1970, ids are UUIDs as text, JSON is text.
-- Every table carries the organization; every statement names it.

CREATE TABLE conversations (
    id               TEXT PRIMARY KEY,
    org              TEXT NOT NULL,
    user_id          TEXT NOT NULL,
    channel          TEXT NOT NULL CHECK (channel IN ('web', 'mobile', 'email', 'slack', 'api', 'phone')),
    status           TEXT NOT NULL CHECK (status IN ('active', 'waiting', 'resolved', 'escalated', 'abandoned')),
    owner            TEXT NOT NULL CHECK (owner IN ('ai', 'human', 'none')),
    -- Writes are compare-and-set on these two.
    seq              INTEGER NOT NULL,
    owner_epoch      INTEGER NOT NULL,
    assigned_to      TEXT,
    language         TEXT NOT NULL,
    metadata         TEXT NOT NULL,
    context          TEXT NOT NULL,
    -- What the turn remembers: open flow, counters. Nobody else reads it.
    state            TEXT NOT NULL,
    -- The newest customer message, and the newest one that was answered (or that a human owns).
    last_user_seq    INTEGER NOT NULL,
    answered_seq     INTEGER NOT NULL,
    turn_token       TEXT,
    turn_until       INTEGER,
    created_at       INTEGER NOT NULL,
    last_activity_at INTEGER NOT NULL,
    ended_at         INTEGER,
    resolution_type  TEXT CHECK (resolution_type IN ('automated', 'human', 'abandoned', 'escalated')),
    -- True if nobody confirmed the resolution.
    assumed          INTEGER NOT NULL DEFAULT 0,
    rating           INTEGER CHECK (rating BETWEEN 1 AND 5),
    rating_comment   TEXT NOT NULL DEFAULT '',
    previous_id      TEXT,
    response_count   INTEGER NOT NULL DEFAULT 0,
    response_micros  INTEGER NOT NULL DEFAULT 0,
    request_id       TEXT,
    fingerprint      TEXT
);
CREATE UNIQUE INDEX conversations_request ON conversations (org, user_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX conversations_by_user ON conversations (org, user_id, last_activity_at DESC, id);
CREATE INDEX conversations_by_org ON conversations (org, last_activity_at DESC, id);
CREATE INDEX conversations_open ON conversations (last_activity_at) WHERE status IN ('active', 'waiting');
CREATE INDEX conversations_unanswered ON conversations (turn_until) WHERE answered_seq < last_user_seq;

CREATE TABLE messages (
    conversation_id   TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    seq               INTEGER NOT NULL,
    id                TEXT NOT NULL UNIQUE,
    org               TEXT NOT NULL,
    sender_type       TEXT NOT NULL CHECK (sender_type IN ('user', 'ai_agent', 'human_agent', 'system')),
    sender_id         TEXT,
    content           TEXT NOT NULL,
    content_type      TEXT NOT NULL CHECK (content_type IN ('text', 'image', 'file', 'code', 'error_log')),
    attachments       TEXT NOT NULL,
    intent            TEXT,
    intent_confidence REAL,
    sentiment_score   REAL,
    entities          TEXT NOT NULL,
    citations         TEXT NOT NULL,
    metadata          TEXT NOT NULL,
    created_at        INTEGER NOT NULL,
    client_message_id TEXT,
    -- For a customer's message: the seq of the reply that answers it.
    reply_seq         INTEGER,
    -- For a reply: the turn's outcome and its receipt.
    outcome           TEXT,
    receipt           TEXT,
    PRIMARY KEY (conversation_id, seq)
) WITHOUT ROWID;
-- Customers and agents count their ids apart.
CREATE UNIQUE INDEX messages_client_id ON messages (conversation_id, sender_type, client_message_id) WHERE client_message_id IS NOT NULL;

CREATE TABLE status_events (
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    seq             INTEGER NOT NULL,
    id              TEXT NOT NULL,
    org             TEXT NOT NULL,
    body            TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, seq)
) WITHOUT ROWID;

CREATE TABLE escalations (
    id              TEXT PRIMARY KEY,
    org             TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    priority        INTEGER NOT NULL,
    sla_deadline    INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    resolved_at     INTEGER,
    body            TEXT NOT NULL
);
CREATE INDEX escalations_of ON escalations (conversation_id, created_at);
CREATE INDEX escalations_due ON escalations (sla_deadline)
    WHERE resolved_at IS NULL AND json_extract(body, '$.breached') = 0 AND json_extract(body, '$.assigned_to') IS NULL;
CREATE INDEX escalations_queue ON escalations (org, priority DESC, sla_deadline, id) WHERE resolved_at IS NULL;

-- The effect ledger: every outside write is a row here before it is tried.
CREATE TABLE effects (
    id              TEXT PRIMARY KEY,
    org             TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id         TEXT NOT NULL,
    action_type     TEXT NOT NULL,
    parameters      TEXT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    attempts        INTEGER NOT NULL,
    result          TEXT NOT NULL,
    last_error      TEXT NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    ended_at        INTEGER,
    UNIQUE (org, idempotency_key)
);
CREATE INDEX effects_due ON effects (next_attempt_at) WHERE status IN ('pending', 'running');
-- What a person writes on a case in Salesforce finds its conversation.
CREATE INDEX effects_case ON effects (org, json_extract(result, '$.case_number')) WHERE action_type = 'create_case';
CREATE INDEX effects_by_org ON effects (org, id DESC);

CREATE TABLE drafts (
    id              TEXT PRIMARY KEY,
    org             TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_message_id TEXT NOT NULL,
    content         TEXT NOT NULL,
    citations       TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    sent_at         INTEGER
);
CREATE INDEX drafts_of ON drafts (conversation_id, id);

CREATE TABLE notes (
    id              TEXT PRIMARY KEY,
    org             TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    author_id       TEXT NOT NULL,
    content         TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    request_id      TEXT,
    UNIQUE (conversation_id, author_id, request_id)
);

-- Which reply rests on which article version.
CREATE TABLE citations (
    org             TEXT NOT NULL,
    article_id      TEXT NOT NULL,
    message_id      TEXT NOT NULL,
    version         INTEGER NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (org, article_id, message_id, version)
) WITHOUT ROWID;

-- Events that have not been handed to the bus yet.
CREATE TABLE outbox (
    position        INTEGER PRIMARY KEY AUTOINCREMENT,
    org             TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    seq             INTEGER NOT NULL
);

-- Where each outside feed was read up to; moved in the transaction of what it caused.
CREATE TABLE cursors (
    org   TEXT NOT NULL,
    feed  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (org, feed)
);
