//! From files to a bundle: every name is known, every text is there, every condition compiles.
use std::collections::{BTreeSet, HashMap};

use super::{
    Bundle, BundleError, Deed, Files, Rule, RuleType, Texts, Then, check_flow, check_routing,
    examples::Located,
    raw::{Once, RawBundle, RawRule, RawRules, RawTexts},
    source::Source,
};
use crate::{
    expr::Condition,
    facts::{PRIORITIES, Priority, named},
    suggest::nearest,
    text::Template,
};

/// Texts that the engine itself says, and the places they may have.
const ENGINE_TEXTS: &[(&str, &[&str])] = &[
    ("handoff.reply", &[]),
    ("handoff.failed", &[]),
    ("handoff.system", &["queue"]),
    ("handoff.waiting", &[]),
    ("handoff.waiting_system", &[]),
    ("handoff.subject", &["reason", "category"]),
    ("flow.back", &["title", "question"]),
    ("flow.switched", &["title"]),
    ("flow.closed", &["title"]),
    ("flow.corrected", &[]),
    ("flow.stuck", &["title"]),
    ("action_failed", &[]),
    ("fallback", &[]),
    ("button.yes", &[]),
    ("button.no", &[]),
    ("button.human", &[]),
];

/// Texts a hand-off writes for people to find: they have to hold these words.
const SYSTEM_WORDS: &str = "human agent";

/// What is known while a bundle is checked.
pub(super) struct Known {
    pub(super) actions: Vec<String>,
    pub(super) texts: HashMap<String, Template>,
    pub(super) intents: Vec<String>,
    pub(super) categories: BTreeSet<String>,
}

impl Known {
    /// A text key, with only these places in its text.
    pub(super) fn text(&self, at: Source<'_>, line: usize, key: &str, places: &[&str]) -> Result<String, BundleError> {
        let Some(template) = self.texts.get(key) else {
            let message = format!("there is no text `{key}`{}", nearest(key, self.texts.keys().cloned()));
            return Err(at.error(at.line_of(key, line), message));
        };
        if let Some(place) = template.places().find(|p| !places.contains(p)) {
            let hint = nearest(place, places.iter().map(|p| (*p).to_owned()));
            return Err(at.error(
                at.line_of(key, line),
                format!("the text `{key}` has a place `{{{place}}}` that nothing fills here{hint}"),
            ));
        }
        Ok(key.to_owned())
    }

    /// A text where no action has run: `{action.NAME}` would stay as it is.
    pub(super) fn plain_text(
        &self,
        at: Source<'_>,
        line: usize,
        key: &str,
        places: &[&str],
    ) -> Result<String, BundleError> {
        let key = self.text(at, line, key, places)?;
        if self.texts[&key].waits() {
            let line = at.line_of(&key, line);
            return Err(
                at.error(line, format!("the text `{key}` waits for the result of an action, and there is none here"))
            );
        }
        Ok(key)
    }

    pub(super) fn intent(&self, at: Source<'_>, line: usize, intent: &str) -> Result<(), BundleError> {
        one_of(at, line, "intent of routing.yaml's categories", intent, &self.intents)
    }

    pub(super) fn category(&self, at: Source<'_>, line: usize, category: &str) -> Result<String, BundleError> {
        let known: Vec<String> = self.categories.iter().cloned().collect();
        one_of(at, line, "category of routing.yaml", category, &known)?;
        Ok(category.to_owned())
    }

    /// Something to be done, if the bundle may do it.
    pub(super) fn deed(
        &self,
        at: Source<'_>,
        line: usize,
        action: &str,
        with: &Once<String>,
        read_only: bool,
        places: &[&str],
    ) -> Result<Deed, BundleError> {
        one_of(at, line, "action that bundle.yaml allows", action, &self.actions)?;
        let mut parameters = Vec::new();
        for (name, value) in &with.0 {
            let line = at.line_of(name, line);
            let template = Template::parse(value).map_err(|e| at.error(line, e))?;
            if let Some(place) = template.places().find(|p| !places.contains(p)) {
                let hint = nearest(place, places.iter().map(|p| (*p).to_owned()));
                return Err(at.error(line, format!("nothing fills `{{{place}}}`{hint}")));
            }
            parameters.push((name.clone(), template));
        }
        Ok(Deed { action_type: action.to_owned(), with: parameters, read_only, on_failure: None })
    }
}

