//! What turn, desk and timers share: the ports, the time, and the one way to write.
//!
//! In: a function from the row to a commit. Out: the row as it is stored, told to the watchers. Never: a write that is not a
//! compare-and-set.
use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use prometheus_client::metrics::counter::Counter;
use switchboard_proto::identity::v1::{GetUserRequest, identity_service_client::IdentityServiceClient};
use switchboard_proto::types::v1::Tier;
use switchboard_runtime::{Caller, Clock, MeshChannel, Role, caller::Verifier, mesh::Host};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    change::Change,
    config::Config,
    effects::Hands,
    error::Error,
    hub::{Hub, Signal},
    mind::Mind,
    model::Conversation,
    store::{Committed, Store},
};

/// Tries of one compare-and-set: each loss means that somebody else got on, so this bounds only a storm.
const TRIES: usize = 64;

/// The parts of the service.
pub struct Engine {
    /// The ledger.
    pub store: Arc<dyn Store>,
    /// The orchestrator.
    pub mind: Arc<dyn Mind>,
    /// The outside.
    pub hands: Hands,
    /// The watchers.
    pub hub: Hub,
    /// The time.
    pub clock: Clock,
    /// The settings.
    pub config: Config,
    /// Wakes the worker before its next tick.
    pub wake: Notify,
    /// To identity, for what is known of a customer.
    pub identity: MeshChannel,
    /// For work under a service token.
    pub host: Host,
    /// For work under a service token.
    pub verifier: Arc<Verifier>,
    /// Events handed to the bus.
    pub published: Counter,
}

impl Engine {
    /// A conversation in the caller's sight: a customer sees its own, staff those of the organization.
    pub async fn see(&self, caller: &Caller, id: Uuid) -> Result<Conversation, Error> {
        let row = self.store.load(caller.org, id).await?.ok_or(Error::ConversationNotFound(id))?;
        if caller.role == Role::Customer && row.user != caller.user {
            return Err(Error::ConversationNotFound(id));
        }
        Ok(row)
    }

    /// Writes: reads the row, lets `make` build the change, commits it, and does so again if somebody wrote in between.
    /// `make` may return nothing to leave all as it is.
    pub async fn change<F>(&self, org: Uuid, id: Uuid, mut make: F) -> Result<(Conversation, Committed), Error>
    where
        F: FnMut(&mut Change<'_>) -> Result<bool, Error> + Send,
    {
        for _ in 0..TRIES {
            let before = self.store.load(org, id).await?.ok_or(Error::ConversationNotFound(id))?;
            let mut change = Change::on(&before, &self.clock);
            if !make(&mut change)? {
                return Ok((before, Committed::Done));
            }
            let commit = change.commit;
            let (row, events) = (commit.next.clone(), commit.events.clone());
            match self.store.commit(commit).await? {
                Committed::Conflict => tokio::task::yield_now().await,
                Committed::Done => {
                    for event in events {
                        self.hub.tell(id, Signal::Event(Arc::new(event)));
                    }
                    return Ok((row, Committed::Done));
                }
                refused => return Ok((before, refused)),
            }
        }
        Err(Error::Contended)
    }

    /// What identity knows of a customer: tier and address. Without an answer both stay empty: a conversation begins anyway.
    pub async fn profile(&self, user: Uuid) -> (String, String) {
        let mut identity = IdentityServiceClient::new(self.identity.clone());
        let Ok(answer) = identity.get_user(GetUserRequest { user_id: user.to_string() }).await else {
            return Default::default();
        };
        let user = answer.into_inner().user.unwrap_or_default();
        let tier = match user.tier() {
            Tier::Free => "free",
            Tier::Professional => "professional",
            Tier::Enterprise => "enterprise",
            Tier::Standard | Tier::Unspecified => "standard",
        };
        (tier.to_owned(), user.email)
    }

    /// A point in time from now.
    pub fn from_now(&self, span: Duration) -> Timestamp {
        let now = self.clock.now();
        SignedDuration::try_from(span).ok().and_then(|s| now.checked_add(s).ok()).unwrap_or(now)
    }

    /// A point in time before now.
    pub fn before_now(&self, span: Duration) -> Timestamp {
        let now = self.clock.now();
        SignedDuration::try_from(span).ok().and_then(|s| now.checked_sub(s).ok()).unwrap_or(now)
    }
}
