//! The RPCs: requests checked, answers packed; nothing else.
use std::sync::Arc;

use switchboard_proto::{
    convert::from_timestamp,
    orchestrator::v1::{
        ClassifyIntentRequest, ClassifyIntentResponse, GenerateResponseRequest, GenerateResponseResponse, IntentScore,
        ProcessRequestRequest, ProcessRequestResponse, ResponseStyle, orchestrator_service_server::OrchestratorService,
    },
    rules::v1::Disposition,
    types::v1::Rung,
};
use switchboard_runtime::{Caller, Clock, Fault, validate::Check};
use tonic::{Request, Response, Status};

use crate::{
    convert,
    pipeline::{Outcome, Pipeline, Turn},
    understand::classify,
};

/// A burst of messages, each at most 5,000.
const MAX_MESSAGE: usize = 50_000;
/// What one message may have.
const MAX_ONE: usize = 5_000;
/// Messages of the past that are looked at.
const MAX_HISTORY: usize = 20;
/// Intents and types of entities are names.
const MAX_NAME: usize = 100;

/// The service.
pub(crate) struct Grpc {
    /// The mind.
    pub(crate) pipeline: Arc<Pipeline>,
    /// The time, where a request brings none.
    pub(crate) clock: Clock,
}

#[tonic::async_trait]
impl OrchestratorService for Grpc {
    async fn process_request(
        &self,
        request: Request<ProcessRequestRequest>,
    ) -> Result<Response<ProcessRequestResponse>, Status> {
        Caller::current()?;
        let turn = self.turn(request.into_inner())?;
        let outcome = self.pipeline.process(turn).await.map_err(Fault::from)?;
        Ok(Response::new(self.packed(outcome)))
    }

    async fn classify_intent(
        &self,
        request: Request<ClassifyIntentRequest>,
    ) -> Result<Response<ClassifyIntentResponse>, Status> {
        Caller::current()?;
        let request = request.into_inner();
        Check::new().text("message", &request.message, 1, MAX_ONE).done()?;
        let found = classify(&self.pipeline.model, &request.message, self.pipeline.threshold);
        let primary = IntentScore { intent: found.intent, confidence: found.confidence };
        Ok(Response::new(ClassifyIntentResponse {
            primary: Some(primary),
            secondary: convert::scores(found.secondary),
        }))
    }

    async fn generate_response(
        &self,
        request: Request<GenerateResponseRequest>,
    ) -> Result<Response<GenerateResponseResponse>, Status> {
        Caller::current()?;
        let request = request.into_inner();
        let style = request.style();
        let said = request.context.as_ref().and_then(|c| c.fields.get("message"));
        let said = said.and_then(|v| match &v.kind {
            Some(prost_types::value::Kind::StringValue(text)) => Some(text.trim().to_owned()),
            _ => None,
        });
        let said = said.unwrap_or_default();
        let mut check = Check::new();
        check.text("intent", &request.intent, 1, MAX_NAME).text("context.message", &said, 0, MAX_ONE);
        for (kind, value) in &request.entities {
            check.text("entities", kind, 1, MAX_NAME).text("entities", value, 0, MAX_ONE);
        }
        check.done()?;
        let query = if said.is_empty() { words_of(&request) } else { said };
        let answer = self.pipeline.generate(query, request.intent).await.map_err(Fault::from)?;
        let opening = match style {
            ResponseStyle::Friendly => "Happy to help! Here is what you need:\n\n",
            ResponseStyle::Technical => "From the documentation:\n\n",
            ResponseStyle::Professional | ResponseStyle::Unspecified => "",
        };
        Ok(Response::new(GenerateResponseResponse {
            response: format!("{opening}{}", answer.text),
            citations: convert::citations(answer.quotes),
            rung: Rung::Extract.into(),
        }))
    }
}

/// What to search for where only the intent is known: its words, and the entities that are codes or names.
fn words_of(request: &GenerateResponseRequest) -> String {
    let mut words = vec![request.intent.replace('_', " ")];
    let mut entities: Vec<_> = request.entities.iter().collect();
    entities.sort();
    words.extend(entities.into_iter().map(|(_, value)| value.clone()));
    words.join(" ").chars().take(MAX_ONE).collect()
}

impl Grpc {
    fn turn(&self, request: ProcessRequestRequest) -> Result<Turn, Status> {
        let mut check = Check::new();
        check.text("message", &request.message, 1, MAX_MESSAGE);
        let facts = check.required("context", request.context);
        if request.conversation_history.len() > MAX_HISTORY {
            check.fail("conversation_history", format!("at most {MAX_HISTORY} messages"));
        }
        if request.confidence_threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            check.fail("confidence_threshold", "must be 0 to 1");
        }
        let now = facts.as_ref().and_then(|f| f.now.as_ref()).map(from_timestamp);
        if now == Some(None) {
            check.fail("context.now", "is not a time");
        }
        check.done()?;
        let mut facts = facts.unwrap_or_default();
        let now = now.flatten().unwrap_or_else(|| self.clock.now());
        facts.now = Some(switchboard_proto::convert::timestamp(now));
        if let Some(threshold) = request.confidence_threshold {
            facts.confidence_threshold = threshold;
        } else if facts.confidence_threshold <= 0.0 {
            facts.confidence_threshold = self.pipeline.threshold;
        }
        let profile = request.user_profile.unwrap_or_default();
        if facts.customer_email.is_empty() {
            facts.customer_email = profile.email;
        }
        if facts.customer_tier == 0 {
            facts.customer_tier = profile.tier;
        }
        let language =
            if profile.language.is_empty() { facts.variables.get("language").cloned() } else { Some(profile.language) };
        let earlier = request.conversation_history.into_iter().filter(|m| m.sender_type == "user").map(|m| m.content);
        Ok(Turn {
            message: request.message,
            earlier: earlier.collect(),
            language: language.unwrap_or_default(),
            facts,
            now,
            flow: request.flow,
            knowledge: request.knowledge_base_enabled.unwrap_or(true),
        })
    }

    fn packed(&self, outcome: Outcome) -> ProcessRequestResponse {
        let Outcome { understood, confidence, reply, quotes, passages, decision, rung, timings } = outcome;
        ProcessRequestResponse {
            entities: convert::entities(&understood.entities),
            sentiment: Some(convert::sentiment(understood.sentiment)),
            confidence,
            suggested_response: reply,
            suggested_actions: decision.quick_replies.clone(),
            citations: convert::citations(quotes),
            knowledge_sources: convert::sources(passages),
            requires_escalation: decision.disposition() == Disposition::Escalate,
            escalation_reason: decision.escalation_reason.clone(),
            intent_confidence: understood.intent.confidence,
            intent: understood.intent.intent,
            secondary_intents: convert::scores(understood.intent.secondary),
            rung: rung.into(),
            language: understood.language,
            timings_us: timings.into_iter().map(|(step, time)| (step.to_owned(), time)).collect(),
            model_version: self.pipeline.version.clone(),
            decision: Some(decision),
        }
    }
}
