//! One key's window: the arithmetic that both places share.
//!
//! In: what was counted, the rate, the time. Out: what is counted now, and a decision. Never: a clock.
//!
//! `redis.lua` has the same `turn` and the same sum; a test feeds both with the same requests.
use std::time::Duration;

use super::Decision;
use crate::config::Rate;

/// What was counted for a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Number of the window since 1970.
    pub(super) number: i64,
    /// Admitted in the window before.
    pub(super) before: u32,
    /// Admitted in this one.
    pub(super) now: u32,
}

impl Window {
    /// Counts a request at a time in microseconds.
    pub(super) fn take(&mut self, rate: Rate, time: i64) -> Decision {
        let span = micros(rate);
        let at = self.turn(time.div_euclid(span), time.rem_euclid(span));
        // A lower limit may be in force since they were counted.
        self.before = self.before.min(rate.count);
        self.now = self.now.min(rate.count);
        let admitted = used(self.before, self.now, at, rate) + 1.0 <= f64::from(rate.count);
        self.now += u32::from(admitted);
        decision(admitted, self.before, self.now, at, rate)
    }

    /// Goes on to the window of now; returns how far that has passed.
    fn turn(&mut self, number: i64, at: i64) -> i64 {
        match number - self.number {
            0 => {}
            1 => *self = Window { number, before: self.now, now: 0 },
            // A clock a little behind the one that began this window: it has just begun.
            -1 => return 0,
            // A clock that jumped back: how long ago it was nobody knows, so it counts as the window before.
            ..-1 => *self = Window { number, before: self.now, now: 0 },
            2.. => *self = Window { number, before: 0, now: 0 },
        }
        at
    }
}

/// A window in microseconds.
pub(super) fn micros(rate: Rate) -> i64 {
    i64::try_from(rate.span.as_micros()).unwrap_or(i64::MAX).max(1)
}

/// Requests that count right now: the window before wanes while this one passes.
fn used(before: u32, now: u32, at: i64, rate: Rate) -> f64 {
    f64::from(before) * (1.0 - passed(at, rate)) + f64::from(now)
}

fn passed(at: i64, rate: Rate) -> f64 {
    at as f64 / micros(rate) as f64
}

/// What to tell, from what is counted after a request.
pub(super) fn decision(admitted: bool, before: u32, now: u32, at: i64, rate: Rate) -> Decision {
    let (limit, passed) = (f64::from(rate.count), passed(at, rate));
    let left = limit - used(before, now, at, rate);
    let reset = if left >= 1.0 { 1.0 - passed } else { until_next(before, now, limit, passed) };
    Decision { admitted, remaining: left.max(0.0) as u32, reset: span(rate).mul_f64(reset.max(0.0)) }
}

fn span(rate: Rate) -> Duration {
    Duration::from_micros(micros(rate).unsigned_abs())
}

/// How long, in windows, until one more is admitted: first the window before wanes, then this one does.
fn until_next(before: u32, now: u32, limit: f64, passed: f64) -> f64 {
    let (before, now) = (f64::from(before), f64::from(now));
    if now + 1.0 <= limit {
        let at = 1.0 - (limit - 1.0 - now) / before.max(1.0);
        return at - passed;
    }
    1.0 - passed + (1.0 - (limit - 1.0) / now.max(1.0))
}
