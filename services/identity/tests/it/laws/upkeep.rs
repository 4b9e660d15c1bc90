//! What belongs to the installation, and the duties.
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use switchboard_identity::store::{StoreError, Traded};
use switchboard_runtime::{
    Secret,
    vault::{Vault, VaultError},
};
use tokio::task::JoinSet;

use super::*;
use crate::ground::Ground;

on_both! {
    the_first_value_of_a_name_is_kept
    of_many_values_at_once_all_get_the_first
    a_duty_is_given_to_one
    guests_are_erased_when_their_time_is_up
    what_has_ended_is_forgotten_and_nothing_else
    the_newest_master_alone_opens_what_was_wrapped_anew
}

async fn the_first_value_of_a_name_is_kept(ground: &Ground) {
    let store = ground.store().await;
    assert_eq!(store.keep("a", "1").await.expect("keeps"), "1");
    assert_eq!(store.keep("a", "2").await.expect("keeps"), "1");
    store.replace("a", "3").await.expect("replaces");
    assert_eq!(ground.store().await.keep("a", "4").await.expect("keeps"), "3");
    assert_eq!(store.keep("b", "").await.expect("keeps"), "");
}

async fn of_many_values_at_once_all_get_the_first(ground: &Ground) {
    let stores = [ground.store().await, ground.store().await];
    let mut keeps = JoinSet::new();
    for n in 0..8 {
        let store = stores[n % 2].clone();
        keeps.spawn(async move { store.keep("a", &n.to_string()).await.expect("keeps") });
    }
    let kept = keeps.join_all().await;
    assert!(kept.iter().all(|value| value == &kept[0]), "{kept:?}");
}

async fn a_duty_is_given_to_one(ground: &Ground) {
    let stores = [ground.store().await, ground.store().await];
    let hour = Duration::from_secs(3600);
    let claims = async |second| {
        let mut claims = JoinSet::new();
        for n in 0..8 {
            let store = stores[n % 2].clone();
            claims.spawn(async move { store.claim("sweep", at(second), hour).await.expect("answers") });
        }
        claims.join_all().await.into_iter().filter(|claimed| *claimed).count()
    };
    assert_eq!(claims(1000).await, 1);
    assert_eq!(claims(1000 + 3599).await, 0);
    assert_eq!(claims(1000 + 3600).await, 1);
    assert!(stores[0].claim("another", at(1000), hour).await.expect("answers"));
    // A clock that was a year ahead must not stop the work for a year.
    assert_eq!(claims(365 * 24 * 3600).await, 1);
    assert_eq!(claims(20_000).await, 1);
    assert_eq!(claims(20_001).await, 0);
}

async fn guests_are_erased_when_their_time_is_up(ground: &Ground) {
    let store = ground.store().await;
    let (org, other) = (organization(&*store).await, organization(&*store).await);
    let made = async |org, guest, second, token: Option<&str>| {
        let user = User { guest, created: at(second), ..new(org).user };
        let user = store.add_user(&NewUser { user, ..new(org) }).await.expect("adds").user;
        if let Some(token) = token {
            store.add_refresh(&refresh(&user, token, guest), at(second)).await.expect("adds");
        }
        user
    };
    let gone =
        [made(org, true, 100, None).await, made(org, true, 100, Some("r1")).await, made(other, true, 199, None).await];
    let stay =
        [made(org, true, 200, None).await, made(org, false, 100, None).await, made(other, true, 100, Some("r2")).await];
    // The session of one ends, that of the other goes on.
    assert!(matches!(store.trade_refresh(&trade("r2", "r3", 900)).await.expect("trades"), Traded::Fresh(..)));
    assert_eq!(store.erase_guests(at(200), at(1000), 2).await.expect("erases"), 2, "at most");
    let stores = [store.clone(), ground.store().await];
    let mut sweeps = JoinSet::new();
    for n in 0..4 {
        let store = stores[n % 2].clone();
        sweeps.spawn(async move { store.erase_guests(at(200), at(1000), 9).await.expect("erases") });
    }
    assert_eq!(sweeps.join_all().await.into_iter().sum::<u64>(), 1, "each once");
    let erased = async |user: &User| store.user(user.org, user.id).await.expect("reads").expect("there").erased;
    for user in &gone {
        assert_eq!(erased(user).await, Some(at(1000)));
    }
    for user in &stay {
        assert_eq!(erased(user).await, None);
    }
    let mut told = 0;
    for org in [org, other] {
        let rows = store.activity(org, 0, 99).await.expect("whole");
        told += rows.iter().filter(|r| r.action == "guests.erased").map(|r| r.details["guests"]).sum::<u64>();
    }
    assert_eq!(told, 3);
    assert_eq!(store.erase_guests(at(200), at(3000), 9).await.expect("erases"), 1, "the session has ended");
}

