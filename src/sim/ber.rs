//! BER (X.690) for the agent: enough to read requests and to write answers.

use crate::snmp::{Oid, Value, VarBind};

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;

/// Reads elements one after the other. Every step is checked; `None` ends the reading of a message.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag and contents.
    pub(super) fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&short, rest) = rest.split_first()?;
        let (length, rest) = if short & 0x80 == 0 {
            (usize::from(short), rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            if bytes.is_empty() || bytes.len() > 4 {
                return None;
            }
            (bytes.iter().fold(0, |n, &b| (n << 8) | usize::from(b)), rest)
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// The next element's contents, if it has this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element().filter(|(found, _)| *found == tag).map(|(_, contents)| contents)
    }

    pub(super) fn integer(&mut self) -> Option<i64> {
        let contents = self.expect(INTEGER)?;
        let first = *contents.first()?;
        let start: i64 = if first & 0x80 != 0 { -1 } else { 0 };
        (contents.len() <= 8).then(|| contents.iter().fold(start, |n, &b| (n << 8) | i64::from(b)))
    }
}

pub(super) fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = contents.len();
    if length < 0x80 {
        out.push(length as u8); // fits: see above
    } else {
        let bytes = length.to_be_bytes();
        let skip = bytes.iter().take_while(|&&b| b == 0).count();
        out.push(0x80 | (bytes.len() - skip) as u8);
        out.extend(bytes.iter().skip(skip));
    }
    out.extend_from_slice(contents);
    out
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

pub(super) fn integer(n: i64) -> Vec<u8> {
    let bytes = n.to_be_bytes();
    let fill = if n < 0 { 0xff } else { 0 };
    // The shortest form whose first bit still is the sign.
    let skip = (0..7)
        .take_while(|&i| {
            bytes.get(i) == Some(&fill) && bytes.get(i + 1).is_some_and(|next| (next & 0x80 != 0) == (n < 0))
        })
        .count();
    element(INTEGER, bytes.get(skip..).unwrap_or(&bytes))
}

fn unsigned(tag: u8, n: u64) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(n.to_be_bytes());
    let skip = (0..8)
        .take_while(|&i| bytes.get(i) == Some(&0) && bytes.get(i + 1).is_some_and(|next| next & 0x80 == 0))
        .count();
    element(tag, bytes.get(skip..).unwrap_or(&bytes))
}

pub(super) fn oid(oid: &Oid) -> Vec<u8> {
    let mut arcs = oid.arcs().iter().copied().map(u64::from);
    let first = arcs.next().unwrap_or(0).min(2) * 40 + arcs.next().unwrap_or(0);
    let mut contents = Vec::new();
    for arc in std::iter::once(first).chain(arcs) {
        let groups = (1..5).find(|n| arc >> (7 * n) == 0).unwrap_or(5);
        for n in (0..groups).rev() {
            contents.push((arc >> (7 * n) & 0x7f) as u8 | if n > 0 { 0x80 } else { 0 });
        }
    }
    element(0x06, &contents)
}

pub(super) fn parse_oid(contents: &[u8]) -> Option<Oid> {
    let mut arcs: Vec<u32> = Vec::new();
    let mut arc: u64 = 0;
    for &byte in contents {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if arc > u64::from(u32::MAX) {
            return None;
        }
        if byte & 0x80 == 0 {
            let number = u32::try_from(arc).ok()?;
            if arcs.is_empty() {
                let first = (number / 40).min(2);
                arcs.extend([first, number - first * 40]);
            } else {
                arcs.push(number);
            }
            arc = 0;
        }
    }
    Oid::new(&arcs)
}

pub(super) fn value(value: &Value) -> Vec<u8> {
    match value {
        Value::Integer(n) => integer(*n),
        Value::OctetString(bytes) => element(OCTETS, bytes),
        Value::Null => element(0x05, &[]),
        Value::ObjectId(object) => oid(object),
        Value::IpAddress(address) => element(0x40, &address.octets()),
        Value::Counter32(n) => unsigned(0x41, u64::from(*n)),
        Value::Gauge32(n) => unsigned(0x42, u64::from(*n)),
        Value::TimeTicks(n) => unsigned(0x43, u64::from(*n)),
        Value::Opaque(bytes) => element(0x44, bytes),
        Value::Counter64(n) => unsigned(0x46, *n),
        Value::NoSuchObject => element(0x80, &[]),
        Value::NoSuchInstance => element(0x81, &[]),
        Value::EndOfMibView => element(0x82, &[]),
    }
}

pub(super) fn varbind(varbind: &VarBind) -> Vec<u8> {
    sequence(&[oid(&varbind.oid), value(&varbind.value)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_survive_in_their_shortest_form(n in any::<i64>()) {
            let bytes = integer(n);
            prop_assert_eq!(Reader(&bytes).integer(), Some(n));
            let contents = Reader(&bytes).expect(INTEGER).unwrap();
            let is_padded = contents.len() > 1 && matches!((contents[0], contents[1] & 0x80), (0, 0) | (0xff, 0x80));
            prop_assert!(!is_padded);
        }

        #[test]
        fn object_identifiers_survive(first in 0u32..3, second in 0u32..40, rest in proptest::collection::vec(any::<u32>(), 0..100)) {
            let object = Oid::new(&[&[first, second], rest.as_slice()].concat()).unwrap();
            let bytes = oid(&object);
            prop_assert_eq!(parse_oid(Reader(&bytes).expect(0x06).unwrap()), Some(object));
        }

        #[test]
        fn unsigned_numbers_never_look_negative(n in any::<u64>()) {
            let bytes = unsigned(0x46, n);
            let contents = Reader(&bytes).expect(0x46).unwrap();
            prop_assert_eq!(contents[0] & 0x80, 0);
            prop_assert_eq!(contents.iter().fold(0u128, |n, &b| n << 8 | u128::from(b)), u128::from(n));
        }
    }
}
