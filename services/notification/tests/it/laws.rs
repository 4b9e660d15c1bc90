//! The laws of [`Store`], one test each, on every adapter.
use std::collections::HashSet;

use jiff::SignedDuration;
use switchboard_notification::{
    message::{Delivery, Kind, Status},
    store::{Begun, Hold, Person, Settled, Store},
};
use uuid::Uuid;

use crate::rig::{Ground, new, nobody, on_both};

on_both![
    a_key_has_one_delivery_the_first,
    of_many_at_once_one_begins,
    what_one_holds_no_other_gets,
    what_was_not_settled_is_found_once,
    nothing_is_changed_through_another_organization,
    a_listing_has_everything_once_newest_first,
    a_person_is_found_by_user_and_address,
    keys_are_wrapped_anew,
];

/// Begins a delivery for nobody.
async fn begin(store: &dyn Store, delivery: &Delivery, hold: Hold) -> Begun {
    store.begin(delivery, &nobody(), hold).await.expect("answers")
}

async fn a_key_has_one_delivery_the_first(ground: Ground) {
    let (store, org, other) = (ground.store().await, Uuid::now_v7(), Uuid::now_v7());
    let (first, hold) = (new(org, "k'; --", 1), ground.hold(15));
    assert_eq!(begin(&*store, &first, hold).await, Begun { delivery: first.clone(), held: true });
    let again = begin(&*store, &new(org, "k'; --", 2), ground.hold(15)).await;
    assert_eq!(again, Begun { delivery: first.clone(), held: false });
    let elsewhere = new(other, "k'; --", 3);
    assert_eq!(begin(&*store, &elsewhere, ground.hold(15)).await, Begun { delivery: elsewhere.clone(), held: true });
    let settled = store.settle(org, first.id, hold.by, Status::Delivered, "smtp").await.expect("notes");
    assert_eq!(settled, Settled::Noted);
    let delivered = Delivery { status: Status::Delivered, transport: "smtp".into(), ..first };
    let again = begin(&*store, &new(org, "k'; --", 4), ground.hold(15)).await;
    assert_eq!(again, Begun { delivery: delivered.clone(), held: false });
    let slack = Delivery { kind: Kind::Slack, ..new(org, "k'; --", 5) };
    assert_eq!(begin(&*store, &slack, ground.hold(15)).await, Begun { delivery: delivered, held: false });
}

async fn of_many_at_once_one_begins(ground: Ground) {
    let (replicas, org) = ([ground.store().await, ground.store().await], Uuid::now_v7());
    let calls = (0..16).map(|n| {
        let (store, hold) = (replicas[n % 2].clone(), ground.hold(15));
        tokio::spawn(async move { begin(&*store, &new(org, "k", 1), hold).await })
    });
    let (mut ids, mut held) = (HashSet::new(), 0);
    for call in calls.collect::<Vec<_>>() {
        let begun = call.await.expect("runs");
        ids.insert(begun.delivery.id);
        held += usize::from(begun.held);
    }
    assert_eq!((ids.len(), held), (1, 1));
}

async fn what_one_holds_no_other_gets(ground: Ground) {
    let (store, org) = (ground.store().await, Uuid::now_v7());
    let person = Person { user: Some(Uuid::now_v7()), emails: vec![] };
    let (one, first) = (new(org, "k", 1), ground.hold(15));
    assert!(store.begin(&one, &person, first).await.expect("begins").held);
    ground.clock.advance(SignedDuration::from_millis(14_999));
    let second = ground.hold(15);
    assert!(!begin(&*store, &new(org, "k", 2), second).await.held);
    assert_eq!(store.unsettled(second, 9).await.expect("looks"), []);
    assert_eq!(store.hold_person(org, &person, second, 9).await.expect("looks"), (vec![], 1));
    assert_eq!(store.remove(org, second.by).await.expect("looks"), 0);

    ground.clock.advance(SignedDuration::from_millis(1));
    let third = ground.hold(15);
    assert!(begin(&*store, &new(org, "k", 3), third).await.held);
    let late = store.settle(org, one.id, first.by, Status::Delivered, "file").await.expect("answers");
    assert_eq!(late, Settled::Lost, "what the first one found out does not count any more");
    assert_eq!(store.settle(org, one.id, third.by, Status::Failed, "file").await.expect("notes"), Settled::Noted);
    // What failed is free at once.
    assert!(begin(&*store, &new(org, "k", 4), ground.hold(15)).await.held);
}

