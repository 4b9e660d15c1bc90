//! The life of a conversation, as a table.
//!
//! In: where it stands, what happens, who does it. Out: where it stands then, or a refusal in words.
//! Never: a change of status or owner that is not a row of [`TABLE`].
use serde::{Deserialize, Serialize};

/// Where a conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Being worked on.
    Active,
    /// Something outside is awaited.
    Waiting,
    /// Done.
    Resolved,
    /// Handed to humans.
    Escalated,
    /// The customer left an open matter.
    Abandoned,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The AI.
    Ai,
    /// A human agent.
    Human,
    /// Nobody yet: a human was called.
    None,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The customer writes.
    Write,
    /// A human is called.
    Escalate,
    /// A human takes it.
    Assign,
    /// The human gives it back.
    Release,
    /// The matter is done.
    Resolve,
    /// It is taken up again.
    Reopen,
    /// An action outside is awaited.
    Await,
    /// It came, or timed out.
    Arrive,
    /// Nobody said a word for a day, and the customer's last question was answered.
    IdleAnswered,
    /// Nobody said a word for a day, and something is open.
    IdleOpen,
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The customer.
    Customer,
    /// The AI, by policy.
    Ai,
    /// A human agent, supervisor or admin, or a program of the organization.
    Staff,
    /// A timer or an outside event.
    System,
}

/// A row: from, by whom, to.
pub struct Row {
    /// Status and owner before.
    pub from: (Status, Owner),
    /// What happens.
    pub trigger: Trigger,
    /// Who may do it.
    pub actors: &'static [Actor],
    /// Status and owner after.
    pub to: (Status, Owner),
}

const fn row(from: (Status, Owner), trigger: Trigger, actors: &'static [Actor], to: (Status, Owner)) -> Row {
    Row { from, trigger, actors, to }
}

use Actor::{Ai as ByAi, Customer, Staff, System};
use Owner::{Ai, Human, None as Nobody};
use Status::{Abandoned, Active, Escalated, Resolved, Waiting};
use Trigger::{Arrive, Assign, Await, Escalate, IdleAnswered, IdleOpen, Release, Reopen, Resolve, Write};

/// The whole machine. What is not here is refused.
pub const TABLE: &[Row] = &[
    row((Active, Ai), Write, &[Customer, Staff], (Active, Ai)),
    row((Active, Ai), Escalate, &[Customer, ByAi, Staff, System], (Escalated, Nobody)),
    row((Active, Ai), Assign, &[Staff], (Escalated, Human)),
    row((Active, Ai), Resolve, &[Customer, ByAi, Staff], (Resolved, Ai)),
    row((Active, Ai), Await, &[ByAi, System], (Waiting, Ai)),
    row((Active, Ai), IdleAnswered, &[System], (Resolved, Ai)),
    row((Active, Ai), IdleOpen, &[System], (Abandoned, Ai)),
    row((Waiting, Ai), Write, &[Customer, Staff], (Active, Ai)),
    row((Waiting, Ai), Arrive, &[System], (Active, Ai)),
    row((Waiting, Ai), Escalate, &[Customer, ByAi, Staff, System], (Escalated, Nobody)),
    row((Waiting, Ai), Assign, &[Staff], (Escalated, Human)),
    row((Waiting, Ai), Resolve, &[Customer, ByAi, Staff], (Resolved, Ai)),
    row((Waiting, Ai), IdleOpen, &[System], (Abandoned, Ai)),
    row((Escalated, Nobody), Write, &[Customer, Staff], (Escalated, Nobody)),
    row((Escalated, Nobody), Escalate, &[Customer, ByAi, Staff, System], (Escalated, Nobody)),
    row((Escalated, Nobody), Assign, &[Staff], (Escalated, Human)),
    row((Escalated, Nobody), Release, &[Staff], (Active, Ai)),
    row((Escalated, Nobody), Resolve, &[Customer, Staff, System], (Resolved, Nobody)),
    row((Escalated, Human), Write, &[Customer, Staff], (Escalated, Human)),
    row((Escalated, Human), Escalate, &[Customer, ByAi, Staff, System], (Escalated, Human)),
    row((Escalated, Human), Assign, &[Staff], (Escalated, Human)),
    row((Escalated, Human), Release, &[Staff], (Active, Ai)),
    row((Escalated, Human), Resolve, &[Customer, Staff, System], (Resolved, Human)),
    row((Resolved, Ai), Write, &[Customer, Staff], (Active, Ai)),
    row((Resolved, Nobody), Write, &[Customer, Staff], (Active, Ai)),
    row((Resolved, Human), Write, &[Customer, Staff], (Active, Ai)),
    row((Resolved, Ai), Reopen, &[Customer, Staff], (Active, Ai)),
    row((Resolved, Nobody), Reopen, &[Customer, Staff], (Active, Ai)),
    row((Resolved, Human), Reopen, &[Customer, Staff], (Active, Ai)),
    row((Resolved, Ai), Resolve, &[Customer, Staff], (Resolved, Ai)),
    row((Resolved, Nobody), Resolve, &[Customer, Staff, System], (Resolved, Nobody)),
    row((Resolved, Human), Resolve, &[Customer, Staff, System], (Resolved, Human)),
    row((Abandoned, Ai), Write, &[Customer, Staff], (Active, Ai)),
    row((Abandoned, Ai), Reopen, &[Customer, Staff], (Active, Ai)),
];

