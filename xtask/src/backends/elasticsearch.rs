//! Elasticsearch: the server's core from its jars, with a plug-in of ours for the little of its modules that an index needs.
//!
//! The core alone is in the Maven repository. It may be used here, not passed on (Elastic License): nothing of it is in this tree.
use std::{fs, path::Path, process::Command};

use super::{
    Backend, install,
    place::{at, make, write},
    probe,
    process::detached,
    tool,
};
use crate::shell::Result;

const VERSION: &str = "8.11.1";
const JARS: [&str; 2] = ["org.elasticsearch:elasticsearch:8.11.1", "org.elasticsearch.plugin:transport-netty4:8.11.1"];
const LAUNCH: [(&str, &str); 1] = [("Launch.java", include_str!("../../backends/elasticsearch/launch/Launch.java"))];
const PLUGIN: [(&str, &str); 3] = [
    ("SearchPlugin.java", include_str!("../../backends/elasticsearch/plugin/SearchPlugin.java")),
    ("RootHandler.java", include_str!("../../backends/elasticsearch/plugin/RootHandler.java")),
    ("DeleteByQueryHandler.java", include_str!("../../backends/elasticsearch/plugin/DeleteByQueryHandler.java")),
];

const LOGGING: &str = "\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %-5p %c{1.}: %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
";

pub struct Elasticsearch;

impl Backend for Elasticsearch {
    fn name(&self) -> &'static str {
        "elasticsearch"
    }

    fn setting(&self) -> &'static str {
        "stores.index"
    }

    fn url(&self) -> &'static str {
        "http://127.0.0.1:19200"
    }

    fn ports(&self) -> &'static [u16] {
        &[19200, 19300]
    }

    fn version(&self) -> Option<String> {
        install::is_made("elasticsearch", &recipe()).then(|| VERSION.to_owned())
    }

    fn install(&self) -> Result {
        install::made("elasticsearch", &recipe(), |folder| {
            install::jars("elasticsearch", &JARS, folder)?;
            let network = folder.join("modules/network");
            make(&network)?;
            // A jar that is on the path of both the server and a module stops the start.
            for entry in fs::read_dir(folder.join("lib")).map_err(at(folder))?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if ["netty-", "transport-netty4-", "elasticsearch-ssl-config-"]
                    .iter()
                    .any(|start| name.starts_with(start))
                {
                    fs::rename(entry.path(), network.join(&name)).map_err(at(&entry.path()))?;
                }
            }
            let (class, module) =
                ("org.elasticsearch.transport.netty4.Netty4Plugin", "org.elasticsearch.transport.netty4");
            write(&network.join("plugin-descriptor.properties"), &descriptor("network", class, module))?;
            compile(&LAUNCH, folder, &folder.join("launch.jar"))?;
            let search = folder.join("modules/search");
            make(&search)?;
            write(&search.join("plugin-descriptor.properties"), &descriptor("search", "switchboard.SearchPlugin", ""))?;
            compile(&PLUGIN, folder, &search.join("search.jar"))
        })
    }

    fn command(&self, folder: &Path) -> Result<Command> {
        let programs = install::programs("elasticsearch");
        let config = folder.join("config");
        for part in ["config", "data", "logs", "tmp"] {
            make(&folder.join(part))?;
        }
        write(&config.join("elasticsearch.yml"), &configuration(folder))?;
        write(&config.join("log4j2.properties"), LOGGING)?;
        let mut java = detached(install::java("java")?);
        java.args([
            "-Xms512m",
            "-Xmx1g",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
        ]);
        java.args(["-XX:-OmitStackTraceInFastThrow", "-Dfile.encoding=UTF-8", "-Dlog4j2.disable.jmx=true"]);
        java.args(["-Dlog4j.shutdownHookEnabled=false", "-Dlog4j2.formatMsgNoLookups=true", "-Djna.nosys=true"]);
        java.args(["-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true"]);
        java.arg("-Dio.netty.recycler.maxCapacityPerThread=0");
        java.arg(format!("-Djava.io.tmpdir={}", folder.join("tmp").display()));
        java.arg("--add-opens=java.base/java.io=org.elasticsearch.preallocate");
        // It looks for its own modules: on the class path it does not start.
        java.arg("--module-path").arg(programs.join("lib"));
        java.arg("--add-modules=jdk.net,org.elasticsearch.server,org.elasticsearch.preallocate");
        java.arg("-cp").arg(programs.join("launch.jar")).arg("Launch").arg(&programs).arg(&config);
        Ok(java)
    }

    fn answers(&self) -> Result {
        probe::http(19200, "GET /_cluster/health?wait_for_status=yellow&timeout=1s", "", "").map(drop)
    }
}

/// All that the folder of programs is made of.
fn recipe() -> String {
    let sources = LAUNCH.iter().chain(&PLUGIN).map(|(_, text)| *text);
    JARS.into_iter().chain(sources).collect::<Vec<_>>().join("\n")
}

fn descriptor(name: &str, class: &str, module: &str) -> String {
    format!(
        "name={name}\ndescription={name}\nclassname={class}\nmodulename={module}\nversion={VERSION}\n\
         elasticsearch.version={VERSION}\njava.version=17\nextended.plugins=\nhas.native.controller=false\n"
    )
}

/// Sources of ours into a jar, against the server's.
fn compile(sources: &[(&str, &str)], programs: &Path, jar: &Path) -> Result {
    let work = programs.join("source");
    make(&work)?;
    let mut javac = Command::new(install::java("javac")?);
    javac.args(["-nowarn", "-encoding", "UTF-8", "-cp"]).arg(programs.join("lib").join("*"));
    javac.arg("-d").arg(work.join("classes"));
    for (name, text) in sources {
        write(&work.join(name), text)?;
        javac.arg(work.join(name));
    }
    tool::quiet(javac, "elasticsearch-javac")?;
    let mut pack = Command::new(install::java("jar")?);
    pack.arg("cf").arg(jar).arg("-C").arg(work.join("classes")).arg(".");
    tool::quiet(pack, "elasticsearch-jar")?;
    super::place::remove(&work)
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "\
cluster.name: switchboard
node.name: switchboard
discovery.type: single-node
network.host: 127.0.0.1
http.port: 19200
transport.port: 19300
path.data: {folder}/data
path.logs: {folder}/logs
# A development machine with a nearly full disk would get read-only indexes.
cluster.routing.allocation.disk.threshold_enabled: false
"
    )
}
