//! Protobuf to domain and back, and validation of what comes in.
use std::sync::Arc;

use jiff::Timestamp;
use switchboard_proto::{
    convert,
    rules::v1::{self as pb, rules_service_server::RulesService},
    types::v1 as types,
};
use switchboard_runtime::{Caller, Clock, Fault, validate::Check};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{
    bundle::{Bundle, RuleType},
    decide::{Decision, Disposition, Fired, Planned, QuickReply},
    facts::{Act, Entity, Priority, Tier, Turn},
    flow::FlowState,
    routing::Routed,
};

/// As many characters as a burst of messages may have.
const MAX_TEXT: usize = 50_000;

pub(crate) struct Rules {
    /// The bundle that decides; another one may from one call to the next.
    pub(crate) bundle: watch::Receiver<Arc<Bundle>>,
    pub(crate) clock: Clock,
}

impl Rules {
    /// One bundle for a whole call.
    fn bundle(&self) -> Arc<Bundle> {
        self.bundle.borrow().clone()
    }
}

#[tonic::async_trait]
impl RulesService for Rules {
    async fn decide(&self, request: Request<pb::DecideRequest>) -> Result<Response<pb::DecideResponse>, Status> {
        Caller::current()?;
        let request = request.into_inner();
        let turn = turn(request.signals, request.facts, None)?;
        let state = request.flow.map(state).unwrap_or_default();
        let bundle = self.bundle();
        let decision = bundle.decide(&turn, &state).map_err(Fault::from)?;
        Ok(Response::new(decided(decision, &bundle.version)))
    }

    async fn evaluate_rules(
        &self,
        request: Request<pb::EvaluateRulesRequest>,
    ) -> Result<Response<pb::EvaluateRulesResponse>, Status> {
        Caller::current()?;
        let request = request.into_inner();
        let kind = match request.rule_type() {
            pb::RuleType::Escalation => RuleType::Escalation,
            pb::RuleType::Routing => RuleType::Routing,
            pb::RuleType::Automation => RuleType::Automation,
            pb::RuleType::Validation => RuleType::Validation,
            pb::RuleType::Unspecified => {
                return Err(
                    Fault::field("rule_type", "is required: escalation, routing, automation or validation").into()
                );
            }
        };
        let turn = turn(request.signals, request.facts, Some(self.clock.now()))?;
        let bundle = self.bundle();
        let tested = bundle.test(&bundle.view(&turn, ""), Some(kind)).map_err(Fault::from)?;
        Ok(Response::new(pb::EvaluateRulesResponse {
            fired: tested.fired().into_iter().map(fired).collect(),
            near: tested.near.into_iter().map(fired).collect(),
            policy_version: bundle.version.clone(),
        }))
    }

    async fn should_escalate(
        &self,
        request: Request<pb::ShouldEscalateRequest>,
    ) -> Result<Response<pb::ShouldEscalateResponse>, Status> {
        Caller::current()?;
        let request = request.into_inner();
        let turn = turn(request.signals, request.facts, Some(self.clock.now()))?;
        let handoff = self.bundle().handoff(&turn).map_err(Fault::from)?;
        Ok(Response::new(match handoff {
            Some((reason, route)) => pb::ShouldEscalateResponse { escalate: true, reason, route: Some(routed(route)) },
            None => pb::ShouldEscalateResponse::default(),
        }))
    }

    async fn determine_routing(
        &self,
        request: Request<pb::DetermineRoutingRequest>,
    ) -> Result<Response<pb::DetermineRoutingResponse>, Status> {
        Caller::current()?;
        let request = request.into_inner();
        let mut check = Check::new();
        check.text("ticket_category", &request.ticket_category, 1, 100);
        let priority = match request.priority() {
            types::Priority::Unspecified => {
                check.fail("priority", "is required: low, medium, high or critical");
                Priority::default()
            }
            types::Priority::Low => Priority::Low,
            types::Priority::Medium => Priority::Medium,
            types::Priority::High => Priority::High,
            types::Priority::Critical => Priority::Critical,
        };
        let now = time(&mut check, "now", request.now.as_ref(), Some(self.clock.now()));
        check.done()?;
        let route = self.bundle().routing.route(&request.ticket_category, priority, tier(request.customer_tier()), now);
        Ok(Response::new(pb::DetermineRoutingResponse { route: Some(routed(route)) }))
    }

    async fn get_active_policy(
        &self,
        _: Request<pb::GetActivePolicyRequest>,
    ) -> Result<Response<pb::GetActivePolicyResponse>, Status> {
        Caller::current()?;
        let bundle = self.bundle();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Response::new(pb::GetActivePolicyResponse {
            policy_version: bundle.version.clone(),
            name: bundle.name.clone(),
            rules: count(bundle.rules.len()),
            routes: count(bundle.routing.routes.len()),
            flows: count(bundle.flows.len()),
        }))
    }
}

