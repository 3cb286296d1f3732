//! One UDP socket that is many printers: it learns which loopback address was asked and answers from that one
//! (IP_PKTINFO, ip(7)). Datagrams to any other address are dropped.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::device::{Device, Fault};
use super::politeness::Judge;
use super::{Devices, agent};

pub(super) type Judges = Arc<Mutex<Judge>>;

/// Largest request that is read, in bytes.
const REQUEST_MAX_BYTES: usize = 65_507;

pub(super) fn open(port: u16) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM.nonblocking(), None)?;
    socket.set_recv_buffer_size(4 * 1024 * 1024)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    UdpSocket::from_std(socket.into())
}

/// Answers until `stop`.
pub(super) async fn serve(socket: UdpSocket, devices: Devices, judge: Judges, stop: CancellationToken) {
    let socket = std::sync::Arc::new(socket);
    let mut buffer = vec![0; REQUEST_MAX_BYTES];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.async_io(Interest::READABLE, || receive(&socket, &mut buffer)) => received,
        };
        let Ok(Received { length, from, asked, at }) = received else { continue };
        if !asked.is_loopback() {
            continue;
        }
        let request = buffer.get(..length).unwrap_or_default();
        let (answers, delay) = {
            let mut devices = devices.lock().unwrap_or_else(PoisonError::into_inner);
            let treated = judging(&judge).arrived(asked, devices.contains_key(&asked), at);
            let Some(device) = devices.get_mut(&asked) else { continue };
            if let Fault::Slow(delay) = device.fault.unwrap_or(Fault::Slow(Duration::ZERO)) {
                (agent::answer(device, request).map(|answer| vec![(asked, answer)]), delay)
            } else {
                (faulty(device, request, asked, treated), Duration::ZERO)
            }
        };
        let Some(answers) = answers else { continue };
        if delay.is_zero() {
            judging(&judge).answered(asked);
            answer_from(&socket, &answers, from).await;
        } else {
            let (socket, judge) = (socket.clone(), judge.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                judging(&judge).answered(asked);
                answer_from(&socket, &answers, from).await;
            });
        }
    }
}

fn judging(judge: &Judges) -> std::sync::MutexGuard<'_, Judge> {
    judge.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a device with a fault answers, each datagram with the address that it comes from; `None` when it is silent.
fn faulty(
    device: &mut Device,
    request: &[u8],
    asked: Ipv4Addr,
    (at_once, gap): (u32, Option<Duration>),
) -> Option<Vec<(Ipv4Addr, Vec<u8>)>> {
    let fault = device.fault;
    if fault == Some(Fault::Fragile) {
        let is_pressed = at_once > 1
            || gap.is_some_and(|gap| gap < FRAGILE_GAP)
            || agent::repetitions_of(request).is_some_and(|repetitions| repetitions > FRAGILE_REPETITIONS);
        let now = Instant::now();
        if is_pressed {
            device.silent_until = Some(now + FRAGILE_SILENCE);
        }
        if device.silent_until.is_some_and(|until| until > now) {
            return None;
        }
    }
    let is_lost = matches!(fault, Some(Fault::Lossy(permille)) if fastrand::u32(0..1_000) < permille);
    if is_lost || fault == Some(Fault::Silent) {
        return None;
    }
    if fault == Some(Fault::Garbage) {
        return garbage_for(request).map(|answer| vec![(asked, answer)]);
    }
    let mut answer = agent::answer(device, request)?;
    Some(match fault {
        Some(Fault::Flooding) => {
            let junk = with_another_id(request, &answer);
            let mut answers = vec![(asked, junk); FLOOD];
            answers.push((asked, answer));
            answers
        }
        Some(Fault::Truncated) => {
            answer.truncate(answer.len() / 2);
            vec![(asked, answer)]
        }
        Some(Fault::Oversized) => {
            answer.resize(answer.len() + OVERSIZE_BYTES, 0);
            vec![(asked, answer)]
        }
        Some(Fault::WrongId) => vec![(asked, with_another_id(request, &answer))],
        Some(Fault::Spoofed) => {
            let mut lie = answer.clone();
            if let Some(last) = lie.last_mut() {
                *last ^= 1;
            }
            let stranger = Ipv4Addr::from_bits(asked.to_bits() ^ 0x40);
            vec![(stranger, lie), (asked, answer)]
        }
        _ => vec![(asked, answer)],
    })
}

/// What presses a fragile device, and for how long it then is silent. The gap is a little less than what is promised.
const FRAGILE_GAP: Duration = Duration::from_millis(15);
const FRAGILE_REPETITIONS: i64 = 25;
const FRAGILE_SILENCE: Duration = Duration::from_secs(60);
/// Datagrams that answer nothing, before one that does.
const FLOOD: usize = 200;
/// Octets behind an answer in the same datagram.
const OVERSIZE_BYTES: usize = 50_000;

/// An answer whose request id is another one. (The id has four octets in requests of the engine.)
fn with_another_id(request: &[u8], answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    let id = request.windows(6).find(|octets| octets.starts_with(&[2, 4])).and_then(|octets| octets.get(2..));
    let place = id.and_then(|id| answer.windows(4).position(|octets| octets == id));
    if let Some(octet) = place.and_then(|place| answer.get_mut(place + 3)) {
        *octet ^= 1;
    }
    answer
}

/// The request itself with its PDU turned to noise: the id still is where it was, so it is taken for an answer.
fn garbage_for(request: &[u8]) -> Option<Vec<u8>> {
    let mut answer = request.to_vec();
    let tail = answer.len().checked_sub(6)?;
    answer.get_mut(tail..)?.fill(0xff);
    answer.iter_mut().filter(|byte| matches!(**byte, 0xa0 | 0xa1 | 0xa5)).take(1).for_each(|byte| *byte = 0xa2);
    Some(answer)
}

struct Received {
    length: usize,
    from: SockaddrIn,
    asked: Ipv4Addr,
    /// When it arrived, by the kernel's wall clock.
    at: Duration,
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!(nix::libc::in_pktinfo, nix::sys::time::TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let (mut asked, mut at) = (None, Duration::ZERO);
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                asked = Some(Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr)));
            }
            ControlMessageOwned::ScmTimestampns(time) => at = time.into(),
            _ => {}
        }
    }
    let (from, asked) = message.address.zip(asked).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Received { length: message.bytes, from, asked, at })
}

async fn answer_from(socket: &UdpSocket, answers: &[(Ipv4Addr, Vec<u8>)], to: SockaddrIn) {
    for (own_address, answer) in answers {
        let own = nix::libc::in_addr { s_addr: own_address.to_bits().to_be() };
        let info = nix::libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: own };
        let send = || {
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            let parts = [IoSlice::new(answer)];
            sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&to)).map_err(io::Error::from)
        };
        if let Err(error) = socket.async_io(Interest::WRITABLE, send).await {
            tracing::debug!(%error, %own_address, "an answer was not sent");
        }
    }
}
