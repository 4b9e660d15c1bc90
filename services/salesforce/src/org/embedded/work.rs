//! The steps of a transaction on the embedded org.
use jiff::Timestamp;
use switchboard_runtime::vault::DataKey;
use uuid::Uuid;

use super::keys::{Keys, ORGANIZATION, Seal};
use crate::{
    Error,
    id::{self, Kind},
    number,
    org::{Case, CaseKey, Change, Comment, Contact, ContactKey, Order, Priority, Status},
    store::{Row, Tx, Value},
};

/// Case numbers begin after this, so that the first one looks like a number that people know.
const CASES_BEFORE: i64 = 1000;

/// Who made a change.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    Switchboard,
    Person,
}

/// One transaction of one organization.
pub(super) struct Work<'a> {
    pub(super) tx: Box<dyn Tx>,
    pub(super) org: Uuid,
    pub(super) keys: &'a Keys,
    /// For blind indexes.
    pub(super) index: DataKey,
    pub(super) now: Timestamp,
}

/// A case with the key that opens what it says.
macro_rules! select_case {
    ($where:literal) => {
        concat!(
            "SELECT c.*, k.wrapped_key FROM cases c LEFT JOIN person_keys k ON k.organization_id = c.organization_id \
             AND k.person_id = coalesce(c.contact_id, 'organization') WHERE c.organization_id = $1 AND ",
            $where
        )
    };
}

/// A contact with its account and the key that opens it.
macro_rules! select_contact {
    ($where:literal) => {
        concat!(
            "SELECT c.*, a.name AS account_name, k.wrapped_key FROM contacts c \
             LEFT JOIN accounts a ON a.organization_id = c.organization_id AND a.id = c.account_id \
             LEFT JOIN person_keys k ON k.organization_id = c.organization_id AND k.person_id = c.id \
             WHERE c.organization_id = $1 AND ",
            $where
        )
    };
}

