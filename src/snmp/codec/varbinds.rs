//! Variable bindings on the wire: writing names to ask for, reading answers. The reader is ours and not the crate's,
//! whose reader ends silently at the first value that it does not know, and so loses the rest of an answer.

use super::EncodeError;
use super::ber::{self, BerError, OBJECT_IDENTIFIER, Reader, SEQUENCE};
use crate::snmp::limits::MAX_REQUEST_BYTES;
use crate::snmp::{Oid, Value, VarBind};

/// The contents of a variable-bindings list that asks for these objects (each with NULL).
pub(super) fn names(oids: &[Oid]) -> Result<Vec<u8>, EncodeError> {
    let mut length = 0;
    for oid in oids {
        length += ber::object_id_content(oid).map(binding_size).ok_or_else(|| EncodeError::Name(oid.clone()))?;
    }
    if length > MAX_REQUEST_BYTES {
        return Err(EncodeError::TooLong(length));
    }
    let mut list = Vec::with_capacity(length);
    for oid in oids {
        let content = ber::object_id_content(oid).unwrap_or(0);
        ber::push_header(&mut list, SEQUENCE, ber::size(content) + 2);
        ber::push_header(&mut list, OBJECT_IDENTIFIER, content);
        ber::push_object_id_content(&mut list, oid);
        list.extend_from_slice(&[NULL, 0]);
    }
    Ok(list)
}

/// The octets of a binding whose name has this many octets of contents, and whose value is NULL.
fn binding_size(name: usize) -> usize {
    ber::size(ber::size(name) + 2)
}

/// The bytes that asking for this object takes; what cannot be written counts as nothing.
pub(in crate::snmp) fn name_bytes(oid: &Oid) -> usize {
    ber::object_id_content(oid).map_or(0, |content| content + 8)
}

/// What an answer binds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::snmp) struct Bindings {
    pub(in crate::snmp) list: Vec<VarBind>,
    /// Bindings that could not be read at all: without a readable name, or cut short.
    pub(in crate::snmp) unreadable: usize,
}

/// Reads the contents of a variable-bindings list, past whatever in it cannot be read.
pub(super) fn read(list: &[u8]) -> Bindings {
    let mut bindings = Bindings::default();
    let mut reader = Reader::new(list);
    while !reader.is_empty() {
        match reader.element() {
            Ok((SEQUENCE, content)) => match binding(content) {
                Ok(binding) => bindings.list.push(binding),
                Err(_) => bindings.unreadable += 1,
            },
            Ok(_) => bindings.unreadable += 1,
            Err(_) => {
                bindings.unreadable += 1;
                break;
            }
        }
    }
    bindings
}

fn binding(content: &[u8]) -> Result<VarBind, BerError> {
    let mut reader = Reader::new(content);
    let oid = ber::object_id(reader.expect(OBJECT_IDENTIFIER)?)?;
    let (tag, octets) = reader.element()?;
    Ok(VarBind { oid, value: value(tag, octets) })
}

const BOOLEAN: u8 = 0x01;
const NULL: u8 = 0x05;
const IP_ADDRESS: u8 = 0x40;
const COUNTER32: u8 = 0x41;
const GAUGE32: u8 = 0x42;
const TIME_TICKS: u8 = 0x43;
const OPAQUE: u8 = 0x44;
const NSAP_ADDRESS: u8 = 0x45;
const COUNTER64: u8 = 0x46;
const UINTEGER32: u8 = 0x47;
const NO_SUCH_OBJECT: u8 = 0x80;
const NO_SUCH_INSTANCE: u8 = 0x81;
const END_OF_MIB_VIEW: u8 = 0x82;

