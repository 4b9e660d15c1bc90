//! Laws 7 to 9: what people wrote is sealed, what was erased is gone, what was done is logged.
use serde_json::json;
use switchboard_conversation::{
    error::Error,
    store::{By, Committed, Entry, Erasure, ErasureStep, Store},
};
use switchboard_runtime::{Secret, vault::Vault};
use switchboard_testkit::servers;
use uuid::Uuid;

use super::{
    bed::Bed,
    plant::{PLACES, change, created_for, later, now, planted, say, start},
};

const BY: By = By { actor: Uuid::from_u128(7), now: jiff::Timestamp::constant(1_772_445_600, 0) };

pub async fn all(bed: &dyn Bed, store: &dyn Store) {
    words_are_sealed(bed, store).await;
    what_is_moved_does_not_open(bed, store).await;
    what_has_no_key_is_not_there(bed, store).await;
    an_export_holds_every_word_of_one_person(store).await;
    an_erased_person_is_gone(bed, store).await;
    whoever_comes_back_has_another_key(store).await;
    retention_removes_what_ended(bed, store).await;
    an_erasure_is_begun_once_and_kept(store).await;
    keys_are_wrapped_anew(bed, store).await;
    the_log_is_a_chain(bed, store).await;
}

fn holds(kept: &[u8], word: &str) -> bool {
    kept.windows(word.len()).any(|window| window == word.as_bytes())
}

async fn words_are_sealed(bed: &dyn Bed, store: &dyn Store) {
    let planted = planted(store, Uuid::now_v7(), Uuid::now_v7(), "zebrafink").await;
    let kept = bed.kept().await;
    assert!(holds(&kept, &planted.row.id.to_string()), "it is looked at in the right place");
    assert!(!holds(&kept, "zebrafink"));
}

async fn what_is_moved_does_not_open(bed: &dyn Bed, store: &dyn Store) {
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    let (one, other) = (created_for(store, org, user).await, created_for(store, org, user).await);
    for row in [&one, &other] {
        assert_eq!(say(store, row, "first", None).await, Committed::Done);
    }
    let (one, other) = (bed.id(one.id), bed.id(other.id));
    let sql = format!(
        "UPDATE messages SET content = (SELECT content FROM messages WHERE conversation_id = {other}) WHERE conversation_id = {one}"
    );
    assert_eq!(bed.meddle(&sql).await, 1);
    let id = one.trim_matches('\'').parse().expect("an id");
    let moved = store.messages(org, id, 0, 10).await;
    assert!(matches!(moved, Err(Error::Sealed(_))), "{moved:?}");
}

async fn what_has_no_key_is_not_there(bed: &dyn Bed, store: &dyn Store) {
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    let planted = planted(store, org, user, "keyless").await;
    let row = change(store, &planted.row, |change| {
        change.row().status = switchboard_conversation::machine::Status::Active;
        let late = super::plant::effect(&planted.row, "late", "late");
        change.commit.effects = vec![late];
    })
    .await;
    assert_eq!(bed.meddle(&format!("DELETE FROM person_keys WHERE person_id = {}", bed.id(user))).await, 1);
    // As a replica sees it that did not have the key.
    let other = bed.open(servers::vault()).await;
    assert_eq!(other.load(org, row.id).await.expect("no error"), None);
    assert!(other.list(org, Some(user), None, 10, "").await.expect("no error").0.is_empty());
    assert!(other.messages(org, row.id, 0, 10).await.expect("no error").is_empty());
    assert!(other.events(org, row.id, 0, 10).await.expect("no error").is_empty());
    assert!(other.queue(org, 10, "").await.expect("no error").0.is_empty());
    assert!(other.notes(org, row.id).await.expect("no error").is_empty());
    assert!(other.effects_of(org, row.id).await.expect("no error").is_empty());
    assert_eq!(other.receipt(org, row.id, planted.reply.id).await.expect("no error"), None);
    assert_eq!(say(&*other, &row, "still here?", None).await, Committed::Conflict);
    let claimed = other.claim_effects(later(100), later(160), 1000).await.expect("no error");
    assert!(claimed.iter().all(|e| e.conversation != row.id));
    for pairs in [other.idle(later(100_000), 10_000).await, other.unanswered(later(100_000), 10_000).await] {
        assert!(!pairs.expect("no error").contains(&(org, row.id)), "no worker is sent to it");
    }
    assert!(store.delete_conversation(org, row.id).await.expect("deletes"), "its rows are there to be removed");
    other.close().await;
}

