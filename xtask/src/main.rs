//! The tasks of this repository.
//!
//! In: `cargo xtask TASK`. Out: an exit code, and on failure the step that failed. Never: a tool of the machine that it does
//! not install itself, or say how to get.
#![allow(clippy::print_stdout, reason = "a command line tool talks on stdout")]
#![allow(clippy::disallowed_methods, reason = "tasks measure the wall clock and wait for processes")]
#[cfg_attr(not(unix), path = "backends/elsewhere.rs")]
mod backends;
mod bench;
mod server;
mod shell;
mod verify;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask verify [--quick|--full]
     | bench turn [--transport inprocess|tcp] | bench ledger
     | backends up|down [--purge]|status [--json]|env [NAME…]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["verify"] => verify::run(verify::Tier::Plain),
        ["verify", "--quick"] => verify::run(verify::Tier::Quick),
        ["verify", "--backends"] => verify::run(verify::Tier::Backends),
        ["verify", "--full"] => verify::run(verify::Tier::Full),
        ["bench", "turn"] => bench::turn(&["inprocess", "tcp"]).map(drop),
        ["bench", "turn", "--transport", transport @ ("inprocess" | "tcp")] => bench::turn(&[transport]).map(drop),
        ["bench", "ledger"] => bench::ledger().map(drop),
        ["backends", words @ ..] if !words.is_empty() => backends::run(words),
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("✗ {error}");
            ExitCode::FAILURE
        }
    }
}
