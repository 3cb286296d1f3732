//! Vendor profiles: data files that say how a vendor's devices are recognised and where they keep what the standard MIBs do
//! not have. `../profiles/README.md` is their reference; a file that is put there is in the program.

mod find;
mod meter;
mod pattern;
mod place;
mod signed;
mod table;

pub(super) use find::Appearance;
pub(super) use meter::{MeterPlace, MeterTable, Objects, SupplyLevel, Which};
pub(super) use pattern::Pattern;
pub(super) use place::{Decode, Index, Lookup, Place, Source};
pub use signed::{ProfileKey, ProfileSetError, signed_bytes};

use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use toml::Spanned;

use crate::snmp::Oid;

// BUILT_IN: the name and the text of each file in ../profiles.
include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// The profiles that devices are read by.
#[derive(Debug, Clone)]
pub struct Profiles {
    /// In the order in which they are tried.
    list: Arc<[Arc<Profile>]>,
}

/// What is known of one vendor's devices.
#[derive(Debug)]
pub(super) struct Profile {
    /// The file's name, without `.toml`.
    pub file: String,
    /// The vendor, as people write it.
    pub vendor: String,
    /// Other words for the vendor that stand before a model.
    aliases: Vec<String>,
    recognise: find::Recognise,
    brands: Vec<find::Brand>,
    /// Where the model is, best first; likewise the others.
    pub model: Vec<Place>,
    pub serial: Vec<Place>,
    pub firmware: Vec<Place>,
    pub name: Vec<Place>,
    pub serial_rules: Vec<Pattern>,
    pub meters: Vec<MeterPlace>,
    pub meter_tables: Vec<MeterTable>,
    pub supplies: SupplyRules,
    pub supply_levels: Vec<SupplyLevel>,
    pub rules: MeterRules,
}

/// What a vendor has beside prtMarkerSuppliesTable.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SupplyRules {
    /// A column of part numbers, by the supply's index.
    pub part_number: Option<Oid>,
    /// A column of serial numbers, by the supply's index.
    pub serial: Option<Oid>,
    /// A column of descriptions: where the two columns have indexes of their own, a row is that of the supply with the
    /// same description.
    pub by_description: Option<Oid>,
    /// What of the description is a part number.
    #[serde(default)]
    pub part_number_in: Vec<Pattern>,
    /// What of the description is a serial number.
    #[serde(default)]
    pub serial_in: Vec<Pattern>,
}

/// How a vendor's counters behave.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterRules {
    /// Where counters begin anew: the number after the highest.
    #[serde(default)]
    pub rollover: Vec<u64>,
    /// Whether mono and colour make up the total; they do if this is not said.
    pub sum: Option<bool>,
}

