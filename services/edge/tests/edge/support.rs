//! The edge over a mesh in this process, with a small conversation service that keeps state as the real one does.
use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, StreamExt as _};
use serde_json::Value;
use switchboard_edge::config::Config;
use switchboard_errors::{Fault, Reason};
use switchboard_proto::{
    conversation::v1::{self as pb, conversation_service_server as server},
    convert::{from_struct, to_struct},
    events::v1::{self as events, conversation_event::Kind},
    types::v1::{Priority, Rung},
};
use switchboard_runtime::{Caller, Clock, Listener, Role, page, server::Served};
use switchboard_testkit::TestMesh;
use tokio::{net::TcpListener, sync::broadcast};
use tonic::{Request, Response, Status, service::Routes};
use uuid::Uuid;

pub struct Edge {
    pub mesh: TestMesh,
    pub address: SocketAddr,
    pub org: Uuid,
    pub http: reqwest::Client,
}

/// Somebody who calls.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub address: SocketAddr,
    pub token: String,
    pub user: Uuid,
}

pub async fn start(config: Config) -> Edge {
    start_at(config, Clock::system()).await
}

pub async fn start_at(config: Config, clock: Clock) -> Edge {
    let mesh = TestMesh::start_at(clock).await;
    let host = mesh.host("conversation");
    let served = Served {
        routes: Routes::new(server::ConversationServiceServer::new(Fake {
            clock: mesh.clock.clone(),
            all: Arc::default(),
            repeated: Arc::default(),
        })),
        services: &["switchboard.conversation.v1.ConversationService"],
        public: &[],
        verifier: mesh.verifier(),
        condition: switchboard_runtime::Condition::well(),
    };
    mesh.run(async move |stop| switchboard_runtime::server::serve(served, &host, Listener::InProcess, stop).await);
    mesh.until_up("conversation").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let host = mesh.host("edge");
    mesh.run(async move |stop| switchboard_edge::serve(config, host, Listener::Tcp(listener), stop).await);
    Edge { mesh, address, org: Uuid::now_v7(), http: reqwest::Client::new() }
}

impl Edge {
    pub fn client(&self, role: Role) -> Client {
        let user = Uuid::now_v7();
        let token = self.mesh.token(role, self.org, user);
        Client { http: self.http.clone(), address: self.address, token, user }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Client {
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, format!("http://{}{path}", self.address)).bearer_auth(&self.token)
    }

    pub async fn post(&self, path: &str, body: Value) -> reqwest::Response {
        self.request("POST", path).json(&body).send().await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.request("GET", path).send().await.expect("an answer")
    }

    /// A new conversation's id.
    pub async fn create(&self) -> String {
        let response = self.post("/v1/conversations", serde_json::json!({ "channel": "web" })).await;
        assert_eq!(response.status(), 201);
        let body: Value = response.json().await.expect("JSON");
        body["id"].as_str().expect("an id").to_owned()
    }

    pub async fn say(&self, conversation: &str, content: &str) -> Value {
        let response = self
            .post(&format!("/v1/conversations/{conversation}/messages"), serde_json::json!({ "content": content }))
            .await;
        assert_eq!(response.status(), 200);
        response.json().await.expect("JSON")
    }
}

/// Checks that an answer is a whole problem with this status, and returns it.
pub async fn problem(response: reqwest::Response, status: u16) -> Value {
    let headers = response.headers().clone();
    let code = response.status().as_u16();
    let text = response.text().await.expect("a body");
    assert_eq!(code, status, "{text}");
    assert_eq!(headers["content-type"], "application/problem+json", "{text}");
    let body: Value = serde_json::from_str(&text).expect("JSON");
    for key in ["type", "title", "status", "detail", "instance", "reason", "trace_id"] {
        assert!(!body[key].is_null(), "{key} is missing: {text}");
    }
    assert_eq!(body["status"], status);
    assert_eq!(body["trace_id"].as_str().map(str::len), Some(32));
    body
}

// ---------------------------------------------------------------- the conversation service

/// What colleagues write for each other about a hand-off.
pub const INTERNAL: &str = "for colleagues only";

struct One {
    org: Uuid,
    conversation: pb::Conversation,
    context: serde_json::Map<String, Value>,
    escalation: Option<events::Escalation>,
    events: Vec<events::ConversationEvent>,
    outcomes: HashMap<String, (String, events::TurnOutcome)>,
    live: broadcast::Sender<pb::SubscribeResponse>,
}

struct Fake {
    clock: Clock,
    all: Arc<Mutex<HashMap<String, One>>>,
    repeated: Arc<tokio::sync::Notify>,
}

/// A message whose events come at once, but whose call returns only when it was sent again.
pub const ANSWERED_LATE: &str = "answered late";

