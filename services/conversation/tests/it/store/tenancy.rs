//! Law 5: nothing of one organization is seen or changed under another, through the port or past it.
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use switchboard_conversation::{
    change::Change,
    error::Error,
    model::{ActionStatus, Note, Sender},
    store::{By, Committed, Entry, Store},
};
use switchboard_runtime::Clock;
use switchboard_testkit::servers::{self, with_database};
use uuid::Uuid;

use super::{
    bed::{Bed as _, PostgresBed},
    plant::{change, later, now, planted, say, start},
};

/// Another tenant tries every method of the port on the rows of the first.
pub async fn nothing_is_reached_through_the_port(store: &dyn Store) {
    let (mine, theirs, user) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let secret = planted(store, mine, user, "secret").await;
    let before = now(store, &secret.row).await;
    let id = before.id;
    // The other tenant has rows too, so that its lists are not empty for want of any.
    let own = planted(store, theirs, user, "own").await;

    assert_eq!(store.load(theirs, id).await.expect("reads"), None);
    assert!(store.messages(theirs, id, 0, 10).await.expect("reads").is_empty());
    assert!(store.history(theirs, id, 10, 10).await.expect("reads").is_empty());
    assert!(store.latest_messages(theirs, id, 10, 10).await.expect("reads").is_empty());
    assert!(store.events(theirs, id, 0, 10).await.expect("reads").is_empty());
    assert_eq!(store.message_by_client_id(theirs, id, Sender::User, "client-1").await.expect("reads"), None);
    assert_eq!(store.outcome_of(theirs, id, 1).await.expect("reads"), None);
    assert_eq!(store.receipt(theirs, id, secret.reply.id).await.expect("reads"), None);
    assert_eq!(store.metrics(theirs, id).await.expect("reads").total, 0);
    let (list, _) = store.list(theirs, None, None, 10, "").await.expect("reads");
    assert_eq!(list.iter().map(|c| c.id).collect::<Vec<_>>(), [own.row.id]);
    let (list, _) = store.list(theirs, Some(user), None, 10, "").await.expect("reads");
    assert_eq!(list.len(), 1, "the same user id in another organization is another person");
    let (queue, _) = store.queue(theirs, 10, "").await.expect("reads");
    assert_eq!(queue.iter().map(|c| c.id).collect::<Vec<_>>(), [own.row.id]);
    assert!(store.hand_offs(theirs, id).await.expect("reads").is_empty());
    assert!(store.drafts(theirs, id).await.expect("reads").is_empty());
    assert!(store.notes(theirs, id).await.expect("reads").is_empty());
    let (citing, _) = store.citing(theirs, "article-1", None, 10, "").await.expect("reads");
    assert_eq!(citing.iter().map(|a| a.conversation).collect::<Vec<_>>(), [own.row.id]);
    assert!(store.effects_by_key(theirs, std::slice::from_ref(&secret.effect.key)).await.expect("reads").is_empty());
    let (effects, _) = store.effects(theirs, None, 10, "").await.expect("reads");
    assert_eq!(effects.iter().map(|e| e.id).collect::<Vec<_>>(), [own.effect.id]);
    assert!(store.effects_of(theirs, id).await.expect("reads").is_empty());
    assert_eq!(store.by_case(theirs, &format!("C-{id}")).await.expect("reads"), None);
    assert!(!store.expired(theirs, later(1000), 10).await.expect("reads").contains(&id));
    assert_eq!(store.erasure(theirs, user).await.expect("reads"), None);
    assert!(store.audit_rows(theirs, 0, 10).await.expect("reads").is_empty());

    let mut forged = before.clone();
    forged.org = theirs;
    assert_eq!(say(store, &forged, "forged", None).await, Committed::Conflict);
    let clock = Clock::manual(start());
    let mut stray = Change::on(&forged, &clock);
    stray.commit.draft_sent = Some(secret.draft.id);
    assert_eq!(store.commit(stray.commit).await.expect("answers"), Committed::Conflict);
    let note = Note { id: Uuid::now_v7(), author: user, content: "forged".into(), created_at: start() };
    let refused = store.add_note(theirs, id, note, None).await;
    assert!(matches!(refused, Err(Error::ConversationNotFound(_))), "{refused:?}");
    let mut effect = secret.effect.clone();
    (effect.org, effect.status) = (theirs, ActionStatus::Cancelled);
    store.save_effect(&effect).await.expect("changes nothing");
    // An effect and a hand-off of mine, in a commit on a row of theirs.
    (effect.org, effect.status) = (mine, ActionStatus::Cancelled);
    let mut hand_off = secret.hand_off.clone();
    hand_off.reason = "forged".into();
    let clock = Clock::manual(start());
    let mut smuggled = Change::on(&now(store, &own.row).await, &clock);
    smuggled.commit.effects_changed = vec![effect];
    smuggled.commit.draft_sent = Some(secret.draft.id);
    assert_eq!(store.commit(smuggled.commit).await.expect("answers"), Committed::DraftGone);
    assert!(!store.delete_conversation(theirs, id).await.expect("answers"));
    assert_eq!(store.export_person(theirs, Uuid::now_v7(), by()).await.expect("exports")["conversations"], json!([]));
    store.set_cursor(theirs, "salesforce", "99").await.expect("sets");
    store.audit(theirs, by(), Entry::person("person_exported", user)).await.expect("logs");
    store.begin_erasure(theirs, user, user, start()).await.expect("begins");
    let erased = store.erase_person(theirs, user, by()).await.expect("erases their own");
    assert_eq!((erased.conversations, erased.keys), (1, 1));

    // All of mine is as it was.
    assert_eq!(now(store, &secret.row).await, before);
    assert_eq!(store.messages(mine, id, 0, 10).await.expect("reads").len(), 2);
    assert_eq!(store.effects_of(mine, id).await.expect("reads"), [secret.effect]);
    assert_eq!(store.hand_offs(mine, id).await.expect("reads"), [secret.hand_off]);
    assert_eq!(store.drafts(mine, id).await.expect("reads"), [secret.draft]);
    assert_eq!(store.notes(mine, id).await.expect("reads"), [secret.note]);
    assert_eq!(store.cursor(mine, "salesforce").await.expect("reads").as_deref(), Some("42"));
    assert_eq!(store.erasure(mine, user).await.expect("reads"), None);
    assert!(store.audit_rows(mine, 0, 10).await.expect("reads").is_empty());
}

