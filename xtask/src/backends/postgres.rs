//! PostgreSQL from the machine's packages: a cluster of its own, durable, with the login role that tests and people use.
use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Backend, install,
    place::{at, folder, make, remove, write},
    process::detached,
    tool,
};
use crate::shell::{Result, command, output, run};

/// The superuser, for what an operator does. Tests use [`Backend::url`]: row security does not bind a superuser. The password is
/// that of `compose.yaml`; here none is asked for.
const ADMIN: &str = "postgres://postgres:postgres@127.0.0.1:15432/postgres";

/// Who may connect: the superuser from this machine without a password, all others with theirs.
const ACCESS: &str = "\
host all         postgres 127.0.0.1/32 trust
host replication postgres 127.0.0.1/32 trust
host all         all      127.0.0.1/32 scram-sha-256
";

pub struct Postgres;

impl Backend for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn setting(&self) -> &'static str {
        "stores.ledger"
    }

    fn url(&self) -> &'static str {
        "postgres://switchboard:switchboard@127.0.0.1:15432/switchboard"
    }

    fn ports(&self) -> &'static [u16] {
        &[15432]
    }

    fn extra(&self) -> Vec<(&'static str, String)> {
        let bin = self.bin().map(|bin| ("BIN", bin.display().to_string()));
        [("ADMIN", ADMIN.to_owned())].into_iter().chain(bin).collect()
    }

    /// The newest that is installed. Debian keeps servers out of the search path, one folder per version.
    fn bin(&self) -> Option<PathBuf> {
        let versions = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"]
            .iter()
            .filter_map(|place| std::fs::read_dir(place).ok())
            .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
            .filter_map(|path| Some((number(&path)?, path.join("bin"))));
        let newest = versions.filter(|(_, bin)| bin.join("initdb").exists()).max();
        newest.map(|(_, bin)| bin).or_else(|| tool::find("initdb")?.parent().map(Path::to_owned))
    }

    fn version(&self) -> Option<String> {
        let said = tool::said(&self.bin()?.join("postgres").display().to_string(), &["--version"])?;
        Some(said.split_whitespace().nth(2)?.to_owned())
    }

    fn install(&self) -> Result {
        install::packages("PostgreSQL", &["postgresql"], "postgresql@16")
    }

    fn command(&self, folder: &Path) -> Result<Command> {
        let data = self.data(folder)?;
        if !data.join("PG_VERSION").exists() {
            self.initialize(&data)?;
        }
        write(&data.join("pg_hba.conf"), ACCESS)?;
        let mut postgres = detached(self.program("postgres")?);
        as_owner(&mut postgres)?;
        postgres.arg("-D").arg(&data).args(["-p", "15432"]);
        // A hundred connections are Switchboard's own limit; tests run several of it side by side.
        for option in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "fsync=on"] {
            postgres.args(["-c", option]);
        }
        Ok(postgres)
    }

    fn answers(&self) -> Result {
        self.administer("SELECT 1")
    }

    fn prepare(&self) -> Result {
        self.account("switchboard")?;
        self.administer("ALTER ROLE switchboard CREATEDB CREATEROLE")?;
        self.psql(self.url(), "SELECT 1")
    }

    /// Fast shutdown: open sessions are cut, the data are written.
    fn signal(&self) -> &'static str {
        "-INT"
    }

    fn purge(&self) -> Result {
        let folder = folder(self.name());
        if let Some(place) = self.data(&folder)?.parent() {
            remove(place)?;
        }
        remove(&folder)
    }
}

impl Postgres {
    fn program(&self, name: &str) -> Result<PathBuf> {
        Ok(self.bin().ok_or("PostgreSQL is not installed")?.join(name))
    }

    /// Where the cluster is: data of one major version mean nothing to the next. PostgreSQL refuses to be root, so as root it
    /// runs as user postgres, who may not be let into the cache folder of root: then it is in that user's home.
    fn data(&self, folder: &Path) -> Result<PathBuf> {
        let version = self.version().ok_or("PostgreSQL is not installed")?;
        let name = format!("data-{}", version.split('.').next().unwrap_or(&version));
        make(folder)?;
        let mut enter = command("test", &["-x"]);
        enter.arg(folder);
        as_owner(&mut enter)?;
        if run(enter).is_ok() {
            return Ok(folder.join(name));
        }
        let entry = output(command("getent", &["passwd", "postgres"]))?;
        let home = entry.split(':').nth(5).ok_or("user postgres has no home folder")?;
        // Two cache folders have two clusters there.
        let whose = folder.display().to_string().replace('/', "-");
        Ok(Path::new(home).join(format!("switchboard{whose}")).join(name))
    }

    fn initialize(&self, data: &Path) -> Result {
        make(data)?;
        if let Some((user, group)) = owner()? {
            std::os::unix::fs::chown(data, Some(user), Some(group)).map_err(at(data))?;
        }
        let mut initdb = Command::new(self.program("initdb")?);
        as_owner(&mut initdb)?;
        // Who may connect is written over it before the first start: see `ACCESS`.
        initdb.arg("-D").arg(data).args(["-U", "postgres", "--auth=trust", "-E", "UTF8"]);
        // One order of text on every machine; macOS has no C.UTF-8.
        initdb.arg(if cfg!(target_os = "linux") { "--locale=C.UTF-8" } else { "--locale=C" });
        tool::quiet(initdb, "postgres-initdb")
    }

    /// A plain role with its own name as its password, and its database; made if they are not there.
    pub fn account(&self, name: &str) -> Result {
        self.administer(&format!(
            "SELECT $$CREATE ROLE {name}$$ WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') \\gexec\n\
             ALTER ROLE {name} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD '{name}';\n\
             SELECT $$CREATE DATABASE {name} OWNER {name}$$\n\
             WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec\n"
        ))
    }

    /// Runs SQL as the superuser.
    pub fn administer(&self, sql: &str) -> Result {
        self.psql(ADMIN, sql)
    }

    fn psql(&self, url: &str, sql: &str) -> Result {
        let mut psql = command(&self.program("psql")?.display().to_string(), &["-Xqw", "-v", "ON_ERROR_STOP=1"]);
        psql.arg("-d").arg(url).env("PGCONNECT_TIMEOUT", "3");
        tool::fed(psql, sql)
    }
}

/// The number in `15` or `postgresql@16`.
fn number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("postgresql@").unwrap_or(name).parse().ok()
}

/// User and group of the server, if we are root.
fn owner() -> Result<Option<(u32, u32)>> {
    if !tool::root() {
        return Ok(None);
    }
    let id = |what| output(command("id", &[what, "postgres"]))?.trim().parse().map_err(|e| format!("id {what}: {e}"));
    Ok(Some((id("-u")?, id("-g")?)))
}

fn as_owner(command: &mut Command) -> Result {
    if let Some((user, group)) = owner()? {
        command.uid(user).gid(group).current_dir("/");
    }
    Ok(())
}
