//! proto ↔ domain.
use std::sync::Arc;

use serde_json::{Map, Value, json};
use switchboard_proto::{
    convert,
    salesforce::v1 as pb,
    salesforce::v1::{
        change::Kind, get_case_request, get_contact_request, salesforce_service_server::SalesforceService,
    },
    types::v1 as types,
};
use switchboard_runtime::{Caller, Fault, Role, validate::Check};
use tonic::{Request, Response, Status as GrpcStatus};

use crate::{
    id,
    org::{
        Case, CaseChange, CaseKey, Change, Comment, Contact, ContactChange, ContactKey, Export, Order, Org, Person,
        Priority, Status,
    },
};

/// Most characters of a key, a subject, a name: Salesforce's text fields end there.
const SHORT: usize = 255;
/// Most characters of a description.
const DESCRIPTION: usize = 32_000;
/// Most characters of a comment.
const COMMENT: usize = 4_000;
/// Changes in an answer if none are asked for, and at most.
const CHANGES: (u32, u32) = (100, 500);
/// Most addresses of one person.
const EMAILS: usize = 100;
/// Who may export and erase a person: conversation, for an admin's order or with a token of its own.
const KEEPERS: &[Role] = &[Role::Admin, Role::Service];

pub(crate) struct Service<O> {
    pub(crate) org: Arc<O>,
}

