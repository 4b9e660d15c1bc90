//! The rules service as a process of its own.
use std::process::ExitCode;

use switchboard_rules::config::{Config, KEYS};

fn main() -> ExitCode {
    switchboard_runtime::process::run("rules", KEYS, async |settings, host, listener, shutdown| {
        switchboard_rules::serve(Config::read(&settings)?, host, listener, shutdown).await
    })
}
