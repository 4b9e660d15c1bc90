//! What each method of the adapter really asks finds its rows by the index that was made for it, with thousands of others
//! beside them. What PostgreSQL itself counted decides, not a copy of the statements.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use switchboard_conversation::{
    error::Error,
    machine::Status,
    model::Sender,
    outbox::{Kind, Sink, Waiting},
    store::{By, Committed, NewConversation, Store},
};
use switchboard_testkit::servers::{self, with_database};
use uuid::Uuid;

use super::{
    bed::{Bed as _, PostgresBed},
    plant::{Planted, change, later, planted, row, say, start},
};

/// The indexes of each method, as they are checked in.
const KNOWN: &str = include_str!("indexes/known.txt");
/// Set to write the file anew.
const WRITE: &str = "SWITCHBOARD_WRITE_INDEXES";
/// Tables below this many rows may be read whole: it is less work.
const SMALL: i64 = 1000;
/// Tables of the roll-ups, which have a port of their own.
const OTHERS: [&str; 3] = ["outcomes", "conversation_metrics", "intent_patterns"];
/// A server that does not end a closed connection in this time hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// MD5 of `conversation 20`: a copy in the organization of the planted one.
const COPY: &str = "84dfaa21ffd1c85f98aa7203a2f448c5";

type Ask = for<'a> fn(&'a dyn Store, &'a Planted) -> BoxFuture<'a, ()>;

/// A method, and a call of it.
macro_rules! asks {
    ($($name:ident: |$store:ident, $p:ident| $call:expr;)*) => {
        &[$((stringify!($name), (|$store, $p| {
            Box::pin(async move {
                match $call.await {
                    // The copies were found; they were sealed for the one they are copies of.
                    Ok(_) | Err(Error::Sealed(_)) => {}
                    Err(error) => panic!("{}: {error}", stringify!($name)),
                }
            })
        }) as Ask)),*]
    };
}

const ASKS: &[(&str, Ask)] = asks! {
    create: |s, p| s.create(NewConversation { row: row(p.row.org, p.row.user), request_id: Some("request".into()), fingerprint: String::new() });
    load: |s, p| s.load(p.row.org, p.row.id);
    commit: |s, p| said(s, p);
    messages: |s, p| s.messages(p.row.org, p.row.id, 0, 50);
    history: |s, p| s.history(p.row.org, p.row.id, 9, 50);
    latest_messages: |s, p| s.latest_messages(p.row.org, p.row.id, 9, 50);
    events: |s, p| s.events(p.row.org, p.row.id, 0, 50);
    message_by_client_id: |s, p| s.message_by_client_id(p.row.org, p.row.id, Sender::User, "client-1");
    outcome_of: |s, p| s.outcome_of(p.row.org, p.row.id, 1);
    receipt: |s, p| s.receipt(p.row.org, p.row.id, p.reply.id);
    metrics: |s, p| s.metrics(p.row.org, p.row.id);
    list: |s, p| s.list(p.row.org, None, None, 1, "");
    list_of_user: |s, p| s.list(p.row.org, Some(p.row.user), None, 20, "");
    list_by_status: |s, p| s.list(p.row.org, None, Some(Status::Escalated), 1, "");
    queue: |s, p| s.queue(p.row.org, 1, "");
    hand_offs: |s, p| s.hand_offs(p.row.org, p.row.id);
    drafts: |s, p| s.drafts(p.row.org, p.row.id);
    notes: |s, p| s.notes(p.row.org, p.row.id);
    citing: |s, p| s.citing(p.row.org, "article-1", None, 20, "");
    effects_by_key: |s, p| s.effects_by_key(p.row.org, std::slice::from_ref(&p.effect.key));
    effects: |s, p| s.effects(p.row.org, None, 1, "");
    effects_by_status: |s, p| s.effects(p.row.org, Some("failed"), 1, "");
    effects_of: |s, p| s.effects_of(p.row.org, p.row.id);
    claim_effects: |s, _p| s.claim_effects(later(86_400), later(86_500), 1);
    save_effect: |s, p| s.save_effect(&p.effect);
    by_case: |s, p| s.by_case(p.row.org, "case 20");
    unanswered: |s, _p| s.unanswered(later(0), 50);
    idle: |s, _p| s.idle(later(-86_400), 50);
    breached: |s, _p| s.breached(later(0), 50);
    outbox: |s, _p| s.outbox(Sink::Outcomes, 50);
    outbox_done: |s, p| s.outbox_done(&[gone(p)]);
    cursor: |s, p| s.cursor(p.row.org, "feed");
    organizations: |s, _p| s.organizations();
    expired: |s, p| s.expired(p.row.org, later(0), 50);
    erasure: |s, p| s.erasure(p.row.org, p.row.user);
    open_erasures: |s, _p| s.open_erasures(50);
    audit_rows: |s, p| s.audit_rows(p.row.org, 0, 50);
    rewrap_keys: |s, _p| s.rewrap_keys(50);
    delete_conversation: |s, p| s.delete_conversation(p.row.org, p.row.previous.expect("another one"));
    erase_person: |s, p| s.erase_person(p.row.org, p.row.user, By { actor: p.row.user, now: start() });
};

