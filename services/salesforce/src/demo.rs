//! The records of a demo organization: enough that every question of the demo flows has an answer.
use crate::org::{Priority, Status};

pub(crate) struct DemoContact {
    pub(crate) email: &'static str,
    pub(crate) name: &'static str,
    /// Place in [`ACCOUNTS`].
    pub(crate) account: usize,
}

pub(crate) struct DemoCase {
    pub(crate) subject: &'static str,
    pub(crate) description: &'static str,
    pub(crate) status: Status,
    pub(crate) priority: Priority,
    pub(crate) queue: &'static str,
    /// Place in [`CONTACTS`].
    pub(crate) contact: usize,
    pub(crate) hours_ago: i64,
    pub(crate) comment: Option<(&'static str, &'static str)>,
}

pub(crate) struct DemoOrder {
    pub(crate) number: &'static str,
    pub(crate) status: &'static str,
    pub(crate) items: &'static str,
    pub(crate) tracking_url: &'static str,
    /// Delivery, in days from when the organization is first seen.
    pub(crate) days: Option<i64>,
}

pub(crate) const ACCOUNTS: &[&str] = &["Northwind Traders", "Juniper & Vale", "Harbor Street Clinic"];

pub(crate) const CONTACTS: &[DemoContact] = &[
    DemoContact { email: "jane.doe@example.com", name: "Jane Doe", account: 0 },
    DemoContact { email: "omar.haddad@example.com", name: "Omar Haddad", account: 0 },
    DemoContact { email: "lucia.ferrer@example.com", name: "Lucía Ferrer", account: 1 },
    DemoContact { email: "tom.becker@example.com", name: "Tom Becker", account: 1 },
    DemoContact { email: "aiko.mori@example.com", name: "Aiko Mori", account: 2 },
    DemoContact { email: "sam.okafor@example.com", name: "Sam Okafor", account: 2 },
];

pub(crate) const CASES: &[DemoCase] = &[
    DemoCase {
        subject: "Import stops at row 512",
        description: "The CSV import of our contacts stops at the same row each time.",
        status: Status::Working,
        priority: Priority::Medium,
        queue: "technical-support",
        contact: 0,
        hours_ago: 30,
        comment: Some(("Support", "The file has a broken line there. We are checking the rest of it.")),
    },
    DemoCase {
        subject: "Charged twice in one month",
        description: "There are two charges for the same invoice on our card.",
        status: Status::Escalated,
        priority: Priority::High,
        queue: "billing-support",
        contact: 2,
        hours_ago: 9,
        comment: None,
    },
    DemoCase {
        subject: "Add ten seats",
        description: "We would like ten more seats from next month on.",
        status: Status::Closed,
        priority: Priority::Low,
        queue: "general-support",
        contact: 4,
        hours_ago: 200,
        comment: Some(("Support", "Ten seats were added.")),
    },
    DemoCase {
        subject: "Webhook deliveries are late",
        description: "Since this morning webhooks arrive some minutes late.",
        status: Status::New,
        priority: Priority::Medium,
        queue: "technical-support",
        contact: 3,
        hours_ago: 2,
        comment: None,
    },
];

pub(crate) const ORDERS: &[DemoOrder] = &[
    DemoOrder {
        number: "BS-100234",
        status: "Shipped",
        items: "2 × Brightfold Scan badge scanner",
        tracking_url: "https://track.example.com/parcels/JD0002100234",
        days: Some(2),
    },
    DemoOrder {
        number: "BS-100235",
        status: "Processing",
        items: "1 × Brightfold Scan badge scanner",
        tracking_url: "",
        days: Some(5),
    },
    DemoOrder {
        number: "BS-100236",
        status: "Delivered",
        items: "4 × Brightfold Scan badge scanner",
        tracking_url: "https://track.example.com/parcels/JD0002100236",
        days: Some(-3),
    },
    DemoOrder {
        number: "BS-100237",
        status: "Cancelled",
        items: "1 × Brightfold Scan badge scanner",
        tracking_url: "",
        days: None,
    },
    DemoOrder {
        number: "10023",
        status: "Shipped",
        items: "1 × Brightfold Scan charging dock",
        tracking_url: "https://track.example.com/parcels/JD0002010023",
        days: Some(1),
    },
];
