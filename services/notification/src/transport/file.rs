//! Notifications as files, where nothing else is configured: one can read what would have gone out. Replicas share the folder,
//! or each finds and removes its own files only.
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::{Transport, Undelivered};
use crate::{
    email,
    message::{Delivery, Kind, Message},
};

/// Files in `DATA/outbox`.
pub struct FileTransport(PathBuf);

impl FileTransport {
    /// Writes beneath the data folder.
    pub fn new(data: &Path) -> Self {
        FileTransport(data.join("outbox"))
    }

    /// `20261103T040506.789000Z-email-0123456789abcdef.eml`: sorts by time, is the same on a retry, has nothing in it that a
    /// caller chose.
    fn path(&self, delivery: &Delivery) -> PathBuf {
        let time = delivery.created.strftime("%Y%m%dT%H%M%S%.6f");
        let (kind, mark) = (delivery.kind.name(), delivery.mark());
        let extension = match delivery.kind {
            Kind::Email => "eml",
            Kind::Slack => "slack.json",
            Kind::Webhook => "webhook.json",
        };
        self.0.join(format!("{time}Z-{kind}-{mark}.{extension}"))
    }
}

#[async_trait]
impl Transport for FileTransport {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn find(&self, delivery: &Delivery) -> Result<bool, Undelivered> {
        tokio::fs::try_exists(self.path(delivery)).await.map_err(|e| Undelivered(Box::new(e)))
    }

    async fn deliver(&self, delivery: &Delivery, message: &Message) -> Result<(), Undelivered> {
        let (path, content) = (self.path(delivery), content(delivery, message));
        blocking(move || write(&path, &content)).await
    }

    async fn read(&self, delivery: &Delivery) -> Result<Option<String>, Undelivered> {
        match tokio::fs::read_to_string(self.path(delivery)).await {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Undelivered(Box::new(e))),
        }
    }

    async fn remove(&self, delivery: &Delivery) -> Result<bool, Undelivered> {
        let path = self.path(delivery);
        blocking(move || remove(&path)).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Undelivered> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.and_then(|done| done).map_err(|e| Undelivered(Box::new(e)))
}

fn content(delivery: &Delivery, message: &Message) -> String {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    match message {
        Message::Email { to, subject, text } => email::message(&delivery.mark(), delivery.created, to, subject, text),
        Message::Slack { channel, text } => format!("{{\"channel\":{},\"text\":{}}}\n", quote(channel), quote(text)),
        // The envelope of Standard Webhooks; the payload as it was given, so that no number in it changes.
        Message::Webhook { event_type, payload } => format!(
            "{{\"id\":{},\"type\":{},\"timestamp\":{},\"data\":{payload}}}\n",
            quote(&format!("msg_{}", delivery.mark())),
            quote(event_type),
            quote(&delivery.created.to_string())
        ),
    }
}

/// Where a file is written before it gets its name.
fn draft(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// All of the file, or nothing of it. Only its owner reads it: it may hold a one-time link.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    // No reader takes it for a notification, and a draft that a dead process left is written over.
    let draft = draft(path);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    keep_names(folder)
}

