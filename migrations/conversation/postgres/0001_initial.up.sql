-- The ledger of conversations. Keys begin with the organization, so that a row can point only to rows of its own one.
-- What people wrote or are called is sealed (bytea) under the key of the conversation's customer; what is queried is not.

CREATE TABLE person_keys (
    organization_id uuid        NOT NULL,
    person_id       uuid        NOT NULL,
    -- Conversations name the key that seals them: somebody who comes back after an erasure gets another one.
    key_id          uuid        NOT NULL,
    wrapped_key     bytea       NOT NULL,
    -- Number of the master key that wraps it.
    master_key      smallint    NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (key_id),
    CONSTRAINT person_keys_person UNIQUE (organization_id, person_id)
);
CREATE INDEX person_keys_by_master ON person_keys (master_key);

CREATE TABLE conversations (
    organization_id  uuid        NOT NULL,
    id               uuid        NOT NULL,
    user_id          uuid        NOT NULL,
    key_id           uuid        NOT NULL,
    channel          text        NOT NULL,
    status           text        NOT NULL,
    owner            text        NOT NULL,
    -- Writes are compare-and-set on these two.
    seq              bigint      NOT NULL DEFAULT 0,
    owner_epoch      bigint      NOT NULL DEFAULT 0,
    assigned_to      uuid,
    -- The newest hand-off.
    escalation_id    uuid,
    language         text        NOT NULL,
    metadata         bytea,
    context          bytea,
    -- What the turn remembers: open flow, counters. Nobody else reads it.
    state            bytea       NOT NULL,
    -- The newest customer message, and the newest one that was answered (or that a human owns).
    last_user_seq    bigint      NOT NULL DEFAULT 0,
    answered_seq     bigint      NOT NULL DEFAULT 0,
    -- A column, so that the planner knows how few there are.
    unanswered       boolean     GENERATED ALWAYS AS (answered_seq < last_user_seq) STORED,
    turn_token       uuid,
    turn_until       timestamptz,
    created_at       timestamptz NOT NULL,
    last_activity_at timestamptz NOT NULL,
    ended_at         timestamptz,
    resolution_type  text,
    -- True if nobody confirmed the resolution.
    assumed          boolean     NOT NULL DEFAULT false,
    rating           smallint,
    rating_comment   bytea,
    previous_id      uuid,
    response_count   bigint      NOT NULL DEFAULT 0,
    response_micros  bigint      NOT NULL DEFAULT 0,
    request_id       text,
    fingerprint      bytea,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT chk_status CHECK (status IN ('active', 'waiting', 'resolved', 'escalated', 'abandoned')),
    CONSTRAINT chk_owner CHECK (owner IN ('ai', 'human', 'none')),
    CONSTRAINT chk_channel CHECK (channel IN ('web', 'mobile', 'email', 'slack', 'api', 'phone')),
    CONSTRAINT chk_resolution_type CHECK (resolution_type IN ('automated', 'human', 'abandoned', 'escalated')),
    CONSTRAINT chk_rating CHECK (rating BETWEEN 1 AND 5)
);
CREATE UNIQUE INDEX conversations_request ON conversations (organization_id, user_id, request_id)
    WHERE request_id IS NOT NULL;
