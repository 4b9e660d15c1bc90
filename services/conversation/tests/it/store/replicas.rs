//! Two replicas on one PostgreSQL, getting in each other's way.
use std::{collections::HashMap, sync::Arc};

use futures::future::join_all;
use switchboard_conversation::{
    outbox::{Sink, Waiting},
    store::{By, Committed, Entry, NewConversation, Store},
};
use switchboard_testkit::servers::{self, with_database};
use uuid::Uuid;

use super::{
    bed::{Bed as _, PostgresBed},
    plant::{change, created, created_for, effect, later, now, row, say, start},
};

/// Writers of each replica.
const WRITERS: usize = 8;
/// What each does.
const EACH: usize = 10;

async fn two(bed: &PostgresBed) -> [Arc<dyn Store>; 2] {
    [bed.open(servers::vault()).await, bed.open(servers::vault()).await]
}

/// Says something until it is stored, as the engine does.
async fn said(store: &dyn Store, org: Uuid, id: Uuid, text: &str, client_id: &str) -> Committed {
    loop {
        let before = store.load(org, id).await.expect("reads").expect("is there");
        match say(store, &before, text, Some(client_id)).await {
            Committed::Conflict => tokio::task::yield_now().await,
            other => return other,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_two_replicas_make_one_line_of_events() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let stores = two(&bed).await;
        let rows = [created(&*stores[0]).await, created(&*stores[1]).await];
        let writers = (0..2 * WRITERS).map(|n| {
            let (store, row) = (stores[n % 2].clone(), rows[n / WRITERS].clone());
            tokio::spawn(async move {
                for i in 0..EACH {
                    let text = format!("{n}-{i}");
                    assert_eq!(said(&*store, row.org, row.id, &text, &text).await, Committed::Done);
                    // The answer was lost: the client sends it again, to the other replica or this one.
                    assert_eq!(said(&*store, row.org, row.id, &text, &text).await, Committed::DuplicateMessage);
                }
            })
        });
        let relay = tokio::spawn(relay(stores[0].clone(), 2 * WRITERS * EACH));
        for writer in join_all(writers).await {
            writer.expect("goes well");
        }
        let published = tokio::time::timeout(std::time::Duration::from_secs(60), relay).await.expect("in time");
        let published = published.expect("goes well");
        for row in &rows {
            let events = stores[1].events(row.org, row.id, 0, 10_000).await.expect("reads");
            let expected: Vec<u64> = (1..=(WRITERS * EACH) as u64).collect();
            assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), expected);
            assert_eq!(now(&*stores[0], row).await.seq, (WRITERS * EACH) as u64);
            assert_eq!(published[&row.id], expected, "handed over in the order of commits, none missed, none twice");
        }
        join_all(stores.iter().map(|s| s.close())).await;
    })
    .await;
}