/// A name out of a list.
pub(super) fn one_of(at: Source<'_>, line: usize, what: &str, name: &str, known: &[String]) -> Result<(), BundleError> {
    if known.iter().any(|k| k == name) {
        return Ok(());
    }
    Err(at.error(at.line_of(name, line), format!("`{name}` is no {what}{}", nearest(name, known.iter().cloned()))))
}

/// A priority by name.
pub(super) fn priority(at: Source<'_>, line: usize, name: &str) -> Result<Priority, BundleError> {
    let known: Vec<String> = PRIORITIES.iter().map(|(n, _)| (*n).to_owned()).collect();
    one_of(at, line, "priority", name, &known)?;
    Ok(named(PRIORITIES, name).unwrap_or_default())
}

/// Reads and checks everything; the examples come back to be run.
pub(super) fn bundle(files: &Files) -> Result<(Bundle, Vec<Located>), BundleError> {
    let mut examples = Vec::new();
    let head_at = files.required("bundle.yaml")?;
    let head: RawBundle = head_at.parse()?;
    for name in ["confidence", "intent"] {
        if !head.thresholds.contains_key(name) {
            return Err(head_at.error(head_at.line_of("thresholds", 1), format!("thresholds has no `{name}`")));
        }
    }
    if let Some((name, _)) = head.thresholds.iter().find(|(_, v)| !(0.0..=1.0).contains(*v)) {
        return Err(head_at.error(head_at.line_of(name, 1), format!("the threshold `{name}` has to be 0 to 1")));
    }
    Located::take(&mut examples, head_at, head.examples)?;

    let texts = texts(files, &head.language, head_at, &mut examples)?;
    let routing_at = files.required("routing.yaml")?;
    let (routing, routing_examples) = check_routing::routing(routing_at)?;
    Located::take(&mut examples, routing_at, routing_examples)?;
    let known = Known {
        actions: head.actions,
        texts: texts.by_language[&texts.language].clone(),
        intents: routing.categories.keys().cloned().collect(),
        categories: routing
            .categories
            .values()
            .chain(routing.routes.iter().filter_map(|r| r.category.as_ref()))
            .cloned()
            .collect(),
    };
    one_of(
        head_at,
        head_at.line_of("actions", 1),
        "action in the list, and hand-offs need it",
        "create_case",
        &known.actions,
    )?;
    for intent in &head.small_talk {
        known.intent(head_at, head_at.line_of("small_talk", 1), intent)?;
    }
    let own = format!("texts/{}.yaml", texts.language);
    let own_at = files.required(&own)?;
    for (key, places) in ENGINE_TEXTS {
        known.text(own_at, 1, key, places)?;
        if key.contains("system") && !known.texts[*key].fill(|_| None).contains(SYSTEM_WORDS) {
            return Err(own_at
                .error(own_at.line_of(key, 1), format!("the text `{key}` has to hold the words `{SYSTEM_WORDS}`")));
        }
    }

    let rules_at = files.required("rules.yaml")?;
    let raw: RawRules = rules_at.parse()?;
    let mut rules: Vec<Rule> = Vec::new();
    for rule in raw.rules {
        let line = rules_at.line_of_id(&rule.id);
        if let Some(twin) = rules.iter().find(|r| r.id == rule.id) {
            return Err(rules_at.error(line, format!("two rules have the id `{}`", twin.id)));
        }
        let rule = self::rule(rules_at, line, rule, &head.thresholds, &known)?;
        if let Some(twin) = rules.iter().find(|r| (r.kind, &r.when.source) == (rule.kind, &rule.when.source)) {
            return Err(
                rules_at.error(line, format!("the rules `{}` and `{}` have the same condition", twin.id, rule.id))
            );
        }
        rules.push(rule);
    }
    rules.sort_by_key(|r| (order(r.kind), std::cmp::Reverse(r.priority)));
    Located::take(&mut examples, rules_at, raw.examples)?;

    let mut flows = Vec::new();
    let mut triggers = HashMap::new();
    for at in files.under("flows/") {
        let (flow, flow_examples) = check_flow::flow(at, &known)?;
        for intent in &flow.intents {
            if let Some(other) = triggers.insert(intent.clone(), flows.len()) {
                let other: &crate::flow::Flow = &flows[other];
                return Err(at.error(
                    at.line_of(intent, 1),
                    format!("the intent `{intent}` starts the flow `{}` already", other.id),
                ));
            }
        }
        flows.push(flow);
        Located::take(&mut examples, at, flow_examples)?;
    }
    let bundle = Bundle {
        version: files.version(),
        name: head.name,
        description: head.description,
        thresholds: head.thresholds,
        small_talk: head.small_talk.into_iter().collect(),
        rules,
        flows,
        triggers,
        routing,
        texts,
    };
    Ok((bundle, examples))
}

