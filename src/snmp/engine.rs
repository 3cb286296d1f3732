//! The engine: one task, one UDP socket per address family, and a table of what is on the wire.
//!
//! A request passes four gates: one at a time per target, the window (how many answers may arrive at once), the
//! pacing (datagrams a second), and the kernel. It leaves the table with an answer that came from the asked address
//! and port and bears one of its ids, or when its last deadline has passed. A request that has missed its first
//! deadline gives its place in the window back: from a silent target no burst of answers is to be feared, and a sweep
//! over dead addresses would otherwise crawl.

use super::codec::{self, Decoded, Message, Report, Response};
use super::limits::{MAX_DATAGRAM_BYTES, MAX_IN_FLIGHT, MAX_RETRIES, MAX_TIMEOUT, MAX_WAITING, TURN};
use super::pacing::TokenBucket;
use super::sockets::{SendTrouble, Sockets};
use super::{SnmpError, Timing, guard};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
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
    ) -> Result<(Self, oneshot::Receiver<Result<Outcome, SnmpError>>), SnmpError> {
        if let Some(request) = message.request() {
            guard::check(target, request)?;
        }
        let (reply, answer) = oneshot::channel();
        Ok((Self { target, message, timing, reply }, answer))
    }
}

/// Something on the wire.
struct Flight {
    job: Job,
    /// The ids of all tries: an answer to an earlier one is an answer.
    ids: Vec<i32>,
    deadline: Option<Instant>,
    in_window: bool,
    /// What came from the target for this request and could not be read.
    unreadable: Option<String>,
}

/// A request's number within the engine; never used twice.
type Serial = u64;

/// How long to wait when the kernel has no room for a datagram.
const KERNEL_PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Engine {
    jobs: mpsc::Receiver<Job>,
    window: usize,
    bucket: TokenBucket,
    rng: fastrand::Rng,
    flights: HashMap<Serial, Flight>,
    by_id: HashMap<(SocketAddr, i32), Serial>,
    deadlines: BTreeSet<(Instant, Serial)>,
    next_serial: Serial,
    in_window: usize,
    /// Targets whose turn is taken: by something ready, or by this on the wire.
    busy: HashMap<SocketAddr, Option<Serial>>,
    /// Requests whose target has something on the wire, in order.
    behind: HashMap<SocketAddr, VecDeque<Job>>,
    /// Requests whose target is free.
    ready: VecDeque<Job>,
    /// On the wire before, and due for another try.
    again: VecDeque<Serial>,
    /// Requests in `behind` and `ready`.
    waiting: usize,
    /// The kernel has no room until then.
    pause_until: Option<Instant>,
}

impl Engine {
    pub(super) fn new(jobs: mpsc::Receiver<Job>, window: usize, bucket: TokenBucket, rng: fastrand::Rng) -> Self {
        Self {
            jobs,
            window: window.clamp(1, MAX_IN_FLIGHT),
            bucket,
            rng,
            flights: HashMap::new(),
            by_id: HashMap::new(),
            deadlines: BTreeSet::new(),
            next_serial: 0,
            in_window: 0,
            busy: HashMap::new(),
            behind: HashMap::new(),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            waiting: 0,
            pause_until: None,
        }
    }

