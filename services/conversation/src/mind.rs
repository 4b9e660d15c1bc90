//! The port to the orchestrator: what a turn asks, and what it gets.
//!
//! In: the burst of messages and what is known. Out: a [`Thought`]. Never: an effect: nothing has happened yet.
use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard_proto::{
    convert,
    orchestrator::v1 as pb,
    orchestrator::v1::orchestrator_service_client::OrchestratorServiceClient,
    rules::v1 as rules,
    rules::v1::{Disposition, rules_service_client::RulesServiceClient},
    types::v1 as types,
};
use switchboard_runtime::{Fault, MeshChannel, Reason};

use crate::model::{Citation, Conversation, Entity, Flow, Message, Priority, Rung, Sender, Sentiment};

/// What a turn asks.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The conversation as it stands.
    pub conversation: &'a Conversation,
    /// The burst, joined.
    pub text: String,
    /// Customer messages so far, this burst included.
    pub user_messages: u32,
    /// The past, oldest first.
    pub history: &'a [Message],
    /// Now.
    pub now: Timestamp,
}

/// What shall be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Kind.
    pub action_type: String,
    /// With what.
    pub parameters: BTreeMap<String, String>,
    /// True if it only reads.
    pub read_only: bool,
}

/// Where a hand-off goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The queue.
    pub queue: String,
    /// How soon.
    pub priority: Priority,
    /// When the first answer is due.
    pub deadline: Timestamp,
}

/// What shall happen to the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Just reply.
    Reply,
    /// Hand over.
    Escalate {
        /// Why.
        reason: String,
        /// Where to.
        route: Route,
    },
    /// A human was called already.
    Acknowledge,
    /// The matter is closed by the customer's word.
    Resolve,
}

/// What was thought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thought {
    /// The intent.
    pub intent: String,
    /// How sure of the reply.
    pub confidence: f64,
    /// How sure of the intent.
    pub intent_confidence: f64,
    /// What was found.
    pub entities: Vec<Entity>,
    /// How the customer feels.
    pub sentiment: Sentiment,
    /// What to say.
    pub reply: String,
    /// What to say if the first action fails.
    pub reply_on_failure: String,
    /// What the system says of a hand-off.
    pub system_message: String,
    /// Buttons: label and text.
    pub quick_replies: Vec<(String, String)>,
    /// What the reply rests on.
    pub citations: Vec<Citation>,
    /// What shall happen.
    pub verdict: Verdict,
    /// What shall be done.
    pub actions: Vec<Planned>,
    /// Where the flow stands.
    pub flow: Option<Flow>,
    /// The rung.
    pub rung: Rung,
    /// Language of the reply.
    pub language: String,
    /// The receipt's part that the orchestrator knows.
    pub receipt: Value,
}

/// Thinks.
#[async_trait]
pub trait Mind: Send + Sync {
    /// One turn's thought.
    async fn think(&self, question: Question<'_>) -> Result<Thought, Fault>;
    /// Where a hand-off goes that no turn decided.
    async fn route(
        &self,
        category: &str,
        priority: Option<Priority>,
        tier: &str,
        now: Timestamp,
    ) -> Result<Route, Fault>;
}

/// The orchestrator and rules of the mesh.
pub struct MeshMind {
    /// To orchestrator.
    pub orchestrator: MeshChannel,
    /// To rules.
    pub rules: MeshChannel,
}

#[async_trait]
impl Mind for MeshMind {
    async fn think(&self, question: Question<'_>) -> Result<Thought, Fault> {
        let mut client = OrchestratorServiceClient::new(self.orchestrator.clone());
        let answer = client.process_request(ask(&question)).await?.into_inner();
        thought(answer, question.now)
    }

