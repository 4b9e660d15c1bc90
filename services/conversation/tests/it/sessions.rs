//! The laws of the session store, as plain functions over the port, and what its documents are good for; run on every adapter.
use std::{collections::BTreeSet, path::Path, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use switchboard_conversation::{
    bus::memory::MemoryBus,
    model::{Conversation, Message, Sender},
    outbox::{Kind, Sink},
    relay::Relay,
    sessions::{Archive, Document, SCHEMA, Sessions, sqlite::SqliteSessions},
    store::By,
};
use switchboard_testkit::servers::with_database;
use tempfile::tempdir;
use uuid::Uuid;

use crate::rig::{Rig, Say};

#[cfg(feature = "mongodb")]
mod mongodb;

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_772_445_600 + second, 123_456_000).expect("time")
}

fn document(org: Uuid, conversation: Uuid, kind: Kind, seq: u64, second: i64) -> Document {
    let body = format!("{conversation} {seq}\0\u{1}").into_bytes();
    Document { org, conversation, person: Uuid::now_v7(), kind, seq, at: at(second), schema: SCHEMA, body }
}

async fn insert(sessions: &dyn Sessions, documents: &[Document]) {
    sessions.insert(documents).await.expect("inserts");
}

async fn what_was_kept_is_read(sessions: &dyn Sessions) {
    assert!(sessions.is_empty().await.expect("answers"));
    let (org, conversation) = (Uuid::now_v7(), Uuid::now_v7());
    let kept = document(org, conversation, Kind::Capsule, u64::from(u32::MAX) + 7, 0);
    insert(sessions, std::slice::from_ref(&kept)).await;
    assert!(!sessions.is_empty().await.expect("answers"));
    let read = sessions.get(org, conversation, Kind::Capsule, kept.seq).await.expect("reads");
    assert_eq!(read.as_ref(), Some(&kept));
    assert_eq!(sessions.get(org, conversation, Kind::Snapshot, kept.seq).await.expect("reads"), None);
    assert_eq!(sessions.get(org, conversation, Kind::Capsule, 1).await.expect("reads"), None);
    insert(sessions, &[]).await;
}

async fn the_same_document_is_kept_once(sessions: &dyn Sessions) {
    let (org, conversation) = (Uuid::now_v7(), Uuid::now_v7());
    let first = document(org, conversation, Kind::Snapshot, 2, 0);
    insert(sessions, std::slice::from_ref(&first)).await;
    let other = Document { body: b"other".to_vec(), ..first.clone() };
    let next = document(org, conversation, Kind::Snapshot, 3, 0);
    // A repetition among new ones, before and after them, and twice the same in one call.
    insert(sessions, &[other.clone(), next.clone(), other, next.clone()]).await;
    let read = async |seq| sessions.get(org, conversation, Kind::Snapshot, seq).await.expect("reads");
    assert_eq!((read(2).await, read(3).await), (Some(first), Some(next)));
    // Two replicas with the same outbox.
    let both: Vec<Document> = (10..30).map(|seq| document(org, conversation, Kind::Capsule, seq, 0)).collect();
    let writers = (0..8).map(|_| sessions.insert(&both));
    for written in futures::future::join_all(writers).await {
        written.expect("inserts");
    }
    let (page, _) = sessions.since(org, Kind::Capsule, at(0), 100, "").await.expect("reads");
    assert_eq!(page.len(), 20);
}

async fn the_latest_is_of_the_highest_seq(sessions: &dyn Sessions) {
    let (org, conversation) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(sessions.latest(org, conversation).await.expect("reads"), None);
    // They may come in any order, and their times may stand still.
    for (kind, seq) in [(Kind::Snapshot, 9), (Kind::Capsule, 10), (Kind::Snapshot, 2), (Kind::Capsule, 4)] {
        insert(sessions, &[document(org, conversation, kind, seq, 0)]).await;
    }
    let latest = sessions.latest(org, conversation).await.expect("reads").expect("is there");
    assert_eq!((latest.kind, latest.seq), (Kind::Capsule, 10));
}

