//! What turn, desk and timers share: the ports, the time, and the one way to write.
//!
//! In: a function from the row to a commit. Out: the row as it is stored, told to the watchers. Never: a write that is not a
//! compare-and-set.
use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
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
    hub::Sign,
    mind::Mind,
    model::Conversation,
    privacy::Place,
    relay::Relay,
    shared::Shared,
    store::{Commit, Committed, Store},
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
    /// Beside the ledger: watchers, rows, presence.
    pub shared: Arc<Shared>,
    /// Where something of a person may be kept, in the order in which a person is erased.
    pub places: Vec<Arc<dyn Place>>,
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
    /// What leaves by the outbox.
    pub relay: Relay,
}

impl Engine {
    /// A conversation in the caller's sight, as it is now: a customer sees its own, staff those of the organization.
    pub async fn see(&self, caller: &Caller, id: Uuid) -> Result<Conversation, Error> {
        in_sight(caller, id, self.store.load(caller.org, id).await?)
    }

    /// The same, perhaps in an older state: for those who go on to a compare-and-set, or only ask whether they may see it.
    pub async fn glance(&self, caller: &Caller, id: Uuid) -> Result<Conversation, Error> {
        in_sight(caller, id, self.shared.rows.glance(caller.org, id).await?)
    }

    /// Writes: reads the row, lets `make` build the change, commits it, and does so again if somebody wrote in between.
    /// `make` may return false to leave all as it is.
    pub async fn change<F>(&self, org: Uuid, id: Uuid, make: F) -> Result<(Conversation, Committed), Error>
    where
        F: FnMut(&mut Change<'_>) -> Result<bool, Error> + Send,
    {
        let before = self.shared.rows.glance(org, id).await?.ok_or(Error::ConversationNotFound(id))?;
        self.change_from(before, make).await
    }

    /// The same from a row that was just read. If it is old by now, the compare-and-set says so and it is read again.
    pub async fn change_from<F>(
        &self,
        mut before: Conversation,
        mut make: F,
    ) -> Result<(Conversation, Committed), Error>
    where
        F: FnMut(&mut Change<'_>) -> Result<bool, Error> + Send,
    {
        let (org, id) = (before.org, before.id);
        for _ in 0..TRIES {
            let mut change = Change::on(&before, &self.clock);
            let wanted = make(&mut change);
            // A refusal may rest on an old row: only a row that is still the newest may refuse.
            let commit = match wanted {
                Ok(true) => {
                    change.mark(&before);
                    change.commit
                }
                undecided => {
                    let now = self.shared.rows.load(org, id).await?.ok_or(Error::ConversationNotFound(id))?;
                    if now == before {
                        return undecided.map(|_| (before, Committed::Done));
                    }
                    before = now;
                    continue;
                }
            };
            let next = commit.next.clone();
            match self.commit(commit).await? {
                Committed::Conflict => {
                    tokio::task::yield_now().await;
                    before = self.shared.rows.load(org, id).await?.ok_or(Error::ConversationNotFound(id))?;
                }
                Committed::Done => return Ok((next, Committed::Done)),
                refused => return Ok((before, refused)),
            }
        }
        Err(Error::Contended)
    }

    /// Commits and tells, in a task of its own: a request that is given up in between cannot leave watchers untold.
    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let (store, shared) = (self.store.clone(), self.shared.clone());
        let task = tokio::spawn(async move {
            let (row, events) = (commit.next.clone(), commit.events.clone());
            let committed = store.commit(commit).await?;
            if committed == Committed::Done {
                shared.hub.tell(row.org, row.id, events);
                shared.rows.put(row);
            }
            Ok(committed)
        });
        task.await.map_err(|_| Error::Contended)?
    }

    /// Tells watchers that somebody types or has read, and notes it for those who come.
    pub async fn presence(&self, row: &Conversation, sign: Sign) {
        self.shared.hub.presence(row.org, row.id, sign);
        self.shared.presence.note(row.org, row.id, sign).await;
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

fn in_sight(caller: &Caller, id: Uuid, row: Option<Conversation>) -> Result<Conversation, Error> {
    let own = |row: &Conversation| caller.role != Role::Customer || row.user == caller.user;
    row.filter(own).ok_or(Error::ConversationNotFound(id))
}
