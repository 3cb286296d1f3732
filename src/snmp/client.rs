//! The handle of the engine: opens it, makes sessions, and remembers SNMPv3 engines as long as it lives.

use super::codec::{Message, Peer, Report};
use super::engine::{Engine, Job, Manners, Order, Outcome};
use super::guard::Asks;
use super::limits::{
    DEFAULT_BURST, DEFAULT_GAP, DEFAULT_PACKETS_PER_SECOND, DEFAULT_RECEIVE_BUFFER_BYTES, DEFAULT_WINDOW, JOB_CHANNEL,
    KEY_MAKERS, MAX_PEERS, MAX_WALK_REPETITIONS,
};
use super::pacing::TokenBucket;
use super::sockets::{Sockets, comparable};
use super::statistics::Counters;
use super::sweep::SweepState;
use super::walk::HabitTable;
use super::{Credentials, Session, SnmpError, Statistics, UsmReport, UsmUser};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tokio::time::Instant;

/// How long to wait for an answer, and how often to ask again. Each try waits twice as long as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long the first try waits; at most [`MAX_TIMEOUT`](super::limits::MAX_TIMEOUT), as is any other.
    pub timeout: Duration,
    /// How many times to ask again; at most [`MAX_RETRIES`](super::limits::MAX_RETRIES).
    pub retries: u32,
}

impl Default for Timing {
    /// 1 s, 2 s, 4 s.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(1), retries: 2 }
    }
}

/// How the engine treats the network. All targets share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientConfig {
    /// Most requests whose answers may arrive at the same moment ([`DEFAULT_WINDOW`]).
    pub window: usize,
    /// Datagrams a second, `None` without a limit (tests on loopback only).
    pub packets_per_second: Option<u32>,
    /// Datagrams that may leave at once after a pause.
    pub burst: u32,
    /// Least time between two requests to the same device ([`DEFAULT_GAP`]).
    pub gap: Duration,
    /// Most repetitions of a walk's GETBULK ([`MAX_WALK_REPETITIONS`]); never more than
    /// [`MAX_REPETITIONS`](super::limits::MAX_REPETITIONS). Walks begin with fewer and find out what a device bears.
    pub max_repetitions: u32,
    /// SO_RCVBUF to ask for, in bytes.
    pub receive_buffer_bytes: usize,
    /// What may be asked for.
    pub asks: Asks,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            window: DEFAULT_WINDOW,
            packets_per_second: Some(DEFAULT_PACKETS_PER_SECOND),
            burst: DEFAULT_BURST,
            gap: DEFAULT_GAP,
            max_repetitions: MAX_WALK_REPETITIONS,
            receive_buffer_bytes: DEFAULT_RECEIVE_BUFFER_BYTES,
            asks: Asks::Listed,
        }
    }
}

/// An SNMPv3 engine as it was last met, to be remembered over a restart: it saves a discovery, and keys can be made before
/// the device is asked. It is no secret and no proof: what does not fit any more is discovered anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownEngine {
    /// Where it is.
    pub target: SocketAddr,
    /// snmpEngineID.
    pub engine_id: Vec<u8>,
    /// snmpEngineBoots.
    pub boots: u32,
    /// snmpEngineTime, in seconds, at this moment.
    pub time_s: u32,
}

/// The engine's handle: clones are cheap and share one engine, which ends with the last of them and of their sessions.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    orders: mpsc::Sender<Order>,
    counters: Arc<Counters>,
    peers: Mutex<Peers>,
    /// Engines of an earlier life, and when they were handed over. Each is used once.
    remembered: Mutex<HashMap<SocketAddr, (KnownEngine, Instant)>>,
    key_makers: Semaphore,
    habits: HabitTable,
    asks: Asks,
}

/// SNMPv3 engines by where they are and who asks; each is discovered once, whoever needs it first.
type Peers = HashMap<(SocketAddr, UsmUser), Arc<OnceCell<Arc<Peer>>>>;

