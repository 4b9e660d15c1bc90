//! Who is there: the port, for those who begin to watch later.
//!
//! In: signs, as watchers saw them when they were given. Out: what of them still holds. Never: a durable thing: it is gone
//! when its lifetime ends, or with the store.
//!
//! Laws, each a function of the contract suite:
//! 1. Who types is there until they stop, or until [`TYPING`] is over.
//! 2. Who has read is there with the highest seq, until [`READ`] is over.
//! 3. Nothing of one organization is seen under another.
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::hub::{Sign, Who};

pub mod memory;
pub mod redis;

/// Clients say every few seconds that somebody goes on typing; one that vanished stops.
pub const TYPING: Duration = Duration::from_secs(10);
/// A conversation is read again within this time, or it is over.
pub const READ: Duration = Duration::from_secs(3600);

/// Those who give signs. The AI is not among them: its turn is in the row.
pub const PEOPLE: [Who; 2] = [Who::Human, Who::User];

/// Who is there. See the laws above.
#[async_trait]
pub trait Presence: Send + Sync {
    /// Notes a sign.
    async fn note(&self, org: Uuid, conversation: Uuid, sign: Sign);
    /// The signs that hold: one for each who types, one for each who has read.
    async fn there(&self, org: Uuid, conversation: Uuid) -> Vec<Sign>;
}

/// The two signs that can hold for somebody.
fn signs(who: Who, typing: bool, read_seq: u64) -> impl Iterator<Item = Sign> {
    let types = typing.then_some(Sign { who, typing, read_seq: 0 });
    let read = (read_seq > 0).then_some(Sign { who, typing: false, read_seq });
    types.into_iter().chain(read)
}
