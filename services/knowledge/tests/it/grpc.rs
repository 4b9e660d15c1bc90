//! Everything through the wire, with each kind of ledger beneath.
use jiff::SignedDuration;
use switchboard_knowledge::{Config, MIGRATIONS, serve};
use switchboard_proto::knowledge::v1::{self as pb, knowledge_service_client::KnowledgeServiceClient};
use switchboard_runtime::{Clock, Context, Fault, Listener, MeshChannel, Role, condition::HEADER, stores::Ledger};
use switchboard_testkit::{TestMesh, cluster::Cluster, servers::with_database};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::Status;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use uuid::Uuid;

use crate::database::PATIENCE;

const ORG: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const USER: Uuid = Uuid::from_u128(3);

struct Wire {
    mesh: TestMesh,
    client: KnowledgeServiceClient<MeshChannel>,
    _folder: TempDir,
}

impl Wire {
    /// A service whose store need not be there yet.
    async fn run(ledger: &Ledger) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mesh = TestMesh::start_at(Clock::manual("2026-11-20T12:00:00Z".parse().expect("a time"))).await;
        let config =
            Config { ledger: ledger.clone(), index: folder.path().join("index"), demo: true, demo_org: Some(ORG) };
        let host = mesh.host("knowledge");
        mesh.run(async move |shutdown| serve(config, host, Listener::InProcess, shutdown).await);
        mesh.until_up("knowledge").await;
        let channel = mesh.host("orchestrator").connect("knowledge").expect("a link");
        Wire { mesh, client: KnowledgeServiceClient::new(channel), _folder: folder }
    }

    /// One that serves.
    async fn start(ledger: &Ledger) -> Self {
        let wire = Self::run(ledger).await;
        wire.until(ServingStatus::Serving).await;
        wire
    }

    /// Waits until health says so.
    async fn until(&self, wanted: ServingStatus) {
        let channel = self.mesh.host("orchestrator").connect("knowledge").expect("a link");
        let watch = async {
            let mut health = HealthClient::new(channel);
            let mut news = health.watch(HealthCheckRequest::default()).await.expect("watches").into_inner();
            while news.message().await.expect("is told").expect("goes on").status() != wanted {}
        };
        let watch = Context::with_timeout(PATIENCE).scope(watch);
        timeout(PATIENCE, watch).await.unwrap_or_else(|_| panic!("{wanted:?} is awaited"));
    }

    /// Why it does not serve.
    async fn why(&self) -> String {
        let channel = self.mesh.host("orchestrator").connect("knowledge").expect("a link");
        let ask = async { HealthClient::new(channel).check(HealthCheckRequest::default()).await };
        let answer = Context::with_timeout(PATIENCE).scope(ask).await.expect("answers");
        answer.metadata().get(HEADER).map(|why| why.to_str().expect("text").to_owned()).unwrap_or_default()
    }

    async fn call<T, R>(
        &self,
        role: Role,
        org: Uuid,
        request: T,
        call: impl AsyncFnOnce(KnowledgeServiceClient<MeshChannel>, T) -> Result<tonic::Response<R>, Status>,
    ) -> Result<R, Fault> {
        let work = call(self.client.clone(), request);
        self.mesh
            .as_user(role, org, USER, work)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| Fault::from_status(&status))
    }

    async fn create(
        &self,
        role: Role,
        org: Uuid,
        request_id: &str,
        article: pb::Article,
    ) -> Result<pb::Article, Fault> {
        let request = pb::CreateArticleRequest { request_id: request_id.into(), article: Some(article) };
        let answer = self.call(role, org, request, async |mut c, r| c.create_article(r).await).await?;
        Ok(answer.article.expect("an article"))
    }

    async fn update(&self, role: Role, article: pb::Article) -> Result<pb::Article, Fault> {
        let request = pb::UpdateArticleRequest { article: Some(article) };
        let answer = self.call(role, ORG, request, async |mut c, r| c.update_article(r).await).await?;
        Ok(answer.article.expect("an article"))
    }

    async fn get(&self, role: Role, org: Uuid, article_id: &str, version: u32) -> Result<pb::Article, Fault> {
        let request = pb::GetArticleRequest { article_id: article_id.into(), version };
        let answer = self.call(role, org, request, async |mut c, r| c.get_article(r).await).await?;
        Ok(answer.article.expect("an article"))
    }

    async fn delete(&self, role: Role, org: Uuid, article_id: &str) -> Result<(), Fault> {
        let request = pb::DeleteArticleRequest { article_id: article_id.into() };
        self.call(role, org, request, async |mut c, r| c.delete_article(r).await).await.map(|_| ())
    }

    async fn list(&self, role: Role, request: pb::ListArticlesRequest) -> Result<pb::ListArticlesResponse, Fault> {
        self.call(role, ORG, request, async |mut c, r| c.list_articles(r).await).await
    }

    async fn search(&self, role: Role, org: Uuid, request: pb::SearchRequest) -> Result<Vec<pb::Passage>, Fault> {
        Ok(self.call(role, org, request, async |mut c, r| c.search(r).await).await?.passages)
    }
}

