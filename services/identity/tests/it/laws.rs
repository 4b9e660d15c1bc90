//! The laws of the port, one test each, run on every adapter.
use jiff::{SignedDuration, Timestamp};
use switchboard_identity::{
    model::{Organization, User},
    store::{NewUser, Refresh, Reset, Store, Trade},
    token,
};
use switchboard_runtime::{Clock, Role};
use uuid::Uuid;

mod people;
mod sessions;
mod upkeep;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

async fn organization(store: &dyn Store) -> Uuid {
    let org = Clock::system().new_id();
    store.add_organization(&Organization::new(org, "Acme", at(1))).await.expect("adds");
    org
}

fn new(org: Uuid) -> NewUser {
    NewUser {
        user: User::new(Clock::system().new_id(), org, Role::Customer, at(2)),
        request_id: None,
        password_hash: None,
        by: Uuid::nil(),
    }
}

fn named(org: Uuid, email: &str, external_id: &str) -> NewUser {
    let user = User { email: Some(email.into()), external_id: Some(external_id.into()), ..new(org).user };
    NewUser { user, ..new(org) }
}

async fn someone(store: &dyn Store) -> User {
    let org = organization(store).await;
    store.add_user(&new(org)).await.expect("adds").user
}

fn trade(shown: &str, fresh: &str, second: i64) -> Trade {
    Trade {
        shown: token::hash(shown),
        fresh: token::hash(fresh),
        guests_only: false,
        now: at(second),
        expires: at(second + 1000),
        grace: SignedDuration::from_secs(30),
    }
}

fn refresh(user: &User, token: &str, guest: bool) -> Refresh {
    let hash = token::hash(token);
    Refresh { hash, family: Uuid::new_v4(), org: user.org, user: user.id, guest, expires: at(1000) }
}

async fn session(store: &dyn Store, token: &str, guest: bool) -> User {
    let user = someone(store).await;
    store.add_refresh(&refresh(&user, token, guest), at(10)).await.expect("adds");
    user
}

fn new_reset(user: &User, token: &str) -> Reset {
    let request_id = Uuid::new_v4();
    Reset { hash: token::hash(token), org: user.org, user: user.id, request_id, expires: at(3600) }
}

async fn reset(store: &dyn Store, user: &User, token: &str) -> Reset {
    let new = new_reset(user, token);
    assert_eq!(store.begin_reset(&new, at(0)).await.expect("begins"), new);
    new
}
