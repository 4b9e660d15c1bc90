//! The indexes of the session store, versioned as files and applied in order.
//!
//! In: a database. Out: the same with the indexes that this build uses. Never: a document touched; a step that a second replica
//! could not do at the same time.
use jiff::Timestamp;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{Bson, DateTime, Document, doc},
    error::{Error, Result},
    options::IndexOptions,
};
use serde::Deserialize;

use super::is_duplicate;

/// Number, name, up, down.
const FILES: &[(i64, &str, &str, &str)] = &[(
    1,
    "initial",
    include_str!("../../../../../migrations/sessions/mongodb/0001_initial.up.json"),
    include_str!("../../../../../migrations/sessions/mongodb/0001_initial.down.json"),
)];
/// Where what was applied is written down.
const APPLIED: &str = "migrations";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    CreateIndex { collection: String, name: String, keys: Vec<(String, i32)> },
    DropIndex { collection: String, name: String },
}

/// Applies what is missing. Making an index that is there is nothing, so two replicas may do it at once.
pub async fn apply(database: &Database, now: Timestamp) -> Result<()> {
    let applied = applied(database).await?;
    if let Some(newer) = applied.iter().find(|version| FILES.iter().all(|(known, ..)| known != *version)) {
        tracing::warn!(migration = newer, "the session store was brought further by a newer version of Switchboard");
    }
    for (version, name, up, _) in FILES.iter().filter(|(version, ..)| !applied.contains(version)) {
        run(database, up).await?;
        let row = doc! { "_id": version, "name": name, "applied_at": DateTime::from_millis(now.as_millisecond()) };
        match database.collection::<Document>(APPLIED).insert_one(row).await {
            Err(error) if !is_duplicate(&error) => return Err(error),
            _ => tracing::info!(migration = version, name, "the session store was migrated"),
        }
    }
    Ok(())
}

/// Undoes all of it.
pub async fn undo(database: &Database) -> Result<()> {
    let applied = applied(database).await?;
    for (version, _, _, down) in FILES.iter().rev().filter(|(version, ..)| applied.contains(version)) {
        run(database, down).await?;
        database.collection::<Document>(APPLIED).delete_one(doc! { "_id": version }).await?;
    }
    Ok(())
}

async fn applied(database: &Database) -> Result<Vec<i64>> {
    let mut rows = database.collection::<Document>(APPLIED).find(doc! {}).await?;
    let mut versions = Vec::new();
    while rows.advance().await? {
        let row = rows.deserialize_current()?;
        versions.extend(row.get("_id").and_then(|id| match id {
            Bson::Int32(version) => Some(i64::from(*version)),
            Bson::Int64(version) => Some(*version),
            _ => None,
        }));
    }
    Ok(versions)
}

async fn run(database: &Database, file: &str) -> Result<()> {
    let file: File = serde_json::from_str(file).map_err(Error::custom)?;
    for step in file.steps {
        match step {
            Step::CreateIndex { collection, name, keys } => {
                let keys: Document =
                    keys.into_iter().map(|(field, direction)| (field, Bson::from(direction))).collect();
                let options = IndexOptions::builder().name(name).build();
                let index = IndexModel::builder().keys(keys).options(options).build();
                of(database, &collection).create_index(index).await?;
            }
            Step::DropIndex { collection, name } => of(database, &collection).drop_index(name).await?,
        }
    }
    Ok(())
}

fn of(database: &Database, collection: &str) -> Collection<Document> {
    database.collection(collection)
}
