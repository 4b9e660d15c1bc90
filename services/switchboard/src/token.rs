//! `switchboard token`: a token of this installation, with the server up, down or never started.
use std::{process::ExitCode, time::Duration};

use switchboard_identity::Identity;
use switchboard_runtime::{Clock, Role, caller::role_of, settings::parse_duration, telemetry};
use uuid::Uuid;

use crate::{failure::Failure, out, settings::Sources};

/// Arguments of `switchboard token`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// customer, agent, supervisor, admin or service
    #[arg(long, value_parser = role)]
    role: Role,
    /// Organization [default: the demo organization]
    #[arg(long, value_name = "ID")]
    org: Option<Uuid>,
    /// User; made if there is none with this id [default: a new one of the role]
    #[arg(long, value_name = "ID")]
    user: Option<Uuid>,
    /// How long the token is good, such as 30m or 8h
    #[arg(long, default_value = "1h", value_parser = span)]
    ttl: Duration,
    #[command(flatten)]
    sources: Sources,
}

pub(crate) fn role(text: &str) -> Result<Role, String> {
    role_of(text).ok_or_else(|| "write customer, agent, supervisor, admin or service".to_owned())
}

fn span(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number with ms, s, m, h or d".to_owned())
}

/// Prints the token and nothing else.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let settings = args.sources.load(&[])?;
    telemetry::init(&settings)?;
    let identity = Identity::open(&switchboard_identity::config::Config::read(&settings)?, Clock::system()).await?;
    out::line(identity.mint(args.role, args.org, args.user, args.ttl).await?);
    Ok(ExitCode::SUCCESS)
}
