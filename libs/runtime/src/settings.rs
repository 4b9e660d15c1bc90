//! Configuration: defaults < TOML file < environment < flags, every key documented, unknown ones refused.
//!
//! In: the tables of [`Key`]s that services publish, a file, the environment as a map, flags. Out: typed values.
//! Never: the process environment itself, so that tests pass a map.
use std::{collections::BTreeMap, fmt::Display, path::Path, str::FromStr};

use crate::secret::Secret;

/// One documented setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted name, such as `edge.rate_limit`.
    pub name: &'static str,
    /// Type in words, such as `duration`, `on|off`.
    pub kind: &'static str,
    /// Default as it would be written.
    pub default: &'static str,
    /// What it does, and why the default is what it is.
    pub doc: &'static str,
    /// Masked when printed; may be given as `NAME_file`.
    pub secret: bool,
    /// A foreign environment name that is read with the lowest rank.
    pub alias: Option<&'static str>,
}

impl Key {
    /// A plain setting.
    pub const fn new(name: &'static str, kind: &'static str, default: &'static str, doc: &'static str) -> Self {
        Key { name, kind, default, doc, secret: false, alias: None }
    }

    /// A secret: masked, and it may come from a file.
    pub const fn secret(name: &'static str, doc: &'static str) -> Self {
        Key { name, kind: "secret", default: "", doc, secret: true, alias: None }
    }

    /// A URL that may carry a password: only that is masked, and it may come from a file.
    pub const fn secret_url(name: &'static str, kind: &'static str, default: &'static str, doc: &'static str) -> Self {
        Key { name, kind, default, doc, secret: true, alias: None }
    }

    /// The value as it may be shown.
    fn shown(&self, value: &str) -> String {
        match (self.secret, self.kind) {
            (true, "secret") if !value.is_empty() => "***".to_owned(),
            (true, _) => crate::stores::shown(value),
            (false, _) => value.to_owned(),
        }
    }

    /// With a foreign environment name.
    #[must_use]
    pub const fn or_env(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    /// The environment variable of this setting.
    pub fn env(&self) -> String {
        format!("{PREFIX}{}", self.name.replace('.', "__").to_ascii_uppercase())
    }
}

/// What environment variables of ours begin with.
pub const PREFIX: &str = "SWITCHBOARD__";

/// A setting that is wrong. The process says it in one line and exits 64.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// The settings in effect.
#[derive(Clone)]
pub struct Settings {
    keys: Vec<Key>,
    values: BTreeMap<&'static str, (String, String)>,
}

impl std::fmt::Debug for Settings {
    /// The same as [`Settings::to_toml`]: secrets masked.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_toml())
    }
}

