//! A turn: the customer's unanswered messages in, one reply out, everything between them in the ledger.
//!
//! In: a message, or a conversation whose turn was left. Out: an [`Outcome`]. Never: two turns of one conversation at once; a
//! reply under an owner who has changed (it becomes a draft); a customer left without an answer.
//!
//! One turn is two transactions: the message with the turn's lease, and the reply with all its consequences. Writes outside
//! add one between them: their rows in the effect ledger.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use switchboard_runtime::{Context, Fault, Reason};
use uuid::Uuid;

use crate::{
    effects,
    engine::Engine,
    error::Error,
    hub::{Sign, Signal, Watch, Who},
    machine::{Actor, Owner, Status, Trigger},
    mind::{Planned, Question, Thought},
    model::{
        ActionStatus, Attachment, ContentType, Conversation, Effect, EventKind, Message, Outcome, Sender, Sentiment,
        Turn,
    },
    sessions::Capsule,
    store::Committed,
};

mod reply;

use reply::{Done, Reply, complete, last_rung, summary};

/// Messages of the past that a turn sees: a turn's cost does not grow with the conversation.
const WINDOW: u32 = 20;
/// Kept back from the turn's time for the last transaction.
const RESERVE: Duration = Duration::from_millis(500);
/// Longest turn: half of the default lease, so that a slow one ends before another process takes it up.
const TURN_TIME: Duration = Duration::from_secs(10);

/// Tries of one turn by thinking; after that a human has to look.
const MAX_TRIES: u32 = 3;
/// Wait before a failed turn is taken up again.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Wait before a mind that is not there is asked again.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where a customer writes in after the reopen window.
pub const CONTINUED: &str = "continued";

/// A message that comes in.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Who sends it.
    pub sender: Sender,
    /// The user behind it.
    pub sender_id: Uuid,
    /// The words.
    pub content: String,
    /// What they are.
    pub content_type: ContentType,
    /// What comes with them.
    pub attachments: Vec<Attachment>,
    /// The sender's own id.
    pub client_message_id: Option<String>,
}

/// How an appended message goes on.
enum Appended {
    /// Its turn starts now, under this lease; the row and the message save the turn from reading them again.
    Starts { token: Uuid, begun: Box<(Conversation, Message)> },
    /// It joins the next turn.
    Joins { seq: u64 },
    /// A human has it.
    Silent(Box<(Conversation, Message)>),
    /// It was there already.
    Again(Box<Message>),
}

impl Engine {
    /// Stores a customer's message and waits for its answer.
    pub async fn converse(self: &Arc<Self>, row: &Conversation, incoming: Incoming) -> Result<Outcome, Error> {
        // Watched before it is stored: no reply can slip by.
        let watch = self.shared.hub.watch(row.org, row.id, row.seq);
        let (content, sender) = (incoming.content.clone(), incoming.sender);
        let (engine, seen) = (self.clone(), row.clone());
        // Beside the request: a client that hangs up between the two leaves no lease without its turn.
        let stored = Context::current().scope(async move {
            let appended = engine.append(seen, &incoming).await?;
            if let Appended::Starts { token, begun } = &appended {
                engine.start(begun.0.org, begun.0.id, *token, Some(begun.clone()));
            }
            Ok::<_, Error>(appended)
        });
        let seq = match tokio::spawn(stored).await.map_err(|_| Error::Contended)?? {
            Appended::Silent(both) => return Ok(silent(&both.0, &both.1)),
            Appended::Again(message) => {
                if message.content != content || message.sender != sender {
                    return Err(Error::MessageIdReused);
                }
                let row = self.store.load(row.org, row.id).await?.ok_or(Error::ConversationNotFound(row.id))?;
                if row.answered_seq >= message.seq {
                    let outcome = self.store.outcome_of(row.org, row.id, message.seq).await?;
                    return Ok(outcome.unwrap_or_else(|| silent(&row, &message)));
                }
                message.seq
            }
            Appended::Joins { seq } => seq,
            Appended::Starts { begun, .. } => begun.1.seq,
        };
        self.answer_to(row.org, row.id, seq, watch).await
    }

    /// Runs the turns of a conversation under a lease, beside the caller: a client that goes does not stop them.
    pub fn start(self: &Arc<Self>, org: Uuid, id: Uuid, token: Uuid, begun: Option<Box<(Conversation, Message)>>) {
        let engine = self.clone();
        // The first turn has the time of the request that it answers; those that follow have their own.
        let mut context = Context::current().within(TURN_TIME);
        let mut begun = begun;
        tokio::spawn(async move {
            loop {
                match context.clone().scope(engine.run(org, id, token, begun.take())).await {
                    Ok(true) => context = Context { deadline: None, ..context }.within(TURN_TIME),
                    Ok(false) => return,
                    Err(error) => {
                        let reason = Fault::from(error).name();
                        tracing::warn!(conversation = %id, reason, "a turn failed and is left to the worker");
                        return engine.let_go(org, id, token).await;
                    }
                }
            }
        });
    }

