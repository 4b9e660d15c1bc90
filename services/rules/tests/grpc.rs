//! The service through its generated client, with all layers, called as the orchestrator calls it.
use std::collections::HashMap;

use jiff::Timestamp;
use switchboard_proto::{
    convert,
    rules::v1::{self as pb, rules_service_client::RulesServiceClient},
    types::v1 as types,
};
use switchboard_rules::{bundle::Files, config::Config};
use switchboard_runtime::{Clock, Fault, Listener, MeshChannel, Role, StartError};
use switchboard_testkit::TestMesh;
use uuid::Uuid;

struct Rig {
    mesh: TestMesh,
    rules: RulesServiceClient<MeshChannel>,
    _folder: tempfile::TempDir,
}

const NOW: &str = "2026-11-20T18:00:00Z";

async fn start() -> Rig {
    let mesh = TestMesh::start_at(Clock::manual(NOW.parse().expect("a time"))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (host, config) = (mesh.host("rules"), Config { data: folder.path().into(), bundle: None });
    mesh.run(async move |shutdown| switchboard_rules::serve(config, host, Listener::InProcess, shutdown).await);
    mesh.until_up("rules").await;
    let rules = RulesServiceClient::new(mesh.host("orchestrator").connect("rules").expect("a link"));
    Rig { mesh, rules, _folder: folder }
}

impl Rig {
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

#[tokio::test]
async fn a_flow_goes_over_the_wire_and_back() {
    let rig = start().await;
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

#[tokio::test]
async fn a_handoff_has_a_route_and_the_views_agree_with_it() {
    let rig = start().await;
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

#[tokio::test]
async fn a_ticket_is_routed_by_the_calendar() {
    let rig = start().await;
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

#[tokio::test]
async fn wrong_requests_name_their_fields() {
    let rig = start().await;
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

#[tokio::test]
async fn the_active_policy_is_told() {
    let rig = start().await;
    let policy = rig.call(rig.rules.clone().get_active_policy(pb::GetActivePolicyRequest {})).await.expect("answers");
    assert_eq!(policy.policy_version, Files::demo().version());
    assert_eq!((policy.name.as_str(), policy.flows), ("brightfold", 5));
    assert!(policy.rules >= 15 && policy.routes >= 10);
}

#[tokio::test]
async fn a_wrong_bundle_stops_the_start_with_one_line() {
    let mesh = TestMesh::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in Files::demo().0 {
        let path = folder.path().join(&name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("makes it");
        std::fs::write(path, text.replace("anger >= fury_threshold", "angre >= fury_threshold")).expect("writes");
    }
    let config = Config { data: folder.path().join("data"), bundle: Some(folder.path().into()) };
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
