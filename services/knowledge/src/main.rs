//! The knowledge service as a process of its own.
use std::process::ExitCode;

use switchboard_knowledge::config::{Config, KEYS};

fn main() -> ExitCode {
    switchboard_runtime::process::run("knowledge", KEYS, async |settings, host, listener, shutdown| {
        switchboard_knowledge::serve(Config::read(&settings)?, host, listener, shutdown).await
    })
}
