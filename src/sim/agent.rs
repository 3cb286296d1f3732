//! The agent: a datagram in, at most one datagram out. It answers GET, GETNEXT and GETBULK of v1, v2c and v3 over a device's
//! objects, and refuses SET. What is not a request gets no answer.

use super::ber::{self, INTEGER, OCTETS, Reader, SEQUENCE, element, integer, sequence};
use super::device::Device;
use super::faults::{Fault, HUGE_ANSWER_BYTES};
use super::usm::{decrypt, digest, digest_bytes, encrypt};
use crate::snmp::{Oid, Value, VarBind};

/// Largest answer, in bytes: what passes an Ethernet unbroken.
const ANSWER_MAX_BYTES: usize = 1_400;
/// Most repetitions of a GETBULK that are looked at.
const REPETITIONS_MAX: i64 = 200;

const GET: u8 = 0xa0;
const GET_NEXT: u8 = 0xa1;
const RESPONSE: u8 = 0xa2;
const SET: u8 = 0xa3;
const GET_BULK: u8 = 0xa5;
const REPORT: u8 = 0xa8;

const NO_ERROR: i64 = 0;
const TOO_BIG: i64 = 1;
const NO_SUCH_NAME: i64 = 2;
const GEN_ERR: i64 = 5;
const NOT_WRITABLE: i64 = 17;

const FLAG_AUTH: u8 = 1;
const FLAG_PRIVACY: u8 = 2;
const FLAG_REPORTABLE: u8 = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

struct Pdu {
    operation: u8,
    request_id: i64,
    /// Error status, or non-repeaters.
    second: i64,
    /// Error index, or max-repetitions.
    third: i64,
    oids: Vec<Oid>,
}

struct Answer {
    status: i64,
    index: i64,
    varbinds: Vec<VarBind>,
}

/// Answers a datagram, or does not.
pub(super) fn answer(device: &mut Device, datagram: &[u8]) -> Option<Vec<u8>> {
    device.last_repetitions = None;
    let mut message = Reader(Reader(datagram).expect(SEQUENCE)?);
    match message.integer()? {
        1 | 3 if device.fault == Some(Fault::V1Only) => None,
        0 => community_answer(device, message, Version::V1),
        1 => community_answer(device, message, Version::V2),
        3 => v3_answer(device, message, datagram),
        _ => None,
    }
}

fn community_answer(device: &mut Device, mut message: Reader<'_>, version: Version) -> Option<Vec<u8>> {
    let community = message.expect(OCTETS)?;
    let (tag, contents) = message.element()?;
    let pdu = parse_pdu(tag, contents)?;
    if community != device.community.as_bytes() {
        return None;
    }
    let head = [integer(if version == Version::V1 { 0 } else { 1 }), element(OCTETS, community)].concat();
    device.last_repetitions = (pdu.operation == GET_BULK).then_some(pdu.third);
    let answer = act(device, &pdu, version, ANSWER_MAX_BYTES)?;
    Some(element(SEQUENCE, &[head, response(&pdu, &answer)].concat()))
}

fn parse_pdu(operation: u8, contents: &[u8]) -> Option<Pdu> {
    let mut reader = Reader(contents);
    let (request_id, second, third) = (reader.integer()?, reader.integer()?, reader.integer()?);
    let mut list = Reader(reader.expect(SEQUENCE)?);
    let mut oids = Vec::new();
    while !list.0.is_empty() {
        let mut varbind = Reader(list.expect(SEQUENCE)?);
        oids.push(ber::parse_oid(varbind.expect(0x06)?)?);
        varbind.element()?;
    }
    Some(Pdu { operation, request_id, second, third, oids })
}

fn response(pdu: &Pdu, answer: &Answer) -> Vec<u8> {
    let list: Vec<Vec<u8>> = answer.varbinds.iter().map(ber::varbind).collect();
    let parts = [integer(pdu.request_id), integer(answer.status), integer(answer.index), sequence(&list)];
    element(RESPONSE, &parts.concat())
}

