//! Knowledge: articles with versions, search, and which answers rest on one.
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switchboard_errors::{Fault, Reason};
use switchboard_proto::{
    conversation::v1::{CitingAnswer, ListAnswersCitingRequest},
    convert::timestamp,
    events::v1::ConversationStatus,
    knowledge::v1::{self as pb, Audience},
};
use switchboard_runtime::{Caller, validate::Check};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{conversations::LONGEST, page_size};
use crate::{
    app::Edge,
    body::{Ids, Params, RetryKey, Strict},
    error::Answer,
    names::{self, word},
    view::{Page, some, time},
};

/// An article as it is written.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewArticle {
    #[schema(min_length = 1, max_length = 500)]
    title: String,
    /// Markdown.
    #[schema(min_length = 1, max_length = 200_000)]
    body: String,
    /// BCP 47 tag.
    language: Option<String>,
    #[schema(max_length = 100)]
    category: Option<String>,
    #[schema(max_length = 100)]
    subcategory: Option<String>,
    #[schema(max_items = 50)]
    tags: Option<Vec<String>>,
    /// public (default) or internal: agents only.
    audience: Option<String>,
    /// Where it came from; api by default.
    source: Option<String>,
    /// Where a person can read it.
    source_url: Option<String>,
    /// From then on it is never cited.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// A short readable name, unique in the organization.
    slug: Option<String>,
    /// Error codes that it explains.
    errors: Option<Vec<String>>,
    /// Features that it is about.
    features: Option<Vec<String>>,
    /// Slugs of related articles.
    see_also: Option<Vec<String>>,
    /// The product that it is about.
    product: Option<String>,
}

impl NewArticle {
    fn article(self, id: String, version: u32) -> Result<pb::Article, Fault> {
        let mut check = Check::new();
        check.text("title", &self.title, 1, 500).text("body", &self.body, 1, 200_000);
        let expire_time = self.expires_at.and_then(|text| match text.parse::<Timestamp>() {
            Ok(t) => Some(timestamp(t)),
            Err(_) => {
                check.fail("expires_at", "must be a time such as 2030-01-31T12:00:00Z");
                None
            }
        });
        check.done()?;
        Ok(pb::Article {
            id,
            version,
            title: self.title,
            body: self.body,
            language: self.language.unwrap_or_default(),
            category: self.category.unwrap_or_default(),
            subcategory: self.subcategory.unwrap_or_default(),
            tags: self.tags.unwrap_or_default(),
            audience: names::read::<Audience>("audience", self.audience.as_deref())?,
            source: self.source.unwrap_or_else(|| "api".to_owned()),
            source_url: self.source_url.unwrap_or_default(),
            expire_time,
            slug: self.slug.unwrap_or_default(),
            errors: self.errors.unwrap_or_default(),
            features: self.features.unwrap_or_default(),
            see_also: self.see_also.unwrap_or_default(),
            product: self.product.unwrap_or_default(),
            ..pb::Article::default()
        })
    }
}

/// One version of an article.
#[derive(Debug, Serialize, ToSchema)]
struct Article {
    /// The same for all its versions.
    #[schema(format = Uuid)]
    id: String,
    version: u32,
    /// True for the version that is cited now.
    is_current: bool,
    title: String,
    /// Markdown; null in lists.
    #[schema(required)]
    body: Option<String>,
    language: Option<String>,
    category: Option<String>,
    subcategory: Option<String>,
    tags: Vec<String>,
    /// public or internal.
    audience: String,
    source: Option<String>,
    source_url: Option<String>,
    confidence_score: f64,
    usage_count: u64,
    success_rate: Option<f64>,
    validated_at: Option<String>,
    expires_at: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
    slug: Option<String>,
    errors: Vec<String>,
    features: Vec<String>,
    see_also: Vec<String>,
    product: Option<String>,
}

impl From<pb::Article> for Article {
    fn from(a: pb::Article) -> Self {
        Article {
            id: a.id,
            version: a.version,
            is_current: a.is_current,
            title: a.title,
            body: some(a.body),
            language: some(a.language),
            category: some(a.category),
            subcategory: some(a.subcategory),
            tags: a.tags,
            audience: word::<Audience>(a.audience).unwrap_or_else(|| "public".to_owned()),
            source: some(a.source),
            source_url: some(a.source_url),
            confidence_score: a.confidence_score,
            usage_count: a.usage_count,
            success_rate: a.success_rate,
            validated_at: time(&a.validate_time),
            expires_at: time(&a.expire_time),
            created_at: time(&a.create_time),
            updated_at: time(&a.update_time),
            slug: some(a.slug),
            errors: a.errors,
            features: a.features,
            see_also: a.see_also,
            product: some(a.product),
        }
    }
}

