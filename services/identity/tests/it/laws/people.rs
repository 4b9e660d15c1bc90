//! Organizations, users, their log.
use switchboard_identity::{
    model::Tier,
    store::{Erased, KeptReset, KeptSession, Made, StoreError, Traded},
};
use tokio::task::JoinSet;

use super::*;
use crate::ground::Ground;

on_both! {
    what_was_written_is_read
    nobody_is_found_through_another_organization
    names_are_unique_in_an_organization
    of_many_at_once_one_gets_the_name
    of_many_tries_of_a_request_one_makes_the_user
    whoever_is_erased_leaves_an_id_and_a_time
    erasing_leaves_nothing_of_what_happens_at_the_same_time
    an_export_has_everything
    what_changes_people_is_in_the_log
    a_log_has_no_fork
    a_log_that_was_changed_is_noticed
}

async fn what_was_written_is_read(ground: &Ground) {
    let store = ground.store().await;
    let made = Timestamp::from_microsecond(1_700_000_000_123_456).expect("in range");
    let mut org = Organization::new(Uuid::new_v4(), "Ümläut & Söhne", made);
    org.tier = Tier::Enterprise;
    org.settings.insert("a".into(), serde_json::json!({"b": [1, null]}));
    org.settings.insert("retention_days".into(), 30.into());
    org.guests_allowed = true;
    org.salesforce_org_id = "00D".into();
    store.add_organization(&org).await.expect("adds");
    store.add_organization(&Organization::new(org.id, "another", at(0))).await.expect("keeps the first");
    let same = Organization { id: Uuid::new_v4(), ..org.clone() };
    assert!(matches!(store.add_organization(&same).await, Err(StoreError::Taken("salesforce_org_id"))));

    let mut full = named(org.id, "a@example.com", "ext'; DROP TABLE users; --");
    full.user.full_name = "Zoë".into();
    full.user.role = Role::Supervisor;
    full.user.tier = Tier::Free;
    full.user.guest = true;
    assert_eq!(store.add_user(&full).await.expect("adds"), Made { user: full.user.clone(), new: true });
    for store in [store, ground.store().await] {
        assert_eq!(store.organization(org.id).await.expect("reads"), Some(org.clone()));
        assert_eq!(store.organization(Uuid::new_v4()).await.expect("reads"), None);
        let found = [
            store.user(org.id, full.user.id).await.expect("reads"),
            store.user_by_email(org.id, "a@example.com").await.expect("reads"),
            store.user_by_external_id(org.id, "ext'; DROP TABLE users; --").await.expect("reads"),
        ];
        assert!(found.into_iter().all(|user| user.as_ref() == Some(&full.user)));
        assert_eq!(store.user_by_email(org.id, "b@example.com").await.expect("reads"), None);
        assert_eq!(store.user(org.id, Uuid::new_v4()).await.expect("reads"), None);
    }
}

async fn nobody_is_found_through_another_organization(ground: &Ground) {
    let store = ground.store().await;
    let (org, other) = (organization(&*store).await, organization(&*store).await);
    let one = named(org, "a@example.com", "ext");
    let id = one.user.id;
    store.add_user(&one).await.expect("adds");
    assert_eq!(store.user(other, id).await.expect("reads"), None);
    assert_eq!(store.user_by_email(other, "a@example.com").await.expect("reads"), None);
    assert_eq!(store.user_by_external_id(other, "ext").await.expect("reads"), None);
    assert_eq!(store.export_user(other, id, id, at(3)).await.expect("reads"), None);
    assert_eq!(store.erase_user(other, id, id, at(3)).await.expect("reads"), None);
    let stranger = User { org: other, ..one.user.clone() };
    let is_nobody = |result| assert!(matches!(result, Err(StoreError::NoUser)), "{result:?}");
    is_nobody(store.set_password(other, id, "h", at(3)).await);
    is_nobody(store.add_refresh(&refresh(&stranger, "r", false), at(3)).await);
    is_nobody(store.begin_reset(&new_reset(&stranger, "t"), at(3)).await.map(|_| ()));
    assert_eq!(store.activity(other, 0, 9).await.expect("reads").len(), 1, "its own beginning");

    assert!(store.add_user(&named(other, "a@example.com", "ext")).await.expect("others may have the same").new);
    let stolen = NewUser { user: User { email: None, external_id: None, ..stranger }, ..one.clone() };
    assert!(matches!(store.add_user(&stolen).await, Err(StoreError::Taken("user_id"))));
    assert_eq!(store.user(org, id).await.expect("reads"), Some(one.user));
}

