use std::process::ExitCode;

use switchboard_salesforce::{config, serve};

fn main() -> ExitCode {
    switchboard_runtime::process::run("salesforce", config::KEYS, async |settings, host, listener, shutdown| {
        serve(config::Config::read(&settings)?, host, listener, shutdown).await
    })
}
