//! One UDP socket that is many printers: it learns which loopback address was asked and answers from that one
//! (IP_PKTINFO, ip(7)). Datagrams to any other address are dropped.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::faults::{Fault, faulty};
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
            judging(&judge).asked_by(asked, SocketAddrV4::new(from.ip(), from.port()));
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