/// Removes a file, and what a dead process left of it. True if there was either.
fn remove(path: &Path) -> io::Result<bool> {
    let mut some = false;
    for path in [path, &draft(path)] {
        match fs::remove_file(path) {
            Ok(()) => some = true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    if let Some(folder) = path.parent().filter(|_| some) {
        keep_names(folder)?;
    }
    Ok(some)
}

/// What is there and what is gone outlives a power cut. Elsewhere folders cannot be opened.
fn keep_names(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::message::Status;

    fn delivery(kind: Kind, key: &str) -> Delivery {
        let created: Timestamp = "2026-11-03T04:05:06.789Z".parse().expect("a time");
        let (id, org) = (Uuid::from_u128(7), Uuid::from_u128(1));
        Delivery { id, org, key: key.into(), kind, status: Status::Delivering, transport: "file".into(), created }
    }

    fn slack() -> Message {
        Message::Slack { channel: "#support".into(), text: "a \"quoted\"\nline".into() }
    }

    fn names(data: &Path) -> Vec<String> {
        let entries = fs::read_dir(data.join("outbox")).expect("lists");
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("text")).collect()
    }

    #[tokio::test]
    async fn what_was_delivered_is_found_and_nothing_else() {
        let data = tempfile::tempdir().expect("a folder");
        let transport = FileTransport::new(data.path());
        let (one, other) = (delivery(Kind::Slack, "../../k"), delivery(Kind::Slack, "l"));
        assert!(!transport.find(&one).await.expect("looks"));
        transport.deliver(&one, &slack()).await.expect("delivers");
        assert!(transport.find(&one).await.expect("looks"));
        assert!(!transport.find(&other).await.expect("looks"));
        assert_eq!(names(data.path()), [format!("20261103T040506.789000Z-slack-{}.slack.json", one.mark())]);
    }

    #[tokio::test]
    async fn delivered_twice_it_is_there_once() {
        let data = tempfile::tempdir().expect("a folder");
        let transport = FileTransport::new(data.path());
        for _ in 0..2 {
            transport.deliver(&delivery(Kind::Slack, "k"), &slack()).await.expect("delivers");
        }
        assert_eq!(names(data.path()).len(), 1);
    }

    #[tokio::test]
    async fn a_draft_that_a_dead_process_left_is_no_delivery() {
        let data = tempfile::tempdir().expect("a folder");
        let transport = FileTransport::new(data.path());
        let one = delivery(Kind::Slack, "k");
        fs::create_dir_all(data.path().join("outbox")).expect("makes");
        fs::write(draft(&transport.path(&one)), "{\"chan").expect("writes");
        assert!(!transport.find(&one).await.expect("looks"));
        transport.deliver(&one, &slack()).await.expect("delivers");
        assert_eq!(names(data.path()).len(), 1);
    }

    #[tokio::test]
    async fn what_was_removed_is_not_found_nor_any_piece_of_it() {
        let data = tempfile::tempdir().expect("a folder");
        let transport = FileTransport::new(data.path());
        let (one, other) = (delivery(Kind::Slack, "k"), delivery(Kind::Slack, "l"));
        assert!(!transport.remove(&one).await.expect("nothing is there"));
        for delivery in [&one, &other] {
            transport.deliver(delivery, &slack()).await.expect("delivers");
        }
        fs::write(draft(&transport.path(&one)), "{\"chan").expect("writes");
        assert!(transport.read(&one).await.expect("reads").is_some_and(|text| text.contains("quoted")));
        assert!(transport.remove(&one).await.expect("removes"));
        assert!(!transport.find(&one).await.expect("looks"));
        assert_eq!(transport.read(&one).await.expect("reads"), None);
        assert_eq!(names(data.path()), [format!("20261103T040506.789000Z-slack-{}.slack.json", other.mark())]);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_an_error() {
        let data = tempfile::tempdir().expect("a folder");
        fs::write(data.path().join("outbox"), "in the way").expect("writes");
        let transport = FileTransport::new(data.path());
        assert!(transport.deliver(&delivery(Kind::Slack, "k"), &slack()).await.is_err());
    }

    #[test]
    fn json_says_what_was_given() {
        let read = |message| {
            serde_json::from_str::<serde_json::Value>(&content(&delivery(Kind::Webhook, "k"), &message)).expect("JSON")
        };
        assert_eq!(read(slack()), serde_json::json!({"channel": "#support", "text": "a \"quoted\"\nline"}));
        let webhook = Message::Webhook {
            event_type: "conversation.escalated".into(),
            payload: "{\"n\": 12345678901234567890123}".into(),
        };
        let text = content(&delivery(Kind::Webhook, "k"), &webhook);
        assert!(text.contains("12345678901234567890123"), "{text}");
        let json = read(webhook);
        assert_eq!(json["type"], "conversation.escalated");
        assert_eq!(json["timestamp"], "2026-11-03T04:05:06.789Z");
        assert_eq!(json["id"], format!("msg_{}", delivery(Kind::Webhook, "k").mark()));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let data = tempfile::tempdir().expect("a folder");
        let transport = FileTransport::new(data.path());
        transport.deliver(&delivery(Kind::Slack, "k"), &slack()).await.expect("delivers");
        let mode = fs::metadata(transport.path(&delivery(Kind::Slack, "k"))).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
