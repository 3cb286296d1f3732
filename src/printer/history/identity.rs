//! Who it is that answered: the device that the box knows, the same one elsewhere, another one in its place, or somebody of
//! whom that cannot be said. What cannot be said is held: it counts for nobody until it is clear.

use super::book::{Book, Change, Device, Rival};
use super::event::{Event, EventKind, EventValue, Severity, as_event_number};
use super::key::{
    Strength, best_key, is_same_serial, is_same_spelt_otherwise, is_without_vendor, mac_key, provisional_key,
    strength_of,
};
use super::limits::{LEFT_MAX, UNPROVEN_FOR};
use super::moment::{Moment, Uptime};
use super::step::Rules;
use crate::printer::Reading;

/// Returns between two addresses that are told; a device with two of them would be told for ever.
const RETURNS_TOLD: u8 = 1;

/// Rounds in which a device is seen elsewhere, and not where it belongs, until it has moved.
const SIGHTINGS_BELIEVED: u8 = 3;
/// … and so many more at most, while somebody who tells too little stands where it belongs.
const DOUBTS_MAX: u8 = 9;

/// What a reading shows of who the device is.
struct Claim<'a> {
    key: String,
    mac: Option<&'a str>,
    address: Option<&'a str>,
    sys_object_id: Option<&'a str>,
    uptime: Option<(u64, Moment)>,
    now: Moment,
    reading: &'a Reading,
}

/// Who it is.
pub(super) struct Resolved {
    /// The device, with its place brought up to date.
    pub device: Device,
    /// Whether the reading counts for nobody.
    pub is_held: bool,
    /// What the place is known by: the device's key, or another where two places have the same key.
    pub place_key: String,
    pub events: Vec<Event>,
    /// What changes of other devices.
    pub changes: Vec<Change>,
}

