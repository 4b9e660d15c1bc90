//! What people wrote and are called is in no store's bytes; keys rotate; what is erased does not come back.
use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use switchboard_runtime::{Clock, Secret, stores::Ledger, vault::Vault};
use switchboard_salesforce::{
    Embedded, MIGRATIONS,
    org::{CaseChange, ContactChange, Org as _, People as _, Person},
    store::{self, Value},
};
use switchboard_testkit::servers::with_database;

use crate::rig::{A, B, Ground, dump, external, on_postgres, on_sqlite};

/// What was planted, and what the demo records bring.
const PLANTED: [&str; 8] = [
    "wilhelmina",
    "Vandersteen",
    "quarzlampe",
    "Zwiebelfisch",
    "mondscheintarif",
    "Dagobert",
    "jane.doe@example.com",
    "stops at row 512",
];

async fn plant(org: &Embedded) {
    let contact = ContactChange { email: "Wilhelmina@example.com".into(), name: "W. Vandersteen".into() };
    let contact_id = org.upsert_contact(A, "user:1", &contact).await.expect("written").record.id;
    let change = CaseChange {
        subject: "Quarzlampe broken".to_lowercase(),
        description: "Zwiebelfisch".into(),
        contact_id,
        ..CaseChange::default()
    };
    org.upsert_case(A, "case:1", &change).await.expect("written");
    let nobody = CaseChange { subject: "mondscheintarif".into(), ..CaseChange::default() };
    org.upsert_case(A, "case:2", &nobody).await.expect("written");
    org.human_comment(A, &external("case:1"), "Dagobert", "Zwiebelfisch again").await.expect("written");
}

/// The planted words that are in there, in any case, as they are or in the hexadecimal digits of `pg_dump`'s bytes.
fn found(bytes: &[u8]) -> Vec<&'static str> {
    let mut plain = bytes.to_vec();
    for at in bytes.windows(2).enumerate().filter(|(_, w)| w == br"\x").map(|(at, _)| at + 2) {
        let digits =
            bytes[at..].chunks_exact(2).map_while(|two| u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok());
        plain.extend(digits);
    }
    let holds = |word: &str| plain.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word.as_bytes()));
    PLANTED.into_iter().filter(|word| holds(word)).collect()
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("lists").map(|e| e.expect("an entry"));
    entries.map(|e| (e.file_name().display().to_string(), std::fs::read(e.path()).expect("reads"))).collect()
}

#[test]
fn what_is_looked_for_would_be_found() {
    assert_eq!(found(b"... W. VANDERSTEEN ..."), ["Vandersteen"]);
    assert_eq!(found(br"\x00517561727a6c616d706500"), ["quarzlampe"]);
}

#[tokio::test]
async fn no_file_of_sqlite_holds_what_people_wrote() {
    on_sqlite(async |ground| {
        let org = ground.org(true).await;
        plant(&org).await;
        let Ledger::Sqlite(folder) = &ground.ledger else { panic!("a folder") };
        for open in [true, false] {
            if !open {
                org.close().await;
            }
            let files = files(folder);
            assert_eq!(files.iter().any(|(name, bytes)| name.ends_with("-wal") && !bytes.is_empty()), open);
            for (name, bytes) in files {
                assert_eq!(found(&bytes), Vec::<&str>::new(), "{name}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_dump_of_postgres_holds_what_people_wrote() {
    with_database(|database| async move {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        let ground = Ground { ledger: database.ledger(), clock: Clock::system() };
        plant(&ground.org(true).await).await;
        let Some(text) = dump(&database, &[]) else { return };
        assert!(text.contains("Northwind Traders") && text.contains("case:1"), "the dump has the rows");
        assert_eq!(found(text.as_bytes()), Vec::<&str>::new());
    })
    .await;
}

fn masters(numbers: &[u8]) -> Vault {
    let keys: Vec<String> = numbers.iter().map(|n| format!("{n}:{}", STANDARD.encode([*n; 32]))).collect();
    Vault::new(&Secret::new(keys.join(","))).expect("good keys")
}

#[tokio::test]
async fn keys_are_wrapped_anew_on_sqlite() {
    on_sqlite(rotates).await;
}

#[tokio::test]
async fn keys_are_wrapped_anew_on_postgres() {
    on_postgres(rotates).await;
}

async fn rotates(ground: Ground) {
    let open = async |numbers: &[u8]| {
        Embedded::open(&ground.ledger, masters(numbers), true, ground.clock.clone()).await.expect("opens")
    };
    plant(&open(&[1]).await).await;
    let both = open(&[2, 1]).await;
    both.case(B, &external("none")).await.expect_err("seen, and nothing there");
    // 6 contacts of the demo, one of ours, and the organization's own two. The other organization's are new already.
    assert_eq!(both.rewrap().await.expect("wraps"), 9);
    assert_eq!(both.rewrap().await.expect("looks"), 0);
    let (case, comments) = open(&[2]).await.case(A, &external("case:1")).await.expect("opens");
    assert_eq!((case.description.as_str(), comments[0].author.as_str()), ("Zwiebelfisch", "Dagobert"));
    open(&[1]).await.case(A, &external("case:1")).await.expect_err("the old master is of no use now");
}

#[tokio::test]
async fn an_erased_person_s_key_is_gone_on_sqlite() {
    on_sqlite(key_is_gone).await;
}

#[tokio::test]
async fn an_erased_person_s_key_is_gone_on_postgres() {
    on_postgres(key_is_gone).await;
}

/// For every replica at once, also one that has read the person before.
async fn key_is_gone(ground: Ground) {
    let (one, other) = (ground.org(false).await, ground.org(false).await);
    plant(&one).await;
    other.case(A, &external("case:1")).await.expect("has read it before");
    let person = Person { external_id: "user:1".into(), emails: vec![] };
    one.erase_person(A, &person).await.expect("erased");
    let (case, comments) = other.case(A, &external("case:1")).await.expect("the case stays");
    assert_eq!((case.subject.as_str(), comments[0].body.as_str()), ("", ""));
    assert_eq!(other.erase_person(A, &person).await.expect("looks").contacts, 0);
    let store = store::open(&ground.ledger).await.expect("opens");
    let mut tx = store.read(A).await.expect("begins");
    let keys = "SELECT person_id FROM person_keys WHERE organization_id = $1 ORDER BY person_id";
    let keys = tx.rows(keys, &[Value::Id(A)]).await.expect("reads");
    let whose: Vec<_> = keys.iter().map(|row| row.text("person_id").expect("text")).collect();
    assert_eq!(whose, ["index", "organization"]);
}
