//! The service through its generated client, with all layers, called as the orchestrator calls it.
use std::{collections::HashMap, path::Path};

use jiff::Timestamp;
use switchboard_proto::{
    convert,
    rules::v1::{self as pb, rules_service_client::RulesServiceClient},
    types::v1 as types,
};
use switchboard_rules::{
    MIGRATIONS,
    bundle::Files,
    config::Config,
    store::{self, Activation, INSTALLATION},
};
use switchboard_runtime::{
    Clock, Context, Fault, Listener, MeshChannel, Role, StartError, condition::HEADER, stores::Ledger,
};
use switchboard_testkit::{TestMesh, cluster::Cluster, servers::with_database};
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use uuid::Uuid;

use crate::postgres::PATIENCE;

struct Rig {
    mesh: TestMesh,
    rules: RulesServiceClient<MeshChannel>,
}

const NOW: &str = "2026-11-20T18:00:00Z";

/// A service whose store need not be there yet.
async fn run(ledger: &Ledger, bundle: Option<&Path>) -> Rig {
    let mesh = TestMesh::start_at(Clock::manual(NOW.parse().expect("a time"))).await;
    let (host, config) = (mesh.host("rules"), Config { ledger: ledger.clone(), bundle: bundle.map(Path::to_owned) });
    mesh.run(async move |shutdown| switchboard_rules::serve(config, host, Listener::InProcess, shutdown).await);
    mesh.until_up("rules").await;
    let rules = RulesServiceClient::new(mesh.host("orchestrator").connect("rules").expect("a link"));
    Rig { mesh, rules }
}

/// One that serves.
async fn start(ledger: &Ledger) -> Rig {
    let rig = run(ledger, None).await;
    rig.until(ServingStatus::Serving).await;
    rig
}

/// Each on each kind of ledger.
macro_rules! scenes {
    ($($scene:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $scene() {
                let folder = tempfile::tempdir().expect("a folder");
                super::$scene(super::Ledger::Sqlite(folder.path().to_owned())).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $scene() {
                super::with_database(async |database| {
                    super::MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
                    super::$scene(database.ledger()).await;
                })
                .await;
            })*
        }
    };
}
scenes! {
    a_flow_goes_over_the_wire_and_back
    a_handoff_has_a_route_and_the_views_agree_with_it
    a_ticket_is_routed_by_the_calendar
    wrong_requests_name_their_fields
    the_active_policy_is_told
    what_another_replica_activates_decides_here_too
}

/// The demo bundle with something else in it.
fn changed(from: &str, to: &str) -> Files {
    let mut files = Files::demo();
    files.0.values_mut().for_each(|text| *text = text.replace(from, to));
    files
}

fn write(files: &Files, folder: &Path) {
    for (name, text) in &files.0 {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("makes it");
        std::fs::write(path, text).expect("writes");
    }
}

impl Rig {
    /// Waits until health says so.
    async fn until(&self, wanted: ServingStatus) {
        let channel = self.mesh.host("orchestrator").connect("rules").expect("a link");
        let watch = async {
            let mut health = HealthClient::new(channel);
            let mut news = health.watch(HealthCheckRequest::default()).await.expect("watches").into_inner();
            while news.message().await.expect("is told").expect("goes on").status() != wanted {}
        };
        let watch = Context::with_timeout(PATIENCE).scope(watch);
        timeout(PATIENCE, watch).await.unwrap_or_else(|_| panic!("{wanted:?} is awaited"));
    }

    /// Why it does not serve.
    async fn why(&self) -> String {
        let channel = self.mesh.host("orchestrator").connect("rules").expect("a link");
        let ask = async { HealthClient::new(channel).check(HealthCheckRequest::default()).await };
        let answer = Context::with_timeout(PATIENCE).scope(ask).await.expect("answers");
        answer.metadata().get(HEADER).map(|why| why.to_str().expect("text").to_owned()).unwrap_or_default()
    }

    async fn policy(&self) -> pb::GetActivePolicyResponse {
        self.call(self.rules.clone().get_active_policy(pb::GetActivePolicyRequest {})).await.expect("answers")
    }

