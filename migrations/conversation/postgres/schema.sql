CREATE SCHEMA conversation;

CREATE TABLE conversation.conversations (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    key_id uuid NOT NULL,
    channel text NOT NULL,
    status text NOT NULL,
    owner text NOT NULL,
    seq bigint DEFAULT 0 NOT NULL,
    owner_epoch bigint DEFAULT 0 NOT NULL,
    assigned_to uuid,
    escalation_id uuid,
    language text NOT NULL,
    metadata bytea,
    context bytea,
    state bytea NOT NULL,
    last_user_seq bigint DEFAULT 0 NOT NULL,
    answered_seq bigint DEFAULT 0 NOT NULL,
    unanswered boolean GENERATED ALWAYS AS ((answered_seq < last_user_seq)) STORED,
    turn_token uuid,
    turn_until timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    last_activity_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    resolution_type text,
    assumed boolean DEFAULT false NOT NULL,
    rating smallint,
    rating_comment bytea,
    previous_id uuid,
    response_count bigint DEFAULT 0 NOT NULL,
    response_micros bigint DEFAULT 0 NOT NULL,
    request_id text,
    fingerprint bytea,
    CONSTRAINT chk_channel CHECK ((channel = ANY (ARRAY['web'::text, 'mobile'::text, 'email'::text, 'slack'::text, 'api'::text, 'phone'::text]))),
    CONSTRAINT chk_owner CHECK ((owner = ANY (ARRAY['ai'::text, 'human'::text, 'none'::text]))),
    CONSTRAINT chk_rating CHECK (((rating >= 1) AND (rating <= 5))),
    CONSTRAINT chk_resolution_type CHECK ((resolution_type = ANY (ARRAY['automated'::text, 'human'::text, 'abandoned'::text, 'escalated'::text]))),
    CONSTRAINT chk_status CHECK ((status = ANY (ARRAY['active'::text, 'waiting'::text, 'resolved'::text, 'escalated'::text, 'abandoned'::text])))
);

