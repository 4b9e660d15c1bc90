//! Session documents on a real server that speaks MongoDB's protocol.
use std::{error::Error as _, sync::Arc, time::Duration};

use mongodb::{
    Client, Database,
    bson::{Document as Bson, doc},
};
use switchboard_conversation::{
    outbox::Kind,
    sessions::{
        At, Sessions as _,
        mongodb::{MongoSessions, indexes},
    },
};
use switchboard_runtime::{Clock, Secret, Settings, StartError, stores};
use switchboard_testkit::{cluster::Door, servers};
use tempfile::tempdir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use uuid::Uuid;

use super::{at, carry, document, insert, relay, suite, uses};
use crate::{bus::SOON, rig::Rig};

/// A port of this machine where nobody listens.
const NOWHERE: u16 = 1;

/// A database of the server, thrown away with the test.
struct Place {
    url: String,
    name: String,
    database: Database,
}

impl Place {
    async fn new() -> Option<Self> {
        let url = servers::server("mongodb")?;
        let name = format!("switchboard_test_{}", Uuid::new_v4().simple());
        let database = Client::with_uri_str(&url).await.expect("a client").database(&name);
        Some(Place { url, name, database })
    }

    fn port(&self) -> u16 {
        self.url.rsplit_once(':').expect("a port").1.trim_end_matches('/').parse().expect("a port")
    }

    async fn open(&self) -> MongoSessions {
        self.through(self.port()).await
    }

    async fn through(&self, port: u16) -> MongoSessions {
        let url = format!("mongodb://127.0.0.1:{port}/{}", self.name);
        MongoSessions::open(&Secret::new(url)).await.expect("opens")
    }

    fn documents(&self) -> mongodb::Collection<Bson> {
        self.database.collection("documents")
    }

    async fn drop(self) {
        self.database.drop().await.expect("drops");
    }
}

#[tokio::test]
async fn mongodb_keeps_the_laws() {
    let Some(place) = Place::new().await else { return };
    suite(&place.open().await).await;
    place.drop().await;
}

#[tokio::test]
async fn documents_in_mongodb_are_of_use() {
    let (Some(place), Some(other)) = (Place::new().await, Place::new().await) else { return };
    uses(Arc::new(place.open().await), Arc::new(other.open().await), async |folder| Rig::start(folder).await).await;
    // Not a word in clear, whatever the field.
    let mut rows = place.documents().find(doc! {}).await.expect("reads");
    let mut seen = 0;
    while rows.advance().await.expect("reads") {
        seen += 1;
        let bytes = rows.current().as_bytes();
        for word in ["hello", "words", "think", "test", "active"] {
            assert!(!bytes.windows(word.len()).any(|w| w == word.as_bytes()), "{word}");
        }
    }
    assert!(seen > 5);
    place.drop().await;
    other.drop().await;
}

#[tokio::test]
async fn a_store_that_is_down_is_waited_for() {
    let Some(place) = Place::new().await else { return };
    let door = Door::to(NOWHERE).await;
    let sessions = Arc::new(place.through(door.port).await);
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let relay = relay(&rig, sessions);
    let row = rig.begin().await;
    // Absent at the start, there, and down in the middle: capsules wait in the outbox.
    for word in ["one", "two"] {
        rig.say(&row, word).await.expect("answers");
        assert!(carry(&relay).await > 0);
    }
    door.lead_to(place.port());
    assert_eq!(carry(&relay).await, 0);
    assert_eq!(place.documents().count_documents(doc! { "kind": "capsule" }).await.expect("counts"), 2);
    door.lead_to(NOWHERE);
    rig.say(&row, "three").await.expect("answers");
    assert_eq!(carry(&relay).await, 1);
    door.lead_to(place.port());
    let back = async { while carry(&relay).await > 0 {} };
    timeout(SOON, back).await.expect("comes back");
    let (turns, _) = relay.archive().turns(rig.org, at(-1), 10, "").await.expect("reads");
    let answered: Vec<&str> = turns.iter().map(|t| t.turn.as_ref().expect("a turn").thought.reply.as_str()).collect();
    assert_eq!(answered, ["1: one", "2: two", "3: three"]);
    place.drop().await;
}

/// A way to a server whose answers stop at a word, as those of a server do that is paused.
async fn mute(port: u16) -> (u16, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let here = listener.local_addr().expect("an address").port();
    let (quiet, is_quiet) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.expect("the server");
            let mut is_quiet = is_quiet.clone();
            tokio::spawn(async move {
                let went_quiet = async { drop(is_quiet.wait_for(|quiet| *quiet).await) };
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => return,
                    () = went_quiet => {}
                }
                // Both ends stay open.
                std::future::pending::<()>().await;
            });
        }
    });
    (here, quiet)
}

