//! The port to what identity keeps.
//!
//! In: values of the domain, hashes of tokens, the time. Out: the same. Never: a token or a password in clear; what people
//! are called, by which names they sign in and what their passwords are checked against is stored sealed, in every adapter
//! ([`sealed`]).
use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use switchboard_runtime::{
    Condition, Fault,
    sqlite::OpenError,
    stores::Ledger,
    vault::{Vault, VaultError},
};
use uuid::Uuid;

use crate::{
    activity::{Activity, Broken},
    lockout::{FORGOTTEN_AFTER, Failures},
    model::{Organization, User},
    token::Hash,
};

pub mod postgres;
pub mod sealed;
pub mod sqlite;

/// The name under which both ledgers keep what is here.
pub(crate) const OWNER: &str = "identity";

/// Opens the store of a ledger. A server that is not there is waited for by nobody here: the condition says how it is.
pub async fn open(ledger: &Ledger, vault: &Vault) -> Result<(Arc<dyn Store>, Condition), OpenError> {
    Ok(match ledger {
        Ledger::Sqlite(folder) => (Arc::new(sqlite::SqliteStore::open(folder, vault).await?), Condition::well()),
        Ledger::Postgres(at) => {
            let store = postgres::PostgresStore::open(at, vault)?;
            let condition = store.condition();
            (Arc::new(store), condition)
        }
    })
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody has this value of this field already.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// Nobody of the organization has this id, or whoever had it was erased.
    #[error("no such user")]
    NoUser,
    /// What is stored cannot be opened with the master keys that are configured.
    #[error("the data store holds what does not open")]
    Sealed(#[from] VaultError),
    /// The store is broken, busy or unreachable.
    #[error("the store failed")]
    Failed(#[source] Box<Fault>),
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
    /// Who makes it; nil: the installation itself.
    pub by: Uuid,
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

impl Trade {
    /// True if a token that was used at this time may be used once more.
    fn forgives(&self, used: Timestamp, guest: bool) -> bool {
        guest && self.now.duration_since(used) < self.grace
    }
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

/// A refresh token as a person may know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptSession {
    /// What comes from the same sign-in.
    pub family: Uuid,
    /// Handed out.
    pub created: Timestamp,
    /// Good until.
    pub expires: Timestamp,
    /// Traded for the next.
    pub used: Option<Timestamp>,
    /// Ended before its time.
    pub revoked: Option<Timestamp>,
}

/// A password reset as a person may know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptReset {
    /// The request that began it.
    pub request_id: Uuid,
    /// Good until.
    pub expires: Timestamp,
    /// Used, or ended by another one.
    pub used: Option<Timestamp>,
}

/// Everything that is kept of a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// The user.
    pub user: User,
    /// When the password was set; none if there is none.
    pub password_set: Option<Timestamp>,
    /// Refresh tokens, oldest first.
    pub sessions: Vec<KeptSession>,
    /// Password resets, oldest first.
    pub resets: Vec<KeptReset>,
    /// What the person did, and what was done to them, oldest first.
    pub activity: Vec<Activity>,
}

/// What erasing a person took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// When the person was erased.
    pub at: Timestamp,
    /// True if this call did it.
    pub new: bool,
    /// Passwords.
    pub credentials: u64,
    /// Refresh tokens.
    pub sessions: u64,
    /// Password resets.
    pub resets: u64,
}

/// Organizations and the people in them.
///
/// Laws, each with a test that every adapter passes:
/// - What was written is read, after opening it again too, and is noise to whoever reads the files.
/// - Nobody is found through another organization.
/// - An email address, an external id and a request id each belong to one user of an organization, whoever comes at the same
///   time; other organizations may have the same.
/// - Whoever is erased leaves an id and a time: their key, names, password, sessions and resets are gone, nothing of the kind
///   is kept for them again, and the names are free. Erased again, nothing changes.
/// - Whatever changes people is in the log of its organization, in the same transaction; a log that was changed is noticed.
#[async_trait]
pub trait People: Send + Sync {
    /// Keeps an organization unless its id is there.
    async fn add_organization(&self, organization: &Organization) -> Result<(), StoreError>;

    /// An organization.
    async fn organization(&self, org: Uuid) -> Result<Option<Organization>, StoreError>;

    /// Makes a user. With a request id that was used the first user comes back. Taken names the field.
    async fn add_user(&self, new: &NewUser) -> Result<Made, StoreError>;

