//! Orchestrator as a process of its own.
use std::process::ExitCode;

use switchboard_orchestrator::{config, config::Config, serve};

fn main() -> ExitCode {
    switchboard_runtime::process::run("orchestrator", config::KEYS, async |settings, host, listener, shutdown| {
        serve(Config::read(&settings)?, host, listener, shutdown).await
    })
}
