//! `cargo xtask backends`: the real servers that tests, benches and people use, without containers.
//!
//! In: names of servers, none for all. Out: servers on loopback that outlive this command, and their addresses. Never: an address
//! that another machine reaches, a port above 32767 (the system lends those to outgoing connections), or data lost by `down`.
mod elasticsearch;
mod install;
mod jaeger;
mod kafka;
mod mongodb;
mod neo4j;
mod place;
mod postgres;
mod probe;
mod process;
mod redis;
#[cfg(test)]
mod tests;
mod tool;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::shell::Result;

/// How long a server may take until it answers. Java needs half a minute on a busy small machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// One kind of server.
trait Backend: Sync {
    fn name(&self) -> &'static str;
    /// The setting that its address goes into.
    fn setting(&self) -> &'static str;
    fn url(&self) -> &'static str;
    /// Another one that must run before it.
    fn needs(&self) -> Option<&'static dyn Backend> {
        None
    }
    /// Every port it listens on.
    fn ports(&self) -> &'static [u16];
    /// What tests want to know besides: suffixes of its environment variable.
    fn extra(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// The folder of its own programs, if tests may need them.
    fn bin(&self) -> Option<PathBuf> {
        None
    }
    /// What is installed, if it is.
    fn version(&self) -> Option<String>;
    fn install(&self) -> Result;
    /// Writes its configuration; the command runs the server in the foreground, [`process::detached`].
    fn command(&self, folder: &Path) -> Result<Command>;
    /// Whether it answers a question of its own protocol; if not, why.
    fn answers(&self) -> Result;
    /// What it needs once it answers. Done at every `up`, so it must be safe to repeat.
    fn prepare(&self) -> Result {
        Ok(())
    }
    /// What asks it to end.
    fn signal(&self) -> &'static str {
        "-TERM"
    }
    /// Removes its data.
    fn purge(&self) -> Result {
        place::remove(&place::folder(self.name()))
    }
}

/// All of them; where the order matters, earlier ones are started first.
const ALL: &[&dyn Backend] = &[
    &postgres::Postgres,
    &redis::Redis,
    &mongodb::MongoDb,
    &kafka::Kafka,
    &elasticsearch::Elasticsearch,
    &neo4j::Neo4j,
    &jaeger::Jaeger,
];

/// Runs `backends WORDS`.
pub fn run(words: &[&str]) -> Result {
    let (task, words) = words.split_first().ok_or("backends what? up, down, status or env")?;
    let (flags, names): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    let backends = named(&names)?;
    match (*task, flags.as_slice()) {
        ("up", []) => ensure(&names).map(drop),
        ("down", []) => down(&backends, false),
        ("down", ["--purge"]) => down(&backends, true),
        ("status", []) => status(&backends, false),
        ("status", ["--json"]) => status(&backends, true),
        ("env", []) => {
            for (name, value) in environment(&backends) {
                println!("export {name}={value}");
            }
            Ok(())
        }
        _ => Err(format!("backends {task} does not know {}", flags.join(" "))),
    }
}

/// Brings servers up and returns what their tests read: `SWITCHBOARD_TEST_POSTGRES` and so on, with the address.
pub fn ensure(names: &[&str]) -> Result<Vec<(String, String)>> {
    let backends = named(names)?;
    up(&backends)?;
    Ok(environment(&backends))
}

fn named(names: &[&str]) -> Result<Vec<&'static dyn Backend>> {
    let known = || ALL.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = names.iter().find(|name| ALL.iter().all(|backend| backend.name() != **name)) {
        return Err(format!("there is no backend {unknown}; there are {}", known()));
    }
    Ok(ALL.iter().copied().filter(|backend| names.is_empty() || names.contains(&backend.name())).collect())
}

fn environment(backends: &[&dyn Backend]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for backend in backends {
        let name = format!("SWITCHBOARD_TEST_{}", backend.name().to_uppercase());
        pairs.extend(backend.extra().into_iter().map(|(suffix, value)| (format!("{name}_{suffix}"), value)));
        pairs.push((name, backend.url().to_owned()));
    }
    pairs
}

