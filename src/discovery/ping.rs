//! ICMP echo by unprivileged ping sockets: for people who look for a fault, never part of a search or of a reading.
//! The kernel writes the identifier and checks sums; it gives a socket only the answers to that socket's own requests.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::ScopedIp;

/// Most requests of one ping.
pub const PING_COUNT_MAX: u32 = 10;
/// How long an answer may be waited for.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// Least time between two requests.
const APART: Duration = Duration::from_millis(200);
/// Bytes before the payload: type, code, checksum, identifier, sequence number.
const HEADER_BYTES: usize = 8;
/// What `ping` sends too.
const PAYLOAD_BYTES: usize = 56;

/// What came of a ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PingReport {
    /// Requests that were sent.
    pub sent: u32,
    /// Requests that were answered in time.
    pub received: u32,
    /// How long the answers took; none when nothing answered.
    pub round_trips: Option<RoundTrips>,
}

/// How long answers took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RoundTrips {
    /// The quickest.
    pub min_us: u64,
    /// The one in the middle; of an even number, the mean of the two in the middle.
    pub median_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl RoundTrips {
    fn of(mut us: Vec<u64>) -> Option<Self> {
        us.sort_unstable();
        let (min_us, max_us) = (*us.first()?, *us.last()?);
        let (low, high) = (us.get((us.len() - 1) / 2)?, us.get(us.len() / 2)?);
        Some(Self { min_us, median_us: low.midpoint(*high), max_us })
    }
}

impl std::fmt::Display for PingReport {
    /// "4 of 4 answered, 0.3 / 0.4 / 0.9 ms": the quickest, the median and the slowest.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} answered", self.received, self.sent)?;
        // Microseconds of at most ten seconds are exact in an f64.
        let ms = |us: u64| us as f64 / 1_000.0;
        match self.round_trips {
            Some(it) => write!(f, ", {:.1} / {:.1} / {:.1} ms", ms(it.min_us), ms(it.median_us), ms(it.max_us)),
            None => Ok(()),
        }
    }
}

/// Why nothing could be asked. Silence is no error.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// The kernel lets this group have no ping sockets.
    #[error(
        "the kernel allows no ping sockets to this process ({0}): its group must lie within net.ipv4.ping_group_range; \
         as root: sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""
    )]
    NotAllowed(io::Error),
    /// The socket cannot be opened for another reason.
    #[error("the ping socket cannot be opened: {0}")]
    Socket(io::Error),
    /// The request cannot be sent, as there is no route.
    #[error("no echo request can be sent to {0}: {1}")]
    Send(ScopedIp, io::Error),
}

/// Asks `target` for echoes: `count` times (1 to 10), at least 200 ms apart, each with `timeout` to answer.
/// Whether the target may be asked at all is the caller's to check.
///
/// # Errors
/// When the kernel allows no ping sockets, or has no way to the target.
pub async fn ping(target: ScopedIp, count: u32, timeout: Duration) -> Result<PingReport, PingError> {
    let socket = open(target.ip())?;
    let timeout = timeout.clamp(TIMEOUT.0, TIMEOUT.1);
    let first = fastrand::u16(..);
    let mut report = PingReport { sent: 0, received: 0, round_trips: None };
    let mut round_trips = Vec::new();
    let mut next = Instant::now();
    for nth in 0..count.clamp(1, PING_COUNT_MAX) {
        sleep_until(next).await;
        let sequence = first.wrapping_add(nth as u16); // at most 10
        let sent_at = Instant::now();
        next = sent_at + APART;
        socket
            .send_to(&request(target.ip(), sequence), target.with_port(0))
            .await
            .map_err(|e| PingError::Send(target, e))?;
        report.sent += 1;
        if timeout_at(sent_at + timeout, answer(&socket, target, sequence)).await.is_ok() {
            round_trips.push(u64::try_from(sent_at.elapsed().as_micros()).unwrap_or(u64::MAX));
            report.received += 1;
        }
    }
    report.round_trips = RoundTrips::of(round_trips);
    Ok(report)
}

