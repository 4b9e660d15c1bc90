//! The settings of identity.
use std::{path::PathBuf, time::Duration};

use switchboard_runtime::{Key, Settings, SettingsError, stores::Ledger, vault::Vault};

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
        "identity.guest_retention",
        "duration",
        "30d",
        "Web visitors who never signed in are erased when they are older and their session has ended, 1h to 3650d. 30 days: \
         as long as a session can rest before it ends.",
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

/// A guest is never younger than the token that was just handed out; ten years are for ever.
const RETENTION: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(3650 * 24 * 3600)];

/// The settings, read.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the demo password is kept.
    pub data: PathBuf,
    /// Where the store is.
    pub ledger: Ledger,
    /// What people's keys are wrapped by.
    pub vault: Vault,
    /// Whether there is a demo organization.
    pub demo: bool,
    /// How long an access token is good.
    pub token_ttl: Duration,
    /// How old a guest gets at least.
    pub guest_retention: Duration,
}

impl Config {
    /// Reads the settings.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let within = |name: &str, [least, most]: [Duration; 2], how: &str| {
            let value = settings.duration(name)?;
            let wrong = || settings.wrong(name, &settings.text(name), "the settings", &how);
            (least..=most).contains(&value).then_some(value).ok_or_else(wrong)
        };
        let token_ttl = within("identity.token_ttl", [Duration::from_secs(1), LONGEST_TOKEN], "write 1s to 24h")?;
        let guest_retention = within("identity.guest_retention", RETENTION, "write 1h to 3650d")?;
        let ledger = Ledger::read(settings)?;
        Ok(Config {
            data: settings.text("data").into(),
            vault: Vault::read(settings, &ledger)?,
            ledger,
            demo: settings.flag("identity.demo")?,
            token_ttl,
            guest_retention,
        })
    }
}

#[cfg(test)]
mod tests {
    use switchboard_runtime::{process, stores};

    use super::*;

    fn read(name: &'static str, value: &str) -> Result<Config, SettingsError> {
        let data = tempfile::tempdir().expect("a folder");
        let flags = [("data", data.path().display().to_string()), (name, value.to_owned())];
        Config::read(&Settings::load(&[process::KEYS, stores::KEYS, KEYS], None, [], &flags)?)
    }

    #[test]
    fn a_token_lives_a_second_to_a_day() {
        let name = "identity.token_ttl";
        assert_eq!(read(name, "15m").expect("good").token_ttl, Duration::from_secs(900));
        for bad in ["0s", "999ms", "2d", "soon"] {
            assert!(read(name, bad).expect_err("refused").to_string().contains(name), "{bad}");
        }
    }

    #[test]
    fn a_guest_stays_an_hour_at_least() {
        let name = "identity.guest_retention";
        assert_eq!(read(name, "30d").expect("good").guest_retention, Duration::from_secs(30 * 24 * 3600));
        for bad in ["0s", "59m", "3651d", "never"] {
            assert!(read(name, bad).expect_err("refused").to_string().contains(name), "{bad}");
        }
    }
}