/// What the book says to a claim.
enum Match<'b> {
    /// This device.
    Known(&'b Device),
    /// This device, by another key than before.
    Renamed(&'b Device),
    /// Where this device was, and too little is told to say whether it is the same.
    Unproven(&'b Device),
    /// Another one, though its key is the same: an address is all that is known of either.
    Another(&'b Device),
    New,
}

impl Claim<'_> {
    fn strength(&self) -> Strength {
        strength_of(&self.key)
    }

    fn has_same_mac(&self, device: &Device) -> bool {
        device.mac.as_deref().zip(self.mac).is_some_and(|(known, now)| known == now)
    }

    fn has_other_mac(&self, device: &Device) -> bool {
        device.mac.as_deref().zip(self.mac).is_some_and(|(known, now)| known != now)
    }

    fn has_other_sys_object_id(&self, device: &Device) -> bool {
        device.sys_object_id.as_deref().zip(self.sys_object_id).is_some_and(|(known, now)| known != now)
    }

    fn is_at(&self, device: &Device) -> bool {
        self.address.is_some() && device.address.as_deref() == self.address
    }

    /// Whether the same agent has been running at the same address since the device was seen there.
    fn has_run_on(&self, device: &Device) -> bool {
        let before = device.uptime_centiseconds.map(|uptime| (uptime, device.seen));
        let is_same_kind = device.sys_object_id.is_some() && device.sys_object_id.as_deref() == self.sys_object_id;
        self.is_at(device) && is_same_kind && Uptime::compare(before, self.uptime) == Uptime::Continued
    }

    /// Proof that it is this device under another key: the same network card in the same kind of device, or the same agent
    /// that has been running on.
    fn is_proven(&self, device: &Device) -> bool {
        let by_mac = self.has_same_mac(device) && !self.has_other_sys_object_id(device);
        by_mac || (!self.has_other_mac(device) && self.strength() > strength_of(&device.key) && self.has_run_on(device))
    }

    fn find<'b>(&self, book: &'b Book, rules: &Rules) -> Match<'b> {
        if let Some(device) = book.device(&self.key) {
            let is_other = self.strength() == Strength::Provisional
                && (device.address.is_none() || self.has_other_sys_object_id(device));
            return if is_other { Match::Another(device) } else { Match::Known(device) };
        }
        if let Some(device) = book.devices().find(|device| is_same_spelt_otherwise(&device.key, &self.key)) {
            return Match::Renamed(device);
        }
        let mut proven: Vec<&Device> = book.devices().filter(|device| self.is_proven(device)).collect();
        proven.sort_by_key(|device| std::cmp::Reverse(strength_of(&device.key)));
        for device in proven {
            match self.strength().cmp(&strength_of(&device.key)) {
                std::cmp::Ordering::Greater => return Match::Renamed(device),
                std::cmp::Ordering::Less => return Match::Known(device),
                // Two serial numbers are two devices; an engine id may be set anew.
                std::cmp::Ordering::Equal
                    if self.strength() != Strength::Serial || is_same_serial(&self.key, &device.key) =>
                {
                    return Match::Renamed(device);
                }
                std::cmp::Ordering::Equal => {}
            }
        }
        // Who claimed to be a device, and waits to be believed, does not become another one by saying less.
        if let Some(device) = book.devices().find(|device| self.is_rival_of(device, rules)) {
            return Match::Unproven(device);
        }
        let Some(there) = book.devices().find(|device| self.is_at(device)) else { return Match::New };
        let is_vendor_unknown = is_without_vendor(&there.key) || is_without_vendor(&self.key);
        let is_other_kind = self.has_other_sys_object_id(there);
        if is_same_serial(&there.key, &self.key) && is_vendor_unknown && !is_other_kind && !self.has_other_mac(there) {
            return Match::Renamed(there);
        }
        let is_weaker = self.strength() < strength_of(&there.key);
        match is_weaker && !is_other_kind && !self.has_proven_other(there, rules) {
            true => Match::Unproven(there),
            false => Match::New,
        }
    }

    fn is_rival_of(&self, device: &Device, rules: &Rules) -> bool {
        let is_it = |rival: &Rival| {
            rival.has_key && is_place_of(rival, self) && self.now.is_within(2 * rules.live_for, &rival.seen)
        };
        self.strength() < strength_of(&device.key) && device.rival.as_ref().is_some_and(is_it)
    }

    /// Whether who stands at the address of a device is another one. A network card may have been changed: but then the serial
    /// number shows again before long. Without a card there is nothing to go by but time.
    fn has_proven_other(&self, device: &Device, rules: &Rules) -> bool {
        if !self.has_other_mac(device) {
            return !self.now.is_within(UNPROVEN_FOR, &device.seen);
        }
        let rival = device.rival.as_ref().filter(|rival| is_place_of(rival, self));
        rival.is_some_and(|rival| !rival.has_key && rival.is_believed(self.now, rules))
    }
}

/// Finds out who it is.
pub(super) fn resolve(book: &Book, reading: &Reading, now: Moment, rules: &Rules) -> Resolved {
    let claim = Claim {
        key: best_key(reading, |key| !book.is_clone(key)),
        mac: reading.mac.as_deref(),
        address: reading.address.as_deref(),
        sys_object_id: reading.sys_object_id.as_deref(),
        uptime: reading.status.uptime_centiseconds.map(|uptime| (uptime, now)),
        now,
        reading,
    };
    let mut resolved = match claim.find(book, rules) {
        Match::Known(device) => place(&claim, device.clone(), rules),
        Match::Renamed(device) => renamed(&claim, device, rules),
        Match::Unproven(device) => unproven(&claim, device.clone(), rules),
        Match::New => begin(&claim, None),
        Match::Another(device) => begin(&claim, Some(device)),
    };
    if !resolved.is_held {
        settle(book, &claim, &mut resolved);
    }
    resolved
}

fn resolved(claim: &Claim<'_>, device: Device, is_held: bool, events: Vec<Event>) -> Resolved {
    // A place that is in doubt has a name of its own, so that both are asked again.
    let is_elsewhere = is_held && !claim.is_at(&device);
    let place_key = match is_elsewhere {
        true => mac_key(claim.reading).unwrap_or_else(|| provisional_key(claim.reading)),
        false => device.key.clone(),
    };
    Resolved { device, is_held, place_key, events, changes: Vec::new() }
}

