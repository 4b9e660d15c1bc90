//! The rules service: what the company wants.
//!
//! In: a turn (what was understood, what is known, the open flow) and a policy bundle. Out: one decision: answer, go on
//! with a flow, act, or hand over, with route and service level. Never: a write of customer state, a call to another
//! service but for keys, or the wall clock in a decision.
//!
//! # Layout
//! - [`bundle`]: YAML files, checked, compiled, and proven by their own examples.
//! - [`expr`], `compile`, [`eval`]: conditions in CEL. [`facts`]: what they can ask about.
//! - [`decide`]: the order of a decision. [`flow`]: guided dialogues. [`routing`], [`calendar`]: hand-offs and deadlines.
//! - [`store`]: which bundle decided when. `keep`: what another replica activates decides here too.
pub mod bundle;
pub mod calendar;
mod compile;
pub mod config;
pub mod decide;
pub mod error;
pub mod eval;
pub mod expr;
pub mod facts;
pub mod flow;
mod grpc;
mod keep;
pub mod routing;
pub mod store;
pub mod suggest;
pub mod text;

use std::sync::Arc;

use bundle::{Bundle, BundleError, Files};
use config::Config;
use keep::Keeper;
pub use store::MIGRATIONS;
use switchboard_proto::rules::v1::rules_service_server::RulesServiceServer;
use switchboard_runtime::{Condition, Host, Listener, SettingsError, Shutdown, StartError, server};
use tokio::sync::watch;
use tonic::service::Routes;

/// Loads the bundle, notes that it decides from now on, and serves until `shutdown`. It decides also while its store is not
/// there, and says so.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let loaded = || {
        let files = config.bundle.as_deref().map_or_else(|| Ok(Files::demo()), Files::read)?;
        Ok((Bundle::load(&files)?, files))
    };
    let (bundle, files) = loaded().map_err(|e: BundleError| {
        let folder =
            config.bundle.as_ref().map_or_else(|| "the built-in bundle".to_owned(), |f| f.display().to_string());
        SettingsError(format!("setting `rules.bundle` ({folder}): {e}"))
    })?;
    let (store, condition) = store::open(&config.ledger).await?;
    let (deciding, bundle) = watch::channel(Arc::new(bundle));
    let (ready, noted) = Condition::new("it is not noted yet which policy is active");
    let clock = host.clock.clone();
    let keeper = Keeper { store: store.clone(), condition: condition.clone(), clock: clock.clone(), deciding, ready };
    let served = server::Served {
        routes: Routes::new(RulesServiceServer::new(grpc::Rules { bundle, clock })),
        services: &["switchboard.rules.v1.RulesService"],
        public: &[],
        verifier: host.verifier()?,
        condition: condition.and(noted),
    };
    let result = tokio::select! {
        result = server::serve(served, &host, listener, shutdown) => result,
        () = keeper.keep(files) => Ok(()),
    };
    store.close().await;
    result
}
