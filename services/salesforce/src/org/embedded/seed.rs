//! Demo records for a new organization.
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{insert_comment, insert_contact, new_case, next, put_case};
use crate::{
    Error, demo,
    id::{self, Kind},
    number,
    org::Case,
};

/// Makes the demo records. They were there before us, so the change log does not tell of them.
pub(super) async fn seed(tx: &mut SqliteConnection, org: Uuid, now: Timestamp) -> Result<(), Error> {
    let mut accounts = Vec::new();
    for name in demo::ACCOUNTS {
        let id = id::make(org, Kind::Account, next(tx, org, "account").await?);
        let query = sqlx::query("INSERT INTO accounts (org, id, name) VALUES (?, ?, ?)")
            .bind(org.to_string())
            .bind(&id)
            .bind(*name);
        query.execute(&mut *tx).await?;
        accounts.push(id);
    }
    let mut contacts = Vec::new();
    for contact in demo::CONTACTS {
        contacts
            .push(insert_contact(tx, org, None, contact.email, contact.name, Some(&accounts[contact.account])).await?);
    }
    for demo in demo::CASES {
        let made = now.saturating_sub(SignedDuration::from_hours(demo.hours_ago)).unwrap_or(now);
        let n = next(tx, org, "case").await?;
        let case = Case {
            subject: demo.subject.to_owned(),
            description: demo.description.to_owned(),
            status: demo.status,
            priority: demo.priority,
            queue: demo.queue.to_owned(),
            contact_id: contacts[demo.contact].clone(),
            ..new_case(org, n, "", made)
        };
        put_case(tx, org, &case).await?;
        if let Some((author, body)) = demo.comment {
            insert_comment(tx, org, &case.id, None, author, body, made).await?;
        }
    }
    for order in demo::ORDERS {
        let n = next(tx, org, "order").await?;
        let delivery = order.days.and_then(|d| now.checked_add(SignedDuration::from_hours(24 * d)).ok());
        sqlx::query(
            "INSERT INTO orders (org, id, number, plain, digits, status, items, tracking_url, delivery) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(org.to_string())
        .bind(id::make(org, Kind::Order, n))
        .bind(order.number)
        .bind(number::order(order.number))
        .bind(number::digits(order.number))
        .bind(order.status)
        .bind(order.items)
        .bind(order.tracking_url)
        .bind(delivery.map(Timestamp::as_microsecond))
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}