impl Work<'_> {
    /// Runs a statement whose first value is the organization.
    pub(super) async fn rows(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let values = [&[Value::Id(self.org)], values].concat();
        Ok(self.tx.rows(sql, &values).await?)
    }

    /// The next number of a kind; gaps only where a transaction was rolled back, never the same number twice.
    pub(super) async fn next(&mut self, kind: &'static str) -> Result<i64, Error> {
        let sql = "INSERT INTO counters (organization_id, kind, last) VALUES ($1, $2, 1) \
                   ON CONFLICT (organization_id, kind) DO UPDATE SET last = counters.last + 1 RETURNING last";
        let rows = self.rows(sql, &[Value::Text(kind)]).await?;
        Ok(rows.first().ok_or(sqlx::Error::RowNotFound)?.number("last")?)
    }

    /// A contact's id, or the organization's where there is none: whose key a case is under.
    fn whose(contact: &str) -> &str {
        if contact.is_empty() { ORGANIZATION } else { contact }
    }

    fn case_of(&self, row: &Row) -> Result<(Case, DataKey), Error> {
        let (id, contact_id) = (row.text("id")?, row.text("contact_id")?);
        let key = self.keys.of(row, self.org, Self::whose(&contact_id))?;
        let seal = Seal { key: &key, org: self.org, table: "cases", id: &id };
        let case = Case {
            number: row.text("number")?,
            external_id: row.text("external_id")?,
            subject: seal.open(row, "subject")?,
            description: seal.open(row, "description")?,
            // The table's own checks hold these to the names.
            status: Status::of(&row.text("status")?).unwrap_or(Status::New),
            priority: Priority::of(&row.text("priority")?).unwrap_or(Priority::Medium),
            origin: row.text("origin")?,
            queue: row.text("queue")?,
            sla_deadline: row.time("sla_deadline")?,
            created: row.time("created_at")?.unwrap_or_default(),
            updated: row.time("updated_at")?.unwrap_or_default(),
            contact_id,
            id,
        };
        Ok((case, key))
    }

    /// A case that is not written yet.
    pub(super) async fn new_case(&mut self, external_id: &str, made: Timestamp) -> Result<Case, Error> {
        let n = CASES_BEFORE + self.next("case").await?;
        Ok(Case {
            id: id::make(self.org, Kind::Case, n),
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
            created: made,
            updated: made,
        })
    }

    /// A case and the key that its comments are under, too.
    pub(super) async fn find_case(&mut self, key: &CaseKey) -> Result<(Case, DataKey), Error> {
        let (sql, value, name) = match key {
            CaseKey::Number(text) => (select_case!("c.number = $2"), number::case(text), "number"),
            CaseKey::Id(id) => (select_case!("c.id = $2"), Some(id::full(id)), "id"),
            CaseKey::External(id) => (select_case!("c.external_id = $2"), Some(id.clone()), "external id"),
        };
        let missing = Error::NotFound { what: "case", key: name };
        let Some(value) = value else { return Err(missing) };
        let rows = self.rows(sql, &[Value::Text(&value)]).await?;
        self.case_of(rows.first().ok_or(missing)?)
    }

    /// The cases of a contact by number, each with the key of its comments.
    pub(super) async fn cases_of(&mut self, contact: &str) -> Result<Vec<(Case, DataKey)>, Error> {
        let rows = self.rows(select_case!("c.contact_id = $2 ORDER BY c.number"), &[Value::Text(contact)]).await?;
        rows.iter().map(|row| self.case_of(row)).collect()
    }

    /// Writes a case under the key of its contact.
    pub(super) async fn put_case(&mut self, case: &Case) -> Result<DataKey, Error> {
        // A contact has a key as long as it is there; what is not the id of a contact may be the name of another key.
        if !case.contact_id.is_empty() && !case.contact_id.starts_with(Kind::Contact.prefix()) {
            return Err(Error::UnknownContact);
        }
        let key = self.keys.find(&mut *self.tx, self.org, Self::whose(&case.contact_id)).await?;
        let key = key.ok_or(Error::UnknownContact)?;
        let seal = Seal { key: &key, org: self.org, table: "cases", id: &case.id };
        let (subject, description) = (seal.seal("subject", &case.subject), seal.seal("description", &case.description));
        let values = [
            Value::Text(&case.id),
            Value::Text(&case.number),
            Value::Filled(&case.external_id),
            Value::Bytes(subject.as_deref()),
            Value::Bytes(description.as_deref()),
            Value::Text(case.status.name()),
            Value::Text(case.priority.name()),
            Value::Text(&case.origin),
            Value::Text(&case.queue),
            Value::Filled(&case.contact_id),
            Value::Time(case.sla_deadline),
            Value::Time(Some(case.created)),
            Value::Time(Some(case.updated)),
        ];
        let sql = "INSERT INTO cases (organization_id, id, number, external_id, subject, description, status, priority, origin, \
                   queue, contact_id, sla_deadline, created_at, updated_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
                   ON CONFLICT (organization_id, id) DO UPDATE SET subject = excluded.subject, description = excluded.description, \
                   status = excluded.status, priority = excluded.priority, origin = excluded.origin, queue = excluded.queue, \
                   contact_id = excluded.contact_id, sla_deadline = excluded.sla_deadline, updated_at = excluded.updated_at";
        self.rows(sql, &values).await?;
        Ok(key)
    }

    pub(super) async fn touch(&mut self, case: &str) -> Result<(), Error> {
        let sql = "UPDATE cases SET updated_at = $3 WHERE organization_id = $1 AND id = $2";
        self.rows(sql, &[Value::Text(case), Value::Time(Some(self.now))]).await.map(drop)
    }

    fn comment_of(&self, row: &Row, key: &DataKey) -> Result<Comment, Error> {
        let id = row.text("comment_id")?;
        let seal = Seal { key, org: self.org, table: "comments", id: &id };
        Ok(Comment {
            external_id: row.text("comment_external_id")?,
            body: seal.open(row, "body")?,
            author: seal.open(row, "author")?,
            created: row.time("comment_created_at")?.unwrap_or_default(),
            id,
        })
    }

    /// The comments of a case, oldest first.
    pub(super) async fn comments(&mut self, case: &str, key: &DataKey) -> Result<Vec<Comment>, Error> {
        let sql = "SELECT id AS comment_id, external_id AS comment_external_id, body, author, created_at AS comment_created_at \
                   FROM comments WHERE organization_id = $1 AND case_id = $2 ORDER BY number";
        let rows = self.rows(sql, &[Value::Text(case)]).await?;
        rows.iter().map(|row| self.comment_of(row, key)).collect()
    }

    /// The comment with an external id.
    pub(super) async fn find_comment(&mut self, external_id: &str) -> Result<Option<Comment>, Error> {
        let sql = "SELECT m.id AS comment_id, m.external_id AS comment_external_id, m.body, m.author, \
                   m.created_at AS comment_created_at, c.contact_id, k.wrapped_key \
                   FROM comments m JOIN cases c ON c.organization_id = m.organization_id AND c.id = m.case_id \
                   LEFT JOIN person_keys k ON k.organization_id = c.organization_id \
                   AND k.person_id = coalesce(c.contact_id, 'organization') \
                   WHERE m.organization_id = $1 AND m.external_id = $2";
        let rows = self.rows(sql, &[Value::Text(external_id)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let key = self.keys.of(row, self.org, Self::whose(&row.text("contact_id")?))?;
        self.comment_of(row, &key).map(Some)
    }

    pub(super) async fn insert_comment(
        &mut self,
        case: &str,
        key: &DataKey,
        external_id: &str,
        (author, body): (&str, &str),
        made: Timestamp,
    ) -> Result<Comment, Error> {
        let n = self.next("comment").await?;
        let comment = Comment {
            id: id::make(self.org, Kind::Comment, n),
            external_id: external_id.to_owned(),
            body: body.to_owned(),
            author: author.to_owned(),
            created: made,
        };
        let seal = Seal { key, org: self.org, table: "comments", id: &comment.id };
        let (body, author) = (seal.seal("body", body), seal.seal("author", author));
        let values = [
            Value::Text(&comment.id),
            Value::Text(case),
            Value::Filled(external_id),
            Value::Bytes(body.as_deref()),
            Value::Bytes(author.as_deref()),
            Value::Time(Some(made)),
            Value::Number(n),
        ];
        let sql = "INSERT INTO comments (organization_id, id, case_id, external_id, body, author, created_at, number) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        self.rows(sql, &values).await?;
        Ok(comment)
    }

    /// Seals the comments of a case under another key.
    pub(super) async fn reseal(&mut self, case: &str, from: &DataKey, to: &DataKey) -> Result<(), Error> {
        for comment in self.comments(case, from).await? {
            let seal = Seal { key: to, org: self.org, table: "comments", id: &comment.id };
            let (body, author) = (seal.seal("body", &comment.body), seal.seal("author", &comment.author));
            let values = [Value::Text(&comment.id), Value::Bytes(body.as_deref()), Value::Bytes(author.as_deref())];
            self.rows("UPDATE comments SET body = $3, author = $4 WHERE organization_id = $1 AND id = $2", &values)
                .await?;
        }
        Ok(())
    }

    fn contact_of(&self, row: &Row) -> Result<Contact, Error> {
        let id = row.text("id")?;
        let key = self.keys.of(row, self.org, &id)?;
        let seal = Seal { key: &key, org: self.org, table: "contacts", id: &id };
        Ok(Contact {
            external_id: row.text("external_id")?,
            email: seal.open(row, "email")?,
            name: seal.open(row, "name")?,
            account_id: row.text("account_id")?,
            account_name: row.text("account_name")?,
            id,
        })
    }

    /// By what an address is found again.
    fn blind(&self, email: &str) -> [u8; 32] {
        self.index.blind("salesforce.contacts.email", &email.to_lowercase())
    }

    pub(super) async fn find_contact(&mut self, key: &ContactKey) -> Result<Option<Contact>, Error> {
        let rows = match key {
            ContactKey::External(id) => self.rows(select_contact!("c.external_id = $2"), &[Value::Text(id)]).await?,
            ContactKey::Email(email) if email.is_empty() => return Ok(None),
            // Salesforce lets contacts share an address: the one that nobody of ours has comes first, then the oldest.
            ContactKey::Email(email) => {
                let index = self.blind(email);
                let sql = select_contact!("c.email_index = $2 ORDER BY c.external_id IS NOT NULL, c.number LIMIT 1");
                self.rows(sql, &[Value::Bytes(Some(&index))]).await?
            }
        };
        rows.first().map(|row| self.contact_of(row)).transpose()
    }

    /// Everybody who has an address and is no user of ours.
    pub(super) async fn strangers(&mut self, email: &str) -> Result<Vec<Contact>, Error> {
        let index = self.blind(email);
        let sql = select_contact!("c.email_index = $2 AND c.external_id IS NULL ORDER BY c.number");
        let rows = self.rows(sql, &[Value::Bytes(Some(&index))]).await?;
        rows.iter().map(|row| self.contact_of(row)).collect()
    }

    /// Makes a contact, with a key of its own.
    pub(super) async fn insert_contact(
        &mut self,
        external_id: &str,
        (email, name): (&str, &str),
        account: &str,
    ) -> Result<String, Error> {
        let n = self.next("contact").await?;
        let id = id::make(self.org, Kind::Contact, n);
        let key = self.keys.make(&mut *self.tx, self.org, &id, self.now).await?;
        let sql = "INSERT INTO contacts (organization_id, id, external_id, email, email_index, name, account_id, number) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let more = [Value::Filled(account), Value::Number(n)];
        self.write_contact(sql, &key, &id, external_id, (email, name), &more).await?;
        Ok(id)
    }

    /// Writes who a contact is.
    pub(super) async fn put_contact(&mut self, contact: &Contact) -> Result<(), Error> {
        let key = self.keys.find(&mut *self.tx, self.org, &contact.id).await?.ok_or(Error::UnknownContact)?;
        let sql = "UPDATE contacts SET external_id = $3, email = $4, email_index = $5, name = $6 \
                   WHERE organization_id = $1 AND id = $2";
        let words = (contact.email.as_str(), contact.name.as_str());
        self.write_contact(sql, &key, &contact.id, &contact.external_id, words, &[]).await
    }

    async fn write_contact(
        &mut self,
        sql: &'static str,
        key: &DataKey,
        id: &str,
        external_id: &str,
        (email, name): (&str, &str),
        more: &[Value<'_>],
    ) -> Result<(), Error> {
        let seal = Seal { key, org: self.org, table: "contacts", id };
        let (sealed, name) = (seal.seal("email", email), seal.seal("name", name));
        let index = (!email.is_empty()).then(|| self.blind(email));
        let values = [
            Value::Text(id),
            Value::Filled(external_id),
            Value::Bytes(sealed.as_deref()),
            Value::Bytes(index.as_ref().map(<[u8; 32]>::as_slice)),
            Value::Bytes(name.as_deref()),
        ];
        self.rows(sql, &[&values, more].concat()).await.map(drop)
    }

    /// Notes what happened to a case.
    pub(super) async fn log(&mut self, origin: Origin, case: &str, comment: &str) -> Result<(), Error> {
        let n = self.next("change").await?;
        let origin = match origin {
            Origin::Switchboard => "switchboard",
            Origin::Person => "person",
        };
        let sql = "INSERT INTO changes (organization_id, number, origin, case_id, comment_id, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let time = Value::Time(Some(self.now));
        let values = [Value::Number(n), Value::Text(origin), Value::Text(case), Value::Filled(comment), time];
        self.rows(sql, &values).await.map(drop)
    }

    /// What people did after a change, oldest first, each with its number.
    pub(super) async fn changes(&mut self, after: i64, limit: u32) -> Result<Vec<(i64, Change)>, Error> {
        let sql = "SELECT l.number AS change, l.created_at AS changed_at, c.*, k.wrapped_key, m.id AS comment_id, \
                   m.external_id AS comment_external_id, m.body, m.author, m.created_at AS comment_created_at \
                   FROM changes l JOIN cases c ON c.organization_id = l.organization_id AND c.id = l.case_id \
                   LEFT JOIN comments m ON m.organization_id = l.organization_id AND m.id = l.comment_id \
                   LEFT JOIN person_keys k ON k.organization_id = c.organization_id \
                   AND k.person_id = coalesce(c.contact_id, 'organization') \
                   WHERE l.organization_id = $1 AND l.number > $2 AND l.origin = 'person' ORDER BY l.number LIMIT $3";
        let rows = self.rows(sql, &[Value::Number(after), Value::Number(limit.into())]).await?;
        let changes = rows.iter().map(|row| {
            let (case, key) = self.case_of(row)?;
            let commented = !row.text("comment_id")?.is_empty();
            let comment = commented.then(|| self.comment_of(row, &key)).transpose()?;
            let number = row.number("change")?;
            let id = format!("{}-{number}", self.org.simple());
            Ok((number, Change { id, time: row.time("changed_at")?.unwrap_or_default(), case, comment }))
        });
        changes.collect()
    }

    /// An order by its number as a person wrote it.
    pub(super) async fn find_order(&mut self, written: &str) -> Result<Option<Order>, Error> {
        let plain = number::order(written);
        let sql = "SELECT * FROM orders WHERE organization_id = $1 AND plain = $2";
        let mut rows = self.rows(sql, &[Value::Text(&plain)]).await?;
        if rows.is_empty() && !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit()) {
            let sql = "SELECT * FROM orders WHERE organization_id = $1 AND digits = $2 LIMIT 2";
            rows = self.rows(sql, &[Value::Text(&plain)]).await?;
        }
        // Two orders with the same digits are not guessed between.
        let [row] = rows.as_slice() else { return Ok(None) };
        Ok(Some(Order {
            id: row.text("id")?,
            number: row.text("number")?,
            status: row.text("status")?,
            items: row.text("items")?,
            tracking_url: row.text("tracking_url")?,
            delivery: row.time("delivery_at")?,
        }))
    }
}