#[tokio::test]
async fn a_store_that_stops_answering_in_the_middle_is_given_up_for_now() {
    let Some(place) = Place::new().await else { return };
    let (port, quiet) = mute(place.port()).await;
    let sessions = place.through(port).await;
    assert!(sessions.is_empty().await.expect("answers"));
    quiet.send(true).expect("listens");
    let error = timeout(SOON, sessions.is_empty()).await.expect("ends").expect_err("nobody answers");
    assert!(format!("{:?}", error.source()).contains("no answer within 5 s"), "{error:?}");
    place.drop().await;
}

/// A server that takes connections and says nothing.
#[tokio::test]
async fn a_store_that_never_answers_is_given_up_for_now() {
    let hole = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = hole.local_addr().expect("an address").port();
    let url = Secret::new(format!("mongodb://me:hunter2@127.0.0.1:{port}/x"));
    let sessions = MongoSessions::open(&url).await.expect("opens");
    let read = timeout(Duration::from_secs(20), sessions.latest(Uuid::now_v7(), Uuid::now_v7()));
    let error = read.await.expect("ends").expect_err("nobody answers");
    let said = format!("{error:?} {error}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn what_others_wrote_is_passed_over() {
    let Some(place) = Place::new().await else { return };
    let sessions = place.open().await;
    let (org, conversation) = (Uuid::now_v7(), Uuid::now_v7());
    insert(&sessions, &[document(org, conversation, Kind::Capsule, 1, 0)]).await;
    let odd = |id: &str, schema: i32| {
        doc! {
            "_id": id, "organization_id": org.to_string(), "conversation_id": conversation.to_string(),
            "kind": "capsule", "seq": 9_i64, "created_at": at(1).as_microsecond(), "schema": schema,
        }
    };
    // Without a body; with fields that only a newer version knows.
    place.documents().insert_one(odd("junk", 1)).await.expect("inserts");
    let mut newer = odd("newer", 7);
    newer.insert("body", doc! { "cipher": "other" });
    place.documents().insert_one(newer).await.expect("inserts");
    let (page, next) = sessions.since(org, Kind::Capsule, at(0), 10, "").await.expect("reads");
    assert_eq!((page.len(), next), (1, None));
    assert_eq!(sessions.erase(org, &[conversation]).await.expect("erases"), 3);
    place.drop().await;
}

#[tokio::test]
async fn indexes_go_up_and_down_and_up() {
    let Some(place) = Place::new().await else { return };
    let names = async || {
        let mut names = place.documents().list_index_names().await.expect("lists");
        names.sort();
        names
    };
    let now = Clock::system().now();
    // Two replicas at once.
    let (one, two) = tokio::join!(indexes::apply(&place.database, now), indexes::apply(&place.database, now));
    one.and(two).expect("apply");
    let up = names().await;
    assert_eq!(up, ["_id_", "documents_by_age", "documents_by_time", "documents_of"]);
    let sessions = place.open().await;
    insert(&sessions, &[document(Uuid::now_v7(), Uuid::now_v7(), Kind::Capsule, 1, 0)]).await;
    indexes::undo(&place.database).await.expect("undoes");
    assert_eq!(names().await, ["_id_"]);
    assert_eq!(place.documents().count_documents(doc! {}).await.expect("counts"), 1, "documents stay");
    indexes::apply(&place.database, now).await.expect("applies");
    assert_eq!(names().await, up);
    // A newer version was here: it is told of, and this one goes on.
    place.database.collection("migrations").insert_one(doc! { "_id": 7000_i64 }).await.expect("inserts");
    assert!(!place.open().await.is_empty().await.expect("answers"));
    place.drop().await;
}

#[tokio::test]
async fn the_url_is_checked_before_anything_starts() {
    let folder = tempdir().expect("folder");
    let read = |url: &str| {
        let settings = Settings::load(&[stores::KEYS], None, [], &[("stores.sessions", url.to_owned())]);
        At::read(&settings.expect("loads"), folder.path())
    };
    assert!(matches!(read("embedded"), Ok(At::Here(there)) if there == folder.path()));
    assert!(matches!(read("mongodb://h:1/db"), Ok(At::MongoDb(_))));
    read("mongo://h").expect_err("refused");
    for bad in ["mongodb://u:hunter2@h:99999/db", "mongodb://u:hunter2@h/db?w=-7"] {
        let refused = match read(bad) {
            Ok(at) => at.open().await.map(drop).expect_err(bad),
            Err(error) => StartError::from(error),
        };
        assert!(matches!(refused, StartError::Settings(_)), "{refused:?}");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
}
