//! The port to targets.
//!
//! In: a notification with its delivery. Out: whether the target has it. Never: a decision on whether to try.
use std::error::Error as StdError;

use async_trait::async_trait;

use crate::message::{Delivery, Message};

pub mod file;

/// Why a target did not take it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Undelivered(#[from] pub Box<dyn StdError + Send + Sync>);

/// A way out.
///
/// Laws, each with a test:
/// - What was delivered is found, and nothing else is.
/// - Delivered twice under one organization and key it is there once.
/// - A delivery that was cut off is either whole at the target or not there.
/// - What was removed is not found, nor any piece of it.
#[async_trait]
pub trait Transport: Send + Sync {
    /// `file`, `smtp`, `http`.
    fn name(&self) -> &'static str;

    /// True if the target has it already, from a call that never came back.
    async fn find(&self, delivery: &Delivery) -> Result<bool, Undelivered>;

    /// Hands it to the target.
    async fn deliver(&self, delivery: &Delivery, message: &Message) -> Result<(), Undelivered>;

    /// What was said, if the target keeps it where we can read it.
    async fn read(&self, delivery: &Delivery) -> Result<Option<String>, Undelivered>;

    /// Takes back what was said, if the target keeps it where we can. True if there was something.
    async fn remove(&self, delivery: &Delivery) -> Result<bool, Undelivered>;
}
