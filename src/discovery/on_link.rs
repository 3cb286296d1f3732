//! Which addresses are directly attached, by the kernel's own tables. To reach one of those the kernel asks everybody on
//! that network for it (ARP, neighbour discovery), three times and a second apart when nobody is there, and keeps a place
//! in a table meanwhile. When that table is full it drops datagrams without telling who sent them: printers are missed in
//! silence. So the pace of a search is the own network's; what lies behind a router costs one datagram and goes faster.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::AddressSet;
use super::ScopedIp;
use super::intervals::{Interval, Intervals, network_of, number_of, used_link_local};
use super::sweep::Part;
use crate::snmp::Pace;

/// Addresses a second on attached networks: 192 broadcasts a second if all are dead. A judgement, as nobody publishes
/// what printers and switches bear: a pass over a /24 takes four seconds, over a /16 a quarter of an hour.
pub const ON_LINK_PER_SECOND: u32 = 64;
/// Addresses a second behind routers: they see one datagram for each.
pub const ROUTED_PER_SECOND: u32 = 200;
/// A dead address holds its place in the kernel's table for three seconds. A third of the table a second would fill it;
/// a quarter leaves room for those who are alive. Measured with the usual 1,024 places: at 256 a second every address
/// was truly asked; at 1,000 half were not, and every send was said to have worked.
const TABLE_SHARE: u32 = 4;
/// Where the kernel says how many places there are, and how many there are where it does not.
const TABLE_SIZES: [&str; 2] =
    ["/proc/sys/net/ipv4/neigh/default/gc_thresh3", "/proc/sys/net/ipv6/neigh/default/gc_thresh3"];
const TABLE_SIZE: u32 = 1_024;
/// IPv4 routes and own addresses; IPv6 routes; own IPv6 addresses.
const TABLES: [&str; 3] = ["/proc/net/fib_trie", "/proc/net/ipv6_route", "/proc/net/if_inet6"];
/// Longest table that is read. A box has a dozen routes; a longer table is a router's, and is not looked through.
const TABLE_MAX_BYTES: u64 = 256 * 1_024;

/// How fast addresses are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paces {
    /// Those of attached networks.
    pub on_link: Pace,
    /// Those behind routers, and this machine's own 127.0.0.0/8.
    pub routed: Pace,
}

impl Default for Paces {
    fn default() -> Self {
        Self { on_link: Pace::per_second(ON_LINK_PER_SECOND), routed: Pace::per_second(ROUTED_PER_SECOND) }
    }
}

impl Paces {
    /// What was configured, for both; the usual ones where nothing was.
    #[must_use]
    pub fn wanted(per_second: Option<u32>) -> Self {
        per_second.map_or_else(Self::default, |packets| {
            let pace = Pace::per_second(packets);
            Self { on_link: pace, routed: pace }
        })
    }

    /// These, but no faster than one address in each such span.
    #[must_use]
    pub fn no_faster_than_one_every(self, span: Duration) -> Self {
        Self { on_link: slower(self.on_link, span), routed: slower(self.routed, span) }
    }
}

fn slower(pace: Pace, span: Duration) -> Pace {
    Pace::one_every(pace.interval().unwrap_or_default().max(span))
}

/// What the box is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnLink {
    attached: Intervals,
    /// Own addresses, but those of the loopback interface.
    own: Intervals,
    /// Addresses of attached networks that name the network and everybody in it.
    nobody: Intervals,
    /// Places in the kernel's table of neighbours.
    table_size: u32,
}

impl OnLink {
    /// Looks at the kernel's tables. Where they cannot be read everything counts as attached: that is the slower pace.
    #[must_use]
    pub fn read() -> Self {
        let [ipv4, ipv6, own_ipv6] = TABLES.map(read_table);
        let sizes = TABLE_SIZES.iter().filter_map(|path| read_table(path)?.trim().parse().ok());
        let table_size = sizes.min().unwrap_or(TABLE_SIZE);
        // Without IPv6 the kernel has no tables of it, and nothing is attached by it.
        let (ipv6, own_ipv6) = (ipv6.unwrap_or_default(), own_ipv6.unwrap_or_default());
        match ipv4 {
            Some(ipv4) => Self::of_tables(&ipv4, &ipv6, &own_ipv6, table_size),
            None => Self::unknown(table_size),
        }
    }

    fn unknown(table_size: u32) -> Self {
        let attached = Intervals::of(vec![(0, u128::MAX)]);
        Self { attached, own: Intervals::default(), nobody: Intervals::default(), table_size }
    }

