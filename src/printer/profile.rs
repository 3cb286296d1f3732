//! Vendor profiles: data files that say how a vendor's devices are recognised and where they keep what the standard MIBs do
//! not have. Adding a vendor is adding a file to `profiles/` and its name to the list here.

use std::sync::OnceLock;

use regex_lite::Regex;
use serde::Deserialize;

use crate::snmp::Oid;

/// The files, in the order in which they are tried.
const FILES: &[(&str, &str)] = &[
    ("brother", include_str!("profiles/brother.toml")),
    ("canon", include_str!("profiles/canon.toml")),
    ("dell", include_str!("profiles/dell.toml")),
    ("epson", include_str!("profiles/epson.toml")),
    ("fujifilm", include_str!("profiles/fujifilm.toml")),
    ("konica-minolta", include_str!("profiles/konica-minolta.toml")),
    ("kyocera", include_str!("profiles/kyocera.toml")),
    ("lexmark", include_str!("profiles/lexmark.toml")),
    ("oki", include_str!("profiles/oki.toml")),
    ("pantum", include_str!("profiles/pantum.toml")),
    ("ricoh", include_str!("profiles/ricoh.toml")),
    ("samsung", include_str!("profiles/samsung.toml")),
    ("sharp", include_str!("profiles/sharp.toml")),
    ("toshiba", include_str!("profiles/toshiba.toml")),
    ("tsc", include_str!("profiles/tsc.toml")),
    ("xerox", include_str!("profiles/xerox.toml")),
    ("zebra", include_str!("profiles/zebra.toml")),
    // Last: HP's network cards sit in other vendors' printers too.
    ("hp", include_str!("profiles/hp.toml")),
];

/// The meters there are; README.md says what each counts.
pub(super) const METER_NAMES: &[&str] = &[
    "total",
    "mono",
    "colour",
    "print_total",
    "print_mono",
    "print_colour",
    "copy_total",
    "copy_mono",
    "copy_colour",
    "fax",
    "scan",
    "duplex",
    "large",
    "length",
];

/// What is known of one vendor's devices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// The vendor, as people write it.
    pub vendor: String,
    /// Other words for the vendor that stand before a model.
    #[serde(default)]
    pub aliases: Vec<String>,
    recognise: Recognise,
    /// Other names under which the same devices are sold.
    #[serde(default, rename = "brand")]
    brands: Vec<Brand>,
    /// Where the model is, best first; likewise the others.
    #[serde(default)]
    pub model: Vec<Place>,
    #[serde(default)]
    pub serial: Vec<Place>,
    #[serde(default)]
    pub firmware: Vec<Place>,
    #[serde(default)]
    pub name: Vec<Place>,
    #[serde(default, rename = "meter")]
    pub meters: Vec<MeterPlace>,
    #[serde(default, rename = "meter_table")]
    pub meter_tables: Vec<MeterTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recognise {
    /// sysObjectID is one of these or lies below.
    #[serde(default)]
    sys_object_id: Vec<Oid>,
    /// sysDescr matches one of these.
    #[serde(default)]
    sys_descr: Vec<Pattern>,
    /// Whether being recognised is proof of a printer.
    #[serde(default)]
    is_printer: bool,
    /// A device of this vendor whose sysDescr matches one of these is none, unless it has the Printer-MIB.
    #[serde(default)]
    not_a_printer: Vec<Pattern>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Brand {
    vendor: String,
    sys_descr: Pattern,
}

/// Where a text is found: an object, or a part of a text that is known already.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// An instance to GET.
    pub oid: Option<Oid>,
    /// How its value is wrapped.
    #[serde(default)]
    pub decode: Decode,
    /// What of sysDescr; the first group is it.
    pub sys_descr: Option<Pattern>,
    /// What of hrDeviceDescr.
    pub hr_device_descr: Option<Pattern>,
    /// What of the object's value.
    pub part: Option<Pattern>,
    /// A field of the IEEE 1284 device id, by its short key.
    pub device_id: Option<String>,
    /// prtGeneralSerialNumber or prtGeneralPrinterName.
    pub standard: Option<Standard>,
}

/// How a value is wrapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Decode {
    #[default]
    Text,
    /// HP's PML.
    Pml,
}

/// Objects of the Printer-MIB that a profile can refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standard {
    SerialNumber,
    PrinterName,
}

/// A meter in an instance of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeterPlace {
    pub name: String,
    pub oid: Oid,
    #[serde(default = "unknown")]
    pub unit: String,
}

/// Meters in a table whose rows say by a type number what they count.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeterTable {
    /// The column of the types.
    pub types: Oid,
    /// The column of the values, with the same indexes.
    pub values: Oid,
    #[serde(rename = "row")]
    pub rows: Vec<MeterRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeterRow {
    pub r#type: i64,
    pub name: String,
    #[serde(default = "unknown")]
    pub unit: String,
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// A regular expression; a profile with a bad one does not load.
#[derive(Debug)]
pub(super) struct Pattern(Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The first group that took part, else the whole match.
    pub(super) fn part_of<'a>(&self, text: &'a str) -> Option<&'a str> {
        let captures = self.0.captures(text)?;
        let group = (1..captures.len()).find_map(|n| captures.get(n)).or_else(|| captures.get(0))?;
        Some(group.as_str())
    }
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProfileError {
    /// Not TOML, an unknown key, a bad pattern or object identifier.
    #[error("profile {name}: {detail}")]
    Parse { name: String, detail: String },
    /// A meter that is not in the list.
    #[error("profile {name}: there is no meter named \"{meter}\"")]
    UnknownMeter { name: String, meter: String },
}

