//! The files of a bundle as text: where they come from, their version, and errors that point into them.
use std::{collections::BTreeMap, path::Path};

use include_dir::{Dir, include_dir};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::suggest::nearest;

/// The demo bundle, in the program itself.
static DEMO: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../demo/policy");

/// What is wrong with a bundle, where, and how to mend it: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct BundleError {
    pub file: String,
    pub line: usize,
    pub message: String,
}

/// The files of a bundle by path, such as `flows/password_reset.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files(pub BTreeMap<String, String>);

impl Files {
    /// The demo bundle.
    pub fn demo() -> Self {
        let mut files = BTreeMap::new();
        collect(&DEMO, &mut files);
        Files(files)
    }

    /// A folder on disk.
    pub fn read(folder: &Path) -> Result<Self, BundleError> {
        let mut files = BTreeMap::new();
        read_into(folder, folder, &mut files)?;
        Ok(Files(files))
    }

    /// A hash of names and contents: the bundle's version.
    pub fn version(&self) -> String {
        let mut hash = Sha256::new();
        for (name, text) in &self.0 {
            // Lengths keep a name and its content apart.
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name);
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    /// A file that every bundle has.
    pub fn required(&self, name: &str) -> Result<Source<'_>, BundleError> {
        self.get(name).ok_or_else(|| {
            let message = format!("the file is missing{}", nearest(name, self.0.keys().cloned()));
            BundleError { file: name.to_owned(), line: 1, message }
        })
    }

    /// One file.
    pub fn get(&self, name: &str) -> Option<Source<'_>> {
        self.0.get_key_value(name).map(|(name, text)| Source { name, text })
    }

    /// The files of a folder of the bundle.
    pub fn under(&self, folder: &str) -> impl Iterator<Item = Source<'_>> {
        self.0.iter().filter(move |(name, _)| name.starts_with(folder)).map(|(name, text)| Source { name, text })
    }
}

fn collect(dir: &Dir<'_>, files: &mut BTreeMap<String, String>) {
    for file in dir.files().filter(|f| yaml(f.path())) {
        let text = file.contents_utf8().unwrap_or_default().to_owned();
        files.insert(file.path().to_string_lossy().replace('\\', "/"), text);
    }
    for sub in dir.dirs() {
        collect(sub, files);
    }
}

fn read_into(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) -> Result<(), BundleError> {
    let failed = |path: &Path, e: std::io::Error| BundleError {
        file: path.display().to_string(),
        line: 1,
        message: format!("cannot be read: {e}"),
    };
    for entry in std::fs::read_dir(folder).map_err(|e| failed(folder, e))? {
        let path = entry.map_err(|e| failed(folder, e))?.path();
        if path.is_dir() {
            read_into(root, &path, files)?;
        } else if yaml(&path) {
            let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.insert(name, text);
        }
    }
    Ok(())
}

fn yaml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml" || e == "yml")
}

/// One file.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// An error at a line.
    pub fn error(&self, line: usize, message: impl Into<String>) -> BundleError {
        BundleError { file: self.name.to_owned(), line, message: message.into() }
    }

    /// The first line from `from` on that holds a word, whole; `from` if none does.
    pub fn line_of(&self, word: &str, from: usize) -> usize {
        let edge = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
        let holds = |line: &str| {
            line.match_indices(word)
                .any(|(at, _)| edge(line[..at].chars().next_back()) && edge(line[at + word.len()..].chars().next()))
        };
        let found = self
            .text
            .lines()
            .enumerate()
            .skip(from.saturating_sub(1))
            .find(|(_, line)| !word.is_empty() && holds(line));
        found.map_or(from.max(1), |(at, _)| at + 1)
    }

    /// The line of an item by its id.
    pub fn line_of_id(&self, id: &str) -> usize {
        let found = self.text.lines().enumerate().find(|(_, line)| {
            let line = line.trim_start().trim_start_matches("- ").trim_start_matches('{');
            line.strip_prefix("id:")
                .is_some_and(|rest| rest.trim_start().trim_matches('"').split([',', ' ', '"']).next() == Some(id))
        });
        found.map_or(1, |(at, _)| at + 1)
    }

    /// Reads it strictly.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, BundleError> {
        serde_yaml_ng::from_str(self.text).map_err(|e| self.explain(&e))
    }

    fn explain(&self, error: &serde_yaml_ng::Error) -> BundleError {
        let whole = error.to_string();
        let mut line = error.location().map_or(1, |l| l.line());
        let message = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(m, _)| m);
        let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let unknown = ["unknown field", "unknown variant"].iter().any(|w| message.contains(w));
        let Some((wrong, known)) = words.split_first().filter(|_| unknown) else { return self.error(line, message) };
        line = self.line_of(wrong, line);
        let what = if message.contains("variant") { "a word that may stand here" } else { "a key that may stand here" };
        let known: Vec<String> = known.iter().map(|k| (*k).to_owned()).collect();
        let hint = match nearest(wrong, known.clone()) {
            none if none.is_empty() => format!("; there are {}", known.join(", ")),
            hint => hint,
        };
        self.error(line, format!("`{wrong}` is not {what}{hint}"))
    }
}
