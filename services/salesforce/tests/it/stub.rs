//! The service on PostgreSQL, seen through its generated client, as an [`Org`]: for the laws it is one adapter more.
use jiff::Timestamp;
use switchboard_proto::{
    convert,
    salesforce::v1::{self as pb, salesforce_service_client::SalesforceServiceClient},
    types::v1 as types,
};
use switchboard_runtime::{Fault, Listener, MeshChannel, Reason, Role};
use switchboard_salesforce::{
    Embedded, Error,
    org::{
        Case, CaseChange, CaseKey, Change, Changes, Comment, Contact, ContactChange, ContactKey, Erased, Export, Order,
        Org, People, Person, Priority, Status, Written,
    },
    serve,
};
use switchboard_testkit::TestMesh;
use tonic::{Response, Status as RpcStatus};
use uuid::Uuid;

use crate::rig::Ground;

/// The client, and a second replica beside the service, for what people do by hand.
pub struct Stub {
    mesh: TestMesh,
    client: SalesforceServiceClient<MeshChannel>,
    beside: Embedded,
}

impl Stub {
    pub async fn start(ground: &Ground) -> Self {
        let mesh = TestMesh::start_at(ground.clock.clone()).await;
        let (config, host) = (ground.config(false), mesh.host("salesforce"));
        mesh.run(async move |shutdown| serve(config, host, Listener::InProcess, shutdown).await);
        mesh.until_up("salesforce").await;
        let client = SalesforceServiceClient::new(mesh.host("conversation").connect("salesforce").expect("allowed"));
        Stub { mesh, client, beside: ground.org(false).await }
    }

    async fn ask<T>(
        &self,
        org: Uuid,
        call: impl Future<Output = Result<Response<T>, RpcStatus>> + Send,
    ) -> Result<T, Error> {
        let answer = self.mesh.as_user(Role::Service, org, Uuid::from_u128(7), call).await;
        answer.map(Response::into_inner).map_err(|status| error(&Fault::from(status)))
    }
}

fn error(fault: &Fault) -> Error {
    let field = fault.fields.first().map(|f| f.field.as_str()).unwrap_or_default();
    match (fault.reason, field) {
        // What cannot be a key at all is refused before anybody looks.
        (Reason::RecordNotFound, _) | (_, "email" | "case_number" | "id" | "external_id") => {
            Error::NotFound { what: "record", key: "key" }
        }
        (_, "case.contact_id") => Error::UnknownContact,
        (_, "cursor") => Error::BadCursor,
        _ => panic!("{fault}"),
    }
}

fn time(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    time.as_ref().and_then(convert::from_timestamp)
}

fn case(case: Option<pb::Case>) -> (Case, Vec<Comment>) {
    let case = case.expect("a case");
    let read = Case {
        priority: match case.priority() {
            types::Priority::Low => Priority::Low,
            types::Priority::High => Priority::High,
            types::Priority::Critical => Priority::Critical,
            _ => Priority::Medium,
        },
        id: case.id,
        number: case.case_number,
        external_id: case.external_id,
        subject: case.subject,
        description: case.description,
        status: Status::of(&case.status).expect("a status"),
        origin: case.origin,
        queue: case.queue,
        contact_id: case.contact_id,
        sla_deadline: time(case.sla_deadline),
        created: time(case.create_time).expect("a time"),
        updated: time(case.update_time).expect("a time"),
    };
    (read, case.comments.into_iter().map(comment).collect())
}

fn comment(c: pb::CaseComment) -> Comment {
    let created = time(c.create_time).expect("a time");
    Comment { id: c.id, external_id: c.external_id, body: c.body, author: c.author, created }
}

fn contact(c: Option<pb::Contact>) -> Contact {
    let c = c.expect("a contact");
    let (account_id, account_name) = (c.account_id, c.account_name);
    Contact { id: c.id, external_id: c.external_id, email: c.email, name: c.name, account_id, account_name }
}

#[async_trait::async_trait]
impl Org for Stub {
    async fn upsert_case(&self, org: Uuid, external_id: &str, change: &CaseChange) -> Result<Written<Case>, Error> {
        let change = change.clone();
        let priority = change.priority.map_or(types::Priority::Unspecified, |priority| match priority {
            Priority::Low => types::Priority::Low,
            Priority::Medium => types::Priority::Medium,
            Priority::High => types::Priority::High,
            Priority::Critical => types::Priority::Critical,
        });
        let wanted = pb::Case {
            subject: change.subject,
            description: change.description,
            status: change.status.map(Status::name).unwrap_or_default().to_owned(),
            priority: priority.into(),
            origin: change.origin,
            queue: change.queue,
            contact_id: change.contact_id,
            sla_deadline: change.sla_deadline.map(convert::timestamp),
            ..pb::Case::default()
        };
        let request = pb::UpsertCaseRequest { external_id: external_id.to_owned(), case: Some(wanted) };
        let answer = self.ask(org, self.client.clone().upsert_case(request)).await?;
        Ok(Written { record: case(answer.case).0, created: answer.created })
    }

