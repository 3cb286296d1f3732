//! The handle of the engine, and sessions: one device with the credentials that it answers to.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::codec::{
    Answer, CommunityVersion, Decoded, EngineFacts, Operation, UsmSession, decode_community, decode_discovery,
    encode_community, encode_discovery, id_of,
};
use super::credentials::{Credentials, Secret, UsmUser};
use super::engine::{Conversation, Engine, Judgement, QUEUE_MAX, Request, open_socket};
use super::error::{SnmpError, UsmReport};
use super::{Oid, guard};

/// Most objects in one request: about 1,400 bytes of the longest usual names.
pub(super) const OIDS_PER_REQUEST_MAX: usize = 40;
/// Engines whose keys are kept. The oldest go first; their keys are made again when needed.
const ENGINES_MAX: usize = 4_096;

/// How the engine behaves.
#[derive(Debug, Clone, Copy)]
pub struct ClientConfig {
    /// Requests under way at once, all devices together.
    pub window: usize,
    /// Datagrams per second, all devices together.
    pub packets_per_second: u32,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { window: 64, packets_per_second: 200 }
    }
}

/// Patience with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Wait for the first try; twice that for the second, and so on.
    pub timeout: Duration,
    /// Further tries.
    pub retries: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(2), retries: 2 }
    }
}

type UsmCache = Arc<Mutex<HashMap<(SocketAddr, String), (UsmUser, UsmSession)>>>;

/// A handle of the engine. The engine ends when the last handle is gone.
#[derive(Debug, Clone)]
pub struct Client {
    v4: mpsc::Sender<Request>,
    v6: Option<mpsc::Sender<Request>>,
    usm: UsmCache,
}

impl Client {
    /// Opens the sockets and starts the engine. To be called within a tokio runtime.
    ///
    /// # Errors
    /// When there is no UDP socket to be had. A machine without IPv6 is no error.
    pub fn open(config: ClientConfig) -> io::Result<Self> {
        let start = |bind: SocketAddr| -> io::Result<mpsc::Sender<Request>> {
            let socket = open_socket(bind, config.window)?;
            let (sender, receiver) = mpsc::channel(QUEUE_MAX);
            let first_id = fastrand::i32(0x4000_0000..i32::MAX);
            tokio::spawn(Engine::new(socket, receiver, config.window, config.packets_per_second, first_id).run());
            Ok(sender)
        };
        Ok(Self {
            v4: start((Ipv4Addr::UNSPECIFIED, 0).into())?,
            v6: start((Ipv6Addr::UNSPECIFIED, 0).into()).ok(),
            usm: UsmCache::default(),
        })
    }

    /// A session with one device.
    #[must_use]
    pub fn session(&self, target: SocketAddr, credentials: Credentials, timing: Timing) -> Session {
        let target = SocketAddr::new(target.ip().to_canonical(), target.port());
        Session { client: self.clone(), target, credentials, timing }
    }

    /// Hands a conversation to the engine and waits for its end.
    async fn converse<C: Conversation + 'static>(
        &self,
        target: SocketAddr,
        timing: Timing,
        conversation: C,
    ) -> Result<Box<dyn Conversation>, SnmpError> {
        let engine = match (target, &self.v6) {
            (SocketAddr::V4(_), _) => &self.v4,
            (SocketAddr::V6(_), Some(v6)) => v6,
            (SocketAddr::V6(_), None) => {
                return Err(SnmpError::Network { target, detail: "this machine has no IPv6".to_owned() });
            }
        };
        let stopped = || SnmpError::Engine("it has stopped".to_owned());
        let (reply, answer) = oneshot::channel();
        let request = Request { target, timing, conversation: Box::new(conversation), reply };
        engine.send(request).await.map_err(|_| stopped())?;
        let (conversation, result) = answer.await.map_err(|_| stopped())?;
        result.map(|()| conversation)
    }
}

/// One device and how it is asked.
#[derive(Debug, Clone)]
pub struct Session {
    client: Client,
    target: SocketAddr,
    credentials: Credentials,
    timing: Timing,
}

