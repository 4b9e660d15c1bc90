//! A PostgreSQL of a test's own, to be stopped, paused and promoted.
//!
//! In: where PostgreSQL's programs are (`SWITCHBOARD_TEST_POSTGRES_BIN`). Out: a server on a free loopback port whose data
//! ends with the test. Never: the server that other tests use.
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use switchboard_runtime::{Secret, stores::PostgresAt};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{certificates::Certificate, servers};

/// The user of the server and of its databases.
const USER: &str = "postgres";
/// Connections of a test.
const CONNECTIONS: u32 = 20;

/// A server of a test's own. Its end is the value's end.
pub struct Cluster {
    bin: PathBuf,
    home: PathBuf,
    data: PathBuf,
    /// Where it listens.
    pub port: u16,
}

impl Cluster {
    /// Starts one on a free port; none if the programs are not there, which says SKIPPED.
    pub fn start() -> Option<Self> {
        Self::start_in(&std::env::temp_dir())
    }

    /// The same with its data in another folder.
    pub fn start_in(folder: &Path) -> Option<Self> {
        let bin = PathBuf::from(servers::server("postgres_bin")?);
        let home = home_in(folder);
        let cluster = Cluster { data: home.join("data"), bin, home, port: free_port() };
        cluster.run("initdb", &["-D", &cluster.shown(), "-U", USER, "-A", "trust", "--no-instructions"]);
        cluster.up();
        Some(cluster)
    }

    /// A standby that follows, and that the first one waits for on every commit.
    pub fn standby(&self) -> Self {
        let home = home_in(&std::env::temp_dir());
        let standby = Cluster { bin: self.bin.clone(), data: home.join("data"), home, port: free_port() };
        let from = format!("host=127.0.0.1 port={} user={USER} application_name=standby", self.port);
        // -R writes the connection and the file that make it a standby.
        standby.run("pg_basebackup", &["-d", &from, "-D", &standby.shown(), "-R", "-X", "stream", "-c", "fast"]);
        standby.up();
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        self.sql("SELECT pg_reload_conf()");
        standby
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        self.run("pg_ctl", &["-D", &self.shown(), "promote", "-w"]);
    }

    /// Starts it; returns when it answers.
    pub fn up(&self) {
        let options = format!("-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''", self.port);
        let log = self.home.join("log").display().to_string();
        self.run("pg_ctl", &["-D", &self.shown(), "-l", &log, "-o", &options, "-w", "start"]);
    }

    /// Stops it, as an administrator does (`fast`) or as a crash does (`immediate`).
    pub fn down(&self, mode: &str) {
        self.run("pg_ctl", &["-D", &self.shown(), "-m", mode, "-w", "stop"]);
    }

    /// Starts it anew with TLS and this certificate. Who does not ask for TLS is let in without.
    pub fn tls(&self, certificate: &Certificate) {
        let sources = [(&certificate.file, "server.crt"), (&certificate.key, "server.key")];
        for (from, to) in sources.map(|(from, name)| (from, self.data.join(name))) {
            std::fs::copy(from, &to).expect("copies");
            // PostgreSQL takes no key that others could read.
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).expect("only its owner reads it");
            own(&to);
        }
        self.sql("ALTER SYSTEM SET ssl = on");
        self.down("fast");
        self.up();
    }

    /// Sends a signal to all of its processes, such as `STOP` and `CONT`.
    pub fn signal(&self, signal: &str) {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).expect("it runs");
        let first = file.lines().next().expect("its process").to_owned();
        let children = Command::new("pgrep").args(["-P", &first]).output().expect("pgrep");
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        for pid in std::iter::once(first.as_str()).chain(children.split_whitespace()) {
            // A child may have ended meanwhile.
            let _ = Command::new("kill").args([&format!("-{signal}"), pid]).stderr(Stdio::null()).status();
        }
    }

    /// Runs a statement as its administrator.
    pub fn sql(&self, sql: &str) -> String {
        let port = self.port.to_string();
        self.run("psql", &["-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", "postgres", "-qtAX", "-c", sql])
    }

    /// The same; what it said if it failed.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        let port = self.port.to_string();
        self.try_run("psql", &["-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", "postgres", "-qtAX", "-c", sql])
    }

    /// Where it is, by its own port or another one that leads to it.
    pub fn at(&self, port: u16) -> PostgresAt {
        PostgresAt {
            url: Secret::new(format!("postgres://{USER}@127.0.0.1:{port}/postgres")),
            connections: CONNECTIONS,
        }
    }

    /// The folder of its data.
    pub fn data(&self) -> &Path {
        &self.data
    }

    fn shown(&self) -> String {
        self.data.display().to_string()
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        self.try_run(program, args).unwrap_or_else(|why| panic!("{program} {args:?}: {why}"))
    }

    fn try_run(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let path = self.bin.join(program).display().to_string();
        // PostgreSQL refuses to run as root.
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--init-groups", &path]);
            command
        } else {
            Command::new(path)
        };
        // Into files: the server that `pg_ctl` starts would keep a pipe open.
        let (out, err) = (self.home.join("out"), self.home.join("err"));
        let file = |path: &Path| std::fs::File::create(path).expect("writes");
        command.args(args).current_dir(&self.home).stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
        let status = command.status().expect("runs");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let log = || read(&self.home.join("log"));
        if status.success() { Ok(read(&out)) } else { Err(format!("{}{}", read(&err), log())) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.data.join("postmaster.pid").exists() && !std::thread::panicking() {
            self.signal("CONT");
            self.down("immediate");
        } else if self.data.join("postmaster.pid").exists() {
            self.signal("KILL");
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// A folder that the server's user can use.
fn home_in(folder: &Path) -> PathBuf {
    let home = tempfile::Builder::new().prefix("switchboard-postgres-").tempdir_in(folder).expect("a folder").keep();
    own(&home);
    home
}

/// Gives a file or folder to the server's user.
fn own(path: &Path) {
    if is_root() {
        let owner = format!("{USER}:{USER}");
        let status = Command::new("chown").arg(&owner).arg(path).status().expect("chown");
        assert!(status.success(), "{} has to be {USER}'s", path.display());
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    String::from_utf8_lossy(&id.stdout).trim() == "0"
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A door in front of a server that a test can move to another one: what a virtual address or a balancer is in production.
pub struct Door {
    /// Where clients connect.
    pub port: u16,
    target: Arc<Mutex<u16>>,
    open: Arc<Mutex<Vec<JoinHandle<()>>>>,
    task: JoinHandle<()>,
}

impl Door {
    /// Opens a door to a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = listener.local_addr().expect("an address").port();
        let (target, open) = (Arc::new(Mutex::new(port)), Arc::new(Mutex::new(Vec::new())));
        let (to, streams) = (target.clone(), open.clone());
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = *lock(&to);
                let stream = tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
                lock(&streams).push(stream);
            }
        });
        Door { port: here, target, open, task }
    }

    /// Leads to another port from now on, and cuts what is open.
    pub fn lead_to(&self, port: u16) {
        *lock(&self.target) = port;
        self.cut();
    }

    /// Cuts every open connection.
    pub fn cut(&self) {
        lock(&self.open).drain(..).for_each(|stream| stream.abort());
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
