//! Session documents on a server that speaks MongoDB's protocol.
//!
//! In: sealed documents. Out: the same. Never: an update, a transaction, an aggregation, or anything else that MongoDB and
//! FerretDB do not both do, and do rightly: documents are inserted, found and deleted.
use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::mongodb::{
    Client, Collection, Database,
    bson::{Binary, Document as Bson, doc, spec::BinarySubtype},
    error::{Error as MongoError, ErrorKind, WriteFailure},
    event::{EventHandler, sdam::SdamEvent},
    options::ClientOptions,
};
use async_trait::async_trait;
use jiff::Timestamp;
use switchboard_runtime::{Clock, Secret, SettingsError, StartError, page, tls};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{Document, Newer, SCHEMA, Sessions, failed};
use crate::{error::Error, outbox::Kind, store::Page};

pub mod indexes;
#[cfg(test)]
mod tests;

/// The database, if the URL names none.
const DATABASE: &str = "switchboard";
/// The collection.
const DOCUMENTS: &str = "documents";
/// How long to look for a server before a call fails: whoever calls tries again anyway.
const FIND: Duration = Duration::from_secs(2);
/// How long a call may take: the driver itself would wait forever for a server that hangs.
const CALL: Duration = Duration::from_secs(5);
/// Connections: one relay, a purge, and now and then a reader.
const CONNECTIONS: u32 = 8;
/// "Duplicate key", the same since the first MongoDB.
const DUPLICATE: i32 = 11000;

/// Documents on a server.
pub struct MongoSessions {
    client: Client,
    database: Database,
    documents: Collection<Bson>,
    /// Set once the indexes are there.
    migrated: OnceCell<()>,
    newer: Newer,
    trouble: Trouble,
}

/// Why TLS fails, if it does: a call only learns that no server was found.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn hear(&self, event: &SdamEvent) {
        let now = match event {
            SdamEvent::ServerHeartbeatSucceeded(_) => None,
            SdamEvent::ServerHeartbeatFailed(event) => match event.failure.kind.as_ref() {
                ErrorKind::Io(error) => tls::explain(&**error, "stores.sessions")
                    .map(|why| format!("MongoDB at {} {why}", event.server_address)),
                _ => None,
            },
            _ => return,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn told(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl MongoSessions {
    /// Reads the URL; nothing is connected yet.
    pub async fn open(url: &Secret) -> Result<Self, StartError> {
        // What the driver says of a URL may quote its password.
        let wrong = |_| {
            let why =
                "setting `stores.sessions`: this URL cannot be read; write mongodb://USER:PASSWORD@HOST:PORT/DATABASE";
            StartError::Settings(SettingsError(why.to_owned()))
        };
        let mut options = ClientOptions::parse(url.expose()).await.map_err(wrong)?;
        options.app_name.get_or_insert_with(|| "switchboard-conversation".to_owned());
        options.server_selection_timeout.get_or_insert(FIND);
        options.connect_timeout.get_or_insert(FIND);
        options.max_pool_size.get_or_insert(CONNECTIONS);
        options.default_database.get_or_insert_with(|| DATABASE.to_owned());
        let trouble = Trouble::default();
        let heard = trouble.clone();
        options.sdam_event_handler = Some(EventHandler::callback(move |event| heard.hear(&event)));
        let name = options.default_database.clone().unwrap_or_default();
        let client = Client::with_options(options).map_err(wrong)?;
        let database = client.database(&name);
        let documents = database.collection(DOCUMENTS);
        Ok(MongoSessions { client, database, documents, migrated: OnceCell::new(), newer: Newer::default(), trouble })
    }

    /// The collection, with its indexes made on the first call that finds the server.
    async fn documents(&self) -> Result<&Collection<Bson>, Error> {
        let migrate = || self.within(indexes::apply(&self.database, Clock::system().now()));
        self.migrated.get_or_try_init(migrate).await?;
        Ok(&self.documents)
    }

    async fn find(&self, filter: Bson, sort: Bson, limit: u32) -> Result<Vec<Bson>, Error> {
        let documents = self.documents().await?;
        self.within(async {
            let mut cursor = documents.find(filter).sort(sort).limit(i64::from(limit)).await?;
            let mut rows = Vec::new();
            while cursor.advance().await? {
                rows.push(cursor.deserialize_current()?);
            }
            Ok(rows)
        })
        .await
    }

    /// Runs a call within its time.
    async fn within<T>(&self, call: impl Future<Output = Result<T, MongoError>>) -> Result<T, Error> {
        let error = match tokio::time::timeout(CALL, call).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => failed(error),
            Err(_) => failed(format!("no answer within {} s", CALL.as_secs())),
        };
        Err(self.trouble.told().map_or(error, failed))
    }

    /// A row as a document; none if a newer version wrote it, or something else did.
    fn document(&self, row: &Bson) -> Option<Document> {
        if !self.newer.is_known(u32::try_from(row.get_i32("schema").unwrap_or_default()).unwrap_or(u32::MAX)) {
            return None;
        }
        let document = read(row);
        if document.is_none() {
            tracing::warn!(
                id = row.get_str("_id").unwrap_or_default(),
                "a session document cannot be read; it is passed over"
            );
        }
        document
    }
}

/// True if the document is there already.
fn is_duplicate(error: &MongoError) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE,
        ErrorKind::InsertMany(error) => {
            let errors = error.write_errors.as_deref().unwrap_or_default();
            error.write_concern_error.is_none() && !errors.is_empty() && errors.iter().all(|e| e.code == DUPLICATE)
        }
        _ => false,
    }
}

