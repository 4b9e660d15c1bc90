//! `switchboard eval`: plays scenario files against an agent.
//!
//! In: a folder of YAML dialogues. Out: what differs from what they expect. Never: another way in than the one that
//! customers and agents have, but for `salesforce`, which is looked up where it is kept.
mod check;
mod ground;
mod player;
mod report;
mod scenario;
mod tab;

use std::{path::PathBuf, process::ExitCode};

use switchboard_identity::Identity;
use switchboard_runtime::Clock;
use tokio::time::Instant;

use crate::{
    failure::{FAILED, Failure},
    out,
    settings::Sources,
    socket::plain_http,
    stack::Transport,
};
use ground::Ground;
use report::{Played, Report};
use scenario::Scenario;

/// How the customer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Line {
    /// One request per message.
    Rest,
    /// Frames on a socket.
    Ws,
}

/// Arguments of `switchboard eval`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of scenario files, or one file
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// A running agent [default: one is started for it]
    #[arg(long)]
    url: Option<String>,
    /// A customer's token for it [default: new users, by the data folder]
    #[arg(long, value_name = "T", requires = "url", conflicts_with = "data")]
    token: Option<String>,
    /// How the customer writes
    #[arg(long, value_enum, default_value = "rest")]
    transport: Line,
    /// How the services of an agent that is started for it reach each other
    #[arg(long, value_enum, default_value = "inprocess", conflicts_with = "url")]
    mesh: Transport,
    /// Let an agent that is started for it use the settings of this environment, such as its stores [default: none]
    #[arg(long, conflicts_with = "url")]
    here: bool,
    /// Write the result as JUnit XML
    #[arg(long, value_name = "F.xml")]
    junit: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sources: Sources,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let scenarios = scenario::load(&args.path).map_err(Failure::failed)?;
    let mut shared = match &args.url {
        Some(url) => Some(running(&args, plain_http(url).map_err(Failure::usage)?).await?),
        None => None,
    };
    let http = reqwest::Client::builder().no_proxy().build().map_err(|e| Failure::failed(e.to_string()))?;
    let mut played = Vec::new();
    for scenario in &scenarios {
        out::progress(format!("… {}", scenario.name));
        let started = Instant::now();
        let differences = one(scenario, &args, &mut shared, &http).await.unwrap_or_else(|why| vec![why]);
        let result = Played {
            name: scenario.name.clone(),
            file: scenario.file.display().to_string(),
            passed: differences.is_empty(),
            seconds: started.elapsed().as_secs_f64(),
            differences,
        };
        if !args.json {
            out::line(result.lines());
        }
        played.push(result);
    }
    if let Some(ground) = shared {
        ground.stop().await;
    }
    let report = Report::new(played);
    if let Some(file) = &args.junit {
        std::fs::write(file, report.junit())
            .map_err(|e| Failure::failed(format!("cannot write {}: {e}", file.display())))?;
    }
    if args.json {
        out::line(serde_json::to_string(&report).map_err(|e| Failure::failed(e.to_string()))?);
    } else {
        out::line(format!("\n{} passed, {} failed, {:.1} s", report.passed, report.failed, report.seconds));
    }
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The agent that runs at a URL.
async fn running(args: &Args, url: String) -> Result<Ground, Failure> {
    if let Some(token) = &args.token {
        return Ok(Ground::remote(url, token.clone()));
    }
    let settings = args.sources.load(&[])?;
    let identity = Identity::open(&switchboard_identity::config::Config::read(&settings)?, Clock::system()).await?;
    Ok(Ground::beside(url, identity, settings))
}

/// Plays one scenario, on the shared agent or on one of its own if it changes more than its conversation.
async fn one(
    scenario: &Scenario,
    args: &Args,
    shared: &mut Option<Ground>,
    http: &reqwest::Client,
) -> Result<Vec<String>, String> {
    let alone = !scenario.setup.is_empty() || scenario.turns.iter().any(|t| t.restart);
    if alone {
        if args.url.is_some() {
            return Err("`setup` and `restart` need an agent of their own: leave --url out".to_owned());
        }
        let overrides = ground::overrides(&scenario.setup.settings)?;
        let mut own = Ground::start(&overrides, args).await?;
        let differences = player::play(scenario, &mut own, http, args.transport).await;
        own.stop().await;
        return Ok(differences);
    }
    let ground = match shared {
        Some(ground) => ground,
        None => shared.insert(Ground::start(&[], args).await?),
    };
    Ok(player::play(scenario, ground, http, args.transport).await)
}
