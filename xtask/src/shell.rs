//! Running programs, and getting those that are not here.
//!
//! In: a command. Out: its success, or an error that names it. Never: a program of an unpinned version.
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// An error in words.
pub type Result<T = ()> = std::result::Result<T, String>;

/// Pinned tools.
pub const BUF: &str = "@bufbuild/buf@1.75.0";
/// The browser's driver.
pub const PLAYWRIGHT: &str = "playwright-core@1.56.1";
/// The licence and source check.
pub const CARGO_DENY: &str = "0.18.5";

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Where downloaded tools are kept between runs.
pub fn cache() -> PathBuf {
    let given = std::env::var_os("SWITCHBOARD_CACHE").map(PathBuf::from);
    let home = || {
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| std::env::home_dir().map(|h| h.join(".cache")))
    };
    given.unwrap_or_else(|| home().unwrap_or_else(std::env::temp_dir).join("switchboard"))
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command in the repository.
pub fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Runs it; its output goes to ours.
pub fn run(mut command: Command) -> Result {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.stdin(Stdio::null()).status().map_err(|e| format!("cannot start {shown}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("failed ({status}): {shown}")) }
}

/// Runs it and returns what it prints.
pub fn output(mut command: Command) -> Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot start {shown}: {e}"))?;
    if !out.status.success() {
        return Err(format!("failed ({}): {shown}\n{}", out.status, String::from_utf8_lossy(&out.stdout)));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A step with its name and time.
pub fn step(name: &str, work: impl FnOnce() -> Result) -> Result {
    println!("▸ {name}");
    let started = Instant::now();
    work().map_err(|e| format!("{name}: {e}"))?;
    println!("✓ {name} ({:.1} s)", started.elapsed().as_secs_f64());
    Ok(())
}

fn answers(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Makes sure that a program is there: from Debian's packages if we may install them, else it says what to do.
pub fn need(program: &str, packages: &[&str]) -> Result {
    if answers(program) {
        return Ok(());
    }
    if cfg!(target_os = "linux") && answers("apt-get") {
        run(command("apt-get", &["update", "-qq"]))?;
        let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
        args.extend(packages);
        let mut install = command("apt-get", &args);
        install.env("DEBIAN_FRONTEND", "noninteractive");
        run(install)?;
    }
    if answers(program) {
        Ok(())
    } else {
        Err(format!("{program} is needed here; install it (packages: {})", packages.join(" ")))
    }
}

/// A package of the npm registry, in a folder of the cache; returns that folder.
pub fn npm(package: &str) -> Result<PathBuf> {
    need("npm", &["nodejs", "npm"])?;
    let folder = cache().join("npm").join(package.replace(['@', '/'], "_"));
    if !folder.join("done").exists() {
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut install = command("npm", &["install", "--silent", "--no-audit", "--no-fund", package]);
        run({
            install.current_dir(&folder);
            install
        })?;
        std::fs::write(folder.join("done"), package).map_err(|e| e.to_string())?;
    }
    Ok(folder)
}

/// cargo-deny, in a folder of the cache; returns the program.
pub fn cargo_deny() -> Result<PathBuf> {
    let folder = cache().join(format!("cargo-deny-{CARGO_DENY}"));
    let program = folder.join("bin").join("cargo-deny");
    if !program.exists() {
        let place = folder.display().to_string();
        let mut install = command(
            "cargo",
            &["install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root", &place],
        );
        // Its own target folder: the shared one is for this workspace.
        install.env_remove("CARGO_TARGET_DIR");
        run(install)?;
    }
    Ok(program)
}
