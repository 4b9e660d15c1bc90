//! `switchboard up`: the all-in-one, until SIGTERM or Ctrl-C.
use std::process::ExitCode;

use switchboard_runtime::{Role, caller::role_name, process};
use tempfile::TempDir;

use crate::{
    failure::Failure,
    out,
    settings::{self, Sources},
    stack::{Stack, StackConfig, Transport},
};

/// Below this many open files a busy server runs dry: each conversation on a socket takes one.
#[cfg(unix)]
const FEW_FILES: u64 = 4096;

/// Arguments of `switchboard up`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen [default: the setting edge.listen, 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// How the services reach each other
    #[arg(long, value_enum, default_value = "inprocess")]
    pub(crate) transport: Transport,
    /// Keep nothing: a temporary data folder, removed at the end
    #[arg(long, conflicts_with = "data")]
    pub(crate) ephemeral: bool,
    #[command(flatten)]
    pub(crate) sources: Sources,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    raise_file_limit();
    let folder = match args.ephemeral {
        true => Some(
            TempDir::with_prefix("switchboard-")
                .map_err(|e| Failure::failed(format!("cannot make a temporary folder: {e}")))?,
        ),
        false => None,
    };
    let read = args.sources.load(&[])?;
    let config = StackConfig {
        data: folder.as_ref().map_or_else(|| read.text("data").into(), |f| f.path().to_owned()),
        listen: args.listen.unwrap_or_else(|| read.text("edge.listen")),
        transport: args.transport,
        file: args.sources.file(),
        env: settings::environment(),
        ..StackConfig::new("")
    };
    // Asked for before the start, so that a signal during it ends it too.
    let mut stop = std::pin::pin!(process::stop_signal());
    let mut stack = tokio::select! {
        started = Stack::start(config) => started?,
        () = &mut stop => return Ok(ExitCode::SUCCESS),
    };
    welcome(&stack, folder.is_some()).await?;
    let failed = tokio::select! {
        () = &mut stop => None,
        why = stack.failed() => Some(why),
    };
    tracing::info!("draining");
    stack.stop().await;
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(why) => Err(Failure::failed(why)),
    }
}

async fn welcome(stack: &Stack, ephemeral: bool) -> Result<(), Failure> {
    let url = stack.url();
    out::line(format!("Switchboard {} is ready.\n", env!("CARGO_PKG_VERSION")));
    out::line(format!("  chat     {url}/chat"));
    out::line(format!("  docs     {url}/docs"));
    out::line(format!("  health   {url}/health"));
    let kept = if ephemeral { "  (removed at the end)" } else { "" };
    out::line(format!("  data     {}{kept}", stack.data().display()));
    if let Some(demo) = stack.identity().demo() {
        out::line(format!("\nDemo organization {} ({})", demo.name, demo.organization));
        for account in demo.accounts.iter().filter(|a| matches!(a.role, Role::Agent | Role::Admin)) {
            let role = role_name(account.role);
            out::line(format!("  {role:<8} {}  password {}", account.username, demo.password.expose()));
        }
    }
    if ephemeral {
        out::line("\nTokens, good for an hour");
        for role in [Role::Customer, Role::Agent, Role::Admin] {
            let token = stack.token(role).await?;
            out::line(format!("  {:<8} {token}", role_name(role)));
        }
    } else {
        out::line("\nA token for the API:  switchboard token --role customer");
    }
    out::line("Ctrl-C stops.");
    Ok(())
}

/// Takes as many open files as the system allows: a socket is a file.
#[cfg(unix)]
fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit >= FEW_FILES => {}
        Ok(limit) => out::note(format!(
            "switchboard: only {limit} open files are allowed; with many chats at once raise the hard limit (ulimit -Hn, or LimitNOFILE=)"
        )),
        Err(e) => out::note(format!("switchboard: cannot raise the limit of open files: {e}")),
    }
}

#[cfg(not(unix))]
fn raise_file_limit() {}
