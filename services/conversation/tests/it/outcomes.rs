//! The laws of the roll-ups, as plain functions over the port; run on every adapter.
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use switchboard_conversation::{
    change::Change,
    machine::Status,
    model::{Analysis, Conversation, Resolution, Sender},
    outcomes::{Hour, Pattern},
    store::{Answered, Committed, NewConversation, Store},
};
use switchboard_runtime::Clock;
use switchboard_testkit::servers::{vault, with_database};
use tempfile::tempdir;
use uuid::Uuid;

use crate::store::{
    bed::{Bed, PostgresBed, SqliteBed},
    plant::row,
};

const ALL: (Timestamp, Timestamp) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);

async fn created(store: &dyn Store, org: Uuid) -> Conversation {
    let row = row(org, Uuid::now_v7());
    let new = NewConversation { row: row.clone(), request_id: None, fingerprint: String::new() };
    assert!(store.create(new).await.expect("creates").is_none());
    row
}

/// A question of an intent, and its answer.
async fn answered(store: &dyn Store, id: (Uuid, Uuid), intent: &str, confidence: f64) -> Conversation {
    let mut before = store.load(id.0, id.1).await.expect("reads").expect("is there");
    let clock = Clock::manual(before.last_activity_at);
    let mut change = Change::on(&before, &clock);
    let message = change.message(Sender::User, Some(before.user), "words");
    let first = change.say(message);
    assert_eq!(store.commit(change.commit).await.expect("commits"), Committed::Done);
    before = store.load(id.0, id.1).await.expect("reads").expect("is there");
    let mut change = Change::on(&before, &clock);
    let mut reply = change.message(Sender::AiAgent, None, "more words");
    reply.analysis.intent = Some(intent.to_owned());
    reply.analysis.confidence = Some(confidence);
    let reply_seq = change.say(reply);
    let analysis = Analysis { intent: Some(intent.to_owned()), ..Analysis::default() };
    change.commit.answered = Some(Answered { seqs: (first, first), reply_seq, analysis });
    assert_eq!(store.commit(change.commit).await.expect("commits"), Committed::Done);
    store.load(id.0, id.1).await.expect("reads").expect("is there")
}

/// Ends a conversation after some seconds, with a rating.
async fn ended(store: &dyn Store, before: &Conversation, seconds: i64, resolution: Resolution, rating: u32) {
    let clock = Clock::manual(before.created_at.checked_add(SignedDuration::from_secs(seconds)).expect("in range"));
    let mut change = Change::on(before, &clock);
    let now = change.now;
    let row = change.row();
    row.status = Status::Resolved;
    row.ended_at = Some(now);
    row.resolution = Some(resolution);
    row.rating = Some(rating);
    change.tell("done");
    assert_eq!(store.commit(change.commit).await.expect("commits"), Committed::Done);
}

async fn hours(store: &dyn Store, org: Uuid) -> Vec<Hour> {
    store.outcomes().hours(org, ALL.0, ALL.1).await.expect("reads")
}

async fn patterns(store: &dyn Store, org: Uuid) -> Vec<Pattern> {
    store.outcomes().patterns(org, 10).await.expect("reads")
}

async fn each_conversation_counts_once_as_it_stands(store: &dyn Store) {
    let org = Uuid::now_v7();
    let (one, two) = (created(store, org).await, created(store, org).await);
    let both = [one.id, two.id];
    store.outcomes().record(org, &both).await.expect("records");
    let first = hours(store, org).await;
    assert_eq!((first.len(), first[0].conversations, first[0].ended, first[0].messages), (1, 2, 0, 0));
    assert!(patterns(store, org).await.is_empty());
    for (intent, confidence) in [("order_status", 0.5), ("refund_request", 1.0), ("order_status", 0.75)] {
        answered(store, (org, one.id), intent, confidence).await;
    }
    let now = answered(store, (org, two.id), "order_status", 0.25).await;
    ended(store, &now, 100, Resolution::Automated, 5).await;
    for _ in 0..3 {
        store.outcomes().record(org, &both).await.expect("records");
    }
    let hour = hours(store, org).await.pop().expect("one");
    assert_eq!((hour.conversations, hour.ended, hour.automated, hour.escalated, hour.messages), (2, 1, 1, 0, 8));
    assert_eq!((hour.resolution_seconds, hour.confidence, hour.satisfaction), (100, (2.5, 4), (5, 1)));
    assert_eq!(hour.hour.as_second() % 3600, 0);
    let now = patterns(store, org).await;
    let seen: Vec<_> =
        now.iter().map(|p| (p.pattern.as_str(), p.intent.as_str(), p.frequency, p.success_rate)).collect();
    assert_eq!(
        seen,
        [("order_status", "order_status", 1, Some(1.0)), ("order_status > refund_request", "order_status", 1, None)]
    );
    assert_eq!(now[0].resolution_seconds, Some(100.0));
    // Reopened: no longer ended, no longer a success.
    let row = store.load(org, two.id).await.expect("reads").expect("is there");
    let clock = Clock::manual(row.last_activity_at);
    let mut change = Change::on(&row, &clock);
    (change.row().status, change.row().ended_at, change.row().resolution) = (Status::Active, None, None);
    change.tell("reopened");
    assert_eq!(store.commit(change.commit).await.expect("commits"), Committed::Done);
    store.outcomes().record(org, &both).await.expect("records");
    let hour = hours(store, org).await.pop().expect("one");
    assert_eq!((hour.conversations, hour.ended, hour.automated, hour.resolution_seconds), (2, 0, 0, 0));
    assert_eq!(patterns(store, org).await[0].success_rate, None);
}

