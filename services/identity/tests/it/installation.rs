//! The installation as the command line has it: without any server.
use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::SignedDuration;
use switchboard_identity::{Config, Identity, token::Issued};
use switchboard_runtime::{
    Clock, Fault, Role, Secret,
    caller::{Caller, KeySource, Verifier},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::ground::Ground;

struct Keys(String);

#[async_trait::async_trait]
impl KeySource for Keys {
    async fn jwks(&self) -> Result<String, Fault> {
        Ok(self.0.clone())
    }
}

struct Installation {
    identity: Identity,
    clock: Clock,
    verifier: Verifier,
}

impl Installation {
    async fn new(ground: &Ground) -> Self {
        let clock = Clock::manual("2026-03-01T12:00:00Z".parse().expect("a time"));
        let identity = ground.identity(&clock).await;
        let verifier = Verifier::new(Box::new(Keys(identity.jwks().to_owned())), clock.clone());
        Installation { identity, clock, verifier }
    }

    fn password(&self) -> Secret {
        self.identity.demo().expect("on").password.clone()
    }

    async fn verify(&self, token: &str) -> Arc<Caller> {
        self.verifier.verify(token).await.expect("verifies")
    }

    async fn sign_in(&self, name: &str, password: &str) -> Result<Issued, Fault> {
        self.identity.sign_in(name, &Secret::new(password)).await.map_err(Fault::from)
    }

    fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }
}

fn name<T>(result: Result<T, impl Into<Fault>>) -> &'static str {
    match result {
        Ok(_) => "OK",
        Err(e) => e.into().name(),
    }
}

const AGENT: &str = "agent@brightfold.example";

on_both! {
    the_demo_organization_is_made_once
    two_first_starts_at_once_make_one_installation
    a_demo_password_written_anew_is_taken_at_the_next_start
    without_the_demo_there_are_no_guests_and_mint_needs_an_organization
    a_minted_token_is_verified_by_everybody
    mint_names_users_and_organizations
    a_token_ends_with_its_time
    names_are_locked_after_failures
    a_name_that_nobody_has_is_answered_alike
    a_lock_outlives_the_process
    a_burst_of_guesses_gets_few_tries
    a_session_is_carried_on_until_a_token_is_used_twice
    a_guest_goes_on_and_two_tabs_may_race
    a_signed_in_session_is_no_guest
    a_password_is_reset_once
    a_reset_token_ends_after_an_hour
    a_customer_is_made_once_also_at_once
    replicas_on_a_server_share_the_demo_password
    an_erased_user_is_not_minted_for
    an_export_is_in_clear
}

async fn the_demo_organization_is_made_once(ground: &Ground) {
    let clock = Clock::system();
    let (a, b) = (ground.identity(&clock).await, ground.identity(&clock).await);
    let (first, second) = (a.demo().expect("on"), b.demo().expect("on"));
    assert_eq!(first.organization, second.organization);
    assert_eq!(first.password.expose(), second.password.expose());
    assert_eq!(a.jwks(), b.jwks());
    assert_eq!(first.name, "Brightfold");
    for account in &first.accounts {
        let issued = b.sign_in(account.username, &first.password).await.expect("signs in");
        let user = a.user(first.organization, issued.user).await.expect("there");
        assert_eq!(user.role, account.role);
    }
    assert_eq!(name(a.guest("").await), "OK");
}

async fn two_first_starts_at_once_make_one_installation(ground: &Ground) {
    let mut starts = JoinSet::new();
    for _ in 0..4 {
        let config = ground.config();
        starts.spawn(async move { Identity::open(&config, Clock::system()).await.expect("opens") });
    }
    let mut seen = HashSet::new();
    for identity in starts.join_all().await {
        let demo = identity.demo().expect("on");
        assert_eq!(name(identity.sign_in(AGENT, &demo.password).await), "OK");
        seen.insert((identity.jwks().to_owned(), demo.organization, demo.password.expose().to_owned()));
    }
    assert_eq!(seen.len(), 1);
}

async fn a_demo_password_written_anew_is_taken_at_the_next_start(ground: &Ground) {
    let clock = Clock::system();
    let old = ground.identity(&clock).await.demo().expect("on").password.clone();
    std::fs::write(ground.data().join("demo-password"), "chosen by the owner\n").expect("writes");
    let identity = ground.identity(&clock).await;
    assert_eq!(name(identity.sign_in(AGENT, &Secret::new("chosen by the owner")).await), "OK");
    assert_eq!(name(identity.sign_in(AGENT, &old).await), "CREDENTIALS_INVALID");
}