    async fn add_comment(
        &self,
        org: Uuid,
        external_id: &str,
        case: &CaseKey,
        author: &str,
        body: &str,
    ) -> Result<Written<Comment>, Error> {
        let case_id = match case {
            CaseKey::Number(text) | CaseKey::Id(text) => text.clone(),
            CaseKey::External(_) => self.case(org, case).await?.0.id,
        };
        let (external_id, body, author) = (external_id.to_owned(), body.to_owned(), author.to_owned());
        let request = pb::AddCaseCommentRequest { external_id, case_id, body, author };
        let answer = self.ask(org, self.client.clone().add_case_comment(request)).await?;
        Ok(Written { record: comment(answer.comment.expect("a comment")), created: answer.created })
    }

    async fn case(&self, org: Uuid, key: &CaseKey) -> Result<(Case, Vec<Comment>), Error> {
        use pb::get_case_request::Key;
        let key = Some(match key.clone() {
            CaseKey::Number(text) => Key::CaseNumber(text),
            CaseKey::Id(text) => Key::Id(text),
            CaseKey::External(text) => Key::ExternalId(text),
        });
        Ok(case(self.ask(org, self.client.clone().get_case(pb::GetCaseRequest { key })).await?.case))
    }

    async fn upsert_contact(
        &self,
        org: Uuid,
        external_id: &str,
        change: &ContactChange,
    ) -> Result<Written<Contact>, Error> {
        let wanted = pb::Contact { email: change.email.clone(), name: change.name.clone(), ..pb::Contact::default() };
        let request = pb::UpsertContactRequest { external_id: external_id.to_owned(), contact: Some(wanted) };
        let answer = self.ask(org, self.client.clone().upsert_contact(request)).await?;
        Ok(Written { record: contact(answer.contact), created: answer.created })
    }

    async fn contact(&self, org: Uuid, key: &ContactKey) -> Result<Contact, Error> {
        use pb::get_contact_request::Key;
        let key = Some(match key.clone() {
            ContactKey::Email(text) => Key::Email(text),
            ContactKey::External(text) => Key::ExternalId(text),
        });
        Ok(contact(self.ask(org, self.client.clone().get_contact(pb::GetContactRequest { key })).await?.contact))
    }

    async fn order(&self, org: Uuid, number: &str) -> Result<Order, Error> {
        let request = pb::GetOrderRequest { order_number: number.to_owned() };
        let o = self.ask(org, self.client.clone().get_order(request)).await?.order.expect("an order");
        let (number, delivery) = (o.order_number, time(o.delivery_time));
        Ok(Order { id: o.id, number, status: o.status, items: o.items, tracking_url: o.tracking_url, delivery })
    }

    async fn changes(&self, org: Uuid, cursor: &str, limit: u32) -> Result<Changes, Error> {
        let request = pb::WatchChangesRequest { cursor: cursor.to_owned(), limit };
        let answer = self.ask(org, self.client.clone().watch_changes(request)).await?;
        let items = answer.changes.into_iter().map(|change| {
            let (about, said) = match change.kind.expect("a kind") {
                pb::change::Kind::CaseChanged(about) => (Some(about), None),
                pb::change::Kind::CommentAdded(added) => (added.case, added.comment),
            };
            let time = time(change.time).expect("a time");
            Change { id: change.id, time, case: case(about).0, comment: said.map(comment) }
        });
        Ok(Changes { items: items.collect(), next: answer.next_cursor })
    }

    /// What a person reads has no form of ours: what it says is looked at in `grpc.rs`. Here it is known by its numbers.
    async fn export_person(&self, org: Uuid, person: &Person) -> Result<Export, Error> {
        let Person { external_id, emails } = person.clone();
        let request = pb::ExportPersonRequest { external_id, emails };
        let answer = self.ask(org, self.client.clone().export_person(request)).await?;
        let json = convert::from_struct(&answer.person.expect("a person"));
        let mut export = Export::default();
        for contact in json["contacts"].as_array().expect("contacts") {
            let key = ContactKey::Email(contact["email"].as_str().expect("an address").to_owned());
            export.contacts.push(self.contact(org, &key).await?);
        }
        for case in json["cases"].as_array().expect("cases") {
            let key = CaseKey::Number(case["case_number"].as_str().expect("a number").to_owned());
            let found = self.case(org, &key).await?;
            let said: Vec<_> =
                case["comments"].as_array().expect("comments").iter().map(|c| c["body"].as_str()).collect();
            assert_eq!(said, found.1.iter().map(|c| Some(c.body.as_str())).collect::<Vec<_>>());
            export.cases.push(found);
        }
        Ok(export)
    }

    async fn erase_person(&self, org: Uuid, person: &Person) -> Result<Erased, Error> {
        let Person { external_id, emails } = person.clone();
        let request = pb::ErasePersonRequest { external_id, emails };
        let answer = self.ask(org, self.client.clone().erase_person(request)).await?;
        Ok(Erased { contacts: answer.contacts, cases: answer.cases, comments: answer.comments })
    }
}

#[async_trait::async_trait]
impl People for Stub {
    async fn human_comment(&self, org: Uuid, case: &CaseKey, author: &str, body: &str) -> Result<Comment, Error> {
        self.beside.human_comment(org, case, author, body).await
    }

    async fn human_close(&self, org: Uuid, case: &CaseKey) -> Result<Case, Error> {
        self.beside.human_close(org, case).await
    }
}
