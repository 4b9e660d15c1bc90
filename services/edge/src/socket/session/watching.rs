//! What a session watches: the events of its conversations, and what came of its own messages.
//!
//! In: streams of events and outcomes of turns. Out: frames in the order of the events; for plain clients the answer to
//! their message first. Never: a durable event twice.
use super::*;

/// Conversations that one connection watches at once; an agent's console needs some dozens.
const WATCHED: usize = 100;
/// Frames that wait for the answer to a plain client's message; more would be a flood.
const HELD: usize = 256;
/// How often a stream of events that broke is opened again, with a growing pause.
const REOPENED: u32 = 6;

impl Session {
    /// Refuses one conversation more than a connection may watch.
    pub(super) fn has_room(&self) -> Result<(), Fault> {
        if self.joined.len() < WATCHED {
            return Ok(());
        }
        Err(Fault::new(Reason::StateConflict, format!("One connection may watch {WATCHED} conversations.")))
    }

    /// Watches a conversation from now on, or from after a seq.
    pub(super) async fn join(&mut self, id: String, after: Option<u64>, tell: bool) -> Result<Result<(), Fault>, End> {
        if !self.joined.contains_key(&id)
            && let Err(fault) = self.has_room()
        {
            return Ok(Err(fault));
        }
        let opened = async {
            let mut events = subscribe(&self.app, &id, after).await?;
            // The first answer says where the conversation stands.
            let first = events.message().await.map_err(Fault::from)?;
            Ok::<_, Fault>((events, first))
        };
        let (events, first) = match opened.await {
            Ok(opened) => opened,
            Err(fault) => return Ok(Err(fault)),
        };
        let watch = Watch::new(self.caller.is_staff(), id.clone(), after.unwrap_or_default());
        let (mut seq, mut watch, mut early) = (0, watch, None);
        match first.and_then(|f| f.kind) {
            Some(pb::subscribe_response::Kind::Joined(conversation)) => {
                seq = conversation.seq;
                watch.stands(&conversation);
                if after.is_none() {
                    watch.seen = seq;
                }
            }
            other => early = other.map(|kind| pb::SubscribeResponse { kind: Some(kind) }),
        }
        if watch.handed_over() {
            let ask = pb::GetConversationStateRequest { conversation_id: id.clone() };
            if let Ok(state) = self.app.conversation().get_conversation_state(ask).await {
                watch.set_escalation(state.into_inner().escalation);
            }
        }
        let status = watch.status(seq);
        self.generations += 1;
        let generation = self.generations;
        let stop = CancellationToken::new();
        let early = futures::stream::iter(early.map(|e| Sent { id: id.clone(), generation, event: Some(Box::new(e)) }));
        self.streams.push(
            early.chain(tagged(events, id.clone(), generation)).take_until(stop.clone().cancelled_owned()).boxed(),
        );
        let joined = Joined {
            watch,
            generation,
            tries: 0,
            held: VecDeque::new(),
            told: HashSet::new(),
            _stream: stop.drop_guard(),
        };
        self.joined.insert(id, joined);
        if tell {
            self.emit(status).await?;
        }
        Ok(Ok(()))
    }

    pub(super) async fn sent(&mut self, sent: Sent) -> Step {
        let Sent { id, generation, event } = sent;
        let Some(joined) = self.joined.get_mut(&id).filter(|j| j.generation == generation) else { return Ok(()) };
        let Some(event) = event else { return self.reopen(id) };
        joined.tries = 0;
        let frame = match joined.watch.take(*event) {
            None => return Ok(()),
            Some(Seen::Other(frame)) => frame,
            Some(Seen::Message { frame, client_message_id, by_human }) => {
                let pending = self.turns.get_mut(&client_message_id).map(|turn| turn.passed = true).is_some();
                let mine = pending || self.ahead.remove(&client_message_id);
                match by_human {
                    Some(told) if !mine => told,
                    _ if self.acks => frame,
                    _ => return Ok(()),
                }
            }
        };
        if frame.seq.is_some() {
            self.last_sign = Instant::now();
        }
        if self.plain {
            return self.hold(&id, frame).await;
        }
        self.emit(frame).await
    }

    /// What a plain client is told: nothing before the answer to its message, and no answer twice.
    async fn hold(&mut self, id: &str, frame: Frame) -> Step {
        let waiting = !self.turns.is_empty();
        let Some(joined) = self.joined.get_mut(id) else { return Ok(()) };
        if frame.event == "ai_response" && frame.data["message_id"].as_str().is_some_and(|m| joined.told.remove(m)) {
            return Ok(());
        }
        if !waiting {
            return self.emit(frame).await;
        }
        if frame.seq.is_some() && joined.held.len() < HELD {
            joined.held.push_back(frame);
        }
        Ok(())
    }

