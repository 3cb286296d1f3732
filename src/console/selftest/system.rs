//! What the self-test reads of the machine, behind a trait, so that faults can be made in tests.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::path::Path;

use nix::ifaddrs::getifaddrs;

use crate::sys::interface_index;

/// Longest table of the kernel's, or file, that is read, in bytes. A box has a dozen lines in each.
const TABLE_MAX_BYTES: u64 = 256 * 1024;
/// Most interfaces that are looked at.
const INTERFACES_MAX: usize = 64;
/// Name servers that the resolver asks (MAXNS of resolv.conf(5)).
const NAME_SERVERS_MAX: usize = 3;
/// Of interfaces of this kind packets come back (ARPHRD_LOOPBACK of <linux/if_arp.h>).
const LOOPBACK_KIND: &str = "772";
/// The port that throws away what it gets (RFC 863).
const DISCARD_PORT: u16 = 9;

/// An interface that a cable, or a radio network, may be at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it was switched on.
    pub is_on: bool,
    /// Whether there is something at the other end.
    pub has_carrier: bool,
    /// As the driver says, in Mbit/s; `None` where it does not.
    pub speed_mbit_s: Option<u32>,
}

/// An address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Behind which interface.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// Whether systemd-networkd holds a lease for the interface.
    pub is_leased: bool,
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Over which interface.
    pub interface: String,
    /// Who takes packets; nobody on a point-to-point link.
    pub gateway: Option<IpAddr>,
    /// The smaller the better.
    pub metric: u32,
}

/// Whether somebody has an address of the own network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Neighbour {
    /// Somebody with this hardware address.
    There(String),
    /// Nobody has answered yet.
    Nobody,
}

/// The machine, as far as it is asked.
pub trait System: Send + Sync {
    /// Its interfaces but the loopback.
    ///
    /// # Errors
    /// The operating system's.
    fn interfaces(&self) -> io::Result<Vec<Interface>>;

    /// Its addresses but those of the loopback.
    ///
    /// # Errors
    /// The operating system's.
    fn addresses(&self) -> io::Result<Vec<Address>>;

    /// Its default routes.
    ///
    /// # Errors
    /// The operating system's.
    fn default_routes(&self) -> io::Result<Vec<DefaultRoute>>;

    /// Whether any route leads there. Nothing is sent.
    fn has_route_to(&self, ip: IpAddr) -> bool;

    /// Makes the kernel look for a gateway, by a datagram to it that asks for nothing. The socket hears what comes of it.
    ///
    /// # Errors
    /// The operating system's.
    fn nudge(&self, gateway: IpAddr, interface: &str) -> io::Result<UdpSocket>;

    /// What the kernel knows of a neighbour. `None` where it does not show it (IPv6).
    fn neighbour(&self, ip: IpAddr) -> Option<Neighbour>;

    /// The address that the hosts file gives a name.
    fn host(&self, name: &str) -> Option<IpAddr>;

    /// The resolver's name servers.
    fn name_servers(&self) -> Vec<IpAddr>;
}