/// A device that was not known. `before` had the same key.
fn begin(claim: &Claim<'_>, before: Option<&Device>) -> Resolved {
    let mac = claim.mac.map(str::to_owned);
    let device = Device { mac, ..Device::named(&claim.key, claim.address, claim.now) };
    let mut resolved = resolved(claim, device, false, Vec::new());
    if let Some(before) = before {
        resolved.events.push(replaced(&claim.key, before));
    }
    resolved
}

/// A known device under another key.
fn renamed(claim: &Claim<'_>, before: &Device, rules: &Rules) -> Resolved {
    let device = Device { key: claim.key.clone(), is_weak_told: false, ..before.clone() };
    let mut resolved = place(claim, device, rules);
    if resolved.is_held {
        // Not before it is clear that it is the same.
        resolved.device.key.clone_from(&before.key);
        return resolved;
    }
    resolved.changes.push(Change::Forget(before.key.clone()));
    resolved.events.insert(0, key_changed(&before.key, &claim.key));
    resolved
}

fn key_changed(old: &str, new: &str) -> Event {
    let text = format!("{old} is known as {new} from now on");
    Event { old_key: Some(old.to_owned()), ..Event::new(EventKind::KeyChanged, new, Severity::Info, text) }
}

fn replaced(key: &str, before: &Device) -> Event {
    let where_to = before.address.as_deref().unwrap_or("its address");
    let text = format!("At {where_to} there was {} before, which ends with its last reading", before.key);
    let last = before.meters.iter().map(|meter| EventValue {
        name: meter.name.clone(),
        before: Some(as_event_number(meter.value)),
        after: None,
        unit: meter.unit.clone(),
    });
    Event {
        old_key: Some(before.key.clone()),
        values: last.collect(),
        ..Event::new(EventKind::DeviceReplaced, key, Severity::Warning, text)
    }
}

/// It does not tell enough to be the device that was here.
fn unproven(claim: &Claim<'_>, mut device: Device, rules: &Rules) -> Resolved {
    let mut events = Vec::new();
    let other_card = claim.has_other_mac(&device);
    match &mut device.rival {
        // Who has shown the key has to show it again.
        Some(rival) if is_place_of(rival, claim) => {
            if !rival.has_key {
                rival.see(claim.now, rules);
            }
        }
        // Somebody is where the device belongs, and may be it: who claims to be it elsewhere waits, though not for ever.
        Some(elsewhere) if !other_card => elsewhere.doubts = elsewhere.doubts.saturating_add(1).min(DOUBTS_MAX),
        Some(_) => {}
        none => {
            *none = Some(Rival { has_key: false, ..rival(claim) });
            events.push(conflict(claim, &device, "tells too little to be known again"));
        }
    }
    resolved(claim, device, true, events)
}

impl Rival {
    fn see(&mut self, now: Moment, rules: &Rules) {
        self.is_alive_beside_owner |= self.has_met_owner;
        if self.sightings == 0 {
            (self.since, self.seen, self.sightings) = (now, now, 1);
        } else if !now.is_within(rules.live_for / 5, &self.seen) {
            // Twice in one round is once.
            (self.seen, self.sightings) = (now, self.sightings.saturating_add(1));
        }
    }

    /// Whether it was seen for some rounds, and the device where it belongs was not.
    fn is_believed(&self, now: Moment, rules: &Rules) -> bool {
        let watched = now.since(&self.since).unwrap_or_default();
        self.sightings >= SIGHTINGS_BELIEVED.saturating_add(self.doubts) && watched >= rules.live_for / 2
    }
}

fn rival(claim: &Claim<'_>) -> Rival {
    Rival {
        mac: claim.mac.map(str::to_owned),
        address: claim.address.map(str::to_owned),
        seen: claim.now,
        sightings: 1,
        doubts: 0,
        since: claim.now,
        has_met_owner: false,
        is_alive_beside_owner: false,
        has_key: true,
    }
}

