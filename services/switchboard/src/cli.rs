//! The command line. Without a command it is `up`.
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{chat, config_cmd, eval, failure::Failure, migrate, nlu, out, token, up};

/// AI customer service for teams that live in Salesforce: every service in one process.
#[derive(Parser)]
#[command(name = "switchboard", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    up: up::Args,
}

#[derive(Subcommand)]
enum Command {
    /// Start every service in this process (also without a command)
    Up(up::Args),
    /// Print a token signed by this installation, whether the server runs or not
    Token(token::Args),
    /// Chat in the terminal, over WebSocket
    Chat(chat::Args),
    /// Print the effective configuration, secrets masked
    Config(config_cmd::Args),
    /// Bring every store to the newest migration, or check that it is
    Migrate(migrate::Args),
    /// Measure the intent classifier
    #[command(subcommand)]
    Nlu(nlu::Command),
    /// Play scenario files against a running agent, or one started for it
    Eval(eval::Args),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            out::note(format!("switchboard: {}", failure.message));
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start the runtime: {e}")))?;
    let done = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Up(cli.up)) {
            Command::Up(args) => up::run(args).await,
            Command::Token(args) => token::run(args).await,
            Command::Chat(args) => chat::run(args).await,
            Command::Config(args) => config_cmd::run(&args),
            Command::Migrate(args) => migrate::run(&args).await,
            Command::Nlu(command) => nlu::run(&command),
            Command::Eval(args) => eval::run(args).await,
        }
    });
    // A thread that waits for the terminal must not keep the process.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Command};

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_up_and_takes_its_flags() {
        let cli = Cli::try_parse_from(["switchboard", "--ephemeral", "--listen", "127.0.0.1:0"]).expect("parses");
        assert!(cli.command.is_none());
        assert!(cli.up.ephemeral);
        let cli = Cli::try_parse_from(["switchboard", "up", "--transport", "tcp"]).expect("parses");
        assert!(matches!(cli.command, Some(Command::Up(_))));
        for wrong in
            [&["switchboard", "fly"][..], &["switchboard", "token"], &["switchboard", "up", "--transport", "pigeon"]]
        {
            let error = Cli::try_parse_from(wrong).err().expect("refused");
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
    }
}
