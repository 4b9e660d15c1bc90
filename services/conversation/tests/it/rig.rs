//! The engine over a real store, with a mind and targets that tests script.
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use switchboard_conversation::{
    bus,
    config::Config,
    effects::Hands,
    engine::Engine,
    error::Error,
    hub::{Signal, Watch},
    mind::{Mind, Planned, Question, Route, Thought, Verdict, default_route},
    model::{ContentType, Conversation, EventKind, Message, Outcome, Priority, Rung, Sender, Sentiment},
    relay::Relay,
    sessions,
    shared::Shared,
    start::Start,
    store::{Store, sqlite::SqliteStore},
    targets::{Change, Order, Outcome as Result_, Targets},
    timers,
    turn::Incoming,
};
use switchboard_runtime::{Caller, Clock, Context, Fault, Reason, Role, Secret, Shutdown, telemetry::Metrics};
use switchboard_testkit::{TestMesh, servers};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// What the mind says next.
#[derive(Clone)]
pub enum Say {
    /// Echoes the text.
    Echo,
    /// Does something and tells the case number.
    OpenCase,
    /// Calls a human.
    Escalate,
    /// Fails.
    Fail,
    /// Is not there for the first so many questions.
    Late(u32),
}

/// A question.
#[derive(Clone)]
pub struct Asked {
    pub conversation: Conversation,
    pub text: String,
    pub history: Vec<Message>,
    pub user_messages: u32,
    pub now: Timestamp,
}

pub struct FakeMind {
    pub say: Mutex<Say>,
    /// Turns that may think; without a permit a turn waits.
    pub gate: Semaphore,
    pub thinking: Semaphore,
    pub thoughts: AtomicU32,
    /// What was asked last.
    pub asked: Mutex<Option<Asked>>,
}

#[async_trait]
impl Mind for FakeMind {
    async fn think(&self, q: Question<'_>) -> Result<Thought, Fault> {
        *self.asked.lock().expect("lock") = Some(Asked {
            conversation: q.conversation.clone(),
            text: q.text.clone(),
            history: q.history.to_vec(),
            user_messages: q.user_messages,
            now: q.now,
        });
        self.thinking.add_permits(1);
        self.gate.acquire().await.expect("open").forget();
        let say = self.say.lock().expect("lock").clone();
        let n = self.thoughts.fetch_add(1, Ordering::SeqCst) + 1;
        let case = Planned {
            action_type: "create_case".into(),
            parameters: BTreeMap::from([("subject".into(), "Help".into())]),
            read_only: false,
        };
        let (reply, actions, verdict, rung) = match say {
            Say::Late(left) if left > 0 => {
                *self.say.lock().expect("lock") = Say::Late(left - 1);
                self.gate.add_permits(1);
                return Err(Fault::new(Reason::Unavailable, "is starting"));
            }
            Say::Fail => return Err(Fault::new(Reason::AiProcessingFailed, "scripted")),
            Say::Echo | Say::Late(_) => (format!("{n}: {}", q.text), vec![], Verdict::Reply, Rung::Extract),
            Say::OpenCase => ("Your case is {action.case_number}.".into(), vec![case], Verdict::Reply, Rung::Flow),
            Say::Escalate => (
                "A person takes over, case {action.case_number}.".into(),
                vec![case],
                Verdict::Escalate { reason: "customer_request".into(), route: default_route(q.now) },
                Rung::Human,
            ),
        };
        Ok(Thought {
            intent: "test".into(),
            confidence: 0.9,
            intent_confidence: 0.9,
            entities: vec![],
            sentiment: Sentiment::default(),
            reply,
            reply_on_failure: "It will take a moment.".into(),
            system_message: "A human agent will take over.".into(),
            quick_replies: vec![],
            citations: vec![],
            verdict,
            actions,
            flow: None,
            rung,
            language: "en".into(),
            receipt: serde_json::json!({"intent": "test"}),
        })
    }

    async fn route(&self, _: &str, priority: Option<Priority>, _: &str, now: Timestamp) -> Result<Route, Fault> {
        Ok(Route { priority: priority.unwrap_or(Priority::Medium), ..default_route(now) })
    }
}

/// A Salesforce that remembers keys, as the real one does with external ids.
#[derive(Default)]
pub struct FakeTargets {
    pub cases: Mutex<HashMap<String, String>>,
    pub calls: AtomicU32,
    /// Answers that get lost after the work was done.
    pub lose: AtomicU32,
    /// Orders that are refused for good.
    pub refuse: AtomicU32,
    pub changes: Mutex<Vec<Change>>,
}

#[async_trait]
impl Targets for FakeTargets {
    async fn carry_out(&self, order: Order<'_>) -> Result<Result_, Fault> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Fault::field("subject", "is not what the org takes"));
        }
        let number = {
            let mut cases = self.cases.lock().expect("lock");
            let next = format!("{:08}", cases.len() + 1);
            cases.entry(order.key.to_owned()).or_insert(next).clone()
        };
        if self.lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Fault::new(Reason::Unavailable, "the answer was lost"));
        }
        Ok(BTreeMap::from([("case_number".to_owned(), number)]))
    }

    async fn changes(&self, cursor: &str) -> Result<(Vec<Change>, String), Fault> {
        let all = self.changes.lock().expect("lock");
        let from: usize = cursor.parse().unwrap_or(0);
        Ok((all.iter().skip(from).cloned().collect(), all.len().to_string()))
    }
}

pub struct Rig {
    pub engine: Arc<Engine>,
    pub mind: Arc<FakeMind>,
    pub targets: Arc<FakeTargets>,
    pub mesh: TestMesh,
    pub shutdown: Shutdown,
    pub store: Arc<dyn Store>,
    pub org: Uuid,
    pub customer: Caller,
    pub agent: Caller,
}

