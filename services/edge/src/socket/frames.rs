//! What clients send over the WebSocket, read strictly.
use serde::Deserialize;
use serde_json::{Map, Value};
use switchboard_errors::{Fault, Reason};

use crate::{body::parse, rest::messages::NewMessage, view::Attachment};

/// A frame of a client.
#[derive(Debug)]
pub(crate) enum Incoming {
    Connect(Connect),
    Message { conversation_id: Option<String>, message: NewMessage },
    Typing(Typing),
    Read(ReadReceipt),
    Disconnect,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connect {
    pub(crate) conversation_id: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) last_seq: Option<u64>,
    pub(crate) deltas: Option<bool>,
    pub(crate) acks: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    conversation_id: Option<String>,
    content: String,
    content_type: Option<String>,
    attachments: Option<Vec<Attachment>>,
    client_message_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Typing {
    pub(crate) conversation_id: String,
    pub(crate) typing: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadReceipt {
    pub(crate) conversation_id: String,
    pub(crate) seq: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    event: String,
    #[serde(default)]
    data: Map<String, Value>,
}

/// A frame that could not be read, with the id of the message if it had one.
#[derive(Debug)]
pub(crate) struct BadFrame {
    pub(crate) fault: Fault,
    pub(crate) client_message_id: Option<String>,
}

impl From<Fault> for BadFrame {
    fn from(fault: Fault) -> Self {
        BadFrame { fault, client_message_id: None }
    }
}

/// Reads a text frame.
pub(crate) fn read(text: &str) -> Result<Incoming, BadFrame> {
    let Envelope { event, data } = parse(text.as_bytes())?;
    let client_message_id = data.get("client_message_id").and_then(Value::as_str).map(str::to_owned);
    let data = Value::Object(data).to_string().into_bytes();
    let read = || {
        Ok(match event.as_str() {
            "connect" => Incoming::Connect(parse(&data)?),
            "message" => {
                let Message { conversation_id, content, content_type, attachments, client_message_id } = parse(&data)?;
                Incoming::Message {
                    conversation_id,
                    message: NewMessage { content, content_type, attachments, client_message_id },
                }
            }
            "typing" => Incoming::Typing(parse(&data)?),
            "read_receipt" => Incoming::Read(parse(&data)?),
            "disconnect" => Incoming::Disconnect,
            _ => {
                let detail = "event must be connect, message, typing, read_receipt or disconnect";
                return Err(Fault::new(Reason::ValidationFailed, detail).with_field("event", detail));
            }
        })
    };
    read().map_err(|fault: Fault| BadFrame { fault, client_message_id })
}
