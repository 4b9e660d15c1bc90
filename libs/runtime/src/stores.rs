//! Which stores are chosen: one URL each, the same code behind all of them.
//!
//! In: the `stores.*` settings. Out: typed choices. Never: an open connection.
use std::path::{Path, PathBuf};

use sqlx::migrate::Migrator;
use url::Url;

use crate::{
    Secret, postgres,
    settings::{Key, Settings, SettingsError},
    sqlite::{OpenError, Sqlite},
    tls,
};

/// Where state is kept.
pub const KEYS: &[Key] = &[
    Key::secret_url(
        "stores.ledger",
        "sqlite:FOLDER | postgres://…",
        "sqlite:",
        "The system of record: a SQLite file per service in a folder (without one: the data folder), or a PostgreSQL \
         schema per service. SQLite by default: nothing to install.",
    )
    .or_env("DATABASE_URL"),
    Key::new(
        "stores.ledger_connections",
        "number",
        "90",
        "Connections to PostgreSQL that all services of a process open at most, shared out by need. With one more for each \
         service that watches the server it stays below 100, which PostgreSQL allows unless told otherwise.",
    ),
    Key::secret(
        "stores.master_keys",
        "Keys that wrap the keys of people's data: NUMBER:BASE64 of 32 bytes, newest first, separated by commas; all open, \
         the first seals. Empty: made once in the data folder, which only SQLite allows.",
    ),
    Key::secret_url(
        "stores.sessions",
        "embedded | mongodb://…",
        "embedded",
        "Session snapshots and turn capsules. Embedded by default: beside the ledger.",
    ),
    Key::secret_url(
        "stores.cache",
        "memory | redis://… | rediss://…",
        "memory",
        "Hot rows, presence, fan-out between replicas, rate limits. Memory serves one process; replicas need Redis.",
    )
    .or_env("REDIS_URL"),
    Key::secret_url(
        "stores.bus",
        "memory | kafka://HOST:PORT",
        "memory",
        "Where conversation events are published. Memory by default: only watchers and webhooks of this process hear them. \
         Kafka is spoken to in the clear: TLS is the mesh's part.",
    ),
    Key::new(
        "stores.tls_ca",
        "file",
        "",
        "PEM file with the CAs of the stores' certificates, for PostgreSQL (checked as with sslmode=verify-full, unless its URL \
         says sslmode), rediss:// and mongodb://…?tls=true. Empty: public CAs. A CA that a URL names counts before it.",
    ),
];

/// The system of record.
#[derive(Debug, Clone)]
pub enum Ledger {
    /// A file per owner in this folder.
    Sqlite(PathBuf),
    /// A schema per owner.
    Postgres(PostgresAt),
}

/// Where PostgreSQL is.
#[derive(Debug, Clone)]
pub struct PostgresAt {
    /// With its password.
    pub url: Secret,
    /// What all owners of this process may open.
    pub connections: u32,
}

impl Ledger {
    /// Reads the choice.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let text = settings.text("stores.ledger");
        if let Some(folder) = text.strip_prefix("sqlite:") {
            let folder = if folder.is_empty() { settings.text("data") } else { folder.to_owned() };
            return Ok(Ledger::Sqlite(folder.into()));
        }
        let wrong = |why: &str| settings.wrong("stores.ledger", &text, "settings", &why);
        let url = Url::parse(&text).ok().filter(|u| matches!(u.scheme(), "postgres" | "postgresql"));
        let url = url.ok_or_else(|| wrong("write sqlite:FOLDER or postgres://USER:PASSWORD@HOST:PORT/DATABASE"))?;
        if url.path().trim_start_matches('/').is_empty() {
            return Err(wrong("name the database: postgres://…/DATABASE"));
        }
        let connections: u32 = settings.get("stores.ledger_connections")?;
        if connections < LEAST_CONNECTIONS {
            let why = format!("at least {LEAST_CONNECTIONS}: each service needs some of its own");
            return Err(settings.wrong("stores.ledger_connections", &connections.to_string(), "settings", &why));
        }
        if settings.secret("stores.master_keys").is_empty() {
            let why =
                "is needed with PostgreSQL, the same for every replica: 1: and the output of `openssl rand -base64 32`";
            return Err(settings.wrong("stores.master_keys", "", "settings", &why));
        }
        Ok(Ledger::Postgres(PostgresAt { url: trusting(settings, "stores.ledger", &text)?, connections }))
    }
}

