//! Redis from the machine's packages, with its append-only file on.
use std::{path::Path, process::Command};

use super::{Backend, install, probe, process::detached, tool};
use crate::shell::Result;

pub struct Redis;

impl Backend for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn setting(&self) -> &'static str {
        "stores.cache"
    }

    fn url(&self) -> &'static str {
        "redis://127.0.0.1:16379"
    }

    fn ports(&self) -> &'static [u16] {
        &[16379]
    }

    fn version(&self) -> Option<String> {
        let said = tool::said("redis-server", &["--version"])?;
        Some(said.split("v=").nth(1)?.split(' ').next()?.to_owned())
    }

    fn install(&self) -> Result {
        install::packages("Redis", &["redis-server"], "redis")
    }

    fn command(&self, folder: &Path) -> Result<Command> {
        let mut redis = detached("redis-server");
        redis.args(["--bind", "127.0.0.1", "--port", "16379", "--daemonize", "no", "--appendonly", "yes", "--dir"]);
        redis.arg(folder);
        Ok(redis)
    }

    /// While it reads its file it answers LOADING, which is not yet.
    fn answers(&self) -> Result {
        probe::expect(16379, b"PING\r\n", b"+PONG\r\n")
    }
}
