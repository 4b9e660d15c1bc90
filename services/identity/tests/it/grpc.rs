//! Identity as other services reach it: through the stub, with all layers.
use std::time::Duration;

use switchboard_identity::{Config, model::Organization};
use switchboard_proto::{
    identity::v1::{self as pb, identity_service_client::IdentityServiceClient},
    types::v1::{Role as WireRole, Tier},
};
use switchboard_runtime::{
    Caller, Clock, Context, Fault, Listener, Mesh, MeshChannel, Role, Shutdown, StartError, process, telemetry::Metrics,
};
use tonic::{Response, Status};
use uuid::Uuid;

use crate::ground::Ground;

on_both! {
    whoever_signs_in_is_known_everywhere
    what_needs_no_token_works_without_and_the_rest_does_not
    admins_make_users
    everything_wrong_with_a_new_user_is_said_at_once
    nobody_looks_into_another_organization
    a_customer_who_forgot_gets_in_again
    a_second_server_in_one_process_is_refused
    a_person_is_exported_and_erased_by_admins_and_services
    services_read_how_long_conversations_are_kept
}

struct Running {
    identity: switchboard_identity::Identity,
    client: IdentityServiceClient<MeshChannel>,
    verifier: std::sync::Arc<switchboard_runtime::caller::Verifier>,
    shutdown: Shutdown,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Running {
    async fn start(ground: &Ground) -> Self {
        let config = Config { token_ttl: Duration::from_secs(900), ..ground.config() };
        let mesh = Mesh::new(process::in_process(), process::random_key());
        let shutdown = Shutdown::new();
        let host = |name| mesh.host(name, Clock::system(), Metrics::default());
        let server =
            switchboard_identity::serve(config.clone(), host("identity"), Listener::InProcess, shutdown.clone());
        tokio::spawn(async move { server.await.expect("serves") });
        while !mesh.is_up("identity") {
            tokio::task::yield_now().await;
        }
        // Beside the running server, as the command line does it.
        let identity = switchboard_identity::Identity::open(&config, Clock::system()).await.expect("opens");
        let edge = host("edge");
        let channel = edge.connect("identity").expect("allowed");
        let client = IdentityServiceClient::new(channel);
        let verifier = edge.verifier().expect("allowed");
        Running { identity, client, verifier, shutdown }
    }

    async fn caller(&self, token: &str) -> std::sync::Arc<Caller> {
        Context::with_timeout(Duration::from_secs(30)).scope(self.verifier.verify(token)).await.expect("verifies")
    }

    async fn mint(&self, role: Role, org: Option<Uuid>) -> std::sync::Arc<Caller> {
        let token = self.identity.mint(role, org, None, Duration::from_secs(60)).await.expect("mints");
        self.caller(&token).await
    }
}

async fn ask<T>(
    caller: Option<&std::sync::Arc<Caller>>,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Fault> {
    let context = Context { caller: caller.cloned(), ..Context::with_timeout(Duration::from_secs(30)) };
    context.scope(call).await.map(Response::into_inner).map_err(Fault::from)
}

fn password(username: &str, password: &str) -> pb::IssueTokenRequest {
    let grant = pb::PasswordGrant { username: username.into(), password: password.into() };
    pb::IssueTokenRequest { grant: Some(pb::issue_token_request::Grant::Password(grant)) }
}

fn person(email: &str, role: WireRole) -> pb::CreateUserRequest {
    pb::CreateUserRequest { email: email.into(), role: role as i32, ..Default::default() }
}

async fn whoever_signs_in_is_known_everywhere(ground: &Ground) {
    let at = Running::start(ground).await;
    let demo = at.identity.demo().expect("on").clone();
    let mut client = at.client.clone();
    let answer = ask(None, client.issue_token(password("agent@brightfold.example", demo.password.expose())))
        .await
        .expect("signs in");
    let token = answer.token.expect("one");
    assert_eq!(token.expires_in.map(|d| d.seconds), Some(900));
    let caller = at.caller(&token.access_token).await;
    assert_eq!((caller.role, caller.org, caller.user.to_string()), (Role::Agent, demo.organization, token.user_id));

    let own = ask(Some(&caller), client.get_organization(pb::GetOrganizationRequest {})).await.expect("answers");
    let own = own.organization.expect("one");
    assert_eq!((own.name.as_str(), own.tier(), own.guests_allowed), ("Brightfold", Tier::Standard, true));

    let grant = Some(pb::issue_token_request::Grant::RefreshToken(token.refresh_token));
    ask(None, client.issue_token(pb::IssueTokenRequest { grant })).await.expect("carries on");
    let wrong =
        ask(None, client.issue_token(password("agent@brightfold.example", "wrong"))).await.expect_err("refused");
    assert_eq!((wrong.name(), wrong.http()), ("CREDENTIALS_INVALID", 401));
    let empty = ask(None, client.issue_token(pb::IssueTokenRequest { grant: None })).await.expect_err("refused");
    assert_eq!(empty.fields[0].field, "grant");
}

async fn what_needs_no_token_works_without_and_the_rest_does_not(ground: &Ground) {
    let at = Running::start(ground).await;
    let mut client = at.client.clone();
    let keys = ask(None, client.get_keys(pb::GetKeysRequest {})).await.expect("answers").jwks_json;
    assert_eq!(keys, at.identity.jwks());
    let page = ask(None, client.get_guest_organization(pb::GetGuestOrganizationRequest {})).await.expect("answers");
    assert_eq!((page.name.as_str(), page.guests_allowed), ("Brightfold", true));
    let guest = ask(None, client.issue_guest_token(pb::IssueGuestTokenRequest::default()))
        .await
        .expect("answers")
        .token
        .expect("one");
    let resume = pb::IssueGuestTokenRequest { resume: guest.refresh_token };
    let again = ask(None, client.issue_guest_token(resume)).await.expect("answers").token.expect("one");
    assert_eq!(guest.user_id, again.user_id);

    let org = at.identity.demo().expect("on").organization;
    let service = pb::IssueServiceTokenRequest { organization_id: org.to_string() };
    let token = ask(None, client.issue_service_token(service)).await.expect("answers").token.expect("one");
    assert_eq!(token.expires_in.map(|d| d.seconds), Some(600));
    let caller = at.caller(&token.access_token).await;
    assert_eq!((caller.role, caller.org), (Role::Service, org));
    let unknown = pb::IssueServiceTokenRequest { organization_id: Uuid::now_v7().to_string() };
    assert_eq!(
        ask(None, client.issue_service_token(unknown)).await.expect_err("refused").name(),
        "ORGANIZATION_NOT_FOUND"
    );

    let none = ask(None, client.get_organization(pb::GetOrganizationRequest {})).await.expect_err("refused");
    assert_eq!(none.name(), "UNAUTHENTICATED");
    let reset = pb::StartPasswordResetRequest { request_id: Uuid::new_v4().to_string(), email: "a@example.com".into() };
    assert_eq!(ask(None, client.start_password_reset(reset)).await.expect_err("refused").name(), "UNAUTHENTICATED");
}

async fn admins_make_users(ground: &Ground) {
    let at = Running::start(ground).await;
    let mut client = at.client.clone();
    let admin = at.mint(Role::Admin, None).await;
    let request = pb::CreateUserRequest {
        request_id: Uuid::new_v4().to_string(),
        password: "Correct-Horse-7".into(),
        full_name: "New Agent".into(),
        external_id: "emp-7".into(),
        ..person("New.Agent@Example.com", WireRole::Agent)
    };
    let made = ask(Some(&admin), client.create_user(request.clone())).await.expect("makes").user.expect("one");
    assert_eq!(
        (made.email.as_str(), made.role(), made.tier()),
        ("new.agent@example.com", WireRole::Agent, Tier::Standard)
    );
    assert_eq!(made.organization_id, admin.org.to_string());
    let retry = ask(Some(&admin), client.create_user(request.clone())).await.expect("answers").user.expect("one");
    assert_eq!(retry, made);
    for name in ["NEW.agent@example.com", "emp-7"] {
        ask(None, client.issue_token(password(name, "Correct-Horse-7"))).await.expect("signs in");
    }
    let taken = pb::CreateUserRequest { request_id: String::new(), ..request };
    let fault = ask(Some(&admin), client.create_user(taken)).await.expect_err("refused");
    assert_eq!((fault.name(), fault.fields[0].field.as_str()), ("ALREADY_EXISTS", "external_id"));

    for role in [Role::Customer, Role::Agent, Role::Supervisor] {
        let caller = at.mint(role, None).await;
        let fault = ask(Some(&caller), client.create_user(person("x@example.com", WireRole::Customer)))
            .await
            .expect_err("refused");
        assert_eq!(fault.name(), "PERMISSION_DENIED", "{role:?}");
    }
}

async fn everything_wrong_with_a_new_user_is_said_at_once(ground: &Ground) {
    let at = Running::start(ground).await;
    let admin = at.mint(Role::Admin, None).await;
    let wrong = pb::CreateUserRequest {
        request_id: "7".into(),
        email: "a@b@c".into(),
        password: "weak".into(),
        full_name: "x".repeat(201),
        role: WireRole::Service as i32,
        external_id: "x".repeat(256),
        tier: 9,
    };
    let mut client = at.client.clone();
    let fault = ask(Some(&admin), client.create_user(wrong)).await.expect_err("refused");
    let fields: Vec<_> = fault.fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["request_id", "email", "external_id", "full_name", "role", "tier", "password"]);
    let nobody = ask(Some(&admin), client.create_user(person("", WireRole::Customer))).await.expect_err("refused");
    assert_eq!(nobody.fields[0].field, "email");
}

async fn nobody_looks_into_another_organization(ground: &Ground) {
    let at = Running::start(ground).await;
    let mut client = at.client.clone();
    let (agent, stranger) = (at.mint(Role::Agent, None).await, at.mint(Role::Admin, Some(Uuid::now_v7())).await);
    let (jane, joe) = (at.mint(Role::Customer, None).await, at.mint(Role::Customer, None).await);
    let get = |id: Uuid| pb::GetUserRequest { user_id: id.to_string() };
    for (caller, id, answer) in [
        (&agent, jane.user, "OK"),
        (&jane, jane.user, "OK"),
        (&jane, joe.user, "USER_NOT_FOUND"),
        (&jane, Uuid::new_v4(), "USER_NOT_FOUND"),
        (&stranger, jane.user, "USER_NOT_FOUND"),
        (&agent, stranger.user, "USER_NOT_FOUND"),
    ] {
        let got = ask(Some(caller), client.get_user(get(id))).await;
        assert_eq!(got.err().map_or("OK", |f| f.name()), answer);
    }
    let customer = pb::EnsureCustomerRequest { external_id: "crm-1".into() };
    let here = ask(Some(&agent), client.ensure_customer(customer.clone())).await.expect("answers");
    let there = ask(Some(&stranger), client.ensure_customer(customer.clone())).await.expect("answers");
    let again = ask(Some(&agent), client.ensure_customer(customer.clone())).await.expect("answers");
    assert_eq!((here.created, there.created, again.created), (true, true, false));
    assert_ne!(here.user.as_ref().map(|u| &u.id), there.user.as_ref().map(|u| &u.id));
    assert_eq!(here.user, again.user);
    let denied = ask(Some(&jane), client.ensure_customer(customer)).await.expect_err("refused");
    assert_eq!(denied.name(), "PERMISSION_DENIED");
}

async fn a_customer_who_forgot_gets_in_again(ground: &Ground) {
    let at = Running::start(ground).await;
    let mut client = at.client.clone();
    let customer = at.mint(Role::Customer, None).await;
    let start =
        |email: &str| pb::StartPasswordResetRequest { request_id: Uuid::new_v4().to_string(), email: email.into() };
    let unknown =
        ask(Some(&customer), client.start_password_reset(start("nobody@example.com"))).await.expect("answers");
    assert_eq!(unknown, pb::StartPasswordResetResponse::default());
    let started =
        ask(Some(&customer), client.start_password_reset(start("jane.doe@example.com"))).await.expect("answers");
    assert!(started.known && started.expire_time.is_some());
    let complete = |word: &str| pb::CompletePasswordResetRequest {
        reset_token: started.reset_token.clone(),
        new_password: word.into(),
    };
    let weak = ask(None, client.complete_password_reset(complete("short"))).await.expect_err("refused");
    assert_eq!((weak.name(), weak.fields[0].field.as_str()), ("VALIDATION_FAILED", "password"));
    ask(None, client.complete_password_reset(complete("Correct-Horse-7"))).await.expect("sets");
    ask(None, client.issue_token(password("jane.doe@example.com", "Correct-Horse-7"))).await.expect("signs in");
    let used = ask(None, client.complete_password_reset(complete("Correct-Horse-8"))).await.expect_err("refused");
    assert_eq!(used.name(), "RESET_TOKEN_INVALID");
}

async fn a_second_server_in_one_process_is_refused(ground: &Ground) {
    let mesh = Mesh::new(process::in_process(), process::random_key());
    let shutdown = Shutdown::new();
    let start = async || {
        let config = Config { demo: false, ..ground.config() };
        let host = mesh.host("identity", Clock::system(), Metrics::default());
        switchboard_identity::serve(config, host, Listener::InProcess, shutdown.clone()).await
    };
    shutdown.cancel();
    start().await.expect("ends at once");
    assert!(matches!(start().await, Err(StartError::Other(_))));
}

async fn a_person_is_exported_and_erased_by_admins_and_services(ground: &Ground) {
    let at = Running::start(ground).await;
    let mut client = at.client.clone();
    let (admin, service) = (at.mint(Role::Admin, None).await, at.mint(Role::Service, None).await);
    let jane = at.mint(Role::Customer, None).await;
    let stranger = at.mint(Role::Admin, Some(Uuid::now_v7())).await;
    let export = |id: &str| pb::ExportUserRequest { user_id: id.into() };
    let erase = |id: &str| pb::EraseUserRequest { user_id: id.into() };
    let id = jane.user.to_string();
    for caller in [&jane, &at.mint(Role::Agent, None).await, &at.mint(Role::Supervisor, None).await] {
        let denied = ask(Some(caller), client.export_user(export(&id))).await.expect_err("refused");
        assert_eq!(denied.name(), "PERMISSION_DENIED");
        let denied = ask(Some(caller), client.erase_user(erase(&id))).await.expect_err("refused");
        assert_eq!(denied.name(), "PERMISSION_DENIED");
    }
    for (caller, id, answer) in [
        (&stranger, id.as_str(), "USER_NOT_FOUND"),
        (&admin, &Uuid::new_v4().to_string(), "USER_NOT_FOUND"),
        (&admin, "7", "VALIDATION_FAILED"),
    ] {
        assert_eq!(ask(Some(caller), client.export_user(export(id))).await.expect_err("refused").name(), answer);
        assert_eq!(ask(Some(caller), client.erase_user(erase(id))).await.expect_err("refused").name(), answer);
    }
    for caller in [&admin, &service] {
        let data = ask(Some(caller), client.export_user(export(&id))).await.expect("answers").data.expect("some");
        let data = switchboard_proto::convert::from_struct(&data);
        assert_eq!((&data["user"]["id"], &data["user"]["full_name"]), (&id.as_str().into(), &"Demo customer".into()));
    }
    let first = ask(Some(&service), client.erase_user(erase(&id))).await.expect("erases");
    let again = ask(Some(&admin), client.erase_user(erase(&id))).await.expect("answers");
    assert_eq!((first.erased, again.erased, first.erase_time), (true, false, again.erase_time));
    let get = pb::GetUserRequest { user_id: id };
    let left = ask(Some(&admin), client.get_user(get)).await.expect("answers").user.expect("a tombstone");
    assert_eq!((left.full_name.as_str(), left.erase_time), ("", first.erase_time));
}

async fn services_read_how_long_conversations_are_kept(ground: &Ground) {
    let at = Running::start(ground).await;
    let mut client = at.client.clone();
    let id = Uuid::now_v7();
    let mut kept = Organization::new(id, "Acme", jiff::Timestamp::UNIX_EPOCH);
    kept.settings.insert("retention_days".into(), 30.into());
    ground.store().await.add_organization(&kept).await.expect("adds");
    let service = at.mint(Role::Service, Some(id)).await;
    let own = ask(Some(&service), client.get_organization(pb::GetOrganizationRequest {})).await.expect("answers");
    let settings = own.organization.and_then(|o| o.settings).expect("some");
    assert_eq!(switchboard_proto::convert::from_struct(&settings)["retention_days"], 30);
}