/// `now`: what to take if the request has no time; none if it has to have one.
fn turn(signals: Option<pb::Signals>, facts: Option<pb::Facts>, now: Option<Timestamp>) -> Result<Turn, Fault> {
    let mut check = Check::new();
    let signals = check.required("signals", signals).unwrap_or_default();
    let facts = check.required("facts", facts).unwrap_or_default();
    check.done()?;
    let sentiment = signals.sentiment.unwrap_or_default();
    let shares = [
        ("signals.intent_confidence", signals.intent_confidence),
        ("signals.sentiment.anger", sentiment.anger),
        ("signals.knowledge_score", signals.knowledge_score),
        ("signals.confidence", signals.confidence),
        ("facts.confidence_threshold", facts.confidence_threshold),
    ];
    for (field, value) in shares {
        if !(0.0..=1.0).contains(&value) {
            check.fail(field, "must be 0 to 1");
        }
    }
    if !(-1.0..=1.0).contains(&sentiment.score) {
        check.fail("signals.sentiment.score", "must be -1 to 1");
    }
    check.text("signals.text", &signals.text, 0, MAX_TEXT);
    let now = time(&mut check, "facts.now", facts.now.as_ref(), now);
    check.done()?;
    let act = match signals.dialogue_act() {
        pb::DialogueAct::Unspecified => Act::None,
        pb::DialogueAct::Affirm => Act::Affirm,
        pb::DialogueAct::Deny => Act::Deny,
        pb::DialogueAct::NeverMind => Act::NeverMind,
        pb::DialogueAct::Correct => Act::Correct,
    };
    let label = match sentiment.label() {
        types::SentimentLabel::Negative => "negative",
        types::SentimentLabel::Positive => "positive",
        types::SentimentLabel::Neutral | types::SentimentLabel::Unspecified => "neutral",
    };
    let tier = tier(facts.customer_tier());
    let entity = |e: types::Entity| Entity { kind: e.r#type, value: e.value, normalized: e.normalized };
    Ok(Turn {
        intent: signals.intent,
        intent_confidence: signals.intent_confidence,
        sentiment: sentiment.score,
        sentiment_label: label,
        anger: sentiment.anger,
        entities: signals.entities.into_iter().map(entity).collect(),
        act,
        language: signals.language,
        knowledge_score: signals.knowledge_score,
        confidence: signals.confidence,
        text: signals.text,
        channel: facts.channel,
        status: facts.status,
        owner: facts.owner,
        tier,
        user_messages: facts.user_messages,
        failed_turns: facts.failed_turns,
        angry_messages: facts.angry_messages,
        now,
        customer_email: facts.customer_email,
        variables: facts.variables.into_iter().collect(),
        confidence_threshold: (facts.confidence_threshold > 0.0).then_some(facts.confidence_threshold),
    })
}

fn time(
    check: &mut Check,
    field: &str,
    given: Option<&prost_types::Timestamp>,
    otherwise: Option<Timestamp>,
) -> Timestamp {
    match given.map_or(otherwise, convert::from_timestamp) {
        Some(time) => time,
        None => {
            check.fail(
                field,
                if given.is_some() { "is out of range" } else { "is required: a decision knows no other time" },
            );
            Timestamp::UNIX_EPOCH
        }
    }
}

fn tier(tier: types::Tier) -> Tier {
    match tier {
        types::Tier::Free => Tier::Free,
        types::Tier::Unspecified | types::Tier::Standard => Tier::Standard,
        types::Tier::Professional => Tier::Professional,
        types::Tier::Enterprise => Tier::Enterprise,
    }
}

fn state(flow: pb::FlowState) -> FlowState {
    FlowState {
        flow_id: flow.flow_id,
        step_id: flow.step_id,
        slots: flow.slots.into_iter().collect(),
        attempts: flow.attempts,
        policy_version: flow.policy_version,
    }
}

fn decided(decision: Decision, version: &str) -> pb::DecideResponse {
    let disposition = match decision.disposition {
        Disposition::Respond => pb::Disposition::Respond,
        Disposition::Flow => pb::Disposition::Flow,
        Disposition::Canned => pb::Disposition::Canned,
        Disposition::Escalate => pb::Disposition::Escalate,
        Disposition::Acknowledge => pb::Disposition::Acknowledge,
        Disposition::Resolve => pb::Disposition::Resolve,
    };
    let action = |a: Planned| pb::PlannedAction {
        action_type: a.action_type,
        parameters: a.parameters.into_iter().collect(),
        read_only: a.read_only,
    };
    let flow = decision.flow;
    pb::DecideResponse {
        disposition: disposition.into(),
        reply: decision.reply,
        reply_on_failure: decision.reply_on_failure,
        actions: decision.actions.into_iter().map(action).collect(),
        flow: Some(pb::FlowState {
            flow_id: flow.flow_id,
            step_id: flow.step_id,
            slots: flow.slots.into_iter().collect(),
            attempts: flow.attempts,
            policy_version: flow.policy_version,
        }),
        route: decision.route.map(routed),
        escalation_reason: decision.reason,
        fired: decision.fired.into_iter().map(fired).collect(),
        near: decision.near.into_iter().map(fired).collect(),
        policy_version: version.to_owned(),
        quick_replies: decision
            .quick_replies
            .into_iter()
            .map(|QuickReply { label, send }| pb::QuickReply { label, send })
            .collect(),
        fallback_reply: decision.fallback_reply,
        system_message: decision.system_message,
    }
}

fn fired(rule: Fired) -> pb::FiredRule {
    let kind = match rule.kind {
        RuleType::Escalation => pb::RuleType::Escalation,
        RuleType::Routing => pb::RuleType::Routing,
        RuleType::Automation => pb::RuleType::Automation,
        RuleType::Validation => pb::RuleType::Validation,
    };
    pb::FiredRule { rule_id: rule.rule_id, rule_type: kind.into(), priority: rule.priority, clause: rule.clause }
}

fn routed(route: Routed) -> pb::RoutingDecision {
    let priority = match route.priority {
        Priority::Low => types::Priority::Low,
        Priority::Medium => types::Priority::Medium,
        Priority::High => types::Priority::High,
        Priority::Critical => types::Priority::Critical,
    };
    pb::RoutingDecision {
        queue: route.queue,
        priority: priority.into(),
        skills: route.skills,
        sla: Some(convert::duration(route.sla)),
        sla_deadline: Some(convert::timestamp(route.deadline)),
        route_id: route.route_id,
        ticket_category: route.category,
    }
}