ALTER TABLE ONLY conversation.conversations ALTER COLUMN metadata SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.conversations ALTER COLUMN context SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.conversations ALTER COLUMN state SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.conversations ALTER COLUMN rating_comment SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.conversations FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.person_keys (
    organization_id uuid NOT NULL,
    person_id uuid NOT NULL,
    key_id uuid NOT NULL,
    wrapped_key bytea NOT NULL,
    master_key smallint NOT NULL,
    created_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY conversation.person_keys FORCE ROW LEVEL SECURITY;

CREATE FUNCTION conversation.close_inactive_conversations(p_since timestamp with time zone, p_limit integer) RETURNS TABLE(organization_id uuid, conversation_id uuid)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT c.organization_id,
     c.id
    FROM (conversation.conversations c
      JOIN conversation.person_keys k ON ((k.key_id = c.key_id)))
   WHERE ((c.status = ANY (ARRAY['active'::text, 'waiting'::text])) AND (c.last_activity_at <= close_inactive_conversations.p_since) AND (NOT c.unanswered) AND (c.turn_until IS NULL))
   ORDER BY c.last_activity_at
  LIMIT close_inactive_conversations.p_limit;

END;

CREATE FUNCTION conversation.create_monthly_partition(p_from timestamp with time zone DEFAULT now()) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'conversation', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
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

CREATE TABLE conversation.escalations (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    priority smallint NOT NULL,
    queue_name text NOT NULL,
    case_number text,
    assigned_to uuid,
    assigned_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    sla_deadline timestamp with time zone NOT NULL,
    breached boolean NOT NULL,
    resolved_at timestamp with time zone,
    resolved_by uuid,
    body bytea NOT NULL,
    CONSTRAINT chk_priority CHECK (((priority >= 1) AND (priority <= 4)))
);

ALTER TABLE ONLY conversation.escalations ALTER COLUMN body SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.escalations FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.messages (
    organization_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    seq bigint NOT NULL,
    id uuid NOT NULL,
    sender_type text NOT NULL,
    sender_id uuid,
    content bytea NOT NULL,
    content_type text NOT NULL,
    attachments bytea,
    intent text,
    intent_confidence double precision,
    sentiment_score double precision,
    entities bytea,
    citations jsonb,
    metadata bytea,
    created_at timestamp with time zone NOT NULL,
    client_message_id text,
    reply_seq bigint,
    outcome bytea,
    receipt bytea,
    CONSTRAINT chk_content_type CHECK ((content_type = ANY (ARRAY['text'::text, 'image'::text, 'file'::text, 'code'::text, 'error_log'::text]))),
    CONSTRAINT chk_sender_type CHECK ((sender_type = ANY (ARRAY['user'::text, 'ai_agent'::text, 'human_agent'::text, 'system'::text])))
);

ALTER TABLE ONLY conversation.messages ALTER COLUMN content SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.messages ALTER COLUMN attachments SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.messages ALTER COLUMN entities SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.messages ALTER COLUMN metadata SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.messages ALTER COLUMN outcome SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.messages ALTER COLUMN receipt SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.messages FORCE ROW LEVEL SECURITY;

CREATE FUNCTION conversation.get_conversation_stats(p_conversation_id uuid) RETURNS TABLE(total_messages integer, user_messages integer, ai_messages integer, avg_response_time_seconds numeric, unique_intents integer, escalation_count integer, avg_confidence double precision, avg_sentiment double precision)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT (count(*))::integer AS count,
     (count(*) FILTER (WHERE (m.sender_type = 'user'::text)))::integer AS count,
     (count(*) FILTER (WHERE (m.sender_type = 'ai_agent'::text)))::integer AS count,
     avg(EXTRACT(epoch FROM (m.next_at - m.created_at))) FILTER (WHERE ((m.sender_type = 'user'::text) AND (m.next_sender = ANY (ARRAY['ai_agent'::text, 'human_agent'::text])))) AS avg,
     (count(DISTINCT m.intent) FILTER (WHERE (m.sender_type = 'user'::text)))::integer AS count,
     ( SELECT (count(*))::integer AS count
            FROM conversation.escalations e
           WHERE (e.conversation_id = get_conversation_stats.p_conversation_id)) AS count,
     avg(m.intent_confidence) FILTER (WHERE (m.sender_type = 'ai_agent'::text)) AS avg,
     avg(m.sentiment_score) FILTER (WHERE (m.sender_type = 'user'::text)) AS avg
    FROM ( SELECT messages.sender_type,
             messages.created_at,
             messages.intent,
             messages.intent_confidence,
             messages.sentiment_score,
             lead(messages.sender_type) OVER by_seq AS next_sender,
             lead(messages.created_at) OVER by_seq AS next_at
            FROM conversation.messages
           WHERE (messages.conversation_id = get_conversation_stats.p_conversation_id)
           WINDOW by_seq AS (ORDER BY messages.seq)) m;

END;

CREATE FUNCTION conversation.refresh_conversation_metrics(p_since timestamp with time zone DEFAULT (now() - '30 days'::interval)) RETURNS void
    LANGUAGE sql
    SET search_path TO 'conversation'
    AS $$
    DELETE FROM conversation_metrics WHERE hour >= date_trunc('hour', p_since, 'UTC');
    INSERT INTO conversation_metrics
    SELECT organization_id, hour, channel, count(*), count(*) FILTER (WHERE ended), sum(resolution_seconds),
        sum(message_count), sum(confidence_sum), sum(confidence_count), sum(satisfaction),
        count(*) FILTER (WHERE satisfaction > 0), count(*) FILTER (WHERE escalated), count(*) FILTER (WHERE automated)
    FROM outcomes WHERE hour >= date_trunc('hour', p_since, 'UTC') GROUP BY organization_id, hour, channel;
$$;

CREATE TABLE conversation.actions (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    idempotency_key text NOT NULL,
    conversation_id uuid NOT NULL,
    user_id uuid NOT NULL,
    action_type text NOT NULL,
    parameters bytea NOT NULL,
    status text NOT NULL,
    attempts integer NOT NULL,
    result bytea,
    case_number text,
    last_error bytea,
    next_attempt_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT chk_action_status CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);

ALTER TABLE ONLY conversation.actions ALTER COLUMN parameters SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.actions ALTER COLUMN result SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.actions FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.activity_heads (
    organization_id uuid NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL
);

ALTER TABLE ONLY conversation.activity_heads FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.activity_log (
    organization_id uuid NOT NULL,
    seq bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    user_id uuid NOT NULL,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id uuid,
    details json NOT NULL,
    hash bytea NOT NULL
)
PARTITION BY RANGE (created_at);

ALTER TABLE ONLY conversation.activity_log FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.citations (
    organization_id uuid NOT NULL,
    article_id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    message_id uuid NOT NULL,
    version integer NOT NULL,
    conversation_id uuid NOT NULL
);

ALTER TABLE ONLY conversation.citations FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.conversation_metrics (
    organization_id uuid NOT NULL,
    hour timestamp with time zone NOT NULL,
    channel text NOT NULL,
    conversation_count bigint DEFAULT 0 NOT NULL,
    ended_count bigint DEFAULT 0 NOT NULL,
    resolution_seconds bigint DEFAULT 0 NOT NULL,
    message_count bigint DEFAULT 0 NOT NULL,
    confidence_sum double precision DEFAULT 0 NOT NULL,
    confidence_count bigint DEFAULT 0 NOT NULL,
    satisfaction_sum bigint DEFAULT 0 NOT NULL,
    satisfaction_count bigint DEFAULT 0 NOT NULL,
    escalation_count bigint DEFAULT 0 NOT NULL,
    automated_count bigint DEFAULT 0 NOT NULL
);

ALTER TABLE ONLY conversation.conversation_metrics FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.cursors (
    organization_id uuid NOT NULL,
    feed text NOT NULL,
    value text NOT NULL
);

ALTER TABLE ONLY conversation.cursors FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.drafts (
    organization_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    id uuid NOT NULL,
    user_message_id uuid NOT NULL,
    content bytea NOT NULL,
    citations jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone
);

ALTER TABLE ONLY conversation.drafts ALTER COLUMN content SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.drafts FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.duties (
    name text NOT NULL,
    holder uuid NOT NULL,
    held_until timestamp with time zone NOT NULL
);

CREATE TABLE conversation.erasures (
    organization_id uuid NOT NULL,
    user_id uuid NOT NULL,
    id uuid NOT NULL,
    requested_by uuid NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    completed_at timestamp with time zone,
    steps jsonb NOT NULL,
    receipt jsonb
);

ALTER TABLE ONLY conversation.erasures FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.intent_patterns (
    organization_id uuid NOT NULL,
    pattern text NOT NULL,
    intent text NOT NULL,
    frequency bigint DEFAULT 0 NOT NULL,
    success_count bigint DEFAULT 0 NOT NULL,
    ended_count bigint DEFAULT 0 NOT NULL,
    resolution_seconds bigint DEFAULT 0 NOT NULL,
    last_seen timestamp with time zone NOT NULL
);

ALTER TABLE ONLY conversation.intent_patterns FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.notes (
    organization_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    id uuid NOT NULL,
    author_id uuid NOT NULL,
    content bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    request_id text
);

ALTER TABLE ONLY conversation.notes ALTER COLUMN content SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.notes FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.outbox (
    "position" bigint NOT NULL,
    organization_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    user_id uuid NOT NULL,
    sink text NOT NULL,
    kind text NOT NULL,
    seq bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    body bytea NOT NULL,
    CONSTRAINT chk_kind CHECK ((kind = ANY (ARRAY['fact'::text, 'snapshot'::text, 'capsule'::text, 'outcome'::text]))),
    CONSTRAINT chk_sink CHECK ((sink = ANY (ARRAY['bus'::text, 'sessions'::text, 'outcomes'::text])))
);

ALTER TABLE ONLY conversation.outbox ALTER COLUMN body SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.outbox FORCE ROW LEVEL SECURITY;

ALTER TABLE conversation.outbox ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME conversation.outbox_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE conversation.outcomes (
    organization_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    hour timestamp with time zone NOT NULL,
    channel text NOT NULL,
    pattern text DEFAULT ''::text NOT NULL,
    ended boolean DEFAULT false NOT NULL,
    resolution_seconds bigint DEFAULT 0 NOT NULL,
    message_count bigint DEFAULT 0 NOT NULL,
    confidence_sum double precision DEFAULT 0 NOT NULL,
    confidence_count bigint DEFAULT 0 NOT NULL,
    satisfaction bigint DEFAULT 0 NOT NULL,
    escalated boolean DEFAULT false NOT NULL,
    automated boolean DEFAULT false NOT NULL,
    last_seen timestamp with time zone NOT NULL
);

ALTER TABLE ONLY conversation.outcomes FORCE ROW LEVEL SECURITY;

CREATE TABLE conversation.status_events (
    organization_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    seq bigint NOT NULL,
    id uuid NOT NULL,
    body bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY conversation.status_events ALTER COLUMN body SET STORAGE EXTERNAL;

ALTER TABLE ONLY conversation.status_events FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY conversation.actions
    ADD CONSTRAINT actions_key UNIQUE (organization_id, idempotency_key);

ALTER TABLE ONLY conversation.actions
    ADD CONSTRAINT actions_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY conversation.activity_heads
    ADD CONSTRAINT activity_heads_pkey PRIMARY KEY (organization_id);

ALTER TABLE ONLY conversation.activity_log
    ADD CONSTRAINT activity_log_pkey PRIMARY KEY (organization_id, seq, created_at);

ALTER TABLE ONLY conversation.citations
    ADD CONSTRAINT citations_pkey PRIMARY KEY (organization_id, article_id, created_at, message_id, version);

ALTER TABLE ONLY conversation.conversation_metrics
    ADD CONSTRAINT conversation_metrics_pkey PRIMARY KEY (organization_id, hour, channel);

ALTER TABLE ONLY conversation.conversations
    ADD CONSTRAINT conversations_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY conversation.cursors
    ADD CONSTRAINT cursors_pkey PRIMARY KEY (organization_id, feed);

ALTER TABLE ONLY conversation.drafts
    ADD CONSTRAINT drafts_pkey PRIMARY KEY (organization_id, conversation_id, id);

ALTER TABLE ONLY conversation.duties
    ADD CONSTRAINT duties_pkey PRIMARY KEY (name);

ALTER TABLE ONLY conversation.erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (organization_id, user_id);

ALTER TABLE ONLY conversation.escalations
    ADD CONSTRAINT escalations_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY conversation.messages
    ADD CONSTRAINT idx_messages_conversation UNIQUE (organization_id, conversation_id, seq);

ALTER TABLE ONLY conversation.intent_patterns
    ADD CONSTRAINT intent_patterns_pkey PRIMARY KEY (organization_id, pattern);

ALTER TABLE ONLY conversation.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (organization_id, id);

ALTER TABLE ONLY conversation.notes
    ADD CONSTRAINT notes_pkey PRIMARY KEY (organization_id, conversation_id, id);

ALTER TABLE ONLY conversation.notes
    ADD CONSTRAINT notes_request UNIQUE (organization_id, conversation_id, author_id, request_id);

ALTER TABLE ONLY conversation.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (sink, "position");

ALTER TABLE ONLY conversation.outcomes
    ADD CONSTRAINT outcomes_pkey PRIMARY KEY (organization_id, conversation_id);

ALTER TABLE ONLY conversation.person_keys
    ADD CONSTRAINT person_keys_person UNIQUE (organization_id, person_id);

ALTER TABLE ONLY conversation.person_keys
    ADD CONSTRAINT person_keys_pkey PRIMARY KEY (key_id);

ALTER TABLE ONLY conversation.status_events
    ADD CONSTRAINT status_events_pkey PRIMARY KEY (organization_id, conversation_id, seq);

CREATE INDEX actions_case ON conversation.actions USING btree (organization_id, case_number, id) WHERE (case_number IS NOT NULL);

CREATE INDEX actions_due ON conversation.actions USING btree (next_attempt_at) WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]));

