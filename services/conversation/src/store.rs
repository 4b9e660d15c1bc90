//! The ledger: the port and its laws.
//!
//! In: whole writes that the domain made. Out: rows. Never: a decision.
//!
//! Laws, each a function of the contract suite:
//! 1. A commit is refused, whole, unless `(seq, owner_epoch)` are as expected.
//! 2. Events of a conversation are numbered by one, without gaps, in the order of commits.
//! 3. What was committed is read back as it was written, also after the process died.
//! 4. The same client message id, request id or effect key is stored once.
//! 5. Nothing of one organization is seen or changed under another.
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    error::Error,
    machine::Status,
    model::{
        Analysis, CitingAnswer, Conversation, Draft, Effect, Escalation, Event, Message, Metrics, Note, Outcome, Sender,
    },
};

pub mod sqlite;

/// A new conversation and the request that asked for it.
#[derive(Debug, Clone)]
pub struct NewConversation {
    /// The row.
    pub row: Conversation,
    /// The request's own id, if it has one.
    pub request_id: Option<String>,
    /// What the request said, so that another one with the same id is noticed.
    pub fingerprint: String,
}

/// One transaction.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The `(seq, owner_epoch)` that the writer saw.
    pub expect: (u64, u64),
    /// The turn's token that the writer saw: a lease changes hands without an event.
    pub expect_turn: Option<Uuid>,
    /// The row as it shall be; its `seq` counts the events in.
    pub next: Conversation,
    /// What happened, numbered from `expect.0 + 1`.
    pub events: Vec<Event>,
    /// Effects to write down; a key that is there already is left as it is.
    pub effects: Vec<Effect>,
    /// Effects that went on.
    pub effects_changed: Vec<Effect>,
    /// The hand-off, if it is new or changed.
    pub escalation: Option<Escalation>,
    /// Customer messages that this reply answers: their seqs, the reply's seq, and what was understood.
    pub answered: Option<Answered>,
    /// The receipt of the reply among the events.
    pub receipt: Option<Value>,
    /// A reply that came too late.
    pub draft: Option<Draft>,
    /// A draft that is sent now.
    pub draft_sent: Option<Uuid>,
    /// A feed that was read up to here.
    pub cursor: Option<(&'static str, String)>,
}

impl Commit {
    /// A commit that changes the row alone.
    pub fn of(before: &Conversation, next: Conversation) -> Self {
        Commit {
            expect: (before.seq, before.owner_epoch),
            expect_turn: before.turn.as_ref().map(|t| t.token),
            next,
            events: vec![],
            effects: vec![],
            effects_changed: vec![],
            escalation: None,
            answered: None,
            receipt: None,
            draft: None,
            draft_sent: None,
            cursor: None,
        }
    }
}

/// Which customer messages a reply answers.
#[derive(Debug, Clone)]
pub struct Answered {
    /// First and last seq of the burst.
    pub seqs: (u64, u64),
    /// The reply's seq.
    pub reply_seq: u64,
    /// What was understood of the burst; kept with its newest message.
    pub analysis: Analysis,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// All of it is stored.
    Done,
    /// Nothing is stored: somebody wrote in between.
    Conflict,
    /// Nothing is stored: the client message id is there already.
    DuplicateMessage,
    /// Nothing is stored: that draft was sent already.
    DraftGone,
}

/// A page: rows, and the key to go on after.
pub type Page<T> = (Vec<T>, Option<String>);

