//! The command line from outside: output, exit codes, signals.
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

fn switchboard(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    // Nothing of the machine that runs the test comes in.
    command.env_clear().current_dir(folder);
    command
}

fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = switchboard(folder).args(args).output().expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("is text");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

struct Server {
    child: Child,
    lines: Vec<String>,
}

impl Server {
    /// Starts a server and reads what it prints until it is ready.
    fn start(folder: &Path, args: &[&str]) -> Self {
        let mut command = switchboard(folder);
        let command = command.arg("up").args(["--listen", "127.0.0.1:0"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.as_mut().expect("piped")).lines() {
            lines.push(line.expect("is text"));
            if lines.last().is_some_and(|l| l == "Ctrl-C stops.") {
                return Server { child, lines };
            }
        }
        let output = child.wait_with_output().expect("ends");
        panic!("did not start: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn url(&self) -> &str {
        let chat = self.lines.iter().find_map(|l| l.trim().strip_prefix("chat ")).expect("the chat page");
        chat.trim().strip_suffix("/chat").expect("a URL")
    }

    #[cfg(unix)]
    fn terminate(mut self) -> i32 {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("runs");
        assert!(killed.success());
        self.child.wait().expect("ends").code().expect("an exit code")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn bad_usage_is_2_and_bad_settings_are_64_in_one_line() {
    let folder = folder();
    assert_eq!(run(folder.path(), &["fly"]).0, 2);
    assert_eq!(run(folder.path(), &["token", "--role", "king"]).0, 2);
    std::fs::write(folder.path().join("bad.toml"), "[edge]\nratelimit = \"5/1m\"\n").expect("writes");
    let (code, out, err) = run(folder.path(), &["config", "--config", "bad.toml"]);
    assert_eq!((code, out.as_str(), err.lines().count()), (64, "", 1), "{err}");
    assert!(err.contains("did you mean `edge.rate_limit`?"), "{err}");
    let wrong =
        switchboard(folder.path()).args(["up", "--ephemeral"]).env("SWITCHBOARD__EDGE__RATE_LIMIT", "many").output();
    let wrong = wrong.expect("runs");
    assert_eq!(wrong.status.code(), Some(64), "{}", String::from_utf8_lossy(&wrong.stderr));
}

#[test]
fn a_token_needs_no_server() {
    let folder = folder();
    let (code, out, err) = run(folder.path(), &["token", "--role", "agent", "--data", "never-started", "--ttl", "30m"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.trim().split('.').count(), 3, "{out}");
    assert_eq!(out.lines().count(), 1);
}

#[test]
fn settings_are_printed_in_three_forms() {
    let folder = folder();
    let (code, toml, _) = run(folder.path(), &["config", "--data", "/somewhere"]);
    assert_eq!(code, 0);
    assert!(toml.contains("data = \"/somewhere\"") && toml.contains("[edge]"), "{toml}");
    assert!(run(folder.path(), &["config", "--env"]).1.contains("#SWITCHBOARD__EDGE__RATE_LIMIT=100/60s"));
    assert!(run(folder.path(), &["config", "--markdown"]).1.contains("| `edge.rate_limit` |"));
}

#[test]
fn stores_are_checked_and_migrated() {
    let folder = folder();
    let (code, out, _) = run(folder.path(), &["migrate", "--check"]);
    assert_eq!(code, 1);
    assert_eq!(out.lines().filter(|l| l.contains("missing 0001_initial")).count(), 6, "{out}");
    assert!(!folder.path().join(".switchboard").exists(), "a check leaves nothing behind");
    let (code, out, err) = run(folder.path(), &["migrate"]);
    assert_eq!((code, out.lines().count()), (0, 6), "{err}");
    let (code, out, _) = run(folder.path(), &["migrate", "--check"]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn a_scenario_that_is_wrong_is_named() {
    let folder = folder();
    std::fs::write(folder.path().join("a.yaml"), "name: A\nturns:\n- say: Hi\n  expects: {}\n").expect("writes");
    let (code, out, err) = run(folder.path(), &["eval", "."]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("a.yaml:4") && err.contains("expects"), "{err}");
    let (code, _, err) = run(folder.path(), &["eval", ".", "--url", "https://example.com"]);
    assert_eq!(code, 1, "{err}");
    std::fs::write(folder.path().join("a.yaml"), "name: A\nturns:\n- say: Hi\n").expect("writes");
    let (code, _, err) = run(folder.path(), &["eval", ".", "--url", "https://example.com"]);
    assert_eq!(code, 2);
    assert!(err.contains("plain HTTP only"), "{err}");
}

#[test]
#[cfg(unix)]
fn a_server_tells_where_it_is_refuses_a_second_one_and_drains() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--data", "data"]);
    let all = server.lines.join("\n");
    for part in
        ["/docs", "/health", "agent@brightfold.example", "admin@brightfold.example", "password ", "switchboard token"]
    {
        assert!(all.contains(part), "{all}");
    }
    let (code, _, err) = run(folder.path(), &["up", "--listen", "127.0.0.1:0", "--data", "data"]);
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    assert!(err.contains("in use by another Switchboard"), "{err}");
    let address = server.url().trim_start_matches("http://").to_owned();
    let (code, _, err) = run(folder.path(), &["up", "--ephemeral", "--listen", &address]);
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    assert!(err.contains(&address) && err.contains("--listen"), "{err}");

    // Tokens and scenarios work beside it.
    assert_eq!(run(folder.path(), &["token", "--role", "customer", "--data", "data"]).0, 0);
    let scenario = "name: A\nturns:\n- say: I want a person\n  expect: {status: escalated}\nfinally: {salesforce: {status: Escalated}}\n";
    std::fs::write(folder.path().join("a.yaml"), scenario).expect("writes");
    let url = server.url().to_owned();
    let (code, out, err) =
        run(folder.path(), &["eval", "a.yaml", "--url", &url, "--data", "data", "--json", "--junit", "out.xml"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("{\"passed\":1,\"failed\":0,") && out.lines().count() == 1, "{out}");
    assert!(std::fs::read_to_string(folder.path().join("out.xml")).expect("written").contains("failures=\"0\""));
    assert_eq!(server.terminate(), 0);
}

#[test]
#[cfg(unix)]
fn an_ephemeral_server_prints_tokens_and_leaves_nothing() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--ephemeral", "--transport", "tcp"]);
    let tokens = server.lines.iter().filter(|l| l.split('.').count() == 3 && l.contains("eyJ")).count();
    assert_eq!(tokens, 3, "{:?}", server.lines);
    let data = server.lines.iter().find_map(|l| l.trim().strip_prefix("data ")).expect("the data folder");
    let data = std::path::PathBuf::from(data.trim().trim_end_matches("(removed at the end)").trim());
    assert!(data.exists());
    assert_eq!(server.terminate(), 0);
    assert!(!data.exists());
    assert!(std::fs::read_dir(folder.path()).expect("reads").next().is_none(), "nothing in the working folder");
}
