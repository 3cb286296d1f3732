//! SNMPv3 messages (RFC 3412 §6) with the user-based security model (RFC 3414, RFC 7860, RFC 3826).
//!
//! The crate signs, verifies, encrypts and decrypts; the header and the bindings are read here, because what the crate
//! does with them cannot be had as it is. Its defects bear numbers, and each has a test of that number:
//!
//! - Mended in our copy of it (`vendor/snmp2/README.md`): it refused agents that announce a msgMaxSize above 65,507
//!   (1), took boots and time over before the signature was compared (2), wrote zeros into its input through a shared
//!   reference (3), kept the decrypted bytes to itself (half of 4), overflowed on hostile times (9), and refused
//!   agents whose snmpEngineBoots is 0 for ever.
//! - Against 2 and 9 there is a second wall here: times out of range are refused, each datagram is decoded with a
//!   clone of the security state, preset to the very boots and time of that datagram, and what is worth keeping is
//!   kept in our own [`EngineClock`], after the signature was found right.
//! - It drops what it cannot read of a list of bindings (4) and all reports (5): we read them. What is signed and not
//!   encrypted is not given to it at all.
//! - It does not carry the agent's time on (6): boots and time are set before each encoding.
//! - A wrong privacy password looks like silence (7): the session finds out with [`Peer::has_answered`].
//! - It crashes on an empty password (8): [`UsmUser`] has none. It crashes on messages above 65,507 bytes (10):
//!   requests are far shorter.
//! - It makes the keys of an engine from passwords at 8 to 25 ms each (11): once for each engine, off the reactor.
//! - It does not compare msgID and request id, nor cuts off what follows a message (12): we do.
//! - It writes a Counter64 of 2^63 and more as negative (13): we never write values.
//!
//! An agent whose snmpEngineBoots is 0 for ever (RFC 3414 §2.2.1 forbids it) is read, and what is lost by that is
//! little: an answer from before its restart is not told by its boots, but it still would have to bear the msgID and
//! the request id of a request in flight, 31 random bits each, under the signature.
//!
//! **Known limit:** the crate keeps passwords and keys in memory that it does not wipe; ours are wiped.

use super::ber::{self, BerError, Reader};
use super::writer::{Envelope, Pdu};
use super::{Decoded, EncodeError, GET_RESPONSE, PduFields, REPORT, Report, Request, varbinds};
use crate::snmp::clock::{EngineClock, MAX_COUNT};
use crate::snmp::limits::{MAX_DATAGRAM_BYTES, MAX_ENGINE_ID_BYTES};
use crate::snmp::{AuthAlgorithm, PrivacyAlgorithm, SecurityLevel, UsmReport, UsmUser};
use snmp2::v3::{Auth, AuthProtocol, Cipher, KeyExtension, Security};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

const FLAG_AUTH: u8 = 0b001;
const FLAG_PRIV: u8 = 0b010;
const FLAG_REPORTABLE: u8 = 0b100;
/// The number of the security model.
pub(super) const USM: i64 = 3;

/// The msgMaxSize that we announce: what one datagram holds.
const MAX_MESSAGE: i64 = MAX_DATAGRAM_BYTES as i64;

/// usmStats (RFC 3414 §5): the objects that reports are made of; the arc behind says which.
const USM_STATS: [u32; 9] = [1, 3, 6, 1, 6, 3, 15, 1, 1];

/// One SNMPv3 engine as one user sees it: keys, engine id, clock.
pub(in crate::snmp) struct Peer {
    security: Security,
    level: SecurityLevel,
    engine_id: Vec<u8>,
    context: Vec<u8>,
    /// The octets of a signature: some of the digest's.
    signature: usize,
    clock: Mutex<EngineClock>,
    answered: AtomicBool,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("engine_id", &self.engine_id).field("level", &self.level).finish_non_exhaustive()
    }
}

