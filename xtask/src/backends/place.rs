//! Where servers and their data are kept, and who may work on them just now.
//!
//! In: a name. Out: folders below one cache folder, locks. Never: a file elsewhere, save PostgreSQL's data where root runs it.
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::shell::{Result, cache};

/// The folder of all servers. Absolute: they do not start in ours.
pub fn home() -> PathBuf {
    let path = cache().join("backends");
    std::path::absolute(&path).unwrap_or(path)
}

/// The folder of one server's data, log and process file.
pub fn folder(name: &str) -> PathBuf {
    home().join("run").join(name)
}

/// Holds a lock until it is dropped; waits for another process or thread that has it.
pub fn lock(name: &str) -> Result<File> {
    let path = home().join("lock").join(name);
    make(path.parent().unwrap_or(&path))?;
    let file = File::create(&path).map_err(at(&path))?;
    file.lock().map_err(at(&path))?;
    Ok(file)
}

/// Makes a folder and those above it.
pub fn make(path: &Path) -> Result {
    fs::create_dir_all(path).map_err(at(path))
}

/// Writes a file.
pub fn write(path: &Path, text: &str) -> Result {
    fs::write(path, text).map_err(at(path))
}

/// Removes a folder, if it is there.
pub fn remove(path: &Path) -> Result {
    if path.exists() { fs::remove_dir_all(path).map_err(at(path)) } else { Ok(()) }
}

/// The last lines of a log.
pub fn tail(path: &Path) -> String {
    const LINES: usize = 30;
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("{}\n{}", path.display(), lines[lines.len().saturating_sub(LINES)..].join("\n"))
}

/// An error with the path it is about.
pub fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    let shown = path.display().to_string();
    move |e| format!("{shown}: {e}")
}
