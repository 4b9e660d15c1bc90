//! What notification does: delivers, once per key as far as the target allows.
//!
//! In: a checked message with its organization and key. Out: its delivery. Never: a second try by itself; the caller owns the
//! effect and asks again with the same key.
use std::sync::Arc;

use jiff::Timestamp;
use switchboard_runtime::Clock;
use uuid::Uuid;

use crate::{
    error::Error,
    message::{Delivery, Message, Status, mark},
    store::{Position, Store},
    transport::Transport,
    turns::Turns,
};

/// Delivers.
pub struct Sender {
    store: Arc<dyn Store>,
    transport: Arc<dyn Transport>,
    clock: Clock,
    turns: Turns,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The delivery.
    pub delivery: Delivery,
    /// True if an earlier call with the key did it.
    pub repeated: bool,
}

impl Sender {
    /// Over a store and a way out. The store belongs to this process alone.
    pub fn new(store: Arc<dyn Store>, transport: Arc<dyn Transport>, clock: Clock) -> Self {
        Sender { store, transport, clock, turns: Turns::default() }
    }

    /// Finds out what became of deliveries that an earlier process began and did not settle.
    pub async fn recover(&self) -> Result<(), Error> {
        for open in self.store.unsettled().await? {
            let found = self.transport.find(&open).await.map_err(|e| Error::NotDelivered(e.0))?;
            let status = if found { Status::Delivered } else { Status::Failed };
            self.store.settle(open.org, open.id, status, self.transport.name()).await?;
            tracing::info!(delivery = %open.id, status = status.name(), "settled a delivery that was cut off");
        }
        Ok(())
    }

    /// Delivers, unless an earlier call with this key did. The row is written first, so that a process that dies on the way
    /// leaves a trace, and a retry looks at the target before it delivers again.
    pub async fn send(&self, org: Uuid, key: &str, message: &Message) -> Result<Sent, Error> {
        let _turn = self.turns.wait(mark(org, key)).await;
        let now = self.clock.now();
        let new = Delivery {
            id: self.clock.new_id(),
            org,
            key: key.to_owned(),
            kind: message.kind(),
            status: Status::Delivering,
            transport: self.transport.name().to_owned(),
            // In the whole microseconds that stores keep: the target's name for it is made from this.
            created: Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now),
        };
        let kept = self.store.begin(&new).await?;
        if kept.kind != new.kind {
            return Err(Error::KeyReused);
        }
        if kept.status == Status::Delivered {
            return Ok(Sent { delivery: kept, repeated: true });
        }
        let first = kept.id == new.id;
        // An error of the target may hide that it took it: a failed delivery is looked up like one that was cut off.
        let found = !first && self.transport.find(&kept).await.map_err(|e| Error::NotDelivered(e.0))?;
        let tried = if found { Ok(()) } else { self.transport.deliver(&kept, message).await };
        let status = if tried.is_ok() { Status::Delivered } else { Status::Failed };
        self.store.settle(org, kept.id, status, self.transport.name()).await?;
        tried.map_err(|e| Error::NotDelivered(e.0))?;
        let delivery = Delivery { status, transport: self.transport.name().to_owned(), ..kept };
        Ok(Sent { delivery, repeated: found })
    }

    /// Settled deliveries of an organization, newest first.
    pub async fn list(&self, org: Uuid, after: Option<Position>, limit: u32) -> Result<Vec<Delivery>, Error> {
        self.store.list(org, after, limit).await
    }
}
