//! Kafka from its jars: one node that is broker and controller (KRaft).
use std::{path::Path, process::Command};

use super::{
    Backend, install,
    place::{remove, write},
    probe,
    process::detached,
    tool,
};
use crate::shell::Result;

const VERSION: &str = "3.9.1";
/// The server, and where its log lines go.
const JARS: [&str; 2] = ["org.apache.kafka:kafka_2.13:3.9.1", "org.slf4j:slf4j-simple:1.7.36"];
/// A new cluster's name; any 16 bytes.
const CLUSTER: &str = "c3dpdGNoYm9hcmQtdGVzdA";

pub struct Kafka;

impl Backend for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn setting(&self) -> &'static str {
        "stores.bus"
    }

    fn url(&self) -> &'static str {
        "kafka://127.0.0.1:19092"
    }

    fn ports(&self) -> &'static [u16] {
        &[19092, 19093]
    }

    fn version(&self) -> Option<String> {
        install::is_made("kafka", &JARS.join("\n")).then(|| VERSION.to_owned())
    }

    fn install(&self) -> Result {
        install::made("kafka", &JARS.join("\n"), |folder| install::jars("kafka", &JARS, folder))
    }

    fn command(&self, folder: &Path) -> Result<Command> {
        let properties = folder.join("server.properties");
        write(&properties, &configuration(&folder.join("data")))?;
        if !folder.join("data/meta.properties").exists() {
            // What a format that was cut off has left.
            remove(&folder.join("data"))?;
            let mut format = java(Command::new(install::java("java")?));
            format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(&properties);
            tool::quiet(format, "kafka-format")?;
        }
        let mut kafka = java(detached(install::java("java")?));
        kafka.arg("kafka.Kafka").arg(&properties);
        Ok(kafka)
    }

    fn answers(&self) -> Result {
        probe::kafka(19092)
    }
}

/// Options up to the main class.
fn java(mut command: Command) -> Command {
    command.args([
        "-Xms256m",
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
    ]);
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]);
    command.arg("-cp").arg(install::programs("kafka").join("lib").join("*"));
    command
}

/// A cluster of one keeps one copy of everything; few partitions of its own topics make it start sooner.
fn configuration(data: &Path) -> String {
    let data = data.display();
    format!(
        "\
process.roles = broker,controller
node.id = 1
controller.quorum.voters = 1@127.0.0.1:19093
controller.listener.names = CONTROLLER
listeners = PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093
advertised.listeners = PLAINTEXT://127.0.0.1:19092
listener.security.protocol.map = PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name = PLAINTEXT
log.dirs = {data}
auto.create.topics.enable = true
num.network.threads = 2
num.io.threads = 4
log.cleaner.dedupe.buffer.size = 8388608
offsets.topic.num.partitions = 4
offsets.topic.replication.factor = 1
transaction.state.log.num.partitions = 4
transaction.state.log.replication.factor = 1
transaction.state.log.min.isr = 1
group.initial.rebalance.delay.ms = 0
"
    )
}
