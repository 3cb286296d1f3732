//! An address as it is written, asked and remembered: IPv4, IPv6, or a link-local IPv6 address together with the interface
//! behind which it lives (RFC 4007 §11: `fe80::1%eth0`). The same link-local address may be another device behind another
//! interface, so the interface is a part of who somebody is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use crate::sys::{interface_index, interface_name, interface_names};

/// An address, and for a link-local IPv6 address the kernel's number of its interface. IPv4 in IPv6 clothes is IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopedIp {
    ip: IpAddr,
    /// 0 for every address that is not link-local.
    zone: u32,
}

/// Why a text is no address that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No address at all.
    #[error("\"{0}\" is not an IP address: write 192.168.1.20, fd00::20 or fe80::20%eth0")]
    Malformed(String),
    /// Link-local, and nobody knows on which of the networks.
    #[error(
        "\"{address}\" is a link-local address, which may be another device behind each interface: write the interface \
         behind it, as {address}%{}",
        example_interface()
    )]
    NoInterface {
        /// The address.
        address: String,
    },
    /// An interface behind an address that has none.
    #[error("\"{0}\": only link-local addresses (fe80::…) take an interface: leave out what stands behind the %")]
    NotLinkLocal(String),
    /// The interface is not there.
    #[error("\"{address}\": this machine has no network interface \"{interface}\"; it has {}: write one of these behind the %", interface_names().join(", "))]
    UnknownInterface {
        /// As it was written.
        address: String,
        /// What stands behind the %.
        interface: String,
    },
}

/// An interface that is there, for a sentence.
fn example_interface() -> String {
    interface_names().into_iter().find(|name| name != "lo").unwrap_or_else(|| "eth0".to_owned())
}

/// fe80::/10 (RFC 4291 §2.5.6). Only fe80::/64 of it is ever used.
pub(super) fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Bits 10 to 63 of a link-local address are zero (RFC 4291 §2.5.6).
fn is_well_formed_link_local(ip: Ipv6Addr) -> bool {
    ip.segments().starts_with(&[0xfe80, 0, 0, 0])
}

impl ScopedIp {
    /// The address alone.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// The kernel's number of the interface; 0 where the address has none.
    #[must_use]
    pub fn zone(self) -> u32 {
        self.zone
    }

    /// With a port.
    #[must_use]
    pub fn with_port(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(v4) => SocketAddr::from((v4, port)),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, self.zone).into(),
        }
    }

    /// An address behind this interface. The zone of anything but a link-local address means nothing and is dropped.
    pub(super) fn behind(ip: IpAddr, zone: u32) -> Self {
        let ip = ip.to_canonical();
        Self { ip, zone: if is_link_local(ip) { zone } else { 0 } }
    }

    /// Whether something is missing: a link-local address without an interface cannot be asked.
    pub(super) fn lacks_interface(self) -> bool {
        is_link_local(self.ip) && self.zone == 0
    }
}

/// An address as it was written: whether there is such an interface, only the box itself can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written<'a> {
    pub(super) ip: IpAddr,
    /// What stands behind the %.
    pub(super) interface: Option<&'a str>,
}

/// Longest name of an interface (IFNAMSIZ without the end).
const INTERFACE_MAX_BYTES: usize = 15;

impl<'a> Written<'a> {
    /// Reads an address with or without an interface; a link-local one without is left as it is.
    pub(super) fn parse(text: &'a str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.to_owned());
        let Some((address, interface)) = text.split_once('%') else {
            let ip: IpAddr = text.parse().map_err(|_| malformed())?;
            return Ok(Self { ip, interface: None });
        };
        let ip: Ipv6Addr = address.parse().map_err(|_| malformed())?;
        let is_in_names = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%');
        if !(1..=INTERFACE_MAX_BYTES).contains(&interface.len()) || !interface.bytes().all(is_in_names) {
            return Err(malformed());
        }
        if !is_well_formed_link_local(ip) {
            return Err(AddressError::NotLinkLocal(text.to_owned()));
        }
        Ok(Self { ip: ip.into(), interface: Some(interface) })
    }
}

