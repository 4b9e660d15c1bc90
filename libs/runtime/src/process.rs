//! A service as a process of its own: arguments, settings, signals, exit codes.
//!
//! In: a service's name, keys and `serve`. Out: an exit code: 0 done, 2 bad usage, 64 bad configuration, 1 the rest.
//! Never: the all-in-one, which has a command line of its own and shares [`random_key`] and [`stop_signal`].
use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use tokio::net::TcpListener;

use crate::{
    Clock, Secret, Shutdown, StartError,
    mesh::{Host, Listener, Mesh},
    settings::{Key, Settings},
    stores,
    telemetry::{self, Metrics},
    topology,
};

/// The settings every process has.
pub const KEYS: &[Key] = &[
    Key::new("data", "folder", "./.switchboard", "Where embedded stores and files are kept."),
    Key::secret("mesh.key", "Shared by all services where no mTLS proves who calls; empty where the mesh does."),
    Key::new(
        "mesh.trust",
        "key|mtls",
        "key",
        "How services prove who calls: by mesh.key, or by the mTLS of a mesh around them, which then refuses strangers.",
    ),
    Key::new(
        "mesh.bind",
        "address",
        "127.0.0.1",
        "Where a service that is its own process listens, with its port of topology.toml.",
    ),
    Key::new(
        "mesh.identity",
        "URL",
        "http://127.0.0.1:8101",
        "Where identity listens, for services that are their own process.",
    ),
    Key::new("mesh.conversation", "URL", "http://127.0.0.1:8102", "Where conversation listens."),
    Key::new("mesh.orchestrator", "URL", "http://127.0.0.1:8103", "Where orchestrator listens."),
    Key::new("mesh.knowledge", "URL", "http://127.0.0.1:8104", "Where knowledge listens."),
    Key::new("mesh.rules", "URL", "http://127.0.0.1:8105", "Where rules listens."),
    Key::new("mesh.salesforce", "URL", "http://127.0.0.1:8106", "Where salesforce listens."),
    Key::new("mesh.notification", "URL", "http://127.0.0.1:8107", "Where notification listens."),
];

/// Runs one service until SIGTERM or Ctrl-C.
pub fn run<S, F>(name: &'static str, keys: &[Key], serve: S) -> ExitCode
where
    S: FnOnce(Settings, Host, Listener, Shutdown) -> F,
    F: Future<Output = Result<(), StartError>>,
{
    let mut file = std::env::var_os("SWITCHBOARD_CONFIG").map(PathBuf::from);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--config", Some(path)) => file = Some(path.into()),
            _ => return fail(2, &format!("usage: switchboard-{name} [--config FILE]; everything else is a setting")),
        }
    }
    let started = || -> Result<(Settings, Mesh), StartError> {
        let settings =
            Settings::load(&[KEYS, telemetry::KEYS, stores::KEYS, keys], file.as_deref(), std::env::vars(), &[])?;
        telemetry::init(&settings)?;
        if settings.text("mesh.trust") != "mtls" && settings.secret("mesh.key").is_empty() {
            let why = "set the same secret for all services, or mesh.trust = mtls where a mesh proves who calls";
            return Err(settings.wrong("mesh.key", "", "settings", &why).into());
        }
        let addresses = topology::services().keys().filter(|n| *n != "edge" && *n != name);
        let addresses = addresses.map(|n| (n.clone(), settings.text(&format!("mesh.{n}")))).collect();
        let mesh = Mesh::new(addresses, settings.secret("mesh.key"));
        Ok((settings, mesh))
    };
    let (settings, mesh) = match started() {
        Ok(started) => started,
        Err(e) => return fail(code(&e), &e.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(1, &format!("cannot start the runtime: {e}")),
    };
    let result = runtime.block_on(async {
        let port = topology::services()[name].port;
        let listener = listen(&format!("{}:{port}", settings.text("mesh.bind")), "mesh.bind").await?;
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            stop_signal().await;
            stop.cancel();
        });
        serve(settings, mesh.host(name, Clock::system(), Metrics::default()), Listener::Tcp(listener), shutdown).await
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(code(&e), &e.to_string()),
    }
}

/// Binds an address, or says what to do.
pub async fn listen(address: &str, setting: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen {
        address: address.to_owned(),
        setting,
        source,
    })
}

/// Addresses for services that are called in process: none.
pub fn in_process() -> BTreeMap<String, String> {
    BTreeMap::new()
}

/// A fresh key for a mesh that lives in one process.
pub fn random_key() -> Secret {
    Secret::new(format!("{:032x}", rand::random::<u128>()))
}

/// Exit code of a failed start.
pub fn code(error: &StartError) -> u8 {
    if matches!(error, StartError::Settings(_)) { 64 } else { 1 }
}

/// Ends on SIGTERM or Ctrl-C.
pub async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut term) = signal(SignalKind::terminate()) else { return };
        tokio::select! {
            _ = term.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}

#[expect(clippy::print_stderr, reason = "the last word of a process that could not start")]
fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("switchboard: {message}");
    ExitCode::from(code)
}
