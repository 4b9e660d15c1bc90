//! The ground of every embedded store: one SQLite file per owner.
//!
//! In: a folder and the owner's migrations. Out: one writer and a pool of readers. Never: a table of its own.
use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{
    Connection as _, SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use switchboard_errors::{Fault, Reason};

mod group;

/// Readers beside the writer: more than the cores of a laptop bring nothing.
const READERS: u32 = 4;
/// Pages of the log before they are moved to the file: 16 MiB. Four times SQLite's own figure: under load moving them was a
/// fifth of the time, each time with two syncs.
const CHECKPOINT: &str = "4000";
/// How long a writer waits for another process that has the file, such as `switchboard token` beside a running server.
const BUSY: Duration = Duration::from_secs(5);

/// Why a store cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or written.
    #[error("cannot write to the data folder {folder}: {source}; choose another with --data, or mend its permissions")]
    Folder {
        /// The folder.
        folder: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a database, or is damaged.
    #[error("{file} is damaged or not a database ({detail}); restore it from a backup, or move it away to start empty")]
    Damaged {
        /// The file.
        file: String,
        /// What SQLite said.
        detail: String,
    },
    /// The file was written by a newer version.
    #[error(
        "{file} was written by a newer version of Switchboard (migration {version}); use that version, or another data folder"
    )]
    Newer {
        /// The file.
        file: String,
        /// The migration that this version does not know.
        version: i64,
    },
    /// Anything else.
    #[error("cannot open {file}: {detail}")]
    Other {
        /// The file.
        file: String,
        /// What SQLite said.
        detail: String,
    },
}

/// An open store.
#[derive(Debug, Clone)]
pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    queue: Arc<group::Queue>,
}

impl Sqlite {
    /// Opens `FOLDER/OWNER.db`, making it if it is not there, and brings it to the newest migration.
    pub async fn open(folder: &Path, owner: &str, migrations: &Migrator) -> Result<Self, OpenError> {
        let unwritable = |source| OpenError::Folder { folder: folder.display().to_string(), source };
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        let path = folder.join(format!("{owner}.db"));
        let file = path.display().to_string();
        // SQLite says only "unable to open": ask the system why. Never opened if it is there: closing it again would drop the
        // locks that this process may hold on it.
        // Only its owner can read it: it holds customers' words, or keys. SQLite gives its side files the same mode.
        let mut create = std::fs::OpenOptions::new();
        create.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut create, 0o600);
        match create.open(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(unwritable(e)),
            _ => {}
        }
        // Two processes on a fresh folder would both run the first migration.
        let lock = std::fs::File::create(folder.join(format!("{owner}.lock"))).map_err(unwritable)?;
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
            .await
            .map_err(std::io::Error::other)
            .map_err(unwritable)?;
        let _lock = lock.map_err(unwritable)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL syncs the log on every commit: what was acknowledged survives a power cut, not only a crash.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .pragma("temp_store", "memory")
            .pragma("wal_autocheckpoint", CHECKPOINT)
            .statement_cache_capacity(256);
        let failed = |e: sqlx::Error| classify(&file, &e);
        let writer = pool(1).connect_with(options.clone()).await.map_err(failed)?;
        migrations.run(&writer).await.map_err(|e| match e {
            MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
                OpenError::Newer { file: file.clone(), version }
            }
            MigrateError::Execute(e) => classify(&file, &e),
            other => OpenError::Other { file: file.clone(), detail: other.to_string() },
        })?;
        let readers =
            pool(READERS).min_connections(1).connect_with(options.pragma("query_only", "on")).await.map_err(failed)?;
        Ok(Sqlite { writer, readers, queue: Arc::default() })
    }

    /// A write transaction; there is one at a time. Drop it to roll back.
    pub async fn write(&self) -> Result<Transaction<'static, sqlx::Sqlite>, sqlx::Error> {
        // IMMEDIATE takes the lock at the start: no upgrade that another process could make fail half-way.
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Readers; they see what was committed before.
    pub fn read(&self) -> &SqlitePool {
        &self.readers
    }

    /// Waits until everything is written and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        // A file does not go away like a server: asking first is a trip to SQLite's thread for nothing.
        .test_before_acquire(false)
        // When the disk is full SQLite may end a transaction by itself; sqlx then takes the connection for one that is in a
        // transaction for good. Such a one is closed, or nobody could write any more.
        .before_acquire(|connection, _| {
            let usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        })
}

fn classify(file: &str, error: &sqlx::Error) -> OpenError {
    let detail = error.to_string();
    let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned();
    // 11 SQLITE_CORRUPT, 26 SQLITE_NOTADB
    if code == "11" || code == "26" || detail.contains("malformed") || detail.contains("not a database") {
        return OpenError::Damaged { file: file.to_owned(), detail };
    }
    OpenError::Other { file: file.to_owned(), detail }
}

/// A failed statement as a fault: the caller learns that the store failed, the log learns why.
pub fn fault(error: sqlx::Error) -> Fault {
    Fault::new(Reason::StoreFailed, "The data store is not available right now. Try again.").with_source(error)
}

/// True if a unique index refused the row.
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|e| e.is_unique_violation())
}
