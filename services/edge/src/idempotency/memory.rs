//! Answers of this process.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use moka::{ops::compute::Op, sync::Cache};
use tokio::time::Instant;

use super::{ANSWER_KEPT, Begun, Fingerprint, KEY_KEPT, Mark, RUNS, Stored, Ticket};

/// Keys known at once; some 20 MiB at most.
const KEYS: u64 = 100_000;
/// Memory for answers.
const BYTES: u64 = 64 * 1024 * 1024;
/// What an answer costs beside its body.
const OVERHEAD: u32 = 512;

#[derive(Debug, Clone, Copy)]
struct Key {
    request: Fingerprint,
    since: Instant,
    /// The request that runs; none if it ended.
    running: Option<u64>,
}

impl Key {
    fn is_running(&self) -> bool {
        self.running.is_some() && self.since.elapsed() < RUNS
    }
}

/// The answers.
pub(super) struct Memory {
    keys: Cache<String, Key>,
    answers: Cache<String, (Instant, Arc<Stored>)>,
    next: AtomicU64,
}

impl Default for Memory {
    fn default() -> Self {
        let size = |_: &String, (_, answer): &(Instant, Arc<Stored>)| {
            OVERHEAD.saturating_add(u32::try_from(answer.body.len()).unwrap_or(u32::MAX))
        };
        Memory {
            keys: Cache::builder().max_capacity(KEYS).time_to_live(KEY_KEPT).build(),
            answers: Cache::builder().weigher(size).max_capacity(BYTES).time_to_live(ANSWER_KEPT).build(),
            next: AtomicU64::new(0),
        }
    }
}

impl Memory {
    pub(super) fn begin(&self, key: &str, request: Fingerprint) -> Begun {
        let mut begun = Begun::InFlight;
        self.keys.entry_by_ref(key).and_compute_with(|entry| {
            let known = entry.map(moka::Entry::into_value).filter(|k| k.since.elapsed() < KEY_KEPT);
            begun = match known {
                Some(known) if known.request != request => Begun::Reused,
                Some(known) if known.is_running() => Begun::InFlight,
                Some(_) if let Some(answer) = self.answer(key) => Begun::Again(answer),
                _ => {
                    let number = self.next.fetch_add(1, Ordering::Relaxed);
                    begun = Begun::Run(Ticket { key: key.to_owned(), request, mark: Mark::Here(number) });
                    return Op::Put(Key { request, since: Instant::now(), running: Some(number) });
                }
            };
            Op::Nop
        });
        begun
    }

    fn answer(&self, key: &str) -> Option<Arc<Stored>> {
        let (since, answer) = self.answers.get(key)?;
        (since.elapsed() < ANSWER_KEPT).then_some(answer)
    }

    pub(super) fn end(&self, ticket: &Ticket, answer: Stored) {
        self.close(ticket, |key| {
            // Before the key is free: nobody is told to run in between.
            self.answers.insert(ticket.key.clone(), (Instant::now(), Arc::new(answer)));
            Op::Put(Key { since: Instant::now(), running: None, ..key })
        });
    }

    pub(super) fn forget(&self, ticket: &Ticket) {
        self.close(ticket, |_| Op::Remove);
    }

    /// Changes the key if it is this ticket's.
    fn close(&self, ticket: &Ticket, change: impl FnOnce(Key) -> Op<Key>) {
        self.keys.entry_by_ref(&ticket.key).and_compute_with(|entry| {
            let mine = |key: &Key| matches!(ticket.mark, Mark::Here(number) if key.running == Some(number));
            entry.map(moka::Entry::into_value).filter(mine).map_or(Op::Nop, change)
        });
    }
}
