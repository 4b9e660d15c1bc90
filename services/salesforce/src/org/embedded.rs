//! The embedded org: Salesforce's behaviour, as far as we use it, in the ledger.
//!
//! The org stamps its own rows, as Salesforce does: that is why it has a clock. Several replicas on one ledger are one org.
use async_trait::async_trait;
use jiff::Timestamp;
use switchboard_runtime::{
    Clock, Condition, page,
    sqlite::OpenError,
    stores::Ledger,
    vault::{DataKey, Vault},
};
use uuid::Uuid;

use self::{
    keys::{INDEX, Keys, ORGANIZATION},
    work::{Origin, Work},
};
use super::{
    Case, CaseChange, CaseKey, Changes, Comment, Contact, ContactChange, ContactKey, Erased, Export, Order, Org,
    People, Person, Status, Written,
};
use crate::{
    Error,
    store::{self, Store},
};

mod keys;
mod persons;
mod seed;
mod work;

/// Organizations that are gone through at once when keys are wrapped anew.
const ORGANIZATIONS: u32 = 100;

/// The embedded org.
pub struct Embedded {
    store: Box<dyn Store>,
    keys: Keys,
    clock: Clock,
    demo: bool,
}

impl Embedded {
    /// On a ledger. `demo`: an organization seen for the first time gets demo records. PostgreSQL is not waited for.
    pub async fn open(ledger: &Ledger, vault: Vault, demo: bool, clock: Clock) -> Result<Self, OpenError> {
        Ok(Embedded { store: store::open(ledger).await?, keys: Keys::new(vault), clock, demo })
    }

    /// How the ledger is.
    pub fn condition(&self) -> Condition {
        self.store.condition()
    }

    /// Waits until everything is written and closes the ledger.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Wraps all keys that an older master wraps under the newest one. Returns how many there were; at 0 the older can go.
    pub async fn rewrap(&self) -> Result<u64, Error> {
        let (mut done, mut org) = (0, Uuid::nil());
        loop {
            let orgs = self.store.organizations(org, ORGANIZATIONS).await?;
            for next in &orgs {
                let mut after = Some(String::new());
                while let Some(key) = after {
                    let mut tx = self.store.write(*next).await?;
                    let (wrapped, last) = self.keys.rewrap(&mut *tx, *next, &key).await?;
                    tx.commit().await?;
                    (done, after) = (done + wrapped, last);
                }
            }
            match orgs.last() {
                Some(last) => org = *last,
                None => return Ok(done),
            }
        }
    }

    async fn reading(&self, org: Uuid) -> Result<Work<'_>, Error> {
        let index = self.index(org).await?;
        Ok(Work { tx: self.store.read(org).await?, org, keys: &self.keys, index, now: self.clock.now() })
    }

    async fn writing(&self, org: Uuid) -> Result<Work<'_>, Error> {
        let index = self.index(org).await?;
        Ok(Work { tx: self.store.write(org).await?, org, keys: &self.keys, index, now: self.clock.now() })
    }

    /// The index key of an organization. One that was never seen gets its keys and its demo records in one transaction, so
    /// that whoever comes at the same time sees all of them.
    async fn index(&self, org: Uuid) -> Result<DataKey, Error> {
        if let Some(index) = self.keys.index(org) {
            return Ok(index);
        }
        let now = self.clock.now();
        let mut tx = self.store.write(org).await?;
        let index = match self.keys.find(&mut *tx, org, INDEX).await? {
            Some(index) => index,
            None => {
                let index = self.keys.make(&mut *tx, org, INDEX, now).await?;
                self.keys.make(&mut *tx, org, ORGANIZATION, now).await?;
                let mut work = Work { tx, org, keys: &self.keys, index: index.clone(), now };
                if self.demo {
                    seed::seed(&mut work).await?;
                }
                work.tx.commit().await?;
                index
            }
        };
        self.keys.put_index(org, index.clone());
        Ok(index)
    }

    async fn comment(
        &self,
        org: Uuid,
        external_id: &str,
        key: &CaseKey,
        words: (&str, &str),
        origin: Origin,
    ) -> Result<Written<Comment>, Error> {
        let mut work = self.writing(org).await?;
        if !external_id.is_empty()
            && let Some(record) = work.find_comment(external_id).await?
        {
            return Ok(Written { record, created: false });
        }
        let (case, key) = work.find_case(key).await?;
        let record = work.insert_comment(&case.id, &key, external_id, words, work.now).await?;
        work.touch(&case.id).await?;
        work.log(origin, &case.id, &record.id).await?;
        work.tx.commit().await?;
        Ok(Written { record, created: true })
    }
}