fn by() -> By {
    By { actor: Uuid::now_v7(), now: start() }
}

/// A connection that acts as the service, or as its worker, without the adapter's help.
async fn raw(bed: &PostgresBed, role: &str, org: Option<Uuid>) -> PgConnection {
    let mut connection = PgConnection::connect(&bed.0.url).await.expect("connects");
    let setting = org.map(|org| format!("SET app.current_org_id = '{org}';")).unwrap_or_default();
    let sql = format!("SET search_path = conversation; {setting} SET ROLE {role}");
    connection.execute(AssertSqlSafe(sql)).await.expect("sets");
    connection
}

/// Tables that belong to no organization: leases of duties.
const NOBODYS: [&str; 1] = ["duties"];

#[tokio::test]
async fn row_security_holds_a_raw_connection() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let store = bed.open(servers::vault()).await;
        let (mine, user) = (Uuid::now_v7(), Uuid::now_v7());
        let secret = planted(&*store, mine, user, "secret").await;
        change(&*store, &secret.row, |change| _ = change.tell("tick")).await;
        store.begin_erasure(mine, user, user, start()).await.expect("begins");
        planted(&*store, Uuid::now_v7(), user, "own").await;
        let tables: Vec<String> = bed.tables().await.into_iter().filter(|t| !NOBODYS.contains(&t.as_str())).collect();
        for org in [None, Some(Uuid::now_v7())] {
            let mut connection = raw(&bed, "switchboard_conversation", org).await;
            for table in &tables {
                // Partitions are granted to nobody: they are reached through the whole log, or not at all.
                if table.starts_with("activity_log_") {
                    let refused = connection.execute(AssertSqlSafe(format!("SELECT FROM {table}"))).await;
                    assert!(refused.expect_err("refused").to_string().contains("permission denied"), "{table}");
                    continue;
                }
                let count: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
                    .fetch_one(&mut connection)
                    .await
                    .expect("counts");
                assert_eq!(count, 0, "{table} is seen");
                let touch = format!("UPDATE {table} SET organization_id = organization_id");
                let remove = format!("DELETE FROM {table} WHERE organization_id = '{mine}'");
                for sql in [touch, remove] {
                    match connection.execute(AssertSqlSafe(sql.clone())).await {
                        Ok(done) => assert_eq!(done.rows_affected(), 0, "{sql}"),
                        Err(error) => assert!(error.to_string().contains("permission denied"), "{sql}: {error}"),
                    }
                }
                // A row of mine, written by somebody else.
                let forged = forge(&mut connection, table, forged_row(&bed, mine, table).await).await;
                let error = forged.expect_err("refused").to_string();
                assert!(error.contains("row-level security"), "{table}: {error}");
            }
            connection.close().await.expect("closes");
        }
        assert_eq!(now(&*store, &secret.row).await.user, user);
        assert_eq!(store.messages(mine, secret.row.id, 0, 10).await.expect("reads").len(), 2);
        store.close().await;
    })
    .await;
}

