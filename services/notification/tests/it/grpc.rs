//! Notification as other services reach it: through the stub, with all layers.
use jiff::SignedDuration;
use switchboard_notification::serve;
use switchboard_proto::{
    convert,
    notification::v1::{self as pb, notification_service_client::NotificationServiceClient, send_request::Content},
};
use switchboard_runtime::{Fault, Listener, MeshChannel, Role};
use switchboard_testkit::TestMesh;
use tonic::{Response, Status};
use uuid::Uuid;

use crate::rig::{Ground, on_both};

on_both![
    each_kind_becomes_a_file,
    what_is_wrong_is_refused_and_leaves_nothing,
    staff_lists_its_own_organization_newest_first,
    without_a_token_nothing_is_sent,
    a_person_is_exported_and_erased,
];

struct Running {
    mesh: TestMesh,
    client: NotificationServiceClient<MeshChannel>,
    ground: Ground,
}

impl Running {
    async fn start(ground: Ground) -> Self {
        let mesh = TestMesh::start_at(ground.clock.clone()).await;
        let (config, host) = (ground.config(), mesh.host("notification"));
        mesh.run(async move |shutdown| serve(config, host, Listener::InProcess, shutdown).await);
        mesh.until_up("notification").await;
        let channel = mesh.host("conversation").connect("notification").expect("allowed");
        Running { mesh, client: NotificationServiceClient::new(channel), ground }
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
    pb::SendRequest { idempotency_key: key.into(), content, user_id: String::new() }
}

async fn each_kind_becomes_a_file(ground: Ground) {
    let at = Running::start(ground).await;
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
    let files = at.ground.outbox();
    assert!(files[0].0.ends_with(".eml") && files[0].0.contains("-email-"), "{}", files[0].0);
    assert!(files[0].1.contains("To: jane@example.com\r\nSubject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n"), "{}", files[0].1);
    assert!(files[1].0.ends_with(".slack.json") && files[1].1.contains("#support"));
    assert!(files[2].0.ends_with(".webhook.json") && files[2].1.contains("{\"id\": 7}"));
    let again =
        at.ask(Role::Service, org, client.send(request("1", email("jane@example.com", "Grüße", "Hello Jane")))).await;
    assert!(again.expect("answers").repeated_key);
    assert_eq!(at.ground.outbox(), files);
}

async fn what_is_wrong_is_refused_and_leaves_nothing(ground: Ground) {
    let at = Running::start(ground).await;
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
    assert_eq!(at.ground.outbox(), []);
    let listed = at.ask(Role::Agent, org, client.list_deliveries(pb::ListDeliveriesRequest::default())).await;
    assert_eq!(listed.expect("answers").deliveries, []);
    at.ask(Role::Service, org, client.send(request("k", email("a@example.com", &long[..255], &long[..100_000]))))
        .await
        .expect("the most");
}

async fn staff_lists_its_own_organization_newest_first(ground: Ground) {
    let at = Running::start(ground).await;
    let (mut client, org, other) = (at.client.clone(), Uuid::now_v7(), Uuid::now_v7());
    for n in 0..5 {
        at.ground.clock.advance(SignedDuration::from_millis(1));
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

async fn without_a_token_nothing_is_sent(ground: Ground) {
    let at = Running::start(ground).await;
    let status = at.client.clone().send(request("k", slack("#a", "x"))).await.expect_err("refused");
    assert_eq!(Fault::from(status).name(), "UNAUTHENTICATED");
    assert_eq!(at.ground.outbox(), []);
}

async fn a_person_is_exported_and_erased(ground: Ground) {
    let at = Running::start(ground).await;
    let (mut client, org, kim) = (at.client.clone(), Uuid::now_v7(), Uuid::now_v7().to_string());
    for (key, user_id, content) in [
        ("1", "", email("Kim@example.com", "Hello", "To Kim")),
        ("2", kim.as_str(), slack("#support", "About Kim")),
        ("3", kim.as_str(), webhook("conversation.escalated", "{}")),
        ("4", "", email("lee@example.com", "Hello", "To Lee")),
    ] {
        at.ground.clock.advance(SignedDuration::from_millis(1));
        let send = pb::SendRequest { user_id: user_id.into(), ..request(key, content) };
        at.ask(Role::Service, org, client.send(send)).await.expect("delivers");
    }
    let emails = vec!["kim@example.com".to_owned()];
    let export = pb::ExportPersonRequest { user_id: kim.clone(), emails: emails.clone() };
    let erase = pb::ErasePersonRequest { user_id: kim, emails };
    let json = |answer: pb::ExportPersonResponse| {
        convert::from_struct(&answer.person.expect("a person"))["deliveries"].clone()
    };
    let found = json(at.ask(Role::Admin, org, client.export_person(export.clone())).await.expect("exports"));
    let kinds: Vec<_> = found.as_array().expect("a list").iter().map(|d| d["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("email"), Some("slack"), Some("webhook")]);
    assert!(
        found[0]["text"].as_str().is_some_and(|text| text.contains("To: Kim@example.com") && text.contains("To Kim"))
    );
    assert_eq!((found[1]["status"].as_str(), found[1]["transport"].as_str()), (Some("delivered"), Some("file")));
    assert!(found[1]["create_time"].as_str().is_some_and(|time| time.starts_with("2026-03-02T09:00:00")));

    let foreign = at.ask(Role::Service, Uuid::now_v7(), client.erase_person(erase.clone())).await.expect("answers");
    assert_eq!(foreign, pb::ErasePersonResponse { deliveries: 0, texts: 0 });
    for role in [Role::Customer, Role::Supervisor] {
        let denied = at.ask(role, org, client.export_person(export.clone())).await.expect_err("refused");
        assert_eq!(denied.name(), "PERMISSION_DENIED");
        let denied = at.ask(role, org, client.erase_person(erase.clone())).await.expect_err("refused");
        assert_eq!(denied.name(), "PERMISSION_DENIED");
    }
    let bad = pb::ErasePersonRequest { user_id: "kim".into(), emails: vec!["kim".into(); 101] };
    let fault = at.ask(Role::Admin, org, client.erase_person(bad)).await.expect_err("refused");
    let fields: Vec<_> = fault.fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["user_id", "emails", "emails"]);
    assert_eq!(at.ground.outbox().len(), 4);

    let erased = at.ask(Role::Service, org, client.erase_person(erase.clone())).await.expect("erases");
    assert_eq!(erased, pb::ErasePersonResponse { deliveries: 3, texts: 3 });
    let again = at.ask(Role::Service, org, client.erase_person(erase)).await.expect("erases");
    assert_eq!(again, pb::ErasePersonResponse { deliveries: 0, texts: 0 });
    let left = at.ground.outbox();
    assert!(left.len() == 1 && left[0].1.contains("To Lee"), "{left:?}");
    let listed = at.ask(Role::Agent, org, client.list_deliveries(pb::ListDeliveriesRequest::default())).await;
    assert_eq!(
        listed.expect("answers").deliveries.iter().map(|d| d.idempotency_key.as_str()).collect::<Vec<_>>(),
        ["4"]
    );
}
