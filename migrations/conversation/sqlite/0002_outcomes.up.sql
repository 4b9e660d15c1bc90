-- Roll-ups per tenant, fed from the outbox: what reports read instead of the ledger. They hold no word of a person and outlive
-- the conversations that they count.

-- What the roll-ups count of a conversation: by it a repetition changes nothing, and a change is a difference.
CREATE TABLE outcomes (
    organization_id    TEXT    NOT NULL,
    conversation_id    TEXT    NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    hour               INTEGER NOT NULL,
    channel            TEXT    NOT NULL,
    -- The different intents of the customer in their order; empty if there is none yet.
    pattern            TEXT    NOT NULL DEFAULT '',
    ended              INTEGER NOT NULL DEFAULT 0,
    resolution_seconds INTEGER NOT NULL DEFAULT 0,
    message_count      INTEGER NOT NULL DEFAULT 0,
    confidence_sum     REAL    NOT NULL DEFAULT 0,
    confidence_count   INTEGER NOT NULL DEFAULT 0,
    satisfaction       INTEGER NOT NULL DEFAULT 0,
    escalated          INTEGER NOT NULL DEFAULT 0,
    automated          INTEGER NOT NULL DEFAULT 0,
    last_seen          INTEGER NOT NULL,
    PRIMARY KEY (organization_id, conversation_id)
) WITHOUT ROWID;

CREATE TABLE conversation_metrics (
    organization_id    TEXT    NOT NULL,
    hour               INTEGER NOT NULL,
    channel            TEXT    NOT NULL,
    conversation_count INTEGER NOT NULL DEFAULT 0,
    ended_count        INTEGER NOT NULL DEFAULT 0,
    resolution_seconds INTEGER NOT NULL DEFAULT 0,
    message_count      INTEGER NOT NULL DEFAULT 0,
    confidence_sum     REAL    NOT NULL DEFAULT 0,
    confidence_count   INTEGER NOT NULL DEFAULT 0,
    satisfaction_sum   INTEGER NOT NULL DEFAULT 0,
    satisfaction_count INTEGER NOT NULL DEFAULT 0,
    escalation_count   INTEGER NOT NULL DEFAULT 0,
    automated_count    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (organization_id, hour, channel)
) WITHOUT ROWID;

CREATE TABLE intent_patterns (
    organization_id    TEXT    NOT NULL,
    pattern            TEXT    NOT NULL,
    -- The first of the pattern.
    intent             TEXT    NOT NULL,
    frequency          INTEGER NOT NULL DEFAULT 0,
    success_count      INTEGER NOT NULL DEFAULT 0,
    ended_count        INTEGER NOT NULL DEFAULT 0,
    resolution_seconds INTEGER NOT NULL DEFAULT 0,
    last_seen          INTEGER NOT NULL,
    PRIMARY KEY (organization_id, pattern)
) WITHOUT ROWID;
CREATE INDEX idx_intent_patterns_frequency ON intent_patterns (organization_id, frequency DESC, pattern);
