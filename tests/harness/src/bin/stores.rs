//! The stores' speed: whole turns as the conversation service commits them, beside each server's own floor in the same run.
//!
//! In: seconds for each figure, a folder on the disk to measure, and, for PostgreSQL, an empty database, the folder of its
//! programs and the server's process (`stores 5 /var/tmp [URL BIN PID]`). Out: rows of a Markdown table. Never: a verdict.
//!
//! A turn is two commits: the customer's message with the turn's lease, and the reply with outcome, receipt, citations and
//! what goes into the outbox. PostgreSQL's floor is pgbench's simple update (one UPDATE, one SELECT, one INSERT, one commit).
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used, reason = "a benchmark, not a product")]
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use switchboard_conversation::{
    change::Change,
    machine::{Owner, Status},
    model::{Analysis, Citation, Conversation, Sender, State, Turn},
    store::{self, Answered, Committed, NewConversation, Store},
};
use switchboard_runtime::{
    Clock, Secret,
    stores::{Ledger, PostgresAt},
    vault::Vault,
};
use uuid::Uuid;

/// Writers at once, each with a conversation of its own.
const WRITERS: usize = 64;
/// Connections of the service, and of pgbench.
const CONNECTIONS: u32 = 64;
/// Messages of the long conversation, and reads of its context.
const LONG: u64 = 1000;
const READS: usize = 2000;
/// What a turn reads of the past.
const WINDOW: u32 = 20;

fn row(org: Uuid, clock: &Clock) -> Conversation {
    let now = clock.now();
    Conversation {
        id: clock.new_id(),
        org,
        user: clock.new_id(),
        channel: "web".into(),
        status: Status::Active,
        owner: Owner::Ai,
        seq: 0,
        owner_epoch: 0,
        assigned_to: None,
        language: "en".into(),
        metadata: Default::default(),
        context: Default::default(),
        state: State::default(),
        last_user_seq: 0,
        answered_seq: 0,
        turn: None,
        created_at: now,
        last_activity_at: now,
        ended_at: None,
        resolution: None,
        assumed: false,
        rating: None,
        rating_comment: String::new(),
        previous: None,
        response_count: 0,
        response_micros: 0,
        escalation: None,
    }
}

async fn created(store: &dyn Store, org: Uuid, clock: &Clock) -> Conversation {
    let row = row(org, clock);
    let new = NewConversation { row: row.clone(), request_id: None, fingerprint: String::new() };
    assert!(store.create(new).await.unwrap().is_none());
    row
}

/// One turn: two commits, each acknowledged before the next.
async fn turn(store: &dyn Store, before: Conversation, clock: &Clock) -> Conversation {
    let mut change = Change::on(&before, clock);
    let mut message = change.message(Sender::User, Some(before.user), "How do I export my contacts as a CSV file?");
    message.client_message_id = Some(clock.new_id().to_string());
    let first = change.say(message);
    let until = clock.now();
    change.row().turn = Some(Turn { token: clock.new_id(), until });
    let begun = change.commit.next.clone();
    assert_eq!(store.commit(change.commit).await.unwrap(), Committed::Done);
    let mut change = Change::on(&begun, clock);
    let mut reply = change.message(Sender::AiAgent, None, "Open Contacts, choose Export, then CSV. ".repeat(8));
    reply.citations = vec![Citation {
        article: "0190a0a0-0000-7000-8000-000000000001".into(),
        version: 1,
        title: "Export contacts".into(),
        url: String::new(),
        quote: "choose Export, then CSV".into(),
    }];
    let analysis = Analysis { intent: Some("export_data".into()), confidence: Some(0.93), ..Analysis::default() };
    reply.analysis = analysis.clone();
    let reply_seq = change.say(reply);
    change.commit.answered = Some(Answered { seqs: (first, first), reply_seq, analysis });
    change.commit.receipt = Some(json!({ "rung": "extract", "rules": ["greeting", "how_to"], "confidence": 0.93 }));
    change.row().turn = None;
    let next = change.commit.next.clone();
    assert_eq!(store.commit(change.commit).await.unwrap(), Committed::Done);
    next
}

/// Seconds of both cores that a process and its children, ended ones too, have used.
fn cpu(pid: &str) -> f64 {
    let of = |pid: &str| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<f64> = line
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(11)
            .take(4)
            .filter_map(|f| f.parse().ok())
            .collect();
        // A tick is a hundredth everywhere.
        fields.iter().sum::<f64>() / 100.0
    };
    let children = Command::new("pgrep").args(["-P", pid]).output().unwrap();
    of(pid) + String::from_utf8_lossy(&children.stdout).split_whitespace().map(of).sum::<f64>()
}

struct Figure {
    commits_per_s: f64,
    cpu_us: f64,
}

