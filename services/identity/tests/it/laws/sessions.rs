//! Sign-ins, refresh tokens, password resets.
use switchboard_identity::{
    lockout::Failures,
    store::{StoreError, Traded},
};
use tokio::task::JoinSet;

use super::*;
use crate::ground::Ground;

on_both! {
    candidates_are_those_with_a_password
    a_refresh_token_is_traded_once
    of_many_trades_at_once_one_counts
    a_family_ends_also_while_it_grows
    a_refresh_token_ends
    a_guest_has_a_grace
    guests_only_leaves_others_as_they_are
    a_reset_is_begun_once_per_request
    a_reset_is_used_once_and_ends_sessions
    of_many_uses_of_a_reset_one_counts
    a_reset_ends
    failures_are_counted_per_name
    failures_are_forgotten_after_a_day
}

async fn candidates_are_those_with_a_password(ground: &Ground) {
    let store = ground.store().await;
    let mut ids = vec![];
    for (name, password) in [(Some("p1"), Some("h1")), (Some("p1"), Some("h2")), (Some("p1"), None), (None, Some("h3"))]
    {
        let mut user = new(organization(&*store).await);
        user.user.email = name.map(|n| format!("{n}@example.com"));
        user.user.external_id = Some("x".into());
        user.password_hash = password.map(Into::into);
        ids.push(store.add_user(&user).await.expect("adds").user);
    }
    let found = async |email: &str, external: &str, limit| {
        let found = store.candidates(email, external, limit).await.expect("reads");
        found.into_iter().map(|c| c.password_hash).collect::<Vec<_>>()
    };
    let sorted = |mut hashes: Vec<String>| {
        hashes.sort();
        hashes
    };
    assert_eq!(sorted(found("p1@example.com", "", 9).await), ["h1", "h2"]);
    assert_eq!(sorted(found("", "x", 9).await), ["h1", "h2", "h3"]);
    assert_eq!(found("", "x", 2).await.len(), 2);
    assert!(found("p2@example.com", "y", 9).await.is_empty());
    store.set_password(ids[2].org, ids[2].id, "h4", at(5)).await.expect("sets");
    store.set_password(ids[0].org, ids[0].id, "h5", at(5)).await.expect("sets");
    assert_eq!(sorted(found("p1@example.com", "", 9).await), ["h2", "h4", "h5"]);
    let elsewhere = store.set_password(ids[1].org, ids[0].id, "h6", at(6)).await;
    assert!(matches!(elsewhere, Err(StoreError::NoUser)), "not through another organization");
}

async fn a_refresh_token_is_traded_once(ground: &Ground) {
    let store = ground.store().await;
    let user = session(&*store, "r1", false).await;
    assert_eq!(store.trade_refresh(&trade("r1", "r2", 20)).await.expect("trades"), Traded::Fresh(user.clone(), false));
    assert_eq!(store.trade_refresh(&trade("r2", "r3", 30)).await.expect("trades"), Traded::Fresh(user, false));
    assert_eq!(store.trade_refresh(&trade("r1", "x", 31)).await.expect("answers"), Traded::Reused);
    assert_eq!(
        store.trade_refresh(&trade("r3", "y", 32)).await.expect("answers"),
        Traded::Refused,
        "the family has ended"
    );
    assert_eq!(store.trade_refresh(&trade("unknown", "z", 33)).await.expect("answers"), Traded::Refused);
}

async fn of_many_trades_at_once_one_counts(ground: &Ground) {
    let stores = [ground.store().await, ground.store().await];
    session(&*stores[0], "r1", false).await;
    let mut trades = JoinSet::new();
    for n in 0..8 {
        let store = stores[n % 2].clone();
        trades.spawn(async move { store.trade_refresh(&trade("r1", &format!("f{n}"), 20)).await.expect("answers") });
    }
    let traded = trades.join_all().await;
    assert_eq!(traded.iter().filter(|t| matches!(t, Traded::Fresh(..))).count(), 1);
}

/// A thief uses the old token while the owner goes on: whatever the order, no token of the family is good afterwards.
async fn a_family_ends_also_while_it_grows(ground: &Ground) {
    let stores = [ground.store().await, ground.store().await];
    for round in 0..8 {
        let name = |n: usize| format!("{round}:{n}");
        session(&*stores[0], &name(0), false).await;
        stores[0].trade_refresh(&trade(&name(0), &name(1), 20)).await.expect("trades");
        let mut tasks = JoinSet::new();
        let (owner, thief) = (stores[0].clone(), stores[1].clone());
        tasks.spawn(async move {
            for n in 1..6 {
                let trade = trade(&format!("{round}:{n}"), &format!("{round}:{}", n + 1), 21);
                owner.trade_refresh(&trade).await.expect("answers");
            }
        });
        tasks.spawn(async move {
            let traded = thief.trade_refresh(&trade(&format!("{round}:0"), "stolen", 21)).await.expect("answers");
            assert_eq!(traded, Traded::Reused);
        });
        tasks.join_all().await;
        for n in 0..=6 {
            let traded = stores[0].trade_refresh(&trade(&name(n), "x", 22)).await.expect("answers");
            assert_eq!(traded, Traded::Refused, "round {round}, token {n}");
        }
    }
}

