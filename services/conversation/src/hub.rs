//! Tells the watchers of a conversation what was committed and who types, on every replica.
//!
//! In: events after their commit, and what other replicas announce. Out: to each watcher every event once and in order,
//! wherever it was written. Never: the truth: an announcement says that there is something, the ledger says what.
//!
//! Watchers of this process get events directly. To the others goes `(organization, conversation, seq)` and no content; a
//! replica with watchers reads the rest from the ledger. What gets lost on the way is noticed (`peers.rs`) and read there too.
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use switchboard_runtime::{Fault, Shutdown, telemetry::Metrics};
use tokio::sync::{
    broadcast::{self, Receiver, Sender, error::RecvError},
    mpsc,
};
use uuid::Uuid;

use crate::{error::Error, model::Event, store::Store};

pub mod memory;
mod peers;
pub mod redis;
pub mod wire;

use wire::{Note, Wire};

/// Signals kept for a slow watcher; beyond that it reads the ledger.
const BACKLOG: usize = 64;
/// Events read at a time.
const BATCH: u32 = 32;
/// Notes that wait to be sent; beyond that the others are told that some are missing.
const OUTBOX: usize = 4096;
/// Between two tries to read a ledger that does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// Conversations asked about in one statement.
const HEADS: usize = 500;

/// One signal.
#[derive(Debug, Clone)]
pub enum Signal {
    /// Committed.
    Event(Arc<Event>),
    /// Somebody types, or has read up to a seq.
    Presence(Sign),
}

/// Somebody types, or has read up to a seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sign {
    /// Who.
    #[serde(rename = "w")]
    pub who: Who,
    /// True while typing.
    #[serde(rename = "t")]
    pub typing: bool,
    /// Read up to here; 0 if this is about typing.
    #[serde(rename = "r")]
    pub read_seq: u64,
}

/// Who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The AI.
    Ai,
    /// A human agent.
    Human,
    /// The customer.
    User,
}

impl Who {
    /// As it is on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Who::Ai => "ai",
            Who::Human => "human",
            Who::User => "user",
        }
    }
}

/// The watchers of this process, and the way to those of others. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    rooms: Mutex<HashMap<Uuid, Room>>,
    /// To the other replicas, if there may be any.
    out: Option<mpsc::Sender<Note>>,
    /// Letters with news of commits that were not sent.
    lost: AtomicU64,
    /// How often the ledger was asked for what may have been missed.
    lookups: Counter,
    /// How often events were read for watchers.
    reads: Counter,
}

/// A conversation that is watched here.
struct Room {
    org: Uuid,
    sender: Sender<Signal>,
    /// The newest event that was handed to the watchers.
    passed: u64,
    /// The newest event that is known of.
    wanted: u64,
    /// True while a task reads the ledger for this room.
    reading: bool,
}

impl Room {
    /// Hands on what comes next; the rest was handed on before, or has to wait for what is missing.
    fn hand(&mut self, events: impl IntoIterator<Item = Arc<Event>>) {
        for event in events {
            if event.seq == self.passed + 1 {
                self.passed = event.seq;
                // Without a watcher nobody misses it.
                let _ = self.sender.send(Signal::Event(event));
            }
        }
        self.wanted = self.wanted.max(self.passed);
    }
}

impl Hub {
    /// For one process alone.
    pub fn alone(store: Arc<dyn Store>) -> Self {
        Hub::new(store, None)
    }

    /// For one replica among others, counted in the service's metrics, until `shutdown`.
    pub fn among(store: Arc<dyn Store>, wire: Arc<dyn Wire>, metrics: &Metrics, shutdown: Shutdown) -> Self {
        let (out, queue) = mpsc::channel(OUTBOX);
        let hub = Hub::new(store, Some(out));
        metrics.register(|registry| {
            let help = "Times that watched conversations were looked up, since replicas may have missed each other";
            registry.register("fanout_lookups", help, hub.0.lookups.clone());
            let help = "Times that events of a conversation were read for watchers, since another replica wrote them";
            registry.register("fanout_reads", help, hub.0.reads.clone());
        });
        let me = Uuid::new_v4();
        tokio::spawn(peers::speak(hub.clone(), me, wire.clone(), queue, shutdown.clone()));
        tokio::spawn(shutdown.run_until_cancelled_owned(peers::listen(hub.clone(), me, wire)));
        hub
    }

    fn new(store: Arc<dyn Store>, out: Option<mpsc::Sender<Note>>) -> Self {
        Hub(Arc::new(Inner {
            store,
            rooms: Mutex::default(),
            out,
            lost: AtomicU64::new(0),
            lookups: Counter::default(),
            reads: Counter::default(),
        }))
    }

    /// Ends when the `shutdown` was given and all that was told is on its way.
    pub async fn closed(&self) {
        if let Some(out) = &self.0.out {
            out.closed().await;
        }
    }

    /// Watches a conversation for events after a seq. Those that were committed before the watch began come with the next
    /// one; [`Watch::look`] fetches them at once.
    pub fn watch(&self, org: Uuid, conversation: Uuid, after: u64) -> Watch {
        let mut rooms = self.rooms();
        let room = rooms.entry(conversation).or_insert_with(|| Room {
            org,
            sender: broadcast::channel(BACKLOG).0,
            passed: after,
            wanted: after,
            reading: false,
        });
        let receiver = Some(room.sender.subscribe());
        Watch { hub: self.clone(), org, conversation, receiver, last: after, behind: false, ready: VecDeque::new() }
    }

