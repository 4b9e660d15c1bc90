//! What every service needs and none owns.
//!
//! In: a service's routes and settings. Out: a server whose layers are always the same ([`server`]), clients that carry the
//! deadline, the trace and the caller ([`client`], [`mesh`]), settings ([`settings`]), logs and metrics ([`telemetry`]),
//! the stores' ground ([`stores`], [`sqlite`], [`postgres`], [`redis`], [`vault`]). Never: a business word.
#![deny(missing_docs)]

pub mod caller;
pub mod client;
pub mod clock;
pub mod condition;
pub mod context;
pub mod mesh;
pub mod page;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod secret;
pub mod server;
pub mod settings;
pub mod sqlite;
pub mod stores;
pub mod telemetry;
pub mod tls;
pub mod topology;
pub mod trace;
pub mod validate;
pub mod vault;

pub use caller::{Caller, Role};
pub use clock::Clock;
pub use condition::Condition;
pub use context::Context;
pub use mesh::{Host, Listener, Mesh, MeshChannel};
pub use secret::Secret;
pub use settings::{Key, Settings, SettingsError};
pub use switchboard_errors::{Fault, Reason};
pub use tokio_util::sync::CancellationToken as Shutdown;

/// Why a service could not start: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong; the process exits 64.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A store cannot be opened.
    #[error(transparent)]
    Store(#[from] sqlite::OpenError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --listen or the setting {setting}")]
    Listen {
        /// The address.
        address: String,
        /// The setting that holds it.
        setting: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}
