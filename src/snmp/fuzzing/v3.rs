//! From the fuzzer's bytes to an SNMPv3 message (RFC 3412 §6, RFC 3414 §2.4): sealed with the user's keys, with those of
//! a stranger, or not at all. A message may be wrong inside of its signature, which only who has the keys can do.
//!
//! The salt of what is encrypted here is the codec's own and so never the same; all else follows from the input alone.

use super::element::{Element, damage, octets, rarely};
use super::message::{IDS, Said, id, number, pdu};
use crate::snmp::codec::Peer;
use arbitrary::{Result, Unstructured};
use std::time::Instant;

pub(super) const USER: &str = "reader";
pub(super) const ENGINE: &[u8] = b"\x80\x00\x1f\x88\x04fuzz";

const AUTH: u8 = 0b001;
const PRIV: u8 = 0b010;

/// A message on its way, and what is known of it.
#[derive(Debug)]
pub(super) struct Sent {
    /// What arrives.
    pub(super) datagram: Vec<u8>,
    /// What was signed with the user's own key, with the signature in it.
    pub(super) signed: Option<Vec<u8>>,
    /// What it says, if a decoder has no way not to take it.
    pub(super) meant: Option<Said>,
}

/// The outside of a message.
struct Outside {
    id: i64,
    max_size: i64,
    flags: u8,
    model: i64,
    engine: Vec<u8>,
    boots: i64,
    time: i64,
    user: Vec<u8>,
    /// Whether all of this is as the engine would write it.
    honest: bool,
}

fn outside(u: &mut Unstructured<'_>, peer: &Peer, now: Instant) -> Result<Outside> {
    let clock = peer.as_discovered(now);
    let level = [0, AUTH, AUTH | PRIV][peer.level() as usize];
    let mut outside = Outside {
        id: id(u)?,
        max_size: if rarely(u, 4)? { number(u)? } else { 65_507 },
        flags: level,
        model: 3,
        engine: ENGINE.to_vec(),
        boots: clock.boots.into(),
        time: clock.time.into(),
        user: USER.into(),
        honest: true,
    };
    outside.honest =
        IDS.iter().any(|id| i64::from(*id) == outside.id) && (0..=i32::MAX.into()).contains(&outside.max_size);
    if rarely(u, 3)? {
        outside.honest = false;
        match u.int_in_range(0..=7u8)? {
            0 => outside.flags = u.int_in_range(0..=7)?,
            1 => outside.flags = u.arbitrary()?,
            2 => outside.engine = octets(u, 70)?,
            3 => outside.user = octets(u, 40)?,
            4 => outside.boots = number(u)?,
            5 => outside.time = number(u)?,
            6 => (outside.boots, outside.time) = (number(u)?, number(u)?),
            _ => outside.model = number(u)?,
        }
    }
    Ok(outside)
}

/// A message to the user of `peer`; `stranger` has other passwords.
pub(super) fn message(u: &mut Unstructured<'_>, peer: &Peer, stranger: &Peer, now: Instant) -> Result<Sent> {
    let outside = outside(u, peer, now)?;
    let (pdu, said) = pdu(u)?;
    let mut scoped = Element::of(0x30, vec![Element::octets(4, ENGINE), Element::octets(4, []), pdu]);
    let mut honest = scoped.tell_lies(u)? && outside.honest;
    let (mut scoped, _) = scoped.write();
    honest &= damage(u, &mut scoped)?;

    let ours = !rarely(u, 6)?;
    let sealer = if ours { peer } else { stranger };
    honest &= ours || !peer.is_signed();
    let (data, salt) = if outside.flags & PRIV == 0 {
        (Element::written(scoped), Vec::new())
    } else if rarely(u, 6)? {
        // Of any key: the same bytes decrypt to the same nonsense each time.
        honest = false;
        let salt = if rarely(u, 8)? { octets(u, 12)? } else { u.arbitrary::<[u8; 8]>()?.to_vec() };
        (Element::octets(4, octets(u, 400)?), salt)
    } else {
        let count = |number: i64| u32::try_from(number.clamp(0, i32::MAX.into())).unwrap_or(0);
        let (encrypted, salt) = sealer.encrypt(&scoped, count(outside.boots), count(outside.time)).unwrap_or_default();
        (Element::octets(4, encrypted), salt)
    };

    let signature = match outside.flags & AUTH {
        0 => 0,
        _ if rarely(u, 16)? => {
            honest = false;
            u.int_in_range(0..=64)?
        }
        _ => sealer.signature_octets(),
    };
    let mut message = whole(outside, signature, salt, data);
    honest &= message.tell_lies(u)?;
    let (mut datagram, place) = message.write();
    // Before it is signed, by whoever has the keys.
    if rarely(u, 8)? {
        honest &= damage(u, &mut datagram)?;
    }
    if let Some(place) = place {
        let digest = sealer.sign(&datagram);
        for (octet, of_digest) in datagram.iter_mut().skip(place.start).zip(digest.iter().take(place.len())) {
            *octet = *of_digest;
        }
    }
    let signed = (ours && peer.is_signed()).then(|| datagram.clone());
    honest &= damage(u, &mut datagram)?;
    Ok(Sent { datagram, signed, meant: honest.then_some(said) })
}

fn whole(outside: Outside, signature: usize, salt: Vec<u8>, data: Element) -> Element {
    let global = Element::of(
        0x30,
        vec![
            Element::integer(outside.id, 0),
            Element::integer(outside.max_size, 0),
            Element::octets(4, [outside.flags]),
            Element::integer(outside.model, 0),
        ],
    );
    let usm = Element::of(
        0x30,
        vec![
            Element::octets(4, outside.engine),
            Element::integer(outside.boots, 0),
            Element::integer(outside.time, 0),
            Element::octets(4, outside.user),
            Element::signature(signature),
            Element::octets(4, salt),
        ],
    );
    Element::of(0x30, vec![Element::integer(3, 0), global, Element::of(4, vec![usm]), data])
}
