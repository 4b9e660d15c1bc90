//! A Redis of the test's own, which the test may stop, pause and start again.
//!
//! In: `redis-server` on the path. Out: its URL. Never: one that outlives its test, a quiet pass: where the program is not
//! there, the test says SKIPPED, and fails where servers are required.
use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use switchboard_runtime::Secret;
use tempfile::TempDir;

/// Below those that the kernel gives to outgoing connections: a port stays free while the server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// A start takes a third of a second.
const START: Duration = Duration::from_secs(20);
/// Runs a program, tells its process id, and kills it when the test is gone, however the test ended.
const KEEPER: &str = r#""$@" </dev/null >/dev/null & echo $!; exec 2>/dev/null; cat >/dev/null; kill -9 $!; wait $!"#;

/// A private Redis.
pub struct PrivateRedis {
    port: u16,
    folder: TempDir,
    options: Vec<String>,
    running: Option<(Child, String)>,
}

impl PrivateRedis {
    /// A server that is not started yet, on a port of its own. None: the test is skipped, and has said so.
    ///
    /// # Panics
    /// If the program is not there although `SWITCHBOARD_TEST_SERVERS=required`.
    #[expect(clippy::print_stderr, reason = "what is not run says so")]
    pub fn new() -> Option<Self> {
        let there = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            let required = std::env::var("SWITCHBOARD_TEST_SERVERS").is_ok_and(|v| v == "required");
            assert!(!required, "redis-server is not on the path: get it with `cargo xtask backends up redis`");
            eprintln!("SKIPPED: redis-server is not on the path; get it with `cargo xtask backends up redis`");
            return None;
        }
        let port = free_port();
        let folder = tempfile::tempdir().expect("a folder");
        Some(PrivateRedis { port, folder, options: vec![], running: None })
    }

    /// Started, and answering.
    pub async fn started() -> Option<Self> {
        let mut redis = PrivateRedis::new()?;
        redis.start().await;
        Some(redis)
    }

    /// Options of the server, as its command line takes them.
    #[must_use]
    pub fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|o| (*o).to_owned()));
        self
    }

    /// Where its files are.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> Secret {
        Secret::new(format!("redis://127.0.0.1:{}/0", self.port))
    }

    /// Starts it, empty, and waits until it listens.
    pub async fn start(&mut self) {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh", "redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--port").arg(self.port.to_string()).arg("--dir").arg(self.folder.path()).args(&self.options);
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut id = String::new();
        BufReader::new(keeper.stdout.take().expect("is piped")).read_line(&mut id).expect("tells its id");
        self.running = Some((keeper, id.trim().to_owned()));
        let up = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(START, up).await.expect("redis-server listens");
    }

    /// Kills it; what it knew is gone.
    pub fn stop(&mut self) {
        if let Some((mut keeper, _)) = self.running.take() {
            drop(keeper.stdin.take());
            keeper.wait().expect("ends");
        }
    }

    /// Stops it in its tracks: connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let (_, id) = self.running.as_ref().expect("is started");
        assert!(Command::new("kill").args([name, id]).status().expect("runs").success());
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Two tests that look at the same time do not find the same one: each begins elsewhere.
fn free_port() -> u16 {
    let span = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(7919).wrapping_add(uuid::Uuid::new_v4().as_fields().0);
    let ports = (0..span).map(|step| PORTS.start + u16::try_from(first.wrapping_add(step) % span).unwrap_or_default());
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.into_iter().find(is_free).expect("a free port")
}
