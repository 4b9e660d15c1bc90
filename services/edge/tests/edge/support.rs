//! The edge over a mesh in this process.
use std::net::SocketAddr;

use serde_json::Value;
use switchboard_edge::config::Config;
use switchboard_proto::conversation::v1::conversation_service_server as server;
use switchboard_runtime::{Clock, Condition, Listener, Role, server::Served};
use switchboard_testkit::TestMesh;
use tokio::net::TcpListener;
use tonic::service::Routes;
use uuid::Uuid;

use crate::conversation::Fake;

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
    start_beside(config, clock, Condition::well()).await
}

/// The edge beside a conversation service that is as its condition says.
pub async fn start_beside(config: Config, clock: Clock, condition: Condition) -> Edge {
    let mesh = TestMesh::start_at(clock).await;
    let host = mesh.host("conversation");
    let served = Served {
        routes: Routes::new(server::ConversationServiceServer::new(Fake::new(mesh.clock.clone()))),
        services: &["switchboard.conversation.v1.ConversationService"],
        public: &[],
        verifier: mesh.verifier(),
        condition,
    };
    mesh.run(async move |stop| switchboard_runtime::server::serve(served, &host, Listener::InProcess, stop).await);
    mesh.until_up("conversation").await;
    let address = run(&mesh, config).await;
    Edge { mesh, address, org: Uuid::now_v7(), http: reqwest::Client::new() }
}

/// Runs an edge on a mesh; returns where it listens.
async fn run(mesh: &TestMesh, config: Config) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let host = mesh.host("edge");
    mesh.run(async move |stop| switchboard_edge::serve(config, host, Listener::Tcp(listener), stop).await);
    address
}

impl Edge {
    /// Another edge before the same services.
    pub async fn another(&self, config: Config) -> SocketAddr {
        run(&self.mesh, config).await
    }

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
