//! One commit, one statement: a compare-and-set on the conversation's row, and beside it, only if that hits, all that goes
//! with it. Beginning, this statement and the end are three round trips, whatever is in the commit.
//!
//! The row's lock, which the compare-and-set takes first and which is held to the end, orders the commits of a conversation:
//! positions in the outbox are taken under it, so they are in the order of commits, though those of other conversations may
//! appear later at earlier positions.
use sqlx::{Postgres, QueryBuilder, Row as _, types::Json};
use switchboard_runtime::postgres::{Time, constraint, is_contention};

use super::{PostgresStore, effects};
use crate::{
    error::Error,
    model::{Conversation, Escalation, Event, EventKind, Message},
    outbox::Leaving,
    store::{
        Answered, Commit, Committed,
        rows::name,
        sealed::{SealedCommit, SealedEvent, SealedMessage},
    },
};

pub(super) async fn commit(store: &PostgresStore, commit: Commit) -> Result<Committed, Error> {
    let (org, id) = (commit.next.org, commit.next.id);
    // Sealing is done before a connection is taken.
    let Some(seal) = store.seal_of(org, id).await? else { return Ok(Committed::Conflict) };
    let mut statement = statement(&commit, SealedCommit::of(&commit, &seal)?)?;
    let mut tx = store.db.tenant(org).await?;
    let row = match statement.build().fetch_one(&mut *tx).await {
        Err(e) if constraint(&e) == Some("messages_client_id") => return Ok(Committed::DuplicateMessage),
        Err(e) if is_contention(&e) => return Ok(Committed::Conflict),
        row => row?,
    };
    let refused = match (row.try_get("done")?, row.try_get("sent")?) {
        (true, true) => {
            tx.commit().await?;
            return Ok(Committed::Done);
        }
        (false, _) => Committed::Conflict,
        (true, false) => Committed::DraftGone,
    };
    tx.rollback().await?;
    Ok(refused)
}

/// A statement in the making: `WITH cas AS (…), p1 AS (…), … SELECT …`.
pub(super) struct Parts {
    sql: QueryBuilder<Postgres>,
    count: usize,
}

impl Parts {
    /// Begins the next part; its text follows, and ends with [`Parts::end`].
    pub fn part(&mut self, begin: &'static str) -> &mut QueryBuilder<Postgres> {
        self.count += 1;
        self.sql.push(", p").push(self.count).push(" AS (").push(begin)
    }

    /// Ends a part.
    pub fn end(&mut self, end: &'static str) {
        self.sql.push(end).push(")");
    }
}