impl Settings {
    /// Reads all layers. `env` is the environment as pairs; flags are (key, value).
    pub fn load(
        tables: &[&[Key]],
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, SettingsError> {
        let keys: Vec<Key> = tables.iter().flat_map(|t| t.iter().copied()).collect();
        let mut settings = Settings { values: BTreeMap::new(), keys };
        for key in settings.keys.clone() {
            settings.values.insert(key.name, (key.default.to_owned(), "default".to_owned()));
        }
        let env: BTreeMap<String, String> = env.into_iter().collect();
        for key in settings.keys.clone() {
            if let Some((name, value)) = key.alias.and_then(|a| env.get_key_value(a)) {
                settings.values.insert(key.name, (value.clone(), name.clone()));
            }
        }
        if let Some(path) = file {
            settings.read_file(path)?;
        }
        for (name, value) in &env {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            settings.put(&rest.to_ascii_lowercase().replace("__", "."), value.clone(), name)?;
        }
        for (name, value) in flags {
            settings.put(name, value.clone(), "flag")?;
        }
        Ok(settings)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| SettingsError(format!("cannot read the configuration {shown}: {e}")))?;
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| SettingsError(format!("{shown}: {}", e.to_string().trim())))?;
        let mut flat = Vec::new();
        flatten("", &table, &mut flat);
        for (name, value) in flat {
            self.put(&name, value, &shown)?;
        }
        Ok(())
    }

    fn put(&mut self, name: &str, value: String, source: &str) -> Result<(), SettingsError> {
        if let Some(key) = self.keys.iter().find(|k| k.name == name) {
            self.values.insert(key.name, (value, source.to_owned()));
            return Ok(());
        }
        if let Some(key) = name.strip_suffix("_file").and_then(|n| self.keys.iter().find(|k| k.secret && k.name == n)) {
            let text = std::fs::read_to_string(&value)
                .map_err(|e| SettingsError(format!("{name} (from {source}): cannot read {value}: {e}")))?;
            self.values.insert(key.name, (text.trim_end().to_owned(), source.to_owned()));
            return Ok(());
        }
        let near = self
            .keys
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a.name, name).total_cmp(&strsim::jaro_winkler(b.name, name)));
        let hint = near.map(|k| format!("; did you mean `{}`?", k.name)).unwrap_or_default();
        Err(SettingsError(format!("unknown setting `{name}` (from {source}){hint}")))
    }

    /// Gives a value to a setting that was left empty: what is known only once the process runs.
    pub fn fill(&mut self, name: &'static str, value: &str) {
        if let Some(slot) = self.values.get_mut(name).filter(|(text, _)| text.is_empty()) {
            *slot = (value.to_owned(), "the running server".to_owned());
        }
    }

    /// A typed value.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<T, SettingsError>
    where
        T::Err: Display,
    {
        let (value, source) = self.raw(name);
        value.parse().map_err(|e| self.wrong(name, &value, &source, &e))
    }

    /// Text as it stands.
    pub fn text(&self, name: &str) -> String {
        self.raw(name).0
    }

    /// A secret.
    pub fn secret(&self, name: &str) -> Secret {
        Secret::new(self.raw(name).0)
    }

    /// `on` or `off`.
    pub fn flag(&self, name: &str) -> Result<bool, SettingsError> {
        let (value, source) = self.raw(name);
        match value.as_str() {
            "on" | "true" => Ok(true),
            "off" | "false" => Ok(false),
            _ => Err(self.wrong(name, &value, &source, &"write on or off")),
        }
    }

    /// A span such as `500ms`, `30s`, `10m`, `24h`, `7d`.
    pub fn duration(&self, name: &str) -> Result<std::time::Duration, SettingsError> {
        let (value, source) = self.raw(name);
        parse_duration(&value).ok_or_else(|| self.wrong(name, &value, &source, &"write a number with ms, s, m, h or d"))
    }

    /// An error about a value, in the form that all of them have.
    pub fn wrong(&self, name: &str, value: &str, source: &str, why: &dyn Display) -> SettingsError {
        let shown = self.keys.iter().find(|k| k.name == name).map_or_else(|| value.to_owned(), |k| k.shown(value));
        SettingsError(format!("setting `{name}` = `{shown}` (from {source}): {why}"))
    }

    fn raw(&self, name: &str) -> (String, String) {
        self.values.get(name).cloned().unwrap_or_else(|| panic!("`{name}` is in no table of keys"))
    }

    /// The settings in effect as TOML with documentation; secrets masked.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for key in sorted(&self.keys) {
            let (head, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            if head != section {
                section = head;
                out.push_str(&format!("\n[{head}]\n"));
            }
            let (value, source) = &self.values[key.name];
            let shown = key.shown(value);
            out.push_str(&format!(
                "# {} ({}; default: {:?}; from {source})\n{name} = {shown:?}\n",
                key.doc, key.kind, key.default
            ));
        }
        out
    }

    /// The same as environment variables with their defaults: the content of `.env.example`.
    pub fn to_env(&self) -> String {
        let mut out = String::from(
            "# Every setting with its default. Written by `switchboard config --env`; do not edit by hand.\n",
        );
        for key in sorted(&self.keys) {
            let also = key.alias.map(|a| format!(" Also read from {a}.")).unwrap_or_default();
            let file = if key.secret { " May be given as a file: add _FILE to the name." } else { "" };
            out.push_str(&format!("\n# {} ({}){also}{file}\n#{}={}\n", key.doc, key.kind, key.env(), key.default));
        }
        out
    }
}

