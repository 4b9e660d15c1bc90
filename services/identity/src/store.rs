//! The port to what identity keeps.
//!
//! In: values of the domain, hashes of tokens, the time. Out: the same. Never: a token or a password in clear.
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{
    lockout::Failures,
    model::{Organization, User},
    token::Hash,
};

pub mod sqlite;
#[cfg(test)]
mod suite;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody of the organization has this value of this field already.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// The store is broken, busy or unreachable.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A user to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The user.
    pub user: User,
    /// Stays the same on a retry.
    pub request_id: Option<Uuid>,
    /// What the password is checked against; none if it cannot sign in.
    pub password_hash: Option<String>,
}

/// A user, and whether this call made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The user.
    pub user: User,
    /// False if it was there.
    pub new: bool,
}

/// A user who may sign in.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The user.
    pub user: User,
    /// What the password is checked against.
    pub password_hash: String,
}

/// A refresh token at the beginning of its family.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// Its hash.
    pub hash: Hash,
    /// What comes from the same sign-in.
    pub family: Uuid,
    /// The organization.
    pub org: Uuid,
    /// Whose it is.
    pub user: Uuid,
    /// True for web visitors who have not signed in.
    pub guest: bool,
    /// Good until.
    pub expires: Timestamp,
}

/// One refresh token for the next.
#[derive(Debug, Clone)]
pub struct Trade {
    /// The hash of the one that was shown.
    pub shown: Hash,
    /// The hash of the one that takes its place.
    pub fresh: Hash,
    /// True if only a guest's is taken; any other is left as it is.
    pub guests_only: bool,
    /// When.
    pub now: Timestamp,
    /// When the fresh one ends.
    pub expires: Timestamp,
    /// How long a guest's token still works after it was used.
    pub grace: SignedDuration,
}

/// What became of a trade.
#[derive(Debug, Clone, PartialEq)]
pub enum Traded {
    /// It was good; the fresh one is kept in its place.
    Fresh(User, bool),
    /// It is unknown, ended or revoked.
    Refused,
    /// It had been used before: whoever used it, its family has ended.
    Reused,
}

/// A password reset as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Reset {
    /// Hash of the one-time token.
    pub hash: Hash,
    /// The organization.
    pub org: Uuid,
    /// Whose password.
    pub user: Uuid,
    /// Stays the same on a retry.
    pub request_id: Uuid,
    /// Good until.
    pub expires: Timestamp,
}

/// What identity keeps.
///
/// Laws, each with a test that every adapter passes:
/// - What was written is read, after opening it again too.
/// - Nobody is found through another organization. Only a sign-in has none: it asks for names everywhere.
/// - An email address, an external id and a request id each belong to one user of an organization, whoever comes at the same
///   time; other organizations may have the same.
/// - A refresh token is traded once; a guest's again within the grace. Used again later, its family ends.
/// - A password reset is begun once per request id and used once; using it ends the user's sessions and other resets.
/// - Failed sign-ins are counted per name, also when they come at once, and forgotten after a day.
#[async_trait]
pub trait Store: Send + Sync {
    /// Keeps a value under a name unless there is one. Returns the one that is kept: the first.
    async fn keep(&self, name: &str, value: &str, now: Timestamp) -> Result<String, StoreError>;

    /// Keeps a value under a name in place of any other.
    async fn replace(&self, name: &str, value: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Keeps an organization unless its id is there.
    async fn add_organization(&self, organization: &Organization) -> Result<(), StoreError>;

    /// An organization.
    async fn organization(&self, org: Uuid) -> Result<Option<Organization>, StoreError>;

    /// Makes a user. With a request id that was used the first user comes back. Taken names the field.
    async fn add_user(&self, new: &NewUser) -> Result<Made, StoreError>;

    /// A user of an organization.
    async fn user(&self, org: Uuid, user: Uuid) -> Result<Option<User>, StoreError>;

    /// The user of an organization with this external id.
    async fn user_by_external_id(&self, org: Uuid, external_id: &str) -> Result<Option<User>, StoreError>;

    /// The user of an organization with this address.
    async fn user_by_email(&self, org: Uuid, email: &str) -> Result<Option<User>, StoreError>;

    /// Who may have meant this address or external id when signing in, oldest first, at most `limit`.
    async fn candidates(&self, email: &str, external_id: &str, limit: u32) -> Result<Vec<Candidate>, StoreError>;

    /// Sets what a user's password is checked against.
    async fn set_password(&self, org: Uuid, user: Uuid, hash: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Keeps a refresh token, and forgets those that ended.
    async fn add_refresh(&self, refresh: &Refresh, now: Timestamp) -> Result<(), StoreError>;

    /// Takes a refresh token and keeps the next in its place.
    async fn trade_refresh(&self, trade: &Trade) -> Result<Traded, StoreError>;

    /// Begins a password reset, or returns the one that this request id began.
    async fn begin_reset(&self, reset: &Reset, now: Timestamp) -> Result<Reset, StoreError>;

    /// The reset behind a token, if it can still be used.
    async fn open_reset(&self, hash: &Hash, now: Timestamp) -> Result<Option<Reset>, StoreError>;

    /// Uses a reset: sets the password, ends the user's refresh tokens and other resets. False if it cannot be used any more.
    async fn finish_reset(&self, hash: &Hash, password_hash: &str, now: Timestamp) -> Result<bool, StoreError>;

    /// Failed sign-ins of a name that still count.
    async fn failures(&self, name: &Hash, now: Timestamp) -> Result<Option<Failures>, StoreError>;

    /// Counts a failed sign-in.
    async fn add_failure(&self, name: &Hash, now: Timestamp) -> Result<(), StoreError>;

    /// Forgets a name's failures.
    async fn clear_failures(&self, name: &Hash) -> Result<(), StoreError>;
}
