//! The engine: one UDP socket for many devices, and one task that sends, waits, repeats and gives up.
//!
//! Each device has at most one request under way, all together at most a window's worth; datagrams are paced. An answer is
//! taken only from the address that was asked, and only with an id that was given out; what the conversation then does not
//! believe is passed over and waited on.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::client::Timing;
use super::error::SnmpError;

/// Largest datagram: what UDP over IPv4 carries.
const DATAGRAM_MAX_BYTES: usize = 65_507;
/// Requests that may wait for the engine; more callers than that wait in `send`.
pub(super) const QUEUE_MAX: usize = 256;
/// Requests that the engine holds back because their device is busy or the window is full.
const WAITING_MAX: usize = 4_096;
/// Datagrams that may be sent at once after a pause.
const BURST: f64 = 8.0;
/// A wait before a repetition never grows beyond this.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What a conversation makes of a datagram.
pub(super) enum Judgement {
    /// Not to be believed; the true answer may still come.
    Ignore,
    /// The conversation is over. It keeps what it learnt.
    Done,
    /// It answered, and with something that makes going on useless.
    Failed(SnmpError),
}

/// The sense behind the datagrams: makes requests and understands answers.
pub(super) trait Conversation: Send {
    /// The request, with this id.
    fn encode(&mut self, id: i32) -> Result<Vec<u8>, SnmpError>;
    /// Looks at a datagram from the right address to the request with this id.
    fn judge(&mut self, id: i32, datagram: &[u8]) -> Judgement;
    /// The request id, or msgID, of a datagram.
    fn id_of(&self, datagram: &[u8]) -> Option<i32>;
}

/// A request for the engine. The conversation comes back with what it learnt.
pub(super) struct Request {
    pub target: SocketAddr,
    pub timing: Timing,
    pub conversation: Box<dyn Conversation>,
    pub reply: oneshot::Sender<(Box<dyn Conversation>, Result<(), SnmpError>)>,
}

struct InFlight {
    request: Request,
    /// Ids of the first try and of every repetition: a late answer to an earlier one is an answer.
    ids: Vec<i32>,
    wait: Duration,
    deadline: Instant,
}

/// Lets so many datagrams through a second, and a few at once after a pause.
struct Pace {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Pace {
    fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: f64::from(per_second.max(1)), tokens: BURST, filled: now }
    }

    /// Takes a token, or says when there is one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.per_second).min(BURST);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64((1.0 - self.tokens) / self.per_second))
    }
}

/// Serves one socket until every handle of the engine is gone.
pub(super) struct Engine {
    socket: UdpSocket,
    requests: mpsc::Receiver<Request>,
    window: usize,
    pace: Pace,
    next_id: i32,
    waiting: VecDeque<Request>,
    in_flight: HashMap<SocketAddr, InFlight>,
    /// Devices whose next datagram waits for the pace, in order: first tries and repetitions alike.
    to_send: VecDeque<SocketAddr>,
}