async fn names_are_unique_in_an_organization(ground: &Ground) {
    let store = ground.store().await;
    let org = organization(&*store).await;
    let first = NewUser { request_id: Some(Uuid::new_v4()), ..named(org, "a@example.com", "ext") };
    store.add_user(&first).await.expect("adds");
    let mut second = new(org);
    second.user.email = first.user.email.clone();
    assert!(matches!(store.add_user(&second).await, Err(StoreError::Taken("email"))));
    second.user.external_id = first.user.external_id.clone();
    assert!(matches!(store.add_user(&second).await, Err(StoreError::Taken("external_id"))), "the first of both");
    second.user.email = None;
    assert!(matches!(store.add_user(&second).await, Err(StoreError::Taken("external_id"))));
    second.request_id = first.request_id;
    assert_eq!(store.add_user(&second).await.expect("a retry"), Made { user: first.user, new: false });
}

async fn of_many_at_once_one_gets_the_name(ground: &Ground) {
    let stores = [ground.store().await, ground.store().await];
    let org = organization(&*stores[0]).await;
    let mut tries = JoinSet::new();
    for n in 0..8 {
        let store = stores[n % 2].clone();
        tries.spawn(async move { store.add_user(&named(org, &format!("p{n}@example.com"), "ext")).await });
    }
    let mut made = 0;
    for one in tries.join_all().await {
        match one {
            Ok(m) => made += usize::from(m.new),
            Err(e) => assert!(matches!(e, StoreError::Taken("external_id")), "{e:?}"),
        }
    }
    assert_eq!(made, 1);
}

async fn of_many_tries_of_a_request_one_makes_the_user(ground: &Ground) {
    let stores = [ground.store().await, ground.store().await];
    let org = organization(&*stores[0]).await;
    let request_id = Some(Uuid::new_v4());
    let mut tries = JoinSet::new();
    for n in 0..8 {
        let store = stores[n % 2].clone();
        tries.spawn(async move { store.add_user(&NewUser { request_id, ..named(org, "a@example.com", "ext") }).await });
    }
    let made: Vec<Made> = tries.join_all().await.into_iter().map(|one| one.expect("answers")).collect();
    assert_eq!(made.iter().filter(|m| m.new).count(), 1);
    assert!(made.iter().all(|m| m.user == made[0].user));
}

async fn whoever_is_erased_leaves_an_id_and_a_time(ground: &Ground) {
    let store = ground.store().await;
    let org = organization(&*store).await;
    let mut full = NewUser { request_id: Some(Uuid::new_v4()), ..named(org, "a@example.com", "ext") };
    full.user.full_name = "Zoë".into();
    full.password_hash = Some("h1".into());
    let user = store.add_user(&full).await.expect("adds").user;
    for token in ["r1", "r2"] {
        store.add_refresh(&refresh(&user, token, false), at(10)).await.expect("adds");
    }
    let begun = reset(&*store, &user, "t1").await;
    let by = Uuid::new_v4();
    let erased = Erased { at: at(20), new: true, credentials: 1, sessions: 2, resets: 1 };
    assert_eq!(store.erase_user(org, user.id, by, at(20)).await.expect("erases"), Some(erased));
    let again = Erased { new: false, credentials: 0, sessions: 0, resets: 0, ..erased };
    assert_eq!(store.erase_user(org, user.id, by, at(30)).await.expect("answers"), Some(again));
    assert_eq!(store.erase_user(org, Uuid::new_v4(), by, at(30)).await.expect("answers"), None);

    let left = User { email: None, external_id: None, full_name: String::new(), erased: Some(at(20)), ..user.clone() };
    assert_eq!(store.user(org, user.id).await.expect("reads"), Some(left.clone()));
    assert_eq!(store.user_by_email(org, "a@example.com").await.expect("reads"), None);
    assert_eq!(store.user_by_external_id(org, "ext").await.expect("reads"), None);
    assert!(store.candidates("a@example.com", "ext", 9).await.expect("reads").is_empty());
    assert_eq!(store.trade_refresh(&trade("r1", "x", 21)).await.expect("answers"), Traded::Refused);
    assert_eq!(store.open_reset(&begun.hash, at(21)).await.expect("reads"), None);
    assert!(!store.finish_reset(&begun.hash, "h2", at(21)).await.expect("answers"));
    let is_nobody = |result| assert!(matches!(result, Err(StoreError::NoUser)), "{result:?}");
    is_nobody(store.set_password(org, user.id, "h2", at(21)).await);
    is_nobody(store.add_refresh(&refresh(&user, "r3", false), at(21)).await);
    is_nobody(store.begin_reset(&new_reset(&user, "t2"), at(21)).await.map(|_| ()));
    let export = store.export_user(org, user.id, by, at(22)).await.expect("reads").expect("a tombstone");
    assert_eq!(export.user, left);
    assert!(export.password_set.is_none() && export.sessions.is_empty() && export.resets.is_empty());

    assert_eq!(store.add_user(&full).await.expect("a late retry"), Made { user: left, new: false });
    assert!(store.add_user(&named(org, "a@example.com", "ext")).await.expect("the names are free").new);
}

