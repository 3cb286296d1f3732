//! A sweep inside the engine: one datagram to each of many addresses, without any memory of the silent ones.
//!
//! A table of what is on the wire would hold tens of thousands of addresses that never answer. So the id of a probe is a
//! keyed hash of whom it asks: an answer is known by its source address and that id alone, and nothing is kept but of
//! those who answered. The key is drawn anew for each sweep and never leaves this process.

use super::codec::{self, Decoded, EncodeError, Message, Request};
use super::limits::{MAX_PROBED_AT_ONCE, MAX_SWEEP_ANSWERS, MAX_SWEEP_POSTPONED, PROBE_PATIENCE};
use super::pacing::TokenBucket;
use super::sockets::{Unreached, comparable};
use super::{Client, Credentials, Oid, SnmpError, Unreachable, VarBind, guard};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What is asked of every address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// These objects, by SNMPv1 or v2c.
    Community {
        /// Credentials of v1 or v2c.
        credentials: Credentials,
        /// What to ask for: little, as everybody is asked.
        oids: Vec<Oid>,
    },
    /// For its engine id, by SNMPv3 (RFC 3414 §4): needs no user, and every v3 agent answers.
    EngineDiscovery,
}

/// How fast the probes of a sweep leave, at most; the client's own pace bounds them too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace(Option<Duration>);

impl Pace {
    /// So many a second, evenly.
    #[must_use]
    pub fn per_second(packets: u32) -> Self {
        Self(Some(Duration::from_secs(1) / packets.max(1)))
    }

    /// One in each such span of time.
    #[must_use]
    pub fn one_every(span: Duration) -> Self {
        Self(Some(span))
    }

    /// As fast as the client's pace allows.
    #[must_use]
    pub fn of_the_client() -> Self {
        Self(None)
    }

    /// Time from one probe to the next; `None` where only the client's pace says.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.0
    }
}

/// A sweep to be made.
pub struct SweepPlan {
    /// Whom to ask, in this order. Each is asked once for each time that it comes up. Runs on the engine's task: it must
    /// not block.
    pub targets: Box<dyn Iterator<Item = SocketAddr> + Send>,
    /// What to ask.
    pub probe: Probe,
    /// How fast.
    pub pace: Pace,
    /// How long to wait for answers after the last probe.
    pub listen: Duration,
    /// Where it is noted who cannot be reached.
    pub unreachable: Unreachable,
}

impl fmt::Debug for SweepPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SweepPlan").field("probe", &self.probe).field("pace", &self.pace).finish_non_exhaustive()
    }
}

/// Who answered, and what. Each address once in a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Who.
    pub target: SocketAddr,
    /// What it said; empty where it answered with an error status, and after an engine discovery.
    pub bindings: Vec<VarBind>,
    /// Its engine id, after an engine discovery. Nobody has signed for it.
    pub engine_id: Option<Vec<u8>>,
}

/// The answers of a sweep under way. Dropping it ends the sweep.
#[derive(Debug)]
pub struct Probes {
    answers: mpsc::Receiver<ProbeAnswer>,
    sent: Arc<AtomicU64>,
}

impl Probes {
    /// The next answer; `None` after the end of the sweep.
    pub async fn next(&mut self) -> Option<ProbeAnswer> {
        self.answers.recv().await
    }

    /// How many addresses were asked until now.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// A view of [`sent`](Self::sent) for somebody else.
    #[must_use]
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }
}

impl Client {
    /// Asks many addresses, one datagram each. One sweep is made after the other; requests of sessions go first.
    /// An address to which a session talks at that moment is put off, and left out if it still does at the end.
    ///
    /// # Errors
    /// When the probe cannot be written, asks for what is never asked for, or the engine has ended.
    pub async fn sweep(&self, plan: SweepPlan) -> Result<Probes, SnmpError> {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let bad = |detail: String| SnmpError::BadRequest { target: nobody, detail };
        let message = message_of(plan.probe).map_err(bad)?;
        if let Some(request) = message.request() {
            guard::check(nobody, request, self.asks())?;
        }
        let template = Template::of(&message).map_err(|error| bad(error.to_string()))?;
        let (sender, answers) = mpsc::channel(MAX_SWEEP_ANSWERS);
        let sent = Arc::new(AtomicU64::new(0));
        let bucket = TokenBucket::every(plan.pace.interval(), 1, Instant::now());
        let state = SweepState {
            targets: Some(plan.targets),
            postponed: VecDeque::new(),
            put_back: None,
            message,
            template,
            bucket,
            listen: plan.listen,
            unreachable: plan.unreachable,
            listen_until: None,
            answered: HashSet::new(),
            probed: Probed::default(),
            answers: sender,
            sent: Arc::clone(&sent),
        };
        self.start_sweep(state).await?;
        Ok(Probes { answers, sent })
    }
}

