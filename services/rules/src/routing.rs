//! Where a hand-off goes: the first of the most specific routes, and its service level in the route's business hours.
use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::{
    calendar::Calendar,
    facts::{Priority, Tier},
};

/// The routing table.
#[derive(Debug, Clone)]
pub struct Routing {
    /// The most specific first; the last one takes everything.
    pub routes: Vec<Route>,
    /// Ticket category of an intent; every known intent is here.
    pub categories: HashMap<String, String>,
    pub calendars: Vec<Calendar>,
}

/// A row of it. An empty list means any.
#[derive(Debug, Clone)]
pub struct Route {
    pub id: String,
    pub category: Option<String>,
    pub tiers: Vec<Tier>,
    pub priorities: Vec<Priority>,
    pub queue: String,
    pub skills: Vec<String>,
    /// By priority, low first.
    pub sla: [Duration; 4],
    pub calendar: usize,
}

impl Route {
    /// How much the route asks for. A category says more than a tier, and a tier more than a priority.
    pub fn specificity(&self) -> u8 {
        4 * u8::from(self.category.is_some())
            + 2 * u8::from(!self.tiers.is_empty())
            + u8::from(!self.priorities.is_empty())
    }

    fn takes(&self, category: &str, priority: Priority, tier: Tier) -> bool {
        self.category.as_deref().is_none_or(|c| c == category)
            && (self.tiers.is_empty() || self.tiers.contains(&tier))
            && (self.priorities.is_empty() || self.priorities.contains(&priority))
    }
}

/// Where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    pub queue: String,
    pub priority: Priority,
    pub skills: Vec<String>,
    pub sla: Duration,
    pub deadline: Timestamp,
    pub route_id: String,
    pub category: String,
}

impl Routing {
    /// The category of an intent.
    pub fn category(&self, intent: &str) -> Option<&str> {
        self.categories.get(intent).map(String::as_str)
    }

    /// The route of a ticket.
    pub fn route(&self, category: &str, priority: Priority, tier: Tier, now: Timestamp) -> Routed {
        let row = self
            .routes
            .iter()
            .find(|r| r.takes(category, priority, tier))
            .expect("the default route takes everything: checked at load");
        let sla = row.sla[priority as usize];
        Routed {
            queue: row.queue.clone(),
            priority,
            skills: row.skills.clone(),
            sla,
            deadline: self.calendars[row.calendar].deadline(now, sla),
            route_id: row.id.clone(),
            category: category.to_owned(),
        }
    }
}
