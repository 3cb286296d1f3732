//! Who a device is: vendor, model, serial number, firmware, name. Several places may say it; the profile gives their order,
//! and what the standard objects say comes last.

use super::profile::{Decode, Place, Profile, Standard};
use super::recognise::Recognition;
use super::{device_id, text};
use crate::snmp::{Oid, VarBind};

/// Serial numbers that are none.
const PLACEHOLDERS: &[&str] =
    &["N/A", "NA", "NONE", "UNKNOWN", "UNDEFINED", "NOT AVAILABLE", "SERIAL", "S/N", "-", "NULL"];
/// Shortest serial number that is believed, in characters.
const SERIAL_MIN_CHARS: usize = 4;
/// Longest model that is believed, in characters: what is longer is a sentence.
const MODEL_MAX_CHARS: usize = 64;

/// Everything that was read before it is known who the device is.
pub(super) struct Clues<'a> {
    pub recognition: &'a Recognition,
    /// Answers to the GET of the profile's and the standard instances.
    pub values: &'a [VarBind],
    pub hr_device_descr: Option<String>,
    pub printer_name: Option<String>,
    pub serial_number: Option<String>,
    pub device_id: Option<String>,
}

impl Clues<'_> {
    fn object(&self, oid: &Oid, decode: Decode) -> Option<String> {
        let value = self.values.iter().find(|vb| vb.oid == *oid).map(|vb| &vb.value)?;
        match decode {
            Decode::Text => text::of_value(value),
            Decode::Pml => text::of_pml(value),
        }
    }

    fn at(&self, place: &Place) -> Option<String> {
        let sys_descr = self.recognition.sys_descr.as_deref();
        let found = if let Some(oid) = &place.oid {
            let text = self.object(oid, place.decode)?;
            match &place.part {
                Some(part) => part.part_of(&text)?.to_owned(),
                None => text,
            }
        } else if let Some(pattern) = &place.sys_descr {
            pattern.part_of(sys_descr?)?.to_owned()
        } else if let Some(pattern) = &place.hr_device_descr {
            pattern.part_of(self.hr_device_descr.as_deref()?)?.to_owned()
        } else if let Some(key) = &place.device_id {
            device_id::field(self.device_id.as_deref()?, key)?.to_owned()
        } else {
            match place.standard? {
                Standard::SerialNumber => self.serial_number.clone()?,
                Standard::PrinterName => self.printer_name.clone()?,
            }
        };
        let found = text::squeeze(&found);
        (!found.is_empty()).then_some(found)
    }

    fn first(&self, places: &[Place]) -> Option<String> {
        places.iter().find_map(|place| self.at(place))
    }

    pub(super) fn vendor(&self) -> Option<String> {
        match self.recognition.profile {
            Some(profile) => Some(profile.vendor_of(self.recognition.sys_descr.as_deref()).to_owned()),
            None => device_id::field(self.device_id.as_deref()?, "MFG").map(text::squeeze),
        }
    }

    pub(super) fn model(&self, vendor: Option<&str>) -> Option<String> {
        let profile = self.recognition.profile;
        let by_profile = profile.and_then(|profile| self.first(&profile.model));
        let by_device_id = || self.device_id.as_deref().and_then(|id| device_id::field(id, "MDL")).map(text::squeeze);
        let general = || {
            by_device_id().or_else(|| self.hr_device_descr.as_deref().map(text::squeeze)).or_else(|| {
                let name = self.printer_name.as_deref().map(text::squeeze);
                // Where a known vendor has a model in sysDescr its profile says so; else what stands there is no model.
                let sys_descr = self.recognition.sys_descr.as_deref().filter(|_| profile.is_none());
                name.or_else(|| sys_descr.map(text::squeeze))
            })
        };
        by_profile
            .or_else(general)
            .map(|model| clean_model(&model, profile, vendor))
            .filter(|model| !model.is_empty() && model.chars().count() <= MODEL_MAX_CHARS)
    }

    pub(super) fn serial(&self) -> Option<String> {
        let by_profile = self.recognition.profile.and_then(|profile| {
            profile.serial.iter().filter_map(|place| self.at(place)).find(|serial| is_serial(serial))
        });
        let general = || {
            let device_id = self.device_id.as_deref().and_then(|id| device_id::field(id, "SN")).map(str::to_owned);
            [self.serial_number.clone(), device_id].into_iter().flatten().find(|serial| is_serial(serial))
        };
        by_profile.or_else(general)
    }

    pub(super) fn firmware(&self) -> Option<String> {
        self.recognition.profile.and_then(|profile| self.first(&profile.firmware))
    }

    pub(super) fn name(&self) -> Option<String> {
        let by_profile = self.recognition.profile.and_then(|profile| self.first(&profile.name));
        by_profile.or_else(|| self.recognition.sys_name.clone())
    }
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