    /// Works until every client is dropped.
    pub(super) async fn run(mut self, sockets: Sockets) {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES + 1];
        loop {
            let now = Instant::now();
            self.expire(now);
            let transmit_at = self.transmit(&sockets, now);
            let wake = [transmit_at, self.deadlines.first().map(|(at, _)| *at)].into_iter().flatten().min();
            tokio::select! {
                job = self.jobs.recv(), if self.waiting < MAX_WAITING => match job {
                    Some(job) => self.take_up(job),
                    None => return,
                },
                () = sockets.readable_v4() => self.receive(&sockets, false, &mut buffer),
                () = sockets.readable_v6() => self.receive(&sockets, true, &mut buffer),
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Takes one request up, and those that wait behind it in the channel.
    fn take_up(&mut self, job: Job) {
        self.queue(job);
        for _ in 1..TURN {
            if self.waiting >= MAX_WAITING {
                return;
            }
            match self.jobs.try_recv() {
                Ok(job) => self.queue(job),
                Err(_) => return,
            }
        }
    }

    fn queue(&mut self, job: Job) {
        self.waiting += 1;
        match self.busy.entry(job.target) {
            Entry::Vacant(free) => {
                free.insert(None);
                self.ready.push_back(job);
            }
            Entry::Occupied(_) => self.behind.entry(job.target).or_default().push_back(job),
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
            let tries = u32::try_from(flight.ids.len()).unwrap_or(u32::MAX);
            if flight.job.reply.is_closed() || tries > flight.job.timing.retries.min(MAX_RETRIES) {
                let target = flight.job.target;
                let error = match flight.unreadable.take() {
                    Some(detail) => SnmpError::Garbage { target, detail },
                    None => SnmpError::Timeout { target, tries },
                };
                self.finish(serial, Err(error));
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
                return None;
            }
            if let Some(serial) = again.filter(|serial| !self.flights.contains_key(serial)) {
                debug_assert_eq!(self.again.front(), Some(&serial));
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
                None => match self.launch() {
                    Some(serial) => serial,
                    None => continue,
                },
            };
            if let Some(until) = self.send(sockets, serial, now) {
                self.pause_until = Some(until);
                return Some(until);
            }
        }
        // The other direction's turn; then at once more.
        Some(now)
    }

    fn has_room(&self) -> bool {
        self.in_window < self.window && self.flights.len() < MAX_IN_FLIGHT
    }

    /// Puts the next ready request into the table. One whose caller has gone is passed over.
    fn launch(&mut self) -> Option<Serial> {
        let job = self.ready.pop_front()?;
        self.waiting -= 1;
        if job.reply.is_closed() {
            self.release(job.target);
            return None;
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        self.in_window += 1;
        self.busy.insert(job.target, Some(serial));
        let flight = Flight { job, ids: Vec::new(), deadline: None, in_window: true, unreadable: None };
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
                self.finish(serial, Err(SnmpError::BadRequest { target, detail: error.to_string() }));
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
                self.finish(serial, Err(SnmpError::Network { target, detail }));
                return None;
            }
        }
        let wait = wait_after(&flight.job.timing, flight.ids.len());
        flight.ids.push(id);
        flight.deadline = Some(now + wait);
        self.by_id.insert((target, id), serial);
        self.deadlines.insert((now + wait, serial));
        None
    }

    /// Reads what has arrived, but not for ever.
    fn receive(&mut self, sockets: &Sockets, v6: bool, buffer: &mut [u8]) {
        for _ in 0..TURN {
            let Some((length, source)) = sockets.receive(v6, buffer) else { return };
            let Some(datagram) = buffer.get(..length) else { return };
            self.hear(datagram, source, Instant::now());
        }
    }

    /// Joins a datagram to its request. Whatever does not fit one is dropped.
    fn hear(&mut self, datagram: &[u8], source: SocketAddr, now: Instant) {
        let id = match codec::id_of(datagram) {
            Ok(id) => id,
            Err(error) => {
                debug!(%source, %error, "a datagram that is not SNMP");
                self.remember_unreadable(source, error.to_string());
                return;
            }
        };
        let Some(serial) = self.by_id.get(&(source, id)).copied() else {
            debug!(%source, id, "an answer that nobody waits for");
            return;
        };
        let Some(flight) = self.flights.get_mut(&serial) else { return };
        match flight.job.message.decode(datagram, &flight.ids, now.into_std()) {
            Decoded::Response(response) => self.finish(serial, Ok(Outcome::Response(response))),
            Decoded::Report(report) => self.finish(serial, Ok(Outcome::Report(report))),
            Decoded::Ignored(why) => debug!(%source, why, "an answer that is not taken"),
            Decoded::Unreadable(detail) => {
                debug!(%source, detail, "an answer that cannot be read");
                flight.unreadable = Some(detail);
            }
        }
    }

    /// Notes on the one request to this target that something unreadable came; if nothing better does, the error says so.
    fn remember_unreadable(&mut self, source: SocketAddr, detail: String) {
        let Some(serial) = self.busy.get(&source).copied().flatten() else { return };
        if let Some(flight) = self.flights.get_mut(&serial) {
            flight.unreadable = Some(detail);
        }
    }

    /// Takes a request off the table, tells its caller, and lets the next one for its target come.
    fn finish(&mut self, serial: Serial, result: Result<Outcome, SnmpError>) {
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
        self.release(target);
    }

    fn release(&mut self, target: SocketAddr) {
        let next = self.behind.get_mut(&target).and_then(VecDeque::pop_front);
        match next {
            Some(job) => {
                self.busy.insert(target, None);
                self.ready.push_back(job);
            }
            None => {
                self.behind.remove(&target);
                self.busy.remove(&target);
            }
        }
    }
}

/// How long the try with this number, from 0, waits: twice as long each time.
fn wait_after(timing: &Timing, tries: usize) -> Duration {
    let doublings = u32::try_from(tries).unwrap_or(u32::MAX).min(MAX_RETRIES);
    timing.timeout.saturating_mul(1 << doublings).clamp(Duration::from_millis(1), MAX_TIMEOUT)
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
