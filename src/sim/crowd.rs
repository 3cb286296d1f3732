//! A crowd: thousands of equal agents behind one socket, for benchmarks. One thread, one shared table of encoded objects,
//! and nothing kept of anybody, so that the other side of a measurement costs as little as it can. It speaks v1 and v2c.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};

use super::SimError;
use super::ber::{self, INTEGER, OCTETS, Reader, SEQUENCE, element, integer};
use crate::oid;
use crate::snmp::{Oid, Value, VarBind};

/// Receive buffer to ask for: a sweep of a /16 sends faster than anybody reads.
const BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// Answers that may wait for their time.
const DELAYED_MAX: usize = 65_536;
/// Knuth's multiplicative constant: scatters those that are alive over the addresses.
const SCATTER: u64 = 0x9e37_79b1;

const GET: u8 = 0xa0;
const GET_NEXT: u8 = 0xa1;
const RESPONSE: u8 = 0xa2;
const GET_BULK: u8 = 0xa5;
const NO_SUCH_INSTANCE: [u8; 2] = [0x81, 0];
const END_OF_MIB_VIEW: [u8; 2] = [0x82, 0];

/// What a crowd is like.
#[derive(Debug, Clone)]
pub struct CrowdConfig {
    /// The first of its addresses, within 127.0.0.0/8.
    pub first_address: Ipv4Addr,
    /// How many addresses.
    pub size: u32,
    /// How many of them answer; scattered, and always the same.
    pub alive: u32,
    /// UDP port.
    pub port: u16,
    /// Objects below 1.3.6.1.2.1.43 that each has, besides the system group.
    pub rows: u32,
    /// How long each answer is held back.
    pub delay: Duration,
    /// How many of a thousand requests are lost.
    pub loss_permille: u32,
    /// Largest answer, in bytes.
    pub answer_max_bytes: usize,
}

/// A crowd that answers until this is dropped.
#[derive(Debug)]
pub struct Crowd {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended too.
            let _ended = thread.join();
        }
    }
}

impl Crowd {
    /// Begins to answer.
    ///
    /// # Errors
    /// When the addresses are not this machine's own, or the port cannot be had.
    pub fn start(config: CrowdConfig) -> Result<Self, SimError> {
        let last = config.first_address.to_bits().saturating_add(config.size.saturating_sub(1));
        for address in [config.first_address, Ipv4Addr::from_bits(last)] {
            if !address.is_loopback() {
                return Err(SimError::NotLoopback(address));
            }
        }
        let failed = |source| SimError::Port { port: config.port, source };
        let socket = open(config.port).map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let table = Table::of(config.rows);
        let stopped = Arc::clone(&stop);
        let serving = Serving { config, table, socket, delayed: std::collections::VecDeque::new() };
        let thread = std::thread::Builder::new().name("crowd".to_owned()).spawn(move || serving.run(&stopped));
        let thread = thread.map_err(|source| SimError::Port { port: 0, source })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

fn open(port: u16) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    // As much as root may have, else what the system allows.
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
    }
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    Ok(socket)
}

/// Whether the address with this number among `size` is one of the `alive` that answer.
fn is_alive(index: u32, size: u32, alive: u32) -> bool {
    // The step has no divisor in common with any size here (it is odd; sizes are powers of two or smaller than it), so
    // that each place comes up once.
    let place = u64::from(index) * SCATTER % u64::from(size.max(1));
    place < u64::from(alive)
}

/// The objects, in order, each with its encoded binding.
struct Table(Vec<(Oid, Vec<u8>)>);

impl Table {
    fn of(rows: u32) -> Self {
        let system = oid!(1, 3, 6, 1, 2, 1, 1);
        let text = |text: &str| Value::OctetString(text.as_bytes().to_vec());
        let mut objects = vec![
            (system.with(&[1, 0]), text("Crowd Printer 1000; one of many")),
            (system.with(&[2, 0]), Value::object_id(oid!(1, 3, 6, 1, 4, 1, 8_072, 3, 2, 10))),
            (system.with(&[3, 0]), Value::TimeTicks(123_456)),
        ];
        // Columns of twenty rows, every third of text: some thirty bytes a binding, as a printer's are.
        objects.extend((0..rows).map(|n| {
            let oid = oid!(1, 3, 6, 1, 2, 1, 43, 11, 1, 1, 2 + n / 20, 1, 1 + n % 20);
            (oid, if n % 3 == 0 { text("Black Toner") } else { Value::Integer(i64::from(n) * 37) })
        }));
        Self(
            objects
                .into_iter()
                .map(|(oid, value)| {
                    let binding = ber::varbind(&VarBind { oid: oid.clone(), value });
                    (oid, binding)
                })
                .collect(),
        )
    }

