//! TLS to a server behind an end of TLS: who is told of its CA connects; who is not, or meets another host, refuses and says what
//! to mend. What the store does is tried by the contract suite.
use std::{error::Error as _, path::Path};

use switchboard_runtime::{
    Settings, process,
    stores::{self, Choice},
};
use switchboard_testkit::{
    certificates::{Authority, TlsDoor},
    servers,
};

use super::*;

/// Must be in no message.
const PASSWORD: &str = "hunter2";

/// The store of a process that was given a URL, and perhaps a CA.
async fn open(url: &str, ca: Option<&Path>) -> MongoSessions {
    let mut flags = vec![("stores.sessions", url.to_owned())];
    flags.extend(ca.map(|ca| ("stores.tls_ca", ca.display().to_string())));
    let settings = Settings::load(&[process::KEYS, stores::KEYS], None, [], &flags).expect("loads");
    match stores::choice(&settings, "stores.sessions", "embedded", &["mongodb"]).expect("a choice") {
        Choice::Server(url) => MongoSessions::open(&url).await.expect("opens"),
        Choice::Here => panic!("chosen by its URL"),
    }
}

#[tokio::test]
async fn mongodb_is_reached_only_with_the_right_ca_and_host() {
    let Some(server) = servers::server("mongodb") else { return };
    let server = server.trim_start_matches("mongodb://").trim_end_matches('/').parse().expect("HOST:PORT");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = authority.file();
    let door = TlsDoor::to(server, &authority.certificate("localhost")).await;
    let database = format!("tls_{}", Uuid::new_v4().simple());
    let url = |door: &TlsDoor| format!("mongodb://localhost:{}/{database}?tls=true", door.port);
    let own = format!("{}&tlsCAFile={}", url(&door), ca.display());
    for (url, ca) in [(url(&door), &ca), (own, &stranger.file())] {
        let sessions = open(&url, Some(ca)).await;
        assert!(sessions.is_empty().await.expect("answers"));
        sessions.database.drop().await.expect("drops");
        sessions.close().await;
    }

    let refused = async |url: &str, ca: Option<&Path>, says: &str| {
        let url = url.replace("localhost", &format!("somebody:{PASSWORD}@localhost"));
        let sessions = open(&url, ca).await;
        let error = sessions.is_empty().await.expect_err(says);
        let text = format!("{error} {:?}", error.source().map(ToString::to_string));
        assert!(text.contains(says) && !text.contains(PASSWORD), "{text}");
        sessions.close().await;
    };
    for other in [None, Some(stranger.file())] {
        let says = "shows a certificate of a CA that is not trusted here; name the file of that CA in stores.tls_ca";
        refused(&url(&door), other.as_deref(), says).await;
    }
    let elsewhere = TlsDoor::to(server, &authority.certificate("elsewhere.example")).await;
    refused(&url(&elsewhere), Some(&ca), "not for localhost; mend the host in stores.sessions").await;
}