    /// Tells all watchers of a commit's events, in order.
    pub fn tell(&self, org: Uuid, conversation: Uuid, events: Vec<Event>) {
        let (Some(first), Some(last)) = (events.first().map(|e| e.seq), events.last().map(|e| e.seq)) else { return };
        {
            let mut rooms = self.rooms();
            if let Entry::Occupied(mut room) = rooms.entry(conversation)
                && room.get().org == org
            {
                let room = room.get_mut();
                if first > room.passed + 1 {
                    // Another replica, or another task of this one, committed what lies between.
                    self.want(conversation, room, last);
                } else {
                    room.hand(events.into_iter().map(Arc::new));
                }
            }
        }
        self.send(Note::Committed { org, conversation, seq: last });
    }

    /// Tells all watchers that somebody types or has read.
    pub fn presence(&self, org: Uuid, conversation: Uuid, sign: Sign) {
        self.show(org, conversation, sign);
        self.send(Note::Presence { org, conversation, sign });
    }

    fn send(&self, note: Note) {
        if let Some(out) = &self.0.out
            && out.try_send(note).is_err()
        {
            self.lose();
        }
    }

    /// Something was not sent: the others will hear so.
    fn lose(&self) {
        self.0.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// How often watched conversations were looked up since something may have been missed: never while all is well.
    pub fn lookups(&self) -> u64 {
        self.0.lookups.get()
    }

    /// How often events were read for watchers that this replica did not write.
    pub fn reads(&self) -> u64 {
        self.0.reads.get()
    }

    /// Another replica committed up to a seq.
    fn heard(&self, org: Uuid, conversation: Uuid, seq: u64) {
        if let Some(room) = self.rooms().get_mut(&conversation).filter(|room| room.org == org && room.passed < seq) {
            self.want(conversation, room, seq);
        }
    }

    fn show(&self, org: Uuid, conversation: Uuid, sign: Sign) {
        if let Some(room) = self.rooms().get(&conversation).filter(|room| room.org == org) {
            let _ = room.sender.send(Signal::Presence(sign));
        }
    }

    /// Asks the ledger how far all watched conversations are, a statement for many, and reads what was missed.
    async fn catch_up(&self) -> Result<(), Error> {
        self.0.lookups.inc();
        let mut by_org: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        for (id, room) in self.rooms().iter() {
            by_org.entry(room.org).or_default().push(*id);
        }
        for (org, ids) in by_org {
            for ids in ids.chunks(HEADS) {
                for (id, seq) in self.0.store.heads(org, ids).await? {
                    self.heard(org, id, seq);
                }
            }
        }
        Ok(())
    }

    /// Has a room's events read up to a seq.
    fn want(&self, conversation: Uuid, room: &mut Room, seq: u64) {
        room.wanted = room.wanted.max(seq);
        if !room.reading {
            room.reading = true;
            tokio::spawn(self.clone().read(room.org, conversation));
        }
    }

    /// Reads what a room wants, until it has it or nobody watches any more.
    async fn read(self, org: Uuid, conversation: Uuid) {
        loop {
            let (after, wanted) = match self.rooms().get_mut(&conversation) {
                None => return,
                Some(room) if room.passed >= room.wanted => {
                    room.reading = false;
                    return;
                }
                Some(room) => (room.passed, room.wanted),
            };
            self.0.reads.inc();
            match self.0.store.events(org, conversation, after, BATCH).await {
                Ok(events) => {
                    let mut rooms = self.rooms();
                    let Some(room) = rooms.get_mut(&conversation) else { return };
                    room.hand(events.into_iter().map(Arc::new));
                    if room.passed == after && room.wanted == wanted {
                        // Announced, and not there: whoever said so was wrong.
                        room.wanted = after;
                    }
                }
                Err(error) => {
                    tracing::debug!(%conversation, reason = Fault::from(error).name(), "watchers wait for the ledger");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Uuid, Room>> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One watcher of one conversation.
pub struct Watch {
    hub: Hub,
    org: Uuid,
    conversation: Uuid,
    receiver: Option<Receiver<Signal>>,
    last: u64,
    behind: bool,
    ready: VecDeque<Arc<Event>>,
}

impl Watch {
    /// Begins with what is in the ledger already.
    pub fn look(&mut self) {
        self.behind = true;
    }

    /// The next signal; events come one by one and in order. May be given up and called again.
    pub async fn next(&mut self) -> Result<Signal, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last = event.seq;
                return Ok(Signal::Event(event));
            }
            if self.behind {
                let events = self.hub.0.store.events(self.org, self.conversation, self.last, BATCH).await?;
                self.behind = events.len() == BATCH as usize;
                self.ready.extend(events.into_iter().map(Arc::new));
                continue;
            }
            let Some(receiver) = &mut self.receiver else { return Err(Error::Contended) };
            match receiver.recv().await {
                Ok(Signal::Event(event)) if event.seq <= self.last => {}
                Ok(Signal::Event(event)) if event.seq == self.last + 1 => self.ready.push_back(event),
                Ok(Signal::Event(_)) | Err(RecvError::Lagged(_)) => self.behind = true,
                Ok(presence) => return Ok(presence),
                // The room lives as long as its watchers.
                Err(RecvError::Closed) => return Err(Error::Contended),
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut rooms = self.hub.rooms();
        self.receiver = None;
        if let Entry::Occupied(room) = rooms.entry(self.conversation)
            && room.get().sender.receiver_count() == 0
        {
            room.remove();
        }
    }
}
