-- Roll-ups per tenant, fed from the outbox: what reports read instead of the ledger. They hold no word of a person and outlive
-- the conversations that they count.

-- What the roll-ups count of a conversation: by it a repetition changes nothing, and a change is a difference.
CREATE TABLE outcomes (
    organization_id    uuid             NOT NULL,
    conversation_id    uuid             NOT NULL,
    hour               timestamptz      NOT NULL,
    channel            text             NOT NULL,
    -- The different intents of the customer in their order; empty if there is none yet.
    pattern            text             NOT NULL DEFAULT '',
    ended              boolean          NOT NULL DEFAULT false,
    resolution_seconds bigint           NOT NULL DEFAULT 0,
    message_count      bigint           NOT NULL DEFAULT 0,
    confidence_sum     double precision NOT NULL DEFAULT 0,
    confidence_count   bigint           NOT NULL DEFAULT 0,
    satisfaction       bigint           NOT NULL DEFAULT 0,
    escalated          boolean          NOT NULL DEFAULT false,
    automated          boolean          NOT NULL DEFAULT false,
    last_seen          timestamptz      NOT NULL,
    PRIMARY KEY (organization_id, conversation_id),
    FOREIGN KEY (organization_id, conversation_id) REFERENCES conversations (organization_id, id) ON DELETE CASCADE
);

CREATE TABLE conversation_metrics (
    organization_id    uuid             NOT NULL,
    hour               timestamptz      NOT NULL,
    channel            text             NOT NULL,
    conversation_count bigint           NOT NULL DEFAULT 0,
    ended_count        bigint           NOT NULL DEFAULT 0,
    resolution_seconds bigint           NOT NULL DEFAULT 0,
    message_count      bigint           NOT NULL DEFAULT 0,
    confidence_sum     double precision NOT NULL DEFAULT 0,
    confidence_count   bigint           NOT NULL DEFAULT 0,
    satisfaction_sum   bigint           NOT NULL DEFAULT 0,
    satisfaction_count bigint           NOT NULL DEFAULT 0,
    escalation_count   bigint           NOT NULL DEFAULT 0,
    automated_count    bigint           NOT NULL DEFAULT 0,
    PRIMARY KEY (organization_id, hour, channel)
);

CREATE TABLE intent_patterns (
    organization_id    uuid        NOT NULL,
    pattern            text        NOT NULL,
    -- The first of the pattern.
    intent             text        NOT NULL,
    frequency          bigint      NOT NULL DEFAULT 0,
    success_count      bigint      NOT NULL DEFAULT 0,
    ended_count        bigint      NOT NULL DEFAULT 0,
    resolution_seconds bigint      NOT NULL DEFAULT 0,
    last_seen          timestamptz NOT NULL,
    PRIMARY KEY (organization_id, pattern)
);
CREATE INDEX idx_intent_patterns_frequency ON intent_patterns (organization_id, frequency DESC, pattern);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['outcomes', 'conversation_metrics', 'intent_patterns'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO switchboard_conversation '
            'USING (organization_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid) '
            'WITH CHECK (organization_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid)', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO switchboard_conversation', name);
    END LOOP;
END $$;
GRANT DELETE ON conversation_metrics TO switchboard_conversation;

-- Counts the hours since a time again, from what is known of each conversation: after a mistake was mended, not as a routine.
-- Hours that retention has reached lose what was deleted.
CREATE FUNCTION refresh_conversation_metrics(p_since timestamptz DEFAULT now() - interval '30 days') RETURNS void
LANGUAGE sql SET search_path = conversation AS $$
    DELETE FROM conversation_metrics WHERE hour >= date_trunc('hour', p_since, 'UTC');
    INSERT INTO conversation_metrics
    SELECT organization_id, hour, channel, count(*), count(*) FILTER (WHERE ended), sum(resolution_seconds),
        sum(message_count), sum(confidence_sum), sum(confidence_count), sum(satisfaction),
        count(*) FILTER (WHERE satisfaction > 0), count(*) FILTER (WHERE escalated), count(*) FILTER (WHERE automated)
    FROM outcomes WHERE hour >= date_trunc('hour', p_since, 'UTC') GROUP BY organization_id, hour, channel;
$$;
