//! The ground of every production store: one PostgreSQL schema per owner.
//!
//! In: where PostgreSQL is and the owner's migrations. Out: transactions that see one organization, transactions that look
//! for work and see no content, and how the server is. Never: a query outside a transaction, a role that owns what it reads.
//!
//! Three roles per owner, made by [`migrate`]: whoever migrates owns the tables; `switchboard_OWNER` reads and writes rows of
//! the organization that its transaction names in `app.current_org_id`; `switchboard_OWNER_worker` sees of all
//! organizations what finding work takes, which the migrations grant column by column. Row security is forced, so that
//! even the owner of the tables is held by it.
use std::{str::FromStr as _, sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::{
    AssertSqlSafe, Connection as _, Decode, Encode, Executor as _, PgConnection, PgPool, Transaction, Type,
    encode::IsNull,
    error::BoxDynError,
    migrate::{MigrateError, Migrator},
    postgres::{
        PgArgumentBuffer, PgConnectOptions, PgHasArrayType, PgPoolOptions, PgTypeInfo, PgValueFormat, PgValueRef,
        types::Oid,
    },
};
use switchboard_errors::{Fault, Reason};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    condition::{Condition, Reporter},
    sqlite::OpenError,
    stores::PostgresAt,
    tls,
};

/// A statement that runs longer is a mistake: a turn has less time.
const STATEMENT_TIMEOUT: &str = "5s";
/// Longer than any transaction of ours holds a row.
const LOCK_TIMEOUT: &str = "3s";
/// A transaction that nobody goes on with holds rows: its process hangs or is cut off.
const ABANDONED: &str = "15s";
/// Wait for a free connection; then the service has more to do than it can.
const ACQUIRE: Duration = Duration::from_secs(2);
/// Connections are renewed now and then, so that they move on after a failover.
const LIFETIME: Duration = Duration::from_secs(1800);
/// Between two looks at a server that is well, and at one that is not.
const LOOK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(500));
/// Each owner's part of the connections, in hundredths: conversation writes twice a turn, identity only at sign-ins.
const SHARES: [(&str, u32); 6] =
    [("conversation", 50), ("identity", 14), ("knowledge", 12), ("salesforce", 10), ("notification", 8), ("rules", 6)];
/// What has no part of its own.
const LEAST_SHARE: u32 = 6;

/// A transaction.
pub type Tx = Transaction<'static, sqlx::Postgres>;

/// One owner's schema.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
    condition: Condition,
    worker: Arc<str>,
}

impl Postgres {
    /// Opens an owner's pool. Does not wait for the server: until it answers and has the migrations, [`Postgres::condition`]
    /// says why not, and transactions fail.
    pub fn open(at: &PostgresAt, owner: &'static str, migrations: &'static Migrator) -> Result<Self, OpenError> {
        let share = SHARES.iter().find(|(name, _)| *name == owner).map_or(LEAST_SHARE, |(_, share)| *share);
        let options = options(at, owner)?.options([
            ("role", role(owner).as_str()),
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("lock_timeout", LOCK_TIMEOUT),
            ("idle_in_transaction_session_timeout", ABANDONED),
        ]);
        let place = place(&options);
        let pool = PgPoolOptions::new()
            .max_connections((at.connections * share / 100).max(1))
            .acquire_timeout(ACQUIRE)
            .max_lifetime(LIFETIME)
            // Asking first would cost every transaction a round trip; `begin` finds out and takes another one.
            .test_before_acquire(false)
            .connect_lazy_with(options.clone());
        let (reporter, condition) = Condition::new(format!("{place} was not asked yet"));
        tokio::spawn(look(pool.clone(), options, owner, migrations, reporter));
        Ok(Postgres { pool, condition, worker: format!("{}_worker", role(owner)).into() })
    }

    /// How the server is.
    pub fn condition(&self) -> Condition {
        self.condition.clone()
    }

    /// A transaction that sees and writes rows of one organization. Drop it to roll back.
    pub async fn tenant(&self, org: Uuid) -> Result<Tx, sqlx::Error> {
        self.begin(format!("BEGIN; SET LOCAL app.current_org_id = '{org}'")).await
    }

