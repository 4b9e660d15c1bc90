//! Keeps replicas in touch, and notices when they are not: then the ledger is asked, until they are again.
//!
//! In: notes to send, notes that come in. Out: rooms that know how far their conversation is. Never: a question to the ledger
//! while all is well.
//!
//! Every replica says now and then that it is there, and hears itself say it: that proves its way to the others and back.
//! One that falls silent without a word may have committed something and not have said so; one that could not send says how
//! much. In each case all watched conversations are looked up.
use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt as _;
use switchboard_runtime::{Fault, Shutdown};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::{
    Hub,
    wire::{Heard, Letter, Note, Wire},
};

/// Between two signs of life, and between two looks into the ledger while something is wrong.
const BEAT: Duration = Duration::from_secs(1);
/// Without a sign for so long something is wrong: two beats may be late on a busy machine.
const SILENT: Duration = Duration::from_secs(3);
/// A connection on which nothing came back for so long is made anew.
const DEAF: Duration = Duration::from_secs(10);
/// A replica that was silent for so long is dead: what it committed was looked up long ago.
const DEAD: Duration = Duration::from_secs(60);
/// One that said farewell may commit so long after it: a turn that nobody waits for any more.
const LINGERS: Duration = Duration::from_secs(5);
/// Notes sent together.
const BATCH: usize = 256;

/// Sends what waits, and that this replica is there.
pub(super) async fn speak(
    hub: Hub,
    me: Uuid,
    wire: Arc<dyn Wire>,
    mut queue: mpsc::Receiver<Note>,
    shutdown: Shutdown,
) {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut notes = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            // What is committed goes out before this replica does.
            biased;
            _ = queue.recv_many(&mut notes, BATCH) => {}
            _ = beat.tick() => {}
            () = shutdown.cancelled() => break,
        }
        let committed = notes.iter().any(|note| matches!(note, Note::Committed { .. }));
        let letter = Letter { from: me, lost: hub.lost(), notes: std::mem::take(&mut notes) };
        if wire.send(&letter).await.is_err() && committed {
            hub.lose();
        }
    }
    // Whoever does not hear it finds out by the silence.
    let _ = wire.send(&Letter { from: me, lost: hub.lost(), notes: vec![Note::Bye] }).await;
}

/// Listens, again and again.
pub(super) async fn listen(hub: Hub, me: Uuid, wire: Arc<dyn Wire>) {
    let mut peers = Peers::new(me);
    let mut tick = interval(BEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Ok(mut heard) = wire.listen().await {
            peers.begin();
            // What was said before this is in the ledger.
            look(&hub, &mut peers).await;
            while !peers.is_deaf() {
                tokio::select! {
                    notes = heard.next() => match notes {
                        Some(notes) => peers.hear(&hub, notes),
                        None => break,
                    },
                    _ = tick.tick() => if peers.miss_something() { look(&hub, &mut peers).await },
                }
            }
        } else {
            tick.tick().await;
            look(&hub, &mut peers).await;
        }
    }
}

async fn look(hub: &Hub, peers: &mut Peers) {
    match hub.catch_up().await {
        Ok(()) => peers.doubt = false,
        Err(error) => {
            peers.doubt = true;
            tracing::debug!(reason = Fault::from(error).name(), "watched conversations cannot be looked up");
        }
    }
}

/// Who was heard, and when.
struct Peers {
    me: Uuid,
    heard: HashMap<Uuid, Peer>,
    /// Something may have been missed.
    doubt: bool,
}

struct Peer {
    at: Instant,
    lost: u64,
    gone: bool,
}

impl Peer {
    fn is_silent(&self) -> bool {
        self.gone || self.at.elapsed() >= SILENT
    }

    fn is_dead(&self) -> bool {
        self.at.elapsed() >= if self.gone { LINGERS } else { DEAD }
    }
}

impl Peers {
    fn new(me: Uuid) -> Self {
        Peers { me, heard: HashMap::new(), doubt: false }
    }

    /// A new stream: nobody can have been heard while there was none.
    fn begin(&mut self) {
        let now = Instant::now();
        self.heard.entry(self.me).or_insert(Peer { at: now, lost: 0, gone: false });
        for peer in self.heard.values_mut() {
            peer.at = now;
        }
    }

    fn hear(&mut self, hub: &Hub, heard: Heard) {
        let Some(letter) = heard else {
            // Somebody said something: it may have been of use.
            self.doubt = true;
            return;
        };
        self.beat(letter.from, letter.lost);
        if letter.from == self.me {
            return;
        }
        for note in letter.notes {
            match note {
                Note::Committed { org, conversation, seq } => hub.heard(org, conversation, seq),
                Note::Presence { org, conversation, sign } => hub.show(org, conversation, sign),
                Note::Bye => {
                    if let Some(peer) = self.heard.get_mut(&letter.from) {
                        peer.gone = true;
                    }
                }
                Note::Unknown => {}
            }
        }
    }

    fn beat(&mut self, from: Uuid, lost: u64) {
        let before = self.heard.insert(from, Peer { at: Instant::now(), lost, gone: false });
        // One that was not known may have lost something before it was heard of.
        let owes = before.as_ref().map_or(lost > 0, |before| before.lost != lost);
        let was_silent = before.is_some_and(|before| before.is_silent());
        self.doubt |= (owes && from != self.me) || was_silent;
    }

    fn is_deaf(&self) -> bool {
        self.heard.get(&self.me).is_some_and(|me| me.at.elapsed() >= DEAF)
    }

    fn miss_something(&mut self) -> bool {
        self.heard.retain(|id, peer| *id == self.me || !peer.is_dead());
        self.doubt || self.heard.values().any(Peer::is_silent)
    }
}