impl Peer {
    /// Localises the user's keys for the engine that a discovery has named (RFC 3414 §2.6).
    /// Costs 8 to 25 ms of CPU for each password: not for a thread that serves others.
    ///
    /// # Errors
    /// In words, when the engine id or the algorithms cannot work.
    pub(in crate::snmp) fn new(user: &UsmUser, discovered: &Report, now: Instant) -> Result<Self, String> {
        let engine_id = discovered.engine_id.clone();
        if engine_id.is_empty() || engine_id.len() > MAX_ENGINE_ID_BYTES {
            return Err(format!("the agent's engine id has {} octets, where 5 to 32 belong", engine_id.len()));
        }
        let security = security(user)
            .with_engine_id(&engine_id)
            .map_err(|error| format!("no keys can be made for the SNMPv3 user: {error}"))?;
        let clock = Mutex::new(EngineClock::guess(discovered.boots, discovered.time, now));
        Ok(Self {
            security,
            level: user.level(),
            engine_id,
            context: user.context_name().as_bytes().to_vec(),
            signature: user.authentication().map_or(0, |(algorithm, _)| digest(*algorithm).truncation_length()),
            clock,
            answered: AtomicBool::new(false),
        })
    }

    fn clock(&self) -> MutexGuard<'_, EngineClock> {
        // A clock is two numbers: whole whatever happened to the thread that held it.
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine's id, boots and time, in the form of the report that would bring them.
    pub(in crate::snmp) fn as_discovered(&self, now: Instant) -> Report {
        let (boots, time) = self.clock().now(now);
        Report {
            reason: UsmReport::UnknownEngineId,
            engine_id: self.engine_id.clone(),
            boots,
            time,
            authenticated: false,
        }
    }

    /// Whether this user's messages are signed.
    pub(in crate::snmp) fn is_signed(&self) -> bool {
        self.level != SecurityLevel::NoAuthNoPriv
    }

    /// Whether this engine has ever answered this user: then its passwords are right.
    pub(in crate::snmp) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// The security state with the time of this moment in it.
    fn security_at(&self, boots: u32, time: u32) -> Security {
        self.security.clone().with_engine_boots_and_time(boots.into(), time.into())
    }

    pub(super) fn encode(&self, request: &Request, id: i32, now: Instant) -> Result<Vec<u8>, EncodeError> {
        let (boots, time) = self.clock().now(now);
        let names = varbinds::names(request.oids())?;
        let scoped = Pdu::request(request, id, &names).scoped(&self.engine_id, &self.context);
        self.seal(self.envelope(id, FLAG_REPORTABLE, boots, time), scoped)
    }

