//! The embedded org: Salesforce's behaviour, as far as we use it, in one SQLite file.
//!
//! The org stamps its own rows, as Salesforce does: that is why it has a clock.
use std::{
    collections::HashSet,
    path::Path,
    sync::{PoisonError, RwLock},
};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection, migrate::Migrator};
use switchboard_runtime::{
    Clock, page,
    sqlite::{OpenError, Sqlite},
};
use uuid::Uuid;

use self::{
    rows::{case_of, change_of, comment_of, contact_of, from_micros, order_of},
    seed::seed,
};
use super::{
    Case, CaseChange, CaseKey, Changes, Comment, Contact, ContactChange, ContactKey, Order, Org, People, Priority,
    Status, Written,
};
use crate::{
    Error,
    id::{self, Kind},
    number,
};

mod rows;
mod seed;

/// The migrations of this store.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/salesforce/sqlite");

/// Case numbers begin after this, so that the first one looks like a number that people know.
const CASES_BEFORE: i64 = 1000;

/// Who made a change.
#[derive(Clone, Copy)]
enum Origin {
    Switchboard,
    Person,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Origin::Switchboard => "switchboard",
            Origin::Person => "person",
        }
    }
}

/// The embedded org.
pub struct Embedded {
    store: Sqlite,
    clock: Clock,
    demo: bool,
    // Organizations known to be in the file: saves a write transaction on every read.
    seen: RwLock<HashSet<Uuid>>,
}

impl Embedded {
    /// Opens the file in a folder. `demo`: an organization seen for the first time gets demo records.
    pub async fn open(folder: &Path, demo: bool, clock: Clock) -> Result<Self, OpenError> {
        let store = Sqlite::open(folder, "salesforce", &MIGRATOR).await?;
        Ok(Embedded { store, clock, demo, seen: RwLock::default() })
    }

    /// Waits until everything is written and closes the file.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Makes sure that an organization is known. The primary key lets one of several callers make the demo records, and
    /// the transaction lets the others see all of them or none.
    async fn ensure(&self, org: Uuid) -> Result<(), Error> {
        if self.seen.read().unwrap_or_else(PoisonError::into_inner).contains(&org) {
            return Ok(());
        }
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        let first = sqlx::query("INSERT INTO organizations (org, first_seen) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(org.to_string())
            .bind(now.as_microsecond())
            .execute(&mut *tx)
            .await?;
        if first.rows_affected() == 1 && self.demo {
            seed(&mut tx, org, now).await?;
        }
        tx.commit().await?;
        self.seen.write().unwrap_or_else(PoisonError::into_inner).insert(org);
        Ok(())
    }

    async fn comment(
        &self,
        org: Uuid,
        external_id: Option<&str>,
        key: &CaseKey,
        author: &str,
        body: &str,
        origin: Origin,
    ) -> Result<Written<Comment>, Error> {
        self.ensure(org).await?;
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        if let Some(external_id) = external_id {
            let known = sqlx::query("SELECT * FROM comments WHERE org = ? AND external_id = ?")
                .bind(org.to_string())
                .bind(external_id)
                .fetch_optional(&mut *tx)
                .await?;
            if let Some(row) = known {
                return Ok(Written { record: comment_of(&row), created: false });
            }
        }
        let case = find_case(&mut tx, org, key).await?;
        let comment = insert_comment(&mut tx, org, &case.id, external_id, author, body, now).await?;
        touch(&mut tx, org, &case.id, now).await?;
        log(&mut tx, org, origin, &case.id, Some(&comment.id), now).await?;
        tx.commit().await?;
        Ok(Written { record: comment, created: true })
    }
}

#[async_trait]
impl Org for Embedded {
    async fn upsert_case(&self, org: Uuid, external_id: &str, change: &CaseChange) -> Result<Written<Case>, Error> {
        self.ensure(org).await?;
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        let before = match find_case(&mut tx, org, &CaseKey::External(external_id.to_owned())).await {
            Ok(case) => Some(case),
            Err(Error::NotFound { .. }) => None,
            Err(e) => return Err(e),
        };
        let created = before.is_none();
        let case = match before.clone() {
            Some(case) => Case { updated: now, ..merged(case, change) },
            None => {
                let n = next(&mut tx, org, "case").await?;
                merged(new_case(org, n, external_id, now), change)
            }
        };
        if before.is_some_and(|b| b == Case { updated: b.updated, ..case.clone() }) {
            return Ok(Written { record: find_case(&mut tx, org, &CaseKey::Id(case.id)).await?, created: false });
        }
        if !case.contact_id.is_empty() {
            let contact = sqlx::query("SELECT 1 FROM contacts WHERE org = ? AND id = ?")
                .bind(org.to_string())
                .bind(&case.contact_id);
            contact.fetch_optional(&mut *tx).await?.ok_or(Error::UnknownContact)?;
        }
        put_case(&mut tx, org, &case).await?;
        log(&mut tx, org, Origin::Switchboard, &case.id, None, now).await?;
        tx.commit().await?;
        Ok(Written { record: case, created })
    }

