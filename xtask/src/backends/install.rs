//! Getting servers from package registries: the machine's packages, Maven, Go modules.
//!
//! In: pinned coordinates. Out: programs and jars in the cache folder, or an error that says what to type. Never: two runs of one
//! package tool at a time, anything half installed that looks whole.
use super::{
    place::lock,
    tool::{find, quiet, root},
};
use crate::shell::{Result, command};

/// Debian's packages if we may install them; else what to type. `brew` is the package on macOS.
pub fn packages(what: &str, debian: &[&str], brew: &str) -> Result {
    if !root() || find("apt-get").is_none() {
        let debian = debian.join(" ");
        return Err(format!(
            "{what} is not installed: `sudo apt-get install {debian}` (Debian, Ubuntu), `brew install {brew}` (macOS)"
        ));
    }
    let _one = lock("apt")?;
    let apt = |args: &[&str]| {
        let mut apt = command("apt-get", &["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]);
        // Debian's package starts a server on the usual port if the machine is up; in single-user mode it does not.
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        quiet(apt, &format!("apt-{}", args[0]))
    };
    let wanted: Vec<&str> = ["install"].iter().chain(debian).copied().collect();
    // The lists of a fresh machine are empty, those of an old one name packages that are gone.
    apt(&wanted).or_else(|_| apt(&["update"]).and_then(|()| apt(&wanted)))
}
