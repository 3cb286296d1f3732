//! What the box knows of all printers: as much as the rules need of the past, and no more. Bounded; kept by the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alerts::KnownAlert;
use super::limits::{CLONES_MAX, DEVICES_MAX};
use super::meters::KnownMeter;
use super::moment::Moment;
use super::supplies::KnownSupply;

/// Format of a kept book; another one is not read.
const VERSION: u32 = 1;

/// What is known of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// What it is known by.
    pub key: String,
    /// Its MAC address, where it tells one.
    #[serde(default)]
    pub mac: Option<String>,
    /// Its sysObjectID.
    #[serde(default)]
    pub sys_object_id: Option<String>,
    /// Where it was last; absent when another device is there now.
    #[serde(default)]
    pub address: Option<String>,
    /// Addresses that it had a short while ago, newest last, and how often it has gone back and forth between them.
    #[serde(default)]
    pub left: Vec<(String, Moment)>,
    #[serde(default)]
    pub(super) returns: u8,
    /// When it answered last.
    pub seen: Moment,
    /// sysUpTime then, in hundredths of a second.
    #[serde(default)]
    pub uptime_centiseconds: Option<u64>,
    /// When it was read last, and sysUpTime then. Absent for a device of which only the address is known.
    #[serde(default)]
    pub read: Option<Moment>,
    #[serde(default)]
    pub(super) read_uptime_centiseconds: Option<u64>,
    /// What else claims to be this device.
    #[serde(default)]
    pub(super) rival: Option<Rival>,
    /// Whether it was told that its identity is weak, and that its sums do not add up.
    #[serde(default)]
    pub(super) is_weak_told: bool,
    #[serde(default)]
    pub(super) is_mismatch_told: bool,
    #[serde(default)]
    pub(super) meters: Vec<KnownMeter>,
    #[serde(default)]
    pub(super) alerts: Vec<KnownAlert>,
    #[serde(default)]
    pub(super) supplies: Vec<KnownSupply>,
}

/// Somebody who claims to be a device and may not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rival {
    pub mac: Option<String>,
    pub address: Option<String>,
    pub seen: Moment,
    /// How often it was seen since the device was seen last where it belongs, and since when.
    pub sightings: u8,
    pub since: Moment,
    /// How often somebody else was where the device belongs who may be it.
    #[serde(default)]
    pub doubts: u8,
    /// Whether the device was seen where it belongs since this one turned up, and whether this one was seen again since.
    #[serde(default)]
    pub has_met_owner: bool,
    #[serde(default)]
    pub is_alive_beside_owner: bool,
    /// Whether it has shown the device's key, and not just stood in its place.
    #[serde(default)]
    pub has_key: bool,
}

impl Device {
    /// A device of which only these things are known: nothing is told when it is met.
    #[must_use]
    pub fn named(key: &str, address: Option<&str>, seen: Moment) -> Self {
        Self {
            key: key.to_owned(),
            mac: key.strip_prefix("mac:").and_then(|rest| rest.get(..MAC_CHARS)).map(str::to_owned),
            sys_object_id: None,
            address: address.map(str::to_owned),
            left: Vec::new(),
            returns: 0,
            seen,
            uptime_centiseconds: None,
            read: None,
            read_uptime_centiseconds: None,
            rival: None,
            is_weak_told: false,
            is_mismatch_told: false,
            meters: Vec::new(),
            alerts: Vec::new(),
            supplies: Vec::new(),
        }
    }

    /// The object that its total was read from.
    #[must_use]
    pub fn total_oid(&self) -> Option<&str> {
        self.meters.iter().find(|meter| meter.name == "total").map(|meter| meter.oid.as_str())
    }

    /// hrDeviceIndex, as the indexes of its supplies show it.
    #[must_use]
    pub fn device_index(&self) -> Option<u32> {
        self.supplies.first()?.index.split('.').next()?.parse().ok()
    }

    /// Whether alerts are open.
    #[must_use]
    pub fn has_alerts(&self) -> bool {
        !self.alerts.is_empty()
    }
}

/// "00:17:c8:01:02:03"
const MAC_CHARS: usize = 17;