impl Session {
    /// The device's address.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    pub(super) fn speaks_v1(&self) -> bool {
        matches!(self.credentials, Credentials::V1 { .. })
    }

    /// Sends one request and returns the answer, whatever its error status says.
    pub(super) async fn request(&self, operation: Operation, oids: &[Oid]) -> Result<Answer, SnmpError> {
        let target = self.target;
        let bad = |detail: String| SnmpError::BadRequest { target, detail };
        if oids.is_empty() || oids.len() > OIDS_PER_REQUEST_MAX {
            return Err(bad(format!("{} objects in one request; 1 to {OIDS_PER_REQUEST_MAX} fit", oids.len())));
        }
        let forbidden = match operation {
            Operation::Get => guard::against_get(oids),
            Operation::GetNext | Operation::GetBulk(..) => guard::against_step(oids),
        };
        if let Some(reason) = forbidden {
            return Err(bad(reason.to_owned()));
        }
        match &self.credentials {
            Credentials::V1 { community } => self.ask_community(CommunityVersion::V1, community, operation, oids).await,
            Credentials::V2c { community } => {
                self.ask_community(CommunityVersion::V2c, community, operation, oids).await
            }
            Credentials::V3(user) => self.ask_v3(user, operation, oids).await,
        }
    }

    async fn ask_community(
        &self,
        version: CommunityVersion,
        community: &Secret,
        operation: Operation,
        oids: &[Oid],
    ) -> Result<Answer, SnmpError> {
        let exchange = Exchange {
            target: self.target,
            security: ExchangeSecurity::Community(version, community.clone()),
            operation,
            oids: oids.to_vec(),
            outcome: Arc::default(),
        };
        match self.run(exchange).await? {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Report { reason, .. } => Err(SnmpError::Refused { target: self.target, reason }),
        }
    }

    async fn run(&self, exchange: Exchange) -> Result<Outcome, SnmpError> {
        let outcome = exchange.outcome.clone();
        self.client.converse(self.target, self.timing, exchange).await?;
        let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.ok_or_else(|| SnmpError::Engine("a request ended without an outcome".to_owned()))
    }

    /// Asks as a user. A device whose clock or engine changed is understood at the second attempt (RFC 3414 §4).
    async fn ask_v3(&self, user: &UsmUser, operation: Operation, oids: &[Oid]) -> Result<Answer, SnmpError> {
        let mut last_reason = UsmReport::Other;
        for _ in 0..3 {
            let usm = match self.cached(user) {
                Some(usm) => usm,
                None => self.localise(user, self.discover().await?).await?,
            };
            let learning = Arc::new(Mutex::new(usm));
            let exchange = Exchange {
                target: self.target,
                security: ExchangeSecurity::User(learning.clone()),
                operation,
                oids: oids.to_vec(),
                outcome: Arc::default(),
            };
            let outcome = self.run(exchange).await?;
            let mut usm = learning.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match outcome {
                Outcome::Answer(answer) => {
                    self.cache(user, Some(usm));
                    return Ok(answer);
                }
                Outcome::Report { reason: UsmReport::NotInTimeWindow, engine, .. }
                    if engine.engine_id == usm.engine_id() =>
                {
                    usm.set_clock(&engine, Instant::now());
                    self.cache(user, Some(usm));
                    last_reason = UsmReport::NotInTimeWindow;
                }
                Outcome::Report { reason: UsmReport::UnknownEngineId, .. } => {
                    self.cache(user, None);
                    last_reason = UsmReport::UnknownEngineId;
                }
                Outcome::Report { reason, .. } => {
                    return Err(SnmpError::Refused { target: self.target, reason });
                }
            }
        }
        Err(SnmpError::Refused { target: self.target, reason: last_reason })
    }

    async fn discover(&self) -> Result<EngineFacts, SnmpError> {
        let exchange = Exchange {
            target: self.target,
            security: ExchangeSecurity::Discovery,
            operation: Operation::Get,
            oids: Vec::new(),
            outcome: Arc::default(),
        };
        match self.run(exchange).await? {
            Outcome::Report { engine, .. } if !engine.engine_id.is_empty() => Ok(engine),
            _ => {
                let detail = "no engine id in answer to the discovery".to_owned();
                Err(SnmpError::Garbage { target: self.target, detail })
            }
        }
    }

    /// Keys take milliseconds of computing, so they are made where that holds nobody up.
    async fn localise(&self, user: &UsmUser, engine: EngineFacts) -> Result<UsmSession, SnmpError> {
        let user = user.clone();
        let made = tokio::task::spawn_blocking(move || UsmSession::localise(&user, &engine, Instant::now())).await;
        let bad = |detail: String| SnmpError::BadRequest { target: self.target, detail };
        made.map_err(|e| bad(e.to_string()))?.map_err(bad)
    }

    fn cached(&self, user: &UsmUser) -> Option<UsmSession> {
        let cache = self.client.usm.lock().unwrap_or_else(PoisonError::into_inner);
        let (made_for, usm) = cache.get(&(self.target, user.name.clone()))?;
        (made_for == user).then(|| usm.clone())
    }

    fn cache(&self, user: &UsmUser, usm: Option<UsmSession>) {
        let mut cache = self.client.usm.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.target, user.name.clone());
        match usm {
            None => drop(cache.remove(&key)),
            Some(usm) => {
                if cache.len() >= ENGINES_MAX && !cache.contains_key(&key) {
                    let any = cache.keys().next().cloned();
                    any.and_then(|any| cache.remove(&any));
                }
                cache.insert(key, (user.clone(), usm));
            }
        }
    }
}

