//! Outcomes: roll-ups of what came of conversations, per tenant, hour and channel, and per pattern of intents.
//!
//! In: conversations that changed, from the outbox. Out: counts and sums for reports. Never: a word of a person; a turn that
//! waits for it; the truth: whoever doubts a figure counts the ledger.
//!
//! Laws, each a function of the contract suite:
//! 1. A conversation counts once, however often it is recorded, and as it stands when it was recorded last.
//! 2. Averages are of sums and counts: those of two hours together are right too.
//! 3. What retention deletes stays counted.
//! 4. Nothing of one organization is seen under another.
use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::error::Error;

pub mod postgres;
pub mod sqlite;

/// Intents of a pattern: what comes later says little, and patterns would become as many as conversations.
pub const PATTERN: i64 = 5;

/// One hour of one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Hour {
    /// Its beginning.
    pub hour: Timestamp,
    /// The channel.
    pub channel: String,
    /// Conversations that began in it.
    pub conversations: u64,
    /// Of these, ended by now.
    pub ended: u64,
    /// Seconds from beginning to end, summed over the ended ones.
    pub resolution_seconds: u64,
    /// Messages of everybody, when last recorded.
    pub messages: u64,
    /// Confidence of replies: sum and count.
    pub confidence: (f64, u64),
    /// Ratings from 1 to 5: sum and count.
    pub satisfaction: (u64, u64),
    /// Handed to humans.
    pub escalated: u64,
    /// Resolved without a human.
    pub automated: u64,
}

/// What customers came with, in the order of their intents.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    /// Such as `order_status > refund_request`.
    pub pattern: String,
    /// The first of it.
    pub intent: String,
    /// Conversations.
    pub frequency: u64,
    /// Part of the ended ones that was resolved without a human; none if none has ended.
    pub success_rate: Option<f64>,
    /// Mean seconds from beginning to end; none if none has ended.
    pub resolution_seconds: Option<f64>,
    /// The newest message of any of them.
    pub last_seen: Timestamp,
}

/// Roll-ups.
#[async_trait]
pub trait Outcomes: Send + Sync {
    /// Counts conversations of an organization as they stand now. Those that are gone stay as they were counted.
    async fn record(&self, org: Uuid, conversations: &[Uuid]) -> Result<(), Error>;
    /// Hours from a time on and before another one, by hour and channel.
    async fn hours(&self, org: Uuid, from: Timestamp, to: Timestamp) -> Result<Vec<Hour>, Error>;
    /// The most frequent patterns.
    async fn patterns(&self, org: Uuid, limit: u32) -> Result<Vec<Pattern>, Error>;
}

/// A part of a whole as a rate.
fn rate(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