/// Below this an owner's share would be less than two.
const LEAST_CONNECTIONS: u32 = 20;

/// An owner's migrations, one set for each kind of ledger.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// Whose.
    pub owner: &'static str,
    /// For its file.
    pub sqlite: &'static Migrator,
    /// For its schema.
    pub postgres: &'static Migrator,
}

impl Migrations {
    /// Brings the owner's part of a ledger to the newest migration.
    pub async fn apply(&self, ledger: &Ledger) -> Result<(), OpenError> {
        match ledger {
            Ledger::Sqlite(folder) => {
                Sqlite::open(folder, self.owner, self.sqlite).await?.close().await;
                Ok(())
            }
            Ledger::Postgres(at) => postgres::migrate(at, self.owner, self.postgres).await,
        }
    }
}

/// A choice between something of this process and a server.
#[derive(Debug, Clone)]
pub enum Choice {
    /// In this process, or in its files.
    Here,
    /// A server's URL, with its password.
    Server(Secret),
}

/// Reads `stores.sessions`, `stores.cache` or `stores.bus`: the word for here, or a URL of one of the schemes.
pub fn choice(settings: &Settings, name: &str, here: &str, schemes: &[&str]) -> Result<Choice, SettingsError> {
    let text = settings.text(name);
    if text == here {
        return Ok(Choice::Here);
    }
    // By hand: several hosts with ports, as MongoDB takes them, are no URL to the parser. The store's client reads the rest.
    let is_known = text.split_once("://").is_some_and(|(scheme, rest)| {
        let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let hosts = place.rsplit('@').next().unwrap_or_default();
        schemes.contains(&scheme) && !hosts.is_empty() && !hosts.starts_with(':')
    });
    if !is_known {
        let known: Vec<String> = schemes.iter().map(|s| format!("{s}://…")).collect();
        return Err(settings.wrong(name, &text, "settings", &format!("write {here} or {}", known.join(" or "))));
    }
    Ok(Choice::Server(trusting(settings, name, &text)?))
}

/// A server's URL with the CA of `stores.tls_ca`, as its client understands it.
fn trusting(settings: &Settings, name: &str, url: &str) -> Result<Secret, SettingsError> {
    let file = settings.text("stores.tls_ca");
    let ca = (!file.is_empty()).then(|| Path::new(&file));
    if let Some(ca) = ca {
        tls::check(ca).map_err(|why| settings.wrong("stores.tls_ca", &file, "settings", &why))?;
    }
    tls::trusting(url, ca).map(Secret::new).map_err(|why| settings.wrong(name, url, "settings", &why))
}

