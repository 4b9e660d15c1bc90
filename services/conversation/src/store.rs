//! The ledger: the port and its laws.
//!
//! In: whole writes that the domain made. Out: rows. Never: a decision.
//!
//! Laws, each a function of the contract suite:
//! 1. A commit is refused, whole, unless `(seq, owner_epoch)` and the turn's token are as expected.
//! 2. Events of a conversation are numbered by one, without gaps, in the order of commits; they wait in the outbox in it.
//! 3. What was committed is read back as it was written, also after the process died.
//! 4. The same client message id, request id or effect key is stored once.
//! 5. Nothing of one organization is seen or changed under another.
//! 6. An effect or a duty is one holder's at a time, over all replicas; a holder that dies is followed when its lease ends.
//! 7. What people wrote is stored sealed under the key of the conversation's customer.
//! 8. A conversation whose key was destroyed is not there: nothing reads or writes it and no worker is sent to it, though
//!    its rows may still wait for their deletion.
//! 9. Each row of the activity log carries a hash over itself and the one before; a changed or removed row is noticed.
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use switchboard_runtime::{
    Condition,
    sqlite::OpenError,
    stores::{Ledger, Migrations},
    vault::Vault,
};
use uuid::Uuid;

use crate::{
    error::Error,
    machine::Status,
    model::{
        Analysis, CitingAnswer, Conversation, Draft, Effect, Escalation, Event, Message, Metrics, Note, Outcome, Sender,
    },
    outbox::{Backlog, Kind, Sink, Waiting},
    outcomes::Outcomes,
    sessions::Capsule,
};

pub mod activity;
pub mod people;
pub mod postgres;
mod rows;
mod sealed;
pub mod sqlite;

pub use activity::{Activity, By, Entry};
pub use people::{Erased, Erasure, ErasureStep};

/// Both sets of migrations.
pub const MIGRATIONS: Migrations =
    Migrations { owner: "conversation", sqlite: &sqlite::MIGRATIONS, postgres: &postgres::MIGRATIONS };

/// Opens the ledger that was chosen, and tells how it is. PostgreSQL is not waited for.
pub async fn open(ledger: &Ledger, vault: Vault) -> Result<(Arc<dyn Store>, Condition), OpenError> {
    match ledger {
        Ledger::Sqlite(folder) => Ok((Arc::new(sqlite::SqliteStore::open(folder, vault).await?), Condition::well())),
        Ledger::Postgres(at) => {
            let store = postgres::PostgresStore::open(at, vault)?;
            let condition = store.condition();
            Ok((Arc::new(store), condition))
        }
    }
}

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
    /// Effects that went on; none of those to write down.
    pub effects_changed: Vec<Effect>,
    /// The hand-off, if it is new or changed.
    pub escalation: Option<Escalation>,
    /// Customer messages that this reply answers: their seqs, the reply's seq, and what was understood.
    pub answered: Option<Answered>,
    /// The receipt of the reply among the events.
    pub receipt: Option<Value>,
    /// What the turn that ends here was given and thought.
    pub capsule: Option<Arc<Capsule>>,
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
            capsule: None,
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

/// What a turn reads and writes.
#[async_trait]
pub trait Turns: Send + Sync {
    /// Stores a new conversation. If the request id is there already, the first conversation and its fingerprint.
    async fn create(&self, new: NewConversation) -> Result<Option<(Conversation, String)>, Error>;
    /// A conversation; none if the organization has no such one.
    async fn load(&self, org: Uuid, id: Uuid) -> Result<Option<Conversation>, Error>;
    /// The newest seqs of conversations, as far as the organization has them.
    async fn heads(&self, org: Uuid, ids: &[Uuid]) -> Result<Vec<(Uuid, u64)>, Error>;
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
}

/// What humans read and write.
#[async_trait]
pub trait Desk: Send + Sync {
    /// Open hand-offs by priority, then deadline.
    async fn queue(&self, org: Uuid, size: u32, after: &str) -> Result<Page<Conversation>, Error>;
    /// All hand-offs of a conversation, oldest first.
    async fn hand_offs(&self, org: Uuid, id: Uuid) -> Result<Vec<Escalation>, Error>;
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
}