fn etag(version: u32) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{version}\""))]
}

/// Publish an article; it is citable when this returns. Admins.
#[utoipa::path(post, path = "/v1/knowledge", operation_id = "createArticle", tag = "Knowledge", request_body = NewArticle,
    responses((status = 201, description = "Version 1", body = Article,
        headers(("Location" = String, description = "Path of the article"), ("ETag" = String, description = "The version, quoted")))))]
async fn create(State(app): State<Edge>, key: RetryKey, Strict(new): Strict<NewArticle>) -> Answer<Response> {
    let caller = Caller::current()?;
    let article = new.article(String::new(), 0)?;
    let ask = pb::CreateArticleRequest { request_id: key.as_uuid(caller.user), article: Some(article) };
    let made = Article::from(app.knowledge().create_article(ask).await?.into_inner().article.unwrap_or_default());
    let location = [(header::LOCATION, format!("/v1/knowledge/{}", made.id))];
    Ok((StatusCode::CREATED, location, etag(made.version), Json(made)).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only this category.
    category: Option<String>,
    /// From an earlier answer.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// List current articles, without bodies.
#[utoipa::path(get, path = "/v1/knowledge", operation_id = "listArticles", tag = "Knowledge", params(ListQuery),
    responses((status = 200, description = "A page", body = Page<Article>)))]
async fn list(State(app): State<Edge>, Params(query): Params<ListQuery>) -> Answer<Json<Page<Article>>> {
    let ask = pb::ListArticlesRequest {
        page_size: page_size(query.limit)?,
        page_token: query.cursor.unwrap_or_default(),
        category: query.category.unwrap_or_default(),
    };
    let page = app.knowledge().list_articles(ask).await?.into_inner();
    Ok(Json(Page::of(page.articles, page.next_page_token)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct VersionQuery {
    /// A version; the current one by default.
    #[param(minimum = 1)]
    version: Option<u32>,
}

/// Read an article.
#[utoipa::path(get, path = "/v1/knowledge/{article_id}", operation_id = "getArticle", tag = "Knowledge",
    params(("article_id" = Uuid, Path), VersionQuery), responses((status = 200, description = "The article", body = Article,
        headers(("ETag" = String, description = "The version, quoted; for If-Match")))))]
async fn get(
    State(app): State<Edge>,
    Ids([article_id]): Ids<1>,
    Params(query): Params<VersionQuery>,
) -> Answer<Response> {
    if query.version == Some(0) {
        return Err(Fault::field("version", "must be at least 1").into());
    }
    let ask = pb::GetArticleRequest { article_id, version: query.version.unwrap_or_default() };
    let found = Article::from(app.knowledge().get_article(ask).await?.into_inner().article.unwrap_or_default());
    Ok((etag(found.version), Json(found)).into_response())
}

/// Publish the next version. With `If-Match` only if that version is the newest. Admins.
#[utoipa::path(put, path = "/v1/knowledge/{article_id}", operation_id = "updateArticle", tag = "Knowledge",
    params(("article_id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    request_body = NewArticle, responses((status = 200, description = "The next version", body = Article,
        headers(("ETag" = String, description = "The version, quoted"))), (status = 412, description = "It was changed in the meantime")))]
async fn update(
    State(app): State<Edge>,
    Ids([article_id]): Ids<1>,
    headers: HeaderMap,
    Strict(new): Strict<NewArticle>,
) -> Answer<Response> {
    let version = match headers.get(header::IF_MATCH).map(|v| v.to_str().unwrap_or_default().trim()) {
        None | Some("*") => 0,
        Some(tag) => tag
            .trim_matches('"')
            .parse::<u32>()
            .ok()
            .filter(|v| *v > 0)
            .ok_or_else(|| Fault::new(Reason::Stale, "If-Match is not the newest ETag. Read the article again."))?,
    };
    let ask = pb::UpdateArticleRequest { article: Some(new.article(article_id, version)?) };
    let made = Article::from(app.knowledge().update_article(ask).await?.into_inner().article.unwrap_or_default());
    Ok((etag(made.version), Json(made)).into_response())
}

