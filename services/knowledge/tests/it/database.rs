//! PostgreSQL for these tests: a database of a test's own, with the schema in it.
use std::{sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};
use switchboard_knowledge::{
    MIGRATIONS,
    store::{Store as _, postgres::PostgresStore},
};
use switchboard_testkit::servers::{Database, with_database};
use uuid::Uuid;

/// A server that is not well by then never will be.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test on a store of its own, if there is a server.
pub async fn with_store(test: impl AsyncFnOnce(Arc<PostgresStore>)) {
    with_stores(async |_, store, _| test(store).await).await;
}

/// Runs a test on a database with two replicas.
pub async fn with_stores(test: impl AsyncFnOnce(Database, Arc<PostgresStore>, Arc<PostgresStore>)) {
    with_database(async |database| {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        let (one, other) = (open(&database).await, open(&database).await);
        test(database, one.clone(), other.clone()).await;
        one.close().await;
        other.close().await;
    })
    .await;
}

/// One more replica.
async fn open(database: &Database) -> Arc<PostgresStore> {
    let store = PostgresStore::open(&database.at).expect("opens");
    let mut condition = store.condition();
    let well = tokio::time::timeout(PATIENCE, condition.until_well()).await;
    well.unwrap_or_else(|_| panic!("still: {:?}", condition.why()));
    Arc::new(store)
}

/// A connection past the adapter: of whoever owns the tables, for an organization or for none.
pub async fn owner(database: &Database, org: Option<Uuid>) -> PgConnection {
    let options: PgConnectOptions = database.url.parse().expect("a URL");
    let options = options.options([("search_path", "knowledge")]);
    let mut connection = PgConnection::connect_with(&options).await.expect("connects");
    if let Some(org) = org {
        let sql = format!("SET app.current_org_id = '{org}'");
        connection.execute(AssertSqlSafe(sql)).await.expect("names the organization");
    }
    connection
}

/// The same as the service.
pub async fn raw(database: &Database, org: Option<Uuid>) -> PgConnection {
    let mut connection = owner(database, org).await;
    connection.execute("SET ROLE switchboard_knowledge").await.expect("may act as the service");
    connection
}
