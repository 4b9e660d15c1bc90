//! Builds one commit: what changes in the row, and the events that tell of it.
//!
//! In: the row as it was read. Out: a [`Commit`] whose events are numbered on from it. Never: a stored byte.
use jiff::Timestamp;
use switchboard_runtime::Clock;
use uuid::Uuid;

use crate::{
    error::Error,
    machine::{self, Actor, Owner, Status, Trigger},
    model::{Conversation, Escalation, Event, EventKind, Message, Resolution, Sender, StatusChange},
    store::Commit,
};

/// A commit in the making.
pub struct Change<'a> {
    /// What will be stored.
    pub commit: Commit,
    /// The time of all of it.
    pub now: Timestamp,
    clock: &'a Clock,
}

impl<'a> Change<'a> {
    /// Starts from the row as it was read.
    pub fn on(before: &Conversation, clock: &'a Clock) -> Self {
        Change { commit: Commit::of(before, before.clone()), now: clock.now(), clock }
    }

    /// The row as it will be.
    pub fn row(&mut self) -> &mut Conversation {
        &mut self.commit.next
    }

    /// A message without anything but its words.
    pub fn message(&self, sender: Sender, sender_id: Option<Uuid>, content: impl Into<String>) -> Message {
        Message {
            id: self.clock.new_id(),
            seq: 0,
            sender,
            sender_id,
            content: content.into(),
            content_type: Default::default(),
            attachments: vec![],
            analysis: Default::default(),
            citations: vec![],
            metadata: Default::default(),
            created_at: self.now,
            client_message_id: None,
            outcome: None,
        }
    }

    /// Adds a message; returns its seq.
    pub fn say(&mut self, mut message: Message) -> u64 {
        let seq = self.commit.next.seq + 1;
        message.seq = seq;
        let from_customer = message.sender == Sender::User;
        let row = self.row();
        row.seq = seq;
        if from_customer {
            row.last_user_seq = seq;
            if row.owner == Owner::Human {
                row.answered_seq = seq;
            }
        }
        row.last_activity_at = message.created_at;
        self.commit.events.push(Event {
            id: message.id,
            seq,
            at: message.created_at,
            kind: EventKind::Message(Box::new(message)),
        });
        seq
    }

    /// Adds the event that tells of status and owner; returns its seq.
    pub fn tell(&mut self, reason: &str) -> u64 {
        let seq = self.commit.next.seq + 1;
        let row = self.row();
        row.seq = seq;
        let change = StatusChange {
            status: row.status,
            owner: row.owner,
            reason: reason.to_owned(),
            escalation: row.escalation.clone(),
        };
        self.commit.events.push(Event {
            id: self.clock.new_id(),
            seq,
            at: self.now,
            kind: EventKind::Status(Box::new(change)),
        });
        seq
    }

    /// Sees to it that a changed row differs from the one before in what the ledger compares, or a writer who still has that
    /// one would undo the change: what is no event, and no turn that changes hands, becomes one.
    pub fn mark(&mut self, before: &Conversation) {
        let next = &self.commit.next;
        let turn = |row: &Conversation| row.turn.as_ref().map(|t| t.token);
        if next.seq == before.seq && turn(next) == turn(before) && next != before {
            self.tell("updated");
        }
    }

    /// Moves the state machine. A new owner raises the epoch, so that whatever was being made under the old one is fenced.
    pub fn step(&mut self, trigger: Trigger, actor: Actor) -> Result<(), Error> {
        let now = self.now;
        let row = self.row();
        let (status, owner) = machine::step((row.status, row.owner), trigger, actor)?;
        if owner != row.owner {
            row.owner_epoch += 1;
        }
        if owner != Owner::Human {
            row.assigned_to = None;
        }
        let closed = matches!(status, Status::Resolved | Status::Abandoned);
        if closed && row.status.is_open() {
            row.ended_at = Some(now);
            row.state.flow = None;
            row.resolution = Some(match (status, row.owner) {
                (Status::Abandoned, _) => Resolution::Abandoned,
                (_, Owner::Human) => Resolution::Human,
                (_, Owner::None) => Resolution::Escalated,
                (_, Owner::Ai) => Resolution::Automated,
            });
        } else if !closed && !row.status.is_open() {
            row.ended_at = None;
            row.resolution = None;
            row.assumed = false;
        }
        (row.status, row.owner) = (status, owner);
        Ok(())
    }

    /// Sets the hand-off, in the row and in the ledger.
    pub fn hand_off(&mut self, escalation: Escalation) {
        self.row().escalation = Some(escalation.clone());
        self.commit.escalation = Some(escalation);
    }

    /// Changes the open hand-off, if there is one.
    pub fn with_hand_off(&mut self, change: impl FnOnce(&mut Escalation)) {
        if let Some(mut escalation) = self.row().escalation.clone().filter(|e| e.resolved_at.is_none()) {
            change(&mut escalation);
            self.hand_off(escalation);
        }
    }
}
