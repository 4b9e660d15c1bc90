//! What a customer does with what was said before: says yes or no, stops, corrects.
//!
//! In: a text and the intent it was taken for. Out: an act, or none. Never: a reading of long texts: an act stands at their start.
use std::sync::LazyLock;

use regex::Regex;

/// What a customer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Act {
    /// Just says something.
    #[default]
    None,
    /// Says yes.
    Affirm,
    /// Says no.
    Deny,
    /// Wants to stop what is being done.
    NeverMind,
    /// Changes something said before.
    Correct,
}

/// Below this an intent alone does not make an act.
const SURE: f64 = 0.5;

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("(?i){pattern}")).expect("the pattern is a constant, compiled by every test")
}

static NEVER_MIND: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^\W*(?:(?:oh|ok|okay|no|sorry|ah)\W+)?(?:never\s*mind|nvm|forget (?:it|that|about it|about that)|cancel (?:that|this)|stop (?:that|this)|drop it|leave it)\b",
    )
});
static CORRECT: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?:\bi (?:meant|mean)\b",
        r"|^\W*(?:no|nope|wait|sorry|oh|oops)\b[\s,.!-]+(?:(?:no|sorry|wait)[\s,]+)?(?:it['’]?s|it is|its|it should be|make (?:it|that)|the (?:correct|right) \w+ is)\s+(?P<rest>\S+)",
        r"|^\W*(?:wait\W+)?actually\b",
        r"|^\W*(?:sorry\W+)?(?:correction|typo|wrong (?:number|one|email|address))\b",
        r"|^\W*not\s+\S+(?:\s+\S+)?[\s,]+but\s+\S)",
    ))
});
static QUESTION: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?:\?\s*$|^\W*(?:(?:and|also|but|so|actually|hi|hello|hey|ok|wait|please|sorry)\W+)*(?:how|what|where|when|why|who|which|can|could|do|does|did|is|are|will|would|should|am|may)\b)",
    )
});
static THUMB: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^\s*(?:(?P<up>(?:[👍👌✅🆗]\p{M}*\p{Emoji_Modifier}*\s*)+)|(?:[👎❌]\p{M}*\p{Emoji_Modifier}*\s*)+)$")
});
static YES: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^\W*(?:yes|yeah|yep|yup|ya|y|sure|correct|exactly|absolutely|definitely|of course|please do|go ahead|do it|sounds good|ok|okay|confirm|confirmed|right)\b",
    )
});
static NO: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^\W*(?:no|nope|nah|n|not really|no way|don['’]?t|do not|negative)\b"));

/// The act of a text.
pub fn act(text: &str, intent: &str, confidence: f64) -> Act {
    if let Some(thumb) = THUMB.captures(text) {
        return if thumb.name("up").is_some() { Act::Affirm } else { Act::Deny };
    }
    let sure = confidence >= SURE;
    let words = text.split_whitespace().count();
    let question = is_question(text);
    if (sure && intent == "never_mind") || (words <= 8 && NEVER_MIND.is_match(text)) {
        return Act::NeverMind;
    }
    if let Some(found) = CORRECT.captures(text)
        && !question
        // "no, it is not" says no and corrects nothing.
        && found.name("rest").is_none_or(|r| !r.as_str().to_lowercase().starts_with("not") && !r.as_str().starts_with("n't"))
        && !(sure && intent == "problem_solved")
    {
        return Act::Correct;
    }
    // "ok thanks", "yes it works now": said more than yes, and the intent tells it.
    let said_more = sure && matches!(intent, "thanks" | "goodbye" | "greeting" | "problem_solved" | "talk_to_human");
    if question || (said_more && words > 1) {
        return Act::None;
    }
    let short = words <= 3;
    if (sure && intent == "affirm")
        || (YES.is_match(text) && (short || (words <= 8 && starts_plainly(text, &["yes", "yeah", "yep", "yup"]))))
    {
        return Act::Affirm;
    }
    if (sure && intent == "deny")
        || (NO.is_match(text) && (short || (words <= 8 && starts_plainly(text, &["no", "nope", "nah"]))))
    {
        return Act::Deny;
    }
    Act::None
}

/// True if a text asks something.
pub fn is_question(text: &str) -> bool {
    QUESTION.is_match(text)
}

fn starts_plainly(text: &str, words: &[&str]) -> bool {
    let first = text.split(|c: char| !c.is_alphanumeric()).find(|w| !w.is_empty());
    first.is_some_and(|w| words.iter().any(|x| w.eq_ignore_ascii_case(x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_are_read_from_words_and_intent() {
        let table = [
            ("yes", "affirm", Act::Affirm),
            ("yes, reset it please", "password_reset", Act::Affirm),
            ("ok", "oos", Act::Affirm),
            ("ok thanks", "thanks", Act::None),
            ("yes it works now", "problem_solved", Act::None),
            ("👍🏽", "oos", Act::Affirm),
            ("👎", "oos", Act::Deny),
            ("no", "deny", Act::Deny),
            ("No, that's not it", "deny", Act::Deny),
            ("no, it is not", "deny", Act::Deny),
            ("never mind", "never_mind", Act::NeverMind),
            ("oh, forget it", "oos", Act::NeverMind),
            ("no, I meant 10024", "deny", Act::Correct),
            ("actually it's jane@example.com", "oos", Act::Correct),
            ("sorry, it's 10024", "oos", Act::Correct),
            ("No, it's BS-123456", "deny", Act::Correct),
            ("not monthly but yearly", "plan_change", Act::Correct),
            ("actually, how do I export data?", "feature_inquiry", Act::None),
            ("how do I export data", "feature_inquiry", Act::None),
            ("no access to my account since this morning when I changed it", "login_issue", Act::None),
            ("is it correct?", "oos", Act::None),
        ];
        for (text, intent, expected) in table {
            assert_eq!(act(text, intent, 0.9), expected, "{text}");
        }
    }

    #[test]
    fn an_unsure_intent_makes_no_act() {
        assert_eq!(act("the second thing", "affirm", 0.3), Act::None);
    }
}
