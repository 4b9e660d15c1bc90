//! Getting servers from package registries: the machine's packages, Maven, Go modules.
//!
//! In: pinned coordinates. Out: programs and jars in the cache folder, or an error that says what to type. Never: two runs of one
//! package tool at a time, anything half installed that looks whole.
use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    place::{at, home, lock, make, remove, write},
    tool::{find, quiet, root, said},
};
use crate::shell::{Result, command};

/// Copies jars; another version of it may choose other names.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// The folder of a server's programs.
pub fn programs(name: &str) -> PathBuf {
    home().join("lib").join(name)
}

/// Whether it was made by this very recipe: versions, and sources of ours.
pub fn is_made(name: &str, recipe: &str) -> bool {
    fs::read_to_string(programs(name).join("recipe")).is_ok_and(|made| made == recipe)
}

/// Makes a folder of programs; it gets its name when it is whole.
pub fn made(name: &str, recipe: &str, work: impl FnOnce(&Path) -> Result) -> Result {
    let (whole, part) = (programs(name), home().join("lib").join(format!("{name}.part")));
    remove(&part)?;
    make(&part)?;
    work(&part)?;
    write(&part.join("recipe"), recipe)?;
    remove(&whole)?;
    fs::rename(&part, &whole).map_err(at(&whole))
}

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

/// A program of a Java development kit that the servers run on. Kafka 3.9 does not start on Java 24.
pub fn java(program: &str) -> Result<PathBuf> {
    let search = || match std::env::var_os("JAVA_HOME") {
        Some(home) => Some(Path::new(&home).join("bin").join(program)).filter(|path| path.is_file()),
        None => find(program),
    };
    // The compiler tells whether it is a development kit.
    if search().is_none() {
        packages("A Java development kit", &["default-jdk-headless"], "openjdk@21")?;
    }
    let path = search().ok_or(format!("{program} is missing in JAVA_HOME: it must name a Java development kit"))?;
    let said = said(&path.with_file_name("javac").display().to_string(), &["-version"])
        .ok_or(format!("{} does not run", path.display()))?;
    match release(&said) {
        Some(17..=21) => Ok(path),
        _ => Err(format!(
            "Java 17 to 21 is needed; set JAVA_HOME to one (`apt-get install openjdk-17-jdk-headless`). This is {}",
            said.lines().next().unwrap_or_default()
        )),
    }
}

/// 17 of `openjdk version "17.0.15" 2025-04-15` and of `javac 17.0.15`.
fn release(said: &str) -> Option<u32> {
    let number =
        said.split_whitespace().find(|word| word.trim_start_matches('"').starts_with(|c: char| c.is_ascii_digit()))?;
    number.trim_matches('"').split('.').next()?.parse().ok()
}

/// Jars with all that they need, from Maven coordinates `GROUP:ARTIFACT:VERSION`, into a folder.
pub fn jars(name: &str, coordinates: &[&str], folder: &Path) -> Result {
    java("javac")?;
    if find("mvn").is_none() {
        packages("Maven", &["maven"], "maven")?;
    }
    let mut wanted = String::new();
    for coordinate in coordinates {
        let parts: Vec<&str> = coordinate.split(':').collect();
        let [group, artifact, version] = parts[..] else { return Err(format!("no coordinate: {coordinate}")) };
        wanted += &format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        );
    }
    let pom = folder.join("pom.xml");
    write(
        &pom,
        &format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>switchboard</groupId><artifactId>{name}</artifactId>\
             <version>1</version><packaging>pom</packaging><dependencies>{wanted}</dependencies></project>"
        ),
    )?;
    // Two Mavens at a time may spoil their common folder of downloads.
    let _one = lock("maven")?;
    let mut maven = command("mvn", &["-B", "-q", COPY, "-DincludeScope=runtime"]);
    maven.arg("-f").arg(&pom).arg(format!("-DoutputDirectory={}", folder.join("lib").display()));
    quiet(maven, &format!("maven-{name}"))
}

/// A program of a Go module, into `folder`. `main` is its source where the module's own command does not build alone.
///
/// The module's own `go.mod` and `go.sum` are taken over: they pin every dependency by checksum, and `replace` lines hold.
pub fn go(name: &str, module: &str, version: &str, package: &str, main: Option<&str>, folder: &Path) -> Result {
    if find("go").is_none() {
        return Err(
            "Go 1.24 or newer is needed: https://go.dev/dl (Debian's is too old), `brew install go` (macOS)".into()
        );
    }
    // Each uses all processors by itself.
    let _one = lock("go")?;
    let work = folder.join("source");
    make(&work)?;
    let place = format!("{module}@{version}");
    let mut download = command("go", &["mod", "download", "-json", &place]);
    download.current_dir(&work);
    let told: serde_json::Value = serde_json::from_str(&crate::shell::output(download)?).map_err(|e| e.to_string())?;
    let source = told["Dir"].as_str().map(Path::new).ok_or(format!("go downloaded nothing for {place}"))?;
    let read = |file: &str| fs::read_to_string(source.join(file)).map_err(at(&source.join(file)));
    write(&work.join("go.mod"), &around(&read("go.mod")?, module, version))?;
    write(&work.join("go.sum"), &read("go.sum")?)?;
    if let Some(main) = main {
        write(&work.join("main.go"), main)?;
    }
    // Others may be at work on this machine: a build of some minutes lets them go first.
    let mut build = command("nice", &["go", "build", "-mod=mod", "-buildvcs=false", "-ldflags", "-s -w", "-o"]);
    build.current_dir(&work).arg(folder.join(name)).arg(package);
    quiet(build, &format!("go-{name}"))?;
    remove(&work)
}

/// The `go.mod` of a module that needs what another one needs, and that one.
fn around(theirs: &str, module: &str, version: &str) -> String {
    let kept = theirs.lines().filter(|line| !line.starts_with("toolchain ") && !line.starts_with("module "));
    let kept: Vec<&str> = kept.collect();
    format!("module switchboard/backend\n{}\nrequire {module} {version}\n", kept.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_java_is_read() {
        assert_eq!(release("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"), Some(17));
        assert_eq!(release("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(release("javac 17.0.15"), Some(17));
        assert_eq!(release("java version \"1.8.0_392\""), Some(1));
        assert_eq!(release("nothing"), None);
    }

    #[test]
    fn a_module_is_wrapped_with_its_own_pins() {
        let theirs = "module example.com/a\n\ngo 1.24\n\ntoolchain go1.25.4\n\nreplace x => x v1\n";
        let ours = around(theirs, "example.com/a", "v1.2.3");
        assert!(ours.contains("replace x => x v1") && ours.ends_with("require example.com/a v1.2.3\n"), "{ours}");
        assert!(!ours.contains("toolchain") && !ours.contains("module example.com/a"), "{ours}");
    }
}