/// All at once: most of it is waiting for the network. What uses the processor, or may run only once, takes a lock.
fn up(backends: &[&'static dyn Backend]) -> Result {
    each(backends, |backend| {
        let how = bring(*backend)?;
        println!("✓ {} {how}: {} = \"{}\"", backend.name(), backend.setting(), backend.url());
        Ok(())
    })
}

/// Brings up one, and what it needs; says of which version it is and what was to do.
fn bring(backend: &dyn Backend) -> Result<String> {
    let (name, folder) = (backend.name(), place::folder(backend.name()));
    let _one = place::lock(name)?;
    place::make(&folder)?;
    if let Some(needed) = backend.needs() {
        bring(needed).map_err(|e| format!("needs {}: {e}", needed.name()))?;
    }
    // One that is dying just now still looks alive, and one that is paused never answers: both are started anew.
    let ran = process::alive(&folder).is_some() && wait(backend, &folder).is_ok();
    // Programs are not replaced under a server that runs.
    if !ran && backend.version().is_none() {
        println!("▸ {name}: installing");
        let started = Instant::now();
        backend.install()?;
        println!("✓ {name}: installed ({:.1} s)", started.elapsed().as_secs_f64());
    }
    let started = Instant::now();
    if !ran {
        process::settle(&folder);
        free(backend.ports())?;
        process::launch(&folder, backend.command(&folder)?)?;
        wait(backend, &folder)?;
    }
    backend.prepare()?;
    let version = backend.version().unwrap_or_default();
    let took = started.elapsed().as_secs_f64();
    Ok(if ran { format!("{version} runs") } else { format!("{version} started in {took:.1} s") })
}

/// One thread each; the errors of all, with their names.
fn each(backends: &[&'static dyn Backend], work: impl Fn(&&'static dyn Backend) -> Result + Sync) -> Result {
    let work = &work;
    let errors: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = backends.iter().map(|backend| (backend, scope.spawn(move || work(backend)))).collect();
        let ended = threads.into_iter().map(|(backend, thread)| (backend, thread.join()));
        ended
            .filter_map(|(backend, end)| match end {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{}: {error}", backend.name())),
                Err(_) => Some(format!("{}: its thread panicked", backend.name())),
            })
            .collect()
    });
    if errors.is_empty() { Ok(()) } else { Err(errors.join("\n✗ ")) }
}

/// Somebody else's server on our port would answer in the place of ours.
fn free(ports: &[u16]) -> Result {
    for port in ports {
        TcpListener::bind(("127.0.0.1", *port)).map_err(|e| {
            format!("port {port} is taken by another program, or a backend of another cache folder ({e})")
        })?;
    }
    Ok(())
}

/// Until it answers; an error with the end of its log if it ends instead, or takes too long.
fn wait(backend: &dyn Backend, folder: &Path) -> Result {
    let started = Instant::now();
    while let Err(error) = backend.answers() {
        let why = if process::alive(folder).is_none() {
            "it ended".to_owned()
        } else if started.elapsed() > PATIENCE {
            process::stop(folder, backend.signal())?;
            format!("no answer in {PATIENCE:?}, stopped ({error})")
        } else {
            std::thread::sleep(process::PAUSE);
            continue;
        };
        return Err(format!("{why}; the end of {}", place::tail(&folder.join("log"))));
    }
    Ok(())
}

/// Those that need another one go before it.
fn down(backends: &[&'static dyn Backend], purge: bool) -> Result {
    let (first, then): (Vec<_>, Vec<_>) = backends.iter().copied().partition(|backend| backend.needs().is_some());
    let stop = |backend: &&'static dyn Backend| {
        let name = backend.name();
        let _one = place::lock(name)?;
        let ran = process::stop(&place::folder(name), backend.signal())?;
        println!("✓ {name}: {}", if ran { "stopped" } else { "did not run" });
        if purge {
            // What it keeps in another one's data goes with them.
            let goes = backend.needs().is_some_and(|needed| then.iter().any(|other| other.name() == needed.name()));
            if goes { place::remove(&place::folder(name)) } else { backend.purge() }?;
            println!("✓ {name}: data removed");
        }
        Ok(())
    };
    let stopped = each(&first, stop);
    each(&then, stop).and(stopped)
}

fn status(backends: &[&'static dyn Backend], json: bool) -> Result {
    let mut all = serde_json::Map::new();
    let mut missing = Vec::new();
    for backend in backends {
        let folder = place::folder(backend.name());
        let (version, pid) = (backend.version(), process::alive(&folder));
        let state = match (pid, &version) {
            (Some(_), _) if backend.answers().is_ok() => "running",
            (Some(_), _) => "not answering",
            (None, Some(_)) => "stopped",
            (None, None) => "not installed",
        };
        if state != "running" {
            missing.push(backend.name());
        }
        if !json {
            println!("{:<14} {:<14} {:<8} {}", backend.name(), state, version.as_deref().unwrap_or("-"), backend.url());
        }
        let (url, bin) = (backend.url(), backend.bin());
        let mut entry =
            serde_json::json!({"state": state, "url": url, "pid": pid, "version": version, "folder": folder});
        if let Some(bin) = bin {
            entry["bin"] = serde_json::json!(bin);
        }
        all.insert(backend.name().to_owned(), entry);
    }
    if json {
        println!("{}", serde_json::Value::Object(all));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    Err(format!("not running: {names}; `cargo xtask backends up {names}` starts them"))
}
