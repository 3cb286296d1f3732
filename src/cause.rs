//! Why something is not as it should be: the words, meanings and remedies of the contract's [`Cause`], the same on the LED,
//! the console, the portal and in alarms.
//!
//! What this room is for: one table. It knows nobody but the contract; whoever has a fault to tell uses it.

use std::fmt;

pub use crate::proto::v1::Cause;

/// What there is to say about a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The word: stable, for machines and for talking over the telephone.
    pub word: &'static str,
    /// What it means, one sentence.
    pub means: &'static str,
    /// What to do about it, one sentence.
    pub remedy: &'static str,
    /// The state that the LED shows for it (the words of the LED table).
    pub led: &'static str,
}

/// A cause, and the words of whatever failed, where there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Which.
    pub cause: Cause,
    /// Who and what, for a person: an issuer's name, a proxy's answer. May be empty.
    pub detail: String,
}

/// Longest detail that is sent or shown, in characters.
pub const DETAIL_MAX_CHARS: usize = 256;

impl Trouble {
    /// A cause with the words of whatever failed; control characters are escaped, and it is cut to [`DETAIL_MAX_CHARS`].
    #[must_use]
    pub fn new(cause: Cause, detail: &str) -> Self {
        let clean = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
        Self { cause, detail: detail.chars().take(DETAIL_MAX_CHARS).map(clean).collect() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = explain(self.cause).word;
        if self.detail.is_empty() { f.write_str(word) } else { write!(f, "{word}: {}", self.detail) }
    }
}

/// The cause that this number of the contract stands for; `Unspecified` for one that this program does not know yet.
#[must_use]
pub fn from_number(number: i32) -> Cause {
    Cause::try_from(number).unwrap_or(Cause::Unspecified)
}

/// The cause with this word.
#[must_use]
pub fn from_word(word: &str) -> Option<Cause> {
    all().find(|cause| explain(*cause).word == word)
}

/// Every cause that means something.
pub fn all() -> impl Iterator<Item = Cause> {
    (1..=LAST).filter_map(|number| Cause::try_from(number).ok())
}

/// The highest number in use.
const LAST: i32 = Cause::OutsideFence as i32;

/// What there is to say about a cause.
#[must_use]
pub const fn explain(cause: Cause) -> Explanation {
    let (word, led, means, remedy) = match cause {
        Cause::Unspecified => ("unknown", "fault", "It is not known what is wrong.", "Look at the log of the box."),
        Cause::NeverSeen => (
            "never-seen",
            "starting",
            "The box has never been heard of.",
            "Plug it in; let it out to this cloud's name on TCP port 443; ask its console for a test.",
        ),
        Cause::BoxSilent => (
            "box-silent",
            "no-network",
            "The box is silent and has not said why: no power, or no network.",
            "Look whether its LED is lit; then at cable, switch port and Internet connection.",
        ),
        Cause::NoLink => ("no-link", "no-network", "No cable, or nothing at its other end.", "Plug the cable in."),
        Cause::NoAddress => (
            "no-address",
            "no-network",
            "DHCP gave no address, and none is configured.",
            "Let DHCP give the box one, or set one at the console.",
        ),
        Cause::Dns => (
            "dns",
            "no-cloud",
            "The name of the cloud cannot be resolved.",
            "Check the DNS server of this network, or set another one at the console.",
        ),
        Cause::Tcp => (
            "tcp",
            "no-cloud",
            "No TCP connection comes about: refused, unreachable, or dropped on the way.",
            "Allow this box to open TCP port 443 to the cloud's name; behind a proxy, configure it.",
        ),
        Cause::Timeout => (
            "timeout",
            "no-cloud",
            "There was a connection, and then no answer in time.",
            "Look for a firewall that lets connections through and then drops their packets.",
        ),
        Cause::Proxy407 => (
            "proxy-407",
            "no-cloud",
            "The proxy wants a user and a password, or other ones.",
            "Set the proxy's user and password (basic), or let the cloud's name pass without.",
        ),
        Cause::Proxy => (
            "proxy",
            "no-cloud",
            "The proxy does not open the way to the cloud.",
            "Allow CONNECT to the cloud's name on port 443 in the proxy; check the proxy's address.",
        ),
        Cause::CaptivePortal => (
            "captive-portal",
            "no-cloud",
            "A log-in page answers in the place of the cloud.",
            "Let this box through without log-in (by its MAC address), or use another network.",
        ),
        Cause::TlsInspected => (
            "tls-inspected",
            "clock/tls",
            "Somebody on the way reads along: the certificate shown is of an authority that is not the cloud's.",
            "Exempt the cloud's name from TLS inspection.",
        ),
        Cause::TlsExpired => (
            "tls-expired",
            "clock/tls",
            "The certificate of the cloud has expired.",
            "Whoever runs the cloud must renew it.",
        ),
        Cause::TlsWrongName => (
            "tls-wrong-name",
            "clock/tls",
            "The certificate is for another name.",
            "Check the cloud's name in the configuration, and what the DNS makes of it.",
        ),
        Cause::TlsRefused => (
            "tls-refused",
            "clock/tls",
            "TLS with the cloud fails: something on the way may be speaking an older version, or no TLS at all.",
            "Let TLS 1.2 and 1.3 to the cloud's name pass untouched.",
        ),
        Cause::Clock => (
            "clock",
            "clock/tls",
            "The box does not know what time it is, and could not learn it from the cloud.",
            "Wait for the cloud; what is read meanwhile is dated afterwards.",
        ),
        Cause::Http2Blocked => (
            "http2-blocked",
            "ok",
            "HTTP/2 does not pass; the box goes on by gRPC-Web over HTTP/1.1.",
            "Nothing must be done; let HTTP/2 (ALPN h2) to the cloud's name pass for less traffic.",
        ),
        Cause::MqttBlocked => (
            "mqtt-blocked",
            "ok",
            "MQTT does not pass; the box goes on by polling, and is not woken in between.",
            "Let WebSocket connections to the cloud's name on port 443 pass.",
        ),
        Cause::SshBlocked => (
            "ssh-blocked",
            "ok",
            "SSH does not pass: printers' own pages cannot be opened.",
            "Let the box open TCP port 22 to the cloud's name.",
        ),
        Cause::Refused => (
            "refused",
            "no-cloud",
            "The cloud refuses the certificate of this box.",
            "Look at this box in the portal: it was revoked, or must be enrolled again.",
        ),
        Cause::Suspended => (
            "suspended",
            "no-cloud",
            "The cloud has stopped this box: there seem to be two of it, or an old copy came back.",
            "Find the other one; then release one of them in the portal.",
        ),
        Cause::Disabled => (
            "disabled",
            "disabled",
            "The box has disabled itself after five proven refusals.",
            "Enable it again in the portal; the box asks once a day.",
        ),
        Cause::CloudBusy => (
            "cloud-busy",
            "no-cloud",
            "The cloud is there and cannot serve this box now.",
            "Wait: the box tries again by itself, and loses nothing meanwhile.",
        ),
        Cause::Contract => (
            "contract",
            "no-cloud",
            "The cloud answered something that it may not.",
            "Whoever runs the cloud must look at its log.",
        ),
        Cause::Updating => ("updating", "updating", "An update is being installed.", "Do not unplug the box."),
        Cause::Storage => (
            "storage",
            "fault",
            "The disk of the box is full, read-only or failing: nothing new is accepted.",
            "It tries again by itself; if it stays so, replace the memory card.",
        ),
        Cause::Ranges => (
            "ranges",
            "no-printers",
            "There is nothing to search: no ranges, or none within the fence.",
            "Set the ranges of this box, or its fence at the console.",
        ),
        Cause::Silent => (
            "silent",
            "no-printers",
            "Nothing answers at the printer's address: switched off, asleep, or moved.",
            "Look whether it is on; if it moved, the next search finds it.",
        ),
        Cause::PingOnly => (
            "ping-only",
            "no-printers",
            "The printer answers pings and no SNMP.",
            "Switch SNMP on in the printer, and allow this box's address there.",
        ),
        Cause::WrongCredentials => (
            "wrong-credentials",
            "no-printers",
            "The printer does not take the community or the user.",
            "Set the printer's community or SNMPv3 user in the configuration of the box.",
        ),
        Cause::Partial => (
            "partial",
            "no-printers",
            "The printer answers some requests and then no more.",
            "Restart its network card; if it stays so, record it and send the recording.",
        ),
        Cause::IdentityChanged => (
            "identity-changed",
            "no-printers",
            "Another device answers at the printer's address.",
            "If the printer was replaced, nothing; else the next search finds it where it is now.",
        ),
        Cause::NotAPrinter => (
            "not-a-printer",
            "no-printers",
            "What answers at the address is no printer any more.",
            "If the printer is gone, retire it in the portal.",
        ),
        Cause::Downgrade => (
            "downgrade",
            "no-printers",
            "The printer was read by SNMPv3 before and answers by an older version now; it is not read so.",
            "Set SNMPv3 up again in the printer, or take its users out of the configuration.",
        ),
        Cause::OutsideFence => (
            "outside-fence",
            "no-printers",
            "The printer's address does not lie within the fence of the box any more.",
            "Widen the fence at the console, if the printer is meant to be read.",
        ),
    };
    Explanation { word, means, remedy, led }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_cause_has_a_word_of_its_own_and_is_found_by_it() {
        let words: HashSet<_> = all().map(|cause| explain(cause).word).collect();
        assert_eq!(words.len(), all().count());
        for cause in all() {
            assert_eq!(from_word(explain(cause).word), Some(cause));
            assert_eq!(from_number(cause as i32), cause);
        }
        assert_eq!(from_number(9_999), Cause::Unspecified);
    }

    #[test]
    fn no_number_of_the_contract_is_left_out() {
        assert!((LAST + 1..LAST + 100).all(|number| Cause::try_from(number).is_err()));
    }

    #[test]
    fn what_a_stranger_said_is_escaped_and_cut() {
        let trouble = Trouble::new(Cause::TlsInspected, &format!("CN=\u{1b}[31m{}", "x".repeat(1_000)));
        let shown = trouble.to_string();
        assert!(shown.starts_with("tls-inspected: CN=\\u{1b}[31mx"), "{shown}");
        assert!(shown.chars().count() < 300);
    }
}
