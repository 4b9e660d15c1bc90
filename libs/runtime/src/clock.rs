//! The time, as a value that tests set.
//!
//! In: nothing. Out: [`Timestamp`]s. Never: a sleep.
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Tells the time: the system's, or one that a test moves by hand.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<Mutex<Timestamp>>>);

impl Clock {
    /// The system's time.
    pub fn system() -> Self {
        Clock(None)
    }

    /// A clock that stands still until [`Clock::advance`].
    pub fn manual(start: Timestamp) -> Self {
        Clock(Some(Arc::new(Mutex::new(start))))
    }

    /// Now, in whole microseconds: what stores keep, so that an answer and its repetition are equal.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default(),
            Some(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Moves a manual clock; does nothing to the system's.
    pub fn advance(&self, by: SignedDuration) {
        if let Some(time) = &self.0 {
            let mut time = time.lock().unwrap_or_else(PoisonError::into_inner);
            *time = time.checked_add(by).unwrap_or(*time);
        }
    }

    /// A new UUIDv7 of now: ids sort by time.
    pub fn new_id(&self) -> uuid::Uuid {
        let now = self.now();
        let stamp = uuid::Timestamp::from_unix(
            uuid::NoContext,
            u64::try_from(now.as_second()).unwrap_or_default(),
            u32::try_from(now.subsec_nanosecond()).unwrap_or_default(),
        );
        uuid::Uuid::new_v7(stamp)
    }
}
