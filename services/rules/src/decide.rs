//! The one policy call of a turn.
//!
//! In: a turn and the open flow. Out: what to say, do, or hand over, and which rules said so. Never: a write, or the wall
//! clock: the same input gives the same answer.
use std::collections::BTreeMap;

use crate::{
    bundle::{Bundle, Deed, Rule, RuleType, Then},
    error::Error,
    expr::Verdict,
    facts::{PRIORITIES, Priority, Turn, View, name_of},
    flow::{Flow, FlowState, Outcome, Play},
    routing::Routed,
};

/// What the agent shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disposition {
    #[default]
    Respond,
    Flow,
    Canned,
    Escalate,
    Acknowledge,
    Resolve,
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    pub disposition: Disposition,
    pub reply: String,
    pub reply_on_failure: String,
    pub actions: Vec<Planned>,
    pub flow: FlowState,
    pub route: Option<Routed>,
    pub reason: String,
    pub fired: Vec<Fired>,
    pub near: Vec<Fired>,
    pub quick_replies: Vec<QuickReply>,
    pub fallback_reply: String,
    pub system_message: String,
}

/// Something to be done by conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub action_type: String,
    pub parameters: BTreeMap<String, String>,
    pub read_only: bool,
}

impl Planned {
    /// Fills a deed's places; a parameter that stays empty is left out.
    pub fn of<'a>(deed: &Deed, place: impl Fn(&str) -> Option<&'a str>) -> Self {
        let filled = deed.with.iter().map(|(name, value)| (name.clone(), value.fill(&place)));
        Planned {
            action_type: deed.action_type.clone(),
            parameters: filled.filter(|(_, value)| !value.is_empty()).collect(),
            read_only: deed.read_only,
        }
    }
}

/// A button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuickReply {
    pub label: String,
    pub send: String,
}

/// A rule that fired or nearly did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    pub rule_id: String,
    pub kind: RuleType,
    pub priority: i32,
    pub clause: String,
}

impl Fired {
    fn of(rule: &Rule, clause: &str) -> Self {
        Fired { rule_id: rule.id.clone(), kind: rule.kind, priority: rule.priority, clause: clause.to_owned() }
    }
}

/// Rules whose conditions were tested.
#[derive(Debug, Default)]
pub struct Tested<'a> {
    pub fired: Vec<&'a Rule>,
    pub near: Vec<Fired>,
}

impl<'a> Tested<'a> {
    fn first(&self, kind: RuleType) -> Option<&'a Rule> {
        self.fired.iter().find(|r| r.kind == kind).copied()
    }

    /// What fired, with its whole condition.
    pub fn fired(&self) -> Vec<Fired> {
        self.fired.iter().map(|r| Fired::of(r, &r.when.source)).collect()
    }
}

/// Whether, why and where to.
pub type Handoff = Option<(String, Routed)>;

impl Bundle {
    /// Tests the rules, of all types or of one.
    pub fn test(&self, view: &View<'_>, only: Option<RuleType>) -> Result<Tested<'_>, Error> {
        let mut tested = Tested::default();
        for rule in self.rules.iter().filter(|r| only.is_none_or(|k| r.kind == k)) {
            match rule.when.test(view) {
                Ok(Verdict::True) => tested.fired.push(rule),
                Ok(Verdict::Near(clause)) => tested.near.push(Fired::of(rule, clause)),
                Ok(Verdict::False) => {}
                Err(detail) => return Err(Error::Evaluation { rule: rule.id.clone(), detail }),
            }
        }
        Ok(tested)
    }

    /// Decides a turn.
    pub fn decide(&self, turn: &Turn, state: &FlowState) -> Result<Decision, Error> {
        let open = self.flow(&state.flow_id);
        let view = self.view(turn, open.map_or("", |f| &f.id));
        let tested = self.test(&view, None)?;
        let desk = Desk { bundle: self, view: &view, tested: &tested, open };
        let mut decision = desk.decide(state);
        decision.fired = tested.fired();
        decision.near = tested.near;
        Ok(decision)
    }

    /// Whether to hand over: the escalation rules alone.
    pub fn handoff(&self, turn: &Turn) -> Result<Handoff, Error> {
        let view = self.view(turn, "");
        let tested = self.test(&view, None)?;
        let desk = Desk { bundle: self, view: &view, tested: &tested, open: None };
        let Some(Rule { then: Then::Escalate { reason, category, priority, .. }, .. }) =
            tested.first(RuleType::Escalation)
        else {
            return Ok(None);
        };
        Ok(Some((reason.clone(), desk.route(category.as_deref(), *priority))))
    }
}

/// One decision in the making.
struct Desk<'a> {
    bundle: &'a Bundle,
    view: &'a View<'a>,
    tested: &'a Tested<'a>,
    open: Option<&'a Flow>,
}

