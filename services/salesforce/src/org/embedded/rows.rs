//! Rows as records.
use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};
use uuid::Uuid;

use crate::org::{Case, Change, Comment, Contact, Order, Priority, Status};

pub(super) fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn text(row: &SqliteRow, column: &str) -> String {
    row.get::<Option<String>, _>(column).unwrap_or_default()
}

pub(super) fn case_of(row: &SqliteRow) -> Case {
    Case {
        id: text(row, "id"),
        number: text(row, "number"),
        external_id: text(row, "external_id"),
        subject: text(row, "subject"),
        description: text(row, "description"),
        // The table's own checks hold these to the names.
        status: Status::of(&text(row, "status")).unwrap_or(Status::New),
        priority: Priority::of(&text(row, "priority")).unwrap_or(Priority::Medium),
        origin: text(row, "origin"),
        queue: text(row, "queue"),
        contact_id: text(row, "contact_id"),
        sla_deadline: row.get::<Option<i64>, _>("sla_deadline").map(from_micros),
        created: from_micros(row.get("created")),
        updated: from_micros(row.get("updated")),
    }
}

pub(super) fn comment_of(row: &SqliteRow) -> Comment {
    Comment {
        id: text(row, "id"),
        external_id: text(row, "external_id"),
        body: text(row, "body"),
        author: text(row, "author"),
        created: from_micros(row.get("created")),
    }
}

pub(super) fn contact_of(row: &SqliteRow) -> Contact {
    Contact {
        id: text(row, "id"),
        external_id: text(row, "external_id"),
        email: text(row, "email"),
        name: text(row, "name"),
        account_id: text(row, "account_id"),
        account_name: text(row, "account_name"),
    }
}

pub(super) fn order_of(row: &SqliteRow) -> Order {
    Order {
        id: text(row, "id"),
        number: text(row, "number"),
        status: text(row, "status"),
        items: text(row, "items"),
        tracking_url: text(row, "tracking_url"),
        delivery: row.get::<Option<i64>, _>("delivery").map(from_micros),
    }
}

pub(super) fn change_of(org: Uuid, row: &SqliteRow) -> Change {
    let comment = row.get::<Option<String>, _>("comment_id").map(|id| Comment {
        id,
        external_id: text(row, "comment_external_id"),
        body: text(row, "body"),
        author: text(row, "author"),
        created: from_micros(row.get("comment_created")),
    });
    let id = format!("{}-{}", org.simple(), row.get::<i64, _>("change"));
    Change { id, time: from_micros(row.get("time")), case: case_of(row), comment }
}
