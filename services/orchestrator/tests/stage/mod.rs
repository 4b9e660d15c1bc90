//! The service in a mesh with small stand-ins for knowledge and rules that keep what they were asked.
use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use switchboard_orchestrator::{config::Config, nlu::parse_examples, serve};
use switchboard_proto::{
    knowledge::v1::{knowledge_service_server as knowledge, *},
    orchestrator::v1::{
        ProcessRequestRequest, ProcessRequestResponse, orchestrator_service_client::OrchestratorServiceClient,
    },
    rules::v1::{rules_service_server as rules, *},
};
use switchboard_runtime::{
    Clock, Context, Fault, Listener, MeshChannel, Reason, Role,
    server::{Served, serve as serve_routes},
};
use switchboard_testkit::TestMesh;
use tonic::{Request, Response, Status, service::Routes};
use uuid::Uuid;

pub(crate) const DEMO: &str = include_str!("../../../../demo/nlu/train.jsonl");

/// How a stand-in answers.
#[derive(Clone, Copy, Default)]
pub(crate) enum Mood {
    #[default]
    Well,
    Fails(Reason),
    Hangs,
}

impl Mood {
    async fn show(self) -> Result<(), Status> {
        match self {
            Mood::Well => Ok(()),
            Mood::Fails(reason) => Err(Fault::new(reason, "played").into()),
            Mood::Hangs => std::future::pending().await,
        }
    }
}

/// Knowledge: finds the passages that share a word with the query, those it was given first going first.
#[derive(Default)]
pub(crate) struct Library {
    pub(crate) mood: Mood,
    pub(crate) passages: Vec<Passage>,
    pub(crate) asked: Vec<SearchRequest>,
}

/// Rules: decides as it was told, and keeps what it was told.
#[derive(Default)]
pub(crate) struct Policy {
    pub(crate) mood: Mood,
    pub(crate) decision: DecideResponse,
    pub(crate) asked: Vec<DecideRequest>,
}

#[derive(Default)]
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<T> Shared<T> {
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.lock().expect("no test panics inside"))
    }
}

fn words(text: &str) -> HashSet<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| w.len() > 3).map(str::to_lowercase).collect()
}

fn not_played<T>() -> Result<Response<T>, Status> {
    Err(Fault::new(Reason::NotImplemented, "not played").into())
}

#[tonic::async_trait]
impl knowledge::KnowledgeService for Shared<Library> {
    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        let request = request.into_inner();
        let query = words(&request.query);
        let (mood, passages) = self.with(|l| {
            l.asked.push(request);
            let fits = |p: &&Passage| !words(&format!("{} {}", p.title, p.text)).is_disjoint(&query);
            (l.mood, l.passages.iter().filter(fits).cloned().collect())
        });
        mood.show().await?;
        Ok(Response::new(SearchResponse { passages }))
    }

    async fn create_article(
        &self,
        _: Request<CreateArticleRequest>,
    ) -> Result<Response<CreateArticleResponse>, Status> {
        not_played()
    }

    async fn update_article(
        &self,
        _: Request<UpdateArticleRequest>,
    ) -> Result<Response<UpdateArticleResponse>, Status> {
        not_played()
    }

    async fn get_article(&self, _: Request<GetArticleRequest>) -> Result<Response<GetArticleResponse>, Status> {
        not_played()
    }

    async fn list_articles(&self, _: Request<ListArticlesRequest>) -> Result<Response<ListArticlesResponse>, Status> {
        not_played()
    }

    async fn delete_article(
        &self,
        _: Request<DeleteArticleRequest>,
    ) -> Result<Response<DeleteArticleResponse>, Status> {
        not_played()
    }
}

#[tonic::async_trait]
impl rules::RulesService for Shared<Policy> {
    async fn decide(&self, request: Request<DecideRequest>) -> Result<Response<DecideResponse>, Status> {
        let (mood, decision) = self.with(|p| {
            p.asked.push(request.into_inner());
            (p.mood, p.decision.clone())
        });
        mood.show().await?;
        Ok(Response::new(decision))
    }

    async fn evaluate_rules(
        &self,
        _: Request<EvaluateRulesRequest>,
    ) -> Result<Response<EvaluateRulesResponse>, Status> {
        not_played()
    }

    async fn should_escalate(
        &self,
        _: Request<ShouldEscalateRequest>,
    ) -> Result<Response<ShouldEscalateResponse>, Status> {
        not_played()
    }

    async fn determine_routing(
        &self,
        _: Request<DetermineRoutingRequest>,
    ) -> Result<Response<DetermineRoutingResponse>, Status> {
        not_played()
    }

