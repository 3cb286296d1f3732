//! Writing messages: a PDU, and around it what v1, v2c and v3 want. Every length is known before the first octet is
//! written, so each buffer is allocated once, as large as it will be.
//!
//! What may be written is a [`Request`], and there is no SET among them.

use super::Request;
use super::ber::{self, OCTET_STRING, SEQUENCE, integer_size, size};

const GET: u8 = 0xa0;
const GET_NEXT: u8 = 0xa1;
const GET_BULK: u8 = 0xa5;

/// A PDU (RFC 3416 §3). The crate `snmp2` and the RFC call the same places by many names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pdu<'a> {
    tag: u8,
    id: i64,
    /// error-status or non-repeaters.
    first: i64,
    /// error-index or max-repetitions.
    second: i64,
    /// The contents of the variable bindings.
    bindings: &'a [u8],
}

impl<'a> Pdu<'a> {
    /// A request, with the names that it asks for as [`super::varbinds::names`] writes them.
    pub(super) fn request(request: &Request, id: i32, names: &'a [u8]) -> Self {
        let (tag, first, second) = match request {
            Request::Get(_) => (GET, 0, 0),
            Request::GetNext(_) => (GET_NEXT, 0, 0),
            Request::GetBulk { non_repeaters, max_repetitions, .. } => (GET_BULK, *non_repeaters, *max_repetitions),
        };
        Self { tag, id: id.into(), first: first.into(), second: second.into(), bindings: names }
    }

    /// A GET for nothing: the question for an engine id.
    pub(super) fn empty(id: i32) -> Self {
        Self { tag: GET, id: id.into(), first: 0, second: 0, bindings: &[] }
    }

    /// What an agent would write, and what none should.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn forged(tag: u8, id: i64, first: i64, second: i64, bindings: &'a [u8]) -> Self {
        Self { tag, id, first, second, bindings }
    }

    fn content(&self) -> usize {
        integer_size(self.id) + integer_size(self.first) + integer_size(self.second) + size(self.bindings.len())
    }

    fn push(&self, out: &mut Vec<u8>) {
        ber::push_header(out, self.tag, self.content());
        ber::push_integer(out, self.id);
        ber::push_integer(out, self.first);
        ber::push_integer(out, self.second);
        ber::push(out, SEQUENCE, self.bindings);
    }

    /// A message of v1 or v2c (RFC 1157 §4, RFC 1901 §3).
    pub(super) fn with_community(&self, version: i64, community: &[u8]) -> Vec<u8> {
        let content = integer_size(version) + size(community.len()) + size(self.content());
        let mut out = Vec::with_capacity(size(content));
        ber::push_header(&mut out, SEQUENCE, content);
        ber::push_integer(&mut out, version);
        ber::push(&mut out, OCTET_STRING, community);
        self.push(&mut out);
        out
    }

    /// A scoped PDU of v3 (RFC 3412 §6.8).
    pub(super) fn scoped(&self, engine_id: &[u8], context: &[u8]) -> Vec<u8> {
        let content = size(engine_id.len()) + size(context.len()) + size(self.content());
        let mut out = Vec::with_capacity(size(content));
        ber::push_header(&mut out, SEQUENCE, content);
        ber::push(&mut out, OCTET_STRING, engine_id);
        ber::push(&mut out, OCTET_STRING, context);
        self.push(&mut out);
        out
    }
}

/// What stands around the scoped PDU of a v3 message (RFC 3412 §6, RFC 3414 §2.4).
#[derive(Debug, Clone)]
pub(super) struct Envelope<'a> {
    pub(super) id: i64,
    /// The largest message that we can receive.
    pub(super) max_size: i64,
    pub(super) flags: u8,
    pub(super) engine_id: &'a [u8],
    pub(super) boots: i64,
    pub(super) time: i64,
    pub(super) user: &'a [u8],
    /// The octets of the signature, which are left zero.
    pub(super) signature: usize,
    pub(super) salt: Vec<u8>,
}

impl Envelope<'_> {
    /// The message around the scoped PDU, or around what was encrypted of it (then it becomes an OCTET STRING), and
    /// the place of its signature.
    pub(super) fn write(&self, scoped: &[u8], encrypted: bool) -> (Vec<u8>, usize) {
        let global = integer_size(self.id) + integer_size(self.max_size) + size(1) + integer_size(super::usm::USM);
        let usm = size(self.engine_id.len())
            + integer_size(self.boots)
            + integer_size(self.time)
            + size(self.user.len())
            + size(self.signature)
            + size(self.salt.len());
        let data = if encrypted { size(scoped.len()) } else { scoped.len() };
        let content = integer_size(super::VERSION_3) + size(global) + size(size(usm)) + data;

        let mut out = Vec::with_capacity(size(content));
        ber::push_header(&mut out, SEQUENCE, content);
        ber::push_integer(&mut out, super::VERSION_3);
        ber::push_header(&mut out, SEQUENCE, global);
        ber::push_integer(&mut out, self.id);
        ber::push_integer(&mut out, self.max_size);
        ber::push(&mut out, OCTET_STRING, &[self.flags]);
        ber::push_integer(&mut out, super::usm::USM);
        ber::push_header(&mut out, OCTET_STRING, size(usm));
        ber::push_header(&mut out, SEQUENCE, usm);
        ber::push(&mut out, OCTET_STRING, self.engine_id);
        ber::push_integer(&mut out, self.boots);
        ber::push_integer(&mut out, self.time);
        ber::push(&mut out, OCTET_STRING, self.user);
        ber::push_header(&mut out, OCTET_STRING, self.signature);
        let place = out.len();
        out.resize(place + self.signature, 0);
        ber::push(&mut out, OCTET_STRING, &self.salt);
        if encrypted {
            ber::push_header(&mut out, OCTET_STRING, scoped.len());
        }
        out.extend_from_slice(scoped);
        (out, place)
    }
}
