//! Group commit: one sync for many, each with an answer of their own, nothing acknowledged lost.
use std::{
    borrow::Cow,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, future::join_all};
use sqlx::{SqliteConnection, migrate::Migrator};
use switchboard_runtime::sqlite::Sqlite;
use switchboard_testkit::disk::SmallDisk;
use tempfile::TempDir;
use tokio::sync::Notify;

static NONE: Migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// Two rows a write, so that half of one would be seen.
const TABLES: &str = "CREATE TABLE IF NOT EXISTS writes (n INTEGER NOT NULL, half INTEGER NOT NULL, PRIMARY KEY (n, half)); \
     CREATE TABLE IF NOT EXISTS owners (id INTEGER PRIMARY KEY); \
     CREATE TABLE IF NOT EXISTS owned (id INTEGER REFERENCES owners (id) DEFERRABLE INITIALLY DEFERRED)";

async fn open(folder: &Path) -> Sqlite {
    let db = Sqlite::open(folder, "group", &NONE).await.expect("opens");
    let mut transaction = db.write().await.expect("begins");
    sqlx::raw_sql(TABLES).execute(&mut *transaction).await.expect("makes tables");
    transaction.commit().await.expect("commits");
    db
}

async fn new() -> (TempDir, Sqlite) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = open(folder.path()).await;
    (folder, db)
}

