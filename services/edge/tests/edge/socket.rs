//! The WebSocket: frames in order, plain clients, resuming, bad frames, close codes.
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::time::Duration;
use switchboard_edge::config::{Config, Rate, SocketTimes};
use switchboard_runtime::Role;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::{
    conversation::{ANSWERED_LATE, INTERNAL},
    support::{Client, Edge, start},
};

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

fn unlimited() -> Config {
    Config { rate: None, ..Config::default() }
}

impl Socket {
    /// As browsers do: the token in the subprotocol.
    async fn browser(client: &Client) -> Self {
        let mut request = format!("ws://{}/ws", client.address).into_client_request().expect("a request");
        let protocols = format!("switchboard.v1, bearer.{}", client.token);
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().expect("a value"));
        let (socket, response) = connect_async(request).await.expect("upgrades");
        assert_eq!(response.headers()["sec-websocket-protocol"], "switchboard.v1");
        Socket(socket)
    }

    /// As simple programs do.
    async fn plain(client: &Client) -> Self {
        let (socket, _) =
            connect_async(format!("ws://{}/ws?token={}", client.address, client.token)).await.expect("upgrades");
        Socket(socket)
    }

    async fn send(&mut self, event: &str, data: Value) {
        self.0.send(Message::text(json!({ "event": event, "data": data }).to_string())).await.expect("sends");
    }

    async fn next(&mut self) -> (String, Value) {
        let mut frame = self.frame().await;
        while matches!(frame, Message::Ping(_) | Message::Pong(_)) {
            frame = self.frame().await;
        }
        let Message::Text(text) = frame else { panic!("no text: {frame:?}") };
        let mut frame: Value = serde_json::from_str(&text).expect("JSON");
        (frame["event"].as_str().expect("an event").to_owned(), frame["data"].take())
    }

    async fn frame(&mut self) -> Message {
        let next = tokio::time::timeout(Duration::from_secs(10), self.0.next()).await.expect("in time");
        next.expect("goes on").expect("a frame")
    }

    /// Frames up to the close, and its code.
    async fn until_closed(&mut self) -> (Vec<Message>, u16) {
        let mut before = vec![];
        loop {
            match self.frame().await {
                Message::Close(frame) => return (before, frame.expect("a code").code.into()),
                other => before.push(other),
            }
        }
    }
}

async fn joined(edge: &Edge) -> (Client, String, Socket) {
    let client = edge.client(Role::Customer);
    let id = client.create().await;
    let mut socket = Socket::browser(&client).await;
    socket.send("connect", json!({ "conversation_id": id })).await;
    let (event, data) = socket.next().await;
    assert_eq!((event.as_str(), &data["status"], &data["owner"]), ("status_update", &json!("active"), &json!("ai")));
    (client, id, socket)
}

#[tokio::test]
async fn two_tabs_see_the_same_events_in_order_and_a_third_resumes() {
    let edge = start(unlimited()).await;
    let (client, id, mut one) = joined(&edge).await;
    let mut two = Socket::browser(&client).await;
    two.send("connect", json!({ "conversation_id": id })).await;
    two.next().await;
    one.send("message", json!({ "conversation_id": id, "content": "Hello", "client_message_id": "m" })).await;
    let mut seen = vec![];
    for socket in [&mut one, &mut two] {
        let (event, received) = socket.next().await;
        assert_eq!(
            (event.as_str(), &received["client_message_id"], &received["seq"]),
            ("message_received", &json!("m"), &json!(1))
        );
        assert_eq!(received["message"]["content"], "Hello");
        let (event, reply) = socket.next().await;
        assert_eq!(
            (event.as_str(), &reply["done"], &reply["seq"], &reply["actions"]),
            ("ai_response", &json!(true), &json!(2), &json!([]))
        );
        seen.push(reply);
    }
    assert_eq!(seen[0], seen[1]);
    // The same message again: the same events, to the one who asked.
    one.send("message", json!({ "conversation_id": id, "content": "Hello", "client_message_id": "m" })).await;
    assert_eq!(one.next().await.1["seq"], 1);
    assert_eq!(one.next().await.1["message_id"], seen[0]["message_id"]);
    one.send("message", json!({ "conversation_id": id, "content": "Other", "client_message_id": "m" })).await;
    let (event, error) = one.next().await;
    assert_eq!(
        (event.as_str(), &error["reason"], &error["client_message_id"]),
        ("error", &json!("MESSAGE_ID_REUSED"), &json!("m"))
    );

    let mut three = Socket::browser(&client).await;
    three.send("connect", json!({ "conversation_id": id, "last_seq": 1 })).await;
    assert_eq!(three.next().await.1["seq"], 2);
    assert_eq!(three.next().await.1["message_id"], seen[0]["message_id"]);

    // What others do is told too.
    let agent = edge.client(Role::Agent);
    agent.post(&format!("/v1/conversations/{id}/escalate"), json!({ "reason": "angry" })).await;
    let (event, update) = two.next().await;
    assert_eq!(
        (event.as_str(), &update["status"], &update["owner"], &update["reason"]),
        ("status_update", &json!("escalated"), &json!("none"), &json!("angry"))
    );
    assert_eq!(update["escalation"]["priority"], "high");
    agent.post(&format!("/v1/conversations/{id}/assign"), json!({})).await;
    assert_eq!(two.next().await.1["message"]["sender_type"], "system");
    agent.say(&id, "I am a person.").await;
    let (event, update) = two.next().await;
    assert_eq!((event.as_str(), &update["message"]["sender_type"]), ("status_update", &json!("human_agent")));
    let mut desk = Socket::browser(&agent).await;
    desk.send("connect", json!({ "conversation_id": id })).await;
    desk.next().await;
    desk.send("typing", json!({ "conversation_id": id, "typing": true })).await;
    let (event, typing) = two.next().await;
    assert_eq!(
        (event.as_str(), &typing["who"], &typing["typing"]),
        ("typing_indicator", &json!("human"), &json!(true))
    );
    one.send("disconnect", json!({})).await;
    assert_eq!(one.until_closed().await.1, 1000);
}

