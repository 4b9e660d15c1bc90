//! Whole stacks on real servers: two of everything on one PostgreSQL and one Redis, with clients spread over both.
use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use switchboard::{OWNERS, Stack, StackConfig};
use switchboard_runtime::Role;
use switchboard_testkit::servers::{self, Database};
use tempfile::TempDir;
use uuid::Uuid;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stacks that share everything but their folders.
struct Replicas {
    stacks: Vec<Stack>,
    database: Database,
    http: Client,
    _folders: Vec<TempDir>,
}

impl Replicas {
    async fn start(count: usize) -> Option<Self> {
        let redis = servers::server("redis")?;
        let database = Database::create().await?;
        for owner in OWNERS {
            owner.apply(&database.ledger()).await.expect("migrates");
        }
        let (mut stacks, mut folders) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let folder = TempDir::new().expect("a folder");
            let config = StackConfig::new(folder.path())
                .with("stores.ledger", database.url.clone())
                .with("stores.ledger_connections", "40")
                .with("stores.master_keys", servers::master_keys().expose())
                .with("stores.cache", redis.clone())
                .with("edge.rate_limit", "off")
                .with("log.filter", "error");
            stacks.push(Stack::start(config).await.expect("starts"));
            folders.push(folder);
        }
        let http = Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Some(Replicas { stacks, database, http, _folders: folders })
    }

    async fn stop(self) {
        join_all(self.stacks.into_iter().map(Stack::stop)).await;
        self.database.drop().await;
    }

    async fn post(&self, replica: usize, token: &str, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.stacks[replica % self.stacks.len()].url());
        let response = self.http.post(url).bearer_auth(token).json(&body).send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }

    async fn get(&self, replica: usize, token: &str, path: &str) -> Value {
        let url = format!("{}{path}", self.stacks[replica % self.stacks.len()].url());
        self.http.get(url).bearer_auth(token).send().await.expect("an answer").json().await.expect("JSON")
    }

    async fn messages(&self, replica: usize, token: &str, id: &str) -> Vec<Value> {
        let page = self.get(replica, token, &format!("/v1/conversations/{id}/messages?limit=200")).await;
        page["items"].as_array().cloned().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_everything_keep_order_and_do_each_thing_once() {
    let Some(replicas) = Replicas::start(2).await else { return };
    let token = replicas.stacks[0].token(Role::Customer).await.expect("a token");
    let (status, made) = replicas.post(1, &token, "/v1/conversations", json!({ "channel": "web" })).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/conversations/{id}/messages");

    // Each message goes to both replicas at the same time, as a client does that lost its connection.
    for round in 0..10 {
        let body =
            json!({ "content": format!("What is your return policy? ({round})"), "client_message_id": Uuid::new_v4() });
        let both = join_all((0..2).map(|replica| replicas.post(replica, &token, &path, body.clone()))).await;
        let answers: Vec<&Value> = both
            .iter()
            .map(|(status, answer)| {
                assert_eq!(*status, 200, "{answer}");
                answer
            })
            .collect();
        assert_eq!(answers[0]["message_id"], answers[1]["message_id"], "one message, one answer");
    }
    for replica in 0..2 {
        let messages = replicas.messages(replica, &token, &id).await;
        let seqs: Vec<u64> = messages.iter().map(|m| m["seq"].as_u64().expect("a seq")).collect();
        assert_eq!(seqs, (1..=20).collect::<Vec<_>>(), "ten messages, ten answers, in order, on replica {replica}");
    }

    // Many at once over both: whatever is joined, none is lost, doubled or left unanswered.
    let sent = join_all((0..20).map(|n| {
        let body = json!({ "content": format!("Where is my order? {n}"), "client_message_id": format!("burst-{n}") });
        replicas.post(n, &token, &path, body)
    }))
    .await;
    for (status, answer) in &sent {
        assert_eq!(*status, 200, "{answer}");
    }
    let messages = replicas.messages(0, &token, &id).await;
    let mut customer = BTreeMap::<&str, u32>::new();
    for message in messages.iter().filter(|m| m["sender_type"] == "user") {
        *customer.entry(message["content"].as_str().expect("text")).or_default() += 1;
    }
    assert_eq!(customer.len(), 30);
    assert!(customer.values().all(|n| *n == 1), "{customer:?}");
    let seqs: Vec<u64> = messages.iter().map(|m| m["seq"].as_u64().expect("a seq")).collect();
    assert!(seqs.windows(2).all(|w| w[0] < w[1]), "{seqs:?}");
    let last = messages.last().expect("messages");
    assert_ne!(last["sender_type"], "user", "the last word answers: {last}");
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_asked_for_on_both_replicas_is_one_case() {
    let Some(replicas) = Replicas::start(2).await else { return };
    let token = replicas.stacks[0].token(Role::Customer).await.expect("a token");
    let (_, made) = replicas.post(0, &token, "/v1/conversations", json!({ "channel": "web" })).await;
    let path = format!("/v1/conversations/{}/messages", made["id"].as_str().expect("an id"));
    let (status, asked) = replicas.post(1, &token, &path, json!({ "content": "I was charged 49 EUR twice" })).await;
    assert_eq!(status, 200, "{asked}");
    let yes = json!({ "content": "yes", "client_message_id": "yes" });
    let both = join_all((0..2).map(|replica| replicas.post(replica, &token, &path, yes.clone()))).await;
    let numbers: Vec<Value> = both
        .iter()
        .map(|(_, answer)| {
            let actions = answer["suggested_actions"].as_array().cloned().unwrap_or_default();
            let made = actions.into_iter().find(|a| a["action_type"] == "create_case");
            made.map(|a| a["result"]["case_number"].clone()).unwrap_or_default()
        })
        .collect();
    assert!(numbers[0].is_string(), "{:?}", both[0]);
    assert_eq!(numbers[0], numbers[1], "one case");
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_human_who_takes_over_on_one_replica_is_not_talked_over_by_the_other() {
    let Some(replicas) = Replicas::start(2).await else { return };
    let customer = replicas.stacks[0].token(Role::Customer).await.expect("a token");
    let agent = replicas.stacks[0].token(Role::Agent).await.expect("a token");
    for _ in 0..5 {
        let (_, made) = replicas.post(0, &customer, "/v1/conversations", json!({ "channel": "web" })).await;
        let id = made["id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/conversations/{id}");
        let (_, escalated) =
            replicas.post(1, &customer, &format!("{path}/escalate"), json!({ "reason": "please" })).await;
        assert_eq!(escalated["status"], "escalated", "{escalated}");
        // Both at once: the message on one replica, the take-over on the other.
        let (messages, assign) = (format!("{path}/messages"), format!("{path}/assign"));
        let say = replicas.post(0, &customer, &messages, json!({ "content": "Are you there?" }));
        let take = replicas.post(1, &agent, &assign, json!({}));
        let (said, (status, taken)) = futures::join!(say, take);
        assert_eq!((said.0, status), (200, 200), "{said:?} {taken}");
        let messages = replicas.messages(0, &agent, &id).await;
        let taken_at = messages.iter().position(|m| {
            m["sender_type"] == "system" && m["content"].as_str().is_some_and(|c| c.contains("has joined"))
        });
        if let Some(at) = taken_at {
            let after: Vec<_> = messages[at + 1..].iter().filter(|m| m["sender_type"] == "ai_agent").collect();
            assert!(after.is_empty(), "the AI spoke after a human took over: {after:?}");
        }
    }
    replicas.stop().await;
}
