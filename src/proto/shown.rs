//! Messages of the contract as people and programs read them: every field that is set, by its name in `proto/platen/v1`, and
//! whatever the contract does not know as well. It goes by the compiled contract and not by a list of fields, so that none can be
//! forgotten when one is added.

use std::fmt;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, Kind, ReflectMessage, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// The compiled contract; `proto/build.rs` writes it.
static CONTRACT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/platen.v1.descriptors"));

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(CONTRACT).ok());

/// Bytes that are not shown as they are: serialised messages within messages.
const SERIALISED: [(&str, &str, &str); 1] = [("platen.v1.StoredReading", "record", "Record")];

/// Why a message is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShowError {
    /// The contract has no message of this name.
    #[error("the contract has no message {0}")]
    Unknown(String),
    /// The bytes are no such message.
    #[error("these bytes are no {name}: {why}")]
    Malformed {
        /// Name of the message.
        name: String,
        /// What is wrong with them.
        why: String,
    },
}

/// A value of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// A text, the word of an enumeration, or bytes in hexadecimal.
    Text(String),
    /// A whole number.
    Number(i128),
    /// A number with a fraction.
    Fraction(f64),
    /// Yes or no.
    Flag(bool),
    /// Several values.
    List(Vec<Shown>),
    /// Fields, in the contract's order.
    Fields(Vec<(String, Shown)>),
}

/// A message of `platen.v1` from its bytes: `show("PollRequest", …)`.
///
/// # Errors
/// When there is no message of this name, or the bytes are none.
pub fn show(name: &str, bytes: &[u8]) -> Result<Shown, ShowError> {
    let full_name = format!("platen.v1.{name}");
    let descriptor = POOL.as_ref().and_then(|pool| pool.get_message_by_name(&full_name));
    let descriptor = descriptor.ok_or_else(|| ShowError::Unknown(name.to_owned()))?;
    let message = DynamicMessage::decode(descriptor, bytes)
        .map_err(|error| ShowError::Malformed { name: name.to_owned(), why: error.to_string() })?;
    Ok(of_message(&message))
}

fn of_message(message: &DynamicMessage) -> Shown {
    let mut fields = Vec::new();
    for (field, value) in message.fields() {
        let inner = SERIALISED
            .into_iter()
            .find(|(of, name, _)| *of == message.descriptor().full_name() && *name == field.name())
            .and_then(|(_, _, inner)| show(inner, value.as_bytes()?).ok());
        fields.push((field.name().to_owned(), inner.unwrap_or_else(|| of_value(&field.kind(), value))));
    }
    for unknown in message.unknown_fields() {
        let mut bytes = Vec::new();
        unknown.encode(&mut bytes);
        fields.push((format!("field {} (not in this contract)", unknown.number()), Shown::Text(hexadecimal(&bytes))));
    }
    Shown::Fields(fields)
}

fn of_value(kind: &Kind, value: &Value) -> Shown {
    match value {
        Value::Bool(flag) => Shown::Flag(*flag),
        Value::I32(number) => Shown::Number((*number).into()),
        Value::I64(number) => Shown::Number((*number).into()),
        Value::U32(number) => Shown::Number((*number).into()),
        Value::U64(number) => Shown::Number((*number).into()),
        Value::F32(number) => Shown::Fraction((*number).into()),
        Value::F64(number) => Shown::Fraction(*number),
        Value::String(text) => Shown::Text(text.clone()),
        Value::Bytes(bytes) => Shown::Text(hexadecimal(bytes)),
        Value::EnumNumber(number) => {
            let word = kind.as_enum().and_then(|kind| kind.get_value(*number));
            word.map_or(Shown::Number((*number).into()), |word| Shown::Text(word.name().to_owned()))
        }
        Value::Message(message) => of_message(message),
        Value::List(list) => Shown::List(list.iter().map(|value| of_value(kind, value)).collect()),
        // The contract has none.
        Value::Map(map) => Shown::Text(format!("{map:?}")),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Milliseconds since 1970 as a date, in UTC: "2026-11-25 12:44:07Z".
#[must_use]
pub fn date(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms / 1_000).ok().and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
    at.map_or_else(
        || format!("{unix_ms} ms after 1970"),
        |at| {
            let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
            let (hour, minute, second) = (at.hour(), at.minute(), at.second());
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
        },
    )
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => serializer.serialize_i64(number),
                (_, Ok(number)) => serializer.serialize_u64(number),
                _ => serializer.serialize_str(&number.to_string()),
            },
            Self::Fraction(number) => serializer.serialize_f64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::List(list) => serializer.collect_seq(list),
            Self::Fields(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl Shown {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        let Self::Fields(fields) = self else { return None };
        fields.iter().find(|(of, _)| of == name).map(|(_, value)| value)
    }

    /// Lines for a person, each field on one, what is within it further to the right.
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let Self::Fields(fields) = self else { return writeln!(f, "{:1$}{self}", "", depth * 2) };
        for (name, value) in fields {
            write!(f, "{:1$}{name}", "", depth * 2)?;
            match value {
                Self::Fields(_) => {
                    writeln!(f)?;
                    value.write(f, depth + 1)?;
                }
                Self::List(list) if list.iter().any(|item| matches!(item, Self::Fields(_))) => {
                    writeln!(f)?;
                    for (number, item) in list.iter().enumerate() {
                        writeln!(f, "{:2$}[{}]", "", number + 1, (depth + 1) * 2)?;
                        item.write(f, depth + 2)?;
                    }
                }
                Self::Number(number) if name.ends_with("unix_ms") => {
                    writeln!(f, ": {number} ({})", date(u64::try_from(*number).unwrap_or(u64::MAX)))?;
                }
                other => writeln!(f, ": {other}")?,
            }
        }
        Ok(())
    }
}

