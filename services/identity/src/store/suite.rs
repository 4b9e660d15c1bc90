//! The laws of [`Store`], one test each, run on every adapter.
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use switchboard_runtime::{Clock, Role};
use uuid::Uuid;

use super::*;
use crate::{model::Tier, token};

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
    }
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

async fn session(store: &dyn Store, token: &str, guest: bool) -> User {
    let user = someone(store).await;
    let hash = token::hash(token);
    let refresh = Refresh { hash, family: Uuid::new_v4(), org: user.org, user: user.id, guest, expires: at(1000) };
    store.add_refresh(&refresh, at(10)).await.expect("adds");
    user
}

async fn reset(store: &dyn Store, user: &User, token: &str) -> Reset {
    let request_id = Uuid::new_v4();
    let new = Reset { hash: token::hash(token), org: user.org, user: user.id, request_id, expires: at(3600) };
    assert_eq!(store.begin_reset(&new, at(0)).await.expect("begins"), new);
    new
}

pub(super) async fn the_first_value_of_a_name_is_kept(store: Arc<dyn Store>) {
    assert_eq!(store.keep("a", "1", at(1)).await.expect("keeps"), "1");
    assert_eq!(store.keep("a", "2", at(2)).await.expect("keeps"), "1");
    store.replace("a", "3", at(3)).await.expect("replaces");
    assert_eq!(store.keep("a", "4", at(4)).await.expect("keeps"), "3");
}

pub(super) async fn what_was_written_is_read(store: Arc<dyn Store>) {
    let mut org = Organization::new(
        Uuid::new_v4(),
        "Ümläut & Söhne",
        Timestamp::from_microsecond(1_700_000_000_123_456).expect("in range"),
    );
    org.tier = Tier::Enterprise;
    org.settings.insert("a".into(), serde_json::json!({"b": [1, null]}));
    org.guests_allowed = true;
    org.salesforce_org_id = "00D".into();
    store.add_organization(&org).await.expect("adds");
    store.add_organization(&Organization::new(org.id, "another", at(0))).await.expect("keeps the first");
    assert_eq!(store.organization(org.id).await.expect("reads"), Some(org.clone()));
    assert_eq!(store.organization(Uuid::new_v4()).await.expect("reads"), None);

    let mut full = new(org.id);
    full.user.email = Some("a@example.com".into());
    full.user.external_id = Some("ext'; DROP TABLE users; --".into());
    full.user.full_name = "Zoë".into();
    full.user.role = Role::Supervisor;
    full.user.tier = Tier::Free;
    assert_eq!(store.add_user(&full).await.expect("adds"), Made { user: full.user.clone(), new: true });
    let found = [
        store.user(org.id, full.user.id).await.expect("reads"),
        store.user_by_email(org.id, "a@example.com").await.expect("reads"),
        store.user_by_external_id(org.id, "ext'; DROP TABLE users; --").await.expect("reads"),
    ];
    assert!(found.into_iter().all(|user| user.as_ref() == Some(&full.user)));
}

pub(super) async fn nobody_is_found_through_another_organization(store: Arc<dyn Store>) {
    let (org, other) = (organization(&*store).await, organization(&*store).await);
    let mut one = new(org);
    one.user.email = Some("a@example.com".into());
    one.user.external_id = Some("ext".into());
    store.add_user(&one).await.expect("adds");
    assert_eq!(store.user(other, one.user.id).await.expect("reads"), None);
    assert_eq!(store.user_by_email(other, "a@example.com").await.expect("reads"), None);
    assert_eq!(store.user_by_external_id(other, "ext").await.expect("reads"), None);
    let mut same = new(other);
    same.user.email = one.user.email.clone();
    same.user.external_id = one.user.external_id.clone();
    assert!(store.add_user(&same).await.expect("other organizations may have the same").new);
    let stolen =
        NewUser { user: User { org: other, email: None, external_id: None, ..one.user.clone() }, ..one.clone() };
    assert!(matches!(store.add_user(&stolen).await, Err(StoreError::Taken("user_id"))));
}

