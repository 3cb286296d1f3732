//! The only place that knows the crate `snmp2`: its message codec and its user-based security model, never its sessions.
//!
//! Requests are made by filling in a parsed template, because the crate builds messages only from such. Answers are
//! checked here before the crate may change any state: it takes over an engine's boots and time before it has verified
//! the digest, so it is always given a throw-away copy whose clock already is the message's, and what an answer says of
//! the clock is taken over only when the digest was right. The crate also writes into the buffer that it decodes, so it
//! gets a private one.
//!
//! Known and not mended here: agents that announce a msgMaxSize above 65,507 cannot be read by v3 (the crate refuses the
//! header, which is under the digest), and after a value of an odd type in a v3 answer the rest of that answer is lost.

use std::fmt;
use std::time::Instant;

use snmp2::v3::{Auth, AuthProtocol, Cipher, KeyExtension, Security};
use snmp2::{AsnReader, MessageType, Pdu, Varbinds};

use super::ber::{self, VarBinds};
use super::credentials::{AuthAlgorithm, PrivacyAlgorithm, UsmUser};
use super::{Oid, UsmReport, Value, VarBind};

/// What may be asked. There is no SET in this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    GetNext,
    /// With non-repeaters and max-repetitions.
    GetBulk(u32, u32),
}

/// Community-based versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommunityVersion {
    V1,
    V2c,
}

/// An answer as the agent meant it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub error_status: u32,
    /// Index, from 1, of the binding that the error is about.
    pub error_index: u32,
    pub varbinds: VarBinds,
}

/// What a datagram is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// The answer to the request.
    Answer(Answer),
    /// A USM report. `authenticated` says whether it proves anything.
    Report { reason: UsmReport, engine: EngineFacts, authenticated: bool },
    /// Not to be believed: wrong digest, an old clock, not encrypted where it must be, another request's id.
    NotForUs,
    /// Not a message.
    Garbage(String),
}

/// What a message says of the engine that sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EngineFacts {
    pub engine_id: Vec<u8>,
    pub boots: i64,
    pub time_s: i64,
}

/// Version 0, empty community, GET without bindings.
const V1_TEMPLATE: &[u8] = &[
    0x30, 0x12, 0x02, 0x01, 0x00, 0x04, 0x00, 0xa0, 0x0b, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00, 0x30,
    0x00,
];
/// The same of version 1, which is v2c.
const V2C_TEMPLATE: &[u8] = &[
    0x30, 0x12, 0x02, 0x01, 0x01, 0x04, 0x00, 0xa0, 0x0b, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00, 0x30,
    0x00,
];
/// Version 3; msgID 0, msgMaxSize 65507, no flags, USM; empty security parameters; scoped GET without bindings.
const V3_TEMPLATE: &[u8] = &[
    0x30, 0x38, 0x02, 0x01, 0x03, 0x30, 0x0e, 0x02, 0x01, 0x00, 0x02, 0x03, 0x00, 0xff, 0xe3, 0x04, 0x01, 0x00, 0x02,
    0x01, 0x03, 0x04, 0x10, 0x30, 0x0e, 0x04, 0x00, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00, 0x04,
    0x00, 0x30, 0x11, 0x04, 0x00, 0x04, 0x00, 0xa0, 0x0b, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00, 0x30,
    0x00,
];
const FLAG_AUTH: u8 = 1;
const FLAG_PRIVACY: u8 = 2;
/// Largest boots and time of an engine (RFC 3414 §2.2).
const ENGINE_NUMBER_MAX: i64 = i32::MAX as i64;
/// How far an engine's clock may be behind what it said before, in seconds (RFC 3414 §2.2.3).
const TIME_WINDOW_S: i64 = 150;
/// usmStats, RFC 3414 §5.
const USM_STATS: &[u32] = &[1, 3, 6, 1, 6, 3, 15, 1, 1];

fn fill(pdu: &mut Pdu<'_>, operation: Operation, id: i32) {
    pdu.req_id = id;
    (pdu.message_type, pdu.error_status, pdu.error_index) = match operation {
        Operation::Get => (MessageType::GetRequest, 0, 0),
        Operation::GetNext => (MessageType::GetNextRequest, 0, 0),
        Operation::GetBulk(non_repeaters, repetitions) => (MessageType::GetBulkRequest, non_repeaters, repetitions),
    };
}