#[tokio::test]
async fn a_message_that_is_repeated_while_its_answered_call_still_runs_is_told_again() {
    let edge = start(unlimited()).await;
    let (_, id, mut socket) = joined(&edge).await;
    let message = json!({ "conversation_id": id, "content": ANSWERED_LATE, "client_message_id": "m" });
    for _ in 0..2 {
        socket.send("message", message.clone()).await;
        assert_eq!(socket.next().await.1["client_message_id"], "m");
        assert_eq!(socket.next().await.1["seq"], 2);
    }
}

#[tokio::test]
async fn a_plain_client_gets_exactly_the_answer() {
    let edge = start(unlimited()).await;
    let client = edge.client(Role::Customer);
    let id = client.create().await;
    let mut socket = Socket::plain(&client).await;
    for words in ["Hello", "Hello again"] {
        socket.send("message", json!({ "conversation_id": id, "content": words })).await;
        let (event, data) = socket.next().await;
        assert_eq!(
            (event.as_str(), &data["response"], &data["done"]),
            ("ai_response", &json!(format!("You said: {words}")), &json!(true))
        );
    }
    edge.client(Role::Agent).post(&format!("/v1/conversations/{id}/assign"), json!({})).await;
    assert_eq!(socket.next().await.0, "status_update");
    socket.send("message", json!({ "conversation_id": id, "content": "Anybody?" })).await;
    let (event, data) = socket.next().await;
    assert_eq!((event.as_str(), &data["response"]), ("ai_response", &Value::Null));

    // A conversation that is not ours does not exist.
    let mut other = Socket::plain(&edge.client(Role::Customer)).await;
    other.send("message", json!({ "conversation_id": id, "content": "Hello" })).await;
    let (event, data) = other.next().await;
    assert_eq!((event.as_str(), &data["reason"]), ("error", &json!("CONVERSATION_NOT_FOUND")));
    assert_eq!(other.until_closed().await.1, 4404);
    // Without any conversation there is a new one.
    let mut fresh = Socket::plain(&client).await;
    fresh.send("message", json!({ "content": "Hello" })).await;
    let (event, data) = fresh.next().await;
    assert_eq!(event, "ai_response");
    assert_ne!(data["conversation_id"], id.as_str());
}