/// One change of the book: small enough to be written down at each reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// This device is known so from now on.
    Device(Box<Device>),
    /// This key is known no longer.
    Forget(String),
    /// This key is on several devices, and is none.
    Cloned(String),
    /// … and is one again: undoes the above.
    NotCloned(String),
}

/// Everything that the rules know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    version: u32,
    devices: BTreeMap<String, Device>,
    /// Keys by serial number or engine id that are on several devices, oldest first.
    clones: Vec<String>,
}

impl Default for Book {
    fn default() -> Self {
        Self { version: VERSION, devices: BTreeMap::new(), clones: Vec::new() }
    }
}

impl Book {
    /// Whether this program understands a book that was kept, and it lies within the bounds.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.version == VERSION && self.devices.len() <= DEVICES_MAX && self.clones.len() <= CLONES_MAX
    }

    /// The devices.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// The device that is known by this key.
    #[must_use]
    pub fn device(&self, key: &str) -> Option<&Device> {
        self.devices.get(key)
    }

    pub(super) fn is_clone(&self, key: &str) -> bool {
        self.clones.iter().any(|clone| clone == key)
    }

    /// Takes changes over; returns what undoes them. When there is no room for another device, the one that was not seen
    /// for the longest time is forgotten.
    pub fn apply(&mut self, changes: Vec<Change>) -> Vec<Change> {
        let mut undo = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                Change::Device(device) => {
                    if !self.devices.contains_key(&device.key) && self.devices.len() >= DEVICES_MAX {
                        undo.extend(self.forget_oldest().map(|oldest| Change::Device(Box::new(oldest))));
                    }
                    let key = device.key.clone();
                    undo.push(match self.devices.insert(key.clone(), *device) {
                        Some(before) => Change::Device(Box::new(before)),
                        None => Change::Forget(key),
                    });
                }
                Change::Forget(key) => {
                    undo.extend(self.devices.remove(&key).map(|before| Change::Device(Box::new(before))));
                }
                Change::Cloned(key) if self.is_clone(&key) => {}
                Change::Cloned(key) => {
                    if self.clones.len() >= CLONES_MAX {
                        undo.push(Change::Cloned(self.clones.remove(0)));
                    }
                    self.clones.push(key.clone());
                    undo.push(Change::NotCloned(key));
                }
                Change::NotCloned(key) => self.clones.retain(|clone| *clone != key),
            }
        }
        undo.reverse();
        undo
    }

    /// Forgets the device that was not seen for the longest time, by the wall clock.
    pub fn forget_oldest(&mut self) -> Option<Device> {
        let oldest = self.devices.values().min_by_key(|device| device.seen.wall_unix_ms)?.key.clone();
        self.devices.remove(&oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: u64) -> Change {
        let seen = Moment { wall_unix_ms: n, ..Moment::default() };
        Change::Device(Box::new(Device::named(&format!("serial:HP:{n:06}"), None, seen)))
    }

    #[test]
    fn changes_can_be_undone() {
        let mut book = Book::default();
        book.apply(vec![device(1), device(2), Change::Cloned("a".to_owned())]);
        let before = book.clone();
        let changes = vec![
            device(3),
            Change::Forget("serial:HP:000001".to_owned()),
            Change::Cloned("b".to_owned()),
            Change::Cloned("a".to_owned()),
        ];
        let undo = book.apply(changes);
        assert_ne!(book, before);
        book.apply(undo);
        assert_eq!(book, before);
    }

    #[test]
    fn a_book_has_a_bound_and_forgets_who_was_not_seen_longest() {
        let mut book = Book::default();
        book.apply((0..DEVICES_MAX as u64 + 2).map(device).collect());
        assert_eq!(book.devices.len(), DEVICES_MAX);
        assert!(book.device("serial:HP:000000").is_none() && book.device("serial:HP:000002").is_some());
        book.apply((0..CLONES_MAX + 2).map(|n| Change::Cloned(n.to_string())).collect());
        assert_eq!(book.clones.len(), CLONES_MAX);
        assert!(book.is_usable());
    }

    #[test]
    fn a_book_comes_back_as_it_was_kept() {
        let mut book = Book::default();
        book.apply(vec![device(1), Change::Cloned("a".to_owned())]);
        let kept = serde_json::to_vec(&book).unwrap();
        assert_eq!(serde_json::from_slice::<Book>(&kept).unwrap(), book);
    }
}
