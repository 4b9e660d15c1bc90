//! One message, understood.
//!
//! In: the customer's words, what they wrote earlier, the language expected, the time. Out: everything that is known of the
//! words, and what to search for. Never: a call to anybody.
use jiff::Timestamp;

use crate::nlu::{
    IntentModel, OOS, Prediction,
    dialogue::{self, Act},
    entities::{self, Entity},
    followup, language,
    sentiment::{self, Sentiment},
};

/// Intents about the talk itself: knowledge has nothing on them.
const SMALL_TALK: &[&str] = &["greeting", "thanks", "affirm", "deny", "goodbye", "never_mind", "problem_solved"];
/// From here on an intent is trusted enough to act on alone.
const TRUSTED: f64 = 0.5;
/// An intent that rests on an earlier message is at most this sure: the topic may have changed.
const BORROWED: f64 = 0.85;
/// Knowledge takes queries up to this length; a burst may be longer.
const MAX_QUERY: usize = 5_000;
/// A burst is read line by line up to here: the rest is pasted text.
const MAX_LINES: usize = 20;

/// What came in.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// The customer's words; a burst is joined by line breaks.
    pub message: &'a str,
    /// The customer's earlier messages, newest last.
    pub earlier: &'a [&'a str],
    /// The language they used so far; may be empty.
    pub language: &'a str,
    /// True if a step of a flow waits for an answer.
    pub in_flow: bool,
    /// Below this a classification is unsure.
    pub threshold: f64,
    /// The turn's time.
    pub now: Timestamp,
}

/// What was understood.
#[derive(Debug, Clone)]
pub struct Understood {
    /// Intent, confidence, other likely ones.
    pub intent: Prediction,
    /// What was found in the text.
    pub entities: Vec<Entity>,
    /// How the customer feels.
    pub sentiment: Sentiment,
    /// What the customer does.
    pub act: Act,
    /// BCP 47 tag.
    pub language: String,
    /// True if the words answer what a step of the open flow asked.
    pub fills_step: bool,
    /// True if steps are asked for.
    pub asks_how: bool,
    /// What to search for; none if a search would be pointless.
    pub query: Option<String>,
    /// The query leans on an earlier message; these are the words of this one alone.
    pub follow_up: Option<String>,
}

impl Understood {
    /// Takes a doubtful text back into scope, under the likeliest topic: knowledge has a good answer to it.
    pub fn reconsider(&mut self) -> bool {
        let topic = self.intent.secondary.iter().position(|(intent, _)| !is_small_talk(intent));
        let Some(topic) = topic.filter(|_| self.intent.doubtful) else { return false };
        let mut secondary = std::mem::take(&mut self.intent.secondary);
        let (intent, confidence) = secondary.remove(topic);
        self.intent = Prediction { intent, confidence, secondary, doubtful: false };
        true
    }

    /// Error codes among the entities.
    pub fn error_codes(&self) -> Vec<String> {
        self.entities.iter().filter(|e| e.kind == "error_code").map(|e| e.normalized.clone()).collect()
    }
}

/// Understands a message.
pub fn understand(model: &IntentModel, words: &Words<'_>) -> Understood {
    let message = words.message;
    let mut intent = classify(model, message, words.threshold);
    let unsure = intent.intent == OOS || intent.confidence < words.threshold;
    let in_full = followup::in_full(message, words.earlier, unsure);
    if let Some(in_full) = in_full.as_deref().filter(|_| unsure) {
        // "and from Excel?" alone is about nothing; with the topic before it, it is.
        let with_topic = model.predict(in_full);
        if with_topic.intent != OOS {
            intent = Prediction { confidence: with_topic.confidence.min(BORROWED), ..with_topic };
        }
    }
    let entities = entities::find(message, words.now);
    let act = dialogue::act(message, &intent.intent, intent.confidence);
    if intent.intent == OOS
        && let Some(named) = intent_of(act, model)
    {
        // "👍" has no words to classify.
        intent = Prediction { intent: named, confidence: BORROWED, secondary: vec![], doubtful: false };
    }
    let fills_step = words.in_flow && !dialogue::is_question(message) && (act != Act::None || !entities.is_empty());
    // Where an intent is only unlikely, knowledge may still have the very answer.
    let refused = intent.intent == OOS && !intent.doubtful;
    let small_talk = is_small_talk(&intent.intent) && intent.confidence >= TRUSTED;
    let pointless = fills_step || refused || small_talk || !message.contains(char::is_alphanumeric);
    let query = (!pointless).then(|| shortened(in_full.as_deref().unwrap_or(message)));
    Understood {
        sentiment: sentiment::feel(message),
        language: language::language(message, words.language),
        asks_how: asks_how(query.as_deref().unwrap_or_default())
            || in_full.is_some() && words.earlier.iter().any(|m| asks_how(m)),
        intent,
        entities,
        act,
        fills_step,
        follow_up: in_full.as_ref().and(query.as_ref()).map(|_| shortened(message)),
        query,
    }
}