    fn at(&self, oid: &Oid) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(oid))
    }

    fn binding(&self, place: usize) -> Option<&[u8]> {
        self.0.get(place).map(|(_, binding)| binding.as_slice())
    }

    /// The place behind an object.
    fn behind(&self, oid: &Oid) -> usize {
        self.at(oid).map_or_else(|place| place, |place| place + 1)
    }
}

struct Serving {
    config: CrowdConfig,
    table: Table,
    socket: socket2::Socket,
    delayed: std::collections::VecDeque<(Instant, Vec<u8>, Ipv4Addr, SockaddrIn)>,
}

impl Serving {
    fn run(mut self, stop: &AtomicBool) {
        let mut buffer = vec![0; 65_536];
        // It is only how often `stop` is looked at.
        let _unlimited = self.socket.set_read_timeout(Some(Duration::from_millis(100)));
        while !stop.load(Ordering::Relaxed) {
            for n in 0..256 {
                // The first is waited for, unless answers wait for their time; the others are taken only if they are there.
                let is_waited_for = n == 0 && self.delayed.is_empty();
                let flags = if is_waited_for { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
                let Ok((length, from, asked)) = receive(&self.socket, &mut buffer, flags) else { break };
                self.serve(buffer.get(..length).unwrap_or_default(), from, asked);
            }
            if let Some((at, ..)) = self.delayed.front() {
                // The socket's own time-out would be rounded to the kernel's ticks.
                std::thread::sleep(at.saturating_duration_since(Instant::now()).min(Duration::from_micros(300)));
            }
            while let Some((_, answer, asked, to)) = self.delayed.pop_front_if(|(at, ..)| *at <= Instant::now()) {
                self.send(&answer, asked, to);
            }
        }
    }

    fn serve(&mut self, datagram: &[u8], from: SockaddrIn, asked: Ipv4Addr) {
        let index = asked.to_bits().wrapping_sub(self.config.first_address.to_bits());
        if index >= self.config.size || !is_alive(index, self.config.size, self.config.alive) {
            return;
        }
        if self.config.loss_permille > 0 && fastrand::u32(0..1_000) < self.config.loss_permille {
            return;
        }
        let Some(answer) = self.answer(datagram) else { return };
        if self.config.delay.is_zero() {
            self.send(&answer, asked, from);
        } else if self.delayed.len() < DELAYED_MAX {
            self.delayed.push_back((Instant::now() + self.config.delay, answer, asked, from));
        }
    }

    fn answer(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut message = Reader(Reader(datagram).expect(SEQUENCE)?);
        let version = message.integer().filter(|version| (0..=1).contains(version))?;
        let community = message.expect(OCTETS)?;
        let (operation, contents) = message.element()?;
        let mut pdu = Reader(contents);
        let (id, second, third) = (pdu.expect(INTEGER)?, pdu.integer()?, pdu.integer()?);
        let mut names = Reader(pdu.expect(SEQUENCE)?);
        let mut list = Vec::with_capacity(self.config.answer_max_bytes);
        let room = self.config.answer_max_bytes.saturating_sub(community.len() + 40);
        let mut number = 0;
        while !names.0.is_empty() {
            let mut binding = Reader(names.expect(SEQUENCE)?);
            let name = binding.expect(0x06)?;
            let oid = ber::parse_oid(name)?;
            number += 1;
            let repetitions = match operation {
                GET_BULK if number > second => usize::try_from(third).ok()?,
                _ => 1,
            };
            let start = match operation {
                GET => self.table.at(&oid).ok(),
                GET_NEXT | GET_BULK => Some(self.table.behind(&oid)),
                _ => return None,
            };
            for n in 0..repetitions {
                let found = start.and_then(|start| self.table.binding(start + n));
                let missing;
                let binding = match found {
                    Some(binding) => binding,
                    None => {
                        let exception = if operation == GET { NO_SUCH_INSTANCE } else { END_OF_MIB_VIEW };
                        missing = element(SEQUENCE, &[element(0x06, name), exception.to_vec()].concat());
                        &missing
                    }
                };
                if list.len() + binding.len() > room {
                    break;
                }
                list.extend_from_slice(binding);
                if found.is_none() {
                    break;
                }
            }
        }
        let pdu = [element(INTEGER, id), integer(0), integer(0), element(SEQUENCE, &list)].concat();
        let parts = [integer(version), element(OCTETS, community), element(RESPONSE, &pdu)].concat();
        Some(element(SEQUENCE, &parts))
    }

    fn send(&self, answer: &[u8], asked: Ipv4Addr, to: SockaddrIn) {
        let own = nix::libc::in_addr { s_addr: asked.to_bits().to_be() };
        let info = nix::libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: own };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        // An answer that cannot be sent is a lost one.
        let _lost = sendmsg(self.socket.as_raw_fd(), &[IoSlice::new(answer)], &control, MsgFlags::empty(), Some(&to));
    }
}