impl Client {
    /// Opens the sockets and starts the engine's task on the current tokio runtime.
    ///
    /// # Errors
    /// Without a runtime, or when the kernel gives no UDP socket of either address family.
    pub fn open(config: ClientConfig) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let sockets = Sockets::open(config.receive_buffer_bytes)?;
        let (orders, receiver) = mpsc::channel(JOB_CHANNEL);
        let bucket = TokenBucket::new(config.packets_per_second, config.burst, Instant::now());
        let manners = Manners { window: config.window, bucket, gap: config.gap };
        let counters = Arc::<Counters>::default();
        let engine = Engine::new(receiver, manners, fastrand::Rng::new(), Arc::clone(&counters));
        runtime.spawn(engine.run(sockets));
        let (peers, key_makers) = (Mutex::default(), Semaphore::new(KEY_MAKERS));
        let (habits, remembered) = (HabitTable::new(config.max_repetitions), Mutex::default());
        Ok(Self {
            shared: Arc::new(Shared { orders, counters, peers, remembered, key_makers, habits, asks: config.asks }),
        })
    }

    /// A way to ask one device. Nothing is sent until it is used.
    #[must_use]
    pub fn session(&self, target: SocketAddr, credentials: Credentials, timing: Timing) -> Session {
        Session::new(self.clone(), comparable(target), credentials, timing)
    }

    /// What the engine has done and seen until now.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.counters.read()
    }

    /// Hands a sweep to the engine.
    pub(super) async fn start_sweep(&self, sweep: SweepState) -> Result<(), SnmpError> {
        let ended = |_| SnmpError::Engine("it has ended".to_owned());
        self.shared.orders.send(Order::Sweep(Box::new(sweep))).await.map_err(ended)
    }

    /// snmpEngineID of the SNMPv3 engine there, where one was met.
    #[must_use]
    pub fn engine_id(&self, target: SocketAddr) -> Option<Vec<u8>> {
        self.known_engines().into_iter().find(|engine| engine.target == target).map(|engine| engine.engine_id)
    }

    /// What may be asked for.
    pub(super) fn asks(&self) -> Asks {
        self.shared.asks
    }

    /// What walks have found out about each device.
    pub(super) fn habits(&self) -> &HabitTable {
        &self.shared.habits
    }

    /// Sends one message and waits for what ends it.
    pub(super) async fn send(
        &self,
        target: SocketAddr,
        message: Message,
        timing: Timing,
    ) -> Result<Outcome, SnmpError> {
        let (job, answer) = Job::new(target, message, timing, self.shared.asks)?;
        let ended = || SnmpError::Engine("it has ended".to_owned());
        self.shared.orders.send(Order::Ask(job)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// The SNMPv3 engine at this address as this user sees it: discovered (RFC 3414 §4) if it is not yet known.
    pub(super) async fn peer(
        &self,
        target: SocketAddr,
        user: &UsmUser,
        timing: Timing,
    ) -> Result<Arc<Peer>, SnmpError> {
        let cell = self.peer_cell(target, user);
        let peer = cell
            .get_or_try_init(|| async {
                if let Some(found) = self.remembered(target) {
                    return self.make_peer(target, user.clone(), found).await;
                }
                let found = match self.send(target, Message::Discovery, timing).await? {
                    Outcome::Report(found) => found,
                    Outcome::Response(_) => {
                        return Err(SnmpError::Refused { target, reason: UsmReport::Other });
                    }
                };
                self.make_peer(target, user.clone(), found).await
            })
            .await?;
        Ok(Arc::clone(peer))
    }

    /// The SNMPv3 engines that have proven themselves by an answer.
    #[must_use]
    pub fn known_engines(&self) -> Vec<KnownEngine> {
        let now = Instant::now().into_std();
        let mut engines: Vec<KnownEngine> = self
            .peers()
            .iter()
            .filter_map(|((target, _), cell)| {
                let peer = cell.get().filter(|peer| peer.has_answered())?;
                let Report { engine_id, boots, time, .. } = peer.as_discovered(now);
                Some(KnownEngine { target: *target, engine_id, boots, time_s: time })
            })
            .collect();
        // Several users of one engine tell the same of it.
        engines.sort_by_key(|engine| engine.target);
        engines.dedup_by_key(|engine| engine.target);
        engines
    }

    /// Takes over what was known of engines before a restart; `time_s` is what it would be now.
    pub fn remember_engines(&self, engines: impl IntoIterator<Item = KnownEngine>) {
        let now = Instant::now();
        let engines = engines.into_iter().take(MAX_PEERS).map(|engine| (comparable(engine.target), (engine, now)));
        self.remembered_engines().extend(engines);
    }

    /// The engine at this address as it was before the restart, in the form of the report that would bring it.
    fn remembered(&self, target: SocketAddr) -> Option<Report> {
        let (engine, at) = self.remembered_engines().get(&target).cloned()?;
        let elapsed = u32::try_from(at.elapsed().as_secs()).unwrap_or(u32::MAX);
        Some(Report {
            reason: UsmReport::UnknownEngineId,
            engine_id: engine.engine_id,
            boots: engine.boots,
            time: engine.time_s.saturating_add(elapsed),
            authenticated: false,
        })
    }

    /// Forgets what was known before the restart; returns whether anything was.
    pub(super) fn forget_remembered(&self, target: SocketAddr) -> bool {
        self.remembered_engines().remove(&target).is_some()
    }

    fn remembered_engines(&self) -> MutexGuard<'_, HashMap<SocketAddr, (KnownEngine, Instant)>> {
        // A map whose holder panicked is at worst short of an entry.
        self.shared.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Localises keys on a thread of its own, so that nothing else waits for it.
    pub(super) async fn make_peer(
        &self,
        target: SocketAddr,
        user: UsmUser,
        found: Report,
    ) -> Result<Arc<Peer>, SnmpError> {
        let ended = || SnmpError::Engine("it has ended".to_owned());
        let _turn = self.shared.key_makers.acquire().await.map_err(|_| ended())?;
        let now = Instant::now().into_std();
        let made = tokio::task::spawn_blocking(move || Peer::new(&user, &found, now)).await.map_err(|_| ended())?;
        made.map(Arc::new).map_err(|detail| SnmpError::BadRequest { target, detail })
    }

    /// Forgets an engine that has changed its id, if it is still the one that is known.
    pub(super) fn forget_peer(&self, target: SocketAddr, user: &UsmUser, old: &Arc<Peer>) {
        let key = (target, user.clone());
        let mut peers = self.peers();
        if peers.get(&key).and_then(|cell| cell.get()).is_some_and(|known| Arc::ptr_eq(known, old)) {
            peers.remove(&key);
        }
    }

    fn peer_cell(&self, target: SocketAddr, user: &UsmUser) -> Arc<OnceCell<Arc<Peer>>> {
        let key = (target, user.clone());
        let mut peers = self.peers();
        if peers.len() >= MAX_PEERS && !peers.contains_key(&key) {
            // Whichever comes first: to forget one costs a discovery and nothing else.
            if let Some(victim) = peers.keys().next().cloned() {
                peers.remove(&victim);
            }
        }
        Arc::clone(peers.entry(key).or_default())
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        // A map whose holder panicked is at worst short of an entry.
        self.shared.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
