//! Which profile a device is read by, and under which brand it is sold.

use serde::Deserialize;

use super::pattern::Pattern;
use super::{Profile, Profiles};
use crate::snmp::Oid;

/// What a device shows of itself at first sight.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::printer) struct Appearance<'a> {
    pub sys_object_id: Option<&'a Oid>,
    pub sys_descr: Option<&'a str>,
    pub hr_device_descr: Option<&'a str>,
    /// MFG of the IEEE 1284 device id.
    pub device_id_mfg: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recognise {
    /// sysObjectID is one of these or lies below.
    #[serde(default)]
    sys_object_id: Vec<Oid>,
    /// sysDescr matches one of these.
    #[serde(default)]
    sys_descr: Vec<Pattern>,
    /// hrDeviceDescr matches one of these.
    #[serde(default)]
    hr_device_descr: Vec<Pattern>,
    /// The maker in the device id matches one of these.
    #[serde(default)]
    device_id_mfg: Vec<Pattern>,
    /// Whether sysObjectID or sysDescr prove that it is a printer.
    #[serde(default)]
    is_printer: bool,
    /// Whether sysObjectID and sysDescr may be those of a network card that other makers buy: then hrDeviceDescr and the
    /// device id, which are the printer's, go first.
    #[serde(default)]
    card: bool,
    /// Whether reading some of its objects is a command, so that no request may run past the end of what is walked.
    #[serde(default)]
    careful: bool,
    /// A device of this vendor whose sysDescr or hrDeviceDescr matches one of these is none, unless it has the Printer-MIB.
    #[serde(default)]
    not_a_printer: Vec<Pattern>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Brand {
    pub vendor: String,
    sys_object_id: Option<Oid>,
    sys_descr: Option<Pattern>,
    hr_device_descr: Option<Pattern>,
    device_id_mfg: Option<Pattern>,
    model: Option<Pattern>,
}

fn any(patterns: &[Pattern], text: Option<&str>) -> bool {
    text.is_some_and(|text| patterns.iter().any(|pattern| pattern.matches(text)))
}

impl Profiles {
    /// The profile for a device. What it says of itself goes before its sysObjectID, and both before what a bought-in
    /// network card says.
    pub(in crate::printer) fn find(&self, device: &Appearance<'_>) -> Option<&Profile> {
        let first = |fits: &dyn Fn(&Recognise) -> bool| {
            self.list.iter().map(AsRef::as_ref).find(|profile: &&Profile| fits(&profile.recognise))
        };
        let by_descr = |it: &Recognise| any(&it.sys_descr, device.sys_descr);
        let by_object = |it: &Recognise| {
            device.sys_object_id.is_some_and(|oid| it.sys_object_id.iter().any(|prefix| oid.starts_with(prefix)))
        };
        first(&|it| !it.card && by_descr(it))
            .or_else(|| first(&|it| !it.card && by_object(it)))
            .or_else(|| first(&|it| !it.card && any(&it.hr_device_descr, device.hr_device_descr)))
            .or_else(|| first(&|it| !it.card && any(&it.device_id_mfg, device.device_id_mfg)))
            .or_else(|| first(&by_descr))
            .or_else(|| first(&by_object))
            .or_else(|| first(&|it| any(&it.hr_device_descr, device.hr_device_descr)))
            .or_else(|| first(&|it| any(&it.device_id_mfg, device.device_id_mfg)))
    }
}

impl Profile {
    /// Whether sysObjectID or sysDescr prove that the device is a printer.
    pub(in crate::printer) fn is_surely_a_printer(&self, device: &Appearance<'_>) -> bool {
        let it = &self.recognise;
        let by_object =
            device.sys_object_id.is_some_and(|oid| it.sys_object_id.iter().any(|prefix| oid.starts_with(prefix)));
        it.is_printer && (by_object || any(&it.sys_descr, device.sys_descr)) && !self.is_surely_no_printer(device)
    }

    /// Whether no request may run past the end of what is walked.
    pub(in crate::printer) fn is_careful(&self) -> bool {
        self.recognise.careful
    }

    /// Whether the device says that it is something else of this vendor.
    pub(in crate::printer) fn is_surely_no_printer(&self, device: &Appearance<'_>) -> bool {
        let patterns = &self.recognise.not_a_printer;
        any(patterns, device.sys_descr) || any(patterns, device.hr_device_descr)
    }

    /// The vendor's name, or that of the brand under which this device is sold.
    pub(in crate::printer) fn vendor_of(&self, device: &Appearance<'_>, model: Option<&str>) -> &str {
        let is = |pattern: &Option<Pattern>, text: Option<&str>| {
            pattern.as_ref().zip(text).is_some_and(|(pattern, text)| pattern.matches(text))
        };
        let brand = self.brands.iter().find(|brand| {
            brand.sys_object_id.as_ref().zip(device.sys_object_id).is_some_and(|(prefix, oid)| oid.starts_with(prefix))
                || is(&brand.sys_descr, device.sys_descr)
                || is(&brand.hr_device_descr, device.hr_device_descr)
                || is(&brand.device_id_mfg, device.device_id_mfg)
                || is(&brand.model, model)
        });
        brand.map_or(&self.vendor, |brand| &brand.vendor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_network_card_does_not_hide_the_vendor() {
        let jetdirect: Oid = "1.3.6.1.4.1.11.2.3.9.1".parse().unwrap();
        let profiles = Profiles::built_in();
        let vendor = |device: Appearance<'_>| profiles.find(&device).map(|profile| profile.vendor.clone());
        let card = Appearance {
            sys_object_id: Some(&jetdirect),
            sys_descr: Some("HP ETHERNET MULTI-ENVIRONMENT,ROM none,JETDIRECT,JD149,EEPROM V.31.08"),
            ..Appearance::default()
        };
        assert_eq!(vendor(card).as_deref(), Some("HP"));
        assert_eq!(vendor(Appearance { hr_device_descr: Some("KYOCERA FS-1920"), ..card }).as_deref(), Some("Kyocera"));
        assert_eq!(vendor(Appearance { device_id_mfg: Some("Kyocera Mita"), ..card }).as_deref(), Some("Kyocera"));
        assert_eq!(
            vendor(Appearance { sys_descr: Some("KYOCERA Printing System"), ..card }).as_deref(),
            Some("Kyocera")
        );
    }
}
