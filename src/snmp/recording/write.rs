//! Writing a recording: the lines that [`Recording::parse`] reads.

use std::fmt::Write as _;

use super::Recording;
use crate::snmp::Value;

impl Recording {
    /// The recording as text, an object a line. Texts of printable ASCII stand as they are, all others in hexadecimal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (oid, value) in self.iter() {
            let (tag, text) = line(value);
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{oid}|{tag}|{text}");
        }
        out
    }
}

fn line(value: &Value) -> (&'static str, String) {
    match value {
        Value::Integer(n) => ("2", n.to_string()),
        Value::OctetString(bytes) if bytes.iter().all(|b| (0x20..0x7f).contains(b)) => {
            ("4", bytes.iter().copied().map(char::from).collect())
        }
        Value::OctetString(bytes) => ("4x", hexadecimal(bytes)),
        Value::ObjectId(oid) => ("6", oid.to_string()),
        Value::IpAddress(address) => ("64", address.to_string()),
        Value::Counter32(n) => ("65", n.to_string()),
        Value::Gauge32(n) => ("66", n.to_string()),
        Value::TimeTicks(n) => ("67", n.to_string()),
        Value::Opaque(bytes) => ("68x", hexadecimal(bytes)),
        Value::Counter64(n) => ("70", n.to_string()),
        Value::Null | Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMibView => ("5", String::new()),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            any::<i64>().prop_map(Value::Integer),
            bytes().prop_map(Value::OctetString),
            "[ -~]{0,40}".prop_map(|text| Value::OctetString(text.into_bytes())),
            any::<[u8; 4]>().prop_map(|octets| Value::IpAddress(octets.into())),
            any::<u32>().prop_map(Value::Counter32),
            any::<u64>().prop_map(Value::Counter64),
            bytes().prop_map(Value::Opaque),
            any::<u32>().prop_map(|arc| Value::object_id(oid!(1, 3).with(&[arc]))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(values in proptest::collection::vec(value(), 1..20)) {
            let objects = (1u32..).zip(values).map(|(n, value)| (oid!(1, 3, 6).with(&[n]), value));
            let recording = Recording::from_objects(objects);
            prop_assert_eq!(Recording::parse(recording.to_text().as_bytes()).unwrap(), recording);
        }
    }
}