    /// Opens a stream of events that ended again, after the last event that was seen.
    fn reopen(&mut self, id: String) -> Step {
        let Some(joined) = self.joined.get_mut(&id) else { return Ok(()) };
        joined.tries += 1;
        let (tries, after, generation) = (joined.tries, joined.watch.seen, joined.generation);
        if tries > REOPENED {
            return Err(End::Close(1011, "events are not available; connect again"));
        }
        let (app, context) = (self.app.clone(), self.context.clone());
        // 0, 100, 200, 400 ms …: a restart of the service is over by then, and not all sockets come at once.
        let pause = Duration::from_millis(if tries == 1 { 0 } else { 50 << tries });
        self.work.push(Box::pin(async move {
            tokio::time::sleep(pause.mul_f64(rand::random::<f64>() + 0.5)).await;
            let opened = context.within(DEADLINE).scope(subscribe(&app, &id, Some(after))).await;
            let result = opened.map(|events| tagged(events, id.clone(), generation));
            Done::Opened { id, generation, tries, result }
        }));
        Ok(())
    }

    pub(super) async fn done(&mut self, done: Done) -> Step {
        match done {
            Done::Opened { id, generation, tries, result } => {
                let current = self.joined.get(&id).is_some_and(|j| j.generation == generation && j.tries == tries);
                match result {
                    Ok(stream) if current => {
                        self.streams.push(stream);
                        Ok(())
                    }
                    Ok(_) => Ok(()),
                    Err(fault) if fault.retryable() => self.reopen(id),
                    Err(fault) => {
                        self.joined.remove(&id);
                        self.or_error(Err(fault), None).await
                    }
                }
            }
            Done::Turn { turn, result } => {
                let passed = self.turns.get_mut(&turn.id).is_some_and(|pending| {
                    pending.times -= 1;
                    pending.passed
                });
                self.turns.retain(|_, pending| pending.times > 0);
                match *result {
                    Ok(outcome) => {
                        if !passed && outcome.seq > turn.since {
                            self.ahead.insert(turn.id.clone());
                        }
                        self.context.clone().within(DEADLINE).scope(self.outcome(turn, outcome)).await
                    }
                    Err(fault) => self.or_error(Err(fault), turn.given.as_deref()).await,
                }
            }
        }
    }

    /// The stream of events has told since the message was sent, or will tell, what came of it, unless all that was before:
    /// then the client repeats itself and is told again.
    async fn outcome(&mut self, turn: Turn, outcome: TurnOutcome) -> Step {
        if self.plain {
            return self.answer(turn, outcome).await;
        }
        let id = outcome.conversation_id.clone();
        if !self.joined.contains_key(&id) {
            // The matter was closed long ago and goes on in a new conversation: watch that from its start.
            let result = self.join(id, Some(0), false).await?;
            return self.or_error(result, turn.given.as_deref()).await;
        }
        if outcome.seq > turn.since {
            return Ok(());
        }
        if self.acks {
            match answered(&self.app, &outcome).await {
                Ok(Some(message)) => self.emit(message_received(message, &turn.id)).await?,
                Ok(None) => {}
                Err(fault) => return self.error(fault, turn.given.as_deref()).await,
            }
        }
        if outcome.response.is_some() {
            self.emit(final_response(self.caller.is_staff(), outcome)).await
        } else {
            Ok(())
        }
    }

    /// A plain client's answer: one per message, then what waited for it.
    async fn answer(&mut self, turn: Turn, outcome: TurnOutcome) -> Step {
        let (told, seq, id) = (outcome.message_id.clone(), outcome.seq, outcome.conversation_id.clone());
        self.emit(final_response(self.caller.is_staff(), outcome)).await?;
        match self.joined.get_mut(&id) {
            Some(joined) if seq > joined.watch.seen => drop(joined.told.insert(told)),
            Some(joined) => {
                joined.held.retain(|f| f.event != "ai_response" || f.data["message_id"].as_str() != Some(&told))
            }
            // The matter was closed long ago and goes on in a new conversation.
            None => {
                let result = self.join(id, Some(seq), false).await?;
                self.or_error(result, turn.given.as_deref()).await?;
            }
        }
        if !self.turns.is_empty() {
            return Ok(());
        }
        let held: Vec<Frame> = self.joined.values_mut().flat_map(|j| j.held.drain(..)).collect();
        for frame in held {
            self.emit(frame).await?;
        }
        Ok(())
    }
}

/// A stream of events with the name of its conversation; what breaks it ends it.
fn tagged(events: tonic::Streaming<pb::SubscribeResponse>, id: String, generation: u64) -> BoxStream<'static, Sent> {
    let end = Sent { id: id.clone(), generation, event: None };
    events
        .scan((), |(), event| futures::future::ready(event.ok()))
        .map(move |event| Sent { id: id.clone(), generation, event: Some(Box::new(event)) })
        .chain(futures::stream::iter([end]))
        .boxed()
}
