//! The codec's everyday operations, each as a function to be run many times: `tests/bench/codec` counts their
//! instructions.

use super::message::{IDS, RESPONSE};
use super::{discovered, keys_of};
use crate::oid;
use crate::snmp::codec::{CommunityVersion, Decoded, Message, Peer, Request, forge_community, push_binding};
use crate::snmp::{AuthAlgorithm, Oid, PrivacyAlgorithm};
use std::sync::Arc;
use std::time::Instant;

/// Bindings of an answer: what a walk of a supplies table brings at a time, in one Ethernet frame.
const BINDINGS: u32 = 43;

/// The operations by name, in the order in which they are reported.
pub const NAMES: [&str; 6] = [
    "encode GETBULK, v2c",
    "decode 43 bindings, v2c",
    "encode GETBULK, v3 SHA-1 AES-128",
    "decode 43 bindings, v3 SHA-1 AES-128",
    "encode GETBULK, v3 SHA-256 AES-128",
    "decode 43 bindings, v3 SHA-256 AES-128",
];

/// One of [`NAMES`] as a function, which returns the octets written or the bindings read; 0 if it went wrong. `None`
/// for any other name. Making it costs the keys of a user, running it nothing of that.
#[must_use]
pub fn operation(name: &str) -> Option<Box<dyn Fn() -> usize>> {
    let community = Message::Community { version: CommunityVersion::V2c, community: "public".into(), request: bulk() };
    Some(match NAMES.iter().position(|known| *known == name)? {
        0 => encode(community),
        1 => {
            let answer = forge_community(1, b"public", RESPONSE, IDS[0], &bindings());
            decode(community, answer)
        }
        2 => encode(usm(AuthAlgorithm::Sha1).0),
        3 => decode_v3(AuthAlgorithm::Sha1),
        4 => encode(usm(AuthAlgorithm::Sha256).0),
        _ => decode_v3(AuthAlgorithm::Sha256),
    })
}

fn bulk() -> Request {
    Request::GetBulk { oids: vec![oid!(1, 3, 6, 1, 2, 1, 43, 11, 1, 1, 6, 1)], non_repeaters: 0, max_repetitions: 25 }
}

/// Names of a table's cells, and values as printers have them: numbers of one to three octets, and short texts.
fn bindings() -> Vec<u8> {
    let column = oid!(1, 3, 6, 1, 2, 1, 43, 11, 1, 1);
    let mut list = Vec::new();
    for n in 0..BINDINGS {
        let name: Oid = column.with(&[2 + n / 5, 1, 1 + n % 5]);
        match n % 4 {
            0 => push_binding(&mut list, &name, 4, b"Black Toner Cartridge"),
            1 => push_binding(&mut list, &name, 2, &[0x4e, 0x20]),
            2 => push_binding(&mut list, &name, 0x41, &[0x01, 0xe2, 0x40]),
            _ => push_binding(&mut list, &name, 2, &[3]),
        }
    }
    list
}

fn usm(auth: AuthAlgorithm) -> (Message, Arc<Peer>) {
    let keys = keys_of((Some(auth), Some(PrivacyAlgorithm::Aes128)), "our own password");
    let peer = Arc::new(keys.anew(&discovered(), Instant::now()));
    (Message::Usm { peer: peer.clone(), request: bulk() }, peer)
}

fn encode(message: Message) -> Box<dyn Fn() -> usize> {
    let now = Instant::now();
    Box::new(move || message.encode(IDS[0], now).map_or(0, |datagram| datagram.len()))
}

fn decode(message: Message, answer: Vec<u8>) -> Box<dyn Fn() -> usize> {
    let now = Instant::now();
    Box::new(move || match message.decode(&answer, &IDS, now) {
        Decoded::Response(response) => response.bindings.list.len(),
        _ => 0,
    })
}

fn decode_v3(auth: AuthAlgorithm) -> Box<dyn Fn() -> usize> {
    let (message, peer) = usm(auth);
    let clock = peer.as_discovered(Instant::now());
    let answer = peer.forge(RESPONSE, IDS[0], clock.boots, clock.time, &bindings());
    decode(message, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_that_is_counted_does_its_work() {
        for name in NAMES {
            let done = operation(name).map_or(0, |operation| operation());
            let expected = if name.starts_with("decode") { 43..=43 } else { 40..=200 };
            assert!(expected.contains(&done), "{name}: {done}");
        }
        assert!(operation("decode everything").is_none());
    }
}
