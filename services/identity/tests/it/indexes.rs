//! Every index of the schema serves a query of the store, on tables of some size.
use std::time::Duration;

use jiff::Timestamp;
use sqlx::PgConnection;
use switchboard_identity::{
    model::User,
    store::{NewUser, People as _, Sessions as _, Upkeep as _, postgres::PostgresStore},
    token,
};
use switchboard_runtime::Role;
use switchboard_testkit::servers;
use tokio::time::timeout;
use uuid::Uuid;

use crate::ground::Ground;

/// What an installation of some size has: 20 organizations, 20,000 people of whom a fifth are guests, and what they leave
/// behind.
const FILL: &[&str] = &[
    "INSERT INTO organizations (id, name, guests_allowed, created_at, updated_at)
     SELECT gen_random_uuid(), 'Org ' || n, true, now(), now() FROM generate_series(1, 20) n",
    "INSERT INTO users (id, organization_id, request_id, external_id_blind, email_blind, role, guest, created_at, updated_at)
     SELECT gen_random_uuid(), o.id, gen_random_uuid(), sha256(('x' || o.id || n)::bytea), sha256(('e' || o.id || n)::bytea),
         'customer', n % 5 = 0, now() - n * INTERVAL '1 hour', now()
     FROM organizations o, generate_series(1, 1000) n",
    "INSERT INTO person_keys (organization_id, person_id, master, wrapped_key, created_at)
     SELECT organization_id, id, m, set_byte(sha256(id::text::bytea), 0, m), now() FROM users,
         LATERAL (SELECT CASE WHEN random() < 0.001 THEN 9 ELSE 1 END AS m) master",
    "INSERT INTO refresh_tokens (hash, family, organization_id, user_id, guest, created_at, expires_at)
     SELECT sha256(id::text::bytea), gen_random_uuid(), organization_id, id, guest, created_at,
         now() + random() * INTERVAL '30 days' FROM users",
    "INSERT INTO reset_tokens (hash, organization_id, request_id, user_id, expires_at)
     SELECT sha256(id::text::bytea), organization_id, gen_random_uuid(), id, now() + random() * INTERVAL '1 hour' FROM users",
    "INSERT INTO sign_in_failures SELECT sha256(id::text::bytea), 1, now() + random() * INTERVAL '1 day' FROM users",
    "SELECT create_monthly_partition('2026-03-01')",
    "INSERT INTO activity_heads SELECT id, 1000000, sha256('') FROM organizations",
    "INSERT INTO activity_log
     SELECT organization_id, row_number() OVER (), '2026-03-01', id, 'session.began', 'user', id, '{}', sha256('') FROM users",
    "ANALYZE",
    "SELECT pg_stat_reset()",
];

/// Indexes that nothing has read, of those that are not there to keep values apart.
async fn unread(superuser: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT s.indexrelname::text FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid) \
         WHERE s.schemaname = 'identity' AND s.idx_scan = 0 AND s.relname <> 'activity_log_2026_04' \
         AND (NOT i.indisunique OR s.indexrelname ~ '^(users_email|users_external_id|users_request_id)_key|_tokens_pkey') \
         ORDER BY 1",
    )
    .fetch_all(superuser)
    .await
    .expect("lists")
}

async fn use_it(store: &PostgresStore, org: Uuid) {
    let now: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
    let mut user = User::new(Uuid::now_v7(), org, Role::Customer, now);
    user.email = Some("a@example.com".into());
    let new = NewUser { user, request_id: Some(Uuid::new_v4()), password_hash: Some("h".into()), by: Uuid::nil() };
    for _ in 0..2 {
        store.add_user(&new).await.expect("adds once");
    }
    store.user_by_external_id(org, "ext").await.expect("reads");
    store.user_by_email(org, "a@example.com").await.expect("reads");
    store.candidates("a@example.com", "ext", 4).await.expect("reads");
    store.open_reset(&token::hash("t"), now).await.expect("reads");
    let trade = switchboard_identity::store::Trade {
        shown: token::hash("r"),
        fresh: token::hash("f"),
        guests_only: false,
        now,
        expires: now,
        grace: jiff::SignedDuration::ZERO,
    };
    store.trade_refresh(&trade).await.expect("answers");
    store.export_user(org, new.user.id, Uuid::nil(), now).await.expect("reads");
    store.erase_user(org, new.user.id, Uuid::nil(), now).await.expect("erases");
    store.erase_guests("2020-01-01T00:00:00Z".parse().expect("a time"), now, 200).await.expect("erases");
    store.forget_ended(now, 200).await.expect("forgets");
    store.rewrap_keys(200).await.expect("wraps");
}

#[tokio::test]
async fn every_index_serves_a_query() {
    let Some(ground) = Ground::postgres().await else { return };
    let mut superuser = ground.superuser().await.expect("the tests have an administrator");
    sqlx::query("SET search_path = identity").execute(&mut superuser).await.expect("is set");
    for sql in FILL {
        sqlx::query(*sql).execute(&mut superuser).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    let store = PostgresStore::open(&ground.database().expect("there").at, &servers::vault()).expect("opens");
    store.condition().until_well().await;
    assert!(!unread(&mut superuser).await.is_empty(), "nothing was asked yet");
    let org = sqlx::query_scalar("SELECT min(id::text)::uuid FROM organizations").fetch_one(&mut superuser).await;
    use_it(&store, org.expect("reads")).await;
    // Sessions count when they end, and the server adds it up in its own time.
    store.close().await;
    let read = async {
        while !unread(&mut superuser).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    if timeout(Duration::from_secs(20), read).await.is_err() {
        panic!("no query reads {:?}", unread(&mut superuser).await);
    }
    ground.end().await;
}
