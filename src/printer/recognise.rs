//! Is it a printer? Decided by what the device offers, not by one object: computers list print queues as printers, and
//! scanners answer like the printers of their vendor.

use super::profile::{self, Profile};
use super::text;
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

/// What a device said of itself.
pub(super) struct Recognition {
    pub is_printer: bool,
    pub profile: Option<&'static Profile>,
    pub sys_descr: Option<String>,
    pub sys_object_id: Option<Oid>,
    pub sys_name: Option<String>,
    pub uptime_centiseconds: Option<u64>,
    /// hrDeviceIndex of the printer; 1 where the device does not say.
    pub device_index: u32,
    /// Whether it has the Printer-MIB.
    pub has_printer_mib: bool,
}

pub(super) async fn recognise<S: ObjectSource>(source: &S) -> Result<Recognition, SnmpError> {
    let system = oid!(1, 3, 6, 1, 2, 1, 1);
    let asked = [1, 2, 3, 5].map(|object| system.with(&[object, 0]));
    let answer = source.get(&asked).await?;
    let value = |n: usize| answer.get(n).map(|vb| &vb.value);
    let sys_descr = value(0).and_then(text::of_value);
    let sys_object_id = value(1).and_then(Value::as_oid).cloned();
    let uptime_centiseconds = value(2).and_then(Value::as_i64).and_then(|n| u64::try_from(n).ok());
    let sys_name = value(3).and_then(text::of_value);

    let profile = profile::find(sys_object_id.as_ref(), sys_descr.as_deref());
    // One row says that the Printer-MIB is there.
    let first_row = WalkLimits { rows: 1, ..WalkLimits::default() };
    let has_printer_mib = !source.walk(&oid!(1, 3, 6, 1, 2, 1, 43), first_row).await?.varbinds.is_empty();
    let types = source.walk(&oid!(1, 3, 6, 1, 2, 1, 25, 3, 2, 1, 2), WalkLimits::default()).await?;
    let device_index = types
        .varbinds
        .iter()
        .find(|vb| vb.value.as_oid().is_some_and(|oid| oid.arcs() == HR_DEVICE_PRINTER))
        .and_then(|vb| vb.oid.arcs().last().copied());
    let is_computer = sys_object_id.as_ref().is_some_and(|oid| COMPUTERS.iter().any(|c| oid.arcs().starts_with(c)));
    let by_profile = profile.is_some_and(|profile| profile.is_surely_a_printer(sys_descr.as_deref()));
    let excluded = profile.is_some_and(|profile| profile.is_surely_no_printer(sys_descr.as_deref()));
    Ok(Recognition {
        is_printer: has_printer_mib || by_profile || (device_index.is_some() && !is_computer && !excluded),
        profile,
        sys_descr,
        sys_object_id,
        sys_name,
        uptime_centiseconds,
        device_index: device_index.unwrap_or(1),
        has_printer_mib,
    })
}