/// How one exchange is secured.
enum ExchangeSecurity {
    Community(CommunityVersion, Secret),
    Discovery,
    User(Arc<Mutex<UsmSession>>),
}

/// What came of an exchange.
enum Outcome {
    Answer(Answer),
    Report { reason: UsmReport, engine: EngineFacts },
}

/// One request and its answer.
struct Exchange {
    target: SocketAddr,
    security: ExchangeSecurity,
    operation: Operation,
    oids: Vec<Oid>,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

impl Conversation for Exchange {
    fn encode(&mut self, id: i32) -> Result<Vec<u8>, SnmpError> {
        let encoded = match &self.security {
            ExchangeSecurity::Community(version, community) => {
                encode_community(*version, community.as_bytes(), self.operation, id, &self.oids)
            }
            ExchangeSecurity::Discovery => encode_discovery(id),
            ExchangeSecurity::User(usm) => {
                let usm = usm.lock().unwrap_or_else(PoisonError::into_inner);
                usm.encode(self.operation, id, &self.oids, Instant::now())
            }
        };
        encoded.map_err(|detail| SnmpError::BadRequest { target: self.target, detail })
    }

    fn judge(&mut self, id: i32, datagram: &[u8]) -> Judgement {
        let decoded = match &self.security {
            ExchangeSecurity::Community(version, community) => {
                decode_community(*version, community.as_bytes(), datagram, id)
            }
            ExchangeSecurity::Discovery => decode_discovery(datagram, id),
            ExchangeSecurity::User(usm) => {
                usm.lock().unwrap_or_else(PoisonError::into_inner).decode(datagram, id, Instant::now())
            }
        };
        let outcome = match decoded {
            Decoded::Answer(answer) => Outcome::Answer(answer),
            Decoded::Report { reason, engine, authenticated } => {
                tracing::debug!(target = %self.target, %reason, authenticated, "USM report");
                Outcome::Report { reason, engine }
            }
            Decoded::NotForUs => return Judgement::Ignore,
            Decoded::Garbage(detail) => {
                return Judgement::Failed(SnmpError::Garbage { target: self.target, detail });
            }
        };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        Judgement::Done
    }

    fn id_of(&self, datagram: &[u8]) -> Option<i32> {
        id_of(datagram)
    }
}
