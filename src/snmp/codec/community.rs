//! SNMPv1 (RFC 1157) and v2c (RFC 1901) messages: version, community, PDU.

use super::ber::{self, Reader};
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

/// A GET that asks for nothing, of each version: what the crate parses so that we may fill it.
/// (The crate writes into its input only where a v3 message says that it is signed.)
const TEMPLATE_V1: [u8; 20] = [0x30, 18, 2, 1, 0, 4, 0, 0xa0, 11, 2, 1, 0, 2, 1, 0, 2, 1, 0, 0x30, 0];
const TEMPLATE_V2C: [u8; 20] = [0x30, 18, 2, 1, 1, 4, 0, 0xa0, 11, 2, 1, 0, 2, 1, 0, 2, 1, 0, 0x30, 0];

pub(super) fn encode(
    version: CommunityVersion,
    community: &Secret,
    request: &Request,
    id: i32,
) -> Result<Vec<u8>, EncodeError> {
    if community.expose().len() > MAX_COMMUNITY_BYTES {
        return Err(EncodeError::Community);
    }
    let template = match (version, request) {
        (CommunityVersion::V1, Request::GetBulk { .. }) => return Err(EncodeError::BulkInV1),
        (CommunityVersion::V1, _) => &TEMPLATE_V1,
        (CommunityVersion::V2c, _) => &TEMPLATE_V2C,
    };
    let names = varbinds::names(request.oids())?;
    let mut pdu = snmp2::Pdu::from_bytes(template).map_err(|error| EncodeError::Codec(error.to_string()))?;
    pdu.community = community.expose();
    request.fill(&mut pdu, id, &names);
    pdu.to_bytes().map_err(|error| EncodeError::Codec(error.to_string()))
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