async fn without_the_demo_there_are_no_guests_and_mint_needs_an_organization(ground: &Ground) {
    let config = Config { demo: false, ..ground.config() };
    let identity = Identity::open(&config, Clock::system()).await.expect("opens");
    assert!(identity.demo().is_none());
    assert!(!ground.data().join("demo-password").exists());
    assert_eq!(name(identity.guest("").await), "PERMISSION_DENIED");
    let hour = Duration::from_secs(3600);
    let fault = identity.mint(Role::Admin, None, None, hour).await.expect_err("refused");
    assert_eq!(fault.fields[0].field, "org");
    let org = Uuid::now_v7();
    identity.mint(Role::Admin, Some(org), None, hour).await.expect("makes the organization");
    assert_eq!(identity.organization(org).await.expect("there").id, org);
}

async fn a_minted_token_is_verified_by_everybody(ground: &Ground) {
    let at = Installation::new(ground).await;
    let org = at.identity.demo().expect("on").organization;
    for role in [Role::Customer, Role::Agent, Role::Supervisor, Role::Admin, Role::Service] {
        let token = at.identity.mint(role, None, None, Duration::from_secs(60)).await.expect("mints");
        let caller = at.verify(&token).await;
        assert_eq!((caller.role, caller.org), (role, org));
        assert_eq!(caller.expires, at.clock.now().as_second() + 60);
        assert_eq!(at.identity.user(org, caller.user).await.expect("there").role, role);
    }
}

async fn mint_names_users_and_organizations(ground: &Ground) {
    let at = Installation::new(ground).await;
    let hour = Duration::from_secs(3600);
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    for _ in 0..2 {
        let token = at.identity.mint(Role::Customer, Some(org), Some(user), hour).await.expect("mints");
        let caller = at.verify(&token).await;
        assert_eq!((caller.org, caller.user), (org, user));
    }
    let refused = async |role, org| {
        at.identity.mint(role, org, Some(user), hour).await.expect_err("refused").fields[0].field.clone()
    };
    assert_eq!(refused(Role::Agent, Some(org)).await, "role");
    assert_eq!(refused(Role::Customer, None).await, "user");
    assert_eq!(refused(Role::Unspecified, None).await, "role");
    let short = at.identity.mint(Role::Customer, None, None, Duration::ZERO).await.expect_err("refused");
    assert_eq!(short.fields[0].field, "ttl");
}

async fn a_token_ends_with_its_time(ground: &Ground) {
    let at = Installation::new(ground).await;
    let token = at.sign_in(AGENT, at.password().expose()).await.expect("signs in").access;
    at.pass(3599);
    at.verify(&token).await;
    at.pass(1);
    assert_eq!(name(at.verifier.verify(&token).await), "UNAUTHENTICATED");
}

async fn names_are_locked_after_failures(ground: &Ground) {
    let at = Installation::new(ground).await;
    let password = at.password();
    for spelling in ["Agent@Brightfold.example", AGENT, AGENT, AGENT, "AGENT@BRIGHTFOLD.EXAMPLE"] {
        assert_eq!(name(at.sign_in(spelling, "wrong").await), "CREDENTIALS_INVALID");
    }
    let locked = at.sign_in(AGENT, password.expose()).await.expect_err("locked");
    assert_eq!((locked.name(), locked.retry_after), ("SIGN_IN_LOCKED", Some(Duration::from_secs(30))));
    assert_eq!(name(at.sign_in("test_user", password.expose()).await), "OK", "other names are not locked");
    at.pass(30);
    assert_eq!(name(at.sign_in(AGENT, "wrong").await), "CREDENTIALS_INVALID");
    let locked = at.sign_in(AGENT, password.expose()).await.expect_err("locked");
    assert_eq!(locked.retry_after, Some(Duration::from_secs(60)), "twice as long");
    at.pass(60);
    assert_eq!(name(at.sign_in(AGENT, password.expose()).await), "OK");
    assert_eq!(name(at.sign_in(AGENT, "wrong").await), "CREDENTIALS_INVALID", "counted from nothing again");
    assert_eq!(name(at.sign_in(AGENT, password.expose()).await), "OK");
}

async fn a_name_that_nobody_has_is_answered_alike(ground: &Ground) {
    let at = Installation::new(ground).await;
    let wrong = at.sign_in(AGENT, "wrong").await.expect_err("refused");
    let unknown = at.sign_in("nobody@example.com", "wrong").await.expect_err("refused");
    assert_eq!((wrong.name(), &wrong.detail), (unknown.name(), &unknown.detail));
    for _ in 0..4 {
        assert_eq!(name(at.sign_in("nobody@example.com", "wrong").await), "CREDENTIALS_INVALID");
    }
    assert_eq!(name(at.sign_in("nobody@example.com", "wrong").await), "SIGN_IN_LOCKED");
}

