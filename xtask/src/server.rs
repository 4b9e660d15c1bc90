//! A released server for a task, on a folder of its own.
//!
//! In: flags. Out: a running server that is stopped when it goes out of scope. Never: a data folder that stays.
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::shell::{Result, command, output, target};

/// A port that nobody listens on just now.
pub fn free_port() -> Result<u16> {
    let socket = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    Ok(socket.local_addr().map_err(|e| e.to_string())?.port())
}

/// A running server.
pub struct Server {
    child: Child,
    port: u16,
    data: PathBuf,
    /// From the start of the process to the first ready answer.
    pub ready: Duration,
}

impl Server {
    /// Starts the release binary on an empty data folder.
    pub fn start(flags: &[&str]) -> Result<Server> {
        let data = std::env::temp_dir().join(format!("switchboard-task-{}-{}", std::process::id(), free_port()?));
        Server::on(data, flags)
    }

    /// Starts the release binary on a folder.
    pub fn on(data: PathBuf, flags: &[&str]) -> Result<Server> {
        let port = free_port()?;
        std::fs::create_dir_all(&data).map_err(|e| e.to_string())?;
        let log = std::fs::File::create(data.join("server.log")).map_err(|e| e.to_string())?;
        let started = Instant::now();
        let child = Command::new(binary())
            .args(["up", "--listen", &format!("127.0.0.1:{port}"), "--data", &data.display().to_string()])
            .args(flags)
            .env("SWITCHBOARD__EDGE__RATE_LIMIT", "off")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", binary().display()))?;
        let mut server = Server { child, port, data, ready: Duration::ZERO };
        while started.elapsed() < Duration::from_secs(60) {
            if server.get("/health/ready").is_ok_and(|answer| answer.contains(" 200 ")) {
                server.ready = started.elapsed();
                return Ok(server);
            }
            if let Ok(Some(status)) = server.child.try_wait() {
                let log = std::fs::read_to_string(server.data.join("server.log")).unwrap_or_default();
                return Err(format!("the server ended ({status}):\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err("the server was not ready within a minute".to_owned())
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    pub fn data(&self) -> String {
        self.data.display().to_string()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A token of its installation.
    pub fn token(&self, role: &str) -> Result<String> {
        let binary = binary().display().to_string();
        Ok(output(command(&binary, &["token", "--role", role, "--data", &self.data()]))?.trim().to_owned())
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Stops it at once and keeps the folder.
    pub fn kill(mut self) -> PathBuf {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::take(&mut self.data)
    }
}

/// The release binary.
pub fn binary() -> PathBuf {
    target().join("release/switchboard")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !self.data.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}
