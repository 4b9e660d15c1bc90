//! Who may call whom: `services/topology.toml`, read at compile time.
//!
//! In: the file. Out: ports, allowed callers and budgets. Never: an exception to what the file says.
use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use serde::Deserialize;

/// The file itself.
pub const TEXT: &str = include_str!("../../../services/topology.toml");

/// One service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The port it listens on where each service is its own process.
    pub port: u16,
    /// Who may call it, and how many milliseconds one call may take.
    pub callers: BTreeMap<String, u64>,
}

static TOPOLOGY: LazyLock<BTreeMap<String, Entry>> =
    LazyLock::new(|| toml::from_str(TEXT).expect("services/topology.toml is checked by a test"));

/// All services by name.
pub fn services() -> &'static BTreeMap<String, Entry> {
    &TOPOLOGY
}

/// The time one call may take; none if the call is not allowed.
pub fn budget(caller: &str, callee: &str) -> Option<Duration> {
    TOPOLOGY.get(callee)?.callers.get(caller).map(|ms| Duration::from_millis(*ms))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_caller_is_a_service_and_nothing_calls_upstream() {
        let all = super::services();
        assert_eq!(all.len(), 8);
        for (name, entry) in all {
            for caller in entry.callers.keys() {
                assert!(all.contains_key(caller), "{caller} calls {name} but is no service");
                assert!(super::budget(name, caller).is_none(), "{name} and {caller} call each other");
            }
        }
        assert!(all["edge"].callers.is_empty());
    }
}
