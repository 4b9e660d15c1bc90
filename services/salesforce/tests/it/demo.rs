//! Demo records, made once whoever comes first.
use std::sync::Arc;

use switchboard_salesforce::{
    Error,
    org::{CaseKey, ContactChange, ContactKey, Org, Person},
};

use crate::rig::{A, Ground, broken_import, on_postgres, on_sqlite};

#[tokio::test]
async fn demo_records_are_made_once_on_sqlite() {
    on_sqlite(made_once).await;
}

#[tokio::test]
async fn demo_records_are_made_once_on_postgres() {
    on_postgres(made_once).await;
}

async fn made_once(ground: Ground) {
    let (org, other) = (Arc::new(ground.org(true).await), Arc::new(ground.org(true).await));
    let asks = (0..16).map(|n| {
        let org = if n % 2 == 0 { org.clone() } else { other.clone() };
        tokio::spawn(async move { org.order(A, "BS-100234").await.map(|o| o.status) })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert_eq!(ask.await.expect("no panic").expect("found"), "Shipped");
    }
    let beside = ground.org(true).await;
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

    // Who is no user of ours is found by address alone.
    let omar = Person { external_id: "user:omar".into(), emails: vec!["Omar.Haddad@example.com".into()] };
    assert_eq!(org.export_person(A, &omar).await.expect("exports").contacts[0].name, "Omar Haddad");
    assert_eq!(beside.erase_person(A, &omar).await.expect("erased").contacts, 1);
    let gone = org.contact(A, &ContactKey::Email("omar.haddad@example.com".into())).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn without_demo_an_organization_starts_empty() {
    on_sqlite(async |ground| {
        let org = ground.org(false).await;
        assert!(matches!(org.order(A, "BS-100234").await, Err(Error::NotFound { .. })));
        assert!(matches!(org.case(A, &CaseKey::Number("1001".into())).await, Err(Error::NotFound { .. })));
    })
    .await;
}
