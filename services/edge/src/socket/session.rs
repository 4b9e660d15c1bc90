//! One WebSocket from its first frame to its close.
//!
//! In: frames of the client, events of the conversations it watches, outcomes of the messages it sent. Out: frames, in the
//! order of the events. Never: a queue of its own: an event is read from the conversation service only when the one before
//! is out, so that a client that does not read costs nothing but its time, and is disconnected.
//!
//! One task owns everything of a connection. Turns run in tasks of their own: a message that was sent is processed even if
//! the connection goes away meanwhile.
mod watching;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message as Wire, WebSocket};
use futures::{
    StreamExt as _,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered, SelectAll},
};
use serde_json::Value;
use switchboard_errors::{Fault, Reason};
use switchboard_proto::{conversation::v1 as pb, events::v1::TurnOutcome};
use switchboard_runtime::{Caller, Context, trace::TraceContext, validate::Check};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{
    FRAME,
    frames::{BadFrame, Connect, Incoming, read},
};
use crate::{
    app::{App, Edge},
    error::{in_our_words, on_path, problem},
    events::{Frame, Seen, Watch, final_response, message_received},
    gate::DEADLINE,
    rest::{
        conversations::{NewConversation, start},
        messages::{NewMessage, answered, subscribe},
    },
};

/// Bad frames in a row before the connection is closed: a client that is wrong, not one that slipped.
const BAD_FRAMES: u32 = 5;
/// Messages and joins over the rate limit in a row before the connection is closed.
const OVER_LIMIT: u32 = 5;
/// Messages of one connection that are being answered at once.
const TURNS: usize = 16;
/// Between two presence signals that are passed on.
const PRESENCE: Duration = Duration::from_millis(200);
/// A token that lives longer is asked for again by a new connection; timers cannot reach any further than some years.
const LONGEST_TOKEN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Time for the close handshake.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The client closed, or the connection broke.
    Gone,
    /// With this code and reason.
    Close(u16, &'static str),
}

type Step = Result<(), End>;

