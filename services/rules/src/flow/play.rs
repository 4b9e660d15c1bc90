//! One turn of one flow.
use std::collections::BTreeMap;

use super::{Choice, Flow, FlowState, Move, Outcome, Slot, Step, Take};
use crate::{
    bundle::Bundle,
    decide::{Planned, QuickReply},
    facts::{Act, View},
};

/// A step id of a flow that has ended: it lets a correction run it again.
const DONE: &str = "done.";

/// One turn of one flow.
pub struct Play<'a> {
    pub bundle: &'a Bundle,
    pub flow: &'a Flow,
    pub view: &'a View<'a>,
}

impl<'a> Play<'a> {
    /// Starts the flow with what the text holds already.
    pub fn start(&self, note: Option<String>) -> Outcome {
        let mut slots = BTreeMap::new();
        for slot in &self.flow.slots {
            let said = match &slot.take {
                Take::Text { from_start_with } => {
                    let complete = self.view.turn.entities.iter().any(|e| from_start_with.contains(&e.kind));
                    complete.then(|| self.view.turn.text.trim().to_owned())
                }
                _ => self.said(slot, false),
            };
            if let Some(value) = said.and_then(|v| accept(slot, v)) {
                slots.insert(slot.name.clone(), value);
            }
        }
        self.run(0, slots, note.into_iter().collect())
    }

    /// Goes on from where the flow waits.
    pub fn resume(&self, state: &FlowState) -> Outcome {
        let waits = |step: &Step| step.id(&self.flow.slots).is_some_and(|id| id == state.step_id);
        let Some(at) = self.flow.steps.iter().position(waits) else { return Outcome::Gone };
        if self.view.turn.says(Act::NeverMind) {
            return self.close("flow.closed", &state.slots);
        }
        let mut slots = state.slots.clone();
        match &self.flow.steps[at] {
            Step::Collect(wanted) => self.collect(at, *wanted, state, slots),
            Step::Confirm { on_deny, .. } => {
                if self.correct(&mut slots, None) {
                    self.run(at, slots, vec![self.text("flow.corrected", &BTreeMap::new())])
                } else if self.view.turn.says(Act::Affirm) {
                    self.run(at + 1, slots, vec![])
                } else if self.view.turn.says(Act::Deny) {
                    self.close(on_deny, &slots)
                } else {
                    self.aside(at, state)
                }
            }
            _ => Outcome::Gone,
        }
    }

    /// Runs an ended flow again with a corrected value.
    pub fn again(&self, state: &FlowState) -> Option<Outcome> {
        let mut slots = state.slots.clone();
        let corrected = self.flow.again && self.view.turn.act == Act::Correct && self.correct(&mut slots, None);
        corrected.then(|| self.run(0, slots, vec![]))
    }

