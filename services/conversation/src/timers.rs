//! What happens without anybody asking just now: due effects, left turns, SLA breaches, idle conversations, what people did in
//! Salesforce, and what waits in the outbox.
//!
//! In: the time. Out: commits. Never: a timer that lives in memory alone: all of them are rows, so a crash forgets none.
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};

use switchboard_runtime::{Context, Fault, Shutdown};
use uuid::Uuid;

use crate::{
    engine::Engine,
    error::Error,
    machine::{Actor, Owner, Trigger},
    model::{Escalation, Priority, Turn},
    outbox::Sink,
    targets::Change as Outside,
};

/// Between two looks: short enough that a left turn is not felt, long enough to cost nothing.
const TICK: Duration = Duration::from_millis(500);
/// Between two questions to Salesforce what changed.
const PULL: Duration = Duration::from_secs(2);
/// Between two counts of what waits in the outbox: often enough for an alarm.
const MEASURE: Duration = Duration::from_secs(5);
/// Between two looks for session documents that are too old.
const PURGE: Duration = Duration::from_secs(600);
/// Between two looks for conversations that a tenant does not keep any longer.
const RETENTION: Duration = Duration::from_secs(60);
/// Between two looks for keys that an older master wraps, and for the next month of the activity log.
const UPKEEP: Duration = Duration::from_secs(300);
/// How long a duty that one replica has is its own after a look: longer than a look may take.
const LEASE: Duration = Duration::from_secs(60);
/// Keys that are wrapped anew in one look.
const KEYS: u32 = 500;
/// Effects that are tried at once.
const HANDS: usize = 8;
/// How long a claimed effect is this process's.
const CLAIM: Duration = Duration::from_secs(60);
/// How long one try of an effect may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Rows per look.
const BATCH: u32 = 50;
/// The feed of Salesforce's changes.
const FEED: &str = "salesforce";

/// Works until the service stops. Each duty has a loop of its own: one that waits for a slow target holds no other back.
pub async fn work(engine: Arc<Engine>, shutdown: Shutdown) {
    tokio::join!(
        every("effects", TICK, &engine, &shutdown, |e| Box::pin(async move { e.due_effects().await })),
        every("turns", TICK, &engine, &shutdown, |e| Box::pin(async move { e.left_turns().await })),
        every("sla", TICK, &engine, &shutdown, |e| Box::pin(async move { e.breaches().await })),
        every("idle", TICK, &engine, &shutdown, |e| Box::pin(async move { e.idle().await })),
        every("salesforce", PULL, &engine, &shutdown, |e| Box::pin(async move { e.pull().await })),
        every("bus", TICK, &engine, &shutdown, |e| Box::pin(async move { e.relay.carry(Sink::Bus).await })),
        every("sessions", TICK, &engine, &shutdown, |e| Box::pin(async move { e.relay.carry(Sink::Sessions).await })),
        every("outcomes", TICK, &engine, &shutdown, |e| Box::pin(async move { e.relay.carry(Sink::Outcomes).await })),
        every("erasures", TICK, &engine, &shutdown, |e| Box::pin(async move { e.erasures().await })),
        alone("retention", RETENTION, &engine, &shutdown, |e| Box::pin(async move { e.retention().await })),
        alone("keys", UPKEEP, &engine, &shutdown, |e| Box::pin(async move { e.upkeep().await })),
        every("backlog", MEASURE, &engine, &shutdown, |e| Box::pin(async move { e.relay.measure().await })),
        every("capsules", PURGE, &engine, &shutdown, |e| Box::pin(async move { e.relay.purge().await })),
    );
    engine.relay.release().await;
}

/// One duty, again and again. It goes on after a failure, and after a bug.
async fn every<D>(what: &'static str, tick: Duration, engine: &Arc<Engine>, shutdown: &Shutdown, duty: D)
where
    D: Fn(Arc<Engine>) -> BoxFuture<'static, Result<(), Error>>,
{
    let mut tick = tokio::time::interval(tick);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
            () = engine.wake.notified() => {}
        }
        let work = AssertUnwindSafe(duty(engine.clone())).catch_unwind();
        let done = tokio::select! {
            // What it was doing is in rows.
            () = shutdown.cancelled() => return,
            done = work => done,
        };
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(what, reason = Fault::from(error).name(), "the worker goes on after a failure")
            }
            Err(_) => tracing::error!(what, "the worker goes on after a panic"),
        }
    }
}

/// A duty that one replica at a time has.
async fn alone<D>(what: &'static str, tick: Duration, engine: &Arc<Engine>, shutdown: &Shutdown, duty: D)
where
    D: Fn(Arc<Engine>) -> BoxFuture<'static, Result<(), Error>> + Send + Sync + Clone + 'static,
{
    every(what, tick, engine, shutdown, |e| {
        let duty = duty.clone();
        Box::pin(async move { if e.is_ours(what).await? { duty(e).await } else { Ok(()) } })
    })
    .await;
    if let Err(error) = engine.store.release_duty(what, engine.relay.holder).await {
        tracing::debug!(what, reason = Fault::from(error).name(), "a duty runs out by itself");
    }
}

/// One row of a duty: its failure is told and does not stop the others.
fn one(what: &'static str, id: Uuid, result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!(what, %id, reason = Fault::from(error).name(), "a row is left for later");
    }
}

