//! `switchboard migrate`: brings every embedded store to the newest migration, or checks that it is there.
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use sqlx::{Connection as _, Row as _, SqliteConnection, migrate::Migrator, sqlite::SqliteConnectOptions};
use switchboard_runtime::{Settings, sqlite::Sqlite, telemetry};

use crate::{
    failure::{FAILED, Failure},
    out,
    settings::Sources,
};

/// Arguments of `switchboard migrate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say what is missing; exit 1 if anything is
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    sources: Sources,
}

struct Store {
    owner: &'static str,
    folder: PathBuf,
    migrations: Migrator,
}

fn stores(settings: &Settings) -> Result<Vec<Store>, Failure> {
    let store = |owner, folder, migrations| Store { owner, folder, migrations };
    Ok(vec![
        store(
            "identity",
            switchboard_identity::config::Config::read(settings)?.data,
            sqlx::migrate!("../../migrations/identity/sqlite"),
        ),
        store("conversation", settings.text("data").into(), sqlx::migrate!("../../migrations/conversation/sqlite")),
        store(
            "knowledge",
            switchboard_knowledge::config::Config::read(settings)?.data,
            sqlx::migrate!("../../migrations/knowledge/sqlite"),
        ),
        store(
            "rules",
            switchboard_rules::config::Config::read(settings)?.data,
            sqlx::migrate!("../../migrations/rules/sqlite"),
        ),
        store(
            "salesforce",
            switchboard_salesforce::config::Config::read(settings)?.data,
            sqlx::migrate!("../../migrations/salesforce/sqlite"),
        ),
        store(
            "notification",
            switchboard_notification::config::Config::read(settings)?.data,
            sqlx::migrate!("../../migrations/notification/sqlite"),
        ),
    ])
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode, Failure> {
    let settings = args.sources.load(&[])?;
    telemetry::init(&settings)?;
    let mut current = true;
    for store in stores(&settings)? {
        let newest = store.migrations.iter().map(|m| m.version).max().unwrap_or_default();
        let file = store.folder.join(format!("{}.db", store.owner));
        if args.check {
            let missing = missing(&file, &store.migrations).await?;
            current &= missing.is_empty();
            let state = if missing.is_empty() {
                format!("current at {newest}")
            } else {
                format!("missing {}", missing.join(", "))
            };
            out::line(format!("{:<13} {state}  ({})", store.owner, file.display()));
        } else {
            let opened = Sqlite::open(&store.folder, store.owner, &store.migrations).await;
            opened.map_err(switchboard_runtime::StartError::from)?.close().await;
            out::line(format!("{:<13} at {newest}  ({})", store.owner, file.display()));
        }
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
        let error = switchboard_runtime::sqlite::OpenError::Newer { file: file.display().to_string(), version: *newer };
        return Err(switchboard_runtime::StartError::from(error).into());
    }
    Ok(all.into_iter().filter(|(version, _)| !applied.contains(version)).map(|(_, name)| name).collect())
}
