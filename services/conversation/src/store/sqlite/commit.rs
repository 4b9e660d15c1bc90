//! One commit: a compare-and-set on the conversation's row, then what goes with it.
use serde::Serialize;
use sqlx::SqliteConnection;
use switchboard_runtime::sqlite::is_unique_violation;
use uuid::Uuid;

use super::{SqliteStore, effects, json, micros, work::put_cursor};
use crate::{
    error::Error,
    model::{Conversation, Escalation, Event, EventKind, Message},
    outbox::Leaving,
    store::{
        Answered, Commit, Committed,
        rows::name,
        sealed::{SealedCommit, SealedEvent, SealedMessage, SealedRow},
    },
};

/// Why a commit that has begun to write is taken back.
enum Refused {
    As(Committed),
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Refused {
    fn from(error: E) -> Self {
        Refused::Failed(error.into())
    }
}

pub(super) async fn commit(store: &SqliteStore, commit: Commit) -> Result<Committed, Error> {
    let Some(seal) = store.seal(commit.next.org, commit.next.id).await? else { return Ok(Committed::Conflict) };
    let sealed = SealedCommit::of(&commit, &seal)?;
    match store.write((commit, sealed), |tx, (commit, sealed)| Box::pin(write(tx, commit, sealed))).await {
        Ok(committed) | Err(Refused::As(committed)) => Ok(committed),
        Err(Refused::Failed(error)) => Err(error),
    }
}

async fn write(tx: &mut SqliteConnection, commit: &Commit, sealed: &SealedCommit) -> Result<Committed, Refused> {
    let c = &commit.next;
    if !put_conversation(tx, commit, &sealed.row).await? {
        // Nothing was written that had to be taken back.
        return Ok(Committed::Conflict);
    }
    for (event, sealed) in commit.events.iter().zip(&sealed.events) {
        match put_event(tx, c, event, sealed).await {
            Err(Error::Store(e)) if is_unique_violation(&e) => return Err(Refused::As(Committed::DuplicateMessage)),
            other => other?,
        }
    }
    for out in &sealed.leaving {
        put_leaving(tx, c, out).await?;
    }
    for (effect, sealed) in commit.effects.iter().zip(&sealed.effects) {
        effects::put(tx, effect, sealed).await?;
    }
    for (effect, sealed) in commit.effects_changed.iter().zip(&sealed.effects_changed) {
        effects::change(tx, effect, sealed).await?;
    }
    if let (Some(escalation), Some(body)) = (&commit.escalation, &sealed.escalation) {
        put_escalation(tx, c, escalation, body).await?;
    }
    if let Some(answered) = &commit.answered {
        put_answered(tx, c, answered, sealed.entities.as_deref()).await?;
    }
    if let (Some(draft), Some(content)) = (&commit.draft, &sealed.draft) {
        sqlx::query("INSERT INTO drafts (id, organization_id, conversation_id, user_message_id, content, citations, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(draft.id.to_string())
            .bind(c.org.to_string())
            .bind(c.id.to_string())
            .bind(draft.user_message.to_string())
            .bind(content)
            .bind(json(&draft.citations)?)
            .bind(micros(draft.created_at))
            .execute(&mut *tx)
            .await?;
    }
    if let Some(draft) = commit.draft_sent {
        let sent =
            sqlx::query("UPDATE drafts SET sent_at = ? WHERE id = ? AND conversation_id = ? AND sent_at IS NULL")
                .bind(micros(c.last_activity_at))
                .bind(draft.to_string())
                .bind(c.id.to_string())
                .execute(&mut *tx)
                .await?;
        if sent.rows_affected() == 0 {
            return Err(Refused::As(Committed::DraftGone));
        }
    }
    if let Some((feed, value)) = &commit.cursor {
        put_cursor(tx, c.org, feed, value).await?;
    }
    Ok(Committed::Done)
}

async fn put_leaving(tx: &mut SqliteConnection, c: &Conversation, out: &Leaving) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO outbox (organization_id, conversation_id, user_id, sink, kind, seq, created_at, body) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(c.org.to_string())
    .bind(c.id.to_string())
    .bind(c.user.to_string())
    .bind(out.kind.sink().name())
    .bind(out.kind.name())
    .bind(out.seq as i64)
    .bind(micros(out.at))
    .bind(&out.body)
    .execute(tx)
    .await?;
    Ok(())
}

async fn put_conversation(tx: &mut SqliteConnection, commit: &Commit, sealed: &SealedRow) -> Result<bool, Error> {
    let (c, expect) = (&commit.next, commit.expect);
    let done = sqlx::query(
        "UPDATE conversations SET status = ?, owner = ?, seq = ?, owner_epoch = ?, assigned_to = ?, escalation_id = ?, language = ?, \
         context = ?, state = ?, last_user_seq = ?, answered_seq = ?, turn_token = ?, turn_until = ?, last_activity_at = ?, \
         ended_at = ?, resolution_type = ?, assumed = ?, rating = ?, rating_comment = ?, response_count = ?, response_micros = ? \
         WHERE id = ? AND organization_id = ? AND seq = ? AND owner_epoch = ? AND turn_token IS ?",
    )
    .bind(c.status.name())
    .bind(c.owner.name())
    .bind(c.seq as i64)
    .bind(c.owner_epoch as i64)
    .bind(text(c.assigned_to))
    .bind(text(c.escalation.as_ref().map(|e| e.id)))
    .bind(&c.language)
    .bind(&sealed.context)
    .bind(&sealed.state)
    .bind(c.last_user_seq as i64)
    .bind(c.answered_seq as i64)
    .bind(text(c.turn.as_ref().map(|t| t.token)))
    .bind(c.turn.as_ref().map(|t| micros(t.until)))
    .bind(micros(c.last_activity_at))
    .bind(c.ended_at.map(micros))
    .bind(c.resolution.as_ref().map(name).transpose()?)
    .bind(c.assumed)
    .bind(c.rating)
    .bind(&sealed.rating_comment)
    .bind(c.response_count as i64)
    .bind(c.response_micros as i64)
    .bind(c.id.to_string())
    .bind(c.org.to_string())
    .bind(expect.0 as i64)
    .bind(expect.1 as i64)
    .bind(text(commit.expect_turn))
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn put_event(
    tx: &mut SqliteConnection,
    c: &Conversation,
    event: &Event,
    sealed: &SealedEvent,
) -> Result<(), Error> {
    match (&event.kind, sealed) {
        (EventKind::Message(m), SealedEvent::Message(sealed)) => put_message(tx, c, m, sealed).await?,
        (_, SealedEvent::Status(body)) => {
            sqlx::query(
                "INSERT INTO status_events (conversation_id, seq, id, organization_id, body, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(c.id.to_string())
            .bind(event.seq as i64)
            .bind(event.id.to_string())
            .bind(c.org.to_string())
            .bind(body)
            .bind(micros(event.at))
            .execute(&mut *tx)
            .await?;
        }
        (EventKind::Status(_), SealedEvent::Message(_)) => {}
    }
    Ok(())
}

async fn put_message(
    tx: &mut SqliteConnection,
    c: &Conversation,
    m: &Message,
    sealed: &SealedMessage,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO messages (conversation_id, seq, id, organization_id, sender_type, sender_id, content, content_type, attachments, \
         intent, intent_confidence, sentiment_score, entities, citations, metadata, created_at, client_message_id, outcome, \
         receipt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(c.id.to_string())
    .bind(m.seq as i64)
    .bind(m.id.to_string())
    .bind(c.org.to_string())
    .bind(name(&m.sender)?)
    .bind(text(m.sender_id))
    .bind(&sealed.content)
    .bind(name(&m.content_type)?)
    .bind(&sealed.attachments)
    .bind(&m.analysis.intent)
    .bind(m.analysis.confidence)
    .bind(m.analysis.sentiment)
    .bind(&sealed.entities)
    .bind(some_json(&m.citations)?)
    .bind(&sealed.metadata)
    .bind(micros(m.created_at))
    .bind(&m.client_message_id)
    .bind(&sealed.outcome)
    .bind(&sealed.receipt)
    .execute(&mut *tx)
    .await?;
    for citation in &m.citations {
        sqlx::query("INSERT OR IGNORE INTO citations (organization_id, article_id, created_at, message_id, version, conversation_id) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(c.org.to_string())
            .bind(&citation.article)
            .bind(micros(m.created_at))
            .bind(m.id.to_string())
            .bind(citation.version)
            .bind(c.id.to_string())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn put_escalation(tx: &mut SqliteConnection, c: &Conversation, e: &Escalation, body: &[u8]) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO escalations (id, organization_id, conversation_id, priority, queue_name, case_number, assigned_to, assigned_at, \
         created_at, sla_deadline, breached, resolved_at, resolved_by, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET priority = excluded.priority, queue_name = excluded.queue_name, \
         case_number = excluded.case_number, assigned_to = excluded.assigned_to, assigned_at = excluded.assigned_at, \
         sla_deadline = excluded.sla_deadline, breached = excluded.breached, resolved_at = excluded.resolved_at, \
         resolved_by = excluded.resolved_by, body = excluded.body WHERE organization_id = excluded.organization_id",
    )
    .bind(e.id.to_string())
    .bind(c.org.to_string())
    .bind(c.id.to_string())
    .bind(e.priority as i64)
    .bind(&e.queue)
    .bind(&e.case_number)
    .bind(text(e.assigned_to))
    .bind(e.assigned_at.map(micros))
    .bind(micros(e.created_at))
    .bind(micros(e.sla_deadline))
    .bind(e.breached)
    .bind(e.resolved_at.map(micros))
    .bind(text(e.resolved_by))
    .bind(body)
    .execute(tx)
    .await?;
    Ok(())
}

/// The burst is answered; what was understood stands with its newest message.
async fn put_answered(
    tx: &mut SqliteConnection,
    c: &Conversation,
    a: &Answered,
    entities: Option<&[u8]>,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE messages SET reply_seq = ?1, intent = iif(seq = ?3, ?4, intent), intent_confidence = iif(seq = ?3, ?5, intent_confidence), \
         sentiment_score = iif(seq = ?3, ?6, sentiment_score), entities = iif(seq = ?3, ?7, entities) \
         WHERE conversation_id = ?8 AND seq BETWEEN ?2 AND ?3 AND sender_type = 'user'",
    )
    .bind(a.reply_seq as i64)
    .bind(a.seqs.0 as i64)
    .bind(a.seqs.1 as i64)
    .bind(&a.analysis.intent)
    .bind(a.analysis.confidence)
    .bind(a.analysis.sentiment)
    .bind(entities)
    .bind(c.id.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

fn text(id: Option<Uuid>) -> Option<String> {
    id.map(|id| id.to_string())
}

fn some_json<T: Serialize>(values: &[T]) -> Result<Option<String>, Error> {
    if values.is_empty() { Ok(None) } else { json(values).map(Some) }
}