CREATE INDEX citations_conversation ON conversation.citations USING btree (organization_id, conversation_id);

CREATE INDEX conversations_ended ON conversation.conversations USING btree (organization_id, ended_at) WHERE (ended_at IS NOT NULL);

CREATE UNIQUE INDEX conversations_request ON conversation.conversations USING btree (organization_id, user_id, request_id) WHERE (request_id IS NOT NULL);

CREATE INDEX conversations_unanswered ON conversation.conversations USING btree (COALESCE(turn_until, '-infinity'::timestamp with time zone)) WHERE unanswered;

CREATE INDEX erasures_open ON conversation.erasures USING btree (requested_at) WHERE (completed_at IS NULL);

CREATE INDEX escalations_due ON conversation.escalations USING btree (sla_deadline) WHERE ((resolved_at IS NULL) AND (NOT breached) AND (assigned_to IS NULL));

CREATE INDEX escalations_queue ON conversation.escalations USING btree (organization_id, priority DESC, sla_deadline, id) WHERE (resolved_at IS NULL);

CREATE INDEX idx_actions_conversation ON conversation.actions USING btree (organization_id, conversation_id);

CREATE INDEX idx_actions_status ON conversation.actions USING btree (organization_id, status, id);

CREATE INDEX idx_active_conversations ON conversation.conversations USING btree (last_activity_at) WHERE (status = ANY (ARRAY['active'::text, 'waiting'::text]));