/// The ledger of outside writes.
#[async_trait]
pub trait Effects: Send + Sync {
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
    /// All effects of a conversation, oldest first.
    async fn effects_of(&self, org: Uuid, id: Uuid) -> Result<Vec<Effect>, Error>;
    /// Claims effects of all organizations whose time has come: they are running until `until`.
    async fn claim_effects(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Effect>, Error>;
    /// Writes an effect's progress. What is completed stays completed.
    async fn save_effect(&self, effect: &Effect) -> Result<(), Error>;
    /// The latest conversation that made this case.
    async fn by_case(&self, org: Uuid, case_number: &str) -> Result<Option<Uuid>, Error>;
}

/// What timers and relays look for.
#[async_trait]
pub trait Work: Send + Sync {
    /// Conversations of all organizations with an unanswered message and no live turn.
    async fn unanswered(&self, now: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error>;
    /// Open, answered conversations of all organizations without a word since then; escalated ones are left out.
    async fn idle(&self, since: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error>;
    /// Conversations of all organizations whose SLA passed with nobody there and nobody told.
    async fn breached(&self, now: Timestamp, limit: u32) -> Result<Vec<(Uuid, Uuid)>, Error>;

    /// What waits for a sink, of all organizations: what [`Commit::outgoing`] gave, each conversation's in the order of its
    /// commits. What another conversation sends may appear later at an earlier position.
    async fn outbox(&self, sink: Sink, limit: u32) -> Result<Vec<Waiting>, Error>;
    /// Forgets what was handed over: these rows and no other.
    async fn outbox_done(&self, done: &[Waiting]) -> Result<(), Error>;
    /// How much waits for a sink, of all organizations.
    async fn backlog(&self, sink: Sink) -> Result<Backlog, Error>;
    /// Seals a document as the outbox does, with the key of the conversation's customer.
    /// None if that is gone.
    async fn seal_document(
        &self,
        org: Uuid,
        conversation: Uuid,
        kind: Kind,
        seq: u64,
        plain: &[u8],
    ) -> Result<Option<Vec<u8>>, Error>;
    /// Opens a document that left the ledger sealed. None if the key of the conversation's customer is gone.
    async fn open_document(
        &self,
        org: Uuid,
        conversation: Uuid,
        kind: Kind,
        seq: u64,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, Error>;
    /// Where a feed was read up to.
    async fn cursor(&self, org: Uuid, feed: &str) -> Result<Option<String>, Error>;
    /// Moves a feed that caused nothing.
    async fn set_cursor(&self, org: Uuid, feed: &str, value: &str) -> Result<(), Error>;
    /// Organizations that have conversations.
    async fn organizations(&self) -> Result<Vec<Uuid>, Error>;

    /// Takes a duty for a holder until a time. True if it is the holder's now: it was free, its lease had ended, or it was
    /// the holder's already and is prolonged.
    async fn claim_duty(&self, name: &str, holder: Uuid, now: Timestamp, until: Timestamp) -> Result<bool, Error>;
    /// Gives a duty back, if it is still this holder's.
    async fn release_duty(&self, name: &str, holder: Uuid) -> Result<(), Error>;
}

/// What is owed to the people in it: retention, a copy, erasure, keys, and the log of who did what.
#[async_trait]
pub trait People: Turns + Desk + Effects {
    /// Conversations that ended before then, oldest first.
    async fn expired(&self, org: Uuid, before: Timestamp, limit: u32) -> Result<Vec<Uuid>, Error>;
    /// Removes a conversation and all that hangs on it, with what waits for sessions (facts for the bus stay), and its
    /// customer's key if it was their last. False if it is not there.
    async fn delete_conversation(&self, org: Uuid, id: Uuid) -> Result<bool, Error>;

    /// All that is kept about a person, in clear. Leaves a row in the activity log.
    async fn export_person(&self, org: Uuid, user: Uuid, by: By) -> Result<Value, Error> {
        let (person, counts) = people::export(self, org, user).await?;
        self.audit(org, by, Entry { details: counts, ..Entry::person("person_exported", user) }).await?;
        Ok(person)
    }
    /// Destroys a person's key, then removes their rows. What another process still writes about them meanwhile does not
    /// stay. Leaves a row in the activity log if there was anything.
    async fn erase_person(&self, org: Uuid, user: Uuid, by: By) -> Result<Erased, Error>;

    /// Begins to erase a person; if that was begun before, that erasure. Leaves a row in the activity log.
    async fn begin_erasure(&self, org: Uuid, user: Uuid, requested_by: Uuid, now: Timestamp) -> Result<Erasure, Error>;
    /// The erasure of a person.
    async fn erasure(&self, org: Uuid, user: Uuid) -> Result<Option<Erasure>, Error>;
    /// Erasures of all organizations that are not completed, oldest first.
    async fn open_erasures(&self, limit: u32) -> Result<Vec<Erasure>, Error>;
    /// Writes how far an erasure is: its steps, its receipt and its end.
    async fn save_erasure(&self, erasure: &Erasure) -> Result<(), Error>;

    /// Wraps keys of all organizations anew that an older master wraps. How many; 0: the older ones can go.
    async fn rewrap_keys(&self, limit: u32) -> Result<u64, Error>;

    /// Adds a row to the activity log.
    async fn audit(&self, org: Uuid, by: By, entry: Entry) -> Result<(), Error>;
    /// Rows of the activity log after a seq, checked against their hashes.
    async fn audit_rows(&self, org: Uuid, after: u64, limit: u32) -> Result<Vec<Activity>, Error>;
    /// Makes room in the activity log for this month and the next.
    async fn prepare_audit(&self, now: Timestamp) -> Result<(), Error>;
}

/// The ledger. See the laws above.
#[async_trait]
pub trait Store: Turns + Desk + Effects + Work + People {
    /// The roll-ups beside it.
    fn outcomes(&self) -> Arc<dyn Outcomes>;
    /// Waits for what is running and closes it.
    async fn close(&self);
}
