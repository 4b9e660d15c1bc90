//! What identity does unasked.
use std::time::Duration;

use jiff::SignedDuration;
use switchboard_identity::{Config, Identity, duties::Done};
use switchboard_runtime::Clock;
use uuid::Uuid;

use crate::ground::Ground;

on_both! {
    guests_who_do_not_come_back_are_erased
    one_replica_keeps_house
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

async fn guests_who_do_not_come_back_are_erased(ground: &Ground) {
    let clock = Clock::manual("2026-03-01T12:00:00Z".parse().expect("a time"));
    let config = Config { guest_retention: Duration::from_secs(7 * 24 * 3600), ..ground.config() };
    let identity = Identity::open(&config, clock.clone()).await.expect("opens");
    let org = identity.demo().expect("on").organization;
    let erased = async |user: Uuid| identity.user(org, user).await.expect("there").erased.is_some();
    let agent = identity.sign_in("agent@brightfold.example", &identity.demo().expect("on").password);
    let agent = agent.await.expect("signs in").user;
    let (gone, back) = (identity.guest("").await.expect("a guest"), identity.guest("").await.expect("a guest"));
    identity.housekeeping().await.expect("is done").expect("due");
    clock.advance(DAY * 20);
    let back_again = identity.guest(back.refresh.as_deref().expect("one")).await.expect("goes on");
    assert_eq!(back_again.user, back.user);
    let done = identity.housekeeping().await.expect("is done").expect("due");
    assert_eq!((done.guests, erased(gone.user).await), (0, false), "its session can go on for 30 days");
    clock.advance(DAY * 10);
    let done = identity.housekeeping().await.expect("is done").expect("due");
    // Of the sessions that began on the first day, two guests' and the agent's, none is left.
    assert_eq!(done, Done { guests: 1, forgotten: 2, rewrapped: 0 });
    assert!(erased(gone.user).await && !erased(back.user).await && !erased(agent).await);
    let anew = identity.guest(gone.refresh.as_deref().expect("one")).await.expect("a guest");
    assert_ne!(anew.user, gone.user);
}

async fn one_replica_keeps_house(ground: &Ground) {
    let clock = Clock::manual("2026-03-01T12:00:00Z".parse().expect("a time"));
    let replicas = [ground.identity(&clock).await, ground.identity(&clock).await];
    assert!(replicas[0].housekeeping().await.expect("answers").is_some());
    assert!(replicas[1].housekeeping().await.expect("answers").is_none());
    clock.advance(SignedDuration::from_hours(1));
    assert!(replicas[1].housekeeping().await.expect("answers").is_some());
    assert!(replicas[0].housekeeping().await.expect("answers").is_none());
}
