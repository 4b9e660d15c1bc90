//! Two replicas on one ledger, at the same moment.
use std::{collections::HashSet, sync::Arc};

use switchboard_salesforce::{
    Embedded, Error,
    org::{CaseChange, ContactChange, Org, Status},
};
use tokio::task::JoinSet;

use crate::rig::{A, Ground, broken_import, external, on_postgres, on_sqlite};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_external_id_at_once_is_one_record_on_sqlite() {
    on_sqlite(one_record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_external_id_at_once_is_one_record_on_postgres() {
    on_postgres(one_record).await;
}

/// Runs something 16 times at once, half of it on each replica.
async fn at_once<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
    replicas: &[Arc<Embedded>; 2],
    work: impl Fn(Arc<Embedded>, usize) -> F,
) -> Vec<T> {
    let mut running = JoinSet::new();
    for n in 0..16 {
        running.spawn(work(replicas[n % 2].clone(), n));
    }
    running.join_all().await.into_iter().map(|done| done.expect("written")).collect()
}

async fn one_record(ground: Ground) {
    let replicas = [Arc::new(ground.org(false).await), Arc::new(ground.org(false).await)];
    let kim = ContactChange { email: "kim@example.com".into(), name: "Kim".into() };
    let contacts = at_once(&replicas, |org, _| {
        let kim = kim.clone();
        async move { org.upsert_contact(A, "user:1", &kim).await }
    })
    .await;
    assert_eq!(contacts.iter().filter(|w| w.created).count(), 1);
    assert_eq!(contacts.iter().map(|w| &w.record.id).collect::<HashSet<_>>().len(), 1);

    let cases = at_once(&replicas, |org, _| async move { org.upsert_case(A, "case:1", &broken_import()).await }).await;
    assert_eq!(cases.iter().filter(|w| w.created).count(), 1);
    assert!(cases.iter().all(|w| w.record.number == "00001001"));

    let comments = at_once(&replicas, |org, _| async move {
        org.add_comment(A, "note:1", &external("case:1"), "Switchboard", "Handed over.").await
    })
    .await;
    assert_eq!(comments.iter().filter(|w| w.created).count(), 1);
    assert_eq!(replicas[0].case(A, &external("case:1")).await.expect("found").1.len(), 1);

    let other =
        at_once(&replicas, |org, n| async move { org.upsert_case(A, &format!("other:{n}"), &broken_import()).await })
            .await;
    let numbers: HashSet<_> = other.iter().map(|w| w.record.number.clone()).collect();
    assert_eq!(numbers, (1002..1018).map(|n| format!("{n:08}")).collect(), "each its own, and none left out");

    // Different changes of one case lose nothing of each other.
    let changes = [
        CaseChange { status: Some(Status::Working), ..CaseChange::default() },
        CaseChange { queue: "billing".into(), ..CaseChange::default() },
    ];
    at_once(&replicas, |org, n| {
        let change = changes[n / 2 % 2].clone();
        async move { org.upsert_case(A, "case:1", &change).await }
    })
    .await;
    let (case, _) = replicas[1].case(A, &external("case:1")).await.expect("found");
    assert_eq!((case.status, case.queue.as_str(), case.subject.as_str()), (Status::Working, "billing", "Import fails"));
}