    /// From the texts of the tables.
    fn of_tables(fib_trie: &str, ipv6_route: &str, if_inet6: &str, table_size: u32) -> Self {
        let entries = parse_fib_trie(fib_trie);
        let all_ipv4 = Intervals::of(vec![network_of(Ipv4Addr::UNSPECIFIED.into(), 0)]);
        let ipv4 = attached(entries.iter().filter_map(Entry::route).collect());
        let ipv6 = attached(parse_ipv6_route(ipv6_route)).without(&all_ipv4);

        let one = |ip: Ipv4Addr| network_of(ip.into(), 32);
        let of_kind = |kind| entries.iter().filter(move |entry| entry.kind == kind && entry.bits == 32);
        let own = of_kind(Kind::Local).map(|entry| entry.address).filter(|ip| !ip.is_loopback()).map(one);
        let own_ipv6 = parse_if_inet6(if_inet6).filter(|own| !own.ip().is_loopback());
        let own = own.chain(own_ipv6.map(|own| (number_of(own), number_of(own))));
        let everybody = Intervals::of(of_kind(Kind::Broadcast).map(|entry| one(entry.address)).collect());
        // A route without a broadcast address is a part of a network that somebody routed by hand, not a network: its
        // first address may be a printer.
        let networks = entries.iter().filter(|entry| entry.kind == Kind::Attached && entry.bits < 31);
        let first = networks.map(|entry| network_of(entry.address.into(), entry.bits));
        let first = first.filter(|(_, last)| everybody.contains(*last)).map(|(first, _)| (first, first));
        Self {
            attached: Intervals::of(ipv4.all().iter().chain(ipv6.all()).copied().collect()),
            own: Intervals::of(own.collect()),
            nobody: Intervals::of(first.chain(everybody.all().iter().copied()).collect()),
            table_size,
        }
    }

    /// Whether the kernel reaches this address without a router.
    #[must_use]
    pub fn contains(&self, address: impl Into<ScopedIp>) -> bool {
        self.attached.contains(number_of(address))
    }

    /// Whether this is an address of the box itself (127.0.0.0/8 and ::1 aside).
    #[must_use]
    pub fn is_own(&self, address: impl Into<ScopedIp>) -> bool {
        self.own.contains(number_of(address))
    }

    /// Most addresses a second on attached networks, so that each of them is truly asked.
    #[must_use]
    pub fn ceiling_per_second(&self) -> u32 {
        (self.table_size / TABLE_SHARE).max(1)
    }

    /// What a sweep of `addresses` is made of: the attached ones, and then those behind routers. The box itself is left
    /// out, and so are addresses that name a whole attached network.
    #[must_use]
    pub fn parts(&self, addresses: &AddressSet, paces: Paces) -> Vec<Part> {
        let wanted = addresses.intervals().without(&self.own).without(&self.nobody);
        tracing::debug!(left_out = addresses.intervals().len() - wanted.len(), "own addresses and those of networks");
        let ceiling = Pace::per_second(self.ceiling_per_second());
        let on_link = slower(paces.on_link, ceiling.interval().unwrap_or_default());
        let attached = wanted.intersection(&self.attached);
        if on_link != paces.on_link && attached.len() > 0 {
            tracing::warn!(
                per_second = self.ceiling_per_second(),
                "attached networks are searched more slowly than was asked for: the kernel has {} places for neighbours \
                 (gc_thresh3) and would drop what is more without a word",
                self.table_size
            );
        }
        let parts = [(attached, on_link), (wanted.without(&self.attached), paces.routed)];
        let parts = parts.into_iter().filter(|(part, _)| part.len() > 0);
        parts.map(|(part, pace)| Part { addresses: AddressSet::of(part), pace }).collect()
    }
}

/// A whole table; `None` where it is not there, or longer than it can be on a box.
fn read_table(path: &str) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(TABLE_MAX_BYTES + 1).read_to_string(&mut text).ok()?;
    (text.len() as u64 <= TABLE_MAX_BYTES).then_some(text)
}

/// A route: where to, how many bits of it count, and whether that is attached.
struct Route {
    to: Interval,
    bits: u8,
    is_attached: bool,
}

