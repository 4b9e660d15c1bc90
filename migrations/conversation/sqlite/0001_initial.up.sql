-- The ledger of conversations. Times are microseconds since 1970, ids are UUIDs as text, JSON is text.
-- Every table carries the organization; every statement names it.
-- What people wrote or are called is sealed (BLOB) under the key of the conversation's customer; what is queried is not.

CREATE TABLE person_keys (
    organization_id TEXT NOT NULL,
    person_id       TEXT NOT NULL,
    -- Conversations name the key that seals them: somebody who comes back after an erasure gets another one.
    key_id          TEXT PRIMARY KEY,
    wrapped_key     BLOB NOT NULL,
    -- Number of the master key that wraps it.
    master_key      INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    UNIQUE (organization_id, person_id)
) WITHOUT ROWID;
CREATE INDEX person_keys_by_master ON person_keys (master_key);

CREATE TABLE conversations (
    id               TEXT PRIMARY KEY,
    organization_id  TEXT NOT NULL,
    user_id          TEXT NOT NULL,
    key_id           TEXT NOT NULL,
    channel          TEXT NOT NULL CHECK (channel IN ('web', 'mobile', 'email', 'slack', 'api', 'phone')),
    status           TEXT NOT NULL CHECK (status IN ('active', 'waiting', 'resolved', 'escalated', 'abandoned')),
    owner            TEXT NOT NULL CHECK (owner IN ('ai', 'human', 'none')),
    -- Writes are compare-and-set on these two.
    seq              INTEGER NOT NULL DEFAULT 0,
    owner_epoch      INTEGER NOT NULL DEFAULT 0,
    assigned_to      TEXT,
    -- The newest hand-off.
    escalation_id    TEXT,
    language         TEXT NOT NULL,
    metadata         BLOB,
    context          BLOB,
    -- What the turn remembers: open flow, counters. Nobody else reads it.
    state            BLOB NOT NULL,
    -- The newest customer message, and the newest one that was answered (or that a human owns).
    last_user_seq    INTEGER NOT NULL DEFAULT 0,
    answered_seq     INTEGER NOT NULL DEFAULT 0,
    turn_token       TEXT,
    turn_until       INTEGER,
    created_at       INTEGER NOT NULL,
    last_activity_at INTEGER NOT NULL,
    ended_at         INTEGER,
    resolution_type  TEXT CHECK (resolution_type IN ('automated', 'human', 'abandoned', 'escalated')),
    -- True if nobody confirmed the resolution.
    assumed          INTEGER NOT NULL DEFAULT 0,
    rating           INTEGER CHECK (rating BETWEEN 1 AND 5),
    rating_comment   BLOB,
    previous_id      TEXT,
    response_count   INTEGER NOT NULL DEFAULT 0,
    response_micros  INTEGER NOT NULL DEFAULT 0,
    request_id       TEXT,
    fingerprint      BLOB
);
CREATE UNIQUE INDEX conversations_request ON conversations (organization_id, user_id, request_id)
    WHERE request_id IS NOT NULL;
CREATE INDEX idx_conversations_user ON conversations (organization_id, user_id, last_activity_at DESC, id);
CREATE INDEX idx_conversations_last_activity ON conversations (organization_id, last_activity_at DESC, id);
-- What the timers look for, over all organizations; and what retention looks for in one.
CREATE INDEX idx_active_conversations ON conversations (last_activity_at) WHERE status IN ('active', 'waiting');
CREATE INDEX conversations_unanswered ON conversations (turn_until) WHERE answered_seq < last_user_seq;
CREATE INDEX conversations_ended ON conversations (organization_id, ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE messages (
    conversation_id   TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    seq               INTEGER NOT NULL,
    id                TEXT NOT NULL UNIQUE,
    organization_id   TEXT NOT NULL,
    sender_type       TEXT NOT NULL CHECK (sender_type IN ('user', 'ai_agent', 'human_agent', 'system')),
    sender_id         TEXT,
    content           BLOB NOT NULL,
    content_type      TEXT NOT NULL CHECK (content_type IN ('text', 'image', 'file', 'code', 'error_log')),
    attachments       BLOB,
    intent            TEXT,
    intent_confidence REAL,
    sentiment_score   REAL,
    entities          BLOB,
    -- What a reply rests on: articles, no personal data.
    citations         TEXT,
    metadata          BLOB,
    created_at        INTEGER NOT NULL,
    client_message_id TEXT,
    -- For a customer's message: the seq of the reply that answers it.
    reply_seq         INTEGER,
    -- For a reply: the turn's outcome and its receipt.
    outcome           BLOB,
    receipt           BLOB,
    PRIMARY KEY (conversation_id, seq)
) WITHOUT ROWID;
-- Customers and agents count their ids apart.
CREATE UNIQUE INDEX messages_client_id ON messages (conversation_id, sender_type, client_message_id)
    WHERE client_message_id IS NOT NULL;

CREATE TABLE status_events (
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    seq             INTEGER NOT NULL,
    id              TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    body            BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, seq)
) WITHOUT ROWID;

