//! The engine: one task, one UDP socket per address family, and a table of what is on the wire.
//!
//! A request passes five gates: one at a time per target, the gap between two requests to the same target, the window
//! (how many answers may arrive at once), the pacing (datagrams a second), and the kernel. It leaves the table with an
//! answer that came from the asked address and port and bears one of its ids, or when its last deadline has passed. A
//! request that has missed its first deadline gives its place in the window back: from a silent target no burst of
//! answers is to be feared, and a round over dead printers would otherwise crawl.
//!
//! How long to wait is learnt from each target ([`RoundTrip`]); the last try waits at least as long as was configured, so
//! that a printer that has to wake up first is not given up on because it was quick before.
//!
//! A sweep has no table at all ([`super::sweep`]); it goes on with what the sessions leave of the pace.

use super::codec::{self, Decoded, Message, Report, Response};
use super::guard::{self, Asks};
use super::limits::{
    ERRORS_AT_ONCE, HINT_PATIENCE, MAX_IN_FLIGHT, MAX_RETRIES, MAX_SWEEPS, MAX_TARGETS, MAX_TIMEOUT, MAX_WAITING, TURN,
};
use super::pacing::TokenBucket;
use super::round_trip::RoundTrip;
use super::sockets::{ReceiveBuffer, SendTrouble, Sockets};
use super::statistics::Counters;
use super::sweep::{Heard, Next, Probed, SweepState};
use super::{SnmpError, Timing};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::debug;

/// What ends a request well.
#[derive(Debug)]
pub(super) enum Outcome {
    Response(Response),
    Report(Report),
}

/// A request on its way through the engine.
#[derive(Debug)]
pub(super) struct Job {
    target: SocketAddr,
    message: Message,
    timing: Timing,
    reply: oneshot::Sender<Result<Outcome, SnmpError>>,
}

impl Job {
    /// The only way to make one, so nothing that the guard refuses comes near the socket.
    ///
    /// # Errors
    /// What [`guard::check`] refuses.
    pub(super) fn new(
        target: SocketAddr,
        message: Message,
        timing: Timing,
        asks: Asks,
    ) -> Result<(Self, oneshot::Receiver<Result<Outcome, SnmpError>>), SnmpError> {
        if let Some(request) = message.request() {
            guard::check(target, request, asks)?;
        }
        let (reply, answer) = oneshot::channel();
        Ok((Self { target, message, timing, reply }, answer))
    }
}

/// What the engine is told to do.
#[derive(Debug)]
pub(super) enum Order {
    Ask(Job),
    Sweep(Box<SweepState>),
}

/// Something on the wire.
struct Flight {
    job: Job,
    /// The ids of all tries: an answer to an earlier one is an answer.
    ids: Vec<i32>,
    /// How long the first try waits.
    first_wait: Duration,
    deadline: Option<Instant>,
    in_window: bool,
    /// What came from the target for this request and could not be read.
    unreadable: Option<String>,
    /// An unsigned report that came where a signed answer was asked for: anybody may have sent it.
    hint: Option<Report>,
}

/// A request's number within the engine; never used twice.
type Serial = u64;

/// One device, as long as something is known of it or wanted from it.
#[derive(Default)]
struct Target {
    turn: Turn,
    /// Requests that wait until it is free.
    behind: VecDeque<Job>,
    round_trip: Option<RoundTrip>,
    /// When it was last sent something.
    last_sent: Option<Instant>,
}

impl Target {
    /// When it may be sent something again.
    fn rested_at(&self, gap: Duration) -> Option<Instant> {
        let rest = self.round_trip.map_or(gap, |known| known.rest(gap));
        self.last_sent.map(|at| at + rest)
    }

    /// Whether a probe must wait: something is on the wire to it, or it was sent something a moment ago.
    fn is_busy(&self, now: Instant, gap: Duration) -> bool {
        self.turn != Turn::Free || self.rested_at(gap).is_some_and(|at| at > now)
    }
}

/// Whose turn it is at a target.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Turn {
    #[default]
    Free,
    /// A request's that is ready, or waits for the gap to pass.
    Given,
    /// This request's, which is on the wire.
    Flying(Serial),
}