/// What is attached, where the route with the most bits has the last word. Of equal ones, attached: the slower pace.
fn attached(mut routes: Vec<Route>) -> Intervals {
    routes.sort_by_key(|route| (route.bits, route.is_attached));
    routes.into_iter().fold(Intervals::default(), |attached, route| {
        let to = Intervals::of(vec![route.to]);
        if route.is_attached { attached.union(&to) } else { attached.without(&to) }
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Reached without a router.
    Attached,
    /// Reached by a router, or not at all.
    Elsewhere,
    /// This machine.
    Local,
    /// Everybody on a network.
    Broadcast,
}

struct Entry {
    address: Ipv4Addr,
    bits: u8,
    kind: Kind,
}

impl Entry {
    /// Own addresses are routes, too, and not attached; addresses of everybody are not asked at all.
    fn route(&self) -> Option<Route> {
        let route =
            |is_attached| Route { to: network_of(self.address.into(), self.bits), bits: self.bits, is_attached };
        (self.kind != Kind::Broadcast).then(|| route(self.kind == Kind::Attached))
    }
}

/// The tables `Main` and `Local` (others are for packets with marks). An address stands on a line of its own, and what it
/// is on those that follow: `|-- 10.0.0.0` and `/24 link UNICAST`. What cannot be read is passed over.
fn parse_fib_trie(text: &str) -> Vec<Entry> {
    let (mut is_ours, mut address) = (false, None);
    let mut entries = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["Main:" | "Local:"] => is_ours = true,
            [name] if name.ends_with(':') => is_ours = false,
            ["Id", _] => is_ours = false,
            ["|--", ip] => address = ip.parse::<Ipv4Addr>().ok(),
            [bits, scope, kind, ..] if is_ours => {
                let bits = bits.strip_prefix('/').and_then(|bits| bits.parse().ok()).filter(|bits| *bits <= 32);
                let (Some(address), Some(bits)) = (address, bits) else { continue };
                let kind = match (*scope, *kind) {
                    ("link", "UNICAST") => Kind::Attached,
                    (_, "LOCAL") => Kind::Local,
                    (_, "BROADCAST") => Kind::Broadcast,
                    _ => Kind::Elsewhere,
                };
                entries.push(Entry { address, bits, kind });
            }
            _ => {}
        }
    }
    entries
}

/// Flags of routes (`linux/route.h`, `linux/ipv6_route.h`): up; by a router; refused; own.
const UP: u32 = 0x1;
const NOT_ATTACHED: u32 = 0x2 | 0x200 | 0x8000_0000;

/// Columns: to, its bits, from, its bits, router, metric, references, uses, flags, interface; all in hexadecimal.
fn parse_ipv6_route(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [to, bits, _, _, router, _, _, _, flags, _] = columns.as_slice() else { return None };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let bits = u8::from_str_radix(bits, 16).ok().filter(|bits| *bits <= 128)?;
        let is_attached = flags & NOT_ATTACHED == 0 && parse_ipv6(router)?.is_unspecified();
        let to = network_of(parse_ipv6(to)?.into(), bits);
        // Every interface has this network, and the most exact route to it is not a router's anywhere.
        let to = if to == link_local_network() { used_link_local() } else { to };
        (flags & UP != 0).then_some(Route { to, bits, is_attached })
    };
    text.lines().filter_map(route).collect()
}

/// fe80::/64.
fn link_local_network() -> Interval {
    network_of(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 64)
}

/// The first two columns, in hexadecimal: the address and the number of its interface.
fn parse_if_inet6(text: &str) -> impl Iterator<Item = ScopedIp> {
    text.lines().filter_map(|line| {
        let mut columns = line.split_whitespace();
        let ip = parse_ipv6(columns.next()?)?;
        Some(ScopedIp::behind(ip.into(), u32::from_str_radix(columns.next()?, 16).ok()?))
    })
}