/// A row that all constraints of a table would take, if it were one's own: a value of its type for each column that must
/// have one.
async fn forged_row(bed: &PostgresBed, org: Uuid, table: &str) -> serde_json::Value {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT column_name::text, data_type::text FROM information_schema.columns \
         WHERE table_schema = 'conversation' AND table_name = $1 AND is_nullable = 'NO' AND is_identity = 'NO'",
    )
    .bind(table)
    .fetch_all(&mut bed.owner().await)
    .await
    .expect("lists");
    let mut row = serde_json::Map::new();
    for (name, kind) in columns {
        let value = match (kind.as_str(), name.as_str()) {
            (_, "organization_id") => json!(org),
            ("uuid", _) => json!(Uuid::now_v7()),
            ("boolean", _) => json!(false),
            ("bytea", _) => json!("\\x00"),
            ("json" | "jsonb", _) => json!({}),
            ("timestamp with time zone", _) => json!("2026-03-02T10:00:00Z"),
            // Words of a fixed list.
            (_, "status") => json!(if table == "actions" { "pending" } else { "active" }),
            (_, "owner") => json!("ai"),
            (_, "channel") => json!("web"),
            (_, "sender_type") => json!("user"),
            (_, "content_type") => json!("text"),
            (_, "sink") => json!("bus"),
            (_, "kind") => json!("fact"),
            ("text", _) => json!("x"),
            _ => json!(1),
        };
        row.insert(name, value);
    }
    row.into()
}

/// Writes it.
async fn forge(
    connection: &mut PgConnection,
    table: &str,
    row: serde_json::Value,
) -> Result<sqlx::postgres::PgQueryResult, sqlx::Error> {
    let names: Vec<String> = row.as_object().expect("a row").keys().cloned().collect();
    let names = names.join(", ");
    let sql = format!("INSERT INTO {table} ({names}) SELECT {names} FROM jsonb_populate_record(NULL::{table}, $1)");
    sqlx::query(AssertSqlSafe(sql)).bind(row).execute(connection).await
}

#[tokio::test]
async fn a_row_cannot_hang_on_a_row_of_another_organization() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let store = bed.open(servers::vault()).await;
        let secret = planted(&*store, Uuid::now_v7(), Uuid::now_v7(), "secret").await;
        let theirs = Uuid::now_v7();
        let mut connection = raw(&bed, "switchboard_conversation", Some(theirs)).await;
        for table in ["messages", "status_events", "escalations", "actions", "drafts", "notes", "citations"] {
            let mut row = forged_row(&bed, theirs, table).await;
            row["conversation_id"] = json!(secret.row.id);
            let error = forge(&mut connection, table, row).await.expect_err("refused").to_string();
            assert!(error.contains("foreign key"), "{table}: {error}");
        }
        connection.close().await.expect("closes");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_worker_sees_no_content_and_writes_nothing() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let store = bed.open(servers::vault()).await;
        planted(&*store, Uuid::now_v7(), Uuid::now_v7(), "secret").await;
        let mut connection = raw(&bed, "switchboard_conversation_worker", None).await;
        let content: Vec<(String, String)> = sqlx::query_as(
            "SELECT table_name::text, column_name::text FROM information_schema.columns \
             WHERE table_schema = 'conversation' AND data_type IN ('bytea', 'jsonb') AND table_name <> 'outbox'",
        )
        .fetch_all(&mut bed.owner().await)
        .await
        .expect("lists");
        assert!(content.len() > 20);
        for (table, column) in content {
            let refused = connection.execute(AssertSqlSafe(format!("SELECT {column} FROM {table}"))).await;
            let error = refused.expect_err("refused").to_string();
            assert!(error.contains("permission denied"), "{table}.{column}: {error}");
        }
        for table in bed.tables().await {
            let refused = connection.execute(AssertSqlSafe(format!("DELETE FROM {table}"))).await;
            let error = refused.expect_err("refused").to_string();
            assert!(error.contains("permission denied"), "{table}: {error}");
        }
        connection.close().await.expect("closes");
        store.close().await;
    })
    .await;
}
