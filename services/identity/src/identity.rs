//! What identity does, whoever asks: the service by gRPC, or the command line without any server.
//!
//! In: names, passwords, tokens; the caller's organization where there is one. Out: users and tokens. Never: a word on which
//! part of a sign-in was wrong.
use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use switchboard_runtime::{Clock, Condition, Fault, Role, Secret, caller::SigningKey, caller::role_name};
use uuid::Uuid;

use crate::{
    demo::DemoAccounts,
    error::Error,
    export,
    model::{Organization, Person, User, email},
    password::{self, Hasher},
    store::{Erased, Made, NewUser, Refresh, Reset, Store, StoreError, Trade, Traded},
    token::{self, Issued, Signer},
};

/// A session goes on this long after its last use: a month of not looking in is the usual time to be asked again.
const REFRESH_TTL: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A guest's used refresh token still works this long: two tabs of one page may show it at once.
const GUEST_GRACE: SignedDuration = SignedDuration::from_secs(30);
/// Work that a service does unasked is over in minutes; a new token is one call away.
const SERVICE_TTL: Duration = Duration::from_secs(600);
/// A guest's token needs no setting: the page renews it by itself.
const GUEST_TTL: Duration = Duration::from_secs(3600);
/// A mail is read within the hour, and a forgotten one must not open the account.
const RESET_TTL: SignedDuration = SignedDuration::from_hours(1);
/// Accounts of one name, over all organizations, whose passwords are tried: each costs a hash.
const CANDIDATES: u32 = 4;
/// Longest name that is looked up: the longest external id.
const LONGEST_NAME: usize = 255;

/// Organizations, users and tokens of one installation. Opened in [`crate::opening`].
pub struct Identity {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) condition: Condition,
    pub(crate) hasher: Hasher,
    pub(crate) secret: Vec<u8>,
    pub(crate) clock: Clock,
    pub(crate) guest_retention: Duration,
    pub(crate) demo: Option<DemoAccounts>,
    signer: Signer,
    token_ttl: Duration,
}

/// How an installation serves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) token_ttl: Duration,
    pub(crate) guest_retention: Duration,
}

impl Identity {
    /// Over an open store, making the installation's keys on the first start.
    pub(crate) async fn over(
        store: Arc<dyn Store>,
        condition: Condition,
        terms: Terms,
        clock: Clock,
    ) -> Result<Self, Error> {
        let pem = SigningKey::generate()?.to_pem()?;
        let signer = Signer::new(&store.keep("signing-key", pem.expose()).await?)?;
        let secret = store.keep("secret", &token::random()).await?.into_bytes();
        let Terms { token_ttl, guest_retention } = terms;
        let hasher = Hasher::new();
        Ok(Identity { store, condition, hasher, secret, clock, guest_retention, demo: None, signer, token_ttl })
    }

    /// How the store is.
    pub fn condition(&self) -> Condition {
        self.condition.clone()
    }

    /// The demo organization and how to sign in; none if it is turned off.
    pub fn demo(&self) -> Option<&DemoAccounts> {
        self.demo.as_ref()
    }

    /// The public keys as a JSON Web Key Set.
    pub fn jwks(&self) -> &str {
        self.signer.jwks()
    }

    /// A token for whoever owns this installation, from its command line: for a named user, or for a new one of this role in the
    /// demo organization or the one that is named. What is named and not there yet is made.
    pub async fn mint(
        &self,
        role: Role,
        org: Option<Uuid>,
        user: Option<Uuid>,
        ttl: Duration,
    ) -> Result<String, Fault> {
        if role == Role::Unspecified {
            return Err(Fault::field("role", "must be customer, agent, supervisor, admin or service"));
        }
        if ttl < Duration::from_secs(1) {
            return Err(Fault::field("ttl", "must be at least 1s"));
        }
        let org = org.or(self.demo.as_ref().map(|d| d.organization)).ok_or_else(|| {
            Fault::field("org", "is required, because the demo organization is turned off (setting identity.demo)")
        })?;
        let now = self.now();
        self.store
            .add_organization(&Organization::new(org, format!("Organization {org}"), now))
            .await
            .map_err(Error::from)?;
        let id = user.unwrap_or_else(|| self.clock.new_id());
        let known = if user.is_some() { self.store.user(org, id).await.map_err(Error::from)? } else { None };
        match known {
            Some(known) if known.erased.is_some() => {
                return Err(Fault::field("user", format!("the user {id} was erased")));
            }
            Some(known) if known.role != role => {
                return Err(Fault::field("role", format!("the user {id} has the role {}", role_name(known.role))));
            }
            Some(_) => {}
            None => {
                let user = User { full_name: format!("Demo {}", role_name(role)), ..User::new(id, org, role, now) };
                match self.store.add_user(&by_installation(user)).await {
                    Err(StoreError::Taken(_)) => {
                        return Err(Fault::field(
                            "user",
                            format!("the user {id} belongs to another organization; name it with --org"),
                        ));
                    }
                    made => made.map_err(Error::from)?,
                };
            }
        }
        Ok(self.signer.sign(self.clock.new_id(), org, id, role, now, ttl)?)
    }

