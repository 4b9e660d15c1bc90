//! Notification as a process of its own.
use std::process::ExitCode;

use switchboard_notification::{config, config::Config, serve};

fn main() -> ExitCode {
    switchboard_runtime::process::run("notification", config::KEYS, async |settings, host, listener, shutdown| {
        serve(Config::read(&settings)?, host, listener, shutdown).await
    })
}