/// Makes a v1 or v2c request.
pub(super) fn encode_community(
    version: CommunityVersion,
    community: &[u8],
    operation: Operation,
    id: i32,
    oids: &[Oid],
) -> Result<Vec<u8>, String> {
    let template = match version {
        CommunityVersion::V1 => V1_TEMPLATE,
        CommunityVersion::V2c => V2C_TEMPLATE,
    };
    let varbinds = ber::request_varbinds(oids);
    let mut pdu = Pdu::from_bytes(template).map_err(|e| e.to_string())?;
    fill(&mut pdu, operation, id);
    pdu.community = community;
    pdu.varbinds = Varbinds::from_bytes(&varbinds);
    pdu.to_bytes().map_err(|e| e.to_string())
}

/// Reads an answer to a v1 or v2c request.
pub(super) fn decode_community(version: CommunityVersion, community: &[u8], datagram: &[u8], id: i32) -> Decoded {
    let bytes = datagram.to_vec();
    let pdu = match Pdu::from_bytes(&bytes) {
        Ok(pdu) => pdu,
        Err(error) => return Decoded::Garbage(error.to_string()),
    };
    let expected = match version {
        CommunityVersion::V1 => snmp2::Version::V1,
        CommunityVersion::V2c => snmp2::Version::V2C,
    };
    let is_ours = pdu.message_type == MessageType::Response
        && pdu.req_id == id
        && pdu.community == community
        && pdu.version().is_ok_and(|version| version as i64 == expected as i64);
    if !is_ours {
        return Decoded::NotForUs;
    }
    match community_varbinds(&bytes) {
        Some(list) => Decoded::Answer(Answer {
            error_status: pdu.error_status,
            error_index: pdu.error_index,
            varbinds: ber::parse_varbinds(list),
        }),
        None => Decoded::Garbage("the list of bindings is broken".to_owned()),
    }
}

/// The contents of the binding list of a v1 or v2c message.
fn community_varbinds(bytes: &[u8]) -> Option<&[u8]> {
    let mut message = AsnReader::from_bytes(AsnReader::from_bytes(bytes).read_raw(0x30).ok()?);
    message.read_asn_integer().ok()?;
    message.read_asn_octetstring().ok()?;
    let tag = message.peek_byte().ok()?;
    let mut pdu = AsnReader::from_bytes(message.read_raw(tag).ok()?);
    for _ in 0..3 {
        pdu.read_asn_integer().ok()?;
    }
    pdu.read_raw(0x30).ok()
}

/// The request id (v1, v2c) or msgID (v3) of a datagram: what the engine finds the request by.
pub(super) fn id_of(datagram: &[u8]) -> Option<i32> {
    let mut message = AsnReader::from_bytes(AsnReader::from_bytes(datagram).read_raw(0x30).ok()?);
    let version = message.read_asn_integer().ok()?;
    let mut inner = if version == 3 {
        AsnReader::from_bytes(message.read_raw(0x30).ok()?)
    } else {
        message.read_asn_octetstring().ok()?;
        let tag = message.peek_byte().ok()?;
        AsnReader::from_bytes(message.read_raw(tag).ok()?)
    };
    i32::try_from(inner.read_asn_integer().ok()?).ok()
}

/// A user at one engine: the keys made for it, and the engine's clock as far as it was proven.
#[derive(Clone)]
pub(super) struct UsmSession {
    security: Security,
    engine_id: Vec<u8>,
    boots: i64,
    time_s: i64,
    heard: Instant,
    level: u8,
}

impl fmt::Debug for UsmSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsmSession").field("boots", &self.boots).field("time_s", &self.time_s).finish_non_exhaustive()
    }
}