fn parse_ipv6(digits: &str) -> Option<Ipv6Addr> {
    (digits.len() == 32).then(|| u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from_bits)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::{DnsResolver, Fence, Ranges};
    use std::net::IpAddr;

    /// Of a box at 10.66.0.1/24 with a default route; 10.77.0.0/16 attached by hand, a /24 of it behind a router; and a
    /// VPN's table that is none of ours.
    const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.66.0.0/24 2 0 2
        |-- 10.66.0.0
           /24 link UNICAST
        |-- 10.66.0.1
           /32 host LOCAL
        |-- 10.66.0.255
           /32 link BROADCAST
     |-- 10.77.0.0
        /16 link UNICAST
     |-- 10.77.3.0
        /24 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
Local:
     |-- 10.66.0.1
        /32 host LOCAL
Id 51820:
     |-- 0.0.0.0
        /0 link UNICAST
";
    const IPV6_ROUTE: &str = "\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth0
fd000000000000000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000003 00000000 80200001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";
    const IF_INET6: &str = "\
fd000000000000000000000000000002 04 40 00 82     eth0
00000000000000000000000000000001 01 80 10 80       lo
";

    fn tables() -> OnLink {
        OnLink::of_tables(FIB_TRIE, IPV6_ROUTE, IF_INET6, 1_024)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn set(items: &[&str]) -> AddressSet {
        let fence = Fence::private_and_loopback().unwrap();
        Ranges::parse(items).unwrap().resolve(&fence, &DnsResolver).await.unwrap()
    }

    fn asked(part: &Part) -> Vec<String> {
        let mut all: Vec<ScopedIp> = part.addresses.iter_permuted().collect();
        all.sort_unstable();
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn attached_is_what_the_most_exact_route_says() {
        let on_link = tables();
        for attached in ["10.66.0.2", "10.77.0.0", "10.77.4.1", "fd00::9", "fe80::1"] {
            assert!(on_link.contains(ip(attached)), "{attached}");
        }
        for routed in ["10.67.0.1", "10.77.3.1", "192.168.1.1", "127.0.0.2", "fd01::1", "2001:db8::1"] {
            assert!(!on_link.contains(ip(routed)), "{routed}");
        }
        assert!(["10.66.0.1", "fd00::2"].iter().all(|own| on_link.is_own(ip(own))));
        assert!(["127.0.0.1", "::1", "10.66.0.2"].iter().all(|other| !on_link.is_own(ip(other))));
    }

    #[test]
    fn link_local_addresses_are_attached_behind_every_interface_and_own_behind_one() {
        let own = "fe800000000000000000000000000002 07 40 20 80     eth1\n";
        let on_link = OnLink::of_tables(FIB_TRIE, IPV6_ROUTE, own, 1_024);
        let behind = |zone| ScopedIp::behind(ip("fe80::2"), zone);
        assert!(on_link.contains(behind(3)) && on_link.contains(behind(7)));
        assert!(on_link.is_own(behind(7)) && !on_link.is_own(behind(3)));
    }

    #[test]
    fn without_ipv6_and_with_a_default_route_to_a_cable_the_families_do_not_mix() {
        let on_link = OnLink::of_tables(FIB_TRIE, "", "", 1_024);
        assert!(on_link.contains(ip("10.66.0.2")) && !on_link.contains(ip("fe80::1")));
        let default = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                       00000000000000000000000000000000 00000400 00000003 00000000 00000001 ppp0\n";
        let on_link = OnLink::of_tables(FIB_TRIE, default, "", 1_024);
        assert!(on_link.contains(ip("2001:db8::1")) && !on_link.contains(ip("192.168.1.1")));
    }

    #[tokio::test]
    async fn the_attached_come_first_and_slowly_without_ourselves_and_everybody() {
        // The last address of the network written as an interval, so that nobody took it out before.
        let addresses =
            set(&["10.66.0.0-10.66.0.3", "10.66.0.253-10.66.1.1", "10.77.0.0", "fd00::1-fd00::3", "127.0.0.1"]).await;
        let parts = tables().parts(&addresses, Paces::default());
        let [on_link, routed] = parts.as_slice() else { panic!("{parts:?}") };
        assert_eq!(
            asked(on_link),
            ["10.66.0.2", "10.66.0.3", "10.66.0.253", "10.66.0.254", "10.77.0.0", "fd00::1", "fd00::3"]
        );
        assert_eq!(asked(routed), ["10.66.1.0", "10.66.1.1", "127.0.0.1"]);
        assert_eq!(on_link.pace, Pace::per_second(64));
        assert_eq!(routed.pace, Pace::per_second(200));
        assert!(tables().parts(&set(&["10.66.0.1"]).await, Paces::default()).is_empty());
    }

    #[tokio::test]
    async fn attached_networks_are_never_asked_faster_than_the_kernel_can_bear() {
        let addresses = set(&["10.66.0.2", "10.67.0.2"]).await;
        let paces = |on_link: &OnLink, wanted| -> Vec<Pace> {
            on_link.parts(&addresses, Paces::wanted(wanted)).iter().map(|part| part.pace).collect()
        };
        let [slow, fast] = [256, 1_000].map(Pace::per_second);
        assert_eq!(paces(&tables(), Some(1_000)), [slow, fast]);
        assert_eq!(paces(&OnLink { table_size: 8_192, ..tables() }, Some(1_000)), [fast, fast]);
        assert_eq!(paces(&OnLink::unknown(1_024), Some(1_000)), [slow]);
        let spread = Paces::wanted(None).no_faster_than_one_every(Duration::from_secs(1));
        assert!(tables().parts(&addresses, spread).iter().all(|part| part.pace == Pace::per_second(1)));
    }

    #[test]
    fn this_machine_can_be_read() {
        let on_link = OnLink::read();
        assert!(!on_link.is_own(ip("127.0.0.1")));
        assert!(on_link.ceiling_per_second() > 0);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd(lines in proptest::collection::vec(
            "(Main:|Local:|Id 1:| \\|-- [0-9.]{1,15}| /[0-9]{1,3} (link|host) (UNICAST|LOCAL|BROADCAST)|[0-9a-f ]{0,90})", 0..20,
        )) {
            let text = lines.join("\n");
            let _ = OnLink::of_tables(&text, &text, &text, 0).ceiling_per_second();
        }
    }
}
