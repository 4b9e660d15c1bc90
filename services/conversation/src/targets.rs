//! What actions do outside: the port, and the services of the mesh behind it.
//!
//! In: an action, what it is done with, and the key that makes it once. Out: what came of it. Never: a decision, a retry.
use std::collections::BTreeMap;

use async_trait::async_trait;
use switchboard_proto::{
    convert,
    identity::v1::{StartPasswordResetRequest, identity_service_client::IdentityServiceClient},
    notification::v1 as notify,
    notification::v1::{notification_service_client::NotificationServiceClient, send_request::Content},
    salesforce::v1 as sf,
    salesforce::v1::salesforce_service_client::SalesforceServiceClient,
};
use switchboard_runtime::{Fault, MeshChannel, Reason};
use uuid::Uuid;

use crate::mind::to_priority;
use crate::model::Priority;

/// What came of an action, for the reply's `{action.NAME}` places.
pub type Outcome = BTreeMap<String, String>;

/// One action to carry out.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// Kind.
    pub action_type: &'a str,
    /// With what.
    pub parameters: &'a BTreeMap<String, String>,
    /// The same on every try.
    pub key: &'a str,
    /// The conversation it is for.
    pub conversation: Uuid,
    /// The customer.
    pub user: Uuid,
}

/// Carries actions out.
#[async_trait]
pub trait Targets: Send + Sync {
    /// Does it. A fault that is retryable may be tried again with the same key.
    async fn carry_out(&self, order: Order<'_>) -> Result<Outcome, Fault>;
    /// What people did in Salesforce after a cursor: changes, and where to go on.
    async fn changes(&self, cursor: &str) -> Result<(Vec<Change>, String), Fault>;
}

/// What a person did in Salesforce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Wrote a comment on a case.
    Comment {
        /// The case.
        case_number: String,
        /// The words.
        body: String,
        /// Stable id, to apply it once.
        id: String,
    },
    /// Closed a case.
    Closed {
        /// The case.
        case_number: String,
    },
}

/// The services of the mesh.
pub struct MeshTargets {
    /// To salesforce.
    pub salesforce: MeshChannel,
    /// To notification.
    pub notification: MeshChannel,
    /// To identity.
    pub identity: MeshChannel,
    /// Where customers reach the edge, for links in mails.
    pub public_url: String,
}

#[async_trait]
impl Targets for MeshTargets {
    async fn carry_out(&self, order: Order<'_>) -> Result<Outcome, Fault> {
        match order.action_type {
            "create_case" => self.create_case(&order).await,
            "add_case_comment" => self.comment(&order).await,
            "lookup_case" => self.lookup_case(&order).await,
            "lookup_order" => self.lookup_order(&order).await,
            "password_reset" => self.password_reset(&order).await,
            "send_email" => {
                let email = notify::Email {
                    to: take(&order, "to")?,
                    subject: take(&order, "subject")?,
                    text: take(&order, "text")?,
                };
                self.send(&order, Content::Email(email)).await
            }
            "notify_slack" => {
                let slack = notify::Slack { channel: take(&order, "channel")?, text: take(&order, "text")? };
                self.send(&order, Content::Slack(slack)).await
            }
            "call_webhook" => {
                let payload = serde_json::to_string(order.parameters).unwrap_or_default();
                let webhook = notify::Webhook { event_type: take(&order, "event_type")?, payload_json: payload };
                self.send(&order, Content::Webhook(webhook)).await
            }
            other => Err(Fault::new(
                Reason::NotImplemented,
                format!("There is no action `{other}`. Mend the policy bundle."),
            )),
        }
    }

    async fn changes(&self, cursor: &str) -> Result<(Vec<Change>, String), Fault> {
        let request = sf::WatchChangesRequest { cursor: cursor.to_owned(), limit: 100 };
        let answer = self.salesforce().watch_changes(request).await?.into_inner();
        let mut changes = Vec::new();
        for change in answer.changes {
            match change.kind {
                Some(sf::change::Kind::CommentAdded(added)) => {
                    let case_number = added.case.map(|c| c.case_number).unwrap_or_default();
                    let body = added.comment.map(|c| c.body).unwrap_or_default();
                    changes.push(Change::Comment { case_number, body, id: change.id });
                }
                Some(sf::change::Kind::CaseChanged(case)) if case.status == "Closed" => {
                    changes.push(Change::Closed { case_number: case.case_number });
                }
                _ => {}
            }
        }
        Ok((changes, answer.next_cursor))
    }
}

fn take(order: &Order<'_>, name: &str) -> Result<String, Fault> {
    order
        .parameters
        .get(name)
        .filter(|v| !v.is_empty())
        .cloned()
        .ok_or_else(|| Fault::field(name, format!("the action {} needs it; mend the policy bundle", order.action_type)))
}

impl MeshTargets {
    fn salesforce(&self) -> SalesforceServiceClient<MeshChannel> {
        SalesforceServiceClient::new(self.salesforce.clone())
    }