/// The ledger.
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores a new conversation. If the request id is there already, the first conversation and its fingerprint.
    async fn create(&self, new: NewConversation) -> Result<Option<(Conversation, String)>, Error>;
    /// A conversation; none if the organization has no such one.
    async fn load(&self, org: Uuid, id: Uuid) -> Result<Option<Conversation>, Error>;
    /// One transaction, all or nothing.
    async fn commit(&self, commit: Commit) -> Result<Committed, Error>;

    /// Messages after a seq, ascending.
    async fn messages(&self, org: Uuid, id: Uuid, after: u64, limit: u32) -> Result<Vec<Message>, Error>;
    /// The newest messages up to a seq, ascending, as a turn needs them: without attachments and outcomes.
    async fn history(&self, org: Uuid, id: Uuid, up_to: u64, limit: u32) -> Result<Vec<Message>, Error>;
    /// The newest messages up to a seq, ascending.
    async fn latest_messages(&self, org: Uuid, id: Uuid, up_to: u64, limit: u32) -> Result<Vec<Message>, Error>;
    /// Events after a seq, ascending.
    async fn events(&self, org: Uuid, id: Uuid, after: u64, limit: u32) -> Result<Vec<Event>, Error>;
    /// The message with its sender's own id. Customers and agents count apart.
    async fn message_by_client_id(
        &self,
        org: Uuid,
        id: Uuid,
        sender: Sender,
        client_id: &str,
    ) -> Result<Option<Message>, Error>;
    /// The outcome that answered a customer's message; none before.
    async fn outcome_of(&self, org: Uuid, id: Uuid, user_seq: u64) -> Result<Option<Outcome>, Error>;
    /// Why the AI said what it said.
    async fn receipt(&self, org: Uuid, id: Uuid, message: Uuid) -> Result<Option<Value>, Error>;
    /// Counts.
    async fn metrics(&self, org: Uuid, id: Uuid) -> Result<Metrics, Error>;

    /// Conversations by newest activity.
    async fn list(
        &self,
        org: Uuid,
        user: Option<Uuid>,
        status: Option<Status>,
        size: u32,
        after: &str,
    ) -> Result<Page<Conversation>, Error>;
    /// Open hand-offs by priority, then deadline.
    async fn queue(&self, org: Uuid, size: u32, after: &str) -> Result<Page<Conversation>, Error>;
    /// Drafts that were not sent.
    async fn drafts(&self, org: Uuid, id: Uuid) -> Result<Vec<Draft>, Error>;
    /// Adds a note; the same author and request id again is the first one.
    async fn add_note(&self, org: Uuid, id: Uuid, note: Note, request_id: Option<&str>) -> Result<Note, Error>;
    /// Notes, oldest first.
    async fn notes(&self, org: Uuid, id: Uuid) -> Result<Vec<Note>, Error>;
    /// Replies that cite an article, newest first.
    async fn citing(
        &self,
        org: Uuid,
        article: &str,
        version: Option<u32>,
        size: u32,
        after: &str,
    ) -> Result<Page<CitingAnswer>, Error>;

    /// Effects by key.
    async fn effects_by_key(&self, org: Uuid, keys: &[String]) -> Result<Vec<Effect>, Error>;
    /// Effects, newest first.
    async fn effects(
        &self,
        org: Uuid,
        status: Option<&'static str>,
        size: u32,
        after: &str,
    ) -> Result<Page<Effect>, Error>;
    /// Claims effects of all organizations whose time has come: they are running until `until`.
    async fn claim_effects(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Effect>, Error>;
    /// Writes an effect's progress.
    async fn save_effect(&self, effect: &Effect) -> Result<(), Error>;

    /// Conversations of all organizations with an unanswered message and no live turn.
    async fn unanswered(&self, now: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error>;
    /// Open, answered conversations of all organizations without a word since then; escalated ones are left out.
    async fn idle(&self, since: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error>;
    /// Conversations of all organizations whose SLA passed with nobody there and nobody told.
    async fn breached(&self, now: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error>;

    /// Events of all organizations that were not handed to the bus: position, organization, conversation, seq.
    async fn outbox(&self, limit: u32) -> Result<Vec<(i64, Uuid, Uuid, u64)>, Error>;
    /// Forgets what was handed over.
    async fn outbox_done(&self, up_to: i64) -> Result<(), Error>;
    /// Where a feed was read up to.
    async fn cursor(&self, org: Uuid, feed: &str) -> Result<Option<String>, Error>;
    /// Moves a feed that caused nothing.
    async fn set_cursor(&self, org: Uuid, feed: &str, value: &str) -> Result<(), Error>;
    /// Organizations that have conversations.
    async fn organizations(&self) -> Result<Vec<Uuid>, Error>;
    /// The latest conversation that made this case.
    async fn by_case(&self, org: Uuid, case_number: &str) -> Result<Option<Uuid>, Error>;
}
