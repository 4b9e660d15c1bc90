//! Everything that can go wrong in conversation, and its reason on the wire.
//!
//! In: domain errors. Out: faults. Never: a reason named anywhere else in this service.
use switchboard_runtime::{Fault, Reason, vault::VaultError};
use uuid::Uuid;

use crate::machine::Refusal;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such conversation in the caller's sight.
    #[error("no conversation {0}")]
    ConversationNotFound(Uuid),
    /// No such message.
    #[error("no message {0}")]
    MessageNotFound(Uuid),
    /// No such draft, or it was sent.
    #[error("no draft {0}")]
    DraftNotFound(Uuid),
    /// The state machine says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another agent owns it.
    #[error("another agent owns the conversation")]
    NotOwner,
    /// The client message id was used with other content.
    #[error("client message id reused")]
    MessageIdReused,
    /// The request id was used with another request.
    #[error("request id reused")]
    RequestIdReused,
    /// The caller's view is old.
    #[error("the newest seq is {0}")]
    Stale(u64),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Writers kept getting in each other's way.
    #[error("too many writers at once")]
    Contended,
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] sqlx::Error),
    /// What the store holds cannot be read.
    #[error("a stored row cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// What the store holds sealed does not open.
    #[error(transparent)]
    Sealed(#[from] VaultError),
    /// The activity log is not as it was written.
    #[error("row {0} of the activity log was changed or removed after it was written")]
    LogBroken(u64),
    /// Another service failed.
    #[error(transparent)]
    Remote(#[from] Fault),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Error::Store(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let (reason, detail) = match &error {
            Error::ConversationNotFound(id) => {
                (Reason::ConversationNotFound, format!("There is no conversation {id} that you can see."))
            }
            Error::MessageNotFound(id) => {
                (Reason::MessageNotFound, format!("There is no AI message {id} in this conversation."))
            }
            Error::DraftNotFound(id) => {
                (Reason::DraftNotFound, format!("There is no unsent draft {id} in this conversation."))
            }
            Error::Refused(refusal) => (Reason::StateConflict, refusal.to_string()),
            Error::NotOwner => (
                Reason::NotOwner,
                "You do not own this conversation. Take it over first, if nobody else has it.".into(),
            ),
            Error::MessageIdReused => (
                Reason::MessageIdReused,
                "This client_message_id was used before with other content. Use a new one.".into(),
            ),
            Error::RequestIdReused => (
                Reason::IdempotencyKeyReused,
                "This idempotency key was used before with another request. Use a new one.".into(),
            ),
            Error::Stale(seq) => {
                (Reason::Stale, format!("It was changed in the meantime: the newest ETag is \"{seq}\". Read it again."))
            }
            Error::Forbidden(why) => (Reason::PermissionDenied, (*why).into()),
            Error::Contended => (Reason::Unavailable, "Too many writers at once. Try again.".into()),
            Error::Store(sqlx::Error::PoolTimedOut) => {
                (Reason::Overloaded, "The data store has more to do than it can. Try again in a second.".into())
            }
            Error::Store(_) => (Reason::StoreFailed, "The data store is not available right now. Try again.".into()),
            Error::Unreadable(_) | Error::Sealed(_) | Error::LogBroken(_) => {
                (Reason::Internal, "Something went wrong on our side. The trace id finds it in the log.".into())
            }
            Error::Remote(_) => {
                let Error::Remote(fault) = error else { unreachable!("matched above") };
                return fault;
            }
        };
        if matches!(reason, Reason::StoreFailed | Reason::Internal) {
            tracing::error!(error = &error as &dyn std::error::Error, "conversation failed");
        }
        Fault::new(reason, detail).with_source(error)
    }
}