fn not_found() -> Fault {
    Fault::new(Reason::ConversationNotFound, "There is no such conversation.")
}

impl One {
    fn add(&mut self, clock: &Clock, kind: impl FnOnce(u64) -> Kind) -> u64 {
        let seq = self.conversation.seq + 1;
        self.conversation.seq = seq;
        let event = events::ConversationEvent {
            id: clock.new_id().to_string(),
            organization_id: self.conversation.organization_id.clone(),
            conversation_id: self.conversation.id.clone(),
            seq,
            time: Some(switchboard_proto::convert::timestamp(clock.now())),
            kind: Some(kind(seq)),
        };
        self.events.push(event.clone());
        // Nobody watching is fine.
        let _ = self.live.send(pb::SubscribeResponse { kind: Some(pb::subscribe_response::Kind::Event(event)) });
        seq
    }

    fn message(&self, clock: &Clock, seq: u64, sender: events::SenderType, content: &str) -> events::Message {
        events::Message {
            id: clock.new_id().to_string(),
            conversation_id: self.conversation.id.clone(),
            seq,
            sender_type: sender.into(),
            content: content.to_owned(),
            content_type: events::ContentType::Text.into(),
            create_time: Some(switchboard_proto::convert::timestamp(clock.now())),
            ..events::Message::default()
        }
    }

