//! The fence: what the box may ask at all. It is set on the box; the cloud can narrow it by its ranges and never widen it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ScopedIp;
use super::intervals::{Interval, Intervals, link_local, number_of};
use super::ranges::{RangeError, parse_span};

/// Private IPv4 addresses (RFC 1918) and unique local IPv6 ones (RFC 4193).
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
/// This machine's own addresses.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    allowed: Intervals,
    items: Vec<String>,
}

impl Default for Fence {
    /// Private addresses.
    fn default() -> Self {
        // The list above is parsed by a test; a fence that allows nothing is the safe reading of one that cannot be.
        Self::parse(&PRIVATE).unwrap_or(Self { allowed: Intervals::default(), items: Vec::new() })
    }
}

impl Fence {
    /// Reads a fence: the same forms as ranges, without names and exclusions.
    ///
    /// Never allowed: 0.0.0.0/8, ::, multicast, broadcast. This machine's own addresses and link-local ones are allowed
    /// only by an item that lies wholly within them, so that a wide fence does not let them in by the way. `fe80::/10`
    /// allows link-local addresses behind every interface, `fe80::%eth0/64` those behind one.
    ///
    /// # Errors
    /// Names the item that cannot be read, or whose interface this machine does not have.
    pub fn parse<T: AsRef<str>>(items: &[T]) -> Result<Self, RangeError> {
        let mut allowed = Vec::new();
        for item in items {
            let item = item.as_ref().trim();
            let span = parse_span(item)?.ok_or_else(|| RangeError::NameInFence(item.to_owned()))?;
            let interval = span.interval()?;
            let mut part = Intervals::of(vec![interval]).without(&Intervals::of(never()));
            for special in by_name_only() {
                if !(special.0 <= interval.0 && interval.1 <= special.1) {
                    part = part.without(&Intervals::of(vec![special]));
                }
            }
            allowed.extend_from_slice(part.all());
        }
        let items = items.iter().map(|item| item.as_ref().trim().to_owned()).collect();
        Ok(Self { allowed: Intervals::of(allowed), items })
    }

    /// Private addresses and this machine's own: for people at a command line.
    ///
    /// # Errors
    /// Never for the lists in this file.
    pub fn private_and_loopback() -> Result<Self, RangeError> {
        Self::parse(&[PRIVATE.as_slice(), LOOPBACK.as_slice()].concat())
    }

    /// Whether this address may be asked.
    #[must_use]
    pub fn allows(&self, address: impl Into<ScopedIp>) -> bool {
        self.allowed.contains(number_of(address))
    }

    /// As it was written.
    #[must_use]
    pub fn items(&self) -> Vec<String> {
        self.items.clone()
    }

    pub(super) fn intervals(&self) -> &Intervals {
        &self.allowed
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.items.join(", "))
    }
}

fn between(first: IpAddr, last: IpAddr) -> Interval {
    (number_of(first), number_of(last))
}

fn never() -> Vec<Interval> {
    vec![
        between(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(0, 255, 255, 255).into()),
        between(Ipv4Addr::new(224, 0, 0, 0).into(), Ipv4Addr::new(239, 255, 255, 255).into()),
        between(Ipv4Addr::BROADCAST.into(), Ipv4Addr::BROADCAST.into()),
        between(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()),
        between(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), Ipv6Addr::from_bits(u128::MAX).into()),
    ]
}

/// Loopback and link-local.
fn by_name_only() -> [Interval; 4] {
    [
        between(Ipv4Addr::new(127, 0, 0, 0).into(), Ipv4Addr::new(127, 255, 255, 255).into()),
        between(Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()),
        between(Ipv4Addr::new(169, 254, 0, 0).into(), Ipv4Addr::new(169, 254, 255, 255).into()),
        link_local(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn private_addresses_are_allowed_and_nothing_else() {
        let fence = Fence::default();
        for inside in ["10.0.0.1", "172.31.255.254", "192.168.1.1", "fd00::1", "::ffff:10.0.0.1"] {
            assert!(fence.allows(ip(inside)), "{inside}");
        }
        for outside in [
            "8.8.8.8",
            "172.32.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!fence.allows(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn a_wide_fence_does_not_let_this_machine_in_by_the_way() {
        let wide = Fence::parse(&["0.0.0.0/0", "::/0"]).unwrap();
        assert!(wide.allows(ip("8.8.8.8")));
        for special in
            ["127.0.0.1", "169.254.1.1", "0.0.0.0", "255.255.255.255", "239.1.1.1", "::1", "fe80::1", "ff02::1"]
        {
            assert!(!wide.allows(ip(special)), "{special}");
        }
        assert!(Fence::parse(&["127.77.0.0/24"]).unwrap().allows(ip("127.77.0.9")));
    }

    #[test]
    fn link_local_addresses_are_allowed_behind_the_interfaces_that_were_meant() {
        let behind = |zone| ScopedIp::behind(ip("fe80::1"), zone);
        let lo = crate::sys::interface_index("lo").unwrap();
        let all = Fence::parse(&["fe80::/10"]).unwrap();
        assert!(all.allows(behind(lo)) && all.allows(behind(lo + 1)) && !all.allows(ip("fd00::1")));
        let all = Fence::parse(&["fe80::/64"]).unwrap();
        assert!(all.allows(behind(lo)) && all.allows(behind(lo + 1)));
        for one in ["fe80::%lo/64", "fe80::1%lo", "fe80::1%lo-fe80::9%lo"] {
            let fence = Fence::parse(&[one]).unwrap();
            assert!(fence.allows(behind(lo)) && !fence.allows(behind(lo + 1)) && !fence.allows(behind(0)), "{one}");
        }
        let wide = Fence::parse(&["::/0"]).unwrap();
        assert!(!wide.allows(behind(lo)) && !wide.allows(behind(u32::MAX)));
    }

    #[test]
    fn names_have_no_place_in_a_fence() {
        assert!(matches!(Fence::parse(&["printer.example"]), Err(RangeError::NameInFence(_))));
    }
}