#[async_trait]
impl Org for Embedded {
    async fn upsert_case(&self, org: Uuid, external_id: &str, change: &CaseChange) -> Result<Written<Case>, Error> {
        let mut work = self.writing(org).await?;
        let before = match work.find_case(&CaseKey::External(external_id.to_owned())).await {
            Ok(found) => Some(found),
            Err(Error::NotFound { .. }) => None,
            Err(e) => return Err(e),
        };
        let Some((before, comments)) = before else {
            let case = merged(work.new_case(external_id, work.now).await?, change);
            work.put_case(&case).await?;
            work.log(Origin::Switchboard, &case.id, "").await?;
            work.tx.commit().await?;
            return Ok(Written { record: case, created: true });
        };
        let case = merged(before.clone(), change);
        if case == before {
            return Ok(Written { record: before, created: false });
        }
        let case = Case { updated: work.now, ..case };
        let key = work.put_case(&case).await?;
        if case.contact_id != before.contact_id {
            work.reseal(&case.id, &comments, &key).await?;
        }
        work.log(Origin::Switchboard, &case.id, "").await?;
        work.tx.commit().await?;
        Ok(Written { record: case, created: false })
    }

    async fn add_comment(
        &self,
        org: Uuid,
        external_id: &str,
        case: &CaseKey,
        author: &str,
        body: &str,
    ) -> Result<Written<Comment>, Error> {
        self.comment(org, external_id, case, (author, body), Origin::Switchboard).await
    }

    async fn case(&self, org: Uuid, key: &CaseKey) -> Result<(Case, Vec<Comment>), Error> {
        let mut work = self.reading(org).await?;
        let (case, key) = work.find_case(key).await?;
        let comments = work.comments(&case.id, &key).await?;
        Ok((case, comments))
    }

    async fn upsert_contact(
        &self,
        org: Uuid,
        external_id: &str,
        change: &ContactChange,
    ) -> Result<Written<Contact>, Error> {
        let email = change.email.to_lowercase();
        let mut work = self.writing(org).await?;
        let mut known = work.find_contact(&ContactKey::External(external_id.to_owned())).await?;
        if known.is_none() {
            // Somebody whom Salesforce knows already writes to us for the first time.
            let stranger = work.find_contact(&ContactKey::Email(email.clone())).await?;
            known = stranger.filter(|c| c.external_id.is_empty());
        }
        let created = known.is_none();
        let record = match known {
            Some(contact) => {
                let new = |new: &str, old: String| if new.is_empty() { old } else { new.to_owned() };
                let (email, name) = (new(&email, contact.email.clone()), new(&change.name, contact.name.clone()));
                let merged = Contact { external_id: external_id.to_owned(), email, name, ..contact.clone() };
                if merged == contact {
                    return Ok(Written { record: contact, created });
                }
                work.put_contact(&merged).await?;
                merged
            }
            None => {
                let id = work.insert_contact(external_id, (&email, &change.name), "").await?;
                let (external_id, name) = (external_id.to_owned(), change.name.clone());
                Contact { id, external_id, email, name, account_id: String::new(), account_name: String::new() }
            }
        };
        work.tx.commit().await?;
        Ok(Written { record, created })
    }

    async fn contact(&self, org: Uuid, key: &ContactKey) -> Result<Contact, Error> {
        let name = match key {
            ContactKey::Email(_) => "email address",
            ContactKey::External(_) => "external id",
        };
        let found = self.reading(org).await?.find_contact(key).await?;
        found.ok_or(Error::NotFound { what: "contact", key: name })
    }

    async fn order(&self, org: Uuid, number: &str) -> Result<Order, Error> {
        let found = self.reading(org).await?.find_order(number).await?;
        found.ok_or(Error::NotFound { what: "order", key: "number" })
    }

    async fn changes(&self, org: Uuid, cursor: &str, limit: u32) -> Result<Changes, Error> {
        let after: i64 = page::key(cursor).map_err(|_| Error::BadCursor)?.unwrap_or_default();
        let found = self.reading(org).await?.changes(after, limit).await?;
        let next = found.last().map_or_else(|| cursor.to_owned(), |(number, _)| page::token(number));
        Ok(Changes { items: found.into_iter().map(|(_, change)| change).collect(), next })
    }

    async fn export_person(&self, org: Uuid, person: &Person) -> Result<Export, Error> {
        persons::export(&mut self.reading(org).await?, person).await
    }

    async fn erase_person(&self, org: Uuid, person: &Person) -> Result<Erased, Error> {
        let mut work = self.writing(org).await?;
        let erased = persons::erase(&mut work, person).await?;
        work.tx.commit().await?;
        Ok(erased)
    }
}

#[async_trait]
impl People for Embedded {
    async fn human_comment(&self, org: Uuid, case: &CaseKey, author: &str, body: &str) -> Result<Comment, Error> {
        Ok(self.comment(org, "", case, (author, body), Origin::Person).await?.record)
    }

    async fn human_close(&self, org: Uuid, case: &CaseKey) -> Result<Case, Error> {
        let mut work = self.writing(org).await?;
        let (case, _) = work.find_case(case).await?;
        if case.status == Status::Closed {
            return Ok(case);
        }
        let case = Case { status: Status::Closed, updated: work.now, ..case };
        work.put_case(&case).await?;
        work.log(Origin::Person, &case.id, "").await?;
        work.tx.commit().await?;
        Ok(case)
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
    // In the whole microseconds that stores keep, so that the same change twice is equal.
    let deadline = change.sla_deadline.map(|t| Timestamp::from_microsecond(t.as_microsecond()).unwrap_or(t));
    case.sla_deadline = deadline.or(case.sla_deadline);
    case
}
