//! `routing.yaml`: every route has a calendar, a service level for each priority it takes, and one route takes the rest.
use std::collections::HashMap;

use jiff::tz::TimeZone;
use switchboard_runtime::settings::parse_duration;

use super::{
    BundleError,
    check::{one_of, priority},
    examples::Example,
    raw::{Once, RawCalendar, RawRoute, RawRouting},
    source::Source,
};
use crate::{
    calendar::{Calendar, parse_holiday, parse_span},
    facts::{PRIORITIES, TIERS, WEEKDAYS, named},
    routing::{Route, Routing},
    suggest::nearest,
};

/// Checks and compiles the file; its examples come back to be run.
pub(super) fn routing(at: Source<'_>) -> Result<(Routing, Vec<Example>), BundleError> {
    let raw: RawRouting = at.parse()?;
    let mut categories = HashMap::new();
    for (category, intents) in &raw.categories.0 {
        for intent in intents {
            if let Some(other) = categories.insert(intent.clone(), category.clone()) {
                let line = at.line_of(intent, at.line_of(category, 1));
                return Err(at.error(line, format!("the intent `{intent}` is in the category `{other}` already")));
            }
        }
    }
    let from = at.line_of("calendars", 1);
    let names: Vec<String> = raw.calendars.0.iter().map(|(name, _)| name.clone()).collect();
    let calendars = raw
        .calendars
        .0
        .iter()
        .map(|(name, c)| calendar(at, at.line_of(name, from), name, c))
        .collect::<Result<_, _>>()?;
    let mut routes: Vec<Route> = Vec::new();
    for row in &raw.routes {
        let line = at.line_of_id(&row.id);
        if routes.iter().any(|r| r.id == row.id) {
            return Err(at.error(line, format!("two routes have the id `{}`", row.id)));
        }
        routes.push(route(at, line, row, &names, &raw.categories)?);
    }
    // Stable: among equals the file's order decides.
    routes.sort_by_key(|r| std::cmp::Reverse(r.specificity()));
    match routes.iter().filter(|r| r.specificity() == 0).count() {
        1 => Ok((Routing { routes, categories, calendars }, raw.examples)),
        0 => {
            let message =
                "a default route is missing: one without category, tiers and priorities that takes what no other takes";
            Err(at.error(at.line_of("routes", 1), message))
        }
        _ => {
            Err(at
                .error(at.line_of("routes", 1), "there is more than one route without category, tiers and priorities"))
        }
    }
}

fn calendar(at: Source<'_>, line: usize, name: &str, raw: &RawCalendar) -> Result<Calendar, BundleError> {
    if raw.always {
        let alone = raw.zone.is_empty() && raw.week.0.is_empty() && raw.holidays.is_empty();
        let message =
            || at.error(line, format!("the calendar `{name}` is always open: leave zone, week and holidays out"));
        return alone.then(Calendar::always).ok_or_else(message);
    }
    let zone = TimeZone::get(&raw.zone).map_err(|_| {
        let known = jiff::tz::db().available().map(|n| n.as_str().to_owned());
        at.error(at.line_of("zone", line), format!("`{}` is no time zone{}", raw.zone, nearest(&raw.zone, known)))
    })?;
    let mut week: [Vec<(u16, u16)>; 7] = Default::default();
    for (days, spans) in &raw.week.0 {
        let line = at.line_of(days, line);
        let day = |name: &str| {
            WEEKDAYS.iter().position(|d| *d == name).ok_or_else(|| {
                let hint = nearest(name, WEEKDAYS.iter().map(|d| (*d).to_owned()));
                at.error(line, format!("`{name}` is no day; write mon, tue, wed, thu, fri, sat or sun{hint}"))
            })
        };
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (first, last) = (day(first.trim())?, day(last.trim())?);
        if first > last {
            return Err(at.error(line, format!("`{days}` runs backwards")));
        }
        for span in spans {
            let span = parse_span(span)
                .ok_or_else(|| at.error(line, format!("`{span}` is no span of a day; write such as 08:00-20:00")))?;
            week[first..=last].iter_mut().for_each(|d| d.push(span));
        }
    }
    for spans in &mut week {
        spans.sort_unstable();
        if spans.windows(2).any(|w| w[0].1 > w[1].0) {
            return Err(at.error(line, format!("the calendar `{name}` has spans of one day that overlap")));
        }
    }
    if week.iter().all(Vec::is_empty) {
        return Err(at.error(line, format!("the calendar `{name}` is never open")));
    }
    let holiday = |h: &String| {
        parse_holiday(h).ok_or_else(|| {
            at.error(at.line_of(h, line), format!("`{h}` is no date; write 12-25 for each year or 2027-03-29"))
        })
    };
    Ok(Calendar::open(zone, week, raw.holidays.iter().map(holiday).collect::<Result<_, _>>()?))
}

fn route(
    at: Source<'_>,
    line: usize,
    raw: &RawRoute,
    calendars: &[String],
    categories: &Once<Vec<String>>,
) -> Result<Route, BundleError> {
    if let Some(category) = &raw.category {
        let known: Vec<String> = categories.0.iter().map(|(c, _)| c.clone()).collect();
        one_of(at, line, "category of this file", category, &known)?;
    }
    let tiers: Vec<String> = TIERS.iter().map(|(n, _)| (*n).to_owned()).collect();
    for tier in &raw.tiers {
        one_of(at, at.line_of("tiers", line), "tier", tier, &tiers)?;
    }
    let priorities = raw
        .priorities
        .iter()
        .map(|p| priority(at, at.line_of("priorities", line), p))
        .collect::<Result<Vec<_>, _>>()?;
    let mut sla = [None; 4];
    for (name, span) in &raw.sla.0 {
        let line = at.line_of("sla", line);
        let slot = priority(at, line, name)? as usize;
        let length = parse_duration(span).filter(|d| !d.is_zero() && !span.ends_with('d'));
        let message =
            || at.error(line, format!("`{span}` is no service level; write open hours and minutes such as 4h or 15m"));
        sla[slot] = Some(length.ok_or_else(message)?);
    }
    for (name, p) in PRIORITIES {
        let taken = priorities.is_empty() || priorities.contains(p);
        if taken && sla[*p as usize].is_none() {
            return Err(at.error(
                at.line_of("sla", line),
                format!("the route `{}` has no service level for the priority `{name}`", raw.id),
            ));
        }
    }
    one_of(at, at.line_of("calendar", line), "calendar of this file", &raw.calendar, calendars)?;
    Ok(Route {
        id: raw.id.clone(),
        category: raw.category.clone(),
        tiers: raw.tiers.iter().filter_map(|t| named(TIERS, t)).collect(),
        priorities,
        queue: raw.queue.clone(),
        skills: raw.skills.clone(),
        sla: sla.map(Option::unwrap_or_default),
        calendar: calendars.iter().position(|c| *c == raw.calendar).unwrap_or_default(),
    })
}
