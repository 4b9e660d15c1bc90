//! Logs and metrics.
//!
//! In: a filter and a format; what the server's layers measure. Out: lines on stderr, a Prometheus page.
//! Never: customers' words, tokens or addresses; a global registry, so that two stacks can live in one process.
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tracing_subscriber::EnvFilter;

use crate::settings::{Key, Settings, SettingsError};

/// The settings of this module.
pub const KEYS: &[Key] = &[
    Key::new(
        "log.filter",
        "tracing filter",
        "info,sqlx=warn,tantivy=warn,hyper=warn,h2=warn,tower=warn",
        "Which log lines are written.",
    ),
    Key::new("log.format", "text|json", "text", "json for machines; text reads better in a terminal."),
];

/// Starts logging for the whole process; a second call does nothing, so that tests may start many stacks.
pub fn init(settings: &Settings) -> Result<(), SettingsError> {
    let filter = settings.text("log.filter");
    let filter = EnvFilter::try_new(&filter).map_err(|e| settings.wrong("log.filter", &filter, "settings", &e))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A subscriber that is set already stays: that is the second call.
    let _ = match settings.text("log.format").as_str() {
        "text" => builder.with_target(false).try_init(),
        "json" => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        other => return Err(settings.wrong("log.format", other, "settings", &"write text or json")),
    };
    Ok(())
}

/// What one call is counted under; few values each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// The service that answered.
    pub service: String,
    /// RPC path or route pattern.
    pub method: String,
    /// `OK`, or the reason's name, or the HTTP status.
    pub code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    service: String,
    method: String,
}

/// The metrics of one stack.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    calls: Family<CallLabels, Counter>,
    seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
}

fn latency() -> Histogram {
    // From an in-process hop to the turn's limit.
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("switchboard");
        let calls = Family::default();
        let seconds = Family::new_with_constructor(latency as fn() -> Histogram);
        let in_flight = Gauge::default();
        registry.register("calls", "Calls answered, by service, method and outcome", calls.clone());
        registry.register_with_unit("call_duration", "Time to answer a call", Unit::Seconds, seconds.clone());
        registry.register("calls_in_flight", "Calls being answered now", in_flight.clone());
        Metrics { registry: Arc::new(Mutex::new(registry)), calls, seconds, in_flight }
    }
}

impl Metrics {
    /// Lets a service add its own.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts an answered call.
    pub fn observe(&self, service: &str, method: &str, code: &str, took: Duration) {
        let (service, method) = (service.to_owned(), method.to_owned());
        self.seconds
            .get_or_create(&MethodLabels { service: service.clone(), method: method.clone() })
            .observe(took.as_secs_f64());
        self.calls.get_or_create(&CallLabels { service, method, code: code.to_owned() }).inc();
    }

    /// Counts a call as running until the guard goes.
    pub fn running(&self) -> impl Drop + Send + use<> {
        self.in_flight.inc();
        Running(self.in_flight.clone())
    }

    /// The Prometheus page.
    pub fn page(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner)).is_err() {
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}

struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