async fn insert(connection: &mut SqliteConnection, n: i64) -> Result<(), sqlx::Error> {
    for half in 0..2 {
        sqlx::query("INSERT INTO writes (n, half) VALUES (?, ?)").bind(n).bind(half).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn write(db: &Sqlite, n: i64) -> Result<(), sqlx::Error> {
    db.grouped(n, |connection, n| Box::pin(insert(connection, *n))).await
}

async fn stored(db: &Sqlite) -> Vec<i64> {
    let halves: Vec<i64> =
        sqlx::query_scalar("SELECT n FROM writes ORDER BY n, half").fetch_all(db.read()).await.expect("reads");
    assert!(halves.chunks(2).all(|pair| pair.len() == 2 && pair[0] == pair[1]), "half a write");
    halves.into_iter().step_by(2).collect()
}

/// Transactions in the log: frames that carry the size of the file.
fn commits(folder: &Path) -> usize {
    let log = std::fs::read(folder.join("group.db-wal")).expect("a log");
    let page = u32::from_be_bytes(log[8..12].try_into().expect("4 bytes")) as usize;
    log[32..].chunks_exact(24 + page).filter(|frame| frame[4..8] != [0; 4]).count()
}

/// Starts all of these while the writer is taken, so that they are sure to come together.
async fn together<F: Future>(db: &Sqlite, work: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let taken = db.write().await.expect("begins");
    let mut all = Box::pin(join_all(work));
    assert!(futures::poll!(&mut all).is_pending());
    taken.rollback().await.expect("rolls back");
    tokio::time::timeout(LONG, all).await.expect("all are answered")
}

#[tokio::test]
async fn who_comes_together_shares_one_commit() {
    let (folder, db) = new().await;
    let before = commits(folder.path());
    let answers = together(&db, (0..50).map(|n| write(&db, n))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(commits(folder.path()) - before, 1);
    // Alone one commits alone, and both ways of writing take turns.
    write(&db, 50).await.expect("writes");
    let mut transaction = db.write().await.expect("begins");
    insert(&mut transaction, 51).await.expect("writes");
    transaction.commit().await.expect("commits");
    assert_eq!(commits(folder.path()) - before, 3);
    assert_eq!(stored(&db).await, (0..52).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_fails_takes_back_only_its_own() {
    let (_folder, db) = new().await;
    write(&db, 7).await.expect("writes");
    // Writes first and fails then: by the database, by its own decision, by a panic.
    let job = async |n: i64| {
        let job = db.grouped(n, |connection, n| {
            Box::pin(async move {
                insert(connection, *n).await?;
                match n % 10 {
                    3 => insert(connection, 7).await.map(|()| *n),
                    5 => Err(sqlx::Error::RowNotFound),
                    8 => panic!("job {n}"),
                    _ => Ok(*n),
                }
            })
        });
        std::panic::AssertUnwindSafe(job).catch_unwind().await
    };
    let answers = together(&db, (100..130).map(job)).await;
    for (n, answer) in (100..).zip(answers) {
        match (n % 10, answer) {
            (3, Ok(Err(sqlx::Error::Database(e)))) => assert!(e.is_unique_violation(), "{n}: {e}"),
            (5, Ok(Err(sqlx::Error::RowNotFound))) => {}
            (8, Err(panic)) => assert_eq!(panic.downcast_ref::<String>(), Some(&format!("job {n}"))),
            (0 | 1 | 2 | 4 | 6 | 7 | 9, Ok(Ok(told))) => assert_eq!(told, n),
            (_, other) => panic!("{n}: {other:?}"),
        }
    }
    let kept = (100..130).filter(|n| ![3, 5, 8].contains(&(n % 10)));
    assert_eq!(stored(&db).await, [7].into_iter().chain(kept).collect::<Vec<_>>());
    // The first of a transaction fails like any other.
    assert!(write(&db, 7).await.is_err());
    write(&db, 8).await.expect("writes");
}

#[tokio::test]
async fn if_the_commit_fails_nobody_is_told_that_it_worked() {
    let (_folder, db) = new().await;
    let owned = async |n: i64| {
        db.grouped(n, |connection, n| {
            Box::pin(async move {
                if n % 10 == 4 {
                    // Belongs to nothing: found out at the commit.
                    sqlx::query("INSERT INTO owned (id) VALUES (?)").bind(*n).execute(&mut *connection).await?;
                }
                insert(connection, *n).await
            })
        })
        .await
    };
    let answers = together(&db, (0..10).map(owned)).await;
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 0, "{answers:?}");
    let told = answers[0].as_ref().expect_err("failed").to_string();
    assert!(told.contains("FOREIGN KEY"), "{told}");
    assert_eq!(stored(&db).await, [] as [i64; 0]);
    write(&db, 1).await.expect("the next one is not harmed");
}

#[tokio::test]
async fn a_transaction_that_sqlite_ends_by_itself_harms_no_later_one() {
    let (_folder, db) = new().await;
    // As it does when the disk is full.
    let ends = "CREATE TRIGGER ends BEFORE INSERT ON writes WHEN NEW.n = 13 BEGIN SELECT RAISE(ROLLBACK, 'full'); END";
    let mut transaction = db.write().await.expect("begins");
    sqlx::query(ends).execute(&mut *transaction).await.expect("makes a trigger");
    transaction.commit().await.expect("commits");
    // Alone it is told what SQLite said; and then the way is free.
    let alone = write(&db, 13).await.expect_err("refused");
    assert!(alone.as_database_error().is_some_and(|e| e.message() == "full"), "{alone}");
    write(&db, 1).await.expect("writes");
    // In company nobody of those whose transaction it was is told that it worked.
    let answers = together(&db, (10..20).map(|n| write(&db, n))).await;
    assert!(answers[..4].iter().all(Result::is_err) && answers[4..].iter().all(Result::is_ok), "{answers:?}");
    assert!(answers[0].as_ref().is_err_and(|e| e.to_string().contains("took the whole transaction back")));
    assert_eq!(stored(&db).await, [1, 14, 15, 16, 17, 18, 19]);
    write(&db, 2).await.expect("writes");
    // The same for who writes without company.
    let mut transaction = db.write().await.expect("begins");
    insert(&mut transaction, 13).await.expect_err("refused");
    drop(transaction);
    let mut transaction = db.write().await.expect("begins");
    insert(&mut transaction, 3).await.expect("writes");
    transaction.commit().await.expect("commits");
    assert_eq!(stored(&db).await, [1, 2, 3, 14, 15, 16, 17, 18, 19]);
}

#[tokio::test]
async fn who_goes_away_harms_nobody() {
    let (_folder, db) = new().await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (db, gates) = (db.clone(), (begun.clone(), go_on.clone()));
        tokio::spawn(async move {
            db.grouped(gates, |connection, (begun, go_on)| {
                Box::pin(async move {
                    insert(connection, 1).await?;
                    begun.notify_one();
                    go_on.notified().await;
                    insert(connection, 2).await
                })
            })
            .await
        })
    };
    tokio::time::timeout(LONG, begun.notified()).await.expect("its job begins");
    // One waits behind it; another one goes away before its turn comes.
    let mut behind = Box::pin(write(&db, 3));
    assert!(futures::poll!(&mut behind).is_pending());
    assert!(futures::poll!(Box::pin(write(&db, 4))).is_pending());
    // The one whose job runs goes away too: its job is finished.
    slow.abort();
    assert!(slow.await.expect_err("aborted").is_cancelled());
    go_on.notify_one();
    tokio::time::timeout(LONG, behind).await.expect("is answered").expect("writes");
    assert_eq!(stored(&db).await, [1, 2, 3]);
}

#[tokio::test]
async fn after_closing_it_refuses() {
    let (_folder, db) = new().await;
    write(&db, 1).await.expect("writes");
    db.close().await;
    assert!(matches!(write(&db, 2).await, Err(sqlx::Error::Io(_))));
}

const FOLDER: &str = "SWITCHBOARD_KILLED_IN";
const WRITES: i64 = 10_000;
const KILLS: i64 = 5;

#[test]
fn kill_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut acknowledged, mut unanswered) = (0, 0);
    for round in 1..=KILLS {
        let this = std::env::current_exe().expect("this test");
        let mut child = Command::new(this)
            .args(["--exact", "sqlite::writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let mut seen: Vec<i64> = vec![];
        // Killed with many in flight; what it had said until then is read to the end.
        while (acknowledged + seen.len() as i64) < WRITES * round / KILLS {
            seen.extend(lines.next().expect("it goes on").strip_prefix("ack ").and_then(|n| n.parse::<i64>().ok()));
        }
        child.kill().expect("kills");
        seen.extend(lines.filter_map(|line| line.strip_prefix("ack ")?.parse::<i64>().ok()));
        child.wait().expect("ends");
        acknowledged += seen.len() as i64;
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let stored = runtime.block_on(async {
            let db = open(folder.path()).await;
            let sound: String =
                sqlx::query_scalar("PRAGMA integrity_check").fetch_one(db.read()).await.expect("checks");
            assert_eq!(sound, "ok");
            stored(&db).await
        });
        let lost: Vec<_> = seen.iter().filter(|n| stored.binary_search(n).is_err()).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        unanswered = stored.len() as i64 - acknowledged;
    }
    assert!(acknowledged >= WRITES && unanswered >= 0, "{acknowledged} {unanswered}");
}

/// The process that the test above kills.
#[test]
#[ignore = "runs until it is killed"]
fn writes_until_it_is_killed() {
    let folder = std::env::var(FOLDER).expect("the other test says where");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let db = open(Path::new(&folder)).await;
        let first = stored(&db).await.last().map_or(0, |n| n + 1);
        let writers = (0..64).map(|writer| {
            let db = db.clone();
            tokio::spawn(async move {
                for n in (first + writer..).step_by(64) {
                    write(&db, n).await.expect("writes");
                    // One write to the pipe: it is whole or not there.
                    std::io::stdout().write_all(format!("ack {n}\n").as_bytes()).expect("says so");
                }
            })
        });
        join_all(writers).await;
    });
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_keeps_what_it_took() {
    let Some(disk) = SmallDisk::mount(8) else { return };
    let db = open(disk.path()).await;
    write(&db, 1).await.expect("there is room");
    disk.fill();
    let mut taken = vec![1];
    let mut refused = None;
    for n in 2..10_000 {
        match write(&db, n).await {
            Ok(()) => taken.push(n),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = switchboard_runtime::sqlite::fault(refused.expect("there is no room"));
    assert_eq!(refused.reason, switchboard_runtime::Reason::StoreFailed);
    disk.free();
    write(&db, 10_000).await.expect("there is room again");
    taken.push(10_000);
    assert_eq!(stored(&db).await, taken);
    db.close().await;
}
