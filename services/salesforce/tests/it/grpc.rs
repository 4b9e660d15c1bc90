//! The service through its generated client: what it refuses, and what it shows.
use switchboard_proto::{
    convert,
    salesforce::v1::{self as pb, salesforce_service_client::SalesforceServiceClient},
};
use switchboard_runtime::{Fault, Listener, Reason, Role};
use switchboard_salesforce::serve;
use switchboard_testkit::TestMesh;
use uuid::Uuid;

use crate::rig::{A, B, Ground, on_sqlite};

#[tokio::test]
async fn the_service_answers_through_its_client() {
    on_sqlite(answers).await;
}

async fn answers(ground: Ground) {
    let mesh = TestMesh::start().await;
    let (config, host) = (ground.config(true), mesh.host("salesforce"));
    mesh.run(async move |shutdown| serve(config, host, Listener::InProcess, shutdown).await);
    mesh.until_up("salesforce").await;
    let client = SalesforceServiceClient::new(mesh.host("conversation").connect("salesforce").expect("allowed"));
    let user = Uuid::from_u128(7);

    let upsert = |external_id: &str, case: pb::Case| {
        let (mut client, request) =
            (client.clone(), pb::UpsertCaseRequest { external_id: external_id.to_owned(), case: Some(case) });
        mesh.as_user(Role::Customer, A, user, async move { client.upsert_case(request).await })
    };
    let case = pb::Case { subject: "Import fails".into(), priority: 3, ..Default::default() };
    let made = upsert("case:1", case.clone()).await.expect("written").into_inner();
    assert!(made.created);
    assert!(!upsert("case:1", case).await.expect("written").into_inner().created);
    let number = made.case.expect("a case").case_number;

    let mut comments = client.clone();
    let comment = pb::AddCaseCommentRequest {
        external_id: "n".into(),
        case_id: number.clone(),
        body: "Hello.".into(),
        author: String::new(),
    };
    let comment = mesh.as_user(Role::Service, A, user, async move { comments.add_case_comment(comment).await }).await;
    assert_eq!(comment.expect("written").into_inner().comment.expect("a comment").author, "Switchboard");

    let get = |org: Uuid, number: &str| {
        let key = Some(pb::get_case_request::Key::CaseNumber(number.to_owned()));
        let (mut client, request) = (client.clone(), pb::GetCaseRequest { key });
        mesh.as_user(Role::Customer, org, user, async move { client.get_case(request).await })
    };
    let found = get(A, &format!("#{}", number.trim_start_matches('0')))
        .await
        .expect("found")
        .into_inner()
        .case
        .expect("a case");
    assert_eq!((found.subject.as_str(), found.comments.len()), ("Import fails", 1));
    let fault = Fault::from(get(B, &number).await.expect_err("another organization"));
    assert_eq!(fault.reason, Reason::RecordNotFound);

    let fault =
        upsert("", pb::Case { subject: "x".repeat(256), status: "Open".into(), priority: 9, ..Default::default() })
            .await;
    let fault = Fault::from(fault.expect_err("refused"));
    let fields: Vec<_> = fault.fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["external_id", "case.subject", "case.status", "case.priority"]);

    let mut watcher = client.clone();
    let bad = pb::WatchChangesRequest { cursor: "nonsense".into(), limit: 0 };
    let fault = mesh
        .as_user(Role::Service, A, user, async move { watcher.watch_changes(bad).await })
        .await
        .expect_err("refused");
    assert_eq!(Fault::from(fault).fields[0].field, "cursor");

    let mut nobody = client.clone();
    let anonymous = nobody.get_order(pb::GetOrderRequest { order_number: "1".into() }).await.expect_err("refused");
    assert_eq!(Fault::from(anonymous).reason, Reason::Unauthenticated);

    let export = |role: Role, emails: Vec<String>| {
        let request = pb::ExportPersonRequest { external_id: "user:1".into(), emails };
        let mut client = client.clone();
        mesh.as_user(role, A, user, async move { client.export_person(request).await })
    };
    let denied = export(Role::Supervisor, vec![]).await.expect_err("refused");
    assert_eq!(Fault::from(denied).reason, Reason::PermissionDenied);
    let fault = Fault::from(export(Role::Admin, vec!["a@example.com".into(); 101]).await.expect_err("refused"));
    assert_eq!(fault.fields[0].field, "emails");
    let person =
        export(Role::Admin, vec!["lucia.ferrer@example.com".into()]).await.expect("exports").into_inner().person;
    let json = serde_json::Value::Object(convert::from_struct(&person.expect("a person")));
    assert_eq!(json["contacts"][0]["name"], "Lucía Ferrer");
    assert_eq!((&json["cases"][0]["case_number"], &json["cases"][0]["priority"]), (&"00001002".into(), &"High".into()));
    let mut eraser = client.clone();
    let request = pb::ErasePersonRequest { external_id: "user:1".into(), emails: vec![] };
    let denied = mesh.as_user(Role::Agent, A, user, async move { eraser.erase_person(request).await });
    assert_eq!(Fault::from(denied.await.expect_err("refused")).reason, Reason::PermissionDenied);
}