    /// What stands around a message between this user and this engine.
    fn envelope(&self, id: i32, flags: u8, boots: u32, time: u32) -> Envelope<'_> {
        let level = match self.level {
            SecurityLevel::NoAuthNoPriv => 0,
            SecurityLevel::AuthNoPriv => FLAG_AUTH,
            SecurityLevel::AuthPriv => FLAG_AUTH | FLAG_PRIV,
        };
        Envelope {
            id: id.into(),
            max_size: MAX_MESSAGE,
            flags: flags | level,
            engine_id: &self.engine_id,
            boots: boots.into(),
            time: time.into(),
            user: self.security.username(),
            signature: self.signature,
            salt: Vec::new(),
        }
    }

    /// Encrypts and signs, as the flags say.
    fn seal(&self, mut envelope: Envelope<'_>, mut scoped: Vec<u8>) -> Result<Vec<u8>, EncodeError> {
        let codec = |error: snmp2::Error| EncodeError::Codec(error.to_string());
        let encrypted = envelope.flags & FLAG_PRIV != 0;
        if encrypted {
            let count = |number: i64| u32::try_from(number).unwrap_or(MAX_COUNT).min(MAX_COUNT);
            let security = self.security_at(count(envelope.boots), count(envelope.time));
            (scoped, envelope.salt) = security.encrypt(&scoped).map_err(codec)?;
        }
        let (mut message, place) = envelope.write(&scoped, encrypted);
        if envelope.flags & FLAG_AUTH != 0 {
            let digest = self.security.calculate_hmac(&message).map_err(codec)?;
            for (octet, of_digest) in message.iter_mut().skip(place).zip(digest.iter().take(envelope.signature)) {
                *octet = *of_digest;
            }
        }
        Ok(message)
    }

    pub(super) fn decode(&self, datagram: &[u8], ids: &[i32], now: Instant) -> Decoded {
        let header = match Header::read(datagram) {
            Ok(header) => header,
            Err(problem) => return Decoded::Unreadable(problem),
        };
        if !header.bears_one_of(ids) {
            return Decoded::Ignored("it answers another request");
        }
        if header.flags & FLAG_AUTH == 0 {
            return self.decode_unsigned(&header, ids, now);
        }
        if self.level == SecurityLevel::NoAuthNoPriv {
            return Decoded::Ignored("it is signed for a user without a password");
        }
        self.decode_signed(&header, ids, now)
    }

    /// Unsigned: an answer only for a user without a password; a report for everybody, as a hint.
    fn decode_unsigned(&self, header: &Header<'_>, ids: &[i32], now: Instant) -> Decoded {
        let pdu = match header.plain_pdu() {
            Ok(pdu) => pdu,
            Err(problem) => return Decoded::Unreadable(problem),
        };
        match pdu.tag {
            REPORT => {
                let report = header.report(report_reason(&varbinds::read(pdu.names)), false);
                // Whoever has been answered sends the right time, or one that the agent does not look at (RFC 3414
                // §3.2 step 7 is of signed messages): a report that anybody could have sent changes nothing then.
                if report.reason == UsmReport::NotInTimeWindow && !self.has_answered() {
                    self.clock().suggest(report.boots, report.time, now);
                }
                Decoded::Report(report)
            }
            GET_RESPONSE if self.level != SecurityLevel::NoAuthNoPriv => {
                Decoded::Ignored("it is not signed, and this user's answers are")
            }
            GET_RESPONSE if header.engine_id != self.engine_id => Decoded::Ignored("it is of another engine"),
            GET_RESPONSE if header.user != self.security.username() => Decoded::Ignored("it is for another user"),
            GET_RESPONSE if !pdu.bears_one_of(ids) => Decoded::Ignored("it answers another request"),
            GET_RESPONSE => {
                self.answered.store(true, Ordering::Relaxed);
                Decoded::Response(pdu.response())
            }
            _ => Decoded::Ignored("it is no response"),
        }
    }

    fn decode_signed(&self, header: &Header<'_>, ids: &[i32], now: Instant) -> Decoded {
        let verdict =
            if header.flags & FLAG_PRIV == 0 { self.signed_in_clear(header, ids) } else { self.encrypted(header, ids) };
        match &verdict {
            // The time window guards against old answers played back; a report only ever sets the clock.
            Decoded::Response(_) if !self.clock().accepts(header.boots, header.time, now) => {
                Decoded::Ignored("it is older than 150 s")
            }
            Decoded::Response(_) => {
                self.clock().commit(header.boots, header.time, now);
                self.answered.store(true, Ordering::Relaxed);
                verdict
            }
            Decoded::Report(_) => {
                self.clock().commit(header.boots, header.time, now);
                verdict
            }
            Decoded::Ignored(_) | Decoded::Unreadable(_) => verdict,
        }
    }

    /// Signed and not encrypted. The crate would verify it, and then refuse what it cannot read of the PDU.
    fn signed_in_clear(&self, header: &Header<'_>, ids: &[i32]) -> Decoded {
        if header.engine_id != self.engine_id || header.user != self.security.username() {
            return Decoded::Unreadable("it is signed for another engine or user".to_owned());
        }
        if !self.has_signed(header) {
            return Decoded::Unreadable("its signature is not of this user's password".to_owned());
        }
        match Self::verified(header, header.plain_pdu(), ids) {
            Decoded::Response(_) if self.level == SecurityLevel::AuthPriv => {
                Decoded::Ignored("it is not encrypted, and this user's answers are")
            }
            verdict => verdict,
        }
    }

    /// Whether the signature is what this user's key makes of the message with zeros in its place (RFC 3414 §6.3.2).
    fn has_signed(&self, header: &Header<'_>) -> bool {
        let mut unsigned = header.message.to_vec();
        let Some(place) = unsigned.get_mut(header.signature_at..).and_then(|rest| rest.get_mut(..self.signature))
        else {
            return false;
        };
        place.fill(0);
        let digest = self.security.calculate_hmac(&unsigned).unwrap_or_default();
        let Some(expected) = digest.get(..self.signature) else { return false };
        // All octets are compared, so that the time it takes does not tell how many are right.
        let differences = expected.iter().zip(header.signature).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        header.signature.len() == self.signature && self.signature > 0 && differences == 0
    }

    /// Signed and encrypted.
    fn encrypted(&self, header: &Header<'_>, ids: &[i32]) -> Decoded {
        let mut scratch = self.security_at(header.boots, header.time);
        let verified = snmp2::Pdu::from_bytes_with_security(header.message, Some(&mut scratch)).map(|_| ());
        match verified {
            // It decrypts only what it has verified; so these bytes are the agent's, whatever the crate thinks of them.
            _ if !scratch.decrypted().is_empty() => Self::verified(header, decrypted_pdu(scratch.decrypted()), ids),
            Ok(()) => Decoded::Unreadable("there is nothing in it".to_owned()),
            Err(error) => Decoded::Unreadable(format!("SNMPv3: {error}")),
        }
    }

    /// What a message says whose signature is right.
    fn verified(header: &Header<'_>, pdu: Result<PduFields<'_>, String>, ids: &[i32]) -> Decoded {
        match pdu {
            Err(problem) => Decoded::Unreadable(problem),
            Ok(pdu) if pdu.tag == REPORT => {
                Decoded::Report(header.report(report_reason(&varbinds::read(pdu.names)), true))
            }
            Ok(pdu) if pdu.tag != GET_RESPONSE => Decoded::Ignored("it is no response"),
            Ok(pdu) if !pdu.bears_one_of(ids) => Decoded::Ignored("it answers another request"),
            Ok(pdu) => Decoded::Response(pdu.response()),
        }
    }
}