/// What happens beside frames of the client.
enum Done {
    Turn { turn: Turn, result: Box<Result<TurnOutcome, Fault>> },
    Opened { id: String, generation: u64, tries: u32, result: Result<BoxStream<'static, Sent>, Fault> },
}

/// What a stream of events gave: `None` is its end.
struct Sent {
    id: String,
    generation: u64,
    event: Option<Box<pb::SubscribeResponse>>,
}

/// A message of this connection that is being answered.
struct Turn {
    /// What the service knows it by.
    id: String,
    /// What the client gave, to be told with errors.
    given: Option<String>,
    /// The last event that this connection had seen when it sent the message: what is newer comes by the stream.
    since: u64,
}

/// A conversation that this connection watches.
struct Joined {
    watch: Watch,
    /// Tells the stream in use from one that was replaced.
    generation: u64,
    tries: u32,
    /// Plain clients get the answer to a message before anything else: frames wait for it here.
    held: VecDeque<Frame>,
    /// Replies that a plain client got already.
    told: HashSet<String>,
    _stream: DropGuard,
}

/// A message of this connection whose outcome is awaited.
#[derive(Default)]
struct Pending {
    /// How often it was sent and not answered yet: a client may repeat it while its turn runs.
    times: u32,
    /// Its event has passed.
    passed: bool,
}

struct Session {
    app: Edge,
    socket: WebSocket,
    caller: Arc<Caller>,
    context: Context,
    acks: bool,
    /// No subprotocol and nothing asked for: one final answer per message, before anything else.
    plain: bool,
    joined: HashMap<String, Joined>,
    streams: SelectAll<BoxStream<'static, Sent>>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Running turns by the message's id.
    turns: HashMap<String, Pending>,
    /// Messages of this connection that were answered before their events passed.
    ahead: HashSet<String>,
    generations: u64,
    bad: u32,
    over: u32,
    last_sign: Instant,
    last_presence: Option<Instant>,
    /// Conversations whose others were told that this client types.
    typing: HashSet<Uuid>,
}

/// Runs a connection to its end.
pub(super) async fn run(app: Edge, socket: WebSocket, caller: Arc<Caller>, context: Context, ours: bool) {
    let mut session = Session {
        app,
        socket,
        caller,
        context,
        acks: ours,
        plain: !ours,
        joined: HashMap::new(),
        streams: SelectAll::new(),
        work: FuturesUnordered::new(),
        turns: HashMap::new(),
        ahead: HashSet::new(),
        generations: 0,
        bad: 0,
        over: 0,
        last_sign: Instant::now(),
        last_presence: None,
        typing: HashSet::new(),
    };
    let end = on_path("/ws".to_owned(), session.until_end()).await;
    match end {
        End::Close(code, reason) => close(session.socket, code, reason).await,
        // The other side's close is answered by reading on.
        End::Gone => drop(timeout(GOODBYE, session.socket.recv()).await),
    }
}

/// Closes in good order, or after a second in any.
pub(super) async fn close(mut socket: WebSocket, code: u16, reason: &'static str) {
    let goodbye = async {
        let frame = CloseFrame { code, reason: reason.into() };
        if socket.send(Wire::Close(Some(frame))).await.is_ok() {
            // What the client still sends is read, or a reset could overtake the close frame.
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    let _ = timeout(GOODBYE, goodbye).await;
}

impl Session {
    async fn until_end(&mut self) -> End {
        let times = self.app.config.socket;
        let mut ping = interval_at(Instant::now() + times.ping, times.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let left = self.caller.expires - self.app.host.clock.now().as_second();
        let expires = Instant::now() + Duration::from_secs(u64::try_from(left).unwrap_or_default()).min(LONGEST_TOKEN);
        let drain = self.app.drain.clone();
        let (mut unanswered, mut heard) = (0, true);
        loop {
            let step = tokio::select! {
                received = self.socket.recv() => {
                    heard = true;
                    match received {
                        Some(Ok(wire)) => self.receive(wire).await,
                        Some(Err(error)) => Err(broken(error)),
                        None => Err(End::Gone),
                    }
                }
                Some(sent) = self.streams.next() => self.sent(sent).await,
                Some(done) = self.work.next() => self.done(done).await,
                _ = ping.tick() => {
                    unanswered = if std::mem::take(&mut heard) { 0 } else { unanswered + 1 };
                    if unanswered >= 2 { Err(End::Close(1001, "no answer to two pings")) } else { self.send(Wire::Ping(Vec::new().into())).await }
                }
                () = sleep_until(self.last_sign + times.idle) => Err(End::Close(4408, "idle")),
                () = sleep_until(expires) => Err(End::Close(4401, "the token has expired")),
                () = drain.cancelled() => Err(End::Close(1001, "the server is restarting")),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    // ------------------------------------------------------------ frames of the client

    async fn receive(&mut self, wire: Wire) -> Step {
        let text = match wire {
            Wire::Text(text) => text,
            Wire::Binary(data) => {
                if data.len() > FRAME {
                    return Err(End::Close(1009, "a frame may have 64 KiB"));
                }
                return self.bad_frame(Fault::new(Reason::ValidationFailed, "Frames are text: JSON.").into()).await;
            }
            Wire::Close(_) => return Err(End::Gone),
            Wire::Ping(_) | Wire::Pong(_) => return Ok(()),
        };
        if text.len() > FRAME {
            return Err(End::Close(1009, "a frame may have 64 KiB"));
        }
        self.last_sign = Instant::now();
        // Each frame is a request of its own in logs and traces.
        let trace = TraceContext::child(self.context.trace);
        let context = Context { trace, ..self.context.clone() }.within(DEADLINE);
        match read(&text) {
            Ok(frame) => {
                self.bad = 0;
                context.scope(self.frame(frame)).await
            }
            Err(bad) => context.scope(self.bad_frame(bad)).await,
        }
    }

    async fn bad_frame(&mut self, bad: BadFrame) -> Step {
        self.bad += 1;
        self.error(bad.fault, bad.client_message_id.as_deref()).await?;
        if self.bad >= BAD_FRAMES { Err(End::Close(4400, "too many bad frames")) } else { Ok(()) }
    }

    async fn frame(&mut self, frame: Incoming) -> Step {
        match frame {
            Incoming::Connect(connect) => {
                let result = self.connect(connect).await?;
                self.or_error(result, None).await
            }
            Incoming::Message { conversation_id, message } => {
                let given = message.client_message_id.clone();
                let result = self.message(conversation_id, message).await?;
                self.or_error(result, given.as_deref()).await
            }
            Incoming::Typing(t) => self.presence(t.conversation_id, t.typing, 0).await,
            Incoming::Read(r) => self.presence(r.conversation_id, false, r.seq).await,
            Incoming::Disconnect => Err(End::Close(1000, "goodbye")),
        }
    }

    /// Tells a refusal. Whoever has nothing to watch after it has no use for the connection.
    async fn or_error(&mut self, result: Result<(), Fault>, client_message_id: Option<&str>) -> Step {
        let Err(fault) = result else { return Ok(()) };
        let end = match fault.reason {
            Reason::ConversationNotFound => Some(End::Close(4404, "no such conversation")),
            Reason::PermissionDenied => Some(End::Close(4403, "not allowed")),
            Reason::Unauthenticated => Some(End::Close(4401, "the token is bad or expired")),
            _ => None,
        };
        self.error(fault, client_message_id).await?;
        end.filter(|_| self.joined.is_empty()).map_or(Ok(()), Err)
    }

    async fn connect(&mut self, connect: Connect) -> Result<Result<(), Fault>, End> {
        if let Err(fault) = self.admitted(None).await? {
            return Ok(Err(fault));
        }
        if let Some(acks) = connect.acks {
            self.acks = acks;
        }
        // Whoever asks for more than the answer is served in the order of the events.
        self.plain &= !(connect.acks == Some(true) || connect.deltas == Some(true));
        let fresh = connect.conversation_id.is_none();
        // Or it would be made and watched by nobody.
        if fresh && let Err(fault) = self.has_room() {
            return Ok(Err(fault));
        }
        let id = match conversation_for(&self.app, connect.conversation_id, connect.user_id, connect.channel).await {
            Ok(id) => id,
            Err(fault) => return Ok(Err(fault)),
        };
        self.join(id, if fresh { None } else { connect.last_seq }, true).await
    }

    /// Counts a frame that costs as much as a request. Whoever goes on over the limit is shown the door.
    async fn admitted(&mut self, client_message_id: Option<&str>) -> Result<Result<(), Fault>, End> {
        let Some(limiter) = &self.app.limiter else { return Ok(Ok(())) };
        let decision = limiter.take(&format!("{}/{}", self.caller.org, self.caller.user)).await;
        if decision.admitted {
            self.over = 0;
            return Ok(Ok(()));
        }
        let fault = limiter.refusal(decision);
        self.over += 1;
        if self.over < OVER_LIMIT {
            return Ok(Err(fault));
        }
        self.error(fault, client_message_id).await?;
        Err(End::Close(4429, "too many messages"))
    }

    async fn message(
        &mut self,
        conversation_id: Option<String>,
        message: NewMessage,
    ) -> Result<Result<(), Fault>, End> {
        if let Err(fault) = self.admitted(message.client_message_id.as_deref()).await? {
            return Ok(Err(fault));
        }
        if self.turns.len() >= TURNS {
            let detail = "Too many messages of this connection are being answered. Wait for an answer.";
            return Ok(Err(Fault::new(Reason::Overloaded, detail)));
        }
        // Without an id it is the conversation of this connection; a plain client that has none gets a new one.
        let only = if self.joined.len() == 1 { self.joined.keys().next().cloned() } else { None };
        let id = match (conversation_id.or(only), self.joined.is_empty()) {
            (None, false) => {
                return Ok(Err(Fault::field("conversation_id", "is required: several conversations are joined")));
            }
            (id, _) => match conversation_for(&self.app, id, None, None).await {
                Ok(id) => id,
                Err(fault) => return Ok(Err(fault)),
            },
        };
        let given = message.client_message_id.clone();
        let mut ask = match message.ask(id.clone(), None) {
            Ok(ask) => ask,
            Err(fault) => return Ok(Err(fault)),
        };
        if ask.client_message_id.is_empty() {
            // Recognizes our own message among the events.
            ask.client_message_id = self.app.host.clock.new_id().to_string();
        }
        if !self.joined.contains_key(&id)
            && let Err(fault) = self.join(id.clone(), None, !self.plain).await?
        {
            return Ok(Err(fault));
        }
        let since = self.joined.get(&id).map(|j| j.watch.seen).unwrap_or_default();
        let turn = Turn { id: ask.client_message_id.clone(), given, since };
        self.turns.entry(turn.id.clone()).or_default().times += 1;
        let (client, context) = (self.app.conversation(), Context::current());
        let task = tokio::spawn(context.scope(async move { { client }.process_message(ask).await }));
        self.work.push(Box::pin(async move {
            let result = match task.await {
                Ok(Ok(answer)) => Ok(answer.into_inner().outcome.unwrap_or_default()),
                Ok(Err(status)) => Err(Fault::from(status)),
                Err(panic) => Err(Fault::internal(panic)),
            };
            Done::Turn { turn, result: Box::new(result) }
        }));
        Ok(Ok(()))
    }

    /// Passes on that the client types or has read, at a bearable pace. Nothing is said about it.
    async fn presence(&mut self, conversation_id: String, typing: bool, read_seq: u64) -> Step {
        let Ok(id) = Uuid::try_parse(&conversation_id) else {
            let fault = Fault::field("conversation_id", "must be a UUID");
            return self.error(fault, None).await;
        };
        // That somebody stopped is passed on always, or they would seem to type for ever; but once, or it would be a way
        // around the pace.
        let stopped = !typing && read_seq == 0;
        let soon = self.last_presence.is_some_and(|t| t.elapsed() < PRESENCE);
        let nothing_new = if stopped { !self.typing.remove(&id) } else { soon };
        if nothing_new {
            return Ok(());
        }
        self.last_presence = Some(Instant::now());
        let ask = pb::SignalPresenceRequest { conversation_id: id.to_string(), typing, read_seq };
        match self.app.conversation().signal_presence(ask).await {
            Ok(_) => {
                if typing {
                    self.typing.insert(id);
                }
                Ok(())
            }
            Err(status) => self.or_error(Err(Fault::from(status)), None).await,
        }
    }

    // ------------------------------------------------------------ out

    async fn error(&mut self, fault: Fault, client_message_id: Option<&str>) -> Step {
        let fault = in_our_words(fault);
        let mut data = serde_json::to_value(problem(&fault)).unwrap_or_default();
        if let (Some(id), Value::Object(map)) = (client_message_id, &mut data) {
            map.insert("client_message_id".to_owned(), id.into());
        }
        self.emit(Frame { event: "error", seq: None, data }).await
    }

    async fn emit(&mut self, frame: Frame) -> Step {
        self.send(Wire::Text(frame.text().into())).await
    }

    async fn send(&mut self, wire: Wire) -> Step {
        match timeout(self.app.config.socket.write, self.socket.send(wire)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Close(1008, "the client does not read")),
        }
    }
}

/// The conversation that a client names, or a new one.
async fn conversation_for(
    app: &App,
    id: Option<String>,
    user_id: Option<String>,
    channel: Option<String>,
) -> Result<String, Fault> {
    let Some(id) = id else {
        let channel = channel.unwrap_or_else(|| "web".to_owned());
        let new = NewConversation { user_id, channel, ..NewConversation::default() };
        let made = start(app, new, String::new()).await?;
        return Ok(made.conversation.unwrap_or_default().id);
    };
    let mut check = Check::new();
    let id = check.uuid("conversation_id", &id);
    check.done().map(|()| id.to_string())
}

/// What a broken protocol is answered with.
fn broken(error: axum::Error) -> End {
    use tungstenite::Error;
    match error.into_inner().downcast::<Error>().map(|e| *e) {
        Ok(Error::Utf8(_)) => End::Close(1007, "text frames are UTF-8"),
        Ok(Error::Capacity(_)) => End::Close(1009, "a frame may have 64 KiB"),
        Ok(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => End::Gone,
        Ok(Error::Protocol(_)) => End::Close(1002, "this is not the WebSocket protocol"),
        _ => End::Gone,
    }
}