async fn what_was_not_settled_is_found_once(ground: Ground) {
    let (replicas, orgs) = ([ground.store().await, ground.store().await], [Uuid::now_v7(), Uuid::now_v7()]);
    let mut lost = HashSet::new();
    for n in 0..10 {
        let (one, hold) = (new(orgs[n % 2], &n.to_string(), 1), ground.hold(15));
        begin(&*replicas[0], &one, hold).await;
        match n {
            8 => drop(replicas[0].settle(one.org, one.id, hold.by, Status::Failed, "file").await.expect("notes")),
            9 => drop(replicas[0].settle(one.org, one.id, hold.by, Status::Delivered, "file").await.expect("notes")),
            _ => drop(lost.insert(one.id)),
        }
    }
    ground.clock.advance(SignedDuration::from_secs(15));
    begin(&*replicas[0], &new(orgs[0], "fresh", 2), ground.hold(15)).await;
    let mut found = Vec::new();
    while found.len() < lost.len() {
        let looks = (0..6).map(|n| {
            let (store, hold) = (replicas[n % 2].clone(), ground.hold(15));
            tokio::spawn(async move { store.unsettled(hold, 3).await.expect("looks") })
        });
        let before = found.len();
        for look in looks.collect::<Vec<_>>() {
            let open = look.await.expect("runs");
            assert!(open.len() <= 3);
            found.extend(open.into_iter().map(|d| d.id));
        }
        assert!(found.len() > before, "whoever looks finds some");
    }
    assert_eq!(found.len(), lost.len(), "each is found by one");
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), lost);
    assert_eq!(replicas[1].unsettled(ground.hold(15), 9).await.expect("looks"), []);
}

async fn nothing_is_changed_through_another_organization(ground: Ground) {
    let (store, org, other) = (ground.store().await, Uuid::now_v7(), Uuid::now_v7());
    let person = Person { user: Some(Uuid::now_v7()), emails: vec!["jane@example.com".into()] };
    let (one, hold) = (new(org, "k", 1), ground.hold(15));
    store.begin(&one, &person, hold).await.expect("begins");
    store.begin(&new(other, "k", 1), &nobody(), ground.hold(15)).await.expect("begins");
    let foreign = store.settle(other, one.id, hold.by, Status::Delivered, "file").await.expect("does nothing");
    assert_eq!(foreign, Settled::Erased, "there is no such delivery for them");
    assert_eq!(store.settle(org, one.id, hold.by, Status::Failed, "file").await.expect("notes"), Settled::Noted);
    let failed = Delivery { status: Status::Failed, ..one };
    assert_eq!(store.list(other, None, 9).await.expect("reads"), []);
    assert_eq!(store.of_person(other, &person).await.expect("reads"), []);
    let theirs = ground.hold(15);
    assert_eq!(store.hold_person(other, &person, theirs, 9).await.expect("reads"), (vec![], 0));
    let ours = ground.hold(15);
    store.hold_person(org, &person, ours, 9).await.expect("holds");
    assert_eq!(store.remove(other, ours.by).await.expect("does nothing"), 0);
    store.settle(org, failed.id, ours.by, Status::Failed, "file").await.expect("notes");
    assert_eq!(store.list(org, None, 9).await.expect("reads"), [failed]);
}

async fn a_listing_has_everything_once_newest_first(ground: Ground) {
    let (store, org) = (ground.store().await, Uuid::now_v7());
    // Three share each second: only the id tells them apart.
    for n in 0..10 {
        let (one, hold) = (new(org, &n.to_string(), n / 3), ground.hold(15));
        begin(&*store, &one, hold).await;
        if n != 4 {
            store.settle(org, one.id, hold.by, Status::Delivered, "file").await.expect("notes");
        }
    }
    let all = store.list(org, None, 200).await.expect("reads");
    assert_eq!(all.len(), 9, "what is not settled is not listed");
    assert!(all.windows(2).all(|pair| (pair[0].created, pair[0].id) > (pair[1].created, pair[1].id)));
    for size in 1..5 {
        let (mut seen, mut after) = (vec![], None);
        loop {
            let page = store.list(org, after, size).await.expect("reads");
            let Some(last) = page.last() else { break };
            after = Some((last.created, last.id));
            seen.extend(page);
        }
        assert_eq!(seen, all, "pages of {size}");
    }
}

