//! What a device is known by. Serial numbers are compared as people would: without case and spaces, and without the "00" that
//! some HP firmware puts before its ten characters.

use super::limits::{KEY_MAX_CHARS, SERIAL_MAX_CHARS};
use crate::printer::Reading;
use crate::printer::identity::is_serial;

/// How certain a key is, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    Provisional,
    Mac,
    Engine,
    Serial,
}

/// Of a key as [`key_of`] makes them.
pub(super) fn strength_of(key: &str) -> Strength {
    match key.split_once(':').map(|(kind, _)| kind) {
        Some("serial") => Strength::Serial,
        Some("engine") => Strength::Engine,
        Some("mac") => Strength::Mac,
        _ => Strength::Provisional,
    }
}

/// The most certain key that a reading gives: `serial:VENDOR:SERIAL`, `engine:HEX`, `mac:MAC:SYSOBJECTID`,
/// `provisional:ADDRESS`.
#[must_use]
pub fn key_of(reading: &Reading) -> String {
    best_key(reading, |_| true)
}

/// The most certain key that `is_usable`: a serial number that several devices have is none.
pub(super) fn best_key(reading: &Reading, is_usable: impl Fn(&str) -> bool) -> String {
    [serial_key(reading), engine_key(reading), mac_key(reading)]
        .into_iter()
        .flatten()
        .map(|key| key.chars().take(KEY_MAX_CHARS).collect::<String>())
        .find(|key| is_usable(key))
        .unwrap_or_else(|| provisional_key(reading))
}

fn serial_key(reading: &Reading) -> Option<String> {
    let serial = normal_serial(reading.vendor.as_deref(), reading.serial.as_deref()?);
    let is_believed = is_serial(&serial) && !is_filler(&serial) && serial.chars().count() <= SERIAL_MAX_CHARS;
    is_believed.then(|| format!("serial:{}:{serial}", reading.vendor.as_deref().unwrap_or("?")))
}

fn engine_key(reading: &Reading) -> Option<String> {
    let id = reading.engine_id.as_deref()?.to_ascii_lowercase();
    is_engine_lasting(&id).then(|| format!("engine:{id}"))
}

/// By MAC, where the device tells one.
pub(super) fn mac_key(reading: &Reading) -> Option<String> {
    let mac = reading.mac.as_deref()?;
    Some(format!("mac:{mac}:{}", reading.sys_object_id.as_deref().unwrap_or("?")))
}

/// By address alone.
pub(super) fn provisional_key(reading: &Reading) -> String {
    format!("provisional:{}", reading.address.as_deref().unwrap_or("?"))
}

/// Vendor and serial number in a key.
fn parts_of(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("serial:").and_then(|rest| rest.rsplit_once(':'))
}

/// Whether two keys have the same serial number, and differ in its spelling or in the vendor's name only.
pub(super) fn is_same_serial(one: &str, other: &str) -> bool {
    let (Some((vendor, one)), Some((other_vendor, other))) = (parts_of(one), parts_of(other)) else { return false };
    let is_same = |vendor| normal_serial(Some(vendor), one) == normal_serial(Some(vendor), other);
    is_same(vendor) || is_same(other_vendor)
}

/// Whether two keys name the same vendor and serial number, however they are spelt. A vendor that is not known may be any.
pub(super) fn is_same_spelt_otherwise(one: &str, other: &str) -> bool {
    let vendor = |key| parts_of(key).map(|(vendor, _)| vendor.to_ascii_lowercase());
    is_same_serial(one, other) && vendor(one) == vendor(other)
}

/// Whether a key by serial number lacks the vendor.
pub(super) fn is_without_vendor(key: &str) -> bool {
    parts_of(key).is_some_and(|(vendor, _)| vendor == "?")
}

