//! `switchboard config`: every setting, with what it does.
use std::process::ExitCode;

use switchboard_runtime::Key;

use crate::{
    failure::Failure,
    out,
    settings::{Sources, check, tables},
};

/// Arguments of `switchboard config`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the content of .env.example instead
    #[arg(long, conflicts_with = "markdown")]
    env: bool,
    /// Print the content of docs/configuration.md instead
    #[arg(long)]
    markdown: bool,
    #[command(flatten)]
    sources: Sources,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let settings = args.sources.load(&[])?;
    check(&settings)?;
    let text = match (args.env, args.markdown) {
        (true, _) => settings.to_env(),
        (_, true) => markdown(),
        _ => settings.to_toml(),
    };
    out::line(text.trim_end());
    Ok(ExitCode::SUCCESS)
}

const HEAD: &str = "# Configuration

Defaults, then a TOML file (`--config FILE`, or `SWITCHBOARD_CONFIG`), then the environment, then flags: the later wins. The
environment name of a setting is `SWITCHBOARD__` and its name in capitals with two underscores for each dot:
`edge.rate_limit` is `SWITCHBOARD__EDGE__RATE_LIMIT`. A secret can be given as a file: add `_FILE` to the name.

`switchboard config` prints what is in force, secrets masked; `switchboard config --env` prints `.env.example`. An unknown
setting is an error (exit code 64) that names the nearest known one.

This page is written by `switchboard config --markdown`; a test holds it to the code. Change a setting's text where the
setting is: `KEYS` in the `config.rs` of the service.
";

/// All settings as a page, one table per section.
fn markdown() -> String {
    let mut keys: Vec<&Key> = tables().into_iter().flatten().collect();
    let place = |key: &Key| key.name.rsplit_once('.').unwrap_or(("", key.name));
    keys.sort_by_key(|k| place(k));
    let mut page = HEAD.to_owned();
    let mut section = None;
    for key in keys {
        let (head, _) = place(key);
        if section != Some(head) {
            section = Some(head);
            let title = if head.is_empty() { "General" } else { head };
            page.push_str(&format!("\n## {title}\n\n| setting | type | default | what it does |\n|---|---|---|---|\n"));
        }
        let default = if key.default.is_empty() { "–".to_owned() } else { format!("`{}`", escape(key.default)) };
        let also = key.alias.map(|a| format!(" Also read from `{a}`, with the lowest rank.")).unwrap_or_default();
        page.push_str(&format!("| `{}` | {} | {default} | {}{also} |\n", key.name, escape(key.kind), escape(key.doc)));
    }
    page
}

/// A bar would end the cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use switchboard_runtime::Settings;

    use super::*;

    /// Compares a file with what a command prints; the message says how to mend it.
    fn is_current(file: &str, expected: &str, command: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found.trim_end() == expected.trim_end(),
            "{file} is not current: run `cargo run -q -- {command} > {file}`"
        );
    }

    #[test]
    fn the_example_environment_is_current() {
        let settings = Settings::load(&tables(), None, [], &[]).expect("defaults are good");
        is_current(".env.example", &settings.to_env(), "config --env");
    }

    #[test]
    fn the_page_of_settings_is_current() {
        is_current("docs/configuration.md", &markdown(), "config --markdown");
    }

    #[test]
    fn every_setting_has_one_owner_and_says_what_it_does() {
        let mut seen = BTreeSet::new();
        for key in tables().into_iter().flatten() {
            assert!(seen.insert(key.name), "{} is in two tables", key.name);
            assert!(key.doc.len() > 15 && key.doc.ends_with('.'), "{}: {}", key.name, key.doc);
        }
    }
}