async fn an_export_holds_every_word_of_one_person(store: &dyn Store) {
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    planted(store, org, user, "siskin").await;
    planted(store, org, Uuid::now_v7(), "wagtail").await;
    let export = store.export_person(org, user, BY).await.expect("exports");
    let text = export.to_string();
    // The fingerprint is a hash, and the receipt tells of our decision; both say nothing that the rest does not.
    let left_out = ["fingerprint", "receipt", "found", "shown", "response", "error"];
    for place in PLACES.iter().filter(|place| !left_out.contains(place)) {
        assert!(text.contains(&format!("siskin-{place}")), "{place} is missing in {text}");
    }
    assert!(!text.contains("wagtail"));
    assert_eq!(export["conversations"].as_array().map(Vec::len), Some(1));
    let nobody = store.export_person(org, Uuid::now_v7(), BY).await.expect("exports");
    assert_eq!(nobody, json!({ "conversations": [] }));
    let log = store.audit_rows(org, 0, 10).await.expect("is whole");
    assert_eq!(log.iter().map(|r| r.action.as_str()).collect::<Vec<_>>(), ["person_exported", "person_exported"]);
    assert_eq!((log[0].actor, log[0].resource, log[0].details["messages"]), (BY.actor, Some(user), 2));
}

async fn an_erased_person_is_gone(bed: &dyn Bed, store: &dyn Store) {
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    let mut rows = Vec::new();
    for _ in 0..3 {
        rows.push(created_for(store, org, user).await);
    }
    let full = planted(store, org, user, "dunnock").await;
    let other = planted(store, org, Uuid::now_v7(), "other").await;
    let erased = store.erase_person(org, user, BY).await.expect("erases");
    assert_eq!((erased.conversations, erased.messages, erased.keys), (4, 2, 1));
    assert_eq!((erased.escalations, erased.actions, erased.drafts, erased.notes, erased.citations), (1, 1, 1, 1, 1));
    for row in rows.iter().chain([&full.row]) {
        assert_eq!(store.load(org, row.id).await.expect("reads"), None);
        assert_eq!(say(store, row, "a late word", None).await, Committed::Conflict);
        assert!(store.messages(org, row.id, 0, 10).await.expect("reads").is_empty());
    }
    let mut note = full.note.clone();
    note.id = Uuid::now_v7();
    let late = store.add_note(org, full.row.id, note, None).await;
    assert!(matches!(late, Err(Error::ConversationNotFound(_))), "{late:?}");
    store.save_effect(&full.effect).await.expect("changes nothing");
    for table in
        ["conversations", "messages", "status_events", "escalations", "actions", "drafts", "notes", "citations"]
    {
        let column = if table == "conversations" { "id" } else { "conversation_id" };
        let sql = format!("DELETE FROM {table} WHERE {column} = {}", bed.id(full.row.id));
        assert_eq!(bed.meddle(&sql).await, 0, "{table}");
    }
    assert_eq!(bed.meddle(&format!("DELETE FROM person_keys WHERE person_id = {}", bed.id(user))).await, 0);
    assert_eq!(now(store, &other.row).await, other.row, "others keep theirs");
    assert_eq!(store.erase_person(org, user, BY).await.expect("again").total(), 0);
    let log = store.audit_rows(org, 0, 10).await.expect("is whole");
    assert_eq!(log.len(), 1, "erasing nobody is not told");
    assert_eq!((log[0].action.as_str(), log[0].details["conversations"]), ("person_erased", 4));
}

