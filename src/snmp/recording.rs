//! Recordings of devices (`.snmprec`): one object a line, `OID|TAG|VALUE`. TAG is the BER tag as a decimal
//! number, followed by `x` where VALUE is hexadecimal. Served by `platen-sim`, read by `platen replay`.

mod write;

use std::collections::BTreeMap;
use std::ops::Bound;

use super::source::{ObjectSource, Walk, WalkEnd, WalkLimits};
use super::{Oid, SnmpError, Value, VarBind};

/// The longest line that a recording may have, in bytes (an OCTET STRING of 65,535 bytes in hexadecimal, and its OID).
pub const MAX_LINE_BYTES: usize = 140_000;
/// The most objects that a recording may have.
pub const MAX_OBJECTS: usize = 1_000_000;
/// A recording with more unreadable values than this is not one.
const SKIPPED_MAX: usize = 1_000;

/// A device's objects, as they were recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    objects: BTreeMap<Oid, Value>,
    skipped: Vec<RecordingError>,
}

/// What is wrong with a recording, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// A line cannot be read.
    #[error("line {line}: {problem}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no object in it.
    #[error("it has no objects: a recording has lines of the form OID|TAG|VALUE")]
    Empty,
    /// More objects than a recording may have.
    #[error("it has more than {MAX_OBJECTS} objects")]
    TooManyObjects,
}

impl Recording {
    /// Reads the text of a recording. Empty lines and lines that begin with `#` are passed over. A value that is not of
    /// its type (recordings are often made anonymous by hand) is left out and told by [`Recording::skipped`]. Bytes
    /// outside of UTF-8 are allowed in text values: they are Latin-1 or a vendor's own set.
    ///
    /// # Errors
    /// Names the first line that is not of the form `OID|TAG|VALUE`, or the last line where it was cut short.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordingError> {
        let mut recording = Self::default();
        let mut lines = bytes.split(|&b| b == b'\n').enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            // After the last line's end there is one more, empty part; without that end the line may be cut short.
            let may_be_cut = lines.peek().is_none();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let error = |problem| RecordingError::Line { line: index + 1, problem };
            let (oid, value) = parse_line(line).map_err(error)?;
            match value {
                Ok(value) => drop(recording.objects.insert(oid, value)),
                Err(problem) if may_be_cut => return Err(error(format!("{problem} (is the recording cut short?)"))),
                Err(problem) if recording.skipped.len() < SKIPPED_MAX => recording.skipped.push(error(problem)),
                Err(problem) => return Err(error(format!("{problem}; {SKIPPED_MAX} lines before it were no better"))),
            }
            if recording.objects.len() > MAX_OBJECTS {
                return Err(RecordingError::TooManyObjects);
            }
        }
        if recording.objects.is_empty() {
            return Err(RecordingError::Empty);
        }
        Ok(recording)
    }

    /// The lines whose values could not be read.
    #[must_use]
    pub fn skipped(&self) -> &[RecordingError] {
        &self.skipped
    }

    /// Makes a recording of the given objects.
    pub fn from_objects(objects: impl IntoIterator<Item = (Oid, Value)>) -> Self {
        Self { objects: objects.into_iter().collect(), skipped: Vec::new() }
    }

    /// The value of one instance.
    #[must_use]
    pub fn value(&self, oid: &Oid) -> Option<&Value> {
        self.objects.get(oid)
    }

    /// Sets, or adds, one instance.
    pub fn set(&mut self, oid: Oid, value: Value) {
        self.objects.insert(oid, value);
    }

    /// Takes one instance away.
    pub fn remove(&mut self, oid: &Oid) -> Option<Value> {
        self.objects.remove(oid)
    }

    /// The first object after `oid`, as GETNEXT finds it.
    #[must_use]
    pub fn next_after(&self, oid: &Oid) -> Option<(&Oid, &Value)> {
        self.objects.range::<Oid, _>((Bound::Excluded(oid), Bound::Unbounded)).next()
    }

    /// All objects in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Oid, &Value)> {
        self.objects.iter()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

/// A recording answers as the device would have.
impl ObjectSource for Recording {
    async fn get(&self, oids: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        Ok(oids
            .iter()
            .map(|oid| VarBind { oid: oid.clone(), value: self.value(oid).cloned().unwrap_or(Value::NoSuchInstance) })
            .collect())
    }

