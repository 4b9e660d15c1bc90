//! What was expected against what came.
use jiff::Timestamp;
use serde_json::Value;

use super::scenario::{Escalation, Expect, Finally, Pattern};

/// Names what differs. `body` is a MessageResponse, a Conversation or a problem.
pub(crate) fn turn(expect: &Expect, body: &Value, elapsed_ms: u64) -> Vec<String> {
    let mut wrong = Wrong::default();
    if let Some(reason) = body["reason"].as_str().filter(|_| body["title"].is_string()) {
        match &expect.error {
            Some(expected) => wrong.word("error", Some(expected), &body["reason"]),
            None => wrong.say(format!("refused with {reason}: {}", body["detail"].as_str().unwrap_or_default())),
        }
        return wrong.0;
    }
    if let Some(error) = &expect.error {
        wrong.say(format!("error: expected {error}, but it was accepted"));
    }
    let reply = body["response"].as_str();
    wrong.word("intent", expect.intent.as_ref(), &body["intent"]);
    wrong.pattern("reply", expect.reply_matches.as_ref(), reply.unwrap_or_default());
    if let (Some(pattern), Some(reply)) = (&expect.reply_not, reply)
        && pattern.0.is_match(reply)
    {
        wrong.say(format!("reply: must not match /{}/, is {reply:?}", pattern.0));
    }
    if let (true, Some(reply)) = (expect.silent, reply) {
        wrong.say(format!("reply: expected none, is {reply:?}"));
    }
    let titles: Vec<_> =
        body["citations"].as_array().into_iter().flatten().filter_map(|c| c["title"].as_str()).collect();
    if let Some(pattern) = &expect.cites
        && !titles.iter().any(|t| pattern.0.is_match(t))
    {
        wrong.say(format!("cites: expected /{}/, cited {titles:?}; reply {:?}", pattern.0, reply.unwrap_or_default()));
    }
    if expect.no_citations && !titles.is_empty() {
        wrong.say(format!("cites: expected nothing, cited {titles:?}"));
    }
    wrong.word("status", expect.status.as_ref(), &body["status"]);
    wrong.word("owner", expect.owner.as_ref(), &body["owner"]);
    wrong.word("rung", expect.rung.as_ref(), &body["rung"]);
    wrong.word("language", expect.language.as_ref(), &body["language"]);
    let actions: Vec<_> =
        body["suggested_actions"].as_array().into_iter().flatten().filter_map(|a| a["action_type"].as_str()).collect();
    if let Some(action) = &expect.action
        && !actions.contains(&action.as_str())
    {
        wrong.say(format!("action: expected {action}, there are {actions:?}"));
    }
    if let Some(limit) = expect.within_ms.filter(|limit| elapsed_ms > *limit) {
        wrong.say(format!("within_ms: expected {limit}, took {elapsed_ms}"));
    }
    wrong.0
}