pub(super) async fn names_are_unique_in_an_organization(store: Arc<dyn Store>) {
    let org = organization(&*store).await;
    let mut first = new(org);
    first.user.email = Some("a@example.com".into());
    first.user.external_id = Some("ext".into());
    first.request_id = Some(Uuid::new_v4());
    store.add_user(&first).await.expect("adds");
    let mut second = new(org);
    second.user.email = first.user.email.clone();
    assert!(matches!(store.add_user(&second).await, Err(StoreError::Taken("email"))));
    second.user.email = None;
    second.user.external_id = first.user.external_id.clone();
    assert!(matches!(store.add_user(&second).await, Err(StoreError::Taken("external_id"))));
    second.request_id = first.request_id;
    assert_eq!(store.add_user(&second).await.expect("a retry"), Made { user: first.user, new: false });
}

pub(super) async fn of_many_at_once_one_gets_the_name(store: Arc<dyn Store>) {
    let org = organization(&*store).await;
    let tries = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut user = new(org);
            user.user.external_id = Some("ext".into());
            store.add_user(&user).await
        })
    });
    let mut made = 0;
    for one in tries.collect::<Vec<_>>() {
        match one.await.expect("runs") {
            Ok(m) => made += usize::from(m.new),
            Err(e) => assert!(matches!(e, StoreError::Taken("external_id")), "{e:?}"),
        }
    }
    assert_eq!(made, 1);
}

pub(super) async fn candidates_are_those_with_a_password(store: Arc<dyn Store>) {
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
    assert!(store.set_password(ids[1].org, ids[0].id, "h6", at(6)).await.is_err(), "not through another organization");
}

pub(super) async fn a_refresh_token_is_traded_once(store: Arc<dyn Store>) {
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

pub(super) async fn of_many_trades_at_once_one_counts(store: Arc<dyn Store>) {
    session(&*store, "r1", false).await;
    let trades = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.trade_refresh(&trade("r1", &format!("f{n}"), 20)).await.expect("answers") })
    });
    let mut fresh = 0;
    for one in trades.collect::<Vec<_>>() {
        fresh += usize::from(matches!(one.await.expect("runs"), Traded::Fresh(..)));
    }
    assert_eq!(fresh, 1);
}

pub(super) async fn a_refresh_token_ends(store: Arc<dyn Store>) {
    session(&*store, "r1", false).await;
    assert_eq!(store.trade_refresh(&trade("r1", "r2", 1000)).await.expect("answers"), Traded::Refused);
}

pub(super) async fn a_guest_has_a_grace(store: Arc<dyn Store>) {
    let user = session(&*store, "g1", true).await;
    for (second, fresh) in [(20, "g2"), (30, "g3"), (49, "g4")] {
        let traded = store.trade_refresh(&trade("g1", fresh, second)).await.expect("trades");
        assert_eq!(traded, Traded::Fresh(user.clone(), true), "second {second}");
    }
    assert_eq!(store.trade_refresh(&trade("g1", "x", 50)).await.expect("answers"), Traded::Reused);
    assert_eq!(store.trade_refresh(&trade("g4", "y", 51)).await.expect("answers"), Traded::Refused);
}

pub(super) async fn guests_only_leaves_others_as_they_are(store: Arc<dyn Store>) {
    session(&*store, "r1", false).await;
    let guests = Trade { guests_only: true, ..trade("r1", "x", 20) };
    assert_eq!(store.trade_refresh(&guests).await.expect("answers"), Traded::Refused);
    assert!(matches!(store.trade_refresh(&trade("r1", "r2", 21)).await.expect("trades"), Traded::Fresh(..)));
}

pub(super) async fn a_reset_is_begun_once_per_request(store: Arc<dyn Store>) {
    let user = someone(&*store).await;
    let first = reset(&*store, &user, "t1").await;
    let retry = Reset { expires: at(9999), ..first.clone() };
    assert_eq!(store.begin_reset(&retry, at(60)).await.expect("answers"), first);
    let other = someone(&*store).await;
    let elsewhere = Reset { org: other.org, user: other.id, hash: token::hash("t2"), ..first.clone() };
    assert_eq!(store.begin_reset(&elsewhere, at(60)).await.expect("another organization's"), elsewhere);
}