    /// A transaction that looks for work of all organizations; it sees the columns that the migrations grant and writes
    /// nothing.
    pub async fn worker(&self) -> Result<Tx, sqlx::Error> {
        self.begin(format!("BEGIN READ ONLY; SET LOCAL ROLE {}", self.worker)).await
    }

    /// A transaction on tables without organizations.
    pub async fn shared(&self) -> Result<Tx, sqlx::Error> {
        self.begin("BEGIN".to_owned()).await
    }

    async fn begin(&self, statement: String) -> Result<Tx, sqlx::Error> {
        // After a restart of the server every pooled connection is broken. Beginning has no effect: it is safe to go on to
        // the next, of which there are no more than the pool holds.
        let held = self.pool.options().get_max_connections();
        for tried in 0..=held {
            match self.pool.begin_with(AssertSqlSafe(statement.clone())).await {
                Err(error) if is_broken(&error) && tried < held => {
                    tracing::debug!("a connection to PostgreSQL was broken; taking another");
                }
                // A pool that cannot connect says the same as one that is all in use.
                Err(sqlx::Error::PoolTimedOut) if self.condition.why().is_some() => {
                    return Err(sqlx::Error::Io(std::io::ErrorKind::NotConnected.into()));
                }
                other => return other,
            }
        }
        Err(sqlx::Error::PoolTimedOut)
    }

    /// Waits for what is running and closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The role that a service acts as.
fn role(owner: &str) -> String {
    format!("switchboard_{owner}")
}

fn options(at: &PostgresAt, owner: &str) -> Result<PgConnectOptions, OpenError> {
    let options = PgConnectOptions::from_str(at.url.expose()).map_err(|_| OpenError::Other {
        file: "PostgreSQL".to_owned(),
        detail: "stores.ledger is not a URL that can be read; write postgres://USER:PASSWORD@HOST:PORT/DATABASE"
            .to_owned(),
    })?;
    let name = format!("switchboard-{owner}");
    Ok(options.application_name(&name).options([("search_path", owner)]))
}

/// The server's name in messages: without user and password.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    format!("PostgreSQL at {}:{}/{database}", options.get_host(), options.get_port())
}

/// True if the connection is of no more use, and nothing is known of what was asked on it last.
fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
        // 57P01 to 57P03: the server is stopping, crashed or starting.
        sqlx::Error::Database(e) => e.code().is_some_and(|c| c.starts_with("57P")),
        _ => false,
    }
}

/// Looks at the server as long as the pool is open, on a connection of its own: a pool hides why it has none.
async fn look(
    pool: PgPool,
    options: PgConnectOptions,
    owner: &'static str,
    migrations: &'static Migrator,
    reporter: Reporter,
) {
    let place = place(&options);
    let mut connection = None;
    loop {
        let asked = timeout(ACQUIRE, missing_of(&mut connection, &options, owner, migrations)).await;
        let well = match asked.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(missing) if missing.is_empty() => {
                reporter.well();
                true
            }
            Ok(missing) => {
                let names = missing.join(", ");
                reporter.ill(format!("{place} lacks migrations of {owner}: {names}; run `switchboard migrate`"));
                false
            }
            Err(error) => {
                connection = None;
                reporter.ill(explain(&place, &error));
                false
            }
        };
        let pause = tokio::time::sleep(if well { LOOK.0 } else { LOOK.1 });
        tokio::select! {
            () = pause => {}
            () = pool.close_event() => return,
        }
    }
}

async fn missing_of(
    connection: &mut Option<PgConnection>,
    options: &PgConnectOptions,
    owner: &str,
    migrations: &Migrator,
) -> Result<Vec<String>, sqlx::Error> {
    if connection.is_none() {
        match PgConnection::connect_with(options).await {
            Ok(made) => *connection = Some(made),
            // The role of the owner comes with its first migration.
            Err(error) if code(&error).is_some_and(|c| c == "22023" || c == "42704") => {
                return Ok(names(migrations, |_| true));
            }
            Err(error) => return Err(error),
        }
    }
    match connection {
        Some(connection) => missing_on(connection, owner, migrations).await,
        None => Err(sqlx::Error::PoolClosed),
    }
}