    fn messages(&self) -> Vec<events::Message> {
        let message = |e: &events::ConversationEvent| match &e.kind {
            Some(Kind::MessageAdded(added)) => added.message.clone(),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    fn turn(
        &mut self,
        clock: &Clock,
        ask: &pb::ProcessMessageRequest,
        sender: events::SenderType,
    ) -> events::TurnOutcome {
        let mut stored = self.message(clock, 0, sender, &ask.content);
        stored.attachments = ask.attachments.clone();
        let user_message_id = stored.id.clone();
        let client_message_id = ask.client_message_id.clone();
        let seq = self.add(clock, move |seq| {
            stored.seq = seq;
            Kind::MessageAdded(events::MessageAdded { message: Some(stored), client_message_id, outcome: None })
        });
        let mut outcome = events::TurnOutcome {
            user_message_id,
            conversation_id: self.conversation.id.clone(),
            seq,
            intent: "export_data".to_owned(),
            confidence: 0.9,
            status: self.conversation.status,
            owner: self.conversation.owner,
            language: "en".to_owned(),
            escalation: self.escalation.clone(),
            ..events::TurnOutcome::default()
        };
        if sender != events::SenderType::User || self.conversation.owner == i32::from(events::Owner::Human) {
            return outcome;
        }
        let mut reply = self.message(clock, 0, events::SenderType::AiAgent, &format!("You said: {}", ask.content));
        outcome.message_id = reply.id.clone();
        outcome.response = Some(reply.content.clone());
        outcome.rung = Rung::Extract.into();
        outcome.seq = seq + 1;
        let told = outcome.clone();
        self.add(clock, move |seq| {
            reply.seq = seq;
            Kind::MessageAdded(events::MessageAdded {
                message: Some(reply),
                client_message_id: String::new(),
                outcome: Some(told),
            })
        });
        outcome
    }
}

impl Fake {
    fn all(&self) -> MutexGuard<'_, HashMap<String, One>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, id: &str, work: impl FnOnce(&mut One, &Caller) -> Result<T, Fault>) -> Result<T, Fault> {
        let caller = Caller::current()?;
        let mut all = self.all();
        let mine = |one: &&mut One| {
            one.org == caller.org && (caller.is_staff() || one.conversation.user_id == caller.user.to_string())
        };
        work(all.get_mut(id).filter(mine).ok_or_else(not_found)?, &caller)
    }
}

type Watched = Pin<Box<dyn Stream<Item = Result<pb::SubscribeResponse, Status>> + Send>>;

macro_rules! conversation_service {
    ({$($played:tt)*} $($name:ident: $request:ident => $response:ident;)*) => {
        #[tonic::async_trait]
        impl server::ConversationService for Fake {
            $($played)*
            $(async fn $name(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err(Fault::new(Reason::NotImplemented, "not played").into())
            })*
        }
    };
}
conversation_service! {
    {
        type SubscribeStream = Watched;

        async fn create_conversation(&self, r: Request<pb::CreateConversationRequest>) -> Result<Response<pb::CreateConversationResponse>, Status> {
            let (caller, ask) = (Caller::current()?, r.into_inner());
            let user_id = if ask.user_id.is_empty() { caller.user.to_string() } else { ask.user_id.clone() };
            let now = Some(switchboard_proto::convert::timestamp(self.clock.now()));
            let conversation = pb::Conversation {
                id: self.clock.new_id().to_string(),
                user_id,
                organization_id: caller.org.to_string(),
                channel: ask.channel,
                status: events::ConversationStatus::Active.into(),
                owner: events::Owner::Ai.into(),
                metadata: ask.metadata.clone(),
                create_time: now,
                last_activity_time: now,
                ..pb::Conversation::default()
            };
            let mut one = One {
                org: caller.org,
                conversation: conversation.clone(),
                context: serde_json::Map::new(),
                escalation: None,
                events: vec![],
                outcomes: HashMap::new(),
                live: broadcast::channel(64).0,
            };
            let reply = ask.initial_message.map(|content| {
                let ask = pb::ProcessMessageRequest { content, ..pb::ProcessMessageRequest::default() };
                one.turn(&self.clock, &ask, events::SenderType::User)
            });
            self.all().insert(conversation.id.clone(), one);
            Ok(Response::new(pb::CreateConversationResponse { conversation: Some(conversation), reply, repeated_request: false }))
        }

        async fn process_message(&self, r: Request<pb::ProcessMessageRequest>) -> Result<Response<pb::ProcessMessageResponse>, Status> {
            let ask = r.into_inner();
            let mut again = false;
            let outcome = self.with(&ask.conversation_id, |one, caller| {
                if let Some((content, outcome)) = one.outcomes.get(&ask.client_message_id).filter(|_| !ask.client_message_id.is_empty()) {
                    if *content != ask.content {
                        return Err(Fault::new(Reason::MessageIdReused, "This client_message_id was used with other content."));
                    }
                    again = true;
                    return Ok(outcome.clone());
                }
                let sender = if caller.role == Role::Customer { events::SenderType::User } else { events::SenderType::HumanAgent };
                let outcome = one.turn(&self.clock, &ask, sender);
                one.outcomes.insert(ask.client_message_id.clone(), (ask.content.clone(), outcome.clone()));
                Ok(outcome)
            })?;
            match (ask.content == ANSWERED_LATE, again) {
                (true, false) => self.repeated.notified().await,
                (true, true) => self.repeated.notify_one(),
                (false, _) => {}
            }
            Ok(Response::new(pb::ProcessMessageResponse { outcome: Some(outcome) }))
        }

        async fn get_conversation_state(&self, r: Request<pb::GetConversationStateRequest>) -> Result<Response<pb::GetConversationStateResponse>, Status> {
            let state = self.with(&r.get_ref().conversation_id, |one, _| {
                Ok(pb::GetConversationStateResponse {
                    conversation: Some(one.conversation.clone()),
                    messages: one.messages(),
                    context: Some(to_struct(&one.context)),
                    escalation: one.escalation.clone(),
                    ..pb::GetConversationStateResponse::default()
                })
            })?;
            Ok(Response::new(state))
        }

        async fn list_messages(&self, r: Request<pb::ListMessagesRequest>) -> Result<Response<pb::ListMessagesResponse>, Status> {
            let ask = r.into_inner();
            let size = page::size(ask.page_size)? as usize;
            let after = page::key::<u64>(&ask.page_token)?.unwrap_or_default().max(ask.after_seq);
            let page = self.with(&ask.conversation_id, |one, _| {
                let mut messages: Vec<_> = one.messages().into_iter().filter(|m| m.seq > after).collect();
                let more = messages.len() > size;
                messages.truncate(size);
                let next_page_token = messages.last().filter(|_| more).map(|m| page::token(&m.seq)).unwrap_or_default();
                Ok(pb::ListMessagesResponse { messages, next_page_token })
            })?;
            Ok(Response::new(page))
        }

        async fn update_context(&self, r: Request<pb::UpdateContextRequest>) -> Result<Response<pb::UpdateContextResponse>, Status> {
            let ask = r.into_inner();
            let answer = self.with(&ask.conversation_id, |one, _| {
                if ask.expected_seq != one.conversation.seq {
                    return Err(Fault::new(Reason::Stale, "It was changed in the meantime."));
                }
                one.context.extend(ask.patch.as_ref().map(from_struct).unwrap_or_default());
                one.conversation.seq += 1;
                Ok(pb::UpdateContextResponse { context: Some(to_struct(&one.context)), seq: one.conversation.seq })
            })?;
            Ok(Response::new(answer))
        }

        async fn subscribe(&self, r: Request<pb::SubscribeRequest>) -> Result<Response<Watched>, Status> {
            let ask = r.into_inner();
            let stream = self.with(&ask.conversation_id, |one, _| {
                let live = one.live.subscribe();
                let past: Vec<_> = one.events.iter().filter(|e| ask.after_seq.is_some_and(|after| e.seq > after)).cloned().collect();
                let joined = pb::subscribe_response::Kind::Joined(one.conversation.clone());
                let past = past.into_iter().map(pb::subscribe_response::Kind::Event);
                let first = futures::stream::iter([joined].into_iter().chain(past)).map(|kind| Ok(pb::SubscribeResponse { kind: Some(kind) }));
                let live = futures::stream::unfold(live, |mut live| async move { Some((Ok(live.recv().await.ok()?), live)) });
                Ok(first.chain(live).boxed())
            })?;
            Ok(Response::new(stream))
        }

        async fn escalate(&self, r: Request<pb::EscalateRequest>) -> Result<Response<pb::EscalateResponse>, Status> {
            let ask = r.into_inner();
            let answer = self.with(&ask.conversation_id, |one, _| {
                one.conversation.status = events::ConversationStatus::Escalated.into();
                one.conversation.owner = events::Owner::None.into();
                let escalation = events::Escalation {
                    reason: ask.reason.clone(),
                    priority: Priority::High.into(),
                    queue_name: "billing".to_owned(),
                    summary: INTERNAL.to_owned(),
                    resolution_notes: INTERNAL.to_owned(),
                    resolved_by: INTERNAL.to_owned(),
                    ..events::Escalation::default()
                };
                one.escalation = Some(escalation.clone());
                let change = events::StatusChanged {
                    status: one.conversation.status,
                    owner: one.conversation.owner,
                    reason: ask.reason.clone(),
                    escalation: Some(escalation.clone()),
                };
                one.add(&self.clock, |_| Kind::StatusChanged(change));
                Ok(pb::EscalateResponse { conversation: Some(one.conversation.clone()), escalation: Some(escalation) })
            })?;
            Ok(Response::new(answer))
        }

        async fn assign(&self, r: Request<pb::AssignRequest>) -> Result<Response<pb::AssignResponse>, Status> {
            Caller::with_role(switchboard_runtime::caller::STAFF)?;
            let conversation = self.with(&r.get_ref().conversation_id, |one, caller| {
                one.conversation.owner = events::Owner::Human.into();
                one.conversation.assigned_to = caller.user.to_string();
                let mut told = one.message(&self.clock, 0, events::SenderType::System, "A human agent has joined.");
                one.add(&self.clock, move |seq| {
                    told.seq = seq;
                    Kind::MessageAdded(events::MessageAdded { message: Some(told), ..events::MessageAdded::default() })
                });
                Ok(one.conversation.clone())
            })?;
            Ok(Response::new(pb::AssignResponse { conversation: Some(conversation) }))
        }

        async fn list_conversations(&self, _: Request<pb::ListConversationsRequest>) -> Result<Response<pb::ListConversationsResponse>, Status> {
            let user = Caller::current()?.user.to_string();
            let all = self.all();
            let conversations = all.values().map(|one| one.conversation.clone()).filter(|c| c.user_id == user).collect();
            Ok(Response::new(pb::ListConversationsResponse { conversations, next_page_token: String::new() }))
        }

        async fn list_queue(&self, _: Request<pb::ListQueueRequest>) -> Result<Response<pb::ListQueueResponse>, Status> {
            Caller::with_role(switchboard_runtime::caller::STAFF)?;
            Ok(Response::new(pb::ListQueueResponse::default()))
        }

        async fn signal_presence(&self, r: Request<pb::SignalPresenceRequest>) -> Result<Response<pb::SignalPresenceResponse>, Status> {
            let ask = r.into_inner();
            self.with(&ask.conversation_id, |one, caller| {
                let who = if caller.is_staff() { "human" } else { "user" }.to_owned();
                let presence = pb::Presence { who, typing: ask.typing, read_seq: ask.read_seq };
                let _ = one.live.send(pb::SubscribeResponse { kind: Some(pb::subscribe_response::Kind::Presence(presence)) });
                Ok(())
            })?;
            Ok(Response::new(pb::SignalPresenceResponse {}))
        }
    }
    release: ReleaseRequest => ReleaseResponse;
    resolve: ResolveRequest => ResolveResponse;
    reopen: ReopenRequest => ReopenResponse;
    rate: RateRequest => RateResponse;
    add_note: AddNoteRequest => AddNoteResponse;
    list_notes: ListNotesRequest => ListNotesResponse;
    list_drafts: ListDraftsRequest => ListDraftsResponse;
    send_draft: SendDraftRequest => SendDraftResponse;
    get_receipt: GetReceiptRequest => GetReceiptResponse;
    list_answers_citing: ListAnswersCitingRequest => ListAnswersCitingResponse;
    list_effects: ListEffectsRequest => ListEffectsResponse;
}