async fn a_person_is_found_by_user_and_address(ground: Ground) {
    let (store, org) = (ground.store().await, Uuid::now_v7());
    let (kim, lee) = (Uuid::now_v7(), Uuid::now_v7());
    let whom = [
        ("0", Some(kim), vec!["Kim@Example.com"]),
        ("1", None, vec!["kim@example.com"]),
        ("2", Some(kim), vec![]),
        ("3", Some(kim), vec!["lee@example.com"]),
        ("4", Some(lee), vec!["lee@example.com"]),
        ("5", None, vec![]),
    ];
    for (n, (key, user, emails)) in whom.into_iter().enumerate() {
        let (one, hold) = (new(org, key, n as i64), ground.hold(15));
        let person = Person { user, emails: emails.into_iter().map(str::to_owned).collect() };
        store.begin(&one, &person, hold).await.expect("begins");
        store.settle(org, one.id, hold.by, Status::Delivered, "file").await.expect("notes");
    }
    // Another replica, which never saw them begin.
    let beside = ground.store().await;
    let keys = |found: Vec<Delivery>| found.into_iter().map(|d| d.key).collect::<Vec<_>>();
    let person = Person { user: Some(kim), emails: vec!["KIM@example.com".into(), "kim@elsewhere.example".into()] };
    assert_eq!(keys(beside.of_person(org, &person).await.expect("reads")), ["0", "1", "2", "3"]);
    let by_address = Person { user: None, ..person.clone() };
    assert_eq!(keys(beside.of_person(org, &by_address).await.expect("reads")), ["0", "1"]);
    assert_eq!(beside.of_person(org, &nobody()).await.expect("reads"), []);

    let hold = ground.hold(15);
    let (held, others) = beside.hold_person(org, &person, hold, 3).await.expect("holds");
    assert_eq!((keys(held), others), (vec!["0".to_owned(), "1".into(), "2".into()], 1));
    assert_eq!(beside.remove(org, hold.by).await.expect("removes"), 3);
    let hold = ground.hold(15);
    let (held, others) = beside.hold_person(org, &person, hold, 3).await.expect("holds");
    assert_eq!((keys(held), others), (vec!["3".to_owned()], 0));
    assert_eq!(beside.remove(org, hold.by).await.expect("removes"), 1);
    let gone = beside.settle(org, Uuid::now_v7(), hold.by, Status::Delivered, "file").await.expect("answers");
    assert_eq!(gone, Settled::Erased);
    assert_eq!(keys(store.list(org, None, 9).await.expect("reads")), ["5", "4"], "nobody else's");
    assert!(begin(&*store, &new(org, "0", 9), ground.hold(15)).await.held, "the key is free again");
}

async fn keys_are_wrapped_anew(ground: Ground) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use switchboard_notification::store;
    use switchboard_runtime::{Secret, vault::Vault};
    let open = async |numbers: &[u8]| {
        let keys: Vec<String> = numbers.iter().map(|n| format!("{n}:{}", STANDARD.encode([*n; 32]))).collect();
        let vault = Vault::new(&Secret::new(keys.join(","))).expect("good keys");
        store::open(&ground.ledger, vault).await.expect("opens").0
    };
    let (orgs, person) = ([Uuid::now_v7(), Uuid::now_v7()], Person { user: Some(Uuid::now_v7()), emails: vec![] });
    let old = open(&[1]).await;
    for org in orgs {
        old.begin(&new(org, "k", 1), &person, ground.hold(15)).await.expect("begins");
    }
    let both = open(&[2, 1]).await;
    both.begin(&new(Uuid::now_v7(), "k", 1), &person, ground.hold(15)).await.expect("a new one, new already");
    assert_eq!((both.rewrap().await.expect("wraps"), both.rewrap().await.expect("looks")), (2, 0));
    for org in orgs {
        assert_eq!(open(&[2]).await.of_person(org, &person).await.expect("opens").len(), 1);
        open(&[1]).await.of_person(org, &person).await.expect_err("the old master is of no use now");
    }
}
