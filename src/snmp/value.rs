//! The values that SNMP carries (RFC 2578 §7.1, RFC 3416 §3) and what holds them.

use std::net::Ipv4Addr;

use super::Oid;

/// One value as the agent sent it. Nothing is interpreted here: −2 in an `Integer` is still −2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// INTEGER / Integer32. Kept wide: some agents send more than 32 bits.
    Integer(i64),
    /// OCTET STRING: text in any character set, or bytes.
    OctetString(Vec<u8>),
    /// NULL: an answer to a v1 GET has it where an agent has nothing to say.
    Null,
    /// OBJECT IDENTIFIER. In a box: few values are one, and it would make all of them three times as large.
    ObjectId(Box<Oid>),
    /// IpAddress.
    IpAddress(Ipv4Addr),
    /// Counter32.
    Counter32(u32),
    /// Gauge32 / Unsigned32 (and the obsolete UInteger32).
    Gauge32(u32),
    /// TimeTicks, in hundredths of a second.
    TimeTicks(u32),
    /// Opaque, undecoded.
    Opaque(Vec<u8>),
    /// Counter64.
    Counter64(u64),
    /// noSuchObject: the agent does not know the object type.
    NoSuchObject,
    /// noSuchInstance: the agent knows the type and not this instance.
    NoSuchInstance,
    /// endOfMibView: nothing follows.
    EndOfMibView,
}

impl Value {
    /// An OBJECT IDENTIFIER.
    #[must_use]
    pub fn object_id(oid: Oid) -> Self {
        Self::ObjectId(Box::new(oid))
    }

    /// Whether this is a value at all: not an exception (RFC 3416 §3) and not NULL.
    #[must_use]
    pub fn is_present(&self) -> bool {
        !matches!(self, Self::NoSuchObject | Self::NoSuchInstance | Self::EndOfMibView | Self::Null)
    }

    /// Roughly how many bytes it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        match self {
            Self::OctetString(bytes) | Self::Opaque(bytes) => bytes.len(),
            Self::ObjectId(oid) => size_of_val(oid.arcs()),
            _ => size_of::<u64>(),
        }
    }

    /// The number, for the numeric types only. Negative codes (−1, −2, −3) come back as they are.
    /// A Counter64 beyond `i64::MAX` has no faithful form here and is `None`.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(n) => Some(*n),
            Self::Counter32(n) | Self::Gauge32(n) | Self::TimeTicks(n) => Some(i64::from(*n)),
            Self::Counter64(n) => i64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The bytes of an OCTET STRING or Opaque.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::OctetString(bytes) | Self::Opaque(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The object identifier, where the value is one.
    #[must_use]
    pub fn as_oid(&self) -> Option<&Oid> {
        match self {
            Self::ObjectId(oid) => Some(&**oid),
            _ => None,
        }
    }
}

/// A variable binding: an object instance and its value (RFC 3416 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VarBind {
    /// The instance.
    pub oid: Oid,
    /// Its value, or the exception that stands for it.
    pub value: Value,
}