impl Engine {
    pub(super) fn new(
        socket: UdpSocket,
        requests: mpsc::Receiver<Request>,
        window: usize,
        packets_per_second: u32,
        first_id: i32,
    ) -> Self {
        Self {
            socket,
            requests,
            window: window.max(1),
            pace: Pace::new(packets_per_second, Instant::now()),
            next_id: first_id,
            waiting: VecDeque::new(),
            in_flight: HashMap::new(),
            to_send: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
        let mut open = true;
        while open || !self.in_flight.is_empty() || !self.waiting.is_empty() {
            self.start_waiting();
            let pause = self.send_what_may_go().await;
            let wake = self.next_wake(pause);
            tokio::select! {
                request = self.requests.recv(), if open && self.waiting.len() < WAITING_MAX => match request {
                    Some(request) => self.waiting.push_back(request),
                    None => open = false,
                },
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, source)) => self.receive(source, buffer.get(..length).unwrap_or_default()),
                    // An ICMP error of some earlier datagram: its request runs into its deadline.
                    Err(error) => tracing::debug!(%error, "receiving"),
                },
                () = tokio::time::sleep_until(wake) => {}
            }
            self.expire(Instant::now());
        }
    }

    fn next_wake(&self, pause: Option<Instant>) -> Instant {
        let deadline = self.in_flight.values().map(|flight| flight.deadline).min();
        // With nothing to wait for, an hour is as good as for ever.
        let idle = Instant::now() + Duration::from_secs(3_600);
        deadline.into_iter().chain(pause).min().unwrap_or(idle)
    }

    /// Puts waiting requests under way, oldest first, one for each device.
    fn start_waiting(&mut self) {
        let mut position = 0;
        while self.in_flight.len() < self.window && position < self.waiting.len() {
            let is_busy = self.waiting.get(position).is_none_or(|request| self.in_flight.contains_key(&request.target));
            if is_busy {
                position += 1;
                continue;
            }
            let Some(request) = self.waiting.remove(position) else { break };
            if request.reply.is_closed() {
                continue;
            }
            let target = request.target;
            let wait = request.timing.timeout;
            // The deadline counts from the sending; until the pace lets it go it cannot be late.
            let deadline = Instant::now() + Duration::from_secs(3_600);
            self.in_flight.insert(target, InFlight { request, ids: Vec::new(), wait, deadline });
            self.to_send.push_back(target);
        }
    }

    /// Sends as the pace allows; returns when it allows more, where something is left.
    async fn send_what_may_go(&mut self) -> Option<Instant> {
        while let Some(target) = self.to_send.front().copied() {
            if !self.in_flight.contains_key(&target) {
                self.to_send.pop_front();
                continue;
            }
            if let Err(later) = self.pace.take(Instant::now()) {
                return Some(later);
            }
            self.to_send.pop_front();
            self.send(target).await;
        }
        None
    }

    async fn send(&mut self, target: SocketAddr) {
        let id = self.next_id;
        // Ids stay positive and of one length, and do not come round while one of them is under way.
        self.next_id = if self.next_id == i32::MAX { 0x4000_0000 } else { self.next_id + 1 };
        let Some(flight) = self.in_flight.get_mut(&target) else { return };
        let datagram = match flight.request.conversation.encode(id) {
            Ok(datagram) => datagram,
            Err(error) => return self.finish(target, Err(error)),
        };
        flight.ids.push(id);
        flight.deadline = Instant::now() + flight.wait;
        if let Err(error) = self.socket.send_to(&datagram, target).await {
            let detail = error.to_string();
            self.finish(target, Err(SnmpError::Network { target, detail }));
        }
    }

    fn receive(&mut self, source: SocketAddr, datagram: &[u8]) {
        let source = unmapped(source);
        let Some(flight) = self.in_flight.get_mut(&source) else { return };
        let conversation = &mut flight.request.conversation;
        match conversation.id_of(datagram) {
            Some(id) if flight.ids.contains(&id) => match conversation.judge(id, datagram) {
                Judgement::Ignore => {}
                Judgement::Done => self.finish(source, Ok(())),
                Judgement::Failed(error) => self.finish(source, Err(error)),
            },
            _ => tracing::trace!(%source, "a datagram that answers nothing"),
        }
    }

    /// Repeats or gives up what was not answered in time, and drops what nobody waits for any more.
    fn expire(&mut self, now: Instant) {
        let late: Vec<SocketAddr> = self
            .in_flight
            .iter()
            .filter(|(_, flight)| flight.deadline <= now || flight.request.reply.is_closed())
            .map(|(target, _)| *target)
            .collect();
        for target in late {
            let Some(flight) = self.in_flight.get_mut(&target) else { continue };
            let tries = u32::try_from(flight.ids.len()).unwrap_or(u32::MAX);
            if flight.request.reply.is_closed() || tries > flight.request.timing.retries {
                self.finish(target, Err(SnmpError::Timeout { target, tries }));
                continue;
            }
            flight.wait = (flight.wait * 2).min(WAIT_MAX);
            flight.deadline = now + Duration::from_secs(3_600);
            self.to_send.push_back(target);
        }
    }

    fn finish(&mut self, target: SocketAddr, result: Result<(), SnmpError>) {
        if let Some(flight) = self.in_flight.remove(&target) {
            // Who asked may have gone meanwhile.
            let _gone = flight.request.reply.send((flight.request.conversation, result));
        }
    }
}

/// An IPv4 address in IPv6 clothes is the IPv4 address.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Opens the socket of one family, with a receive buffer for a window of large answers.
pub(super) fn open_socket(bind: SocketAddr, window: usize) -> io::Result<UdpSocket> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(bind), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if bind.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // About 2.3 KB of kernel memory for an answer of 1.3 KB, twice. The kernel may give less: then answers are repeated.
    socket.set_recv_buffer_size(window.saturating_mul(4_600).max(212_992))?;
    socket.bind(&bind.into())?;
    UdpSocket::from_std(socket.into())
}
