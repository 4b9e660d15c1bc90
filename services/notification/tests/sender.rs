//! Once per key, whatever goes wrong on the way.
use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use switchboard_notification::{
    error::Error,
    message::{Delivery, Kind, Message, Status},
    sender::Sender,
    store::{Store, sqlite::SqliteStore},
    transport::{Transport, Undelivered, file::FileTransport},
};
use switchboard_runtime::{Clock, Fault};
use uuid::Uuid;

/// The file transport, counted; while `down` it takes nothing.
struct Counted {
    files: FileTransport,
    delivered: AtomicUsize,
    down: AtomicBool,
    /// Says that it failed although it did it, as a target does whose answer is lost.
    deaf: AtomicBool,
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
        tokio::task::yield_now().await;
        self.files.deliver(delivery, message).await?;
        if self.deaf.load(Ordering::SeqCst) { Err(Undelivered("no answer".into())) } else { Ok(()) }
    }
}

struct Setup {
    sender: Arc<Sender>,
    store: Arc<SqliteStore>,
    transport: Arc<Counted>,
    data: tempfile::TempDir,
}

impl Setup {
    async fn new() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let store = Arc::new(SqliteStore::open(data.path()).await.expect("opens"));
        let transport = Arc::new(Counted {
            files: FileTransport::new(data.path()),
            delivered: AtomicUsize::new(0),
            down: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
        });
        let sender = Arc::new(Sender::new(store.clone(), transport.clone(), Clock::system()));
        Setup { sender, store, transport, data }
    }

    fn delivered(&self) -> usize {
        self.transport.delivered.load(Ordering::SeqCst)
    }
}

fn files(data: &Path) -> usize {
    std::fs::read_dir(data.join("outbox")).map_or(0, Iterator::count)
}

fn email() -> Message {
    Message::Email { to: "jane@example.com".into(), subject: "Hello".into(), text: "Hello Jane".into() }
}

fn begun(org: Uuid, key: &str) -> Delivery {
    let (clock, status) = (Clock::system(), Status::Delivering);
    let created = jiff::Timestamp::from_microsecond(clock.now().as_microsecond()).expect("in range");
    Delivery { id: clock.new_id(), org, key: key.into(), kind: Kind::Email, status, transport: "file".into(), created }
}

#[tokio::test]
async fn the_same_key_again_returns_the_first_delivery() {
    let at = Setup::new().await;
    let org = Uuid::now_v7();
    let first = at.sender.send(org, "k", &email()).await.expect("delivers");
    assert_eq!((first.repeated, first.delivery.status), (false, Status::Delivered));
    let second = at.sender.send(org, "k", &email()).await.expect("answers");
    assert_eq!((second.repeated, second.delivery), (true, first.delivery));
    assert!(!at.sender.send(Uuid::now_v7(), "k", &email()).await.expect("another organization's").repeated);
    assert_eq!((at.delivered(), files(at.data.path())), (2, 2));
}

#[tokio::test]
async fn of_many_at_once_one_delivers() {
    let at = Setup::new().await;
    let org = Uuid::now_v7();
    let calls = (0..16).map(|_| {
        let sender = at.sender.clone();
        tokio::spawn(async move { sender.send(org, "k", &email()).await.expect("answers") })
    });
    let (mut ids, mut firsts) = (HashSet::new(), 0);
    for call in calls.collect::<Vec<_>>() {
        let sent = call.await.expect("runs");
        ids.insert(sent.delivery.id);
        firsts += usize::from(!sent.repeated);
    }
    assert_eq!((ids.len(), firsts, at.delivered(), files(at.data.path())), (1, 1, 1, 1));
}

#[tokio::test]
async fn a_delivery_that_failed_is_tried_again_with_its_key() {
    let at = Setup::new().await;
    let org = Uuid::now_v7();
    at.transport.down.store(true, Ordering::SeqCst);
    let fault = Fault::from(at.sender.send(org, "k", &email()).await.expect_err("down"));
    assert_eq!((fault.name(), fault.retryable()), ("UNAVAILABLE", true));
    assert_eq!(at.sender.list(org, None, 9).await.expect("reads")[0].status, Status::Failed);
    at.transport.down.store(false, Ordering::SeqCst);
    let sent = at.sender.send(org, "k", &email()).await.expect("delivers");
    assert_eq!((sent.repeated, sent.delivery.status), (false, Status::Delivered));
    assert_eq!((at.delivered(), files(at.data.path())), (1, 1));
}

#[tokio::test]
async fn a_target_whose_answer_was_lost_is_not_asked_again() {
    let at = Setup::new().await;
    let org = Uuid::now_v7();
    at.transport.deaf.store(true, Ordering::SeqCst);
    assert!(matches!(at.sender.send(org, "k", &email()).await, Err(Error::NotDelivered(_))));
    let sent = at.sender.send(org, "k", &email()).await.expect("finds it");
    assert_eq!((sent.repeated, sent.delivery.status), (true, Status::Delivered));
    assert_eq!(at.delivered(), 1);
}

#[tokio::test]
async fn a_crash_before_the_mark_makes_no_second_file() {
    let at = Setup::new().await;
    let org = Uuid::now_v7();
    // What is there after a process died between the file and the mark.
    let row = at.store.begin(&begun(org, "k")).await.expect("begins");
    at.transport.deliver(&row, &email()).await.expect("delivers");
    let sent = at.sender.send(org, "k", &email()).await.expect("finds it");
    assert_eq!((sent.repeated, sent.delivery.id, sent.delivery.status), (true, row.id, Status::Delivered));
    assert_eq!((at.delivered(), files(at.data.path())), (1, 1));
    assert!(at.store.unsettled().await.expect("reads").is_empty());
}

#[tokio::test]
async fn a_crash_before_the_file_is_delivered_by_the_retry() {
    let at = Setup::new().await;
    let org = Uuid::now_v7();
    let row = at.store.begin(&begun(org, "k")).await.expect("begins");
    let sent = at.sender.send(org, "k", &email()).await.expect("delivers");
    assert_eq!((sent.repeated, sent.delivery.id), (false, row.id));
    assert_eq!((at.delivered(), files(at.data.path())), (1, 1));
}

#[tokio::test]
async fn the_next_start_settles_what_was_cut_off() {
    let at = Setup::new().await;
    let org = Uuid::now_v7();
    let (done, lost) = (begun(org, "done"), begun(org, "lost"));
    for row in [&done, &lost] {
        at.store.begin(row).await.expect("begins");
    }
    at.transport.deliver(&done, &email()).await.expect("delivers");
    at.sender.recover().await.expect("settles");
    let listed = at.sender.list(org, None, 9).await.expect("reads");
    let status = |key: &str| listed.iter().find(|d| d.key == key).map(|d| d.status);
    assert_eq!((status("done"), status("lost")), (Some(Status::Delivered), Some(Status::Failed)));
}

#[tokio::test]
async fn a_key_is_for_one_kind() {
    let at = Setup::new().await;
    let org = Uuid::now_v7();
    at.sender.send(org, "k", &email()).await.expect("delivers");
    let slack = Message::Slack { channel: "#support".into(), text: "x".into() };
    let fault = Fault::from(at.sender.send(org, "k", &slack).await.expect_err("refused"));
    assert_eq!(fault.name(), "IDEMPOTENCY_KEY_REUSED");
}