/// This machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(TABLE_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl System for Linux {
    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/sys/class/net")?.take(INTERFACES_MAX) {
            let entry = entry?;
            let value = |name: &str| read_text(entry.path().join(name)).unwrap_or_default().trim().to_owned();
            if value("type") == LOOPBACK_KIND || value("type").is_empty() {
                continue;
            }
            // IFF_UP of netdevice(7). An interface that is off does not say whether it has a carrier.
            let flags = u32::from_str_radix(value("flags").trim_start_matches("0x"), 16).unwrap_or(0);
            found.push(Interface {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_on: flags & 1 == 1,
                has_carrier: value("carrier") == "1",
                speed_mbit_s: value("speed").parse().ok().filter(|speed| (1..1_000_000).contains(speed)),
            });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn addresses(&self) -> io::Result<Vec<Address>> {
        let all = getifaddrs()?.filter_map(|each| {
            let address = each.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            let ip = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))?;
            let lease = interface_index(&each.interface_name).map(|index| format!("/run/systemd/netif/leases/{index}"));
            let is_leased = ip.is_ipv4() && lease.is_some_and(|lease| Path::new(&lease).exists());
            Some(Address { interface: each.interface_name, ip, is_leased })
        });
        Ok(all.filter(|address| !address.ip.is_loopback()).collect())
    }

    fn default_routes(&self) -> io::Result<Vec<DefaultRoute>> {
        let mut routes = parse_route(&read_text("/proc/net/route")?);
        // A kernel without IPv6 has no such table.
        routes.extend(parse_ipv6_route(&read_text("/proc/net/ipv6_route").unwrap_or_default()));
        // Of IPv4 first: what names it is in the kernel's tables.
        routes.sort_by_key(|route| (route.gateway.is_none_or(|ip| ip.is_ipv6()), route.metric));
        Ok(routes)
    }

    fn has_route_to(&self, ip: IpAddr) -> bool {
        any_socket(ip).and_then(|socket| socket.connect((ip, DISCARD_PORT))).is_ok()
    }

    fn nudge(&self, gateway: IpAddr, interface: &str) -> io::Result<UdpSocket> {
        let to: SocketAddr = match gateway {
            IpAddr::V6(ip) => SocketAddrV6::new(ip, DISCARD_PORT, 0, interface_index(interface).unwrap_or(0)).into(),
            IpAddr::V4(ip) => (ip, DISCARD_PORT).into(),
        };
        let socket = any_socket(gateway)?;
        socket.connect(to)?;
        socket.send(&[])?;
        Ok(socket)
    }

    fn neighbour(&self, ip: IpAddr) -> Option<Neighbour> {
        let IpAddr::V4(ip) = ip else { return None };
        Some(parse_arp(&read_text("/proc/net/arp").ok()?, ip).map_or(Neighbour::Nobody, Neighbour::There))
    }

    fn host(&self, name: &str) -> Option<IpAddr> {
        parse_hosts(&read_text("/etc/hosts").unwrap_or_default(), name)
    }

    fn name_servers(&self) -> Vec<IpAddr> {
        parse_resolv(&read_text("/etc/resolv.conf").unwrap_or_default())
    }
}

fn any_socket(like: IpAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0))
}

/// RTF_UP of <linux/route.h>; RTF_REJECT says that there is no way.
const UP: u32 = 1;
const REJECT: u32 = 0x200;

/// /proc/net/route: interface, destination, gateway, flags, …, metric, mask; addresses as the machine has them in memory.
fn parse_route(table: &str) -> Vec<DefaultRoute> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let hex = |at: usize| u32::from_str_radix(columns.get(at)?, 16).ok();
        let is_default = hex(1)? == 0 && hex(7)? == 0 && hex(3)? & (UP | REJECT) == UP;
        let gateway = Ipv4Addr::from(hex(2)?.to_ne_bytes());
        is_default.then_some(())?;
        Some(DefaultRoute {
            interface: (*columns.first()?).to_owned(),
            gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
            metric: columns.get(6)?.parse().ok()?,
        })
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// /proc/net/ipv6_route: destination, its length, source, its length, next hop, metric, …, flags, interface.
fn parse_ipv6_route(table: &str) -> Vec<DefaultRoute> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let hex = |at: usize| u32::from_str_radix(columns.get(at)?, 16).ok();
        let interface = *columns.get(9)?;
        let is_default = hex(1)? == 0 && hex(8)? & (UP | REJECT) == UP && interface != "lo";
        is_default.then_some(())?;
        let gateway = Ipv6Addr::from(u128::from_str_radix(columns.get(4)?, 16).ok()?);
        Some(DefaultRoute {
            interface: interface.to_owned(),
            gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
            metric: hex(5)?,
        })
    };
    table.lines().filter_map(route).collect()
}

/// /proc/net/arp: address, kind, flags, hardware address, …; ATF_COM says that somebody has answered.
fn parse_arp(table: &str, ip: Ipv4Addr) -> Option<String> {
    const COMPLETE: u32 = 2;
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let address: Ipv4Addr = columns.next()?.parse().ok()?;
        let flags = u32::from_str_radix(columns.nth(1)?.trim_start_matches("0x"), 16).ok()?;
        (address == ip && flags & COMPLETE != 0).then(|| columns.next().map(str::to_owned))?
    })
}

fn parse_hosts(text: &str, name: &str) -> Option<IpAddr> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(ip)
    })
}

