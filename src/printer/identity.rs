//! Who a device is: vendor, model, serial number, firmware, name. Several places may say it; the profile gives their order,
//! and what the standard objects say comes last.

use super::ask::Ask;
use super::profile::{Decode, Lookup, Place, Profile, Source};
use super::recognise::Recognition;
use super::{device_id, text};
use crate::snmp::{ObjectSource, Oid, SnmpError, Value, WalkLimits};

/// Serial numbers that are none.
const PLACEHOLDERS: &[&str] = &[
    "N/A",
    "NA",
    "NONE",
    "UNKNOWN",
    "UNDEFINED",
    "UNINITIALIZED",
    "NOT AVAILABLE",
    "NOT SET",
    "DEFAULT",
    "SERIAL",
    "SERIAL NUMBER",
    "S/N",
    "-",
    "NULL",
    "1234567890",
    "0123456789",
    "123456789",
    "12345678",
];
/// Shortest serial number that is believed, in characters.
const SERIAL_MIN_CHARS: usize = 4;
/// Longest model that is believed, in characters: what is longer is a sentence.
const MODEL_MAX_CHARS: usize = 64;

/// Everything that was read before it is known who the device is.
pub(super) struct Clues<'a, 's, 'p, S> {
    pub recognition: &'a Recognition<'p>,
    /// With the answers to the GET of the profile's instances.
    pub ask: &'a mut Ask<'s, S>,
    pub printer_name: Option<String>,
    pub serial_number: Option<String>,
}

/// A text, and which rule gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub text: String,
    pub source: String,
}

impl Found {
    fn standard(text: String, source: &str) -> Self {
        Self { text, source: source.to_owned() }
    }
}

impl<S: ObjectSource> Clues<'_, '_, '_, S> {
    fn object(&self, oid: &Oid, decode: &Decode) -> Option<String> {
        let value = self.ask.value(oid)?;
        let charset = self.ask.charset();
        match decode {
            // A few makers keep a serial number as a number.
            Decode::Text => charset.of_value(value).or_else(|| value.as_i64().map(|number| number.to_string())),
            Decode::Pml => text::of_pml(value),
            Decode::HexText => text::of_hex_text(value, charset),
            Decode::DeviceId(key) => device_id::field(&charset.of_value(value)?, key).map(str::to_owned),
        }
    }

    /// The value beside the first name that matches.
    async fn lookup(&mut self, lookup: &Lookup) -> Result<Option<String>, SnmpError> {
        let charset = self.ask.charset();
        let is_it = |value: &Value| charset.of_value(value).is_some_and(|name| lookup.r#where.matches(&name));
        if !lookup.rows.is_empty() {
            // Their cells have come with the other instances.
            let named =
                |index: &&super::profile::Index| self.ask.value(&lookup.names.with(&index.0)).is_some_and(is_it);
            let row = lookup.rows.iter().find(named);
            return Ok(row.and_then(|index| self.ask.text(&lookup.values.with(&index.0))));
        }
        let names = self.ask.walk(&lookup.names, WalkLimits::default()).await?;
        let Some((oid, _)) = names.iter().find(|(_, value)| is_it(value)) else { return Ok(None) };
        let Some(index) = oid.suffix_of(&lookup.names) else { return Ok(None) };
        let instance = lookup.values.with(index);
        self.ask.get(std::slice::from_ref(&instance)).await?;
        Ok(self.ask.text(&instance))
    }

    async fn at(&mut self, place: &Place) -> Result<Option<String>, SnmpError> {
        let recognition = self.recognition;
        let whole = match &place.from {
            Source::Object { oid, decode } => self.object(oid, decode),
            Source::Lookup(lookup) => self.lookup(lookup).await?,
            Source::SysDescr => recognition.sys_descr.clone(),
            Source::HrDeviceDescr => recognition.hr_device_descr.clone(),
            Source::PrinterName => self.printer_name.clone(),
            Source::SerialNumber => self.serial_number.clone(),
            Source::DeviceId(key) => {
                recognition.device_id.as_deref().and_then(|id| device_id::field(id, key)).map(str::to_owned)
            }
        };
        let part = whole.and_then(|whole| match &place.part {
            Some(part) => part.part_of(&whole).map(text::printable),
            None => Some(text::printable(&whole)),
        });
        Ok(part.filter(|text| !text.is_empty()))
    }

    /// The first place that has something that will do.
    async fn first(&mut self, places: &[Place], will_do: fn(&str) -> bool) -> Result<Option<Found>, SnmpError> {
        for place in places {
            if let Some(text) = self.at(place).await?.filter(|text| will_do(text)) {
                let file = self.recognition.profile.map_or("", |profile| &profile.file);
                return Ok(Some(Found { text, source: format!("{file}:{}", place.line) }));
            }
        }
        Ok(None)
    }

    pub(super) async fn model(&mut self) -> Result<Option<Found>, SnmpError> {
        let profile = self.recognition.profile;
        let found = match profile {
            Some(profile) => self.first(&profile.model, is_model).await?,
            None => None,
        };
        let found = found.or_else(|| self.general_model());
        let mfg = self.maker_in_device_id();
        Ok(found
            .map(|found| Found { text: clean_model(&found.text, profile, mfg.as_deref()), ..found })
            .filter(|found| is_model(&found.text)))
    }

    /// Where every device may have its model.
    fn general_model(&self) -> Option<Found> {
        let recognition = self.recognition;
        let device_id = recognition.device_id.as_deref().and_then(|id| device_id::field(id, "MDL"));
        // Where a known vendor has a model in sysDescr its profile says so; else what stands there is no model.
        let sys_descr = recognition.sys_descr.as_deref().filter(|_| recognition.profile.is_none());
        let places = [
            (device_id, "device id MDL"),
            (recognition.hr_device_descr.as_deref(), "RFC 2790 hrDeviceDescr"),
            (self.printer_name.as_deref(), "RFC 3805 prtGeneralPrinterName"),
            (sys_descr, "RFC 3418 sysDescr"),
        ];
        let found = |(text, source): (Option<&str>, &str)| {
            let text = text::squeeze(text?);
            (!text.is_empty()).then(|| Found::standard(text, source))
        };
        places.into_iter().find_map(found)
    }

    fn maker_in_device_id(&self) -> Option<String> {
        device_id::field(self.recognition.device_id.as_deref()?, "MFG").map(text::squeeze)
    }

    /// `model` may tell one brand from another.
    pub(super) fn vendor(&self, model: Option<&str>) -> Option<Found> {
        let Some(profile) = self.recognition.profile else {
            return Some(Found::standard(self.maker_in_device_id()?, "device id MFG"));
        };
        let vendor = profile.vendor_of(&self.recognition.appearance(), model);
        Some(Found { text: vendor.to_owned(), source: profile.file.clone() })
    }

    pub(super) async fn serial(&mut self) -> Result<Option<Found>, SnmpError> {
        let profile = self.recognition.profile;
        let found = match profile {
            Some(profile) => self.first(&profile.serial, is_serial).await?,
            None => None,
        };
        let device_id = || self.recognition.device_id.as_deref().and_then(|id| device_id::field(id, "SN"));
        let found = found
            .or_else(|| Some(Found::standard(self.serial_number.clone()?, "RFC 3805 prtGeneralSerialNumber")))
            .filter(|found| is_serial(&found.text))
            .or_else(|| Some(Found::standard(text::squeeze(device_id()?), "device id SN")))
            .filter(|found| is_serial(&found.text));
        Ok(found.map(|found| Found { text: normal_serial(&found.text, profile), ..found }))
    }

    pub(super) async fn firmware(&mut self) -> Result<Option<Found>, SnmpError> {
        let Some(profile) = self.recognition.profile else { return Ok(None) };
        self.first(&profile.firmware, |_| true).await
    }

    pub(super) async fn name(&mut self) -> Result<Option<Found>, SnmpError> {
        let by_profile = match self.recognition.profile {
            Some(profile) => self.first(&profile.name, |_| true).await?,
            None => None,
        };
        Ok(by_profile.or_else(|| Some(Found::standard(self.recognition.sys_name.clone()?, "RFC 3418 sysName"))))
    }
}

