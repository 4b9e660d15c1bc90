//! Demo records for a new organization.
use jiff::SignedDuration;

use super::work::Work;
use crate::{
    Error, demo,
    id::{self, Kind},
    number,
    org::Case,
    store::Value,
};

/// Makes the demo records. They were there before us, so the change log does not tell of them.
pub(super) async fn seed(work: &mut Work<'_>) -> Result<(), Error> {
    let mut accounts = Vec::new();
    for name in demo::ACCOUNTS {
        let id = id::make(work.org, Kind::Account, work.next("account").await?);
        let sql = "INSERT INTO accounts (organization_id, id, name) VALUES ($1, $2, $3)";
        work.rows(sql, &[Value::Text(&id), Value::Text(name)]).await?;
        accounts.push(id);
    }
    let mut contacts = Vec::new();
    for contact in demo::CONTACTS {
        contacts.push(work.insert_contact("", (contact.email, contact.name), &accounts[contact.account]).await?);
    }
    for demo in demo::CASES {
        let made = work.now.saturating_sub(SignedDuration::from_hours(demo.hours_ago)).unwrap_or(work.now);
        let case = Case {
            subject: demo.subject.to_owned(),
            description: demo.description.to_owned(),
            status: demo.status,
            priority: demo.priority,
            queue: demo.queue.to_owned(),
            contact_id: contacts[demo.contact].clone(),
            ..work.new_case("", made).await?
        };
        let key = work.put_case(&case).await?;
        if let Some(words) = demo.comment {
            work.insert_comment(&case.id, &key, "", words, made).await?;
        }
    }
    for order in demo::ORDERS {
        let id = id::make(work.org, Kind::Order, work.next("order").await?);
        let (plain, digits) = (number::order(order.number), number::digits(order.number));
        let delivery = order.days.and_then(|d| work.now.checked_add(SignedDuration::from_hours(24 * d)).ok());
        let values = [
            Value::Text(&id),
            Value::Text(order.number),
            Value::Text(&plain),
            Value::Text(&digits),
            Value::Text(order.status),
            Value::Text(order.items),
            Value::Text(order.tracking_url),
            Value::Time(delivery),
        ];
        let sql = "INSERT INTO orders (organization_id, id, number, plain, digits, status, items, tracking_url, delivery_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        work.rows(sql, &values).await?;
    }
    Ok(())
}