fn message_of(probe: Probe) -> Result<Message, String> {
    let (version, community, oids) = match probe {
        Probe::EngineDiscovery => return Ok(Message::Discovery),
        Probe::Community { credentials: Credentials::V1 { community }, oids } => {
            (codec::CommunityVersion::V1, community, oids)
        }
        Probe::Community { credentials: Credentials::V2c { community }, oids } => {
            (codec::CommunityVersion::V2c, community, oids)
        }
        Probe::Community { credentials: Credentials::V3(_), .. } => {
            return Err("a user of SNMPv3 cannot be tried on everybody: discover engines instead".to_owned());
        }
    };
    Ok(Message::Community { version, community, request: Request::Get(oids) })
}

/// A datagram with a gap for the id: written once, not once for each address.
#[derive(Debug)]
struct Template {
    datagram: Vec<u8>,
    /// Where the id stands: once in v1 and v2c, twice in v3.
    places: Vec<usize>,
}

impl Template {
    fn of(message: &Message) -> Result<Self, EncodeError> {
        // Two ids that differ in each octet show where the id stands.
        const ONE: i32 = 0x5555_5555;
        const OTHER: i32 = 0x6a6a_6a6a;
        let now = Instant::now().into_std();
        let (datagram, other) = (message.encode(ONE, now)?, message.encode(OTHER, now)?);
        let mut places = Vec::new();
        let mut at = 0;
        while let (Some(a), Some(b)) = (datagram.get(at..at + 4), other.get(at..at + 4)) {
            if a == ONE.to_be_bytes() && b == OTHER.to_be_bytes() {
                places.push(at);
                at += 4;
            } else {
                at += 1;
            }
        }
        if places.is_empty() || datagram.len() != other.len() {
            return Err(EncodeError::Codec("the id has no place in the datagram".to_owned()));
        }
        Ok(Self { datagram, places })
    }

    fn with_id(&mut self, id: i32) -> &[u8] {
        for place in &self.places {
            if let Some(octets) = self.datagram.get_mut(*place..*place + 4) {
                octets.copy_from_slice(&id.to_be_bytes());
            }
        }
        &self.datagram
    }
}

/// A sweep as the engine holds it.
pub(super) struct SweepState {
    /// `None` after the last one.
    targets: Option<Box<dyn Iterator<Item = SocketAddr> + Send>>,
    /// Those to whom a session was talking.
    postponed: VecDeque<SocketAddr>,
    /// The one that the kernel had no room for.
    put_back: Option<SocketAddr>,
    message: Message,
    template: Template,
    bucket: TokenBucket,
    listen: Duration,
    unreachable: Unreachable,
    listen_until: Option<Instant>,
    /// Who has answered: as many entries as devices.
    answered: HashSet<SocketAddr>,
    probed: Probed,
    answers: mpsc::Sender<ProbeAnswer>,
    sent: Arc<AtomicU64>,
}

impl fmt::Debug for SweepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SweepState").field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// How often it is looked whether those who were busy still are.
const POSTPONED_PAUSE: Duration = Duration::from_millis(10);

/// What may be done for a sweep now.
pub(super) enum Next {
    /// Send this probe.
    Send(SocketAddr),
    /// Nothing before this moment.
    At(Instant),
    /// It has ended.
    Ended,
}

/// When the last few were probed, so that nobody is asked something else while a probe is on its way to him, and so that
/// the round trip is known.
#[derive(Default)]
pub(super) struct Probed {
    key: RandomState,
    by_id: HashMap<i32, (SocketAddr, Instant), BuildHasherDefault<IdHasher>>,
    in_order: VecDeque<(Instant, i32)>,
}

impl Probed {
    /// The id of the probe to this target: always four octets, as there is room for no more in the template.
    fn id_for(&self, target: SocketAddr) -> i32 {
        let hash = self.key.hash_one(target);
        i32::try_from(hash & 0x3fff_ffff).unwrap_or(0) | 0x4000_0000
    }

    /// Notes a probe; returns its id.
    fn note(&mut self, target: SocketAddr, now: Instant) -> i32 {
        while let Some((at, oldest)) = self.in_order.front().copied() {
            let is_over = at + PROBE_PATIENCE <= now;
            if !is_over && self.in_order.len() < MAX_PROBED_AT_ONCE {
                break;
            }
            self.in_order.pop_front();
            if self.by_id.get(&oldest).is_some_and(|(_, since)| *since == at) {
                self.by_id.remove(&oldest);
            }
        }
        let id = self.id_for(target);
        self.by_id.insert(id, (target, now));
        self.in_order.push_back((now, id));
        id
    }

    /// Until when a probe to this target may still be answered.
    pub(super) fn awaited_until(&self, target: &SocketAddr) -> Option<Instant> {
        let (probed, at) = self.by_id.get(&self.id_for(*target))?;
        (probed == target).then(|| *at + PROBE_PATIENCE)
    }