/// A serial number as it is compared.
pub(super) fn normal_serial(vendor: Option<&str>, serial: &str) -> String {
    const HP_CHARS: usize = 10;
    let normal: String =
        serial.chars().filter(|c| !c.is_whitespace() && *c != ':').map(|c| c.to_ascii_uppercase()).collect();
    let is_hp = vendor.is_some_and(|vendor| {
        let vendor = vendor.to_ascii_lowercase();
        vendor == "hp" || vendor.starts_with("hp ") || vendor.starts_with("hewlett")
    });
    match normal.strip_prefix("00") {
        Some(rest) if is_hp && rest.chars().count() == HP_CHARS => rest.to_owned(),
        _ => normal,
    }
}

/// What stands where nobody wrote a serial number, beyond what the reader knows: counting, and words.
fn is_filler(serial: &str) -> bool {
    const COUNTING: &str = "01234567890123456789";
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const WORDS: [&str; 6] = ["SERIALNUMBER", "SERIALNO", "DEFAULT", "TESTSERIAL", "NOSERIAL", "NOTSET"];
    COUNTING.contains(serial) || LETTERS.contains(serial) || WORDS.contains(&serial)
}

/// Whether an engine id stays with its device. One that is made of an IP address (RFC 3411 §5, SnmpEngineID, formats 1
/// and 2) stays with the address.
fn is_engine_lasting(id: &str) -> bool {
    let bytes: Vec<u8> = (0..id.len() / 2)
        .filter_map(|n| id.get(2 * n..2 * n + 2))
        .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
        .collect();
    let is_well_formed = id.len().is_multiple_of(2) && bytes.len() == id.len() / 2 && (5..=32).contains(&bytes.len());
    let is_new_style = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let is_of_address = is_new_style && matches!(bytes.get(4), Some(1 | 2));
    let tail = bytes.get(5..).unwrap_or_default();
    let is_blank = tail.iter().all(|byte| *byte == 0) || tail.iter().all(|byte| *byte == 0xff);
    is_well_formed && !is_of_address && !is_blank
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(vendor: &str, serial: &str) -> Reading {
        Reading {
            vendor: Some(vendor.to_owned()),
            serial: Some(serial.to_owned()),
            mac: Some("02:00:00:00:00:01".to_owned()),
            address: Some("10.0.0.7".to_owned()),
            ..Reading::default()
        }
    }

    #[test]
    fn a_serial_number_is_compared_as_people_would() {
        assert_eq!(key_of(&reading("HP", "00CNB1234567")), key_of(&reading("HP", "CNB1234567")));
        assert_eq!(key_of(&reading("Kyocera", "nw1 234 567")), "serial:Kyocera:NW1234567");
        assert_ne!(key_of(&reading("Brother", "00CNB1234567")), key_of(&reading("Brother", "CNB1234567")));
        assert_eq!(key_of(&reading("HP", "0012345678")), "serial:HP:0012345678", "ten characters are whole");
    }

    #[test]
    fn what_stands_for_no_serial_number_is_none() {
        for none in ["0000000000", "XXXXXXXX", "unknown", "1234567890", "0123456789", "ABCDEFGH", "serial number"] {
            assert_eq!(key_of(&reading("OKI", none)), "mac:02:00:00:00:00:01:?", "{none}");
        }
    }

    #[test]
    fn an_engine_id_that_is_an_address_is_no_identity() {
        let of = |id: &str| key_of(&Reading { engine_id: Some(id.to_owned()), serial: None, ..reading("OKI", "") });
        assert_eq!(of("8000002B0302AABBCCDDEE"), "engine:8000002b0302aabbccddee");
        for id in ["8000002b01c0a80001", "80000000030000000000", "zz", "80", ""] {
            assert!(of(id).starts_with("mac:"), "{id}");
        }
    }

    #[test]
    fn keys_know_how_certain_they_are() {
        assert!(strength_of("serial:HP:1") > strength_of("engine:80"));
        assert!(strength_of("engine:80") > strength_of("mac:1:?"));
        assert!(strength_of("mac:1:?") > strength_of("provisional:10.0.0.7"));
        assert!(is_same_serial("serial:?:A1B2C3", "serial:Fuji Xerox:A1B2C3"));
        assert!(!is_same_serial("mac:1:?", "mac:1:?"));
    }
}
