//! One step of the history: what was seen now, beside what is known.

use std::time::Duration;

use super::book::{Book, Change, Device};
use super::event::{Event, EventKind, Severity};
use super::identity::resolve;
use super::key::{Strength, is_same_serial, strength_of};
use super::moment::{Moment, Uptime};
use super::{alerts, meters, supplies};
use crate::printer::{Meter, Reading, StatusRound};

/// What may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A device that answered so short a while ago is still where it was: some rounds of readings.
    pub live_for: Duration,
}

impl Rules {
    /// For readings that are so far apart: two and a half rounds, so that one may be missed.
    #[must_use]
    pub fn for_interval(read_interval: Duration) -> Self {
        Self { live_for: read_interval.saturating_mul(5) / 2 }
    }
}

/// A reading, and what is known of its printer otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// The reading.
    pub reading: &'a Reading,
    /// How fast it prints, where that is known.
    pub pages_per_minute: Option<u32>,
    /// Values at which its vendor's meters begin at zero again, besides those of all vendors.
    pub moduli: &'a [u64],
}

/// What came of a reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The device it belongs to.
    pub device_key: String,
    /// What its place is known by: the same, or another while two places have one key.
    pub place_key: String,
    /// Whether it counts for nobody, as it is not clear who it is. It is flagged so.
    pub is_held: bool,
    /// What the reading is to be flagged with: `RESET:total`, …
    pub flags: Vec<String>,
    /// What happened.
    pub events: Vec<Event>,
    /// What is to be remembered. A step has no effect before these are applied.
    pub changes: Vec<Change>,
}

/// Compares a reading with what is known.
#[must_use]
pub fn step(book: &Book, sighting: Sighting<'_>, now: Moment, rules: &Rules) -> Told {
    let reading = sighting.reading;
    let resolved = resolve(book, reading, now, rules);
    let (mut device, mut events, mut changes) = (resolved.device, resolved.events, resolved.changes);
    let mut flags: Vec<String> = Vec::new();
    if resolved.is_held {
        flags.push("IDENTITY_CONFLICT".to_owned());
    } else {
        let circumstances = circumstances(&device, sighting, now);
        let (meter_flags, meter_events) =
            meters::compare(&mut device.meters, &reading.meters, &circumstances, &device.key);
        flags.extend(meter_flags);
        events.extend(meter_events);
        events.extend(sum_mismatch(&mut device, &reading.meters, &mut flags));
        let (is_complete, status) = (reading.alerts_complete, &reading.status);
        events.extend(alerts::compare(&mut device.alerts, &reading.alerts, is_complete, status, &now, &device.key));
        events.extend(supplies::compare(&mut device.supplies, &reading.supplies, now, &device.key));
        device.read = Some(now);
        device.read_uptime_centiseconds = reading.status.uptime_centiseconds;
    }
    flags.extend(
        events
            .iter()
            .filter(|event| is_of_the_device(event.kind))
            .filter_map(|event| event.kind.flag())
            .map(str::to_owned),
    );
    if strength_of(&device.key) < Strength::Serial {
        flags.push("WEAK_ID".to_owned());
    }
    let mut kept = Vec::with_capacity(flags.len());
    for flag in flags {
        if !kept.contains(&flag) && !reading.flags.contains(&flag) {
            kept.push(flag);
        }
    }
    let device_key = device.key.clone();
    changes.push(Change::Device(Box::new(device)));
    Told { device_key, place_key: resolved.place_key, is_held: resolved.is_held, flags: kept, events, changes }
}

/// Flags of meters carry the meter's name and are made with them.
fn is_of_the_device(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::DeviceMoved | EventKind::DeviceReplaced | EventKind::IdentityConflict | EventKind::KeyChanged
    )
}

fn circumstances<'a>(device: &Device, sighting: Sighting<'a>, now: Moment) -> meters::Circumstances<'a> {
    let uptime_now_cs = sighting.reading.status.uptime_centiseconds;
    let before = device.read_uptime_centiseconds.zip(device.read);
    meters::Circumstances {
        now,
        before: device.read,
        uptime: Uptime::compare(before, uptime_now_cs.map(|uptime| (uptime, now))),
        uptime_now_cs,
        pages_per_minute: sighting.pages_per_minute,
        moduli: sighting.moduli,
    }
}

fn sum_mismatch(device: &mut Device, meters: &[Meter], flags: &mut Vec<String>) -> Option<Event> {
    let is_right = meters::is_sum_right(meters);
    if !is_right {
        flags.push("SUM_MISMATCH:total".to_owned());
    }
    let is_news = !is_right && !device.is_mismatch_told;
    device.is_mismatch_told = !is_right;
    let text = "Black and colour together are not the total".to_owned();
    is_news.then(|| Event::new(EventKind::MeterSumMismatch, &device.key, Severity::Info, text))
}

/// What came of a light look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusTold {
    /// What happened.
    pub events: Vec<Event>,
    /// What is to be remembered.
    pub changes: Vec<Change>,
    /// Why the device is to be read whole, if it is: something is not as expected, which a look may not judge.
    pub wants_reading: Option<WantsReading>,
}

/// Why a light look is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantsReading {
    /// Nothing proves that it is still the same device.
    Unproven,
    /// Its total is not what the last one lets expect.
    OddTotal,
}

/// Compares a light look at `address`, where the device of this key was read before, with what is known. Alerts are told only
/// of a device that is proven to be the same; meters are judged by whole readings only, which carry the flags.
#[must_use]
pub fn step_status(book: &Book, device_key: &str, address: &str, round: &StatusRound, now: Moment) -> StatusTold {
    let wants = |why| StatusTold { wants_reading: Some(why), ..StatusTold::default() };
    let Some(known) = book.device(device_key) else { return wants(WantsReading::Unproven) };
    let is_here = known.read.is_some() && known.rival.is_none() && known.address.as_deref() == Some(address);
    let is_same_kind = known.sys_object_id == round.sys_object_id;
    let uptime_now = round.status.uptime_centiseconds.map(|uptime| (uptime, now));
    let uptime = Uptime::compare(known.uptime_centiseconds.map(|uptime| (uptime, known.seen)), uptime_now);
    let has_serial =
        round.serial.as_deref().is_some_and(|serial| is_same_serial(&format!("serial:?:{serial}"), device_key));
    if !is_here || !is_same_kind || !(has_serial || uptime == Uptime::Continued) {
        return wants(WantsReading::Unproven);
    }
    let mut device = known.clone();
    (device.seen, device.uptime_centiseconds) = (now, round.status.uptime_centiseconds);
    let (is_complete, status) = (round.alerts_complete, &round.status);
    let events = alerts::compare(&mut device.alerts, &round.alerts, is_complete, status, &now, &device.key);
    let total = round.total.zip(known.total_oid()).map(|(value, oid)| Meter {
        name: "total".to_owned(),
        value,
        unit: String::new(),
        oid: oid.to_owned(),
        ..Meter::default()
    });
    let circumstances = meters::Circumstances {
        now,
        before: known.read,
        uptime,
        uptime_now_cs: round.status.uptime_centiseconds,
        pages_per_minute: None,
        moduli: &[],
    };
    let is_odd = total.is_some_and(|total| meters::is_odd(&known.meters, &total, &circumstances));
    let wants_reading = is_odd.then_some(WantsReading::OddTotal);
    StatusTold { events, changes: vec![Change::Device(Box::new(device))], wants_reading }
}