fn sorted(keys: &[Key]) -> Vec<&Key> {
    let mut keys: Vec<_> = keys.iter().collect();
    keys.sort_by_key(|k| k.name.rsplit_once('.').unwrap_or(("", k.name)));
    keys
}

fn flatten(prefix: &str, table: &toml::Table, out: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&path, inner, out),
            toml::Value::String(s) => out.push((path, s.clone())),
            toml::Value::Boolean(b) => out.push((path, if *b { "on" } else { "off" }.to_owned())),
            toml::Value::Array(items) => {
                let words: Vec<_> =
                    items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned)).collect();
                out.push((path, words.join(",")));
            }
            other => out.push((path, other.to_string())),
        }
    }
}

/// A span such as `500ms`, `30s`, `10m`, `24h`, `7d`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(std::time::Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[Key] = &[
        Key::new("edge.rate_limit", "text", "100/60s", "Requests per user."),
        Key::new("edge.listen", "address", "127.0.0.1:8080", "Where to listen.").or_env("LISTEN"),
        Key::secret("model.key", "The key."),
    ];

    fn load(
        env: &[(&str, &str)],
        flags: &[(&'static str, String)],
        file: Option<&str>,
    ) -> Result<Settings, SettingsError> {
        let folder = tempfile_path();
        let path = file.map(|text| {
            std::fs::write(&folder, text).expect("writes");
            folder.clone()
        });
        Settings::load(&[KEYS], path.as_deref(), env.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())), flags)
    }

    fn tempfile_path() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("switchboard-settings-{}.toml", uuid::Uuid::new_v4()))
    }

    #[test]
    fn each_layer_outranks_the_one_before() {
        let file = "[edge]\nlisten = \"file\"";
        let env = [("SWITCHBOARD__EDGE__LISTEN", "env"), ("LISTEN", "alias")];
        let text = |s: Result<Settings, SettingsError>| s.expect("loads").text("edge.listen");
        assert_eq!(text(load(&[], &[], None)), "127.0.0.1:8080");
        assert_eq!(text(load(&env[1..], &[], None)), "alias");
        assert_eq!(text(load(&env[1..], &[], Some(file))), "file");
        assert_eq!(text(load(&env, &[], Some(file))), "env");
        assert_eq!(text(load(&env, &[("edge.listen", "flag".into())], Some(file))), "flag");
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = load(&[("SWITCHBOARD__EDGE__RATELIMIT", "1")], &[], None).expect_err("refused");
        assert_eq!(
            error.0,
            "unknown setting `edge.ratelimit` (from SWITCHBOARD__EDGE__RATELIMIT); did you mean `edge.rate_limit`?"
        );
    }

    #[test]
    fn a_secret_is_never_printed() {
        let settings = load(&[("SWITCHBOARD__MODEL__KEY", "hunter2")], &[], None).expect("loads");
        assert_eq!(settings.secret("model.key").expose(), "hunter2");
        assert!(
            !format!("{}{}{:?}", settings.to_toml(), settings.to_env(), settings.secret("model.key"))
                .contains("hunter2")
        );
    }

    #[test]
    fn spans_are_read() {
        assert_eq!(parse_duration("1500ms"), Some(std::time::Duration::from_millis(1500)));
        assert_eq!(parse_duration("7d"), Some(std::time::Duration::from_secs(604_800)));
        assert_eq!(parse_duration("soon"), None);
    }
}
