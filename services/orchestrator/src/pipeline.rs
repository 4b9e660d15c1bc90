//! One turn: understand, search, let the policy decide, compose.
//!
//! In: a [`Turn`]. Out: an [`Outcome`]; nothing has happened yet. Never: a state of its own, a word of the customer in a log.
//!
//! The words of the policy (signals, facts, flow, decision) are rules' own messages: they pass through unchanged, and a
//! second copy of them would only drift.
use std::collections::BTreeMap;

use jiff::Timestamp;
use switchboard_proto::{
    knowledge::v1::{SearchRequest, knowledge_service_client::KnowledgeServiceClient},
    rules::v1::{
        DecideRequest, DecideResponse, Disposition, Facts, FlowState, rules_service_client::RulesServiceClient,
    },
    types::v1::Rung,
};
use switchboard_runtime::{Context, Fault, MeshChannel};
use tokio::time::Instant;

use crate::{
    compose::{self, Passage, Quote},
    convert,
    error::Error,
    nlu::{IntentModel, OOS},
    understand::{Understood, Words, asks_how, understand},
};

/// Passages asked for: the best one answers, the others may hold its steps.
const PASSAGES: u32 = 5;
/// Share of the time left that a search may take: rules, which the turn cannot do without, come after it.
const SEARCH_SHARE: f64 = 0.6;
/// Confidence at least, where the customer's words are the answer that a step of a flow waits for: the words need no intent.
const FLOW_FLOOR: f64 = 0.75;

/// What a passage's score is worth as confidence where the classifier had no idea and the passage alone carries the answer.
const CARRIED: f64 = 0.9;

/// What a turn is about.
pub struct Turn {
    /// The customer's words.
    pub message: String,
    /// Their earlier messages, newest last.
    pub earlier: Vec<String>,
    /// The language they used so far; may be empty.
    pub language: String,
    /// What is known, with the threshold that holds.
    pub facts: Facts,
    /// The turn's time.
    pub now: Timestamp,
    /// The open flow.
    pub flow: Option<FlowState>,
    /// False to answer without knowledge.
    pub knowledge: bool,
}

/// What came of it.
pub struct Outcome {
    /// What was understood.
    pub understood: Understood,
    /// How sure the agent is of the reply.
    pub confidence: f64,
    /// The reply.
    pub reply: String,
    /// What it rests on.
    pub quotes: Vec<Quote>,
    /// What was found.
    pub passages: Vec<Passage>,
    /// The policy's decision.
    pub decision: DecideResponse,
    /// The rung of the reply.
    pub rung: Rung,
    /// Microseconds per step.
    pub timings: BTreeMap<&'static str, u64>,
}

/// The mind: a model and two services to ask.
pub struct Pipeline {
    /// The classifier.
    pub model: IntentModel,
    /// Its content hash.
    pub version: String,
    /// Below this a classification is unsure, where the request does not say.
    pub threshold: f64,
    knowledge: KnowledgeServiceClient<MeshChannel>,
    rules: RulesServiceClient<MeshChannel>,
}

impl Pipeline {
    /// A pipeline over its channels.
    pub fn new(model: IntentModel, threshold: f64, knowledge: MeshChannel, rules: MeshChannel) -> Self {
        let (knowledge, rules) = (KnowledgeServiceClient::new(knowledge), RulesServiceClient::new(rules));
        Pipeline { version: model.version(), model, threshold, knowledge, rules }
    }

    /// Thinks one turn through.
    pub async fn process(&self, turn: Turn) -> Result<Outcome, Error> {
        let mut timings = Timings::start();
        let in_flow = turn.flow.as_ref().is_some_and(|f| !f.flow_id.is_empty());
        let earlier: Vec<&str> = turn.earlier.iter().map(String::as_str).collect();
        let mut understood = understand(
            &self.model,
            &Words {
                message: &turn.message,
                earlier: &earlier,
                language: &turn.language,
                in_flow,
                threshold: turn.facts.confidence_threshold,
                now: turn.now,
            },
        );
        timings.mark("understand");
        let passages = match understood.query.clone().filter(|_| turn.knowledge) {
            None => vec![],
            Some(query) => self.found_in_time(query, &understood).await,
        };
        timings.mark("knowledge");
        let score = passages.first().map(|p| p.score);
        let carries = score.filter(|s| *s >= turn.facts.confidence_threshold && understood.reconsider());
        let intent = understood.intent.confidence;
        let able = match (understood.fills_step, &understood.query) {
            (true, _) => intent.max(FLOW_FLOOR),
            // "Hello" and what is out of scope need no passage.
            (false, None) => intent,
            (false, Some(_)) if understood.intent.intent == OOS => intent,
            (false, Some(_)) => compose::confidence(intent, score).max(carries.unwrap_or_default() * CARRIED),
        };
        let signals = convert::signals(&understood, turn.message, score.unwrap_or_default(), able);
        let ask = DecideRequest { signals: Some(signals), facts: Some(turn.facts), flow: turn.flow };
        let decided = self.rules.clone().decide(ask).await;
        let decision = decided.map_err(|status| Error::Policy(Fault::from_status(&status)))?.into_inner();
        timings.mark("rules");
        let said = say(&decision, &understood, &passages, able, in_flow);
        timings.mark("compose");
        let (reply, quotes, rung, confidence) = said;
        Ok(Outcome { understood, confidence, reply, quotes, passages, decision, rung, timings: timings.steps })
    }

