//! `flows/*.yaml`: slots say where their value comes from, steps do one thing each, texts have only places that are filled.
use regex::Regex;

use super::{
    BundleError,
    check::{Known, one_of},
    examples::Example,
    raw::{RawFlow, RawSlot, RawStep},
    source::Source,
};
use crate::{
    compile::last_line,
    flow::{Choice, Flow, Slot, Step, Take},
};

/// How often a slot is asked for when the flow does not say.
const ATTEMPTS: u32 = 3;

/// Checks and compiles the file; its examples come back to be run.
pub(super) fn flow(at: Source<'_>, known: &Known) -> Result<(Flow, Vec<Example>), BundleError> {
    let raw: RawFlow = at.parse()?;
    if at.name != format!("flows/{}.yaml", raw.id) {
        return Err(at.error(
            at.line_of_id(&raw.id),
            format!("the flow `{}` has to be in the file flows/{}.yaml", raw.id, raw.id),
        ));
    }
    let category = known.category(at, at.line_of("category", 1), &raw.category)?;
    for intent in &raw.trigger.intents {
        known.intent(at, at.line_of("trigger", 1), intent)?;
    }
    let names: Vec<String> = raw.slots.0.iter().map(|(name, _)| name.clone()).collect();
    let from = at.line_of("slots", 1);
    let mut places: Vec<&str> = names.iter().map(String::as_str).collect();
    places.push("customer_email");
    let slots = raw
        .slots
        .0
        .iter()
        .map(|(name, s)| slot(at, at.line_of(name, from), name, s, known, &places))
        .collect::<Result<Vec<_>, _>>()?;
    let from = at.line_of("steps", 1);
    let mut line = from;
    let mut steps = Vec::new();
    for step in &raw.steps {
        let word = [&step.collect, &step.confirm, &step.act, &step.say, &step.escalate].into_iter().flatten().next();
        line = word.map_or(line, |w| at.line_of(w, line + 1));
        steps.push(self::step(at, line, step, &names, &slots, known, &places)?);
    }
    if steps.is_empty() {
        return Err(at.error(from, "a flow needs a step"));
    }
    let waits: Vec<String> = steps.iter().filter_map(|s: &Step| s.id(&slots)).collect();
    if let Some(twice) = waits.iter().enumerate().find(|(i, w)| waits[..*i].contains(w)) {
        return Err(at.error(from, format!("the step `{}` stands twice", twice.1)));
    }
    let flow = Flow {
        id: raw.id,
        title: raw.title,
        category,
        intents: raw.trigger.intents,
        again: raw.again_on_correction,
        slots,
        steps,
    };
    Ok((flow, raw.examples))
}

fn slot(
    at: Source<'_>,
    line: usize,
    name: &str,
    raw: &RawSlot,
    known: &Known,
    places: &[&str],
) -> Result<Slot, BundleError> {
    let regex = |text: &str| {
        Regex::new(text).map_err(|e| {
            at.error(at.line_of("validate", line), format!("slot `{name}`: {}", last_line(&e.to_string())))
        })
    };
    let take = match (&raw.entity, raw.text, raw.choice.is_empty()) {
        (Some(kind), false, true) => {
            Take::Entity { kind: kind.clone(), pattern: raw.pattern.as_deref().map(regex).transpose()?, pad: raw.pad }
        }
        (None, true, true) => Take::Text { from_start_with: raw.from_start_with.clone() },
        (None, false, false) => Take::Choice(
            raw.choice
                .iter()
                .map(|c| Choice {
                    value: c.value.clone(),
                    label: c.label.clone(),
                    words: c.words.iter().map(|w| w.to_lowercase()).collect(),
                })
                .collect(),
        ),
        _ => return Err(at.error(line, format!("the slot `{name}` needs exactly one of entity, text and choice"))),
    };
    let question = |key: &Option<String>, what: &str| match key {
        Some(key) => known.plain_text(at, line, key, places),
        None if raw.optional => Ok(String::new()),
        None => Err(at.error(line, format!("the slot `{name}` needs `{what}`, or `optional: true`"))),
    };
    Ok(Slot {
        name: name.to_owned(),
        take,
        validate: raw.validate.as_deref().map(regex).transpose()?,
        ask: question(&raw.ask, "ask")?,
        invalid: question(&raw.invalid, "invalid")?,
        max_attempts: raw.max_attempts.unwrap_or(ATTEMPTS),
        optional: raw.optional,
    })
}

fn step(
    at: Source<'_>,
    line: usize,
    raw: &RawStep,
    names: &[String],
    slots: &[Slot],
    known: &Known,
    places: &[&str],
) -> Result<Step, BundleError> {
    let given = [raw.collect.is_some(), raw.confirm.is_some(), raw.act.is_some(), raw.escalate.is_some(), raw.end];
    let say_alone = raw.say.is_some() && raw.act.is_none();
    if given.iter().filter(|g| **g).count() + usize::from(say_alone) != 1 {
        return Err(at.error(line, "a step does exactly one of collect, confirm, act, say, escalate and end"));
    }
    if raw.on_deny.is_some() && raw.confirm.is_none() {
        return Err(at.error(at.line_of("on_deny", line), "`on_deny` belongs to a confirm step"));
    }
    if raw.act.is_none() && (raw.on_failure.is_some() || !raw.with.0.is_empty() || raw.read_only) {
        return Err(at.error(line, "`with`, `on_failure` and `read_only` belong to an act step"));
    }
    if let Some(name) = &raw.collect {
        one_of(at, line, "slot of this flow", name, names)?;
        let slot = names.iter().position(|n| n == name).unwrap_or_default();
        if slots[slot].optional {
            return Err(
                at.error(line, format!("the slot `{name}` is optional: it is never asked for, leave the step out"))
            );
        }
        return Ok(Step::Collect(slot));
    }
    if let Some(key) = &raw.confirm {
        let on_deny = raw.on_deny.as_deref().unwrap_or("flow.closed");
        let mut with_title = places.to_vec();
        with_title.push("title");
        return Ok(Step::Confirm {
            text: known.plain_text(at, line, key, places)?,
            on_deny: known.plain_text(at, line, on_deny, &with_title)?,
        });
    }
    if let Some(action) = &raw.act {
        let mut deed = known.deed(at, line, action, &raw.with, raw.read_only, places)?;
        deed.on_failure = raw.on_failure.as_deref().map(|k| known.plain_text(at, line, k, places)).transpose()?;
        let say = raw.say.as_deref().map(|k| known.text(at, line, k, places)).transpose()?;
        return Ok(Step::Act { deed, say });
    }
    if let Some(key) = &raw.say {
        return Ok(Step::Say(known.plain_text(at, line, key, places)?));
    }
    Ok(raw.escalate.clone().map_or(Step::End, Step::Escalate))
}
