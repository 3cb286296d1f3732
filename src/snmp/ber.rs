//! The part of BER (X.690) that the message library does not give to its callers: lists of variable bindings. Reading is
//! tolerant, binding by binding: one value of an odd type does not hide those behind it.

use snmp2::AsnReader;

use super::{MAX_ARCS, Oid, Value, VarBind};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const NULL: [u8; 2] = [0x05, 0x00];

fn push_length(out: &mut Vec<u8>, length: usize) {
    if length < 0x80 {
        // Fits: checked in the line above.
        out.push(length as u8);
        return;
    }
    let bytes = length.to_be_bytes();
    let skip = bytes.iter().take_while(|&&b| b == 0).count();
    out.push(0x80 | (bytes.len() - skip) as u8);
    out.extend(bytes.iter().skip(skip));
}

fn push_element(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    push_length(out, content.len());
    out.extend_from_slice(content);
}

fn push_arc(out: &mut Vec<u8>, arc: u64) {
    let groups = (1..10).find(|n| arc >> (7 * n) == 0).unwrap_or(10);
    for n in (0..groups).rev() {
        let more = if n > 0 { 0x80 } else { 0 };
        out.push(((arc >> (7 * n)) & 0x7f) as u8 | more);
    }
}

/// The contents of an OBJECT IDENTIFIER. The first two arcs share a number (X.690 §8.19); a single arc gets a 0.
fn oid_contents(oid: &Oid) -> Vec<u8> {
    let mut out = Vec::with_capacity(oid.arcs().len() + 4);
    let mut arcs = oid.arcs().iter().copied().map(u64::from);
    let first = arcs.next().unwrap_or(0);
    let second = arcs.next().unwrap_or(0);
    push_arc(&mut out, first.min(2) * 40 + second);
    arcs.for_each(|arc| push_arc(&mut out, arc));
    out
}

/// The contents of a VarBindList in which every value is NULL, as requests have it.
pub(super) fn request_varbinds(oids: &[Oid]) -> Vec<u8> {
    let mut out = Vec::new();
    for oid in oids {
        let mut binding = Vec::new();
        push_element(&mut binding, OBJECT_IDENTIFIER, &oid_contents(oid));
        binding.extend_from_slice(&NULL);
        push_element(&mut out, SEQUENCE, &binding);
    }
    out
}

/// Reads the contents of an OBJECT IDENTIFIER.
pub(super) fn parse_oid(contents: &[u8]) -> Option<Oid> {
    let mut arcs: Vec<u32> = Vec::with_capacity(contents.len() + 1);
    let mut arc: u64 = 0;
    let mut open = false;
    for &byte in contents {
        arc = (arc << 7) | u64::from(byte & 0x7f);
        if arc > u64::from(u32::MAX) + 80 {
            return None;
        }
        open = byte & 0x80 != 0;
        if open {
            continue;
        }
        if arcs.is_empty() {
            let first = (arc / 40).min(2);
            arcs.push(u32::try_from(first).ok()?);
            arcs.push(u32::try_from(arc - first * 40).ok()?);
        } else {
            arcs.push(u32::try_from(arc).ok()?);
        }
        if arcs.len() > MAX_ARCS {
            return None;
        }
        arc = 0;
    }
    if open || arcs.is_empty() { None } else { Oid::new(&arcs) }
}

/// A list of variable bindings, read as far as it can be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct VarBinds {
    /// Those that could be read, in order.
    pub read: Vec<VarBind>,
    /// Objects whose values could not be read.
    pub unreadable: Vec<Oid>,
    /// Whether the list broke off in the middle.
    pub broken: bool,
}

/// Reads the contents of a VarBindList.
pub(super) fn parse_varbinds(contents: &[u8]) -> VarBinds {
    let mut list = VarBinds::default();
    let mut reader = AsnReader::from_bytes(contents);
    while reader.bytes_left() > 0 {
        let Ok(binding) = reader.read_raw(SEQUENCE) else {
            list.broken = true;
            break;
        };
        let mut binding = AsnReader::from_bytes(binding);
        let Some(oid) = binding.read_raw(OBJECT_IDENTIFIER).ok().and_then(parse_oid) else {
            list.broken = true;
            break;
        };
        let value = binding.peek_byte().and_then(|tag| Ok((tag, binding.read_raw(tag)?)));
        match value.ok().and_then(|(tag, contents)| parse_value(tag, contents)) {
            Some(value) => list.read.push(VarBind { oid, value }),
            None => list.unreadable.push(oid),
        }
    }
    list
}

