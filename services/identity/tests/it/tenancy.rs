//! The server itself keeps organizations apart, whatever the program asks.
use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use switchboard_identity::{
    MIGRATIONS,
    model::{Organization, User},
    store::{NewUser, Refresh, Reset, Store},
    token,
};
use switchboard_runtime::{
    Role,
    postgres::{self, code},
};
use uuid::Uuid;

use crate::ground::Ground;

/// Tables without organizations; of every other one this suite asks that rows are kept apart.
const SHARED: [&str; 4] = ["_sqlx_migrations", "duties", "keys", "sign_in_failures"];
/// All that is seen of all organizations at once.
const SEEN_BY_WORKER: &[&str] = &[
    "credentials.organization_id",
    "credentials.user_id",
    "person_keys.master",
    "person_keys.organization_id",
    "person_keys.person_id",
    "refresh_tokens.expires_at",
    "refresh_tokens.hash",
    "refresh_tokens.organization_id",
    "refresh_tokens.revoked_at",
    "refresh_tokens.user_id",
    "reset_tokens.expires_at",
    "reset_tokens.hash",
    "reset_tokens.organization_id",
    "reset_tokens.user_id",
    "users.created_at",
    "users.email_blind",
    "users.erased_at",
    "users.external_id_blind",
    "users.guest",
    "users.id",
    "users.organization_id",
];

/// An organization with something in every table.
async fn organization(store: &dyn Store) -> Uuid {
    let now = "2026-03-01T12:00:00Z".parse().expect("a time");
    let org = Uuid::now_v7();
    store.add_organization(&Organization::new(org, "Acme", now)).await.expect("adds");
    let mut user = User::new(Uuid::now_v7(), org, Role::Customer, now);
    user.email = Some("a@example.com".into());
    let password_hash = Some("h".to_owned());
    let new = NewUser { user: user.clone(), request_id: Some(Uuid::new_v4()), password_hash, by: Uuid::nil() };
    store.add_user(&new).await.expect("adds");
    let (hash, expires) = (token::hash(&org.to_string()), "2027-01-01T00:00:00Z".parse().expect("a time"));
    let refresh = Refresh { hash, family: Uuid::new_v4(), org, user: user.id, guest: false, expires };
    store.add_refresh(&refresh, now).await.expect("adds");
    let reset = Reset { hash, org, user: user.id, request_id: Uuid::new_v4(), expires };
    store.begin_reset(&reset, now).await.expect("begins");
    org
}

struct Table {
    name: String,
    is_partition: bool,
    is_held: bool,
}

impl Table {
    /// The column that says whose a row is.
    fn owner(&self) -> &'static str {
        if self.name == "organizations" { "id" } else { "organization_id" }
    }

    async fn rows(&self, superuser: &mut PgConnection, org: Uuid) -> Vec<serde_json::Value> {
        let sql = format!("SELECT to_jsonb(t) FROM identity.{0} t WHERE {1} = $1 ORDER BY t", self.name, self.owner());
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(org).fetch_all(superuser).await.expect("reads")
    }
}

async fn tables(superuser: &mut PgConnection) -> Vec<Table> {
    let all: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT relname::text, relispartition, relrowsecurity AND relforcerowsecurity FROM pg_class \
         WHERE relnamespace = 'identity'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname",
    )
    .fetch_all(superuser)
    .await
    .expect("lists");
    let tables = all.into_iter().map(|(name, is_partition, is_held)| Table { name, is_partition, is_held });
    tables.filter(|t| !SHARED.contains(&t.name.as_str())).collect()
}

/// A connection without the program's help, in a role, naming an organization or none.
async fn raw(ground: &Ground, role: &str, org: Option<Uuid>) -> PgConnection {
    let mut connection = PgConnection::connect(&ground.database().expect("on the server").url).await.expect("connects");
    let org = org.map(|org| org.to_string()).unwrap_or_default();
    sqlx::query(AssertSqlSafe(format!("SET ROLE {role}"))).execute(&mut connection).await.expect("acts as it");
    for (name, value) in [("search_path", "identity"), ("app.current_org_id", &org)] {
        let set = sqlx::query("SELECT set_config($1, $2, false)").bind(name).bind(value);
        set.execute(&mut connection).await.expect("is set");
    }
    connection
}

/// Rows that a statement reached; none where it was not allowed at all.
async fn reached(connection: &mut PgConnection, sql: String, about: Uuid) -> u64 {
    match sqlx::query(AssertSqlSafe(sql.clone())).bind(about).execute(connection).await {
        Ok(done) => done.rows_affected(),
        Err(error) => {
            assert_eq!(code(&error).as_deref(), Some("42501"), "{sql}: {error}");
            0
        }
    }
}

