//! Where something of a person may be kept: the ledger, what is beside it, and the services of the mesh.
//!
//! In: a person. Out: what is kept; how much was removed. Never: an order among places: [`crate::privacy`] has it.
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use switchboard_proto::{
    convert::from_struct,
    identity::v1::{EraseUserRequest, ExportUserRequest, identity_service_client::IdentityServiceClient},
    notification::v1 as notify,
    notification::v1::notification_service_client::NotificationServiceClient,
    salesforce::v1 as sf,
    salesforce::v1::salesforce_service_client::SalesforceServiceClient,
};
use switchboard_runtime::{Fault, MeshChannel, Reason};
use uuid::Uuid;

use crate::{
    error::Error,
    privacy::{Person, Place},
    sessions::Sessions,
    shared::Shared,
    store::{By, Store},
};

/// Largest export of one service: years of a talkative customer.
const EXPORT: usize = 64 * 1024 * 1024;
/// Conversations of one read.
const PAGE: u32 = 100;

/// All places, in the order in which a person is erased: copies while the ledger still knows of what, identity at the end.
pub fn all(
    store: &Arc<dyn Store>,
    shared: &Arc<Shared>,
    sessions: &Arc<dyn Sessions>,
    salesforce: MeshChannel,
    notification: MeshChannel,
    identity: MeshChannel,
) -> Vec<Arc<dyn Place>> {
    vec![
        Arc::new(Documents { store: store.clone(), sessions: sessions.clone() }),
        Arc::new(HotRows { store: store.clone(), shared: shared.clone() }),
        Arc::new(Ledger(store.clone())),
        Arc::new(Salesforce(salesforce)),
        Arc::new(Notification(notification)),
        Arc::new(Identity(identity)),
    ]
}

async fn conversations(store: &dyn Store, person: &Person) -> Result<Vec<Uuid>, Error> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let (rows, next) = store.list(person.org, Some(person.user), None, PAGE, &after).await?;
        ids.extend(rows.iter().map(|row| row.id));
        match next {
            Some(next) => after = next,
            None => return Ok(ids),
        }
    }
}

/// Snapshots and capsules.
struct Documents {
    store: Arc<dyn Store>,
    sessions: Arc<dyn Sessions>,
}

#[async_trait]
impl Place for Documents {
    fn name(&self) -> &'static str {
        "sessions"
    }

    async fn export(&self, _: &Person, _: By) -> Result<Value, Fault> {
        Ok(Value::Null)
    }

    async fn erase(&self, person: &Person, _: By) -> Result<u64, Fault> {
        let ids = conversations(&*self.store, person).await?;
        Ok(self.sessions.erase(person.org, &ids).await?)
    }
}

/// Rows in the cache.
struct HotRows {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
}

#[async_trait]
impl Place for HotRows {
    fn name(&self) -> &'static str {
        "cache"
    }

    async fn export(&self, _: &Person, _: By) -> Result<Value, Fault> {
        Ok(Value::Null)
    }

    async fn erase(&self, person: &Person, _: By) -> Result<u64, Fault> {
        for id in conversations(&*self.store, person).await? {
            self.shared.rows.forget(person.org, id).await.map_err(|_| {
                Fault::new(
                    Reason::StoreFailed,
                    "The cache does not answer; what it holds ends by itself within minutes.",
                )
            })?;
        }
        Ok(0)
    }
}

/// Conversations with all that hangs on them.
struct Ledger(Arc<dyn Store>);

#[async_trait]
impl Place for Ledger {
    fn name(&self) -> &'static str {
        "conversation"
    }

    async fn export(&self, person: &Person, by: By) -> Result<Value, Fault> {
        Ok(self.0.export_person(person.org, person.user, by).await?)
    }

    async fn erase(&self, person: &Person, by: By) -> Result<u64, Fault> {
        Ok(self.0.erase_person(person.org, person.user, by).await?.total())
    }
}

/// Contacts and cases.
struct Salesforce(MeshChannel);

impl Salesforce {
    fn client(&self) -> SalesforceServiceClient<MeshChannel> {
        SalesforceServiceClient::new(self.0.clone()).max_decoding_message_size(EXPORT)
    }
}

#[async_trait]
impl Place for Salesforce {
    fn name(&self) -> &'static str {
        "salesforce"
    }

    async fn export(&self, person: &Person, _: By) -> Result<Value, Fault> {
        let ask = sf::ExportPersonRequest { external_id: person.user.to_string(), emails: person.emails.clone() };
        let answer = self.client().export_person(ask).await?.into_inner();
        Ok(answer.person.as_ref().map(from_struct).unwrap_or_default().into())
    }

    async fn erase(&self, person: &Person, _: By) -> Result<u64, Fault> {
        let ask = sf::ErasePersonRequest { external_id: person.user.to_string(), emails: person.emails.clone() };
        let done = self.client().erase_person(ask).await?.into_inner();
        Ok(u64::from(done.contacts) + u64::from(done.cases) + u64::from(done.comments))
    }
}

/// Deliveries.
struct Notification(MeshChannel);

impl Notification {
    fn client(&self) -> NotificationServiceClient<MeshChannel> {
        NotificationServiceClient::new(self.0.clone()).max_decoding_message_size(EXPORT)
    }
}

#[async_trait]
impl Place for Notification {
    fn name(&self) -> &'static str {
        "notification"
    }

    async fn export(&self, person: &Person, _: By) -> Result<Value, Fault> {
        let ask = notify::ExportPersonRequest { user_id: person.user.to_string(), emails: person.emails.clone() };
        let answer = self.client().export_person(ask).await?.into_inner();
        Ok(answer.person.as_ref().map(from_struct).unwrap_or_default().into())
    }

    async fn erase(&self, person: &Person, _: By) -> Result<u64, Fault> {
        let ask = notify::ErasePersonRequest { user_id: person.user.to_string(), emails: person.emails.clone() };
        let done = self.client().erase_person(ask).await?.into_inner();
        Ok(u64::from(done.deliveries) + u64::from(done.texts))
    }
}

/// The user.
struct Identity(MeshChannel);

impl Identity {
    fn client(&self) -> IdentityServiceClient<MeshChannel> {
        IdentityServiceClient::new(self.0.clone()).max_decoding_message_size(EXPORT)
    }
}

#[async_trait]
impl Place for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    async fn export(&self, person: &Person, _: By) -> Result<Value, Fault> {
        let answer =
            self.client().export_user(ExportUserRequest { user_id: person.user.to_string() }).await?.into_inner();
        Ok(answer.data.as_ref().map(from_struct).unwrap_or_default().into())
    }

    async fn erase(&self, person: &Person, _: By) -> Result<u64, Fault> {
        let ask = EraseUserRequest { user_id: person.user.to_string() };
        match self.client().erase_user(ask).await.map_err(Fault::from) {
            Ok(done) => {
                let done = done.into_inner();
                Ok(u64::from(done.erased) + done.credentials + done.sessions + done.password_resets)
            }
            // Somebody whom identity never had: a person of another system who was written to.
            Err(fault) if fault.reason == Reason::UserNotFound => Ok(0),
            Err(fault) => Err(fault),
        }
    }
}
