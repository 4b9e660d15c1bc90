//! The humans' side: hand-offs, taking over and giving back, resolving, notes, drafts.
//!
//! In: what a person decides. Out: the row after it. Never: the AI's words.
use std::sync::Arc;

use serde_json::{Map, Value};
use switchboard_runtime::{Caller, Fault, Role};
use uuid::Uuid;

use crate::{
    change::Change,
    effects,
    engine::Engine,
    error::Error,
    machine::{Actor, Owner, Status, Trigger},
    mind::{Planned, Route, default_route},
    model::{ActionStatus, Conversation, Effect, Escalation, Event, Message, Note, Priority, Sender},
    store::Committed,
};

/// Largest context, as JSON: every turn reads and writes it.
const MAX_CONTEXT: usize = 16 * 1024;

fn actor(caller: &Caller) -> Actor {
    if caller.role == Role::Customer { Actor::Customer } else { Actor::Staff }
}

impl Engine {
    /// Hands over because somebody asked for it outside a turn. Twice is once.
    pub async fn escalate(
        self: &Arc<Self>,
        caller: &Caller,
        id: Uuid,
        reason: &str,
        priority: Option<Priority>,
    ) -> Result<Conversation, Error> {
        let seen = self.see(caller, id).await?;
        if seen.status == Status::Escalated {
            return Ok(seen);
        }
        let now = self.clock.now();
        let route = match self.mind.route("general", priority, &seen.state.tier, now).await {
            Ok(route) => route,
            Err(fault) => {
                tracing::warn!(reason = fault.name(), "rules did not answer; the default route is taken");
                default_route(now)
            }
        };
        let own_words = !reason.is_empty();
        let reason = if own_words {
            reason
        } else if actor(caller) == Actor::Customer {
            "customer_request"
        } else {
            "agent_request"
        };
        let latest = self.store.latest_messages(seen.org, id, seen.seq, 1).await?.pop();
        let said = latest.map(|m| m.content.chars().take(280).collect::<String>()).unwrap_or_default();
        let summary = format!("Handed over on request ({reason}).\nLast message: {said}");
        let mut effect = None;
        let (row, _) = self
            .change(caller.org, id, |change| {
                if change.row().status == Status::Escalated {
                    effect = None;
                    return Ok(false);
                }
                change.step(Trigger::Escalate, actor(caller))?;
                let row = self.open_hand_off(change, reason, &route, &summary);
                change.with_hand_off(|e| e.own_words = own_words);
                effect = Some(row);
                change.tell(reason);
                let message = change.message(
                    Sender::System,
                    None,
                    "A human agent will take over this conversation as soon as possible.",
                );
                change.say(message);
                Ok(true)
            })
            .await?;
        let Some(effect) = effect else { return Ok(row) };
        let effect = self.hands.attempt(effect, self.config.action_wait).await;
        self.settle(effect).await?;
        self.store.load(row.org, id).await?.ok_or(Error::ConversationNotFound(id))
    }

    /// Opens the hand-off and writes down its case.
    fn open_hand_off(&self, change: &mut Change<'_>, reason: &str, route: &Route, summary: &str) -> Effect {
        let escalation = Escalation {
            id: change.message(Sender::System, None, "").id,
            reason: reason.to_owned(),
            priority: route.priority,
            queue: route.queue.clone(),
            case_number: None,
            assigned_to: None,
            assigned_at: None,
            sla_deadline: route.deadline,
            breached: false,
            resolved_at: None,
            resolution_notes: String::new(),
            resolved_by: None,
            created_at: change.now,
            summary: summary.to_owned(),
            own_words: false,
        };
        let parameters = [
            ("subject", format!("Hand-off: {reason}")),
            ("description", summary.to_owned()),
            ("status", "Escalated".to_owned()),
            ("priority", name_of(route.priority).to_owned()),
            ("queue", route.queue.clone()),
            ("sla_deadline", route.deadline.to_string()),
            ("email", change.row().state.email.clone()),
        ];
        let planned = Planned {
            action_type: "create_case".to_owned(),
            parameters: parameters.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            read_only: false,
        };
        // The hand-off's own id keeps the key apart from those of turns, and the same if this is tried again.
        let mut effect = effects::row(change.row(), escalation.id, 0, &planned, &self.clock);
        effect.next_attempt_at = self.from_now(self.config.action_wait * 2);
        change.commit.effects.push(effect.clone());
        change.hand_off(escalation);
        effect
    }

