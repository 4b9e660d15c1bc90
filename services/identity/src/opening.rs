//! Opening an installation whose store may not be there yet.
//!
//! In: the configuration. Out: an [`Identity`] as soon as there can be one, and how the store is meanwhile. Never: a service
//! that ends because PostgreSQL is not up yet, a command that waits for it.
use std::{sync::Arc, time::Duration};

use switchboard_runtime::{Clock, Condition, Fault, Reason, StartError, stores::Ledger};
use tokio::sync::watch;

use crate::{
    config::Config,
    demo,
    error::Error,
    identity::{Identity, Terms},
    store::{self, Store, StoreError},
};

/// Whoever typed a command waits that long for a server.
const PATIENCE: Duration = Duration::from_secs(3);
/// A service says that it waits after this long, and then again: often enough for who looks at the log now.
const REMIND: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// Between two tries on a store that says that it is well, and fails.
const AGAIN: Duration = Duration::from_secs(3);

impl Identity {
    /// Opens the installation for a command, making its keys and the demo organization on the first start. May be open in
    /// several processes at once. Gives up soon if the store is not there.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let opening = Opening::begin(config, clock).await?;
        let mut condition = opening.condition();
        if tokio::time::timeout(PATIENCE, condition.until_well()).await.is_err() {
            let why = condition.why().unwrap_or_default();
            return Err(StartError::Other(format!("identity: {why}")));
        }
        opening.now().await.map_err(start_error)
    }

    /// Opens the installation for a service: waits for the store as long as it takes, and says so.
    pub async fn open_when_ready(config: &Config, clock: Clock) -> Result<Self, StartError> {
        Opening::begin(config, clock).await?.when_ready().await
    }
}

/// An installation that is about to be opened.
pub(crate) struct Opening {
    config: Config,
    clock: Clock,
    store: Arc<dyn Store>,
    condition: Condition,
}

impl Opening {
    /// Does not wait for a server.
    pub(crate) async fn begin(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let (store, condition) = store::open(&config.ledger, &config.vault).await?;
        Ok(Opening { config: config.clone(), clock, store, condition })
    }

    /// How the store is.
    pub(crate) fn condition(&self) -> Condition {
        self.condition.clone()
    }

    /// Opens as soon as the store is well.
    pub(crate) async fn when_ready(&self) -> Result<Identity, StartError> {
        loop {
            self.until_well().await;
            match self.now().await {
                // It went away again, or lacks what an administrator can still give it.
                Err(error @ Error::Store(StoreError::Failed(_))) if self.is_served() => {
                    tracing::warn!(why = in_full(&error), "identity cannot be opened yet");
                    tokio::time::sleep(AGAIN).await;
                }
                opened => return opened.map_err(start_error),
            }
        }
    }

    async fn until_well(&self) {
        let mut condition = self.condition();
        let mut pause = REMIND[0];
        while tokio::time::timeout(pause, condition.until_well()).await.is_err() {
            tracing::warn!(why = condition.why(), "identity waits for its store");
            pause = REMIND[1];
        }
    }

    /// True if a server keeps the store: it can come back.
    fn is_served(&self) -> bool {
        matches!(self.config.ledger, Ledger::Postgres(_))
    }

    async fn now(&self) -> Result<Identity, Error> {
        let Config { token_ttl, guest_retention, .. } = self.config;
        let terms = Terms { token_ttl, guest_retention };
        let mut identity = Identity::over(self.store.clone(), self.condition(), terms, self.clock.clone()).await?;
        if self.config.demo {
            let Identity { store, hasher, secret, clock, .. } = &identity;
            let data = &self.config.data;
            let unreadable = |e| Error::DemoPassword(data.join(demo::PASSWORD_FILE), e);
            let password = match demo::chosen(data).map_err(unreadable)? {
                Some(chosen) => chosen,
                None if self.is_served() => demo::shared(&**store).await?,
                None => demo::password(data).map_err(unreadable)?,
            };
            identity.demo = Some(demo::prepare(&**store, hasher, secret, password, clock).await?);
        }
        Ok(identity)
    }
}

fn start_error(error: Error) -> StartError {
    StartError::Other(in_full(&error))
}

/// An error with all that caused it, in one line.
fn in_full(error: &Error) -> String {
    let mut text = format!("identity: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(e) = source {
        text.push_str(&format!(": {e}"));
        source = e.source();
    }
    text
}

/// Where requests find the identity, which may not be open yet.
#[derive(Clone)]
pub struct Door {
    opened: watch::Receiver<Option<Arc<Identity>>>,
    store: Condition,
}

impl Door {
    /// One that was opened before.
    pub fn open(identity: Arc<Identity>) -> Self {
        let store = identity.condition();
        Door { opened: watch::channel(Some(identity)).1, store }
    }

    /// One that opens when an identity is sent.
    pub(crate) fn closed(store: Condition) -> (watch::Sender<Option<Arc<Identity>>>, Self) {
        let (opener, opened) = watch::channel(None);
        (opener, Door { opened, store })
    }

    /// The identity. Waits while it is being opened; if the store is not there it says so at once.
    pub async fn identity(&self) -> Result<Arc<Identity>, Fault> {
        let (mut opened, mut store) = (self.opened.clone(), self.store.clone());
        loop {
            if let Some(identity) = &*opened.borrow_and_update() {
                return Ok(identity.clone());
            }
            if store.why().is_some() {
                let detail = "The data store is not available right now. Try again.";
                return Err(Fault::new(Reason::StoreFailed, detail).with_retry_after(REMIND[0]));
            }
            tokio::select! {
                changed = opened.changed() => changed.map_err(Fault::internal)?,
                () = store.changed() => {}
            }
        }
    }
}