    /// Waits until a policy decides; until then it is one of `others`.
    async fn until_policy(&self, version: &str, others: &[&str]) {
        let decides = async {
            loop {
                let now = self.policy().await.policy_version;
                if now == version {
                    return;
                }
                assert!(others.contains(&now.as_str()), "{now} decides");
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, decides).await.expect("follows");
    }

    async fn call<T>(&self, work: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> Result<T, Fault> {
        let answer = self.mesh.as_user(Role::Customer, Uuid::new_v4(), Uuid::new_v4(), work).await;
        answer.map(tonic::Response::into_inner).map_err(Fault::from)
    }
}

fn signals(intent: &str, text: &str) -> Option<pb::Signals> {
    Some(pb::Signals {
        intent: intent.into(),
        intent_confidence: 0.95,
        confidence: 0.9,
        text: text.into(),
        ..Default::default()
    })
}

fn facts() -> Option<pb::Facts> {
    let now = NOW.parse::<Timestamp>().expect("a time");
    Some(pb::Facts {
        status: "active".into(),
        owner: "ai".into(),
        now: Some(convert::timestamp(now)),
        ..Default::default()
    })
}

async fn a_flow_goes_over_the_wire_and_back(ledger: Ledger) {
    let rig = start(&ledger).await;
    let ask = pb::DecideRequest { signals: signals("password_reset", "reset my password"), facts: facts(), flow: None };
    let asked = rig.call(rig.rules.clone().decide(ask)).await.expect("decides");
    assert_eq!(asked.disposition(), pb::Disposition::Flow);
    let flow = asked.flow.expect("open");
    assert_eq!((flow.flow_id.as_str(), flow.step_id.as_str(), flow.attempts), ("password_reset", "collect.email", 1));
    assert_eq!(flow.policy_version, asked.policy_version);

    let email = types::Entity {
        r#type: "email".into(),
        value: "A@Example.com".into(),
        normalized: "a@example.com".into(),
        ..Default::default()
    };
    let said = signals("oos", "A@Example.com").map(|s| pb::Signals { entities: vec![email], ..s });
    let done = rig
        .call(rig.rules.clone().decide(pb::DecideRequest { signals: said, facts: facts(), flow: Some(flow) }))
        .await
        .expect("decides");
    assert_eq!(done.flow.expect("a state").flow_id, "");
    assert_eq!(done.actions.len(), 1);
    assert_eq!(done.actions[0].action_type, "password_reset");
    assert_eq!(done.actions[0].parameters, HashMap::from([("email".to_owned(), "a@example.com".to_owned())]));
    assert!(!done.reply_on_failure.is_empty());
}

async fn a_handoff_has_a_route_and_the_views_agree_with_it(ledger: Ledger) {
    let rig = start(&ledger).await;
    let said = || signals("talk_to_human", "get me a person about my invoice");
    let decided = rig
        .call(rig.rules.clone().decide(pb::DecideRequest { signals: said(), facts: facts(), flow: None }))
        .await
        .expect("decides");
    assert_eq!(decided.disposition(), pb::Disposition::Escalate);
    assert_eq!(decided.escalation_reason, "customer_request");
    assert!(decided.system_message.contains("human agent"));
    assert!(decided.fired.iter().any(|f| f.rule_id == "customer_request" && f.rule_type() == pb::RuleType::Escalation));

    let view = rig
        .call(rig.rules.clone().should_escalate(pb::ShouldEscalateRequest { signals: said(), facts: facts() }))
        .await
        .expect("answers");
    assert!(view.escalate);
    assert_eq!(view.reason, decided.escalation_reason);
    assert_eq!(view.route, decided.route);

    let of_type =
        pb::EvaluateRulesRequest { rule_type: pb::RuleType::Escalation.into(), signals: said(), facts: facts() };
    let rules = rig.call(rig.rules.clone().evaluate_rules(of_type)).await.expect("answers");
    assert_eq!(rules.fired.iter().map(|f| f.rule_id.as_str()).collect::<Vec<_>>(), ["customer_request"]);
    assert_eq!(rules.policy_version, decided.policy_version);

    let calm = pb::ShouldEscalateRequest { signals: signals("greeting", "hello"), facts: facts() };
    assert!(!rig.call(rig.rules.clone().should_escalate(calm)).await.expect("answers").escalate);
}

async fn a_ticket_is_routed_by_the_calendar(ledger: Ledger) {
    let rig = start(&ledger).await;
    let ask = |category: &str, now| pb::DetermineRoutingRequest {
        ticket_category: category.into(),
        priority: types::Priority::Medium.into(),
        now,
        ..Default::default()
    };
    // Friday 19:00 in Amsterdam; without a time the server's clock, which stands at the same.
    let now = NOW.parse::<Timestamp>().map(convert::timestamp).expect("a time");
    let given = rig
        .call(rig.rules.clone().determine_routing(ask("billing", Some(now))))
        .await
        .expect("routes")
        .route
        .expect("a route");
    let unset = rig
        .call(rig.rules.clone().determine_routing(ask("billing", None)))
        .await
        .expect("routes")
        .route
        .expect("a route");
    assert_eq!(given, unset);
    assert_eq!((given.queue.as_str(), given.route_id.as_str()), ("billing-support", "billing"));
    let deadline = given.sla_deadline.as_ref().and_then(convert::from_timestamp).expect("a time");
    assert_eq!(deadline.to_string(), "2026-11-23T10:00:00Z");
    let other = rig
        .call(rig.rules.clone().determine_routing(ask("gardening", None)))
        .await
        .expect("routes")
        .route
        .expect("a route");
    assert_eq!(other.route_id, "default");
}

async fn wrong_requests_name_their_fields(ledger: Ledger) {
    let rig = start(&ledger).await;
    let fields = |fault: Fault| (fault.name(), fault.fields.into_iter().map(|f| f.field).collect::<Vec<_>>());
    let refused = rig.call(rig.rules.clone().decide(pb::DecideRequest::default())).await.expect_err("refused");
    assert_eq!(fields(refused), ("VALIDATION_FAILED", vec!["signals".to_owned(), "facts".to_owned()]));
    let wild = signals("x", "y").map(|s| pb::Signals { confidence: f64::NAN, ..s });
    let untimed = facts().map(|f| pb::Facts { now: None, ..f });
    let refused = rig
        .call(rig.rules.clone().decide(pb::DecideRequest { signals: wild, facts: untimed, flow: None }))
        .await
        .expect_err("refused");
    assert_eq!(fields(refused).1, ["signals.confidence", "facts.now"]);
    let refused = rig
        .call(rig.rules.clone().evaluate_rules(pb::EvaluateRulesRequest {
            signals: signals("x", "y"),
            facts: facts(),
            rule_type: 0,
        }))
        .await;
    assert_eq!(fields(refused.expect_err("refused")).1, ["rule_type"]);
    let refused = rig
        .call(rig.rules.clone().determine_routing(pb::DetermineRoutingRequest::default()))
        .await
        .expect_err("refused");
    assert_eq!(fields(refused).1, ["ticket_category", "priority"]);
}

async fn the_active_policy_is_told(ledger: Ledger) {
    let rig = start(&ledger).await;
    let policy = rig.policy().await;
    assert_eq!(policy.policy_version, Files::demo().version());
    assert_eq!((policy.name.as_str(), policy.flows), ("brightfold", 5));
    assert!(policy.rules >= 15 && policy.routes >= 10);
}

async fn what_another_replica_activates_decides_here_too(ledger: Ledger) {
    let demo = Files::demo().version();
    let rig = start(&ledger).await;
    assert_eq!(rig.policy().await.policy_version, demo);
    // Another replica starts with a newer bundle.
    let (folder, newer) = (tempfile::tempdir().expect("a folder"), changed("name: brightfold", "name: nightfold"));
    write(&newer, folder.path());
    let other = run(&ledger, Some(folder.path())).await;
    other.until(ServingStatus::Serving).await;
    assert_eq!(other.policy().await.policy_version, newer.version());
    rig.until_policy(&newer.version(), &[&demo]).await;
    assert_eq!(rig.policy().await.name, "nightfold");
    // One that starts with the older one again takes all of them back.
    let third = run(&ledger, None).await;
    third.until(ServingStatus::Serving).await;
    for replica in [&rig, &other] {
        replica.until_policy(&demo, &[&newer.version()]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_it_decides_by_its_own_bundle_and_says_so() {
    let Some(cluster) = Cluster::start() else { return };
    let ledger = Ledger::Postgres(cluster.at(cluster.port));
    MIGRATIONS.apply(&ledger).await.expect("migrates");
    cluster.down("fast");
    let rig = run(&ledger, None).await;
    rig.until(ServingStatus::NotServing).await;
    assert!(rig.why().await.contains("it is not noted yet which policy is active"), "{}", rig.why().await);
    assert_eq!(rig.policy().await.policy_version, Files::demo().version());
    cluster.up();
    rig.until(ServingStatus::Serving).await;
    cluster.down("fast");
    rig.until(ServingStatus::NotServing).await;
    assert_eq!(rig.policy().await.policy_version, Files::demo().version());
    cluster.up();
    rig.until(ServingStatus::Serving).await;
    // It follows again.
    let (store, mut condition) = store::open(&ledger).await.expect("opens");
    timeout(PATIENCE, condition.until_well()).await.expect("is well");
    assert_eq!(store.history(INSTALLATION, 9).await.expect("reads").len(), 1);
    let newer = changed("name: brightfold", "name: nightfold");
    let (version, name) = (newer.version(), "nightfold".to_owned());
    let activation = Activation { version, name, activated_at: rig.mesh.clock.now(), files: newer.clone() };
    store.activate(INSTALLATION, &activation).await.expect("notes");
    rig.until_policy(&newer.version(), &[&Files::demo().version()]).await;
    store.close().await;
}

#[tokio::test]
async fn a_wrong_bundle_stops_the_start_with_one_line() {
    let mesh = TestMesh::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    write(&changed("anger >= fury_threshold", "angre >= fury_threshold"), folder.path());
    let ledger = Ledger::Sqlite(folder.path().join("data"));
    let config = Config { ledger, bundle: Some(folder.path().into()) };
    let host = mesh.host("rules");
    let error =
        switchboard_rules::serve(config, host, Listener::InProcess, mesh.shutdown.clone()).await.expect_err("refused");
    let text = error.to_string();
    assert!(matches!(error, StartError::Settings(_)), "exit code 64");
    assert!(
        text.contains("rules.bundle") && text.contains("rules.yaml:") && text.contains("did you mean `anger`?"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}