fn zebra() -> pb::Article {
    pb::Article {
        title: "Zebra mode".into(),
        body: "Zebra mode turns the quokka importer on. Open Settings, choose Labs, and switch Zebra mode on.".into(),
        ..pb::Article::default()
    }
}

fn ask(query: &str) -> pb::SearchRequest {
    pb::SearchRequest { query: query.into(), ..pb::SearchRequest::default() }
}

const ZEBRA: &str = "how do I turn on zebra mode for the quokka importer?";

/// Each on each kind of ledger.
macro_rules! scenes {
    ($($scene:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $scene() {
                let folder = tempfile::tempdir().expect("a folder");
                super::$scene(super::Wire::start(&super::Ledger::Sqlite(folder.path().to_owned())).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $scene() {
                super::with_database(async |database| {
                    super::MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
                    super::$scene(super::Wire::start(&database.ledger()).await).await;
                })
                .await;
            })*
        }
    };
}
scenes! {
    an_article_lives_and_dies
    a_retry_with_the_same_request_id_makes_nothing_new
    the_demo_answers_at_once
    only_admins_and_services_write
    internal_articles_are_for_staff
    another_organization_cannot_tell_that_an_article_is_there
    pages_hold_every_article_once_and_no_bodies
    wrong_fields_are_named
    an_expired_article_is_never_cited
    demo_text_that_a_caller_sends_back_is_the_callers
}

async fn an_article_lives_and_dies(wire: Wire) {
    let created = wire.create(Role::Admin, ORG, "", zebra()).await.expect("creates");
    assert_eq!(
        (created.version, created.is_current, created.language.as_str(), created.source.as_str()),
        (1, true, "en", "api")
    );
    let found = wire.search(Role::Customer, ORG, ask(ZEBRA)).await.expect("searches");
    assert_eq!((&found[0].article_id, found[0].version), (&created.id, 1));
    assert!(found[0].text.contains(&found[0].quote) && found[0].score > 0.7, "{:?}", found[0]);

    let changed = pb::Article { body: "Zebra mode is gone.".into(), ..created.clone() };
    let updated = wire.update(Role::Service, changed.clone()).await.expect("updates");
    assert_eq!(updated.version, 2);
    assert_eq!(wire.update(Role::Admin, changed).await.expect_err("stale").name(), "STALE");
    assert_eq!(wire.get(Role::Customer, ORG, &created.id, 1).await.expect("is kept").body, created.body);
    assert_eq!(wire.get(Role::Customer, ORG, &created.id, 0).await.expect("reads").version, 2);

    for _ in 0..2 {
        wire.delete(Role::Admin, ORG, &created.id).await.expect("archives");
    }
    let found = wire.search(Role::Customer, ORG, ask(ZEBRA)).await.expect("searches");
    assert!(found.iter().all(|p| p.article_id != created.id));
    assert_eq!(wire.get(Role::Customer, ORG, &created.id, 1).await.expect_err("gone").name(), "ARTICLE_NOT_FOUND");
    assert!(!wire.get(Role::Agent, ORG, &created.id, 1).await.expect("a cited version stays readable").is_current);
    assert_eq!(
        wire.update(Role::Admin, pb::Article { id: created.id, ..zebra() }).await.expect_err("gone").name(),
        "ARTICLE_NOT_FOUND"
    );
}

async fn a_retry_with_the_same_request_id_makes_nothing_new(wire: Wire) {
    let id = Uuid::from_u128(42).to_string();
    let first = wire.create(Role::Admin, ORG, &id, zebra()).await.expect("creates");
    assert_eq!(wire.create(Role::Admin, ORG, &id, zebra()).await.expect("answers"), first);
    assert_ne!(wire.create(Role::Admin, OTHER, &id, zebra()).await.expect("creates").id, first.id);
}

async fn the_demo_answers_at_once(wire: Wire) {
    let found =
        wire.search(Role::Customer, ORG, ask("How do I import my contacts from a CSV file?")).await.expect("searches");
    assert_eq!(found[0].url, "", "the demo's help centre is nowhere to be read");
    assert!(found.len() <= 5);
    let one = pb::SearchRequest { limit: 1, ..ask("how do I export a report?") };
    assert_eq!(wire.search(Role::Customer, ORG, one).await.expect("searches").len(), 1);
    assert!(wire.search(Role::Customer, ORG, ask("who won the world cup")).await.expect("searches").is_empty());
    let coded = pb::SearchRequest { error_codes: vec!["BF-2003".into()], ..ask("it does not work") };
    assert!(
        wire.search(Role::Customer, ORG, coded).await.expect("searches")[0].title
            == "Error BF-2003, sync token expired"
    );
}

async fn only_admins_and_services_write(wire: Wire) {
    let mine = wire.create(Role::Admin, ORG, "", zebra()).await.expect("creates");
    for role in [Role::Customer, Role::Agent, Role::Supervisor] {
        assert_eq!(wire.create(role, ORG, "", zebra()).await.expect_err("refused").name(), "PERMISSION_DENIED");
        assert_eq!(wire.update(role, mine.clone()).await.expect_err("refused").name(), "PERMISSION_DENIED");
        assert_eq!(wire.delete(role, ORG, &mine.id).await.expect_err("refused").name(), "PERMISSION_DENIED");
    }
    assert_eq!(wire.get(Role::Customer, ORG, &mine.id, 0).await.expect("reads"), mine);
}

async fn internal_articles_are_for_staff(wire: Wire) {
    let mine = wire
        .create(
            Role::Admin,
            ORG,
            "",
            pb::Article { audience: pb::Audience::Internal.into(), category: "Zoo".into(), ..zebra() },
        )
        .await
        .expect("creates");
    assert_eq!(wire.get(Role::Customer, ORG, &mine.id, 0).await.expect_err("hidden").name(), "ARTICLE_NOT_FOUND");
    wire.get(Role::Agent, ORG, &mine.id, 0).await.expect("reads");
    let internal = pb::SearchRequest { include_internal: true, ..ask(ZEBRA) };
    assert_eq!(
        wire.search(Role::Customer, ORG, internal.clone()).await.expect_err("refused").name(),
        "PERMISSION_DENIED"
    );
    assert_eq!(wire.search(Role::Agent, ORG, internal).await.expect("searches")[0].article_id, mine.id);
    assert!(wire.search(Role::Agent, ORG, ask(ZEBRA)).await.expect("searches").iter().all(|p| p.article_id != mine.id));
    let zoo = pb::ListArticlesRequest { category: "Zoo".into(), ..pb::ListArticlesRequest::default() };
    assert!(wire.list(Role::Customer, zoo.clone()).await.expect("lists").articles.is_empty());
    assert_eq!(wire.list(Role::Agent, zoo).await.expect("lists").articles.len(), 1);
}

async fn another_organization_cannot_tell_that_an_article_is_there(wire: Wire) {
    let mine = wire.create(Role::Admin, ORG, "", zebra()).await.expect("creates");
    assert_eq!(wire.get(Role::Admin, OTHER, &mine.id, 0).await.expect_err("hidden").name(), "ARTICLE_NOT_FOUND");
    assert_eq!(wire.delete(Role::Admin, OTHER, &mine.id).await.expect_err("hidden").name(), "ARTICLE_NOT_FOUND");
    assert!(wire.search(Role::Admin, OTHER, ask(ZEBRA)).await.expect("searches").is_empty());
}

async fn pages_hold_every_article_once_and_no_bodies(wire: Wire) {
    let (mut ids, mut token) = (vec![], String::new());
    loop {
        let page = wire
            .list(
                Role::Agent,
                pb::ListArticlesRequest { page_size: 30, page_token: token, ..pb::ListArticlesRequest::default() },
            )
            .await
            .expect("lists");
        assert!(page.articles.iter().all(|a| a.body.is_empty() && !a.title.is_empty()));
        ids.extend(page.articles.into_iter().map(|a| a.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert!(ids.len() >= 84 && ids.is_sorted());
    ids.dedup();
    assert!(ids.len() >= 84);
}

async fn wrong_fields_are_named(wire: Wire) {
    let fields = |fault: Fault| fault.fields.into_iter().map(|f| f.field).collect::<Vec<_>>();
    let search = async |request: pb::SearchRequest| {
        fields(wire.search(Role::Customer, ORG, request).await.expect_err("refused"))
    };
    assert_eq!(search(ask("")).await, ["query"]);
    assert_eq!(search(ask(&"a".repeat(5001))).await, ["query"]);
    assert_eq!(search(pb::SearchRequest { limit: 51, ..ask("a") }).await, ["limit"]);
    let wrong = pb::Article {
        title: " ".into(),
        body: "x\0".into(),
        language: "en us".into(),
        tags: vec!["x".repeat(101)],
        source_url: "javascript:alert(1)".into(),
        slug: "A B".into(),
        confidence_score: 2.0,
        audience: 9,
        ..pb::Article::default()
    };
    let named = fields(wire.create(Role::Admin, ORG, "x", wrong).await.expect_err("refused"));
    for field in [
        "request_id",
        "article.title",
        "article.body",
        "article.language",
        "article.tags[0]",
        "article.source_url",
        "article.slug",
        "article.confidence_score",
        "article.audience",
    ] {
        assert!(named.contains(&field.to_owned()), "{field} in {named:?}");
    }
    assert_eq!(fields(wire.get(Role::Customer, ORG, "x", 0).await.expect_err("refused")), ["article_id"]);
    let page = pb::ListArticlesRequest { page_token: "%".into(), ..pb::ListArticlesRequest::default() };
    assert_eq!(fields(wire.list(Role::Customer, page).await.expect_err("refused")), ["page_token"]);
    let page = pb::ListArticlesRequest { page_size: 201, ..pb::ListArticlesRequest::default() };
    assert_eq!(fields(wire.list(Role::Customer, page).await.expect_err("refused")), ["page_size"]);
    wire.create(Role::Admin, ORG, "", pb::Article { slug: "z".into(), ..zebra() }).await.expect("creates");
    let taken =
        wire.create(Role::Admin, ORG, "", pb::Article { slug: "z".into(), ..zebra() }).await.expect_err("taken");
    assert_eq!(taken.name(), "ALREADY_EXISTS");
}

async fn an_expired_article_is_never_cited(wire: Wire) {
    let expire_time = Some(switchboard_proto::convert::timestamp(wire.mesh.clock.now() + SignedDuration::from_secs(5)));
    let mine = wire.create(Role::Admin, ORG, "", pb::Article { expire_time, ..zebra() }).await.expect("creates");
    assert_eq!(mine.expire_time, expire_time);
    assert_eq!(wire.search(Role::Customer, ORG, ask(ZEBRA)).await.expect("searches")[0].article_id, mine.id);
    wire.mesh.clock.advance(SignedDuration::from_secs(5));
    assert!(wire.search(Role::Agent, ORG, ask(ZEBRA)).await.expect("searches").iter().all(|p| p.article_id != mine.id));
}

async fn demo_text_that_a_caller_sends_back_is_the_callers(wire: Wire) {
    let found = wire.search(Role::Customer, ORG, ask("how do I export a report?")).await.expect("searches");
    let article = wire.get(Role::Admin, ORG, &found[0].article_id, 0).await.expect("reads");
    assert_eq!(article.source, "demo");
    assert_eq!(wire.update(Role::Admin, article).await.expect("updates").source, "api");
}

#[tokio::test]
async fn without_the_schema_it_says_so_and_serves_when_it_is_there() {
    with_database(async |database| {
        let wire = Wire::run(&database.ledger()).await;
        wire.until(ServingStatus::NotServing).await;
        let refused = wire.search(Role::Customer, ORG, ask(ZEBRA)).await.expect_err("not yet");
        assert_eq!(refused.name(), "STORE_FAILED");
        // A condition that is not known yet becomes one that says what to do.
        let named = async {
            while !wire.why().await.contains("run `switchboard migrate`") {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, named).await.expect("says what to do");
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        wire.until(ServingStatus::Serving).await;
        the_demo_answers_at_once(wire).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_or_goes_is_waited_for() {
    let Some(cluster) = Cluster::start() else { return };
    let ledger = Ledger::Postgres(cluster.at(cluster.port));
    MIGRATIONS.apply(&ledger).await.expect("migrates");
    cluster.down("fast");
    let (wire, twin) = (Wire::run(&ledger).await, Wire::run(&ledger).await);
    wire.until(ServingStatus::NotServing).await;
    assert!(wire.why().await.contains("the search index is being brought up to the articles"), "{}", wire.why().await);
    cluster.up();
    for wire in [&wire, &twin] {
        wire.until(ServingStatus::Serving).await;
        let found = wire.search(Role::Customer, ORG, ask("how do I export a report?")).await.expect("searches");
        assert_eq!(found[0].title, "Export a report");
    }
    cluster.down("fast");
    let found = wire.search(Role::Customer, ORG, ask("how do I export a report?")).await.expect("the index is here");
    assert_eq!(found[0].title, "Export a report");
    let refused = wire.create(Role::Admin, ORG, "", zebra()).await.expect_err("the store is not there");
    assert!(["STORE_FAILED", "OVERLOADED", "DEADLINE_EXCEEDED"].contains(&refused.name()), "{}", refused.name());
    wire.until(ServingStatus::NotServing).await;
    cluster.up();
    wire.until(ServingStatus::Serving).await;
    let mine = wire.create(Role::Admin, ORG, "", zebra()).await.expect("creates");
    // The other replica finds it by itself.
    let found = async {
        let finds = |found: &[pb::Passage]| found.first().is_some_and(|p| p.article_id == mine.id);
        while !twin.search(Role::Customer, ORG, ask(ZEBRA)).await.is_ok_and(|found| finds(&found)) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, found).await.expect("is found by the other replica");
}
