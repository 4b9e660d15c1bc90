//! Capsules: what a turn was given and what it thought, so that it can be run again.
//!
//! In: a turn that ends. Out: a part of its commit. Never: words that a message of the ledger holds: a capsule names their seqs,
//! and messages never change.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{mind::Thought, model::Conversation};

/// What a turn was given and thought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capsule {
    /// The conversation as it stood when the turn began: state, context, flow.
    pub before: Conversation,
    /// The time that the mind was told.
    pub now: Timestamp,
    /// Seqs of the past that it saw, oldest first.
    pub history: Vec<u64>,
    /// Seqs of the messages that it answered.
    pub burst: Vec<u64>,
    /// The customer's messages so far, as they were counted.
    pub user_messages: u32,
    /// What it thought, with the receipt: rules, route, versions of policy, model and build.
    pub thought: Thought,
}
