//! The laws of [`Org`], on the embedded org; and the service through its generated client.
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use switchboard_proto::salesforce::v1::{self as pb, salesforce_service_client::SalesforceServiceClient};
use switchboard_runtime::{Clock, Fault, Listener, Reason, Role};
use switchboard_salesforce::{
    Config, Embedded, Error,
    org::{CaseChange, CaseKey, ContactChange, ContactKey, Org, People, Priority, Status},
    serve,
};
use switchboard_testkit::TestMesh;
use tempfile::TempDir;
use uuid::Uuid;

const A: Uuid = Uuid::from_u128(0xA);
const B: Uuid = Uuid::from_u128(0xB);

async fn embedded(demo: bool) -> (Embedded, Clock, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual("2026-03-02T09:00:00Z".parse().expect("a time"));
    (Embedded::open(folder.path(), demo, clock.clone()).await.expect("opens"), clock, folder)
}

fn broken_import() -> CaseChange {
    CaseChange {
        subject: "Import fails".to_owned(),
        description: "It stops half-way.".to_owned(),
        priority: Some(Priority::High),
        queue: "technical".to_owned(),
        ..CaseChange::default()
    }
}

fn external(id: &str) -> CaseKey {
    CaseKey::External(id.to_owned())
}

/// Runs one law on every adapter there is.
macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        mod embedded_org {
            use super::*;
            $(#[tokio::test]
            async fn $law() {
                let (org, clock, _folder) = embedded(false).await;
                super::$law(&org, &clock).await;
            })*
        }
    };
}
laws![
    the_same_external_id_twice_is_one_record,
    number_and_id_never_change_and_numbers_rise_per_organization,
    what_is_empty_stays_as_it_was,
    a_key_that_no_record_has_is_not_found,
    an_organization_sees_its_own_records_only,
    a_known_contact_is_adopted_not_doubled,
    changes_are_told_once_in_order_and_never_our_own,
];

async fn the_same_external_id_twice_is_one_record(org: &dyn People, clock: &Clock) {
    let first = org.upsert_case(A, "case:1", &broken_import()).await.expect("written");
    clock.advance(SignedDuration::from_secs(5));
    let second = org.upsert_case(A, "case:1", &broken_import()).await.expect("written");
    assert!(first.created && !second.created);
    assert_eq!(first.record, second.record, "a repeated write changes nothing, the time of change neither");

    let key = CaseKey::Number(first.record.number.clone());
    let comment = org.add_comment(A, "note:1", &key, "Switchboard", "Handed over.").await.expect("written");
    let again = org.add_comment(A, "note:1", &key, "Switchboard", "Handed over.").await.expect("written");
    assert!(comment.created && !again.created);
    let (_, comments) = org.case(A, &external("case:1")).await.expect("found");
    assert_eq!(comments, [comment.record]);

    let change = ContactChange { email: "Kim@Example.com".into(), name: "Kim".into() };
    assert!(org.upsert_contact(A, "user:1", &change).await.expect("written").created);
    let again = org.upsert_contact(A, "user:1", &change).await.expect("written");
    assert!(!again.created);
    assert_eq!(again.record.email, "kim@example.com");
}

async fn number_and_id_never_change_and_numbers_rise_per_organization(org: &dyn People, clock: &Clock) {
    let first = org.upsert_case(A, "case:1", &broken_import()).await.expect("written").record;
    let second = org.upsert_case(A, "case:2", &broken_import()).await.expect("written").record;
    let other = org.upsert_case(B, "case:1", &broken_import()).await.expect("written").record;
    assert_eq!(
        (first.number.as_str(), second.number.as_str(), other.number.as_str()),
        ("00001001", "00001002", "00001001")
    );
    assert!(first.id.starts_with("500") && first.id.len() == 18 && first.id != other.id);
    clock.advance(SignedDuration::from_secs(60));
    let closing = CaseChange { status: Some(Status::Closed), ..CaseChange::default() };
    let closed = org.upsert_case(A, "case:1", &closing).await.expect("written").record;
    assert_eq!((&closed.number, &closed.id, closed.created), (&first.number, &first.id, first.created));
    assert_eq!(closed.updated, clock.now());
}

