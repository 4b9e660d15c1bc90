//! The edge as a process of its own.
use std::process::ExitCode;

use switchboard_edge::config::{Config, KEYS};

fn main() -> ExitCode {
    switchboard_runtime::process::run("edge", KEYS, async |settings, host, listener, shutdown| {
        switchboard_edge::serve(Config::read(&settings)?, host, listener, shutdown).await
    })
}