    /// Shortens a lease, so that the worker soon takes the turn up. If even that fails, the lease runs out by itself.
    async fn let_go(&self, org: Uuid, id: Uuid, token: Uuid) {
        let soon = self.from_now(AFTER_FAILURE);
        let let_go = self.change(org, id, |change| {
            let held = change.row().turn.as_ref().is_some_and(|t| t.token == token);
            change.row().turn = Some(Turn { token: Uuid::now_v7(), until: soon });
            Ok(held)
        });
        if let Err(error) = let_go.await {
            tracing::warn!(conversation = %id, reason = Fault::from(error).name(), "a lease could not be given back");
        }
    }

    async fn append(&self, seen: Conversation, incoming: &Incoming) -> Result<Appended, Error> {
        let (org, id) = (seen.org, seen.id);
        if let Some(client_id) = &incoming.client_message_id
            && let Some(message) = self.store.message_by_client_id(org, id, incoming.sender, client_id).await?
        {
            return Ok(Appended::Again(Box::new(message)));
        }
        let token = Uuid::now_v7();
        let until = self.from_now(self.config.turn_lease);
        let mut appended = None;
        let (row, committed) = self
            .change_from(seen, |change| {
                let before = change.row().status;
                change.step(Trigger::Write, Actor::Customer)?;
                let mut message = change.message(incoming.sender, Some(incoming.sender_id), incoming.content.clone());
                message.content_type = incoming.content_type;
                message.attachments.clone_from(&incoming.attachments);
                message.client_message_id.clone_from(&incoming.client_message_id);
                let stored = message.clone();
                let seq = change.say(message);
                if !before.is_open() {
                    change.tell("reopened");
                }
                let now = change.now;
                let row = change.row();
                appended = Some(if row.owner == Owner::Human {
                    Appended::Silent(Box::new((row.clone(), Message { seq, ..stored })))
                } else if row.in_turn(now) {
                    Appended::Joins { seq }
                } else {
                    row.turn = Some(Turn { token, until });
                    Appended::Starts { token, begun: Box::new((row.clone(), Message { seq, ..stored })) }
                });
                Ok(true)
            })
            .await?;
        if committed == Committed::DuplicateMessage {
            // Another request with the same client id was quicker.
            let client_id = incoming.client_message_id.as_deref().unwrap_or_default();
            let message = self.store.message_by_client_id(org, row.id, incoming.sender, client_id).await?;
            return Ok(Appended::Again(Box::new(message.ok_or(Error::Contended)?)));
        }
        appended.ok_or(Error::Contended)
    }

