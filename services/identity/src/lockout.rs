//! How long a name is locked after failed sign-ins.
//!
//! In: the failures counted so far. Out: when the next try is heard. Never: a store or a clock.
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Failures that are forgiven: people mistype, and try their other passwords.
const FORGIVEN: u32 = 5;
/// The first lock. Doubled with each failure after it: guessing gets slow before it gets anywhere.
const FIRST: Duration = Duration::from_secs(30);
/// The longest lock: whoever owns the name must get in again on the same day, even while somebody else keeps guessing.
const LONGEST: Duration = Duration::from_secs(3600);
/// Failures this old do not count any more.
pub const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Failed sign-ins of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: u32,
    /// The last one.
    pub last: Timestamp,
}

impl Failures {
    /// How long until the next try is heard; none if it is heard now.
    pub fn locked(&self, now: Timestamp) -> Option<Duration> {
        let over = self.count.checked_sub(FORGIVEN)?;
        let lock = FIRST.saturating_mul(2u32.saturating_pow(over)).min(LONGEST);
        let passed = now.duration_since(self.last);
        // A clock that went backward must not lock for longer.
        let passed = Duration::try_from(passed).unwrap_or_default();
        lock.checked_sub(passed).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_doubles_up_to_an_hour() {
        let last = Timestamp::UNIX_EPOCH;
        let locks =
            [0, 1, 4, 5, 6, 7, 11, 12, 13, 400].map(|count| Failures { count, last }.locked(last).map(|d| d.as_secs()));
        assert_eq!(
            locks,
            [None, None, None, Some(30), Some(60), Some(120), Some(1920), Some(3600), Some(3600), Some(3600)]
        );
    }

    #[test]
    fn the_lock_ends() {
        let failures = Failures { count: 6, last: Timestamp::UNIX_EPOCH };
        let at = |second| failures.locked(Timestamp::from_second(second).expect("in range")).map(|d| d.as_secs());
        assert_eq!((at(59), at(60), at(-10)), (Some(1), None, Some(60)));
    }
}