async fn missing_on(
    connection: &mut PgConnection,
    owner: &str,
    migrations: &Migrator,
) -> Result<Vec<String>, sqlx::Error> {
    let known = sqlx::query_scalar::<_, bool>("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("{owner}._sqlx_migrations"))
        .fetch_one(&mut *connection)
        .await?;
    let mut applied: Vec<i64> = Vec::new();
    if known {
        let sql = format!("SELECT version FROM {owner}._sqlx_migrations WHERE success");
        applied = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *connection).await?;
    }
    // Newer ones that we do not know are no fault: migrations only add while an older version still serves.
    Ok(names(migrations, |version| !applied.contains(&version)))
}

fn names(migrations: &Migrator, wanted: impl Fn(i64) -> bool) -> Vec<String> {
    let up = migrations.iter().filter(|m| m.migration_type.is_up_migration() && wanted(m.version));
    up.map(|m| format!("{:04}_{}", m.version, m.description.replace(' ', "_"))).collect()
}

/// Brings an owner's schema to the newest migration: makes the schema and its roles, then runs what is missing.
pub async fn migrate(at: &PostgresAt, owner: &'static str, migrations: &Migrator) -> Result<(), OpenError> {
    let options = options(at, owner)?;
    let place = place(&options);
    let failed = |error: sqlx::Error| open_error(&place, &error);
    let mut connection = PgConnection::connect_with(&options).await.map_err(failed)?;
    // Owners and replicas may do this at the same time. Roles belong to the whole server, the lock to the database: what
    // two databases do at once is caught below.
    connection.execute("SELECT pg_advisory_lock(7236917)").await.map_err(failed)?;
    connection.execute(AssertSqlSafe(roles(owner))).await.map_err(failed)?;
    migrations.run(&mut connection).await.map_err(|e| match e {
        MigrateError::Execute(e) => open_error(&place, &e),
        // Somebody runs an older version against a database of a newer one: nothing to do.
        MigrateError::VersionMissing(version) => OpenError::Newer { file: format!("{place} ({owner})"), version },
        other => OpenError::Other { file: format!("{place} ({owner})"), detail: other.to_string() },
    })?;
    let grant = format!("GRANT SELECT ON {owner}._sqlx_migrations TO {}", role(owner));
    connection.execute(AssertSqlSafe(grant)).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

/// Undoes an owner's migrations down to a version; 0 undoes all of them.
pub async fn undo(at: &PostgresAt, owner: &'static str, migrations: &Migrator, to: i64) -> Result<(), OpenError> {
    let options = options(at, owner)?;
    let place = place(&options);
    let mut connection = PgConnection::connect_with(&options).await.map_err(|e| open_error(&place, &e))?;
    migrations
        .undo(&mut connection, to)
        .await
        .map_err(|e| OpenError::Other { file: format!("{place} ({owner})"), detail: e.to_string() })?;
    connection.close().await.map_err(|e| open_error(&place, &e))
}

/// The migrations that an owner's schema lacks.
pub async fn missing(at: &PostgresAt, owner: &'static str, migrations: &Migrator) -> Result<Vec<String>, OpenError> {
    let options = options(at, owner)?;
    let failed = |error: sqlx::Error| open_error(&place(&options), &error);
    let mut connection = PgConnection::connect_with(&options).await.map_err(failed)?;
    let missing = missing_on(&mut connection, owner, migrations).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(missing)
}

/// The owner's schema and roles. A login that may not make roles needs them made before.
fn roles(owner: &str) -> String {
    let role = role(owner);
    // The main role inherits nothing: what the worker may see it sees only while it acts as the worker.
    format!(
        "CREATE SCHEMA IF NOT EXISTS {owner};
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN NOINHERIT; END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}_worker') THEN CREATE ROLE {role}_worker NOLOGIN NOINHERIT; END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
        DO $$ BEGIN
            IF NOT pg_has_role(current_user, '{role}', 'MEMBER') THEN GRANT {role} TO CURRENT_USER; END IF;
        EXCEPTION WHEN unique_violation THEN NULL; END $$;
        DO $$ BEGIN
            IF NOT pg_has_role(current_user, '{role}_worker', 'MEMBER') THEN GRANT {role}_worker TO CURRENT_USER; END IF;
        EXCEPTION WHEN unique_violation THEN NULL; END $$;
        DO $$ BEGIN
            IF NOT pg_has_role('{role}', '{role}_worker', 'MEMBER') THEN GRANT {role}_worker TO {role}; END IF;
        EXCEPTION WHEN unique_violation THEN NULL; END $$;
        GRANT USAGE ON SCHEMA {owner} TO {role}, {role}_worker;"
    )
}

