//! The router, and what is done for every request on it.
//!
//! Order, outer to inner: trace and request id → panic → security headers and CORS → [`gate`] (token → rate limit →
//! idempotency) → handler. The first three hold for every answer, refusals and pages among them.
use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use switchboard_errors::Fault;
use switchboard_runtime::{Context, trace::TraceContext};
use tokio::time::Instant;
use tracing::Instrument as _;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    app::Edge,
    error::{self, Refusal},
    gate, health, openapi, pages, rest, socket,
};

/// All routes of the edge. A route that is here is in the OpenAPI document: both come from the same lines.
pub(crate) fn routes(app: &Edge) -> OpenApiRouter<Edge> {
    let signed_in = rest::signed_in().route_layer(from_fn_with_state(app.clone(), gate::signed_in));
    let open = rest::open().route_layer(from_fn_with_state(app.clone(), gate::open));
    let free = OpenApiRouter::new()
        .merge(health::routes())
        .merge(pages::routes())
        .merge(openapi::routes())
        .merge(socket::routes());
    OpenApiRouter::with_openapi(openapi::base()).merge(signed_in).merge(open).merge(free)
}

/// The router with everything around it.
pub(crate) fn router(app: &Edge) -> Router {
    let (router, _) = routes(app).split_for_parts();
    router
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn_with_state(app.clone(), every_request))
        .with_state(app.clone())
}

const KNOWN: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Longest request id that is taken over.
const LONGEST_ID: usize = 128;

async fn every_request(State(app): State<Edge>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let _running = app.host.metrics.running();
    let trace = text(request.headers(), "traceparent")
        .and_then(TraceContext::parse)
        .map_or_else(TraceContext::new, TraceContext::child);
    let id = text(request.headers(), "x-request-id")
        .filter(|id| !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|b| b.is_ascii_graphic()))
        .map_or_else(|| app.host.clock.new_id().to_string(), str::to_owned);
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let origin = allowed_origin(&app, request.headers());
    let span = tracing::info_span!("http", method = %method, route, trace_id = %trace.trace_id_hex());

    let context = Context { trace, request_id: Some(Arc::from(id.as_str())), ..Context::default() };
    let work = async {
        if origin.is_some() && is_preflight(&request) {
            return preflight();
        }
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => Refusal::from(Fault::internal("a handler panicked")).into_response(),
        }
    };
    let mut response = context.scope(error::on_path(path.clone(), work)).instrument(span).await;

    let headers = response.headers_mut();
    put(headers, "x-request-id", &id);
    put(headers, "traceparent", &trace.to_string());
    secure(&app, headers, &path);
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    // Anybody can invent methods; each would be a series of its own.
    let method = if KNOWN.contains(&method) { method.as_str() } else { "OTHER" };
    app.host.metrics.observe("edge", &format!("{method} {route}"), response.status().as_str(), started.elapsed());
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// The headers of every answer. Only the chat page may be framed, and only by configured sites.
fn secure(app: &Edge, headers: &mut HeaderMap, path: &str) {
    let framed = path == "/chat" && !app.config.widget_origins.is_empty();
    let ancestors =
        if framed { format!("'self' {}", app.config.widget_origins.join(" ")) } else { "'none'".to_owned() };
    put(
        headers,
        "content-security-policy",
        &format!(
            "default-src 'self'; connect-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
             form-action 'self'; frame-ancestors {ancestors}"
        ),
    );
    if !framed {
        put(headers, "x-frame-options", "DENY");
    }
    put(headers, "x-content-type-options", "nosniff");
    put(headers, "referrer-policy", "strict-origin-when-cross-origin");
    put(headers, "strict-transport-security", "max-age=31536000; includeSubDomains");
}

const EXPOSED: &str =
    "etag, location, retry-after, x-request-id, traceparent, ratelimit-limit, ratelimit-remaining, ratelimit-reset";
const TAKEN: &str =
    "authorization, content-type, accept, if-match, idempotency-key, last-event-id, x-request-id, traceparent";

fn allowed_origin(app: &Edge, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    app.config.cors_origins.iter().any(|o| o.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, TAKEN),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