/// A profile as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileInFile {
    vendor: String,
    #[serde(default)]
    aliases: Vec<String>,
    /// Where its facts come from; for people.
    #[serde(default, rename = "sources")]
    _sources: Vec<String>,
    recognise: find::Recognise,
    #[serde(default, rename = "brand")]
    brands: Vec<find::Brand>,
    #[serde(default)]
    model: Vec<Spanned<place::PlaceInFile>>,
    #[serde(default)]
    serial: Vec<Spanned<place::PlaceInFile>>,
    #[serde(default)]
    firmware: Vec<Spanned<place::PlaceInFile>>,
    #[serde(default)]
    name: Vec<Spanned<place::PlaceInFile>>,
    #[serde(default)]
    serial_rule: Vec<SerialRule>,
    #[serde(default)]
    meter: Vec<Spanned<meter::MeterInFile>>,
    #[serde(default)]
    meter_table: Vec<Spanned<meter::MeterTableInFile>>,
    #[serde(default)]
    supplies: SupplyRules,
    #[serde(default)]
    supply_level: Vec<Spanned<meter::SupplyLevelInFile>>,
    #[serde(default)]
    rules: MeterRules,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SerialRule {
    pattern: Pattern,
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, an unknown key, a bad pattern or object identifier.
    #[error("profile {file}: {detail}")]
    Parse {
        /// The file's name.
        file: String,
        /// What is wrong, and where.
        detail: String,
    },
    /// Something that does not fit together.
    #[error("profile {file}, line {line}: {problem}")]
    Rule {
        /// The file's name.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// An object that is never asked for.
    #[error("profile {file}: {oid} lies outside of the objects that this program may ask for (src/snmp/allowed.rs)")]
    NotAllowed {
        /// The file's name.
        file: String,
        /// The object.
        oid: Oid,
    },
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// Names the file, and the line where there is one.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, ProfileError> {
        let raw: ProfileInFile = toml::from_str(text)
            .map_err(|e| ProfileError::Parse { file: file.to_owned(), detail: e.to_string().trim_end().to_owned() })?;
        let reader = Checker { file, text };
        let profile = Self {
            file: file.to_owned(),
            vendor: raw.vendor,
            aliases: raw.aliases,
            recognise: raw.recognise,
            brands: raw.brands,
            model: reader.all(raw.model, place::PlaceInFile::check)?,
            serial: reader.all(raw.serial, place::PlaceInFile::check)?,
            firmware: reader.all(raw.firmware, place::PlaceInFile::check)?,
            name: reader.all(raw.name, place::PlaceInFile::check)?,
            serial_rules: raw.serial_rule.into_iter().map(|rule| rule.pattern).collect(),
            meters: reader.all(raw.meter, meter::MeterInFile::check)?,
            meter_tables: reader.all(raw.meter_table, meter::MeterTableInFile::check)?,
            supplies: raw.supplies,
            supply_levels: reader.all(raw.supply_level, meter::SupplyLevelInFile::check)?,
            rules: raw.rules,
        };
        let refused = profile.every_oid().find(|oid| !crate::snmp::is_allowed(oid));
        match refused {
            Some(oid) => Err(ProfileError::NotAllowed { file: file.to_owned(), oid }),
            None => Ok(profile),
        }
    }

    /// All words that name the vendor.
    pub(super) fn vendor_words(&self) -> impl Iterator<Item = &str> {
        let brands = self.brands.iter().map(|brand| brand.vendor.as_str());
        self.aliases.iter().map(String::as_str).chain(brands).chain([self.vendor.as_str()])
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        self.model.iter().chain(&self.serial).chain(&self.firmware).chain(&self.name)
    }

    fn lookups(&self) -> impl Iterator<Item = &Lookup> {
        self.places().filter_map(|place| match &place.from {
            Source::Lookup(lookup) => Some(lookup),
            _ => None,
        })
    }

    /// Every instance that is to be asked for by name.
    pub(super) fn instances(&self) -> Vec<Oid> {
        let objects = self.places().filter_map(|place| match &place.from {
            Source::Object { oid, .. } => Some(oid.clone()),
            _ => None,
        });
        let cells = self.lookups().flat_map(|lookup| {
            let columns = [&lookup.names, &lookup.values];
            lookup.rows.iter().flat_map(move |row| columns.map(|column| column.with(&row.0)))
        });
        let meters = self.meters.iter().flat_map(|meter| meter.objects.oids().iter().cloned());
        let conditions = self.meters.iter().filter_map(|meter| Some(meter.only_if.as_ref()?.oid.clone()));
        let levels = self.supply_levels.iter().map(|level| level.oid.clone());
        objects.chain(cells).chain(meters).chain(conditions).chain(levels).collect()
    }

    /// Whether an object of the vendor may change from one reading to the next: serial numbers (there may be another
    /// device), meters, supplies. Model, firmware and names change with a restart, after which everything is read anew.
    pub(super) fn may_change(&self, oid: &Oid) -> bool {
        let serials = self.serial.iter().filter_map(|place| match &place.from {
            Source::Object { oid, .. } => Some(oid),
            Source::Lookup(lookup) => Some(&lookup.values),
            _ => None,
        });
        let meters = self.meters.iter().flat_map(|meter| meter.objects.oids());
        let tables = self.meter_tables.iter().map(|table| &table.values);
        let levels = self.supply_levels.iter().map(|level| &level.oid);
        let all = serials.chain(meters).chain(tables).chain(self.supply_columns()).chain(levels);
        all.into_iter().any(|live| oid.starts_with(live))
    }

    fn supply_columns(&self) -> impl Iterator<Item = &Oid> {
        let SupplyRules { part_number, serial, by_description, .. } = &self.supplies;
        [part_number, serial, by_description].into_iter().flatten()
    }

    /// Every object that the profile names.
    fn every_oid(&self) -> impl Iterator<Item = Oid> {
        let lookups = self.lookups().flat_map(|lookup| [lookup.names.clone(), lookup.values.clone()]);
        let tables = self
            .meter_tables
            .iter()
            .flat_map(|table| table.types.iter().chain([&table.values]).chain(&table.unit_from).cloned());
        self.instances().into_iter().chain(lookups).chain(tables).chain(self.supply_columns().cloned())
    }
}