pub(super) async fn a_reset_is_used_once_and_ends_sessions(store: Arc<dyn Store>) {
    let user = session(&*store, "r1", false).await;
    let (first, second) = (reset(&*store, &user, "t1").await, reset(&*store, &user, "t2").await);
    assert_eq!(store.open_reset(&first.hash, at(3599)).await.expect("reads"), Some(first.clone()));
    assert!(store.finish_reset(&first.hash, "h1", at(100)).await.expect("sets"));
    assert!(!store.finish_reset(&first.hash, "h2", at(101)).await.expect("answers"), "used");
    assert!(!store.finish_reset(&second.hash, "h3", at(102)).await.expect("answers"), "ended by the first");
    assert_eq!(store.open_reset(&first.hash, at(103)).await.expect("reads"), None);
    assert_eq!(store.trade_refresh(&trade("r1", "x", 104)).await.expect("answers"), Traded::Refused);
}

pub(super) async fn a_reset_ends(store: Arc<dyn Store>) {
    let user = someone(&*store).await;
    let reset = reset(&*store, &user, "t1").await;
    assert_eq!(store.open_reset(&reset.hash, at(3600)).await.expect("reads"), None);
    assert!(!store.finish_reset(&reset.hash, "h1", at(3600)).await.expect("answers"));
    assert!(!store.finish_reset(&token::hash("unknown"), "h1", at(1)).await.expect("answers"));
}

pub(super) async fn failures_are_counted_per_name(store: Arc<dyn Store>) {
    let (name, other) = (token::hash("a"), token::hash("b"));
    assert_eq!(store.failures(&name, at(1)).await.expect("reads"), None);
    let adds = (0..5).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.add_failure(&name, at(10)).await.expect("counts") })
    });
    for add in adds.collect::<Vec<_>>() {
        add.await.expect("runs");
    }
    assert_eq!(store.failures(&name, at(20)).await.expect("reads"), Some(Failures { count: 5, last: at(10) }));
    assert_eq!(store.failures(&other, at(20)).await.expect("reads"), None);
    store.clear_failures(&name).await.expect("clears");
    assert_eq!(store.failures(&name, at(20)).await.expect("reads"), None);
}

pub(super) async fn failures_are_forgotten_after_a_day(store: Arc<dyn Store>) {
    let (name, day) = (token::hash("a"), 24 * 3600);
    store.add_failure(&name, at(0)).await.expect("counts");
    assert!(store.failures(&name, at(day - 1)).await.expect("reads").is_some());
    assert_eq!(store.failures(&name, at(day)).await.expect("reads"), None);
    store.add_failure(&name, at(day)).await.expect("counts");
    assert_eq!(store.failures(&name, at(day)).await.expect("reads"), Some(Failures { count: 1, last: at(day) }));
}

mod on_sqlite {
    use super::super::sqlite::SqliteStore;

    macro_rules! laws {
        ($($law:ident)*) => {$(
            #[tokio::test]
            async fn $law() {
                let folder = tempfile::tempdir().expect("a folder");
                let store = SqliteStore::open(folder.path()).await.expect("opens");
                super::$law(std::sync::Arc::new(store)).await;
            }
        )*};
    }
    laws! {
        the_first_value_of_a_name_is_kept
        what_was_written_is_read
        nobody_is_found_through_another_organization
        names_are_unique_in_an_organization
        of_many_at_once_one_gets_the_name
        candidates_are_those_with_a_password
        a_refresh_token_is_traded_once
        of_many_trades_at_once_one_counts
        a_refresh_token_ends
        a_guest_has_a_grace
        guests_only_leaves_others_as_they_are
        a_reset_is_begun_once_per_request
        a_reset_is_used_once_and_ends_sessions
        a_reset_ends
        failures_are_counted_per_name
        failures_are_forgotten_after_a_day
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_reads_the_files() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let _store = SqliteStore::open(folder.path()).await.expect("opens");
        for file in std::fs::read_dir(folder.path()).expect("lists") {
            let file = file.expect("an entry");
            if file.file_name() == "identity.lock" {
                continue; // empty
            }
            assert_eq!(file.metadata().expect("there").permissions().mode() & 0o077, 0, "{:?}", file.file_name());
        }
    }
}
