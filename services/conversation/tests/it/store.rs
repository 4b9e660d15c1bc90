//! The laws of the ledger, as plain functions over the port; run on every adapter.
use jiff::Timestamp;
use switchboard_conversation::{
    change::Change,
    machine::{Owner, Status},
    model::{Conversation, EventKind, Note, Sender, State},
    store::{Committed, NewConversation, Store, sqlite::SqliteStore},
};
use switchboard_runtime::Clock;
use tempfile::tempdir;
use uuid::Uuid;

fn row(org: Uuid, user: Uuid) -> Conversation {
    let now = Timestamp::from_second(1_772_445_600).expect("time");
    Conversation {
        id: Uuid::now_v7(),
        org,
        user,
        channel: "web".into(),
        status: Status::Active,
        owner: Owner::Ai,
        seq: 0,
        owner_epoch: 0,
        assigned_to: None,
        language: "en".into(),
        metadata: serde_json::json!({"a": [1, "ü"]}).as_object().cloned().expect("object"),
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

async fn created(store: &dyn Store) -> Conversation {
    let row = row(Uuid::now_v7(), Uuid::now_v7());
    let new = NewConversation { row: row.clone(), request_id: None, fingerprint: String::new() };
    assert!(store.create(new).await.expect("creates").is_none());
    row
}

async fn say(store: &dyn Store, before: &Conversation, text: &str, client_id: Option<&str>) -> Committed {
    let clock = Clock::manual(before.created_at);
    let mut change = Change::on(before, &clock);
    let mut message = change.message(Sender::User, Some(before.user), text);
    message.client_message_id = client_id.map(str::to_owned);
    change.say(message);
    store.commit(change.commit).await.expect("answers")
}

async fn what_was_written_is_read(store: &dyn Store) {
    let before = created(store).await;
    assert_eq!(store.load(before.org, before.id).await.expect("reads").as_ref(), Some(&before));
    let text = "a \"quoted\" <b>SELECT</b> & DROP; \u{1f}'";
    assert_eq!(say(store, &before, text, None).await, Committed::Done);
    let messages = store.messages(before.org, before.id, 0, 10).await.expect("reads");
    assert_eq!(messages.iter().map(|m| (m.seq, m.content.as_str())).collect::<Vec<_>>(), [(1, text)]);
}

async fn a_stale_write_is_refused_whole(store: &dyn Store) {
    let before = created(store).await;
    assert_eq!(say(store, &before, "first", None).await, Committed::Done);
    assert_eq!(say(store, &before, "second", None).await, Committed::Conflict);
    let now = store.load(before.org, before.id).await.expect("reads").expect("is there");
    assert_eq!(now.seq, 1);
    let mut other_epoch = now.clone();
    other_epoch.owner_epoch = 7;
    assert_eq!(say(store, &other_epoch, "third", None).await, Committed::Conflict);
    assert_eq!(store.messages(before.org, before.id, 0, 10).await.expect("reads").len(), 1);
}

async fn events_are_numbered_by_one(store: &dyn Store) {
    let first = created(store).await;
    for i in 0..5 {
        let before = store.load(first.org, first.id).await.expect("reads").expect("is there");
        let clock = Clock::manual(first.created_at);
        let mut change = Change::on(&before, &clock);
        if i % 2 == 0 {
            change.tell("tick");
        }
        let message = change.message(Sender::System, None, "x");
        change.say(message);
        assert_eq!(store.commit(change.commit).await.expect("commits"), Committed::Done);
    }
    let events = store.events(first.org, first.id, 0, 100).await.expect("reads");
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert_eq!(events.iter().filter(|e| matches!(e.kind, EventKind::Status(_))).count(), 3);
    assert_eq!(store.events(first.org, first.id, 6, 100).await.expect("reads").len(), 2);
    assert_eq!(
        store.events(first.org, first.id, 2, 3).await.expect("reads").iter().map(|e| e.seq).collect::<Vec<_>>(),
        [3, 4, 5]
    );
}

async fn the_same_key_twice_is_once(store: &dyn Store) {
    let before = created(store).await;
    assert_eq!(say(store, &before, "hello", Some("id")).await, Committed::Done);
    let now = store.load(before.org, before.id).await.expect("reads").expect("is there");
    assert_eq!(say(store, &now, "hello", Some("id")).await, Committed::DuplicateMessage);
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    let new = |fingerprint: &str| NewConversation {
        row: row(org, user),
        request_id: Some("r".into()),
        fingerprint: fingerprint.into(),
    };
    let first = new("one");
    assert!(store.create(first.clone()).await.expect("creates").is_none());
    let (earlier, fingerprint) = store.create(new("two")).await.expect("answers").expect("is there");
    assert_eq!((earlier.id, fingerprint.as_str()), (first.row.id, "one"));
    let note = |text: &str| Note { id: Uuid::now_v7(), author: user, content: text.into(), created_at: now.created_at };
    let one = store.add_note(before.org, before.id, note("one"), Some("n")).await.expect("adds");
    let two = store.add_note(before.org, before.id, note("two"), Some("n")).await.expect("answers");
    assert_eq!(one, two);
}

async fn tenants_are_apart(store: &dyn Store) {
    let mine = created(store).await;
    let theirs = Uuid::now_v7();
    assert_eq!(say(store, &mine, "secret", None).await, Committed::Done);
    assert_eq!(store.load(theirs, mine.id).await.expect("reads"), None);
    assert!(store.messages(theirs, mine.id, 0, 10).await.expect("reads").is_empty());
    assert!(store.events(theirs, mine.id, 0, 10).await.expect("reads").is_empty());
    let (list, _) = store.list(theirs, None, None, 10, "").await.expect("reads");
    assert!(list.is_empty());
    let mut forged = store.load(mine.org, mine.id).await.expect("reads").expect("is there");
    forged.org = theirs;
    assert_eq!(say(store, &forged, "forged", None).await, Committed::Conflict);
}

async fn pages_hold_each_row_once(store: &dyn Store) {
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    for _ in 0..7 {
        let new = NewConversation { row: row(org, user), request_id: None, fingerprint: String::new() };
        store.create(new).await.expect("creates");
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (rows, next) = store.list(org, Some(user), Some(Status::Active), 3, &after).await.expect("reads");
        seen.extend(rows.into_iter().map(|c| c.id));
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    let unique: std::collections::HashSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), unique.len()), (7, 7));
}

