//! Session documents in the clear, for whoever replays turns or looks back.
//!
//! In: documents of the session store, and the ledger that opens them. Out: states and capsules. Never: a document of somebody
//! who was erased: it does not open any more.
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::{Capsule, Document, SCHEMA, Sessions};
use crate::{
    error::Error,
    model::{Conversation, Message},
    outbox::{self, Kind},
    store::{Page, Store},
};

/// Conversations of one read of the ledger.
const PAGE: u32 = 200;

/// The session store and the ledger beside it.
#[derive(Clone)]
pub struct Archive {
    /// Sealed documents.
    pub documents: Arc<dyn Sessions>,
    /// Opens them, and has what they refer to.
    pub store: Arc<dyn Store>,
}

/// A document in the clear.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Session {
    /// The conversation as of the document's seq.
    pub state: Conversation,
    /// For a capsule, its turn.
    pub turn: Option<Capsule>,
    /// The seq of the turn's reply, where the ledger has outcome and receipt; none if it became a draft.
    pub reply: Option<u64>,
}

impl Archive {
    /// How a conversation stood when its newest document was made.
    pub async fn latest(&self, org: Uuid, conversation: Uuid) -> Result<Option<Session>, Error> {
        match self.documents.latest(org, conversation).await? {
            Some(document) => self.open(&document).await,
            None => Ok(None),
        }
    }

    /// Turns of an organization since a time, oldest first; those of people who were erased are left out.
    pub async fn turns(&self, org: Uuid, since: Timestamp, size: u32, after: &str) -> Result<Page<Session>, Error> {
        let (documents, next) = self.documents.since(org, Kind::Capsule, since, size, after).await?;
        let mut turns = Vec::with_capacity(documents.len());
        for document in &documents {
            turns.extend(self.open(document).await?);
        }
        Ok((turns, next))
    }

    /// The messages that a turn saw, oldest first, and those that it answered.
    pub async fn words(&self, capsule: &Capsule) -> Result<(Vec<Message>, Vec<Message>), Error> {
        let seqs = || capsule.history.iter().chain(&capsule.burst);
        let (Some(first), Some(last)) = (seqs().min(), seqs().max()) else { return Ok((vec![], vec![])) };
        let span = u32::try_from(last - first + 1).unwrap_or(u32::MAX);
        let row = &capsule.before;
        let all = self.store.messages(row.org, row.id, first - 1, span).await?;
        let of = |seqs: &[u64]| all.iter().filter(|m| seqs.contains(&m.seq)).cloned().collect();
        Ok((of(&capsule.history), of(&capsule.burst)))
    }

    /// Makes snapshots again from the ledger, of conversations with a message since then. How many.
    pub async fn rebuild(&self, since: Timestamp) -> Result<u64, Error> {
        let mut made = 0;
        for org in self.store.organizations().await? {
            let mut after = String::new();
            loop {
                let (rows, next) = self.store.list(org, None, None, PAGE, &after).await?;
                // The newest come first.
                let alive = rows.iter().filter(|row| row.last_activity_at >= since);
                let mut documents = Vec::new();
                for row in alive {
                    documents.extend(self.snapshot(row).await?);
                }
                self.documents.insert(&documents).await?;
                made += documents.len() as u64;
                let done = documents.len() < rows.len();
                match next {
                    Some(next) if !done => after = next,
                    _ => break,
                }
            }
        }
        Ok(made)
    }

    async fn open(&self, document: &Document) -> Result<Option<Session>, Error> {
        let Document { org, conversation, kind, seq, body, .. } = document;
        let plain = self.store.open_document(*org, *conversation, *kind, *seq, body).await?;
        Ok(plain.map(|plain| serde_json::from_slice(&plain)).transpose()?)
    }

    async fn snapshot(&self, row: &Conversation) -> Result<Option<Document>, Error> {
        let plain = serde_json::to_vec(&outbox::Session { state: row, turn: None, reply: None })?;
        let body = self.store.seal_document(row.org, row.id, Kind::Snapshot, row.seq, &plain).await?;
        Ok(body.map(|body| Document {
            org: row.org,
            conversation: row.id,
            person: row.user,
            kind: Kind::Snapshot,
            seq: row.seq,
            at: row.last_activity_at,
            schema: SCHEMA,
            body,
        }))
    }
}
