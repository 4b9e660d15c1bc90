//! Notification by gRPC: conversions and checks of what comes in, nothing else.
use std::sync::Arc;

use serde_json::json;
use switchboard_proto::{
    convert,
    notification::v1::{self as pb, notification_service_server::NotificationService, send_request::Content},
};
use switchboard_runtime::{Caller, Fault, Role, caller::STAFF, page, validate::Check};
use tonic::{Request, Response, Status};

use crate::{
    email::{is_address, is_one_line},
    message::{Delivery, Message},
    sender::Sender,
    store::{Person, Position},
};

/// The gRPC side of [`Sender`].
pub struct Grpc(pub Arc<Sender>);

/// Longest idempotency key, as the contract says.
const KEY: usize = 255;
/// Longest subject.
const SUBJECT: usize = 255;
/// Longest text of an email.
const EMAIL_TEXT: usize = 100_000;
/// Longest text of a Slack message.
const SLACK_TEXT: usize = 4_000;
/// Longest channel: Slack's own limit.
const CHANNEL: usize = 80;
/// Longest event type.
const EVENT_TYPE: usize = 100;
/// Largest payload in bytes.
const PAYLOAD: usize = 256 * 1024;
/// Most addresses of one person.
const EMAILS: usize = 100;
/// Who may export and erase a person: conversation, for an admin's order or with a token of its own.
const KEEPERS: &[Role] = &[Role::Admin, Role::Service];

fn delivery(delivery: Delivery) -> pb::Delivery {
    pb::Delivery {
        id: delivery.id.to_string(),
        kind: delivery.kind.name().to_owned(),
        idempotency_key: delivery.key,
        status: delivery.status.name().to_owned(),
        transport: delivery.transport,
        create_time: Some(convert::timestamp(delivery.created)),
    }
}

/// A checked message; what is wrong is noted.
fn message(content: Content, check: &mut Check) -> Message {
    match content {
        Content::Email(pb::Email { to, subject, text }) => {
            if !is_address(&to) {
                check.fail("email.to", "must be one email address, at most 254 characters");
            }
            check.text("email.subject", &subject, 1, SUBJECT);
            if !is_one_line(&subject) {
                check.fail("email.subject", "must be one line without control characters");
            }
            check.text("email.text", &text, 1, EMAIL_TEXT);
            Message::Email { to, subject, text }
        }
        Content::Slack(pb::Slack { channel, text }) => {
            check.text("slack.channel", &channel, 1, CHANNEL);
            if channel.contains(|c: char| c.is_whitespace() || c.is_control()) {
                check.fail("slack.channel", "must be one channel, such as #support");
            }
            check.text("slack.text", &text, 1, SLACK_TEXT);
            Message::Slack { channel, text }
        }
        Content::Webhook(pb::Webhook { event_type, payload_json }) => {
            check.text("webhook.event_type", &event_type, 1, EVENT_TYPE);
            if event_type.contains(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)) {
                check.fail(
                    "webhook.event_type",
                    "must be letters, digits, dots, dashes and underscores, such as conversation.escalated",
                );
            }
            if payload_json.len() > PAYLOAD {
                check.fail("webhook.payload_json", format!("must have at most {PAYLOAD} bytes"));
            } else if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&payload_json).is_err() {
                check.fail("webhook.payload_json", "must be a JSON object");
            }
            Message::Webhook { event_type, payload: payload_json }
        }
    }
}

#[tonic::async_trait]
impl NotificationService for Grpc {
    // Conversation delivers in a customer's turn and forwards the customer's token, so no role is asked for: the mesh lets only
    // the services call that topology.toml names.
    async fn send(&self, request: Request<pb::SendRequest>) -> Result<Response<pb::SendResponse>, Status> {
        let caller = Caller::current()?;
        let request = request.into_inner();
        let mut check = Check::new();
        check.text("idempotency_key", &request.idempotency_key, 1, KEY);
        let content = check.required("content", request.content).map(|content| message(content, &mut check));
        let user = (!request.user_id.is_empty()).then(|| check.uuid("user_id", &request.user_id));
        check.done()?;
        let message = content.ok_or_else(|| Fault::field("content", "is required"))?;
        let sent = self.0.send(caller.org, &request.idempotency_key, &message, user).await.map_err(Fault::from)?;
        let answer = pb::SendResponse { delivery: Some(delivery(sent.delivery)), repeated_key: sent.repeated };
        Ok(Response::new(answer))
    }

    async fn list_deliveries(
        &self,
        request: Request<pb::ListDeliveriesRequest>,
    ) -> Result<Response<pb::ListDeliveriesResponse>, Status> {
        let caller = Caller::with_role(STAFF)?;
        let size = page::size(request.get_ref().page_size)?;
        let after = page::key::<Position>(&request.get_ref().page_token)?;
        // One more than asked for shows whether there is a next page.
        let mut found = self.0.list(caller.org, after, size + 1).await.map_err(Fault::from)?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let next = found.last().filter(|_| more).map(|last| page::token::<Position>(&(last.created, last.id)));
        let deliveries = found.into_iter().map(delivery).collect();
        Ok(Response::new(pb::ListDeliveriesResponse { deliveries, next_page_token: next.unwrap_or_default() }))
    }

    async fn export_person(
        &self,
        request: Request<pb::ExportPersonRequest>,
    ) -> Result<Response<pb::ExportPersonResponse>, Status> {
        let caller = Caller::with_role(KEEPERS)?;
        let pb::ExportPersonRequest { user_id, emails } = request.into_inner();
        let person = person(&user_id, emails)?;
        let export = self.0.export(caller.org, &person).await.map_err(Fault::from)?;
        let deliveries: Vec<_> = export
            .into_iter()
            .map(|(delivery, text)| {
                json!({
                    "id": delivery.id.to_string(),
                    "kind": delivery.kind.name(),
                    "status": delivery.status.name(),
                    "transport": delivery.transport,
                    "create_time": delivery.created.to_string(),
                    "text": text,
                })
            })
            .collect();
        let members = [("deliveries".to_owned(), deliveries.into())].into_iter().collect();
        Ok(Response::new(pb::ExportPersonResponse { person: Some(convert::to_struct(&members)) }))
    }

    async fn erase_person(
        &self,
        request: Request<pb::ErasePersonRequest>,
    ) -> Result<Response<pb::ErasePersonResponse>, Status> {
        let caller = Caller::with_role(KEEPERS)?;
        let pb::ErasePersonRequest { user_id, emails } = request.into_inner();
        let person = person(&user_id, emails)?;
        let erased = self.0.erase(caller.org, &person).await.map_err(Fault::from)?;
        Ok(Response::new(pb::ErasePersonResponse { deliveries: erased.deliveries, texts: erased.texts }))
    }
}

fn person(user_id: &str, emails: Vec<String>) -> Result<Person, Fault> {
    let mut check = Check::new();
    let user = check.uuid("user_id", user_id);
    if emails.len() > EMAILS {
        check.fail("emails", format!("must be at most {EMAILS}"));
    }
    if !emails.iter().all(|email| is_address(email)) {
        check.fail("emails", "must be email addresses, each at most 254 characters");
    }
    check.done()?;
    Ok(Person { user: Some(user), emails })
}