    /// Signs in by name and password.
    pub async fn sign_in(&self, username: &str, password: &Secret) -> Result<Issued, Error> {
        let too_long = |text: &str, most| text.chars().count() > most;
        if too_long(username, LONGEST_NAME) || too_long(password.expose(), password::LONGEST) {
            return Err(Error::WrongPassword);
        }
        // The lock is looked at after waiting for a turn, and the turn is kept until the failure is counted: of a burst, only
        // as many get through as hash at once.
        let turn = self.hasher.turn().await?;
        let failures = self.store.failures(username, self.now()).await?;
        if let Some(wait) = failures.and_then(|f| f.locked(self.now())) {
            return Err(Error::Locked(wait));
        }
        let candidates = self.store.candidates(&username.to_lowercase(), username, CANDIDATES).await?;
        let hashes = candidates.iter().map(|c| c.password_hash.clone()).collect();
        let (fits, turn) = self.hasher.fits(turn, password, hashes).await?;
        let Some(index) = fits else {
            self.store.add_failure(username, self.now()).await?;
            return Err(Error::WrongPassword);
        };
        drop(turn);
        if failures.is_some() {
            self.store.clear_failures(username).await?;
        }
        match self.begin_session(&candidates[index].user, false).await {
            // Erased just now.
            Err(Error::Store(StoreError::NoUser)) => Err(Error::WrongPassword),
            session => session,
        }
    }

    /// Carries a session on.
    pub async fn refresh(&self, shown: &str) -> Result<Issued, Error> {
        self.trade(shown, false).await?.ok_or(Error::RefreshRefused)
    }

    /// A guest of the organization that takes guests: the one behind `resume` if that is still good, else a new one.
    pub async fn guest(&self, resume: &str) -> Result<Issued, Error> {
        let organization = self.guest_organization().await?.ok_or(Error::NoGuests)?;
        if !resume.is_empty()
            && let Some(issued) = self.trade(resume, true).await?
        {
            return Ok(issued);
        }
        let user = User { guest: true, ..User::new(self.clock.new_id(), organization.id, Role::Customer, self.now()) };
        let made = self.store.add_user(&by_installation(user)).await?;
        self.begin_session(&made.user, true).await
    }

    /// A token under which a service works for an organization. It names no user: the nil id stands for the mesh itself.
    pub async fn service_token(&self, org: Uuid) -> Result<Issued, Error> {
        self.organization(org).await?;
        let access = self.signer.sign(self.clock.new_id(), org, Uuid::nil(), Role::Service, self.now(), SERVICE_TTL)?;
        Ok(Issued { access, expires_in: SERVICE_TTL, refresh: None, user: Uuid::nil() })
    }

    /// Makes a user on somebody's behalf; a retry with the same request id returns the first one.
    pub async fn create_user(
        &self,
        org: Uuid,
        by: Uuid,
        person: Person,
        request_id: Option<Uuid>,
        password: Option<Secret>,
    ) -> Result<Made, Error> {
        self.organization(org).await?;
        let password_hash = match &password {
            Some(password) => Some(self.hasher.hash(password).await?),
            None => None,
        };
        let Person { external_id, email, full_name, role, tier } = person;
        let user =
            User { external_id, email, full_name, tier, ..User::new(self.clock.new_id(), org, role, self.now()) };
        Ok(self.store.add_user(&NewUser { user, request_id, password_hash, by }).await?)
    }

    /// The customer with this external id; made on somebody's behalf if it is new.
    pub async fn ensure_customer(&self, org: Uuid, by: Uuid, external_id: &str) -> Result<Made, Error> {
        let find = async || {
            let found = self.store.user_by_external_id(org, external_id).await?;
            match found {
                Some(user) if user.role != Role::Customer => Err(Error::NotACustomer),
                found => Ok(found.map(|user| Made { user, new: false })),
            }
        };
        if let Some(found) = find().await? {
            return Ok(found);
        }
        let mut user = User::new(self.clock.new_id(), org, Role::Customer, self.now());
        user.external_id = Some(external_id.to_owned());
        match self.store.add_user(&NewUser { user, request_id: None, password_hash: None, by }).await {
            // Somebody else was faster.
            Err(StoreError::Taken(field)) => find().await?.ok_or(Error::Store(StoreError::Taken(field))),
            made => Ok(made?),
        }
    }

    /// A user of an organization; of one who was erased what is left.
    pub async fn user(&self, org: Uuid, id: Uuid) -> Result<User, Error> {
        self.store.user(org, id).await?.ok_or(Error::NoUser(id))
    }