async fn whoever_comes_back_has_another_key(store: &dyn Store) {
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    created_for(store, org, user).await;
    store.erase_person(org, user, BY).await.expect("erases");
    let back = created_for(store, org, user).await;
    assert_eq!(say(store, &back, "hello again", None).await, Committed::Done);
    assert_eq!(store.messages(org, back.id, 0, 10).await.expect("reads")[0].content, "hello again");
}

async fn retention_removes_what_ended(bed: &dyn Bed, store: &dyn Store) {
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    let mut ended = Vec::new();
    for n in [3, 1, 2] {
        let row = created_for(store, org, user).await;
        ended.push(change(store, &row, |change| change.row().ended_at = Some(later(n))).await.id);
    }
    let open = created_for(store, org, user).await;
    assert_eq!(store.expired(org, later(3), 10).await.expect("reads"), [ended[1], ended[2]]);
    assert_eq!(store.expired(org, later(9), 2).await.expect("reads"), [ended[1], ended[2]]);
    assert!(store.expired(Uuid::now_v7(), later(9), 2).await.expect("reads").is_empty());
    for id in ended {
        assert!(store.delete_conversation(org, id).await.expect("deletes"));
        assert!(!store.delete_conversation(org, id).await.expect("is gone"));
    }
    assert!(store.expired(org, later(9), 10).await.expect("reads").is_empty());
    assert_eq!(now(store, &open).await, open);
    let key = format!("UPDATE person_keys SET created_at = created_at WHERE person_id = {}", bed.id(user));
    assert_eq!(bed.meddle(&key).await, 1, "the key is needed yet");
    assert!(store.delete_conversation(org, open.id).await.expect("deletes"));
    assert_eq!(bed.meddle(&key).await, 0, "it went with the last conversation");
}

async fn an_erasure_is_begun_once_and_kept(store: &dyn Store) {
    let (org, user, admin) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(store.erasure(org, user).await.expect("reads"), None);
    let begun = store.begin_erasure(org, user, admin, start()).await.expect("begins");
    assert_eq!((begun.requested_by, begun.requested_at, begun.completed_at), (admin, start(), None));
    assert_eq!(store.begin_erasure(org, user, Uuid::now_v7(), later(1)).await.expect("is there"), begun);
    assert_eq!(store.erasure(org, user).await.expect("reads").as_ref(), Some(&begun));
    assert_eq!(store.erasure(Uuid::now_v7(), user).await.expect("reads"), None);
    let open = async || {
        store.open_erasures(1000).await.expect("reads").into_iter().filter(|e| e.org == org).collect::<Vec<_>>()
    };
    let second = store.begin_erasure(org, Uuid::now_v7(), admin, later(2)).await.expect("begins");
    assert_eq!(open().await, [begun.clone(), second.clone()]);
    let step = ErasureStep {
        place: "identity".into(),
        attempts: 2,
        last_error: "UNAVAILABLE".into(),
        completed_at: Some(later(3)),
        removed: 4,
    };
    let going = Erasure { steps: vec![step.clone(), ErasureStep { completed_at: None, ..step }], ..begun };
    store.save_erasure(&going).await.expect("saves");
    assert_eq!(open().await, [going.clone(), second.clone()]);
    let done =
        Erasure { completed_at: Some(later(9)), receipt: Some(json!({ "removed": { "identity": 4 } })), ..going };
    store.save_erasure(&done).await.expect("saves");
    assert_eq!(open().await, [second]);
    assert_eq!(store.begin_erasure(org, user, admin, later(10)).await.expect("is there"), done);
    let log = store.audit_rows(org, 0, 10).await.expect("is whole");
    assert_eq!(log.iter().map(|r| r.resource).collect::<Vec<_>>()[0], Some(user));
    assert_eq!(log.len(), 2, "asking again is not told again");
}

