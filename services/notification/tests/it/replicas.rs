//! Two replicas on one store and one target.
use std::{collections::HashSet, sync::atomic::Ordering};

use jiff::SignedDuration;
use switchboard_notification::{error::Error, message::Status, sender::Sender, store::Person};
use uuid::Uuid;

use crate::rig::{Ground, email, email_to, on_both};

on_both![
    of_both_one_delivers,
    what_one_has_in_hand_the_other_does_not_send,
    a_caller_who_gives_up_does_not_stop_it,
    what_took_too_long_and_was_erased_leaves_nothing,
    nobody_is_erased_while_a_mail_to_them_is_on_its_way,
    more_than_one_batch_is_erased,
];

fn kim() -> Person {
    Person { user: None, emails: vec!["kim@example.com".into()] }
}

async fn of_both_one_delivers(ground: Ground) {
    let transport = ground.transport();
    let replicas = [ground.sender(&transport).await, ground.sender(&transport).await];
    let org = Uuid::now_v7();
    let calls = (0..16).map(|n| {
        let sender = replicas[n % 2].clone();
        tokio::spawn(async move {
            // As callers do: whoever hears that it is in hand comes again with the same key.
            loop {
                match sender.send(org, "k", &email(), None).await {
                    Err(Error::InHand) => tokio::task::yield_now().await,
                    other => return other.expect("answers"),
                }
            }
        })
    });
    let (mut ids, mut firsts) = (HashSet::new(), 0);
    for call in calls.collect::<Vec<_>>() {
        let sent = call.await.expect("runs");
        ids.insert(sent.delivery.id);
        firsts += usize::from(!sent.repeated);
    }
    assert_eq!((ids.len(), firsts, transport.count(), ground.outbox().len()), (1, 1, 1, 1));
}

async fn what_one_has_in_hand_the_other_does_not_send(ground: Ground) {
    let transport = ground.transport();
    let (one, other) = (ground.sender(&transport).await, ground.sender(&transport).await);
    let org = Uuid::now_v7();
    transport.hold_up();
    let sending = tokio::spawn(async move { one.send(org, "k", &email(), None).await });
    transport.until_entered().await;
    assert!(matches!(other.send(org, "k", &email(), None).await, Err(Error::InHand)));
    other.recover().await.expect("looks");
    transport.release();
    assert!(!sending.await.expect("runs").expect("delivers").repeated);
    assert!(other.send(org, "k", &email(), None).await.expect("answers").repeated);
    assert_eq!((transport.count(), ground.outbox().len()), (1, 1));
}

async fn a_caller_who_gives_up_does_not_stop_it(ground: Ground) {
    let transport = ground.transport();
    let sender = ground.sender(&transport).await;
    let org = Uuid::now_v7();
    transport.hold_up();
    {
        let message = email();
        let mut call = std::pin::pin!(sender.send(org, "k", &message, None));
        tokio::select! {
            _ = &mut call => panic!("it is held up"),
            () = transport.until_entered() => {}
        }
    }
    transport.release();
    // The same key waits for the first one's turn, and finds it done.
    assert!(sender.send(org, "k", &email(), None).await.expect("answers").repeated);
    assert_eq!((transport.count(), ground.outbox().len()), (1, 1));
}

/// Sends to Kim; held up on the way, it is overtaken by an erasure, since its hold has ended.
async fn what_took_too_long_and_was_erased_leaves_nothing(ground: Ground) {
    let transport = ground.transport();
    let (one, other) = (ground.sender(&transport).await, ground.sender(&transport).await);
    let org = Uuid::now_v7();
    transport.hold_up();
    let sending = tokio::spawn(async move { one.send(org, "k", &email_to("kim@example.com"), None).await });
    transport.until_entered().await;
    ground.clock.advance(SignedDuration::from_secs(15));
    assert_eq!(other.erase(org, &kim()).await.expect("erases").deliveries, 1);
    transport.release();
    assert!(matches!(sending.await.expect("runs"), Err(Error::NotDelivered(_))));
    assert_eq!(ground.outbox(), []);
}

async fn nobody_is_erased_while_a_mail_to_them_is_on_its_way(ground: Ground) {
    let transport = ground.transport();
    let (one, other) = (ground.sender(&transport).await, ground.sender(&transport).await);
    let org = Uuid::now_v7();
    one.send(org, "before", &email_to("kim@example.com"), None).await.expect("delivers");
    transport.until_entered().await;
    transport.hold_up();
    let sending = tokio::spawn(async move { one.send(org, "k", &email_to("kim@example.com"), None).await });
    transport.until_entered().await;
    assert!(matches!(other.erase(org, &kim()).await, Err(Error::InHand)));
    assert_eq!(ground.outbox(), [], "what was there is gone");
    transport.release();
    sending.await.expect("runs").expect("delivers");
    assert_eq!(other.erase(org, &kim()).await.expect("erases").deliveries, 1);
    assert_eq!(ground.outbox(), []);
}

async fn more_than_one_batch_is_erased(ground: Ground) {
    let transport = ground.transport();
    let sender = ground.sender(&transport).await;
    let org = Uuid::now_v7();
    let send = async |sender: &std::sync::Arc<Sender>, key: &str| {
        sender.send(org, key, &email_to("kim@example.com"), None).await.map(|sent| sent.delivery.status)
    };
    for n in 0..101 {
        // Failed ones, too, and those of which the target says falsely that they are.
        transport.down.store(n % 3 == 1, Ordering::SeqCst);
        transport.deaf.store(n % 3 == 2, Ordering::SeqCst);
        let sent = send(&sender, &n.to_string()).await;
        assert_eq!(sent.is_ok_and(|status| status == Status::Delivered), n % 3 == 0);
    }
    let erased = sender.erase(org, &kim()).await.expect("erases");
    assert_eq!((erased.deliveries, erased.texts, ground.outbox().len()), (101, 67, 0));
    assert_eq!(sender.list(org, None, 200).await.expect("reads"), []);
}
