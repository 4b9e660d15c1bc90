//! What notification does: delivers, once per key as far as the target allows.
//!
//! In: a checked message with its organization and key. Out: its delivery. Never: a second try by itself; the caller owns the
//! effect and asks again with the same key.
//!
//! Whoever works on a delivery holds it in the store, so that of all replicas one works on it. A hold ends by itself when its
//! process dies; any replica then finds out what became of the delivery.
use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use switchboard_runtime::Clock;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    error::Error,
    message::{Delivery, Message, Status, mark},
    store::{Hold, Person, Position, Settled, Store},
    transport::Transport,
    turns::Turns,
};

/// A target that has not answered by then has not taken it, until a retry finds out otherwise. Twice what callers wait.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a delivery is held at most: the limit, and some seconds for the store and for clocks that differ.
pub const HOLD: Duration = Duration::from_secs(15);
/// Deliveries that are looked after at once.
const BATCH: u32 = 100;

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

/// What an erasure found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Deliveries that were removed.
    pub deliveries: u32,
    /// What was said, where it was still there to be removed.
    pub texts: u32,
}

impl Sender {
    /// Over a store and a way out. Other senders may share both.
    pub fn new(store: Arc<dyn Store>, transport: Arc<dyn Transport>, clock: Clock) -> Self {
        Sender { store, transport, clock, turns: Turns::default() }
    }

    fn hold(&self) -> Hold {
        let now = self.clock.now();
        let until = SignedDuration::try_from(HOLD).ok().and_then(|hold| now.checked_add(hold).ok());
        Hold { by: self.clock.new_id(), now, until: until.unwrap_or(Timestamp::MAX) }
    }

    /// Finds out what became of deliveries that were begun and not settled while they were held: their process died.
    pub async fn recover(&self) -> Result<(), Error> {
        loop {
            let hold = self.hold();
            let open = self.store.unsettled(hold, BATCH).await?;
            if open.is_empty() {
                return Ok(());
            }
            for open in open {
                // What cannot be looked up now is looked up by a retry.
                let found = matches!(self.limited(self.transport.find(&open)).await, Ok(true));
                let status = if found { Status::Delivered } else { Status::Failed };
                self.store.settle(open.org, open.id, hold.by, status, self.transport.name()).await?;
                tracing::info!(delivery = %open.id, status = status.name(), "settled a delivery that was cut off");
            }
        }
    }

    /// Delivers, unless an earlier call with this key did. The row is written first, so that a process that dies on the way
    /// leaves a trace, and a retry looks at the target before it delivers again. Goes on to its end when the caller gives up.
    pub async fn send(
        self: &Arc<Self>,
        org: Uuid,
        key: &str,
        message: &Message,
        user: Option<Uuid>,
    ) -> Result<Sent, Error> {
        let (this, key, message) = (self.clone(), key.to_owned(), message.clone());
        let work = async move { this.to_the_end(org, &key, &message, user).await };
        tokio::spawn(work.in_current_span()).await.map_err(|e| Error::NotDelivered(Box::new(e)))?
    }

    async fn to_the_end(&self, org: Uuid, key: &str, message: &Message, user: Option<Uuid>) -> Result<Sent, Error> {
        // Callers of this process wait for each other here; those of another replica are told to come again.
        let _turn = self.turns.wait(mark(org, key)).await;
        let hold = self.hold();
        let new = Delivery {
            id: self.clock.new_id(),
            org,
            key: key.to_owned(),
            kind: message.kind(),
            status: Status::Delivering,
            transport: self.transport.name().to_owned(),
            // In the whole microseconds that stores keep: the target's name for it is made from this.
            created: Timestamp::from_microsecond(hold.now.as_microsecond()).unwrap_or(hold.now),
        };
        let person = Person { user, emails: message.address().map(str::to_owned).into_iter().collect() };
        let begun = self.store.begin(&new, &person, hold).await?;
        let kept = begun.delivery;
        if kept.kind != new.kind {
            return Err(Error::KeyReused);
        }
        if !begun.held {
            let delivered = kept.status == Status::Delivered;
            return if delivered { Ok(Sent { delivery: kept, repeated: true }) } else { Err(Error::InHand) };
        }
        // An error of the target may hide that it took it: a failed delivery is looked up like one that was cut off.
        let tried = self.limited(async {
            if kept.id != new.id && self.transport.find(&kept).await? {
                return Ok(true);
            }
            self.transport.deliver(&kept, message).await.map(|()| false)
        });
        let tried = tried.await;
        let status = if tried.is_ok() { Status::Delivered } else { Status::Failed };
        let settled = self.store.settle(org, kept.id, hold.by, status, self.transport.name()).await?;
        if settled != Settled::Noted {
            tracing::warn!(delivery = %kept.id, ?settled, "a delivery took longer than it may be held");
        }
        if settled == Settled::Erased {
            self.limited(self.transport.remove(&kept)).await?;
            return Err(Error::NotDelivered("it was erased meanwhile".into()));
        }
        let repeated = tried?;
        let delivery = Delivery { status, transport: self.transport.name().to_owned(), ..kept };
        Ok(Sent { delivery, repeated })
    }

    async fn limited<T>(
        &self,
        work: impl Future<Output = Result<T, crate::transport::Undelivered>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(LIMIT, work).await {
            Ok(done) => done.map_err(|e| Error::NotDelivered(e.0)),
            Err(late) => Err(Error::NotDelivered(Box::new(late))),
        }
    }

    /// Settled deliveries of an organization, newest first.
    pub async fn list(&self, org: Uuid, after: Option<Position>, limit: u32) -> Result<Vec<Delivery>, Error> {
        self.store.list(org, after, limit).await
    }

    /// A person's deliveries, oldest first, with what was said where it can still be read.
    pub async fn export(&self, org: Uuid, person: &Person) -> Result<Vec<(Delivery, Option<String>)>, Error> {
        let mut export = Vec::new();
        for delivery in self.store.of_person(org, person).await? {
            let text = self.limited(self.transport.read(&delivery)).await?;
            export.push((delivery, text));
        }
        Ok(export)
    }

    /// Removes a person's deliveries, and what was said. First what was said: a process that dies on the way leaves the rows
    /// that find it again.
    pub async fn erase(&self, org: Uuid, person: &Person) -> Result<Erased, Error> {
        let mut erased = Erased::default();
        loop {
            let hold = self.hold();
            let (held, others) = self.store.hold_person(org, person, hold, BATCH).await?;
            if held.is_empty() {
                // Somebody works on the others, and is done with them in a moment: the caller comes again.
                return if others > 0 { Err(Error::InHand) } else { Ok(erased) };
            }
            for delivery in held {
                erased.texts += u32::from(self.limited(self.transport.remove(&delivery)).await?);
            }
            erased.deliveries += self.store.remove(org, hold.by).await?;
        }
    }
}
