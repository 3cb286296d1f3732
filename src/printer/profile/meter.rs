//! Where a meter is found, and how a number is got out of what an object has.

use serde::Deserialize;

use super::pattern::Pattern;
use crate::printer::meter_key::MeterKey;
use crate::printer::text;
use crate::snmp::{Oid, Value};

/// Units that a profile may name; those of prtMarkerCounterUnit (RFC 3805) and a few that makers count in besides.
pub(in crate::printer) const UNITS: &[&str] = &[
    "impressions",
    "sheets",
    "equivalents",
    "pages_sent",
    "documents",
    "meters",
    "feet",
    "inches",
    "centimeters",
    "millimeters",
    "micrometers",
    "ten_thousandths_of_inches",
    "hours",
    "items",
    "unknown",
];

/// A meter in instances of its own.
#[derive(Debug)]
pub(in crate::printer) struct MeterPlace {
    pub key: MeterKey,
    pub objects: Objects,
    pub number: Number,
    pub unit: String,
    pub models: Models,
    pub only_if: Option<OnlyIf>,
    /// The line of the profile that says so, from 1.
    pub line: usize,
}

/// A meter is one only where another object has a certain text: the name that the maker gives the row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::printer) struct OnlyIf {
    pub oid: Oid,
    pub matches: Pattern,
}

/// Which objects hold a meter.
#[derive(Debug)]
pub(in crate::printer) enum Objects {
    /// The first of these that is there.
    FirstOf(Vec<Oid>),
    /// All of these, added: the maker keeps one count in several objects.
    Sum(Vec<Oid>),
}

impl Objects {
    pub(in crate::printer) fn oids(&self) -> &[Oid] {
        match self {
            Self::FirstOf(oids) | Self::Sum(oids) => oids,
        }
    }
}

/// For which models a rule is.
#[derive(Debug, Default)]
pub(in crate::printer) struct Models {
    only: Option<Pattern>,
    except: Option<Pattern>,
}

impl Models {
    pub(in crate::printer) fn include(&self, model: Option<&str>) -> bool {
        let model = model.unwrap_or_default();
        self.only.as_ref().is_none_or(|pattern| pattern.matches(model))
            && !self.except.as_ref().is_some_and(|pattern| pattern.matches(model))
    }
}

/// How a value becomes a number.
#[derive(Debug, Default)]
pub(in crate::printer) struct Number {
    decode: Decode,
    part: Option<Pattern>,
    record: Option<Record>,
    /// First bit and how many.
    bits: Option<(u32, u32)>,
    scale: Option<u64>,
    absent: Vec<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Decode {
    #[default]
    Number,
    Digits,
    BigEndian,
    Float,
    Records,
}

/// A record in an OCTET STRING of records of one size.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    tag: u8,
    size: usize,
    at: usize,
    bytes: usize,
}

impl Number {
    /// The number, and as a text what the object has where the number is not just that. Nothing where the device does not
    /// know: a code below zero, a number that its maker gives that meaning, or what is no number at all.
    pub(in crate::printer) fn of(&self, value: &Value) -> Option<(u64, Option<String>)> {
        let number = match self.decode {
            Decode::Number => value.as_i64(),
            Decode::Digits => self.digits(value),
            Decode::BigEndian => big_endian(value.as_bytes()?),
            Decode::Float => float(value.as_bytes()?),
            Decode::Records => self.record(value.as_bytes()?),
        }?;
        if self.absent.contains(&number) {
            return None;
        }
        let raw = u64::try_from(number).ok()?;
        let cut = match self.bits {
            Some((first, count)) => (raw >> first) & (u64::MAX >> (64 - count)),
            None => raw,
        };
        let scaled = cut.checked_mul(self.scale.unwrap_or(1))?;
        let is_plain = self.decode == Decode::Number && scaled == raw;
        let shown = match self.decode {
            Decode::Digits => text::of_value(value),
            _ => Some(number.to_string()),
        };
        Some((scaled, shown.filter(|_| !is_plain)))
    }

    fn digits(&self, value: &Value) -> Option<i64> {
        if let Some(number) = value.as_i64() {
            return Some(number);
        }
        let text = text::of_value(value)?;
        let part = match &self.part {
            Some(part) => part.part_of(&text)?,
            None => &text,
        };
        // "12,345" and "12 345" are how some write it.
        let digits: String = part.chars().filter(|c| !matches!(c, ',' | ' ' | '\'' | '.')).collect();
        digits.parse().ok()
    }

    fn record(&self, bytes: &[u8]) -> Option<i64> {
        let Record { tag, size, at, bytes: width } = self.record?;
        let record = bytes.chunks_exact(size).find(|record| record.first() == Some(&tag))?;
        big_endian(record.get(at..at + width)?)
    }
}

/// A count as IEEE 754 single precision, big-endian, rounded to the nearest whole.
fn float(bytes: &[u8]) -> Option<i64> {
    /// Up to here each whole number has a form of its own (2²⁴).
    const EXACT_BELOW: f32 = 16_777_216.0;
    let number = f32::from_be_bytes(bytes.try_into().ok()?).round();
    // Within the bound the conversion is exact; what is not finite lies outside.
    #[allow(clippy::cast_possible_truncation)]
    (0.0..=EXACT_BELOW).contains(&number).then_some(number as i64)
}