#[tonic::async_trait]
impl<O: Org + 'static> SalesforceService for Service<O> {
    async fn upsert_case(
        &self,
        request: Request<pb::UpsertCaseRequest>,
    ) -> Result<Response<pb::UpsertCaseResponse>, GrpcStatus> {
        let caller = Caller::current()?;
        let pb::UpsertCaseRequest { external_id, case } = request.into_inner();
        let mut check = Check::new();
        check.text("external_id", &external_id, 1, SHORT);
        let change = check.required("case", case).map(|case| case_change(&mut check, case));
        check.done()?;
        let written =
            self.org.upsert_case(caller.org, &external_id, &change.unwrap_or_default()).await.map_err(Fault::from)?;
        Ok(Response::new(pb::UpsertCaseResponse {
            case: Some(to_case(written.record, vec![])),
            created: written.created,
        }))
    }

    async fn add_case_comment(
        &self,
        request: Request<pb::AddCaseCommentRequest>,
    ) -> Result<Response<pb::AddCaseCommentResponse>, GrpcStatus> {
        let caller = Caller::current()?;
        let pb::AddCaseCommentRequest { external_id, case_id, body, author } = request.into_inner();
        let mut check = Check::new();
        check.text("external_id", &external_id, 1, SHORT);
        check.text("case_id", &case_id, 1, SHORT);
        check.text("body", &body, 1, COMMENT);
        check.text("author", &author, 0, SHORT);
        check.done()?;
        let key = if id::is_case(&case_id) { CaseKey::Id(case_id) } else { CaseKey::Number(case_id) };
        let author = if author.is_empty() { "Switchboard" } else { &author };
        let written = self.org.add_comment(caller.org, &external_id, &key, author, &body).await.map_err(Fault::from)?;
        Ok(Response::new(pb::AddCaseCommentResponse {
            comment: Some(to_comment(written.record)),
            created: written.created,
        }))
    }

    async fn get_case(
        &self,
        request: Request<pb::GetCaseRequest>,
    ) -> Result<Response<pb::GetCaseResponse>, GrpcStatus> {
        let caller = Caller::current()?;
        let (field, key) = match request.into_inner().key {
            Some(get_case_request::Key::CaseNumber(text)) => ("case_number", CaseKey::Number(text)),
            Some(get_case_request::Key::Id(text)) => ("id", CaseKey::Id(text)),
            Some(get_case_request::Key::ExternalId(text)) => ("external_id", CaseKey::External(text)),
            None => return Err(Fault::field("key", "is required").into()),
        };
        let (CaseKey::Number(text) | CaseKey::Id(text) | CaseKey::External(text)) = &key;
        Check::new().text(field, text, 1, SHORT).done()?;
        let (case, comments) = self.org.case(caller.org, &key).await.map_err(Fault::from)?;
        Ok(Response::new(pb::GetCaseResponse { case: Some(to_case(case, comments)) }))
    }

    async fn upsert_contact(
        &self,
        request: Request<pb::UpsertContactRequest>,
    ) -> Result<Response<pb::UpsertContactResponse>, GrpcStatus> {
        let caller = Caller::current()?;
        let pb::UpsertContactRequest { external_id, contact } = request.into_inner();
        let mut check = Check::new();
        check.text("external_id", &external_id, 1, SHORT);
        let contact = check.required("contact", contact).unwrap_or_default();
        check.text("contact.email", &contact.email, 0, SHORT);
        check.text("contact.name", &contact.name, 0, SHORT);
        check.done()?;
        let change = ContactChange { email: contact.email, name: contact.name };
        let written = self.org.upsert_contact(caller.org, &external_id, &change).await.map_err(Fault::from)?;
        Ok(Response::new(pb::UpsertContactResponse {
            contact: Some(to_contact(written.record)),
            created: written.created,
        }))
    }

    async fn get_contact(
        &self,
        request: Request<pb::GetContactRequest>,
    ) -> Result<Response<pb::GetContactResponse>, GrpcStatus> {
        let caller = Caller::current()?;
        let (field, key) = match request.into_inner().key {
            Some(get_contact_request::Key::Email(text)) => ("email", ContactKey::Email(text)),
            Some(get_contact_request::Key::ExternalId(text)) => ("external_id", ContactKey::External(text)),
            None => return Err(Fault::field("key", "is required").into()),
        };
        let (ContactKey::Email(text) | ContactKey::External(text)) = &key;
        Check::new().text(field, text, 1, SHORT).done()?;
        let contact = self.org.contact(caller.org, &key).await.map_err(Fault::from)?;
        Ok(Response::new(pb::GetContactResponse { contact: Some(to_contact(contact)) }))
    }

    async fn get_order(
        &self,
        request: Request<pb::GetOrderRequest>,
    ) -> Result<Response<pb::GetOrderResponse>, GrpcStatus> {
        let caller = Caller::current()?;
        let number = request.into_inner().order_number;
        Check::new().text("order_number", &number, 1, SHORT).done()?;
        let order = self.org.order(caller.org, &number).await.map_err(Fault::from)?;
        Ok(Response::new(pb::GetOrderResponse { order: Some(to_order(order)) }))
    }

    async fn watch_changes(
        &self,
        request: Request<pb::WatchChangesRequest>,
    ) -> Result<Response<pb::WatchChangesResponse>, GrpcStatus> {
        let caller = Caller::current()?;
        let pb::WatchChangesRequest { cursor, limit } = request.into_inner();
        let (default, most) = CHANGES;
        let limit = if limit == 0 { default } else { limit };
        Check::new().range("limit", limit.into(), 1, most.into()).done()?;
        let changes = self.org.changes(caller.org, &cursor, limit).await.map_err(Fault::from)?;
        let items = changes.items.into_iter().map(to_change).collect();
        Ok(Response::new(pb::WatchChangesResponse { changes: items, next_cursor: changes.next }))
    }

    async fn export_person(
        &self,
        request: Request<pb::ExportPersonRequest>,
    ) -> Result<Response<pb::ExportPersonResponse>, GrpcStatus> {
        let caller = Caller::with_role(KEEPERS)?;
        let pb::ExportPersonRequest { external_id, emails } = request.into_inner();
        let person = person(external_id, emails)?;
        let export = self.org.export_person(caller.org, &person).await.map_err(Fault::from)?;
        Ok(Response::new(pb::ExportPersonResponse { person: Some(convert::to_struct(&to_json(export))) }))
    }

    async fn erase_person(
        &self,
        request: Request<pb::ErasePersonRequest>,
    ) -> Result<Response<pb::ErasePersonResponse>, GrpcStatus> {
        let caller = Caller::with_role(KEEPERS)?;
        let pb::ErasePersonRequest { external_id, emails } = request.into_inner();
        let person = person(external_id, emails)?;
        let erased = self.org.erase_person(caller.org, &person).await.map_err(Fault::from)?;
        let (contacts, cases, comments) = (erased.contacts, erased.cases, erased.comments);
        Ok(Response::new(pb::ErasePersonResponse { contacts, cases, comments }))
    }
}

fn person(external_id: String, emails: Vec<String>) -> Result<Person, Fault> {
    let mut check = Check::new();
    check.text("external_id", &external_id, 1, SHORT);
    if emails.len() > EMAILS {
        check.fail("emails", format!("must be at most {EMAILS}"));
    }
    for email in &emails {
        check.text("emails", email, 1, SHORT);
    }
    check.done()?;
    Ok(Person { external_id, emails })
}