/// A URL as it may be shown: without its passwords.
pub fn shown(url: &str) -> String {
    let text = match Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            let _ = parsed.set_password(Some("***"));
            parsed.to_string()
        }
        Ok(_) => url.to_owned(),
        // Several hosts, or a password that should have been written in percents: it goes at least to the last @.
        Err(_) => match url.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@'))) {
            Some((scheme, Some((user, rest)))) => {
                let user = user.split(':').next().unwrap_or_default();
                format!("{scheme}://{user}:***@{rest}")
            }
            _ => url.to_owned(),
        },
    };
    let Some((place, query)) = text.split_once('?') else { return text };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("pass") => format!("{name}=***"),
        _ => pair.to_owned(),
    });
    format!("{place}?{}", pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<Ledger, SettingsError> {
        let flags: Vec<_> = pairs.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        Ledger::read(&Settings::load(&[crate::process::KEYS, KEYS], None, [], &flags).expect("loads"))
    }

    #[test]
    fn the_ledger_is_chosen_by_its_url() {
        assert!(matches!(read(&[("data", "d")]), Ok(Ledger::Sqlite(f)) if f == Path::new("d")));
        assert!(matches!(read(&[("stores.ledger", "sqlite:x")]), Ok(Ledger::Sqlite(f)) if f == Path::new("x")));
        let server = "postgres://u:hunter2@h:1/db";
        let keys = ("stores.master_keys", "1:x");
        assert!(matches!(read(&[("stores.ledger", server), keys]), Ok(Ledger::Postgres(_))));
        for (bad, says) in [
            (vec![("stores.ledger", server)], "stores.master_keys"),
            (vec![("stores.ledger", "mysql://u:hunter2@h/db"), keys], "postgres://USER"),
            (vec![("stores.ledger", "postgres://u:hunter2@h"), keys], "name the database"),
            (vec![("stores.ledger", server), keys, ("stores.ledger_connections", "3")], "at least 20"),
        ] {
            let error = read(&bad).expect_err("refused").to_string();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_choice_is_a_word_or_a_url_of_a_known_scheme() {
        let settings =
            |value: &str| Settings::load(&[KEYS], None, [], &[("stores.cache", value.to_owned())]).expect("loads");
        let read = |value: &str| choice(&settings(value), "stores.cache", "memory", &["redis", "rediss"]);
        assert!(matches!(read("memory"), Ok(Choice::Here)));
        assert!(matches!(read("redis://:p@h:1/0"), Ok(Choice::Server(s)) if s.expose() == "redis://:p@h:1/0"));
        for bad in ["redis", "http://h", "redis:x", ""] {
            assert!(
                read(bad).expect_err("refused").to_string().contains("write memory or redis://… or rediss://…"),
                "{bad}"
            );
        }
    }

    #[test]
    fn several_hosts_are_a_choice() {
        let flags = [("stores.sessions", "mongodb://u:hunter2@a:1,b:2,c:3/db?replicaSet=r".to_owned())];
        let settings = Settings::load(&[KEYS], None, [], &flags).expect("loads");
        let read = |schemes: &[&str]| choice(&settings, "stores.sessions", "embedded", schemes);
        assert!(matches!(read(&["mongodb"]), Ok(Choice::Server(url)) if url.expose() == flags[0].1));
        assert!(!read(&["redis"]).expect_err("refused").to_string().contains("hunter2"));
    }

    #[test]
    fn a_url_is_shown_without_its_passwords() {
        for (url, safe) in [
            ("redis://u:secret@h:1/0", "redis://u:***@h:1/0"),
            ("mongodb://u:secret@a:1,b:2/db", "mongodb://u:***@a:1,b:2/db"),
            ("postgres://u:se?cr/et@h/db", "postgres://u:***@h/db"),
            ("postgres://u@h/db?password=secret&sslmode=disable", "postgres://u@h/db?password=***&sslmode=disable"),
            ("mongodb://a:1,b:2/db", "mongodb://a:1,b:2/db"),
            ("memory", "memory"),
        ] {
            assert_eq!(shown(url), safe);
        }
    }

    #[test]
    fn the_ca_of_the_settings_counts_where_a_url_names_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = folder.path().join("ca.pem");
        let file = ca.display().to_string();
        let read = |url: &str| {
            let flags = [("stores.cache", url.to_owned()), ("stores.tls_ca", file.clone())];
            choice(&Settings::load(&[KEYS], None, [], &flags).expect("loads"), "stores.cache", "memory", &["rediss"])
        };
        let missing = read("rediss://:hunter2@h:1/0").expect_err("refused").to_string();
        assert!(missing.contains("`stores.tls_ca`") && missing.contains("cannot read"), "{missing}");
        assert!(!missing.contains("hunter2"), "{missing}");
    }
}
