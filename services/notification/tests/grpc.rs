//! Notification as other services reach it: through the stub, with all layers.
use std::path::Path;

use switchboard_notification::{Config, serve};
use switchboard_proto::notification::v1::{
    self as pb, notification_service_client::NotificationServiceClient, send_request::Content,
};
use switchboard_runtime::{Fault, Listener, MeshChannel, Role};
use switchboard_testkit::TestMesh;
use tonic::{Response, Status};
use uuid::Uuid;

struct Running {
    mesh: TestMesh,
    client: NotificationServiceClient<MeshChannel>,
    data: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mesh = TestMesh::start().await;
        let (config, host) = (Config { data: data.path().to_owned() }, mesh.host("notification"));
        mesh.run(async move |shutdown| serve(config, host, Listener::InProcess, shutdown).await);
        mesh.until_up("notification").await;
        let channel = mesh.host("conversation").connect("notification").expect("allowed");
        Running { mesh, client: NotificationServiceClient::new(channel), data }
    }

    async fn ask<T>(
        &self,
        role: Role,
        org: Uuid,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Fault> {
        self.mesh.as_user(role, org, Uuid::now_v7(), call).await.map(Response::into_inner).map_err(Fault::from)
    }
}

fn email(to: &str, subject: &str, text: &str) -> Option<Content> {
    Some(Content::Email(pb::Email { to: to.into(), subject: subject.into(), text: text.into() }))
}

fn slack(channel: &str, text: &str) -> Option<Content> {
    Some(Content::Slack(pb::Slack { channel: channel.into(), text: text.into() }))
}

fn webhook(event_type: &str, payload: &str) -> Option<Content> {
    Some(Content::Webhook(pb::Webhook { event_type: event_type.into(), payload_json: payload.into() }))
}

fn request(key: &str, content: Option<Content>) -> pb::SendRequest {
    pb::SendRequest { idempotency_key: key.into(), content }
}