/// A ping socket. It sends and receives like one of UDP, so tokio takes it for one.
fn open(target: IpAddr) -> Result<UdpSocket, PingError> {
    let (domain, protocol, any) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
    };
    // The kernel says EACCES, a sandbox EPERM: both are this kind.
    let refused = |e: io::Error| match e.kind() {
        ErrorKind::PermissionDenied => PingError::NotAllowed(e),
        _ => PingError::Socket(e),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol)).map_err(refused)?;
    socket.bind(&SocketAddr::new(any, 0).into()).map_err(PingError::Socket)?;
    socket.set_nonblocking(true).map_err(PingError::Socket)?;
    UdpSocket::from_std(socket.into()).map_err(PingError::Socket)
}

/// An echo request. Identifier and checksum are the kernel's to write.
fn request(target: IpAddr, sequence: u16) -> [u8; HEADER_BYTES + PAYLOAD_BYTES] {
    let mut packet = [0; HEADER_BYTES + PAYLOAD_BYTES];
    packet[0] = if target.is_ipv4() { 8 } else { 128 };
    packet[6..HEADER_BYTES].copy_from_slice(&sequence.to_be_bytes());
    packet
}

/// Whether a packet is the answer to the request of this sequence number.
fn is_answer(packet: &[u8], from: ScopedIp, target: ScopedIp, sequence: u16) -> bool {
    let kind = if target.ip().is_ipv4() { 0 } else { 129 };
    from == target
        && packet.len() >= HEADER_BYTES
        && packet.starts_with(&[kind, 0])
        && packet.get(6..HEADER_BYTES) == Some(&sequence.to_be_bytes())
}

/// Waits for the answer, for ever. What else arrives (late answers, answers of others) is passed over.
async fn answer(socket: &UdpSocket, target: ScopedIp, sequence: u16) {
    let mut packet = [0; HEADER_BYTES + PAYLOAD_BYTES];
    loop {
        match socket.recv_from(&mut packet).await {
            Ok((length, from)) if is_answer(&packet[..length], from.into(), target, sequence) => return,
            Ok(_) => {}
            // An error that some router reported. The answer may come all the same; a socket that reports nothing but
            // errors must not keep a core busy until the time is over.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> ScopedIp {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_answer_to_our_request_from_who_was_asked_counts() {
        let target = ip("10.0.0.7");
        let mut packet = request(target.ip(), 0x0102);
        assert_eq!((packet.len(), packet[0], &packet[6..8]), (64, 8, &[1, 2][..]));
        assert!(!is_answer(&packet, target, target, 0x0102), "the request is no answer");
        packet[0] = 0;
        assert!(is_answer(&packet, target, target, 0x0102));
        assert!(!is_answer(&packet, target, target, 0x0103), "another request's");
        assert!(!is_answer(&packet, ip("10.0.0.8"), target, 0x0102), "another's");
        assert!(!is_answer(&packet[..7], target, target, 0x0102), "cut short");
        packet[1] = 1;
        assert!(!is_answer(&packet, target, target, 0x0102), "an echo has code 0");
        let target = ip("fd00::7");
        let mut packet = request(target.ip(), 9);
        assert_eq!(packet[0], 128);
        packet[0] = 129;
        assert!(is_answer(&packet, target, target, 9));
        let behind = |zone| ScopedIp::behind("fe80::7".parse().unwrap(), zone);
        assert!(is_answer(&packet, behind(1), behind(1), 9));
        assert!(!is_answer(&packet, behind(2), behind(1), 9), "another link's");
    }

    #[test]
    fn a_report_is_one_line_for_a_person() {
        let report = PingReport { sent: 4, received: 4, round_trips: RoundTrips::of(vec![900, 300, 380, 420]) };
        assert_eq!(report.to_string(), "4 of 4 answered, 0.3 / 0.4 / 0.9 ms");
        assert_eq!(RoundTrips::of(vec![5, 1, 2]), Some(RoundTrips { min_us: 1, median_us: 2, max_us: 5 }));
        let silent = PingReport { sent: 2, received: 0, round_trips: RoundTrips::of(Vec::new()) };
        assert_eq!(silent.to_string(), "0 of 2 answered");
    }
}