    /// The ended flow that a state remembers.
    pub fn ended(bundle: &'a Bundle, state: &FlowState) -> Option<&'a Flow> {
        if !state.flow_id.is_empty() {
            return None;
        }
        bundle.flow(state.step_id.strip_prefix(DONE)?)
    }

    fn collect(&self, at: usize, wanted: usize, state: &FlowState, mut slots: BTreeMap<String, String>) -> Outcome {
        let slot = &self.flow.slots[wanted];
        let corrected = self.correct(&mut slots, Some(wanted));
        match self.said(slot, true).map(|answer| accept(slot, answer)) {
            Some(Some(value)) => {
                slots.insert(slot.name.clone(), value);
                self.run(at + 1, slots, vec![])
            }
            Some(None) => self.ask_again(at, state, &slot.invalid),
            None if corrected => self.run(at, slots, vec![self.text("flow.corrected", &BTreeMap::new())]),
            None => self.aside(at, state),
        }
    }

    /// The customer did not answer: another matter, a question, a word in between, or nothing that helps.
    fn aside(&self, at: usize, state: &FlowState) -> Outcome {
        let turn = self.view.turn;
        let sure = turn.intent_confidence >= self.view.confidence_threshold;
        let own = self.flow.intents.contains(&turn.intent);
        if sure && !own && !turn.intent.is_empty() && !self.bundle.small_talk.contains(&turn.intent) {
            if self.bundle.triggers.contains_key(&turn.intent) {
                return Outcome::Switch;
            }
            return Outcome::Digress(self.back(at, &state.slots), state.clone(), self.buttons(at));
        }
        match &self.flow.steps[at] {
            Step::Collect(slot) if !own && turn.intent != "oos" && sure => {
                self.ask_again_with(at, state, self.back(at, &state.slots), *slot)
            }
            Step::Collect(slot) => self.ask_again(at, state, &self.flow.slots[*slot].invalid),
            _ => self.ask_again_with(at, state, self.back(at, &state.slots), usize::MAX),
        }
    }

    fn ask_again(&self, at: usize, state: &FlowState, key: &str) -> Outcome {
        let slot = if let Step::Collect(slot) = &self.flow.steps[at] { *slot } else { usize::MAX };
        self.ask_again_with(at, state, self.text(key, &state.slots), slot)
    }

    fn ask_again_with(&self, at: usize, state: &FlowState, words: String, slot: usize) -> Outcome {
        let most = self.flow.slots.get(slot).map_or(3, |s| s.max_attempts);
        if state.attempts >= most {
            let reply = self.text("flow.stuck", &state.slots);
            return Outcome::Escalate { reason: "flow_stuck".to_owned(), reply: Some(reply) };
        }
        let state =
            FlowState { attempts: state.attempts + 1, policy_version: self.bundle.version.clone(), ..state.clone() };
        Outcome::Step(Move { reply: vec![words], state, quick_replies: self.buttons(at), ..Move::default() })
    }

    /// `Back to your password reset: which email address ...?`
    fn back(&self, at: usize, slots: &BTreeMap<String, String>) -> String {
        let question = self.question(at, slots);
        let fill = |place: &str| match place {
            "title" => Some(self.flow.title.as_str()),
            "question" => Some(question.as_str()),
            _ => None,
        };
        self.bundle.texts.get(&self.view.turn.language, "flow.back").fill(fill)
    }

    /// Steps forward until the flow waits or ends.
    fn run(&self, from: usize, slots: BTreeMap<String, String>, reply: Vec<String>) -> Outcome {
        let mut done = Move { reply, ..Move::default() };
        for (at, step) in self.flow.steps.iter().enumerate().skip(from) {
            match step {
                Step::Collect(slot) if slots.contains_key(&self.flow.slots[*slot].name) => {}
                Step::Collect(_) | Step::Confirm { .. } => {
                    done.reply.push(self.question(at, &slots));
                    done.quick_replies = self.buttons(at);
                    done.state = FlowState {
                        flow_id: self.flow.id.clone(),
                        step_id: step.id(&self.flow.slots).unwrap_or_default(),
                        slots,
                        attempts: 1,
                        policy_version: self.bundle.version.clone(),
                    };
                    return Outcome::Step(done);
                }
                Step::Act { deed, say } => {
                    if done.actions.is_empty() {
                        done.on_failure = deed.on_failure.as_deref().map(|key| self.text(key, &slots));
                    }
                    done.actions.push(Planned::of(deed, |place| self.place(place, &slots)));
                    done.reply.extend(say.as_deref().map(|key| self.text(key, &slots)));
                }
                Step::Say(key) => done.reply.push(self.text(key, &slots)),
                Step::Escalate(reason) => return Outcome::Escalate { reason: reason.clone(), reply: None },
                Step::End => break,
            }
        }
        if self.flow.again {
            let version = self.bundle.version.clone();
            done.state = FlowState {
                step_id: format!("{DONE}{}", self.flow.id),
                slots,
                policy_version: version,
                ..FlowState::default()
            };
        }
        Outcome::Step(done)
    }

    fn close(&self, key: &str, slots: &BTreeMap<String, String>) -> Outcome {
        Outcome::Step(Move { reply: vec![self.text(key, slots)], ..Move::default() })
    }

    fn question(&self, at: usize, slots: &BTreeMap<String, String>) -> String {
        match &self.flow.steps[at] {
            Step::Collect(slot) => self.text(&self.flow.slots[*slot].ask, slots),
            Step::Confirm { text, .. } => self.text(text, slots),
            _ => String::new(),
        }
    }

    fn buttons(&self, at: usize) -> Vec<QuickReply> {
        let same = |label: &str| QuickReply { label: label.to_owned(), send: label.to_owned() };
        match &self.flow.steps[at] {
            Step::Confirm { .. } => {
                ["button.yes", "button.no"].iter().map(|k| same(&self.text(k, &BTreeMap::new()))).collect()
            }
            Step::Collect(slot) => match &self.flow.slots[*slot].take {
                Take::Choice(choices) => choices.iter().map(|c| same(&c.label)).collect(),
                _ => vec![],
            },
            _ => vec![],
        }
    }

    fn text(&self, key: &str, slots: &BTreeMap<String, String>) -> String {
        self.bundle.texts.get(&self.view.turn.language, key).fill(|place| self.place(place, slots))
    }

    fn place<'s>(&'s self, place: &str, slots: &'s BTreeMap<String, String>) -> Option<&'s str> {
        match place {
            "customer_email" => Some(&self.view.turn.customer_email),
            "title" => Some(&self.flow.title),
            _ => slots.get(place).map(String::as_str),
        }
    }

    /// What the turn says about a slot. `asked`: it is the slot that the customer was asked for.
    fn said(&self, slot: &Slot, asked: bool) -> Option<String> {
        let turn = self.view.turn;
        match &slot.take {
            Take::Entity { kind, pattern, pad } => {
                let mut found = turn.entities.iter().filter(|e| e.kind == *kind);
                // Of "not a@x.com but b@x.com" the last one is meant.
                let entity = if turn.act == Act::Correct { found.next_back() } else { found.next() };
                let free =
                    || asked.then(|| pattern.as_ref()?.find(&turn.text).map(|m| m.as_str().to_owned())).flatten();
                entity.map(|e| e.best().to_owned()).or_else(free).map(|v| padded(v, *pad))
            }
            Take::Choice(choices) => {
                let text = turn.text.to_lowercase();
                let text = text.trim().trim_end_matches('.');
                let whole = |c: &&Choice| text == c.label.to_lowercase() || text == c.value;
                let part = |c: &&Choice| c.words.iter().any(|w| text.contains(w.as_str()));
                choices.iter().find(whole).or_else(|| choices.iter().find(part)).map(|c| c.value.clone())
            }
            Take::Text { .. } if asked && !self.elsewhere() => {
                let text = turn.text.trim();
                let answers = !text.is_empty() && !turn.says(Act::Affirm) && !turn.says(Act::Deny);
                answers.then(|| text.to_owned())
            }
            Take::Text { .. } => None,
        }
    }

    /// True if the words are surely about another field than this flow, or start another one: no answer to an open question.
    fn elsewhere(&self) -> bool {
        let turn = self.view.turn;
        let own = self.flow.intents.contains(&turn.intent);
        let field = self.bundle.routing.category(&turn.intent).is_some_and(|c| c != self.flow.category);
        !own && (field || self.bundle.triggers.contains_key(&turn.intent))
            && turn.intent_confidence >= self.view.confidence_threshold
            && !self.bundle.small_talk.contains(&turn.intent)
    }

    /// Replaces slots that the turn says anew, and fills optional ones. True if a filled one changed.
    fn correct(&self, slots: &mut BTreeMap<String, String>, wanted: Option<usize>) -> bool {
        let mut changed = false;
        let mut taken: Option<&str> = None;
        if let Some(Take::Entity { kind, .. }) = wanted.map(|w| &self.flow.slots[w].take) {
            taken = Some(kind);
        }
        for (at, slot) in self.flow.slots.iter().enumerate() {
            let filled = slots.contains_key(&slot.name);
            let mine = match &slot.take {
                Take::Entity { kind, .. } => {
                    taken != Some(kind.as_str()) || self.view.turn.act == Act::Correct && filled
                }
                // A word of an answer inside a yes is no new answer.
                Take::Choice(_) => filled && wanted.is_none() && !self.view.turn.says(Act::Affirm),
                Take::Text { .. } => false,
            };
            if Some(at) == wanted || !mine || !(filled || slot.optional) {
                continue;
            }
            let Some(value) = self.said(slot, false).and_then(|v| accept(slot, v)) else { continue };
            changed |= filled && slots.get(&slot.name) != Some(&value);
            slots.insert(slot.name.clone(), value);
        }
        // "No, I meant the invoice of March": words that were taken as they stand get the new ones added, so that whoever
        // reads them sees both.
        if wanted.is_none() && self.view.turn.act == Act::Correct {
            for slot in self.flow.slots.iter().filter(|s| matches!(s.take, Take::Text { .. })) {
                if let Some(words) = slots.get_mut(&slot.name) {
                    words.push_str(" / ");
                    words.push_str(self.view.turn.text.trim());
                    changed = true;
                }
            }
        }
        changed
    }
}

fn accept(slot: &Slot, value: String) -> Option<String> {
    slot.validate.as_ref().is_none_or(|regex| regex.is_match(&value)).then_some(value)
}

fn padded(value: String, pad: usize) -> String {
    if value.bytes().all(|b| b.is_ascii_digit()) { format!("{value:0>pad$}") } else { value }
}
