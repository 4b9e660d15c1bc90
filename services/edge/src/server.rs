//! The HTTP server: sockets in, requests out, and an orderly end.
//!
//! In: a bound listener and a router. Out: answers. Never: a connection that costs more by sending slowly than its limits
//! allow. Only HTTP/1.1: browsers and the WebSocket need no more, and a proxy in front speaks HTTP/2 to the world.
use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use crate::{app::Edge, gate::Peer};

/// Time to send a request's head; a kept-alive connection may also be silent that long.
const HEAD: Duration = Duration::from_secs(30);
/// Header lines of a request. Browsers send some 20.
const HEADERS: usize = 64;
/// Bytes of a request's head: two long tokens fit.
const HEAD_BYTES: usize = 32 * 1024;
/// Running requests get this long when the process stops.
const DRAIN: Duration = Duration::from_secs(10);
/// After a failed accept, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn serve(router: Router, app: Edge, listener: TcpListener) {
    let address = listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
    tracing::info!(service = "edge", address, "listening");
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.drain.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                app.tasks.spawn(connection(router.clone(), app.clone(), stream, Peer(peer.ip())));
            }
            Err(e) => {
                tracing::warn!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    app.tasks.close();
    if tokio::time::timeout(DRAIN, app.tasks.wait()).await.is_err() {
        tracing::warn!(left = app.tasks.len(), "connections are cut off");
    }
}

async fn connection(router: Router, app: Edge, stream: TcpStream, peer: Peer) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // A connection that breaks is its client's affair.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = app.drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
