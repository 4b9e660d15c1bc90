//! What leaves the ledger, and where to.
//!
//! In: a commit. Out: what its transaction writes into the outbox, and what relays find there. Never: a word of a person that
//! is not sealed; a row that is forgotten before its sink confirmed it.
use jiff::Timestamp;
use serde::Serialize;
use switchboard_runtime::vault::DataKey;
use uuid::Uuid;

use crate::{bus::fact, error::Error, model::Conversation, sessions::Capsule, store::Commit};

/// Where things leave to. Each has rows of its own in the outbox: one that is down holds no other back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sink {
    /// The bus.
    Bus,
    /// The session store.
    Sessions,
    /// The roll-ups.
    Outcomes,
}

/// What leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What happened, for programs outside: ids, codes and figures, without a word of a person.
    Fact,
    /// A conversation's state as of a seq.
    Snapshot,
    /// What a turn was given and what came of it, with the state after it.
    Capsule,
    /// That a conversation has changed and is to be counted as it stands now; nothing else.
    Outcome,
}

impl Sink {
    /// As it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Sink::Bus => "bus",
            Sink::Sessions => "sessions",
            Sink::Outcomes => "outcomes",
        }
    }
}

impl Kind {
    /// As it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Fact => "fact",
            Kind::Snapshot => "snapshot",
            Kind::Capsule => "capsule",
            Kind::Outcome => "outcome",
        }
    }

    /// The kind of a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Kind::Fact, Kind::Snapshot, Kind::Capsule, Kind::Outcome].into_iter().find(|kind| kind.name() == name)
    }

    /// Where it goes.
    pub fn sink(self) -> Sink {
        match self {
            Kind::Fact => Sink::Bus,
            Kind::Snapshot | Kind::Capsule => Sink::Sessions,
            Kind::Outcome => Sink::Outcomes,
        }
    }
}

/// What a commit sends out.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// What it is.
    pub kind: Kind,
    /// The seq it tells of.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// In the clear.
    plain: Vec<u8>,
}

/// The same as it goes into the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// What it is.
    pub kind: Kind,
    /// The seq it tells of.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// As it stays.
    pub body: Vec<u8>,
}

/// What waits in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its row.
    pub position: i64,
    /// What it is.
    pub kind: Kind,
    /// The organization.
    pub org: Uuid,
    /// The conversation.
    pub conversation: Uuid,
    /// The customer.
    pub user: Uuid,
    /// The seq it tells of.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// As [`Leaving`] had it.
    pub body: Vec<u8>,
}

/// How much waits for a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Rows.
    pub rows: u64,
    /// When the oldest was written.
    pub oldest: Option<Timestamp>,
}

/// A document of sessions in the clear.
#[derive(Serialize)]
pub(crate) struct Session<'a> {
    /// The conversation as of the document's seq.
    pub state: &'a Conversation,
    /// For a capsule, its turn.
    pub turn: Option<&'a Capsule>,
    /// The seq of the turn's reply, where the ledger has outcome and receipt; none if it became a draft.
    pub reply: Option<u64>,
}

impl Outgoing {
    /// As it is stored and goes out: a fact as it is, a document sealed under the key of the conversation's customer. The
    /// ledger never opens it again, and neither does its relay.
    pub fn sealed(self, row: &Conversation, key: &DataKey) -> Leaving {
        let body = match self.kind.sink() {
            Sink::Bus | Sink::Outcomes => self.plain,
            Sink::Sessions => key.seal(&place(row.org, row.id, self.kind, self.seq), &self.plain),
        };
        Leaving { kind: self.kind, seq: self.seq, at: self.at, body }
    }
}

/// What a document is sealed for: it opens as itself only.
pub fn place(org: Uuid, conversation: Uuid, kind: Kind, seq: u64) -> String {
    format!("sessions.documents.body/{org}/{conversation}/{}/{seq}", kind.name())
}

impl Commit {
    /// What goes out with this commit, in order. Every adapter writes all of it in the same transaction and after the
    /// compare-and-set, so that positions of one conversation rise with its seqs.
    pub fn outgoing(&self) -> Result<Vec<Outgoing>, Error> {
        let facts = self.events.iter().map(|event| Outgoing {
            kind: Kind::Fact,
            seq: event.seq,
            at: event.at,
            plain: fact::encode(self, event),
        });
        let mut out: Vec<Outgoing> = facts.collect();
        // While a turn runs, the state is about to change again.
        let rests = !self.events.is_empty() && self.next.turn.is_none();
        let at = self.events.last().map_or(self.next.last_activity_at, |e| e.at);
        let after = |kind, plain| Outgoing { kind, seq: self.next.seq, at, plain };
        if self.capsule.is_some() || rests {
            let kind = if self.capsule.is_some() { Kind::Capsule } else { Kind::Snapshot };
            let reply = self.answered.as_ref().map(|a| a.reply_seq);
            let session = Session { state: &self.next, turn: self.capsule.as_deref(), reply };
            out.push(after(kind, serde_json::to_vec(&session)?));
        }
        if rests {
            out.push(after(Kind::Outcome, vec![]));
        }
        Ok(out)
    }
}