async fn what_is_empty_stays_as_it_was(org: &dyn People, _: &Clock) {
    let deadline: Timestamp = "2026-03-02T10:00:00Z".parse().expect("a time");
    let contact =
        org.upsert_contact(A, "user:1", &ContactChange { email: "kim@example.com".into(), name: "Kim".into() }).await;
    let contact_id = contact.expect("written").record.id;
    let change = CaseChange { contact_id: contact_id.clone(), sla_deadline: Some(deadline), ..broken_import() };
    org.upsert_case(A, "case:1", &change).await.expect("written");
    let escalating = CaseChange { status: Some(Status::Escalated), ..CaseChange::default() };
    let case = org.upsert_case(A, "case:1", &escalating).await.expect("written").record;
    assert_eq!(
        (case.subject.as_str(), case.queue.as_str(), case.priority),
        ("Import fails", "technical", Priority::High)
    );
    assert_eq!((case.contact_id, case.sla_deadline, case.status), (contact_id, Some(deadline), Status::Escalated));
    let renamed =
        org.upsert_contact(A, "user:1", &ContactChange { email: String::new(), name: "Kim Lee".into() }).await;
    let renamed = renamed.expect("written").record;
    assert_eq!((renamed.email.as_str(), renamed.name.as_str()), ("kim@example.com", "Kim Lee"));
}

