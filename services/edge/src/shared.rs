//! What edges share where `stores.cache` names a Redis.
//!
//! In: the Redis and the master keys. Out: both, and names for keys. Never: a name that says whose it is: what clients choose,
//! and their addresses, are personal data.
use switchboard_runtime::{Host, StartError, redis::Redis, vault::Vault};

use crate::config::Cache;

/// A Redis, and what values in it are sealed by. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) server: Redis,
    pub(crate) vault: Vault,
}

impl Shared {
    /// As it was chosen; none if this edge is alone. Redis is not waited for.
    pub(crate) fn open(cache: &Cache, host: &Host) -> Result<Option<Self>, StartError> {
        let Cache::Redis { url, vault } = cache else { return Ok(None) };
        let server = Redis::open(url)?;
        server.register(host);
        Ok(Some(Shared { server, vault: vault.clone() }))
    }

    /// The name of a key: the same at every edge with the same newest master key.
    pub(crate) fn name(&self, kind: &str, text: &str) -> String {
        let hash = self.vault.blind_shared(kind, text);
        let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("switchboard:{kind}:{hex}")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use switchboard_runtime::Secret;
    use switchboard_testkit::servers;

    use super::*;

    impl Shared {
        /// A Redis of a test, once it answers.
        pub(crate) async fn at(url: &Secret) -> Self {
            // How soon Redis answers is not what these tests are about: a busy machine may take its time.
            let server = Redis::patient(url, Duration::from_secs(5)).expect("a URL");
            let up = tokio::time::timeout(Duration::from_secs(30), server.until_up());
            up.await.expect("Redis answers");
            Shared { server, vault: servers::vault() }
        }
    }

    /// The Redis for tests, on a connection of its own; none if there is none.
    pub(crate) async fn shared() -> Option<Shared> {
        Some(Shared::at(&Secret::new(servers::server("redis")?)).await)
    }
}
