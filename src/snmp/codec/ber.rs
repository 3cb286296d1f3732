//! Reading BER (X.690) as SNMP uses it (RFC 3417 §8), with patience for devices that bend the rules, and writing the
//! one thing that we write ourselves: object identifiers.

use crate::snmp::Oid;
use crate::snmp::oid::Arcs;

/// What could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::snmp) enum BerError {
    /// The bytes end before the element does.
    #[error("it is cut short")]
    CutShort,
    /// A length of indefinite form, or of more than four octets.
    #[error("a length in it has a form that SNMP does not use")]
    Length,
    /// Another type stands where this one must.
    #[error("an element of type {found:#04x} stands where {wanted:#04x} must")]
    Type {
        /// The tag that is there.
        found: u8,
        /// The tag that must be there.
        wanted: u8,
    },
    /// A number without octets or beyond 64 bits.
    #[error("a number in it has no octets, or too many")]
    Number,
    /// An object identifier that is none.
    #[error("an object identifier in it cannot be read")]
    ObjectId,
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// Reads one element after the other.
#[derive(Debug, Clone, Copy)]
pub(in crate::snmp) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(in crate::snmp) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(in crate::snmp) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element: its tag and its contents.
    pub(in crate::snmp) fn element(&mut self) -> Result<(u8, &'a [u8]), BerError> {
        let (tag, rest) = self.rest.split_first().ok_or(BerError::CutShort)?;
        let (first, rest) = rest.split_first().ok_or(BerError::CutShort)?;
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            let octets = usize::from(*first & 0x7f);
            if octets == 0 || octets > 4 {
                return Err(BerError::Length);
            }
            let (octets, rest) = rest.split_at_checked(octets).ok_or(BerError::CutShort)?;
            (octets.iter().fold(0usize, |length, octet| (length << 8) | usize::from(*octet)), rest)
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(BerError::CutShort)?;
        self.rest = rest;
        Ok((*tag, content))
    }

    /// The contents of the next element, which must have this tag.
    pub(in crate::snmp) fn expect(&mut self, wanted: u8) -> Result<&'a [u8], BerError> {
        let (found, content) = self.element()?;
        if found == wanted { Ok(content) } else { Err(BerError::Type { found, wanted }) }
    }

    /// The next element, an INTEGER.
    pub(in crate::snmp) fn integer(&mut self) -> Result<i64, BerError> {
        signed(self.expect(INTEGER)?)
    }
}

/// A number in two's complement; superfluous leading octets are tolerated.
pub(super) fn signed(octets: &[u8]) -> Result<i64, BerError> {
    let (first, _) = octets.split_first().ok_or(BerError::Number)?;
    let fill = if first & 0x80 == 0 { 0x00 } else { 0xff };
    let keep = octets.len().min(8);
    let (superfluous, kept) = octets.split_at(octets.len() - keep);
    let sign_stays = kept.first().is_some_and(|octet| (octet ^ fill) & 0x80 == 0);
    if superfluous.iter().any(|octet| *octet != fill) || !sign_stays {
        return Err(BerError::Number);
    }
    Ok(kept.iter().fold(if fill == 0 { 0 } else { -1 }, |number: i64, octet| (number << 8) | i64::from(*octet)))
}

/// A number that has no sign, as agents write it: with or without the leading zero octet that BER asks for.
pub(super) fn unsigned(octets: &[u8]) -> Result<u64, BerError> {
    if octets.is_empty() {
        return Err(BerError::Number);
    }
    let significant = octets.iter().position(|octet| *octet != 0).map_or(&[][..], |start| octets.split_at(start).1);
    if significant.len() > 8 {
        return Err(BerError::Number);
    }
    Ok(significant.iter().fold(0, |number: u64, octet| (number << 8) | u64::from(*octet)))
}

/// The contents of an OBJECT IDENTIFIER. No octets at all, which some agents send for "none", are no arcs at all.
pub(in crate::snmp) fn object_id(octets: &[u8]) -> Result<Oid, BerError> {
    let mut arcs = Arcs::new();
    let mut number: u64 = 0;
    let mut inside = false;
    for octet in octets {
        number = (number << 7) | u64::from(octet & 0x7f);
        // 80 more than 32 bits hold: the first number carries two arcs (X.690 §8.19.4).
        if number > u64::from(u32::MAX) + 80 {
            return Err(BerError::ObjectId);
        }
        inside = octet & 0x80 != 0;
        if inside {
            continue;
        }
        let arc = if arcs.is_empty() {
            let root = (number / 40).min(2);
            arcs.push(u32::try_from(root).map_err(|_| BerError::ObjectId)?);
            number - root * 40
        } else {
            number
        };
        arcs.push(u32::try_from(arc).map_err(|_| BerError::ObjectId)?);
        number = 0;
    }
    if inside {
        return Err(BerError::ObjectId);
    }
    Oid::of(arcs).ok_or(BerError::ObjectId)
}

/// Appends tag, length and contents.
pub(in crate::snmp) fn push(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    push_header(out, tag, content.len());
    out.extend_from_slice(content);
}

/// Appends tag and length; that many octets of contents must follow.
pub(super) fn push_header(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    match u8::try_from(length) {
        Ok(short @ ..0x80) => out.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let significant = octets.split_at(octets.len() - length_octets(length)).1;
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or(0));
            out.extend_from_slice(significant);
        }
    }
}

fn length_octets(length: usize) -> usize {
    usize::try_from(usize::BITS - length.leading_zeros()).unwrap_or(0).div_ceil(8)
}