/// What the engine waits for.
enum Event {
    /// Datagrams have come.
    Readable,
    Order(Order),
    /// Something's time has come.
    Due,
    /// There is no client any more.
    Ended,
}

/// Whether more orders may come.
#[derive(PartialEq, Eq)]
enum Waiting {
    Perhaps,
    NobodyEver,
}

/// How long to wait when the kernel has no room for a datagram.
const KERNEL_PAUSE: Duration = Duration::from_millis(5);
/// A target that was sent nothing for so long is forgotten first when there are too many.
const TARGET_OLD: Duration = Duration::from_secs(3_600);

/// How the engine treats the network.
pub(super) struct Manners {
    pub(super) window: usize,
    pub(super) bucket: TokenBucket,
    pub(super) gap: Duration,
}

pub(super) struct Engine {
    orders: mpsc::Receiver<Order>,
    window: usize,
    bucket: TokenBucket,
    gap: Duration,
    rng: fastrand::Rng,
    counters: Arc<Counters>,
    targets: HashMap<SocketAddr, Target>,
    flights: HashMap<Serial, Flight>,
    /// The try that an answer belongs to: its request, and when it was sent.
    by_id: HashMap<(SocketAddr, i32), (Serial, Instant)>,
    deadlines: BTreeSet<(Instant, Serial)>,
    next_serial: Serial,
    in_window: usize,
    /// Requests that wait for the gap at their target to pass, by when it has.
    resting: BTreeMap<(Instant, Serial), Job>,
    /// Requests whose target is free.
    ready: VecDeque<Job>,
    /// On the wire before, and due for another try.
    again: VecDeque<Serial>,
    /// Requests behind others, resting and ready.
    waiting: usize,
    /// The first of these is under way.
    sweeps: VecDeque<Box<SweepState>>,
    /// The last one that ended, if it was broken off: somebody may still have a probe of it to answer.
    ended_sweep: Option<Probed>,
    /// The kernel has no room until then.
    pause_until: Option<Instant>,
}

