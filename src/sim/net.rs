//! One UDP socket that is many printers: it learns which loopback address was asked and answers from that one
//! (IP_PKTINFO, ip(7)). Datagrams to any other address are dropped.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::PoisonError;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::device::Fault;
use super::{Devices, agent};

/// Largest request that is read, in bytes.
const REQUEST_MAX_BYTES: usize = 65_507;

pub(super) fn open(port: u16) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM.nonblocking(), None)?;
    socket.set_recv_buffer_size(4 * 1024 * 1024)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    UdpSocket::from_std(socket.into())
}

/// Answers until `stop`.
pub(super) async fn serve(socket: UdpSocket, devices: Devices, stop: CancellationToken) {
    let socket = std::sync::Arc::new(socket);
    let mut buffer = vec![0; REQUEST_MAX_BYTES];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.async_io(Interest::READABLE, || receive(&socket, &mut buffer)) => received,
        };
        let Ok((length, from, asked)) = received else { continue };
        if !asked.is_loopback() {
            continue;
        }
        let request = buffer.get(..length).unwrap_or_default();
        let (answer, delay) = {
            let mut devices = devices.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(device) = devices.get_mut(&asked) else { continue };
            match device.fault {
                Some(Fault::Silent) => continue,
                Some(Fault::Lossy(permille)) if fastrand::u32(0..1_000) < permille => continue,
                Some(Fault::Garbage) => (garbage_for(request), None),
                Some(Fault::Slow(delay)) => (agent::answer(device, request), Some(delay)),
                _ => (agent::answer(device, request), None),
            }
        };
        let Some(answer) = answer else { continue };
        match delay {
            None => answer_from(&socket, &answer, asked, from).await,
            Some(delay) => {
                let socket = socket.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    answer_from(&socket, &answer, asked, from).await;
                });
            }
        }
    }
}

/// The request itself with its PDU turned to noise: the id still is where it was, so it is taken for an answer.
fn garbage_for(request: &[u8]) -> Option<Vec<u8>> {
    let mut answer = request.to_vec();
    let tail = answer.len().checked_sub(6)?;
    answer.get_mut(tail..)?.fill(0xff);
    answer.iter_mut().filter(|byte| matches!(**byte, 0xa0 | 0xa1 | 0xa5)).take(1).for_each(|byte| *byte = 0xa2);
    Some(answer)
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SockaddrIn, Ipv4Addr)> {
    let mut control = nix::cmsg_space!(nix::libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let asked = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr))),
        _ => None,
    });
    let (from, asked) = message.address.zip(asked).ok_or(io::ErrorKind::InvalidData)?;
    Ok((message.bytes, from, asked))
}

async fn answer_from(socket: &UdpSocket, answer: &[u8], asked: Ipv4Addr, to: SockaddrIn) {
    let own = nix::libc::in_addr { s_addr: asked.to_bits().to_be() };
    let info = nix::libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: own };
    let send = || {
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let parts = [IoSlice::new(answer)];
        sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&to)).map_err(io::Error::from)
    };
    if let Err(error) = socket.async_io(Interest::WRITABLE, send).await {
        tracing::debug!(%error, %asked, "an answer was not sent");
    }
}