/// The order of the decision.
fn order(kind: RuleType) -> u8 {
    match kind {
        RuleType::Validation => 0,
        RuleType::Escalation => 1,
        RuleType::Routing => 2,
        RuleType::Automation => 3,
    }
}

fn texts(files: &Files, language: &str, head: Source<'_>, examples: &mut Vec<Located>) -> Result<Texts, BundleError> {
    let mut all = Texts { language: language.to_owned(), by_language: HashMap::new() };
    for at in files.under("texts/") {
        let raw: RawTexts = at.parse()?;
        let mut texts = HashMap::new();
        for (key, text) in raw.texts.0 {
            let line = at.line_of(&key, 1);
            texts.insert(key, Template::parse(text.trim()).map_err(|e| at.error(line, e))?);
        }
        let name = at.name.trim_start_matches("texts/").split('.').next().unwrap_or_default();
        all.by_language.insert(name.to_owned(), texts);
        Located::take(examples, at, raw.examples)?;
    }
    let Some(own) = all.by_language.get(language) else {
        return Err(head.error(head.line_of("language", 1), format!("there is no texts/{language}.yaml")));
    };
    for (other, texts) in &all.by_language {
        let name = format!("texts/{other}.yaml");
        let at = files.required(&name)?;
        // In order, so that the same bundle is refused with the same line.
        let mut keys: Vec<&String> = texts.keys().collect();
        keys.sort_unstable();
        for key in keys {
            let Some(model) = own.get(key) else {
                let hint = nearest(key, own.keys().cloned());
                return Err(at.error(at.line_of(key, 1), format!("texts/{language}.yaml has no text `{key}`{hint}")));
            };
            if let Some(place) = texts[key].places().find(|p| model.places().all(|m| m != *p)) {
                let hint = nearest(place, model.places().map(str::to_owned));
                let message = format!(
                    "the text `{key}` has a place `{{{place}}}` that texts/{language}.yaml does not have{hint}"
                );
                return Err(at.error(at.line_of(key, 1), message));
            }
        }
    }
    Ok(all)
}

