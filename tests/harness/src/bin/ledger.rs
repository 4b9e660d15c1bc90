//! The ledger's speed: commits like those of a turn, by many writers at once, beside the same statements without us.
//!
//! In: seconds for each figure, and a folder on the disk to measure (`ledger 5 /var/tmp`). Out: one JSON object. Never: a
//! disk that only pretends: each commit is synced; a folder in memory measures nothing.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used, reason = "a benchmark, not a product")]
use std::{
    borrow::Cow,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{SqliteConnection, migrate::Migrator};
use switchboard_runtime::sqlite::Sqlite;

/// Writers at once, each with a conversation of its own.
const WRITERS: usize = 64;
/// Commits of one turn: the customer's message, then the reply with all that comes with it.
const COMMITS_PER_TURN: f64 = 2.0;

const TABLES: &str = "CREATE TABLE conversations (id TEXT PRIMARY KEY, organization_id TEXT NOT NULL, seq INTEGER NOT NULL, \
         owner_epoch INTEGER NOT NULL, state TEXT NOT NULL, last_activity_at INTEGER NOT NULL);
     CREATE INDEX by_activity ON conversations (organization_id, last_activity_at);
     CREATE TABLE messages (id TEXT PRIMARY KEY, conversation_id TEXT NOT NULL, seq INTEGER NOT NULL, content TEXT NOT NULL);
     CREATE UNIQUE INDEX by_seq ON messages (conversation_id, seq);
     CREATE TABLE events (conversation_id TEXT NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL,
         PRIMARY KEY (conversation_id, seq)) WITHOUT ROWID;
     CREATE TABLE outbox (id INTEGER PRIMARY KEY, conversation_id TEXT NOT NULL, body TEXT NOT NULL);";

/// A commit of a turn, one trip to SQLite's thread: each row depends on the one before, and all on the compare-and-set.
const TURN: &str = "UPDATE conversations SET seq = seq + 1, state = ?, last_activity_at = ? \
         WHERE organization_id = ? AND id = ? AND seq = ? AND owner_epoch = 0;
     INSERT INTO messages (id, conversation_id, seq, content) SELECT ?, ?, ?, ? WHERE changes() > 0;
     INSERT INTO events (conversation_id, seq, body) SELECT ?, ?, ? WHERE changes() > 0;
     INSERT INTO outbox (conversation_id, body) SELECT ?, ? WHERE changes() > 0";

static NONE: Migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };

/// One conversation, as its writer sees it.
#[derive(Clone)]
struct Conversation {
    id: String,
    organization: String,
    seq: i64,
    text: Arc<str>,
}

impl Conversation {
    fn new(number: usize) -> Self {
        let text = "How do I export my contacts as a CSV file? ".repeat(8);
        // As long as UUIDs, and like those of one moment in the same part of an index.
        Conversation {
            id: format!("0190a0a0-0000-7000-8000-{number:012}"),
            organization: format!("0190a0a0-0000-7000-8000-{:012}", 0),
            seq: 0,
            text: text.into(),
        }
    }

    async fn commit(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let next = self.seq + 1;
        let message = format!("0190a0a0-{next:08}-{}", &self.id[24..]);
        let done = sqlx::query(TURN)
            .bind(&*self.text)
            .bind(next)
            .bind(&self.organization)
            .bind(&self.id)
            .bind(self.seq)
            .bind(message)
            .bind(&self.id)
            .bind(next)
            .bind(&*self.text)
            .bind(&self.id)
            .bind(next)
            .bind(&*self.text)
            .bind(&self.id)
            .bind(&*self.text)
            .execute(connection)
            .await?;
        Ok(done.rows_affected())
    }
}

/// What a measure found.
struct Found {
    commits: f64,
    seconds: f64,
    cpu: Option<f64>,
    times: Vec<Duration>,
}

impl Found {
    fn rate(&self) -> f64 {
        self.commits / self.seconds
    }

    fn cpu_us(&self) -> Value {
        self.cpu.map_or(Value::Null, |cpu| tenths(cpu * 1e6 / self.commits))
    }

    fn at(&self, hundredth: usize) -> Value {
        tenths(self.times[(self.times.len() - 1) * hundredth / 100].as_secs_f64() * 1e3)
    }
}

fn tenths(x: f64) -> Value {
    json!((x * 10.0).round() / 10.0)
}

