//! The ground of everything that is only faster with Redis: commands and a subscription that never hold anybody up.
//!
//! In: a URL. Out: answers within [`ANSWER`], or [`NoAnswer`] at once while Redis is away. Never: a wait for a server that is
//! away, a health check that fails because of it, the truth: whoever asks goes on without an answer.
use std::{
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::StreamExt as _;
use prometheus_client::metrics::gauge::Gauge;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, PushInfo,
    PushKind, RedisError, RedisResult, ServerErrorKind, TlsCertificates,
    aio::{MultiplexedConnection, PubSubSink, PubSubStream},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Host, Secret, StartError, tls};

/// What one use of Redis may cost a turn. One that is well answers in less than a millisecond.
pub const ANSWER: Duration = Duration::from_millis(100);
/// What TCP, TLS and signing in may take; nobody waits for it.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two tries to reach a Redis that is away: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A connection that lasted this long was a good one: after it the tries begin quickly again.
const GOOD: Duration = Duration::from_secs(5);

/// One Redis. Cheap to clone; when the last clone goes, its connection does.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    link: Arc<watch::Sender<Option<Link>>>,
    up: Gauge,
    answer: Duration,
    _keeper: DropGuard,
}

/// The connection in use.
#[derive(Clone)]
struct Link {
    number: u64,
    connection: MultiplexedConnection,
}

/// Redis said nothing that is of use: do without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It is not there, or did not answer in time.
    #[error("Redis is away")]
    Away,
    /// It does not do what was asked: it is full, or the user may not.
    #[error("Redis refused with {0}")]
    Refused(String),
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis({}, up: {})", self.place(), self.is_up())
    }
}

impl Redis {
    /// Takes a URL as `stores.cache` has it, and begins to connect. Does not wait: whether Redis is there shows when it is used.
    /// A CA and a certificate of ours are named as Python's clients name them: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`.
    pub fn open(url: &Secret) -> Result<Self, StartError> {
        Redis::patient(url, ANSWER)
    }

    /// As [`Redis::open`], with another bound than [`ANSWER`]: for work that nobody waits for, and for suites whose subject
    /// is what Redis does and not how soon.
    pub fn patient(url: &Secret, answer: Duration) -> Result<Self, StartError> {
        let how = "write redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS";
        let wrong = |why: &str| StartError::Other(format!("stores.cache {why}; {how}"));
        let info = url.expose().into_connection_info().map_err(|_| wrong("is not a URL of Redis"))?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(wrong("has #insecure: the server's certificate is always checked"));
        }
        // The newer protocol tells at once when a connection is gone; whoever has an older server says ?protocol=resp2.
        let newer = !url.expose().contains("protocol=");
        let settings = info.redis_settings().clone();
        let settings = if newer { settings.set_protocol(ProtocolVersion::RESP3) } else { settings };
        let info = info.set_redis_settings(settings);
        let client = match info.addr() {
            ConnectionAddr::TcpTls { .. } => Client::build_with_tls(info, certificates(url.expose())?),
            _ => Client::open(info),
        };
        let client = client.map_err(|_| wrong("cannot be used"))?;
        let (link, up, end) = (Arc::new(watch::channel(None).0), Gauge::default(), CancellationToken::new());
        let keeper = keep(client.clone(), answer, link.clone(), up.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(keeper));
        Ok(Redis(Arc::new(Inner { client, link, up, answer, _keeper: end.drop_guard() })))
    }

    /// Shows in the service's metrics whether Redis answers.
    pub fn register(&self, host: &Host) {
        host.metrics.register(|registry| {
            let name = format!("{}_redis_up", host.name);
            registry.register(name, "1 while Redis answers; without it all goes on, slower", self.0.up.clone());
        });
    }

    /// Host and port.
    pub fn place(&self) -> String {
        self.0.client.get_connection_info().addr().to_string()
    }

    /// The number of the database, for the names of channels: Redis keeps only keys apart by it.
    pub fn database(&self) -> i64 {
        self.0.client.get_connection_info().redis_settings().db()
    }

    /// True while it answers, as far as is known.
    pub fn is_up(&self) -> bool {
        self.0.link.borrow().is_some()
    }

    /// Ends when it answers.
    pub async fn until_up(&self) {
        // The sender lives as long as this.
        let _ = self.0.link.subscribe().wait_for(Option::is_some).await;
    }

    /// Runs commands, each within its bound. A Redis that fails once is not asked again before it was reached anew, which happens
    /// beside all callers: however many there are, it costs each at most one wait.
    pub async fn run<T, F>(&self, work: impl FnOnce(MultiplexedConnection) -> F) -> Result<T, NoAnswer>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let link = self.0.link.borrow().clone().ok_or(NoAnswer::Away)?;
        let failed = match timeout(self.0.answer, work(link.connection)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if !is_broken(&error) => {
                return Err(NoAnswer::Refused(error.code().unwrap_or(error.category()).to_owned()));
            }
            Ok(Err(error)) => explain(&error),
            Err(_) => "it did not answer in time".to_owned(),
        };
        if lose(&self.0.link, link.number) {
            tracing::debug!(redis = self.place(), why = failed, "a connection to Redis is given up");
        }
        Err(NoAnswer::Away)
    }

    /// Listens to a channel from now on, on a connection of its own.
    pub async fn subscribe(&self, channel: &str) -> Result<Subscription, NoAnswer> {
        let subscribe = async {
            let (mut sink, stream) = self.0.client.get_async_pubsub().await?.split();
            sink.subscribe(channel).await?;
            Ok::<_, RedisError>(Subscription { _sink: sink, stream })
        };
        match timeout(CONNECT.max(self.0.answer), subscribe).await {
            Ok(Ok(subscription)) => Ok(subscription),
            Ok(Err(error)) if !is_broken(&error) => {
                Err(NoAnswer::Refused(error.code().unwrap_or(error.category()).to_owned()))
            }
            _ => Err(NoAnswer::Away),
        }
    }
}

