//! What notification refuses, and the reason each has outside.
use std::error::Error as StdError;

use switchboard_runtime::{Fault, Reason, postgres};

/// Why something was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key was used for another kind of notification.
    #[error("idempotency key reused")]
    KeyReused,
    /// Somebody else works on it right now.
    #[error("in hand")]
    InHand,
    /// The target did not take it.
    #[error("not delivered")]
    NotDelivered(#[source] Box<dyn StdError + Send + Sync>),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Box<dyn StdError + Send + Sync>),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::KeyReused => Fault::new(
                Reason::IdempotencyKeyReused,
                "This idempotency_key was used for another kind of notification.",
            ),
            Error::InHand => Fault::new(
                Reason::IdempotencyInFlight,
                "The notification is being delivered or looked after right now. Try again with the same key.",
            ),
            Error::NotDelivered(source) => Fault::new(
                Reason::Unavailable,
                "The notification could not be delivered right now. Try again with the same key.",
            )
            .with_source(source),
            Error::Store(source) => match source.downcast::<sqlx::Error>() {
                Ok(error) => postgres::fault(*error),
                Err(source) => Fault::new(Reason::StoreFailed, "The data store is not available right now. Try again.")
                    .with_source(source),
            },
        }
    }
}