#[tokio::test]
async fn no_role_reaches_a_row_of_another_organization() {
    let Some(ground) = Ground::postgres().await else { return };
    let store = ground.store().await;
    let (ours, theirs) = (organization(&*store).await, organization(&*store).await);
    let mut superuser = ground.superuser().await.expect("the tests have an administrator");
    let login = url::Url::parse(&ground.database().expect("there").url).expect("a URL");
    let tables = tables(&mut superuser).await;
    assert!(tables.iter().filter(|t| t.is_partition).count() >= 2, "two months at a time");
    for table in &tables {
        let name = &table.name;
        assert!(table.is_held, "{name} has no forced row security");
        let before = table.rows(&mut superuser, ours).await;
        assert!(!before.is_empty() || table.is_partition, "{name} is not tried");
        for (role, org) in [
            ("switchboard_identity", Some(theirs)),
            ("switchboard_identity", None),
            ("switchboard_identity_worker", None),
            (login.username(), None), // the owner of the tables
        ] {
            let mut tenant = raw(&ground, role, org).await;
            let owner = table.owner();
            for sql in [
                format!("SELECT * FROM {name} WHERE {owner} = $1"),
                format!("UPDATE {name} SET {owner} = {owner} WHERE {owner} = $1"),
                format!("DELETE FROM {name} WHERE {owner} = $1"),
            ] {
                assert_eq!(reached(&mut tenant, sql.clone(), ours).await, 0, "{role} for {org:?}: {sql}");
            }
            for row in &before {
                let sql = format!("INSERT INTO {name} SELECT * FROM jsonb_populate_record(NULL::{name}, $1)");
                let forged = sqlx::query(AssertSqlSafe(sql)).bind(row).execute(&mut tenant).await;
                let code = code(&forged.expect_err("refused"));
                assert_eq!(code.as_deref(), Some("42501"), "{role} for {org:?} writes into {name}");
            }
        }
        assert_eq!(table.rows(&mut superuser, ours).await, before, "{name}");
        // The same statements reach what is one's own: it was not for another reason that they did not.
        if !table.is_partition {
            let mut tenant = raw(&ground, "switchboard_identity", Some(ours)).await;
            let sql = format!("SELECT * FROM {name} WHERE {} = $1", table.owner());
            assert_eq!(reached(&mut tenant, sql, ours).await, before.len() as u64, "{name}");
        }
    }
    ground.end().await;
}

#[tokio::test]
async fn the_worker_sees_ids_hashes_and_times_only() {
    let Some(ground) = Ground::postgres().await else { return };
    let mut superuser = ground.superuser().await.expect("the tests have an administrator");
    let seen: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name || '.' || column_name, privilege_type::text FROM information_schema.column_privileges \
         WHERE table_schema = 'identity' AND grantee IN ('switchboard_identity_worker', 'PUBLIC') ORDER BY 1",
    )
    .fetch_all(&mut superuser)
    .await
    .expect("lists");
    assert!(seen.iter().all(|(_, privilege)| privilege == "SELECT"), "{seen:?}");
    assert_eq!(seen.iter().map(|(column, _)| column.as_str()).collect::<Vec<_>>(), SEEN_BY_WORKER);
    let made: bool = sqlx::query_scalar(
        "SELECT has_function_privilege('switchboard_identity_worker', \
         'identity.create_monthly_partition(timestamptz)', 'EXECUTE')",
    )
    .fetch_one(&mut superuser)
    .await
    .expect("asks");
    assert!(!made, "only identity itself makes partitions");
    ground.end().await;
}

#[tokio::test]
async fn the_log_has_room_for_this_month_and_the_next() {
    let Some(ground) = Ground::postgres().await else { return };
    let store = ground.store().await;
    let mut superuser = ground.superuser().await.expect("the tests have an administrator");
    let mut months = BTreeSet::new();
    for (time, made) in [
        ("2026-12-31T23:59:59Z", ["activity_log_2026_12", "activity_log_2027_01"]),
        ("2027-01-01T00:00:00Z", ["activity_log_2027_01", "activity_log_2027_02"]),
        // A clock that jumps finds room too.
        ("2099-06-15T00:00:00Z", ["activity_log_2099_06", "activity_log_2099_07"]),
    ] {
        let org = Organization::new(Uuid::now_v7(), "Acme", time.parse().expect("a time"));
        store.add_organization(&org).await.expect("has room");
        months.extend(made);
        let there = tables(&mut superuser).await.into_iter().filter(|t| t.is_partition);
        assert_eq!(there.map(|t| t.name).collect::<Vec<_>>(), months.iter().copied().collect::<Vec<_>>());
        let within = format!("SELECT count(*) FROM identity.{}", made[0]);
        let within: i64 = sqlx::query_scalar(AssertSqlSafe(within)).fetch_one(&mut superuser).await.expect("counts");
        assert_eq!(within, 1, "{time}");
    }
    // By itself it makes the next one.
    sqlx::query("SELECT identity.create_monthly_partition()").execute(&mut superuser).await.expect("makes it");
    let next: bool = sqlx::query_scalar(
        "SELECT to_regclass('identity.activity_log_' || \
         to_char((now() + INTERVAL '1 month') AT TIME ZONE 'UTC', 'YYYY_MM')) IS NOT NULL",
    )
    .fetch_one(&mut superuser)
    .await
    .expect("asks");
    assert!(next);
    ground.end().await;
}

#[tokio::test]
async fn undone_migrations_leave_nothing_behind() {
    let Some(ground) = Ground::postgres().await else { return };
    organization(&*ground.store().await).await;
    let mut superuser = ground.superuser().await.expect("the tests have an administrator");
    for _ in 0..2 {
        let at = &ground.database().expect("there").at;
        postgres::undo(at, MIGRATIONS.owner, MIGRATIONS.postgres, 0).await.expect("undoes");
        let left: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'identity'::regnamespace AND relkind <> 'i' \
             UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'identity'::regnamespace",
        )
        .fetch_all(&mut superuser)
        .await
        .expect("lists");
        assert_eq!(left, ["_sqlx_migrations"]);
        MIGRATIONS.apply(&ground.ledger()).await.expect("migrates again");
    }
    ground.end().await;
}
