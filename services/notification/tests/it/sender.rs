//! Once per key, whatever goes wrong on the way.
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use jiff::SignedDuration;
use switchboard_notification::{
    error::Error,
    message::{Delivery, Message, Status},
    sender::Sender,
    store::Store,
    transport::Transport as _,
};
use switchboard_runtime::Fault;
use uuid::Uuid;

use crate::rig::{Counted, Ground, email, new, nobody, on_both};

on_both![
    the_same_key_again_returns_the_first_delivery,
    of_many_at_once_one_delivers,
    a_delivery_that_failed_is_tried_again_with_its_key,
    a_target_whose_answer_was_lost_is_not_asked_again,
    a_crash_before_the_mark_makes_no_second_file,
    a_crash_before_the_file_is_delivered_by_the_retry,
    what_was_cut_off_is_settled_when_its_hold_ends,
    a_key_is_for_one_kind,
];

struct Setup {
    sender: Arc<Sender>,
    store: Arc<dyn Store>,
    transport: Arc<Counted>,
    ground: Ground,
}

impl Setup {
    async fn new(ground: Ground) -> Self {
        let (store, transport) = (ground.store().await, ground.transport());
        let sender = ground.sender(&transport).await;
        Setup { sender, store, transport, ground }
    }

    /// What a process leaves that died while it had a delivery in hand.
    async fn left_behind(&self, org: Uuid, key: &str) -> Delivery {
        let begun = self.store.begin(&new(org, key, 1), &nobody(), self.ground.hold(15)).await.expect("begins");
        begun.delivery
    }

    fn hold_ends(&self) {
        self.ground.clock.advance(SignedDuration::from_secs(15));
    }
}

async fn the_same_key_again_returns_the_first_delivery(ground: Ground) {
    let at = Setup::new(ground).await;
    let org = Uuid::now_v7();
    let first = at.sender.send(org, "k", &email(), None).await.expect("delivers");
    assert_eq!((first.repeated, first.delivery.status), (false, Status::Delivered));
    let second = at.sender.send(org, "k", &email(), None).await.expect("answers");
    assert_eq!((second.repeated, second.delivery), (true, first.delivery));
    assert!(!at.sender.send(Uuid::now_v7(), "k", &email(), None).await.expect("another organization's").repeated);
    assert_eq!((at.transport.count(), at.ground.outbox().len()), (2, 2));
}

async fn of_many_at_once_one_delivers(ground: Ground) {
    let at = Setup::new(ground).await;
    let org = Uuid::now_v7();
    let calls = (0..16).map(|_| {
        let sender = at.sender.clone();
        tokio::spawn(async move { sender.send(org, "k", &email(), None).await.expect("answers") })
    });
    let (mut ids, mut firsts) = (HashSet::new(), 0);
    for call in calls.collect::<Vec<_>>() {
        let sent = call.await.expect("runs");
        ids.insert(sent.delivery.id);
        firsts += usize::from(!sent.repeated);
    }
    assert_eq!((ids.len(), firsts, at.transport.count(), at.ground.outbox().len()), (1, 1, 1, 1));
}

async fn a_delivery_that_failed_is_tried_again_with_its_key(ground: Ground) {
    let at = Setup::new(ground).await;
    let org = Uuid::now_v7();
    at.transport.down.store(true, Ordering::SeqCst);
    let fault = Fault::from(at.sender.send(org, "k", &email(), None).await.expect_err("down"));
    assert_eq!((fault.name(), fault.retryable()), ("UNAVAILABLE", true));
    assert_eq!(at.sender.list(org, None, 9).await.expect("reads")[0].status, Status::Failed);
    at.transport.down.store(false, Ordering::SeqCst);
    let sent = at.sender.send(org, "k", &email(), None).await.expect("delivers");
    assert_eq!((sent.repeated, sent.delivery.status), (false, Status::Delivered));
    assert_eq!((at.transport.count(), at.ground.outbox().len()), (1, 1));
}

async fn a_target_whose_answer_was_lost_is_not_asked_again(ground: Ground) {
    let at = Setup::new(ground).await;
    let org = Uuid::now_v7();
    at.transport.deaf.store(true, Ordering::SeqCst);
    assert!(matches!(at.sender.send(org, "k", &email(), None).await, Err(Error::NotDelivered(_))));
    let sent = at.sender.send(org, "k", &email(), None).await.expect("finds it");
    assert_eq!((sent.repeated, sent.delivery.status), (true, Status::Delivered));
    assert_eq!(at.transport.count(), 1);
}

async fn a_crash_before_the_mark_makes_no_second_file(ground: Ground) {
    let at = Setup::new(ground).await;
    let org = Uuid::now_v7();
    // What is there after a process died between the file and the mark.
    let row = at.left_behind(org, "k").await;
    at.hold_ends();
    at.transport.deliver(&row, &email()).await.expect("delivers");
    let sent = at.sender.send(org, "k", &email(), None).await.expect("finds it");
    assert_eq!((sent.repeated, sent.delivery.id, sent.delivery.status), (true, row.id, Status::Delivered));
    assert_eq!((at.transport.count(), at.ground.outbox().len()), (1, 1));
    assert!(at.store.unsettled(at.ground.hold(15), 9).await.expect("reads").is_empty());
}

async fn a_crash_before_the_file_is_delivered_by_the_retry(ground: Ground) {
    let at = Setup::new(ground).await;
    let org = Uuid::now_v7();
    let row = at.left_behind(org, "k").await;
    assert!(
        matches!(at.sender.send(org, "k", &email(), None).await, Err(Error::InHand)),
        "nobody knows yet that it died"
    );
    at.hold_ends();
    let sent = at.sender.send(org, "k", &email(), None).await.expect("delivers");
    assert_eq!((sent.repeated, sent.delivery.id), (false, row.id));
    assert_eq!((at.transport.count(), at.ground.outbox().len()), (1, 1));
}

async fn what_was_cut_off_is_settled_when_its_hold_ends(ground: Ground) {
    let at = Setup::new(ground).await;
    let org = Uuid::now_v7();
    let done = at.left_behind(org, "done").await;
    at.left_behind(org, "lost").await;
    at.transport.deliver(&done, &email()).await.expect("delivers");
    at.sender.recover().await.expect("looks");
    assert_eq!(at.sender.list(org, None, 9).await.expect("reads"), [], "somebody may have them in hand");
    at.hold_ends();
    at.sender.recover().await.expect("settles");
    let listed = at.sender.list(org, None, 9).await.expect("reads");
    let status = |key: &str| listed.iter().find(|d| d.key == key).map(|d| d.status);
    assert_eq!((status("done"), status("lost")), (Some(Status::Delivered), Some(Status::Failed)));
}

async fn a_key_is_for_one_kind(ground: Ground) {
    let at = Setup::new(ground).await;
    let org = Uuid::now_v7();
    at.sender.send(org, "k", &email(), None).await.expect("delivers");
    let slack = Message::Slack { channel: "#support".into(), text: "x".into() };
    let fault = Fault::from(at.sender.send(org, "k", &slack, None).await.expect_err("refused"));
    assert_eq!(fault.name(), "IDEMPOTENCY_KEY_REUSED");
}
