//! `cargo xtask bench turn`: how long a turn takes, beside its floor in the same run.
//!
//! In: the release binary. Out: a table. Never: a verdict: these machines are noisy, ratios are what to quote.
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    backends,
    server::Server,
    shell::{Result, command, output, run, target},
};

/// Turns that are measured, after as many that only warm up.
const TURNS: usize = 1000;
/// What customers ask; answered from knowledge.
const QUESTIONS: [&str; 4] = [
    "How do I import my contacts from a CSV file?",
    "What are your business hours?",
    "how do I export a report?",
    "I'm getting a 401 error when calling the REST API with OAuth",
];

/// Prints start, a turn alone, idle memory, and the floor.
pub fn turn(transports: &[&str]) -> Result<String> {
    run(command(
        "cargo",
        &["build", "--release", "--quiet", "--package", "switchboard", "--package", "switchboard-harness", "--bins"],
    ))?;
    let mut table = String::from("| what | transport | figure | target |\n|---|---|---|---|\n");
    for transport in transports {
        table += &measure(transport)?;
    }
    let floor = target().join("release/floor").display().to_string();
    table += &output(command(&floor, &[&TURNS.to_string()]))?;
    print!("{table}");
    Ok(table)
}

/// Seconds that each figure of the stores is measured.
const SECONDS: &str = "8";

/// Prints how fast turns are kept, each store beside its own floor.
pub fn ledger() -> Result<String> {
    run(command("cargo", &["build", "--release", "--quiet", "--package", "switchboard-harness", "--bins"]))?;
    let env: std::collections::BTreeMap<String, String> = backends::ensure(&["postgres"])?.into_iter().collect();
    let of = |name: &str| env.get(&format!("SWITCHBOARD_TEST_POSTGRES{name}")).cloned().ok_or("PostgreSQL has no URL");
    let (url, admin, bin) = (of("")?, of("_ADMIN")?, of("_BIN")?);
    let psql =
        |sql: &str| output(command(&format!("{bin}/psql"), &[&admin, "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", sql]));
    let data = psql("SHOW data_directory")?;
    let file = std::path::Path::new(data.trim()).join("postmaster.pid");
    let pid = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let pid = pid.lines().next().unwrap_or_default().to_owned();
    let name = format!("switchboard_bench_{}", std::process::id());
    psql(&format!("CREATE DATABASE {name} OWNER switchboard"))?;
    let (server, _) = url.rsplit_once('/').ok_or("a URL with a database")?;
    // On a disk: the folder for temporary files may be memory.
    let place = target().join("bench");
    std::fs::create_dir_all(&place).map_err(|e| e.to_string())?;
    let stores = target().join("release/stores").display().to_string();
    let measured =
        output(command(&stores, &[SECONDS, &place.display().to_string(), &format!("{server}/{name}"), &bin, &pid]));
    psql(&format!("DROP DATABASE {name} WITH (FORCE)"))?;
    let table = format!("| what | figure | target |\n|---|---|---|\n{}", measured?);
    print!("{table}");
    Ok(table)
}

fn measure(transport: &str) -> Result<String> {
    let started = Instant::now();
    let server = Server::start(&["--transport", transport])?;
    let idle = resident(server.pid())?;
    let token = server.token("customer")?;
    let mut client = Client::connect(server.port(), &token)?;
    let conversation = client.conversation()?;
    client.say(&conversation, QUESTIONS[0])?;
    let first = started.elapsed();
    for i in 0..TURNS {
        client.say(&conversation, QUESTIONS[i % QUESTIONS.len()])?;
    }
    let conversation = client.conversation()?;
    let mut times: Vec<Duration> = Vec::with_capacity(TURNS);
    for i in 0..TURNS {
        let before = Instant::now();
        client.say(&conversation, QUESTIONS[i % QUESTIONS.len()])?;
        times.push(before.elapsed());
    }
    times.sort();
    let ready = server.ready;
    let warm = Server::on(server.kill(), &["--transport", transport])?;
    let mut rows = String::new();
    let mut row = |text: String| rows = format!("{rows}{text}\n");
    row(format!("| start to ready, empty folder | {transport} | {} | |", ms(ready)));
    row(format!("| start to first answer, empty folder | {transport} | {} | < 2000 ms |", ms(first)));
    row(format!("| start to ready, warm folder | {transport} | {} | < 500 ms |", ms(warm.ready)));
    row(format!("| a turn alone, p50 | {transport} | {} | < 2 ms |", ms(times[TURNS / 2])));
    row(format!("| a turn alone, p99 | {transport} | {} | < 8 ms |", ms(times[TURNS * 99 / 100])));
    row(format!("| resident memory, idle | {transport} | {:.0} MiB | < 150 MiB |", idle as f64 / 1024.0));
    Ok(rows)
}

fn ms(d: Duration) -> String {
    format!("{:.2} ms", d.as_secs_f64() * 1e3)
}

/// KiB resident, from the system's own books.
fn resident(pid: u32) -> Result<u64> {
    let out = output(command("ps", &["-o", "rss=", "-p", &pid.to_string()]))?;
    out.trim().parse().map_err(|e| format!("ps said {out:?}: {e}"))
}

/// One kept connection: as plain as HTTP can be, so that the client costs next to nothing.
struct Client {
    socket: TcpStream,
    token: String,
}

impl Client {
    fn connect(port: u16, token: &str) -> Result<Client> {
        let socket = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
        socket.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Client { socket, token: token.to_owned() })
    }

    fn conversation(&mut self) -> Result<String> {
        let answer = self.post("/v1/conversations", &serde_json::json!({"channel": "api"}))?;
        answer["id"].as_str().map(str::to_owned).ok_or_else(|| format!("no conversation: {answer}"))
    }

    fn say(&mut self, conversation: &str, text: &str) -> Result {
        let answer =
            self.post(&format!("/v1/conversations/{conversation}/messages"), &serde_json::json!({ "content": text }))?;
        if answer["response"].is_string() { Ok(()) } else { Err(format!("no reply: {answer}")) }
    }

    fn post(&mut self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        self.socket.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        let mut seen = Vec::new();
        let mut chunk = [0; 16_384];
        loop {
            let n = self.socket.read(&mut chunk).map_err(|e| e.to_string())?;
            if n == 0 {
                return Err("the server closed the connection".to_owned());
            }
            seen.extend_from_slice(&chunk[..n]);
            let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            let length = length.ok_or_else(|| format!("no content-length: {head}"))?;
            if seen.len() >= end + 4 + length {
                return serde_json::from_slice(&seen[end + 4..end + 4 + length]).map_err(|e| e.to_string());
            }
        }
    }
}