    async fn get_active_policy(
        &self,
        _: Request<GetActivePolicyRequest>,
    ) -> Result<Response<GetActivePolicyResponse>, Status> {
        not_played()
    }
}

pub(crate) struct Stage {
    pub(crate) mesh: TestMesh,
    pub(crate) library: Shared<Library>,
    pub(crate) policy: Shared<Policy>,
    client: OrchestratorServiceClient<MeshChannel>,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        // A Monday.
        let now = "2026-11-23T10:00:00Z".parse().expect("a time");
        let mesh = TestMesh::start_at(Clock::manual(now)).await;
        let (library, policy) = (Shared::<Library>::default(), Shared::<Policy>::default());
        let routes = Routes::new(knowledge::KnowledgeServiceServer::new(library.clone()));
        put(&mesh, "knowledge", routes).await;
        put(&mesh, "rules", Routes::new(rules::RulesServiceServer::new(policy.clone()))).await;
        // Shared, so that only the first stage trains.
        let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("orchestrator");
        let examples = parse_examples(DEMO).expect("parses");
        let config = Config { data, examples, confidence_threshold: 0.7 };
        let host = mesh.host("orchestrator");
        mesh.run(async move |shutdown| serve(config, host, Listener::InProcess, shutdown).await);
        mesh.until_up("orchestrator").await;
        let client = OrchestratorServiceClient::new(mesh.host("conversation").connect("orchestrator").expect("a link"));
        let stage = Stage { mesh, library, policy, client };
        stage.decides(Disposition::Respond, "");
        stage
    }

    /// What the policy decides from now on.
    pub(crate) fn decides(&self, disposition: Disposition, reply: &str) {
        self.policy.with(|p| {
            p.decision = DecideResponse {
                disposition: disposition.into(),
                reply: reply.to_owned(),
                fallback_reply: "I have no answer to that.".to_owned(),
                ..DecideResponse::default()
            };
        });
    }

    /// Puts a passage into the library.
    pub(crate) fn holds(&self, article_id: &str, text: &str, quote: &str, score: f64) {
        let passage = Passage {
            article_id: article_id.to_owned(),
            version: 3,
            title: article_id.to_owned(),
            url: format!("https://help.example.com/{article_id}"),
            text: text.to_owned(),
            quote: quote.to_owned(),
            score,
            ..Passage::default()
        };
        self.library.with(|l| l.passages.push(passage));
    }

    pub(crate) async fn as_customer<F: Future>(&self, work: F) -> F::Output {
        self.mesh.as_user(Role::Customer, Uuid::from_u128(1), Uuid::from_u128(2), work).await
    }

    pub(crate) fn client(&self) -> OrchestratorServiceClient<MeshChannel> {
        self.client.clone()
    }

    pub(crate) async fn process(&self, request: ProcessRequestRequest) -> Result<ProcessRequestResponse, Fault> {
        let answer = self.as_customer(self.client().process_request(request)).await;
        answer.map(Response::into_inner).map_err(|s| Fault::from_status(&s))
    }

    pub(crate) async fn process_within(
        &self,
        limit: Duration,
        request: ProcessRequestRequest,
    ) -> Result<ProcessRequestResponse, Fault> {
        let mut client = self.client();
        let call = async { Context::current().within(limit).scope(client.process_request(request)).await };
        self.as_customer(call).await.map(Response::into_inner).map_err(|s| Fault::from_status(&s))
    }

    pub(crate) async fn says(&self, message: &str) -> ProcessRequestResponse {
        self.process(turn(message)).await.expect("an answer")
    }

    /// The signals of the last turn.
    pub(crate) fn signals(&self) -> Signals {
        self.policy.with(|p| p.asked.last().and_then(|r| r.signals.clone()).expect("rules were asked"))
    }

    /// The queries so far.
    pub(crate) fn queries(&self) -> Vec<String> {
        self.library.with(|l| l.asked.iter().map(|r| r.query.clone()).collect())
    }
}

/// A turn with nothing but a message.
pub(crate) fn turn(message: &str) -> ProcessRequestRequest {
    ProcessRequestRequest {
        message: message.to_owned(),
        context: Some(Facts::default()),
        ..ProcessRequestRequest::default()
    }
}

async fn put(mesh: &TestMesh, name: &'static str, routes: Routes) {
    let host = mesh.host(name);
    let served = Served {
        routes,
        services: &[],
        public: &[],
        verifier: mesh.verifier(),
        condition: switchboard_runtime::Condition::well(),
    };
    mesh.run(async move |shutdown| serve_routes(served, &host, Listener::InProcess, shutdown).await);
    mesh.until_up(name).await;
}
