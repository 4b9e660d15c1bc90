//! The wire: checks what comes in, turns it into words of the domain and back.
use jiff::Timestamp;
use switchboard_proto::{
    convert,
    knowledge::v1::{self as pb, knowledge_service_server::KnowledgeService},
};
use switchboard_runtime::{Caller, Fault, Role, page, validate::Check};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    article::{Article, NewArticle},
    demo,
    error::Error,
    knowledge::{Answer, Knowledge, Question},
};

const WRITERS: &[Role] = &[Role::Admin, Role::Service];
const DEFAULT_LIMIT: u32 = 5;
const MOST_PASSAGES: u32 = 50;
const LONGEST_QUERY: usize = 5000;
const LONGEST_TITLE: usize = 500;
const LONGEST_BODY: usize = 200_000;
const LONGEST_NAME: usize = 100;
const MOST_NAMES: usize = 50;
/// The longest address that browsers and servers agree on.
const LONGEST_URL: usize = 2000;

pub(crate) struct Grpc {
    pub(crate) knowledge: Knowledge,
}

#[tonic::async_trait]
impl KnowledgeService for Grpc {
    async fn search(&self, request: Request<pb::SearchRequest>) -> Result<Response<pb::SearchResponse>, Status> {
        let caller = Caller::current()?;
        let request = request.into_inner();
        let mut check = Check::new();
        check.text("query", &request.query, 1, LONGEST_QUERY).range(
            "limit",
            request.limit.into(),
            0,
            MOST_PASSAGES.into(),
        );
        check.text("language", &request.language, 0, LONGEST_NAME).text("intent", &request.intent, 0, LONGEST_NAME);
        names(&mut check, "error_codes", &request.error_codes);
        check.done()?;
        if request.include_internal {
            Caller::with_role(switchboard_runtime::caller::STAFF)?;
        }
        let question = Question {
            text: request.query,
            limit: if request.limit == 0 { DEFAULT_LIMIT } else { request.limit } as usize,
            language: request.language,
            internal: request.include_internal,
            intent: request.intent,
            error_codes: request.error_codes,
        };
        let answers = self.knowledge.search(caller.org, &question).await.map_err(Fault::from)?;
        Ok(Response::new(pb::SearchResponse { passages: answers.into_iter().map(passage).collect() }))
    }

    async fn create_article(
        &self,
        request: Request<pb::CreateArticleRequest>,
    ) -> Result<Response<pb::CreateArticleResponse>, Status> {
        let caller = Caller::with_role(WRITERS)?;
        let request = request.into_inner();
        let mut check = Check::new();
        let request_id = (!request.request_id.is_empty()).then(|| check.uuid("request_id", &request.request_id));
        let article = check.required("article", request.article).unwrap_or_default();
        let content = content(&mut check, article);
        check.done()?;
        let stored = self.knowledge.create(caller.org, caller.user, request_id, content).await.map_err(Fault::from)?;
        Ok(Response::new(pb::CreateArticleResponse { article: Some(wire(stored)) }))
    }

    async fn update_article(
        &self,
        request: Request<pb::UpdateArticleRequest>,
    ) -> Result<Response<pb::UpdateArticleResponse>, Status> {
        let caller = Caller::with_role(WRITERS)?;
        let mut check = Check::new();
        let article = check.required("article", request.into_inner().article).unwrap_or_default();
        let id = check.uuid("article.id", &article.id);
        let seen = (article.version > 0).then_some(article.version);
        let content = content(&mut check, article);
        check.done()?;
        let stored = self.knowledge.update(caller.org, caller.user, id, seen, content).await.map_err(Fault::from)?;
        Ok(Response::new(pb::UpdateArticleResponse { article: Some(wire(stored)) }))
    }

    async fn get_article(
        &self,
        request: Request<pb::GetArticleRequest>,
    ) -> Result<Response<pb::GetArticleResponse>, Status> {
        let caller = Caller::current()?;
        let request = request.into_inner();
        let mut check = Check::new();
        let id = check.uuid("article_id", &request.article_id);
        check.done()?;
        let version = (request.version > 0).then_some(request.version);
        let article = self.knowledge.get(caller.org, id, version, caller.is_staff()).await.map_err(Fault::from)?;
        Ok(Response::new(pb::GetArticleResponse { article: Some(wire(article)) }))
    }

    async fn list_articles(
        &self,
        request: Request<pb::ListArticlesRequest>,
    ) -> Result<Response<pb::ListArticlesResponse>, Status> {
        let caller = Caller::current()?;
        let request = request.into_inner();
        let mut check = Check::new();
        check.text("category", &request.category, 0, LONGEST_NAME).done()?;
        let size = page::size(request.page_size)?;
        let after: Option<Uuid> = page::key(&request.page_token)?;
        let category = Some(request.category).filter(|c| !c.is_empty());
        // One more than asked for tells whether there is a next page.
        let mut found =
            self.knowledge.list(caller.org, after, size + 1, category, caller.is_staff()).await.map_err(Fault::from)?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let next_page_token = found.last().filter(|_| more).map(|a| page::token(&a.id)).unwrap_or_default();
        let articles = found.into_iter().map(|a| pb::Article { body: String::new(), ..wire(a) }).collect();
        Ok(Response::new(pb::ListArticlesResponse { articles, next_page_token }))
    }