impl UsmSession {
    /// Makes the keys of `user` for an engine (RFC 3414 §2.6). Takes milliseconds to tens of them: not for the engine's task.
    pub(super) fn localise(user: &UsmUser, engine: &EngineFacts, now: Instant) -> Result<Self, String> {
        let mut level = 0;
        let mut security = match &user.auth {
            None => Security::new(user.name.as_bytes(), b"").with_auth(Auth::NoAuthNoPriv),
            Some((algorithm, password)) => {
                level |= FLAG_AUTH;
                let auth = match &user.privacy {
                    None => Auth::AuthNoPriv,
                    Some((cipher, password)) => {
                        level |= FLAG_PRIVACY;
                        Auth::AuthPriv { cipher: cipher_of(*cipher), privacy_password: password.as_bytes().to_vec() }
                    }
                };
                Security::new(user.name.as_bytes(), password.as_bytes())
                    .with_auth_protocol(protocol_of(*algorithm))
                    .with_auth(auth)
                    .with_key_extension_method(KeyExtension::Blumenthal)
            }
        };
        security = security.with_engine_id(&engine.engine_id).map_err(|e| e.to_string())?;
        Ok(Self {
            security,
            engine_id: engine.engine_id.clone(),
            boots: engine.boots,
            time_s: engine.time_s,
            heard: now,
            level,
        })
    }

    /// Takes over the clock that a report told: needed to be understood at all, and corrected by each proven answer.
    pub(super) fn set_clock(&mut self, engine: &EngineFacts, now: Instant) {
        (self.boots, self.time_s, self.heard) = (engine.boots, engine.time_s, now);
    }

    pub(super) fn engine_id(&self) -> &[u8] {
        &self.engine_id
    }

    /// Makes a request.
    pub(super) fn encode(&self, operation: Operation, id: i32, oids: &[Oid], now: Instant) -> Result<Vec<u8>, String> {
        let elapsed = i64::try_from(now.saturating_duration_since(self.heard).as_secs()).unwrap_or(0);
        let time_s = if self.boots == 0 { 0 } else { (self.time_s + elapsed).min(ENGINE_NUMBER_MAX) };
        let security = self.security.clone().with_engine_boots_and_time(self.boots, time_s);
        encode_v3(&security, operation, id, oids)
    }

    /// Reads a datagram that came in answer to request `id`, and learns the engine's clock from it when it is proven.
    pub(super) fn decode(&mut self, datagram: &[u8], id: i32, now: Instant) -> Decoded {
        let header = match V3Header::read(datagram) {
            Ok(header) => header,
            Err(problem) => return Decoded::Garbage(problem),
        };
        if header.msg_id != id {
            return Decoded::NotForUs;
        }
        if header.flags & FLAG_AUTH == 0 {
            return match decode_plain(datagram, &header) {
                Decoded::Answer(_) if self.level & FLAG_AUTH != 0 => Decoded::NotForUs,
                decoded => decoded,
            };
        }
        if self.level & FLAG_AUTH == 0 || header.engine.engine_id != self.engine_id {
            return Decoded::NotForUs;
        }
        let encrypted = header.flags & FLAG_PRIVACY != 0;
        let mut security = self.security.clone().with_engine_boots_and_time(header.engine.boots, header.engine.time_s);
        if !encrypted {
            security = security.with_auth(Auth::AuthNoPriv);
        }
        let bytes = datagram.to_vec();
        let pdu = match Pdu::from_bytes_with_security(&bytes, Some(&mut security)) {
            Ok(pdu) => pdu,
            Err(snmp2::Error::AuthFailure(_)) => return Decoded::NotForUs,
            Err(error) => return Decoded::Garbage(error.to_string()),
        };
        // From here on the digest was right.
        if pdu.message_type == MessageType::Report {
            return Decoded::Report { reason: report_of(&pdu), engine: header.engine, authenticated: true };
        }
        let must_be_encrypted = self.level & FLAG_PRIVACY != 0;
        let is_old = header.engine.boots < self.boots
            || (header.engine.boots == self.boots && header.engine.time_s + TIME_WINDOW_S < self.time_s);
        if pdu.message_type != MessageType::Response || pdu.req_id != id || (must_be_encrypted && !encrypted) || is_old
        {
            return Decoded::NotForUs;
        }
        let answer = answer_of(&pdu);
        self.set_clock(&header.engine, now);
        Decoded::Answer(answer)
    }
}