async fn keys_are_wrapped_anew(bed: &dyn Bed, store: &dyn Store) {
    let rows = [
        created_for(store, Uuid::now_v7(), Uuid::now_v7()).await,
        created_for(store, Uuid::now_v7(), Uuid::now_v7()).await,
    ];
    let old = servers::master_keys();
    let new = "9:bmV3IG1hc3RlciBrZXkgb2YgdGhlIHRlc3RzLCAzMiE=";
    let both = Vault::new(&Secret::new(format!("{new},{}", old.expose()))).expect("good keys");
    let rotating = bed.open(both).await;
    for row in &rows {
        assert_eq!(now(&*rotating, row).await, *row, "both open it");
    }
    let mut rewrapped = 0;
    loop {
        match rotating.rewrap_keys(3).await.expect("rewraps") {
            0 => break,
            some => rewrapped += some,
        }
    }
    assert!(rewrapped >= 2, "{rewrapped}");
    rotating.close().await;
    let after = bed.open(Vault::new(&Secret::new(new)).expect("a good key")).await;
    for row in &rows {
        assert_eq!(now(&*after, row).await, *row, "the old one is not needed any more");
    }
    after.close().await;
    // What was wrapped for one person opens nothing of another one.
    let (one, other) = (bed.id(rows[0].user), bed.id(rows[1].user));
    let sql = format!(
        "UPDATE person_keys SET wrapped_key = (SELECT wrapped_key FROM person_keys WHERE person_id = {other}) WHERE person_id = {one}"
    );
    assert_eq!(bed.meddle(&sql).await, 1);
    let swapped = bed.open(Vault::new(&Secret::new(new)).expect("a good key")).await;
    let read = swapped.load(rows[0].org, rows[0].id).await;
    assert!(matches!(read, Err(Error::Sealed(_))), "{read:?}");
    swapped.close().await;
    bed.meddle(&format!("DELETE FROM person_keys WHERE person_id = {one}")).await;
    // For those who come after this law: back to the usual master.
    let back = Vault::new(&Secret::new(format!("{},{new}", old.expose()))).expect("good keys");
    let back = bed.open(back).await;
    while back.rewrap_keys(100).await.expect("rewraps") > 0 {}
    back.close().await;
}

async fn the_log_is_a_chain(bed: &dyn Bed, store: &dyn Store) {
    let org = Uuid::now_v7();
    assert!(store.audit_rows(org, 0, 10).await.expect("is empty").is_empty());
    for n in 0..5 {
        // Over months for which nobody prepared it.
        let by = By { actor: Uuid::now_v7(), now: later(n * 40 * 86_400) };
        store.audit(org, by, Entry::person("person_exported", Uuid::now_v7())).await.expect("is logged");
    }
    store.prepare_audit(later(200 * 86_400)).await.expect("prepares");
    store.prepare_audit(later(200 * 86_400)).await.expect("prepares again");
    let all = store.audit_rows(org, 0, 10).await.expect("is whole");
    assert_eq!(all.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(store.audit_rows(org, 3, 10).await.expect("is whole"), all[3..]);
    assert_eq!(store.audit_rows(org, 1, 2).await.expect("is whole"), all[1..3]);
    assert!(store.audit_rows(Uuid::now_v7(), 0, 10).await.expect("is empty").is_empty());
    let log = |what: &str, wanted: &str| format!("{what} WHERE organization_id = {} AND {wanted}", bed.id(org));
    assert_eq!(bed.meddle(&log("UPDATE activity_log SET action = 'nothing'", "seq = 3")).await, 1);
    let broken = store.audit_rows(org, 0, 10).await;
    assert!(matches!(broken, Err(Error::LogBroken(3))), "{broken:?}");
    assert_eq!(bed.meddle(&log("UPDATE activity_log SET action = 'person_exported'", "seq = 3")).await, 1);
    store.audit_rows(org, 0, 10).await.expect("is whole again");
    assert_eq!(bed.meddle(&log("DELETE FROM activity_log", "seq = 5")).await, 1);
    let broken = store.audit_rows(org, 0, 10).await;
    assert!(matches!(broken, Err(Error::LogBroken(5))), "{broken:?}");
}