fn statement(commit: &Commit, sealed: SealedCommit) -> Result<QueryBuilder<Postgres>, Error> {
    let c = &commit.next;
    let mut parts = Parts { sql: QueryBuilder::new("WITH cas AS (UPDATE conversations SET "), count: 0 };
    let mut set = parts.sql.separated(", ");
    macro_rules! set {
        ($($column:literal = $value:expr),* $(,)?) => {
            $(set.push(concat!($column, " = ")).push_bind_unseparated($value);)*
        };
    }
    set!(
        "status" = c.status.name(),
        "owner" = c.owner.name(),
        "seq" = c.seq as i64,
        "owner_epoch" = c.owner_epoch as i64,
        "assigned_to" = c.assigned_to,
        "escalation_id" = c.escalation.as_ref().map(|e| e.id),
        "language" = &c.language,
        "context" = sealed.row.context,
        "state" = sealed.row.state,
        "last_user_seq" = c.last_user_seq as i64,
        "answered_seq" = c.answered_seq as i64,
        "turn_token" = c.turn.as_ref().map(|t| t.token),
        "turn_until" = c.turn.as_ref().map(|t| Time(t.until)),
        "last_activity_at" = Time(c.last_activity_at),
        "ended_at" = c.ended_at.map(Time),
        "resolution_type" = c.resolution.as_ref().map(name).transpose()?,
        "assumed" = c.assumed,
        "rating" = c.rating.and_then(|r| i16::try_from(r).ok()),
        "rating_comment" = sealed.row.rating_comment,
        "response_count" = c.response_count as i64,
        "response_micros" = c.response_micros as i64,
    );
    parts.sql.push(" WHERE organization_id = ").push_bind(c.org).push(" AND id = ").push_bind(c.id);
    parts.sql.push(" AND seq = ").push_bind(commit.expect.0 as i64);
    parts.sql.push(" AND owner_epoch = ").push_bind(commit.expect.1 as i64);
    parts.sql.push(" AND turn_token IS NOT DISTINCT FROM ").push_bind(commit.expect_turn);
    parts.sql.push(" RETURNING organization_id, id)");

    for (event, sealed) in commit.events.iter().zip(sealed.events) {
        put_event(&mut parts, event, sealed)?;
    }
    put_leaving(&mut parts, c, sealed.leaving);
    for (effect, sealed) in commit.effects.iter().zip(sealed.effects) {
        effects::put(&mut parts, effect, sealed)?;
    }
    for (effect, sealed) in commit.effects_changed.iter().zip(sealed.effects_changed) {
        let change = parts.part("UPDATE actions SET ");
        effects::change(change, effect, sealed)?;
        parts.end(" AND EXISTS (SELECT FROM cas)");
    }
    if let (Some(escalation), Some(body)) = (&commit.escalation, sealed.escalation) {
        put_escalation(&mut parts, escalation, body);
    }
    if let Some(answered) = &commit.answered {
        put_answered(&mut parts, c, answered, sealed.entities);
    }
    if let (Some(draft), Some(content)) = (&commit.draft, sealed.draft) {
        let insert = parts.part("INSERT INTO drafts (organization_id, conversation_id, id, user_message_id, content, citations, created_at) SELECT organization_id, id, ");
        let mut values = insert.separated(", ");
        values.push_bind(draft.id).push_bind(draft.user_message).push_bind(content).push_bind(Json(&draft.citations));
        values.push_bind(Time(draft.created_at));
        parts.end(" FROM cas");
    }
    if let Some((feed, value)) = &commit.cursor {
        let insert = parts.part("INSERT INTO cursors (organization_id, feed, value) SELECT organization_id, ");
        insert.push_bind(*feed).push(", ").push_bind(value);
        parts.end(" FROM cas ON CONFLICT (organization_id, feed) DO UPDATE SET value = excluded.value");
    }
    let mut sent = "true";
    if let Some(draft) = commit.draft_sent {
        sent = "EXISTS (SELECT FROM draft_sent)";
        let sql = &mut parts.sql;
        sql.push(", draft_sent AS (UPDATE drafts d SET sent_at = ").push_bind(Time(c.last_activity_at));
        sql.push(" FROM cas WHERE d.organization_id = cas.organization_id AND d.conversation_id = cas.id AND d.id = ");
        sql.push_bind(draft).push(" AND d.sent_at IS NULL RETURNING d.id)");
    }
    parts.sql.push(" SELECT EXISTS (SELECT FROM cas) AS done, ").push(sent).push(" AS sent");
    Ok(parts.sql)
}

fn put_leaving(parts: &mut Parts, c: &Conversation, leaving: Vec<Leaving>) {
    if leaving.is_empty() {
        return;
    }
    let insert = parts.part(
        "INSERT INTO outbox (organization_id, conversation_id, user_id, sink, kind, seq, created_at, body) \
         SELECT cas.organization_id, cas.id, ",
    );
    insert.push_bind(c.user).push(", o.sink, o.kind, o.seq, o.created_at, o.body FROM cas, unnest(");
    let of = |get: fn(&Leaving) -> &'static str| leaving.iter().map(get).collect::<Vec<_>>();
    let mut columns = insert.separated(", ");
    columns.push_bind(of(|out| out.kind.sink().name()));
    columns.push_bind(of(|out| out.kind.name()));
    columns.push_bind(leaving.iter().map(|out| out.seq as i64).collect::<Vec<_>>());
    columns.push_bind(leaving.iter().map(|out| Time(out.at)).collect::<Vec<_>>());
    columns.push_bind(leaving.into_iter().map(|out| out.body).collect::<Vec<_>>());
    parts.end(") WITH ORDINALITY AS o (sink, kind, seq, created_at, body, place) ORDER BY o.place");
}

fn put_event(parts: &mut Parts, event: &Event, sealed: SealedEvent) -> Result<(), Error> {
    match (&event.kind, sealed) {
        (EventKind::Message(m), SealedEvent::Message(sealed)) => put_message(parts, m, sealed)?,
        (_, SealedEvent::Status(body)) => {
            let insert = parts.part("INSERT INTO status_events (organization_id, conversation_id, seq, id, body, created_at) SELECT organization_id, id, ");
            let mut values = insert.separated(", ");
            values.push_bind(event.seq as i64).push_bind(event.id).push_bind(body).push_bind(Time(event.at));
            parts.end(" FROM cas");
        }
        (EventKind::Status(_), SealedEvent::Message(_)) => {}
    }
    Ok(())
}

