//! Whom a notification is for and what it says is in no store's bytes.
use std::sync::Arc;

use switchboard_notification::{MIGRATIONS, message::Message, sender::Sender};
use switchboard_runtime::stores::Ledger;
use switchboard_testkit::servers::with_database;
use uuid::Uuid;

use crate::rig::{Ground, dump, on_sqlite};

/// What was planted.
const PLANTED: [&str; 4] =
    ["wilhelmina@example.com", "quarzlampe", "zwiebelfisch", "0190aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa"];

/// Sends what was planted.
async fn plant(ground: &Ground) -> Arc<Sender> {
    let (sender, org) = (ground.sender(&ground.transport()).await, Uuid::now_v7());
    let (to, user) = ("Wilhelmina@example.com".to_owned(), Uuid::try_parse(PLANTED[3]).expect("an id"));
    let mail = Message::Email { to, subject: "Quarzlampe".into(), text: "Zwiebelfisch".into() };
    sender.send(org, "key-of-the-mail", &mail, Some(user)).await.expect("delivers");
    let slack = Message::Slack { channel: "#support".into(), text: "Zwiebelfisch".into() };
    sender.send(org, "key-of-the-slack", &slack, Some(user)).await.expect("delivers");
    assert_eq!(ground.outbox().len(), 2);
    sender
}

/// The planted words that are in there, in any case, as they are, as bytes of a UUID, or in the hexadecimal digits of `pg_dump`.
fn found(bytes: &[u8]) -> Vec<&'static str> {
    let mut plain = bytes.to_vec();
    for at in bytes.windows(2).enumerate().filter(|(_, w)| w == br"\x").map(|(at, _)| at + 2) {
        let digits =
            bytes[at..].chunks_exact(2).map_while(|two| u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok());
        plain.extend(digits);
    }
    let holds = |word: &[u8]| plain.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
    let raw = |word: &str| Uuid::try_parse(word).is_ok_and(|id| holds(id.as_bytes()));
    PLANTED.into_iter().filter(|word| holds(word.as_bytes()) || raw(word)).collect()
}

#[test]
fn what_is_looked_for_would_be_found() {
    assert_eq!(found(b"... WILHELMINA@example.com ..."), [PLANTED[0]]);
    assert_eq!(found(br"\x00517561727a6c616d7065ff"), [PLANTED[1]]);
    assert_eq!(found(Uuid::try_parse(PLANTED[3]).expect("an id").as_bytes()), [PLANTED[3]]);
}

#[tokio::test]
async fn no_file_of_sqlite_holds_whom_or_what() {
    on_sqlite(async |ground| {
        // Its files stay open while they are looked at.
        let _sender = plant(&ground).await;
        let Ledger::Sqlite(folder) = &ground.ledger else { panic!("a folder") };
        let files: Vec<_> = std::fs::read_dir(folder).expect("lists").map(|e| e.expect("an entry").path()).collect();
        let stores: Vec<_> = files.iter().filter(|path| path.is_file()).collect();
        assert!(stores.iter().any(|path| path.to_string_lossy().ends_with("-wal")), "{files:?}");
        for path in stores {
            assert_eq!(found(&std::fs::read(path).expect("reads")), Vec::<&str>::new(), "{}", path.display());
        }
    })
    .await;
}

#[tokio::test]
async fn no_dump_of_postgres_holds_whom_or_what() {
    with_database(|database| async move {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        plant(&Ground::new(Some(database.ledger()))).await;
        let Some(text) = dump(&database, &[]) else { return };
        assert!(text.contains("key-of-the-mail"), "the dump has the rows");
        assert_eq!(found(text.as_bytes()), Vec::<&str>::new());
    })
    .await;
}