/// SQLSTATE of a refused statement.
pub fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|e| e.code()).map(|c| c.into_owned())
}

/// The unique index or other constraint that refused a row.
pub fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|e| e.constraint())
}

/// True if another transaction came first and the same one may be tried again: serialization failure or deadlock.
pub fn is_contention(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|c| c == "40001" || c == "40P01")
}

fn open_error(place: &str, error: &sqlx::Error) -> OpenError {
    OpenError::Other { file: place.to_owned(), detail: explain(place, error) }
}

/// What to tell an operator.
fn explain(place: &str, error: &sqlx::Error) -> String {
    let what = match code(error).as_deref() {
        Some("28P01" | "28000") => "refuses the user or password; mend stores.ledger".to_owned(),
        Some("3D000") => "has no such database; create it, then run `switchboard migrate`".to_owned(),
        Some("53300") => "has no connection left; lower stores.ledger_connections or raise max_connections".to_owned(),
        Some("53100") => "has no disk space left".to_owned(),
        Some("42501") => "does not let this user do that; let an administrator run `switchboard migrate`".to_owned(),
        Some("25006") => "is read-only: a standby; point stores.ledger at the primary".to_owned(),
        Some(code) => format!("answers with SQLSTATE {code}"),
        None => match error {
            sqlx::Error::Io(e) => {
                tls::explain(e, "stores.ledger").unwrap_or_else(|| format!("cannot be reached ({e})"))
            }
            sqlx::Error::PoolTimedOut => "does not answer, or all connections are in use".to_owned(),
            sqlx::Error::Tls(e) => tls::explain(&**e, "stores.ledger").unwrap_or_else(|| {
                format!("cannot be reached by TLS ({e}); mend it there, or say sslmode=disable in stores.ledger")
            }),
            other => format!("cannot be used ({other})"),
        },
    };
    format!("{place} {what}")
}

/// A failed statement as a fault: the caller learns that the store failed, the log learns why.
pub fn fault(error: sqlx::Error) -> Fault {
    let (reason, detail) = match code(&error).as_deref() {
        Some("57014" | "55P03") => (Reason::StoreFailed, "The data store is too slow right now. Try again."),
        _ => match error {
            sqlx::Error::PoolTimedOut => {
                (Reason::Overloaded, "The data store has more to do than it can. Try again in a second.")
            }
            _ => (Reason::StoreFailed, "The data store is not available right now. Try again."),
        },
    };
    Fault::new(reason, detail).with_source(error)
}

/// A time as PostgreSQL keeps it: TIMESTAMPTZ, whole microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Timestamp);

/// Microseconds from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH: i64 = 946_684_800_000_000;

// The numbers of timestamptz and its array are fixed in every PostgreSQL.
impl Type<sqlx::Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, sqlx::Postgres> for Time {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<sqlx::Postgres>::encode(self.0.as_microsecond() - EPOCH, buf)
    }
}

impl<'r> Decode<'r, sqlx::Postgres> for Time {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => {
                let micros: i64 = Decode::<sqlx::Postgres>::decode(value)?;
                Ok(Time(Timestamp::from_microsecond(micros.saturating_add(EPOCH))?))
            }
            PgValueFormat::Text => Err("times are read by prepared statements".into()),
        }
    }
}
