//! The client side of every call: deadline, trace, caller, and retries where they are safe.
//!
//! In: a request of a generated stub. Out: its response, or a `Status` with a reason. Never: a call without a deadline,
//! a retry of a method that is not marked idempotent, a retry past the one total deadline.
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    task::{Context as Poll_, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use switchboard_errors::{Fault, Reason};
use switchboard_proto::{METHODS, MethodRow};
use tokio::time::Instant;
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt as _};

use crate::{context::Context, mesh::Slots, secret::Secret};

/// Who calls, by service name.
pub const CALLER_HEADER: &str = "x-switchboard-caller";
/// The proof of it, where no mTLS gives one.
pub const KEY_HEADER: &str = "x-switchboard-key";
/// The edge's id of the request.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// Tries in all: the first and two more. More would only add load to a service that is down.
const TRIES: u32 = 3;
/// Wait before the first retry; doubled for the next, with full jitter.
const BACKOFF: Duration = Duration::from_millis(25);

static BY_PATH: LazyLock<HashMap<&'static str, &'static MethodRow>> =
    LazyLock::new(|| METHODS.iter().map(|m| (m.path, m)).collect());

/// What is known of a method; none for health and reflection.
pub fn method(path: &str) -> Option<&'static MethodRow> {
    BY_PATH.get(path).copied()
}

#[derive(Clone)]
pub(crate) enum Link {
    InProcess(Arc<Slots>),
    Tcp(Channel),
}

/// A channel to one service, for generated clients.
#[derive(Clone)]
pub struct MeshChannel {
    me: &'static str,
    callee: &'static str,
    budget: Duration,
    link: Link,
    key: Secret,
}

impl MeshChannel {
    pub(crate) fn new(me: &'static str, callee: &'static str, budget: Duration, link: Link, key: Secret) -> Self {
        MeshChannel { me, callee, budget, link, key }
    }

    /// The service at the other end.
    pub fn callee(&self) -> &'static str {
        self.callee
    }

    async fn send(self, mut request: Request<Body>) -> Response<Body> {
        let context = Context::current();
        let row = method(request.uri().path());
        let streaming = row.is_some_and(|m| m.streaming);
        let limit = context.remaining().map_or(self.budget, |left| left.min(self.budget));
        if limit.is_zero() {
            return self.late();
        }
        let deadline = Instant::now() + limit;
        self.put_headers(request.headers_mut(), &context);
        // A stream lives as long as its watcher: the deadline bounds the time to its first answer only.
        let timed = !streaming;
        if !(row.is_some_and(|m| m.idempotent) && timed && matches!(self.link, Link::Tcp(_))) {
            return self.attempt(request, deadline, timed).await;
        }
        let (parts, body) = request.into_parts();
        let Ok(bytes) = body.collect().await.map(|b| b.to_bytes()) else { return self.late() };
        for retry in 1.. {
            let request = rebuild(&parts, bytes.clone());
            let response = self.attempt(request, deadline, timed).await;
            let pause = (BACKOFF * 2u32.pow(retry - 1)).mul_f64(rand::random::<f64>());
            if !is_unavailable(&response) || retry >= TRIES || Instant::now() + pause >= deadline {
                return response;
            }
            tracing::debug!(callee = self.callee, retry, "call is tried again");
            tokio::time::sleep(pause).await;
        }
        unreachable!("the loop returns")
    }

    async fn attempt(&self, mut request: Request<Body>, deadline: Instant, timed: bool) -> Response<Body> {
        let left = deadline.saturating_duration_since(Instant::now());
        if timed && let Ok(value) = HeaderValue::from_str(&format!("{}u", left.as_micros().min(99_999_999))) {
            request.headers_mut().insert("grpc-timeout", value);
        }
        let call = async {
            match &self.link {
                Link::InProcess(slots) => match slots.get(self.callee).and_then(|s| s.get()) {
                    Some(service) => Ok(service.clone().oneshot(request).await.unwrap_or_else(|never| match never {})),
                    None => Err(format!("{} has not started yet", self.callee)),
                },
                Link::Tcp(channel) => channel.clone().oneshot(request).await.map_err(|e| chain(&e)),
            }
        };
        match tokio::time::timeout_at(deadline, call).await {
            Err(_) => self.late(),
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let detail = format!("The service {} cannot be reached right now. Try again.", self.callee);
                Status::from(Fault::new(Reason::Unavailable, detail).with_source(error)).into_http()
            }
        }
    }

    fn put_headers(&self, headers: &mut HeaderMap, context: &Context) {
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put(CALLER_HEADER, self.me);
        put("traceparent", &context.trace.child().to_string());
        if !self.key.is_empty() {
            put(KEY_HEADER, self.key.expose());
        }
        if let Some(id) = &context.request_id {
            put(REQUEST_ID_HEADER, id);
        }
        if let Some(caller) = &context.caller {
            put("authorization", &format!("Bearer {}", caller.token.expose()));
        }
    }

    fn late(&self) -> Response<Body> {
        let detail = format!("The time for this request ran out while {} waited for {}.", self.me, self.callee);
        Status::from(Fault::new(Reason::DeadlineExceeded, detail)).into_http()
    }
}

impl Service<Request<Body>> for MeshChannel {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Poll_<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.send(request).await) })
    }
}

fn rebuild(parts: &http::request::Parts, body: Bytes) -> Request<Body> {
    let mut request = Request::new(Body::new(Full::new(body)));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers.clone();
    *request.extensions_mut() = parts.extensions.clone();
    request
}

fn is_unavailable(response: &Response<Body>) -> bool {
    // UNAVAILABLE; a failed call has its status in the headers.
    response.headers().get("grpc-status").is_some_and(|s| s == "14")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(e) = next {
        text.push_str(": ");
        text.push_str(&e.to_string());
        next = e.source();
    }
    text
}