async fn a_refresh_token_ends(ground: &Ground) {
    let store = ground.store().await;
    session(&*store, "r1", false).await;
    assert_eq!(store.trade_refresh(&trade("r1", "r2", 1000)).await.expect("answers"), Traded::Refused);
}

async fn a_guest_has_a_grace(ground: &Ground) {
    let store = ground.store().await;
    let user = session(&*store, "g1", true).await;
    for (second, fresh) in [(20, "g2"), (30, "g3"), (49, "g4")] {
        let traded = store.trade_refresh(&trade("g1", fresh, second)).await.expect("trades");
        assert_eq!(traded, Traded::Fresh(user.clone(), true), "second {second}");
    }
    assert_eq!(store.trade_refresh(&trade("g1", "x", 50)).await.expect("answers"), Traded::Reused);
    assert_eq!(store.trade_refresh(&trade("g4", "y", 51)).await.expect("answers"), Traded::Refused);
}

async fn guests_only_leaves_others_as_they_are(ground: &Ground) {
    let store = ground.store().await;
    session(&*store, "r1", false).await;
    let guests = Trade { guests_only: true, ..trade("r1", "x", 20) };
    assert_eq!(store.trade_refresh(&guests).await.expect("answers"), Traded::Refused);
    assert!(matches!(store.trade_refresh(&trade("r1", "r2", 21)).await.expect("trades"), Traded::Fresh(..)));
}

async fn a_reset_is_begun_once_per_request(ground: &Ground) {
    let store = ground.store().await;
    let user = someone(&*store).await;
    let first = reset(&*store, &user, "t1").await;
    let retry = Reset { expires: at(9999), ..first.clone() };
    assert_eq!(store.begin_reset(&retry, at(60)).await.expect("answers"), first);
    let other = someone(&*store).await;
    let elsewhere = Reset { org: other.org, user: other.id, hash: token::hash("t2"), ..first.clone() };
    assert_eq!(store.begin_reset(&elsewhere, at(60)).await.expect("another organization's"), elsewhere);
}

async fn a_reset_is_used_once_and_ends_sessions(ground: &Ground) {
    let store = ground.store().await;
    let user = session(&*store, "r1", false).await;
    let (first, second) = (reset(&*store, &user, "t1").await, reset(&*store, &user, "t2").await);
    assert_eq!(store.open_reset(&first.hash, at(3599)).await.expect("reads"), Some(first.clone()));
    assert!(store.finish_reset(&first.hash, "h1", at(100)).await.expect("sets"));
    assert!(!store.finish_reset(&first.hash, "h2", at(101)).await.expect("answers"), "used");
    assert!(!store.finish_reset(&second.hash, "h3", at(102)).await.expect("answers"), "ended by the first");
    assert_eq!(store.open_reset(&first.hash, at(103)).await.expect("reads"), None);
    assert_eq!(store.trade_refresh(&trade("r1", "x", 104)).await.expect("answers"), Traded::Refused);
}

async fn of_many_uses_of_a_reset_one_counts(ground: &Ground) {
    let stores = [ground.store().await, ground.store().await];
    let user = someone(&*stores[0]).await;
    let hash = reset(&*stores[0], &user, "t1").await.hash;
    let mut uses = JoinSet::new();
    for n in 0..8 {
        let store = stores[n % 2].clone();
        uses.spawn(async move { store.finish_reset(&hash, &format!("h{n}"), at(100)).await.expect("answers") });
    }
    assert_eq!(uses.join_all().await.into_iter().filter(|used| *used).count(), 1);
}

async fn a_reset_ends(ground: &Ground) {
    let store = ground.store().await;
    let user = someone(&*store).await;
    let reset = reset(&*store, &user, "t1").await;
    assert_eq!(store.open_reset(&reset.hash, at(3600)).await.expect("reads"), None);
    assert!(!store.finish_reset(&reset.hash, "h1", at(3600)).await.expect("answers"));
    assert!(!store.finish_reset(&token::hash("unknown"), "h1", at(1)).await.expect("answers"));
}

async fn failures_are_counted_per_name(ground: &Ground) {
    let stores = [ground.store().await, ground.store().await];
    let store = &stores[0];
    assert_eq!(store.failures("a", at(1)).await.expect("reads"), None);
    let mut adds = JoinSet::new();
    for n in 0..5 {
        let store = stores[n % 2].clone();
        adds.spawn(async move { store.add_failure(["a", "A"][n % 2], at(10)).await.expect("counts") });
    }
    adds.join_all().await;
    assert_eq!(store.failures("a", at(20)).await.expect("reads"), Some(Failures { count: 5, last: at(10) }));
    assert_eq!(store.failures("b", at(20)).await.expect("reads"), None);
    store.clear_failures("A").await.expect("clears");
    assert_eq!(store.failures("a", at(20)).await.expect("reads"), None);
}

async fn failures_are_forgotten_after_a_day(ground: &Ground) {
    let store = ground.store().await;
    let day = 24 * 3600;
    store.add_failure("a", at(0)).await.expect("counts");
    assert!(store.failures("a", at(day - 1)).await.expect("reads").is_some());
    assert_eq!(store.failures("a", at(day)).await.expect("reads"), None);
    store.add_failure("a", at(day)).await.expect("counts");
    assert_eq!(store.failures("a", at(day)).await.expect("reads"), Some(Failures { count: 1, last: at(day) }));
}