    /// Stores how an effect went and what follows from it: a hand-off learns its case number.
    pub async fn settle(&self, effect: Effect) -> Result<(), Error> {
        if effect.status == ActionStatus::Failed {
            return self.owned_by_a_human(effect).await;
        }
        let case = effect.result.get("case_number").filter(|_| effect.status == ActionStatus::Completed).cloned();
        let Some(case) = case.filter(|_| effect.action_type == "create_case") else {
            return self.store.save_effect(&effect).await;
        };
        self.change(effect.org, effect.conversation, |change| {
            change.commit.effects_changed = vec![effect.clone()];
            change.row().state.case_number = Some(case.clone());
            let mut learned = false;
            change.with_hand_off(|e| {
                learned = e.case_number.is_none();
                if learned {
                    e.case_number = Some(case.clone());
                }
            });
            if learned {
                change.tell("case_created");
            }
            Ok(true)
        })
        .await?;
        Ok(())
    }

    /// An effect that was given up: a human owns it from now on.
    async fn owned_by_a_human(&self, effect: Effect) -> Result<(), Error> {
        let route = default_route(self.clock.now());
        let summary =
            format!("The action {} was promised and could not be done ({}).", effect.action_type, effect.last_error);
        self.change(effect.org, effect.conversation, |change| {
            change.commit.effects_changed = vec![effect.clone()];
            // Closed, or with a human already: the ledger says it, there is nobody to call.
            if change.step(Trigger::Escalate, Actor::System).is_err() || change.row().owner != Owner::None {
                return Ok(true);
            }
            if change.row().escalation.as_ref().is_none_or(|e| e.resolved_at.is_some()) {
                if effect.action_type == "create_case" {
                    // A second case would fail like the first: the queue alone has to do.
                    let row = self.open_hand_off(change, "effect_failed", &route, &summary);
                    change.commit.effects.retain(|e| e.key != row.key);
                } else {
                    self.open_hand_off(change, "effect_failed", &route, &summary);
                }
                change.tell("effect_failed");
                let message = change.message(
                    Sender::System,
                    None,
                    "That could not be done automatically. A human agent will look after it.",
                );
                change.say(message);
            }
            Ok(true)
        })
        .await?;
        Ok(())
    }

    /// A human takes the conversation; the running turn, if any, ends as a draft.
    pub async fn assign(&self, caller: &Caller, id: Uuid, agent: Option<Uuid>) -> Result<Conversation, Error> {
        if agent.is_none() && caller.role == Role::Service {
            return Err(Error::Forbidden("A service has to name the agent who takes the conversation: agent_id."));
        }
        let agent = agent.unwrap_or(caller.user);
        let may_name = matches!(caller.role, Role::Supervisor | Role::Admin | Role::Service);
        if agent != caller.user && !may_name {
            return Err(Error::Forbidden("Only supervisors may assign a conversation to somebody else."));
        }
        let route = default_route(self.clock.now());
        let (row, _) = self
            .change(caller.org, id, |change| {
                let row = change.row();
                if row.owner == Owner::Human && row.assigned_to == Some(agent) {
                    return Ok(false);
                }
                if row.owner == Owner::Human && !may_name {
                    return Err(Error::NotOwner);
                }
                let was_human = row.owner == Owner::Human;
                change.step(Trigger::Assign, Actor::Staff)?;
                let (now, row) = (change.now, change.row());
                row.assigned_to = Some(agent);
                // Whatever waits for an answer waits for this human now; a turn that still runs is fenced.
                row.answered_seq = row.last_user_seq;
                row.turn = None;
                row.state.flow = None;
                if was_human {
                    row.owner_epoch += 1;
                }
                if change.row().escalation.as_ref().is_none_or(|e| e.resolved_at.is_some()) {
                    self.open_hand_off(
                        change,
                        "agent_takeover",
                        &route,
                        "Taken over by an agent while the AI was talking.",
                    );
                }
                change.with_hand_off(|e| {
                    e.assigned_to = Some(agent);
                    e.assigned_at = Some(now);
                });
                let message = change.message(Sender::System, None, "A human agent has joined the conversation.");
                change.say(message);
                change.tell("assigned");
                Ok(true)
            })
            .await?;
        self.wake.notify_waiters();
        Ok(row)
    }