fn outbox(data: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(data.join("outbox")).into_iter().flatten();
    let mut files: Vec<_> = entries
        .map(|e| e.expect("an entry"))
        .map(|e| (e.file_name().into_string().expect("text"), std::fs::read_to_string(e.path()).expect("reads")))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn each_kind_becomes_a_file() {
    let at = Running::start().await;
    let (mut client, org) = (at.client.clone(), Uuid::now_v7());
    for (key, content) in [
        ("1", email("jane@example.com", "Grüße", "Hello Jane")),
        ("2", slack("#support", "help")),
        ("3", webhook("conversation.escalated", "{\"id\": 7}")),
    ] {
        let sent = at.ask(Role::Customer, org, client.send(request(key, content))).await.expect("delivers");
        let delivery = sent.delivery.expect("one");
        assert_eq!(
            (sent.repeated_key, delivery.status.as_str(), delivery.transport.as_str()),
            (false, "delivered", "file")
        );
        assert_eq!(delivery.idempotency_key, key);
    }
    let files = outbox(at.data.path());
    assert!(files[0].0.ends_with(".eml") && files[0].0.contains("-email-"), "{}", files[0].0);
    assert!(files[0].1.contains("To: jane@example.com\r\nSubject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n"), "{}", files[0].1);
    assert!(files[1].0.ends_with(".slack.json") && files[1].1.contains("#support"));
    assert!(files[2].0.ends_with(".webhook.json") && files[2].1.contains("{\"id\": 7}"));
    let again =
        at.ask(Role::Service, org, client.send(request("1", email("jane@example.com", "Grüße", "Hello Jane")))).await;
    assert!(again.expect("answers").repeated_key);
    assert_eq!(outbox(at.data.path()), files);
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_leaves_nothing() {
    let at = Running::start().await;
    let (mut client, org) = (at.client.clone(), Uuid::now_v7());
    let (key, long) = ("k".repeat(256), "x".repeat(100_001));
    let big = format!("{{\"a\": \"{}\"}}", "x".repeat(256 * 1024));
    for (key, content, field) in [
        ("", slack("#a", "x"), "idempotency_key"),
        (key.as_str(), slack("#a", "x"), "idempotency_key"),
        ("k", None, "content"),
        ("k", email("jane@example.com\r\nBcc: all@example.com", "x", "x"), "email.to"),
        ("k", email("a@example.com, b@example.com", "x", "x"), "email.to"),
        ("k", email("jane", "x", "x"), "email.to"),
        ("k", email("a@example.com", "x\r\nBcc: all@example.com", "x"), "email.subject"),
        ("k", email("a@example.com", "x\nx", "x"), "email.subject"),
        ("k", email("a@example.com", "", "x"), "email.subject"),
        ("k", email("a@example.com", &long[..256], "x"), "email.subject"),
        ("k", email("a@example.com", "x", ""), "email.text"),
        ("k", email("a@example.com", "x", &long), "email.text"),
        ("k", slack("", "x"), "slack.channel"),
        ("k", slack("#a b", "x"), "slack.channel"),
        ("k", slack("#a", &long[..4001]), "slack.text"),
        ("k", webhook("", "{}"), "webhook.event_type"),
        ("k", webhook("a/../b", "{}"), "webhook.event_type"),
        ("k", webhook("a.b", ""), "webhook.payload_json"),
        ("k", webhook("a.b", "[]"), "webhook.payload_json"),
        ("k", webhook("a.b", "{} {}"), "webhook.payload_json"),
        ("k", webhook("a.b", &big), "webhook.payload_json"),
    ] {
        let fault = at.ask(Role::Service, org, client.send(request(key, content))).await.expect_err(field);
        assert_eq!((fault.name(), fault.fields[0].field.as_str()), ("VALIDATION_FAILED", field));
    }
    assert_eq!(outbox(at.data.path()), []);
    let listed = at.ask(Role::Agent, org, client.list_deliveries(pb::ListDeliveriesRequest::default())).await;
    assert_eq!(listed.expect("answers").deliveries, []);
    at.ask(Role::Service, org, client.send(request("k", email("a@example.com", &long[..255], &long[..100_000]))))
        .await
        .expect("the most");
}

#[tokio::test]
async fn staff_lists_its_own_organization_newest_first() {
    let at = Running::start().await;
    let (mut client, org, other) = (at.client.clone(), Uuid::now_v7(), Uuid::now_v7());
    for n in 0..5 {
        at.ask(Role::Service, org, client.send(request(&n.to_string(), slack("#a", "x")))).await.expect("delivers");
    }
    at.ask(Role::Service, other, client.send(request("theirs", slack("#a", "x")))).await.expect("delivers");
    let (mut seen, mut token, mut pages) = (vec![], String::new(), 0);
    loop {
        let ask = pb::ListDeliveriesRequest { page_size: 2, page_token: token };
        let page = at.ask(Role::Agent, org, client.list_deliveries(ask)).await.expect("answers");
        seen.extend(page.deliveries.into_iter().map(|d| d.idempotency_key));
        pages += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((seen, pages), (vec!["4".to_owned(), "3".into(), "2".into(), "1".into(), "0".into()], 3));
    let denied = at.ask(Role::Customer, org, client.list_deliveries(pb::ListDeliveriesRequest::default())).await;
    assert_eq!(denied.expect_err("refused").name(), "PERMISSION_DENIED");
    for (page_size, page_token, field) in [(201, "", "page_size"), (2, "forged", "page_token")] {
        let ask = pb::ListDeliveriesRequest { page_size, page_token: page_token.into() };
        assert_eq!(
            at.ask(Role::Agent, org, client.list_deliveries(ask)).await.expect_err("refused").fields[0].field,
            field
        );
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let at = Running::start().await;
    let status = at.client.clone().send(request("k", slack("#a", "x"))).await.expect_err("refused");
    assert_eq!(Fault::from(status).name(), "UNAUTHENTICATED");
    assert_eq!(outbox(at.data.path()), []);
}
