-- Many conversations beside the planted one, over twenty organizations: most are over, few wait for anything.
CREATE TEMP TABLE copies AS
SELECT n, md5('conversation ' || n)::uuid AS id, org, md5(org::text || ' user ' || n % 997)::uuid AS user_id,
    timestamptz '2026-01-01T00:00:00Z' + n * interval '3 minutes' AS at,
    CASE WHEN n % 50 = 0 THEN 'active' WHEN n % 101 = 0 THEN 'waiting' WHEN n % 97 = 0 THEN 'escalated' ELSE 'resolved' END AS status
FROM generate_series(1, 20000) n, LATERAL (SELECT CASE WHEN n % 20 = 0 THEN $org ELSE md5('org ' || n % 20)::uuid END AS org) o;

INSERT INTO person_keys (organization_id, person_id, key_id, wrapped_key, master_key, created_at)
SELECT DISTINCT org, user_id, user_id, '\x01'::bytea, 1, timestamptz '2026-01-01T00:00:00Z' FROM copies;

INSERT INTO conversations (organization_id, id, user_id, key_id, channel, status, owner, seq, language, state, last_user_seq,
    answered_seq, turn_until, created_at, last_activity_at, ended_at, request_id)
SELECT org, id, user_id, user_id, 'web', status, 'ai', 6, 'en', '\x00', 5, CASE WHEN n % 500 = 0 THEN 4 ELSE 5 END,
    CASE WHEN n % 1000 = 0 THEN at END, at, at, CASE WHEN status = 'resolved' THEN at END, 'request ' || n
FROM copies;

INSERT INTO messages (organization_id, conversation_id, seq, id, sender_type, content, content_type, created_at, client_message_id,
    intent)
SELECT org, id, seq, md5(n || ' message ' || seq)::uuid, CASE WHEN seq % 2 = 1 THEN 'user' ELSE 'ai_agent' END, '\x00', 'text', at,
    'client ' || seq, 'returns'
FROM copies, generate_series(1, 5) seq;

INSERT INTO status_events (organization_id, conversation_id, seq, id, body, created_at)
SELECT org, id, 6, md5(n || ' status')::uuid, '\x00', at FROM copies;

INSERT INTO escalations (organization_id, id, conversation_id, priority, queue_name, created_at, sla_deadline, breached,
    resolved_at, body)
SELECT org, md5(n || ' escalation')::uuid, id, n % 4 + 1, 'support', at, at + interval '1 hour', n % 3 = 0,
    CASE WHEN n % 97 <> 0 THEN at END, '\x00'
FROM copies WHERE n % 3 = 0 OR n % 97 = 0;

INSERT INTO actions (organization_id, id, idempotency_key, conversation_id, user_id, action_type, parameters, status, attempts,
    case_number, next_attempt_at, created_at)
SELECT org, md5(n || ' action')::uuid, 'key ' || n, id, user_id, 'create_case', '\x00',
    CASE WHEN n % 500 = 0 THEN 'pending' WHEN n % 501 = 0 THEN 'failed' ELSE 'completed' END, 1, 'case ' || n, at, at
FROM copies;

INSERT INTO drafts (organization_id, conversation_id, id, user_message_id, content, citations, created_at)
SELECT org, id, md5(n || ' draft')::uuid, id, '\x00', '[]', at FROM copies WHERE n % 5 = 0;

INSERT INTO notes (organization_id, conversation_id, id, author_id, content, created_at)
SELECT org, id, md5(n || ' note')::uuid, user_id, '\x00', at FROM copies WHERE n % 5 = 0;

INSERT INTO citations (organization_id, article_id, created_at, message_id, version, conversation_id)
SELECT org, 'article-' || n % 100, at, md5(n || ' message 2')::uuid, n % 5, id FROM copies;

INSERT INTO outbox (organization_id, conversation_id, user_id, sink, kind, seq, created_at, body)
SELECT org, id, user_id, sink, kind, 6, at, '\x00'
FROM copies, (VALUES ('bus', 'fact'), ('sessions', 'snapshot'), ('outcomes', 'outcome')) AS leaving (sink, kind);

INSERT INTO cursors (organization_id, feed, value) SELECT md5('org ' || n)::uuid, 'feed', '1' FROM generate_series(1, 3000) n;

INSERT INTO erasures (organization_id, user_id, id, requested_by, requested_at, completed_at, steps)
SELECT org, user_id, user_id, user_id, min(at), CASE WHEN min(n) % 100 <> 0 THEN min(at) END, '[]' FROM copies GROUP BY org, user_id;

INSERT INTO activity_log (organization_id, seq, created_at, user_id, action, resource_type, details, hash)
SELECT md5('org ' || n % 20)::uuid, n, date_trunc('month', now()) + n * interval '1 minute', md5('admin')::uuid, 'x', 'x', '{}', '\x00'
FROM generate_series(1, 5000) n;