    async fn delete_article(
        &self,
        request: Request<pb::DeleteArticleRequest>,
    ) -> Result<Response<pb::DeleteArticleResponse>, Status> {
        let caller = Caller::with_role(WRITERS)?;
        let mut check = Check::new();
        let id = check.uuid("article_id", &request.into_inner().article_id);
        check.done()?;
        self.knowledge.delete(caller.org, caller.user, id).await.map_err(Fault::from)?;
        Ok(Response::new(pb::DeleteArticleResponse {}))
    }
}

fn names(check: &mut Check, field: &str, names: &[String]) {
    if names.len() > MOST_NAMES {
        check.fail(field, format!("must have at most {MOST_NAMES} items; it has {}", names.len()));
    }
    for (at, name) in names.iter().enumerate() {
        check.text(&format!("{field}[{at}]"), name, 1, LONGEST_NAME);
    }
}

fn content(check: &mut Check, article: pb::Article) -> NewArticle {
    check
        .text("article.title", article.title.trim(), 1, LONGEST_TITLE)
        .text("article.body", &article.body, 1, LONGEST_BODY)
        .text("article.source_url", &article.source_url, 0, LONGEST_URL);
    let short = [
        ("article.language", &article.language),
        ("article.category", &article.category),
        ("article.subcategory", &article.subcategory),
        ("article.source", &article.source),
        ("article.slug", &article.slug),
        ("article.product", &article.product),
    ];
    for (field, text) in short {
        check.text(field, text, 0, LONGEST_NAME);
    }
    let tag = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !article.language.chars().all(tag) {
        check.fail("article.language", "must be a BCP 47 tag such as en or pt-BR");
    }
    if !article.source_url.is_empty()
        && !["https://", "http://"].iter().any(|scheme| article.source_url.starts_with(scheme))
    {
        check.fail("article.source_url", "must begin with https:// or http://");
    }
    let slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !article.slug.chars().all(slug) {
        check.fail("article.slug", "must have only a to z, 0 to 9, - and _");
    }
    let lists = [
        ("article.tags", &article.tags),
        ("article.errors", &article.errors),
        ("article.features", &article.features),
        ("article.see_also", &article.see_also),
    ];
    for (field, list) in lists {
        names(check, field, list);
    }
    if !(0.0..=1.0).contains(&article.confidence_score) {
        check.fail("article.confidence_score", "must be 0 to 1");
    }
    if pb::Audience::try_from(article.audience).is_err() {
        check.fail("article.audience", "is not one that is known");
    }
    let internal = article.audience() == pb::Audience::Internal;
    let validated = time(check, "article.validate_time", article.validate_time);
    let expires = time(check, "article.expire_time", article.expire_time);
    NewArticle {
        title: article.title.trim().to_owned(),
        body: article.body,
        language: if article.language.is_empty() { "en".to_owned() } else { article.language },
        category: article.category,
        subcategory: article.subcategory,
        tags: article.tags,
        internal,
        // What a caller wrote is not ours any more, even if it was read from a demo article before: the next import must
        // not put its own text over it.
        source: if article.source.is_empty() || article.source == demo::SOURCE {
            "api".to_owned()
        } else {
            article.source
        },
        source_url: article.source_url,
        confidence: article.confidence_score,
        validated,
        expires,
        slug: article.slug,
        errors: article.errors,
        features: article.features,
        see_also: article.see_also,
        product: article.product,
    }
}

fn time(check: &mut Check, field: &str, value: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let time = convert::from_timestamp(&value?);
    if time.is_none() {
        check.fail(field, "is out of range");
    }
    // Kept to the microsecond.
    time.and_then(|t| Timestamp::from_microsecond(t.as_microsecond()).ok())
}

fn wire(article: Article) -> pb::Article {
    let content = article.content;
    pb::Article {
        id: article.id.to_string(),
        version: article.version,
        is_current: article.current,
        title: content.title,
        body: content.body,
        language: content.language,
        category: content.category,
        subcategory: content.subcategory,
        tags: content.tags,
        audience: if content.internal { pb::Audience::Internal } else { pb::Audience::Public }.into(),
        source: content.source,
        source_url: content.source_url,
        confidence_score: content.confidence,
        usage_count: article.usage_count,
        success_rate: article.success_rate,
        validate_time: content.validated.map(convert::timestamp),
        expire_time: content.expires.map(convert::timestamp),
        create_time: Some(convert::timestamp(article.created)),
        update_time: Some(convert::timestamp(article.updated)),
        slug: content.slug,
        errors: content.errors,
        features: content.features,
        see_also: content.see_also,
        product: content.product,
    }
}

fn passage(answer: Answer) -> pb::Passage {
    let passage = answer.passage;
    pb::Passage {
        article_id: passage.article.to_string(),
        version: passage.version,
        title: passage.title,
        url: passage.url,
        heading: passage.heading,
        text: passage.text,
        quote: answer.quote,
        score: answer.score,
        explanation: answer.why,
        category: passage.category,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Fault::from(error).into()
    }
}
