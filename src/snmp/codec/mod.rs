//! SNMP messages: from a request to the bytes of a datagram, and from a datagram to what it says.
//!
//! What this room is for: it alone knows the crate `snmp2` (version 0.5.3, user-based security only), so that the
//! crate's known defects are met in one place, or the crate is replaced.
//! What it promises: no bytes from the network make it panic; nothing is taken over from a message that is not
//! authenticated where the user has a password; it can write GET, GETNEXT and GETBULK and no other request.
//! Who may call it: the engine and the session of this room's parent.
//!
//! The crate cannot build a request from outside, and reads less of an answer than is in it. So headers, requests and
//! bindings are read and written here ([`ber`], [`writer`], [`varbinds`]); it makes keys, signs, verifies, encrypts and
//! decrypts ([`usm`]). `vendor/snmp2` is the copy of it that we build, and says why.

pub(in crate::snmp) mod ber;
mod community;
mod usm;
pub(in crate::snmp) mod varbinds;
mod writer;

#[cfg(test)]
pub(in crate::snmp) mod tests;

#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::snmp) use varbinds::push_binding;

pub(in crate::snmp) use community::CommunityVersion;
pub(in crate::snmp) use usm::Peer;
pub(in crate::snmp) use varbinds::Bindings;

use super::{Oid, Secret, UsmReport};
use ber::{BerError, Reader};
use std::sync::Arc;
use std::time::Instant;

/// What can be asked of an agent. There is no SET, and nothing here could hold one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::snmp) enum Request {
    /// These instances.
    Get(Vec<Oid>),
    /// The instance behind each of these.
    GetNext(Vec<Oid>),
    /// The instance behind each of the first `non_repeaters`, and `max_repetitions` behind each of the others.
    GetBulk { oids: Vec<Oid>, non_repeaters: u32, max_repetitions: u32 },
}

impl Request {
    pub(in crate::snmp) fn oids(&self) -> &[Oid] {
        match self {
            Self::Get(oids) | Self::GetNext(oids) | Self::GetBulk { oids, .. } => oids,
        }
    }
}

/// Everything that a datagram to an agent is made of, but for its request id and its time.
#[derive(Debug, Clone)]
pub(in crate::snmp) enum Message {
    /// SNMPv1 or v2c.
    Community { version: CommunityVersion, community: Secret, request: Request },
    /// SNMPv3's question for the engine id (RFC 3414 §4).
    Discovery,
    /// SNMPv3.
    Usm { peer: Arc<Peer>, request: Request },
}

/// Why a request cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::snmp) enum EncodeError {
    #[error("{0} cannot be asked for: an SNMP name has at least two numbers, the first at most 2")]
    Name(Oid),
    #[error("it would take {0} bytes of names, more than fit one datagram: ask for fewer objects at once")]
    TooLong(usize),
    #[error("SNMPv1 has no GETBULK")]
    BulkInV1,
    #[error("the community is too long")]
    Community,
    #[error("the SNMP codec refuses it: {0}")]
    Codec(String),
}

/// What a datagram says about a request that is in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::snmp) enum Decoded {
    /// The answer.
    Response(Response),
    /// SNMPv3: a report instead of an answer.
    Report(Report),
    /// Nothing that may end the request, and why: keep waiting.
    Ignored(&'static str),
    /// It belongs to the request and cannot be read: keep waiting, and say so if nothing better comes.
    Unreadable(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::snmp) struct Response {
    /// RFC 3416 §3; 0 is noError.
    pub(in crate::snmp) error_status: u32,
    /// Which binding the error is about, from 1.
    pub(in crate::snmp) error_index: u32,
    pub(in crate::snmp) bindings: Bindings,
}

/// A report (RFC 3414 §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::snmp) struct Report {
    pub(in crate::snmp) reason: UsmReport,
    /// The agent's engine id, as the report says.
    pub(in crate::snmp) engine_id: Vec<u8>,
    pub(in crate::snmp) boots: u32,
    pub(in crate::snmp) time: u32,
    /// Whether it was signed with the user's key. If not, anybody could have sent it.
    pub(in crate::snmp) authenticated: bool,
}

