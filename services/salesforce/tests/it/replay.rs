//! The laws of [`Replay`], on SQLite and on PostgreSQL.
use std::sync::Arc;

use jiff::SignedDuration;
use switchboard_salesforce::{
    replay::{Replay, Replayed},
    store,
};

use crate::rig::{A, B, Ground, on_postgres, on_sqlite};

macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $law() { super::on_sqlite(super::$law).await; })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $law() { super::on_postgres(super::$law).await; })*
        }
    };
}
laws![
    a_topic_is_where_the_last_step_put_it,
    of_readers_at_one_position_one_moves,
    an_event_is_new_once,
    topics_of_an_organization_are_its_own,
];

const TOPIC: &str = "/data/CaseChangeEvent";

async fn replay(ground: &Ground) -> Replayed {
    Replayed::new(store::open(&ground.ledger).await.expect("opens"), ground.clock.clone())
}

fn events(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

async fn a_topic_is_where_the_last_step_put_it(ground: Ground) {
    let at = replay(&ground).await;
    assert_eq!(at.position(A, TOPIC).await.expect("reads"), None);
    assert!(at.step(A, TOPIC, None, &[0, 255], &[]).await.expect("steps").is_some());
    assert!(at.step(A, TOPIC, Some(&[0, 255]), &[1, 0], &[]).await.expect("steps").is_some());
    let beside = replay(&ground).await;
    assert_eq!(beside.position(A, TOPIC).await.expect("reads").as_deref(), Some([1, 0].as_slice()));
    assert_eq!(beside.position(A, "/data/ContactChangeEvent").await.expect("reads"), None);
}

async fn of_readers_at_one_position_one_moves(ground: Ground) {
    let replicas = [Arc::new(replay(&ground).await), Arc::new(replay(&ground).await)];
    for (from, to) in [(None, [1]), (Some([1]), [2])] {
        let steps = (0..8).map(|n| {
            let at = replicas[n % 2].clone();
            tokio::spawn(async move {
                let from = from.as_ref().map(<[u8; 1]>::as_slice);
                at.step(A, TOPIC, from, &to, &events(&["e"])).await.expect("answers")
            })
        });
        let mut moved = 0;
        for step in steps.collect::<Vec<_>>() {
            moved += usize::from(step.await.expect("runs").is_some());
        }
        assert_eq!(moved, 1);
    }
    assert_eq!(replicas[0].step(A, TOPIC, None, &[3], &[]).await.expect("answers"), None, "late");
}

async fn an_event_is_new_once(ground: Ground) {
    let at = replay(&ground).await;
    let step = async |from: Option<&[u8]>, to: &[u8], ids: &[&str]| {
        at.step(A, TOPIC, from, to, &events(ids)).await.expect("answers").expect("moves")
    };
    assert_eq!(step(None, &[1], &["b", "a", "b"]).await, ["b", "a"]);
    assert_eq!(step(Some(&[1]), &[2], &["a", "c"]).await, ["c"]);
    let other = at.step(A, "/data/ContactChangeEvent", None, &[1], &events(&["a"])).await;
    assert_eq!(other.expect("answers").expect("moves"), ["a"], "another topic's");
    // What Salesforce cannot send again is forgotten.
    ground.clock.advance(SignedDuration::from_hours(97));
    step(Some(&[2]), &[3], &[]).await;
    assert_eq!(step(Some(&[3]), &[4], &["a"]).await, ["a"]);
}

async fn topics_of_an_organization_are_its_own(ground: Ground) {
    let at = replay(&ground).await;
    at.step(A, TOPIC, None, &[1], &events(&["a"])).await.expect("answers").expect("moves");
    assert_eq!(at.position(B, TOPIC).await.expect("reads"), None);
    assert_eq!(at.step(B, TOPIC, Some(&[1]), &[2], &[]).await.expect("answers"), None);
    let theirs = at.step(B, TOPIC, None, &[9], &events(&["a"])).await.expect("answers");
    assert_eq!(theirs.expect("moves"), ["a"]);
    assert_eq!(at.position(A, TOPIC).await.expect("reads").as_deref(), Some([1].as_slice()));
}
