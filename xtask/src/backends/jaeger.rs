//! Jaeger all-in-one, built from its Go module; the last traces are kept in memory.
use std::{path::Path, process::Command};

use super::{Backend, install, probe, process::detached};
use crate::shell::Result;

const MODULE: &str = "github.com/jaegertracing/jaeger";
const VERSION: &str = "1.76.0";

pub struct Jaeger;

impl Backend for Jaeger {
    fn name(&self) -> &'static str {
        "jaeger"
    }

    fn setting(&self) -> &'static str {
        "telemetry.otlp"
    }

    fn url(&self) -> &'static str {
        "http://127.0.0.1:14317"
    }

    /// OTLP over gRPC, OTLP over HTTP, queries.
    fn ports(&self) -> &'static [u16] {
        &[14317, 14318, 16686]
    }

    fn extra(&self) -> Vec<(&'static str, String)> {
        vec![("QUERY", "http://127.0.0.1:16686".to_owned())]
    }

    fn version(&self) -> Option<String> {
        install::is_made("jaeger", VERSION).then(|| VERSION.to_owned())
    }

    fn install(&self) -> Result {
        let package = format!("{MODULE}/cmd/all-in-one");
        install::made("jaeger", VERSION, |folder| {
            install::go("jaeger", MODULE, &format!("v{VERSION}"), &package, None, folder)
        })
    }

    fn command(&self, _folder: &Path) -> Result<Command> {
        let mut jaeger = detached(install::programs("jaeger").join("jaeger"));
        jaeger.env("SPAN_STORAGE_TYPE", "memory");
        // A load test makes more traces than the machine has memory.
        jaeger.args(["--log-level=warn", "--memory.max-traces=20000", "--collector.otlp.enabled=true"]);
        let ports = [
            ("query.http-server", 16686),
            ("collector.otlp.grpc", 14317),
            ("collector.otlp.http", 14318),
            // Not used here, and not to be turned off: any free port.
            ("collector.grpc-server", 0),
            ("collector.http-server", 0),
            ("query.grpc-server", 0),
            ("admin.http", 0),
        ];
        jaeger.args(ports.map(|(what, port)| format!("--{what}.host-port=127.0.0.1:{port}")));
        Ok(jaeger)
    }

    fn answers(&self) -> Result {
        probe::http(16686, "GET /api/services", "", "")?;
        probe::http(14318, "POST /v1/traces", "Content-Type: application/json\r\n", "{}")?;
        probe::http2(14317)
    }
}