    /// Waits for the reply to a message, or for a human to take over; any replica may make it.
    async fn answer_to(&self, org: Uuid, id: Uuid, seq: u64, mut watch: Watch) -> Result<Outcome, Error> {
        let limit = Context::current().remaining().unwrap_or(TURN_TIME);
        let wait = async {
            loop {
                let Signal::Event(event) = watch.next().await? else { continue };
                match &event.kind {
                    EventKind::Message(m) => {
                        if let Some(outcome) = m.outcome.as_ref().filter(|o| o.answers_up_to >= seq) {
                            return Ok(outcome.as_ref().clone());
                        }
                    }
                    // What happened before the message was written is no answer to it.
                    EventKind::Status(change)
                        if event.seq > seq && (change.owner == Owner::Human || !change.status.is_open()) =>
                    {
                        return self.taken_over(org, id, seq).await;
                    }
                    EventKind::Status(_) => {}
                }
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or_else(|_| {
            let fault = Fault::new(
                Reason::DeadlineExceeded,
                "The message is stored; its answer takes longer than this request may. Read the conversation again.",
            );
            Err(fault.into())
        })
    }

    async fn taken_over(&self, org: Uuid, id: Uuid, seq: u64) -> Result<Outcome, Error> {
        if let Some(outcome) = self.store.outcome_of(org, id, seq).await? {
            return Ok(outcome);
        }
        let row = self.store.load(org, id).await?.ok_or(Error::ConversationNotFound(id))?;
        let message = self.store.messages(org, id, seq - 1, 1).await?.pop().ok_or(Error::MessageNotFound(id))?;
        Ok(silent(&row, &message))
    }

    /// One turn. True if more messages came meanwhile and the lease is kept for them.
    async fn run(
        &self,
        org: Uuid,
        id: Uuid,
        token: Uuid,
        begun: Option<Box<(Conversation, Message)>>,
    ) -> Result<bool, Error> {
        let (row, message) = match begun {
            Some(begun) => (begun.0, Some(begun.1)),
            None => (self.store.load(org, id).await?.ok_or(Error::ConversationNotFound(id))?, None),
        };
        if row.turn.as_ref().is_none_or(|t| t.token != token) {
            return Ok(false);
        }
        if !row.wants_turn() {
            self.change(org, id, |change| {
                let held = change.row().turn.as_ref().is_some_and(|t| t.token == token);
                change.row().turn = None;
                Ok(held)
            })
            .await?;
            return Ok(false);
        }
        let types = Sign { who: Who::Ai, typing: true, read_seq: row.last_user_seq };
        self.shared.hub.presence(org, id, types);
        let history = self.store.history(org, id, row.answered_seq, WINDOW).await?;
        // The one message that began the turn, or, oldest first, what waits: the rest of a long queue is the next turn's.
        let lone = message.filter(|m| history.last().map_or(0, |h| h.seq) < m.seq && m.seq == row.answered_seq + 1);
        let fresh = match lone {
            Some(message) => vec![message],
            None => self.store.messages(org, id, row.answered_seq, WINDOW).await?,
        };
        let burst: Vec<&Message> = fresh.iter().filter(|m| m.sender == Sender::User).collect();
        let (Some(first), Some(last)) = (burst.first(), burst.last()) else { return Ok(false) };
        let history = history.as_slice();
        let now = self.clock.now();
        let user_messages = history.iter().filter(|m| m.sender == Sender::User).count() + burst.len();
        let user_messages = u32::try_from(user_messages).unwrap_or(u32::MAX);
        let question = Question {
            conversation: &row,
            text: burst.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n"),
            user_messages,
            history,
            now,
        };
        let text = question.text.clone();
        let thought = if row.state.turn_tries > MAX_TRIES {
            last_rung(&row, "the turn failed again and again", now)
        } else {
            let time = Context::current().remaining().unwrap_or(TURN_TIME).saturating_sub(RESERVE);
            let thinking = Context::current().within(time).scope(self.think(question));
            match tokio::time::timeout(time, thinking).await {
                Ok(Ok(thought)) => thought,
                Ok(Err(fault)) => last_rung(&row, fault.name(), now),
                Err(_) => last_rung(&row, "DEADLINE_EXCEEDED", now),
            }
        };
        let capsule = Arc::new(Capsule {
            before: row,
            now,
            history: history.iter().map(|m| m.seq).collect(),
            burst: burst.iter().map(|m| m.seq).collect(),
            user_messages,
            thought,
        });
        let (row, thought) = (&capsule.before, &capsule.thought);
        let summary = summary(row, history, &burst, thought);
        // A turn that was lost meanwhile did nothing; what is left of it is decided in the last transaction.
        let (done, changed) = self.act(row, token, first.id, thought, &summary, &text).await?.unwrap_or_default();
        let kept = (!self.config.capsule_retention.is_zero()).then_some(&capsule);
        let reply = Reply { thought, done: &done, changed: &changed, summary: &summary, first, last, capsule: kept };
        self.finish(row, token, reply).await
    }

    /// Asks the mind. One that is not there yet, or is being replaced, is asked again while there is time.
    async fn think(&self, question: Question<'_>) -> Result<Thought, Fault> {
        loop {
            let left = Context::current().remaining().unwrap_or_default();
            match self.mind.think(question.clone()).await {
                Err(fault) if fault.reason == Reason::Unavailable && left > PATIENCE * 2 => {
                    tokio::time::sleep(PATIENCE).await
                }
                thought => return thought,
            }
        }
    }

    /// Carries the thought's actions out. None if the turn was lost before anything could be written down.
    async fn act(
        &self,
        row: &Conversation,
        token: Uuid,
        turn: Uuid,
        thought: &Thought,
        summary: &str,
        text: &str,
    ) -> Result<Option<(Done, Vec<Effect>)>, Error> {
        let mut done = Done::default();
        let planned: Vec<Planned> = thought.actions.iter().map(|a| complete(a, row, thought, summary, text)).collect();
        // Counted per kind: a second thought that plans something else beside it still finds the same row.
        let place =
            |index: usize| planned[..index].iter().filter(|a| a.action_type == planned[index].action_type).count();
        let places: Vec<usize> = (0..planned.len()).map(place).collect();
        let rows: Vec<Effect> = planned
            .iter()
            .zip(&places)
            .filter(|(a, _)| !a.read_only)
            .map(|(a, place)| effects::row(row, turn, *place, a, &self.clock))
            .collect();
        let mut ledger = BTreeMap::new();
        if !rows.is_empty() {
            let mut held = false;
            // Not due for the worker while this turn tries them: a second hand would only knock at the same door.
            let due = self.from_now(self.config.turn_lease);
            self.change(row.org, row.id, |change| {
                held = change.row().turn.as_ref().is_some_and(|t| t.token == token)
                    && change.row().owner_epoch == row.owner_epoch;
                change.commit.effects = rows.iter().cloned().map(|e| Effect { next_attempt_at: due, ..e }).collect();
                Ok(held)
            })
            .await?;
            if !held {
                return Ok(None);
            }
            let keys: Vec<String> = rows.iter().map(|e| e.key.clone()).collect();
            ledger = self.store.effects_by_key(row.org, &keys).await?.into_iter().map(|e| (e.key.clone(), e)).collect();
        }
        let mut changed = Vec::new();
        for (action, place) in planned.into_iter().zip(places) {
            if action.read_only {
                match self.hands.look(row, &action, self.config.action_wait).await {
                    Ok(result) => done.went_well(None, &action, ActionStatus::Completed, result),
                    Err(_) => done.failed(None, &action, ActionStatus::Failed),
                }
                continue;
            }
            let Some(effect) = ledger.remove(&effects::key(turn, place, &action.action_type)) else { continue };
            let effect = if effect.status == ActionStatus::Completed {
                effect
            } else {
                let tried = self.hands.attempt(effect, self.config.action_wait).await;
                changed.push(tried.clone());
                tried
            };
            match effect.status {
                ActionStatus::Completed => done.went_well(Some(effect.id), &action, effect.status, effect.result),
                status => done.failed(Some(effect.id), &action, status),
            }
        }
        Ok(Some((done, changed)))
    }

    /// The last transaction: reply, state, hand-off, actions; or a draft if the owner changed meanwhile.
    async fn finish(&self, started: &Conversation, token: Uuid, reply: Reply<'_>) -> Result<bool, Error> {
        let mut more = false;
        let mut redo = false;
        let lease = self.from_now(self.config.turn_lease);
        let (row, _) = self
            .change_from(started.clone(), |change| {
                (more, redo) = (false, false);
                let up_to = reply.last.seq;
                let held = change.row().turn.as_ref().is_some_and(|t| t.token == token);
                if !held {
                    // The lease ran out and another process has the turn, or a human's take-over ended it.
                    if change.row().owner != Owner::Human || change.row().owner_epoch == started.owner_epoch {
                        return Ok(false);
                    }
                }
                if change.row().owner_epoch != started.owner_epoch {
                    if change.row().owner == Owner::Human {
                        reply.as_draft(change);
                        change.row().answered_seq = change.row().answered_seq.max(up_to);
                        change.row().turn = None;
                        return Ok(true);
                    }
                    // Called or given back in the middle: the policy decides again from where it stands now.
                    redo = true;
                    return Ok(false);
                }
                reply.write(change, started)?;
                let now = change.now;
                let row = change.row();
                row.answered_seq = up_to;
                let spent = now.duration_since(reply.first.created_at).as_micros();
                row.response_count += 1;
                row.response_micros += u64::try_from(spent).unwrap_or_default();
                more = row.wants_turn();
                row.turn = more.then_some(Turn { token, until: lease });
                Ok(true)
            })
            .await?;
        let stopped = Sign { who: Who::Ai, typing: false, read_seq: row.last_user_seq };
        self.shared.hub.presence(row.org, row.id, stopped);
        if reply.changed.iter().any(|e| e.status == ActionStatus::Pending) {
            self.wake.notify_waiters();
        }
        Ok(more || redo)
    }
}

/// The outcome of a message that a human will answer.
pub fn silent(row: &Conversation, message: &Message) -> Outcome {
    Outcome {
        message_id: None,
        user_message_id: message.id,
        answers_up_to: message.seq,
        conversation_id: row.id,
        seq: message.seq,
        response: None,
        intent: message.analysis.intent.clone().unwrap_or_default(),
        confidence: message.analysis.confidence.unwrap_or_default(),
        sentiment: Sentiment { score: message.analysis.sentiment.unwrap_or_default(), anger: 0.0 },
        entities: message.analysis.entities.clone(),
        actions: vec![],
        citations: vec![],
        requires_escalation: false,
        escalation: row.escalation.clone().filter(|e| e.resolved_at.is_none()),
        status: row.status,
        owner: row.owner,
        rung: None,
        language: row.language.clone(),
    }
}

/// True if the matter is over for so long that writing in it starts a new one.
pub fn is_past_reopening(row: &Conversation, since: Timestamp) -> bool {
    matches!(row.status, Status::Resolved | Status::Abandoned) && row.ended_at.is_some_and(|ended| ended < since)
}
