//! The engine's two UDP sockets: bound to ephemeral ports, unconnected, non-blocking, with buffers of known size, and
//! with the kernel's count of what it dropped because they were full (SO_RXQ_OVFL).
//! An ICMP error (port unreachable) about one target is none for the socket that serves them all. The kernel keeps such
//! errors apart (IP_RECVERR, ip(7)), where they can be had with the address that they are about.

use super::limits::{MAX_DATAGRAM_BYTES, SEND_BUFFER_BYTES};
use super::unreachable::Reason;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Why a datagram did not leave.
#[derive(Debug)]
pub(super) enum SendTrouble {
    /// The kernel has no room at this moment.
    NoRoom,
    /// The kernel will not send this, in its own words.
    Refused(String),
}

#[derive(Debug)]
pub(super) struct Sockets {
    v4: Option<Counting>,
    v6: Option<Counting>,
}

/// A socket, and how many datagrams the kernel has said it dropped there.
#[derive(Debug)]
struct Counting {
    socket: UdpSocket,
    dropped: AtomicU32,
    /// Whether errors of earlier datagrams wait to be looked at.
    has_errors: AtomicBool,
}

/// An error that the network has reported about a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreached {
    /// Whom the datagram was for.
    pub(super) target: SocketAddr,
    pub(super) reason: Reason,
    /// Who says so; the machine itself where nobody answered on its own network.
    pub(super) by: Option<IpAddr>,
}

/// Where datagrams are received to.
pub(super) struct ReceiveBuffer {
    datagram: Vec<u8>,
    control: Vec<u8>,
}

impl ReceiveBuffer {
    pub(super) fn new() -> Self {
        Self { datagram: vec![0; MAX_DATAGRAM_BYTES + 1], control: nix::cmsg_space!(u32) }
    }
}

/// A datagram that arrived.
pub(super) struct Received<'a> {
    pub(super) datagram: &'a [u8],
    pub(super) source: SocketAddr,
    /// Datagrams that the kernel dropped for want of room since it last said so.
    pub(super) newly_dropped: u32,
}

impl Sockets {
    /// Opens what the machine has; one address family alone is enough.
    pub(super) fn open(receive_buffer_bytes: usize) -> io::Result<Self> {
        let v4 = open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), receive_buffer_bytes);
        let v6 = open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), receive_buffer_bytes);
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Self { v4: v4.ok(), v6: v6.ok() }),
        }
    }

    fn of(&self, v6: bool) -> Option<&Counting> {
        if v6 { self.v6.as_ref() } else { self.v4.as_ref() }
    }

    pub(super) fn send(&self, datagram: &[u8], target: SocketAddr) -> Result<(), SendTrouble> {
        let Counting { socket, has_errors, .. } = self.of(target.is_ipv6()).ok_or_else(|| {
            let family = if target.is_ipv6() { "IPv6" } else { "IPv4" };
            SendTrouble::Refused(format!("this machine has no {family}"))
        })?;
        let mut result = socket.try_send_to(datagram, target);
        for _ in 0..2 {
            let Err(error) = &result else { break };
            if is_no_room(error) {
                break;
            }
            // Most likely somebody else's ICMP error was reported here, and is now cleared.
            has_errors.store(true, Ordering::Relaxed);
            result = socket.try_send_to(datagram, target);
        }
        match result {
            Ok(_) => Ok(()),
            Err(error) if is_no_room(&error) => Err(SendTrouble::NoRoom),
            Err(error) => Err(SendTrouble::Refused(error.to_string())),
        }
    }

    /// The next datagram, if one has arrived.
    pub(super) fn receive<'a>(&self, v6: bool, buffer: &'a mut ReceiveBuffer) -> Option<Received<'a>> {
        let Counting { socket, dropped, has_errors } = self.of(v6)?;
        let ReceiveBuffer { datagram, control } = buffer;
        // An error that the kernel reports here is about an earlier datagram, and is cleared by reporting it.
        for _ in 0..4 {
            let received = socket.try_io(Interest::READABLE, || receive(socket, datagram, control));
            match received {
                Ok((length, source, total)) => {
                    let newly_dropped =
                        total.map_or(0, |total| total.wrapping_sub(dropped.swap(total, Ordering::Relaxed)));
                    return Some(Received {
                        datagram: datagram.get(..length)?,
                        source: comparable(source),
                        newly_dropped,
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => {
                    has_errors.store(true, Ordering::Relaxed);
                    tracing::debug!(%error, "the UDP socket reports an error");
                }
            }
        }
        None
    }

    /// The next error that the network has reported, if a send or a receive has met one.
    pub(super) fn unreached(&self) -> Option<Unreached> {
        for Counting { socket, has_errors, .. } in [&self.v4, &self.v6].into_iter().flatten() {
            if !has_errors.load(Ordering::Relaxed) {
                continue;
            }
            match take_error(socket) {
                Ok(Some(unreached)) => return Some(unreached),
                // About something else: there may be more behind it.
                Ok(None) => {}
                Err(_) => has_errors.store(false, Ordering::Relaxed),
            }
        }
        None
    }

    /// Whether one of the two has something to read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut readable = Poll::Pending;
        // Both are asked, so that both wake us. An error means that the runtime is shutting down: nothing comes any more.
        for Counting { socket, .. } in [&self.v4, &self.v6].into_iter().flatten() {
            if let Poll::Ready(Ok(())) = socket.poll_recv_ready(cx) {
                readable = Poll::Ready(());
            }
        }
        readable
    }
}

