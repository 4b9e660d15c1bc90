//! Refusals as RFC 9457 problems: the only place that makes an HTTP error.
//!
//! In: a [`Fault`], or the `Status` of a service. Out: `application/problem+json` with the reason, the path and the trace.
//! Never: internal text; the cause goes to the log, once, here.
use std::error::Error as _;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use switchboard_errors::{Fault, Problem, Reason};
use switchboard_runtime::Context;
use tonic::Status;

/// The media type of problems.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

tokio::task_local! {
    static PATH: String;
}

/// Runs a request; problems made inside name this path.
pub(crate) async fn on_path<F: Future>(path: String, work: F) -> F::Output {
    PATH.scope(path, work).await
}

/// What a handler answers.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// A fault on its way out.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Fault);

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Refusal(in_our_words(fault))
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Refusal(in_our_words(Fault::from_status(&status)))
    }
}

/// A fault of a service, with fields under the names that clients of the edge know.
pub(crate) fn in_our_words(mut fault: Fault) -> Fault {
    for field in &mut fault.fields {
        let name = match field.field.as_str() {
            "page_size" => "limit",
            "page_token" => "cursor",
            "initial_message" | "content" => continue,
            other => other.strip_prefix("article.").unwrap_or(other),
        };
        if field.field != name {
            fault.detail = fault.detail.replacen(&field.field, name, 1).into();
            field.field = name.to_owned();
        }
    }
    fault
}

/// The problem document of a fault in the running request.
pub(crate) fn problem(fault: &Fault) -> Problem {
    let path = PATH.try_with(Clone::clone).unwrap_or_default();
    fault.problem(&path, &Context::current().trace.trace_id_hex())
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal(fault) = self;
        let problem = problem(&fault);
        if problem.status >= 500 {
            let cause = fault.source().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(reason = fault.name(), cause, "request failed");
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, PROBLEM_JSON), (header::CACHE_CONTROL, "no-store")], body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"switchboard\""));
        }
        // Whoever may come again is told when; a second where the service did not say.
        let wait = fault.retry_after.map(|d| d.as_secs() + u64::from(d.subsec_nanos() > 0));
        if matches!(problem.status, 429 | 503) || wait.is_some() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.unwrap_or(1).max(1)));
        }
        response
    }
}

/// 404 for a path that nothing serves.
pub(crate) async fn no_such_route() -> Refusal {
    Refusal(Fault::new(Reason::RouteNotFound, "Nothing is served here. /openapi.json lists what is."))
}

/// 405 for a path that another method serves; axum adds `Allow`.
pub(crate) async fn no_such_method() -> Refusal {
    Refusal(Fault::new(Reason::MethodNotAllowed, "This path takes other methods; see the Allow header."))
}
