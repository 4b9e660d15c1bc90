//! The layers, seen from both sides of a call, in process and over sockets.
mod postgres;
mod redis;
mod roles;
mod sqlite;
mod tls;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;
use switchboard_proto::knowledge::v1::{
    knowledge_service_client::KnowledgeServiceClient,
    knowledge_service_server::{KnowledgeService, KnowledgeServiceServer},
    *,
};
use switchboard_runtime::{
    Caller, Clock, Condition, Context, Fault, Host, Listener, Mesh, MeshChannel, Reason, Role, Secret, Shutdown,
    caller::{Claims, ISSUER, SigningKey},
    condition,
    server::{Served, serve},
    sqlite::Sqlite,
    telemetry::Metrics,
};
use switchboard_testkit::TestMesh;
use tokio::{net::TcpListener, sync::Notify};
use tonic::{Request, Response, Status, service::Routes};
use uuid::Uuid;

const SERVICES: &[&str] = &["switchboard.knowledge.v1.KnowledgeService"];

/// A service that does what the query says.
#[derive(Default)]
struct Scripted {
    calls: AtomicU32,
    /// Answers UNAVAILABLE this often first.
    down: AtomicU32,
    seen: Mutex<Option<Context>>,
    entered: Notify,
    go: Notify,
}

impl Scripted {
    async fn play(&self, word: &str) -> Result<(), Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        *self.seen.lock().expect("lock") = Some(Context::current());
        if self.down.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Fault::new(Reason::Unavailable, "down").into());
        }
        match word {
            "panic" => panic!("a bug"),
            "wait" => {
                self.entered.notify_one();
                self.go.notified().await;
            }
            "hang" => std::future::pending::<()>().await,
            _ => {}
        }
        Ok(())
    }
}

struct Played(Arc<Scripted>);

#[tonic::async_trait]
impl KnowledgeService for Played {
    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        self.0.play(&request.get_ref().query).await?;
        Ok(Response::new(SearchResponse::default()))
    }
    async fn update_article(
        &self,
        _: Request<UpdateArticleRequest>,
    ) -> Result<Response<UpdateArticleResponse>, Status> {
        self.0.play("").await?;
        Ok(Response::new(UpdateArticleResponse::default()))
    }
    async fn create_article(
        &self,
        _: Request<CreateArticleRequest>,
    ) -> Result<Response<CreateArticleResponse>, Status> {
        Ok(Response::new(CreateArticleResponse::default()))
    }
    async fn get_article(&self, _: Request<GetArticleRequest>) -> Result<Response<GetArticleResponse>, Status> {
        Ok(Response::new(GetArticleResponse::default()))
    }
    async fn list_articles(&self, _: Request<ListArticlesRequest>) -> Result<Response<ListArticlesResponse>, Status> {
        Ok(Response::new(ListArticlesResponse::default()))
    }
    async fn delete_article(
        &self,
        _: Request<DeleteArticleRequest>,
    ) -> Result<Response<DeleteArticleResponse>, Status> {
        Ok(Response::new(DeleteArticleResponse::default()))
    }
}

struct Rig {
    mesh: TestMesh,
    scripted: Arc<Scripted>,
    channel: MeshChannel,
    address: Option<String>,
    caller_mesh: Mesh,
}

fn served(mesh: &TestMesh, scripted: &Arc<Scripted>) -> Served {
    let routes = Routes::new(KnowledgeServiceServer::new(Played(scripted.clone())));
    Served { routes, services: SERVICES, public: &[], verifier: mesh.verifier(), condition: Condition::well() }
}

impl Rig {
    async fn start(tcp: bool) -> Rig {
        Rig::start_at(tcp, Clock::system()).await
    }

    async fn start_at(tcp: bool, clock: Clock) -> Rig {
        let mesh = TestMesh::start_at(clock).await;
        let scripted = Arc::new(Scripted::default());
        let (host, served) = (mesh.host("knowledge"), served(&mesh, &scripted));
        if !tcp {
            mesh.run(async move |shutdown| serve(served, &host, Listener::InProcess, shutdown).await);
            mesh.until_up("knowledge").await;
            let channel = mesh.host("orchestrator").connect("knowledge").expect("link");
            return Rig { caller_mesh: mesh.mesh.clone(), mesh, scripted, channel, address: None };
        }
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = format!("http://{}", socket.local_addr().expect("address"));
        mesh.run(async move |shutdown| serve(served, &host, Listener::Tcp(socket), shutdown).await);
        let caller_mesh =
            Mesh::new(BTreeMap::from([("knowledge".to_owned(), address.clone())]), mesh.mesh.key().clone());
        let channel = host_of(&caller_mesh, "orchestrator").connect("knowledge").expect("link");
        Rig { mesh, scripted, channel, address: Some(address), caller_mesh }
    }

