//! What rules and flows can ask about: one turn, and the names and types of its facts.
//!
//! In: what was understood and what is known. Out: facts by name. Never: the wall clock; `now` is a fact.
use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};

/// What the customer does with what was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Act {
    #[default]
    None,
    Affirm,
    Deny,
    NeverMind,
    Correct,
}

/// Names of the acts as rules write them.
pub const ACTS: &[(&str, Act)] = &[
    ("none", Act::None),
    ("affirm", Act::Affirm),
    ("deny", Act::Deny),
    ("never_mind", Act::NeverMind),
    ("correct", Act::Correct),
];

/// What the customer pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Tier {
    Free,
    #[default]
    Standard,
    Professional,
    Enterprise,
}

/// Names of the tiers.
pub const TIERS: &[(&str, Tier)] = &[
    ("free", Tier::Free),
    ("standard", Tier::Standard),
    ("professional", Tier::Professional),
    ("enterprise", Tier::Enterprise),
];

/// How soon somebody has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

/// Names of the priorities.
pub const PRIORITIES: &[(&str, Priority)] =
    &[("low", Priority::Low), ("medium", Priority::Medium), ("high", Priority::High), ("critical", Priority::Critical)];

/// The value of a name in one of the tables above.
pub fn named<T: Copy>(table: &[(&'static str, T)], name: &str) -> Option<T> {
    table.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

/// The name of a value in one of the tables above.
pub fn name_of<T: Copy + PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, v)| *v == value).map_or("", |(n, _)| n)
}

/// Something in the text that a program can use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entity {
    pub kind: String,
    pub value: String,
    pub normalized: String,
}

impl Entity {
    /// The fixed form, or the words if there is none.
    pub fn best(&self) -> &str {
        if self.normalized.is_empty() { &self.value } else { &self.normalized }
    }
}

/// One turn: what was understood, and what is known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Turn {
    pub intent: String,
    pub intent_confidence: f64,
    pub sentiment: f64,
    pub sentiment_label: &'static str,
    pub anger: f64,
    pub entities: Vec<Entity>,
    pub act: Act,
    pub language: String,
    pub knowledge_score: f64,
    pub confidence: f64,
    pub text: String,
    pub channel: String,
    pub status: String,
    pub owner: String,
    pub tier: Tier,
    pub user_messages: u32,
    pub failed_turns: u32,
    pub angry_messages: u32,
    pub now: Timestamp,
    pub customer_email: String,
    pub variables: BTreeMap<String, String>,
    /// None: the bundle's.
    pub confidence_threshold: Option<f64>,
}

impl Turn {
    /// True if the customer says this, by act or by intent.
    pub fn says(&self, act: Act) -> bool {
        self.act == act || (self.act == Act::None && self.intent == name_of(ACTS, act) && self.intent_confidence >= 0.5)
    }
}

/// A turn with what the bundle adds to it: the facts that rules see.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub turn: &'a Turn,
    pub flow_id: &'a str,
    pub starts_flow: bool,
    pub confidence_threshold: f64,
}

/// A fact's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Whole,
    Number,
    Truth,
    Texts,
    Entities,
    Map,
}

impl Kind {
    /// In words, for messages.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Whole | Kind::Number => "a number",
            Kind::Truth => "true or false",
            Kind::Texts => "a list of texts",
            Kind::Entities => "a list of entities",
            Kind::Map => "a map of texts",
        }
    }
}

