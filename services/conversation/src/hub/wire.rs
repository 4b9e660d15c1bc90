//! How replicas reach each other: the port and its laws.
//!
//! In and out: letters of ids and numbers. Never: a word of anybody, a promise that a letter arrives.
//!
//! Laws, each a function of the contract suite:
//! 1. What one sends, all who listen hear, the sender too, in the order in which it was sent.
//! 2. A listener that may have missed something hears the end of its stream.
//! 3. A letter that cannot be read does not end the stream.
use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use switchboard_runtime::redis::NoAnswer;
use uuid::Uuid;

use super::Sign;

/// What one replica tells the others; an empty one says that it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Which replica.
    pub from: Uuid,
    /// How many letters with news of commits it could not send so far.
    pub lost: u64,
    /// What it has to tell, in order.
    pub notes: Vec<Note>,
}

/// What replicas tell each other. Short names: there are thousands a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "snake_case")]
pub enum Note {
    /// A conversation has events up to here.
    Committed {
        /// The organization.
        #[serde(rename = "o")]
        org: Uuid,
        /// The conversation.
        #[serde(rename = "c")]
        conversation: Uuid,
        /// Its newest event.
        #[serde(rename = "s")]
        seq: u64,
    },
    /// Somebody types, or has read up to a seq.
    Presence {
        /// The organization.
        #[serde(rename = "o")]
        org: Uuid,
        /// The conversation.
        #[serde(rename = "c")]
        conversation: Uuid,
        /// Who does what.
        #[serde(rename = "p")]
        sign: Sign,
    },
    /// The replica goes, and has told what it had to tell.
    Bye,
    /// Of a newer version.
    #[serde(other)]
    Unknown,
}

/// What a listener hears: a letter; none if it cannot be read.
pub type Heard = Option<Letter>;

/// The way to the other replicas. See the laws above.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Sends a letter to all replicas.
    async fn send(&self, letter: &Letter) -> Result<(), NoAnswer>;
    /// Listens from now on.
    async fn listen(&self) -> Result<BoxStream<'static, Heard>, NoAnswer>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_a_newer_version_does_not_spoil_the_others() {
        let text = r#"{"from":"00000000-0000-0000-0000-000000000000","lost":1,"mood":"fine",
            "notes":[{"k":"dance","how":"slowly"},{"k":"bye"}]}"#;
        let letter: Letter = serde_json::from_str(text).expect("is read");
        assert_eq!(letter.notes, [Note::Unknown, Note::Bye]);
    }
}