    async fn add_comment(
        &self,
        org: Uuid,
        external_id: &str,
        case: &CaseKey,
        author: &str,
        body: &str,
    ) -> Result<Written<Comment>, Error> {
        self.comment(org, Some(external_id), case, author, body, Origin::Switchboard).await
    }

    async fn case(&self, org: Uuid, key: &CaseKey) -> Result<(Case, Vec<Comment>), Error> {
        self.ensure(org).await?;
        // One transaction: the comments are those of the case as it is returned.
        let mut tx = self.store.read().begin().await?;
        let case = find_case(&mut tx, org, key).await?;
        let comments = sqlx::query("SELECT * FROM comments WHERE org = ? AND case_id = ? ORDER BY number")
            .bind(org.to_string())
            .bind(&case.id)
            .fetch_all(&mut *tx)
            .await?;
        Ok((case, comments.iter().map(comment_of).collect()))
    }

    async fn upsert_contact(
        &self,
        org: Uuid,
        external_id: &str,
        change: &ContactChange,
    ) -> Result<Written<Contact>, Error> {
        self.ensure(org).await?;
        let email = change.email.to_lowercase();
        let mut tx = self.store.write().await?;
        let mut known = find_contact(&mut tx, org, &ContactKey::External(external_id.to_owned())).await?;
        if known.is_none() && !email.is_empty() {
            // Somebody whom Salesforce knows already writes to us for the first time.
            known = find_contact(&mut tx, org, &ContactKey::Email(email.clone()))
                .await?
                .filter(|c| c.external_id.is_empty());
        }
        let created = known.is_none();
        let id = match known {
            Some(contact) => {
                sqlx::query(
                    "UPDATE contacts SET external_id = ?3, email = iif(?4 = '', email, ?4), name = iif(?5 = '', name, ?5) WHERE org = ?1 AND id = ?2",
                )
                .bind(org.to_string())
                .bind(&contact.id)
                .bind(external_id)
                .bind(&email)
                .bind(&change.name)
                .execute(&mut *tx)
                .await?;
                contact.id
            }
            None => insert_contact(&mut tx, org, Some(external_id), &email, &change.name, None).await?,
        };
        let contact = find_contact(&mut tx, org, &ContactKey::External(external_id.to_owned())).await?;
        let record = contact.filter(|c| c.id == id).ok_or(Error::NotFound { what: "contact", key: "external id" })?;
        tx.commit().await?;
        Ok(Written { record, created })
    }

    async fn contact(&self, org: Uuid, key: &ContactKey) -> Result<Contact, Error> {
        self.ensure(org).await?;
        let mut reader = self.store.read().acquire().await?;
        let name = match key {
            ContactKey::Email(_) => "email address",
            ContactKey::External(_) => "external id",
        };
        find_contact(&mut reader, org, key).await?.ok_or(Error::NotFound { what: "contact", key: name })
    }

    async fn order(&self, org: Uuid, written: &str) -> Result<Order, Error> {
        self.ensure(org).await?;
        let missing = || Error::NotFound { what: "order", key: "number" };
        let plain = number::order(written);
        let by_plain =
            sqlx::query("SELECT * FROM orders WHERE org = ? AND plain = ?").bind(org.to_string()).bind(&plain);
        if let Some(row) = by_plain.fetch_optional(self.store.read()).await? {
            return Ok(order_of(&row));
        }
        if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_digit()) {
            return Err(missing());
        }
        let by_digits =
            sqlx::query("SELECT * FROM orders WHERE org = ? AND digits = ? LIMIT 2").bind(org.to_string()).bind(&plain);
        // Two orders with the same digits are not guessed between.
        match by_digits.fetch_all(self.store.read()).await?.as_slice() {
            [row] => Ok(order_of(row)),
            _ => Err(missing()),
        }
    }

