//! Neo4j Community from its jars, with a password as in production.
use std::{path::Path, process::Command};

use super::{
    Backend, install,
    place::{make, write},
    probe,
    process::detached,
    tool,
};
use crate::shell::Result;

const VERSION: &str = "5.26.0";
const JARS: [&str; 1] = ["org.neo4j:neo4j:5.26.0"];
const PASSWORD: &str = "switchboard";
/// `neo4j:switchboard`, as HTTP wants it.
const SIGNED_IN: &str = "Authorization: Basic bmVvNGo6c3dpdGNoYm9hcmQ=\r\nContent-Type: application/json\r\n";

/// Loopback only, no TLS, nothing told to its maker.
const CONFIGURATION: &str = "\
server.default_listen_address=127.0.0.1
server.bolt.enabled=true
server.bolt.listen_address=127.0.0.1:17687
server.bolt.advertised_address=127.0.0.1:17687
server.bolt.tls_level=DISABLED
server.http.enabled=true
server.http.listen_address=127.0.0.1:17474
server.http.advertised_address=127.0.0.1:17474
server.https.enabled=false
server.memory.pagecache.size=128m
dbms.security.auth_enabled=true
dbms.usage_report.enabled=false
";

pub struct Neo4j;

impl Backend for Neo4j {
    fn name(&self) -> &'static str {
        "neo4j"
    }

    fn setting(&self) -> &'static str {
        "stores.graph"
    }

    fn url(&self) -> &'static str {
        "bolt://neo4j:switchboard@127.0.0.1:17687"
    }

    fn ports(&self) -> &'static [u16] {
        &[17687, 17474]
    }

    fn version(&self) -> Option<String> {
        install::is_made("neo4j", &JARS.join("\n")).then(|| VERSION.to_owned())
    }

    fn install(&self) -> Result {
        install::made("neo4j", &JARS.join("\n"), |folder| install::jars("neo4j", &JARS, folder))
    }

    fn command(&self, folder: &Path) -> Result<Command> {
        let conf = folder.join("conf");
        make(&conf)?;
        write(&conf.join("neo4j.conf"), CONFIGURATION)?;
        if !folder.join("data/databases").exists() {
            let mut password = java(Command::new(install::java("java")?));
            password.env("NEO4J_HOME", folder).env("NEO4J_CONF", &conf);
            password.args(["org.neo4j.cli.AdminTool", "dbms", "set-initial-password", PASSWORD]);
            tool::quiet(password, "neo4j-password")?;
        }
        let mut neo4j = java(detached(install::java("java")?));
        neo4j.args(["org.neo4j.server.CommunityEntryPoint", "--console-mode"]);
        neo4j.arg(format!("--home-dir={}", folder.display())).arg(format!("--config-dir={}", conf.display()));
        Ok(neo4j)
    }

    /// Bolt answers before the database takes queries.
    fn answers(&self) -> Result {
        probe::bolt(17687)?;
        let query = r#"{"statements":[{"statement":"RETURN 1"}]}"#;
        let answer = probe::http(17474, "POST /db/neo4j/tx/commit", SIGNED_IN, query)?;
        if answer.contains(r#""errors":[]"#) { Ok(()) } else { Err(answer) }
    }
}

/// Options up to the main class. The opened packages are those that Neo4j's own start script opens.
fn java(mut command: Command) -> Command {
    command.args(["-Xms256m", "-Xmx768m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Dfile.encoding=UTF-8"]);
    command.args(["-XX:-OmitStackTraceInFastThrow", "-Dlog4j2.disable.jmx=true"]);
    command.args(["-Djdk.nio.maxCachedBufferSize=1024", "-Dio.netty.tryReflectionSetAccessible=true"]);
    for package in ["java.nio", "java.io", "sun.nio.ch", "java.util.concurrent"] {
        command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
    }
    command.arg("-cp").arg(install::programs("neo4j").join("lib").join("*"));
    command
}