    /// Everything that is kept of a person, in clear. That it was asked for is in the log.
    pub async fn export_user(&self, org: Uuid, by: Uuid, id: Uuid) -> Result<Map<String, Value>, Error> {
        let now = self.now();
        let kept = self.store.export_user(org, id, by, now).await?.ok_or(Error::NoUser(id))?;
        let mut failed = Vec::new();
        for name in [&kept.user.email, &kept.user.external_id].into_iter().flatten() {
            if let Some(failures) = self.store.failures(name, now).await? {
                failed.push((name.clone(), failures));
            }
        }
        Ok(export::data(&kept, &failed))
    }

    /// Erases a person; again, it says when that was.
    pub async fn erase_user(&self, org: Uuid, by: Uuid, id: Uuid) -> Result<Erased, Error> {
        self.store.erase_user(org, id, by, self.now()).await?.ok_or(Error::NoUser(id))
    }

    /// An organization. What its row allows, the settings of the installation may forbid.
    pub async fn organization(&self, org: Uuid) -> Result<Organization, Error> {
        let mut organization = self.store.organization(org).await?.ok_or(Error::NoOrganization(org))?;
        organization.guests_allowed &= self.demo.as_ref().is_some_and(|d| d.organization == org);
        Ok(organization)
    }

    /// The organization that guests belong to, if there is one.
    pub async fn guest_organization(&self) -> Result<Option<Organization>, Error> {
        let Some(demo) = &self.demo else { return Ok(None) };
        Ok(Some(self.organization(demo.organization).await?).filter(|o| o.guests_allowed))
    }

    /// A one-time token for a new password, with the user it is for and when it ends; none if nobody has the address.
    pub async fn start_reset(
        &self,
        org: Uuid,
        request_id: Uuid,
        address: &str,
    ) -> Result<Option<(String, Reset, User)>, Error> {
        let Some(address) = email(address) else { return Ok(None) };
        let Some(user) = self.store.user_by_email(org, &address).await? else { return Ok(None) };
        let token = token::derived(&self.secret, "password-reset", &[org, user.id, request_id]);
        let now = self.now();
        let hash = token::hash(&token);
        let expires = later(now, RESET_TTL);
        let reset = Reset { hash, org, user: user.id, request_id, expires };
        let reset = match self.store.begin_reset(&reset, now).await {
            Err(StoreError::NoUser) => return Ok(None), // erased just now
            begun => begun?,
        };
        if reset.hash != hash {
            return Err(Error::RequestReused);
        }
        Ok(Some((token, reset, user)))
    }

    /// Sets a new password by a one-time token, and ends the user's sessions.
    pub async fn complete_reset(&self, token: &str, password: &Secret) -> Result<(), Error> {
        let hash = token::hash(token);
        let reset = self.store.open_reset(&hash, self.now()).await?.ok_or(Error::ResetRefused)?;
        let password_hash = self.hasher.hash(password).await?;
        if !self.store.finish_reset(&hash, &password_hash, self.now()).await? {
            return Err(Error::ResetRefused);
        }
        // Whoever forgot the password has often locked the name before asking for a new one.
        if let Some(user) = self.store.user(reset.org, reset.user).await? {
            for name in [user.email, user.external_id].into_iter().flatten() {
                self.store.clear_failures(&name).await?;
            }
        }
        Ok(())
    }

    /// Now, in the whole microseconds that stores keep: a first answer and the answers to its retries are alike.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    async fn begin_session(&self, user: &User, guest: bool) -> Result<Issued, Error> {
        let now = self.now();
        let refresh = token::random();
        let row = Refresh {
            hash: token::hash(&refresh),
            family: self.clock.new_id(),
            org: user.org,
            user: user.id,
            guest,
            expires: later(now, REFRESH_TTL),
        };
        self.store.add_refresh(&row, now).await?;
        self.issue(user, guest, refresh)
    }

    async fn trade(&self, shown: &str, guests_only: bool) -> Result<Option<Issued>, Error> {
        let now = self.now();
        let fresh = token::random();
        let trade = Trade {
            shown: token::hash(shown),
            fresh: token::hash(&fresh),
            guests_only,
            now,
            expires: later(now, REFRESH_TTL),
            grace: GUEST_GRACE,
        };
        match self.store.trade_refresh(&trade).await? {
            Traded::Fresh(user, guest) => self.issue(&user, guest, fresh).map(Some),
            Traded::Refused => Ok(None),
            Traded::Reused => {
                tracing::warn!("a refresh token was used twice; its sessions have ended");
                Ok(None)
            }
        }
    }

    fn issue(&self, user: &User, guest: bool, refresh: String) -> Result<Issued, Error> {
        let ttl = if guest { GUEST_TTL } else { self.token_ttl };
        let access = self.signer.sign(self.clock.new_id(), user.org, user.id, user.role, self.now(), ttl)?;
        Ok(Issued { access, expires_in: ttl, refresh: Some(refresh), user: user.id })
    }
}

fn by_installation(user: User) -> NewUser {
    NewUser { user, request_id: None, password_hash: None, by: Uuid::nil() }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