    /// Gives the conversation back to the AI.
    pub async fn release(&self, caller: &Caller, id: Uuid) -> Result<Conversation, Error> {
        let (row, _) = self
            .change(caller.org, id, |change| {
                if change.row().owner == Owner::Ai && change.row().status.is_open() {
                    return Ok(false);
                }
                if change.row().owner == Owner::Human {
                    owned_by(change.row(), caller)?;
                }
                change.step(Trigger::Release, Actor::Staff)?;
                let now = change.now;
                // What the customer wrote and no human answered is the AI's to answer now.
                let row = change.row();
                if row.state.last_human_seq < row.last_user_seq {
                    row.answered_seq = row.answered_seq.min(row.last_user_seq - 1);
                }
                change.with_hand_off(|e| {
                    e.resolved_at = Some(now);
                    e.resolved_by = Some(caller.user);
                });
                change.row().state.failed_turns = 0;
                change.row().state.angry_messages = 0;
                let message =
                    change.message(Sender::System, None, "The virtual assistant is back in the conversation.");
                change.say(message);
                change.tell("released");
                Ok(true)
            })
            .await?;
        Ok(row)
    }

    /// Ends the matter.
    pub async fn resolve(&self, caller: &Caller, id: Uuid, summary: &str) -> Result<Conversation, Error> {
        self.glance(caller, id).await?;
        self.resolve_as(caller.org, id, actor(caller), Some(caller.user), summary).await
    }

    /// Ends the matter for somebody.
    pub async fn resolve_as(
        &self,
        org: Uuid,
        id: Uuid,
        actor: Actor,
        by: Option<Uuid>,
        summary: &str,
    ) -> Result<Conversation, Error> {
        let (row, _) = self
            .change(org, id, |change| {
                if change.row().status == Status::Resolved {
                    return Ok(false);
                }
                change.step(Trigger::Resolve, actor)?;
                let now = change.now;
                change.with_hand_off(|e| {
                    e.resolved_at = Some(now);
                    e.resolved_by = by;
                    summary.clone_into(&mut e.resolution_notes);
                });
                change.row().answered_seq = change.row().last_user_seq;
                change.row().turn = None;
                change.tell(if actor == Actor::Customer { "resolved_by_customer" } else { "resolved" });
                Ok(true)
            })
            .await?;
        Ok(row)
    }

    /// Takes a matter up again.
    pub async fn reopen(&self, caller: &Caller, id: Uuid) -> Result<Conversation, Error> {
        let seen = self.see(caller, id).await?;
        if crate::turn::is_past_reopening(&seen, self.before_now(self.config.reopen_window)) {
            return Err(Error::Forbidden("This conversation ended too long ago to be reopened. Start a new one."));
        }
        let (row, _) = self
            .change(caller.org, id, |change| {
                if change.row().status.is_open() {
                    return Ok(false);
                }
                change.step(Trigger::Reopen, actor(caller))?;
                change.tell("reopened");
                Ok(true)
            })
            .await?;
        Ok(row)
    }

    /// The customer's rating.
    pub async fn rate(&self, caller: &Caller, id: Uuid, score: u32, comment: &str) -> Result<Conversation, Error> {
        let seen = self.glance(caller, id).await?;
        if seen.user != caller.user {
            return Err(Error::Forbidden("Only the customer may rate a conversation."));
        }
        let (row, _) = self
            .change(caller.org, id, |change| {
                let row = change.row();
                row.rating = Some(score);
                comment.clone_into(&mut row.rating_comment);
                change.tell("rated");
                Ok(true)
            })
            .await?;
        Ok(row)
    }

    /// A human agent's message to the customer.
    pub async fn speak(
        &self,
        caller: &Caller,
        row: &Conversation,
        incoming: crate::turn::Incoming,
    ) -> Result<(Conversation, Message), Error> {
        if let Some(client_id) = &incoming.client_message_id
            && let Some(message) =
                self.store.message_by_client_id(row.org, row.id, Sender::HumanAgent, client_id).await?
        {
            if message.content != incoming.content {
                return Err(Error::MessageIdReused);
            }
            return Ok((row.clone(), message));
        }
        let mut said = None;
        let (row, committed) = self
            .change(row.org, row.id, |change| {
                owned_by(change.row(), caller)?;
                let mut message = change.message(Sender::HumanAgent, Some(caller.user), incoming.content.clone());
                message.content_type = incoming.content_type;
                message.attachments.clone_from(&incoming.attachments);
                message.client_message_id.clone_from(&incoming.client_message_id);
                let stored = message.clone();
                let seq = change.say(message);
                change.row().state.last_human_seq = seq;
                said = Some(Message { seq, ..stored });
                Ok(true)
            })
            .await?;
        if committed == Committed::DuplicateMessage {
            return Err(Error::Contended);
        }
        Ok((row, said.ok_or(Error::Contended)?))
    }