fn big_endian(bytes: &[u8]) -> Option<i64> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let number = bytes.iter().fold(0u64, |number, &byte| (number << 8) | u64::from(byte));
    i64::try_from(number).ok()
}

/// Meters in a table whose rows say by type numbers or a name what they count.
#[derive(Debug)]
pub(in crate::printer) struct MeterTable {
    /// The columns of the types, or the one of the names.
    pub types: Vec<Oid>,
    /// The column of the values, with the same indexes.
    pub values: Oid,
    /// A column of units, as prtMarkerCounterUnit has them.
    pub unit_from: Option<Oid>,
    pub rows: Vec<MeterRow>,
    pub models: Models,
    /// The line of the profile that says so, from 1.
    pub line: usize,
}

/// What a row of such a table counts.
#[derive(Debug)]
pub(in crate::printer) struct MeterRow {
    pub which: Which,
    pub key: MeterKey,
    pub unit: String,
}

/// Which rows it is.
#[derive(Debug)]
pub(in crate::printer) enum Which {
    /// The first of each of these types in the first column; several are added.
    Types(Vec<i64>),
    /// All that have one of these types in the first column, added.
    AllOfTypes(Vec<i64>),
    /// All that have just these numbers in the columns of types, added.
    All(Vec<i64>),
    /// The first whose type is a text that matches.
    Text(Pattern),
}

/// A meter as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeterInFile {
    name: String,
    oid: Option<Oid>,
    oids: Option<Vec<Oid>>,
    sum: Option<Vec<Oid>>,
    unit: Option<String>,
    #[serde(default)]
    decode: Decode,
    part: Option<Pattern>,
    record: Option<Record>,
    bits: Option<(u32, u32)>,
    scale: Option<u64>,
    #[serde(default)]
    absent: Vec<i64>,
    if_model: Option<Pattern>,
    unless_model: Option<Pattern>,
    only_if: Option<OnlyIf>,
}

impl MeterInFile {
    pub(super) fn check(self, line: usize) -> Result<MeterPlace, String> {
        let key = self.name.parse::<MeterKey>().map_err(|e| e.to_string())?;
        let objects = match (self.oid, self.oids, self.sum) {
            (Some(oid), None, None) => Objects::FirstOf(vec![oid]),
            (None, Some(oids), None) if !oids.is_empty() => Objects::FirstOf(oids),
            (None, None, Some(oids)) if !oids.is_empty() => Objects::Sum(oids),
            _ => return Err("a meter names just one of oid, oids, sum".to_owned()),
        };
        let Self { decode, part, record, bits, scale, absent, .. } = self;
        let number = Number { decode, part, record, bits, scale, absent };
        number.check()?;
        Ok(MeterPlace {
            key,
            objects,
            number,
            unit: unit(self.unit)?,
            models: Models { only: self.if_model, except: self.unless_model },
            only_if: self.only_if,
            line,
        })
    }
}

/// A table of meters as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeterTableInFile {
    types: OneOrMore<Oid>,
    values: Oid,
    unit_from: Option<Oid>,
    row: Vec<MeterRowInFile>,
    if_model: Option<Pattern>,
    unless_model: Option<Pattern>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MeterRowInFile {
    r#type: Option<OneOrMore<i64>>,
    all_of: Option<Vec<i64>>,
    types: Option<Vec<i64>>,
    text: Option<Pattern>,
    name: String,
    unit: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    fn list(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::More(more) => more,
        }
    }
}

impl MeterTableInFile {
    pub(super) fn check(self, line: usize) -> Result<MeterTable, String> {
        let models = Models { only: self.if_model, except: self.unless_model };
        let types = self.types.list();
        if types.is_empty() {
            return Err("types names at least one column".to_owned());
        }
        let columns = types.len();
        let rows = self.row.into_iter().map(|row| row.check(columns)).collect::<Result<_, _>>()?;
        Ok(MeterTable { types, values: self.values, unit_from: self.unit_from, rows, models, line })
    }
}

impl MeterRowInFile {
    fn check(self, columns: usize) -> Result<MeterRow, String> {
        let key = self.name.parse::<MeterKey>().map_err(|e| e.to_string())?;
        let which = match (self.r#type.map(OneOrMore::list), self.all_of, self.types, self.text) {
            (Some(types), None, None, None) if !types.is_empty() => Which::Types(types),
            (None, Some(types), None, None) if !types.is_empty() => Which::AllOfTypes(types),
            (None, None, Some(types), None) if types.len() == columns => Which::All(types),
            (None, None, Some(types), None) => {
                let row = &self.name;
                return Err(format!("the row \"{row}\" has {} types for {columns} columns of types", types.len()));
            }
            (None, None, None, Some(text)) => Which::Text(text),
            _ => return Err(format!("the row \"{}\" names just one of type, all_of, types, text", self.name)),
        };
        Ok(MeterRow { which, key, unit: unit(self.unit)? })
    }
}

