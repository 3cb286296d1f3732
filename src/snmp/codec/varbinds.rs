//! Variable bindings on the wire: writing names to ask for, reading answers. The reader is ours and not the crate's,
//! whose reader ends silently at the first value that it does not know, and so loses the rest of an answer.

use super::EncodeError;
use super::ber::{self, BerError, OBJECT_IDENTIFIER, Reader, SEQUENCE};
use crate::snmp::limits::MAX_REQUEST_BYTES;
use crate::snmp::{Oid, Value, VarBind};

/// The contents of a variable-bindings list that asks for these objects (each with NULL).
pub(super) fn names(oids: &[Oid]) -> Result<Vec<u8>, EncodeError> {
    let mut list = Vec::with_capacity(oids.len() * 20);
    for oid in oids {
        let octets = ber::object_id_octets(oid).ok_or_else(|| EncodeError::Name(oid.clone()))?;
        let mut binding = Vec::with_capacity(octets.len() + 6);
        ber::push(&mut binding, OBJECT_IDENTIFIER, &octets);
        binding.extend_from_slice(&[NULL, 0]);
        ber::push(&mut list, SEQUENCE, &binding);
    }
    if list.len() > MAX_REQUEST_BYTES {
        return Err(EncodeError::TooLong(list.len()));
    }
    Ok(list)
}

/// The bytes that asking for this object takes; what cannot be written counts as nothing.
pub(in crate::snmp) fn name_bytes(oid: &Oid) -> usize {
    ber::object_id_octets(oid).map_or(0, |octets| octets.len() + 8)
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
        OBJECT_IDENTIFIER => ber::object_id(octets).map_or(Value::Null, Value::ObjectId),
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

/// Turns what the crate has read (only where the plain bytes are not to be had: encrypted SNMPv3) into ours.
///
/// The crate's iterator says "end" at a binding that it cannot read, and goes on behind it when asked again. So it is
/// asked on; each binding that it then brings shows that one before it was passed over. What it passed over at the
/// very end cannot be told from the end.
pub(super) fn read_decrypted(mut list: snmp2::Varbinds<'_>) -> Bindings {
    /// More bindings in a row than this that the crate cannot read do not occur in one answer.
    const PATIENCE: usize = 50;
    let mut bindings = Bindings::default();
    let mut passed_over = 0;
    while passed_over < PATIENCE {
        let Some((name, value)) = list.next() else {
            passed_over += 1;
            continue;
        };
        bindings.unreadable += std::mem::take(&mut passed_over);
        match ber::object_id(name.as_bytes()) {
            Ok(oid) => bindings.list.push(VarBind { oid, value: decrypted_value(&value) }),
            Err(_) => bindings.unreadable += 1,
        }
    }
    bindings
}

fn decrypted_value(value: &snmp2::Value<'_>) -> Value {
    match value {
        snmp2::Value::Integer(number) => Value::Integer(*number),
        snmp2::Value::OctetString(octets) => Value::OctetString(octets.to_vec()),
        snmp2::Value::ObjectIdentifier(oid) => ber::object_id(oid.as_bytes()).map_or(Value::Null, Value::ObjectId),
        snmp2::Value::IpAddress(octets) => Value::IpAddress((*octets).into()),
        snmp2::Value::Counter32(number) => Value::Counter32(*number),
        snmp2::Value::Unsigned32(number) => Value::Gauge32(*number),
        snmp2::Value::Timeticks(number) => Value::TimeTicks(*number),
        snmp2::Value::Opaque(octets) => Value::Opaque(octets.to_vec()),
        snmp2::Value::Counter64(number) => Value::Counter64(*number),
        snmp2::Value::EndOfMibView => Value::EndOfMibView,
        snmp2::Value::NoSuchObject => Value::NoSuchObject,
        snmp2::Value::NoSuchInstance => Value::NoSuchInstance,
        snmp2::Value::Boolean(truth) => Value::Integer(i64::from(*truth)),
        _ => Value::Null,
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
            let mut binding = Vec::new();
            ber::push(&mut binding, OBJECT_IDENTIFIER, &ber::object_id_octets(oid).unwrap());
            ber::push(&mut binding, *tag, content);
            ber::push(&mut list, SEQUENCE, &binding);
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
    fn bindings_behind_one_that_the_crate_cannot_read_are_found_in_encrypted_answers_too() {
        let list = wire(&[
            (oid!(1, 3, 1), ber::INTEGER, &[5]),
            (oid!(1, 3, 2), UINTEGER32, &[6]),
            (oid!(1, 3, 3), ber::INTEGER, &[]),
            (oid!(1, 3, 4), ber::OCTET_STRING, b"ok"),
        ]);
        let bindings = read_decrypted(snmp2::Varbinds::from_bytes(&list));
        assert_eq!(bindings.unreadable, 2);
        assert_eq!(bindings.list.len(), 2);
        assert_eq!(bindings.list[1], VarBind { oid: oid!(1, 3, 4), value: Value::OctetString(b"ok".to_vec()) });
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
            let _ = read_decrypted(snmp2::Varbinds::from_bytes(&bytes));
        }

        #[test]
        fn no_value_makes_the_reader_panic(tag in any::<u8>(), octets in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = value(tag, &octets);
        }

        #[test]
        fn both_readers_agree_on_what_both_can_read(
            tag in prop::sample::select(vec![2u8, 4, 0x41, 0x42, 0x43, 0x44]),
            octets in proptest::collection::vec(any::<u8>(), 1..4),
        ) {
            let list = wire(&[(oid!(1, 3, 1), tag, &octets)]);
            let (ours, theirs) = (read(&list), read_decrypted(snmp2::Varbinds::from_bytes(&list)));
            // The crate reads a Counter32 of fewer than four octets with its top bit set as negative; we do not.
            prop_assume!(!((0x41..=0x43).contains(&tag) && octets[0] >= 0x80));
            prop_assert_eq!(ours, theirs);
        }
    }
}