fn rule(
    at: Source<'_>,
    line: usize,
    raw: RawRule,
    thresholds: &crate::expr::Thresholds,
    known: &Known,
) -> Result<Rule, BundleError> {
    let when = Condition::compile(&raw.when, thresholds).map_err(|e| {
        let word = e.split('`').nth(1).unwrap_or_default();
        let from = at.line_of("when", line);
        at.error(at.line_of(word, from), format!("rule `{}`: {e}", raw.id))
    })?;
    for intent in &when.intents {
        known.intent(at, line, intent)?;
    }
    let then = raw.then;
    // What a type of rule does not know it must not carry: it would be read as if it did something.
    let extra = |allowed: &[&str]| {
        let given = [
            ("reason", then.reason.is_some()),
            ("category", then.category.is_some()),
            ("priority", then.priority.is_some()),
            ("say", then.say.is_some()),
            ("on_failure", then.on_failure.is_some()),
            ("disposition", then.disposition.is_some()),
            ("quick_replies", !then.quick_replies.is_empty()),
            ("act", then.act.is_some()),
            ("with", !then.with.0.is_empty()),
            ("read_only", then.read_only),
            ("interrupts", then.interrupts),
            ("refuse", then.refuse.is_some()),
        ];
        match given.iter().find(|(name, given)| *given && !allowed.contains(name)) {
            Some((name, _)) => {
                let line = at.line_of(name, at.line_of("then", line));
                Err(at.error(line, format!("a rule of this type has no `{name}`; it may have {}", allowed.join(", "))))
            }
            None => Ok(()),
        }
    };
    let needs = |name: &str, value: &Option<String>| {
        value.clone().ok_or_else(|| at.error(at.line_of("then", line), format!("rule `{}` needs `{name}`", raw.id)))
    };
    let category = || then.category.as_deref().map(|c| known.category(at, line, c)).transpose();
    let priority = || then.priority.as_deref().map(|p| priority(at, at.line_of("then", line), p)).transpose();
    let then = match raw.kind {
        RuleType::Escalation => {
            extra(&["reason", "category", "priority", "say", "on_failure"])?;
            let text =
                |key: &Option<String>, otherwise: &str| known.text(at, line, key.as_deref().unwrap_or(otherwise), &[]);
            let on_failure = known.plain_text(at, line, then.on_failure.as_deref().unwrap_or("handoff.failed"), &[])?;
            Then::Escalate {
                reason: needs("reason", &then.reason)?,
                category: category()?,
                priority: priority()?,
                say: text(&then.say, "handoff.reply")?,
                on_failure,
            }
        }
        RuleType::Routing => {
            extra(&["category", "priority"])?;
            if then.category.is_none() && then.priority.is_none() {
                return Err(at.error(line, format!("rule `{}` needs `category` or `priority`", raw.id)));
            }
            Then::Route { category: category()?, priority: priority()? }
        }
        RuleType::Validation => {
            extra(&["refuse"])?;
            Then::Refuse { text: known.plain_text(at, line, &needs("refuse", &then.refuse)?, &[])? }
        }
        RuleType::Automation => {
            extra(&["say", "disposition", "quick_replies", "interrupts", "act", "with", "read_only", "on_failure"])?;
            let loose = then.on_failure.is_some() || then.read_only || !then.with.0.is_empty();
            if then.act.is_none() && loose {
                let message = "`with`, `read_only` and `on_failure` belong to an `act`";
                return Err(at.error(at.line_of("then", line), message));
            }
            let resolve = match then.disposition.as_deref() {
                None | Some("canned") => false,
                Some("resolve") => true,
                Some(other) => {
                    let hint = nearest(other, ["canned".to_owned(), "resolve".to_owned()]);
                    return Err(at.error(
                        at.line_of(other, line),
                        format!("`{other}` is no disposition of a rule; there are canned and resolve{hint}"),
                    ));
                }
            };
            let say = needs("say", &then.say)?;
            let say = if then.act.is_some() {
                known.text(at, line, &say, &[])?
            } else {
                known.plain_text(at, line, &say, &[])?
            };
            let quick_replies =
                then.quick_replies.iter().map(|k| known.plain_text(at, line, k, &[])).collect::<Result<_, _>>()?;
            let on_failure = then.on_failure.as_deref().map(|k| known.plain_text(at, line, k, &[])).transpose()?;
            let act =
                then.act.as_deref().map(|a| known.deed(at, line, a, &then.with, then.read_only, &["customer_email"]));
            let act = act.transpose()?.map(|deed| Deed { on_failure, ..deed });
            Then::Automate { say, resolve, quick_replies, act, interrupts: then.interrupts }
        }
    };
    Ok(Rule { id: raw.id, kind: raw.kind, priority: raw.priority, when, then, why: raw.why })
}
