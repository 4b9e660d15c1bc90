//! The settings of identity.
use std::{path::PathBuf, time::Duration};

use switchboard_runtime::{Key, Settings, SettingsError};

/// What can be set.
pub const KEYS: &[Key] = &[
    Key::new(
        "identity.demo",
        "on|off",
        "on",
        "Makes the demo organization with its accounts on the first start, and lets web visitors be its guests. On, so that \
         a newcomer's first start has an organization to talk to; turn it off where real customers are served.",
    ),
    Key::new(
        "identity.token_ttl",
        "duration",
        "1h",
        "How long an access token is good, 1s to 24h. A token cannot be called back before its end, so it is short; a \
         refresh token carries the session on.",
    ),
];

/// A token that outlives a day could not be called back for too long.
const LONGEST_TOKEN: Duration = Duration::from_secs(24 * 3600);

/// The settings, read.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the store and the demo password are kept.
    pub data: PathBuf,
    /// Whether there is a demo organization.
    pub demo: bool,
    /// How long an access token is good.
    pub token_ttl: Duration,
}

impl Config {
    /// Reads the settings.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let token_ttl = settings.duration("identity.token_ttl")?;
        if !(Duration::from_secs(1)..=LONGEST_TOKEN).contains(&token_ttl) {
            let name = "identity.token_ttl";
            return Err(settings.wrong(name, &settings.text(name), "the settings", &"write 1s to 24h"));
        }
        Ok(Config { data: settings.text("data").into(), demo: settings.flag("identity.demo")?, token_ttl })
    }
}

#[cfg(test)]
mod tests {
    use switchboard_runtime::process;

    use super::*;

    fn read(ttl: &str) -> Result<Config, SettingsError> {
        let flags = [("identity.token_ttl", ttl.to_owned())];
        Config::read(&Settings::load(&[process::KEYS, KEYS], None, [], &flags)?)
    }

    #[test]
    fn a_token_lives_a_second_to_a_day() {
        assert_eq!(read("15m").expect("good").token_ttl, Duration::from_secs(900));
        for bad in ["0s", "999ms", "2d", "soon"] {
            assert!(read(bad).expect_err("refused").to_string().contains("identity.token_ttl"), "{bad}");
        }
    }
}
