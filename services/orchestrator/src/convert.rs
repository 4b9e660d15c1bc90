//! Values of this service as messages, and back.
//!
//! In and out: values. Never: a decision.
use switchboard_proto::{
    knowledge::v1 as knowledge,
    orchestrator::v1::{IntentScore, KnowledgeSource},
    rules::v1::{DialogueAct, Signals},
    types::v1 as types,
};

use crate::{
    compose::{Passage, Quote},
    nlu::{dialogue::Act, entities::Entity, sentiment},
    understand::Understood,
};

pub(crate) fn signals(understood: &Understood, text: String, knowledge_score: f64, confidence: f64) -> Signals {
    Signals {
        intent: understood.intent.intent.clone(),
        intent_confidence: understood.intent.confidence,
        sentiment: Some(sentiment(understood.sentiment)),
        entities: entities(&understood.entities),
        dialogue_act: act(understood.act).into(),
        language: understood.language.clone(),
        knowledge_score,
        confidence,
        text,
    }
}

pub(crate) fn entities(found: &[Entity]) -> Vec<types::Entity> {
    let entity = |e: &Entity| types::Entity {
        r#type: e.kind.to_owned(),
        value: e.value.clone(),
        normalized: e.normalized.clone(),
        start: u32::try_from(e.start).unwrap_or(u32::MAX),
        end: u32::try_from(e.end).unwrap_or(u32::MAX),
        confidence: e.confidence,
    };
    found.iter().map(entity).collect()
}

pub(crate) fn sentiment(felt: sentiment::Sentiment) -> types::Sentiment {
    let label = match felt.label() {
        sentiment::Label::Negative => types::SentimentLabel::Negative,
        sentiment::Label::Neutral => types::SentimentLabel::Neutral,
        sentiment::Label::Positive => types::SentimentLabel::Positive,
    };
    types::Sentiment { label: label.into(), score: felt.score, anger: felt.anger }
}

fn act(act: Act) -> DialogueAct {
    match act {
        Act::None => DialogueAct::Unspecified,
        Act::Affirm => DialogueAct::Affirm,
        Act::Deny => DialogueAct::Deny,
        Act::NeverMind => DialogueAct::NeverMind,
        Act::Correct => DialogueAct::Correct,
    }
}

pub(crate) fn passage(found: knowledge::Passage) -> Passage {
    Passage {
        article_id: found.article_id,
        version: found.version,
        title: found.title,
        url: found.url,
        text: found.text,
        quote: found.quote,
        score: found.score,
        explanation: found.explanation,
    }
}

pub(crate) fn sources(passages: Vec<Passage>) -> Vec<KnowledgeSource> {
    let source = |p: Passage| KnowledgeSource {
        article_id: p.article_id,
        version: p.version,
        title: p.title,
        score: p.score,
        explanation: p.explanation,
    };
    passages.into_iter().map(source).collect()
}

pub(crate) fn citations(quotes: Vec<Quote>) -> Vec<types::Citation> {
    let citation = |q: Quote| types::Citation {
        article_id: q.article_id,
        version: q.version,
        title: q.title,
        url: q.url,
        quote: q.words,
    };
    quotes.into_iter().map(citation).collect()
}

pub(crate) fn scores(intents: Vec<(String, f64)>) -> Vec<IntentScore> {
    intents.into_iter().map(|(intent, confidence)| IntentScore { intent, confidence }).collect()
}