impl Engine {
    /// Takes a duty, or keeps it: true if it is this replica's for a while. It writes: ask only when there is work.
    pub(crate) async fn is_ours(&self, duty: &str) -> Result<bool, Error> {
        self.store.claim_duty(duty, self.relay.holder, self.clock.now(), self.from_now(LEASE)).await
    }

    /// What the store needs now and then.
    async fn upkeep(self: &Arc<Self>) -> Result<(), Error> {
        self.store.prepare_audit(self.clock.now()).await?;
        while self.store.rewrap_keys(KEYS).await? > 0 {}
        Ok(())
    }

    async fn due_effects(self: &Arc<Self>) -> Result<(), Error> {
        let until = self.from_now(CLAIM);
        let claimed = self.store.claim_effects(self.clock.now(), until, BATCH).await?;
        let each = futures::stream::iter(claimed).for_each_concurrent(HANDS, |effect| async move {
            let id = effect.id;
            let work = self.hands.attempt(effect.clone(), ATTEMPT);
            let done = match self.host.as_service(&self.verifier, effect.org, ATTEMPT, work).await {
                Ok(tried) => self.settle(tried).await,
                // No token: it stays claimed and comes back when the claim ends.
                Err(fault) => Err(fault.into()),
            };
            one("effects", id, done);
        });
        each.await;
        Ok(())
    }

    /// A turn whose process died is taken up: no message stays unanswered.
    async fn left_turns(self: &Arc<Self>) -> Result<(), Error> {
        for (org, id) in self.store.unanswered(self.clock.now(), BATCH).await? {
            let engine = self.clone();
            // The token first: a lease that nobody can use would only be in the way.
            let take = async move { engine.take_up(org, id).await };
            let taken = self.host.as_service(&self.verifier, org, ATTEMPT, take).await;
            one("turns", id, taken.map_err(Error::from).and_then(|taken| taken));
        }
        Ok(())
    }

    async fn take_up(self: Arc<Self>, org: Uuid, id: Uuid) -> Result<(), Error> {
        let (token, until) = (Uuid::now_v7(), self.from_now(self.config.turn_lease));
        let mut taken = false;
        self.change(org, id, |change| {
            let now = change.now;
            let row = change.row();
            taken = row.wants_turn() && !row.in_turn(now);
            if taken {
                row.turn = Some(Turn { token, until });
                row.state.turn_tries += 1;
            }
            Ok(taken)
        })
        .await?;
        if taken {
            tracing::info!(conversation = %id, "a left turn is taken up");
            // The deadline was for taking it up; the turn has its own.
            let context = Context { deadline: None, ..Context::current() };
            context.scope(async { self.start(org, id, token, None) }).await;
        }
        Ok(())
    }

    async fn breaches(self: &Arc<Self>) -> Result<(), Error> {
        for (org, id) in self.store.breached(self.clock.now(), BATCH).await? {
            let raised = self.change(org, id, |change| {
                let now = change.now;
                let missed = |e: &Escalation| {
                    e.resolved_at.is_none() && !e.breached && e.assigned_to.is_none() && e.sla_deadline <= now
                };
                if !change.row().escalation.as_ref().is_some_and(missed) {
                    return Ok(false);
                }
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
            });
            one("sla", id, raised.await.map(|_| ()));
        }
        Ok(())
    }

    async fn idle(self: &Arc<Self>) -> Result<(), Error> {
        let since = self.before_now(self.config.idle_after);
        for (org, id) in self.store.idle(since, BATCH).await? {
            let closed = self.change(org, id, |change| {
                let row = change.row();
                let waits = row.answered_seq < row.last_user_seq || row.turn.is_some();
                if !row.status.is_open() || row.last_activity_at > since || waits {
                    return Ok(false);
                }
                // Answered and nothing open: the customer had what they came for, as far as anybody knows.
                let answered = row.last_user_seq > 0 && row.state.open_flow().is_none();
                let answered = answered && row.owner == Owner::Ai && row.state.failed_turns == 0;
                let trigger = if answered { Trigger::IdleAnswered } else { Trigger::IdleOpen };
                change.step(trigger, Actor::System)?;
                change.row().assumed = answered;
                change.tell(if answered { "assumed_resolved" } else { "abandoned" });
                Ok(true)
            });
            one("idle", id, closed.await.map(|_| ()));
        }
        Ok(())
    }

    /// What people did in Salesforce: a comment appears in the chat, a closed case resolves the conversation.
    async fn pull(self: &Arc<Self>) -> Result<(), Error> {
        for org in self.store.organizations().await? {
            let engine = self.clone();
            let work = async move { engine.pull_for(org).await };
            let pulled = self.host.as_service(&self.verifier, org, ATTEMPT, work).await;
            one("salesforce", org, pulled.map_err(Error::from).and_then(|pulled| pulled));
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
                        let notes = "The case was closed in Salesforce.";
                        match self.resolve_as(org, conversation, Actor::System, None, notes).await {
                            Err(Error::Refused(refusal)) => tracing::debug!(%refusal, "a closed case changes nothing"),
                            other => drop(other?),
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
}
