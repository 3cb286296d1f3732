//! What is remembered of a printer that was read before, so that its next reading takes a fraction of the packets: what does
//! not change is not asked again, and what may change is asked by name, many objects in one request.

use std::collections::{BTreeMap, BTreeSet};

use super::ask::{Ask, is_total};
use super::profile::Profile;
use crate::oid;
use crate::snmp::{ObjectSource, Oid, SnmpError, Value, WalkEnd};

/// Most objects that are remembered of one printer; one that has more is read as if it were new.
const OBJECTS_MAX: usize = 1_500;

/// A printer as it was read: enough to read it again with few packets. In memory only; it is made anew by each full reading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Every object that was asked for or walked over, absences included.
    values: BTreeMap<Oid, Value>,
    /// Walks that were complete: the root, and the objects below it.
    walks: BTreeMap<Oid, Vec<Oid>>,
    /// What is asked again.
    live: BTreeSet<Oid>,
    /// prtGeneralConfigChanges.
    config_changes: Oid,
    /// Whether the total was another at the end of the last reading than at its beginning.
    total_changed: bool,
    /// Readings since it was explored.
    readings: u32,
}

/// sysUpTime, sysObjectID.
const UPTIME: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 3, 0];
const OBJECT_ID: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 2, 0];

/// Standard objects that may change from one reading to the next, below 1.3.6.1.2.1.
const LIVE: &[&[u32]] = &[
    // sysObjectID, sysUpTime, sysName.
    &[1, 2],
    &[1, 3],
    &[1, 5],
    // hrDeviceStatus, hrPrinterStatus, hrPrinterDetectedErrorState.
    &[25, 3, 2, 1, 5],
    &[25, 3, 5, 1],
    // prtGeneralConfigChanges, prtGeneralSerialNumber.
    &[43, 5, 1, 1, 1],
    &[43, 5, 1, 1, 17],
    // prtCoverStatus.
    &[43, 6, 1, 1, 3],
    // prtInputCurrentLevel, prtInputStatus, prtInputMediaName; prtOutputRemainingCapacity, prtOutputStatus.
    &[43, 8, 2, 1, 10],
    &[43, 8, 2, 1, 11],
    &[43, 8, 2, 1, 12],
    &[43, 9, 2, 1, 5],
    &[43, 9, 2, 1, 6],
    // prtMarkerLifeCount, prtMarkerPowerOnCount.
    &[43, 10, 2, 1, 4],
    &[43, 10, 2, 1, 5],
    // prtMarkerSuppliesMaxCapacity and prtMarkerSuppliesLevel: another cartridge may hold more.
    &[43, 11, 1, 1, 8],
    &[43, 11, 1, 1, 9],
    // prtConsoleDisplayBufferText.
    &[43, 16],
];

/// prtMarkerSuppliesDescription, in which some makers write part and serial numbers.
const SUPPLY_DESCRIPTION: &[u32] = &[43, 11, 1, 1, 6];
/// ifPhysAddress.
const MAC: &[u32] = &[2, 2, 1, 6];

fn may_change(oid: &Oid, value: &Value, profile: Option<&Profile>, has_serial: bool) -> bool {
    if let Some(arcs) = oid.arcs().strip_prefix(&[1, 3, 6, 1, 2, 1]) {
        let has_digits = || value.as_bytes().is_some_and(|bytes| bytes.iter().any(u8::is_ascii_digit));
        return LIVE.iter().any(|live| arcs.starts_with(live))
            || (arcs.starts_with(SUPPLY_DESCRIPTION) && has_digits())
            // Without a serial number the network card is all that tells one device from another.
            || (arcs.starts_with(MAC) && !has_serial);
    }
    profile.is_some_and(|profile| profile.may_change(oid))
}

