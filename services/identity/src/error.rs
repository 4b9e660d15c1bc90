//! What identity refuses, and the reason each has outside.
use std::{path::PathBuf, time::Duration};

use switchboard_runtime::{Fault, Reason};
use uuid::Uuid;

use crate::store::StoreError;

/// Why something was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name or the password is wrong; nobody is told which.
    #[error("wrong name or password")]
    WrongPassword,
    /// The refresh token is unknown, ended, or was used before.
    #[error("refresh token refused")]
    RefreshRefused,
    /// Too many failures for this name.
    #[error("sign-in locked for {0:?}")]
    Locked(Duration),
    /// No organization takes guests.
    #[error("guests are off")]
    NoGuests,
    /// Nobody of the organization has this id.
    #[error("no user {0}")]
    NoUser(Uuid),
    /// There is no such organization.
    #[error("no organization {0}")]
    NoOrganization(Uuid),
    /// The external id belongs to somebody who is no customer.
    #[error("not a customer's external id")]
    NotACustomer,
    /// The one-time token is unknown, used or ended.
    #[error("reset token refused")]
    ResetRefused,
    /// The request id was used for somebody else.
    #[error("request id reused")]
    RequestReused,
    /// What the password policy misses.
    #[error("password policy: {}", .0.join(", "))]
    WeakPassword(Vec<&'static str>),
    /// A password could not be hashed or checked.
    #[error("password hashing: {0}")]
    Hashing(String),
    /// The file with the demo accounts' password cannot be read or written.
    #[error("cannot use {}", .0.display())]
    DemoPassword(PathBuf, #[source] std::io::Error),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Signing failed.
    #[error(transparent)]
    Signing(Box<Fault>),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Error::Signing(Box::new(fault))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::WrongPassword => Fault::new(Reason::CredentialsInvalid, "The user name or the password is wrong."),
            Error::RefreshRefused => {
                Fault::new(Reason::CredentialsInvalid, "The refresh token is unknown, used or expired. Sign in again.")
            }
            Error::Locked(wait) => {
                let wait = Duration::from_secs(wait.as_secs().max(1));
                let detail = format!("Too many failed sign-ins. Try again in {} seconds.", wait.as_secs());
                Fault::new(Reason::SignInLocked, detail).with_retry_after(wait)
            }
            Error::NoGuests => Fault::new(Reason::PermissionDenied, "Chatting without signing in is turned off here."),
            Error::NoUser(id) => {
                Fault::new(Reason::UserNotFound, "There is no such user.").with_metadata("user_id", id.to_string())
            }
            Error::NoOrganization(id) => Fault::new(Reason::OrganizationNotFound, "There is no such organization.")
                .with_metadata("organization_id", id.to_string()),
            Error::NotACustomer => {
                Fault::new(Reason::AlreadyExists, "This external id belongs to a user who is not a customer.")
            }
            Error::ResetRefused => {
                Fault::new(Reason::ResetTokenInvalid, "This link has been used or has expired. Ask for a new one.")
            }
            Error::RequestReused => Fault::new(
                Reason::IdempotencyKeyReused,
                "This request_id was used with another email address. Send a new one.",
            ),
            Error::WeakPassword(misses) => Fault::field("password", format!("needs {}", misses.join(", "))),
            Error::Hashing(source) => Fault::internal(source),
            Error::DemoPassword(_, source) => Fault::internal(source),
            Error::Store(StoreError::Taken(field)) => {
                Fault::new(Reason::AlreadyExists, format!("A user of this organization has this {field} already."))
                    .with_field(field, "is taken")
            }
            Error::Store(StoreError::NoUser) => Fault::new(Reason::UserNotFound, "There is no such user."),
            Error::Store(StoreError::Failed(fault)) => *fault,
            Error::Store(sealed @ StoreError::Sealed(_)) => {
                Fault::new(Reason::StoreFailed, "The data store is not available right now. Try again.")
                    .with_source(sealed)
            }
            Error::Signing(fault) => *fault,
        }
    }
}
