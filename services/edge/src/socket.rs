//! The WebSocket `GET /ws`: who connects, and the session they get.
//!
//! In: an upgrade with a token in the subprotocol, the `authorization` header or `?token=`. Out: a [`session`]. Never: the
//! token in a log or an answer; of the subprotocols only `switchboard.v1` is selected.
mod frames;
mod session;

use axum::{
    extract::{FromRequestParts as _, Request, State, WebSocketUpgrade, ws::WebSocket},
    response::{IntoResponse as _, Response},
};
use switchboard_errors::{Fault, Reason};
use switchboard_runtime::Context;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::Edge, error::Answer, gate};

/// Text frames of the interface may be this large.
pub(crate) const FRAME: usize = 64 * 1024;
/// What is read before a frame is refused: enough to take in a frame that is somewhat too large and close in good order
/// with 1009, so that the close frame is not lost in a reset.
const READ: usize = 4 * FRAME;
/// Small buffers: 10,000 sockets have to fit in little memory, and most frames are short.
const BUFFER: usize = 4096;
/// The subprotocol of our own clients.
const PROTOCOL: &str = "switchboard.v1";

/// Open the WebSocket. The token comes as the subprotocols `switchboard.v1, bearer.<jwt>`, in the authorization header, or
/// as `?token=`. Frames are described in /asyncapi.json.
#[utoipa::path(get, path = "/ws", operation_id = "openSocket", tag = "Messages", security(()),
    params(("token" = Option<String>, Query, description = "The token, for plain clients")),
    responses((status = 101, description = "A WebSocket"), (status = 400, description = "No WebSocket was asked for"),
        (status = 426, description = "No WebSocket was asked for")))]
async fn upgrade(State(app): State<Edge>, request: Request) -> Answer<Response> {
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await.map_err(|e| {
        Fault::new(Reason::ValidationFailed, format!("This is a WebSocket: {}.", e.body_text().trim_end_matches('.')))
    })?;
    let offered: Vec<String> =
        upgrade.requested_protocols().filter_map(|p| p.to_str().ok().map(str::to_owned)).collect();
    let ours = offered.iter().any(|p| p == PROTOCOL);
    let token =
        offered.iter().find_map(|p| p.strip_prefix("bearer.").map(str::to_owned)).map(Ok).unwrap_or_else(|| {
            let query = parts.uri.query().unwrap_or_default();
            let named = query.split('&').find_map(|pair| pair.strip_prefix("token="));
            named.map_or_else(|| gate::bearer(&parts.headers), |token| Ok(token.to_owned()))
        });
    let who = match token {
        Ok(token) => Context::current().within(gate::DEADLINE).scope(app.verifier.verify(&token)).await,
        Err(fault) => Err(fault),
    };
    let who = match (who, &app.limiter) {
        (Err(_), _) => Err((4401, "the token is missing, bad or expired")),
        (Ok(caller), Some(limiter)) if !limiter.take(&format!("{}/{}", caller.org, caller.user)).await.admitted => {
            Err((4429, "too many connections"))
        }
        (Ok(caller), _) => Ok(caller),
    };
    // Browsers cannot read the status of a refused upgrade, but the code of a close they can: 4401 comes after it.
    let context = Context::current();
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(READ)
        .max_frame_size(READ);
    let tasks = app.tasks.clone();
    let response = upgrade.on_upgrade(move |socket: WebSocket| async move {
        let run = async move {
            match who {
                Ok(caller) => {
                    let context = Context { caller: Some(caller.clone()), ..context };
                    session::run(app, socket, caller, context, ours).await;
                }
                Err((code, reason)) => session::close(socket, code, reason).await,
            }
        };
        // Tracked, so that a drain waits until the close frame is out.
        tasks.track_future(run).await;
    });
    Ok(response.into_response())
}

pub(crate) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(upgrade))
}
