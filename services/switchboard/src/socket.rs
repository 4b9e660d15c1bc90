//! The client's side of the WebSocket: frames in, frames out.
//!
//! In: a server's URL and a token. Out: named events. Never: TLS; a remote server is reached through a local proxy.
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue},
};

/// A server that has not shaken hands by then is taken for dead.
const CONNECT: Duration = Duration::from_secs(10);

/// One event from the server.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) event: String,
    pub(crate) data: Value,
}

/// An open connection.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects with the token in the subprotocol, as browsers do: it then stands in no URL and no log.
    pub(crate) async fn connect(url: &str, token: &str) -> Result<Self, String> {
        let address = format!("ws{}/ws", url.strip_prefix("http").unwrap_or(url));
        let mut request = address.as_str().into_client_request().map_err(|e| format!("{address}: {e}"))?;
        let protocol = HeaderValue::from_str(&format!("switchboard.v1, bearer.{token}"));
        let protocol = protocol.map_err(|_| "the token has characters that no token has".to_owned())?;
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let connected = tokio::time::timeout(CONNECT, connect_async(request)).await;
        let connected = connected.map_err(|_| format!("{address} did not answer in {} s", CONNECT.as_secs()))?;
        let (stream, _) = connected.map_err(|e| format!("cannot open {address}: {e}"))?;
        Ok(Socket(stream))
    }

    /// Sends one event.
    pub(crate) async fn send(&mut self, event: &str, data: Value) -> Result<(), String> {
        let text = json!({ "event": event, "data": data }).to_string();
        self.0.send(Message::text(text)).await.map_err(|e| format!("cannot send {event}: {e}"))
    }

    /// The next event; none when the server has closed. Safe to drop while waiting.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, String> {
        loop {
            let text = match self.0.next().await {
                None | Some(Ok(Message::Close(_))) => return Ok(None),
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(_)) => continue,
                Some(Err(e)) => return Err(format!("the connection broke: {e}")),
            };
            let mut frame: Value = serde_json::from_str(&text).map_err(|e| format!("a frame that is not JSON: {e}"))?;
            let event = frame["event"].as_str().unwrap_or_default().to_owned();
            return Ok(Some(Frame { event, data: frame["data"].take() }));
        }
    }

    /// Closes properly.
    pub(crate) async fn close(mut self) {
        // The peer may be gone already; that is what we want too.
        let _ = self.0.close(None).await;
    }
}

/// Refuses what this build cannot reach, with what to do.
pub(crate) fn plain_http(url: &str) -> Result<String, String> {
    if url.starts_with("https:") {
        return Err(format!(
            "{url}: this command speaks plain HTTP only; forward a local port to the server and name that"
        ));
    }
    if !url.starts_with("http://") {
        return Err(format!("{url} is no URL; write http://HOST:PORT"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::plain_http;

    #[test]
    fn a_url_is_plain_http() {
        assert_eq!(plain_http("http://127.0.0.1:8080/").as_deref(), Ok("http://127.0.0.1:8080"));
        assert!(plain_http("https://example.com").expect_err("refused").contains("plain HTTP only"));
        assert!(plain_http("localhost:8080").expect_err("refused").contains("http://HOST:PORT"));
    }
}