#[tokio::test]
async fn bad_frames_get_an_error_and_then_the_door() {
    let edge = start(unlimited()).await;
    let (_, id, mut socket) = joined(&edge).await;
    let bad = [
        json!({ "event": "nonsense", "data": { "x": 1 } }).to_string(),
        "{not json".to_owned(),
        json!({ "event": "message", "data": { "conversation_id": id, "content": 7, "client_message_id": "m" } })
            .to_string(),
    ];
    for text in bad {
        socket.0.send(Message::text(text)).await.expect("sends");
        let (event, data) = socket.next().await;
        assert_eq!(
            (event.as_str(), &data["reason"], &data["instance"]),
            ("error", &json!("VALIDATION_FAILED"), &json!("/ws"))
        );
    }
    // A good one forgives.
    socket.send("message", json!({ "conversation_id": id, "content": "" })).await;
    assert_eq!(socket.next().await.1["errors"][0]["field"], "content");
    for _ in 0..5 {
        socket.0.send(Message::binary(vec![1, 2, 3])).await.expect("sends");
    }
    let (before, code) = socket.until_closed().await;
    assert_eq!((before.len(), code), (5, 4400));

    let (_, _, mut large) = joined(&edge).await;
    large.0.send(Message::text("x".repeat(200_000))).await.expect("sends");
    assert_eq!(large.until_closed().await.1, 1009);
    let (_, _, mut garbled) = joined(&edge).await;
    garbled.0.get_mut().bad_utf8().await;
    assert_eq!(garbled.until_closed().await.1, 1007);
}

/// Writes a masked text frame that is no UTF-8; tungstenite itself would refuse to.
trait BadUtf8 {
    async fn bad_utf8(&mut self);
}

impl BadUtf8 for MaybeTlsStream<TcpStream> {
    async fn bad_utf8(&mut self) {
        use tokio::io::AsyncWriteExt as _;
        self.write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28]).await.expect("writes");
    }
}

#[tokio::test]
async fn each_end_has_its_code() {
    let edge = start(unlimited()).await;
    let mut nobody = edge.client(Role::Customer);
    nobody.token = "x.y.z".to_owned();
    assert_eq!(Socket::browser(&nobody).await.until_closed().await.1, 4401);
    let (mut silent, _) = connect_async(format!("ws://{}/ws", edge.address)).await.expect("upgrades");
    let Some(Ok(Message::Close(Some(frame)))) = silent.next().await else { panic!("no close") };
    assert_eq!(u16::from(frame.code), 4401);

    let mut pretender = Socket::browser(&edge.client(Role::Customer)).await;
    pretender.send("connect", json!({ "user_id": uuid::Uuid::now_v7() })).await;
    assert_eq!(pretender.next().await.1["reason"], "PERMISSION_DENIED");
    assert_eq!(pretender.until_closed().await.1, 4403);

    let (_, _, mut socket) = joined(&edge).await;
    edge.mesh.shutdown.cancel();
    assert_eq!(socket.until_closed().await.1, 1001);
}

#[tokio::test]
async fn an_idle_session_and_a_dead_peer_are_closed() {
    let times =
        SocketTimes { ping: Duration::from_millis(20), idle: Duration::from_millis(300), ..SocketTimes::default() };
    let edge = start(Config { socket: times, ..unlimited() }).await;
    let (_, _, mut idle) = joined(&edge).await;
    let (before, code) = idle.until_closed().await;
    assert_eq!(code, 4408);
    assert!(before.iter().all(|f| matches!(f, Message::Ping(_))) && before.len() > 3, "{before:?}");
}

#[tokio::test]
async fn messages_over_the_limit_are_refused_and_then_the_connection() {
    let rate = Some(Rate { count: 5, span: Duration::from_secs(3600) });
    let edge = start(Config { rate, ..Config::default() }).await;
    let (_, id, mut socket) = joined(&edge).await;
    for n in 0..8 {
        socket
            .send("message", json!({ "conversation_id": id, "content": "Hello", "client_message_id": format!("m{n}") }))
            .await;
    }
    let (before, code) = socket.until_closed().await;
    let refused = before.iter().filter(|f| f.to_text().is_ok_and(|t| t.contains("RATE_LIMITED"))).count();
    assert_eq!((refused, code), (5, 4429));
}

#[tokio::test]
async fn joins_over_the_limit_are_refused_and_then_the_connection() {
    let rate = Some(Rate { count: 5, span: Duration::from_secs(3600) });
    let edge = start(Config { rate, ..Config::default() }).await;
    let mut socket = Socket::browser(&edge.client(Role::Customer)).await;
    // The upgrade was the first of five.
    for _ in 0..4 {
        socket.send("connect", json!({})).await;
        assert_eq!(socket.next().await.0, "status_update");
    }
    for _ in 0..5 {
        socket.send("connect", json!({})).await;
        assert_eq!(socket.next().await.1["reason"], "RATE_LIMITED");
    }
    assert_eq!(socket.until_closed().await.1, 4429);
}

