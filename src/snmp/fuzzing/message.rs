//! From the fuzzer's bytes to what an agent might say: values, bindings, PDUs, and the messages of v1 and v2c. Beside
//! each stands what a decoder must make of it, where that is certain.

use super::element::{Element, octets, rarely};
use crate::snmp::{Oid, Value, VarBind};
use arbitrary::{Result, Unstructured};

/// The ids of the request that is in flight, one for each of its tries.
pub(super) const IDS: [i32; 2] = [7, 0x4711_0815];

pub(super) const RESPONSE: u8 = 0xa2;
pub(super) const REPORT: u8 = 0xa8;

/// Most bindings of a message: more than any printer sends.
const MAX_BINDINGS: u8 = 60;

/// A PDU as the agent means it.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) tag: u8,
    pub(super) id: i64,
    pub(super) status: i64,
    pub(super) index: i64,
    /// Unless there is one among them that need not be read.
    pub(super) bindings: Option<Vec<VarBind>>,
}

/// A number: small, or at the edge of what some type holds, or any.
pub(super) fn number(u: &mut Unstructured<'_>) -> Result<i64> {
    const EDGES: [i64; 14] = [
        -3,
        -1,
        1,
        127,
        128,
        484,
        65_507,
        65_535,
        i32::MAX as i64 - 1,
        i32::MAX as i64,
        i32::MAX as i64 + 1,
        u32::MAX as i64,
        i64::MAX,
        i64::MIN,
    ];
    Ok(match u.int_in_range(0..=3u8)? {
        0 => 0,
        1 => u.int_in_range(0..=200)?,
        2 => *u.choose(&EDGES)?,
        _ => u.arbitrary()?,
    })
}

/// Mostly the id that is waited for.
pub(super) fn id(u: &mut Unstructured<'_>) -> Result<i64> {
    Ok(match u.int_in_range(0..=7u8)? {
        0..=4 => IDS[0].into(),
        5 | 6 => IDS[1].into(),
        _ => number(u)?,
    })
}

fn integer(u: &mut Unstructured<'_>, number: i64) -> Result<Element> {
    let superfluous = if rarely(u, 16)? { u.int_in_range(1..=9)? } else { 0 };
    Ok(Element::integer(number, superfluous))
}

/// The arcs of an object identifier, mostly below the Printer-MIB; rarely more arcs than there may be.
pub(super) fn arcs(u: &mut Unstructured<'_>) -> Result<Vec<u32>> {
    let mut arcs = match u.int_in_range(0..=3u8)? {
        0 => vec![1, 3, 6, 1, 2, 1, 43],
        1 => vec![1, 3, 6, 1, 6, 3, 15, 1, 1, u.int_in_range(0..=8)?],
        2 => vec![u.int_in_range(0..=1)?, u.int_in_range(0..=39)?],
        _ => vec![2, u.arbitrary()?],
    };
    let more = if rarely(u, 24)? { u.int_in_range(110..=130u8)? } else { u.int_in_range(0..=12)? };
    for _ in 0..more {
        arcs.push(if rarely(u, 3)? { u.arbitrary()? } else { u.arbitrary::<u8>()?.into() });
    }
    Ok(arcs)
}

/// The contents of an OBJECT IDENTIFIER (X.690 §8.19); `arcs` has at least two.
fn object_id(arcs: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    let first = u64::from(arcs[0]) * 40 + u64::from(arcs[1]);
    for number in std::iter::once(first).chain(arcs.iter().skip(2).map(|arc| u64::from(*arc))) {
        let groups = (u64::BITS - number.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group == 0 { 0 } else { 0x80 };
            out.push(u8::try_from((number >> (7 * group)) & 0x7f).unwrap_or(0) | more);
        }
    }
    out
}

/// A number without a sign, as agents write it: with a leading zero or more, or without.
fn unsigned(u: &mut Unstructured<'_>, tag: u8, number: u64) -> Result<Element> {
    let octets = number.to_be_bytes();
    let needless = octets.iter().take(7).take_while(|octet| **octet == 0).count();
    let mut content = vec![0; if rarely(u, 8)? { u.int_in_range(1..=4)? } else { 0 }];
    content.extend(octets.iter().skip(needless));
    Ok(Element::octets(tag, content))
}