/// ENOBUFS of Linux: the network card's queue is full.
const ENOBUFS: i32 = 105;

fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) || error.raw_os_error() == Some(ENOBUFS)
}

/// One error of an earlier datagram (MSG_ERRQUEUE); `None` for one that does not say that somebody cannot be reached.
fn take_error(socket: &UdpSocket) -> io::Result<Option<Unreached>> {
    // What is left of the datagram itself is of no interest.
    let mut datagram = [0; 1];
    let mut parts = [IoSliceMut::new(&mut datagram)];
    let mut control = nix::cmsg_space!(u32, libc::sock_extended_err, libc::sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let Some(target) = message.address.as_ref().and_then(address_of) else { return Ok(None) };
    let said = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, by) if error.ee_origin == libc::SO_EE_ORIGIN_ICMP => {
            let by = by.map(|by| IpAddr::from(u32::from_be(by.sin_addr.s_addr).to_be_bytes()));
            Some((Reason::of_icmp(error.ee_type, error.ee_code)?, by))
        }
        ControlMessageOwned::Ipv6RecvErr(error, by) if error.ee_origin == libc::SO_EE_ORIGIN_ICMP6 => {
            Some((Reason::of_icmpv6(error.ee_type, error.ee_code)?, by.map(|by| by.sin6_addr.s6_addr.into())))
        }
        _ => None,
    });
    Ok(said.map(|(reason, by)| Unreached { target: comparable(target), reason, by }))
}

/// One recvmsg(2): length, source, and the kernel's count of drops where it tells one.
fn receive(
    socket: &UdpSocket,
    datagram: &mut [u8],
    control: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<u32>)> {
    let mut parts = [IoSliceMut::new(datagram)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(control), MsgFlags::MSG_DONTWAIT)?;
    let dropped = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::RxqOvfl(total) => Some(total),
        _ => None,
    });
    let source = message.address.as_ref().and_then(address_of).ok_or(ErrorKind::InvalidData)?;
    Ok((message.bytes, source, dropped))
}

fn address_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddrV4::new(v4.ip(), v4.port()).into()),
        (_, Some(v6)) => Some(SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id()).into()),
        _ => None,
    }
}

fn open(address: SocketAddr, receive_buffer_bytes: usize) -> io::Result<Counting> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel grants what its sysctl allows; less is no reason to give up.
    let _ = socket.set_recv_buffer_size(receive_buffer_bytes);
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    // A kernel that cannot count is no reason to give up either.
    let _ = setsockopt(&socket, sockopt::RxqOvfl, &1);
    // Without it the kernel says nothing of those who cannot be reached.
    let _ = if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true)
    } else {
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)
    };
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    Ok(Counting { socket, dropped: AtomicU32::new(0), has_errors: AtomicBool::new(false) })
}

/// An address as it compares: IPv4 in IPv6 clothes is IPv4, and the flow label is no part of who somebody is.
pub(super) fn comparable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => {
                // A scope says something only of link-local addresses, and the kernel tells it only of those.
                let scope = if v6.ip().is_unicast_link_local() { v6.scope_id() } else { 0 };
                SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_has_one_address_however_it_is_written() {
        let plain: SocketAddr = "10.0.0.1:161".parse().unwrap();
        assert_eq!(comparable("[::ffff:10.0.0.1]:161".parse().unwrap()), plain);
        let labelled = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 161, 7, 0));
        assert_eq!(comparable(labelled), "[::1]:161".parse().unwrap());
        let [one, two] =
            [1, 2].map(|scope| SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 161, 0, scope)));
        assert_ne!(comparable(one), comparable(two), "two links, two devices");
    }
}
