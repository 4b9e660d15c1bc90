//! Law 3: what was acknowledged is there, however the process ended.
use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use switchboard_conversation::store::{Committed, Turns as _, sqlite::SqliteStore};
use switchboard_testkit::servers;
use tempfile::tempdir;
use uuid::Uuid;

use super::plant::{created_for, now, say};

/// Tells the program of the tests to be the process that is killed.
const FOLDER: &str = "SWITCHBOARD_TEST_KILLED_WRITER";
/// Commits of a life, if nothing came between.
const COMMITS: u64 = 10_000;
/// Conversations that are written to at the same time: commits share transactions.
const WRITERS: u64 = 20;
/// Lives that end in the middle.
const LIVES: u64 = 4;

/// Writes and tells each commit after it was acknowledged. A test of its own only when it is started by the one below.
#[tokio::test(flavor = "multi_thread")]
async fn writes_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = SqliteStore::open(Path::new(&folder), servers::vault()).await.expect("opens");
    let org = Uuid::now_v7();
    let writers = (0..WRITERS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut row = created_for(&store, org, Uuid::now_v7()).await;
            for n in 1..=COMMITS / WRITERS {
                assert_eq!(say(&store, &row, &format!("word {n}"), None).await, Committed::Done);
                let line = format!("\nstored {org} {} {n}\n", row.id);
                std::io::stdout().write_all(line.as_bytes()).expect("is heard");
                row = now(&store, &row).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("goes on");
    }
}

#[tokio::test]
async fn sqlite_keeps_what_it_acknowledged_before_it_was_killed() {
    let folder = tempdir().expect("folder");
    let mut acknowledged = std::collections::HashMap::new();
    for life in 0..LIVES {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .args(["--exact", "store::durability::writes_until_it_is_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        // Somewhere in the middle, at another place each time.
        let end = COMMITS * (2 * life + 1) / (2 * LIVES);
        let lines = BufReader::new(child.stdout.take().expect("its words")).lines();
        let mut heard = 0;
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            let ["stored", org, id, n] = words[..] else { continue };
            let (org, id): (Uuid, Uuid) = (org.parse().expect("an id"), id.parse().expect("an id"));
            let n: u64 = n.parse().expect("a number");
            acknowledged.insert((org, id), n);
            heard += 1;
            if heard == end {
                child.kill().expect("is killed");
            }
        }
        child.wait().expect("ends");
        assert!(heard >= end, "it died of something else after {heard}");
        let store = SqliteStore::open(folder.path(), servers::vault()).await.expect("opens");
        for ((org, id), n) in &acknowledged {
            let row = store.load(*org, *id).await.expect("reads").expect("is there");
            let messages = store.messages(*org, *id, 0, u32::MAX).await.expect("reads");
            // The last one may be there without having been told.
            assert!(row.seq >= *n && row.seq <= *n + 1, "{} of {n}", row.seq);
            assert_eq!(messages.len() as u64, row.seq, "a commit is whole or not there");
            assert!(messages.iter().zip(1..).all(|(m, n)| (m.seq, m.content.as_str()) == (n, &*format!("word {n}"))));
        }
        switchboard_conversation::store::Store::close(&store).await;
    }
}