    /// A user of an organization; of one who was erased only what is left.
    async fn user(&self, org: Uuid, user: Uuid) -> Result<Option<User>, StoreError>;

    /// The user of an organization with this external id.
    async fn user_by_external_id(&self, org: Uuid, external_id: &str) -> Result<Option<User>, StoreError>;

    /// The user of an organization with this address.
    async fn user_by_email(&self, org: Uuid, email: &str) -> Result<Option<User>, StoreError>;

    /// Everything that is kept of a person; who asked is in the log.
    async fn export_user(&self, org: Uuid, user: Uuid, by: Uuid, now: Timestamp) -> Result<Option<Export>, StoreError>;

    /// Erases a person. None if there never was such a user.
    async fn erase_user(&self, org: Uuid, user: Uuid, by: Uuid, now: Timestamp) -> Result<Option<Erased>, StoreError>;

    /// The log of an organization after a row, in order. Fails if what it reads was changed, or is not all there is.
    async fn activity(&self, org: Uuid, after: u64, limit: u32) -> Result<Vec<Activity>, StoreError>;
}

/// Sign-ins, and what carries them on.
///
/// Laws:
/// - A refresh token is traded once; a guest's again within the grace. Used again later, its family ends.
/// - A password reset is begun once per request id and used once; using it ends the user's sessions and other resets.
/// - Failed sign-ins are counted per name, also when they come at once, and forgotten after a day.
/// - Only a sign-in, a refresh token and a reset token come without an organization: each brings its own.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Who may have meant this address or external id when signing in, oldest first, at most `limit`.
    async fn candidates(&self, email: &str, external_id: &str, limit: u32) -> Result<Vec<Candidate>, StoreError>;

    /// Sets what a user's password is checked against.
    async fn set_password(&self, org: Uuid, user: Uuid, hash: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Keeps a refresh token.
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
    async fn failures(&self, name: &str, now: Timestamp) -> Result<Option<Failures>, StoreError>;

    /// Counts a failed sign-in.
    async fn add_failure(&self, name: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Forgets a name's failures.
    async fn clear_failures(&self, name: &str) -> Result<(), StoreError>;
}

/// What belongs to the installation, and what it does unasked.
///
/// Laws:
/// - Of all who keep a value under a name at once, one is first, and all get the first one's.
/// - A duty that is due is given to one of all who ask, and is due again later; also after a clock was wrong.
/// - Guests are erased when their time is up and no session of theirs can go on; nobody else is.
/// - What has ended is forgotten, and nothing else.
/// - After keys were wrapped anew, the newest master key alone opens everything.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Keeps a value under a name unless there is one. Returns the one that is kept: the first.
    async fn keep(&self, name: &str, value: &str) -> Result<String, StoreError>;

    /// Keeps a value under a name in place of any other.
    async fn replace(&self, name: &str, value: &str) -> Result<(), StoreError>;

    /// True if a duty is due and now the caller's; it is due again after `every`.
    async fn claim(&self, duty: &str, now: Timestamp, every: Duration) -> Result<bool, StoreError>;

    /// Erases guests who were made before a time and have no session that can go on; at most `limit`. Returns how many.
    async fn erase_guests(&self, made_before: Timestamp, now: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Forgets refresh tokens that ended, resets that ended a day ago and failures that do not count any more; at most
    /// `limit` of each. Returns how many.
    async fn forget_ended(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Wraps keys that an older master key wraps under the newest one; of people's at most `limit`. Returns how many.
    async fn rewrap_keys(&self, limit: u32) -> Result<u64, StoreError>;
}

/// What identity keeps.
pub trait Store: People + Sessions + Upkeep {}

impl<T: People + Sessions + Upkeep> Store for T {}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // What it tells apart by SQLSTATE, SQLite has no code for: then it is a store that failed.
        StoreError::Failed(Box::new(switchboard_runtime::postgres::fault(error)))
    }
}

impl From<Broken> for StoreError {
    fn from(broken: Broken) -> Self {
        StoreError::from(sqlx::Error::Decode(Box::new(broken)))
    }
}

/// A value in a row that nothing ever wrote.
fn wrong(column: &str) -> StoreError {
    StoreError::from(sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "not a value that was ever written".into(),
    })
}

/// Failures and ended resets that are not newer do not count any more. Resets are kept that long, so that late retries still
/// get the same answer.
fn forgotten_before(now: Timestamp) -> Timestamp {
    now.saturating_sub(FORGOTTEN_AFTER).unwrap_or(Timestamp::MIN)
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}
