//! How the box is in its network: what is configured, read strictly from what was typed, and shown.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// Most DNS servers: the resolver asks no more (MAXNS of resolv.conf(5)).
const DNS_MAX: usize = 3;
/// VLAN ids (IEEE 802.1Q: 0 is none, 4095 is reserved).
const VLAN_IDS: std::ops::RangeInclusive<u16> = 1..=4094;

/// All that is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the address comes from.
    pub ipv4: Ipv4,
    /// Who is asked for names; empty: whoever DHCP says.
    pub dns: Vec<IpAddr>,
    /// The VLAN that the box tags its frames for.
    pub vlan: Option<u16>,
    /// Whether the box takes part in IPv6.
    pub ipv6: bool,
}

impl Default for Settings {
    /// DHCP, and IPv6 where there is any.
    fn default() -> Self {
        Self { ipv4: Ipv4::Dhcp, dns: Vec::new(), vlan: None, ipv6: true }
    }
}

/// Where the address of IPv4 comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ipv4 {
    /// From DHCP.
    Dhcp,
    /// From here.
    Static {
        /// The box's address.
        address: Ipv4Addr,
        /// Length of its network's prefix, in bits.
        prefix: u8,
        /// The way out.
        gateway: Ipv4Addr,
    },
}

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `network`
    Show,
    /// `keep`
    Keep,
    /// Everything else.
    Change(Change),
}

/// A change of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `network dhcp`
    Dhcp,
    /// `network static ADDRESS/LEN GATEWAY [DNS…]`
    Static {
        /// Address, prefix and gateway.
        ipv4: Ipv4,
        /// DNS servers; `None` leaves them as they are.
        dns: Option<Vec<IpAddr>>,
    },
    /// `network vlan ID|none`
    Vlan(Option<u16>),
    /// `network ipv6 on|off`
    Ipv6(bool),
    /// `network dns A B|auto`
    Dns(Vec<IpAddr>),
}

/// What is wrong with what was typed, and what to type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AskError(String);

/// All that can be typed.
const USAGE: &str = "write: network · network dhcp · network static ADDRESS/LEN GATEWAY [DNS…] · network vlan ID|none · \
                     network ipv6 on|off · network dns A [B]|auto · keep";

fn wrong<T>(text: impl Into<String>) -> Result<T, AskError> {
    Err(AskError(text.into()))
}

impl Ask {
    /// Reads the words of a line: `network …`, or `keep`.
    ///
    /// # Errors
    /// What is wrong, and what to type.
    pub fn parse(words: &[&str]) -> Result<Self, AskError> {
        match words {
            ["keep"] => Ok(Self::Keep),
            ["network"] => Ok(Self::Show),
            ["network", rest @ ..] => Change::parse(rest).map(Self::Change),
            _ => wrong(USAGE),
        }
    }
}

impl Change {
    fn parse(words: &[&str]) -> Result<Self, AskError> {
        match words {
            ["dhcp"] => Ok(Self::Dhcp),
            ["static", address, gateway, dns @ ..] => {
                let dns = if dns.is_empty() { None } else { Some(dns_servers(dns)?) };
                Ok(Self::Static { ipv4: static_ipv4(address, gateway)?, dns })
            }
            ["static", ..] => {
                wrong("write: network static ADDRESS/LEN GATEWAY [DNS…], as network static 10.0.0.7/24 10.0.0.1")
            }
            ["vlan", "none"] => Ok(Self::Vlan(None)),
            ["vlan", id] => match id.parse::<u16>() {
                Ok(id) if VLAN_IDS.contains(&id) => Ok(Self::Vlan(Some(id))),
                _ => wrong(format!("\"{id}\" is no VLAN: write a number from 1 to 4094, or none")),
            },
            ["ipv6", "on"] => Ok(Self::Ipv6(true)),
            ["ipv6", "off"] => Ok(Self::Ipv6(false)),
            ["dns", "auto"] => Ok(Self::Dns(Vec::new())),
            ["dns", servers @ ..] if !servers.is_empty() => dns_servers(servers).map(Self::Dns),
            _ => wrong(USAGE),
        }
    }