    async fn changes(&self, org: Uuid, cursor: &str, limit: u32) -> Result<Changes, Error> {
        self.ensure(org).await?;
        let after: i64 = page::key(cursor).map_err(|_| Error::BadCursor)?.unwrap_or_default();
        let rows = sqlx::query(
            "SELECT l.number AS change, l.time, c.*, m.id AS comment_id, m.external_id AS comment_external_id, m.body, m.author, \
                    m.created AS comment_created \
             FROM changes l JOIN cases c ON c.org = l.org AND c.id = l.case_id \
             LEFT JOIN comments m ON m.org = l.org AND m.id = l.comment_id \
             WHERE l.org = ? AND l.number > ? AND l.origin = 'person' ORDER BY l.number LIMIT ?",
        )
        .bind(org.to_string())
        .bind(after)
        .bind(limit)
        .fetch_all(self.store.read())
        .await?;
        let last = rows.last().map(|row| row.get::<i64, _>("change"));
        let items = rows.iter().map(|row| change_of(org, row)).collect();
        Ok(Changes { items, next: last.map_or_else(|| cursor.to_owned(), |n| page::token(&n)) })
    }
}

#[async_trait]
impl People for Embedded {
    async fn human_comment(&self, org: Uuid, case: &CaseKey, author: &str, body: &str) -> Result<Comment, Error> {
        Ok(self.comment(org, None, case, author, body, Origin::Person).await?.record)
    }

    async fn human_close(&self, org: Uuid, case: &CaseKey) -> Result<Case, Error> {
        self.ensure(org).await?;
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        let case = find_case(&mut tx, org, case).await?;
        if case.status == Status::Closed {
            return Ok(case);
        }
        let case = Case { status: Status::Closed, updated: now, ..case };
        put_case(&mut tx, org, &case).await?;
        log(&mut tx, org, Origin::Person, &case.id, None, now).await?;
        tx.commit().await?;
        Ok(case)
    }
}

fn new_case(org: Uuid, n: i64, external_id: &str, now: Timestamp) -> Case {
    let n = CASES_BEFORE + n;
    Case {
        id: id::make(org, Kind::Case, n),
        number: number::nth_case(n),
        external_id: external_id.to_owned(),
        subject: String::new(),
        description: String::new(),
        status: Status::New,
        priority: Priority::Medium,
        origin: "Web".to_owned(),
        queue: String::new(),
        contact_id: String::new(),
        sla_deadline: None,
        created: now,
        updated: now,
    }
}

fn merged(mut case: Case, change: &CaseChange) -> Case {
    let texts = [
        (&mut case.subject, &change.subject),
        (&mut case.description, &change.description),
        (&mut case.origin, &change.origin),
        (&mut case.queue, &change.queue),
        (&mut case.contact_id, &change.contact_id),
    ];
    for (old, new) in texts {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
    case.status = change.status.unwrap_or(case.status);
    case.priority = change.priority.unwrap_or(case.priority);
    // Kept as the file keeps it, so that the same change twice is equal.
    let deadline = change.sla_deadline.map(|t| from_micros(t.as_microsecond()));
    case.sla_deadline = deadline.or(case.sla_deadline);
    case
}

/// The next number of a kind; gaps only where a transaction was rolled back, never the same number twice.
async fn next(tx: &mut SqliteConnection, org: Uuid, kind: &'static str) -> Result<i64, Error> {
    let row = sqlx::query(
        "INSERT INTO counters (org, kind, last) VALUES (?, ?, 1) ON CONFLICT (org, kind) DO UPDATE SET last = last + 1 RETURNING last",
    );
    Ok(row.bind(org.to_string()).bind(kind).fetch_one(tx).await?.get("last"))
}

async fn find_case(tx: &mut SqliteConnection, org: Uuid, key: &CaseKey) -> Result<Case, Error> {
    let (query, value, name) = match key {
        CaseKey::Number(text) => ("SELECT * FROM cases WHERE org = ? AND number = ?", number::case(text), "number"),
        CaseKey::Id(id) => ("SELECT * FROM cases WHERE org = ? AND id = ?", Some(id::full(id)), "id"),
        CaseKey::External(id) => {
            ("SELECT * FROM cases WHERE org = ? AND external_id = ?", Some(id.clone()), "external id")
        }
    };
    let missing = Error::NotFound { what: "case", key: name };
    let Some(value) = value else { return Err(missing) };
    let row = sqlx::query(query).bind(org.to_string()).bind(value).fetch_optional(tx).await?;
    row.as_ref().map(case_of).ok_or(missing)
}

async fn put_case(tx: &mut SqliteConnection, org: Uuid, case: &Case) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO cases (org, id, number, external_id, subject, description, status, priority, origin, queue, contact_id, \
                            sla_deadline, created, updated) \
         VALUES (?, ?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?, ?) \
         ON CONFLICT (org, id) DO UPDATE SET subject = excluded.subject, description = excluded.description, \
             status = excluded.status, priority = excluded.priority, origin = excluded.origin, queue = excluded.queue, \
             contact_id = excluded.contact_id, sla_deadline = excluded.sla_deadline, updated = excluded.updated",
    )
    .bind(org.to_string())
    .bind(&case.id)
    .bind(&case.number)
    .bind(&case.external_id)
    .bind(&case.subject)
    .bind(&case.description)
    .bind(case.status.name())
    .bind(case.priority.name())
    .bind(&case.origin)
    .bind(&case.queue)
    .bind(&case.contact_id)
    .bind(case.sla_deadline.map(Timestamp::as_microsecond))
    .bind(case.created.as_microsecond())
    .bind(case.updated.as_microsecond())
    .execute(tx)
    .await?;
    Ok(())
}

