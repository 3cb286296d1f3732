//! Where a text (model, serial number, firmware, name) is found: an object, a row of a table, or a part of a text that is
//! known already.

use serde::Deserialize;

use super::pattern::Pattern;
use crate::snmp::Oid;

/// Where a text is found, and what part of it is wanted.
#[derive(Debug)]
pub(in crate::printer) struct Place {
    pub from: Source,
    /// Only this of it.
    pub part: Option<Pattern>,
    /// The line of the profile that says so, from 1.
    pub line: usize,
}

/// What holds the text.
#[derive(Debug)]
pub(in crate::printer) enum Source {
    /// An instance to GET.
    Object { oid: Oid, decode: Decode },
    /// The value beside a name in a table.
    Lookup(Lookup),
    /// sysDescr.
    SysDescr,
    /// hrDeviceDescr of the printer.
    HrDeviceDescr,
    /// prtGeneralPrinterName.
    PrinterName,
    /// prtGeneralSerialNumber.
    SerialNumber,
    /// A field of the IEEE 1284 device id, by its short key.
    DeviceId(String),
}

/// How an OCTET STRING wraps a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::printer) enum Decode {
    /// Not at all.
    Text,
    /// HP's PML.
    Pml,
    /// Hexadecimal digits, written as text.
    HexText,
    /// An IEEE 1284 device id, of which this field.
    DeviceId(String),
}

/// A table with a column of names and one of values.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::printer) struct Lookup {
    /// The column of the names.
    pub names: Oid,
    /// The column of the values, with the same indexes.
    pub values: Oid,
    /// What the name must match.
    pub r#where: Pattern,
    /// Only these rows, each by GET: for tables behind which a walk must not go.
    #[serde(default)]
    pub rows: Vec<Index>,
}

/// A row's index, written "1.3".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::printer) struct Index(pub Vec<u32>);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let arcs: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        arcs.map(Self).map_err(|_| serde::de::Error::custom(format!("{text:?} is no index: write \"1\" or \"1.3\"")))
    }
}

/// A place as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceInFile {
    oid: Option<Oid>,
    decode: Option<DecodeInFile>,
    field: Option<String>,
    lookup: Option<Lookup>,
    sys_descr: Option<Pattern>,
    hr_device_descr: Option<Pattern>,
    printer_name: Option<Pattern>,
    device_id: Option<String>,
    standard: Option<Standard>,
    part: Option<Pattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DecodeInFile {
    Text,
    Pml,
    HexText,
    DeviceId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Standard {
    SerialNumber,
    PrinterName,
}

impl PlaceInFile {
    /// Makes sure that it names one source, and nothing that does not go with it.
    pub(super) fn check(self, line: usize) -> Result<Place, String> {
        let decode = match (self.decode, self.field) {
            (None | Some(DecodeInFile::Text), None) => Decode::Text,
            (Some(DecodeInFile::Pml), None) => Decode::Pml,
            (Some(DecodeInFile::HexText), None) => Decode::HexText,
            (Some(DecodeInFile::DeviceId), Some(field)) => Decode::DeviceId(field),
            (Some(DecodeInFile::DeviceId), None) => return Err("decode = \"device_id\" needs a field".to_owned()),
            (_, Some(_)) => return Err("field goes with decode = \"device_id\" only".to_owned()),
        };
        if decode != Decode::Text && self.oid.is_none() {
            return Err("decode goes with oid only".to_owned());
        }
        let mut part = self.part;
        let mut sources = Vec::new();
        sources.extend(self.oid.map(|oid| Source::Object { oid, decode }));
        sources.extend(self.lookup.map(Source::Lookup));
        sources.extend(self.device_id.map(Source::DeviceId));
        sources.extend(self.standard.map(|standard| match standard {
            Standard::SerialNumber => Source::SerialNumber,
            Standard::PrinterName => Source::PrinterName,
        }));
        let texts = [
            (self.sys_descr, Source::SysDescr),
            (self.hr_device_descr, Source::HrDeviceDescr),
            (self.printer_name, Source::PrinterName),
        ];
        for (pattern, source) in texts {
            if let Some(pattern) = pattern {
                if part.is_some() {
                    return Err(
                        "part goes with oid, lookup, device_id and standard: a pattern is a part already".to_owned()
                    );
                }
                part = Some(pattern);
                sources.push(source);
            }
        }
        match (sources.pop(), sources.is_empty()) {
            (Some(from), true) => Ok(Place { from, part, line }),
            _ => Err(
                "a place names just one of oid, lookup, sys_descr, hr_device_descr, printer_name, device_id, standard"
                    .to_owned(),
            ),
        }
    }
}
