//! What a simulated printer is made of: descriptions as data (`fleet/demo.toml`), and fleets generated from them.

use serde::Deserialize;

use super::Simulated;
use crate::snmp::Oid;

/// The demo's printers.
const DEMO: &str = include_str!("fleet/demo.toml");

/// A simulated printer, as it is when the simulation starts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Description {
    pub vendor: String,
    pub model: String,
    pub serial: String,
    pub sys_object_id: Oid,
    pub sys_descr: String,
    pub hr_device_descr: String,
    pub name: String,
    /// Six bytes, hexadecimal, with colons.
    pub mac: String,
    pub pages_per_minute: u32,
    /// Impressions at the start.
    pub total: u64,
    /// Of the impressions, how many are in colour; 0 to 1. Likewise the others.
    #[serde(default)]
    pub colour_share: f64,
    #[serde(default)]
    pub copy_share: f64,
    #[serde(default)]
    pub duplex_share: f64,
    /// Scans for each impression.
    #[serde(default)]
    pub scans_share: f64,
    #[serde(default, rename = "supply")]
    pub supplies: Vec<SupplyDescription>,
    #[serde(default, rename = "tray")]
    pub trays: Vec<TrayDescription>,
    /// Vendor's objects that count.
    #[serde(default, rename = "meter")]
    pub meters: Vec<MeterObject>,
    /// Vendor's objects that stand still.
    #[serde(default, rename = "object")]
    pub objects: Vec<TextObject>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SupplyDescription {
    pub description: String,
    /// prtMarkerSuppliesType.
    pub r#type: i64,
    /// Name of its colorant; empty for none.
    #[serde(default)]
    pub colorant: String,
    /// prtMarkerSuppliesSupplyUnit.
    pub unit: i64,
    /// In that unit; −2 when the printer does not say.
    pub max: i64,
    /// In that unit; a code below zero stays as it is.
    pub level: i64,
    /// Impressions of a full one.
    #[serde(default = "five_thousand")]
    pub pages: u32,
    /// A receptacle that is filled.
    #[serde(default)]
    pub filled: bool,
}

fn five_thousand() -> u32 {
    5_000
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TrayDescription {
    pub name: String,
    pub media: String,
    pub max: i64,
    pub level: i64,
}

/// What a vendor's object counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Counter {
    Total,
    Mono,
    Colour,
    Print,
    PrintMono,
    PrintColour,
    Copy,
    CopyMono,
    CopyColour,
    Duplex,
    Scan,
    /// A number that names a row, such as a type in a table: it stands still.
    Fixed(u32),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct MeterObject {
    pub oid: Oid,
    pub counts: Counter,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TextObject {
    pub oid: Oid,
    pub text: String,
}

#[derive(Deserialize)]
struct Fleet {
    printer: Vec<Description>,
}

fn demo_descriptions() -> Vec<Description> {
    match toml::from_str::<Fleet>(DEMO) {
        Ok(fleet) => fleet.printer,
        Err(error) => {
            // The file is part of the binary and a test of this build has read it.
            tracing::error!(%error, "the demo's fleet cannot be read");
            Vec::new()
        }
    }
}

/// A dozen printers of many vendors.
#[must_use]
pub fn demo_fleet() -> Vec<Simulated> {
    demo_descriptions().into_iter().map(|description| Simulated::Living(Box::new(description))).collect()
}

/// So many printers, made of the demo's with serial numbers, MAC addresses, names and counters of their own.
#[must_use]
pub fn generated_fleet(count: usize, seed: u64) -> Vec<Simulated> {
    let models = demo_descriptions();
    let mut random = fastrand::Rng::with_seed(seed);
    models
        .iter()
        .cycle()
        .take(if models.is_empty() { 0 } else { count })
        .enumerate()
        .map(|(n, model)| {
            let mut printer = model.clone();
            printer.serial = format!("{}{n:05}", model.serial.get(..4).unwrap_or("SIMU"));
            printer.mac = format!("02:50:4c:{:02x}:{:02x}:{:02x}", n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff);
            printer.name = format!("Printer {}", n + 1);
            printer.total = random.u64(100..900_000);
            // Some vendors have it in their own objects, some in sysDescr.
            for text in printer.objects.iter_mut().map(|object| &mut object.text).chain([&mut printer.sys_descr]) {
                *text = text.replace(&model.serial, &printer.serial);
            }
            Simulated::Living(Box::new(printer))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_demo_has_a_dozen_printers_of_eight_vendors_and_more() {
        let fleet = demo_descriptions();
        let vendors: HashSet<_> = fleet.iter().map(|printer| &printer.vendor).collect();
        let serials: HashSet<_> = fleet.iter().map(|printer| &printer.serial).collect();
        let macs: HashSet<_> = fleet.iter().map(|printer| &printer.mac).collect();
        assert!(fleet.len() >= 12 && vendors.len() >= 8, "{} printers, {vendors:?}", fleet.len());
        assert_eq!((serials.len(), macs.len()), (fleet.len(), fleet.len()));
    }

    #[test]
    fn a_generated_fleet_is_the_same_for_the_same_seed_and_has_no_twins() {
        let serials = |seed| {
            generated_fleet(300, seed)
                .into_iter()
                .map(|simulated| match simulated {
                    Simulated::Living(printer) => (printer.serial, printer.total),
                    Simulated::Recording { .. } => unreachable!(),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(serials(7), serials(7));
        assert_ne!(serials(7), serials(8));
        let distinct: HashSet<_> = serials(7).into_iter().map(|(serial, _)| serial).collect();
        assert_eq!(distinct.len(), 300);
    }
}