impl Desk<'_> {
    fn decide(&self, state: &FlowState) -> Decision {
        let turn = self.view.turn;
        if turn.status == "escalated" && turn.owner == "none" {
            return Decision {
                disposition: Disposition::Acknowledge,
                reply: self.text("handoff.waiting"),
                system_message: self.text("handoff.waiting_system"),
                ..Decision::default()
            };
        }
        if let Some(Rule { then: Then::Refuse { text }, .. }) = self.tested.first(RuleType::Validation) {
            let flow = if self.open.is_some() { state.clone() } else { FlowState::default() };
            return Decision { disposition: Disposition::Canned, reply: self.text(text), flow, ..Decision::default() };
        }
        if let Some(Rule { then: Then::Escalate { reason, category, priority, say, on_failure }, .. }) =
            self.tested.first(RuleType::Escalation)
        {
            return self.escalate(reason, category.as_deref(), *priority, self.text(say), on_failure);
        }
        let automation = || self.tested.fired.iter().filter(|r| r.kind == RuleType::Automation).map(|r| &r.then);
        let interrupts = automation().find(|t| matches!(t, Then::Automate { interrupts: true, .. }));
        if let Some(decision) = interrupts.map(|then| self.automate(then)) {
            return decision;
        }
        if let Some(decision) = self.open.and_then(|flow| self.resume(flow, state)) {
            return decision;
        }
        let ended = Play::ended(self.bundle, state).and_then(|flow| self.play(flow).again(state));
        if let Some(decision) = ended.and_then(|outcome| self.outcome(outcome)) {
            return decision;
        }
        if let Some(then) = automation().next() {
            return self.automate(then);
        }
        if let Some(decision) =
            self.bundle.started(self.view).and_then(|flow| self.outcome(self.play(flow).start(None)))
        {
            return decision;
        }
        self.respond(String::new(), FlowState::default(), vec![])
    }

    fn play<'b>(&'b self, flow: &'b Flow) -> Play<'b> {
        Play { bundle: self.bundle, flow, view: self.view }
    }

    fn resume(&self, flow: &Flow, state: &FlowState) -> Option<Decision> {
        match self.play(flow).resume(state) {
            Outcome::Switch => {
                let next = &self.bundle.flows[*self.bundle.triggers.get(&self.view.turn.intent)?];
                let note = self.filled("flow.switched", |place| (place == "title").then_some(flow.title.as_str()));
                self.outcome(self.play(next).start(Some(note)))
            }
            outcome => self.outcome(outcome),
        }
    }

    fn outcome(&self, outcome: Outcome) -> Option<Decision> {
        Some(match outcome {
            Outcome::Step(step) => {
                let mut decision = Decision {
                    disposition: Disposition::Flow,
                    reply: step.reply.join(" "),
                    actions: step.actions,
                    flow: step.state,
                    quick_replies: step.quick_replies,
                    ..Decision::default()
                };
                if !decision.actions.is_empty() {
                    decision.reply_on_failure = step.on_failure.unwrap_or_else(|| self.text("action_failed"));
                    decision.actions.iter_mut().for_each(|a| self.address(a));
                }
                decision
            }
            Outcome::Digress(back, state, buttons) => self.respond(back, state, buttons),
            Outcome::Escalate { reason, reply } => self.escalate(
                &reason,
                None,
                None,
                reply.unwrap_or_else(|| self.text("handoff.reply")),
                "handoff.failed",
            ),
            Outcome::Switch | Outcome::Gone => return None,
        })
    }

    /// A case of a flow goes to the queue that its category and priority have.
    fn address(&self, action: &mut Planned) {
        if action.action_type != "create_case" || action.parameters.contains_key("queue") {
            return;
        }
        let priority = action.parameters.get("priority").and_then(|p| crate::facts::named(PRIORITIES, p));
        let category = action.parameters.get("category").cloned();
        let route = self.route(category.as_deref(), priority);
        action.parameters.insert("queue".to_owned(), route.queue);
        action.parameters.insert("category".to_owned(), route.category);
        action.parameters.insert("priority".to_owned(), name_of(PRIORITIES, route.priority).to_owned());
    }

    fn respond(&self, reply: String, flow: FlowState, mut quick_replies: Vec<QuickReply>) -> Decision {
        let human = self.text("button.human");
        quick_replies.push(QuickReply { label: human.clone(), send: human });
        Decision {
            disposition: Disposition::Respond,
            reply,
            flow,
            fallback_reply: self.text("fallback"),
            quick_replies,
            ..Decision::default()
        }
    }

    fn automate(&self, then: &Then) -> Decision {
        let Then::Automate { say, resolve, quick_replies, act, .. } = then else { return Decision::default() };
        let button = |key: &String| {
            let label = self.text(key);
            QuickReply { send: label.clone(), label }
        };
        let mut decision = Decision {
            disposition: if *resolve { Disposition::Resolve } else { Disposition::Canned },
            reply: self.text(say),
            quick_replies: quick_replies.iter().map(button).collect(),
            ..Decision::default()
        };
        if let Some(deed) = act {
            let email = self.view.turn.customer_email.as_str();
            decision.actions.push(Planned::of(deed, |place| (place == "customer_email").then_some(email)));
            decision.reply_on_failure = self.text(deed.on_failure.as_deref().unwrap_or("action_failed"));
        }
        decision
    }

    fn escalate(
        &self,
        reason: &str,
        category: Option<&str>,
        priority: Option<Priority>,
        reply: String,
        on_failure: &str,
    ) -> Decision {
        let route = self.route(category, priority);
        let words = reason.replace('_', " ");
        let subject = self.filled("handoff.subject", |place| match place {
            "reason" => Some(words.as_str()),
            "category" => Some(route.category.as_str()),
            _ => None,
        });
        let parameters = [
            ("subject", subject.as_str()),
            ("category", &route.category),
            ("priority", name_of(PRIORITIES, route.priority)),
            ("queue", &route.queue),
        ];
        let parameters = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Decision {
            disposition: Disposition::Escalate,
            reply,
            reply_on_failure: self.text(on_failure),
            actions: vec![Planned { action_type: "create_case".to_owned(), parameters, read_only: false }],
            reason: reason.to_owned(),
            system_message: self.filled("handoff.system", |place| (place == "queue").then_some(route.queue.as_str())),
            route: Some(route),
            ..Decision::default()
        }
    }

    /// The category of a routing rule, else what is asked for, else the intent's or the open flow's; the highest priority
    /// that any of them names.
    fn route(&self, category: Option<&str>, priority: Option<Priority>) -> Routed {
        let (mut by_rule, mut soon) = (None, priority);
        for rule in self.tested.fired.iter().filter(|r| r.kind == RuleType::Routing) {
            if let Then::Route { category, priority } = &rule.then {
                by_rule = by_rule.or(category.as_deref());
                soon = soon.max(*priority);
            }
        }
        let turn = self.view.turn;
        let intent = if self.bundle.small_talk.contains(&turn.intent) {
            None
        } else {
            self.bundle.routing.category(&turn.intent)
        };
        let flow = || self.open.map(|f| f.category.as_str());
        let category = by_rule.or(category).or(intent).or_else(flow).unwrap_or("general");
        let priority = soon.unwrap_or_default();
        self.bundle.routing.route(category, priority, turn.tier, turn.now)
    }

    fn text(&self, key: &str) -> String {
        self.filled(key, |_| None)
    }

    fn filled<'b>(&self, key: &str, place: impl Fn(&str) -> Option<&'b str>) -> String {
        self.bundle.texts.get(&self.view.turn.language, key).fill(place)
    }
}
