//! What is owed to people over all services: a copy of what is kept, an erasure that ends, and no longer than agreed.
//!
//! In: a person, as an admin names them; a tenant's retention. Out: JSON; an erasure with a receipt; fewer rows. Never: a step
//! that is called done without its place saying so; a word of a person in what is left.
//!
//! An erasure is a row with one step for each place. A step that fails is tried again, with a growing pause, until it is done.
//! Identity comes last: its answers tell the others by which addresses the person was known.
use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use switchboard_proto::{
    convert::from_struct,
    identity::v1::{GetOrganizationRequest, GetUserRequest, identity_service_client::IdentityServiceClient},
};
use switchboard_runtime::{Fault, Reason};
use uuid::Uuid;

use crate::{
    engine::Engine,
    error::Error,
    store::{By, Entry, Erasure, ErasureStep},
};

/// One place may take this long for one try.
const STEP: Duration = Duration::from_secs(10);
/// Erasures that are worked on in one look.
const BATCH: u32 = 20;
/// Conversations that retention removes in one look; the next look goes on.
const EXPIRED: u32 = 200;
/// Pauses between tries of a step double up to this many times: eight and a half minutes.
const DOUBLINGS: u32 = 9;
/// The tenant's setting: after how many days an ended conversation is removed; absent: never.
const RETENTION: &str = "retention_days";

/// Somebody, by all that places know them by.
#[derive(Debug, Clone)]
pub struct Person {
    /// The organization.
    pub org: Uuid,
    /// The user.
    pub user: Uuid,
    /// Their addresses; none once identity has forgotten them.
    pub emails: Vec<String>,
}

/// Where something of a person may be kept.
#[async_trait]
pub trait Place: Send + Sync {
    /// What it is called in exports and receipts.
    fn name(&self) -> &'static str;
    /// All that it keeps of a person; null if it keeps copies only.
    async fn export(&self, person: &Person, by: By) -> Result<Value, Fault>;
    /// Removes all of it. How many rows, documents or files; doing it again removes nothing more.
    async fn erase(&self, person: &Person, by: By) -> Result<u64, Fault>;
}

impl Engine {
    /// All that every place keeps of a person.
    pub async fn export_person(&self, org: Uuid, user: Uuid, by: Uuid) -> Result<Map<String, Value>, Error> {
        let person = self.person(org, user).await?.ok_or_else(|| unknown(user))?;
        let mut all = Map::new();
        all.insert("user_id".to_owned(), json!(user));
        all.insert("exported_at".to_owned(), json!(self.clock.now()));
        let by = By { actor: by, now: self.clock.now() };
        for place in &self.places {
            let kept = place.export(&person, by).await?;
            if !kept.is_null() {
                all.insert(place.name().to_owned(), kept);
            }
        }
        Ok(all)
    }

    /// Begins to erase a person, or says how far that is.
    pub async fn erase_person(&self, org: Uuid, user: Uuid, by: Uuid) -> Result<Erasure, Error> {
        if self.store.erasure(org, user).await?.is_none() && self.person(org, user).await?.is_none() {
            return Err(unknown(user));
        }
        let begun = self.store.begin_erasure(org, user, by, self.clock.now()).await?;
        self.wake.notify_waiters();
        Ok(begun)
    }

    /// How far the erasure of a person is.
    pub async fn erasure(&self, org: Uuid, user: Uuid) -> Result<Erasure, Error> {
        self.store.erasure(org, user).await?.ok_or_else(|| unknown(user))
    }

    /// Takes erasures further.
    pub(crate) async fn erasures(self: &Arc<Self>) -> Result<(), Error> {
        let open = self.store.open_erasures(BATCH).await?;
        // Nearly always there is none, and then nothing is written.
        if open.is_empty() || !self.is_ours("erasures").await? {
            return Ok(());
        }
        for erasure in open {
            let (org, id) = (erasure.org, erasure.id);
            let time = STEP * u32::try_from(self.places.len()).unwrap_or(1);
            let engine = self.clone();
            let work = async move { engine.erase_further(erasure).await };
            let done = self.host.as_service(&self.verifier, org, time, work).await;
            if let Err(error) = done.map_err(Error::from).and_then(|done| done) {
                tracing::warn!(%id, reason = Fault::from(error).name(), "an erasure is left for later");
            }
        }
        Ok(())
    }

