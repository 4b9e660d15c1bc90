//! `switchboard migrate`: brings every owner's part of the ledger to the newest migration, or checks that it is there.
use std::{path::Path, process::ExitCode};

use sqlx::{Connection as _, Row as _, SqliteConnection, migrate::Migrator, sqlite::SqliteConnectOptions};
use switchboard_runtime::{
    StartError, postgres,
    sqlite::OpenError,
    stores::{Ledger, Migrations},
    telemetry,
};

use crate::{
    failure::{FAILED, Failure},
    out,
    settings::Sources,
};

/// Who keeps state, each with its migrations.
pub const OWNERS: [Migrations; 6] = [
    switchboard_identity::MIGRATIONS,
    switchboard_conversation::MIGRATIONS,
    switchboard_knowledge::MIGRATIONS,
    switchboard_rules::MIGRATIONS,
    switchboard_salesforce::MIGRATIONS,
    switchboard_notification::MIGRATIONS,
];

/// Arguments of `switchboard migrate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say what is missing; exit 1 if anything is
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    sources: Sources,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode, Failure> {
    let settings = args.sources.load(&[])?;
    telemetry::init(&settings)?;
    let ledger = Ledger::read(&settings)?;
    let mut current = true;
    for owner in OWNERS {
        let (place, migrations) = match &ledger {
            Ledger::Sqlite(folder) => (folder.join(format!("{}.db", owner.owner)).display().to_string(), owner.sqlite),
            Ledger::Postgres(_) => (format!("schema {}", owner.owner), owner.postgres),
        };
        let newest = migrations.iter().map(|m| m.version).max().unwrap_or_default();
        let state = if args.check {
            let missing = match &ledger {
                Ledger::Sqlite(_) => missing(Path::new(&place), owner.sqlite).await?,
                Ledger::Postgres(at) => {
                    postgres::missing(at, owner.owner, owner.postgres).await.map_err(StartError::from)?
                }
            };
            current &= missing.is_empty();
            if missing.is_empty() { format!("current at {newest}") } else { format!("missing {}", missing.join(", ")) }
        } else {
            owner.apply(&ledger).await.map_err(StartError::from)?;
            format!("at {newest}")
        };
        out::line(format!("{:<13} {state}  ({place})", owner.owner));
    }
    Ok(if current { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The migrations that a file lacks. Reads only: a check leaves no file behind.
async fn missing(file: &Path, migrations: &Migrator) -> Result<Vec<String>, Failure> {
    let all = migrations.iter().filter(|m| m.migration_type.is_up_migration());
    let all: Vec<_> =
        all.map(|m| (m.version, format!("{:04}_{}", m.version, m.description.replace(' ', "_")))).collect();
    if !file.exists() {
        return Ok(all.into_iter().map(|(_, name)| name).collect());
    }
    let failed = |e: sqlx::Error| Failure::failed(format!("cannot read {}: {e}", file.display()));
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    let known = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations'");
    let known = known.fetch_optional(&mut connection).await.map_err(failed)?.is_some();
    let mut applied = Vec::new();
    if known {
        let rows = sqlx::query("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(&mut connection).await;
        applied = rows.map_err(failed)?.iter().map(|row| row.get::<i64, _>("version")).collect();
    }
    connection.close().await.map_err(failed)?;
    if let Some(newer) = applied.iter().find(|v| !all.iter().any(|(version, _)| version == *v)) {
        let error = OpenError::Newer { file: file.display().to_string(), version: *newer };
        return Err(StartError::from(error).into());
    }
    Ok(all.into_iter().filter(|(version, _)| !applied.contains(version)).map(|(_, name)| name).collect())
}