impl Profile {
    fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let profile: Self =
            toml::from_str(text).map_err(|e| ProfileError::Parse { name: name.to_owned(), detail: e.to_string() })?;
        let direct = profile.meters.iter().map(|meter| &meter.name);
        let in_tables = profile.meter_tables.iter().flat_map(|table| table.rows.iter().map(|row| &row.name));
        match direct.chain(in_tables).find(|meter| !METER_NAMES.contains(&meter.as_str())) {
            Some(meter) => Err(ProfileError::UnknownMeter { name: name.to_owned(), meter: meter.clone() }),
            None => Ok(profile),
        }
    }

    fn recognises(&self, sys_object_id: Option<&Oid>, sys_descr: Option<&str>) -> bool {
        let by_object =
            sys_object_id.is_some_and(|oid| self.recognise.sys_object_id.iter().any(|p| oid.starts_with(p)));
        let by_text = sys_descr.is_some_and(|text| self.recognise.sys_descr.iter().any(|p| p.matches(text)));
        by_object || by_text
    }

    /// Whether being one of these is proof of a printer.
    pub(super) fn is_surely_a_printer(&self, sys_descr: Option<&str>) -> bool {
        self.recognise.is_printer && !self.is_surely_no_printer(sys_descr)
    }

    /// Whether the device says that it is something else of this vendor.
    pub(super) fn is_surely_no_printer(&self, sys_descr: Option<&str>) -> bool {
        sys_descr.is_some_and(|text| self.recognise.not_a_printer.iter().any(|p| p.matches(text)))
    }

    /// The vendor's name, or that of the brand under which this device is sold.
    pub(super) fn vendor_of(&self, sys_descr: Option<&str>) -> &str {
        let brand = sys_descr.and_then(|text| self.brands.iter().find(|brand| brand.sys_descr.matches(text)));
        brand.map_or(&self.vendor, |brand| &brand.vendor)
    }

    /// All words that name the vendor.
    pub(super) fn vendor_words(&self) -> impl Iterator<Item = &str> {
        let brands = self.brands.iter().map(|brand| brand.vendor.as_str());
        self.aliases.iter().map(String::as_str).chain(brands).chain([self.vendor.as_str()])
    }

    /// Every instance that is to be asked for.
    pub(super) fn oids(&self) -> impl Iterator<Item = &Oid> {
        let texts = self.model.iter().chain(&self.serial).chain(&self.firmware).chain(&self.name);
        texts.filter_map(|place| place.oid.as_ref()).chain(self.meters.iter().map(|meter| &meter.oid))
    }
}

/// All profiles. Those in the binary were loaded by a test of this build; one that fails here is left out and said.
fn all() -> &'static [Profile] {
    static PROFILES: OnceLock<Vec<Profile>> = OnceLock::new();
    PROFILES.get_or_init(|| {
        FILES
            .iter()
            .filter_map(|(name, text)| {
                Profile::parse(name, text).inspect_err(|error| tracing::error!(%error, "profile left out")).ok()
            })
            .collect()
    })
}

/// The profile for a device. What it says of itself goes before its sysObjectID, which may be that of a bought-in network
/// card.
pub(super) fn find(sys_object_id: Option<&Oid>, sys_descr: Option<&str>) -> Option<&'static Profile> {
    let by_text = all().iter().find(|profile| profile.recognises(None, sys_descr));
    by_text.or_else(|| all().iter().find(|profile| profile.recognises(sys_object_id, None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_of_this_build_loads() {
        for (name, text) in FILES {
            let profile = Profile::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
            assert!(!profile.vendor.is_empty());
        }
    }

    #[test]
    fn a_bad_profile_is_refused_with_its_name_and_reason() {
        let head = "vendor = \"X\"\n[recognise]\n";
        for (bad, reason) in [
            ("vendor = 1", "vendor"),
            (&*format!("{head}colour = 1"), "colour"),
            (&*format!("{head}sys_descr = [\"(\"]"), "sys_descr"),
            (&*format!("{head}sys_object_id = [\"1.x\"]"), "1.x"),
            (&*format!("{head}[[meter]]\nname = \"pages\"\noid = \"1.3\""), "pages"),
        ] {
            let error = Profile::parse("bad", bad).unwrap_err().to_string();
            assert!(error.contains("profile bad") && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_foreign_network_card_does_not_hide_the_vendor() {
        let jetdirect: Oid = "1.3.6.1.4.1.11.2.3.9.1".parse().unwrap();
        let profile = find(Some(&jetdirect), Some("KYOCERA Document Solutions Printing System")).unwrap();
        assert_eq!(profile.vendor, "Kyocera");
    }
}
