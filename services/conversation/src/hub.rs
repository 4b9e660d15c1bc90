//! Tells watchers of a conversation what was committed, and who types.
//!
//! In: signals after their commit. Out: the same to every watcher of this process. Never: the truth: a watcher that missed a
//! signal sees the hole in `seq` and reads the ledger.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast::{self, Receiver, Sender};
use uuid::Uuid;

use crate::model::Event;

/// Signals kept for a slow watcher; beyond that it reads the ledger.
const BACKLOG: usize = 64;

/// One signal.
#[derive(Debug, Clone)]
pub enum Signal {
    /// Committed.
    Event(Arc<Event>),
    /// Somebody types, or has read up to a seq.
    Presence {
        /// `ai`, `human` or `user`.
        who: &'static str,
        /// True while typing.
        typing: bool,
        /// Read up to here; 0 if this is about typing.
        read_seq: u64,
    },
}

/// The watchers of this process.
#[derive(Debug, Default)]
pub struct Hub(Mutex<HashMap<Uuid, Sender<Signal>>>);

impl Hub {
    /// Watches a conversation from now on.
    pub fn watch(&self, conversation: Uuid) -> Receiver<Signal> {
        self.map().entry(conversation).or_insert_with(|| broadcast::channel(BACKLOG).0).subscribe()
    }

    /// Tells all watchers.
    pub fn tell(&self, conversation: Uuid, signal: Signal) {
        let mut map = self.map();
        if let Some(sender) = map.get(&conversation)
            && sender.send(signal).is_err()
        {
            // Nobody watches any more.
            map.remove(&conversation);
        }
    }

    /// Forgets conversations that nobody watches.
    pub fn sweep(&self) {
        self.map().retain(|_, sender| sender.receiver_count() > 0);
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Uuid, Sender<Signal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