async fn a_lock_outlives_the_process(ground: &Ground) {
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let identity = ground.identity(&clock).await;
    for _ in 0..5 {
        assert_eq!(name(identity.sign_in(AGENT, &Secret::new("wrong")).await), "CREDENTIALS_INVALID");
    }
    let again = ground.identity(&clock).await;
    assert_eq!(name(again.sign_in(AGENT, &again.demo().expect("on").password).await), "SIGN_IN_LOCKED");
}

async fn a_burst_of_guesses_gets_few_tries(ground: &Ground) {
    let at = Arc::new(Installation::new(ground).await);
    let tries = (0..64).map(|n| {
        let at = at.clone();
        tokio::spawn(async move { name(at.sign_in(AGENT, &format!("guess {n}")).await) })
    });
    let mut heard = 0;
    for one in tries.collect::<Vec<_>>() {
        heard += usize::from(one.await.expect("runs") == "CREDENTIALS_INVALID");
    }
    let at_once = std::thread::available_parallelism().map_or(2, usize::from);
    assert!(heard < 5 + at_once, "{heard} guesses were heard");
}

async fn a_session_is_carried_on_until_a_token_is_used_twice(ground: &Ground) {
    let at = Installation::new(ground).await;
    let first = at.sign_in("jane.doe@example.com", at.password().expose()).await.expect("signs in");
    let used = first.refresh.expect("one");
    let second = at.identity.refresh(&used).await.expect("carries on");
    assert_eq!(second.user, first.user);
    assert_eq!(at.verify(&second.access).await.user, first.user);
    let third = second.refresh.expect("one");
    assert_eq!(name(at.identity.refresh(&used).await), "CREDENTIALS_INVALID");
    assert_eq!(name(at.identity.refresh(&third).await), "CREDENTIALS_INVALID", "the family has ended");
}

async fn a_guest_goes_on_and_two_tabs_may_race(ground: &Ground) {
    let at = Installation::new(ground).await;
    let first = at.identity.guest("").await.expect("a guest");
    let caller = at.verify(&first.access).await;
    assert_eq!((caller.role, caller.org), (Role::Customer, at.identity.demo().expect("on").organization));
    let shown = first.refresh.expect("one");
    let tabs = [at.identity.guest(&shown).await.expect("goes on"), at.identity.guest(&shown).await.expect("goes on")];
    assert!(tabs.iter().all(|t| t.user == first.user));
    let refreshed: HashSet<_> = tabs.iter().map(|t| t.refresh.clone().expect("one")).collect();
    assert_eq!(refreshed.len(), 2);
    for token in refreshed {
        assert_eq!(at.identity.guest(&token).await.expect("goes on").user, first.user);
    }
    at.pass(30);
    assert_ne!(at.identity.guest(&shown).await.expect("a new guest").user, first.user);
    assert_ne!(at.identity.guest("unknown").await.expect("a new guest").user, first.user);
}

async fn a_signed_in_session_is_no_guest(ground: &Ground) {
    let at = Installation::new(ground).await;
    let session = at.sign_in(AGENT, at.password().expose()).await.expect("signs in");
    let token = session.refresh.expect("one");
    let guest = at.identity.guest(&token).await.expect("a new guest");
    assert_ne!(guest.user, session.user);
    assert_eq!(name(at.identity.refresh(&token).await), "OK", "it was not used up");
}

async fn a_password_is_reset_once(ground: &Ground) {
    let at = Installation::new(ground).await;
    let org = at.identity.demo().expect("on").organization;
    let session = at.sign_in("jane.doe@example.com", at.password().expose()).await.expect("signs in");
    for _ in 0..5 {
        at.sign_in("jane.doe@example.com", "forgotten").await.expect_err("refused");
    }
    let request = Uuid::new_v4();
    let (token, reset, user) =
        at.identity.start_reset(org, request, "Jane.Doe@example.com").await.expect("answers").expect("known");
    assert_eq!(user.full_name, "Jane Doe");
    at.pass(1800);
    let (again, reset_again, _) =
        at.identity.start_reset(org, request, "jane.doe@example.com").await.expect("answers").expect("known");
    assert_eq!((again, reset_again.expires), (token.clone(), reset.expires), "a retry gets the same");
    assert_eq!(name(at.identity.start_reset(org, request, AGENT).await), "IDEMPOTENCY_KEY_REUSED");
    assert!(at.identity.start_reset(org, Uuid::new_v4(), "nobody@example.com").await.expect("answers").is_none());
    assert!(at.identity.start_reset(org, Uuid::new_v4(), "no address").await.expect("answers").is_none());

    let new = Secret::new("Brand-New-Pass-1");
    let weak = Fault::from(at.identity.complete_reset(&token, &Secret::new("weak")).await.expect_err("refused"));
    assert_eq!((weak.name(), weak.fields.len(), weak.fields[0].field.as_str()), ("VALIDATION_FAILED", 1, "password"));
    assert!(
        ["12 characters", "upper case", "digit", "special"].iter().all(|w| weak.fields[0].detail.contains(w)),
        "{weak:?}"
    );
    assert_eq!(name(at.identity.complete_reset(&token, &new).await), "OK", "a weak password did not use it up");
    assert_eq!(name(at.identity.complete_reset(&token, &new).await), "RESET_TOKEN_INVALID");
    assert_eq!(name(at.identity.complete_reset("unknown", &new).await), "RESET_TOKEN_INVALID");
    assert_eq!(name(at.sign_in("jane.doe@example.com", new.expose()).await), "OK", "the lock is gone too");
    assert_eq!(name(at.sign_in("jane.doe@example.com", at.password().expose()).await), "CREDENTIALS_INVALID");
    assert_eq!(name(at.identity.refresh(&session.refresh.expect("one")).await), "CREDENTIALS_INVALID");
}