/// Texts are quoted, with control characters and those that turn the direction of text escaped: a terminal obeys what it is sent.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Fraction(number) => write!(f, "{number}"),
            Self::Flag(flag) => f.write_str(if *flag { "yes" } else { "no" }),
            Self::List(list) => {
                for (number, item) in list.iter().enumerate() {
                    write!(f, "{}{item}", if number == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Fields(_) => self.write(f, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;
    use prost::Message;

    fn stored() -> v1::StoredReading {
        let reading = v1::Reading {
            device_key: "serial:Acme:1".to_owned(),
            name: Some("Ground floor\u{1b}[31m\u{202e}".to_owned()),
            taken: Some(v1::Taken { wall_clock_unix_ms: 1_764_074_647_000, ..v1::Taken::default() }),
            meters: vec![v1::Meter { name: "total".to_owned(), value: u64::MAX, ..v1::Meter::default() }],
            flags: vec!["INCOMPLETE".to_owned(), "PAPER".to_owned()],
            ..v1::Reading::default()
        };
        let record = v1::Record { what: Some(v1::record::What::Reading(reading)) }.encode_to_vec();
        v1::StoredReading { seq: 7, content_sha256: vec![0xab, 0x0c], record, thinned: false }
    }

    #[test]
    fn a_reading_within_a_batch_is_shown_with_all_that_is_in_it() {
        let batch = v1::ReadingBatch { epoch: 5, readings: vec![stored()], ..v1::ReadingBatch::default() };
        let text = show("ReadingBatch", &batch.encode_to_vec()).unwrap().to_string();
        for line in [
            "epoch: 5\n",
            "    content_sha256: \"ab0c\"\n",
            "        device_key: \"serial:Acme:1\"\n",
            "          wall_clock_unix_ms: 1764074647000 (2025-11-25 12:44:07Z)\n",
            "            value: 18446744073709551615\n",
            "        flags: \"INCOMPLETE\", \"PAPER\"\n",
            "Ground floor\\u{1b}[31m\\u{202e}",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    }

    #[test]
    fn causes_have_their_words_and_numbers_stay_numbers_for_programs() {
        let trouble = v1::Trouble { cause: v1::Cause::Dns.into(), detail: String::new() };
        let status = v1::BoxStatus { troubles: vec![trouble], outbox_epoch: u64::MAX, ..v1::BoxStatus::default() };
        let shown = show("BoxStatus", &status.encode_to_vec()).unwrap();
        let json = serde_json::to_string(&shown).unwrap();
        assert_eq!(json, r#"{"outbox_epoch":18446744073709551615,"troubles":[{"cause":"CAUSE_DNS"}]}"#);
    }

    #[test]
    fn what_the_contract_does_not_know_is_shown_too() {
        let mut bytes = v1::UploadAck { epoch: 1, contiguous_seq: 2 }.encode_to_vec();
        bytes.extend([0xfa, 0x01, 0x02, b'h', b'i']); // field 31, two bytes
        let text = show("UploadAck", &bytes).unwrap().to_string();
        assert!(text.contains("field 31 (not in this contract)") && text.contains("6869"), "{text}");
    }

    #[test]
    fn what_is_no_message_is_an_error_with_its_name() {
        assert_eq!(show("NoSuch", &[]), Err(ShowError::Unknown("NoSuch".to_owned())));
        assert!(show("PollRequest", &[0xff, 0xff]).unwrap_err().to_string().contains("PollRequest"));
    }
}