    async fn walk(&self, root: &Oid, limits: WalkLimits) -> Result<Walk, SnmpError> {
        let mut varbinds = Vec::new();
        let mut bytes = 0;
        let mut position = root.clone();
        while let Some((oid, value)) = self.next_after(&position) {
            if !oid.starts_with(root) {
                return Ok(Walk { varbinds, end: WalkEnd::EndOfSubtree });
            }
            if varbinds.len() == limits.rows {
                return Ok(Walk { varbinds, end: WalkEnd::RowLimit });
            }
            if value.is_present() {
                bytes += value.kept_bytes();
                if bytes > limits.bytes {
                    return Ok(Walk { varbinds, end: WalkEnd::ByteLimit });
                }
                varbinds.push(VarBind { oid: oid.clone(), value: value.clone() });
            }
            position = oid.clone();
        }
        Ok(Walk { varbinds, end: WalkEnd::EndOfMibView })
    }
}

/// The object of a line and its value; the outer error is of the line, the inner one of the value alone.
fn parse_line(line: &[u8]) -> Result<(Oid, Result<Value, String>), String> {
    if line.len() > MAX_LINE_BYTES {
        return Err(format!("it is longer than {MAX_LINE_BYTES} bytes"));
    }
    let mut fields = line.splitn(3, |&b| b == b'|');
    let (Some(oid), Some(tag), Some(value)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("it is not of the form OID|TAG|VALUE (is the recording cut short?)".to_owned());
    };
    let oid = text(oid)?.parse::<Oid>().map_err(|e| e.to_string())?;
    let tag = text(tag)?;
    let (tag, value) = match tag.split_once(':') {
        Some((tag, _variation)) => (tag, text(value).and_then(initial_value)?.as_bytes()),
        None => (tag, value),
    };
    let (tag, hexadecimal) = match tag.strip_suffix('x') {
        Some(number) => (number, true),
        None => (tag, false),
    };
    let tag: u8 = tag.parse().map_err(|_| format!("\"{tag}\" is not a BER tag number"))?;
    if !TAGS.contains(&tag) {
        return Err(format!("tag {tag} is none of SNMP's types"));
    }
    let bytes = if hexadecimal { from_hexadecimal(value) } else { Ok(value.to_vec()) };
    Ok((oid, bytes.and_then(|bytes| value_of(tag, bytes))))
}

/// The BER tags of SNMP's types; 71 is the obsolete UInteger32.
const TAGS: [u8; 11] = [2, 4, 5, 6, 64, 65, 66, 67, 68, 70, 71];

/// Simulators write some objects as a variation, `TAG:MODULE|KEY=VALUE,…`: what it starts with is what was recorded.
fn initial_value(parameters: &str) -> Result<&str, String> {
    ["initial=", "value=", "min="]
        .iter()
        .find_map(|key| parameters.split(',').find_map(|pair| pair.strip_prefix(key)))
        .ok_or_else(|| "its variation says neither initial=, value= nor min=".to_owned())
}

fn value_of(tag: u8, bytes: Vec<u8>) -> Result<Value, String> {
    Ok(match tag {
        2 => Value::Integer(number(&bytes)?),
        4 => Value::OctetString(bytes),
        5 => Value::Null,
        6 => Value::object_id(text(&bytes)?.parse().map_err(|e: super::OidError| e.to_string())?),
        64 => Value::IpAddress(address(&bytes)?),
        65 => Value::Counter32(number(&bytes)?),
        66 | 71 => Value::Gauge32(number(&bytes)?),
        67 => Value::TimeTicks(number(&bytes)?),
        68 => Value::Opaque(bytes),
        70 => Value::Counter64(number(&bytes)?),
        other => return Err(format!("tag {other} is none of SNMP's types")),
    })
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "it has bytes that are no text where text is expected".to_owned())
}

fn number<T: std::str::FromStr>(bytes: &[u8]) -> Result<T, String> {
    let text = text(bytes)?;
    text.parse().map_err(|_| format!("\"{}\" is not a number of its type", text.escape_debug()))
}

