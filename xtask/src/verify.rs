//! `cargo xtask verify`: everything that has to hold, in three tiers.
//!
//! In: the tree. Out: green, or the first step that is not. Never: a step that is passed over silently.
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{
    backends,
    server::{Server, free_port},
    shell::{BUF, PLAYWRIGHT, Result, cargo_deny, command, need, npm, output, root, step, target},
};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Up to ten minutes: what to run before each commit.
    Quick,
    /// Up to an hour from bare: what has to be green to land.
    Plain,
    /// On demand: all of it, with a report in `docs/`.
    Full,
    /// On demand: only the suites on real servers, which begin with empty data.
    Backends,
}

/// The servers that suites run on.
const SERVERS: [&str; 4] = ["postgres", "redis", "mongodb", "kafka"];
/// All clients of servers, as released binaries have them.
const DRIVERS: [&str; 2] = ["--features", "switchboard/servers,switchboard-conversation/servers"];

/// Runs a tier.
pub fn run(tier: Tier) -> Result {
    let started = Instant::now();
    if tier == Tier::Backends {
        // From nothing: data of an earlier run could hide what a first start lacks.
        step("servers with empty data", || backends::run(&[&["down", "--purge"], SERVERS.as_slice()].concat()))?;
        step("suites on real servers", suites_on_servers)?;
        step("release build with all drivers", release)?;
        step("scenarios on real servers", scenarios_on_servers)?;
        println!("✓ verification on real servers in {:.0} s", started.elapsed().as_secs_f64());
        return Ok(());
    }
    step("format", || run_cargo(&["fmt", "--all", "--check"]))?;
    step("clippy", || run_cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    step("docs", || {
        let mut doc = command("cargo", &["doc", "--workspace", "--no-deps", "--quiet"]);
        doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links -A rustdoc::redundant_explicit_links");
        crate::shell::run(doc)
    })?;
    step("licences, bans, sources", || {
        let deny = cargo_deny()?;
        crate::shell::run(command(
            &deny.display().to_string(),
            &["--log-level", "error", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"],
        ))
    })?;
    step("protos: lint, format", protos)?;
    if tier == Tier::Quick {
        step("tests", || run_cargo(&["test", "--workspace", "--quiet"]))?;
        println!("✓ quick verification in {:.0} s", started.elapsed().as_secs_f64());
        return Ok(());
    }
    step("tests, also on real servers", suites_on_servers)?;
    step("release build with all drivers", release)?;
    step("scenarios over REST and WebSocket", scenarios)?;
    step("scenarios on real servers", scenarios_on_servers)?;
    step("chat page in a browser", browser)?;
    step("README commands in a fresh clone", fresh_clone)?;
    let mut figures = String::new();
    if tier == Tier::Full {
        step("bench: turn", || {
            figures = crate::bench::turn(&["inprocess", "tcp"])?;
            Ok(())
        })?;
    }
    println!("✓ verification in {:.0} s", started.elapsed().as_secs_f64());
    if tier == Tier::Full {
        report(started.elapsed(), &figures)?;
    }
    Ok(())
}

fn release() -> Result {
    // What the Kafka client is built with.
    need("make", &["make", "g++", "zlib1g-dev"])?;
    run_cargo(&[&["build", "--release", "--quiet", "--package", "switchboard"], DRIVERS.as_slice()].concat())
}

/// Every test, and none may skip a server.
fn suites_on_servers() -> Result {
    need("make", &["make", "g++", "zlib1g-dev"])?;
    let mut tests = command("cargo", &[&["test", "--workspace", "--quiet"], DRIVERS.as_slice()].concat());
    tests.env("SWITCHBOARD_TEST_SERVERS", "required").envs(backends::ensure(&SERVERS)?);
    crate::shell::run(tests)
}

/// The released binary plays every scenario with all stores on servers, in a database of its own.
fn scenarios_on_servers() -> Result {
    let env: std::collections::BTreeMap<String, String> = backends::ensure(&SERVERS)?.into_iter().collect();
    let url = |name: &str| env.get(&format!("SWITCHBOARD_TEST_{name}")).cloned().ok_or(format!("{name} has no URL"));
    let psql = format!("{}/psql", url("POSTGRES_BIN")?);
    let (admin, name) = (url("POSTGRES")?, format!("switchboard_eval_{}", std::process::id()));
    let sql = |sql: String| crate::shell::run(command(&psql, &[&admin, "-q", "-v", "ON_ERROR_STOP=1", "-c", &sql]));
    sql(format!("CREATE DATABASE {name}"))?;
    let (server, _) = admin.rsplit_once('/').ok_or("a URL with a database")?;
    let binary = target().join("release/switchboard").display().to_string();
    // For this database only, which ends with this step.
    let key = "1:c3dpdGNoYm9hcmQgdGVzdHM6IGEgbWFzdGVyIGtleS4=";
    let stores = [
        ("SWITCHBOARD__STORES__LEDGER", format!("{server}/{name}")),
        ("SWITCHBOARD__STORES__MASTER_KEYS", key.to_owned()),
        ("SWITCHBOARD__STORES__CACHE", url("REDIS")?),
        ("SWITCHBOARD__STORES__SESSIONS", format!("{}/{name}", url("MONGODB")?.trim_end_matches('/'))),
        ("SWITCHBOARD__STORES__BUS", url("KAFKA")?),
    ];
    let run = |args: &[&str]| {
        let mut switchboard = command(&binary, args);
        switchboard.envs(stores.iter().map(|(name, value)| (*name, value.as_str())));
        crate::shell::run(switchboard)
    };
    let played = run(&["migrate"])
        .and_then(|()| run(&["migrate", "--check"]))
        .and_then(|()| run(&["eval", "tests/scenarios", "--here"]))
        .and_then(|()| run(&["eval", "tests/scenarios", "--here", "--transport", "ws"]));
    played.and(sql(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")))
}

fn run_cargo(args: &[&str]) -> Result {
    crate::shell::run(command("cargo", args))
}

fn protos() -> Result {
    let buf = npm(BUF)?.join("node_modules/.bin/buf").display().to_string();
    crate::shell::run(command(&buf, &["lint"]))?;
    let diff = output(command(&buf, &["format", "-d"]))?;
    if diff.is_empty() { Ok(()) } else { Err(format!("not formatted; run `buf format -w`:\n{diff}")) }
}

/// The released binary plays every scenario, on both outside protocols and both transports of the mesh.
fn scenarios() -> Result {
    let binary = target().join("release/switchboard").display().to_string();
    for protocol in ["rest", "ws"] {
        crate::shell::run(command(&binary, &["eval", "tests/scenarios", "--transport", protocol]))?;
    }
    crate::shell::run(command(&binary, &["eval", "tests/scenarios", "--mesh", "tcp"]))
}

/// A real browser drives the chat page.
fn browser() -> Result {
    need("chromium", &["chromium", "fonts-noto-core"])?;
    let modules = npm(PLAYWRIGHT)?.join("node_modules");
    let server = Server::start(&[])?;
    let mut node = command("node", &["tests/browser/chat.mjs", &server.url()]);
    node.env("SWITCHBOARD_NODE_MODULES", modules);
    crate::shell::run(node)
}

/// What a newcomer does: clone, `cargo run`, ask something; then `cargo test --workspace`.
fn fresh_clone() -> Result {
    let folder = std::env::temp_dir().join(format!("switchboard-clone-{}", std::process::id()));
    let shown = folder.display().to_string();
    let _ = std::fs::remove_dir_all(&folder);
    let result = (|| {
        crate::shell::run(command(
            "git",
            &["clone", "--quiet", "--depth", "1", &format!("file://{}", root().display()), &shown],
        ))?;
        let port = free_port()?;
        let mut cargo = command("cargo", &["run", "--quiet"]);
        cargo
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", target())
            .env("SWITCHBOARD__EDGE__LISTEN", format!("127.0.0.1:{port}"));
        let mut child = cargo.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().map_err(|e| e.to_string())?;
        let said = first_words(&mut child);
        let health = wait_ready(port);
        stop(&mut child);
        println!("{}", said?.trim_end());
        health?;
        let mut tests = command("cargo", &["test", "--workspace", "--quiet"]);
        tests.current_dir(&folder).env("CARGO_TARGET_DIR", target());
        crate::shell::run(tests)
    })();
    let _ = std::fs::remove_dir_all(&folder);
    result
}

/// What `cargo run` prints, up to the line with the chat page.
fn first_words(child: &mut Child) -> Result<String> {
    let out = child.stdout.take().ok_or("no output")?;
    let mut said = String::new();
    for line in BufReader::new(out).lines().map_while(std::result::Result::ok) {
        said.push_str(&line);
        said.push('\n');
        if line.contains("/chat") {
            return Ok(said);
        }
    }
    Err(format!("`cargo run` ended without naming the chat page; it said:\n{said}"))
}

fn wait_ready(port: u16) -> Result {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        if let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) {
            let _ = socket.set_read_timeout(Some(Duration::from_secs(5)));
            let request = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let mut answer = String::new();
            if socket.write_all(request.as_bytes()).is_ok()
                && socket.read_to_string(&mut answer).is_ok()
                && answer.contains(" 200 ")
            {
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("not ready within a minute".to_owned())
}

fn stop(child: &mut Child) {
    #[cfg(unix)]
    let _ = run_kill(child.id());
    #[cfg(not(unix))]
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(unix)]
fn run_kill(pid: u32) -> Result {
    // `cargo run` passes the signal of its group on; a plain kill of cargo would leave the server behind.
    let children = output(command("pgrep", &["-P", &pid.to_string()])).unwrap_or_default();
    for child in children.split_whitespace() {
        crate::shell::run(command("kill", &["-TERM", child]))?;
    }
    if children.trim().is_empty() { crate::shell::run(command("kill", &["-TERM", &pid.to_string()])) } else { Ok(()) }
}

fn report(took: Duration, figures: &str) -> Result {
    let day = output(command("date", &["-u", "+%Y-%m-%d"]))?;
    let commit = output(command("git", &["rev-parse", "--short", "HEAD"]))?;
    let rustc = output(command("rustc", &["--version"]))?;
    let text = format!(
        "# The last full verification\n\n`cargo xtask verify --full`: green on {} at commit {} with {} in {:.0} s.\n\n\
         One turn at a time over one kept connection, durability on, load generator on the same machine; the floor is the same hops\n\
         and one commit with nothing else, in the same run (`cargo xtask bench turn`).\n\n{figures}",
        day.trim(),
        commit.trim(),
        rustc.trim(),
        took.as_secs_f64()
    );
    std::fs::write(root().join("docs/verification.md"), text).map_err(|e| e.to_string())
}
