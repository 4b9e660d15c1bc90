//! The effect ledger: every outside write is a row before it is tried, and ends confirmed or owned.
//!
//! In: planned actions, and rows whose time has come. Out: rows that went on. Never: a write outside that has no row, or a
//! second key for the same intention: keys follow from the turn, so a turn that is run again finds its own rows.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use switchboard_runtime::{Clock, Fault, Reason};
use uuid::Uuid;

use crate::{
    mind::Planned,
    model::{ActionStatus, Conversation, Effect},
    targets::{Order, Targets},
};

/// Tries before a person owns it: with the waits below, about a day.
pub const MAX_ATTEMPTS: u32 = 12;
/// Wait before the second try; doubled each time, up to [`MAX_WAIT`].
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(2);
/// Longest wait between tries.
const MAX_WAIT: SignedDuration = SignedDuration::from_hours(4);

/// Faults that say nothing of the effect itself: a token that ran out in the turn (the worker has its own), or a bug that a
/// release may mend.
const OURS: [Reason; 2] = [Reason::Unauthenticated, Reason::Internal];

/// The key of an action of a turn: the turn's first message, the action's place among those of its kind, and its kind.
pub fn key(turn: Uuid, place: usize, action_type: &str) -> String {
    format!("{turn}-{place}-{action_type}")
}

/// The row of a planned write.
pub fn row(c: &Conversation, turn: Uuid, place: usize, planned: &Planned, clock: &Clock) -> Effect {
    let now = clock.now();
    Effect {
        id: clock.new_id(),
        org: c.org,
        key: key(turn, place, &planned.action_type),
        conversation: c.id,
        user: c.user,
        action_type: planned.action_type.clone(),
        parameters: planned.parameters.clone(),
        status: ActionStatus::Pending,
        attempts: 0,
        result: BTreeMap::new(),
        last_error: String::new(),
        next_attempt_at: now,
        created_at: now,
        ended_at: None,
    }
}

/// Carries effects out.
#[derive(Clone)]
pub struct Hands {
    /// Where they go.
    pub targets: Arc<dyn Targets>,
    /// The time.
    pub clock: Clock,
}

impl Hands {
    /// Tries an effect once and writes down in it how that went.
    pub async fn attempt(&self, mut effect: Effect, limit: Duration) -> Effect {
        let order = Order {
            action_type: &effect.action_type,
            parameters: &effect.parameters,
            key: &effect.key,
            conversation: effect.conversation,
            user: effect.user,
        };
        let tried = tokio::time::timeout(limit, self.targets.carry_out(order)).await;
        effect.attempts += 1;
        let now = self.clock.now();
        match tried {
            Ok(Ok(result)) => {
                effect.status = ActionStatus::Completed;
                effect.result = result;
                effect.last_error.clear();
                effect.ended_at = Some(now);
            }
            Ok(Err(fault)) if !fault.retryable() && !OURS.contains(&fault.reason) => give_up(&mut effect, &fault, now),
            Ok(Err(fault)) => try_again(&mut effect, fault.name(), now),
            // It may have happened: the next try has the same key.
            Err(_) => try_again(&mut effect, "DEADLINE_EXCEEDED", now),
        }
        effect
    }

    /// Carries out an action that only reads.
    pub async fn look(
        &self,
        c: &Conversation,
        planned: &Planned,
        limit: Duration,
    ) -> Result<BTreeMap<String, String>, String> {
        let order = Order {
            action_type: &planned.action_type,
            parameters: &planned.parameters,
            key: "",
            conversation: c.id,
            user: c.user,
        };
        match tokio::time::timeout(limit, self.targets.carry_out(order)).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(fault)) => Err(fault.name().to_owned()),
            Err(_) => Err("DEADLINE_EXCEEDED".to_owned()),
        }
    }
}

fn give_up(effect: &mut Effect, fault: &Fault, now: Timestamp) {
    tracing::warn!(effect = %effect.id, action = effect.action_type, reason = fault.name(), "an effect was given up");
    effect.status = ActionStatus::Failed;
    effect.last_error = fault.name().to_owned();
    effect.ended_at = Some(now);
}

fn try_again(effect: &mut Effect, error: &str, now: Timestamp) {
    effect.last_error = error.to_owned();
    if effect.attempts >= MAX_ATTEMPTS {
        tracing::warn!(effect = %effect.id, action = effect.action_type, error, "an effect was given up after many tries");
        effect.status = ActionStatus::Failed;
        effect.ended_at = Some(now);
        return;
    }
    let wait = FIRST_WAIT.checked_mul(1 << (effect.attempts - 1).min(16)).unwrap_or(MAX_WAIT).min(MAX_WAIT);
    effect.status = ActionStatus::Pending;
    effect.next_attempt_at = now.checked_add(wait).unwrap_or(now);
}

/// Puts results into the `{action.NAME}` places of a reply. A place that has no value makes the text unusable: none.
pub fn fill(text: &str, results: &BTreeMap<String, String>) -> Option<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{action.") {
        let end = start + rest[start..].find('}')?;
        let name = &rest[start + "{action.".len()..end];
        filled.push_str(&rest[..start]);
        filled.push_str(results.get(name).filter(|v| !v.is_empty())?);
        rest = &rest[end + 1..];
    }
    filled.push_str(rest);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_or_the_text_is_unusable() {
        let results = BTreeMap::from([("case_number".to_owned(), "00001042".to_owned())]);
        assert_eq!(fill("Your case is {action.case_number}.", &results).as_deref(), Some("Your case is 00001042."));
        assert_eq!(fill("No place.", &results).as_deref(), Some("No place."));
        assert_eq!(fill("It is {action.status}.", &results), None);
        assert_eq!(fill("Broken {action.status", &results), None);
    }

    #[test]
    fn a_customer_cannot_write_a_place_into_a_reply() {
        let results = BTreeMap::from([("subject".to_owned(), "{action.case_number}".to_owned())]);
        assert_eq!(fill("About {action.subject}.", &results).as_deref(), Some("About {action.case_number}."));
    }

    #[test]
    fn keys_follow_from_the_turn() {
        let turn = Uuid::nil();
        assert_eq!(key(turn, 0, "create_case"), key(turn, 0, "create_case"));
        assert_ne!(key(turn, 0, "create_case"), key(turn, 1, "create_case"));
    }
}
