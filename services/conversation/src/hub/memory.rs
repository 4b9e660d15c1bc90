//! A wire between replicas of one process: for simulations and suites. A process alone needs none.
//!
//! In and out: letters. Never: a task or a timer of its own.
use async_trait::async_trait;
use futures::stream::BoxStream;
use switchboard_runtime::redis::NoAnswer;
use tokio::sync::broadcast;
use tokio_stream::{StreamExt as _, wrappers::BroadcastStream};

use super::wire::{Heard, Letter, Wire};

/// Letters that a slow listener may be behind.
const BACKLOG: usize = 256;

/// The wire. Its clones are the same one.
#[derive(Debug, Clone)]
pub struct MemoryWire(broadcast::Sender<Letter>);

impl Default for MemoryWire {
    fn default() -> Self {
        MemoryWire(broadcast::channel(BACKLOG).0)
    }
}

#[async_trait]
impl Wire for MemoryWire {
    async fn send(&self, letter: &Letter) -> Result<(), NoAnswer> {
        // An error says that nobody listens.
        let _ = self.0.send(letter.clone());
        Ok(())
    }

    async fn listen(&self) -> Result<BoxStream<'static, Heard>, NoAnswer> {
        // One that fell behind has missed something: its stream ends.
        Ok(Box::pin(BroadcastStream::new(self.0.subscribe()).map_while(Result::ok).map(Some)))
    }
}
