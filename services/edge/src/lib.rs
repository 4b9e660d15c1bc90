//! The edge: REST, WebSocket, server-sent events and pages on the outside, gRPC on the inside.
//!
//! In: HTTP requests and frames of customers, agents and programs. Out: calls of the services that own what was asked for,
//! their answers as JSON, every refusal as an RFC 9457 problem. Never: state of its own that matters, a business decision,
//! a call without the caller's token and a deadline.
mod app;
mod body;
pub mod config;
mod error;
mod events;
mod gate;
mod health;
mod http;
mod idempotency;
mod limits;
mod names;
mod openapi;
mod pages;
mod rest;
mod server;
mod shared;
mod socket;
mod sse;
mod trouble;
mod view;

use switchboard_runtime::{Host, Listener, Shutdown, StartError};

use crate::{app::App, config::Config};

/// Serves until `shutdown`, then drains: no new connection, sockets closed with 1001, running requests end.
pub async fn serve(config: Config, host: Host, listener: Listener, shutdown: Shutdown) -> Result<(), StartError> {
    let Listener::Tcp(socket) = listener else {
        return Err(StartError::Other("the edge answers HTTP and needs a socket to listen on".to_owned()));
    };
    let app = App::new(config, host, shutdown.clone())?;
    server::serve(http::router(&app), app, socket).await;
    Ok(())
}
