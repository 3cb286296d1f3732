//! The words of the self-test: those of the one list of causes, and a few that only somebody who stands before the box can do
//! something with. The cloud never hears of these: without them there is no way to it.

use crate::cause::{Cause, explain};

/// A cause for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The word, for talking over the telephone.
    pub word: &'static str,
    /// What it means, one sentence.
    pub means: &'static str,
    /// What to do about it, one sentence.
    pub remedy: &'static str,
}

/// The word of a cause that the cloud knows too.
pub(super) const fn of(cause: Cause) -> Word {
    let explained = explain(cause);
    Word { word: explained.word, means: explained.means, remedy: explained.remedy }
}

/// There is no default route.
pub(super) const NO_GATEWAY: Word = Word {
    word: "no-gateway",
    means: "The box has an address and knows no way out of its network.",
    remedy: "Let DHCP hand out a router, or set the gateway at the console.",
};
/// The gateway does not answer ARP or neighbour discovery.
pub(super) const GATEWAY_SILENT: Word = Word {
    word: "gateway-silent",
    means: "Nobody answers at the gateway's address.",
    remedy: "Check the gateway's address, the VLAN of the switch port, and whether the router is on.",
};
/// No name server is configured.
pub(super) const NO_DNS: Word = Word {
    word: "no-dns",
    means: "The box has no DNS server.",
    remedy: "Let DHCP hand out a DNS server, or set one at the console.",
};
/// No name server answers.
pub(super) const DNS_SILENT: Word = Word {
    word: "dns-silent",
    means: "No DNS server gives an answer.",
    remedy: "Check the addresses of the DNS servers, and let the box reach them on UDP port 53.",
};
/// The configuration cannot be used.
pub(super) const CONFIG: Word = Word {
    word: "config",
    means: "The configuration of the box cannot be used.",
    remedy: "Correct what is named in the configuration file.",
};

/// All that are not in the one list.
#[cfg(test)]
pub(super) const LOCAL: [Word; 5] = [NO_GATEWAY, GATEWAY_SILENT, NO_DNS, DNS_SILENT, CONFIG];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_means_two_things() {
        for (place, local) in LOCAL.iter().enumerate() {
            assert_eq!(crate::cause::from_word(local.word), None, "{}", local.word);
            assert!(LOCAL.iter().skip(place + 1).all(|other| other.word != local.word));
        }
    }
}