fn conflict(claim: &Claim<'_>, device: &Device, what: &str) -> Event {
    let text = format!("{} at {} {what}; it does not count", device.key, claim.address.unwrap_or("another address"));
    Event::new(EventKind::IdentityConflict, &device.key, Severity::Warning, text)
}

/// Whether a known device is where it is known to be.
fn place(claim: &Claim<'_>, device: Device, rules: &Rules) -> Resolved {
    // A key by MAC or by address is a place itself.
    let is_here = strength_of(&device.key) <= Strength::Mac
        || claim.has_same_mac(&device)
        || (!claim.has_other_mac(&device) && claim.is_at(&device))
        || claim.has_run_on(&device);
    // Who has left its address to another device is not there any more; a network card can be looked for elsewhere.
    let may_be_there = device.address.is_some() || claim.mac.is_some();
    match (is_here, may_be_there && device.read.is_some()) {
        (true, _) => at_home(claim, device, rules),
        (false, true) => elsewhere(claim, device, rules),
        (false, false) => moved_to(claim, device),
    }
}

/// The device is where it was. Somebody else may claim to be it.
fn at_home(claim: &Claim<'_>, mut device: Device, rules: &Rules) -> Resolved {
    let live = device.rival.take().filter(|rival| claim.now.is_within(rules.live_for, &rival.seen));
    // Who has not shown the key was only in its place. Two devices cannot be at one address: that was the same one.
    let is_other = |rival: &Rival| rival.has_key && rival.address.as_deref() != claim.address;
    let Some(mut rival) = live.filter(is_other) else {
        return moved_to(claim, device);
    };
    // Seen here, there, here, there, and here: no device moves so often.
    let have_two_macs = rival.mac.as_deref().zip(claim.mac).is_some_and(|(one, other)| one != other);
    if rival.is_alive_beside_owner && have_two_macs {
        return cloned(claim, device);
    }
    (rival.has_met_owner, rival.sightings, rival.doubts) = (true, 0, 0);
    device.rival = Some(rival);
    (device.seen, device.uptime_centiseconds) = (claim.now, claim.uptime.map(|(uptime, _)| uptime));
    resolved(claim, device, true, Vec::new())
}

/// Two devices, alive at the same time, have the same serial number: it is none. Each is known by its network card.
fn cloned(claim: &Claim<'_>, device: Device) -> Resolved {
    let (old, new) = (device.key.clone(), mac_key(claim.reading).unwrap_or_else(|| device.key.clone()));
    let mut resolved = moved_to(claim, Device { key: new.clone(), rival: None, is_weak_told: false, ..device });
    resolved.changes.extend([Change::Forget(old.clone()), Change::Cloned(old.clone())]);
    resolved.events.insert(0, key_changed(&old, &new));
    resolved
}

/// The same key where it was not: the device has moved, or it is another one that claims to be it. It is believed when it has
/// been seen there for some rounds and the device where it belongs has not.
fn elsewhere(claim: &Claim<'_>, mut device: Device, rules: &Rules) -> Resolved {
    let mut events = Vec::new();
    match &mut device.rival {
        Some(rival) if is_place_of(rival, claim) => {
            rival.see(claim.now, rules);
            rival.has_key = true;
            if rival.is_believed(claim.now, rules) {
                return moved_to(claim, device);
            }
        }
        Some(rival) if claim.now.is_within(rules.live_for, &rival.seen) => {}
        other => {
            *other = Some(rival(claim));
            events.push(conflict(claim, &device, "was known elsewhere, and may be another device"));
        }
    }
    resolved(claim, device, true, events)
}

fn is_place_of(rival: &Rival, claim: &Claim<'_>) -> bool {
    match (rival.mac.as_deref(), claim.mac) {
        (Some(known), Some(now)) => known == now,
        _ => rival.address.as_deref() == claim.address,
    }
}

