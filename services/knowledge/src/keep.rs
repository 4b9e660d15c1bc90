//! Keeps index and graph up to the articles for as long as the service runs.
//!
//! In: the service without its wire, and how its store is. Out: whether it is ready. Never: an end. A store that is not there
//! is waited for, and one that comes back is found again.
use std::time::Duration;

use jiff::SignedDuration;
use switchboard_runtime::{Clock, Condition, condition::Reporter};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{demo::import_demo, error::Error, knowledge::Knowledge};

/// Between two looks for what other replicas wrote: so long an article that was archived there is still found here. A look
/// that finds nothing costs one short query of an index that is nearly always empty.
const LOOK: Duration = Duration::from_millis(500);
/// Before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the store is told that the index is in use: so often that some failures do not make it forget one.
const STAY: SignedDuration = SignedDuration::from_mins(1);

/// Starts as soon as the store is there, brings in the demo articles if an organization is named, and then stays up to what
/// other replicas write.
pub async fn keep(knowledge: Knowledge, demo: Option<Uuid>, mut store: Condition, clock: Clock, ready: Reporter) {
    loop {
        store.until_well().await;
        if let Err(error) = start(&knowledge, demo).await {
            tracing::warn!(%error, "cannot bring the search index up to the articles; trying again");
            ready.ill(format!("the search index cannot be brought up to the articles: {error}"));
            sleep(AGAIN).await;
            continue;
        }
        ready.well();
        follow(&knowledge, &clock, &ready).await;
        ready.ill("the search index was away for long and is built anew");
    }
}

async fn start(knowledge: &Knowledge, demo: Option<Uuid>) -> Result<(), Error> {
    knowledge.start().await?;
    if let Some(org) = demo {
        let count = import_demo(knowledge, org).await?;
        if count > 0 {
            tracing::info!(articles = count, "demo articles imported");
        }
    }
    // Another replica may have imported them.
    knowledge.catch_up().await?;
    Ok(())
}

/// Ends when the store knows nothing of the index any more. Not ready while it cannot follow: what is found may have been
/// archived.
async fn follow(knowledge: &Knowledge, clock: &Clock, ready: &Reporter) {
    let mut told = clock.now();
    let mut failed = false;
    loop {
        sleep(LOOK).await;
        let now = clock.now();
        let step = async {
            if now.duration_since(told).abs() >= STAY {
                if !knowledge.stay().await? {
                    return Ok(false);
                }
                told = now;
            }
            knowledge.catch_up().await?;
            Ok::<_, Error>(true)
        };
        match step.await {
            Ok(true) => {
                failed = false;
                ready.well();
            }
            Ok(false) => return,
            Err(error) => {
                // Logged once, and again only after it was well.
                if !failed {
                    tracing::warn!(%error, "cannot look for what other replicas wrote; trying again");
                }
                failed = true;
                ready.ill(format!("the search index cannot follow the articles: {error}"));
            }
        }
    }
}
