//! The conversation service as a process of its own.
use std::process::ExitCode;

use switchboard_conversation::{config, serve};
use switchboard_runtime::process;

fn main() -> ExitCode {
    process::run("conversation", config::KEYS, async |settings, host, listener, shutdown| {
        serve(config::Config::read(&settings)?, host, listener, shutdown).await
    })
}
