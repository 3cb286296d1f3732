//! Sets of addresses as intervals. IPv4 addresses are kept in their IPv6-mapped form (RFC 4291 §2.5.5.2), so that one set
//! holds both and an IPv4 address in IPv6 clothes is the same address. The interface of a link-local address is kept in
//! bits 32 to 63 of its number, which are zero in every such address (RFC 4291 §2.5.6); so addresses behind one interface
//! lie together, and those behind another elsewhere.

use std::net::{IpAddr, Ipv6Addr};

use super::address::{ScopedIp, is_link_local};

/// Numbers of addresses, from and to, both included.
pub(super) type Interval = (u128, u128);

/// Where in the number of a link-local address its interface stands.
const ZONE_SHIFT: u32 = 64;

pub(super) fn number_of(address: impl Into<ScopedIp>) -> u128 {
    let address: ScopedIp = address.into();
    match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() | u128::from(address.zone()) << ZONE_SHIFT,
    }
}

pub(super) fn address_of(number: u128) -> ScopedIp {
    let ip = IpAddr::V6(Ipv6Addr::from_bits(number));
    if !is_link_local(ip) {
        return ip.into();
    }
    let zone = u128::from(u32::MAX) << ZONE_SHIFT;
    // Shifted down, no more than 32 bits are left.
    let index = u32::try_from((number & zone) >> ZONE_SHIFT).unwrap_or(0);
    ScopedIp::behind(IpAddr::V6(Ipv6Addr::from_bits(number & !zone)), index)
}

/// fe80::/10, behind every interface.
pub(super) fn link_local() -> Interval {
    network_of(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10)
}

/// fe80::/64, the part of it that is used, behind every interface.
pub(super) fn used_link_local() -> Interval {
    network_of(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 32)
}

/// The network of this address, host bits or not, with this many bits of the address's own family.
pub(super) fn network_of(ip: IpAddr, bits: u8) -> Interval {
    let most: u8 = if ip.is_ipv4() { 32 } else { 128 };
    let host_bits = u32::from(most.saturating_sub(bits));
    let mask = 1u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1);
    let first = number_of(ip) & !mask;
    (first, first | mask)
}

/// The same link-local addresses behind this interface.
pub(super) fn behind((first, last): Interval, zone: u32) -> Interval {
    let zone = u128::from(zone) << ZONE_SHIFT;
    (first | zone, last | zone)
}

/// Intervals in order, none touching another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Intervals(Vec<Interval>);

impl Intervals {
    pub(super) fn of(mut intervals: Vec<Interval>) -> Self {
        intervals.retain(|(first, last)| first <= last);
        intervals.sort_unstable();
        let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    pub(super) fn all(&self) -> &[Interval] {
        &self.0
    }

    pub(super) fn contains(&self, number: u128) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self::of([self.0.as_slice(), other.0.as_slice()].concat())
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|a| other.0.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))));
        Self::of(pairs.collect())
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        let mut rest = self.0.clone();
        for &(first, last) in &other.0 {
            let mut next = Vec::with_capacity(rest.len() + 1);
            for (from, to) in rest {
                if last < from || to < first {
                    next.push((from, to));
                    continue;
                }
                if from < first {
                    next.push((from, first - 1));
                }
                if last < to {
                    next.push((last + 1, to));
                }
            }
            rest = next;
        }
        Self(rest)
    }

    /// How many addresses, as far as a u128 can say.
    pub(super) fn len(&self) -> u128 {
        self.0.iter().fold(0, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small() -> impl Strategy<Value = Vec<Interval>> {
        proptest::collection::vec((0u128..60, 0u128..60), 0..6)
    }

    proptest! {
        #[test]
        fn sets_do_what_sets_do(a in small(), b in small()) {
            let (a, b) = (Intervals::of(a), Intervals::of(b));
            let (both, rest, all) = (a.intersection(&b), a.without(&b), a.union(&b));
            let mut count = 0;
            for n in 0..61 {
                prop_assert_eq!(both.contains(n), a.contains(n) && b.contains(n));
                prop_assert_eq!(all.contains(n), a.contains(n) || b.contains(n));
                prop_assert_eq!(rest.contains(n), a.contains(n) && !b.contains(n));
                count += u128::from(a.contains(n));
            }
            prop_assert_eq!(a.len(), count);
        }
    }
}