async fn erasing_leaves_nothing_of_what_happens_at_the_same_time(ground: &Ground) {
    let stores = [ground.store().await, ground.store().await];
    for round in 0..8 {
        let user = session(&*stores[0], &format!("r{round}"), true).await;
        let mut tasks = JoinSet::new();
        for n in 0..4 {
            let (store, user) = (stores[n % 2].clone(), user.clone());
            tasks.spawn(async move {
                let token = format!("{round}:{n}");
                let fits = |result: Result<(), StoreError>| {
                    assert!(matches!(result, Ok(()) | Err(StoreError::NoUser)), "{result:?}");
                };
                fits(store.add_refresh(&refresh(&user, &token, false), at(11)).await);
                fits(store.set_password(user.org, user.id, "h", at(11)).await);
                store.trade_refresh(&trade(&format!("r{round}"), &format!("f{token}"), 12)).await.expect("answers");
                fits(store.begin_reset(&new_reset(&user, &token), at(11)).await.map(|_| ()));
            });
        }
        let (store, who) = (stores[round % 2].clone(), user.clone());
        tasks.spawn(async move {
            store.erase_user(who.org, who.id, who.id, at(12)).await.expect("erases").expect("there");
        });
        tasks.join_all().await;
        let left = stores[0].export_user(user.org, user.id, user.id, at(13)).await.expect("reads").expect("there");
        assert_eq!((left.password_set, left.sessions, left.resets), (None, vec![], vec![]), "round {round}");
    }
}

async fn an_export_has_everything(ground: &Ground) {
    let store = ground.store().await;
    let org = organization(&*store).await;
    let user = store.add_user(&named(org, "a@example.com", "ext")).await.expect("adds").user;
    let other = store.add_user(&new(org)).await.expect("adds").user;
    store.set_password(org, user.id, "h", at(5)).await.expect("sets");
    let first = refresh(&user, "r1", false);
    store.add_refresh(&first, at(10)).await.expect("adds");
    store.add_refresh(&refresh(&other, "o1", false), at(10)).await.expect("adds");
    assert!(matches!(store.trade_refresh(&trade("r1", "r2", 20)).await.expect("trades"), Traded::Fresh(..)));
    let begun = reset(&*store, &user, "t1").await;
    let export = store.export_user(org, user.id, other.id, at(30)).await.expect("reads").expect("there");
    let kept = |created, expires, used| KeptSession {
        family: first.family,
        created: at(created),
        expires: at(expires),
        used,
        revoked: None,
    };
    assert_eq!(export.user, user);
    assert_eq!(export.password_set, Some(at(5)));
    assert_eq!(export.sessions, [kept(10, 1000, Some(at(20))), kept(20, 1020, None)]);
    assert_eq!(export.resets, [KeptReset { request_id: begun.request_id, expires: at(3600), used: None }]);
    let actions: Vec<_> = export.activity.iter().map(|a| a.action.as_str()).collect();
    assert_eq!(actions, ["user.created", "password.set", "session.began", "password_reset.began"]);
    assert!(export.activity.iter().all(|a| a.resource_id == user.id));
    let again = store.export_user(org, other.id, other.id, at(31)).await.expect("reads").expect("there");
    let actions: Vec<_> = again.activity.iter().map(|a| (a.action.as_str(), a.resource_id)).collect();
    let did = [("user.created", other.id), ("session.began", other.id), ("user.exported", user.id)];
    assert_eq!(actions, did, "what was done to them, and what they did");
    assert_eq!(store.export_user(org, Uuid::new_v4(), user.id, at(32)).await.expect("reads"), None);
}