/// An export as the person reads it.
fn to_json(export: Export) -> Map<String, Value> {
    let contacts = export.contacts.into_iter().map(|c| {
        json!({ "id": c.id, "external_id": c.external_id, "email": c.email, "name": c.name, "account_name": c.account_name })
    });
    let comment = |c: Comment| json!({ "author": c.author, "body": c.body, "create_time": c.created.to_string() });
    let cases = export.cases.into_iter().map(|(case, comments)| {
        json!({
            "id": case.id,
            "case_number": case.number,
            "subject": case.subject,
            "description": case.description,
            "status": case.status.name(),
            "priority": case.priority.name(),
            "origin": case.origin,
            "queue": case.queue,
            "create_time": case.created.to_string(),
            "update_time": case.updated.to_string(),
            "comments": comments.into_iter().map(comment).collect::<Vec<_>>(),
        })
    });
    let (contacts, cases) = (contacts.collect::<Vec<_>>(), cases.collect::<Vec<_>>());
    Map::from_iter([("contacts".to_owned(), contacts.into()), ("cases".to_owned(), cases.into())])
}

fn case_change(check: &mut Check, case: pb::Case) -> CaseChange {
    check.text("case.subject", &case.subject, 0, SHORT);
    check.text("case.description", &case.description, 0, DESCRIPTION);
    check.text("case.origin", &case.origin, 0, SHORT);
    check.text("case.queue", &case.queue, 0, SHORT);
    check.text("case.contact_id", &case.contact_id, 0, SHORT);
    let status = Status::of(&case.status);
    if status.is_none() && !case.status.is_empty() {
        check.fail("case.status", format!("must be one of {}", Status::ALL.map(Status::name).join(", ")));
    }
    let sla_deadline = case.sla_deadline.as_ref().and_then(convert::from_timestamp);
    if sla_deadline.is_none() && case.sla_deadline.is_some() {
        check.fail("case.sla_deadline", "is out of range");
    }
    let priority = match types::Priority::try_from(case.priority) {
        Ok(types::Priority::Unspecified) => None,
        Ok(types::Priority::Low) => Some(Priority::Low),
        Ok(types::Priority::Medium) => Some(Priority::Medium),
        Ok(types::Priority::High) => Some(Priority::High),
        Ok(types::Priority::Critical) => Some(Priority::Critical),
        Err(_) => {
            check.fail("case.priority", "is not known");
            None
        }
    };
    CaseChange {
        subject: case.subject,
        description: case.description,
        status,
        priority,
        origin: case.origin,
        queue: case.queue,
        contact_id: case.contact_id,
        sla_deadline,
    }
}

fn to_case(case: Case, comments: Vec<Comment>) -> pb::Case {
    let priority = match case.priority {
        Priority::Low => types::Priority::Low,
        Priority::Medium => types::Priority::Medium,
        Priority::High => types::Priority::High,
        Priority::Critical => types::Priority::Critical,
    };
    pb::Case {
        id: case.id,
        case_number: case.number,
        external_id: case.external_id,
        subject: case.subject,
        description: case.description,
        status: case.status.name().to_owned(),
        priority: priority.into(),
        origin: case.origin,
        queue: case.queue,
        contact_id: case.contact_id,
        sla_deadline: case.sla_deadline.map(convert::timestamp),
        create_time: Some(convert::timestamp(case.created)),
        update_time: Some(convert::timestamp(case.updated)),
        comments: comments.into_iter().map(to_comment).collect(),
    }
}

fn to_comment(comment: Comment) -> pb::CaseComment {
    pb::CaseComment {
        id: comment.id,
        external_id: comment.external_id,
        body: comment.body,
        author: comment.author,
        create_time: Some(convert::timestamp(comment.created)),
    }
}

fn to_contact(contact: Contact) -> pb::Contact {
    pb::Contact {
        id: contact.id,
        external_id: contact.external_id,
        email: contact.email,
        name: contact.name,
        account_id: contact.account_id,
        account_name: contact.account_name,
    }
}

fn to_order(order: Order) -> pb::Order {
    pb::Order {
        id: order.id,
        order_number: order.number,
        status: order.status,
        items: order.items,
        tracking_url: order.tracking_url,
        delivery_time: order.delivery.map(convert::timestamp),
    }
}

fn to_change(change: Change) -> pb::Change {
    let case = to_case(change.case, vec![]);
    let kind = match change.comment {
        Some(comment) => Kind::CommentAdded(pb::CommentAdded { case: Some(case), comment: Some(to_comment(comment)) }),
        None => Kind::CaseChanged(case),
    };
    pb::Change { id: change.id, time: Some(convert::timestamp(change.time)), kind: Some(kind) }
}