/// The intent that an act alone stands for, if the model has it.
fn intent_of(act: Act, model: &IntentModel) -> Option<String> {
    let name = match act {
        Act::Affirm => "affirm",
        Act::Deny => "deny",
        Act::NeverMind => "never_mind",
        Act::None | Act::Correct => return None,
    };
    model.intents().iter().find(|i| *i == name).cloned()
}

/// Compiles every pattern, so that the first customer does not wait for it.
pub fn warm_up(model: &IntentModel, now: Timestamp) {
    let message = "no, I'm Jane: order 10023 of 2026-01-02, jane@example.com, see https://example.com and answer me in full please?";
    understand(model, &Words { message, earlier: &[], language: "", in_flow: true, threshold: 1.0, now });
}

/// The intent of a message. Of a burst, that of the line that says most clearly what is wanted, where the whole does not.
pub fn classify(model: &IntentModel, message: &str, threshold: f64) -> Prediction {
    let whole = model.predict(message);
    let lines: Vec<&str> = message.lines().filter(|l| !l.trim().is_empty()).take(MAX_LINES).collect();
    let clear = whole.intent != OOS && whole.confidence >= threshold && !is_small_talk(&whole.intent);
    if lines.len() < 2 || clear {
        return whole;
    }
    let lines = lines.into_iter().map(|line| model.predict(line)).filter(|p| p.intent != OOS);
    // A line with a topic goes before "hello" and "thanks" if it is trusted at all.
    let rank = |p: &Prediction| (!is_small_talk(&p.intent) && p.confidence >= TRUSTED, p.confidence);
    let best = lines.max_by(|a, b| rank(a).0.cmp(&rank(b).0).then(a.confidence.total_cmp(&b.confidence)));
    let own = if whole.intent == OOS { (false, 0.0) } else { rank(&whole) };
    match best {
        // A refused whole needs a line that is sure: one stray word must not turn nonsense into a topic.
        Some(line) if whole.intent == OOS && line.confidence < threshold => whole,
        Some(line) if rank(&line) > own => line,
        _ => whole,
    }
}

fn is_small_talk(intent: &str) -> bool {
    SMALL_TALK.contains(&intent)
}

/// True if a text asks for the way to do something.
pub fn asks_how(text: &str) -> bool {
    let text = text.to_lowercase();
    ["how do", "how can", "how to", "how would", "how should", "steps to", "show me how", "where do i", "where can i"]
        .iter()
        .any(|h| text.contains(h))
}

fn shortened(query: &str) -> String {
    query.chars().take(MAX_QUERY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nlu::parse_examples;

    fn model() -> IntentModel {
        let rows = parse_examples(include_str!("../../../demo/nlu/train.jsonl")).expect("the demo rows are right");
        IntentModel::train(&rows)
    }

    fn read(model: &IntentModel, message: &str, in_flow: bool) -> Understood {
        let earlier = ["How do I import contacts from a CSV file?"];
        let now = "2026-11-23T10:00:00Z".parse().expect("a time");
        understand(model, &Words { message, earlier: &earlier, language: "", in_flow, threshold: 0.7, now })
    }

    #[test]
    fn a_follow_up_borrows_the_topic_and_nonsense_does_not() {
        let model = model();
        let follow_up = read(&model, "and from Excel?", false);
        assert_eq!(follow_up.intent.intent, "data_import");
        assert!(follow_up.asks_how, "the question before asked for steps");
        let borrowed = read(&model, "and from a Numbers sheet?", false);
        assert_eq!(borrowed.intent.intent, "data_import");
        assert!(borrowed.query.is_some_and(|q| q.starts_with("import contacts csv file")));
        for nonsense in ["asdfgh", "<script>alert(1)</script>", " ?!... "] {
            let found = read(&model, nonsense, false);
            assert!(found.intent.intent == OOS || found.intent.confidence < 0.7, "{nonsense}: {:?}", found.intent);
            assert_ne!(found.query.as_deref().map(|q| q.contains("import")), Some(true));
        }
    }

    #[test]
    fn an_answer_to_a_step_is_told_from_a_digression() {
        let model = model();
        for message in ["10023", "jane@example.com", "It was order 10023", "yes please", "no, it's 10024", "never mind"]
        {
            assert!(read(&model, message, true).fills_step, "{message}");
            assert!(!read(&model, message, false).fills_step, "{message}");
        }
        for message in ["what are your hours?", "how do I export data", "how do I see order 10023?"] {
            assert!(!read(&model, message, true).fills_step, "{message}");
        }
    }

    #[test]
    fn a_burst_is_taken_by_its_topic() {
        let model = model();
        for (message, intent) in [
            ("hello\nmy import keeps failing", "data_import"),
            ("hi\n\nI want a refund\nthanks", "refund_request"),
            ("hello\nthanks", "greeting"),
        ] {
            let found = classify(&model, message, 0.7).intent;
            assert!(found == intent || (intent == "greeting" && found == "thanks"), "{message}: {found}");
        }
    }
}
