//! What scenarios are played on: a running agent, or a stack of our own.
use std::time::Duration;

use switchboard_identity::Identity;
use switchboard_runtime::{Clock, Role, Settings};
use switchboard_salesforce::Embedded;
use tempfile::TempDir;
use uuid::Uuid;

use super::Args;
use crate::{
    settings,
    stack::{Stack, StackConfig},
};

/// A scenario takes seconds; a whole folder of them on a slow machine less than this.
const TOKEN_TTL: Duration = Duration::from_secs(3600);

/// The agent under test, and what we may do with it.
pub(crate) struct Ground {
    pub(crate) url: String,
    kind: Kind,
}

enum Kind {
    /// Started here; nothing of it is left afterwards.
    Own { stack: Option<Box<Stack>>, config: StackConfig, _folder: TempDir },
    /// Elsewhere, with its data folder at hand.
    Beside { identity: Box<Identity>, settings: Box<Settings> },
    /// Elsewhere; all we have is a token.
    Remote { token: String },
}

impl Ground {
    /// Starts a stack.
    pub(crate) async fn start(overrides: &[(&'static str, String)], args: &Args) -> Result<Self, String> {
        let folder =
            TempDir::with_prefix("switchboard-eval-").map_err(|e| format!("cannot make a temporary folder: {e}"))?;
        // Scenarios of one customer write faster than a person; what is measured here is what is said.
        let mut config = StackConfig { transport: args.mesh, ..StackConfig::new(folder.path()) }
            .with("edge.rate_limit", "off")
            .with("log.filter", std::env::var("SWITCHBOARD__LOG__FILTER").unwrap_or_else(|_| "error".to_owned()));
        config.overrides.extend_from_slice(overrides);
        if args.here {
            config.env = settings::environment();
            config.file = args.sources.file();
        }
        let stack = Stack::start(config.clone()).await.map_err(|e| e.to_string())?;
        let url = stack.url().to_owned();
        // After a restart clients find it where it was.
        url.trim_start_matches("http://").clone_into(&mut config.listen);
        Ok(Ground { url, kind: Kind::Own { stack: Some(Box::new(stack)), config, _folder: folder } })
    }

    /// An agent that runs on this machine.
    pub(crate) fn beside(url: String, identity: Identity, settings: Settings) -> Self {
        Ground { url, kind: Kind::Beside { identity: Box::new(identity), settings: Box::new(settings) } }
    }

    /// An agent that runs anywhere.
    pub(crate) fn remote(url: String, token: String) -> Self {
        Ground { url, kind: Kind::Remote { token } }
    }

    /// A token for a new user of a role, or for one that is there.
    pub(crate) async fn token(&self, role: Role, user: Option<(Uuid, Uuid)>) -> Result<String, String> {
        let identity = match &self.kind {
            Kind::Own { stack, .. } => stack.as_ref().ok_or("the stack is down")?.identity(),
            Kind::Beside { identity, .. } => identity,
            Kind::Remote { token } if role == Role::Customer && user.is_none() => return Ok(token.clone()),
            Kind::Remote { .. } => {
                return Err(
                    "needs more than one user; give --data with the server's data folder instead of --token".to_owned()
                );
            }
        };
        let (org, user) = user.unzip();
        identity.mint(role, org, user, TOKEN_TTL).await.map_err(|e| e.to_string())
    }

    /// Stops the stack and starts it again on the same data folder.
    pub(crate) async fn restart(&mut self) -> Result<(), String> {
        let Kind::Own { stack, config, .. } = &mut self.kind else {
            return Err("`restart` works only on a stack of our own: leave --url out".to_owned());
        };
        if let Some(running) = stack.take() {
            running.stop().await;
        }
        *stack = Some(Box::new(Stack::start(config.clone()).await.map_err(|e| format!("restart: {e}"))?));
        Ok(())
    }

    /// The embedded org, read beside the service.
    pub(crate) async fn salesforce(&self) -> Result<Embedded, String> {
        let config = match &self.kind {
            Kind::Own { stack, config, .. } => {
                stack.as_ref().ok_or("the stack is down")?;
                let settings = config.settings().map_err(|e| e.to_string())?;
                switchboard_salesforce::Config::read(&settings)
            }
            Kind::Beside { settings, .. } => switchboard_salesforce::Config::read(settings),
            Kind::Remote { .. } => return Err("`salesforce` needs the server's data folder: give --data".to_owned()),
        };
        let config = config.map_err(|e| e.to_string())?;
        let org = Embedded::open(&config.ledger, config.vault, config.demo, Clock::system()).await;
        org.map_err(|e| e.to_string())
    }

    /// Stops what was started here.
    pub(crate) async fn stop(self) {
        if let Kind::Own { stack: Some(stack), _folder, .. } = self.kind {
            stack.stop().await;
        }
    }
}

/// Settings of a scenario, by the names that the stack knows.
pub(crate) fn overrides<'a>(
    named: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Vec<(&'static str, String)>, String> {
    named
        .into_iter()
        .map(|(name, value)| {
            let key = settings::key(name).ok_or_else(|| format!("setup: unknown setting `{name}`"))?;
            Ok((key.name, value.clone()))
        })
        .collect()
}