/// What a PDU asks. `None` for operations that are no requests.
fn act(device: &Device, pdu: &Pdu, version: Version, room: usize) -> Option<Answer> {
    let unchanged = |status, index| {
        let varbinds = pdu.oids.iter().map(|oid| VarBind { oid: oid.clone(), value: Value::Null }).collect();
        Some(Answer { status, index, varbinds })
    };
    let room = if device.fault == Some(Fault::Huge) { HUGE_ANSWER_BYTES } else { room };
    let answer = match pdu.operation {
        GET_BULK if device.fault == Some(Fault::NoBulk) => return unchanged(GEN_ERR, 0),
        GET_BULK if device.fault == Some(Fault::TinyBulk) && pdu.third > 5 => return unchanged(TOO_BIG, 0),
        GET => pdu.oids.iter().map(|oid| get(device, oid, version)).collect(),
        GET_NEXT => pdu.oids.iter().map(|oid| next(device, oid, version)).collect(),
        GET_BULK if version == Version::V2 => Ok(bulk(device, pdu, room)),
        SET => return unchanged(if version == Version::V1 { NO_SUCH_NAME } else { NOT_WRITABLE }, 1),
        _ => return None,
    };
    match answer {
        Ok(varbinds) if size_of(&varbinds) > room => unchanged(TOO_BIG, 0),
        Ok(varbinds) => Some(Answer { status: NO_ERROR, index: 0, varbinds }),
        Err(missing) => {
            let index = pdu.oids.iter().position(|oid| *oid == missing).map_or(0, |n| n as i64 + 1);
            unchanged(NO_SUCH_NAME, index)
        }
    }
}

fn size_of(varbinds: &[VarBind]) -> usize {
    varbinds.iter().map(|vb| ber::varbind(vb).len()).sum::<usize>() + 100 // room for the headers
}

/// v1 has no exceptions: a missing object spoils the answer, and is named in the error.
fn get(device: &Device, oid: &Oid, version: Version) -> Result<VarBind, Oid> {
    device.touch(oid);
    match device.objects.value(oid) {
        // Counter64 does not exist in v1 (RFC 2576 §4.1.2.1).
        Some(Value::Counter64(_)) if version == Version::V1 => Err(oid.clone()),
        Some(value) => Ok(VarBind { oid: oid.clone(), value: value.clone() }),
        None if version == Version::V1 => Err(oid.clone()),
        None => Ok(VarBind { oid: oid.clone(), value: Value::NoSuchInstance }),
    }
}

fn next(device: &Device, oid: &Oid, version: Version) -> Result<VarBind, Oid> {
    let mut position = oid.clone();
    loop {
        match device.next_after(&position) {
            Some(found) if version == Version::V1 && matches!(found.value, Value::Counter64(_)) => {
                position = found.oid;
            }
            Some(found) => return Ok(found),
            None if version == Version::V1 => return Err(oid.clone()),
            None => return Ok(VarBind { oid: oid.clone(), value: Value::EndOfMibView }),
        }
    }
}

fn step(device: &Device, oid: &Oid) -> VarBind {
    device.next_after(oid).unwrap_or_else(|| VarBind { oid: oid.clone(), value: Value::EndOfMibView })
}

fn bulk(device: &Device, pdu: &Pdu, room: usize) -> Vec<VarBind> {
    let non_repeaters = usize::try_from(pdu.second).unwrap_or(0).min(pdu.oids.len());
    let (once, repeated) = pdu.oids.split_at(non_repeaters);
    let mut varbinds: Vec<VarBind> = once.iter().map(|oid| step(device, oid)).collect();
    let mut positions: Vec<Oid> = repeated.to_vec();
    let mut size = size_of(&varbinds);
    let is_huge = device.fault == Some(Fault::Huge) && !positions.is_empty();
    let repetitions = if is_huge { i64::MAX } else { pdu.third.clamp(0, REPETITIONS_MAX) };
    for _ in 0..repetitions {
        let row: Vec<VarBind> = positions.iter().map(|oid| step(device, oid)).collect();
        for varbind in &row {
            size += ber::varbind(varbind).len();
            if size > room {
                return varbinds;
            }
            varbinds.push(varbind.clone());
        }
        if !is_huge && row.iter().all(|varbind| varbind.value == Value::EndOfMibView) {
            break;
        }
        positions = row.into_iter().map(|varbind| varbind.oid).collect();
    }
    if device.fault == Some(Fault::Unordered) {
        swap_rows(varbinds.get_mut(once.len()..).unwrap_or_default(), repeated.len());
    }
    varbinds
}

