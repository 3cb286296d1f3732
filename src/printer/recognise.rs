//! Is it a printer? Decided by what the device offers, not by one object: computers list print queues as printers, and
//! scanners answer like the printers of their vendor.

use super::ask::Ask;
use super::device_id;
use super::profile::{Appearance, Profile, Profiles};
use crate::oid;
use crate::snmp::{ObjectSource, Oid, SnmpError, Value, WalkLimits};

/// hrDeviceType of a printer (RFC 2790).
const HR_DEVICE_PRINTER: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 3, 1, 5];
/// sysObjectIDs of general-purpose computers, whose hrDevicePrinter is a queue: net-snmp, UCD-SNMP, Windows, Sun, Apple.
const COMPUTERS: &[&[u32]] = &[
    &[1, 3, 6, 1, 4, 1, 8072],
    &[1, 3, 6, 1, 4, 1, 2021],
    &[1, 3, 6, 1, 4, 1, 311],
    &[1, 3, 6, 1, 4, 1, 42],
    &[1, 3, 6, 1, 4, 1, 63],
];
/// IEEE 1284 device id: of the PWG's Port Monitor MIB, and where HP's cards (in many makes) have it.
const DEVICE_IDS: [&[u32]; 2] =
    [&[1, 3, 6, 1, 4, 1, 2699, 1, 2, 1, 2, 1, 1, 3, 1], &[1, 3, 6, 1, 4, 1, 11, 2, 3, 9, 1, 1, 7, 0]];

/// What a device said of itself.
pub(super) struct Recognition<'p> {
    pub is_printer: bool,
    pub profile: Option<&'p Profile>,
    pub sys_descr: Option<String>,
    pub sys_object_id: Option<Oid>,
    pub sys_name: Option<String>,
    pub sys_location: Option<String>,
    pub hr_device_descr: Option<String>,
    pub device_id: Option<String>,
    pub uptime_centiseconds: Option<u64>,
    /// hrDeviceIndex of the printer; 1 where the device does not say.
    pub device_index: u32,
    /// Whether it has the Printer-MIB.
    pub has_printer_mib: bool,
}

impl Recognition<'_> {
    /// What it shows at first sight.
    pub(super) fn appearance(&self) -> Appearance<'_> {
        Appearance {
            sys_object_id: self.sys_object_id.as_ref(),
            sys_descr: self.sys_descr.as_deref(),
            hr_device_descr: self.hr_device_descr.as_deref(),
            device_id_mfg: self.device_id.as_deref().and_then(|id| device_id::field(id, "MFG")),
        }
    }
}

pub(super) async fn recognise<'p, S: ObjectSource>(
    ask: &mut Ask<'_, S>,
    profiles: &'p Profiles,
) -> Result<Recognition<'p>, SnmpError> {
    let system = oid!(1, 3, 6, 1, 2, 1, 1);
    let [sys_descr, sys_object_id, uptime, sys_name] = [1, 2, 3, 5].map(|object| system.with(&[object, 0]));
    ask.get(&[sys_descr.clone(), sys_object_id.clone(), uptime.clone(), sys_name.clone()]).await?;
    let sys_descr_text = ask.text(&sys_descr);
    let object_id = ask.value(&sys_object_id).and_then(Value::as_oid).cloned();
    let first_sight =
        Appearance { sys_object_id: object_id.as_ref(), sys_descr: sys_descr_text.as_deref(), ..Appearance::default() };
    if profiles.find(&first_sight).is_some_and(Profile::is_careful) {
        ask.be_careful();
    }
    // One row says that the Printer-MIB is there.
    let first_row = WalkLimits { rows: 1, ..WalkLimits::default() };
    let has_printer_mib = !ask.walk(&oid!(1, 3, 6, 1, 2, 1, 43), first_row).await?.is_empty();
    let types = ask.walk(&oid!(1, 3, 6, 1, 2, 1, 25, 3, 2, 1, 2), WalkLimits::default()).await?;
    let device_index = types
        .iter()
        .find(|(_, value)| value.as_oid().is_some_and(|oid| oid.arcs() == HR_DEVICE_PRINTER))
        .and_then(|(oid, _)| oid.arcs().last().copied());
    let mut recognition = Recognition {
        is_printer: false,
        profile: None,
        sys_descr: sys_descr_text,
        sys_object_id: object_id,
        sys_name: ask.text(&sys_name),
        sys_location: None,
        hr_device_descr: None,
        device_id: None,
        uptime_centiseconds: ask.number(&uptime).and_then(|n| u64::try_from(n).ok()),
        device_index: device_index.unwrap_or(1),
        has_printer_mib,
    };
    let is_computer =
        recognition.sys_object_id.as_ref().is_some_and(|oid| COMPUTERS.iter().any(|c| oid.arcs().starts_with(c)));
    let by_profile = {
        let appearance = recognition.appearance();
        profiles.find(&appearance).is_some_and(|profile| profile.is_surely_a_printer(&appearance))
    };
    if has_printer_mib || by_profile || (device_index.is_some() && !is_computer) {
        look_closer(ask, &mut recognition).await?;
        recognition.profile = profiles.find(&recognition.appearance());
        if recognition.profile.is_some_and(Profile::is_careful) {
            ask.be_careful();
        }
        let says_otherwise = |profile: &Profile| profile.is_surely_no_printer(&recognition.appearance());
        recognition.is_printer = has_printer_mib || !recognition.profile.is_some_and(says_otherwise);
    }
    Ok(recognition)
}

/// What only those are asked that may be printers, and what says more about who made it than its network card.
async fn look_closer<S: ObjectSource>(ask: &mut Ask<'_, S>, found: &mut Recognition<'_>) -> Result<(), SnmpError> {
    let mib_2 = oid!(1, 3, 6, 1, 2, 1);
    let location = mib_2.with(&[1, 6, 0]);
    let descr = mib_2.with(&[25, 3, 2, 1, 3, found.device_index]);
    let device_ids = DEVICE_IDS.map(|arcs| Oid::default().with(arcs));
    let asked: Vec<Oid> = [&location, &descr].into_iter().chain(&device_ids).cloned().collect();
    ask.get(&asked).await?;
    found.sys_location = ask.text(&location);
    found.hr_device_descr = ask.text(&descr);
    found.device_id = device_ids.iter().find_map(|oid| ask.text(oid));
    Ok(())
}