/// Where a maker says how much of a supply is left, although prtMarkerSuppliesLevel says only that something is.
#[derive(Debug)]
pub(in crate::printer) struct SupplyLevel {
    /// Which supply: its description matches.
    pub description: Pattern,
    pub oid: Oid,
    pub number: Number,
    /// The number that means full.
    pub full: u64,
}

/// The same as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SupplyLevelInFile {
    description: Pattern,
    oid: Oid,
    #[serde(default)]
    decode: Decode,
    part: Option<Pattern>,
    record: Option<Record>,
    #[serde(default)]
    absent: Vec<i64>,
    full: u64,
}

impl SupplyLevelInFile {
    pub(super) fn check(self, _line: usize) -> Result<SupplyLevel, String> {
        if self.full == 0 {
            return Err("full is the number that means full, so at least 1".to_owned());
        }
        let Self { description, oid, decode, part, record, absent, full } = self;
        let number = Number { decode, part, record, absent, ..Number::default() };
        number.check()?;
        Ok(SupplyLevel { description, oid, number, full })
    }
}

impl Number {
    /// Whether its parts go together.
    fn check(&self) -> Result<(), String> {
        if (self.decode == Decode::Records) != self.record.is_some() {
            return Err("record goes with decode = \"records\", and that needs it".to_owned());
        }
        if let Some(Record { size, at, bytes, .. }) = self.record
            && (size == 0 || bytes == 0 || bytes > 8 || at.checked_add(bytes).is_none_or(|end| end > size))
        {
            return Err("record: at + bytes lies within size, and bytes is 1 to 8".to_owned());
        }
        if self.bits.is_some_and(|(first, count)| count == 0 || first.checked_add(count).is_none_or(|end| end > 64)) {
            return Err("bits = [first, count] lies within 64 bits, and count is at least 1".to_owned());
        }
        if self.part.is_some() && self.decode != Decode::Digits {
            return Err("part goes with decode = \"digits\"".to_owned());
        }
        Ok(())
    }
}

fn unit(unit: Option<String>) -> Result<String, String> {
    let unit = unit.unwrap_or_else(|| "unknown".to_owned());
    if UNITS.contains(&unit.as_str()) {
        return Ok(unit);
    }
    Err(format!("there is no unit \"{unit}\"; there are: {}", UNITS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        let file: MeterInFile = toml::from_str(&format!("name = \"total\"\noid = \"1.3\"\n{text}")).unwrap();
        file.check(1).unwrap().number
    }

    #[test]
    fn a_plain_number_is_taken_as_it_is_and_codes_are_none() {
        let plain = number("");
        assert_eq!(plain.of(&Value::Counter32(7)), Some((7, None)));
        assert_eq!(plain.of(&Value::Integer(-2)), None);
        assert_eq!(plain.of(&Value::OctetString(b"7".to_vec())), None);
        assert_eq!(number("absent = [4294967295]").of(&Value::Counter32(u32::MAX)), None);
    }

    #[test]
    fn what_a_number_was_made_of_stays_beside_it() {
        let value = Value::OctetString(b"Total: 12,345 pages".to_vec());
        let digits = number("decode = \"digits\"\npart = 'Total: ([0-9,]+)'");
        assert_eq!(digits.of(&value), Some((12_345, Some("Total: 12,345 pages".to_owned()))));
        assert_eq!(number("scale = 10").of(&Value::Integer(42)), Some((420, Some("42".to_owned()))));
        assert_eq!(number("bits = [8, 4]").of(&Value::Integer(0x1a34)), Some((0xa, Some("6708".to_owned()))));
    }

    #[test]
    fn a_record_is_found_by_its_tag() {
        let blob = Value::OctetString(vec![0x31, 1, 4, 0, 0, 0, 9, 0x00, 1, 4, 0, 1, 0, 2, 0xff]);
        let rule = number("decode = \"records\"\nrecord = { tag = 0, size = 7, at = 3, bytes = 4 }");
        assert_eq!(rule.of(&blob), Some((65_538, Some("65538".to_owned()))));
        let none = number("decode = \"records\"\nrecord = { tag = 5, size = 7, at = 3, bytes = 4 }");
        assert_eq!(none.of(&blob), None);
    }

    #[test]
    fn a_float_is_a_count_where_it_can_be_one() {
        let rule = number("decode = \"float\"");
        let of = |number: f32| rule.of(&Value::OctetString(number.to_be_bytes().to_vec())).map(|(value, _)| value);
        assert_eq!((of(1.0), of(1_234.5), of(0.0)), (Some(1), Some(1_235), Some(0)));
        for none in [-1.0, f32::NAN, f32::INFINITY, 1e9] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_scale_that_leads_too_far_gives_nothing_and_no_panic() {
        assert_eq!(number("scale = 1000").of(&Value::Counter64(u64::MAX / 8)), None);
        assert_eq!(number("bits = [0, 64]").of(&Value::Integer(5)), Some((5, None)));
    }
}