/// Hands facts over while others commit, until so many came; seqs by conversation.
async fn relay(store: Arc<dyn Store>, count: usize) -> HashMap<Uuid, Vec<u64>> {
    let mut published: HashMap<Uuid, Vec<u64>> = HashMap::new();
    let mut total = 0;
    while total < count {
        let batch: Vec<Waiting> = store.outbox(Sink::Bus, 7).await.expect("reads");
        for waiting in &batch {
            published.entry(waiting.conversation).or_default().push(waiting.seq);
        }
        total += batch.len();
        store.outbox_done(&batch).await.expect("forgets");
        tokio::task::yield_now().await;
    }
    published
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_is_claimed_by_one_replica() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let stores = two(&bed).await;
        for org in [Uuid::now_v7(), Uuid::now_v7()] {
            for n in 0..40 {
                let row = created_for(&*stores[0], org, Uuid::now_v7()).await;
                change(&*stores[0], &row, |change| change.commit.effects = vec![effect(&row, &n.to_string(), "x")])
                    .await;
            }
        }
        let claims = (0..8).map(|n| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move { store.claim_effects(later(1), later(61), 30).await.expect("claims") })
        });
        let mut claimed: Vec<Uuid> = Vec::new();
        for claim in join_all(claims).await {
            claimed.extend(claim.expect("goes well").iter().map(|e| e.id));
        }
        loop {
            let rest = stores[0].claim_effects(later(1), later(61), 30).await.expect("claims");
            if rest.is_empty() {
                break;
            }
            claimed.extend(rest.iter().map(|e| e.id));
        }
        let all = claimed.len();
        claimed.sort();
        claimed.dedup();
        assert_eq!((all, claimed.len()), (80, 80), "each once");
        join_all(stores.iter().map(|s| s.close())).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duty_goes_to_one_replica() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let stores = two(&bed).await;
        for round in 0..20 {
            let claims = (0..8).map(|n| {
                let store = stores[n % 2].clone();
                tokio::spawn(async move {
                    let until = later(round * 10 + 10);
                    store.claim_duty("relay", Uuid::now_v7(), later(round * 10), until).await.expect("answers")
                })
            });
            let won = join_all(claims).await.into_iter().filter(|c| *c.as_ref().expect("goes well")).count();
            assert_eq!(won, 1, "round {round}");
        }
        join_all(stores.iter().map(|s| s.close())).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_makes_one_conversation_and_one_person_one_key() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let stores = two(&bed).await;
        for _ in 0..10 {
            let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
            let creates = (0..8).map(|n| {
                let store = stores[n % 2].clone();
                let new =
                    NewConversation { row: row(org, user), request_id: Some("r".into()), fingerprint: "f".into() };
                tokio::spawn(async move { store.create(new).await.expect("answers") })
            });
            let made: Vec<_> = join_all(creates).await.into_iter().map(|c| c.expect("goes well")).collect();
            assert_eq!(made.iter().filter(|earlier| earlier.is_none()).count(), 1);
            let (list, _) = stores[0].list(org, Some(user), None, 10, "").await.expect("reads");
            assert_eq!(list.len(), 1);
            assert!(made.iter().flatten().all(|(earlier, _)| *earlier == list[0]));
        }
        join_all(stores.iter().map(|s| s.close())).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_erased_while_they_talk_is_gone_and_may_come_back() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let stores = two(&bed).await;
        let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
        let by = By { actor: Uuid::now_v7(), now: start() };
        let talk = (0..6).map(|n| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let mut row = created_for(&*store, org, user).await;
                    for text in ["one", "two", "three"] {
                        // Whoever is erased meanwhile hears that nothing of it is there.
                        if say(&*store, &row, text, None).await != Committed::Done {
                            break;
                        }
                        let Some(next) = store.load(org, row.id).await.expect("no error") else { break };
                        row = next;
                    }
                }
            })
        });
        let erase = (0..2).map(|n| {
            let store = stores[n].clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    store.erase_person(org, user, by).await.expect("no error, no deadlock");
                }
            })
        });
        let tasks: Vec<_> = talk.chain(erase).collect();
        for task in join_all(tasks).await {
            task.expect("goes well");
        }
        // What was begun after the last erasure is whole.
        for store in &stores {
            let (rows, _) = store.list(org, Some(user), None, 100, "").await.expect("opens");
            for row in rows {
                store.events(org, row.id, 0, 100).await.expect("opens");
            }
        }
        stores[1].erase_person(org, user, by).await.expect("erases");
        assert!(stores[0].list(org, Some(user), None, 10, "").await.expect("reads").0.is_empty());
        assert_eq!(bed.meddle(&format!("DELETE FROM messages WHERE organization_id = '{org}'")).await, 0);
        join_all(stores.iter().map(|s| s.close())).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_one_chain_under_many_writers_in_a_month_without_a_partition() {
    with_database(async |database| {
        let bed = PostgresBed::migrated(database).await;
        let stores = two(&bed).await;
        let org = Uuid::now_v7();
        for month in 0..5 {
            let writers = (0..WRITERS).map(|n| {
                let store = stores[n % 2].clone();
                let by = By { actor: Uuid::now_v7(), now: later(month * 62 * 86_400) };
                tokio::spawn(async move {
                    store.audit(org, by, Entry::person("person_exported", Uuid::now_v7())).await.expect("is logged");
                })
            });
            for writer in join_all(writers).await {
                writer.expect("goes well");
            }
        }
        let rows = stores[0].audit_rows(org, 0, 1000).await.expect("is whole");
        assert_eq!(rows.len(), 5 * WRITERS);
        join_all(stores.iter().map(|s| s.close())).await;
    })
    .await;
}
