//! A server's process: started apart from ours, found again later, stopped.
//!
//! In: a command. Out: a process that outlives us, with a file that says which one it is. Never: a signal to a process that
//! merely got the same number.
use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::place::{at, write};
use crate::shell::{Result, command, run};

/// How long a stopped server may take to put its data in order. Neo4j needs more than ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often we look whether something has happened.
pub const PAUSE: Duration = Duration::from_millis(100);

/// A command for a program that shall not end with our terminal: in a session of its own, or where there is no `setsid`
/// (macOS), in a process group of its own.
pub fn detached(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if cfg!(target_os = "linux") {
        let mut command = Command::new("setsid");
        command.arg(program);
        command
    } else {
        let mut command = Command::new(program);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }
}

/// Starts it with its output in `log`, and remembers which process it is in `pid`.
pub fn launch(folder: &Path, mut command: Command) -> Result<u32> {
    let log = File::create(folder.join("log")).map_err(at(&folder.join("log")))?;
    let errors = log.try_clone().map_err(|e| e.to_string())?;
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    if command.get_current_dir().is_none() {
        command.current_dir(folder);
    }
    let child = command.spawn().map_err(|e| format!("cannot start {:?}: {e}", command.get_program()))?;
    let pid = child.id();
    let identity = identity(pid).ok_or("it ended at once")?;
    write(&folder.join("pid"), &format!("{pid} {identity}\n"))?;
    Ok(pid)
}

/// The process that was started from this folder, if it still runs.
pub fn alive(folder: &Path) -> Option<u32> {
    let text = fs::read_to_string(folder.join("pid")).ok()?;
    let (pid, known) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    (identity(pid)? == known).then_some(pid)
}

/// After a crash: waits until the system has forgotten the process. Until then PostgreSQL takes its predecessor for running.
pub fn settle(folder: &Path) {
    /// Whoever collects dead processes on this machine does it within a second, or never.
    const LIMIT: Duration = Duration::from_secs(5);
    let Ok(text) = fs::read_to_string(folder.join("pid")) else { return };
    let pid = text.split(' ').next().unwrap_or_default();
    let started = Instant::now();
    let known = || Command::new("kill").args(["-0", pid]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    while alive(folder).is_none() && known() && started.elapsed() < LIMIT {
        std::thread::sleep(PAUSE);
    }
}

/// Asks the process to end and waits for it; after a minute it is ended without asking. False: it did not run.
pub fn stop(folder: &Path, signal: &str) -> Result<bool> {
    let Some(pid) = alive(folder) else { return Ok(false) };
    let started = Instant::now();
    // A process that has just ended by itself makes `kill` fail; what counts is that it is gone.
    let _ = run(command("kill", &[signal, &pid.to_string()]));
    // One that was paused takes no signal but these.
    let _ = run(command("kill", &["-CONT", &pid.to_string()]));
    while alive(folder).is_some() {
        if started.elapsed() > PATIENCE {
            let _ = run(command("kill", &["-KILL", &pid.to_string()]));
        }
        if started.elapsed() > PATIENCE * 2 {
            return Err(format!("process {pid} cannot be ended"));
        }
        std::thread::sleep(PAUSE);
    }
    fs::remove_file(folder.join("pid")).map_err(at(folder))?;
    Ok(true)
}

/// What tells a process from a later one with the same number; none if it is gone or only waits to be collected.
fn identity(pid: u32) -> Option<String> {
    if cfg!(target_os = "linux") {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(format!("{} {}", start_ticks(&stat)?, boot.trim()))
    } else {
        let out = Command::new("ps").args(["-p", &pid.to_string(), "-o", "stat=,lstart="]).output().ok()?;
        let text = String::from_utf8(out.stdout).ok()?;
        let (state, start) = text.trim().split_once(' ')?;
        (!state.starts_with('Z')).then(|| start.trim().to_owned())
    }
}

/// The 22nd field of Linux's `stat`, when the process started; the second is its name, which may contain anything.
fn start_ticks(stat: &str) -> Option<&str> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_does_not_move_the_fields() {
        let stat = |state| format!("7 (a ) b) {state} 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 98");
        assert_eq!(start_ticks(&stat("S")), Some("4711"));
        assert_eq!(start_ticks(&stat("Z")), None, "a process that nobody collected does not run");
    }

    #[test]
    fn another_process_with_our_number_is_not_ours() {
        let folder = std::env::temp_dir().join(format!("switchboard-process-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("folder");
        let mut sleeper = detached("sleep");
        sleeper.arg("600");
        let pid = launch(&folder, sleeper).expect("launched");
        assert_eq!(alive(&folder), Some(pid));
        let known = fs::read_to_string(folder.join("pid")).expect("pid file");
        fs::write(folder.join("pid"), known.replacen(' ', " 1", 1)).expect("written");
        assert_eq!(alive(&folder), None, "same number, started at another time");
        assert!(!stop(&folder, "-TERM").expect("nothing to stop"), "a stranger is left alone");
        fs::write(folder.join("pid"), known).expect("written");
        assert!(stop(&folder, "-TERM").expect("stopped"));
        assert_eq!(alive(&folder), None);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