    async fn route(
        &self,
        category: &str,
        priority: Option<Priority>,
        tier_name: &str,
        now: Timestamp,
    ) -> Result<Route, Fault> {
        let request = rules::DetermineRoutingRequest {
            ticket_category: category.to_owned(),
            priority: priority.map_or(types::Priority::Medium, to_priority).into(),
            customer_tier: tier(tier_name).into(),
            now: Some(convert::timestamp(now)),
        };
        let answer = RulesServiceClient::new(self.rules.clone()).determine_routing(request).await?.into_inner();
        answer.route.and_then(|r| route(&r)).ok_or_else(|| broken("a route without a deadline"))
    }
}

fn broken(what: &str) -> Fault {
    Fault::new(Reason::ProcessingFailed, "The answer of another service could not be used.")
        .with_source(what.to_owned())
}

fn ask(q: &Question<'_>) -> pb::ProcessRequestRequest {
    let c = q.conversation;
    let variables =
        c.context.iter().map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect();
    pb::ProcessRequestRequest {
        message: q.text.clone(),
        context: Some(rules::Facts {
            conversation_id: c.id.to_string(),
            channel: c.channel.clone(),
            status: c.status.name().to_owned(),
            owner: c.owner.name().to_owned(),
            customer_tier: tier(&c.state.tier).into(),
            customer_email: c.state.email.clone(),
            user_messages: q.user_messages,
            failed_turns: c.state.failed_turns,
            angry_messages: c.state.angry_messages,
            now: Some(convert::timestamp(q.now)),
            variables,
            ..rules::Facts::default()
        }),
        user_profile: Some(pb::UserProfile {
            user_id: c.user.to_string(),
            tier: tier(&c.state.tier).into(),
            email: c.state.email.clone(),
            language: c.language.clone(),
        }),
        conversation_history: q
            .history
            .iter()
            .map(|m| pb::HistoryMessage {
                sender_type: match m.sender {
                    Sender::User => "user",
                    Sender::AiAgent => "ai_agent",
                    Sender::HumanAgent => "human_agent",
                    Sender::System => "system",
                }
                .to_owned(),
                content: m.content.clone(),
                intent: m.analysis.intent.clone().unwrap_or_default(),
            })
            .collect(),
        flow: c.state.flow.as_ref().map(|f| rules::FlowState {
            flow_id: f.flow_id.clone(),
            step_id: f.step_id.clone(),
            slots: f.slots.clone().into_iter().collect(),
            attempts: f.attempts,
            policy_version: f.policy_version.clone(),
        }),
        ..Default::default()
    }
}

fn thought(answer: pb::ProcessRequestResponse, now: Timestamp) -> Result<Thought, Fault> {
    let receipt = receipt(&answer);
    let rung = match answer.rung() {
        types::Rung::Primary => Rung::Primary,
        types::Rung::Fallback => Rung::Fallback,
        types::Rung::Extract => Rung::Extract,
        types::Rung::Flow => Rung::Flow,
        types::Rung::Human => Rung::Human,
        types::Rung::Canned | types::Rung::Unspecified => Rung::Canned,
    };
    let decision = answer.decision.ok_or_else(|| broken("an answer without a decision"))?;
    let verdict = match decision.disposition() {
        Disposition::Escalate => Verdict::Escalate {
            reason: decision.escalation_reason.clone(),
            route: decision.route.as_ref().and_then(route).unwrap_or_else(|| default_route(now)),
        },
        Disposition::Acknowledge => Verdict::Acknowledge,
        Disposition::Resolve => Verdict::Resolve,
        _ => Verdict::Reply,
    };
    // A flow that has just ended may leave a note for a correction in the next turn: its id is empty, its step is not.
    let flow = decision.flow.filter(|f| !f.flow_id.is_empty() || !f.step_id.is_empty()).map(|f| Flow {
        flow_id: f.flow_id,
        step_id: f.step_id,
        slots: f.slots.into_iter().collect(),
        attempts: f.attempts,
        policy_version: f.policy_version,
    });
    let sentiment = answer.sentiment.unwrap_or_default();
    Ok(Thought {
        intent: answer.intent,
        confidence: answer.confidence.clamp(0.0, 1.0),
        intent_confidence: answer.intent_confidence.clamp(0.0, 1.0),
        entities: answer.entities.into_iter().map(entity).collect(),
        sentiment: Sentiment { score: sentiment.score, anger: sentiment.anger },
        reply: answer.suggested_response,
        reply_on_failure: decision.reply_on_failure,
        system_message: decision.system_message,
        quick_replies: answer.suggested_actions.into_iter().map(|q| (q.label, q.send)).collect(),
        citations: answer.citations.into_iter().map(citation).collect(),
        verdict,
        actions: decision
            .actions
            .into_iter()
            .map(|a| Planned {
                action_type: a.action_type,
                parameters: a.parameters.into_iter().collect(),
                read_only: a.read_only,
            })
            .collect(),
        flow,
        rung,
        language: if answer.language.is_empty() { "en".to_owned() } else { answer.language },
        receipt,
    })
}

/// The part of the receipt that was known before anything happened.
fn receipt(a: &pb::ProcessRequestResponse) -> Value {
    let decision = a.decision.clone().unwrap_or_default();
    let rules = |list: &[rules::FiredRule]| {
        list.iter()
            .map(|r| json!({"rule": r.rule_id, "type": convert::short_name(r.rule_type().as_str_name(), "RULE_TYPE_"), "priority": r.priority, "clause": r.clause}))
            .collect::<Vec<_>>()
    };
    json!({
        "intent": {"name": a.intent, "confidence": a.intent_confidence,
            "others": a.secondary_intents.iter().map(|s| json!({"name": s.intent, "confidence": s.confidence})).collect::<Vec<_>>()},
        "confidence": a.confidence,
        "sentiment": {"score": a.sentiment.as_ref().map(|s| s.score), "anger": a.sentiment.as_ref().map(|s| s.anger)},
        "entity_types": a.entities.iter().map(|e| e.r#type.clone()).collect::<Vec<_>>(),
        "decision": convert::short_name(decision.disposition().as_str_name(), "DISPOSITION_"),
        "rules": {"fired": rules(&decision.fired), "near": rules(&decision.near)},
        "route": decision.route.as_ref().map(|r| json!({"id": r.route_id, "queue": r.queue, "category": r.ticket_category})),
        "citations": a.citations.iter().map(|c| json!({"article_id": c.article_id, "version": c.version, "title": c.title})).collect::<Vec<_>>(),
        "retrieved": a.knowledge_sources.iter().map(|k| json!({"article_id": k.article_id, "version": k.version, "title": k.title, "score": k.score, "why": k.explanation})).collect::<Vec<_>>(),
        "rung": convert::short_name(a.rung().as_str_name(), "RUNG_"),
        "timings_us": a.timings_us,
        "versions": {"policy": decision.policy_version, "model": a.model_version, "build": env!("CARGO_PKG_VERSION")},
    })
}

fn route(r: &rules::RoutingDecision) -> Option<Route> {
    let deadline = r.sla_deadline.as_ref().and_then(convert::from_timestamp)?;
    Some(Route { queue: r.queue.clone(), priority: from_priority(r.priority()).unwrap_or(Priority::Medium), deadline })
}

/// Where a hand-off goes when rules cannot be asked: it still has a queue and a deadline.
pub fn default_route(now: Timestamp) -> Route {
    // Four hours: the usual first answer of a medium ticket. Better a wrong deadline that is kept than none.
    let deadline = now.checked_add(jiff::SignedDuration::from_hours(4)).unwrap_or(now);
    Route { queue: "general".to_owned(), priority: Priority::Medium, deadline }
}

fn tier(name: &str) -> types::Tier {
    match name {
        "free" => types::Tier::Free,
        "professional" => types::Tier::Professional,
        "enterprise" => types::Tier::Enterprise,
        _ => types::Tier::Standard,
    }
}

/// Onto the wire.
pub fn to_priority(p: Priority) -> types::Priority {
    match p {
        Priority::Low => types::Priority::Low,
        Priority::Medium => types::Priority::Medium,
        Priority::High => types::Priority::High,
        Priority::Critical => types::Priority::Critical,
    }
}

/// From the wire; none if it was left out.
pub fn from_priority(p: types::Priority) -> Option<Priority> {
    match p {
        types::Priority::Unspecified => None,
        types::Priority::Low => Some(Priority::Low),
        types::Priority::Medium => Some(Priority::Medium),
        types::Priority::High => Some(Priority::High),
        types::Priority::Critical => Some(Priority::Critical),
    }
}

fn entity(e: types::Entity) -> Entity {
    Entity {
        kind: e.r#type,
        value: e.value,
        normalized: e.normalized,
        start: e.start,
        end: e.end,
        confidence: e.confidence,
    }
}

fn citation(c: types::Citation) -> Citation {
    Citation { article: c.article_id, version: c.version, title: c.title, url: c.url, quote: c.quote }
}