CREATE INDEX idx_conversations_last_activity ON conversation.conversations USING btree (organization_id, last_activity_at DESC, id DESC);

CREATE INDEX idx_conversations_status ON conversation.conversations USING btree (organization_id, status, last_activity_at DESC, id DESC);

CREATE INDEX idx_conversations_user ON conversation.conversations USING btree (organization_id, user_id, last_activity_at DESC, id DESC);

CREATE INDEX idx_escalations_conversation ON conversation.escalations USING btree (organization_id, conversation_id);

CREATE INDEX idx_intent_patterns_frequency ON conversation.intent_patterns USING btree (organization_id, frequency DESC, pattern);

CREATE UNIQUE INDEX messages_client_id ON conversation.messages USING btree (organization_id, conversation_id, sender_type, client_message_id) WHERE (client_message_id IS NOT NULL);

CREATE INDEX outbox_conversation ON conversation.outbox USING btree (organization_id, conversation_id) WHERE (sink = 'sessions'::text);

CREATE INDEX person_keys_by_master ON conversation.person_keys USING btree (master_key);

ALTER TABLE ONLY conversation.actions
    ADD CONSTRAINT actions_organization_id_conversation_id_fkey FOREIGN KEY (organization_id, conversation_id) REFERENCES conversation.conversations(organization_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY conversation.citations
    ADD CONSTRAINT citations_organization_id_conversation_id_fkey FOREIGN KEY (organization_id, conversation_id) REFERENCES conversation.conversations(organization_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY conversation.drafts
    ADD CONSTRAINT drafts_organization_id_conversation_id_fkey FOREIGN KEY (organization_id, conversation_id) REFERENCES conversation.conversations(organization_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY conversation.escalations
    ADD CONSTRAINT escalations_organization_id_conversation_id_fkey FOREIGN KEY (organization_id, conversation_id) REFERENCES conversation.conversations(organization_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY conversation.messages
    ADD CONSTRAINT messages_organization_id_conversation_id_fkey FOREIGN KEY (organization_id, conversation_id) REFERENCES conversation.conversations(organization_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY conversation.notes
    ADD CONSTRAINT notes_organization_id_conversation_id_fkey FOREIGN KEY (organization_id, conversation_id) REFERENCES conversation.conversations(organization_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY conversation.outcomes
    ADD CONSTRAINT outcomes_organization_id_conversation_id_fkey FOREIGN KEY (organization_id, conversation_id) REFERENCES conversation.conversations(organization_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY conversation.status_events
    ADD CONSTRAINT status_events_organization_id_conversation_id_fkey FOREIGN KEY (organization_id, conversation_id) REFERENCES conversation.conversations(organization_id, id) ON DELETE CASCADE;

ALTER TABLE conversation.actions ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.activity_heads ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.activity_log ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.citations ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.conversation_metrics ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.conversations ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.cursors ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.drafts ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.erasures ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.escalations ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.intent_patterns ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.messages ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.notes ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.outbox ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.outcomes ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.person_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE conversation.status_events ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant ON conversation.actions TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.activity_heads TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.activity_log TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.citations TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.conversation_metrics TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.conversations TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.cursors TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.drafts TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.erasures TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.escalations TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.intent_patterns TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.messages TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.notes TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.outbox TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.outcomes TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.person_keys TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY tenant ON conversation.status_events TO switchboard_conversation USING ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid)) WITH CHECK ((organization_id = (NULLIF(current_setting('app.current_org_id'::text, true), ''::text))::uuid));

CREATE POLICY worker ON conversation.actions FOR SELECT TO switchboard_conversation_worker USING (true);

CREATE POLICY worker ON conversation.conversations FOR SELECT TO switchboard_conversation_worker USING (true);

CREATE POLICY worker ON conversation.erasures FOR SELECT TO switchboard_conversation_worker USING (true);

CREATE POLICY worker ON conversation.escalations FOR SELECT TO switchboard_conversation_worker USING (true);

CREATE POLICY worker ON conversation.outbox FOR SELECT TO switchboard_conversation_worker USING (true);

CREATE POLICY worker ON conversation.person_keys FOR SELECT TO switchboard_conversation_worker USING (true);

GRANT USAGE ON SCHEMA conversation TO switchboard_conversation;

GRANT USAGE ON SCHEMA conversation TO switchboard_conversation_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.conversations TO switchboard_conversation;

GRANT SELECT(organization_id) ON TABLE conversation.conversations TO switchboard_conversation_worker;

GRANT SELECT(id) ON TABLE conversation.conversations TO switchboard_conversation_worker;

GRANT SELECT(key_id) ON TABLE conversation.conversations TO switchboard_conversation_worker;

GRANT SELECT(status) ON TABLE conversation.conversations TO switchboard_conversation_worker;

GRANT SELECT(owner) ON TABLE conversation.conversations TO switchboard_conversation_worker;

GRANT SELECT(unanswered) ON TABLE conversation.conversations TO switchboard_conversation_worker;

GRANT SELECT(turn_until) ON TABLE conversation.conversations TO switchboard_conversation_worker;

GRANT SELECT(last_activity_at) ON TABLE conversation.conversations TO switchboard_conversation_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.person_keys TO switchboard_conversation;

GRANT SELECT(organization_id) ON TABLE conversation.person_keys TO switchboard_conversation_worker;

GRANT SELECT(person_id) ON TABLE conversation.person_keys TO switchboard_conversation_worker;

GRANT SELECT(key_id) ON TABLE conversation.person_keys TO switchboard_conversation_worker;

GRANT SELECT(master_key) ON TABLE conversation.person_keys TO switchboard_conversation_worker;

REVOKE ALL ON FUNCTION conversation.close_inactive_conversations(p_since timestamp with time zone, p_limit integer) FROM PUBLIC;

GRANT ALL ON FUNCTION conversation.close_inactive_conversations(p_since timestamp with time zone, p_limit integer) TO switchboard_conversation_worker;

REVOKE ALL ON FUNCTION conversation.create_monthly_partition(p_from timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION conversation.create_monthly_partition(p_from timestamp with time zone) TO switchboard_conversation;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.escalations TO switchboard_conversation;

GRANT SELECT(organization_id) ON TABLE conversation.escalations TO switchboard_conversation_worker;

GRANT SELECT(conversation_id) ON TABLE conversation.escalations TO switchboard_conversation_worker;

GRANT SELECT(assigned_to) ON TABLE conversation.escalations TO switchboard_conversation_worker;

GRANT SELECT(sla_deadline) ON TABLE conversation.escalations TO switchboard_conversation_worker;

GRANT SELECT(breached) ON TABLE conversation.escalations TO switchboard_conversation_worker;

GRANT SELECT(resolved_at) ON TABLE conversation.escalations TO switchboard_conversation_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.messages TO switchboard_conversation;

REVOKE ALL ON FUNCTION conversation.get_conversation_stats(p_conversation_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION conversation.get_conversation_stats(p_conversation_id uuid) TO switchboard_conversation;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.actions TO switchboard_conversation;

GRANT SELECT(organization_id) ON TABLE conversation.actions TO switchboard_conversation_worker;

GRANT SELECT(id) ON TABLE conversation.actions TO switchboard_conversation_worker;

GRANT SELECT(status) ON TABLE conversation.actions TO switchboard_conversation_worker;

GRANT SELECT(next_attempt_at) ON TABLE conversation.actions TO switchboard_conversation_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE conversation.activity_heads TO switchboard_conversation;

GRANT SELECT,INSERT ON TABLE conversation.activity_log TO switchboard_conversation;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.citations TO switchboard_conversation;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.conversation_metrics TO switchboard_conversation;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.cursors TO switchboard_conversation;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.drafts TO switchboard_conversation;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.duties TO switchboard_conversation;

GRANT SELECT,INSERT,UPDATE ON TABLE conversation.erasures TO switchboard_conversation;

GRANT SELECT(organization_id) ON TABLE conversation.erasures TO switchboard_conversation_worker;

GRANT SELECT(user_id) ON TABLE conversation.erasures TO switchboard_conversation_worker;

GRANT SELECT(requested_at) ON TABLE conversation.erasures TO switchboard_conversation_worker;

GRANT SELECT(completed_at) ON TABLE conversation.erasures TO switchboard_conversation_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE conversation.intent_patterns TO switchboard_conversation;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.notes TO switchboard_conversation;

GRANT SELECT,INSERT,DELETE ON TABLE conversation.outbox TO switchboard_conversation;

GRANT SELECT ON TABLE conversation.outbox TO switchboard_conversation_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE conversation.outcomes TO switchboard_conversation;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE conversation.status_events TO switchboard_conversation;
