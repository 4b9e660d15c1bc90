//! `cargo xtask backends` where there is neither Linux nor macOS: it says what to do instead.
use crate::shell::Result;

const INSTEAD: &str = "backends run on Linux and macOS; here, use WSL, or Docker with compose.yaml";

pub fn run(_words: &[&str]) -> Result {
    Err(INSTEAD.to_owned())
}

pub fn ensure(_names: &[&str]) -> Result<Vec<(String, String)>> {
    Err(INSTEAD.to_owned())
}
