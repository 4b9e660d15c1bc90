//! Counters in Redis, for edges that share one limit.
use std::sync::LazyLock;

use async_trait::async_trait;
use jiff::Timestamp;
use redis::Script;
use switchboard_runtime::redis::NoAnswer;

use super::{Counters, Decision, window};
use crate::{config::Rate, shared::Shared};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis.lua")));

/// The counters.
pub(crate) struct Redis {
    shared: Shared,
    /// Takes the server's time, one for all edges; tests bring their own.
    own_time: bool,
}

impl Redis {
    pub(crate) fn new(shared: Shared) -> Self {
        Redis { shared, own_time: true }
    }

    #[cfg(test)]
    pub(super) fn at_given_times(shared: Shared) -> Self {
        Redis { own_time: false, ..Redis::new(shared) }
    }

    pub(super) fn name(&self, key: &str) -> String {
        self.shared.name("edge.rate", key)
    }
}

#[async_trait]
impl Counters for Redis {
    async fn take(&self, key: &str, rate: Rate, now: Timestamp) -> Result<Decision, NoAnswer> {
        let time = if self.own_time { String::new() } else { now.as_microsecond().to_string() };
        let mut ask = SCRIPT.key(self.name(key));
        ask.arg(rate.count).arg(window::micros(rate)).arg(time);
        let answer = self.shared.server.run(async |mut connection| ask.invoke_async(&mut connection).await).await;
        let (admitted, before, now, at): (bool, u32, u32, i64) = answer?;
        Ok(window::decision(admitted, before, now, at, rate))
    }
}
