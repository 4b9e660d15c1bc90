//! Identity as a process of its own.
use std::process::ExitCode;

use switchboard_identity::{config, config::Config, serve};

fn main() -> ExitCode {
    switchboard_runtime::process::run("identity", config::KEYS, async |settings, host, listener, shutdown| {
        serve(Config::read(&settings)?, host, listener, shutdown).await
    })
}
