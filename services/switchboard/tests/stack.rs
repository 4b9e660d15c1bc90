//! The all-in-one as a library: as the command line and the harness use it.
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use switchboard::{Stack, StackConfig, Transport};
use switchboard_runtime::Role;

fn http() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().expect("a client")
}

async fn post(stack: &Stack, token: &str, path: &str, body: Value) -> (u16, Value) {
    let answer =
        http().post(format!("{}{path}", stack.url())).bearer_auth(token).json(&body).send().await.expect("answers");
    (answer.status().as_u16(), answer.json().await.expect("is JSON"))
}

async fn get(stack: &Stack, token: &str, path: &str) -> Value {
    let answer = http().get(format!("{}{path}", stack.url())).bearer_auth(token).send().await.expect("answers");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.json().await.expect("is JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stacks_live_in_one_process_and_know_nothing_of_each_other() {
    let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let first = Stack::start(StackConfig::new(a.path())).await.expect("starts");
    let second =
        Stack::start(StackConfig { transport: Transport::Tcp, ..StackConfig::new(b.path()) }).await.expect("starts");
    for stack in [&first, &second] {
        let token = stack.token(Role::Customer).await.expect("a token");
        let (status, made) = post(
            stack,
            &token,
            "/v1/conversations",
            json!({ "channel": "web", "initial_message": "What are your business hours?" }),
        )
        .await;
        assert_eq!(status, 201, "{made}");
        assert!(made["reply"]["response"].as_str().is_some_and(|r| r.contains("08:00")), "{made}");
    }
    let foreign = first.token(Role::Customer).await.expect("a token");
    let (status, problem) = post(&second, &foreign, "/v1/conversations", json!({ "channel": "web" })).await;
    assert_eq!((status, problem["reason"].as_str()), (401, Some("UNAUTHENTICATED")));
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_an_address_have_one_stack_at_a_time_and_both_come_back() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let stack = Stack::start(StackConfig::new(folder.path())).await.expect("starts");
    let token = stack.token(Role::Customer).await.expect("a token");
    let (_, made) = post(
        &stack,
        &token,
        "/v1/conversations",
        json!({ "channel": "web", "initial_message": "I forgot my password" }),
    )
    .await;
    let path = format!("/v1/conversations/{}", made["id"].as_str().expect("an id"));

    let same_folder = Stack::start(StackConfig::new(folder.path())).await.err().expect("refused").to_string();
    assert!(same_folder.contains("in use by another Switchboard") && same_folder.contains("--data"), "{same_folder}");
    let listen = stack.url().trim_start_matches("http://").to_owned();
    let same_address = StackConfig { listen: listen.clone(), ..StackConfig::new(other.path()) };
    let same_address = Stack::start(same_address).await.err().expect("refused").to_string();
    assert!(same_address.contains(&listen) && same_address.contains("--listen"), "{same_address}");

    let before = get(&stack, &token, &path).await;
    stack.stop().await;
    let stack = Stack::start(StackConfig { listen, ..StackConfig::new(folder.path()) }).await.expect("starts again");
    let after = get(&stack, &token, &path).await;
    assert_eq!(before["messages"], after["messages"]);
    assert_eq!(before["messages"].as_array().map(Vec::len), Some(2));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("rules.db"),
        "this is no database, and long enough that nobody takes it for an empty one",
    )
    .expect("writes");
    let damaged = Stack::start(StackConfig::new(folder.path())).await.err().expect("refused").to_string();
    assert!(damaged.contains("rules.db") && damaged.contains("damaged or not a database"), "{damaged}");
    let wrong = StackConfig::new(folder.path()).with("edge.rate_limit", "many");
    let wrong = Stack::start(wrong).await.err().expect("refused").to_string();
    assert!(wrong.contains("edge.rate_limit"), "{wrong}");
}

/// A person takes over while the AI is at work: whatever the AI still says comes before the take-over, or is a draft.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_talked_over_by_a_reply_that_comes_late() {
    let folder = tempfile::tempdir().expect("a folder");
    let stack = Stack::start(StackConfig::new(folder.path()).with("edge.rate_limit", "off")).await.expect("starts");
    let (customer, agent) =
        (stack.token(Role::Customer).await.expect("a token"), stack.token(Role::Agent).await.expect("a token"));
    for round in 0..20 {
        let (_, made) = post(&stack, &customer, "/v1/conversations", json!({ "channel": "web" })).await;
        let id = made["id"].as_str().expect("an id").to_owned();
        let (ask, take) = (format!("/v1/conversations/{id}/messages"), format!("/v1/conversations/{id}/assign"));
        let (asked, taken) = tokio::join!(
            post(&stack, &customer, &ask, json!({ "content": "How do I export a report?" })),
            post(&stack, &agent, &take, json!({})),
        );
        assert_eq!((asked.0, taken.0), (200, 200), "round {round}: {} {}", asked.1, taken.1);
        assert_eq!(taken.1["owner"], "human", "round {round}");
        let detail = get(&stack, &agent, &format!("/v1/conversations/{id}")).await;
        let messages = detail["messages"].as_array().expect("messages");
        let seq_of =
            |kind: &str| messages.iter().filter(|m| m["sender_type"] == kind).filter_map(|m| m["seq"].as_u64()).max();
        let taken_at = taken.1["seq"].as_u64().expect("a seq");
        if let Some(reply) = seq_of("ai_agent") {
            assert!(
                reply < taken_at,
                "round {round}: a reply at {reply} after the take-over at {taken_at}: {messages:?}"
            );
        } else {
            assert!(asked.1["response"].is_null(), "round {round}: {}", asked.1);
        }
    }
    stack.stop().await;
}