fn is_model(text: &str) -> bool {
    let has_letter_or_digit = text.chars().any(char::is_alphanumeric);
    has_letter_or_digit && text.chars().count() <= MODEL_MAX_CHARS
}

/// As its maker writes it, where it can be written in two ways.
fn normal_serial(serial: &str, profile: Option<&Profile>) -> String {
    let rules = profile.map(|profile| profile.serial_rules.as_slice()).unwrap_or_default();
    let normal = rules.iter().find(|rule| rule.matches(serial)).and_then(|rule| rule.part_of(serial));
    normal.filter(|serial| is_serial(serial)).unwrap_or(serial).to_owned()
}

/// Without the vendor in front and " series" behind.
fn clean_model(model: &str, profile: Option<&Profile>, vendor: Option<&str>) -> String {
    let mut words: Vec<&str> = profile.map(|profile| profile.vendor_words().collect()).unwrap_or_default();
    words.extend(vendor);
    // Longest first: "KONICA MINOLTA" before "KONICA".
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let mut model = model.trim();
    for word in words {
        if let Some(head) = model.get(..word.len())
            && head.eq_ignore_ascii_case(word)
            && model.get(word.len()..).is_some_and(|rest| rest.starts_with(' '))
        {
            model = model.get(word.len()..).unwrap_or_default().trim_start();
        }
    }
    let without_series = model.len().checked_sub(" series".len()).and_then(|at| model.split_at_checked(at));
    match without_series {
        Some((front, tail)) if tail.eq_ignore_ascii_case(" series") => front.trim_end().to_owned(),
        _ => model.to_owned(),
    }
}

/// Whether this can be a serial number: no placeholder, and not one character over and over.
pub(super) fn is_serial(text: &str) -> bool {
    let upper = text.trim().to_ascii_uppercase();
    let mut characters = upper.chars();
    let first = characters.next();
    let is_uniform = characters.all(|c| Some(c) == first);
    upper.chars().count() >= SERIAL_MIN_CHARS && !is_uniform && !PLACEHOLDERS.contains(&upper.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_no_serial_numbers() {
        for none in ["", "0000000000", "XXXXXXXX", "unknown", "N/A", "----", "12", "Not Available"] {
            assert!(!is_serial(none), "{none}");
        }
        for some in ["VNB3R12345", "000A5J431816", "7062184", "TC101642170085"] {
            assert!(is_serial(some), "{some}");
        }
    }

    #[test]
    fn a_model_stands_without_its_vendor_and_series() {
        assert_eq!(clean_model("Brother MFC-L2710DW series", None, Some("Brother")), "MFC-L2710DW");
        assert_eq!(clean_model("HP Color LaserJet M452nw", None, Some("HP")), "Color LaserJet M452nw");
        assert_eq!(clean_model("HPX-1", None, Some("HP")), "HPX-1");
        assert_eq!(clean_model("é", None, Some("HP")), "é");
    }
}