/// What comes in on a channel.
pub struct Subscription {
    // Without it the connection would end.
    _sink: PubSubSink,
    stream: PubSubStream,
}

impl Subscription {
    /// The next message; none when the connection is gone, and with it whatever was said since.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.stream.next().await.map(|message| message.get_payload_bytes().to_vec())
    }
}

/// The files of certificates that a URL names. They are read once, here.
fn certificates(url: &str) -> Result<TlsCertificates, StartError> {
    let read = |name: &str| match tls::parameter(url, &[name]) {
        None => Ok(None),
        Some(file) => std::fs::read(&*file)
            .map(Some)
            .map_err(|e| StartError::Other(format!("stores.cache names a file as {name}: cannot read {file}: {e}"))),
    };
    let client_tls = match (read("ssl_certfile")?, read("ssl_keyfile")?) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
        (None, None) => None,
        _ => {
            return Err(StartError::Other(
                "stores.cache names one of ssl_certfile and ssl_keyfile; name both".to_owned(),
            ));
        }
    };
    Ok(TlsCertificates { client_tls, root_cert: read("ssl_ca_certs")? })
}

/// True if a new connection may help: this one is gone, or it leads to a server that starts or was demoted.
fn is_broken(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    let passing = matches!(error.kind(), redis::ErrorKind::Server(BusyLoading | MasterDown | ReadOnly));
    passing || error.is_io_error() || error.is_unrecoverable_error()
}

/// One line without addresses or passwords.
fn explain(error: &RedisError) -> String {
    if let Some(why) = tls::explain(error, "stores.cache") {
        return format!("it {why}");
    }
    match error.code() {
        Some(code) => format!("it refused with {code}"),
        None if error.is_timeout() => "it did not answer in time".to_owned(),
        None if error.is_connection_refusal() => "nobody listens there".to_owned(),
        // Such as a certificate that is not trusted; what was sent is not part of it.
        None if error.is_io_error() => error.to_string(),
        None => error.category().to_owned(),
    }
}

/// Gives a connection up, unless a newer one is there already.
fn lose(link: &watch::Sender<Option<Link>>, number: u64) -> bool {
    link.send_if_modified(|now| now.take_if(|link| link.number == number).is_some())
}

/// Keeps a connection: makes it, waits until it is given up, makes the next.
async fn keep(client: Client, answer: Duration, link: Arc<watch::Sender<Option<Link>>>, up: Gauge) {
    let place = client.get_connection_info().addr().to_string();
    let (mut pause, mut told) = (AGAIN.0, false);
    for number in 1.. {
        match connect(&client, answer, number, Arc::downgrade(&link)).await {
            Ok(connection) => {
                if told {
                    tracing::info!(redis = place, "Redis is back");
                }
                told = false;
                let since = Instant::now();
                link.send_replace(Some(Link { number, connection }));
                up.set(1);
                let _ = link.subscribe().wait_for(Option::is_none).await;
                up.set(0);
                if since.elapsed() >= GOOD {
                    pause = AGAIN.0;
                }
            }
            Err(error) if !told => {
                told = true;
                let why = explain(&error);
                tracing::warn!(redis = place, why, "Redis cannot be reached; all goes on without it, slower");
            }
            Err(_) => {}
        }
        // Not all replicas at once.
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}

async fn connect(
    client: &Client,
    answer: Duration,
    number: u64,
    link: Weak<watch::Sender<Option<Link>>>,
) -> RedisResult<MultiplexedConnection> {
    // Its own bound must not cut short what a caller is ready to wait.
    let bound = Some(CONNECT.max(answer));
    let mut config = AsyncConnectionConfig::new().set_connection_timeout(bound).set_response_timeout(bound);
    if client.get_connection_info().redis_settings().protocol().supports_resp3() {
        config = config.set_push_sender(move |push: PushInfo| {
            if let Some(link) = link.upgrade().filter(|_| push.kind == PushKind::Disconnection) {
                lose(&link, number);
            }
            Ok::<_, redis::aio::SendError>(())
        });
    }
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    // A server that is still reading its file takes connections and answers nothing.
    redis::cmd("PING").exec_async(&mut connection).await?;
    Ok(connection)
}
