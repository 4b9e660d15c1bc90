//! Ledgers to test on, a transport that can be held up, and what tests need of a PostgreSQL server beyond that.
use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use switchboard_notification::{
    Config, MIGRATIONS,
    message::{Delivery, Kind, Message, Status},
    sender::Sender,
    store::{self, Hold, Person, Store},
    transport::{Transport, Undelivered, file::FileTransport},
};
use switchboard_runtime::{Clock, stores::Ledger};
use switchboard_testkit::servers::{self, Database, with_database};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use url::Url;
use uuid::Uuid;

/// Where a test takes place: a ledger, and the data folder that replicas share.
pub struct Ground {
    pub ledger: Ledger,
    pub data: TempDir,
    pub clock: Clock,
}

impl Ground {
    pub fn new(ledger: Option<Ledger>) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let ledger = ledger.unwrap_or_else(|| Ledger::Sqlite(data.path().to_owned()));
        Ground { ledger, data, clock: Clock::manual("2026-03-02T09:00:00Z".parse().expect("a time")) }
    }

    pub async fn store(&self) -> Arc<dyn Store> {
        store::open(&self.ledger, servers::vault()).await.expect("opens").0
    }

    pub fn config(&self) -> Config {
        Config { ledger: self.ledger.clone(), vault: servers::vault(), data: self.data.path().to_owned() }
    }

    pub fn transport(&self) -> Arc<Counted> {
        Arc::new(Counted {
            files: FileTransport::new(self.data.path()),
            delivered: AtomicUsize::new(0),
            down: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            entered: Semaphore::new(0),
            open: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    /// One more replica.
    pub async fn sender(&self, transport: &Arc<Counted>) -> Arc<Sender> {
        Arc::new(Sender::new(self.store().await, transport.clone(), self.clock.clone()))
    }

    /// A hold of an operation that begins now and may take so many seconds.
    pub fn hold(&self, seconds: i64) -> Hold {
        let now = self.clock.now();
        Hold { by: Uuid::now_v7(), now, until: now + SignedDuration::from_secs(seconds) }
    }

    pub fn outbox(&self) -> Vec<(String, String)> {
        outbox(self.data.path())
    }
}

/// Runs a test on a new file.
pub async fn on_sqlite(test: impl AsyncFnOnce(Ground)) {
    test(Ground::new(None)).await;
}

/// Runs a test on a new database, migrated, if there is a server.
pub async fn on_postgres(test: impl AsyncFnOnce(Ground)) {
    with_database(|database| async move {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        test(Ground::new(Some(database.ledger()))).await;
    })
    .await;
}

/// Runs tests on every ledger there is.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                crate::rig::on_sqlite(super::$test).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                crate::rig::on_postgres(super::$test).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// `pg_dump` of a database, as an administrator, whom row security does not hold; none if it is not said where to find it.
pub fn dump(database: &Database, arguments: &[&str]) -> Option<String> {
    let (folder, admin) = (servers::server("postgres_bin")?, servers::server("postgres_admin")?);
    let mut url = Url::parse(&admin).expect("a URL");
    url.set_path(&database.name);
    let program = Path::new(&folder).join("pg_dump");
    let output = Command::new(program).args(arguments).arg(url.as_str()).output().expect("pg_dump runs");
    assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    // Two lines carry a random word of their own.
    Some(text.lines().filter(|line| !line.contains("restrict ")).map(|line| format!("{line}\n")).collect())
}

/// The file transport, counted; while `down` it takes nothing.
pub struct Counted {
    files: FileTransport,
    pub delivered: AtomicUsize,
    pub down: AtomicBool,
    /// Says that it failed although it did it, as a target does whose answer is lost.
    pub deaf: AtomicBool,
    /// A permit for each delivery that has come in.
    pub entered: Semaphore,
    /// A permit lets one delivery go on.
    pub open: Semaphore,
}

impl Counted {
    /// Deliveries wait from now on, until [`Counted::release`].
    pub fn hold_up(&self) {
        self.open.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn release(&self) {
        self.open.add_permits(Semaphore::MAX_PERMITS);
    }

    pub async fn until_entered(&self) {
        self.entered.acquire().await.expect("open").forget();
    }

    pub fn count(&self) -> usize {
        self.delivered.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Transport for Counted {
    fn name(&self) -> &'static str {
        self.files.name()
    }

    async fn find(&self, delivery: &Delivery) -> Result<bool, Undelivered> {
        self.files.find(delivery).await
    }

    async fn deliver(&self, delivery: &Delivery, message: &Message) -> Result<(), Undelivered> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Undelivered("down".into()));
        }
        self.delivered.fetch_add(1, Ordering::SeqCst);
        self.entered.add_permits(1);
        let _open = self.open.acquire().await.expect("open");
        self.files.deliver(delivery, message).await?;
        if self.deaf.load(Ordering::SeqCst) { Err(Undelivered("no answer".into())) } else { Ok(()) }
    }

    async fn read(&self, delivery: &Delivery) -> Result<Option<String>, Undelivered> {
        self.files.read(delivery).await
    }

    async fn remove(&self, delivery: &Delivery) -> Result<bool, Undelivered> {
        self.files.remove(delivery).await
    }
}

/// Names and contents.
pub fn outbox(data: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(data.join("outbox")).into_iter().flatten();
    let mut files: Vec<_> = entries
        .map(|e| e.expect("an entry"))
        .map(|e| (e.file_name().into_string().expect("text"), std::fs::read_to_string(e.path()).expect("reads")))
        .collect();
    files.sort();
    files
}

pub fn email() -> Message {
    email_to("jane@example.com")
}

pub fn email_to(to: &str) -> Message {
    Message::Email { to: to.into(), subject: "Hello".into(), text: "Hello there".into() }
}

/// A delivery that begins so many seconds after 1970.
pub fn new(org: Uuid, key: &str, second: i64) -> Delivery {
    let created = Timestamp::from_second(second).expect("in range");
    let (id, status) = (Uuid::now_v7(), Status::Delivering);
    Delivery { id, org, key: key.into(), kind: Kind::Email, status, transport: "file".into(), created }
}

pub fn nobody() -> Person {
    Person::default()
}
