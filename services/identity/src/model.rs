//! Organizations and users.
//!
//! In and out: values. Never: a password or a token.
use jiff::Timestamp;
use serde_json::{Map, Value};
use switchboard_runtime::Role;
use uuid::Uuid;

/// What an organization or a customer pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Nothing.
    Free,
    /// The usual plan.
    Standard,
    /// The larger plan.
    Professional,
    /// A contract of its own.
    Enterprise,
}

impl Tier {
    const NAMES: [(Tier, &'static str); 4] = [
        (Tier::Free, "free"),
        (Tier::Standard, "standard"),
        (Tier::Professional, "professional"),
        (Tier::Enterprise, "enterprise"),
    ];

    /// As it is stored.
    pub fn name(self) -> &'static str {
        Tier::NAMES[self as usize].1
    }

    /// The tier of a name.
    pub fn of(name: &str) -> Option<Self> {
        Tier::NAMES.iter().find(|(_, n)| *n == name).map(|(tier, _)| *tier)
    }
}

/// A company that uses Switchboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Organization {
    /// Its id.
    pub id: Uuid,
    /// Shown to customers.
    pub name: String,
    /// What it pays for.
    pub tier: Tier,
    /// The Salesforce organization it is connected to; empty if none.
    pub salesforce_org_id: String,
    /// Its settings.
    pub settings: Map<String, Value>,
    /// Whether web visitors may chat without signing in.
    pub guests_allowed: bool,
    /// When it was made.
    pub created: Timestamp,
}

impl Organization {
    /// A new one with nothing set.
    pub fn new(id: Uuid, name: impl Into<String>, created: Timestamp) -> Self {
        Organization {
            id,
            name: name.into(),
            tier: Tier::Standard,
            salesforce_org_id: String::new(),
            settings: Map::new(),
            guests_allowed: false,
            created,
        }
    }
}

/// A person or program of an organization.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Its id.
    pub id: Uuid,
    /// The organization.
    pub org: Uuid,
    /// The id that the organization's own systems use.
    pub external_id: Option<String>,
    /// Lower case; see [`email`].
    pub email: Option<String>,
    /// May be empty.
    pub full_name: String,
    /// What it may do.
    pub role: Role,
    /// What the customer pays for.
    pub tier: Tier,
    /// True for web visitors who never signed in.
    pub guest: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was erased: then nothing but this, the ids, the role and the tier is left.
    pub erased: Option<Timestamp>,
}

impl User {
    /// A new one, known by its id alone.
    pub fn new(id: Uuid, org: Uuid, role: Role, created: Timestamp) -> Self {
        User {
            id,
            org,
            external_id: None,
            email: None,
            full_name: String::new(),
            role,
            tier: Tier::Standard,
            guest: false,
            created,
            erased: None,
        }
    }
}

/// What is said of a user to be made.
#[derive(Debug, Clone)]
pub struct Person {
    /// The id that the organization's own systems use.
    pub external_id: Option<String>,
    /// Lower case; see [`email`].
    pub email: Option<String>,
    /// May be empty.
    pub full_name: String,
    /// What it may do.
    pub role: Role,
    /// What the customer pays for.
    pub tier: Tier,
}

/// The longest address that SMTP can carry.
const LONGEST_EMAIL: usize = 254;

/// An email address as it is stored: lower case. None if it is no single plain address.
///
/// Only a message shows whether an address works, so this refuses what is surely wrong: anything but one `@`, blanks and
/// control characters, a domain without a dot, and what would have to be quoted in a header.
pub fn email(text: &str) -> Option<String> {
    let (local, domain) = text.split_once('@')?;
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"@()<>[]:;,\\\"".contains(c);
    let labels: Vec<_> = domain.split('.').collect();
    let good = !local.is_empty()
        && text.len() <= LONGEST_EMAIL
        && local.chars().chain(domain.chars()).all(plain)
        && labels.len() >= 2
        && labels.iter().all(|label| !label.is_empty());
    good.then(|| text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_has_one_name() {
        for (tier, name) in Tier::NAMES {
            assert_eq!((tier.name(), Tier::of(name)), (name, Some(tier)));
        }
    }

    #[test]
    fn an_address_is_stored_in_lower_case() {
        assert_eq!(email("Jane.Doe@Example.COM").as_deref(), Some("jane.doe@example.com"));
        assert_eq!(email("o'brien+tag@mail.example.co.uk").as_deref(), Some("o'brien+tag@mail.example.co.uk"));
    }

    #[test]
    fn what_is_surely_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(243));
        for bad in [
            "",
            "jane",
            "@example.com",
            "jane@",
            "jane@localhost",
            "jane@.com",
            "jane@example.",
            "jane@ex..com",
            "a@b@c.com",
            "jane doe@example.com",
            "jane@example.com\r\nBcc: x@example.com",
            "a,b@example.com",
            "<a@example.com>",
            "a\0@example.com",
            &long,
        ] {
            assert_eq!(email(bad), None, "{bad:?}");
        }
    }
}