pub fn config(folder: &Path) -> Config {
    Config {
        ledger: switchboard_runtime::stores::Ledger::Sqlite(folder.to_owned()),
        vault: servers::vault(),
        cache: switchboard_runtime::stores::Choice::Here,
        turn_lease: Duration::from_secs(20),
        reopen_window: Duration::from_secs(7 * 86_400),
        idle_after: Duration::from_secs(86_400),
        action_wait: Duration::from_millis(1500),
        public_url: "http://127.0.0.1:8080".into(),
        bus: bus::At::Here,
        sessions: sessions::At::Here(folder.to_owned()),
        capsule_retention: Duration::from_secs(30 * 86_400),
    }
}

pub fn caller(role: Role, org: Uuid) -> Caller {
    Caller { user: Uuid::now_v7(), org, role, expires: i64::MAX, token: Secret::new("") }
}

impl Rig {
    pub async fn start(folder: &Path) -> Rig {
        let clock = Clock::manual("2026-03-02T10:00:00Z".parse().expect("time"));
        Rig::with(folder, clock, Arc::default(), Uuid::now_v7()).await
    }

    /// Another life on the same folder.
    pub async fn with(folder: &Path, clock: Clock, targets: Arc<FakeTargets>, org: Uuid) -> Rig {
        let store = SqliteStore::open(folder, servers::vault()).await.expect("opens");
        Rig::over(Arc::new(store), folder, clock, targets, org, |store, metrics, _| Shared::alone(store, metrics)).await
    }

    /// One replica over a ledger.
    pub async fn over(
        store: Arc<dyn Store>,
        folder: &Path,
        clock: Clock,
        targets: Arc<FakeTargets>,
        org: Uuid,
        join: impl FnOnce(Arc<dyn Store>, &Metrics, &Shutdown) -> Shared,
    ) -> Rig {
        let mesh = TestMesh::start_at(clock.clone()).await;
        let host = mesh.host("conversation");
        let shutdown = Shutdown::new();
        let mind = Arc::new(FakeMind {
            say: Mutex::new(Say::Echo),
            gate: Semaphore::new(1_000_000),
            thinking: Semaphore::new(0),
            thoughts: AtomicU32::new(0),
            asked: Mutex::default(),
        });
        let config = config(folder);
        let (sessions, keep) = (config.sessions.open().await.expect("opens"), config.capsule_retention);
        let relay = Relay::new(store.clone(), config.bus.open(), sessions, keep, &clock);
        let engine = Arc::new(Engine {
            store: store.clone(),
            mind: mind.clone(),
            hands: Hands { targets: targets.clone(), clock: clock.clone() },
            shared: Arc::new(join(store.clone(), &host.metrics, &shutdown)),
            clock,
            config,
            wake: tokio::sync::Notify::new(),
            identity: host.connect("identity").expect("link"),
            verifier: mesh.verifier(),
            host,
            relay,
            places: vec![],
        });
        Rig {
            engine,
            mind,
            targets,
            mesh,
            shutdown,
            store,
            org,
            customer: caller(Role::Customer, org),
            agent: caller(Role::Agent, org),
        }
    }

    /// Starts the worker.
    pub fn work(&self) {
        tokio::spawn(timers::work(self.engine.clone(), self.shutdown.clone()));
    }

    pub async fn begin(&self) -> Conversation {
        let start = Start {
            request_id: None,
            user: None,
            channel: "web".into(),
            initial_message: None,
            metadata: Default::default(),
            language: None,
        };
        self.engine.begin(&self.customer, start).await.expect("begins").0
    }

    pub async fn say(&self, row: &Conversation, text: &str) -> Result<Outcome, Error> {
        self.say_as(row, text, None).await
    }

    pub async fn say_as(&self, row: &Conversation, text: &str, client_id: Option<&str>) -> Result<Outcome, Error> {
        let work = self.engine.converse(row, incoming(&self.customer, text, client_id));
        Context::with_timeout(Duration::from_secs(20)).scope(work).await
    }

    pub async fn load(&self, row: &Conversation) -> Conversation {
        self.engine.see(&self.agent, row.id).await.expect("is there")
    }

    /// Every message's sender and words.
    pub async fn transcript(&self, row: &Conversation) -> Vec<(Sender, String)> {
        let events = self.engine.store.events(row.org, row.id, 0, 200).await.expect("reads");
        for (event, seq) in events.iter().zip(1..) {
            assert_eq!(event.seq, seq, "events are numbered by one");
        }
        let messages = events.into_iter().filter_map(|e| match e.kind {
            EventKind::Message(m) => Some((m.sender, m.content)),
            EventKind::Status(_) => None,
        });
        messages.collect()
    }

    /// Watches from the row on.
    pub fn watch(&self, row: &Conversation) -> Watch {
        self.engine.shared.hub.watch(row.org, row.id, row.seq)
    }

    /// Waits for the event that `wanted` accepts.
    pub async fn until(&self, watch: &mut Watch, wanted: impl Fn(&EventKind) -> bool) {
        let wait = async {
            loop {
                if let Signal::Event(event) = watch.next().await.expect("goes on")
                    && wanted(&event.kind)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the event comes");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub fn incoming(caller: &Caller, text: &str, client_id: Option<&str>) -> Incoming {
    Incoming {
        sender: Sender::User,
        sender_id: caller.user,
        content: text.into(),
        content_type: ContentType::Text,
        attachments: vec![],
        client_message_id: client_id.map(str::to_owned),
    }
}