/// The second row with the third, the fourth with the fifth, and so on; the first stays where it is.
fn swap_rows(varbinds: &mut [VarBind], width: usize) {
    for pair in varbinds.get_mut(width..).unwrap_or_default().chunks_exact_mut((2 * width).max(1)) {
        let (one, other) = pair.split_at_mut(width);
        one.iter_mut().zip(other).for_each(|(one, other)| std::mem::swap(one, other));
    }
}

/// The head and the security parameters of a v3 message, and what follows them.
struct V3<'a> {
    msg_id: i64,
    flags: u8,
    engine_id: &'a [u8],
    boots: i64,
    time_s: i64,
    user: &'a [u8],
    digest: &'a [u8],
    salt: &'a [u8],
    rest: &'a [u8],
}

impl<'a> V3<'a> {
    /// Of what follows the version.
    fn read(mut message: Reader<'a>) -> Option<Self> {
        let mut global = Reader(message.expect(SEQUENCE)?);
        let msg_id = global.integer()?;
        global.integer()?;
        let flags = *global.expect(OCTETS)?.first()?;
        if global.integer()? != 3 {
            return None;
        }
        let mut usm = Reader(Reader(message.expect(OCTETS)?).expect(SEQUENCE)?);
        Some(Self {
            msg_id,
            flags,
            engine_id: usm.expect(OCTETS)?,
            boots: usm.integer()?,
            time_s: usm.integer()?,
            user: usm.expect(OCTETS)?,
            digest: usm.expect(OCTETS)?,
            salt: usm.expect(OCTETS)?,
            rest: message.0,
        })
    }
}

/// What a v3 message to be written says of itself.
struct Head<'a> {
    msg_id: i64,
    user: &'a [u8],
    level: u8,
    context_name: &'a [u8],
    clock: (u32, u32),
}

fn v3_answer(device: &mut Device, message: Reader<'_>, datagram: &[u8]) -> Option<Vec<u8>> {
    let asked = V3::read(message)?;
    let report = |device: &Device, counter: Oid, request_id: i64, level: u8| {
        if asked.flags & FLAG_REPORTABLE == 0 {
            return None;
        }
        let clock = device.clock();
        let head = Head { msg_id: asked.msg_id, user: asked.user, level, context_name: &[], clock };
        secure(device, &head, &report_pdu(counter, request_id))
    };
    if asked.engine_id != device.engine_id() {
        return report(device, usm_stats(4), plain_request_id(asked.rest).unwrap_or(0), 0);
    }
    let Some(keys) = device.keys_of(asked.user) else { return report(device, usm_stats(3), 0, 0) };
    let level = keys.auth.as_ref().map_or(0, |_| FLAG_AUTH) | keys.privacy.as_ref().map_or(0, |_| FLAG_PRIVACY);
    let wanted = asked.flags & (FLAG_AUTH | FLAG_PRIVACY);
    if wanted & !level != 0 || wanted == FLAG_PRIVACY {
        return report(device, usm_stats(1), 0, 0);
    }
    if let (true, Some((algorithm, key))) = (asked.flags & FLAG_AUTH != 0, &keys.auth) {
        if !digest_is_right(*algorithm, key, datagram, asked.digest) {
            return report(device, usm_stats(5), 0, 0);
        }
        let (boots, time_s) = device.clock();
        if asked.boots != i64::from(boots) || (asked.time_s - i64::from(time_s)).abs() > 150 {
            return report(device, usm_stats(2), 0, FLAG_AUTH);
        }
    }
    let scoped = if let (true, Some(key)) = (asked.flags & FLAG_PRIVACY != 0, &keys.privacy) {
        let data = Reader(asked.rest).expect(OCTETS)?;
        let (boots, time_s) = (u32::try_from(asked.boots).ok()?, u32::try_from(asked.time_s).ok()?);
        match decrypt(key, boots, time_s, asked.salt, data).filter(|plain| plain.first() == Some(&SEQUENCE)) {
            Some(plain) => plain,
            None => return report(device, usm_stats(6), 0, FLAG_AUTH),
        }
    } else {
        asked.rest.to_vec()
    };
    let mut scoped = Reader(Reader(&scoped).expect(SEQUENCE)?);
    scoped.expect(OCTETS)?;
    let context_name = scoped.expect(OCTETS)?;
    let (tag, contents) = scoped.element()?;
    let pdu = parse_pdu(tag, contents)?;
    if context_name != keys.context_name {
        return report(device, unknown_contexts(), pdu.request_id, wanted);
    }
    device.last_repetitions = (pdu.operation == GET_BULK).then_some(pdu.third);
    let answer = act(device, &pdu, Version::V2, ANSWER_MAX_BYTES)?;
    let head = Head { msg_id: asked.msg_id, user: asked.user, level: wanted, context_name, clock: device.clock() };
    secure(device, &head, &response(&pdu, &answer))
}