impl Memory {
    /// What a reading has brought; nothing if the device has too many objects.
    pub(super) fn of<S: ObjectSource>(
        ask: Ask<'_, S>,
        profile: Option<&Profile>,
        has_serial: bool,
        config_changes: Oid,
    ) -> Option<Self> {
        let (values, walks) = ask.into_memory();
        if values.len() > OBJECTS_MAX {
            return None;
        }
        let values: BTreeMap<Oid, Value> = values.into_iter().map(|(oid, (value, _))| (oid, value)).collect();
        let is_live = |(oid, value): &(&Oid, &Value)| value.is_present() && may_change(oid, value, profile, has_serial);
        let live = values.iter().filter(is_live).map(|(oid, _)| oid.clone()).collect();
        // A walk that was to bring one row has brought it.
        let is_whole = |end: WalkEnd| end.is_complete() || end == WalkEnd::RowLimit;
        let walks = walks.into_iter().filter(|(_, (_, end))| is_whole(*end)).map(|(root, (rows, _))| (root, rows));
        Some(Self { live, walks: walks.collect(), config_changes, values, total_changed: false, readings: 0 })
    }

    /// Asks for what may have changed. Nothing comes back where the device is no longer as it was remembered: it was
    /// restarted, its configuration was changed, another one is there, or an object is gone. Then it must be read anew.
    ///
    /// # Errors
    /// When the device does not answer, or refuses.
    pub(super) async fn refresh<S: ObjectSource>(&self, source: &S) -> Result<Option<Self>, SnmpError> {
        // The total comes first and last, so that one sees whether the device printed meanwhile.
        let total = || self.live.iter().filter(|oid| is_total(oid)).cloned();
        let others = self.live.iter().filter(|oid| !is_total(oid)).cloned();
        let live: Vec<Oid> = total().chain(others).chain(total()).collect();
        let answers = source.get(&live).await?;
        let mut fresh = Self { total_changed: false, readings: self.readings.saturating_add(1), ..self.clone() };
        let totals = answers.iter().filter(|answer| is_total(&answer.oid)).map(|answer| &answer.value);
        fresh.total_changed = totals.clone().zip(totals.skip(1)).any(|(one, other)| one != other);
        for answer in answers {
            if !answer.value.is_present() {
                return Ok(None);
            }
            fresh.values.insert(answer.oid, answer.value);
        }
        let number = |memory: &Self, oid: &Oid| memory.values.get(oid).and_then(Value::as_i64);
        let uptime = oid_of(UPTIME);
        let is_restarted = number(&fresh, &uptime) < number(self, &uptime);
        let same = |oid: &Oid| fresh.values.get(oid) == self.values.get(oid);
        Ok((!is_restarted && same(&oid_of(OBJECT_ID)) && same(&self.config_changes)).then_some(fresh))
    }

    pub(super) fn value(&self, oid: &Oid) -> Option<&Value> {
        self.values.get(oid)
    }

    /// The objects of a walk that was complete.
    pub(super) fn walk(&self, root: &Oid) -> Option<(Vec<(Oid, Value)>, WalkEnd)> {
        let rows = self.walks.get(root)?;
        let row = |oid: &Oid| self.values.get(oid).map(|value| (oid.clone(), value.clone()));
        Some((rows.iter().filter_map(row).collect(), WalkEnd::EndOfSubtree))
    }

    pub(super) fn total_changed(&self) -> bool {
        self.total_changed
    }

    /// Readings since the printer was explored.
    #[must_use]
    pub fn readings(&self) -> u32 {
        self.readings
    }

    /// How many objects are asked again.
    #[must_use]
    pub fn live_objects(&self) -> usize {
        self.live.len()
    }

    /// Roughly how many bytes it keeps.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.values
            .iter()
            .map(|(oid, value)| size_of_val(oid.arcs()) + size_of::<Value>() + value.as_bytes().map_or(0, <[u8]>::len))
            .sum()
    }
}

fn oid_of(arcs: &[u32]) -> Oid {
    oid!(1, 3).with(arcs.get(2..).unwrap_or_default())
}