/// The crate's form of a user, without keys.
fn security(user: &UsmUser) -> Security {
    let password = user.authentication().map(|(_, password)| password.expose()).unwrap_or_default();
    let mut security = Security::new(user.name().as_bytes(), password).with_context_name(user.context_name());
    let Some((algorithm, _)) = user.authentication() else {
        return security.with_auth(Auth::NoAuthNoPriv);
    };
    security = security.with_auth_protocol(digest(*algorithm));
    let Some((algorithm, password)) = user.privacy() else {
        return security.with_auth(Auth::AuthNoPriv);
    };
    let (cipher, extension) = match algorithm {
        PrivacyAlgorithm::Des => (Cipher::Des, KeyExtension::Blumenthal),
        PrivacyAlgorithm::Aes128 => (Cipher::Aes128, KeyExtension::Blumenthal),
        PrivacyAlgorithm::Aes192 => (Cipher::Aes192, KeyExtension::Blumenthal),
        PrivacyAlgorithm::Aes256 => (Cipher::Aes256, KeyExtension::Blumenthal),
        PrivacyAlgorithm::Aes192Reeder => (Cipher::Aes192, KeyExtension::Reeder),
        PrivacyAlgorithm::Aes256Reeder => (Cipher::Aes256, KeyExtension::Reeder),
    };
    security
        .with_auth(Auth::AuthPriv { cipher, privacy_password: password.expose().to_vec() })
        .with_key_extension_method(extension)
}

fn digest(algorithm: AuthAlgorithm) -> AuthProtocol {
    match algorithm {
        AuthAlgorithm::Md5 => AuthProtocol::Md5,
        AuthAlgorithm::Sha1 => AuthProtocol::Sha1,
        AuthAlgorithm::Sha224 => AuthProtocol::Sha224,
        AuthAlgorithm::Sha256 => AuthProtocol::Sha256,
        AuthAlgorithm::Sha384 => AuthProtocol::Sha384,
        AuthAlgorithm::Sha512 => AuthProtocol::Sha512,
    }
}