async fn what_has_ended_is_forgotten_and_nothing_else(ground: &Ground) {
    let store = ground.store().await;
    let day = 24 * 3600;
    let user = someone(&*store).await;
    let ends = async |token: &str, second| {
        let refresh = Refresh { expires: at(second), ..refresh(&user, token, false) };
        store.add_refresh(&refresh, at(10)).await.expect("adds");
        let reset = Reset { expires: at(second), ..new_reset(&user, token) };
        store.begin_reset(&reset, at(10)).await.expect("begins");
        store.add_failure(token, at(second)).await.expect("counts");
    };
    ends("a", 1000).await;
    ends("b", 2000).await;
    ends("c", 2 * day).await;
    // Of each the sessions end at once; resets and failures are kept for a day.
    assert_eq!(store.forget_ended(at(1000), 9).await.expect("forgets"), 1);
    assert_eq!(store.forget_ended(at(1000), 9).await.expect("forgets"), 0);
    assert_eq!(store.forget_ended(at(1000 + day), 9).await.expect("forgets"), 1 + 2);
    assert_eq!(store.forget_ended(at(2000 + day), 9).await.expect("forgets"), 2);
    let left = store.export_user(user.org, user.id, user.id, at(day)).await.expect("reads").expect("there");
    assert_eq!((left.sessions.len(), left.resets.len()), (1, 1));
    assert!(store.failures("c", at(2 * day)).await.expect("reads").is_some());
    assert_eq!(store.forget_ended(at(9 * day), 9).await.expect("forgets"), 3);
}

fn vault(masters: &[u8]) -> Vault {
    let keys: Vec<_> = masters.iter().map(|n| format!("{n}:{}", BASE64.encode([*n; 32]))).collect();
    Vault::new(&Secret::new(keys.join(","))).expect("good keys")
}

async fn the_newest_master_alone_opens_what_was_wrapped_anew(ground: &Ground) {
    let old = ground.store_under(&vault(&[1])).await;
    let mut people = Vec::new();
    for n in 0..5 {
        let new = named(organization(&*old).await, &format!("p{n}@example.com"), "ext");
        let new = NewUser { password_hash: Some(format!("h{n}")), ..new };
        people.push(old.add_user(&new).await.expect("adds").user);
    }
    old.keep("a", "kept").await.expect("keeps");
    let too_early = ground.store_under(&vault(&[2])).await;
    let unknown = |e| assert!(matches!(e, StoreError::Sealed(VaultError::UnknownKey(1))), "{e:?}");
    unknown(too_early.keep("a", "").await.expect_err("sealed"));
    unknown(too_early.user(people[0].org, people[0].id).await.expect_err("sealed"));
    unknown(too_early.user_by_email(people[0].org, "p0@example.com").await.expect_err("sealed"));

    let both = [ground.store_under(&vault(&[2, 1])).await, ground.store_under(&vault(&[2, 1])).await];
    assert_eq!(both[0].rewrap_keys(2).await.expect("wraps"), 2 + 2, "two values, and at most two people");
    let mut wraps = JoinSet::new();
    for n in 0..4 {
        let store = both[n % 2].clone();
        wraps.spawn(async move { store.rewrap_keys(9).await.expect("wraps") });
    }
    assert_eq!(wraps.join_all().await.into_iter().sum::<u64>(), 3, "each once");
    assert_eq!(both[0].rewrap_keys(9).await.expect("wraps"), 0);

    let new = ground.store_under(&vault(&[2])).await;
    assert_eq!(new.keep("a", "").await.expect("opens"), "kept");
    for (n, user) in people.iter().enumerate() {
        let email = format!("p{n}@example.com");
        assert_eq!(new.user_by_email(user.org, &email).await.expect("opens").as_ref(), Some(user));
        let found = new.candidates(&email, "", 9).await.expect("opens");
        assert_eq!(found[0].password_hash, format!("h{n}"));
    }
    // One key that does not open, as after a restore from another installation, stops nobody else's.
    let one = "SELECT wrapped_key FROM person_keys ORDER BY wrapped_key LIMIT 1";
    ground.tamper(&format!("UPDATE person_keys SET wrapped_key = ({one})")).await;
    let third = ground.store_under(&vault(&[3, 2])).await;
    assert_eq!(third.rewrap_keys(9).await.expect("wraps"), 2 + 1);
}