CREATE INDEX idx_conversations_user ON conversations (organization_id, user_id, last_activity_at DESC, id DESC);
CREATE INDEX idx_conversations_status ON conversations (organization_id, status, last_activity_at DESC, id DESC);
CREATE INDEX idx_conversations_last_activity ON conversations (organization_id, last_activity_at DESC, id DESC);
-- What the timers look for, over all organizations; and what retention looks for in one.
CREATE INDEX idx_active_conversations ON conversations (last_activity_at) WHERE status IN ('active', 'waiting');
CREATE INDEX conversations_unanswered ON conversations (coalesce(turn_until, '-infinity')) WHERE unanswered;
CREATE INDEX conversations_ended ON conversations (organization_id, ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE messages (
    organization_id   uuid             NOT NULL,
    conversation_id   uuid             NOT NULL,
    seq               bigint           NOT NULL,
    id                uuid             NOT NULL,
    sender_type       text             NOT NULL,
    sender_id         uuid,
    content           bytea            NOT NULL,
    content_type      text             NOT NULL,
    attachments       bytea,
    intent            text,
    intent_confidence double precision,
    sentiment_score   double precision,
    entities          bytea,
    -- What a reply rests on: articles, no personal data.
    citations         jsonb,
    metadata          bytea,
    created_at        timestamptz      NOT NULL,
    client_message_id text,
    -- For a customer's message: the seq of the reply that answers it.
    reply_seq         bigint,
    -- For a reply: the turn's outcome and its receipt.
    outcome           bytea,
    receipt           bytea,
    CONSTRAINT messages_pkey PRIMARY KEY (organization_id, id),
    CONSTRAINT idx_messages_conversation UNIQUE (organization_id, conversation_id, seq),
    FOREIGN KEY (organization_id, conversation_id) REFERENCES conversations (organization_id, id) ON DELETE CASCADE,
    CONSTRAINT chk_sender_type CHECK (sender_type IN ('user', 'ai_agent', 'human_agent', 'system')),
    CONSTRAINT chk_content_type CHECK (content_type IN ('text', 'image', 'file', 'code', 'error_log'))
);
-- Customers and agents count their ids apart.
CREATE UNIQUE INDEX messages_client_id ON messages (organization_id, conversation_id, sender_type, client_message_id)
    WHERE client_message_id IS NOT NULL;

CREATE TABLE status_events (
    organization_id uuid        NOT NULL,
    conversation_id uuid        NOT NULL,
    seq             bigint      NOT NULL,
    id              uuid        NOT NULL,
    body            bytea       NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (organization_id, conversation_id, seq),
    FOREIGN KEY (organization_id, conversation_id) REFERENCES conversations (organization_id, id) ON DELETE CASCADE
);

CREATE TABLE escalations (
    organization_id uuid        NOT NULL,
    id              uuid        NOT NULL,
    conversation_id uuid        NOT NULL,
    -- 1 low, 2 medium, 3 high, 4 critical.
    priority        smallint    NOT NULL,
    queue_name      text        NOT NULL,
    case_number     text,
    assigned_to     uuid,
    assigned_at     timestamptz,
    created_at      timestamptz NOT NULL,
    sla_deadline    timestamptz NOT NULL,
    -- True once the deadline passed with nobody there.
    breached        boolean     NOT NULL,
    resolved_at     timestamptz,
    resolved_by     uuid,
    -- Reason, summary and resolution notes.
    body            bytea       NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, conversation_id) REFERENCES conversations (organization_id, id) ON DELETE CASCADE,
    CONSTRAINT chk_priority CHECK (priority BETWEEN 1 AND 4)
);
CREATE INDEX idx_escalations_conversation ON escalations (organization_id, conversation_id);
CREATE INDEX escalations_due ON escalations (sla_deadline)
    WHERE resolved_at IS NULL AND NOT breached AND assigned_to IS NULL;
CREATE INDEX escalations_queue ON escalations (organization_id, priority DESC, sla_deadline, id)
    WHERE resolved_at IS NULL;

-- The effect ledger: every outside write is a row here before it is tried.
CREATE TABLE actions (
    organization_id uuid        NOT NULL,
    id              uuid        NOT NULL,
    idempotency_key text        NOT NULL,
    conversation_id uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    action_type     text        NOT NULL,
    parameters      bytea       NOT NULL,
    status          text        NOT NULL,
    attempts        integer     NOT NULL,
    result          bytea,
    -- Of the result: what a person writes on a case in Salesforce finds its conversation.
    case_number     text,
    last_error      bytea,
    next_attempt_at timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT actions_key UNIQUE (organization_id, idempotency_key),
    FOREIGN KEY (organization_id, conversation_id) REFERENCES conversations (organization_id, id) ON DELETE CASCADE,
    CONSTRAINT chk_action_status CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled'))
);
CREATE INDEX actions_due ON actions (next_attempt_at) WHERE status IN ('pending', 'running');
CREATE INDEX actions_case ON actions (organization_id, case_number, id) WHERE case_number IS NOT NULL;
CREATE INDEX idx_actions_conversation ON actions (organization_id, conversation_id);
CREATE INDEX idx_actions_status ON actions (organization_id, status, id);