/// A value and what it means; no meaning where it is of no type, or does not fit its type.
fn value(u: &mut Unstructured<'_>) -> Result<(Element, Option<Value>)> {
    Ok(match u.int_in_range(0..=13u8)? {
        0 => {
            let number = number(u)?;
            (integer(u, number)?, Some(Value::Integer(number)))
        }
        1 => {
            let octets = octets(u, 300)?;
            (Element::octets(4, octets.clone()), Some(Value::OctetString(octets)))
        }
        2 => (Element::octets(5, []), Some(Value::Null)),
        3 => {
            let arcs = arcs(u)?;
            // A name that nothing can have is no value.
            (Element::octets(6, object_id(&arcs)), Some(Oid::new(&arcs).map_or(Value::Null, Value::object_id)))
        }
        4 => {
            let address: [u8; 4] = u.arbitrary()?;
            (Element::octets(0x40, address), Some(Value::IpAddress(address.into())))
        }
        5 => {
            let number: u32 = u.arbitrary()?;
            (unsigned(u, 0x41, number.into())?, Some(Value::Counter32(number)))
        }
        6 => {
            let (number, tag): (u32, _) = (u.arbitrary()?, *u.choose(&[0x42, 0x47])?);
            (unsigned(u, tag, number.into())?, Some(Value::Gauge32(number)))
        }
        7 => {
            let number: u32 = u.arbitrary()?;
            (unsigned(u, 0x43, number.into())?, Some(Value::TimeTicks(number)))
        }
        8 => {
            let octets = octets(u, 40)?;
            (Element::octets(0x44, octets.clone()), Some(Value::Opaque(octets)))
        }
        9 => {
            let number: u64 = u.arbitrary()?;
            (unsigned(u, 0x46, number)?, Some(Value::Counter64(number)))
        }
        10 => (Element::octets(0x80, []), Some(Value::NoSuchObject)),
        11 => (Element::octets(0x81, []), Some(Value::NoSuchInstance)),
        12 => (Element::octets(0x82, []), Some(Value::EndOfMibView)),
        _ => (Element::octets(u.arbitrary()?, octets(u, 12)?), None),
    })
}

fn binding(u: &mut Unstructured<'_>) -> Result<(Element, Option<VarBind>)> {
    let (name, oid) = if rarely(u, 24)? {
        (octets(u, 12)?, None)
    } else {
        let arcs = arcs(u)?;
        (object_id(&arcs), Oid::new(&arcs))
    };
    let (element, value) = value(u)?;
    let meant = oid.zip(value).map(|(oid, value)| VarBind { oid, value });
    Ok((Element::of(0x30, vec![Element::octets(6, name), element]), meant))
}

/// A PDU and what it says.
pub(super) fn pdu(u: &mut Unstructured<'_>) -> Result<(Element, Said)> {
    let tag = match u.int_in_range(0..=7u8)? {
        0..=4 => RESPONSE,
        5 | 6 => REPORT,
        _ => u.arbitrary()?,
    };
    let id = id(u)?;
    let (status, index) = if rarely(u, 3)? { (number(u)?, number(u)?) } else { (0, 0) };
    let mut list = Vec::new();
    let mut bindings = Some(Vec::new());
    if tag == REPORT {
        let arcs = [1, 3, 6, 1, 6, 3, 15, 1, 1, u.int_in_range(1..=7)?, 0];
        list.push(Element::of(0x30, vec![Element::octets(6, object_id(&arcs)), unsigned(u, 0x41, 1)?]));
        bindings = None;
    }
    for _ in 0..u.int_in_range(0..=MAX_BINDINGS)? {
        if u.is_empty() {
            break;
        }
        let (element, meant) = binding(u)?;
        list.push(element);
        bindings = bindings.zip(meant).map(|(mut all, one)| {
            all.push(one);
            all
        });
    }
    let elements = vec![integer(u, id)?, integer(u, status)?, integer(u, index)?, Element::of(0x30, list)];
    Ok((Element::of(tag, elements), Said { tag, id, status, index, bindings }))
}

/// A message of v1 (0) or v2c (1), or of a version that is not; what it says, and whether it is honest.
pub(super) fn community(u: &mut Unstructured<'_>) -> Result<(Vec<u8>, i64, Said, bool)> {
    let version = match u.int_in_range(0..=15u8)? {
        0..=7 => 1,
        8..=14 => 0,
        _ => number(u)?,
    };
    let name = if rarely(u, 8)? { octets(u, 300)? } else { b"public".to_vec() };
    let (pdu, said) = pdu(u)?;
    let mut message = Element::of(0x30, vec![integer(u, version)?, Element::octets(4, name), pdu]);
    let honest = message.tell_lies(u)?;
    let (mut datagram, _) = message.write();
    let whole = super::element::damage(u, &mut datagram)?;
    Ok((datagram, version, said, honest && whole))
}

impl Said {
    /// Whether it bears an id that is waited for.
    pub(super) fn is_for_us(&self) -> bool {
        IDS.iter().any(|id| i64::from(*id) == self.id)
    }
}
