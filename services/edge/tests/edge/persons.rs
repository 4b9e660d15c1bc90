//! A person's data: a copy of it, and its erasure.
use serde_json::{Value, json};
use switchboard_edge::config::Config;
use switchboard_runtime::Role;

use crate::{
    conversation::NOBODY,
    support::{Client, problem, start},
};

#[tokio::test]
async fn an_export_is_told_and_kept_nowhere() {
    let edge = start(Config { rate: None, ..Config::default() }).await;
    let admin = edge.client(Role::Admin);
    let path = format!("/v1/users/{}/export", admin.user);
    let export = async || {
        let response = admin.request("POST", &path).header("idempotency-key", "k").send().await.expect("an answer");
        assert_eq!((response.status().as_u16(), &response.headers()["cache-control"]), (200, &no_store()));
        assert!(!response.headers().contains_key("idempotency-replayed"));
        response.json::<Value>().await.expect("JSON")
    };
    let first = export().await;
    assert_eq!(first["identity"]["id"], admin.user.to_string());
    assert_ne!(export().await["identity"]["asked"], first["identity"]["asked"]);
    problem(admin.post(&format!("/v1/users/{NOBODY}/export"), json!({})).await, 404).await;
}

fn no_store() -> reqwest::header::HeaderValue {
    reqwest::header::HeaderValue::from_static("no-store")
}

#[tokio::test]
async fn an_erasure_is_accepted_followed_and_completed() {
    let edge = start(Config { rate: None, ..Config::default() }).await;
    let admin = edge.client(Role::Admin);
    let path = format!("/v1/users/{}/erase", uuid::Uuid::now_v7());
    assert_eq!(problem(admin.get(&path).await, 404).await["reason"], "USER_NOT_FOUND");
    let begun = admin.post(&path, json!({})).await;
    assert_eq!(begun.status(), 202);
    let begun: Value = begun.json().await.expect("JSON");
    assert_eq!(
        (&begun["state"], &begun["completed_at"], &begun["receipt"]),
        (&json!("running"), &Value::Null, &Value::Null)
    );
    let step = json!({
        "place": "identity", "state": "running", "attempts": 1, "last_error": "identity cannot be reached",
        "completed_at": null, "removed": 0,
    });
    assert_eq!(begun["steps"], json!([step]));
    let seen: Value = admin.get(&path).await.json().await.expect("JSON");
    assert_eq!(seen, begun);
    let done = admin.post(&path, json!({})).await;
    assert_eq!(done.status(), 200);
    let done: Value = done.json().await.expect("JSON");
    assert_eq!((&done["id"], &done["state"]), (&begun["id"], &json!("completed")));
    assert_eq!(done["receipt"], json!({ "removed": { "identity": 3 } }));
    assert!(done["completed_at"].is_string());
    let seen: Value = admin.get(&path).await.json().await.expect("JSON");
    assert_eq!(seen, done);
}

#[tokio::test]
async fn only_admins_may_and_only_with_an_id_and_nothing_else() {
    let edge = start(Config { rate: None, ..Config::default() }).await;
    let (admin, agent, customer) = (edge.client(Role::Admin), edge.client(Role::Agent), edge.client(Role::Customer));
    for what in ["export", "erase"] {
        let path = format!("/v1/users/{}/{what}", customer.user);
        for who in [&agent, &customer] {
            assert_eq!(problem(who.post(&path, json!({})).await, 403).await["reason"], "PERMISSION_DENIED", "{what}");
        }
        let bad = async |who: &Client, path: &str, body: Value| problem(who.post(path, body).await, 400).await;
        assert_eq!(bad(&admin, &format!("/v1/users/x/{what}"), json!({})).await["errors"][0]["field"], "user_id");
        assert_eq!(bad(&admin, &path, json!({ "sure": true })).await["errors"][0]["field"], "sure");
    }
    problem(agent.get(&format!("/v1/users/{}/erase", customer.user)).await, 403).await;
}