/// Why something cannot be done now, in words for the caller.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("A conversation that is {status} cannot be {verb}.")]
pub struct Refusal {
    status: &'static str,
    verb: &'static str,
}

/// Where a conversation stands after something happened.
pub fn step(from: (Status, Owner), trigger: Trigger, actor: Actor) -> Result<(Status, Owner), Refusal> {
    TABLE
        .iter()
        .find(|row| row.from == from && row.trigger == trigger && row.actors.contains(&actor))
        .map(|row| row.to)
        .ok_or(Refusal { status: from.0.name(), verb: trigger.verb() })
}

impl Status {
    /// As the outside interface spells it.
    pub fn name(self) -> &'static str {
        match self {
            Active => "active",
            Waiting => "waiting",
            Resolved => "resolved",
            Escalated => "escalated",
            Abandoned => "abandoned",
        }
    }

    /// True while the matter is open.
    pub fn is_open(self) -> bool {
        matches!(self, Active | Waiting | Escalated)
    }
}

impl Owner {
    /// As the outside interface spells it.
    pub fn name(self) -> &'static str {
        match self {
            Ai => "ai",
            Human => "human",
            Nobody => "none",
        }
    }
}

impl Trigger {
    fn verb(self) -> &'static str {
        match self {
            Write => "written to",
            Escalate => "escalated",
            Assign => "assigned",
            Release => "released",
            Resolve => "resolved",
            Reopen => "reopened",
            Await | Arrive => "kept waiting",
            IdleAnswered | IdleOpen => "closed as idle",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_start_alike() {
        for (i, a) in TABLE.iter().enumerate() {
            for b in &TABLE[i + 1..] {
                assert!(a.from != b.from || a.trigger != b.trigger, "{:?} {:?}", a.from, a.trigger);
            }
        }
    }

    #[test]
    fn an_escalated_conversation_is_never_abandoned() {
        assert!(TABLE.iter().all(|r| r.from.0 != Escalated || r.to.0 != Abandoned));
    }

    #[test]
    fn the_customer_can_always_write_and_is_always_owned() {
        for row in TABLE {
            let to = step(row.to, Write, Customer).expect("the customer can write");
            assert!(to.0.is_open());
        }
    }

    #[test]
    fn a_refusal_is_in_words() {
        let error = step((Resolved, Ai), Assign, Staff).expect_err("refused");
        assert_eq!(error.to_string(), "A conversation that is resolved cannot be assigned.");
    }
}
