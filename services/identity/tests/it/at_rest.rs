//! What people are called, and what opens doors, is noise to whoever has the files or a dump.
use std::{fmt::Write as _, process::Command};

use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use switchboard_identity::model::{Person, Tier};
use switchboard_runtime::{Clock, Role, Secret};
use switchboard_testkit::servers;
use uuid::Uuid;

use crate::ground::Ground;

on_both! {
    nothing_of_a_person_is_read_from_the_files
    a_destroyed_key_is_gone_from_the_files
}

/// Everything that is kept, as somebody has it who stole it.
fn stolen(ground: &Ground) -> Vec<u8> {
    if let Some(database) = ground.database() {
        let mut url = url::Url::parse(&servers::server("postgres_admin").expect("is there")).expect("a URL");
        url.set_path(&database.name);
        let program = format!("{}/pg_dump", servers::server("postgres_bin").expect("is there"));
        let dump = Command::new(program).args(["--dbname", url.as_str()]).output().expect("runs");
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        return dump.stdout;
    }
    let mut all = Vec::new();
    for file in std::fs::read_dir(ground.data()).expect("lists") {
        let path = file.expect("an entry").path();
        // Meant to be read, by its owner.
        if path.file_name().is_some_and(|name| name != "demo-password") {
            all.extend(std::fs::read(&path).expect("reads"));
        }
    }
    all
}

/// True if it is in there, whatever the case, as it is or in the hexadecimal digits of a dump.
fn holds(all: &[u8], what: &str) -> bool {
    let find = |what: &str| {
        let what = what.to_lowercase();
        all.windows(what.len()).any(|w| w.eq_ignore_ascii_case(what.as_bytes()))
    };
    find(what) || find(&hex(what.as_bytes())) || find(&hex(what.to_lowercase().as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn nothing_of_a_person_is_read_from_the_files(ground: &Ground) {
    let identity = ground.identity(&Clock::system()).await;
    let org = identity.demo().expect("on").organization;
    let person = Person {
        external_id: Some("Planted-External-4711".into()),
        email: Some("planted.person@example.com".into()),
        full_name: "Planted Name".into(),
        role: Role::Customer,
        tier: Tier::Standard,
    };
    let password = Secret::new("Planted-Password-1");
    let made = identity.create_user(org, Uuid::nil(), person, None, Some(password.clone())).await.expect("makes");
    identity.ensure_customer(org, Uuid::nil(), "planted-crm-42").await.expect("makes");
    for name in ["Planted.Person@example.com", "planted.nobody@example.com"] {
        identity.sign_in(name, &Secret::new("Planted-Guess-1")).await.expect_err("refused");
    }
    let session = identity.sign_in("Planted.Person@example.com", &password).await.expect("signs in");
    let first = session.refresh.expect("one");
    let second = identity.refresh(&first).await.expect("goes on").refresh.expect("one");
    let reset = identity.start_reset(org, Uuid::new_v4(), "planted.person@example.com").await.expect("begins");
    let reset = reset.expect("known").0;
    identity.export_user(org, Uuid::nil(), made.user.id).await.expect("reads");
    let demo = identity.demo().expect("on").password.clone();

    let all = stolen(ground);
    assert!(holds(&all, "Brightfold") && holds(&all, &made.user.id.to_string()), "what is kept open is found");
    let planted =
        ["planted", "external-4711", "crm-42", "private key", "argon2", &first, &second, &reset, demo.expose()];
    for what in planted {
        assert!(!holds(&all, what), "{what} is there");
    }
    identity.erase_user(org, Uuid::nil(), made.user.id).await.expect("erases");
    assert!(!holds(&stolen(ground), "planted"));
}

async fn a_destroyed_key_is_gone_from_the_files(ground: &Ground) {
    let identity = ground.identity(&Clock::system()).await;
    let org = identity.demo().expect("on").organization;
    let customer = identity.ensure_customer(org, Uuid::nil(), "crm-42").await.expect("makes").user.id;
    let wrapped: Vec<u8> = match ground.superuser().await {
        Some(mut superuser) => sqlx::query_scalar("SELECT wrapped_key FROM identity.person_keys WHERE person_id = $1")
            .bind(customer)
            .fetch_one(&mut superuser)
            .await
            .expect("is there"),
        None => {
            let options = SqliteConnectOptions::new().filename(ground.data().join("identity.db")).read_only(true);
            let mut connection = SqliteConnection::connect_with(&options).await.expect("opens");
            let key = sqlx::query_scalar("SELECT wrapped_key FROM person_keys WHERE person_id = ?");
            let key = key.bind(customer.to_string()).fetch_one(&mut connection).await.expect("is there");
            connection.close().await.expect("closes");
            key
        }
    };
    let has_key = || {
        let all = stolen(ground);
        all.windows(wrapped.len()).any(|w| w == wrapped) || holds(&all, &hex(&wrapped))
    };
    assert!(has_key());
    identity.erase_user(org, Uuid::nil(), customer).await.expect("erases");
    assert!(!has_key());
}