/// A value of whatever type. Contents that do not fit their type are [`Value::Null`]: no value, and not zero.
/// Types that SNMP does not have are [`Value::Opaque`].
pub(super) fn value(tag: u8, octets: &[u8]) -> Value {
    // Agents write Counter32 and its kin as signed, as unsigned, and with superfluous zeros; more than 32 bits is none.
    let u32_or_null = |as_value: fn(u32) -> Value| {
        let number = match octets.first() {
            Some(0x80..) if octets.len() > 4 => ber::signed(octets).ok().map(|n| n as u64 & u64::from(u32::MAX)),
            _ => ber::unsigned(octets).ok(),
        };
        number.and_then(|n| u32::try_from(n).ok()).map_or(Value::Null, as_value)
    };
    match tag {
        BOOLEAN | ber::INTEGER => ber::signed(octets).map_or(Value::Null, Value::Integer),
        ber::OCTET_STRING | NSAP_ADDRESS => Value::OctetString(octets.to_vec()),
        NULL => Value::Null,
        OBJECT_IDENTIFIER => ber::object_id(octets).map_or(Value::Null, Value::object_id),
        IP_ADDRESS => <[u8; 4]>::try_from(octets).map_or(Value::Null, |octets| Value::IpAddress(octets.into())),
        COUNTER32 => u32_or_null(Value::Counter32),
        GAUGE32 | UINTEGER32 => u32_or_null(Value::Gauge32),
        TIME_TICKS => u32_or_null(Value::TimeTicks),
        COUNTER64 => ber::unsigned(octets).map_or(Value::Null, Value::Counter64),
        OPAQUE => Value::Opaque(octets.to_vec()),
        NO_SUCH_OBJECT => Value::NoSuchObject,
        NO_SUCH_INSTANCE => Value::NoSuchInstance,
        END_OF_MIB_VIEW => Value::EndOfMibView,
        _ => Value::Opaque(octets.to_vec()),
    }
}

/// Appends a binding as an agent would write it, its value given as tag and contents. Nothing where the name has no wire form.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::snmp) fn push_binding(list: &mut Vec<u8>, oid: &Oid, tag: u8, content: &[u8]) {
    if let Some(name) = ber::object_id_octets(oid) {
        let mut binding = Vec::new();
        ber::push(&mut binding, OBJECT_IDENTIFIER, &name);
        ber::push(&mut binding, tag, content);
        ber::push(list, SEQUENCE, &binding);
    }
}

#[cfg(test)]
pub(in crate::snmp) mod tests {
    use super::*;
    use crate::oid;
    use proptest::prelude::*;

    /// The wire form of a list of bindings, each value given as tag and contents.
    pub(in crate::snmp) fn wire(bindings: &[(Oid, u8, &[u8])]) -> Vec<u8> {
        let mut list = Vec::new();
        for (oid, tag, content) in bindings {
            push_binding(&mut list, oid, *tag, content);
        }
        list
    }

    #[test]
    fn a_value_of_an_unknown_type_does_not_lose_the_rest() {
        let odd: [(u8, &[u8], Value); 11] = [
            (UINTEGER32, &[7], Value::Gauge32(7)),
            (NSAP_ADDRESS, &[1, 2], Value::OctetString(vec![1, 2])),
            (BOOLEAN, &[1], Value::Integer(1)),
            (ber::INTEGER, &[], Value::Null),
            (ber::INTEGER, &[0, 0, 0, 0, 0, 0, 0, 0, 9], Value::Integer(9)),
            (IP_ADDRESS, &[1, 2], Value::Null),
            (0x9f, &[3], Value::Opaque(vec![3])),
            (COUNTER32, &[0xff, 0xff, 0xff, 0xff], Value::Counter32(u32::MAX)),
            (COUNTER32, &[0xff, 0xff, 0xff, 0xff, 0xff], Value::Counter32(u32::MAX)),
            (COUNTER32, &[1, 0, 0, 0, 0], Value::Null),
            (COUNTER64, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Counter64(u64::MAX)),
        ];
        for (tag, content, expected) in odd {
            let list = wire(&[(oid!(1, 3, 1), tag, content), (oid!(1, 3, 2), ber::INTEGER, &[5])]);
            let bindings = read(&list);
            assert_eq!(bindings.unreadable, 0);
            assert_eq!(bindings.list[0].value, expected, "tag {tag:#x}");
            assert_eq!(bindings.list[1].value, Value::Integer(5));
        }
    }

    #[test]
    fn a_list_cut_short_keeps_what_came_before_and_says_so() {
        let list = wire(&[(oid!(1, 3, 1), ber::INTEGER, &[5]), (oid!(1, 3, 2), ber::INTEGER, &[6])]);
        let bindings = read(&list[..list.len() - 1]);
        assert_eq!((bindings.list.len(), bindings.unreadable), (1, 1));
    }

    #[test]
    fn a_request_longer_than_a_frame_is_refused() {
        let many: Vec<Oid> = (0..100).map(|n| oid!(1, 3, 6, 1, 4, 1, n, u32::MAX)).collect();
        assert!(matches!(names(&many), Err(EncodeError::TooLong(_))));
        assert!(matches!(names(&[oid!(1)]), Err(EncodeError::Name(_))));
        let few = &many[..20];
        assert_eq!(names(few).unwrap().len(), few.iter().map(name_bytes).sum::<usize>() - 20 * 2);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_value_makes_the_reader_panic(tag in any::<u8>(), octets in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = value(tag, &octets);
        }
    }
}