async fn what_retention_deletes_stays_counted(store: &dyn Store) {
    let org = Uuid::now_v7();
    let row = created(store, org).await;
    let now = answered(store, (org, row.id), "order_status", 0.5).await;
    ended(store, &now, 7, Resolution::Human, 1).await;
    store.outcomes().record(org, &[row.id]).await.expect("records");
    let before = (hours(store, org).await, patterns(store, org).await);
    assert!(store.delete_conversation(org, row.id).await.expect("deletes"));
    store.outcomes().record(org, &[row.id, Uuid::now_v7()]).await.expect("passes over what is gone");
    assert_eq!((hours(store, org).await, patterns(store, org).await), before);
}

async fn nothing_is_seen_under_another_organization(store: &dyn Store) {
    let (org, other) = (Uuid::now_v7(), Uuid::now_v7());
    let row = created(store, org).await;
    store.outcomes().record(other, &[row.id]).await.expect("passes over what it does not see");
    assert!(hours(store, org).await.is_empty() && hours(store, other).await.is_empty());
    store.outcomes().record(org, &[row.id]).await.expect("records");
    assert_eq!((hours(store, org).await.len(), hours(store, other).await.len()), (1, 0));
    let begun = row.created_at;
    let outside = store.outcomes().hours(org, begun, ALL.1).await.expect("reads");
    let on_the_hour = begun.as_second() % 3600 == 0;
    assert_eq!(outside.is_empty(), !on_the_hour, "hours are given from the time on");
}

async fn recorders_at_once_count_once(store: Arc<dyn Store>) {
    let org = Uuid::now_v7();
    let row = created(&*store, org).await;
    answered(&*store, (org, row.id), "order_status", 0.5).await;
    let at_once = (0..8).map(|_| {
        let outcomes = store.outcomes();
        async move { outcomes.record(org, &[row.id]).await }
    });
    for done in futures::future::join_all(at_once).await {
        done.expect("records");
    }
    let hour = hours(&*store, org).await.pop().expect("one");
    assert_eq!((hour.conversations, hour.messages), (1, 2));
    assert_eq!(patterns(&*store, org).await[0].frequency, 1);
}

async fn all(store: Arc<dyn Store>) {
    each_conversation_counts_once_as_it_stands(&*store).await;
    what_retention_deletes_stays_counted(&*store).await;
    nothing_is_seen_under_another_organization(&*store).await;
    recorders_at_once_count_once(store).await;
}

#[tokio::test]
async fn on_sqlite() {
    let folder = tempdir().expect("a folder");
    all(SqliteBed(folder.path().to_owned()).open(vault()).await).await;
}

#[tokio::test]
async fn on_postgres() {
    with_database(async |database| all(PostgresBed::migrated(database).await.open(vault()).await).await).await;
}

#[tokio::test]
async fn postgres_counts_again_from_what_is_known_of_each_conversation() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let store = bed.open(vault()).await;
        let org = Uuid::now_v7();
        let row = created(&*store, org).await;
        answered(&*store, (org, row.id), "order_status", 0.5).await;
        store.outcomes().record(org, &[row.id]).await.expect("records");
        let right = hours(&*store, org).await;
        bed.meddle("UPDATE conversation_metrics SET conversation_count = 99, message_count = 7").await;
        assert_ne!(hours(&*store, org).await, right);
        let mut owner = bed.owner().await;
        let as_tenant = format!(
            "SET ROLE switchboard_conversation; SET app.current_org_id = '{org}'; \
             SELECT refresh_conversation_metrics('2020-01-01')"
        );
        sqlx::Executor::execute(&mut owner, sqlx::AssertSqlSafe(as_tenant)).await.expect("counts again");
        assert_eq!(hours(&*store, org).await, right);
    })
    .await;
}