CREATE TABLE drafts (
    organization_id uuid        NOT NULL,
    conversation_id uuid        NOT NULL,
    id              uuid        NOT NULL,
    user_message_id uuid        NOT NULL,
    content         bytea       NOT NULL,
    citations       jsonb       NOT NULL,
    created_at      timestamptz NOT NULL,
    sent_at         timestamptz,
    PRIMARY KEY (organization_id, conversation_id, id),
    FOREIGN KEY (organization_id, conversation_id) REFERENCES conversations (organization_id, id) ON DELETE CASCADE
);

CREATE TABLE notes (
    organization_id uuid        NOT NULL,
    conversation_id uuid        NOT NULL,
    id              uuid        NOT NULL,
    author_id       uuid        NOT NULL,
    content         bytea       NOT NULL,
    created_at      timestamptz NOT NULL,
    request_id      text,
    PRIMARY KEY (organization_id, conversation_id, id),
    CONSTRAINT notes_request UNIQUE (organization_id, conversation_id, author_id, request_id),
    FOREIGN KEY (organization_id, conversation_id) REFERENCES conversations (organization_id, id) ON DELETE CASCADE
);

-- Which reply rests on which article version.
CREATE TABLE citations (
    organization_id uuid        NOT NULL,
    article_id      text        NOT NULL,
    created_at      timestamptz NOT NULL,
    message_id      uuid        NOT NULL,
    version         integer     NOT NULL,
    conversation_id uuid        NOT NULL,
    PRIMARY KEY (organization_id, article_id, created_at, message_id, version),
    FOREIGN KEY (organization_id, conversation_id) REFERENCES conversations (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX citations_conversation ON citations (organization_id, conversation_id);

-- What has not left the ledger yet. A sink that is down keeps its own rows only.
CREATE TABLE outbox (
    -- Taken while the conversation's row is locked: in a conversation, positions are in the order of commits.
    position        bigint      GENERATED ALWAYS AS IDENTITY,
    organization_id uuid        NOT NULL,
    conversation_id uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    sink            text        NOT NULL,
    kind            text        NOT NULL,
    seq             bigint      NOT NULL,
    created_at      timestamptz NOT NULL,
    -- A fact holds no word of a person; documents are sealed under the customer's key and leave so; an outcome is empty.
    body            bytea       NOT NULL,
    PRIMARY KEY (sink, position),
    CONSTRAINT chk_sink CHECK (sink IN ('bus', 'sessions', 'outcomes')),
    CONSTRAINT chk_kind CHECK (kind IN ('fact', 'snapshot', 'capsule', 'outcome'))
);
-- What waits for sessions goes with its conversation.
CREATE INDEX outbox_conversation ON outbox (organization_id, conversation_id) WHERE sink = 'sessions';

-- Where each outside feed was read up to; moved in the transaction of what it caused.
CREATE TABLE cursors (
    organization_id uuid NOT NULL,
    feed            text NOT NULL,
    value           text NOT NULL,
    PRIMARY KEY (organization_id, feed)
);

-- Work that one replica does at a time, and whose it is until when. No organization's.
CREATE TABLE duties (
    name       text        PRIMARY KEY,
    holder     uuid        NOT NULL,
    held_until timestamptz NOT NULL
);

-- Erasing a person is a job over all services; here is how far it is.
CREATE TABLE erasures (
    organization_id uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    id              uuid        NOT NULL,
    requested_by    uuid        NOT NULL,
    requested_at    timestamptz NOT NULL,
    completed_at    timestamptz,
    steps           jsonb       NOT NULL,
    receipt         jsonb,
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX erasures_open ON erasures (requested_at) WHERE completed_at IS NULL;

-- Who did what to whose data. Each row carries a hash over itself and the one before; nobody may change one.
CREATE TABLE activity_log (
    organization_id uuid        NOT NULL,
    seq             bigint      NOT NULL,
    created_at      timestamptz NOT NULL,
    user_id         uuid        NOT NULL,
    action          text        NOT NULL,
    resource_type   text        NOT NULL,
    resource_id     uuid,
    -- json keeps the very text that was hashed.
    details         json        NOT NULL,
    hash            bytea       NOT NULL,
    PRIMARY KEY (organization_id, seq, created_at)
) PARTITION BY RANGE (created_at);

-- The end of each organization's chain: writers of one organization wait for each other here, and a row cut off is noticed.
CREATE TABLE activity_heads (
    organization_id uuid   PRIMARY KEY,
    seq             bigint NOT NULL,
    hash            bytea  NOT NULL
);

-- Sealed bytes do not compress: trying to would only cost time.
ALTER TABLE conversations ALTER metadata SET STORAGE EXTERNAL, ALTER context SET STORAGE EXTERNAL,
    ALTER state SET STORAGE EXTERNAL, ALTER rating_comment SET STORAGE EXTERNAL;
ALTER TABLE messages ALTER content SET STORAGE EXTERNAL, ALTER attachments SET STORAGE EXTERNAL,
    ALTER entities SET STORAGE EXTERNAL, ALTER metadata SET STORAGE EXTERNAL, ALTER outcome SET STORAGE EXTERNAL,
    ALTER receipt SET STORAGE EXTERNAL;
ALTER TABLE status_events ALTER body SET STORAGE EXTERNAL;
ALTER TABLE escalations ALTER body SET STORAGE EXTERNAL;
ALTER TABLE actions ALTER parameters SET STORAGE EXTERNAL, ALTER result SET STORAGE EXTERNAL;
ALTER TABLE drafts ALTER content SET STORAGE EXTERNAL;
ALTER TABLE notes ALTER content SET STORAGE EXTERNAL;
ALTER TABLE outbox ALTER body SET STORAGE EXTERNAL;

-- Row security: the service sees and writes rows of the organization that its transaction names.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['person_keys', 'conversations', 'messages', 'status_events', 'escalations', 'actions', 'drafts',
        'notes', 'citations', 'outbox', 'cursors', 'erasures', 'activity_log', 'activity_heads']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO switchboard_conversation '
            'USING (organization_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid) '
            'WITH CHECK (organization_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid)', name);
    END LOOP;
    -- Workers look for work of all organizations.
    FOREACH name IN ARRAY ARRAY['person_keys', 'conversations', 'escalations', 'actions', 'outbox', 'erasures'] LOOP
        EXECUTE format('CREATE POLICY worker ON %I FOR SELECT TO switchboard_conversation_worker USING (true)', name);
    END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE
    ON person_keys, conversations, messages, status_events, escalations, actions, drafts, notes, citations, cursors, duties
    TO switchboard_conversation;
GRANT SELECT, INSERT, DELETE ON outbox TO switchboard_conversation;
GRANT SELECT, INSERT, UPDATE ON erasures, activity_heads TO switchboard_conversation;
GRANT SELECT, INSERT ON activity_log TO switchboard_conversation;
GRANT SELECT (organization_id, person_id, key_id, master_key) ON person_keys TO switchboard_conversation_worker;
GRANT SELECT (organization_id, id, key_id, status, owner, last_activity_at, unanswered, turn_until)
    ON conversations TO switchboard_conversation_worker;
GRANT SELECT (organization_id, conversation_id, sla_deadline, resolved_at, breached, assigned_to)
    ON escalations TO switchboard_conversation_worker;
GRANT SELECT (organization_id, id, status, next_attempt_at) ON actions TO switchboard_conversation_worker;
-- Relays carry bodies as they are: facts without a word of a person, and sealed documents.
GRANT SELECT ON outbox TO switchboard_conversation_worker;
GRANT SELECT (organization_id, user_id, requested_at, completed_at) ON erasures TO switchboard_conversation_worker;

-- Partitions of the activity log for a month and the one after. Runs as the owner of the tables, and may be repeated.
CREATE FUNCTION create_monthly_partition(p_from timestamptz DEFAULT now()) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = conversation, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    start_date     timestamptz;
    partition_name text;
BEGIN
    FOR month IN 0..1 LOOP
        start_date := date_trunc('month', p_from) + make_interval(months => month);
        partition_name := 'activity_log_' || to_char(start_date, 'YYYY_MM');
        -- Replicas come at the same time; pg_class is asked by a statement, which sees what was committed before it.
        CONTINUE WHEN EXISTS (SELECT FROM pg_class c WHERE c.relname = partition_name AND c.relnamespace = 'conversation'::regnamespace);
        PERFORM pg_advisory_xact_lock(hashtext('conversation.activity_log'));
        CONTINUE WHEN EXISTS (SELECT FROM pg_class c WHERE c.relname = partition_name AND c.relnamespace = 'conversation'::regnamespace);
        EXECUTE format('CREATE TABLE %I PARTITION OF activity_log FOR VALUES FROM (%L) TO (%L)', partition_name, start_date,
            start_date + interval '1 month');
        -- Nobody is granted a partition itself; should somebody be, it holds there too.
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', partition_name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', partition_name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO switchboard_conversation '
            'USING (organization_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid) '
            'WITH CHECK (organization_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid)', partition_name);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION create_monthly_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION create_monthly_partition TO switchboard_conversation;
SELECT create_monthly_partition();

-- Open, answered conversations without a word since then: those that are to be closed. It finds them; closing is a
-- compare-and-set of the service, which numbers the event that tells of it and seals it.
CREATE FUNCTION close_inactive_conversations(p_since timestamptz, p_limit integer)
RETURNS TABLE (organization_id uuid, conversation_id uuid)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT c.organization_id, c.id
    FROM conversations c
    JOIN person_keys k ON k.key_id = c.key_id
    WHERE c.status IN ('active', 'waiting') AND c.last_activity_at <= p_since AND NOT c.unanswered
        AND c.turn_until IS NULL
    ORDER BY c.last_activity_at
    LIMIT p_limit;
END;
REVOKE ALL ON FUNCTION close_inactive_conversations FROM PUBLIC;
GRANT EXECUTE ON FUNCTION close_inactive_conversations TO switchboard_conversation_worker;

-- What can be counted of a conversation, as far as the caller may see it.
CREATE FUNCTION get_conversation_stats(p_conversation_id uuid)
RETURNS TABLE (
    total_messages            integer,
    user_messages             integer,
    ai_messages               integer,
    avg_response_time_seconds numeric,
    unique_intents            integer,
    escalation_count          integer,
    avg_confidence            double precision,
    avg_sentiment             double precision
)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT
        count(*)::integer,
        (count(*) FILTER (WHERE m.sender_type = 'user'))::integer,
        (count(*) FILTER (WHERE m.sender_type = 'ai_agent'))::integer,
        -- From a customer's message to the answer, if an answer comes next.
        avg(extract(epoch FROM m.next_at - m.created_at))
            FILTER (WHERE m.sender_type = 'user' AND m.next_sender IN ('ai_agent', 'human_agent')),
        (count(DISTINCT m.intent) FILTER (WHERE m.sender_type = 'user'))::integer,
        (SELECT count(*)::integer FROM escalations e WHERE e.conversation_id = p_conversation_id),
        avg(m.intent_confidence) FILTER (WHERE m.sender_type = 'ai_agent'),
        avg(m.sentiment_score) FILTER (WHERE m.sender_type = 'user')
    FROM (
        SELECT sender_type, created_at, intent, intent_confidence, sentiment_score,
            lead(sender_type) OVER by_seq AS next_sender, lead(created_at) OVER by_seq AS next_at
        FROM messages
        WHERE conversation_id = p_conversation_id
        WINDOW by_seq AS (ORDER BY seq)
    ) m;
END;
REVOKE ALL ON FUNCTION get_conversation_stats FROM PUBLIC;
GRANT EXECUTE ON FUNCTION get_conversation_stats TO switchboard_conversation;