impl Engine {
    pub(super) fn new(
        orders: mpsc::Receiver<Order>,
        manners: Manners,
        rng: fastrand::Rng,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            orders,
            window: manners.window.clamp(1, MAX_IN_FLIGHT),
            bucket: manners.bucket,
            gap: manners.gap,
            rng,
            counters,
            targets: HashMap::new(),
            flights: HashMap::new(),
            by_id: HashMap::new(),
            deadlines: BTreeSet::new(),
            next_serial: 0,
            in_window: 0,
            resting: BTreeMap::new(),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            waiting: 0,
            sweeps: VecDeque::new(),
            ended_sweep: None,
            pause_until: None,
        }
    }

    /// Works until every client is dropped.
    pub(super) async fn run(mut self, sockets: Sockets) {
        let mut buffer = ReceiveBuffer::new();
        // Set anew only when it must ring earlier than it is set to: deadlines are met by answers, hardly ever by time.
        let mut timer = std::pin::pin!(tokio::time::sleep(MAX_TIMEOUT));
        loop {
            let now = Instant::now();
            self.note_unreached(&sockets);
            self.expire(now);
            self.wake_rested(now);
            let wake = [
                self.transmit(&sockets, now),
                self.deadlines.first().map(|(at, _)| *at),
                self.resting.first_key_value().map(|((at, _), _)| *at),
            ];
            let wake = wake.into_iter().flatten().min();
            if wake.is_some_and(|at| at <= now) {
                // The timer would round up to a millisecond. The others have their turn, and then it goes on.
                tokio::task::yield_now().await;
            }
            match wake {
                Some(at) if timer.is_elapsed() || at < timer.deadline() => timer.as_mut().reset(at),
                None if timer.is_elapsed() => timer.as_mut().reset(now + MAX_TIMEOUT),
                _ => {}
            }
            let is_due = wake.is_some_and(|at| at <= now);
            let event = std::future::poll_fn(|cx| {
                if sockets.poll_readable(cx).is_ready() {
                    return Poll::Ready(Event::Readable);
                }
                if self.waiting < MAX_WAITING
                    && let Poll::Ready(order) = self.orders.poll_recv(cx)
                {
                    return Poll::Ready(order.map_or(Event::Ended, Event::Order));
                }
                let is_due = is_due || timer.as_mut().poll(cx).is_ready();
                if is_due { Poll::Ready(Event::Due) } else { Poll::Pending }
            })
            .await;
            match event {
                // Whatever comes first, the others are looked after in the same round, so that none can starve them.
                Event::Readable => {
                    self.receive(&sockets, false, &mut buffer);
                    self.receive(&sockets, true, &mut buffer);
                }
                Event::Order(order) => self.follow(order, now),
                Event::Due => {}
                Event::Ended => return,
            }
            if self.take_up_waiting(now) == Waiting::NobodyEver {
                return;
            }
        }
    }

    /// Hands what the network has said of those who cannot be reached to the sweep under way.
    fn note_unreached(&self, sockets: &Sockets) {
        for _ in 0..ERRORS_AT_ONCE {
            let Some(unreached) = sockets.unreached() else { return };
            debug!(?unreached, "somebody cannot be reached");
            self.counters.unreachable.more();
            if let Some(sweep) = self.sweeps.front() {
                sweep.note_unreached(unreached);
            }
        }
    }

    /// Takes orders up that are there, but not for ever.
    fn take_up_waiting(&mut self, now: Instant) -> Waiting {
        for _ in 0..TURN {
            if self.waiting >= MAX_WAITING {
                break;
            }
            match self.orders.try_recv() {
                Ok(order) => self.follow(order, now),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return Waiting::NobodyEver,
            }
        }
        Waiting::Perhaps
    }

    fn follow(&mut self, order: Order, now: Instant) {
        match order {
            Order::Ask(job) => self.queue(job, now),
            Order::Sweep(sweep) if self.sweeps.len() < MAX_SWEEPS => self.sweeps.push_back(sweep),
            // Dropping it ends it for whoever listens.
            Order::Sweep(_) => tracing::warn!("more than {MAX_SWEEPS} sweeps are wanted at once; one is left out"),
        }
    }

    fn queue(&mut self, job: Job, now: Instant) {
        self.waiting += 1;
        let target = self.targets.entry(job.target).or_default();
        if target.turn == Turn::Free {
            target.turn = Turn::Given;
            self.give_turn(job, now);
        } else {
            target.behind.push_back(job);
        }
    }

    /// Makes a request ready, now or when its target has rested. Until a probe may no longer be answered counts as rest:
    /// no device has two requests to answer at once.
    fn give_turn(&mut self, job: Job, now: Instant) {
        let target = &job.target;
        let rested = self.targets.get(target).and_then(|target| target.rested_at(self.gap));
        let probe = self.sweeps.front().and_then(|sweep| sweep.awaited_until(target));
        let probe = probe.max(self.ended_sweep.as_ref().and_then(|sweep| sweep.awaited_until(target)));
        match rested.max(probe) {
            Some(until) if until > now => {
                self.next_serial += 1;
                self.resting.insert((until, self.next_serial), job);
            }
            _ => self.ready.push_back(job),
        }
    }

    fn wake_rested(&mut self, now: Instant) {
        while let Some(first) = self.resting.first_entry().filter(|first| first.key().0 <= now) {
            self.ready.push_back(first.remove());
        }
    }

    /// Ends, or sets up for another try, what has missed its deadline.
    fn expire(&mut self, now: Instant) {
        while let Some((at, serial)) = self.deadlines.first().copied() {
            if at > now {
                return;
            }
            self.deadlines.pop_first();
            let Some(flight) = self.flights.get_mut(&serial) else { continue };
            flight.deadline = None;
            if std::mem::take(&mut flight.in_window) {
                self.in_window -= 1;
            }
            if let Some(hint) = flight.hint.take() {
                self.finish(serial, Ok(Outcome::Report(hint)), now);
                continue;
            }
            let tries = u32::try_from(flight.ids.len()).unwrap_or(u32::MAX);
            if flight.job.reply.is_closed() || tries > flight.job.timing.retries.min(MAX_RETRIES) {
                let target = flight.job.target;
                let error = match flight.unreadable.take() {
                    Some(detail) => SnmpError::Garbage { target, detail },
                    None => SnmpError::Timeout { target, tries },
                };
                self.counters.silences.more();
                self.finish(serial, Err(error), now);
            } else {
                self.again.push_back(serial);
            }
        }
    }

    /// Sends what may be sent now; returns when more may be, if only time stands in the way.
    fn transmit(&mut self, sockets: &Sockets, now: Instant) -> Option<Instant> {
        if let Some(until) = self.pause_until {
            if until > now {
                return Some(until);
            }
            self.pause_until = None;
        }
        for _ in 0..TURN {
            let again = self.again.front().copied();
            if again.is_none() && (self.ready.is_empty() || !self.has_room()) {
                return self.sweep(sockets, now);
            }
            if again.is_some_and(|serial| !self.flights.contains_key(&serial)) {
                self.again.pop_front();
                continue;
            }
            if !self.bucket.take(now) {
                return Some(self.bucket.next_at(now));
            }
            let serial = match again {
                Some(serial) => {
                    self.again.pop_front();
                    serial
                }
                None => match self.launch(now) {
                    Some(serial) => serial,
                    None => continue,
                },
            };
            if let Some(until) = self.send(sockets, serial, now) {
                return self.pause(until);
            }
        }
        // The other direction's turn; then at once more.
        Some(now)
    }

    fn pause(&mut self, until: Instant) -> Option<Instant> {
        self.counters.send_pauses.more();
        self.pause_until = Some(until);
        Some(until)
    }

    /// Sends probes of the sweep under way; returns when more may be sent.
    fn sweep(&mut self, sockets: &Sockets, now: Instant) -> Option<Instant> {
        self.ended_sweep.take_if(|ended| ended.is_over(now));
        for _ in 0..TURN {
            if !self.bucket.has(now) {
                return self.sweeps.front().map(|_| self.bucket.next_at(now));
            }
            let sweep = self.sweeps.front_mut()?;
            let ended = self.ended_sweep.as_ref();
            let is_busy = |target: &SocketAddr| {
                self.targets.get(target).is_some_and(|it| it.is_busy(now, self.gap))
                    || ended.and_then(|sweep| sweep.awaited_until(target)).is_some_and(|until| until > now)
            };
            let target = match sweep.next(now, is_busy) {
                Next::Send(target) => target,
                Next::At(at) => return Some(at),
                Next::Ended => {
                    let ended = self.sweeps.pop_front().and_then(|sweep| sweep.into_probed());
                    self.ended_sweep = ended.or_else(|| self.ended_sweep.take());
                    continue;
                }
            };
            // The moment itself, not that of this round's beginning: from it the pause is counted.
            match sockets.send(sweep.probe(target, Instant::now()), target) {
                Ok(()) => {
                    self.bucket.take(now);
                    sweep.count();
                    self.counters.sent.more();
                    self.counters.probes.more();
                }
                Err(SendTrouble::NoRoom) => {
                    sweep.put_back(target);
                    return self.pause(now + KERNEL_PAUSE);
                }
                // No way to this one: that it does not answer says as much.
                Err(SendTrouble::Refused(detail)) => {
                    sweep.count();
                    debug!(%target, detail, "a probe that cannot be sent");
                }
            }
        }
        Some(now)
    }

    fn has_room(&self) -> bool {
        self.in_window < self.window && self.flights.len() < MAX_IN_FLIGHT
    }

    /// Puts the next ready request into the table. One whose caller has gone is passed over.
    fn launch(&mut self, now: Instant) -> Option<Serial> {
        let job = self.ready.pop_front()?;
        self.waiting -= 1;
        if job.reply.is_closed() {
            self.release(job.target, now);
            return None;
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        self.in_window += 1;
        let target = self.targets.entry(job.target).or_default();
        target.turn = Turn::Flying(serial);
        let configured = job.timing.timeout;
        let first_wait = target.round_trip.map_or(configured, |known| known.timeout(configured));
        let flight =
            Flight { job, ids: Vec::new(), first_wait, deadline: None, in_window: true, unreadable: None, hint: None };
        self.flights.insert(serial, flight);
        Some(serial)
    }

    /// One try of a request. Returns when to go on, if the kernel has no room.
    fn send(&mut self, sockets: &Sockets, serial: Serial, now: Instant) -> Option<Instant> {
        let flight = self.flights.get_mut(&serial)?;
        let target = flight.job.target;
        // Ids of one length, so that a retransmission is never longer than the first try.
        let id = loop {
            let id = self.rng.i32(0x4000_0000..=i32::MAX);
            if !self.by_id.contains_key(&(target, id)) {
                break id;
            }
        };
        let datagram = match flight.job.message.encode(id, now.into_std()) {
            Ok(datagram) => datagram,
            Err(error) => {
                self.finish(serial, Err(SnmpError::BadRequest { target, detail: error.to_string() }), now);
                return None;
            }
        };
        match sockets.send(&datagram, target) {
            Ok(()) => {}
            Err(SendTrouble::NoRoom) => {
                self.again.push_front(serial);
                return Some(now + KERNEL_PAUSE);
            }
            Err(SendTrouble::Refused(detail)) => {
                self.finish(serial, Err(SnmpError::Network { target, detail }), now);
                return None;
            }
        }
        self.counters.sent.more();
        if !flight.ids.is_empty() {
            self.counters.retransmitted.more();
        }
        let wait = wait_after(flight.first_wait, &flight.job.timing, flight.ids.len());
        flight.ids.push(id);
        flight.deadline = Some(now + wait);
        self.by_id.insert((target, id), (serial, now));
        self.deadlines.insert((now + wait, serial));
        if let Some(target) = self.targets.get_mut(&target) {
            // After the datagram has left, however long that took: the pause is at least what was promised.
            target.last_sent = Some(Instant::now());
        }
        None
    }

    /// Reads what has arrived, but not for ever.
    fn receive(&mut self, sockets: &Sockets, v6: bool, buffer: &mut ReceiveBuffer) {
        for _ in 0..TURN {
            let Some(received) = sockets.receive(v6, buffer) else { return };
            self.counters.received.more();
            if received.newly_dropped > 0 {
                self.counters.kernel_drops.add(received.newly_dropped.into());
                tracing::warn!(
                    count = received.newly_dropped,
                    "the kernel dropped answers: the receive buffer is full"
                );
            }
            self.hear(received.datagram, received.source, Instant::now());
        }
    }

    /// Joins a datagram to its request. Whatever does not fit one is dropped.
    fn hear(&mut self, datagram: &[u8], source: SocketAddr, now: Instant) {
        let id = match codec::id_of(datagram) {
            Ok(id) => id,
            Err(error) => {
                debug!(%source, %error, "a datagram that is not SNMP");
                self.counters.unreadable.more();
                self.remember_unreadable(source, error.to_string());
                return;
            }
        };
        let Some((serial, sent)) = self.by_id.get(&(source, id)).copied() else {
            self.hear_probe(datagram, source, id, now);
            return;
        };
        let Some(flight) = self.flights.get_mut(&serial) else { return };
        let outcome = match flight.job.message.decode(datagram, &flight.ids, now.into_std()) {
            Decoded::Response(response) => Outcome::Response(response),
            Decoded::Report(report) if report.authenticated || !flight.job.message.is_signed() => {
                Outcome::Report(report)
            }
            Decoded::Report(report) => return self.keep_hint(serial, report, now),
            Decoded::Ignored(why) => {
                debug!(%source, why, "an answer that is not taken");
                return self.counters.ignored.more();
            }
            Decoded::Unreadable(detail) => {
                debug!(%source, detail, "an answer that cannot be read");
                flight.unreadable = Some(detail);
                return self.counters.unreadable.more();
            }
        };
        self.learn(source, now.saturating_duration_since(sent));
        self.counters.taken.more();
        self.finish(serial, Ok(outcome), now);
    }

    /// Keeps an unsigned report to a signed request until it is clear that no signed answer comes: somebody who listens
    /// in the network could send it quicker than the device answers. A device that has proven itself gets all the time
    /// that it would have anyway; of another one the report most likely is the truth.
    fn keep_hint(&mut self, serial: Serial, report: Report, now: Instant) {
        self.counters.ignored.more();
        let Some(flight) = self.flights.get_mut(&serial) else { return };
        flight.hint.get_or_insert(report);
        let until = now + HINT_PATIENCE;
        if flight.job.message.is_proven() || flight.deadline.is_none_or(|deadline| deadline <= until) {
            return;
        }
        if let Some(deadline) = flight.deadline.replace(until) {
            self.deadlines.remove(&(deadline, serial));
        }
        self.deadlines.insert((until, serial));
    }

    /// Takes an answer to a probe of the sweep under way, if it is one.
    fn hear_probe(&mut self, datagram: &[u8], source: SocketAddr, id: i32, now: Instant) {
        let Some(sweep) = self.sweeps.front_mut().filter(|sweep| sweep.knows(source, id)) else {
            debug!(%source, id, "an answer that nobody waits for");
            return self.counters.ignored.more();
        };
        match sweep.hear(datagram, source, id, now) {
            Heard::Ignored => self.counters.ignored.more(),
            Heard::Unreadable => self.counters.unreadable.more(),
            Heard::Taken(sent) => {
                self.counters.taken.more();
                self.make_room_for_targets(now);
                let target = self.targets.entry(source).or_default();
                target.last_sent = target.last_sent.max(sent);
                if let Some(sent) = sent {
                    self.learn(source, now.saturating_duration_since(sent));
                }
            }
        }
    }

    fn learn(&mut self, source: SocketAddr, sample: Duration) {
        if let Some(target) = self.targets.get_mut(&source) {
            target.round_trip = Some(RoundTrip::learn(target.round_trip, sample));
        }
    }

    /// Notes on the one request to this target that something unreadable came; if nothing better does, the error says so.
    fn remember_unreadable(&mut self, source: SocketAddr, detail: String) {
        let Some(Turn::Flying(serial)) = self.targets.get(&source).map(|target| target.turn) else { return };
        if let Some(flight) = self.flights.get_mut(&serial) {
            flight.unreadable = Some(detail);
        }
    }

    /// Takes a request off the table, tells its caller, and lets the next one for its target come.
    fn finish(&mut self, serial: Serial, result: Result<Outcome, SnmpError>, now: Instant) {
        let Some(flight) = self.flights.remove(&serial) else { return };
        let target = flight.job.target;
        for id in flight.ids {
            self.by_id.remove(&(target, id));
        }
        if let Some(deadline) = flight.deadline {
            self.deadlines.remove(&(deadline, serial));
        }
        if flight.in_window {
            self.in_window -= 1;
        }
        // A caller that has gone needs no answer.
        let _ = flight.job.reply.send(result);
        self.release(target, now);
    }

    fn release(&mut self, address: SocketAddr, now: Instant) {
        let Some(target) = self.targets.get_mut(&address) else { return };
        if let Some(job) = target.behind.pop_front() {
            target.turn = Turn::Given;
            return self.give_turn(job, now);
        }
        target.turn = Turn::Free;
        let has_rested = target.last_sent.is_none_or(|at| at + self.gap <= now);
        if has_rested && target.round_trip.is_none() {
            self.targets.remove(&address);
        } else {
            self.make_room_for_targets(now);
        }
    }

    /// Forgets round trips when there are too many: those not used for long, or else all that are not in use.
    fn make_room_for_targets(&mut self, now: Instant) {
        if self.targets.len() <= MAX_TARGETS {
            return;
        }
        self.targets
            .retain(|_, target| target.turn != Turn::Free || target.last_sent.is_some_and(|at| at + TARGET_OLD > now));
        if self.targets.len() > MAX_TARGETS / 2 {
            let gap = self.gap;
            self.targets
                .retain(|_, target| target.turn != Turn::Free || target.last_sent.is_some_and(|at| at + gap > now));
        }
    }
}

/// How long the try with this number, from 0, waits: twice as long each time, and the last one at least as long as the
/// first would wait for a device of which nothing is known.
fn wait_after(first: Duration, timing: &Timing, tries: usize) -> Duration {
    let tries = u32::try_from(tries).unwrap_or(u32::MAX).min(MAX_RETRIES);
    let wait = first.saturating_mul(1 << tries);
    let wait = if tries >= timing.retries { wait.max(timing.timeout) } else { wait };
    wait.clamp(Duration::from_millis(1), MAX_TIMEOUT)
}

#[cfg(test)]
mod tests;