#[tokio::test]
async fn no_conversation_is_made_that_the_connection_may_not_watch() {
    let edge = start(unlimited()).await;
    let client = edge.client(Role::Customer);
    let mut socket = Socket::browser(&client).await;
    for _ in 0..100 {
        socket.send("connect", json!({})).await;
        assert_eq!(socket.next().await.0, "status_update");
    }
    socket.send("connect", json!({})).await;
    assert_eq!(socket.next().await.1["reason"], "STATE_CONFLICT");
    let all: Value = client.get("/v1/conversations").await.json().await.expect("JSON");
    assert_eq!(all["items"].as_array().map(Vec::len), Some(100));
}

#[tokio::test]
async fn that_somebody_stopped_typing_is_told_once() {
    let edge = start(unlimited()).await;
    let (client, id, mut one) = joined(&edge).await;
    let mut two = Socket::browser(&client).await;
    two.send("connect", json!({ "conversation_id": id })).await;
    two.next().await;
    for typing in [false, false, true, false, false] {
        one.send("typing", json!({ "conversation_id": id, "typing": typing })).await;
    }
    one.send("message", json!({ "conversation_id": id, "content": "Hello" })).await;
    assert_eq!(two.next().await.1["typing"], true);
    assert_eq!(two.next().await.1["typing"], false);
    assert_eq!(two.next().await.0, "message_received");
}

#[tokio::test]
async fn a_seq_that_is_still_to_come_does_not_silence_the_events() {
    let edge = start(unlimited()).await;
    let client = edge.client(Role::Customer);
    let id = client.create().await;
    let mut socket = Socket::browser(&client).await;
    socket.send("connect", json!({ "conversation_id": id, "last_seq": 900 })).await;
    assert_eq!(socket.next().await.0, "status_update");
    let request = client.request("GET", &format!("/v1/conversations/{id}/events")).header("last-event-id", "900");
    let mut events = request.send().await.expect("an answer");
    client.say(&id, "Hello").await;
    assert_eq!(socket.next().await.0, "message_received");
    assert_eq!(socket.next().await.0, "ai_response");
    let mut text = String::new();
    while !text.contains("\nid: 2\n") {
        text.push_str(&String::from_utf8_lossy(&events.chunk().await.expect("reads").expect("goes on")));
    }
    assert!(text.contains("id: 1\n"), "{text}");
}

#[tokio::test]
async fn what_colleagues_write_about_a_hand_off_stays_among_them() {
    let edge = start(unlimited()).await;
    let (customer, id, mut theirs) = joined(&edge).await;
    let agent = edge.client(Role::Agent);
    let mut desk = Socket::browser(&agent).await;
    desk.send("connect", json!({ "conversation_id": id })).await;
    desk.next().await;
    let path = format!("/v1/conversations/{id}");
    let check = |escalation: &Value, text: Value| {
        assert_eq!(escalation["queue_name"], "billing");
        for key in ["summary", "resolution_notes", "resolved_by"] {
            assert_eq!(escalation[key], text, "{key}: {escalation}");
        }
    };
    let mut again = Socket::browser(&customer).await;
    agent.post(&format!("{path}/escalate"), json!({ "reason": "angry" })).await;
    again.send("connect", json!({ "conversation_id": id })).await;
    check(&again.next().await.1["escalation"], Value::Null);
    // The turn after it tells of it too.
    check(&customer.say(&id, "Hello?").await["escalation"], Value::Null);
    for (socket, who, text) in [(&mut theirs, &customer, Value::Null), (&mut desk, &agent, json!(INTERNAL))] {
        for event in ["status_update", "message_received", "ai_response"] {
            let (got, data) = socket.next().await;
            assert_eq!(got, event);
            if event != "message_received" {
                check(&data["escalation"], text.clone());
            }
        }
        let detail: Value = who.get(&path).await.json().await.expect("JSON");
        check(&detail["escalation"], text);
    }
    let stream = customer.request("POST", &format!("{path}/messages")).header("accept", "text/event-stream");
    let stream = stream.json(&json!({ "content": "Hello??" })).send().await.expect("an answer");
    let stream = stream.text().await.expect("text");
    assert!(stream.contains("billing") && !stream.contains(INTERNAL), "{stream}");
    let request = customer.request("GET", &format!("{path}/events")).header("last-event-id", "0");
    let (mut events, mut text) = (request.send().await.expect("an answer"), String::new());
    while text.matches("\nid: ").count() < 5 {
        text.push_str(&String::from_utf8_lossy(&events.chunk().await.expect("reads").expect("goes on")));
    }
    assert!(text.contains("billing") && !text.contains(INTERNAL), "{text}");
    check(&agent.say(&id, "I am a person.").await["escalation"], json!(INTERNAL));
}
