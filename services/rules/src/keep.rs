//! Keeps the policy up to the store for as long as the service runs.
//!
//! In: the bundle that this replica was started with, and the store. Out: the bundle that decides: the one that was activated
//! last, by whichever replica. Never: an end, or a bundle that fails its own examples. A store that is not there is waited
//! for; this replica's own bundle decides meanwhile.
//!
//! Starting with a bundle activates it, so the last start decides, and a start with an older bundle is how one goes back.
use std::{sync::Arc, time::Duration};

use switchboard_runtime::{Clock, Condition, Fault, condition::Reporter};
use tokio::{sync::watch, time::sleep};

use crate::{
    bundle::{Bundle, Files},
    store::{Activation, INSTALLATION, Store},
};

/// Between two looks for what another replica activated. Policies change a few times a day; a look costs one short query.
const LOOK: Duration = Duration::from_secs(2);
/// Before an activation that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the policy is kept with.
pub(crate) struct Keeper {
    pub(crate) store: Arc<dyn Store>,
    /// How the store is.
    pub(crate) condition: Condition,
    pub(crate) clock: Clock,
    /// The bundle that decides.
    pub(crate) deciding: watch::Sender<Arc<Bundle>>,
    /// Told when the activation is noted.
    pub(crate) ready: Reporter,
}

impl Keeper {
    /// Notes that this replica's bundle decides from now on, then follows the store.
    pub(crate) async fn keep(mut self, files: Files) {
        let own = self.deciding.borrow().clone();
        let activation =
            Activation { version: own.version.clone(), name: own.name.clone(), activated_at: self.clock.now(), files };
        loop {
            self.condition.until_well().await;
            match self.store.activate(INSTALLATION, &activation).await {
                Ok(new) => {
                    tracing::info!(policy_version = own.version, policy = own.name, new, "policy active");
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot note which policy is active; trying again");
                    self.ready.ill(format!("cannot note which policy is active: {error}"));
                    sleep(AGAIN).await;
                }
            }
        }
        self.ready.well();
        self.follow().await;
    }

    async fn follow(&self) {
        // A bundle that this build cannot use: said once, and its own goes on deciding.
        let mut refused = None;
        let mut failed = false;
        loop {
            sleep(LOOK).await;
            let step = self.look(&mut refused).await;
            // Said once, and again only after it was well: the condition of the store tells of its own trouble.
            if let Err(error) = &step
                && !failed
            {
                tracing::warn!(%error, "cannot look for a newer policy; trying again");
            }
            failed = step.is_err();
        }
    }

    async fn look(&self, refused: &mut Option<String>) -> Result<(), Fault> {
        let Some(version) = self.store.active_version(INSTALLATION).await? else { return Ok(()) };
        if self.deciding.borrow().version == version || refused.as_ref() == Some(&version) {
            return Ok(());
        }
        let Some(active) = self.store.active(INSTALLATION).await? else { return Ok(()) };
        // Its examples are run: that takes longer than a worker should be held.
        let Activation { version: named, files, .. } = active;
        let load = tokio::task::spawn_blocking(move || Bundle::load(&files));
        match load.await.map_err(Fault::internal)? {
            Ok(bundle) if bundle.version != named => {
                tracing::warn!(policy_version = version, "the active policy has other files than its version says");
                *refused = Some(version);
            }
            Ok(bundle) => {
                tracing::info!(
                    policy_version = bundle.version,
                    policy = bundle.name,
                    "another replica's policy is active"
                );
                self.deciding.send_replace(Arc::new(bundle));
                *refused = None;
            }
            Err(error) => {
                let own = self.deciding.borrow().version.clone();
                tracing::warn!(policy_version = version, own, %error, "the active policy cannot be used by this build");
                *refused = Some(version);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;

    fn changed(from: &str, to: &str) -> Files {
        let mut files = Files::demo();
        files.0.values_mut().for_each(|text| *text = text.replace(from, to));
        files
    }

    #[tokio::test]
    async fn a_policy_that_this_build_cannot_use_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(SqliteStore::open(folder.path()).await.expect("opens"));
        let (deciding, bundle) = watch::channel(Arc::new(Bundle::load(&Files::demo()).expect("loads")));
        let (ready, condition) = Condition::new("");
        let keeper = Keeper { store: store.clone(), condition, clock: Clock::system(), deciding, ready };
        let mut refused = None;
        let mut after = async |files: &Files, version: &str| {
            let (version, activated_at) = (version.to_owned(), keeper.clock.now());
            let activation = Activation { version, name: "x".to_owned(), activated_at, files: files.clone() };
            store.activate(INSTALLATION, &activation).await.expect("notes");
            for _ in 0..2 {
                keeper.look(&mut refused).await.expect("looks");
            }
            (bundle.borrow().version.clone(), refused.clone())
        };
        let demo = Files::demo().version();
        let unusable = changed("anger >= fury_threshold", "angre >= fury_threshold");
        assert_eq!(after(&unusable, &unusable.version()).await, (demo.clone(), Some(unusable.version())));
        let newer = changed("name: brightfold", "name: nightfold");
        assert_eq!(after(&newer, "of other files").await, (demo, Some("of other files".to_owned())));
        assert_eq!(after(&newer, &newer.version()).await, (newer.version(), None));
    }
}