    async fn erase_further(&self, mut erasure: Erasure) -> Result<(), Error> {
        let person = self.person(erasure.org, erasure.user).await?;
        let person = person.unwrap_or(Person { org: erasure.org, user: erasure.user, emails: vec![] });
        for place in &self.places {
            let known = erasure.steps.iter().position(|step| step.place == place.name());
            let index = known.unwrap_or_else(|| {
                erasure.steps.push(ErasureStep::of(place.name()));
                erasure.steps.len() - 1
            });
            let (begun, step) = (erasure.requested_at, &mut erasure.steps[index]);
            if step.completed_at.is_some() {
                continue;
            }
            if self.clock.now() < due(begun, step.attempts) {
                return Ok(());
            }
            let by = By { actor: erasure.requested_by, now: self.clock.now() };
            let done = place.erase(&person, by).await;
            let now = self.clock.now();
            step.attempts += 1;
            match done {
                Ok(removed) => {
                    step.completed_at = Some(now);
                    step.removed += removed;
                    step.last_error = String::new();
                }
                Err(fault) => step.last_error = fault.name().to_owned(),
            }
            let failed = step.completed_at.is_none();
            self.store.save_erasure(&erasure).await?;
            if failed {
                return Ok(());
            }
        }
        erasure.completed_at = Some(self.clock.now());
        erasure.receipt = Some(receipt(&erasure));
        self.store.save_erasure(&erasure).await?;
        let by = By { actor: erasure.requested_by, now: self.clock.now() };
        self.store.audit(erasure.org, by, Entry::person("person_erased_everywhere", erasure.user)).await
    }

    /// What a person is known by; none if identity never had them or has erased them.
    async fn person(&self, org: Uuid, user: Uuid) -> Result<Option<Person>, Error> {
        let mut identity = IdentityServiceClient::new(self.identity.clone());
        match identity.get_user(GetUserRequest { user_id: user.to_string() }).await.map_err(Fault::from) {
            Ok(answer) => {
                let known = answer.into_inner().user.unwrap_or_default();
                // Of somebody who was erased identity keeps the id only.
                let emails = Some(known.email).filter(|e| !e.is_empty()).into_iter().collect();
                Ok(known.erase_time.is_none().then_some(Person { org, user, emails }))
            }
            Err(fault) if fault.reason == Reason::UserNotFound => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Removes what each tenant does not keep any longer.
    pub(crate) async fn retention(self: &Arc<Self>) -> Result<(), Error> {
        for org in self.store.organizations().await? {
            let engine = self.clone();
            let work = async move { engine.retain(org).await };
            let done = self.host.as_service(&self.verifier, org, STEP, work).await;
            if let Err(error) = done.map_err(Error::from).and_then(|done| done) {
                tracing::warn!(%org, reason = Fault::from(error).name(), "retention is left for later");
            }
        }
        Ok(())
    }

    async fn retain(&self, org: Uuid) -> Result<(), Error> {
        let mut identity = IdentityServiceClient::new(self.identity.clone());
        let answer = identity.get_organization(GetOrganizationRequest {}).await.map_err(Fault::from)?.into_inner();
        let settings = answer.organization.and_then(|o| o.settings).map(|s| from_struct(&s)).unwrap_or_default();
        let Some(days) = settings.get(RETENTION).and_then(Value::as_f64).filter(|days| *days >= 1.0) else {
            return Ok(());
        };
        let before = self.before_now(Duration::from_secs_f64(days * 86_400.0));
        for id in self.store.expired(org, before, EXPIRED).await? {
            // Copies first: a crash in between leaves the row that brings us back.
            self.relay.sessions.erase(org, &[id]).await?;
            self.store.delete_conversation(org, id).await?;
        }
        Ok(())
    }
}

fn unknown(user: Uuid) -> Error {
    Fault::new(Reason::UserNotFound, format!("There is no user {user} in this organization.")).into()
}

/// When a step is tried again: at once, then after 1, 2, 4 … seconds more.
fn due(begun: Timestamp, attempts: u32) -> Timestamp {
    let doubled = attempts.min(DOUBLINGS);
    let seconds = (1i64 << doubled) - 1 + i64::from(attempts - doubled) * (1 << (DOUBLINGS - 1));
    begun.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(begun)
}

/// What was removed where, with a hash over all of it: two copies of a receipt can be compared.
fn receipt(erasure: &Erasure) -> Value {
    let removed: Map<String, Value> =
        erasure.steps.iter().map(|step| (step.place.clone(), step.removed.into())).collect();
    let mut receipt = json!({
        "erasure": erasure.id,
        "organization_id": erasure.org,
        "user_id": erasure.user,
        "requested_by": erasure.requested_by,
        "requested_at": erasure.requested_at,
        "completed_at": erasure.completed_at,
        "removed": removed,
    });
    let hash: String = Sha256::digest(receipt.to_string()).iter().map(|byte| format!("{byte:02x}")).collect();
    receipt["sha256"] = hash.into();
    receipt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_waits_longer_after_each_failure_and_never_for_ever() {
        let begun = Timestamp::UNIX_EPOCH;
        let at: Vec<i64> = (0..12).map(|attempts| due(begun, attempts).as_second()).collect();
        assert_eq!(at, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 767, 1023]);
    }
}
