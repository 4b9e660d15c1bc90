//! The laws of [`Org`]: on SQLite, on PostgreSQL, and once more through the generated client with PostgreSQL beneath.
use jiff::{SignedDuration, Timestamp};
use switchboard_runtime::Clock;
use switchboard_salesforce::{
    Error,
    org::{CaseChange, CaseKey, ContactChange, ContactKey, Erased, Export, People, Person, Priority, Status},
};

use crate::rig::{A, B, broken_import, external};

/// Runs one law on every adapter there is.
macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $law() {
                crate::rig::on_sqlite(async |ground| super::$law(&ground.org(false).await, &ground.clock).await).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $law() {
                crate::rig::on_postgres(async |ground| super::$law(&ground.org(false).await, &ground.clock).await).await;
            })*
        }

        mod through_the_stub {
            $(#[tokio::test]
            async fn $law() {
                crate::rig::on_postgres(async |ground| {
                    super::$law(&crate::stub::Stub::start(&ground).await, &ground.clock).await;
                })
                .await;
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
    what_a_contact_of_a_case_is_changed_to_keeps_its_comments,
    an_erased_person_s_words_are_gone_and_numbers_stay,
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
    for nobody in ["003nobody", "organization", "index"] {
        let change = CaseChange { contact_id: nobody.into(), ..broken_import() };
        assert!(matches!(org.upsert_case(A, "case:1", &change).await, Err(Error::UnknownContact)), "{nobody}");
    }
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
    let kim = Person { external_id: "user:1".into(), emails: vec!["kim@example.com".into()] };
    assert_eq!(org.export_person(B, &kim).await.expect("answers"), Export::default());
    assert_eq!(org.erase_person(B, &kim).await.expect("answers"), Erased::default());
    assert_eq!(org.contact(A, &ContactKey::External("user:1".into())).await.expect("there").email, "kim@example.com");
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

async fn contact(org: &dyn People, external_id: &str, email: &str, name: &str) -> String {
    let change = ContactChange { email: email.into(), name: name.into() };
    org.upsert_contact(A, external_id, &change).await.expect("written").record.id
}

async fn what_a_contact_of_a_case_is_changed_to_keeps_its_comments(org: &dyn People, _: &Clock) {
    org.upsert_case(A, "case:1", &broken_import()).await.expect("written");
    org.add_comment(A, "note:1", &external("case:1"), "Switchboard", "Of nobody.").await.expect("written");
    for (user, note) in [("user:1", "note:2"), ("user:2", "note:3")] {
        let contact_id = contact(org, user, "", user).await;
        let change = CaseChange { contact_id, ..CaseChange::default() };
        org.upsert_case(A, "case:1", &change).await.expect("written");
        org.add_comment(A, note, &external("case:1"), "Switchboard", user).await.expect("written");
    }
    // The first one's key goes; what is the second one's now stays.
    let first = Person { external_id: "user:1".into(), emails: vec![] };
    let erased = Erased { contacts: 1, cases: 0, comments: 0 };
    assert_eq!(org.erase_person(A, &first).await.expect("erased"), erased);
    let (case, comments) = org.case(A, &external("case:1")).await.expect("opens");
    let said: Vec<_> = comments.iter().map(|c| c.body.as_str()).collect();
    assert_eq!((case.subject.as_str(), said), ("Import fails", vec!["Of nobody.", "user:1", "user:2"]));
    let again = org.add_comment(A, "note:1", &external("case:1"), "Switchboard", "Of nobody.").await.expect("answers");
    assert_eq!((again.created, again.record.body.as_str()), (false, "Of nobody."));
}

async fn an_erased_person_s_words_are_gone_and_numbers_stay(org: &dyn People, _: &Clock) {
    let kim = contact(org, "user:1", "Kim@example.com", "Kim").await;
    let lee = contact(org, "user:2", "kim@example.com", "Lee").await;
    for (key, whose) in [("case:1", &kim), ("case:2", &lee), ("case:3", &kim)] {
        let change = CaseChange { contact_id: whose.clone(), ..broken_import() };
        org.upsert_case(A, key, &change).await.expect("written");
        org.human_comment(A, &external(key), "Dana", key).await.expect("written");
    }
    let (before, _) = org.case(A, &external("case:3")).await.expect("found");
    let person =
        Person { external_id: "user:1".into(), emails: vec!["KIM@example.com".into(), "other@example.com".into()] };
    let export = org.export_person(A, &person).await.expect("exports");
    assert_eq!(export.contacts.len(), 1, "Lee's address is the same, and Lee is somebody else");
    let words = |n: usize| (export.cases[n].0.external_id.clone(), export.cases[n].1[0].body.clone());
    assert_eq!(export.cases.len(), 2);
    assert_eq!((words(0), words(1)), (("case:1".into(), "case:1".into()), ("case:3".into(), "case:3".into())));

    let erased = org.erase_person(A, &person).await.expect("erased");
    assert_eq!(erased, Erased { contacts: 1, cases: 2, comments: 2 });
    let again = org.erase_person(A, &person).await.expect("nothing is left");
    assert_eq!((again, org.export_person(A, &person).await.expect("exports")), (Erased::default(), Export::default()));
    assert!(matches!(org.contact(A, &ContactKey::External("user:1".into())).await, Err(Error::NotFound { .. })));
    let (case, comments) = org.case(A, &CaseKey::Number(before.number.clone())).await.expect("the number stays");
    assert_eq!((&case.id, case.external_id.as_str(), case.status), (&before.id, "case:3", before.status));
    assert_eq!((case.subject.as_str(), case.description.as_str(), case.contact_id.as_str()), ("", "", ""));
    assert_eq!((comments.len(), comments[0].body.as_str(), comments[0].author.as_str()), (1, "", ""));

    let told = org.changes(A, "", 10).await.expect("reads").items;
    assert_eq!(told.iter().map(|c| c.case.external_id.as_str()).collect::<Vec<_>>(), ["case:2"]);
    let (case, comments) = org.case(A, &external("case:2")).await.expect("found");
    assert_eq!((case.contact_id, comments[0].body.as_str()), (lee, "case:2"));
    // Whoever comes back is somebody new.
    assert_ne!(contact(org, "user:1", "kim@example.com", "Kim").await, kim);
}
