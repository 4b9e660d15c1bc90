//! The bus of one process.
//!
//! In: records. Out: the same to every listener of this process. Never: a memory: whoever listens later hears what comes later.
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast::{self, Receiver, Sender};

use super::{Bus, NotTaken, Record};

/// Records kept for a slow listener; beyond that it is told how many it missed, and reads the API.
const BACKLOG: usize = 4096;

/// Listeners of this process.
#[derive(Debug)]
pub struct MemoryBus(Sender<Arc<Record>>);

impl Default for MemoryBus {
    fn default() -> Self {
        MemoryBus(broadcast::channel(BACKLOG).0)
    }
}

impl MemoryBus {
    /// Listens from now on.
    pub fn listen(&self) -> Receiver<Arc<Record>> {
        self.0.subscribe()
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, records: &[Record]) -> Result<(), NotTaken> {
        for record in records {
            // Nobody listens: that is no failure.
            if self.0.send(Arc::new(record.clone())).is_err() {
                break;
            }
        }
        Ok(())
    }
}