    /// Whether no probe at all may still be answered.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.in_order.back().is_none_or(|(at, _)| *at + PROBE_PATIENCE <= now)
    }
}

impl SweepState {
    /// What is next. `is_busy` tells whether a session has something on the wire to an address.
    pub(super) fn next(&mut self, now: Instant, is_busy: impl Fn(&SocketAddr) -> bool) -> Next {
        if self.answers.is_closed() {
            return Next::Ended;
        }
        if self.listen_until.is_some_and(|until| until <= now) {
            return Next::Ended;
        }
        if !self.bucket.has(now) {
            return Next::At(self.bucket.next_at(now));
        }
        if let Some(target) = self.put_back.take() {
            self.bucket.take(now);
            return Next::Send(target);
        }
        for _ in 0..MAX_SWEEP_POSTPONED {
            let Some(target) = self.targets.as_mut().and_then(Iterator::next).map(comparable) else {
                self.targets = None;
                return self.next_postponed(now, is_busy);
            };
            if !is_busy(&target) {
                self.bucket.take(now);
                return Next::Send(target);
            }
            if self.postponed.len() < MAX_SWEEP_POSTPONED {
                self.postponed.push_back(target);
            }
        }
        Next::At(now)
    }

    /// After the last target: those who were busy, as they become free; then what is left of the time to listen.
    fn next_postponed(&mut self, now: Instant, is_busy: impl Fn(&SocketAddr) -> bool) -> Next {
        let until = *self.listen_until.get_or_insert(now + self.listen);
        let free = self.postponed.iter().position(|target| !is_busy(target));
        if let Some(target) = free.and_then(|at| self.postponed.remove(at)) {
            self.bucket.take(now);
            self.listen_until = Some(now + self.listen);
            return Next::Send(target);
        }
        Next::At(if self.postponed.is_empty() { until } else { until.min(now + POSTPONED_PAUSE) })
    }

    /// The datagram for a target, noted as on its way.
    pub(super) fn probe(&mut self, target: SocketAddr, now: Instant) -> &[u8] {
        let id = self.probed.note(target, now);
        self.template.with_id(id)
    }

    /// The probe to this target has left.
    pub(super) fn count(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// A probe that the kernel had no room for: it comes first when there is.
    pub(super) fn put_back(&mut self, target: SocketAddr) {
        self.probed.by_id.remove(&self.probed.id_for(target));
        self.put_back = Some(target);
    }

    /// Until when a probe to this target may still be answered.
    pub(super) fn awaited_until(&self, target: &SocketAddr) -> Option<Instant> {
        self.probed.awaited_until(target)
    }

    /// What is left of a sweep that has ended: where it was broken off, somebody may still have a probe of it to answer.
    pub(super) fn into_probed(self) -> Option<Probed> {
        self.answers.is_closed().then_some(self.probed)
    }

    /// Notes that the network has said of somebody that he cannot be reached.
    pub(super) fn note_unreached(&self, unreached: Unreached) {
        let Unreached { target, reason, by } = unreached;
        self.unreachable.note(target, reason, by);
    }

    /// Whether a datagram from there with that id answers a probe of this sweep.
    pub(super) fn knows(&self, source: SocketAddr, id: i32) -> bool {
        self.probed.id_for(source) == id
    }

    /// Takes an answer; returns when its probe was sent, if that is still known.
    pub(super) fn hear(&mut self, datagram: &[u8], source: SocketAddr, id: i32, now: Instant) -> Heard {
        let answer = match self.message.decode(datagram, &[id], now.into_std()) {
            Decoded::Response(response) => {
                ProbeAnswer { target: source, bindings: response.bindings.list, engine_id: None }
            }
            Decoded::Report(report) => {
                ProbeAnswer { target: source, bindings: Vec::new(), engine_id: Some(report.engine_id) }
            }
            Decoded::Ignored(_) => return Heard::Ignored,
            Decoded::Unreadable(_) => return Heard::Unreadable,
        };
        if self.answered.len() >= MAX_SWEEP_ANSWERS || !self.answered.insert(source) {
            return Heard::Ignored;
        }
        // There is room, as no more are taken than the channel holds; a listener who has gone ends the sweep.
        let _listening = self.answers.try_send(answer);
        Heard::Taken(self.probed.by_id.remove(&id).map(|(_, at)| at))
    }
}

/// For ids of probes, which are hashes with a secret key already: nobody can choose them.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }

    fn write_i32(&mut self, id: i32) {
        // The table looks at the highest bits and at the lowest.
        self.0 = u64::from(id.unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What became of an answer to a probe.
pub(super) enum Heard {
    /// It was taken; its probe left then.
    Taken(Option<Instant>),
    Ignored,
    Unreadable,
}

#[cfg(test)]
mod tests;
