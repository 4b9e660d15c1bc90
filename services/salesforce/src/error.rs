//! What can go wrong with a record.
use switchboard_runtime::{Fault, Reason, postgres, vault::VaultError};

/// Why the org refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No record has this key.
    #[error("no {what} has this {key}")]
    NotFound {
        /// Kind of record in words.
        what: &'static str,
        /// Kind of key in words.
        key: &'static str,
    },
    /// A case names a contact that is not there.
    #[error("the contact of the case does not exist")]
    UnknownContact,
    /// A cursor that this org did not give.
    #[error("the cursor was not given by this org")]
    BadCursor,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] sqlx::Error),
    /// A sealed column does not open, or its key does not.
    #[error("a record does not open")]
    Sealed(#[from] VaultError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { what, key } => {
                Fault::new(Reason::RecordNotFound, format!("No {what} with this {key} was found."))
            }
            Error::UnknownContact => Fault::field("case.contact_id", "names no contact of this organization"),
            Error::BadCursor => Fault::field("cursor", "is not one that this service gave; start again without it"),
            Error::Store(e) => postgres::fault(e),
            // The log says which master key is missing.
            Error::Sealed(e) => {
                Fault::new(Reason::StoreFailed, "The data store is not available right now. Try again.").with_source(e)
            }
        }
    }
}