    /// The settings after this change.
    #[must_use]
    pub fn on(self, before: &Settings) -> Settings {
        let mut after = before.clone();
        match self {
            Self::Dhcp => after.ipv4 = Ipv4::Dhcp,
            Self::Static { ipv4, dns } => {
                after.ipv4 = ipv4;
                after.dns = dns.unwrap_or(after.dns);
            }
            Self::Vlan(id) => after.vlan = id,
            Self::Ipv6(is_on) => after.ipv6 = is_on,
            Self::Dns(servers) => after.dns = servers,
        }
        after
    }
}

fn dns_servers(words: &[&str]) -> Result<Vec<IpAddr>, AskError> {
    if words.len() > DNS_MAX {
        return wrong(format!("{} DNS servers: at most {DNS_MAX} are ever asked", words.len()));
    }
    let server = |word: &&str| match word.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => Ok(ip),
        _ => wrong(format!("\"{word}\" is no address of a DNS server: write one as 10.0.0.53 or fd00::53")),
    };
    words.iter().map(server).collect()
}

fn static_ipv4(address: &str, gateway: &str) -> Result<Ipv4, AskError> {
    let Some((ip, length)) = address.split_once('/') else {
        return wrong(format!("\"{address}\" has no prefix length: write it as 10.0.0.7/24"));
    };
    let ip = one_of_ours("address", ip)?;
    let prefix = match length.parse::<u8>() {
        Ok(prefix) if (1..=31).contains(&prefix) && length.len() <= 2 => prefix,
        _ => return wrong(format!("\"/{length}\" is no prefix length: write 1 to 31; 24 is the mask 255.255.255.0")),
    };
    let gateway = one_of_ours("gateway", gateway)?;
    let mask = u32::MAX << (32 - u32::from(prefix));
    let (host, way) = (u32::from(ip), u32::from(gateway));
    if host & mask != way & mask {
        let network = Ipv4Addr::from(host & mask);
        return wrong(format!("the gateway {gateway} does not lie in the network {network}/{prefix} of the box"));
    }
    if host == way {
        return wrong(format!("{ip} cannot be both the box and its gateway"));
    }
    // RFC 3021: a /31 has two hosts and nothing else.
    for (what, each) in [("address", host), ("gateway", way)] {
        if prefix < 31 && (each & !mask == 0 || each | mask == u32::MAX) {
            let each = Ipv4Addr::from(each);
            return wrong(format!("{each} is the network's own or its broadcast address: it cannot be the {what}"));
        }
    }
    Ok(Ipv4::Static { address: ip, prefix, gateway })
}