/// Makes the message that asks an unknown engine for its id (RFC 3414 §4).
pub(super) fn encode_discovery(id: i32) -> Result<Vec<u8>, String> {
    encode_v3(&Security::new(b"", b"").with_auth(Auth::NoAuthNoPriv), Operation::Get, id, &[])
}

/// Reads the answer to [`encode_discovery`].
pub(super) fn decode_discovery(datagram: &[u8], id: i32) -> Decoded {
    match V3Header::read(datagram) {
        Ok(header) if header.msg_id == id && header.flags & FLAG_AUTH == 0 => decode_plain(datagram, &header),
        Ok(_) => Decoded::NotForUs,
        Err(problem) => Decoded::Garbage(problem),
    }
}

fn encode_v3(security: &Security, operation: Operation, id: i32, oids: &[Oid]) -> Result<Vec<u8>, String> {
    let mut scratch = scratch_security(&[1])?;
    let varbinds = ber::request_varbinds(oids);
    let mut pdu = Pdu::from_bytes_with_security(V3_TEMPLATE, Some(&mut scratch)).map_err(|e| e.to_string())?;
    fill(&mut pdu, operation, id);
    pdu.varbinds = Varbinds::from_bytes(&varbinds);
    pdu.to_bytes_with_security(Some(security)).map_err(|e| e.to_string())
}

fn scratch_security(engine_id: &[u8]) -> Result<Security, String> {
    Security::new(b"", b"").with_auth(Auth::NoAuthNoPriv).with_engine_id(engine_id).map_err(|e| e.to_string())
}

/// Reads a message without a digest.
fn decode_plain(datagram: &[u8], header: &V3Header) -> Decoded {
    let engine_id: &[u8] = if header.engine.engine_id.is_empty() { &[1] } else { &header.engine.engine_id };
    let mut scratch = match scratch_security(engine_id) {
        Ok(scratch) => scratch.with_engine_boots_and_time(header.engine.boots, header.engine.time_s),
        Err(problem) => return Decoded::Garbage(problem),
    };
    let bytes = datagram.to_vec();
    match Pdu::from_bytes_with_security(&bytes, Some(&mut scratch)) {
        Ok(pdu) if pdu.message_type == MessageType::Report => {
            Decoded::Report { reason: report_of(&pdu), engine: header.engine.clone(), authenticated: false }
        }
        Ok(pdu) if pdu.message_type == MessageType::Response && pdu.req_id == header.msg_id => {
            Decoded::Answer(answer_of(&pdu))
        }
        Ok(_) => Decoded::NotForUs,
        Err(error) => Decoded::Garbage(error.to_string()),
    }
}

fn answer_of(pdu: &Pdu<'_>) -> Answer {
    let read = pdu
        .varbinds
        .clone()
        .filter_map(|(oid, value)| Some(VarBind { oid: ber::parse_oid(oid.as_bytes())?, value: value_of(&value)? }));
    let varbinds = VarBinds { read: read.collect(), ..VarBinds::default() };
    Answer { error_status: pdu.error_status, error_index: pdu.error_index, varbinds }
}

fn value_of(value: &snmp2::Value<'_>) -> Option<Value> {
    use snmp2::Value as Wire;
    Some(match value {
        Wire::Null => Value::Null,
        Wire::Integer(n) => Value::Integer(*n),
        Wire::OctetString(bytes) => Value::OctetString(bytes.to_vec()),
        Wire::ObjectIdentifier(oid) => Value::ObjectId(ber::parse_oid(oid.as_bytes())?),
        Wire::IpAddress(octets) => Value::IpAddress((*octets).into()),
        Wire::Counter32(n) => Value::Counter32(*n),
        Wire::Unsigned32(n) => Value::Gauge32(*n),
        Wire::Timeticks(n) => Value::TimeTicks(*n),
        Wire::Opaque(bytes) => Value::Opaque(bytes.to_vec()),
        Wire::Counter64(n) => Value::Counter64(*n),
        Wire::EndOfMibView => Value::EndOfMibView,
        Wire::NoSuchObject => Value::NoSuchObject,
        Wire::NoSuchInstance => Value::NoSuchInstance,
        _ => return None,
    })
}