CREATE TABLE escalations (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    -- 1 low, 2 medium, 3 high, 4 critical.
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 4),
    queue_name      TEXT NOT NULL,
    case_number     TEXT,
    assigned_to     TEXT,
    assigned_at     INTEGER,
    created_at      INTEGER NOT NULL,
    sla_deadline    INTEGER NOT NULL,
    -- True once the deadline passed with nobody there.
    breached        INTEGER NOT NULL,
    resolved_at     INTEGER,
    resolved_by     TEXT,
    -- Reason, summary and resolution notes.
    body            BLOB NOT NULL
);
CREATE INDEX idx_escalations_conversation ON escalations (conversation_id);
CREATE INDEX escalations_due ON escalations (sla_deadline)
    WHERE resolved_at IS NULL AND breached = 0 AND assigned_to IS NULL;
CREATE INDEX escalations_queue ON escalations (organization_id, priority DESC, sla_deadline, id)
    WHERE resolved_at IS NULL;

-- The effect ledger: every outside write is a row here before it is tried.
CREATE TABLE actions (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id         TEXT NOT NULL,
    action_type     TEXT NOT NULL,
    parameters      BLOB NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    attempts        INTEGER NOT NULL,
    result          BLOB,
    -- Of the result: what a person writes on a case in Salesforce finds its conversation.
    case_number     TEXT,
    last_error      BLOB,
    next_attempt_at INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    ended_at        INTEGER,
    UNIQUE (organization_id, idempotency_key)
);
CREATE INDEX actions_due ON actions (next_attempt_at) WHERE status IN ('pending', 'running');
CREATE INDEX actions_case ON actions (organization_id, case_number, id) WHERE case_number IS NOT NULL;
CREATE INDEX idx_actions_conversation ON actions (conversation_id);
CREATE INDEX actions_by_org ON actions (organization_id, id DESC);

CREATE TABLE drafts (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_message_id TEXT NOT NULL,
    content         BLOB NOT NULL,
    citations       TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    sent_at         INTEGER
);
CREATE INDEX drafts_of ON drafts (conversation_id, id);

CREATE TABLE notes (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    author_id       TEXT NOT NULL,
    content         BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    request_id      TEXT,
    UNIQUE (conversation_id, author_id, request_id)
);

-- Which reply rests on which article version.
CREATE TABLE citations (
    organization_id TEXT NOT NULL,
    article_id      TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    message_id      TEXT NOT NULL,
    version         INTEGER NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    PRIMARY KEY (organization_id, article_id, created_at, message_id, version)
) WITHOUT ROWID;
CREATE INDEX citations_conversation ON citations (conversation_id);

-- What has not left the ledger yet. A sink that is down keeps its own rows only.
CREATE TABLE outbox (
    position        INTEGER PRIMARY KEY AUTOINCREMENT,
    organization_id TEXT    NOT NULL,
    conversation_id TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    sink            TEXT    NOT NULL CHECK (sink IN ('bus', 'sessions', 'outcomes')),
    kind            TEXT    NOT NULL CHECK (kind IN ('fact', 'snapshot', 'capsule', 'outcome')),
    seq             INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    -- A fact holds no word of a person; documents are sealed under the customer's key and leave so; an outcome is empty.
    body            BLOB    NOT NULL
);
CREATE INDEX outbox_sink ON outbox (sink, position);
-- What waits for sessions goes with its conversation.
CREATE INDEX outbox_conversation ON outbox (conversation_id) WHERE sink = 'sessions';

-- Where each outside feed was read up to; moved in the transaction of what it caused.
CREATE TABLE cursors (
    organization_id TEXT NOT NULL,
    feed            TEXT NOT NULL,
    value           TEXT NOT NULL,
    PRIMARY KEY (organization_id, feed)
) WITHOUT ROWID;

-- Work that one process does at a time, and whose it is until when.
CREATE TABLE duties (
    name       TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    held_until INTEGER NOT NULL
) WITHOUT ROWID;

-- Erasing a person is a job over all services; here is how far it is.
CREATE TABLE erasures (
    organization_id TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    id              TEXT NOT NULL,
    requested_by    TEXT NOT NULL,
    requested_at    INTEGER NOT NULL,
    completed_at    INTEGER,
    steps           TEXT NOT NULL,
    receipt         TEXT,
    PRIMARY KEY (organization_id, user_id)
) WITHOUT ROWID;
CREATE INDEX erasures_open ON erasures (requested_at) WHERE completed_at IS NULL;

-- Who did what to whose data. Each row carries a hash over itself and the one before.
CREATE TABLE activity_log (
    organization_id TEXT NOT NULL,
    seq             INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    user_id         TEXT NOT NULL,
    action          TEXT NOT NULL,
    resource_type   TEXT NOT NULL,
    resource_id     TEXT,
    details         TEXT NOT NULL,
    hash            BLOB NOT NULL,
    PRIMARY KEY (organization_id, seq)
) WITHOUT ROWID;

-- The end of each organization's chain: a row cut off is noticed.
CREATE TABLE activity_heads (
    organization_id TEXT PRIMARY KEY,
    seq             INTEGER NOT NULL,
    hash            BLOB NOT NULL
) WITHOUT ROWID;