fn put_message(parts: &mut Parts, m: &Message, sealed: SealedMessage) -> Result<(), Error> {
    let insert = parts.part(
        "INSERT INTO messages (organization_id, conversation_id, seq, id, sender_type, sender_id, content, content_type, attachments, \
         intent, intent_confidence, sentiment_score, entities, citations, metadata, created_at, client_message_id, outcome, receipt) \
         SELECT organization_id, id, ",
    );
    let mut values = insert.separated(", ");
    values
        .push_bind(m.seq as i64)
        .push_bind(m.id)
        .push_bind(name(&m.sender)?)
        .push_bind(m.sender_id)
        .push_bind(sealed.content)
        .push_bind(name(&m.content_type)?)
        .push_bind(sealed.attachments)
        .push_bind(&m.analysis.intent)
        .push_bind(m.analysis.confidence)
        .push_bind(m.analysis.sentiment)
        .push_bind(sealed.entities)
        .push_bind((!m.citations.is_empty()).then_some(Json(&m.citations)))
        .push_bind(sealed.metadata)
        .push_bind(Time(m.created_at))
        .push_bind(&m.client_message_id)
        .push_bind(sealed.outcome)
        .push_bind(sealed.receipt);
    parts.end(" FROM cas");
    if !m.citations.is_empty() {
        let articles: Vec<&str> = m.citations.iter().map(|c| c.article.as_str()).collect();
        let versions: Vec<i32> = m.citations.iter().map(|c| c.version.cast_signed()).collect();
        let insert = parts.part(
            "INSERT INTO citations (organization_id, conversation_id, article_id, version, message_id, created_at) \
             SELECT cas.organization_id, cas.id, cited.article, cited.version, ",
        );
        insert.push_bind(m.id).push(", ").push_bind(Time(m.created_at));
        insert.push(" FROM cas, unnest(").push_bind(articles).push(", ").push_bind(versions);
        parts.end(") AS cited (article, version) ON CONFLICT DO NOTHING");
    }
    Ok(())
}

fn put_escalation(parts: &mut Parts, e: &Escalation, body: Vec<u8>) {
    let insert = parts.part(
        "INSERT INTO escalations (organization_id, conversation_id, id, priority, queue_name, case_number, assigned_to, assigned_at, \
         created_at, sla_deadline, breached, resolved_at, resolved_by, body) SELECT organization_id, id, ",
    );
    let mut values = insert.separated(", ");
    values
        .push_bind(e.id)
        .push_bind(e.priority as i16)
        .push_bind(&e.queue)
        .push_bind(&e.case_number)
        .push_bind(e.assigned_to)
        .push_bind(e.assigned_at.map(Time))
        .push_bind(Time(e.created_at))
        .push_bind(Time(e.sla_deadline))
        .push_bind(e.breached)
        .push_bind(e.resolved_at.map(Time))
        .push_bind(e.resolved_by)
        .push_bind(body);
    parts.end(
        " FROM cas ON CONFLICT (organization_id, id) DO UPDATE SET priority = excluded.priority, queue_name = excluded.queue_name, \
         case_number = excluded.case_number, assigned_to = excluded.assigned_to, assigned_at = excluded.assigned_at, \
         sla_deadline = excluded.sla_deadline, breached = excluded.breached, resolved_at = excluded.resolved_at, \
         resolved_by = excluded.resolved_by, body = excluded.body",
    );
}

/// The burst is answered; what was understood stands with its newest message.
fn put_answered(parts: &mut Parts, c: &Conversation, a: &Answered, entities: Option<Vec<u8>>) {
    let last = a.seqs.1 as i64;
    let update = parts.part("UPDATE messages m SET reply_seq = ");
    update.push_bind(a.reply_seq as i64);
    macro_rules! of_the_last {
        ($($column:literal = $value:expr),* $(,)?) => {
            $(update
                .push(concat!(", ", $column, " = CASE WHEN m.seq = "))
                .push_bind(last)
                .push(" THEN ")
                .push_bind($value)
                .push(concat!(" ELSE m.", $column, " END"));)*
        };
    }
    of_the_last!(
        "intent" = &a.analysis.intent,
        "intent_confidence" = a.analysis.confidence,
        "sentiment_score" = a.analysis.sentiment,
        "entities" = entities,
    );
    update
        .push(" FROM cas WHERE m.organization_id = ")
        .push_bind(c.org)
        .push(" AND m.conversation_id = ")
        .push_bind(c.id);
    update.push(" AND m.seq BETWEEN ").push_bind(a.seqs.0 as i64).push(" AND ").push_bind(last);
    parts.end(" AND m.sender_type = 'user'");
}
