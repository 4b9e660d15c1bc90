//! Server-sent events: frames over a plain HTTP answer.
use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse as _, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt as _};
use http::{HeaderValue, header};
use switchboard_runtime::Context;

use crate::{app::Edge, events::Frame};

/// Between comments that keep proxies from closing a silent connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What a client waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);

/// A stream is opened anew after this long at the latest; timers cannot reach any further than some years.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Frames as an answer. It ends with the frames, with the caller's token, or when the process drains.
pub(crate) fn answer(app: &Edge, frames: impl Stream<Item = Frame> + Send + 'static) -> Response {
    let left = Context::current().caller.map_or(0, |c| c.expires - app.host.clock.now().as_second());
    let expires = tokio::time::sleep(Duration::from_secs(u64::try_from(left).unwrap_or_default()).min(LONGEST));
    let drain = app.drain.clone();
    let events = futures::stream::once(async { Event::default().retry(RETRY) })
        .chain(frames.map(|frame| event(&frame)))
        .map(Ok::<_, Infallible>)
        .take_until(async move {
            tokio::select! {
                () = expires => {}
                () = drain.cancelled() => {}
            }
        });
    let mut response =
        Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("heartbeat")).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx and its kin buffer answers unless told otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn event(frame: &Frame) -> Event {
    let event = Event::default().event(frame.event).data(frame.data.to_string());
    match frame.seq {
        Some(seq) => event.id(seq.to_string()),
        None => event,
    }
}