async fn touch(tx: &mut SqliteConnection, org: Uuid, case_id: &str, now: Timestamp) -> Result<(), Error> {
    let query = sqlx::query("UPDATE cases SET updated = ? WHERE org = ? AND id = ?");
    query.bind(now.as_microsecond()).bind(org.to_string()).bind(case_id).execute(tx).await?;
    Ok(())
}

async fn insert_comment(
    tx: &mut SqliteConnection,
    org: Uuid,
    case_id: &str,
    external_id: Option<&str>,
    author: &str,
    body: &str,
    now: Timestamp,
) -> Result<Comment, Error> {
    let n = next(tx, org, "comment").await?;
    let row = sqlx::query(
        "INSERT INTO comments (org, id, case_id, external_id, body, author, created, number) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
    )
    .bind(org.to_string())
    .bind(id::make(org, Kind::Comment, n))
    .bind(case_id)
    .bind(external_id)
    .bind(body)
    .bind(author)
    .bind(now.as_microsecond())
    .bind(n)
    .fetch_one(tx)
    .await?;
    Ok(comment_of(&row))
}

async fn insert_contact(
    tx: &mut SqliteConnection,
    org: Uuid,
    external_id: Option<&str>,
    email: &str,
    name: &str,
    account: Option<&str>,
) -> Result<String, Error> {
    let n = next(tx, org, "contact").await?;
    let id = id::make(org, Kind::Contact, n);
    sqlx::query(
        "INSERT INTO contacts (org, id, external_id, email, name, account_id, number) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(org.to_string())
    .bind(&id)
    .bind(external_id)
    .bind(email)
    .bind(name)
    .bind(account)
    .bind(n)
    .execute(tx)
    .await?;
    Ok(id)
}

async fn find_contact(tx: &mut SqliteConnection, org: Uuid, key: &ContactKey) -> Result<Option<Contact>, Error> {
    let (query, value) = match key {
        ContactKey::External(id) => (
            "SELECT c.*, a.name AS account_name FROM contacts c LEFT JOIN accounts a ON a.org = c.org AND a.id = c.account_id \
             WHERE c.org = ? AND c.external_id = ?",
            id.clone(),
        ),
        // Salesforce lets contacts share an address: the one that nobody of ours has comes first, then the oldest.
        ContactKey::Email(email) => (
            "SELECT c.*, a.name AS account_name FROM contacts c LEFT JOIN accounts a ON a.org = c.org AND a.id = c.account_id \
             WHERE c.org = ? AND c.email = ? AND c.email <> '' ORDER BY c.external_id IS NOT NULL, c.number LIMIT 1",
            email.to_lowercase(),
        ),
    };
    let row = sqlx::query(query).bind(org.to_string()).bind(value).fetch_optional(tx).await?;
    Ok(row.as_ref().map(contact_of))
}

async fn log(
    tx: &mut SqliteConnection,
    org: Uuid,
    origin: Origin,
    case: &str,
    comment: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    let n = next(tx, org, "change").await?;
    sqlx::query("INSERT INTO changes (org, number, origin, case_id, comment_id, time) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(org.to_string())
        .bind(n)
        .bind(origin.name())
        .bind(case)
        .bind(comment)
        .bind(now.as_microsecond())
        .execute(tx)
        .await?;
    Ok(())
}