impl Message {
    /// The datagram, with this request id (in SNMPv3 also the msgID).
    pub(in crate::snmp) fn encode(&self, id: i32, now: Instant) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Community { version, community, request } => community::encode(*version, community, request, id),
            Self::Discovery => Ok(usm::encode_discovery(id)),
            Self::Usm { peer, request } => peer.encode(request, id, now),
        }
    }

    /// What a datagram says that came from the target of this message and bears one of its ids.
    pub(in crate::snmp) fn decode(&self, datagram: &[u8], ids: &[i32], now: Instant) -> Decoded {
        match self {
            Self::Community { version, .. } => community::decode(*version, datagram, ids),
            Self::Discovery => usm::decode_discovery(datagram, ids),
            Self::Usm { peer, .. } => peer.decode(datagram, ids, now),
        }
    }

    /// Whether the answer must be signed.
    pub(in crate::snmp) fn is_signed(&self) -> bool {
        matches!(self, Self::Usm { peer, .. } if peer.is_signed())
    }

    /// Whether the engine that is asked has ever given a signed answer.
    pub(in crate::snmp) fn is_proven(&self) -> bool {
        matches!(self, Self::Usm { peer, .. } if peer.has_answered())
    }

    /// The request, for those messages that ask for objects.
    pub(in crate::snmp) fn request(&self) -> Option<&Request> {
        match self {
            Self::Community { request, .. } | Self::Usm { request, .. } => Some(request),
            Self::Discovery => None,
        }
    }
}

/// What an agent of v1 (0) or v2c (1) would write, with bindings as they stand on the wire.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::snmp) fn forge_community(version: i64, community: &[u8], tag: u8, id: i32, bindings: &[u8]) -> Vec<u8> {
    writer::Pdu::forged(tag, id.into(), 0, 0, bindings).with_community(version, community)
}

const VERSION_3: i64 = 3;

/// The id by which a datagram is joined to a request: the request id in v1 and v2c, the msgID in v3.
pub(in crate::snmp) fn id_of(datagram: &[u8]) -> Result<i32, BerError> {
    let mut message = Reader::new(Reader::new(datagram).expect(ber::SEQUENCE)?);
    let id = if message.integer()? == VERSION_3 {
        Reader::new(message.expect(ber::SEQUENCE)?).integer()?
    } else {
        message.expect(ber::OCTET_STRING)?;
        let (_, pdu) = message.element()?;
        Reader::new(pdu).integer()?
    };
    i32::try_from(id).map_err(|_| BerError::Number)
}

const GET_RESPONSE: u8 = 0xa2;
const REPORT: u8 = 0xa8;

/// A PDU's fields (RFC 3416 §3).
#[derive(Debug, Clone, Copy)]
struct PduFields<'a> {
    tag: u8,
    request_id: i64,
    error_status: u32,
    error_index: u32,
    names: &'a [u8],
}

impl<'a> PduFields<'a> {
    fn read((tag, content): (u8, &'a [u8])) -> Result<Self, BerError> {
        let mut reader = Reader::new(content);
        let request_id = reader.integer()?;
        let error_status = u32::try_from(reader.integer()?).map_err(|_| BerError::Number)?;
        // Some v1 agents write -1 here where they do not know.
        let error_index = u32::try_from(reader.integer()?).unwrap_or(0);
        let names = reader.expect(ber::SEQUENCE)?;
        Ok(Self { tag, request_id, error_status, error_index, names })
    }

    fn bears_one_of(&self, ids: &[i32]) -> bool {
        ids.iter().any(|id| i64::from(*id) == self.request_id)
    }

    fn response(&self) -> Response {
        Response {
            error_status: self.error_status,
            error_index: self.error_index,
            bindings: varbinds::read(self.names),
        }
    }
}