fn report_of(pdu: &Pdu<'_>) -> UsmReport {
    let oid = pdu.varbinds.clone().next().and_then(|(oid, _)| ber::parse_oid(oid.as_bytes()));
    let arc = oid.as_ref().and_then(|oid| oid.arcs().strip_prefix(USM_STATS)).and_then(|rest| rest.first()).copied();
    match arc {
        Some(1) => UsmReport::UnsupportedSecurityLevel,
        Some(2) => UsmReport::NotInTimeWindow,
        Some(3) => UsmReport::UnknownUser,
        Some(4) => UsmReport::UnknownEngineId,
        Some(5) => UsmReport::WrongDigest,
        Some(6) => UsmReport::DecryptionError,
        _ => UsmReport::Other,
    }
}

/// What stands before the scoped PDU of a v3 message.
struct V3Header {
    msg_id: i32,
    flags: u8,
    engine: EngineFacts,
}

impl V3Header {
    fn read(datagram: &[u8]) -> Result<Self, String> {
        Self::parse(datagram).map_err(|e| e.to_string()).and_then(|header| {
            let in_range = |n: i64| (0..=ENGINE_NUMBER_MAX).contains(&n);
            if in_range(header.engine.boots) && in_range(header.engine.time_s) && header.engine.engine_id.len() <= 32 {
                Ok(header)
            } else {
                Err("engine id, boots or time out of range".to_owned())
            }
        })
    }

    fn parse(datagram: &[u8]) -> Result<Self, snmp2::Error> {
        let mut message = AsnReader::from_bytes(AsnReader::from_bytes(datagram).read_raw(0x30)?);
        if message.read_asn_integer()? != 3 {
            return Err(snmp2::Error::UnsupportedVersion);
        }
        let mut global = AsnReader::from_bytes(message.read_raw(0x30)?);
        let msg_id = i32::try_from(global.read_asn_integer()?)?;
        global.read_asn_integer()?;
        let flags = global.read_asn_octetstring()?.first().copied().unwrap_or_default();
        let parameters = message.read_asn_octetstring()?;
        let mut usm = AsnReader::from_bytes(AsnReader::from_bytes(parameters).read_raw(0x30)?);
        let engine_id = usm.read_asn_octetstring()?.to_vec();
        let engine = EngineFacts { engine_id, boots: usm.read_asn_integer()?, time_s: usm.read_asn_integer()? };
        Ok(Self { msg_id, flags, engine })
    }
}

fn protocol_of(algorithm: AuthAlgorithm) -> AuthProtocol {
    match algorithm {
        AuthAlgorithm::Md5 => AuthProtocol::Md5,
        AuthAlgorithm::Sha1 => AuthProtocol::Sha1,
        AuthAlgorithm::Sha224 => AuthProtocol::Sha224,
        AuthAlgorithm::Sha256 => AuthProtocol::Sha256,
        AuthAlgorithm::Sha384 => AuthProtocol::Sha384,
        AuthAlgorithm::Sha512 => AuthProtocol::Sha512,
    }
}