async fn pages_hold_each_document_once(sessions: &dyn Sessions) {
    let org = Uuid::now_v7();
    let mut all = Vec::new();
    for i in 0..25_u32 {
        let conversation = Uuid::now_v7();
        // Many at the same time.
        all.push(document(org, conversation, Kind::Capsule, 1, i64::from(i / 7)));
        all.push(document(org, conversation, Kind::Snapshot, 1, 0));
        all.push(document(Uuid::now_v7(), conversation, Kind::Capsule, 2, 0));
    }
    insert(sessions, &all).await;
    for size in [1, 4, 25, 100] {
        let (mut seen, mut after, mut last) = (BTreeSet::new(), String::new(), at(0));
        loop {
            let (page, next) = sessions.since(org, Kind::Capsule, at(0), size, &after).await.expect("reads");
            for document in page {
                assert!(document.at >= last, "oldest first");
                last = document.at;
                assert!(seen.insert(document.conversation), "once");
            }
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(seen.len(), 25, "in pages of {size}");
    }
    let since = |second| sessions.since(org, Kind::Capsule, at(second), 100, "");
    assert_eq!(since(2).await.expect("reads").0.len(), 11);
    assert_eq!(since(4).await.expect("reads").0.len(), 0);
    let (org, conversation) = (Uuid::now_v7(), Uuid::now_v7());
    let same: Vec<Document> =
        [100, 9, 10, 2].map(|seq| document(org, conversation, Kind::Capsule, seq, 0)).into_iter().collect();
    insert(sessions, &same).await;
    let (page, next) = sessions.since(org, Kind::Capsule, at(0), 3, "").await.expect("reads");
    assert_eq!(page.iter().map(|d| d.seq).collect::<Vec<_>>(), [2, 9, 10]);
    let (page, next) = sessions.since(org, Kind::Capsule, at(0), 3, &next.expect("more")).await.expect("reads");
    assert_eq!((page[0].seq, next), (100, None));
    sessions.since(org, Kind::Capsule, at(0), 10, "no token").await.expect_err("refused");
}

async fn tenants_are_apart(sessions: &dyn Sessions) {
    let (org, other, conversation) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    insert(sessions, &[document(org, conversation, Kind::Capsule, 1, 0)]).await;
    assert_eq!(sessions.get(other, conversation, Kind::Capsule, 1).await.expect("reads"), None);
    assert_eq!(sessions.latest(other, conversation).await.expect("reads"), None);
    assert!(sessions.since(other, Kind::Capsule, at(0), 10, "").await.expect("reads").0.is_empty());
    assert_eq!(sessions.erase(other, &[conversation]).await.expect("erases"), 0);
    assert_eq!(sessions.purge(Some(other), at(100), 10).await.expect("purges"), 0);
    assert!(sessions.get(org, conversation, Kind::Capsule, 1).await.expect("reads").is_some());
}

async fn what_is_erased_or_purged_is_gone(sessions: &dyn Sessions) {
    let (org, one, two, three) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let mut all = Vec::new();
    for conversation in [one, two, three] {
        for seq in 1..=5 {
            all.push(document(org, conversation, Kind::Capsule, seq, -1000 + seq as i64));
            all.push(document(org, conversation, Kind::Snapshot, seq, -1000 + seq as i64));
        }
    }
    insert(sessions, &all).await;
    assert_eq!(sessions.erase(org, &[]).await.expect("erases"), 0);
    assert_eq!(sessions.erase(org, &[one, two, Uuid::now_v7()]).await.expect("erases"), 20);
    assert_eq!(sessions.latest(org, one).await.expect("reads"), None);
    let left = |since| sessions.since(org, Kind::Capsule, at(since), 100, "");
    assert_eq!(left(-1000).await.expect("reads").0.len(), 5);
    // Older than the fourth: six documents, in two parts.
    assert_eq!(sessions.purge(Some(org), at(-996), 4).await.expect("purges"), 4);
    assert_eq!(sessions.purge(None, at(-996), 4).await.expect("purges"), 2);
    assert_eq!(sessions.purge(None, at(-996), 4).await.expect("purges"), 0);
    let seqs: Vec<u64> = left(-1000).await.expect("reads").0.iter().map(|d| d.seq).collect();
    assert_eq!(seqs, [4, 5]);
}

async fn newer_documents_are_passed_over(sessions: &dyn Sessions) {
    let (org, conversation) = (Uuid::now_v7(), Uuid::now_v7());
    let newer = |seq| Document { schema: SCHEMA + 1, ..document(org, conversation, Kind::Capsule, seq, -500) };
    insert(sessions, &[document(org, conversation, Kind::Capsule, 1, -500), newer(2), newer(3)]).await;
    assert_eq!(sessions.get(org, conversation, Kind::Capsule, 2).await.expect("reads"), None);
    assert_eq!(sessions.latest(org, conversation).await.expect("reads").expect("is there").seq, 1);
    let (page, _) = sessions.since(org, Kind::Capsule, at(-500), 10, "").await.expect("reads");
    assert_eq!(page.iter().map(|d| d.seq).collect::<Vec<_>>(), [1]);
    // A page of newer ones alone is not the end.
    let (first, next) = sessions.since(org, Kind::Capsule, at(-500), 1, "").await.expect("reads");
    assert_eq!(first.len(), 1);
    let (second, next) = sessions.since(org, Kind::Capsule, at(-500), 1, &next.expect("more")).await.expect("reads");
    assert!(second.is_empty() && next.is_some());
    assert_eq!(sessions.erase(org, &[conversation]).await.expect("erases"), 3);
    insert(sessions, &[newer(2)]).await;
    assert_eq!(sessions.purge(Some(org), at(0), 10).await.expect("purges"), 1);
}

async fn suite(sessions: &dyn Sessions) {
    what_was_kept_is_read(sessions).await;
    the_same_document_is_kept_once(sessions).await;
    the_latest_is_of_the_highest_seq(sessions).await;
    pages_hold_each_document_once(sessions).await;
    tenants_are_apart(sessions).await;
    what_is_erased_or_purged_is_gone(sessions).await;
    newer_documents_are_passed_over(sessions).await;
}

#[tokio::test]
async fn sqlite_keeps_the_laws() {
    let folder = tempdir().expect("folder");
    let sessions = SqliteSessions::open(folder.path()).await.expect("opens");
    suite(&sessions).await;
    let (org, conversation) = (Uuid::now_v7(), Uuid::now_v7());
    insert(&sessions, &[document(org, conversation, Kind::Snapshot, 1, 0)]).await;
    sessions.close().await;
    let again = SqliteSessions::open(folder.path()).await.expect("opens");
    assert!(again.latest(org, conversation).await.expect("reads").is_some(), "it survives a restart");
}

/// A relay into a session store, over the rig's ledger.
fn relay(rig: &Rig, sessions: Arc<dyn Sessions>) -> Relay {
    let relay = &rig.engine.relay;
    Relay::new(relay.store.clone(), Arc::new(MemoryBus::default()), sessions, relay.keep, &rig.engine.clock)
}

async fn carry(relay: &Relay) -> u64 {
    relay.carry(Sink::Sessions).await.expect("a store that is down is no error");
    relay.store.backlog(Sink::Sessions).await.expect("reads").rows
}

fn said(messages: &[Message]) -> Vec<(Sender, &str, Option<&str>)> {
    messages.iter().map(|m| (m.sender, m.content.as_str(), m.analysis.intent.as_deref())).collect()
}

/// The row without what changes without an event.
fn settled(row: &Conversation) -> Conversation {
    Conversation { turn: None, ..row.clone() }
}

/// What a turn was given is in its capsule, word for word with the ledger's messages.
async fn a_turn_can_be_given_again(sessions: Arc<dyn Sessions>, rig: Rig) {
    let relay = relay(&rig, sessions);
    let row = rig.begin().await;
    let mut asked = Vec::new();
    for text in ["my first words", "and more", "and the last"] {
        rig.engine.clock.advance(SignedDuration::from_secs(1));
        rig.say(&row, text).await.expect("answers");
        asked.extend(rig.mind.asked.lock().expect("lock").clone());
    }
    *rig.mind.say.lock().expect("lock") = Say::Fail;
    rig.say(&row, "nobody thinks now").await.expect("answers");
    assert_eq!(carry(&relay).await, 0);
    let archive = relay.archive();
    let (turns, next) = archive.turns(rig.org, Timestamp::MIN, 10, "").await.expect("reads");
    assert_eq!((turns.len(), next), (4, None));
    for (session, asked) in turns.iter().zip(&asked) {
        let capsule = session.turn.as_ref().expect("a turn");
        assert_eq!(capsule.before, asked.conversation);
        assert_eq!((capsule.user_messages, capsule.now), (asked.user_messages, asked.now));
        let (past, burst) = archive.words(capsule).await.expect("reads");
        assert_eq!(said(&past), said(&asked.history));
        assert_eq!(burst.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n"), asked.text);
        let reply = session.reply.expect("a reply");
        let reply = rig.engine.store.messages(rig.org, row.id, reply - 1, 1).await.expect("reads").remove(0);
        assert_eq!(reply.content, capsule.thought.reply);
        assert_eq!(capsule.thought.receipt["intent"], "test");
    }
    let failed = turns[3].turn.as_ref().expect("a turn");
    assert_eq!(failed.thought.receipt["failed"], "AI_PROCESSING_FAILED");
    let latest = archive.latest(rig.org, row.id).await.expect("reads").expect("is there");
    assert_eq!(settled(&latest.state), settled(&rig.load(&row).await));
    relay.release().await;
}

/// A reply that came too late is a draft, and its turn has a capsule all the same.
async fn a_turn_that_came_too_late_is_kept(sessions: Arc<dyn Sessions>, rig: Rig) {
    let relay = relay(&rig, sessions);
    let row = rig.begin().await;
    rig.mind.gate.forget_permits(1_000_000);
    let talk = async { rig.say(&row, "think hard").await };
    let take_over = async {
        rig.mind.thinking.acquire().await.expect("open").forget();
        rig.engine.assign(&rig.agent, row.id, None).await.expect("takes over");
        rig.mind.gate.add_permits(1);
    };
    let (said, ()) = tokio::join!(talk, take_over);
    assert_eq!(said.expect("answers").response, None);
    let drafted = async {
        while rig.engine.store.drafts(rig.org, row.id).await.expect("reads").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::bus::SOON, drafted).await.expect("a draft");
    assert_eq!(carry(&relay).await, 0);
    let (turns, _) = relay.archive().turns(rig.org, Timestamp::MIN, 10, "").await.expect("reads");
    let [session] = turns.as_slice() else { panic!("{turns:?}") };
    assert_eq!((session.reply, session.turn.as_ref().expect("a turn").thought.reply.as_str()), (None, "1: think hard"));
    relay.release().await;
}

/// Words lie sealed in the store, and erasing their person makes them noise.
async fn an_erased_person_is_noise(sessions: Arc<dyn Sessions>, rig: Rig) {
    let relay = relay(&rig, sessions.clone());
    let row = rig.begin().await;
    rig.say(&row, "Zanzibar Müller").await.expect("answers");
    assert_eq!(carry(&relay).await, 0);
    let archive = relay.archive();
    let documents = async || {
        let (documents, _) = sessions.since(rig.org, Kind::Capsule, Timestamp::MIN, 10, "").await.expect("reads");
        documents
    };
    for document in documents().await {
        assert!(!document.body.windows(4).any(|w| w == b"Zanz" || w == b"\"sta"), "sealed");
        // Sealed for its own place: moved to another one it does not open.
        let open =
            async |seq| rig.engine.store.open_document(rig.org, row.id, Kind::Capsule, seq, &document.body).await;
        assert!(open(document.seq).await.expect("answers").is_some());
        assert!(open(document.seq + 1).await.expect("answers").is_none());
    }
    // More of it waits when the erasure comes; that goes too.
    rig.say(&row, "more of Zanzibar").await.expect("answers");
    rig.engine
        .store
        .erase_person(rig.org, rig.customer.user, By { actor: Uuid::nil(), now: rig.engine.clock.now() })
        .await
        .expect("erases");
    assert_eq!(rig.engine.store.backlog(Sink::Sessions).await.expect("reads").rows, 0);
    assert_eq!(documents().await.len(), 1, "the store was not there to be told");
    assert!(archive.turns(rig.org, Timestamp::MIN, 10, "").await.expect("reads").0.is_empty());
    assert_eq!(archive.latest(rig.org, row.id).await.expect("reads"), None);
    assert_eq!(sessions.erase(rig.org, &[row.id]).await.expect("erases"), 1);
    assert!(documents().await.is_empty());
    relay.release().await;
}

/// What is too old goes; with no time at all nothing comes.
async fn documents_are_kept_for_their_time(sessions: Arc<dyn Sessions>, rig: Rig) {
    let relay = relay(&rig, sessions.clone());
    let row = rig.begin().await;
    rig.say(&row, "hello").await.expect("answers");
    assert_eq!(carry(&relay).await, 0);
    rig.engine.clock.advance(SignedDuration::from_hours(24 * 20));
    rig.say(&row, "hello again").await.expect("answers");
    assert_eq!(carry(&relay).await, 0);
    relay.purge().await.expect("purges");
    let archive = relay.archive();
    assert_eq!(archive.turns(rig.org, Timestamp::MIN, 10, "").await.expect("reads").0.len(), 2);
    rig.engine.clock.advance(SignedDuration::from_hours(24 * 20));
    relay.purge().await.expect("purges");
    assert_eq!(archive.turns(rig.org, Timestamp::MIN, 10, "").await.expect("reads").0.len(), 1);
    let none = Relay::new(
        rig.engine.relay.store.clone(),
        Arc::new(MemoryBus::default()),
        sessions.clone(),
        std::time::Duration::ZERO,
        &rig.engine.clock,
    );
    rig.say(&row, "and once more").await.expect("answers");
    relay.release().await;
    assert_eq!(carry(&none).await, 0);
    assert_eq!(archive.turns(rig.org, Timestamp::MIN, 10, "").await.expect("reads").0.len(), 1);
    none.release().await;
}

/// A store that was lost gets the newest snapshots again from the ledger.
async fn a_lost_store_is_made_again(lost: Arc<dyn Sessions>, empty: Arc<dyn Sessions>, rig: Rig) {
    let before = relay(&rig, lost.clone());
    let mut rows = Vec::new();
    for n in 0..3 {
        let row = rig.begin().await;
        for _ in 0..=n {
            rig.say(&row, "hello").await.expect("answers");
        }
        rows.push(row);
    }
    assert_eq!(carry(&before).await, 0);
    before.release().await;
    // From here on another one takes its place, after a restart.
    let after = relay(&rig, empty);
    rig.say(&rows[0], "after the loss").await.expect("answers");
    assert_eq!(carry(&after).await, 0);
    let archive: Archive = after.archive();
    for row in &rows {
        let latest = archive.latest(rig.org, row.id).await.expect("reads").expect("was made again");
        assert_eq!(settled(&latest.state), settled(&rig.load(row).await));
    }
}

/// All of these, with a rig for each.
async fn uses(sessions: Arc<dyn Sessions>, empty: Arc<dyn Sessions>, rig: impl AsyncFn(&Path) -> Rig) {
    let folders: Vec<_> = (0..5).map(|_| tempdir().expect("folder")).collect();
    let rig = async |n: usize| rig(folders[n].path()).await;
    a_turn_can_be_given_again(sessions.clone(), rig(0).await).await;
    a_turn_that_came_too_late_is_kept(sessions.clone(), rig(1).await).await;
    an_erased_person_is_noise(sessions.clone(), rig(2).await).await;
    documents_are_kept_for_their_time(sessions.clone(), rig(3).await).await;
    a_lost_store_is_made_again(sessions, empty, rig(4).await).await;
}

async fn two_files() -> (Arc<SqliteSessions>, Arc<SqliteSessions>, [tempfile::TempDir; 2]) {
    let folders = [tempdir().expect("folder"), tempdir().expect("folder")];
    let open = async |folder: &Path| Arc::new(SqliteSessions::open(folder).await.expect("opens"));
    (open(folders[0].path()).await, open(folders[1].path()).await, folders)
}

#[tokio::test]
async fn documents_in_sqlite_are_of_use() {
    let (sessions, empty, _folders) = two_files().await;
    uses(sessions, empty, async |folder| Rig::start(folder).await).await;
}

#[tokio::test]
async fn documents_from_postgres_are_of_use() {
    with_database(async |database| {
        let (sessions, empty, _folders) = two_files().await;
        uses(sessions, empty, async |folder| crate::bus::on(&database, folder).await).await;
    })
    .await;
}

#[cfg(not(feature = "mongodb"))]
#[test]
fn a_build_without_mongodb_says_so_before_anything_starts() {
    use switchboard_conversation::sessions::At;
    use switchboard_runtime::{Settings, stores};
    let flags = [("stores.sessions", "mongodb://me:hunter2@somewhere:1".to_owned())];
    let settings = Settings::load(&[stores::KEYS], None, [], &flags).expect("loads");
    let why = At::read(&settings, Path::new("data")).expect_err("refused").to_string();
    assert!(
        why.contains("`stores.sessions`") && why.contains("--features mongodb") && !why.contains("hunter2"),
        "{why}"
    );
}