async fn what_changes_people_is_in_the_log(ground: &Ground) {
    let store = ground.store().await;
    let org = organization(&*store).await;
    let by = Uuid::new_v4();
    let user = store.add_user(&NewUser { by, ..new(org) }).await.expect("adds").user;
    store.add_user(&NewUser { user: User { guest: true, ..new(org).user }, ..new(org) }).await.expect("adds a guest");
    store.set_password(org, user.id, "h", at(3)).await.expect("sets");
    store.add_refresh(&refresh(&user, "r1", false), at(4)).await.expect("adds");
    store.trade_refresh(&trade("r1", "r2", 5)).await.expect("trades");
    store.trade_refresh(&trade("r1", "r3", 6)).await.expect("answers");
    let begun = new_reset(&user, "t1");
    for _ in 0..2 {
        store.begin_reset(&begun, at(7)).await.expect("begins once");
    }
    store.finish_reset(&begun.hash, "h", at(8)).await.expect("sets");
    store.export_user(org, user.id, by, at(9)).await.expect("reads");
    for second in [10, 11] {
        store.erase_user(org, user.id, by, at(second)).await.expect("erases once");
    }
    let rows = store.activity(org, 0, 99).await.expect("whole");
    let told: Vec<_> = rows.iter().map(|r| (r.seq, r.at.as_second(), r.by, r.action.as_str())).collect();
    let themselves = Some(user.id);
    let expected = [
        (1, 1, None, "organization.created"),
        (2, 2, Some(by), "user.created"),
        (3, 3, None, "password.set"),
        (4, 4, themselves, "session.began"),
        (5, 6, None, "session.reused"),
        (6, 7, None, "password_reset.began"),
        (7, 8, themselves, "password.reset"),
        (8, 9, Some(by), "user.exported"),
        (9, 10, Some(by), "user.erased"),
    ];
    assert_eq!(told, expected);
    assert!(rows[1..].iter().all(|r| r.resource_type == "user" && r.resource_id == user.id));
    let counts: Vec<_> = rows[8].details.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    assert_eq!(counts, [("credentials", 1), ("resets", 1), ("sessions", 2)]);
    assert_eq!(store.activity(org, 0, 3).await.expect("whole"), rows[..3]);
    assert_eq!(store.activity(org, 3, 4).await.expect("whole"), rows[3..7]);
    assert_eq!(store.activity(org, 9, 4).await.expect("whole"), []);
    assert_eq!(store.activity(org, 99, 4).await.expect("whole"), []);
    assert_eq!(store.activity(Uuid::new_v4(), 0, 4).await.expect("whole"), []);
}

async fn a_log_has_no_fork(ground: &Ground) {
    let stores = [ground.store().await, ground.store().await];
    let org = organization(&*stores[0]).await;
    let mut tasks = JoinSet::new();
    for n in 0..16 {
        let store = stores[n % 2].clone();
        tasks.spawn(async move { store.add_user(&new(org)).await.expect("adds") });
    }
    tasks.join_all().await;
    let rows = stores[0].activity(org, 0, 99).await.expect("whole");
    assert_eq!(rows.iter().map(|r| r.seq).collect::<Vec<_>>(), (1..=17).collect::<Vec<_>>());
}

async fn a_log_that_was_changed_is_noticed(ground: &Ground) {
    let store = ground.store().await;
    let org = organization(&*store).await;
    for _ in 0..3 {
        store.add_user(&new(org)).await.expect("adds");
    }
    store.activity(org, 0, 99).await.expect("whole");
    if ground.database().is_none() {
        ground.tamper("DROP TRIGGER activity_log_is_never_changed").await;
        ground.tamper("DROP TRIGGER activity_log_is_never_deleted").await;
    }
    ground.tamper("UPDATE activity_log SET action = 'user.praised' WHERE seq = 2").await;
    store.activity(org, 0, 99).await.expect_err("row 2 was changed");
    store.activity(org, 2, 99).await.expect("what follows is whole");
    ground.tamper("UPDATE activity_log SET action = 'user.created' WHERE seq = 2").await;
    store.activity(org, 0, 99).await.expect("whole again");
    ground.tamper("DELETE FROM activity_log WHERE seq = 4").await;
    store.activity(org, 0, 99).await.expect_err("the end was cut off");
    store.activity(org, 4, 99).await.expect_err("the end was cut off");
}
