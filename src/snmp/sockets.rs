//! The engine's two UDP sockets: bound to ephemeral ports, unconnected, non-blocking, with buffers of known size.
//! An ICMP error (port unreachable) about one target is none for the socket that serves them all.

use super::limits::SEND_BUFFER_BYTES;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
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
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
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

    fn of(&self, v6: bool) -> Option<&UdpSocket> {
        if v6 { self.v6.as_ref() } else { self.v4.as_ref() }
    }

    pub(super) fn send(&self, datagram: &[u8], target: SocketAddr) -> Result<(), SendTrouble> {
        let socket = self.of(target.is_ipv6()).ok_or_else(|| {
            let family = if target.is_ipv6() { "IPv6" } else { "IPv4" };
            SendTrouble::Refused(format!("this machine has no {family}"))
        })?;
        let mut result = socket.try_send_to(datagram, target);
        if matches!(&result, Err(error) if error.kind() == ErrorKind::ConnectionRefused) {
            // Somebody else's ICMP error was reported here, and is now cleared.
            result = socket.try_send_to(datagram, target);
        }
        match result {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Err(SendTrouble::NoRoom)
            }
            Err(error) if error.raw_os_error() == Some(ENOBUFS) => Err(SendTrouble::NoRoom),
            Err(error) => Err(SendTrouble::Refused(error.to_string())),
        }
    }

    /// The next datagram, if one has arrived: its length and where it is from.
    pub(super) fn receive(&self, v6: bool, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let socket = self.of(v6)?;
        // An error that the kernel reports here is about an earlier datagram, and is cleared by reporting it.
        for _ in 0..4 {
            match socket.try_recv_from(buffer) {
                Ok((length, source)) => return Some((length, comparable(source))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => tracing::debug!(%error, "the UDP socket reports an error"),
            }
        }
        None
    }

    pub(super) async fn readable_v4(&self) {
        readable(self.v4.as_ref()).await;
    }

    pub(super) async fn readable_v6(&self) {
        readable(self.v6.as_ref()).await;
    }
}

/// ENOBUFS of Linux: the network card's queue is full.
const ENOBUFS: i32 = 105;

async fn readable(socket: Option<&UdpSocket>) {
    match socket {
        Some(socket) => {
            if socket.readable().await.is_err() {
                // The runtime is shutting down.
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}

fn open(address: SocketAddr, receive_buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel grants what its sysctl allows; less is no reason to give up.
    let _ = socket.set_recv_buffer_size(receive_buffer_bytes);
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
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
