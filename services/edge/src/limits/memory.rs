//! Counters of this process.
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use moka::sync::Cache;

use super::{Decision, window::Window};
use crate::config::Rate;

/// Users counted at once. Beyond that the longest unseen is forgotten: some 10 MiB at most.
const KEYS: u64 = 100_000;

/// The counters. Cheap to clone; clones count together.
#[derive(Clone)]
pub(crate) struct Memory(Cache<String, Arc<Mutex<Window>>>);

impl Memory {
    pub(crate) fn new(rate: Rate) -> Self {
        Memory(Cache::builder().max_capacity(KEYS).time_to_idle(rate.span * 2).build())
    }

    /// Counts a request; never fails.
    pub(crate) fn take(&self, key: &str, rate: Rate, now: Timestamp) -> Decision {
        let window = self.0.get_with_by_ref(key, Arc::default);
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        window.take(rate, now.as_microsecond())
    }
}