async fn turns(store: &Arc<dyn Store>, time: Duration, server: Option<&str>) -> Figure {
    let (clock, org) = (Clock::system(), Uuid::now_v7());
    let mut rows = Vec::new();
    for _ in 0..WRITERS {
        rows.push(created(&**store, org, &clock).await);
    }
    let used = || cpu("self") + server.map_or(0.0, cpu);
    let (before, begun) = (used(), Instant::now());
    let tasks: Vec<_> = rows
        .into_iter()
        .map(|mut row| {
            let (store, clock) = (store.clone(), clock.clone());
            tokio::spawn(async move {
                let mut count = 0u32;
                while begun.elapsed() < time {
                    row = turn(&*store, row, &clock).await;
                    count += 2;
                }
                count
            })
        })
        .collect();
    let mut commits = 0.0;
    for task in tasks {
        commits += f64::from(task.await.unwrap());
    }
    let seconds = begun.elapsed().as_secs_f64();
    Figure { commits_per_s: commits / seconds, cpu_us: (used() - before) * 1e6 / commits }
}

/// Reads what a turn needs of a long conversation; p50 and p99 in milliseconds.
async fn context(store: &dyn Store) -> (f64, f64) {
    let clock = Clock::system();
    let mut row = created(store, Uuid::now_v7(), &clock).await;
    while row.seq < LONG {
        row = turn(store, row, &clock).await;
    }
    let mut times = Vec::with_capacity(READS);
    for n in 0..READS + 100 {
        let at = Instant::now();
        let loaded = store.load(row.org, row.id).await.unwrap().unwrap();
        let history = store.history(row.org, row.id, loaded.seq, WINDOW).await.unwrap();
        assert_eq!((loaded.seq, history.len()), (row.seq, WINDOW as usize));
        // The first ones only warm up.
        if n >= 100 {
            times.push(at.elapsed());
        }
    }
    times.sort();
    let ms = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    (ms(50), ms(99))
}

/// pgbench's simple update with as many clients.
fn pgbench(bin: &Path, url: &str, time: Duration, server: &str) -> Figure {
    let run = |args: &[&str]| {
        let done = Command::new(bin.join("pgbench")).args(args).arg(url).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    run(&["-i", "-q", "-s", "10"]);
    let (clients, seconds) = (CONNECTIONS.to_string(), time.as_secs().to_string());
    // Ended children, pgbench itself among them, are counted with this process.
    let before = cpu("self") + cpu(server);
    let told = run(&["-N", "-n", "-M", "prepared", "-c", &clients, "-j", "2", "-T", &seconds]);
    let used = cpu("self") + cpu(server) - before;
    let number = |marker: &str| {
        let line = told.lines().find(|l| l.starts_with(marker)).unwrap();
        line[marker.len()..]
            .trim()
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    Figure {
        commits_per_s: number("tps = "),
        cpu_us: used * 1e6 / number("number of transactions actually processed: "),
    }
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let time = Duration::from_secs(args.first().and_then(|a| a.parse().ok()).unwrap_or(5));
    let place = args.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let vault = Vault::new(&Secret::new("1:c3dpdGNoYm9hcmQgdGVzdHM6IGEgbWFzdGVyIGtleS4=")).unwrap();
    let folder = tempfile::tempdir_in(place).unwrap();
    let (store, _) = store::open(&Ledger::Sqlite(folder.path().to_owned()), vault.clone()).await.unwrap();
    let figure = turns(&store, time, None).await;
    println!(
        "| SQLite: turns, {WRITERS} writers | {:.0}/s, {:.0} us CPU each | ≥ 5,000/s |",
        figure.commits_per_s / 2.0,
        figure.cpu_us * 2.0
    );
    let (p50, p99) = context(&*store).await;
    println!(
        "| SQLite: context of a conversation of {LONG} messages | p50 {p50:.2} ms, p99 {p99:.2} ms | p99 < 2 ms |"
    );
    store.close().await;
    let [_, _, url, bin, pid] = args.as_slice() else { return };
    let floor = pgbench(Path::new(bin), url, time, pid);
    let ledger = Ledger::Postgres(PostgresAt { url: Secret::new(url.as_str()), connections: CONNECTIONS * 2 });
    store::MIGRATIONS.apply(&ledger).await.unwrap();
    let (store, mut condition) = store::open(&ledger, vault).await.unwrap();
    condition.until_well().await;
    let figure = turns(&store, time, Some(pid)).await;
    println!(
        "| PostgreSQL: commits of turns, {WRITERS} writers | {:.0}/s, {:.0} us CPU each | |",
        figure.commits_per_s, figure.cpu_us
    );
    println!(
        "| its floor: pgbench simple update, {CONNECTIONS} clients | {:.0}/s, {:.0} us CPU each | |",
        floor.commits_per_s, floor.cpu_us
    );
    println!(
        "| PostgreSQL beside its floor | {:.0} % of the rate, {:.1} × the CPU | ≥ 60 %, ≤ 2 × |",
        100.0 * figure.commits_per_s / floor.commits_per_s,
        figure.cpu_us / floor.cpu_us
    );
    let (p50, p99) = context(&*store).await;
    println!(
        "| PostgreSQL: context of a conversation of {LONG} messages | p50 {p50:.2} ms, p99 {p99:.2} ms | p99 < 2 ms |"
    );
    store.close().await;
}
