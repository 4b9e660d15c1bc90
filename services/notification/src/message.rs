//! Notifications and what is kept of them.
//!
//! In and out: values. Never: a store or a target.
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// What is to be said, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// An email.
    Email {
        /// One address.
        to: String,
        /// One line.
        subject: String,
        /// Plain text.
        text: String,
    },
    /// A Slack message.
    Slack {
        /// The channel.
        channel: String,
        /// The text.
        text: String,
    },
    /// A webhook call.
    Webhook {
        /// Such as `conversation.escalated`.
        event_type: String,
        /// A JSON object as text.
        payload: String,
    },
}

impl Message {
    /// What kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Message::Email { .. } => Kind::Email,
            Message::Slack { .. } => Kind::Slack,
            Message::Webhook { .. } => Kind::Webhook,
        }
    }

    /// The address of the one person whom it goes to.
    pub fn address(&self) -> Option<&str> {
        match self {
            Message::Email { to, .. } => Some(to),
            Message::Slack { .. } | Message::Webhook { .. } => None,
        }
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$one:meta])* $variant:ident = $name:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type { $($(#[$one])* $variant),* }

        impl $type {
            /// As it is stored and shown.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name),* }
            }

            /// The one of a name.
            pub fn of(name: &str) -> Option<Self> {
                match name { $($name => Some($type::$variant),)* _ => None }
            }
        }
    };
}

named! {
    /// Kinds of notifications.
    Kind {
        /// By email.
        Email = "email",
        /// By Slack.
        Slack = "slack",
        /// By webhook.
        Webhook = "webhook",
    }
}

named! {
    /// How far a delivery is.
    Status {
        /// Begun; or its process died, and nobody has looked yet what became of it.
        Delivering = "delivering",
        /// The target took it.
        Delivered = "delivered",
        /// The target did not take it; it may be tried again.
        Failed = "failed",
    }
}

/// What is kept of a notification: not what was said, and not to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: Uuid,
    /// The organization.
    pub org: Uuid,
    /// The caller's key.
    pub key: String,
    /// What kind.
    pub kind: Kind,
    /// How far.
    pub status: Status,
    /// How it went out.
    pub transport: String,
    /// When it was first asked for.
    pub created: Timestamp,
}

impl Delivery {
    /// What stands for the organization and the key at the target: the same on every retry, and nothing that somebody chose.
    pub fn mark(&self) -> String {
        mark(self.org, &self.key)
    }
}

/// See [`Delivery::mark`]. 64 bits: with the time beside it no two meet.
pub fn mark(org: Uuid, key: &str) -> String {
    let hash = Sha256::new().chain_update(org.as_bytes()).chain_update(key.as_bytes()).finalize();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_one_of_organization_and_key() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(mark(a, "k"), mark(a, "k"));
        assert!(mark(a, "k") != mark(b, "k") && mark(a, "k") != mark(a, "l"));
        assert_eq!(mark(a, "../../etc/passwd").len(), 16);
    }

    #[test]
    fn names_are_read_back() {
        for kind in [Kind::Email, Kind::Slack, Kind::Webhook] {
            assert_eq!(Kind::of(kind.name()), Some(kind));
        }
        assert_eq!((Status::of("failed"), Status::of("else")), (Some(Status::Failed), None));
    }
}