    /// A reply for a known intent, from knowledge alone.
    pub async fn generate(&self, query: String, intent: String) -> Result<compose::Answer, Error> {
        let asks_how = asks_how(&query);
        let request = SearchRequest { query, limit: PASSAGES, intent, ..SearchRequest::default() };
        let passages = self.search(request).await.map_err(Error::Knowledge)?;
        compose::extract(&passages, asks_how).ok_or(Error::NothingGrounded)
    }

    /// Passages, or none: a turn goes on without knowledge, one rung further down.
    async fn found_in_time(&self, query: String, understood: &Understood) -> Vec<Passage> {
        let request = SearchRequest {
            query,
            limit: PASSAGES,
            language: understood.language.clone(),
            intent: Some(&understood.intent.intent).filter(|i| *i != OOS).cloned().unwrap_or_default(),
            error_codes: understood.error_codes(),
            ..SearchRequest::default()
        };
        let context = Context::current();
        let limited = match context.remaining() {
            Some(left) => context.within(left.mul_f64(SEARCH_SHARE)),
            None => context,
        };
        let own = understood.follow_up.as_ref().map(|query| SearchRequest { query: query.clone(), ..request.clone() });
        let both = limited.scope(async {
            match own {
                None => self.search(request).await,
                Some(own) => {
                    let (in_full, own) = tokio::join!(self.search(request), self.search(own));
                    Ok(preferring(own.unwrap_or_default(), in_full?))
                }
            }
        });
        both.await.unwrap_or_else(|fault| {
            tracing::warn!(reason = fault.name(), detail = %fault.detail, "the turn goes on without knowledge");
            vec![]
        })
    }

    async fn search(&self, request: SearchRequest) -> Result<Vec<Passage>, Fault> {
        let found = self.knowledge.clone().search(request).await?.into_inner();
        Ok(found.passages.into_iter().map(convert::passage).collect())
    }
}

/// Passages of a follow-up's whole question, those first that its own words find too: "and from Excel?" after a question about
/// CSV files shares more words with the old answer than with the new one.
fn preferring(own: Vec<Passage>, in_full: Vec<Passage>) -> Vec<Passage> {
    let known = |p: &Passage| in_full.iter().any(|q| q.article_id == p.article_id);
    let mut passages: Vec<Passage> = own.into_iter().filter(known).collect();
    let first: Vec<String> = passages.iter().map(|p| p.article_id.clone()).collect();
    passages.extend(in_full.into_iter().filter(|p| !first.contains(&p.article_id)));
    passages
}

/// The reply, what it quotes, its rung, and how sure it is.
fn say(
    decision: &DecideResponse,
    understood: &Understood,
    passages: &[Passage],
    able: f64,
    in_flow: bool,
) -> (String, Vec<Quote>, Rung, f64) {
    let intent = understood.intent.confidence;
    let prepared = |rung, confidence| (decision.reply.clone(), vec![], rung, confidence);
    match decision.disposition() {
        Disposition::Respond => {
            let answer =
                if understood.intent.intent == OOS { None } else { compose::extract(passages, understood.asks_how) };
            match answer {
                Some(answer) => (joined(&answer.text, &decision.reply), answer.quotes, Rung::Extract, able),
                None => (
                    joined(&decision.fallback_reply, &decision.reply),
                    vec![],
                    Rung::Canned,
                    able.min(compose::confidence(intent, None)),
                ),
            }
        }
        Disposition::Flow => prepared(Rung::Flow, if in_flow { intent.max(FLOW_FLOOR) } else { intent }),
        Disposition::Escalate => prepared(Rung::Human, intent),
        Disposition::Canned | Disposition::Acknowledge | Disposition::Resolve | Disposition::Unspecified => {
            prepared(Rung::Canned, if understood.fills_step { intent.max(FLOW_FLOOR) } else { intent })
        }
    }
}

fn joined(first: &str, second: &str) -> String {
    match (first.is_empty(), second.is_empty()) {
        (false, false) => format!("{first}\n\n{second}"),
        (true, _) => second.to_owned(),
        (_, true) => first.to_owned(),
    }
}

struct Timings {
    last: Instant,
    steps: BTreeMap<&'static str, u64>,
}

impl Timings {
    fn start() -> Self {
        Timings { last: Instant::now(), steps: BTreeMap::new() }
    }

    fn mark(&mut self, step: &'static str) {
        let now = Instant::now();
        self.steps.insert(step, u64::try_from((now - self.last).as_micros()).unwrap_or(u64::MAX));
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_own_words_find_too_comes_first() {
        let found = |ids: &[&str]| {
            ids.iter().map(|id| Passage { article_id: (*id).to_owned(), ..Passage::default() }).collect::<Vec<_>>()
        };
        let order = |passages: Vec<Passage>| passages.into_iter().map(|p| p.article_id).collect::<Vec<_>>();
        assert_eq!(
            order(preferring(found(&["excel", "other"]), found(&["csv", "excel", "limits"]))),
            ["excel", "csv", "limits"]
        );
        assert_eq!(order(preferring(vec![], found(&["csv"]))), ["csv"]);
    }
}