fn receive(socket: &socket2::Socket, buffer: &mut [u8], flags: MsgFlags) -> io::Result<(usize, SockaddrIn, Ipv4Addr)> {
    let mut control = nix::cmsg_space!(nix::libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let asked = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr))),
        _ => None,
    });
    let (from, asked) = message.address.zip(asked).ok_or(io::ErrorKind::InvalidData)?;
    Ok((message.bytes, from, asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::{
        Client, ClientConfig, Credentials, Pace, Probe, SweepPlan, Timing, Unreachable, WalkEnd, WalkLimits,
    };
    use std::net::SocketAddr;

    #[test]
    fn exactly_as_many_are_alive_as_were_asked_for() {
        for (size, alive) in [(65_536, 500), (1_024, 1_024), (4_096, 32), (254, 3), (1_000, 0)] {
            assert_eq!((0..size).filter(|index| is_alive(*index, size, alive)).count(), alive as usize, "{size}");
        }
    }

    #[tokio::test]
    async fn the_engine_finds_who_is_alive_and_reads_every_row() {
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = CrowdConfig {
            first_address: Ipv4Addr::new(127, 3, 0, 0),
            size: 1_024,
            alive: 9,
            port,
            rows: 300,
            delay: Duration::from_millis(1),
            loss_permille: 0,
            answer_max_bytes: 1_400,
        };
        let _crowd = Crowd::start(config.clone()).unwrap();
        let client =
            Client::open(ClientConfig { packets_per_second: None, gap: Duration::ZERO, ..ClientConfig::default() })
                .unwrap();
        let credentials = Credentials::V2c { community: "public".into() };
        let first = config.first_address.to_bits();
        let mut probes = client
            .sweep(SweepPlan {
                targets: Box::new(
                    (0..1_024).map(move |n| SocketAddr::new(Ipv4Addr::from_bits(first + n).into(), port)),
                ),
                probe: Probe::Community {
                    credentials: credentials.clone(),
                    oids: vec![oid!(1, 3, 6, 1, 2, 1, 1, 2, 0)],
                },
                pace: Pace::per_second(20_000),
                listen: Duration::from_secs(1),
                unreachable: Unreachable::default(),
            })
            .await
            .unwrap();
        let mut found = Vec::new();
        while let Some(answer) = probes.next().await {
            found.push(answer.target);
        }
        assert_eq!(found.len(), 9);
        for target in found {
            for credentials in [credentials.clone(), Credentials::V1 { community: "public".into() }] {
                let session = client.session(target, credentials, Timing::default());
                let walk = session.walk(&oid!(1, 3, 6, 1, 2, 1, 43), WalkLimits::default()).await.unwrap();
                assert_eq!((walk.varbinds.len(), walk.end), (300, WalkEnd::EndOfMibView));
            }
        }
    }
}