async fn a_key_that_no_record_has_is_not_found(org: &dyn People, _: &Clock) {
    let keys = [
        CaseKey::Number("00009999".into()),
        CaseKey::Number("my case".into()),
        CaseKey::Id("500".into()),
        external("x"),
    ];
    for key in keys {
        assert!(matches!(org.case(A, &key).await, Err(Error::NotFound { .. })), "{key:?}");
        assert!(matches!(org.add_comment(A, "n", &key, "S", "b").await, Err(Error::NotFound { .. })), "{key:?}");
    }
    assert!(matches!(
        org.contact(A, &ContactKey::Email("nobody@example.com".into())).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(org.contact(A, &ContactKey::Email(String::new())).await, Err(Error::NotFound { .. })));
    assert!(matches!(org.order(A, "BS-999999").await, Err(Error::NotFound { .. })));
    let change = CaseChange { contact_id: "003nobody".into(), ..broken_import() };
    assert!(matches!(org.upsert_case(A, "case:1", &change).await, Err(Error::UnknownContact)));
    assert!(
        matches!(org.case(A, &external("case:1")).await, Err(Error::NotFound { .. })),
        "a refused write leaves nothing"
    );
    assert!(matches!(org.changes(A, "nonsense", 10).await, Err(Error::BadCursor)));
}

async fn an_organization_sees_its_own_records_only(org: &dyn People, _: &Clock) {
    let case = org.upsert_case(A, "case:1", &broken_import()).await.expect("written").record;
    let contact =
        org.upsert_contact(A, "user:1", &ContactChange { email: "kim@example.com".into(), ..Default::default() }).await;
    let contact = contact.expect("written").record;
    org.add_comment(A, "note:1", &external("case:1"), "Switchboard", "For A.").await.expect("written");
    for key in [CaseKey::Number(case.number.clone()), CaseKey::Id(case.id.clone()), external("case:1")] {
        assert!(matches!(org.case(B, &key).await, Err(Error::NotFound { .. })), "{key:?}");
        assert!(matches!(org.human_close(B, &key).await, Err(Error::NotFound { .. })), "{key:?}");
    }
    for key in [ContactKey::Email("kim@example.com".into()), ContactKey::External("user:1".into())] {
        assert!(matches!(org.contact(B, &key).await, Err(Error::NotFound { .. })), "{key:?}");
    }
    let foreign = CaseChange { contact_id: contact.id, ..broken_import() };
    assert!(matches!(org.upsert_case(B, "case:2", &foreign).await, Err(Error::UnknownContact)));
    // The same external ids are other records there.
    let theirs = org
        .upsert_case(B, "case:1", &CaseChange { subject: "Theirs".into(), ..CaseChange::default() })
        .await
        .expect("written");
    assert!(theirs.created);
    assert!(org.add_comment(B, "note:1", &external("case:1"), "Switchboard", "For B.").await.expect("written").created);
    assert_eq!(org.case(A, &external("case:1")).await.expect("found").0.subject, "Import fails");
    org.human_close(B, &external("case:1")).await.expect("closed");
    assert!(org.changes(A, "", 10).await.expect("read").items.is_empty());
}

async fn a_known_contact_is_adopted_not_doubled(org: &dyn People, _: &Clock) {
    let change = ContactChange { email: "kim@example.com".into(), name: "Kim".into() };
    let first = org.upsert_contact(A, "user:1", &change).await.expect("written").record;
    // Another user may have the same address: theirs is a contact of its own.
    let second = org.upsert_contact(A, "user:2", &change).await.expect("written");
    assert!(second.created);
    assert_ne!(second.record.id, first.id);
    assert_eq!(org.contact(A, &ContactKey::Email("KIM@example.com".into())).await.expect("found").id, first.id);
}

async fn changes_are_told_once_in_order_and_never_our_own(org: &dyn People, clock: &Clock) {
    org.upsert_case(A, "case:1", &broken_import()).await.expect("written");
    org.add_comment(A, "note:1", &external("case:1"), "Switchboard", "Ours.").await.expect("written");
    let nothing = org.changes(A, "", 10).await.expect("read");
    assert_eq!((nothing.items.len(), nothing.next.as_str()), (0, ""));

    org.human_comment(A, &external("case:1"), "Dana", "First.").await.expect("written");
    clock.advance(SignedDuration::from_secs(1));
    org.human_comment(A, &external("case:1"), "Dana", "Second.").await.expect("written");
    org.add_comment(A, "note:2", &external("case:1"), "Switchboard", "Ours.").await.expect("written");
    org.human_close(A, &external("case:1")).await.expect("closed");
    org.human_close(A, &external("case:1")).await.expect("closed already");

    let first = org.changes(A, "", 2).await.expect("read");
    let bodies: Vec<_> = first.items.iter().filter_map(|c| c.comment.as_ref()).map(|c| c.body.as_str()).collect();
    assert_eq!(bodies, ["First.", "Second."]);
    let rest = org.changes(A, &first.next, 2).await.expect("read");
    assert_eq!(rest.items.len(), 1);
    assert_eq!((rest.items[0].case.status, &rest.items[0].comment), (Status::Closed, &None));
    let end = org.changes(A, &rest.next, 2).await.expect("read");
    assert_eq!((end.items.len(), &end.next), (0, &rest.next));
    let again = org.changes(A, "", 500).await.expect("read");
    assert_eq!(again.items, [first.items, rest.items].concat(), "the log is kept, the ids are stable");
}

#[tokio::test]
async fn demo_records_are_made_once_whoever_comes_first() {
    let (org, clock, folder) = embedded(true).await;
    let org = Arc::new(org);
    let asks = (0..16).map(|_| {
        let org = org.clone();
        tokio::spawn(async move { org.order(A, "BS-100234").await.map(|o| o.status) })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert_eq!(ask.await.expect("no panic").expect("found"), "Shipped");
    }
    // Another process beside, and a restart.
    let beside = Embedded::open(folder.path(), true, clock).await.expect("opens");
    for (written, status) in
        [("bs 100235", "Processing"), ("#BS-100236", "Delivered"), ("100237", "Cancelled"), ("10023", "Shipped")]
    {
        assert_eq!(beside.order(A, written).await.expect("found").status, status, "{written}");
    }
    let shipped = beside.order(A, "BS-100234").await.expect("found");
    assert!(
        shipped.tracking_url.starts_with("https://") && shipped.delivery.is_some() && shipped.id.starts_with("801")
    );
    for number in ["1001", "#1002", "case 1003", "00001004"] {
        let (case, _) = beside.case(A, &CaseKey::Number(number.into())).await.expect("found");
        assert!(case.external_id.is_empty() && !case.contact_id.is_empty());
    }
    assert!(matches!(beside.case(A, &CaseKey::Number("1005".into())).await, Err(Error::NotFound { .. })));
    assert_eq!(beside.upsert_case(A, "case:1", &broken_import()).await.expect("written").record.number, "00001005");
    assert!(beside.changes(A, "", 10).await.expect("read").items.is_empty());

    // Jane is known; our user is linked to her, and she keeps her account.
    let jane = org
        .upsert_contact(A, "user:jane", &ContactChange { email: "Jane.Doe@example.com".into(), name: String::new() })
        .await;
    let jane = jane.expect("written");
    assert!(!jane.created);
    assert_eq!((jane.record.name.as_str(), jane.record.account_name.as_str()), ("Jane Doe", "Northwind Traders"));
    assert!(jane.record.id.starts_with("003") && jane.record.account_id.starts_with("001"));
}

#[tokio::test]
async fn without_demo_an_organization_starts_empty() {
    let (org, _, _folder) = embedded(false).await;
    assert!(matches!(org.order(A, "BS-100234").await, Err(Error::NotFound { .. })));
    assert!(matches!(org.case(A, &CaseKey::Number("1001".into())).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn the_migration_goes_down_and_up_again() {
    let (org, clock, folder) = embedded(true).await;
    org.order(A, "BS-100234").await.expect("found");
    org.close().await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("salesforce.db"));
    let pool = sqlx::SqlitePool::connect_with(file).await.expect("opens");
    switchboard_salesforce::org::embedded::MIGRATOR.undo(&pool, 0).await.expect("goes down");
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\'",
    )
    .fetch_one(&pool)
    .await
    .expect("counts");
    assert_eq!(left, 0);
    pool.close().await;
    let again = Embedded::open(folder.path(), true, clock).await.expect("goes up");
    again.order(A, "BS-100234").await.expect("found");
}

#[tokio::test]
async fn the_service_answers_through_its_client() {
    let folder = tempfile::tempdir().expect("a folder");
    let mesh = TestMesh::start().await;
    let (config, host) = (Config { data: folder.path().to_owned(), demo: true }, mesh.host("salesforce"));
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
}