/// A counter of usmStats (RFC 3414 §5).
pub(super) fn usm_stats(counter: u32) -> Oid {
    crate::oid!(1, 3, 6, 1, 6, 3, 15, 1, 1, counter, 0)
}

/// snmpUnknownContexts (RFC 3413 §3.2).
pub(super) fn unknown_contexts() -> Oid {
    crate::oid!(1, 3, 6, 1, 6, 3, 12, 1, 5, 0)
}

fn report_pdu(counter: Oid, request_id: i64) -> Vec<u8> {
    let counter = VarBind { oid: counter, value: Value::Counter32(1) };
    element(REPORT, &[integer(request_id), integer(0), integer(0), sequence(&[ber::varbind(&counter)])].concat())
}

/// Unsigned reports that answer a v3 request, with right ids and a clock to choose; none when it is no v3
/// request.
pub(super) fn unsigned_reports(device: &Device, datagram: &[u8], counters: &[Oid], clock: (u32, u32)) -> Vec<Vec<u8>> {
    let read = || {
        let mut message = Reader(Reader(datagram).expect(SEQUENCE)?);
        (message.integer()? == 3).then(|| V3::read(message))?
    };
    let Some(asked) = read() else { return Vec::new() };
    let head = Head { msg_id: asked.msg_id, user: asked.user, level: 0, context_name: &[], clock };
    let request_id = plain_request_id(asked.rest).unwrap_or(0);
    let reports = counters.iter().map(|counter| secure(device, &head, &report_pdu(counter.clone(), request_id)));
    reports.flatten().collect()
}

/// The request id of a plain scoped PDU, so that a report can repeat it.
fn plain_request_id(rest: &[u8]) -> Option<i64> {
    let mut scoped = Reader(Reader(rest).expect(SEQUENCE)?);
    scoped.expect(OCTETS)?;
    scoped.expect(OCTETS)?;
    let (_, contents) = scoped.element()?;
    Reader(contents).integer()
}

/// Whether the digest fits the message in which its own place is zero.
fn digest_is_right(algorithm: crate::snmp::AuthAlgorithm, key: &[u8], datagram: &[u8], claimed: &[u8]) -> bool {
    if claimed.len() != digest_bytes(algorithm) {
        return false;
    }
    // The digest lies in the datagram that was parsed, so its place is found by its address.
    let offset = (claimed.as_ptr() as usize).wrapping_sub(datagram.as_ptr() as usize);
    let mut zeroed = datagram.to_vec();
    let Some(place) = zeroed.get_mut(offset..offset.saturating_add(claimed.len())) else { return false };
    place.fill(0);
    digest(algorithm, key, &zeroed) == claimed
}

