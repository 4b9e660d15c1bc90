//! The relays: carry what waits in the outbox to the bus, the session store and the roll-ups.
//!
//! In: rows of the outbox, in their order. Out: the same at their sinks, at least once. Never: a row that is forgotten before
//! its sink confirmed it; two replicas that relay to one sink; a turn that waits, or a sink that waits for another one.
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use switchboard_runtime::Clock;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    bus::{Bus, Record},
    error::Error,
    outbox::{Sink, Waiting},
    outcomes::Outcomes,
    sessions::{Archive, Document, Sessions},
    store::Store,
};

/// Rows of one delivery: large enough that round trips do not matter, small enough to be given again.
const BATCH: u32 = 1000;
/// How long a sink is this replica's after a look: longer than a delivery may take.
const LEASE: SignedDuration = SignedDuration::from_secs(30);
/// Documents that one purge removes.
const PURGE: u32 = 1000;

/// All sinks.
pub const SINKS: [Sink; 3] = [Sink::Bus, Sink::Sessions, Sink::Outcomes];

/// Carries.
pub struct Relay {
    /// The ledger, with its outbox.
    pub store: Arc<dyn Store>,
    /// For facts.
    pub bus: Arc<dyn Bus>,
    /// For snapshots and capsules.
    pub sessions: Arc<dyn Sessions>,
    /// For roll-ups.
    pub outcomes: Arc<dyn Outcomes>,
    /// The time.
    pub clock: Clock,
    /// How long documents are kept; zero: none are.
    pub keep: Duration,
    /// What is measured.
    pub figures: Figures,
    /// This replica, as it holds duties.
    pub holder: Uuid,
    /// Which sinks failed last, so that an outage is told once and not at every look.
    down: [AtomicBool; SINKS.len()],
    /// Set once the session store was looked at.
    looked: OnceCell<()>,
}

/// A sink as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Label {
    sink: &'static str,
}

/// What is measured.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Events that the bus confirmed.
    pub published: Counter,
    /// Rows that wait.
    pub backlog: Family<Label, Gauge>,
    /// Age of the oldest, in seconds.
    pub oldest: Family<Label, Gauge>,
}

impl Figures {
    /// Puts them on the metrics page.
    pub fn register(&self, registry: &mut Registry) {
        let Figures { published, backlog, oldest } = self.clone();
        registry.register("events_published", "Conversation events that the bus confirmed", published);
        registry.register("outbox_backlog", "Rows that wait in the outbox, by sink", backlog);
        registry.register("outbox_oldest_seconds", "Age of the oldest row that waits, by sink", oldest);
    }
}

impl Relay {
    /// Relays of one replica.
    pub fn new(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        sessions: Arc<dyn Sessions>,
        keep: Duration,
        clock: &Clock,
    ) -> Self {
        Relay {
            outcomes: store.outcomes(),
            store,
            bus,
            sessions,
            clock: clock.clone(),
            keep,
            figures: Figures::default(),
            holder: Uuid::now_v7(),
            down: Default::default(),
            looked: OnceCell::new(),
        }
    }

    /// The session documents in the clear.
    pub fn archive(&self) -> Archive {
        Archive { documents: self.sessions.clone(), store: self.store.clone() }
    }

    /// Carries all that waits for a sink. One that is down is no error here: its rows wait.
    pub async fn carry(&self, sink: Sink) -> Result<(), Error> {
        loop {
            let batch = self.store.outbox(sink, BATCH).await?;
            if batch.is_empty() || !self.is_ours(sink).await? {
                return Ok(());
            }
            match self.deliver(sink, &batch).await {
                Ok(()) => self.is_up(sink),
                Err(why) => {
                    self.is_down(sink, &why);
                    return Ok(());
                }
            }
            self.store.outbox_done(&batch).await?;
            if sink == Sink::Bus {
                self.figures.published.inc_by(batch.len() as u64);
            }
            if batch.len() < BATCH as usize {
                return Ok(());
            }
        }
    }

    /// Measures what waits.
    pub async fn measure(&self) -> Result<(), Error> {
        let now = self.clock.now();
        for sink in SINKS {
            let backlog = self.store.backlog(sink).await?;
            let age = backlog.oldest.map_or(0, |oldest| now.duration_since(oldest).as_secs().max(0));
            let label = Label { sink: sink.name() };
            self.figures.backlog.get_or_create(&label).set(i64::try_from(backlog.rows).unwrap_or(i64::MAX));
            self.figures.oldest.get_or_create(&label).set(age);
        }
        Ok(())
    }