macro_rules! facts {
    ($($variant:ident $name:literal $kind:ident;)*) => {
        /// Every fact.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fact { $($variant),* }

        /// Every fact with its name and type.
        pub const FACTS: &[(&str, Fact, Kind)] = &[$(($name, Fact::$variant, Kind::$kind)),*];
    };
}
facts! {
    Intent "intent" Text;
    IntentConfidence "intent_confidence" Number;
    Sentiment "sentiment" Number;
    SentimentLabel "sentiment_label" Text;
    Anger "anger" Number;
    Entities "entities" Entities;
    EntityTypes "entity_types" Texts;
    DialogueAct "dialogue_act" Text;
    Language "language" Text;
    KnowledgeScore "knowledge_score" Number;
    Confidence "confidence" Number;
    Text "text" Text;
    Channel "channel" Text;
    Status "status" Text;
    Owner "owner" Text;
    CustomerTier "customer_tier" Text;
    UserMessages "user_messages" Whole;
    FailedTurns "failed_turns" Whole;
    AngryMessages "angry_messages" Whole;
    CustomerEmail "customer_email" Text;
    Variables "variables" Map;
    ConfidenceThreshold "confidence_threshold" Number;
    Hour "hour" Whole;
    Weekday "weekday" Text;
    FlowId "flow_id" Text;
    InFlow "in_flow" Truth;
    StartsFlow "starts_flow" Truth;
}

/// The fact of a name.
pub fn fact(name: &str) -> Option<(Fact, Kind)> {
    FACTS.iter().find(|(n, ..)| *n == name).map(|(_, f, k)| (*f, *k))
}

/// The values a fact can have, where there are only a few: a rule that compares with another one can never fire.
pub fn domain(fact: Fact) -> Option<&'static [&'static str]> {
    match fact {
        Fact::SentimentLabel => Some(&["negative", "neutral", "positive"]),
        Fact::DialogueAct => Some(&["none", "affirm", "deny", "never_mind", "correct"]),
        Fact::Channel => Some(&["web", "mobile", "email", "slack", "api", "phone"]),
        Fact::Status => Some(&["active", "waiting", "escalated", "resolved", "abandoned"]),
        Fact::Owner => Some(&["ai", "human", "none"]),
        Fact::CustomerTier => Some(&["free", "standard", "professional", "enterprise"]),
        Fact::Weekday => Some(WEEKDAYS),
        _ => None,
    }
}

/// Days as rules and calendars write them.
pub const WEEKDAYS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl View<'_> {
    /// A fact that is text; empty for others.
    pub fn text(&self, fact: Fact) -> &str {
        let turn = self.turn;
        match fact {
            Fact::Intent => &turn.intent,
            Fact::SentimentLabel => turn.sentiment_label,
            Fact::DialogueAct => name_of(ACTS, turn.act),
            Fact::Language => &turn.language,
            Fact::Text => &turn.text,
            Fact::Channel => &turn.channel,
            Fact::Status => &turn.status,
            Fact::Owner => &turn.owner,
            Fact::CustomerTier => name_of(TIERS, turn.tier),
            Fact::CustomerEmail => &turn.customer_email,
            Fact::Weekday => WEEKDAYS[self.civil().weekday().to_monday_zero_offset() as usize],
            Fact::FlowId => self.flow_id,
            _ => "",
        }
    }

    /// A fact that is a number; zero for others.
    pub fn number(&self, fact: Fact) -> f64 {
        let turn = self.turn;
        match fact {
            Fact::IntentConfidence => turn.intent_confidence,
            Fact::Sentiment => turn.sentiment,
            Fact::Anger => turn.anger,
            Fact::KnowledgeScore => turn.knowledge_score,
            Fact::Confidence => turn.confidence,
            Fact::UserMessages => turn.user_messages.into(),
            Fact::FailedTurns => turn.failed_turns.into(),
            Fact::AngryMessages => turn.angry_messages.into(),
            Fact::ConfidenceThreshold => self.confidence_threshold,
            Fact::Hour => f64::from(self.civil().hour()),
            _ => 0.0,
        }
    }

    /// A fact that is true or false.
    pub fn truth(&self, fact: Fact) -> bool {
        match fact {
            Fact::InFlow => !self.flow_id.is_empty(),
            Fact::StartsFlow => self.starts_flow,
            _ => false,
        }
    }

    /// The turn's time in UTC.
    fn civil(&self) -> jiff::civil::DateTime {
        TimeZone::UTC.to_datetime(self.turn.now)
    }
}