/// The question for an agent's engine id: no user, no engine, no objects (RFC 3414 §4).
pub(super) fn encode_discovery(id: i32) -> Vec<u8> {
    let envelope = Envelope {
        id: id.into(),
        max_size: MAX_MESSAGE,
        flags: FLAG_REPORTABLE,
        engine_id: &[],
        boots: 0,
        time: 0,
        user: &[],
        signature: 0,
        salt: Vec::new(),
    };
    envelope.write(&Pdu::empty(id).scoped(&[], &[]), false).0
}

/// Whatever an agent answers to that question, its engine id is in the header.
pub(super) fn decode_discovery(datagram: &[u8], ids: &[i32]) -> Decoded {
    let header = match Header::read(datagram) {
        Ok(header) => header,
        Err(problem) => return Decoded::Unreadable(problem),
    };
    if !header.bears_one_of(ids) {
        return Decoded::Ignored("it answers another request");
    }
    let reason = header.plain_pdu().map_or(UsmReport::Other, |pdu| report_reason(&varbinds::read(pdu.names)));
    Decoded::Report(header.report(reason, false))
}

/// Which of the usmStats a report is about.
fn report_reason(bindings: &varbinds::Bindings) -> UsmReport {
    let stats = bindings.list.first().and_then(|binding| binding.oid.arcs().strip_prefix(&USM_STATS));
    match stats.and_then(|rest| rest.first()) {
        Some(1) => UsmReport::UnsupportedSecurityLevel,
        Some(2) => UsmReport::NotInTimeWindow,
        Some(3) => UsmReport::UnknownUser,
        Some(4) => UsmReport::UnknownEngineId,
        Some(5) => UsmReport::WrongDigest,
        Some(6) => UsmReport::DecryptionError,
        _ => UsmReport::Other,
    }
}

/// The outside of an SNMPv3 message, not yet verified (RFC 3412 §6, RFC 3414 §2.4).
#[derive(Debug)]
struct Header<'a> {
    /// The message and nothing behind it.
    message: &'a [u8],
    id: i64,
    flags: u8,
    engine_id: &'a [u8],
    boots: u32,
    time: u32,
    user: &'a [u8],
    signature: &'a [u8],
    /// Where in the message the signature begins.
    signature_at: usize,
    /// The scoped PDU, or what is encrypted of it.
    data: (u8, &'a [u8]),
}

impl<'a> Header<'a> {
    fn read(datagram: &'a [u8]) -> Result<Self, String> {
        let header = Self::parse(datagram).map_err(|error| error.to_string())?;
        header.ok_or_else(|| "it is no SNMPv3 message with user-based security".to_owned())
    }

    fn parse(datagram: &'a [u8]) -> Result<Option<Self>, BerError> {
        let content = Reader::new(datagram).expect(ber::SEQUENCE)?;
        // Tag, length octets, contents: there the message ends, whatever follows.
        let before = match datagram.get(1) {
            Some(octet @ 0x80..) => 2 + usize::from(octet & 0x7f),
            _ => 2,
        };
        let message = datagram.split_at_checked(before + content.len()).map_or(datagram, |(message, _)| message);

        let mut reader = Reader::new(content);
        if reader.integer()? != super::VERSION_3 {
            return Ok(None);
        }
        let mut global = Reader::new(reader.expect(ber::SEQUENCE)?);
        let id = global.integer()?;
        global.integer()?; // msgMaxSize: what the agent can receive; more than we ever send
        let flags = global.expect(ber::OCTET_STRING)?.first().copied().unwrap_or(0);
        if global.integer()? != USM {
            return Ok(None);
        }
        let mut usm = Reader::new(Reader::new(reader.expect(ber::OCTET_STRING)?).expect(ber::SEQUENCE)?);
        let engine_id = usm.expect(ber::OCTET_STRING)?;
        let count = |number: i64| u32::try_from(number).ok().filter(|n| *n <= MAX_COUNT).ok_or(BerError::Number);
        let boots = count(usm.integer()?)?;
        let time = count(usm.integer()?)?;
        let user = usm.expect(ber::OCTET_STRING)?;
        // Missing where nothing is signed, in a report that an agent has made short.
        let signature = usm.expect(ber::OCTET_STRING).unwrap_or_default();
        let signature_at = signature.as_ptr().addr().saturating_sub(message.as_ptr().addr());
        let data = reader.element()?;
        Ok(Some(Self { message, id, flags, engine_id, boots, time, user, signature, signature_at, data }))
    }