/// A document's id. Padded, so that ids of a conversation sort as its seqs do.
fn name(conversation: Uuid, kind: Kind, seq: u64) -> String {
    format!("{conversation}/{}/{seq:020}", kind.name())
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn write(d: &Document) -> Bson {
    doc! {
        "_id": name(d.conversation, d.kind, d.seq),
        "organization_id": d.org.to_string(),
        "conversation_id": d.conversation.to_string(),
        "person_id": d.person.to_string(),
        "kind": d.kind.name(),
        "seq": whole(d.seq),
        // Microseconds: a date of BSON has milliseconds only.
        "created_at": d.at.as_microsecond(),
        "schema": i32::try_from(d.schema).unwrap_or(i32::MAX),
        "body": Binary { subtype: BinarySubtype::Generic, bytes: d.body.clone() },
    }
}

fn read(row: &Bson) -> Option<Document> {
    let id = |field: &str| Uuid::try_parse(row.get_str(field).ok()?).ok();
    Some(Document {
        org: id("organization_id")?,
        conversation: id("conversation_id")?,
        person: id("person_id")?,
        kind: Kind::from_name(row.get_str("kind").ok()?)?,
        seq: u64::try_from(row.get_i64("seq").ok()?).ok()?,
        at: Timestamp::from_microsecond(row.get_i64("created_at").ok()?).ok()?,
        schema: u32::try_from(row.get_i32("schema").ok()?).ok()?,
        body: row.get_binary_generic("body").ok()?.clone(),
    })
}

#[async_trait]
impl Sessions for MongoSessions {
    async fn insert(&self, documents: &[Document]) -> Result<(), Error> {
        if documents.is_empty() {
            return Ok(());
        }
        let collection = self.documents().await?;
        let rows: Vec<Bson> = documents.iter().map(write).collect();
        self.within(async {
            // Unordered: one that is there already holds none of the others up.
            match collection.insert_many(rows).ordered(false).await {
                Err(error) if !is_duplicate(&error) => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn get(&self, org: Uuid, conversation: Uuid, kind: Kind, seq: u64) -> Result<Option<Document>, Error> {
        let filter = doc! { "_id": name(conversation, kind, seq), "organization_id": org.to_string() };
        let rows = self.find(filter, doc! { "_id": 1 }, 1).await?;
        Ok(rows.first().and_then(|row| self.document(row)))
    }

    async fn latest(&self, org: Uuid, conversation: Uuid) -> Result<Option<Document>, Error> {
        let filter = doc! {
            "conversation_id": conversation.to_string(),
            "organization_id": org.to_string(),
            "schema": { "$lte": i32::try_from(SCHEMA).unwrap_or(i32::MAX) },
        };
        let rows = self.find(filter, doc! { "seq": -1, "kind": 1 }, 1).await?;
        Ok(rows.first().and_then(|row| self.document(row)))
    }

    async fn since(
        &self,
        org: Uuid,
        kind: Kind,
        since: Timestamp,
        size: u32,
        after: &str,
    ) -> Result<Page<Document>, Error> {
        let mut filter = doc! { "organization_id": org.to_string(), "kind": kind.name() };
        match page::key::<(i64, String)>(after)? {
            None => drop(filter.insert("created_at", doc! { "$gte": since.as_microsecond() })),
            Some((at, id)) => {
                let later = doc! { "created_at": { "$gt": at } };
                let beside = doc! { "created_at": at, "_id": { "$gt": id } };
                filter.insert("$or", vec![later, beside]);
            }
        }
        let mut rows = self.find(filter, doc! { "created_at": 1, "_id": 1 }, size + 1).await?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let next = rows.last().filter(|_| more).map(|row| {
            page::token(&(row.get_i64("created_at").unwrap_or_default(), row.get_str("_id").unwrap_or_default()))
        });
        Ok((rows.iter().filter_map(|row| self.document(row)).collect(), next))
    }

    async fn erase(&self, org: Uuid, conversations: &[Uuid]) -> Result<u64, Error> {
        let collection = self.documents().await?;
        let ids: Vec<String> = conversations.iter().map(Uuid::to_string).collect();
        let filter = doc! { "conversation_id": { "$in": ids }, "organization_id": org.to_string() };
        Ok(self.within(async { collection.delete_many(filter).await }).await?.deleted_count)
    }

    async fn purge(&self, org: Option<Uuid>, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let mut filter = doc! { "created_at": { "$lt": before.as_microsecond() } };
        if let Some(org) = org {
            filter.insert("organization_id", org.to_string());
        }
        // A deletion has no limit of its own.
        let rows = self.find(filter, doc! { "created_at": 1 }, limit).await?;
        let ids: Vec<&str> = rows.iter().filter_map(|row| row.get_str("_id").ok()).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        let collection = self.documents().await?;
        let deleted = self.within(async { collection.delete_many(doc! { "_id": { "$in": &ids } }).await }).await?;
        // Another replica may have been quicker with some: that they were there counts.
        Ok(deleted.deleted_count.max(ids.len() as u64))
    }

    async fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.find(doc! {}, doc! { "_id": 1 }, 1).await?.is_empty())
    }

    async fn close(&self) {
        self.client.clone().shutdown().await;
    }
}
