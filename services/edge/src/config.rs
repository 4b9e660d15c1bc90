//! The settings of the edge.
use std::time::Duration;

use switchboard_runtime::{
    Key, Secret, Settings, SettingsError,
    settings::parse_duration,
    stores::{self, Choice, Ledger},
    vault::Vault,
};

/// The documented keys.
pub const KEYS: &[Key] = &[
    Key::new(
        "edge.rate_limit",
        "COUNT/SPAN|off",
        "100/60s",
        "Requests per user, or per address where nobody is signed in. Far above what a person does, far below what hurts.",
    ),
    Key::new(
        "edge.guests",
        "auto|on|off",
        "auto",
        "Whether visitors may chat without signing in. auto and on leave it to the organization; off refuses them all.",
    ),
    Key::new(
        "edge.cors_origins",
        "list of origins",
        "",
        "Origins whose pages may call the API from a browser. None by default: pages of this server need no permission.",
    ),
    Key::new(
        "edge.widget_origins",
        "list of origins",
        "",
        "Sites that may show the chat page in a frame (widget.js). None by default, against clickjacking.",
    ),
    Key::new(
        "edge.proxies",
        "number",
        "0",
        "Trusted proxies in front: the client's address is that many entries from the right of X-Forwarded-For. \
         0 takes the peer's address, since anybody can write the header.",
    ),
];

/// A request budget: so many per span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub span: Duration,
}

/// Where requests are counted and answers kept.
#[derive(Debug, Clone)]
pub enum Cache {
    /// In this process: for one edge.
    Memory,
    /// In a Redis that several edges share.
    Redis {
        /// With its password.
        url: Secret,
        /// What answers are sealed by; the same for all edges.
        vault: Vault,
    },
}

/// The settings, read.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where requests are counted and answers kept.
    pub cache: Cache,
    /// None: no limit.
    pub rate: Option<Rate>,
    /// False: nobody chats without signing in.
    pub guests: bool,
    /// Origins for CORS.
    pub cors_origins: Vec<String>,
    /// Origins that may frame the chat page.
    pub widget_origins: Vec<String>,
    /// Trusted proxies in front.
    pub proxies: usize,
    /// How sockets keep time.
    pub socket: SocketTimes,
}

/// How sockets keep time. Fixed by the interface; tests shorten it.
#[derive(Debug, Clone, Copy)]
pub struct SocketTimes {
    /// Between pings; two missed end the connection.
    pub ping: Duration,
    /// Without a frame of the client or an event for it.
    pub idle: Duration,
    /// One frame has to be taken by the client in this time; a slower reader is disconnected.
    pub write: Duration,
}

impl Default for SocketTimes {
    fn default() -> Self {
        SocketTimes {
            ping: Duration::from_secs(30),
            idle: Duration::from_secs(30 * 60),
            // Longer than a mobile network's usual gap, short enough that dead readers do not pile up.
            write: Duration::from_secs(10),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cache: Cache::Memory,
            rate: Some(Rate { count: 100, span: Duration::from_secs(60) }),
            guests: true,
            cors_origins: vec![],
            widget_origins: vec![],
            proxies: 0,
            socket: SocketTimes::default(),
        }
    }
}

impl Config {
    /// Reads and checks the settings.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let wrong = |name: &str, value: &str, why: &str| settings.wrong(name, value, "settings", &why);
        let rate = settings.text("edge.rate_limit");
        let guests = settings.text("edge.guests");
        let origins = |name: &str| -> Result<Vec<String>, SettingsError> {
            let text = settings.text(name);
            let list: Vec<String> = text.split(',').map(|o| o.trim().to_owned()).filter(|o| !o.is_empty()).collect();
            match list.iter().find(|o| !is_origin(o)) {
                Some(bad) => Err(wrong(name, bad, "write origins such as https://example.com, separated by commas")),
                None => Ok(list),
            }
        };
        let cache = match stores::choice(settings, "stores.cache", "memory", &["redis", "rediss"])? {
            Choice::Here => Cache::Memory,
            Choice::Server(url) => Cache::Redis { url, vault: Vault::read(settings, &Ledger::read(settings)?)? },
        };
        Ok(Config {
            cache,
            rate: match rate.as_str() {
                "off" => None,
                text => Some(
                    parse_rate(text)
                        .ok_or_else(|| wrong("edge.rate_limit", text, "write a rate such as 100/60s, or off"))?,
                ),
            },
            guests: match guests.as_str() {
                "auto" | "on" => true,
                "off" => false,
                other => return Err(wrong("edge.guests", other, "write auto, on or off")),
            },
            cors_origins: origins("edge.cors_origins")?,
            widget_origins: origins("edge.widget_origins")?,
            proxies: settings.get("edge.proxies")?,
            socket: SocketTimes::default(),
        })
    }
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (count, span) = text.split_once('/')?;
    let rate = Rate { count: count.trim().parse().ok()?, span: parse_duration(span.trim())? };
    (rate.count > 0 && !rate.span.is_zero()).then_some(rate)
}

/// Scheme, host and perhaps a port; nothing that could end a header or a directive of the content policy.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|h| !h.is_empty() && h.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]*".contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)]) -> Result<Config, SettingsError> {
        let env = env.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        Config::read(&Settings::load(&[switchboard_runtime::process::KEYS, stores::KEYS, KEYS], None, env, &[])?)
    }

    #[test]
    fn rates_are_read_and_nonsense_is_named() {
        let rate = |count, secs| Some(Rate { count, span: Duration::from_secs(secs) });
        assert_eq!(read(&[]).expect("defaults").rate, rate(100, 60));
        assert_eq!(read(&[("SWITCHBOARD__EDGE__RATE_LIMIT", "5/1m")]).expect("reads").rate, rate(5, 60));
        assert_eq!(read(&[("SWITCHBOARD__EDGE__RATE_LIMIT", "off")]).expect("reads").rate, None);
        for bad in ["0/60s", "many", "5/", "5/0s", "5"] {
            let error = read(&[("SWITCHBOARD__EDGE__RATE_LIMIT", bad)]).expect_err("refused");
            assert!(error.0.contains("edge.rate_limit") && error.0.contains("100/60s"), "{error}");
        }
    }

    #[test]
    fn edges_share_a_redis_and_the_keys() {
        assert!(matches!(read(&[]).expect("defaults").cache, Cache::Memory));
        let keys = ("SWITCHBOARD__STORES__MASTER_KEYS", "1:c3dpdGNoYm9hcmQgdGVzdHM6IGEgbWFzdGVyIGtleS4=");
        let chosen = read(&[("SWITCHBOARD__STORES__CACHE", "redis://:hunter2@h:1/0"), keys]).expect("reads");
        assert!(matches!(&chosen.cache, Cache::Redis { url, .. } if url.expose() == "redis://:hunter2@h:1/0"));
        assert!(!format!("{chosen:?}").contains("hunter2"));
        let error = read(&[("SWITCHBOARD__STORES__CACHE", "http://h"), keys]).expect_err("refused");
        assert!(error.0.contains("stores.cache"), "{error}");
    }

    #[test]
    fn an_origin_cannot_carry_a_directive() {
        assert!(read(&[("SWITCHBOARD__EDGE__WIDGET_ORIGINS", "https://a.example, http://localhost:3000")]).is_ok());
        assert!(read(&[("SWITCHBOARD__EDGE__WIDGET_ORIGINS", "https://a.example; script-src *")]).is_err());
    }
}
