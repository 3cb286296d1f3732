//! What the network says of those who cannot be reached: ICMP destination unreachable (RFC 792, RFC 1812 §5.2.7.1;
//! RFC 4443 §3.1). A search learns from it whom not to ask again, and leaves a network alone to which a router lets it not.
//!
//! Nobody signs such a message, so it never ends a request: it only spares datagrams that would most likely be lost.

use super::limits::{CLOSED_AFTER, MAX_CLOSED_NETWORKS, MAX_UNREACHABLE};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why somebody could not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Nobody is there, or nobody listens at that port.
    Alone,
    /// There is no way to the network, or a firewall forbids it.
    Network,
}

impl Reason {
    /// Of a message of ICMP with this type and code; `None` for those that say nothing of whom to ask.
    pub(super) fn of_icmp(kind: u8, code: u8) -> Option<Self> {
        match (kind, code) {
            // Net unreachable, unknown, prohibited, not for this type of service; communication prohibited by a filter.
            (3, 0 | 6 | 9 | 11 | 13) => Some(Self::Network),
            // Host or port unreachable, unknown, prohibited, not for this type of service.
            (3, 1 | 3 | 7 | 10 | 12) => Some(Self::Alone),
            _ => None,
        }
    }

    /// The same of ICMPv6.
    pub(super) fn of_icmpv6(kind: u8, code: u8) -> Option<Self> {
        match (kind, code) {
            // No route; prohibited; source address failed policy; rejected route.
            (1, 0 | 1 | 5 | 6) => Some(Self::Network),
            // Address or port unreachable.
            (1, 3 | 4) => Some(Self::Alone),
            _ => None,
        }
    }
}

/// Who could not be reached in a search. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Unreachable {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    alone: HashSet<SocketAddr>,
    /// How many addresses of a network were said to lie where no datagram of ours may go.
    networks: HashMap<Network, u32>,
}

/// A /24, or a /64 behind an interface: what routers and firewalls mostly tell apart.
type Network = (u64, u32);

fn network_of(address: SocketAddr) -> Network {
    match address {
        SocketAddr::V4(v4) => ((v4.ip().to_bits() >> 8).into(), 0),
        // Upper half; the lower one is the host's. Global prefixes begin far above all of IPv4's.
        SocketAddr::V6(v6) => (u64::try_from(v6.ip().to_bits() >> 64).unwrap_or(u64::MAX), v6.scope_id()),
    }
}

impl Unreachable {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Sets are whole whatever happened to their holder.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was said of `target`, by `router` if that is known.
    pub(super) fn note(&self, target: SocketAddr, reason: Reason, router: Option<IpAddr>) {
        let mut seen = self.seen();
        if seen.alone.len() >= MAX_UNREACHABLE || !seen.alone.insert(target) || reason == Reason::Alone {
            return;
        }
        let is_known = seen.networks.contains_key(&network_of(target));
        if !is_known && seen.networks.len() >= MAX_CLOSED_NETWORKS {
            return;
        }
        let is_first = !seen.networks.values().any(|count| *count >= CLOSED_AFTER);
        let count = seen.networks.entry(network_of(target)).or_default();
        *count += 1;
        if *count != CLOSED_AFTER {
            return;
        }
        let router = router.map_or_else(|| "a router".to_owned(), |ip| ip.to_string());
        // A /16 has 256 of them: one is enough to know where to look.
        if is_first {
            tracing::warn!(
                "{router} lets nothing through to {} and its neighbours: they are left out of this search; allow this box \
                 in the router or firewall, or take them out of the ranges",
                target.ip()
            );
        } else {
            tracing::info!(%router, address = %target.ip(), "a network that is closed to this box is left out");
        }
    }

    /// Whether it is of no use to ask this address again.
    #[must_use]
    pub fn is_known(&self, target: SocketAddr) -> bool {
        self.seen().alone.contains(&target)
    }

    /// Whether a router lets nothing through to the network of this address.
    #[must_use]
    pub fn is_closed(&self, target: SocketAddr) -> bool {
        self.seen().networks.get(&network_of(target)).is_some_and(|count| *count >= CLOSED_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_is_closed_when_several_of_its_addresses_are_and_no_other() {
        let unreachable = Unreachable::default();
        for target in ["10.0.0.1:161", "10.0.0.1:161", "[fd00::1]:161"] {
            unreachable.note(at(target), Reason::Network, None);
            assert!(!unreachable.is_closed(at("10.0.0.9:161")), "{target}");
        }
        unreachable.note(at("10.0.0.3:161"), Reason::Network, Some(at("10.9.9.9:0").ip()));
        assert!(unreachable.is_closed(at("10.0.0.9:161")) && unreachable.is_known(at("10.0.0.3:161")));
        for other in ["10.0.1.9:161", "[fd00::9]:161"] {
            assert!(!unreachable.is_closed(at(other)) && !unreachable.is_known(at(other)), "{other}");
        }
    }

    #[test]
    fn hosts_that_are_not_there_close_no_network() {
        let unreachable = Unreachable::default();
        for last in 1..100 {
            unreachable.note(SocketAddr::from(([10, 0, 0, last], 161)), Reason::Alone, None);
        }
        assert!(unreachable.is_known(at("10.0.0.7:161")) && !unreachable.is_closed(at("10.0.0.200:161")));
    }

    #[test]
    fn the_memory_is_bounded() {
        let unreachable = Unreachable::default();
        for number in 0..u32::try_from(MAX_UNREACHABLE).unwrap() + 1_000 {
            let target = SocketAddr::from((std::net::Ipv4Addr::from(number), 161));
            unreachable.note(target, Reason::Network, None);
        }
        let seen = unreachable.seen();
        assert_eq!(seen.alone.len(), MAX_UNREACHABLE);
        assert!(seen.networks.len() <= MAX_CLOSED_NETWORKS);
    }

    #[test]
    fn a_filters_word_is_told_from_a_hosts() {
        assert_eq!([1, 3].map(|code| Reason::of_icmp(3, code)), [Some(Reason::Alone); 2]);
        assert_eq!([0, 9, 13].map(|code| Reason::of_icmp(3, code)), [Some(Reason::Network); 3]);
        assert_eq!([(3, 4), (11, 0), (8, 0)].map(|(kind, code)| Reason::of_icmp(kind, code)), [None; 3]);
        assert_eq!([3, 4].map(|code| Reason::of_icmpv6(1, code)), [Some(Reason::Alone); 2]);
        assert_eq!([0, 1, 6].map(|code| Reason::of_icmpv6(1, code)), [Some(Reason::Network); 3]);
        assert_eq!([(2, 0), (3, 0)].map(|(kind, code)| Reason::of_icmpv6(kind, code)), [None; 2]);
    }
}
