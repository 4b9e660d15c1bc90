//! What happens without anybody asking just now: due effects, left turns, SLA breaches, idle conversations, what people did in
//! Salesforce, and events that wait for the bus.
//!
//! In: the time. Out: commits. Never: a timer that lives in memory alone: all of them are rows, so a crash forgets none.
use std::{sync::Arc, time::Duration};

use switchboard_runtime::{Fault, Shutdown};
use uuid::Uuid;

use crate::{
    engine::Engine,
    error::Error,
    machine::{Actor, Owner, Trigger},
    model::{Priority, Sender, Turn},
    targets::Change as Outside,
};

/// Between two looks: short enough that a left turn is not felt, long enough to cost nothing.
const TICK: Duration = Duration::from_millis(500);
/// Every so many ticks Salesforce is asked what changed.
const PULL_EVERY: u32 = 4;
/// How long a claimed effect is this process's.
const CLAIM: Duration = Duration::from_secs(60);
/// How long one try of an effect may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Rows per look.
const BATCH: u32 = 50;
/// The feed of Salesforce's changes.
const FEED: &str = "salesforce";

/// Works until the service stops.
pub async fn work(engine: Arc<Engine>, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0u32;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => count = count.wrapping_add(1),
            () = engine.wake.notified() => {}
        }
        engine.look(count).await;
    }
}

impl Engine {
    async fn look(self: &Arc<Self>, count: u32) {
        let results = [
            ("effects", self.due_effects().await),
            ("turns", self.left_turns().await),
            ("sla", self.breaches().await),
            ("idle", self.idle().await),
            ("salesforce", if count.is_multiple_of(PULL_EVERY) { self.pull().await } else { Ok(()) }),
            ("outbox", self.relay().await),
        ];
        for (what, result) in results {
            if let Err(error) = result {
                tracing::warn!(what, reason = Fault::from(error).name(), "the worker goes on after a failure");
            }
        }
        self.hub.sweep();
    }

    async fn due_effects(self: &Arc<Self>) -> Result<(), Error> {
        let until = self.from_now(CLAIM);
        for effect in self.store.claim_effects(self.clock.now(), until, BATCH).await? {
            let hands = self.hands.clone();
            let work = hands.attempt(effect.clone(), ATTEMPT);
            match self.host.as_service(&self.verifier, effect.org, ATTEMPT, work).await {
                Ok(tried) => self.settle(tried).await?,
                // No token: it stays claimed and comes back when the claim ends.
                Err(fault) => tracing::warn!(reason = fault.name(), "no service token for an effect"),
            }
        }
        Ok(())
    }

    /// A turn whose process died is taken up: no message stays unanswered.
    async fn left_turns(self: &Arc<Self>) -> Result<(), Error> {
        for (org, id) in self.store.unanswered(self.clock.now(), BATCH).await? {
            let (token, until) = (Uuid::now_v7(), self.from_now(self.config.turn_lease));
            let mut taken = false;
            self.change(org, id, |change| {
                let now = change.now;
                let row = change.row();
                taken = row.wants_turn() && !row.in_turn(now);
                if taken {
                    row.turn = Some(Turn { token, until });
                }
                Ok(taken)
            })
            .await?;
            if taken {
                tracing::info!(conversation = %id, "a left turn is taken up");
                let engine = self.clone();
                let started = self.host.as_service(&self.verifier, org, self.config.turn_lease, async move {
                    engine.start(org, id, token)
                });
                started.await?;
            }
        }
        Ok(())
    }

    async fn breaches(&self) -> Result<(), Error> {
        for (org, id) in self.store.breached(self.clock.now(), BATCH).await? {
            self.change(org, id, |change| {
                change.with_hand_off(|e| {
                    e.breached = true;
                    e.priority = match e.priority {
                        Priority::Low => Priority::Medium,
                        Priority::Medium => Priority::High,
                        Priority::High | Priority::Critical => Priority::Critical,
                    };
                });
                change.tell("sla_breached");
                Ok(true)
            })
            .await?;
        }
        Ok(())
    }

    async fn idle(&self) -> Result<(), Error> {
        let since = self.before_now(self.config.idle_after);
        for (org, id) in self.store.idle(since, BATCH).await? {
            self.change(org, id, |change| {
                let row = change.row();
                if !row.status.is_open() || row.last_activity_at > since {
                    return Ok(false);
                }
                // Answered and nothing open: the customer had what they came for, as far as anybody knows.
                let answered =
                    row.last_user_seq > 0 && row.answered_seq >= row.last_user_seq && row.state.open_flow().is_none();
                let answered = answered && row.owner == Owner::Ai && row.state.failed_turns == 0;
                let trigger = if answered { Trigger::IdleAnswered } else { Trigger::IdleOpen };
                change.step(trigger, Actor::System)?;
                change.row().assumed = answered;
                change.tell(if answered { "assumed_resolved" } else { "abandoned" });
                Ok(true)
            })
            .await?;
        }
        Ok(())
    }

    /// What people did in Salesforce: a comment appears in the chat, a closed case resolves the conversation.
    async fn pull(self: &Arc<Self>) -> Result<(), Error> {
        for org in self.store.organizations().await? {
            let engine = self.clone();
            let work = async move { engine.pull_for(org).await };
            self.host.as_service(&self.verifier, org, ATTEMPT, work).await??;
        }
        Ok(())
    }

    async fn pull_for(&self, org: Uuid) -> Result<(), Error> {
        let cursor = self.store.cursor(org, FEED).await?.unwrap_or_default();
        let (changes, next) = self.hands.targets.changes(&cursor).await?;
        for change in changes {
            match change {
                Outside::Comment { case_number, body, id } => {
                    // Applied once: the change's id is the message's client id, and the cursor moves after it.
                    if let Some(conversation) = self.store.by_case(org, &case_number).await? {
                        self.comment_from_case(org, conversation, &body, &id).await?;
                    }
                }
                Outside::Closed { case_number } => {
                    if let Some(conversation) = self.store.by_case(org, &case_number).await? {
                        let closed = self
                            .resolve_as(org, conversation, Actor::System, None, "The case was closed in Salesforce.")
                            .await;
                        if let Err(Error::Refused(refusal)) = closed {
                            tracing::debug!(%refusal, "a closed case changes nothing");
                        }
                    }
                }
            }
        }
        if next != cursor {
            self.store.set_cursor(org, FEED, &next).await?;
        }
        Ok(())
    }

    /// Hands events to the bus in their order. In process the bus counts them; a broker takes its place later.
    async fn relay(&self) -> Result<(), Error> {
        loop {
            let batch = self.store.outbox(1000).await?;
            let Some((last, ..)) = batch.last() else { return Ok(()) };
            self.published.inc_by(batch.len() as u64);
            self.store.outbox_done(*last).await?;
        }
    }

    /// Tells watchers that somebody types or has read.
    pub fn presence(&self, id: Uuid, sender: Sender, typing: bool, read_seq: u64) {
        let who = if sender == Sender::User { "user" } else { "human" };
        self.hub.tell(id, crate::hub::Signal::Presence { who, typing, read_seq });
    }
}
