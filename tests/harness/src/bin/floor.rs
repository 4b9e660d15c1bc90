//! The floor of a turn: the same hops and one commit, and nothing else.
//!
//! In: how many turns. Out: two rows of the benchmark's table. Never: a layer, a check, a thought: REST → conversation →
//! orchestrator → knowledge and rules side by side, over loopback sockets, and one SQLite commit synced to the disk.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used, reason = "a benchmark, not a product")]
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, routing::post};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use switchboard_proto::orchestrator::v1::{
    ClassifyIntentRequest, ClassifyIntentResponse, GenerateResponseRequest, GenerateResponseResponse, IntentScore,
    ProcessRequestRequest, ProcessRequestResponse,
    orchestrator_service_client::OrchestratorServiceClient,
    orchestrator_service_server::{OrchestratorService, OrchestratorServiceServer},
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};

type Client = OrchestratorServiceClient<Channel>;

/// One hop: asks the next ones at once, commits if it has a store, answers.
struct Hop {
    next: Vec<Client>,
    store: Option<SqlitePool>,
}

#[tonic::async_trait]
impl OrchestratorService for Hop {
    async fn classify_intent(
        &self,
        request: Request<ClassifyIntentRequest>,
    ) -> Result<Response<ClassifyIntentResponse>, Status> {
        let request = request.into_inner();
        let calls: Vec<_> = self
            .next
            .iter()
            .cloned()
            .map(|mut client| {
                let request = request.clone();
                tokio::spawn(async move { client.classify_intent(request).await.map(|_| ()) })
            })
            .collect();
        for call in calls {
            call.await.unwrap()?;
        }
        if let Some(store) = &self.store {
            sqlx::query("INSERT INTO turns (text) VALUES (?)").bind(&request.message).execute(store).await.unwrap();
        }
        let primary = Some(IntentScore { intent: "floor".to_owned(), confidence: 1.0 });
        Ok(Response::new(ClassifyIntentResponse { primary, secondary: vec![] }))
    }

    async fn process_request(
        &self,
        _: Request<ProcessRequestRequest>,
    ) -> Result<Response<ProcessRequestResponse>, Status> {
        Ok(Response::new(ProcessRequestResponse::default()))
    }

    async fn generate_response(
        &self,
        _: Request<GenerateResponseRequest>,
    ) -> Result<Response<GenerateResponseResponse>, Status> {
        Ok(Response::new(GenerateResponseResponse::default()))
    }
}

async fn hop(next: Vec<Client>, store: Option<SqlitePool>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let service = OrchestratorServiceServer::new(Hop { next, store });
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
    );
    Client::new(Endpoint::from_shared(address).unwrap().tcp_nodelay(true).connect().await.unwrap())
}

async fn answer(State(client): State<Arc<Client>>, body: String) -> String {
    let mut client = client.as_ref().clone();
    client.classify_intent(ClassifyIntentRequest { message: body, context: None }).await.unwrap();
    "{}".to_owned()
}

#[tokio::main]
async fn main() {
    let turns: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1000);
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("floor.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let store = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE turns (id INTEGER PRIMARY KEY, text TEXT NOT NULL)").execute(&store).await.unwrap();
    let (knowledge, rules) = (hop(vec![], None).await, hop(vec![], None).await);
    let orchestrator = hop(vec![knowledge, rules], None).await;
    let conversation = hop(vec![orchestrator], Some(store)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/", post(answer)).with_state(Arc::new(conversation));
    let listener = axum::serve::ListenerExt::tap_io(listener, |socket| socket.set_nodelay(true).unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let times = tokio::task::spawn_blocking(move || measure(port, turns)).await.unwrap();
    let ms = |d: Duration| format!("{:.2} ms", d.as_secs_f64() * 1e3);
    println!("| floor: bare hops + one commit, p50 | tcp | {} | |", ms(times[turns / 2]));
    println!("| floor: bare hops + one commit, p99 | tcp | {} | |", ms(times[turns * 99 / 100]));
}

fn measure(port: u16, turns: usize) -> Vec<Duration> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    let body = "How do I import my contacts from a CSV file?";
    let request = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut chunk = [0; 4096];
    let mut times = Vec::with_capacity(turns);
    for i in 0..turns * 2 {
        let before = Instant::now();
        socket.write_all(request.as_bytes()).unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"{}") {
            let n = socket.read(&mut chunk).unwrap();
            seen.extend_from_slice(&chunk[..n]);
        }
        // The first half warms up.
        if i >= turns {
            times.push(before.elapsed());
        }
    }
    times.sort();
    times
}