/// Archive an article; it is never cited again when this returns. Admins.
#[utoipa::path(delete, path = "/v1/knowledge/{article_id}", operation_id = "deleteArticle", tag = "Knowledge",
    params(("article_id" = Uuid, Path)), responses((status = 204, description = "Archived")))]
async fn delete(State(app): State<Edge>, Ids([article_id]): Ids<1>) -> Answer<StatusCode> {
    app.knowledge().delete_article(pb::DeleteArticleRequest { article_id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// The customer's words.
    #[param(min_length = 1, max_length = 5000)]
    q: String,
    #[param(minimum = 1, maximum = 50)]
    limit: Option<u32>,
    /// BCP 47 tag to prefer.
    language: Option<String>,
    /// True to search internal articles too; agents only.
    include_internal: Option<bool>,
}

/// A passage of an article.
#[derive(Debug, Serialize, ToSchema)]
struct Passage {
    #[schema(format = Uuid)]
    article_id: String,
    version: u32,
    title: String,
    url: Option<String>,
    heading: Option<String>,
    text: String,
    /// The sentence or two that answer best.
    quote: String,
    /// 0 to 1.
    score: f64,
    /// Why it was found.
    explanation: String,
    category: Option<String>,
}

impl From<pb::Passage> for Passage {
    fn from(p: pb::Passage) -> Self {
        Passage {
            article_id: p.article_id,
            version: p.version,
            title: p.title,
            url: some(p.url),
            heading: some(p.heading),
            text: p.text,
            quote: p.quote,
            score: p.score,
            explanation: p.explanation,
            category: some(p.category),
        }
    }
}

/// Search: the passages that answer best, or none.
#[utoipa::path(get, path = "/v1/knowledge/search", operation_id = "searchKnowledge", tag = "Knowledge", params(SearchQuery),
    responses((status = 200, description = "Best first", body = Page<Passage>)))]
async fn search(State(app): State<Edge>, Params(query): Params<SearchQuery>) -> Answer<Json<Page<Passage>>> {
    Check::new().text("q", &query.q, 1, LONGEST).range("limit", query.limit.unwrap_or(1).into(), 1, 50).done()?;
    let ask = pb::SearchRequest {
        query: query.q,
        limit: query.limit.unwrap_or_default(),
        language: query.language.unwrap_or_default(),
        include_internal: query.include_internal.unwrap_or_default(),
        ..pb::SearchRequest::default()
    };
    Ok(Json(Page::of(app.knowledge().search(ask).await?.into_inner().passages, String::new())))
}

/// A reply that rests on an article.
#[derive(Debug, Serialize, ToSchema)]
struct RestingAnswer {
    #[schema(format = Uuid)]
    conversation_id: String,
    #[schema(format = Uuid)]
    message_id: String,
    #[schema(format = Uuid)]
    user_id: String,
    /// The version that was cited.
    version: u32,
    #[schema(format = DateTime)]
    created_at: String,
    /// Where the conversation stands.
    status: String,
}

impl From<CitingAnswer> for RestingAnswer {
    fn from(a: CitingAnswer) -> Self {
        RestingAnswer {
            conversation_id: a.conversation_id,
            message_id: a.message_id,
            user_id: a.user_id,
            version: a.version,
            created_at: time(&a.create_time).unwrap_or_default(),
            status: word::<ConversationStatus>(a.status).unwrap_or_default(),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ImpactQuery {
    /// Only this version.
    version: Option<u32>,
    /// From an earlier answer.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// The replies that rest on an article, newest first. Agents and admins.
#[utoipa::path(get, path = "/v1/knowledge/{article_id}/impact", operation_id = "getArticleImpact", tag = "Knowledge",
    params(("article_id" = Uuid, Path), ImpactQuery), responses((status = 200, description = "A page", body = Page<RestingAnswer>)))]
async fn impact(
    State(app): State<Edge>,
    Ids([article_id]): Ids<1>,
    Params(query): Params<ImpactQuery>,
) -> Answer<Json<Page<RestingAnswer>>> {
    let ask = ListAnswersCitingRequest {
        article_id,
        version: query.version.unwrap_or_default(),
        page_size: page_size(query.limit)?,
        page_token: query.cursor.unwrap_or_default(),
    };
    let page = app.conversation().list_answers_citing(ask).await?.into_inner();
    Ok(Json(Page::of(page.answers, page.next_page_token)))
}

pub(super) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(search))
        .routes(routes!(get, update, delete))
        .routes(routes!(impact))
}
