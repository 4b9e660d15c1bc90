//! A MongoDB server: FerretDB, built from its Go module, which keeps its data in a database of our PostgreSQL.
//!
//! It can use SQLite files too, but then reads every document of a collection for each question that is not about `_id`:
//! ten to sixty times slower on 3,000 documents.
use std::{path::Path, process::Command};

use super::{
    Backend, install,
    place::{folder, remove},
    postgres::Postgres,
    probe,
    process::detached,
};
use crate::shell::Result;

/// Where its data are. It takes 50 connections unless told otherwise; most of the 200 are for tests.
const DATABASE: &str = "postgres://ferretdb:ferretdb@127.0.0.1:15432/ferretdb?pool_max_conns=20";

const MODULE: &str = "github.com/FerretDB/FerretDB";
const VERSION: &str = "1.24.2";
/// Its own command needs a file that is not in the module; this one calls the public package.
const MAIN: &str = include_str!("../../backends/ferretdb/main.go");

pub struct MongoDb;

impl MongoDb {
    fn recipe() -> String {
        format!("{VERSION}\n{MAIN}")
    }
}

impl Backend for MongoDb {
    fn name(&self) -> &'static str {
        "mongodb"
    }

    fn setting(&self) -> &'static str {
        "stores.sessions"
    }

    fn url(&self) -> &'static str {
        "mongodb://127.0.0.1:17017"
    }

    fn needs(&self) -> Option<&'static dyn Backend> {
        Some(&Postgres)
    }

    fn ports(&self) -> &'static [u16] {
        &[17017]
    }

    fn version(&self) -> Option<String> {
        install::is_made("mongodb", &Self::recipe()).then(|| format!("FerretDB {VERSION}"))
    }

    fn install(&self) -> Result {
        install::made("mongodb", &Self::recipe(), |folder| {
            install::go("ferretdb", MODULE, &format!("v{VERSION}"), ".", Some(MAIN), folder)
        })
    }

    fn command(&self, _folder: &Path) -> Result<Command> {
        Postgres.account("ferretdb")?;
        let mut ferretdb = detached(install::programs("mongodb").join("ferretdb"));
        ferretdb.arg("127.0.0.1:17017").arg(DATABASE);
        Ok(ferretdb)
    }

    fn answers(&self) -> Result {
        probe::mongodb(17017)
    }

    fn purge(&self) -> Result {
        Postgres
            .administer("DROP DATABASE IF EXISTS ferretdb")
            .map_err(|e| format!("its data are in postgres, which must run for that: {e}"))?;
        remove(&folder(self.name()))
    }
}