/// The device, at the place of the claim.
fn moved_to(claim: &Claim<'_>, mut device: Device) -> Resolved {
    let (old_address, old_mac) = (device.address.clone(), device.mac.clone());
    let mut told = Vec::new();
    if claim.address.is_some() && old_address.as_deref() != claim.address {
        if is_worth_telling(claim, &mut device) && device.read.is_some() {
            let from = old_address.as_deref().unwrap_or("an unknown address");
            told.push(format!("address {from} -> {}", claim.address.unwrap_or("?")));
        }
        device.address = claim.address.map(str::to_owned);
    }
    if let (Some(old), Some(new)) = (old_mac.as_deref(), claim.mac)
        && old != new
    {
        told.push(format!("MAC {old} -> {new}"));
    }
    device.mac = claim.mac.map(str::to_owned).or(old_mac);
    device.rival = None;
    let mut events = Vec::new();
    if !told.is_empty() {
        let text = format!("It goes on elsewhere: {}", told.join(", "));
        let event = Event::new(EventKind::DeviceMoved, &device.key, Severity::Info, text);
        events.push(Event { evidence: told, ..event });
    }
    resolved(claim, device, false, events)
}

/// Notes the address that is left. A device that goes back and forth has both addresses, which is told once.
fn is_worth_telling(claim: &Claim<'_>, device: &mut Device) -> bool {
    let now = claim.now;
    let forget_after = std::time::Duration::from_secs(86_400);
    device.left.retain(|(_, when)| now.is_within(forget_after, when));
    let is_return = device.left.iter().any(|(address, _)| Some(address.as_str()) == claim.address);
    device.left.retain(|(address, _)| Some(address.as_str()) != claim.address);
    if let Some(left) = device.address.clone() {
        if device.left.len() >= LEFT_MAX {
            device.left.remove(0);
        }
        device.left.push((left, now));
    }
    device.returns = if is_return { device.returns.saturating_add(1) } else { 0 };
    device.returns <= RETURNS_TOLD
}

/// What follows for the others once it is clear who this is.
fn settle(book: &Book, claim: &Claim<'_>, resolved: &mut Resolved) {
    let device = &mut resolved.device;
    device.seen = claim.now;
    device.uptime_centiseconds = claim.uptime.map(|(uptime, _)| uptime);
    if let Some(id) = claim.sys_object_id {
        device.sys_object_id = Some(id.to_owned());
    }
    let is_touched = |other: &Device, changes: &[Change]| {
        changes.iter().any(|change| matches!(change, Change::Forget(key) if *key == other.key))
    };
    let is_new = book.device(&device.key).is_none() && resolved.changes.is_empty();
    let mut is_replacing = resolved.events.iter().any(|event| event.kind == EventKind::DeviceReplaced);
    for other in book.devices() {
        if other.key == device.key || is_touched(other, &resolved.changes) {
            continue;
        }
        // What was known by less, and turns out to be this device.
        let is_proven = (claim.has_same_mac(other) && !claim.has_other_sys_object_id(other))
            || (!claim.has_other_mac(other) && claim.has_run_on(other));
        if is_proven && strength_of(&other.key) < strength_of(&device.key) {
            resolved.changes.push(Change::Forget(other.key.clone()));
            resolved.events.push(key_changed(&other.key, &device.key));
            continue;
        }
        let is_at = claim.is_at(other);
        if is_at && is_new && !is_replacing {
            is_replacing = true;
            resolved.events.push(replaced(&device.key, other));
        }
        // An address has one device, and so has a network card.
        let mut left = other.clone();
        if is_at {
            left.address = None;
        }
        // Who claimed to be that one, and is now known to be this one, claims it no more.
        left.rival.take_if(|rival| is_place_of(rival, claim) && (rival.mac.is_none() || claim.mac.is_some()));
        if claim.has_same_mac(other) {
            left.mac = None;
        }
        if left != *other {
            resolved.changes.push(Change::Device(Box::new(left)));
        }
    }
    if is_new && !is_replacing {
        let text = format!("{} was not known before", device.key);
        resolved.events.push(Event::new(EventKind::DeviceNew, &device.key, Severity::Info, text));
    }
    if strength_of(&device.key) < Strength::Serial && !device.is_weak_told {
        device.is_weak_told = true;
        let text = "It tells no serial number that can be believed; it is known by less".to_owned();
        resolved.events.push(Event::new(EventKind::WeakId, &device.key, Severity::Warning, text));
    }
}