/// An address that a machine of a network may have.
fn one_of_ours(what: &str, text: &str) -> Result<Ipv4Addr, AskError> {
    let Ok(ip) = text.parse::<Ipv4Addr>() else {
        return wrong(format!("\"{text}\" is no IPv4 address: write the {what} as 10.0.0.7"));
    };
    let is_special =
        ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_link_local() || ip.octets()[0] >= 240;
    if is_special || ip.octets()[0] == 0 {
        return wrong(format!("{ip} cannot be the {what} of a box: it has a meaning of its own"));
    }
    Ok(ip)
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ipv4 {
            Ipv4::Dhcp => f.write_str("ipv4 dhcp")?,
            Ipv4::Static { address, prefix, gateway } => write!(f, "ipv4 static {address}/{prefix} gateway {gateway}")?,
        }
        let dns: Vec<String> = self.dns.iter().map(ToString::to_string).collect();
        write!(f, ", dns {}", if dns.is_empty() { "auto".to_owned() } else { dns.join(" ") })?;
        match self.vlan {
            None => f.write_str(", vlan none")?,
            Some(id) => write!(f, ", vlan {id}")?,
        }
        write!(f, ", ipv6 {}", if self.ipv6 { "on" } else { "off" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Ask, AskError> {
        Ask::parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn each_command_changes_one_thing_and_leaves_the_others() {
        let mut settings = Settings::default();
        for (line, shown) in [
            ("network vlan 7", "ipv4 dhcp, dns auto, vlan 7, ipv6 on"),
            ("network ipv6 off", "ipv4 dhcp, dns auto, vlan 7, ipv6 off"),
            ("network dns 10.0.0.53 fd00::53", "ipv4 dhcp, dns 10.0.0.53 fd00::53, vlan 7, ipv6 off"),
            (
                "network static 10.0.0.7/24 10.0.0.1",
                "ipv4 static 10.0.0.7/24 gateway 10.0.0.1, dns 10.0.0.53 fd00::53, vlan 7, ipv6 off",
            ),
            (
                "network static 10.0.0.8/31 10.0.0.9 10.0.0.1",
                "ipv4 static 10.0.0.8/31 gateway 10.0.0.9, dns 10.0.0.1, vlan 7, ipv6 off",
            ),
            ("network dns auto", "ipv4 static 10.0.0.8/31 gateway 10.0.0.9, dns auto, vlan 7, ipv6 off"),
            ("network vlan none", "ipv4 static 10.0.0.8/31 gateway 10.0.0.9, dns auto, vlan none, ipv6 off"),
            ("network dhcp", "ipv4 dhcp, dns auto, vlan none, ipv6 off"),
            ("network ipv6 on", "ipv4 dhcp, dns auto, vlan none, ipv6 on"),
        ] {
            let Ok(Ask::Change(change)) = parse(line) else { panic!("{line}") };
            settings = change.on(&settings);
            assert_eq!(settings.to_string(), shown, "{line}");
            let written = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<Settings>(&written).unwrap(), settings);
        }
        assert_eq!((parse("network"), parse("keep")), (Ok(Ask::Show), Ok(Ask::Keep)));
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_write() {
        for (line, words) in [
            ("network static 10.0.0.7 10.0.0.1", "no prefix length: write it as"),
            ("network static 10.0.0.7/33 10.0.0.1", "is no prefix length"),
            ("network static 10.0.0.7/0 10.0.0.1", "is no prefix length"),
            ("network static 10.0.0.7/024 10.0.0.1", "is no prefix length"),
            ("network static 10.0.0.7/255.255.255.0 10.0.0.1", "is no prefix length"),
            ("network static 10.0.0.7/24 10.0.1.1", "does not lie in the network 10.0.0.0/24"),
            ("network static 10.0.0.7/24 10.0.0.7", "both the box and its gateway"),
            ("network static 10.0.0.0/24 10.0.0.1", "network's own or its broadcast"),
            ("network static 10.0.0.7/24 10.0.0.255", "cannot be the gateway"),
            ("network static 127.0.0.1/8 127.0.0.2", "a meaning of its own"),
            ("network static 224.0.0.1/8 224.0.0.2", "a meaning of its own"),
            ("network static 10.0.0.07/24 10.0.0.1", "no IPv4 address"),
            ("network static fd00::7/64 fd00::1", "no IPv4 address"),
            ("network static 10.0.0.7/24 10.0.0.1 a", "no address of a DNS server"),
            ("network static 10.0.0.7/24", "write: network static"),
            ("network dns 1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4", "at most 3"),
            ("network dns 0.0.0.0", "no address of a DNS server"),
            ("network dns", "write: network"),
            ("network vlan 0", "1 to 4094"),
            ("network vlan 4095", "1 to 4094"),
            ("network vlan 65537", "1 to 4094"),
            ("network vlan x", "1 to 4094"),
            ("network ipv6 maybe", "write: network"),
            ("network dhcp now", "write: network"),
            ("keep it", "write: network"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
