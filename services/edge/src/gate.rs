//! What stands before the handlers: who asks, how often, and whether they asked before.
//!
//! In: a request. Out: the handler's answer, run as the verified caller within a deadline. Never: a handler of `/v1` without
//! a verified token.
use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use switchboard_errors::{Fault, Reason};
use switchboard_runtime::Context;
use tokio::time::Instant;

use crate::{
    app::{App, Edge},
    body::{RetryKey, collect},
    error::Refusal,
    idempotency::{Stored, Ticket, fingerprint},
};

/// A whole turn with a language model has to fit; clients give up later than this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// Marks an answer that no cache may keep, an `Idempotency-Key` or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotKept;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The gate of routes that need a token.
pub(crate) async fn signed_in(State(app): State<Edge>, request: Request, next: Next) -> Response {
    let who = match bearer(request.headers()) {
        Ok(token) => Context::current().within(DEADLINE).scope(app.verifier.verify(&token)).await,
        Err(fault) => Err(fault),
    };
    match who {
        Ok(caller) => {
            let key = format!("{}/{}", caller.org, caller.user);
            let context = Context { caller: Some(caller), ..Context::current() }.within(DEADLINE);
            context.scope(counted(&app, key, request, next, true)).await
        }
        // Whoever guesses tokens is counted by address.
        Err(fault) => {
            let key = address(&app, &request);
            let fault = match &app.limiter {
                Some(limiter) => {
                    Some(limiter.take(&key).await).filter(|d| !d.admitted).map_or(fault, |d| limiter.refusal(d))
                }
                None => fault,
            };
            Refusal::from(fault).into_response()
        }
    }
}

/// The gate of routes for people who have not signed in yet.
pub(crate) async fn open(State(app): State<Edge>, request: Request, next: Next) -> Response {
    let key = address(&app, &request);
    // Two visitors behind one address may choose the same Idempotency-Key; a token must not go to the wrong one.
    Context::current().within(DEADLINE).scope(counted(&app, key, request, next, false)).await
}

/// The address that an unknown client is counted by.
fn address(app: &App, request: &Request) -> String {
    client(app, request.headers(), request.extensions().get::<Peer>().copied())
}

/// The client's address: the peer's, or what the trusted proxies say.
pub(crate) fn client(app: &App, headers: &HeaderMap, peer: Option<Peer>) -> String {
    let forwarded = || {
        let all: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()).collect();
        let all = all.join(",");
        all.rsplit(',').nth(app.config.proxies.checked_sub(1)?)?.trim().parse::<IpAddr>().ok()
    };
    let address = forwarded().or(peer.map(|Peer(ip)| ip));
    format!("address/{}", address.map(|a| a.to_string()).unwrap_or_default())
}

/// The token of the `authorization` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<String, Fault> {
    let header = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
            Ok(token.trim().to_owned())
        }
        _ => Err(Fault::new(Reason::Unauthenticated, "A bearer token is required in the authorization header.")),
    }
}

/// Counts, then runs, then says what is left.
async fn counted(app: &Edge, key: String, request: Request, next: Next, stored: bool) -> Response {
    let run = async |request| {
        let until = Context::current().deadline.unwrap_or_else(|| Instant::now() + DEADLINE);
        let work = async { if stored { once(app, &key, request, next).await } else { next.run(request).await } };
        tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| {
            Refusal::from(Fault::new(Reason::DeadlineExceeded, "The time for this request ran out.")).into_response()
        })
    };
    let Some(limiter) = &app.limiter else { return run(request).await };
    let decision = limiter.take(&key).await;
    let mut response =
        if decision.admitted { run(request).await } else { Refusal::from(limiter.refusal(decision)).into_response() };
    limiter.put_headers(response.headers_mut(), decision);
    response
}

/// Runs a POST with an `Idempotency-Key` once; a retry gets the first answer.
async fn once(app: &Edge, who: &str, request: Request, next: Next) -> Response {
    let key = match RetryKey::of(request.headers()) {
        Ok(Some(key)) if request.method() == Method::POST => format!("{who}/{key}"),
        Ok(_) => return next.run(request).await,
        Err(fault) => return Refusal::from(fault).into_response(),
    };
    let (parts, body) = request.into_parts();
    let bytes = match collect(&parts.headers, body).await {
        Ok(bytes) => bytes,
        Err(fault) => return Refusal::from(fault).into_response(),
    };
    let print = fingerprint(parts.method.as_str(), parts.uri.path(), &bytes);
    match app.answers.begin(&key, print).await {
        Err(fault) => Refusal::from(fault).into_response(),
        Ok(Err(stored)) => again(&stored),
        Ok(Ok(ticket)) => {
            let running = Running { app: app.clone(), ticket: Some(ticket) };
            let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
            running.keep(response).await
        }
    }
}

/// Headers of a stored answer that are not those of the request that gets it again.
const OF_THE_REQUEST: [&str; 2] = ["x-request-id", "traceparent"];

fn again(stored: &Arc<Stored>) -> Response {
    let mut response = (stored.status, stored.body.clone()).into_response();
    *response.headers_mut() = stored.headers.clone();
    response
        .headers_mut()
        .insert(HeaderName::from_static("idempotency-replayed"), http::HeaderValue::from_static("true"));
    response
}

/// A request that runs; if its client goes away meanwhile, a retry may run.
struct Running {
    app: Edge,
    /// None once its end is told.
    ticket: Option<Ticket>,
}

impl Running {
    async fn keep(mut self, response: Response) -> Response {
        let Some(ticket) = self.ticket.clone() else { return response };
        let (response, kept) = worth_keeping(response).await;
        match kept {
            Some(kept) => self.app.answers.end(&ticket, kept).await,
            None => self.app.answers.forget(&ticket).await,
        }
        self.ticket = None;
        response
    }
}

/// An answer, and what of it a retry gets again; none if it runs again.
async fn worth_keeping(response: Response) -> (Response, Option<Stored>) {
    let streams =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream"));
    let status = response.status();
    // What may go better next time is not kept; a stream is kept by the owning service alone.
    let passing =
        status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::UNAUTHORIZED);
    let private = response.extensions().get::<NotKept>().is_some();
    if streams || passing || private || status == StatusCode::CONFLICT {
        return (response, None);
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return (Refusal::from(Fault::internal("an answer could not be read")).into_response(), None);
    };
    let mut headers = parts.headers.clone();
    for name in OF_THE_REQUEST {
        headers.remove(name);
    }
    let kept = Stored { status, headers, body: body.clone() };
    (Response::from_parts(parts, Body::from(body)), Some(kept))
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let app = self.app.clone();
            self.app.tasks.spawn(async move { app.answers.forget(&ticket).await });
        }
    }
}