/// The name servers of resolv.conf(5); an interface behind an address is left out.
fn parse_resolv(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        words.next()?.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).take(NAME_SERVERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found_and_others_are_not() {
        let gateway = u32::from_ne_bytes([10, 0, 0, 254]);
        let attached = u32::from_ne_bytes([10, 0, 0, 0]);
        let mask = u32::from_ne_bytes([255, 255, 255, 0]);
        let table = format!(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t{gateway:08X}\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             ppp0\t00000000\t00000000\t0001\t0\t0\t200\t00000000\t0\t0\t0\n\
             *\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t{attached:08X}\t00000000\t0001\t0\t0\t100\t{mask:08X}\t0\t0\t0\nbroken line\n"
        );
        let routes = parse_route(&table);
        let gateways: Vec<_> = routes.iter().map(|route| (route.interface.as_str(), route.gateway)).collect();
        assert_eq!(gateways, [("eth0", Some("10.0.0.254".parse().unwrap())), ("ppp0", None)]);
        let zero = "0".repeat(32);
        let table = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );
        let routes = parse_ipv6_route(&table);
        assert_eq!(routes.iter().map(|route| route.gateway).collect::<Vec<_>>(), [Some("fe80::1".parse().unwrap())]);
    }

    #[test]
    fn a_neighbour_is_there_when_it_has_answered() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.1         0x1         0x2         02:00:00:00:00:01     *        eth0\n\
                     10.0.0.2         0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        assert_eq!(parse_arp(table, [10, 0, 0, 1].into()).as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!(parse_arp(table, [10, 0, 0, 2].into()), None);
        assert_eq!(parse_arp(table, [10, 0, 0, 3].into()), None);
    }

    #[test]
    fn hosts_and_name_servers_are_read_as_the_resolver_does() {
        let hosts = "# 10.0.0.9 a\n127.0.0.1 localhost\n10.0.0.1 Cloud.example cloud # b\n";
        assert_eq!(parse_hosts(hosts, "cloud.EXAMPLE"), Some([10, 0, 0, 1].into()));
        assert_eq!(parse_hosts(hosts, "a").or(parse_hosts(hosts, "b")), None);
        let resolv = "search x\nnameserver fe80::1%eth0\n;nameserver 1.1.1.1\nnameserver 10.0.0.1\nnameserver\n\
                      nameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let expected: [IpAddr; 3] = ["fe80::1", "10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        assert_eq!(parse_resolv(resolv), expected);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        assert!(Linux.interfaces().unwrap().iter().all(|interface| interface.name != "lo"));
        assert!(Linux.addresses().unwrap().iter().all(|address| !address.ip.is_loopback()));
        Linux.default_routes().unwrap();
        assert!(Linux.has_route_to([127, 0, 0, 1].into()));
    }
}

/// A machine that is as a test wants it.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(super) struct MadeUp {
    pub interfaces: Vec<Interface>,
    pub addresses: Vec<Address>,
    pub routes: Vec<DefaultRoute>,
    /// What of the own network leads somewhere without a gateway.
    pub attached: Vec<IpAddr>,
    pub neighbour: Option<Neighbour>,
    pub name_servers: Vec<IpAddr>,
    /// Nothing can be read.
    pub is_broken: bool,
}

#[cfg(test)]
impl MadeUp {
    fn unless_broken<T: Clone>(&self, what: &T) -> io::Result<T> {
        if self.is_broken { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(what.clone()) }
    }
}

#[cfg(test)]
impl System for MadeUp {
    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        self.unless_broken(&self.interfaces)
    }

    fn addresses(&self) -> io::Result<Vec<Address>> {
        self.unless_broken(&self.addresses)
    }

    fn default_routes(&self) -> io::Result<Vec<DefaultRoute>> {
        self.unless_broken(&self.routes)
    }

    fn has_route_to(&self, ip: IpAddr) -> bool {
        self.attached.contains(&ip)
    }

    fn nudge(&self, _: IpAddr, _: &str) -> io::Result<UdpSocket> {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
    }

    fn neighbour(&self, _: IpAddr) -> Option<Neighbour> {
        self.neighbour.clone()
    }

    fn host(&self, _: &str) -> Option<IpAddr> {
        None
    }

    fn name_servers(&self) -> Vec<IpAddr> {
        self.name_servers.clone()
    }
}
