//! Where reading of Salesforce's events stands: the port, and its adapter over the [`Store`].
//!
//! In: positions and event ids as Salesforce gives them. Out: which events are new. Never: what an event says.
use async_trait::async_trait;
use jiff::SignedDuration;
use switchboard_runtime::Clock;
use uuid::Uuid;

use crate::{
    Error,
    store::{Store, Value},
};

/// Events are remembered so long. Salesforce sends none that is older than three days; a day more for clocks and pauses.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(96);

/// What reading the events of a topic rests on.
///
/// Laws, each with a test of the same name in the contract suite:
/// - a topic begins without a position and is where the last step put it;
/// - of readers that step from the same position one moves, and the others learn that they are late;
/// - an event is new once, also when it comes again behind another position;
/// - an organization's topics are its own.
#[async_trait]
pub trait Replay: Send + Sync {
    /// Up to where the events of a topic were taken; none at the beginning.
    async fn position(&self, org: Uuid, topic: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Moves a topic from one position to the next and takes the events between them, in one transaction. Returns those that
    /// nobody took before, in their order; none at all if another reader has moved the topic meanwhile.
    async fn step(
        &self,
        org: Uuid,
        topic: &str,
        from: Option<&[u8]>,
        to: &[u8],
        events: &[String],
    ) -> Result<Option<Vec<String>>, Error>;
}

/// [`Replay`] in the ledger.
pub struct Replayed {
    store: Box<dyn Store>,
    clock: Clock,
}

impl Replayed {
    /// On a ledger's store.
    pub fn new(store: Box<dyn Store>, clock: Clock) -> Self {
        Replayed { store, clock }
    }
}

const POSITION: &str = "SELECT position FROM replay_positions WHERE organization_id = $1 AND topic = $2";
const MOVE: &str = "INSERT INTO replay_positions (organization_id, topic, position, updated_at) VALUES ($1, $2, $3, $4) \
                    ON CONFLICT (organization_id, topic) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at";
const TAKE: &str = "INSERT INTO replay_events (organization_id, topic, event_id, created_at) VALUES ($1, $2, $3, $4) \
                    ON CONFLICT (organization_id, topic, event_id) DO NOTHING RETURNING event_id";
const FORGET: &str = "DELETE FROM replay_events WHERE organization_id = $1 AND topic = $2 AND created_at < $3";

#[async_trait]
impl Replay for Replayed {
    async fn position(&self, org: Uuid, topic: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut tx = self.store.read(org).await?;
        let rows = tx.rows(POSITION, &[Value::Id(org), Value::Text(topic)]).await?;
        Ok(rows.first().map(|row| row.bytes("position")).transpose()?.flatten())
    }

    async fn step(
        &self,
        org: Uuid,
        topic: &str,
        from: Option<&[u8]>,
        to: &[u8],
        events: &[String],
    ) -> Result<Option<Vec<String>>, Error> {
        let now = self.clock.now();
        let (id, name, time) = (Value::Id(org), Value::Text(topic), Value::Time(Some(now)));
        let mut tx = self.store.write(org).await?;
        let rows = tx.rows(POSITION, &[id, name]).await?;
        let at = rows.first().map(|row| row.bytes("position")).transpose()?.flatten();
        if at.as_deref() != from {
            return Ok(None);
        }
        tx.rows(MOVE, &[id, name, Value::Bytes(Some(to)), time]).await?;
        let mut new = Vec::new();
        for event in events {
            if !tx.rows(TAKE, &[id, name, Value::Text(event), time]).await?.is_empty() {
                new.push(event.clone());
            }
        }
        let old = now.saturating_sub(REMEMBERED).unwrap_or(now);
        tx.rows(FORGET, &[id, name, Value::Time(Some(old))]).await?;
        tx.commit().await?;
        Ok(Some(new))
    }
}