/// Wraps a PDU in a v3 message of a security level.
fn secure(device: &Device, head: &Head<'_>, pdu: &[u8]) -> Option<Vec<u8>> {
    let (boots, time_s) = head.clock;
    let engine_id = device.engine_id();
    let keys = device.known_keys(head.user);
    let scoped = sequence(&[element(OCTETS, engine_id), element(OCTETS, head.context_name), pdu.to_vec()]);
    let (scoped, salt) = match keys.and_then(|keys| keys.privacy.as_ref()).filter(|_| head.level & FLAG_PRIVACY != 0) {
        Some(key) => {
            let (data, salt) = encrypt(key, boots, time_s, scoped)?;
            (element(OCTETS, &data), salt.to_vec())
        }
        None => (scoped, Vec::new()),
    };
    let auth = keys.and_then(|keys| keys.auth.as_ref()).filter(|_| head.level & FLAG_AUTH != 0);
    let digest_room = vec![0; auth.map_or(0, |(algorithm, _)| digest_bytes(*algorithm))];
    let build = |digest: &[u8]| {
        let usm = sequence(&[
            element(OCTETS, engine_id),
            integer(i64::from(boots)),
            integer(i64::from(time_s)),
            element(OCTETS, head.user),
            element(OCTETS, digest),
            element(OCTETS, &salt),
        ]);
        let size = integer(device.message_max_bytes());
        let global = sequence(&[integer(head.msg_id), size, element(OCTETS, &[head.level]), integer(3)]);
        sequence(&[element(INTEGER, &[3]), global, element(OCTETS, &usm), scoped.clone()])
    };
    let zeroed = build(&digest_room);
    Some(match auth {
        Some((algorithm, key)) => build(&digest(*algorithm, key, &zeroed)),
        None => zeroed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::Recording;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn device() -> Device {
        let objects = Recording::from_objects([
            (crate::oid!(1, 3, 6, 1, 2, 1, 1, 1, 0), Value::OctetString(b"x".to_vec())),
            (crate::oid!(1, 3, 6, 1, 2, 1, 1, 3, 0), Value::TimeTicks(5)),
        ]);
        let users = Arc::new(super::super::Users::new(super::super::usual_users()));
        Device::new([127, 0, 0, 1].into(), objects, None, "public".to_owned(), users)
    }

    fn request(version: i64, community: &[u8], operation: u8, oid: &Oid) -> Vec<u8> {
        let list = sequence(&[sequence(&[ber::oid(oid), element(5, &[])])]);
        let pdu = element(operation, &[integer(7), integer(0), integer(3), list].concat());
        sequence(&[integer(version), element(OCTETS, community), pdu])
    }

    #[test]
    fn a_wrong_community_and_an_answer_get_no_answer() {
        let oid = crate::oid!(1, 3, 6, 1, 2, 1, 1, 1, 0);
        assert!(answer(&mut device(), &request(1, b"public", GET, &oid)).is_some());
        assert!(answer(&mut device(), &request(1, b"private", GET, &oid)).is_none());
        assert!(answer(&mut device(), &request(1, b"public", RESPONSE, &oid)).is_none());
    }

    #[test]
    fn set_is_refused_and_changes_nothing() {
        let mut device = device();
        let before = device.objects.clone();
        let oid = crate::oid!(1, 3, 6, 1, 2, 1, 1, 1, 0);
        let reply = answer(&mut device, &request(1, b"public", SET, &oid)).unwrap();
        let mut message = Reader(Reader(&reply).expect(SEQUENCE).unwrap());
        message.integer().unwrap();
        message.expect(OCTETS).unwrap();
        let mut pdu = Reader(message.expect(RESPONSE).unwrap());
        assert_eq!((pdu.integer(), pdu.integer()), (Some(7), Some(NOT_WRITABLE)));
        assert_eq!(device.objects, before);
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_agent_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&mut device(), &bytes);
        }

        #[test]
        fn a_damaged_request_gets_at_most_a_bounded_answer(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let oid = crate::oid!(1, 3, 6, 1, 2, 1, 1);
            for operation in [GET, GET_NEXT, GET_BULK] {
                let mut bytes = request(1, b"public", operation, &oid);
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if let Some(reply) = answer(&mut device(), &bytes) {
                    prop_assert!(reply.len() <= ANSWER_MAX_BYTES + 100);
                }
            }
        }
    }
}
