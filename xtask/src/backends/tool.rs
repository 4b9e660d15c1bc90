//! Programs of the machine that install or ask servers; quiet unless they fail.
//!
//! In: a command. Out: success, what it said, or an error with the end of what it said. Never: output in between ours.
use std::{
    fs::File,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::place::{at, home, make, tail};
use crate::shell::Result;

/// Runs it with its output in a log of that name; shows the log's end if it fails.
pub fn quiet(mut command: Command, name: &str) -> Result {
    let folder = home().join("log");
    make(&folder)?;
    let path = folder.join(name);
    let log = File::create(&path).map_err(at(&path))?;
    let errors = log.try_clone().map_err(|e| e.to_string())?;
    let program = command.get_program().display().to_string();
    let status = command.stdin(Stdio::null()).stdout(log).stderr(errors).status();
    let status = status.map_err(|e| format!("cannot start {program}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} failed ({status}); the end of {}", tail(&path))) }
}

/// Runs it with a text on its input.
pub fn fed(mut command: Command, text: &str) -> Result {
    let program = command.get_program().display().to_string();
    let failed = |e: std::io::Error| format!("{program}: {e}");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    // It is dropped at the end of the statement: that ends the input. One that fails early does not read it: its own error counts.
    let _ = child.stdin.take().map(|mut input| input.write_all(text.as_bytes()));
    let out = child.wait_with_output().map_err(failed)?;
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()) }
}

/// What it says, if it is there and succeeds. Java tells its version on stderr.
pub fn said(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    let text = if out.stdout.is_empty() { out.stderr } else { out.stdout };
    out.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

/// A program on the search path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether we are root.
pub fn root() -> bool {
    said("id", &["-u"]).is_some_and(|id| id.trim() == "0")
}
