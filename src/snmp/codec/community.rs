//! SNMPv1 (RFC 1157) and v2c (RFC 1901) messages: version, community, PDU.

use super::ber::{self, Reader};
use super::writer::Pdu;
use super::{Decoded, EncodeError, GET_RESPONSE, PduFields, Request, varbinds};
use crate::snmp::Secret;
use crate::snmp::limits::MAX_COMMUNITY_BYTES;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::snmp) enum CommunityVersion {
    V1,
    V2c,
}

impl CommunityVersion {
    fn number(self) -> i64 {
        match self {
            Self::V1 => 0,
            Self::V2c => 1,
        }
    }
}

pub(super) fn encode(
    version: CommunityVersion,
    community: &Secret,
    request: &Request,
    id: i32,
) -> Result<Vec<u8>, EncodeError> {
    if community.expose().len() > MAX_COMMUNITY_BYTES {
        return Err(EncodeError::Community);
    }
    if let (CommunityVersion::V1, Request::GetBulk { .. }) = (version, request) {
        return Err(EncodeError::BulkInV1);
    }
    let names = varbinds::names(request.oids())?;
    Ok(Pdu::request(request, id, &names).with_community(version.number(), community.expose()))
}

pub(super) fn decode(version: CommunityVersion, datagram: &[u8], ids: &[i32]) -> Decoded {
    let read = || {
        let mut message = Reader::new(Reader::new(datagram).expect(ber::SEQUENCE)?);
        let number = message.integer()?;
        message.expect(ber::OCTET_STRING)?;
        Ok::<_, ber::BerError>((number, PduFields::read(message.element()?)?))
    };
    match read() {
        Err(error) => Decoded::Unreadable(error.to_string()),
        Ok((number, _)) if number != version.number() => Decoded::Ignored("it is of another version than was asked"),
        Ok((_, pdu)) if pdu.tag != GET_RESPONSE => Decoded::Ignored("it is no response"),
        Ok((_, pdu)) if !pdu.bears_one_of(ids) => Decoded::Ignored("it answers another request"),
        Ok((_, pdu)) => Decoded::Response(pdu.response()),
    }
}