    fn bears_one_of(&self, ids: &[i32]) -> bool {
        ids.iter().any(|id| i64::from(*id) == self.id)
    }

    /// The PDU of a message that is not encrypted.
    fn plain_pdu(&self) -> Result<PduFields<'a>, String> {
        let (tag, content) = self.data;
        if tag != ber::SEQUENCE {
            return Err("it is encrypted".to_owned());
        }
        scoped_pdu(content).map_err(|error| error.to_string())
    }

    fn report(&self, reason: UsmReport, authenticated: bool) -> Report {
        Report { reason, engine_id: self.engine_id.to_vec(), boots: self.boots, time: self.time, authenticated }
    }
}

/// The PDU in what was decrypted, which may end in padding.
fn decrypted_pdu(decrypted: &[u8]) -> Result<PduFields<'_>, String> {
    let parse = || scoped_pdu(Reader::new(decrypted).expect(ber::SEQUENCE)?);
    parse().map_err(|error: BerError| error.to_string())
}

fn scoped_pdu(content: &[u8]) -> Result<PduFields<'_>, BerError> {
    let mut scoped = Reader::new(content);
    scoped.expect(ber::OCTET_STRING)?; // contextEngineID
    scoped.expect(ber::OCTET_STRING)?; // contextName
    PduFields::read(scoped.element()?)
}

#[cfg(any(test, feature = "fuzzing"))]
impl Peer {
    /// What the agent itself would write with this user's keys, and any PDU.
    pub(in crate::snmp) fn forge(&self, tag: u8, id: i32, boots: u32, time: u32, bindings: &[u8]) -> Vec<u8> {
        let scoped = Pdu::forged(tag, id.into(), 0, 0, bindings).scoped(&self.engine_id, &self.context);
        self.forge_with(self.envelope(id, 0, boots, time), scoped)
    }

    /// Any scoped PDU in any envelope, encrypted and signed with this user's keys as the flags say.
    pub(super) fn forge_with(&self, envelope: Envelope<'_>, scoped: Vec<u8>) -> Vec<u8> {
        self.seal(envelope, scoped).unwrap_or_default()
    }

    /// The same keys, of which nothing has been asked yet.
    pub(in crate::snmp) fn anew(&self, found: &Report, now: Instant) -> Self {
        Self {
            security: self.security.clone(),
            engine_id: self.engine_id.clone(),
            context: self.context.clone(),
            clock: Mutex::new(EngineClock::guess(found.boots, found.time, now)),
            answered: AtomicBool::new(false),
            ..*self
        }
    }

    /// The signature of a message with zeros in its place; empty for a user without a password.
    pub(in crate::snmp) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut digest = self.security.calculate_hmac(message).unwrap_or_default();
        digest.truncate(self.signature);
        digest
    }

    /// Encrypts a scoped PDU: the ciphertext and its salt; `None` for a user without a privacy password.
    pub(in crate::snmp) fn encrypt(&self, scoped: &[u8], boots: u32, time: u32) -> Option<(Vec<u8>, Vec<u8>)> {
        self.security_at(boots, time).encrypt(scoped).ok()
    }

    pub(in crate::snmp) fn signature_octets(&self) -> usize {
        self.signature
    }

    pub(in crate::snmp) fn level(&self) -> SecurityLevel {
        self.level
    }
}

#[cfg(test)]
impl Peer {
    /// The envelope that [`Peer::forge`] uses.
    pub(super) fn answer_envelope(&self, id: i32, boots: u32, time: u32) -> Envelope<'_> {
        self.envelope(id, 0, boots, time)
    }

    /// Has the crate read a message of this user, as whoever gets it would.
    pub(super) fn with_crate(&self, datagram: &[u8], look: impl FnOnce(&snmp2::Pdu<'_>)) {
        let (boots, time) = self.clock().now(Instant::now());
        let mut scratch = self.security_at(boots, time);
        look(&snmp2::Pdu::from_bytes_with_security(datagram, Some(&mut scratch)).unwrap());
    }
}