async fn said(store: &dyn Store, p: &Planted) -> Result<(), Error> {
    assert_eq!(say(store, &p.row, "hello", Some("client-9")).await, Committed::Done);
    Ok(())
}

fn gone(p: &Planted) -> Waiting {
    Waiting {
        position: 7,
        kind: Kind::Fact,
        org: p.row.org,
        conversation: p.row.id,
        user: p.row.user,
        seq: 1,
        at: start(),
        body: vec![],
    }
}

/// How often each index was used and each large table was read whole.
async fn counted(connection: &mut PgConnection) -> BTreeMap<String, i64> {
    let scans: Vec<(String, i64)> = sqlx::query_as(
        "SELECT indexrelname::text, idx_scan FROM pg_stat_user_indexes WHERE schemaname = 'conversation' \
         UNION ALL SELECT 'ALL OF ' || s.relname, s.seq_scan FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid \
         WHERE s.schemaname = 'conversation' AND c.reltuples >= $1",
    )
    .bind(SMALL as f32)
    .fetch_all(connection)
    .await
    .expect("counts");
    scans.into_iter().collect()
}

/// Partitions are of the month in which the test runs.
fn any_month(index: String) -> String {
    if index.starts_with("activity_log_") { "activity_log_MONTH_pkey".to_owned() } else { index }
}

/// Waits until the connections of a closed store have ended, and with it told what they counted.
async fn ended(connection: &mut PgConnection) {
    let wait = async {
        loop {
            let left: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'switchboard-%'",
            )
            .fetch_one(&mut *connection)
            .await
            .expect("counts");
            if left == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("they end");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_finds_its_rows_by_an_index() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let store = bed.open(servers::vault()).await;
        let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
        let mut planted = planted(&*store, org, user, "plan").await;
        planted.row = change(&*store, &planted.row, |change| _ = change.tell("tick")).await;
        store.close().await;
        bed.meddle(&include_str!("indexes/fill.sql").replace("$org", &format!("'{org}'"))).await;
        let mut connection = bed.owner().await;
        connection.execute("ANALYZE").await.expect("analyzes");
        // Stands for another conversation of the organization.
        planted.row.previous = Some(Uuid::parse_str(COPY).expect("an id"));
        // A statement that is asked often has one plan for all values: the harder case for partial indexes.
        let generic = format!("ALTER DATABASE {} SET plan_cache_mode = force_generic_plan", bed.0.name);
        connection.execute(AssertSqlSafe(generic)).await.expect("sets");
        // Those that are there for queries: others keep what must be unique.
        let made: Vec<String> = sqlx::query_scalar(
            "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indrelid \
             WHERE c.relnamespace = 'conversation'::regnamespace AND NOT indisunique AND c.relname <> ALL($1)",
        )
        .bind(OTHERS)
        .fetch_all(&mut connection)
        .await
        .expect("lists");
        assert!(made.len() > 10, "{made:?}");
        let mut found = String::new();
        for (name, ask) in ASKS {
            ended(&mut connection).await;
            let before = counted(&mut connection).await;
            let store = bed.open(servers::vault()).await;
            ask(&*store, &planted).await;
            store.close().await;
            ended(&mut connection).await;
            let after = counted(&mut connection).await;
            let used = after.into_iter().filter(|(index, scans)| scans > before.get(index).unwrap_or(&0));
            let used = used.map(|(index, _)| index).filter(|index| index != "_sqlx_migrations_pkey");
            let used: BTreeSet<String> = used.map(any_month).collect();
            writeln!(found, "{name}: {}", Vec::from_iter(used).join(", ")).expect("writes");
        }
        connection.close().await.expect("closes");
        if std::env::var_os(WRITE).is_some() {
            let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/store/indexes/known.txt");
            std::fs::write(file, &found).expect("writes");
        }
        assert!(!found.contains("ALL OF"), "a large table is read whole:\n{found}");
        let changed: Vec<&str> = found.lines().filter(|line| !KNOWN.lines().any(|known| known == *line)).collect();
        assert!(changed.is_empty(), "if that is meant, run this test with {WRITE}=1:\n{}", changed.join("\n"));
        assert_eq!(found.lines().count(), KNOWN.lines().count());
        let unused: Vec<String> = made.into_iter().filter(|index| !found.contains(index.as_str())).collect();
        assert!(unused.is_empty(), "every write keeps them up and nothing asks for them: {unused:?}");
    })
    .await;
}