/// Names what differs in a hand-off.
pub(crate) fn escalation(expect: &Escalation, found: &Value, now: Timestamp) -> Vec<String> {
    let mut wrong = Wrong::default();
    if !found.is_object() {
        return vec!["escalation: expected one, there is none".to_owned()];
    }
    wrong.word("escalation.reason", expect.reason.as_ref(), &found["reason"]);
    wrong.word("escalation.queue", expect.queue.as_ref(), &found["queue_name"]);
    wrong.word("escalation.priority", expect.priority.as_ref(), &found["priority"]);
    if expect.case_number && found["case_number"].as_str().is_none_or(str::is_empty) {
        wrong.say("escalation.case_number: there is none".to_owned());
    }
    let deadline = found["sla_deadline"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    if expect.sla && deadline.is_none_or(|d| d <= now) {
        wrong.say(format!("escalation.sla: expected a deadline that lies ahead, is {}", found["sla_deadline"]));
    }
    wrong.0
}

/// Names what differs at the end. `detail` is a ConversationDetail, `messages` all messages by seq.
pub(crate) fn end(expect: &Finally, detail: &Value, messages: &[Value]) -> Vec<String> {
    let mut wrong = Wrong::default();
    wrong.word("finally.status", expect.status.as_ref(), &detail["status"]);
    wrong.word("finally.owner", expect.owner.as_ref(), &detail["owner"]);
    if let Some(score) = expect.rating
        && detail["satisfaction_score"].as_u64() != Some(score.into())
    {
        wrong.say(format!("finally.rating: expected {score}, is {}", detail["satisfaction_score"]));
    }
    let mut texts = messages.iter().filter_map(|m| m["content"].as_str());
    for pattern in &expect.messages {
        if !texts.by_ref().any(|text| pattern.0.is_match(text)) {
            wrong.say(format!("finally.messages: /{}/ is not there, or not in this order", pattern.0));
            break;
        }
    }
    wrong.0
}

#[derive(Default)]
pub(crate) struct Wrong(pub(crate) Vec<String>);

impl Wrong {
    pub(crate) fn say(&mut self, text: String) {
        self.0.push(text);
    }

    pub(crate) fn word(&mut self, what: &str, expected: Option<&String>, found: &Value) {
        if let Some(expected) = expected
            && found.as_str() != Some(expected)
        {
            self.say(format!("{what}: expected {expected}, is {}", found.as_str().unwrap_or("not set")));
        }
    }

    pub(crate) fn pattern(&mut self, what: &str, expected: Option<&Pattern>, found: &str) {
        if let Some(pattern) = expected
            && !pattern.0.is_match(found)
        {
            self.say(format!("{what}: expected /{}/, is {found:?}", pattern.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expect(yaml: &str) -> Expect {
        serde_yaml_ng::from_str(yaml).expect("reads")
    }

    #[test]
    fn each_difference_is_named() {
        let body = json!({
            "intent": "password_reset", "response": "Open Settings.", "status": "active", "owner": "ai", "rung": "flow",
            "citations": [{ "title": "Reset your password" }], "suggested_actions": [{ "action_type": "quick_reply" }],
        });
        let good = "{intent: password_reset, reply_matches: settings, reply_not: sorry, cites: reset your, status: active, owner: ai, \
                     rung: flow, action: quick_reply, within_ms: 100}";
        assert_eq!(turn(&expect(good), &body, 100), Vec::<String>::new());
        let bad = "{intent: x, reply_matches: x, reply_not: open, cites: x, no_citations: true, status: x, owner: x, rung: x, action: x, \
                    within_ms: 99, silent: true, language: de, error: X}";
        assert_eq!(turn(&expect(bad), &body, 100).len(), 13);
    }

    #[test]
    fn a_refusal_is_a_difference_unless_it_is_expected() {
        let body = json!({ "title": "Somebody else owns the conversation", "reason": "NOT_OWNER", "detail": "Take it over first." });
        assert_eq!(turn(&expect("{error: NOT_OWNER}"), &body, 1), Vec::<String>::new());
        assert_eq!(turn(&expect("{status: active}"), &body, 1), ["refused with NOT_OWNER: Take it over first."]);
        assert_eq!(turn(&expect("{error: STALE}"), &body, 1), ["error: expected STALE, is NOT_OWNER"]);
    }

    #[test]
    fn a_hand_off_has_a_number_and_a_deadline_ahead() {
        let wanted: Escalation =
            serde_yaml_ng::from_str("{reason: anger, case_number: true, sla: true}").expect("reads");
        let now: Timestamp = "2026-03-02T09:00:00Z".parse().expect("a time");
        let good = json!({ "reason": "anger", "case_number": "00001005", "sla_deadline": "2026-03-02T09:30:00Z" });
        assert_eq!(escalation(&wanted, &good, now), Vec::<String>::new());
        let bad = json!({ "reason": "request", "case_number": "", "sla_deadline": "2026-03-02T08:30:00Z" });
        assert_eq!(escalation(&wanted, &bad, now).len(), 3);
        assert_eq!(escalation(&wanted, &Value::Null, now).len(), 1);
    }

    #[test]
    fn messages_are_looked_for_in_order() {
        let messages = [json!({ "content": "Hello" }), json!({ "content": "Bye" })];
        let wanted = |yaml| serde_yaml_ng::from_str::<Finally>(yaml).expect("reads");
        assert!(end(&wanted("{messages: [hello, bye]}"), &Value::Null, &messages).is_empty());
        assert_eq!(end(&wanted("{messages: [bye, hello]}"), &Value::Null, &messages).len(), 1);
        assert_eq!(
            end(&wanted("{rating: 5, status: resolved}"), &json!({ "satisfaction_score": 4 }), &messages).len(),
            2
        );
    }
}