/// The octets of an element with this many octets of contents.
pub(super) fn size(content: usize) -> usize {
    content + if content < 0x80 { 2 } else { 2 + length_octets(content) }
}

/// Appends an INTEGER.
pub(super) fn push_integer(out: &mut Vec<u8>, number: i64) {
    let octets = number.to_be_bytes();
    let significant = octets.split_at(octets.len() - integer_octets(number)).1;
    push(out, INTEGER, significant);
}

/// The octets of an INTEGER, tag and length included.
pub(super) fn integer_size(number: i64) -> usize {
    2 + integer_octets(number)
}

/// One bit more than the number needs: its sign.
fn integer_octets(number: i64) -> usize {
    let magnitude = if number < 0 { !number } else { number };
    usize::try_from(i64::BITS - magnitude.leading_zeros()).unwrap_or(0) / 8 + 1
}

/// The octets of an object identifier's contents, or `None` for arcs that BER cannot write (fewer than two, or a first
/// arc above 2, or a second above 39 below 0 and 1).
pub(super) fn object_id_content(oid: &Oid) -> Option<usize> {
    let (first, rest) = first_number(oid)?;
    Some(base_128_octets(first) + rest.iter().map(|arc| base_128_octets(u64::from(*arc))).sum::<usize>())
}

/// Appends an object identifier's contents; nothing, when it has none ([`object_id_content`]).
pub(super) fn push_object_id_content(out: &mut Vec<u8>, oid: &Oid) {
    if let Some((first, rest)) = first_number(oid) {
        push_base_128(out, first);
        for arc in rest {
            push_base_128(out, u64::from(*arc));
        }
    }
}

/// The contents of an OBJECT IDENTIFIER, or `None` for arcs that BER cannot write ([`object_id_content`]).
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::snmp) fn object_id_octets(oid: &Oid) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(object_id_content(oid)?);
    push_object_id_content(&mut octets, oid);
    Some(octets)
}

/// The first two arcs are one number (X.690 §8.19.4).
fn first_number(oid: &Oid) -> Option<(u64, &[u32])> {
    let (&[root, second], rest) = oid.arcs().split_first_chunk::<2>()?;
    if root > 2 || (root < 2 && second > 39) {
        return None;
    }
    Some((u64::from(root) * 40 + u64::from(second), rest))
}

fn base_128_octets(number: u64) -> usize {
    usize::try_from(u64::BITS - number.leading_zeros()).unwrap_or(0).div_ceil(7).max(1)
}

fn push_base_128(out: &mut Vec<u8>, number: u64) {
    if let Ok(short @ ..0x80) = u8::try_from(number) {
        out.push(short);
        return;
    }
    for group in (0..base_128_octets(number)).rev() {
        let low = u8::try_from((number >> (7 * group)) & 0x7f).unwrap_or(0);
        out.push(if group == 0 { low } else { low | 0x80 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid;
    use proptest::prelude::*;

    #[test]
    fn numbers_that_devices_write_in_odd_ways_are_read() {
        assert_eq!(signed(&[0xff]), Ok(-1));
        assert_eq!(signed(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 5]), Ok(5));
        assert_eq!(signed(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]), Ok(-2));
        assert_eq!(signed(&[0, 0x80, 0, 0, 0, 0, 0, 0, 0]), Err(BerError::Number));
        assert_eq!(signed(&[]), Err(BerError::Number));
        assert_eq!(unsigned(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Ok(u64::MAX));
        assert_eq!(unsigned(&[0xff, 0xff, 0xff, 0xff]), Ok(u64::from(u32::MAX)));
        assert_eq!(unsigned(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), Err(BerError::Number));
    }

    #[test]
    fn indefinite_and_oversized_lengths_are_refused() {
        assert_eq!(Reader::new(&[0x30, 0x80, 0, 0]).element(), Err(BerError::Length));
        assert_eq!(Reader::new(&[0x30, 0x85, 0, 0, 0, 0, 0]).element(), Err(BerError::Length));
        assert_eq!(Reader::new(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).element(), Err(BerError::CutShort));
        assert_eq!(Reader::new(&[0x30]).element(), Err(BerError::CutShort));
    }

    #[test]
    fn the_joint_iso_itu_arc_may_be_large() {
        let oid = oid!(2, u32::MAX, 3);
        assert_eq!(object_id(&object_id_octets(&oid).unwrap()), Ok(oid));
        assert_eq!(object_id_octets(&oid!(1, 40)), None);
        assert_eq!(object_id_octets(&oid!(1)), None);
        assert_eq!(object_id(&[]), Ok(Oid::default()));
        assert_eq!(object_id(&[0x2b, 0x86]), Err(BerError::ObjectId));
        assert_eq!(object_id(&[0x2b, 0x9f, 0xff, 0xff, 0xff, 0x7f]), Err(BerError::ObjectId));
    }

    proptest! {
        #[test]
        fn object_ids_survive_the_wire(tail in proptest::collection::vec(any::<u32>(), 0..126), second in 0u32..40) {
            let oid = oid!(1, second).with(&tail);
            prop_assert_eq!(object_id(&object_id_octets(&oid).unwrap()), Ok(oid));
        }

        #[test]
        fn elements_survive_the_wire(tag in any::<u8>(), content in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let mut bytes = Vec::new();
            push(&mut bytes, tag, &content);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.element(), Ok((tag, content.as_slice())));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn numbers_survive_the_wire(number in any::<i64>()) {
            prop_assert_eq!(signed(&number.to_be_bytes()), Ok(number));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            while reader.element().is_ok() {}
            let _ = (signed(&bytes), unsigned(&bytes), object_id(&bytes));
        }
    }
}