async fn a_reset_token_ends_after_an_hour(ground: &Ground) {
    let at = Installation::new(ground).await;
    let org = at.identity.demo().expect("on").organization;
    let (token, ..) = at.identity.start_reset(org, Uuid::new_v4(), AGENT).await.expect("answers").expect("known");
    at.pass(3600);
    assert_eq!(name(at.identity.complete_reset(&token, &Secret::new("Brand-New-Pass-1")).await), "RESET_TOKEN_INVALID");
}

async fn a_customer_is_made_once_also_at_once(ground: &Ground) {
    let at = Arc::new(Installation::new(ground).await);
    let org = at.identity.demo().expect("on").organization;
    let calls = (0..8).map(|_| {
        let at = at.clone();
        tokio::spawn(async move { at.identity.ensure_customer(org, Uuid::nil(), "crm-1").await.expect("answers") })
    });
    let (mut ids, mut new) = (HashSet::new(), 0);
    for call in calls.collect::<Vec<_>>() {
        let made = call.await.expect("runs");
        ids.insert(made.user.id);
        new += usize::from(made.new);
    }
    assert_eq!((ids.len(), new), (1, 1));
}

async fn replicas_on_a_server_share_the_demo_password(ground: &Ground) {
    let first = ground.identity(&Clock::system()).await;
    let file = ground.data().join("demo-password");
    assert_eq!(file.exists(), ground.database().is_none(), "a file is one machine's");
    let another = tempfile::tempdir().expect("a folder");
    let config = Config { data: another.path().to_owned(), ..ground.config() };
    if ground.database().is_some() {
        let second = Identity::open(&config, Clock::system()).await.expect("opens");
        let password = first.demo().expect("on").password.clone();
        assert_eq!(second.demo().expect("on").password.expose(), password.expose());
        assert_eq!(name(second.sign_in(AGENT, &password).await), "OK");
    }
}

async fn an_erased_user_is_not_minted_for(ground: &Ground) {
    let at = Installation::new(ground).await;
    let org = at.identity.demo().expect("on").organization;
    let user = Uuid::now_v7();
    let mint = || at.identity.mint(Role::Customer, None, Some(user), Duration::from_secs(60));
    mint().await.expect("mints");
    at.identity.erase_user(org, Uuid::nil(), user).await.expect("erases");
    let refused = mint().await.expect_err("refused");
    assert_eq!((refused.fields[0].field.as_str(), refused.detail.contains("erased")), ("user", true));
    assert_eq!(name(at.identity.erase_user(org, Uuid::nil(), Uuid::now_v7()).await), "USER_NOT_FOUND");
}

async fn an_export_is_in_clear(ground: &Ground) {
    let at = Installation::new(ground).await;
    let org = at.identity.demo().expect("on").organization;
    let jane = at.sign_in("jane.doe@example.com", at.password().expose()).await.expect("signs in").user;
    at.sign_in("jane.doe@example.com", "wrong").await.expect_err("refused");
    let data = at.identity.export_user(org, Uuid::nil(), jane).await.expect("there");
    let names: Vec<_> = data.keys().map(String::as_str).collect();
    let all = ["activity", "failed_sign_ins", "password_resets", "password_set_at", "sessions", "user"];
    assert_eq!(names, all);
    let user = &data["user"];
    assert_eq!((&user["email"], &user["full_name"]), (&"jane.doe@example.com".into(), &"Jane Doe".into()));
    assert_eq!((&user["role"], &user["created_at"]), (&"customer".into(), &"2026-03-01T12:00:00Z".into()));
    assert_eq!(data["failed_sign_ins"][0]["count"], 1);
    assert_eq!(data["sessions"].as_array().map(Vec::len), Some(1));
    let text = serde_json::Value::from(data).to_string();
    assert!(!text.contains("argon2"), "{text}");
}
