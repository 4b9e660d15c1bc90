//! What identity does unasked: guests whose time is up are erased, what has ended is forgotten, keys follow a new master key.
//!
//! In: the time. Out: counts. Never: two replicas at the same work, or a word about whom it was done to.
use std::time::Duration;

use switchboard_runtime::Shutdown;

use crate::{error::Error, identity::Identity};

/// Often enough for what counts in days, and for a new master key to be everywhere before the day is over.
const EVERY: Duration = Duration::from_secs(3600);
/// Of each at a time: a transaction of some milliseconds, which nobody notices.
const BATCH: u32 = 200;
/// The name of it all.
const DUTY: &str = "housekeeping";

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Guests erased.
    pub guests: u64,
    /// Tokens and failed sign-ins forgotten.
    pub forgotten: u64,
    /// Keys wrapped under the newest master key.
    pub rewrapped: u64,
}

impl Identity {
    /// Does what is due; none if it was done, or if another process does it.
    pub async fn housekeeping(&self) -> Result<Option<Done>, Error> {
        let now = self.now();
        if !self.store.claim(DUTY, now, EVERY).await? {
            return Ok(None);
        }
        let made_before = now.saturating_sub(self.guest_retention).unwrap_or(jiff::Timestamp::MIN);
        let mut done = Done::default();
        loop {
            let rewrapped = self.store.rewrap_keys(BATCH).await?;
            let guests = self.store.erase_guests(made_before, now, BATCH).await?;
            let forgotten = self.store.forget_ended(now, BATCH).await?;
            if rewrapped + guests + forgotten == 0 {
                return Ok(Some(done));
            }
            done.rewrapped += rewrapped;
            done.guests += guests;
            done.forgotten += forgotten;
        }
    }
}

/// Looks every hour, until `shutdown`. What is cut off is done by the next one: each batch is a transaction.
pub(crate) async fn run(identity: &Identity, shutdown: &Shutdown) {
    let work = async {
        let mut hours = tokio::time::interval(EVERY);
        hours.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            hours.tick().await;
            match identity.housekeeping().await {
                Ok(None) => {}
                Ok(Some(Done { guests, forgotten, rewrapped })) => {
                    tracing::debug!(guests, forgotten, rewrapped, "identity kept house");
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "identity could not keep house");
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}