/// The kernel's number of an interface, by its name or by that number (RFC 4007 §11.2). `address` is for the error.
pub(super) fn zone_of(interface: &str, address: &str) -> Result<u32, AddressError> {
    let by_number = || interface.parse().ok().filter(|index| interface_name(*index).is_some());
    interface_index(interface)
        .or_else(by_number)
        .ok_or_else(|| AddressError::UnknownInterface { address: address.to_owned(), interface: interface.to_owned() })
}

impl From<IpAddr> for ScopedIp {
    fn from(ip: IpAddr) -> Self {
        Self::behind(ip, 0)
    }
}

impl From<SocketAddr> for ScopedIp {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::from(IpAddr::from(*v4.ip())),
            SocketAddr::V6(v6) => Self::behind((*v6.ip()).into(), v6.scope_id()),
        }
    }
}

impl FromStr for ScopedIp {
    type Err = AddressError;

    /// `192.168.1.20`, `fd00::20`, `fe80::20%eth0`; instead of the interface's name its number.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let written = Written::parse(text)?;
        let address = Self::behind(written.ip, written.interface.map_or(Ok(0), |it| zone_of(it, text))?);
        if address.lacks_interface() {
            return Err(AddressError::NoInterface { address: text.to_owned() });
        }
        Ok(address)
    }
}

impl fmt::Display for ScopedIp {
    /// With the interface's name, which outlives a restart; with its number where it is gone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.zone {
            0 => write!(f, "{}", self.ip),
            zone => write!(f, "{}%{}", self.ip, interface_name(zone).unwrap_or_else(|| zone.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ScopedIp, AddressError> {
        text.parse()
    }

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in ["192.168.1.20", "fd00::20", "::1", "fe80::20%lo"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("::ffff:10.0.0.1").unwrap().to_string(), "10.0.0.1");
        let lo = interface_index("lo").unwrap();
        assert_eq!(parse(&format!("fe80::20%{lo}")), parse("fe80::20%lo"));
        let gone = ScopedIp::from(SocketAddr::V6(SocketAddrV6::new("fe80::20".parse().unwrap(), 161, 7, 4_000_000)));
        assert_eq!(gone.to_string(), "fe80::20%4000000");
    }

    #[test]
    fn the_interface_goes_along_and_only_where_it_means_something() {
        let lo = interface_index("lo").unwrap();
        let SocketAddr::V6(v6) = parse("fe80::20%lo").unwrap().with_port(161) else { panic!("IPv6") };
        assert_eq!((v6.scope_id(), v6.port()), (lo, 161));
        assert_eq!(ScopedIp::from(SocketAddr::V6(v6)), parse("fe80::20%lo").unwrap());
        let global = SocketAddr::V6(SocketAddrV6::new("fd00::1".parse().unwrap(), 161, 0, lo));
        assert_eq!(ScopedIp::from(global).zone(), 0);
    }

    #[test]
    fn what_is_wrong_says_what_to_write() {
        for (text, remedy) in [
            ("printer", "write 192.168.1.20"),
            ("fe80::1", "write the interface behind it, as fe80::1%"),
            ("fe80::1%nosuch0", "no network interface \"nosuch0\"; it has "),
            ("fe80::1%", "not an IP address"),
            ("fe80::1%a name", "not an IP address"),
            ("fd00::1%lo", "leave out what stands behind the %"),
            // Nobody has it: an interface number could hide in it.
            ("fe80:0:0:2::1%lo", "only link-local addresses"),
            ("10.0.0.1%lo", "not an IP address"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains(remedy), "{text}: {error}");
        }
        assert!(parse("fe80::1%nosuch0").unwrap_err().to_string().contains("lo"), "it lists what is there");
    }
}