/// Seconds of both cores that this process used; none where the system does not say so.
fn cpu() -> Option<f64> {
    let line = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = line.rsplit(')').next()?.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    // A tick is a hundredth everywhere.
    Some(ticks / 100.0)
}

async fn fresh(folder: &std::path::Path, name: &str, conversations: &[Conversation]) -> Sqlite {
    let db = Sqlite::open(folder, name, &NONE).await.unwrap();
    let mut transaction = db.write().await.unwrap();
    sqlx::raw_sql(TABLES).execute(&mut *transaction).await.unwrap();
    for c in conversations {
        let sql = "INSERT INTO conversations VALUES (?, ?, 0, 0, '', 0)";
        sqlx::query(sql).bind(&c.id).bind(&c.organization).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
    db
}

/// All writers at once, each commit acknowledged before its next.
async fn writers(folder: &std::path::Path, time: Duration, grouped: bool) -> Found {
    let conversations: Vec<_> = (0..WRITERS).map(Conversation::new).collect();
    let db = fresh(folder, if grouped { "grouped" } else { "alone" }, &conversations).await;
    let (before, begun) = (cpu(), Instant::now());
    let tasks: Vec<_> = conversations
        .into_iter()
        .map(|mut c| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut times = vec![];
                while begun.elapsed() < time {
                    let at = Instant::now();
                    let rows = if grouped {
                        db.grouped(c.clone(), |connection, c| Box::pin(c.commit(connection))).await.unwrap()
                    } else {
                        let mut transaction = db.write().await.unwrap();
                        let rows = c.commit(&mut transaction).await.unwrap();
                        transaction.commit().await.unwrap();
                        rows
                    };
                    assert_eq!(rows, 4, "a commit is whole");
                    times.push(at.elapsed());
                    c.seq += 1;
                }
                times
            })
        })
        .collect();
    let mut times = vec![];
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = before.zip(cpu()).map(|(before, after)| after - before);
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM messages").fetch_one(db.read()).await.unwrap();
    assert_eq!(kept, times.len() as i64, "each acknowledged commit is there");
    db.close().await;
    times.sort();
    Found { commits: times.len() as f64, seconds, cpu, times }
}

/// The floor: one writer, so many of the same commits to a transaction, nobody to be answered.
async fn floor(folder: &std::path::Path, time: Duration, together: usize) -> Found {
    let mut conversations: Vec<_> = (0..WRITERS).map(Conversation::new).collect();
    let db = fresh(folder, &format!("floor{together}"), &conversations).await;
    let (before, begun) = (cpu(), Instant::now());
    let mut times = vec![];
    while begun.elapsed() < time {
        let at = Instant::now();
        let mut transaction = db.write().await.unwrap();
        for c in conversations.iter_mut().take(together) {
            assert_eq!(c.commit(&mut transaction).await.unwrap(), 4);
            c.seq += 1;
        }
        transaction.commit().await.unwrap();
        times.push(at.elapsed());
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = before.zip(cpu()).map(|(before, after)| after - before);
    db.close().await;
    times.sort();
    Found { commits: (times.len() * together) as f64, seconds, cpu, times }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let time = Duration::from_secs(args.next().and_then(|a| a.parse().ok()).unwrap_or(5));
    let place = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(place).unwrap();
    let one = floor(folder.path(), time, 1).await;
    let many = floor(folder.path(), time, WRITERS).await;
    let apart = writers(folder.path(), time, false).await;
    let grouped = writers(folder.path(), time, true).await;
    let figures = json!({ "sqlite": {
        "writers": WRITERS,
        "commits_per_s": grouped.rate().round(),
        "turns_per_s": (grouped.rate() / COMMITS_PER_TURN).round(),
        "commit_p50_ms": grouped.at(50),
        "commit_p99_ms": grouped.at(99),
        "cpu_us_per_commit": grouped.cpu_us(),
        "ungrouped_commits_per_s": apart.rate().round(),
        "ungrouped_cpu_us_per_commit": apart.cpu_us(),
        "floor_commits_per_s": many.rate().round(),
        "floor_cpu_us_per_commit": many.cpu_us(),
        "floor_alone_commits_per_s": one.rate().round(),
        "floor_alone_p50_ms": one.at(50),
    } });
    println!("{figures}");
}
