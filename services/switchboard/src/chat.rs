//! `switchboard chat`: a customer in the terminal, over WebSocket.
use std::{io::BufRead as _, process::ExitCode, time::Duration};

use serde_json::json;
use switchboard_identity::Identity;
use switchboard_runtime::{Clock, Role, process};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    failure::Failure,
    out,
    settings::Sources,
    socket::{Frame, Socket, plain_http},
};

/// Arguments of `switchboard chat`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A customer's token [default: a new customer of this installation]
    #[arg(long, value_name = "T")]
    token: Option<String>,
    #[command(flatten)]
    sources: Sources,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let url = plain_http(&args.url).map_err(Failure::usage)?;
    let token = match args.token {
        Some(token) => token,
        None => {
            let settings = args.sources.load(&[])?;
            let identity =
                Identity::open(&switchboard_identity::config::Config::read(&settings)?, Clock::system()).await?;
            identity.mint(Role::Customer, None, None, Duration::from_secs(8 * 3600)).await?
        }
    };
    let mut socket = Socket::connect(&url, &token).await.map_err(Failure::failed)?;
    socket.send("connect", json!({ "channel": "web", "deltas": false })).await.map_err(Failure::failed)?;
    let mut lines = lines();
    let mut conversation = String::new();
    out::line("Write a message and press Enter; an empty line or Ctrl-D ends.");
    loop {
        tokio::select! {
            () = process::stop_signal() => break,
            line = lines.recv(), if !conversation.is_empty() => match line {
                Some(line) if !line.trim().is_empty() => {
                    let message = json!({ "conversation_id": conversation, "content": line, "client_message_id": Uuid::new_v4() });
                    socket.send("message", message).await.map_err(Failure::failed)?;
                }
                _ => break,
            },
            frame = socket.next() => {
                let Some(frame) = frame.map_err(Failure::failed)? else {
                    return Err(Failure::failed("the server closed the conversation"));
                };
                if let Some(id) = frame.data["conversation_id"].as_str() {
                    id.clone_into(&mut conversation);
                }
                if let Some(text) = shown(&frame) {
                    out::line(text);
                }
            }
        }
    }
    socket.close().await;
    Ok(ExitCode::SUCCESS)
}

/// What a person sees of an event.
fn shown(frame: &Frame) -> Option<String> {
    let data = &frame.data;
    match frame.event.as_str() {
        "ai_response" if data["done"] == true => {
            let mut text = format!("ai> {}", data["response"].as_str()?);
            for citation in data["citations"].as_array().into_iter().flatten() {
                text.push_str(&format!("\n    [{}]", citation["title"].as_str().unwrap_or_default()));
            }
            Some(text)
        }
        "status_update" => {
            let message = &data["message"];
            let who = match message["sender_type"].as_str()? {
                "human_agent" => "agent",
                "system" => "*",
                _ => return None,
            };
            Some(format!("{who}> {}", message["content"].as_str()?))
        }
        "error" => Some(format!("!  {}", data["detail"].as_str().unwrap_or("something went wrong"))),
        _ => None,
    }
}

/// Lines that are typed. Reading a terminal cannot be called off, so a thread of its own does it.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn frame(event: &str, data: Value) -> Option<String> {
        shown(&Frame { event: event.to_owned(), data })
    }

    #[test]
    fn a_person_sees_replies_people_and_errors() {
        let reply =
            json!({ "done": true, "response": "Open Settings.", "citations": [{ "title": "Reset your password" }] });
        assert_eq!(frame("ai_response", reply).as_deref(), Some("ai> Open Settings.\n    [Reset your password]"));
        assert_eq!(frame("ai_response", json!({ "done": false, "delta": "Op" })), None);
        assert_eq!(frame("ai_response", json!({ "done": true, "response": null })), None);
        let agent = json!({ "message": { "sender_type": "human_agent", "content": "Hello, I am Dana." } });
        assert_eq!(frame("status_update", agent).as_deref(), Some("agent> Hello, I am Dana."));
        assert_eq!(frame("error", json!({ "detail": "Too long." })).as_deref(), Some("!  Too long."));
    }
}