    /// Sends a draft of the AI as the human's own words.
    pub async fn send_draft(&self, caller: &Caller, id: Uuid, draft: Uuid) -> Result<Message, Error> {
        let seen = self.see(caller, id).await?;
        let drafts = self.store.drafts(seen.org, id).await?;
        let found = drafts.into_iter().find(|d| d.id == draft).ok_or(Error::DraftNotFound(draft))?;
        let mut said = None;
        let (_, committed) = self
            .change(seen.org, id, |change| {
                owned_by(change.row(), caller)?;
                let mut message = change.message(Sender::HumanAgent, Some(caller.user), found.content.clone());
                message.citations.clone_from(&found.citations);
                change.commit.draft_sent = Some(draft);
                let stored = message.clone();
                let seq = change.say(message);
                change.row().state.last_human_seq = seq;
                said = Some(Message { seq, ..stored });
                Ok(true)
            })
            .await?;
        match (committed, said) {
            (Committed::Done, Some(message)) => Ok(message),
            _ => Err(Error::DraftNotFound(draft)),
        }
    }

    /// An internal note.
    pub async fn note(&self, caller: &Caller, id: Uuid, content: &str, request_id: &str) -> Result<Note, Error> {
        let row = self.glance(caller, id).await?;
        let note = Note {
            id: self.clock.new_id(),
            author: caller.user,
            content: content.to_owned(),
            created_at: self.clock.now(),
        };
        self.store.add_note(row.org, id, note, Some(request_id).filter(|r| !r.is_empty())).await
    }

    /// Merges into the context, if the caller has seen the newest state.
    pub async fn merge_context(
        &self,
        caller: &Caller,
        id: Uuid,
        patch: &Map<String, Value>,
        seen: u64,
    ) -> Result<Conversation, Error> {
        self.glance(caller, id).await?;
        let (row, _) = self
            .change(caller.org, id, |change| {
                if change.row().seq != seen {
                    return Err(Error::Stale(change.row().seq));
                }
                merge(&mut change.row().context, patch);
                if serde_json::to_string(&change.row().context).is_ok_and(|s| s.len() > MAX_CONTEXT) {
                    return Err(Fault::field("patch", "would make the context larger than 16 KiB as JSON").into());
                }
                change.tell("context_changed");
                Ok(true)
            })
            .await?;
        Ok(row)
    }

    /// What a person wrote on the case in Salesforce appears in the chat.
    pub async fn comment_from_case(
        &self,
        org: Uuid,
        id: Uuid,
        body: &str,
        change_id: &str,
    ) -> Result<Option<Event>, Error> {
        let client_id = format!("salesforce:{change_id}");
        let (_, _) = self
            .change(org, id, |change| {
                let agent = change.row().assigned_to;
                let mut message = change.message(Sender::HumanAgent, agent, body);
                message.client_message_id = Some(client_id.clone());
                let seq = change.say(message);
                change.row().state.last_human_seq = seq;
                Ok(true)
            })
            .await?;
        Ok(None)
    }
}

fn owned_by(row: &Conversation, caller: &Caller) -> Result<(), Error> {
    let above = matches!(caller.role, Role::Supervisor | Role::Admin);
    match row.owner {
        Owner::Human if row.assigned_to == Some(caller.user) || above => Ok(()),
        _ => Err(Error::NotOwner),
    }
}

/// The priority as cases spell it.
pub fn name_of(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Medium => "medium",
        Priority::High => "high",
        Priority::Critical => "critical",
    }
}

/// RFC 7396: null removes, objects merge, anything else replaces.
fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(key);
            }
            Value::Object(inner) => {
                let slot = target.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(map) = slot {
                    merge(map, inner);
                }
            }
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merge;

    #[test]
    fn the_example_of_rfc_7396_holds() {
        let mut target = json!({"title": "Goodbye!", "author": {"givenName": "John", "familyName": "Doe"}, "tags": ["example", "sample"], "content": "This will be unchanged"});
        let patch = json!({"title": "Hello!", "phoneNumber": "+01-123-456-7890", "author": {"familyName": null}, "tags": ["example"]});
        merge(target.as_object_mut().expect("object"), patch.as_object().expect("object"));
        assert_eq!(
            target,
            json!({"title": "Hello!", "author": {"givenName": "John"}, "tags": ["example"], "content": "This will be unchanged", "phoneNumber": "+01-123-456-7890"})
        );
    }
}