    async fn create_case(&self, order: &Order<'_>) -> Result<Outcome, Fault> {
        let get = |name: &str| order.parameters.get(name).cloned().unwrap_or_default();
        let contact = sf::UpsertContactRequest {
            external_id: order.user.to_string(),
            contact: Some(sf::Contact { email: get("email"), ..Default::default() }),
        };
        let contact = self.salesforce().upsert_contact(contact).await?.into_inner().contact.unwrap_or_default();
        let priority = match get("priority").as_str() {
            "low" => Priority::Low,
            "high" => Priority::High,
            "critical" => Priority::Critical,
            _ => Priority::Medium,
        };
        let case = sf::Case {
            subject: take(order, "subject")?,
            description: get("description"),
            status: if get("status").is_empty() { "New".to_owned() } else { get("status") },
            priority: to_priority(priority).into(),
            origin: get("origin"),
            queue: get("queue"),
            contact_id: contact.id,
            sla_deadline: get("sla_deadline").parse().ok().map(convert::timestamp),
            ..Default::default()
        };
        let request = sf::UpsertCaseRequest { external_id: order.key.to_owned(), case: Some(case) };
        let case = self.salesforce().upsert_case(request).await?.into_inner().case.unwrap_or_default();
        Ok([("case_number".to_owned(), case.case_number), ("case_id".to_owned(), case.id)].into())
    }

    async fn comment(&self, order: &Order<'_>) -> Result<Outcome, Fault> {
        let request = sf::AddCaseCommentRequest {
            external_id: order.key.to_owned(),
            case_id: take(order, "case_number")?,
            body: take(order, "body")?,
            author: order.parameters.get("author").cloned().unwrap_or_default(),
        };
        let comment = self.salesforce().add_case_comment(request).await?.into_inner().comment.unwrap_or_default();
        Ok([("comment_id".to_owned(), comment.id)].into())
    }

    async fn lookup_case(&self, order: &Order<'_>) -> Result<Outcome, Fault> {
        let key = Some(sf::get_case_request::Key::CaseNumber(take(order, "case_number")?));
        let case = self.salesforce().get_case(sf::GetCaseRequest { key }).await?.into_inner().case.unwrap_or_default();
        let updated =
            case.update_time.as_ref().and_then(convert::from_timestamp).map(|t| t.strftime("%B %-d").to_string());
        Ok([
            ("case_number".to_owned(), case.case_number),
            ("status".to_owned(), case.status),
            // Not the subject: whoever knows a number learns how far the case is, and no more.
            ("updated".to_owned(), updated.unwrap_or_default()),
        ]
        .into())
    }

    async fn lookup_order(&self, order: &Order<'_>) -> Result<Outcome, Fault> {
        let request = sf::GetOrderRequest { order_number: take(order, "order_number")? };
        let found = self.salesforce().get_order(request).await?.into_inner().order.unwrap_or_default();
        let day =
            found.delivery_time.as_ref().and_then(convert::from_timestamp).map(|t| t.strftime("%B %-d").to_string());
        // Whoever knows a number learns how far the order is, and no more: not what is in it, nor where it goes.
        let details = match (&day, found.status.as_str()) {
            (Some(day), "Delivered") => format!("It was delivered on {day}."),
            (Some(day), "Shipped" | "Processing") => format!("It should arrive on {day}."),
            // A text cannot have a place for what may be empty.
            _ => "There is no delivery date for it.".to_owned(),
        };
        Ok([
            ("order_number".to_owned(), found.order_number),
            ("status".to_owned(), found.status.to_lowercase()),
            ("details".to_owned(), details),
        ]
        .into())
    }

    /// Two steps under one key: identity makes the token, notification sends it; each is once by itself.
    async fn password_reset(&self, order: &Order<'_>) -> Result<Outcome, Fault> {
        let email = take(order, "email")?;
        // identity wants a UUID: the same one for the same key.
        let request_id = uuid_of(order.key).to_string();
        let mut identity = IdentityServiceClient::new(self.identity.clone());
        let started = identity
            .start_password_reset(StartPasswordResetRequest { request_id, email: email.clone() })
            .await?
            .into_inner();
        if started.known {
            let name =
                if started.full_name.is_empty() { "Hello".to_owned() } else { format!("Hello {}", started.full_name) };
            let text = format!(
                "{name},\n\nsomebody asked for a new password for this address. If it was you, choose one here within an hour:\n\n\
                 {}/reset#token={}\n\nIf it was not you, do nothing: your password stays as it is.\n",
                self.public_url, started.reset_token
            );
            let mail = notify::Email { to: email, subject: "Choose a new password".to_owned(), text };
            self.send(order, Content::Email(mail)).await?;
        }
        // Nothing that tells whether the address is known may reach the reply.
        Ok(Outcome::new())
    }

    async fn send(&self, order: &Order<'_>, content: Content) -> Result<Outcome, Fault> {
        let (idempotency_key, user_id) = (order.key.to_owned(), order.user.to_string());
        let request = notify::SendRequest { idempotency_key, content: Some(content), user_id };
        let mut client = NotificationServiceClient::new(self.notification.clone());
        let delivery = client.send(request).await?.into_inner().delivery.unwrap_or_default();
        Ok([("delivery_id".to_owned(), delivery.id)].into())
    }
}

/// A UUID that is always the same for the same key.
fn uuid_of(key: &str) -> Uuid {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(key.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
