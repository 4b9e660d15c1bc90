//! The port to an org, and the records in it.
use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::Error;

pub mod embedded;

/// Where a case stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nobody has looked yet.
    New,
    /// Somebody works on it.
    Working,
    /// It has gone up.
    Escalated,
    /// It is done.
    Closed,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 4] = [Status::New, Status::Working, Status::Escalated, Status::Closed];

    /// As Salesforce spells it.
    pub fn name(self) -> &'static str {
        match self {
            Status::New => "New",
            Status::Working => "Working",
            Status::Escalated => "Escalated",
            Status::Closed => "Closed",
        }
    }

    /// The status of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// How soon somebody has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Can wait.
    Low,
    /// The usual case.
    Medium,
    /// Before the usual ones.
    High,
    /// At once.
    Critical,
}

impl Priority {
    /// All of them.
    pub const ALL: [Priority; 4] = [Priority::Low, Priority::Medium, Priority::High, Priority::Critical];

    /// As Salesforce spells it.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Low => "Low",
            Priority::Medium => "Medium",
            Priority::High => "High",
            Priority::Critical => "Critical",
        }
    }

    /// The priority of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

/// A case, without its comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Salesforce id.
    pub id: String,
    /// What people say.
    pub number: String,
    /// Our own id; empty for a case that somebody else made.
    pub external_id: String,
    /// In one line.
    pub subject: String,
    /// In full.
    pub description: String,
    /// Where it stands.
    pub status: Status,
    /// How soon.
    pub priority: Priority,
    /// Where it came from.
    pub origin: String,
    /// Who looks after it; may be empty.
    pub queue: String,
    /// Whose it is; may be empty.
    pub contact_id: String,
    /// When the first answer is due.
    pub sla_deadline: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
}

/// What to write into a case: what is empty or none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaseChange {
    /// In one line.
    pub subject: String,
    /// In full.
    pub description: String,
    /// Where it stands.
    pub status: Option<Status>,
    /// How soon.
    pub priority: Option<Priority>,
    /// Where it came from.
    pub origin: String,
    /// Who looks after it.
    pub queue: String,
    /// Whose it is.
    pub contact_id: String,
    /// When the first answer is due.
    pub sla_deadline: Option<Timestamp>,
}

/// How a case is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseKey {
    /// By number, as a person wrote it.
    Number(String),
    /// By Salesforce id.
    Id(String),
    /// By our own id.
    External(String),
}

/// A comment on a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Salesforce id.
    pub id: String,
    /// Our own id; empty for a comment that a person wrote.
    pub external_id: String,
    /// What it says.
    pub body: String,
    /// Who says it.
    pub author: String,
    /// When.
    pub created: Timestamp,
}

/// A contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Salesforce id.
    pub id: String,
    /// Our own id: the user's; empty for a contact that somebody else made.
    pub external_id: String,
    /// Lower case; may be empty.
    pub email: String,
    /// Full name; may be empty.
    pub name: String,
    /// May be empty.
    pub account_id: String,
    /// May be empty.
    pub account_name: String,
}

/// What to write into a contact: what is empty stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContactChange {
    /// Email address.
    pub email: String,
    /// Full name.
    pub name: String,
}

/// How a contact is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContactKey {
    /// By email address, any case.
    Email(String),
    /// By our own id.
    External(String),
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Salesforce id.
    pub id: String,
    /// What people say.
    pub number: String,
    /// `Processing`, `Shipped`, `Delivered` or `Cancelled`.
    pub status: String,
    /// What was ordered, in words.
    pub items: String,
    /// Where the parcel can be followed; may be empty.
    pub tracking_url: String,
    /// When it is, or was, delivered.
    pub delivery: Option<Timestamp>,
}

/// A record after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written<T> {
    /// As it stands.
    pub record: T,
    /// True if this write made it.
    pub created: bool,
}

/// Whom an export or an erasure is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// Our own id of their contact: the user's.
    pub external_id: String,
    /// Their addresses, any case: a contact with one of them is theirs, unless it is another user's.
    pub emails: Vec<String>,
}

/// All that the org has of a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// Their contacts.
    pub contacts: Vec<Contact>,
    /// The cases of these, each with its comments, by number.
    pub cases: Vec<(Case, Vec<Comment>)>,
}

/// What an erasure found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Contacts that were removed.
    pub contacts: u32,
    /// Cases that lost their words and their contact.
    pub cases: u32,
    /// Comments that lost their words.
    pub comments: u32,
}

/// Something that a person did in the org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Stable, unique.
    pub id: String,
    /// When.
    pub time: Timestamp,
    /// The case as it stands now.
    pub case: Case,
    /// The comment, if one was added; else the case itself was changed.
    pub comment: Option<Comment>,
}

/// Changes after a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Oldest first.
    pub items: Vec<Change>,
    /// Where to go on.
    pub next: String,
}

/// An org, seen from us.
///
/// Laws, each with a test of the same name in the contract suite:
/// - a write with the same external id twice is one record, and a repeated write changes nothing;
/// - a case's number and id never change; numbers rise per organization;
/// - what is empty in a change stays as it was;
/// - a key that no record has is [`Error::NotFound`];
/// - an organization sees and changes its own records only, whatever the keys of another are;
/// - a contact that is known by email address is adopted, not doubled;
/// - changes come oldest first, each once per cursor, and never one of our own writes;
/// - a person's words are exported while they are there, and after an erasure nowhere, while their cases keep id, number and
///   external id; nobody else loses anything, and erasing again finds nothing.
#[async_trait]
pub trait Org: Send + Sync {
    /// Makes or changes the case with this external id.
    async fn upsert_case(&self, org: Uuid, external_id: &str, change: &CaseChange) -> Result<Written<Case>, Error>;

    /// Adds a comment, once per external id; a second one with the same id returns the first.
    async fn add_comment(
        &self,
        org: Uuid,
        external_id: &str,
        case: &CaseKey,
        author: &str,
        body: &str,
    ) -> Result<Written<Comment>, Error>;

    /// A case and its comments, oldest first.
    async fn case(&self, org: Uuid, key: &CaseKey) -> Result<(Case, Vec<Comment>), Error>;

    /// Makes or changes the contact with this external id.
    async fn upsert_contact(
        &self,
        org: Uuid,
        external_id: &str,
        change: &ContactChange,
    ) -> Result<Written<Contact>, Error>;

    /// A contact.
    async fn contact(&self, org: Uuid, key: &ContactKey) -> Result<Contact, Error>;

    /// An order by its number as a person wrote it.
    async fn order(&self, org: Uuid, number: &str) -> Result<Order, Error>;

    /// What people changed after a cursor; an empty cursor is the start.
    async fn changes(&self, org: Uuid, cursor: &str, limit: u32) -> Result<Changes, Error>;

    /// All that the org has of a person.
    async fn export_person(&self, org: Uuid, person: &Person) -> Result<Export, Error>;

    /// Removes a person's contacts and empties their cases and comments.
    async fn erase_person(&self, org: Uuid, person: &Person) -> Result<Erased, Error>;
}

/// What people do in the org by hand, which [`Org::changes`] then tells. A real org has Salesforce's own pages for it.
#[async_trait]
pub trait People: Org {
    /// A person comments on a case.
    async fn human_comment(&self, org: Uuid, case: &CaseKey, author: &str, body: &str) -> Result<Comment, Error>;

    /// A person closes a case; closing a closed one changes nothing.
    async fn human_close(&self, org: Uuid, case: &CaseKey) -> Result<Case, Error>;
}