/// Turns what is written into what is meant, and says in which line it cannot.
struct Checker<'a> {
    file: &'a str,
    text: &'a str,
}

impl Checker<'_> {
    fn all<F, T>(
        &self,
        raw: Vec<Spanned<F>>,
        check: fn(F, usize) -> Result<T, String>,
    ) -> Result<Vec<T>, ProfileError> {
        raw.into_iter()
            .map(|item| {
                let before = self.text.as_bytes().get(..item.span().start).unwrap_or_default();
                let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
                check(item.into_inner(), line).map_err(|problem| ProfileError::Rule {
                    file: self.file.to_owned(),
                    line,
                    problem,
                })
            })
            .collect()
    }
}

impl Profiles {
    /// Those of this program. A test has loaded them all; one that fails all the same is left out and told.
    #[must_use]
    pub fn built_in() -> Self {
        static BUILT_IN_PROFILES: OnceLock<Profiles> = OnceLock::new();
        let load = || {
            let list = BUILT_IN.iter().filter_map(|(file, text)| {
                Profile::parse(file, text).inspect_err(|error| tracing::error!(%error, "profile left out")).ok()
            });
            Self { list: list.map(Arc::new).collect() }
        };
        BUILT_IN_PROFILES.get_or_init(load).clone()
    }

    /// Every instance that any profile asks for.
    #[cfg(test)]
    pub(super) fn every_instance(&self) -> Vec<Oid> {
        self.list.iter().flat_map(|profile| profile.instances()).collect()
    }

    /// How the counters of devices read by this profile behave.
    #[must_use]
    pub fn meter_rules(&self, profile: &str) -> Option<&MeterRules> {
        self.list.iter().find(|it| it.file == profile).map(|it| &it.rules)
    }

    /// These, and one more, which goes before all others and replaces one of the same file name.
    ///
    /// # Errors
    /// When the text is no profile, or names an object that is never asked for.
    pub fn with(&self, file: &str, text: &str) -> Result<Self, ProfileError> {
        let added = [Arc::new(Profile::parse(file, text)?)];
        let others = self.list.iter().filter(|profile| profile.file != file).cloned();
        Ok(Self { list: added.into_iter().chain(others).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_of_this_build_loads() {
        assert!(BUILT_IN.len() >= 18, "the build script has found {} profiles", BUILT_IN.len());
        for (file, text) in BUILT_IN {
            let profile = Profile::parse(file, text).unwrap_or_else(|error| panic!("{error}"));
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
            (
                &*format!("{head}[[meter]]\nname = \"pages\"\noid = \"1.3.6.1.2.1.43\""),
                "line 3: there is no meter named \"pages\"",
            ),
            (&*format!("{head}[[meter]]\nname = \"total\""), "line 3: a meter names just one of"),
            (
                &*format!("{head}[[model]]\noid = \"1.3.6.1.2.1.43\"\ndevice_id = \"MDL\""),
                "line 3: a place names just one of",
            ),
            (
                &*format!("{head}[[meter]]\nname = \"total\"\noid = \"1.3.6.1.2.1.43\"\nunit = \"pages\""),
                "no unit \"pages\"",
            ),
            (&*format!("{head}[[serial]]\noid = \"1.3.6.1.4.1.1248.1.2.2.44.1.1.2.1\""), "may ask for"),
            (&*format!("{head}[[serial]]\noid = \"1.3.6.1.4.1.2699.1.1.1\""), "may ask for"),
        ] {
            let error = Profile::parse("bad", bad).unwrap_err().to_string();
            assert!(error.contains("profile bad") && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_profile_that_is_added_goes_first_and_replaces_its_namesake() {
        let text = "vendor = \"Mine\"\n[recognise]\nsys_descr = [\"^KYOCERA\"]";
        let profiles = Profiles::built_in().with("kyocera", text).unwrap();
        let device = Appearance { sys_descr: Some("KYOCERA Printer"), ..Appearance::default() };
        assert_eq!(profiles.find(&device).unwrap().vendor, "Mine");
        assert_eq!(profiles.list.len(), BUILT_IN.len());
    }
}