    async fn search(&self, query: &str, limit: Duration) -> Result<(), Fault> {
        let mut client = KnowledgeServiceClient::new(self.channel.clone());
        let ask = SearchRequest { query: query.to_owned(), ..Default::default() };
        let work = async {
            let context = Context::current().within(limit);
            context.scope(client.search(ask)).await.map(|_| ()).map_err(Fault::from)
        };
        self.mesh.as_user(Role::Customer, Uuid::now_v7(), Uuid::now_v7(), work).await
    }

    fn calls(&self) -> u32 {
        self.scripted.calls.load(Ordering::SeqCst)
    }
}

fn host_of(mesh: &Mesh, name: &'static str) -> Host {
    mesh.host(name, Clock::system(), Metrics::default())
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn deadline_trace_and_caller_arrive() {
    for tcp in [false, true] {
        let rig = Rig::start(tcp).await;
        rig.search("", Duration::from_millis(700)).await.expect("answers");
        let seen = rig.scripted.seen.lock().expect("lock").take().expect("was called");
        let left = seen.remaining().expect("a deadline");
        assert!(left <= Duration::from_millis(700) && left > Duration::from_millis(100), "{left:?}");
        assert_eq!(seen.caller.expect("a caller").role, Role::Customer);
        // Without a request's deadline the budget of topology.toml holds.
        rig.search("", LONG).await.expect("answers");
        let seen = rig.scripted.seen.lock().expect("lock").take().expect("was called");
        assert!(seen.remaining().expect("a deadline") <= Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_late_answer_is_deadline_exceeded_with_our_reason() {
    for tcp in [false, true] {
        let rig = Rig::start(tcp).await;
        let fault = rig.search("hang", Duration::from_millis(200)).await.expect_err("is late");
        assert_eq!(fault.reason, Reason::DeadlineExceeded, "{fault}");
        assert_eq!(rig.calls(), 1);
        let fault = rig.search("", Duration::ZERO).await.expect_err("is refused before it is sent");
        assert_eq!((fault.reason, rig.calls()), (Reason::DeadlineExceeded, 1));
    }
}

#[tokio::test]
async fn only_idempotent_methods_are_tried_again() {
    let rig = Rig::start(true).await;
    rig.scripted.down.store(2, Ordering::SeqCst);
    rig.search("", LONG).await.expect("the third try answers");
    assert_eq!(rig.calls(), 3);
    rig.scripted.down.store(5, Ordering::SeqCst);
    assert_eq!(rig.search("", LONG).await.expect_err("three tries and no more").reason, Reason::Unavailable);
    assert_eq!(rig.calls(), 6);
    rig.scripted.down.store(1, Ordering::SeqCst);
    let mut client = KnowledgeServiceClient::new(rig.channel.clone());
    let update = client.update_article(UpdateArticleRequest::default());
    let refused = rig.mesh.as_user(Role::Admin, Uuid::now_v7(), Uuid::now_v7(), update).await;
    assert!(refused.is_err());
    assert_eq!(rig.calls(), 7);
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_nothing_else() {
    for tcp in [false, true] {
        let rig = Rig::start(tcp).await;
        let fault = rig.search("panic", LONG).await.expect_err("fails");
        assert_eq!(fault.reason, Reason::Internal);
        assert!(!fault.detail.contains("a bug"));
        rig.search("", LONG).await.expect("goes on");
    }
}

#[tokio::test]
async fn tokens_are_checked() {
    let clock = Clock::manual("2026-03-02T10:00:00Z".parse().expect("time"));
    let rig = Rig::start_at(false, clock.clone()).await;
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    let good = rig.mesh.token(Role::Customer, org, user);
    let with = async |token: &str| {
        let caller = Caller { user, org, role: Role::Customer, expires: i64::MAX, token: Secret::new(token) };
        let context = Context { caller: Some(Arc::new(caller)), ..Context::with_timeout(LONG) };
        let mut client = KnowledgeServiceClient::new(rig.channel.clone());
        context
            .scope(client.search(SearchRequest::default()))
            .await
            .map(|_| ())
            .map_err(|s| Fault::from_status(&s).reason)
    };
    assert_eq!(with(&good).await, Ok(()));
    let parts: Vec<&str> = good.split('.').collect();
    let none = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
    let foreign = SigningKey::generate().expect("key");
    let now = clock.now().as_second();
    let claims = Claims {
        sub: user,
        user_id: user,
        org,
        roles: vec!["admin".into()],
        iss: ISSUER.into(),
        iat: now,
        exp: now + 60,
        jti: Uuid::now_v7(),
    };
    let forged = foreign.sign(&claims).expect("signs");
    for bad in ["", "x.y.z", &none, &forged, &good[..good.len() - 4], &format!("{}A", good)] {
        assert_eq!(with(bad).await, Err(Reason::Unauthenticated), "{bad}");
    }
    // Also when the good one is in the cache.
    clock.advance(SignedDuration::from_hours(2));
    assert_eq!(with(&good).await, Err(Reason::Unauthenticated));
    let mut client = KnowledgeServiceClient::new(rig.channel.clone());
    let nobody = Context::with_timeout(LONG).scope(client.search(SearchRequest::default())).await.expect_err("refused");
    assert_eq!(Fault::from_status(&nobody).reason, Reason::Unauthenticated);
}

#[tokio::test]
async fn who_may_call_is_the_topology_and_its_proof() {
    let rig = Rig::start(true).await;
    assert!(host_of(&rig.caller_mesh, "rules").connect("knowledge").is_err());
    let address = rig.address.clone().expect("address");
    let strangers = Mesh::new(BTreeMap::from([("knowledge".to_owned(), address)]), Secret::new("guessed"));
    let channel = host_of(&strangers, "orchestrator").connect("knowledge").expect("link");
    let mut client = KnowledgeServiceClient::new(channel);
    let call = client.search(SearchRequest::default());
    let refused = rig.mesh.as_user(Role::Admin, Uuid::now_v7(), Uuid::now_v7(), call).await.expect_err("refused");
    assert_eq!(Fault::from_status(&refused).reason, Reason::CallerNotAllowed);
    assert_eq!(rig.calls(), 0);
}

#[tokio::test]
async fn a_drain_lets_running_calls_end_and_takes_no_new_ones() {
    let mesh = TestMesh::start().await;
    let scripted = Arc::new(Scripted::default());
    let (reporter, condition) = Condition::new("the store is not there");
    let (host, served) = (mesh.host("knowledge"), Served { condition, ..served(&mesh, &scripted) });
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = format!("http://{}", socket.local_addr().expect("address"));
    let stop = Shutdown::new();
    let stopping = stop.clone();
    let server = tokio::spawn(async move { serve(served, &host, Listener::Tcp(socket), stopping).await });
    let caller_mesh = Mesh::new(BTreeMap::from([("knowledge".to_owned(), address)]), mesh.mesh.key().clone());
    let channel = host_of(&caller_mesh, "orchestrator").connect("knowledge").expect("link");
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let ask = |service: &str| tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
    for name in ["", SERVICES[0]] {
        let answer = health.check(ask(name)).await.expect("answers");
        assert_eq!(answer.metadata().get(condition::HEADER).expect("says why"), "the store is not there");
        let status = answer.into_inner().status;
        assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::NotServing as i32);
    }
    reporter.well();
    while health.check(ask(SERVICES[0])).await.expect("answers").into_inner().status != 1 {
        tokio::task::yield_now().await;
    }
    let mut client = KnowledgeServiceClient::new(channel.clone());
    let waiting = SearchRequest { query: "wait".into(), ..Default::default() };
    let (answer, ()) = mesh
        .as_user(Role::Customer, Uuid::now_v7(), Uuid::now_v7(), async {
            tokio::join!(client.search(waiting), async {
                scripted.entered.notified().await;
                stop.cancel();
                scripted.go.notify_one();
            })
        })
        .await;
    answer.expect("the running call ends well");
    server.await.expect("joins").expect("ends cleanly");
    let mut late = KnowledgeServiceClient::new(channel);
    let refused =
        mesh.as_user(Role::Customer, Uuid::now_v7(), Uuid::now_v7(), late.search(SearchRequest::default())).await;
    assert_eq!(Fault::from_status(&refused.expect_err("nobody listens")).reason, Reason::Unavailable);
}

#[tokio::test]
async fn calls_are_counted_by_outcome() {
    let rig = Rig::start(false).await;
    let host = rig.mesh.host("knowledge");
    rig.search("", LONG).await.expect("answers");
    // Each host of the test has metrics of its own; what is asked here is the form of the page.
    host.metrics.observe("knowledge", "/x/Search", "0", Duration::from_millis(3));
    let page = host.metrics.page();
    assert!(
        page.contains("switchboard_calls_total{service=\"knowledge\",method=\"/x/Search\",code=\"0\"} 1"),
        "{page}"
    );
    assert!(page.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_store_on_a_folder_that_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("taken");
    std::fs::write(&file, "a file, not a folder").expect("writes");
    let none = sqlx::migrate::Migrator::DEFAULT;
    let error = Sqlite::open(&file, "x", &none).await.expect_err("refused").to_string();
    assert!(error.contains("cannot write to the data folder") && error.contains("--data"), "{error}");
}
