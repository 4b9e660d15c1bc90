//! A socket that stays open during a scenario and remembers what it was told.
//!
//! In: frames. Out: the durable events by seq, and whether any is missing or came twice. Never: an event of its own making.
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::socket::{Frame, Socket};

/// An event that has not come by then is missing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A tab of a customer's browser.
pub(crate) struct Tab {
    /// For what is said about it.
    pub(crate) name: String,
    pub(crate) conversation: String,
    token: String,
    line: Option<Line>,
    /// Seq before the first event that it should see.
    joined: u64,
    /// Durable events of lines that were cut.
    seen: Vec<u64>,
    /// Events that may come once more, since we asked for them again.
    repeats: BTreeSet<u64>,
}

struct Line {
    frames: Arc<Mutex<Vec<Frame>>>,
    count: watch::Receiver<usize>,
    outgoing: mpsc::UnboundedSender<(&'static str, Value)>,
    task: JoinHandle<()>,
}

impl Tab {
    /// Opens a tab: on a conversation, or on a new one in a language.
    pub(crate) async fn open(name: &str, url: &str, token: &str, connect: Value) -> Result<Self, String> {
        let line = Line::open(url, token, connect).await?;
        let first = line.wait(0, |f| matches!(f.event.as_str(), "status_update" | "error")).await;
        let first = first.ok_or_else(|| format!("{name}: `connect` was not answered"))?;
        if first.event == "error" {
            return Err(format!("{name}: `connect` was refused: {}", first.data["detail"]));
        }
        Ok(Tab {
            name: name.to_owned(),
            conversation: first.data["conversation_id"].as_str().unwrap_or_default().to_owned(),
            token: token.to_owned(),
            line: Some(line),
            joined: first.data["seq"].as_u64().unwrap_or_default(),
            seen: Vec::new(),
            repeats: BTreeSet::new(),
        })
    }

    /// Cuts the line without a word, as a train in a tunnel does.
    pub(crate) fn cut(&mut self) {
        if let Some(line) = self.line.take() {
            self.seen.extend(line.durable());
            line.task.abort();
        }
    }

    /// Connects again and asks for what was missed.
    pub(crate) async fn reconnect(&mut self, url: &str) -> Result<(), String> {
        self.cut();
        let last = self.seen.last().copied().unwrap_or(self.joined);
        let connect = json!({ "conversation_id": self.conversation, "last_seq": last, "acks": true, "deltas": false });
        let line = Line::open(url, &self.token, connect).await?;
        let first = line.wait(0, |f| matches!(f.event.as_str(), "status_update" | "error")).await;
        match first {
            Some(frame) if frame.event == "status_update" => self.line = Some(line),
            Some(frame) => return Err(format!("{}: reconnect was refused: {}", self.name, frame.data["detail"])),
            None => return Err(format!("{}: reconnect was not answered", self.name)),
        }
        Ok(())
    }

    /// Sends a message and waits for its answer; none if only the receipt came. `error` events are answers too.
    pub(crate) async fn say(
        &mut self,
        content: &str,
        client_message_id: &str,
        grace: Duration,
    ) -> Result<Option<Frame>, String> {
        let line = self.line.as_ref().ok_or("the line is cut")?;
        let from = line.len();
        let message =
            json!({ "conversation_id": self.conversation, "content": content, "client_message_id": client_message_id });
        line.outgoing.send(("message", message)).map_err(|_| "the line is cut")?;
        let refused = |f: &Frame| f.event == "error" && f.data["client_message_id"] == client_message_id;
        let receipt = |f: &Frame| f.event == "message_received" && f.data["client_message_id"] == client_message_id;
        let Some(first) = line.wait(from, |f| refused(f) || receipt(f)).await else {
            return Err(format!("{}: no receipt in {} s", self.name, PATIENCE.as_secs()));
        };
        if refused(&first) {
            return Ok(Some(first));
        }
        let answer = |f: &Frame| {
            let ours = f.data["user_message_id"] == first.data["message_id"];
            refused(f) || (f.event == "ai_response" && f.data["done"] == true && ours)
        };
        Ok(line.wait_for(from, answer, grace).await)
    }

    /// Events up to a seq may be told once more.
    pub(crate) fn allow_repeats(&mut self, seqs: impl IntoIterator<Item = u64>) {
        self.repeats.extend(seqs);
    }

    /// The newest durable event.
    pub(crate) fn last(&self) -> u64 {
        self.events().last().copied().unwrap_or(self.joined)
    }

    fn events(&self) -> Vec<u64> {
        let mut all = self.seen.clone();
        all.extend(self.line.iter().flat_map(Line::durable));
        let mut told = BTreeSet::new();
        all.retain(|seq| told.insert(*seq) || !self.repeats.contains(seq));
        all
    }

    /// Waits for the conversation's newest event, then says what is missing, doubled or out of order.
    pub(crate) async fn verdict(&self, newest: u64) -> Vec<String> {
        if let Some(line) = &self.line {
            line.wait(0, |_| self.last() >= newest).await;
        }
        let (events, expected) = (self.events(), (self.joined + 1..=newest).collect::<Vec<_>>());
        if events == expected {
            return vec![];
        }
        vec![format!("{}: was told the events {events:?}, should have been {expected:?}", self.name)]
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Line {
    async fn open(url: &str, token: &str, connect: Value) -> Result<Self, String> {
        let mut socket = Socket::connect(url, token).await?;
        socket.send("connect", connect).await?;
        let frames = Arc::new(Mutex::new(Vec::new()));
        let (told, count) = watch::channel(0);
        let (outgoing, mut messages) = mpsc::unbounded_channel::<(&'static str, Value)>();
        let kept = frames.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some((event, data)) = messages.recv() => {
                        if socket.send(event, data).await.is_err() {
                            return;
                        }
                    }
                    frame = socket.next() => {
                        let Ok(Some(frame)) = frame else { return };
                        let mut frames = kept.lock().unwrap_or_else(PoisonError::into_inner);
                        frames.push(frame);
                        told.send_replace(frames.len());
                    }
                }
            }
        });
        Ok(Line { frames, count, outgoing, task })
    }

    fn len(&self) -> usize {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn wait(&self, from: usize, is: impl Fn(&Frame) -> bool) -> Option<Frame> {
        self.wait_for(from, is, PATIENCE).await
    }

    /// The first fitting frame from a place on; none if it does not come in time or the line breaks.
    async fn wait_for(&self, from: usize, is: impl Fn(&Frame) -> bool, limit: Duration) -> Option<Frame> {
        let (deadline, mut count) = (Instant::now() + limit, self.count.clone());
        loop {
            let _ = *count.borrow_and_update();
            let all = self.frames.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(frame) = all.iter().skip(from).find(|f| is(f)) {
                return Some(frame.clone());
            }
            timeout_at(deadline, count.changed()).await.ok()?.ok()?;
        }
    }

    /// Seqs of durable events in the order of their coming. The first frame answers `connect` and is none.
    fn durable(&self) -> Vec<u64> {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = frames.iter().skip(1).filter(|f| match f.event.as_str() {
            "message_received" | "status_update" => true,
            // Without a message it tells only that there is no reply.
            "ai_response" => f.data["done"] == true && f.data["message_id"].is_string(),
            _ => false,
        });
        durable.filter_map(|f| f.data["seq"].as_u64()).collect()
    }
}