fn cipher_of(algorithm: PrivacyAlgorithm) -> Cipher {
    match algorithm {
        PrivacyAlgorithm::Des => Cipher::Des,
        PrivacyAlgorithm::Aes128 => Cipher::Aes128,
        PrivacyAlgorithm::Aes192 => Cipher::Aes192,
        PrivacyAlgorithm::Aes256 => Cipher::Aes256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid;
    use proptest::prelude::*;

    fn user() -> UsmUser {
        UsmUser::new(
            "reader",
            Some((AuthAlgorithm::Sha256, "maplesyrup")),
            Some((PrivacyAlgorithm::Aes128, "maplesyrup")),
        )
        .unwrap()
    }

    fn engine() -> EngineFacts {
        EngineFacts { engine_id: vec![0x80, 0, 0x1f, 0x88, 4, 1, 2, 3], boots: 3, time_s: 1_000 }
    }

    #[test]
    fn ids_are_found_in_requests_of_every_version() {
        let oids = [oid!(1, 3, 6, 1, 2, 1, 1, 1, 0)];
        for version in [CommunityVersion::V1, CommunityVersion::V2c] {
            let bytes = encode_community(version, b"public", Operation::Get, 0x4000_0001, &oids).unwrap();
            assert_eq!(id_of(&bytes), Some(0x4000_0001));
        }
        assert_eq!(id_of(&encode_discovery(77).unwrap()), Some(77));
        let session = UsmSession::localise(&user(), &engine(), Instant::now()).unwrap();
        let bytes = session.encode(Operation::GetBulk(0, 10), 78, &oids, Instant::now()).unwrap();
        assert_eq!(id_of(&bytes), Some(78));
    }

    #[test]
    fn nothing_but_reading_is_ever_encoded() {
        let oids = [oid!(1, 3, 6, 1, 2, 1, 1, 5, 0)];
        for operation in [Operation::Get, Operation::GetNext, Operation::GetBulk(0, 5)] {
            let bytes = encode_community(CommunityVersion::V2c, b"c", operation, 1, &oids).unwrap();
            // SEQUENCE, version, community "c", then the PDU's tag.
            let tag = bytes[2 + 3 + 3];
            assert!(matches!(tag, 0xa0 | 0xa1 | 0xa5), "{tag:#x}");
        }
    }

    #[test]
    fn a_request_echoed_or_of_another_id_or_community_is_not_for_us() {
        let oids = [oid!(1, 3, 6, 1, 2, 1, 1, 5, 0)];
        let mut bytes = encode_community(CommunityVersion::V2c, b"c", Operation::Get, 7, &oids).unwrap();
        assert_eq!(decode_community(CommunityVersion::V2c, b"c", &bytes, 7), Decoded::NotForUs);
        bytes[2 + 3 + 3] = 0xa2; // now it is a response
        assert!(matches!(decode_community(CommunityVersion::V2c, b"c", &bytes, 7), Decoded::Answer(_)));
        assert_eq!(decode_community(CommunityVersion::V2c, b"c", &bytes, 8), Decoded::NotForUs);
        assert_eq!(decode_community(CommunityVersion::V2c, b"d", &bytes, 7), Decoded::NotForUs);
        assert_eq!(decode_community(CommunityVersion::V1, b"c", &bytes, 7), Decoded::NotForUs);
    }

    #[test]
    fn a_spoofed_clock_does_not_lock_a_printer_out() {
        let now = Instant::now();
        let mut session = UsmSession::localise(&user(), &engine(), now).unwrap();
        // Somebody sends a message in our name whose digest is made with other keys and whose boots are the highest.
        let forged_engine = EngineFacts { boots: ENGINE_NUMBER_MAX, ..engine() };
        let other = UsmUser::new("reader", Some((AuthAlgorithm::Sha256, "other-password")), None).unwrap();
        let forger = UsmSession::localise(&other, &forged_engine, now).unwrap();
        let forged = forger.encode(Operation::Get, 9, &[], now).unwrap();
        assert_eq!(session.decode(&forged, 9, now), Decoded::NotForUs);
        assert_eq!((session.boots, session.time_s), (3, 1_000));
    }

    proptest! {
        #[test]
        fn no_datagram_makes_a_decoder_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), id in any::<i32>(),
        ) {
            let _ = id_of(&bytes);
            let _ = decode_community(CommunityVersion::V2c, b"public", &bytes, id);
            let _ = decode_discovery(&bytes, id);
        }

        #[test]
        fn no_change_of_a_real_message_makes_a_decoder_panic(
            position in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let now = Instant::now();
            let plain = UsmUser::new("reader", None, None).unwrap();
            let mut session = UsmSession::localise(&plain, &engine(), now).unwrap();
            let oids = [oid!(1, 3, 6, 1, 2, 1, 1, 5, 0)];
            let v3 = session.encode(Operation::GetNext, 5, &oids, now).unwrap();
            let v2c = encode_community(CommunityVersion::V2c, b"c", Operation::Get, 5, &oids).unwrap();
            for mut bytes in [v3, v2c] {
                let at = position.index(bytes.len());
                bytes[at] = byte;
                let whole = cut.index(bytes.len() + 1);
                for bytes in [&bytes[..], &bytes[..whole]] {
                    let _ = session.decode(bytes, 5, now);
                    let _ = decode_community(CommunityVersion::V2c, b"c", bytes, 5);
                }
            }
        }
    }
}