async fn suite(store: &dyn Store) {
    what_was_written_is_read(store).await;
    a_stale_write_is_refused_whole(store).await;
    events_are_numbered_by_one(store).await;
    the_same_key_twice_is_once(store).await;
    tenants_are_apart(store).await;
    pages_hold_each_row_once(store).await;
}

#[tokio::test]
async fn sqlite_keeps_the_laws() {
    let folder = tempdir().expect("folder");
    suite(&SqliteStore::open(folder.path()).await.expect("opens")).await;
}

#[tokio::test]
async fn sqlite_keeps_what_it_acknowledged() {
    let folder = tempdir().expect("folder");
    let store = SqliteStore::open(folder.path()).await.expect("opens");
    let before = created(&store).await;
    assert_eq!(say(&store, &before, "kept", None).await, Committed::Done);
    // As a process that dies leaves it: the log is there, nobody closed the file.
    let copy = tempdir().expect("folder");
    for file in std::fs::read_dir(folder.path()).expect("reads").flatten() {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).expect("copies");
    }
    let after = SqliteStore::open(copy.path()).await.expect("opens");
    assert_eq!(after.messages(before.org, before.id, 0, 10).await.expect("reads")[0].content, "kept");
}

#[tokio::test]
async fn a_damaged_file_says_what_to_do() {
    let folder = tempdir().expect("folder");
    std::fs::write(
        folder.path().join("conversation.db"),
        "this is no database, it is a letter to a friend".repeat(100),
    )
    .expect("writes");
    let error = SqliteStore::open(folder.path()).await.expect_err("refused").to_string();
    assert!(error.contains("damaged or not a database") && error.contains("restore it from a backup"), "{error}");
}

#[tokio::test]
async fn a_newer_file_says_what_to_do() {
    let folder = tempdir().expect("folder");
    let store = SqliteStore::open(folder.path()).await.expect("opens");
    store.close().await;
    let url = format!("sqlite:{}", folder.path().join("conversation.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.expect("opens");
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (9999, 'later', '2030-01-01', 1, x'00', 1)")
        .execute(&pool)
        .await
        .expect("writes");
    pool.close().await;
    let error = SqliteStore::open(folder.path()).await.expect_err("refused").to_string();
    assert!(error.contains("newer version of Switchboard (migration 9999)"), "{error}");
}
