//! The wire over Redis: one channel, on which all replicas publish and listen.
//!
//! In and out: letters as JSON. Never: content, a wait for a Redis that is away.
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt as _};
use switchboard_runtime::redis::{NoAnswer, Redis};

use super::wire::{Heard, Letter, Wire};

/// Of all replicas of one installation.
pub const CHANNEL: &str = "switchboard:conversation";

/// The wire.
#[derive(Debug, Clone)]
pub struct RedisWire {
    redis: Redis,
    channel: Arc<str>,
}

impl RedisWire {
    /// On a channel of this name. Channels are of the whole server: those of its databases are kept apart by their names.
    pub fn new(redis: Redis, channel: &str) -> Self {
        let channel = format!("{channel}:{}", redis.database()).into();
        RedisWire { redis, channel }
    }
}

#[async_trait]
impl Wire for RedisWire {
    async fn send(&self, letter: &Letter) -> Result<(), NoAnswer> {
        // Ids and numbers are always written.
        let message = serde_json::to_vec(letter).unwrap_or_default();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&*self.channel).arg(message);
        self.redis.run(async |mut connection| publish.exec_async(&mut connection).await).await
    }

    async fn listen(&self) -> Result<BoxStream<'static, Heard>, NoAnswer> {
        let subscription = self.redis.subscribe(&self.channel).await?;
        let letters = futures::stream::unfold(subscription, async |mut subscription| {
            let message = subscription.next().await?;
            Some((serde_json::from_slice(&message).ok(), subscription))
        });
        Ok(letters.boxed())
    }
}