fn parse_value(tag: u8, contents: &[u8]) -> Option<Value> {
    Some(match tag {
        0x02 => Value::Integer(signed(contents)?),
        0x04 => Value::OctetString(contents.to_vec()),
        0x05 => Value::Null,
        0x06 => Value::ObjectId(parse_oid(contents)?),
        0x40 => Value::IpAddress(<[u8; 4]>::try_from(contents).ok()?.into()),
        0x41 => Value::Counter32(unsigned32(contents)?),
        // 0x47 is the obsolete UInteger32, which old agents still send.
        0x42 | 0x47 => Value::Gauge32(unsigned32(contents)?),
        0x43 => Value::TimeTicks(unsigned32(contents)?),
        0x44 => Value::Opaque(contents.to_vec()),
        0x46 => Value::Counter64(unsigned64(contents)?),
        0x80 => Value::NoSuchObject,
        0x81 => Value::NoSuchInstance,
        0x82 => Value::EndOfMibView,
        _ => return None,
    })
}

fn signed(contents: &[u8]) -> Option<i64> {
    if contents.is_empty() || contents.len() > 8 {
        return None;
    }
    let negative = contents.first().is_some_and(|b| b & 0x80 != 0);
    let start = if negative { -1 } else { 0 };
    Some(contents.iter().fold(start, |n: i64, &b| (n << 8) | i64::from(b)))
}

fn unsigned64(contents: &[u8]) -> Option<u64> {
    let digits = match contents {
        [] => return None,
        [0, rest @ ..] if rest.len() <= 8 => rest,
        all if all.len() <= 8 => all,
        _ => return None,
    };
    Some(digits.iter().fold(0, |n, &b| (n << 8) | u64::from(b)))
}

/// Some agents send a Counter32 of 2³¹ or more as if it were negative: five bytes of sign, or four without the zero.
fn unsigned32(contents: &[u8]) -> Option<u32> {
    match contents {
        [0xff, rest @ ..] if rest.len() == 4 => u32::try_from(unsigned64(rest)?).ok(),
        _ => u32::try_from(unsigned64(contents)?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn object_identifiers_survive_the_wire(
            first in 0u32..3, second in 0u32..40, rest in proptest::collection::vec(any::<u32>(), 0..120),
        ) {
            let oid = Oid::new(&[&[first, second], rest.as_slice()].concat()).unwrap();
            let list = parse_varbinds(&request_varbinds(std::slice::from_ref(&oid)));
            prop_assert_eq!(list.read, vec![VarBind { oid, value: Value::Null }]);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_varbinds(&bytes);
            let _ = parse_oid(&bytes);
        }
    }

    #[test]
    fn a_value_of_an_odd_type_does_not_hide_the_rest() {
        let mut bytes = Vec::new();
        for (n, value) in [(1u8, &[0x01, 0x01, 0xff][..]), (2, &[0x02, 0x01, 0x05]), (3, &[0x02, 0x00])] {
            let mut binding = vec![0x06, 0x02, 0x2b, n];
            binding.extend_from_slice(value);
            push_element(&mut bytes, SEQUENCE, &binding);
        }
        let list = parse_varbinds(&bytes);
        assert_eq!(list.read, [VarBind { oid: oid!(1, 3, 2), value: Value::Integer(5) }]);
        assert_eq!(list.unreadable, [oid!(1, 3, 1), oid!(1, 3, 3)]);
        assert!(!list.broken);
    }

    #[test]
    fn numbers_keep_their_signs_and_widths() {
        assert_eq!(parse_value(0x02, &[0xfe]), Some(Value::Integer(-2)));
        assert_eq!(parse_value(0x41, &[0x00, 0xff, 0xff, 0xff, 0xff]), Some(Value::Counter32(u32::MAX)));
        assert_eq!(parse_value(0x41, &[0xff, 0xff, 0xff, 0xfe]), Some(Value::Counter32(u32::MAX - 1)));
        assert_eq!(parse_value(0x46, &[0, 0xff, 0, 0, 0, 0, 0, 0, 0]), Some(Value::Counter64(0xff << 56)));
        assert_eq!(parse_value(0x02, &[0; 9]), None);
    }
}