    /// Removes documents that are older than they are kept.
    pub async fn purge(&self) -> Result<(), Error> {
        let before = self.kept_since();
        while self.sessions.purge(None, before, PURGE).await? >= u64::from(PURGE) {}
        Ok(())
    }

    /// Lets another replica go on at once.
    pub async fn release(&self) {
        for sink in SINKS {
            if let Err(error) = self.store.release_duty(&duty(sink), self.holder).await {
                tracing::debug!(sink = sink.name(), why = reasons(&error), "a relay's duty runs out by itself");
            }
        }
    }

    async fn is_ours(&self, sink: Sink) -> Result<bool, Error> {
        let now = self.clock.now();
        let until = now.checked_add(LEASE).unwrap_or(now);
        self.store.claim_duty(&duty(sink), self.holder, now, until).await
    }

    async fn deliver(&self, sink: Sink, batch: &[Waiting]) -> Result<(), String> {
        match sink {
            Sink::Bus => {
                let records: Vec<Record> = batch.iter().filter_map(record).collect();
                self.bus.publish(&records).await.map_err(|why| why.to_string())
            }
            Sink::Sessions if self.keep.is_zero() => Ok(()),
            Sink::Sessions => self.file(batch).await.map_err(|error| reasons(&error)),
            Sink::Outcomes => self.count(batch).await.map_err(|error| reasons(&error)),
        }
    }

    async fn file(&self, batch: &[Waiting]) -> Result<(), Error> {
        let look = || async {
            if self.sessions.is_empty().await? {
                let made = self.archive().rebuild(self.kept_since()).await?;
                tracing::info!(made, "the session store was empty; snapshots were made again from the ledger");
            }
            Ok::<(), Error>(())
        };
        self.looked.get_or_try_init(look).await?;
        let documents: Vec<Document> = batch.iter().cloned().map(Document::from).collect();
        self.sessions.insert(&documents).await
    }

    async fn count(&self, batch: &[Waiting]) -> Result<(), Error> {
        let mut changed: BTreeMap<Uuid, BTreeSet<Uuid>> = BTreeMap::new();
        for waiting in batch {
            changed.entry(waiting.org).or_default().insert(waiting.conversation);
        }
        for (org, conversations) in changed {
            self.outcomes.record(org, &Vec::from_iter(conversations)).await?;
        }
        Ok(())
    }

    fn kept_since(&self) -> Timestamp {
        let now = self.clock.now();
        let keep = SignedDuration::try_from(self.keep).unwrap_or(SignedDuration::MAX);
        now.checked_sub(keep).unwrap_or(Timestamp::MIN)
    }

    fn is_up(&self, sink: Sink) {
        if self.flag(sink).swap(false, Ordering::Relaxed) {
            tracing::info!(sink = sink.name(), "a sink of the outbox is back; what waited is carried");
        }
    }

    fn is_down(&self, sink: Sink, why: &str) {
        if self.flag(sink).swap(true, Ordering::Relaxed) {
            tracing::debug!(sink = sink.name(), why, "a sink of the outbox is still down");
        } else {
            tracing::warn!(sink = sink.name(), why, "a sink of the outbox is down; what is meant for it waits");
        }
    }

    fn flag(&self, sink: Sink) -> &AtomicBool {
        let place = SINKS.iter().position(|known| *known == sink).unwrap_or_default();
        &self.down[place]
    }
}

fn duty(sink: Sink) -> String {
    format!("relay-{}", sink.name())
}

/// A row as a record. One that cannot be read never can: it is told and left out, so that it holds no other up.
fn record(waiting: &Waiting) -> Option<Record> {
    match Record::read(waiting.body.clone()) {
        Ok(record) => Some(record),
        Err(error) => {
            let Waiting { conversation, seq, .. } = waiting;
            tracing::error!(%conversation, seq, why = reasons(&error), "a fact cannot be read and is left out");
            None
        }
    }
}

/// An error with all that caused it, for the log.
fn reasons(error: &dyn StdError) -> String {
    let mut all = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        all = format!("{all}: {cause}");
        next = cause.source();
    }
    all
}