/// Dotted, or the four bytes themselves.
fn address(bytes: &[u8]) -> Result<std::net::Ipv4Addr, String> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(octets.into());
    }
    let text = text(bytes)?;
    text.parse().map_err(|_| format!("\"{}\" is not an IPv4 address", text.escape_debug()))
}

fn from_hexadecimal(digits: &[u8]) -> Result<Vec<u8>, String> {
    if !digits.len().is_multiple_of(2) {
        return Err("its hexadecimal value has an odd number of digits".to_owned());
    }
    digits
        .chunks_exact(2)
        .map(|pair| {
            let high = char::from(pair[0]).to_digit(16);
            let low = char::from(pair[1]).to_digit(16);
            match (high, low) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).map_err(|e| e.to_string()),
                _ => Err("its value is marked as hexadecimal and is not".to_owned()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid;
    use proptest::prelude::*;

    const SMALL: &[u8] = b"# a comment\n1.3.6.1.2.1.1.1.0|4|A | B\r\n1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.11\n\
        1.3.6.1.2.1.1.3.0|67|12\n1.3.6.1.2.1.2.2.1.6.1|4x|0017C8\n1.3.6.1.2.1.4.20.1.1|64x|0A000001\n";

    #[test]
    fn every_type_is_read_and_a_bar_in_the_value_stays() {
        let recording = Recording::parse(SMALL).unwrap();
        assert_eq!(recording.len(), 5);
        assert_eq!(recording.value(&oid!(1, 3, 6, 1, 2, 1, 1, 1, 0)), Some(&Value::OctetString(b"A | B".to_vec())));
        assert_eq!(
            recording.value(&oid!(1, 3, 6, 1, 2, 1, 4, 20, 1, 1)),
            Some(&Value::IpAddress([10, 0, 0, 1].into()))
        );
    }

    #[test]
    fn a_recording_cut_short_is_an_error_that_names_the_line() {
        for cut in [&SMALL[..50], b"1.3.6.1|4x|001", b"1.3|2|x", b"1.3|99|x\n", b"1.x|2|1\n", b"1.3|2\n", b"\n\n"] {
            let error = Recording::parse(cut).unwrap_err();
            assert!(matches!(error, RecordingError::Line { line: 1..=3, .. } | RecordingError::Empty), "{error}");
        }
    }

    #[test]
    fn a_value_that_is_not_of_its_type_is_left_out_and_told() {
        let recording = Recording::parse(b"1.3.1|2|x12\n1.3.2|2|7\n").unwrap();
        assert_eq!((recording.len(), recording.skipped().len()), (1, 1));
        assert!(recording.skipped()[0].to_string().starts_with("line 1:"));
    }

    #[test]
    fn a_variation_starts_with_its_initial_value() {
        let text =
            b"1.3.1|2:numeric|min=1,max=2,wrap=1,initial=2\n1.3.2|4:writecache|value=\n1.3.3|66:numeric|min=0,scale=95";
        let recording = Recording::parse(text).unwrap();
        assert_eq!(recording.value(&oid!(1, 3, 1)), Some(&Value::Integer(2)));
        assert_eq!(recording.value(&oid!(1, 3, 2)), Some(&Value::OctetString(vec![])));
        assert_eq!(recording.value(&oid!(1, 3, 3)), Some(&Value::Gauge32(0)));
    }

    #[tokio::test]
    async fn a_walk_keeps_to_its_subtree_and_its_row_limit() {
        let recording = Recording::parse(SMALL).unwrap();
        let system = oid!(1, 3, 6, 1, 2, 1, 1);
        let walk = recording.walk(&system, WalkLimits::default()).await.unwrap();
        assert_eq!((walk.varbinds.len(), walk.end), (3, WalkEnd::EndOfSubtree));
        let limits = WalkLimits { rows: 2, ..WalkLimits::default() };
        let walk = recording.walk(&system, limits).await.unwrap();
        assert_eq!((walk.varbinds.len(), walk.end), (2, WalkEnd::RowLimit));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Recording::parse(&bytes);
        }

        #[test]
        fn no_bytes_behind_a_tag_make_the_parser_panic(
            tag in 0u8..80, hexadecimal in any::<bool>(), bytes in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut line = format!("1.3.6|{tag}{}|", if hexadecimal { "x" } else { "" }).into_bytes();
            line.extend(bytes);
            let _ = Recording::parse(&line);
        }
    }
}
