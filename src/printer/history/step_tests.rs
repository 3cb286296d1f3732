//! What is told of devices that come, move, are swapped, and claim to be each other.

use std::time::Duration;

use super::*;
use crate::printer::{Alert, Meter, Reading, Status, StatusRound};

const RULES: Rules = Rules { live_for: Duration::from_secs(9_000) };

/// A box with its clock, an hour between two readings.
struct Site {
    book: Book,
    hours: u64,
    boot: u64,
}

impl Site {
    fn new() -> Self {
        Self { book: Book::default(), hours: 1, boot: 1 }
    }

    fn now(&self) -> Moment {
        let ms = self.hours * 3_600_000;
        Moment { boot: self.boot, monotonic_ms: ms, wall_unix_ms: ms }
    }

    fn read(&mut self, reading: &Reading) -> Told {
        let sighting = Sighting { reading, pages_per_minute: None, moduli: &[] };
        let told = step(&self.book, sighting, self.now(), &RULES);
        self.book.apply(told.changes.clone());
        told
    }

    fn after_hours(&mut self, hours: u64) -> &mut Self {
        self.hours += hours;
        self
    }
}

fn kinds(told: &Told) -> Vec<EventKind> {
    told.events.iter().map(|event| event.kind).collect()
}

/// A printer as its readings show it; uptime as the hours tell.
fn printer(serial: Option<&str>, mac: Option<u8>, address: &str, total: u64) -> Reading {
    Reading {
        is_printer: true,
        vendor: Some("HP".to_owned()),
        serial: serial.map(str::to_owned),
        mac: mac.map(|n| format!("02:00:00:00:00:{n:02x}")),
        address: Some(address.to_owned()),
        sys_object_id: Some("1.3.6.1.4.1.11.2.3.9.1".to_owned()),
        meters: vec![Meter {
            name: "total".into(),
            value: total,
            unit: "impressions".into(),
            oid: "1.3".into(),
            ..Meter::default()
        }],
        alerts_complete: true,
        ..Reading::default()
    }
}

fn with_uptime(reading: Reading, hours: u64) -> Reading {
    let status = Status { uptime_centiseconds: Some(hours * 360_000), ..reading.status.clone() };
    Reading { status, ..reading }
}

const S1: Option<&str> = Some("CNB1234567");
const S2: Option<&str> = Some("CNB7654321");

#[test]
fn a_printer_is_new_once_and_stays_the_same_under_another_address() {
    let mut it = Site::new();
    assert_eq!(kinds(&it.read(&printer(S1, Some(1), "10.0.0.1", 100))), [EventKind::DeviceNew]);
    assert!(it.after_hours(1).read(&printer(S1, Some(1), "10.0.0.1", 110)).events.is_empty());
    let moved = it.after_hours(1).read(&printer(S1, Some(1), "10.0.0.2", 120));
    assert_eq!((kinds(&moved), moved.flags.clone()), (vec![EventKind::DeviceMoved], vec!["MOVED".to_owned()]));
    assert_eq!(moved.events[0].evidence, ["address 10.0.0.1 -> 10.0.0.2"]);
    assert_eq!(moved.device_key, "serial:HP:CNB1234567");
}

#[test]
fn a_printer_with_two_addresses_is_told_of_and_then_let_be() {
    let mut it = Site::new();
    let mut told = 0;
    for n in 0..20 {
        let address = ["10.0.0.1", "10.0.0.2"][n % 2];
        told += it.after_hours(1).read(&printer(S1, Some(1), address, 100)).events.len();
    }
    assert_eq!(told, 3, "new, there, and back");
}

#[test]
fn another_printer_in_its_place_closes_the_old_one() {
    let mut it = Site::new();
    it.read(&printer(S1, Some(1), "10.0.0.1", 5_000));
    let told = it.after_hours(1).read(&printer(S2, Some(2), "10.0.0.1", 7));
    assert_eq!((kinds(&told), told.flags.clone()), (vec![EventKind::DeviceReplaced], vec!["REPLACED".to_owned()]));
    assert_eq!(told.events[0].old_key.as_deref(), Some("serial:HP:CNB1234567"));
    assert_eq!(told.events[0].values[0].before, Some(5_000), "its last reading");
    // The old one turns up elsewhere, and goes on.
    let told = it.after_hours(1).read(&printer(S1, Some(1), "10.0.0.9", 5_003));
    assert_eq!((kinds(&told), told.is_held), (vec![EventKind::DeviceMoved], false));
}

#[test]
fn two_printers_that_exchange_their_addresses_stay_themselves() {
    let mut it = Site::new();
    it.read(&printer(S1, Some(1), "10.0.0.1", 5_000));
    it.read(&printer(S2, Some(2), "10.0.0.2", 80_000));
    it.after_hours(1);
    for (reading, key) in [
        (printer(S1, Some(1), "10.0.0.2", 5_001), "serial:HP:CNB1234567"),
        (printer(S2, Some(2), "10.0.0.1", 80_001), "serial:HP:CNB7654321"),
    ] {
        let told = it.read(&reading);
        assert_eq!((kinds(&told), told.device_key.as_str()), (vec![EventKind::DeviceMoved], key));
    }
}

#[test]
fn both_spellings_of_a_serial_number_are_one_printer() {
    let mut it = Site::new();
    it.read(&printer(S1, Some(1), "10.0.0.1", 100));
    let told = it.after_hours(1).read(&printer(Some("00CNB1234567"), Some(1), "10.0.0.1", 110));
    assert_eq!((told.device_key.as_str(), told.events.len()), ("serial:HP:CNB1234567", 0));
    // A book of before the spelling was known to be one.
    let mut it = Site::new();
    let old = Device::named("serial:HP:00CNB1234567", Some("10.0.0.1"), it.now());
    it.book.apply(vec![Change::Device(Box::new(old))]);
    let told = it.after_hours(1).read(&printer(S1, None, "10.0.0.1", 110));
    assert_eq!(kinds(&told), [EventKind::KeyChanged]);
    assert_eq!(told.events[0].old_key.as_deref(), Some("serial:HP:00CNB1234567"));
    assert_eq!(it.book.devices().count(), 1);
}

#[test]
fn a_new_network_card_is_believed_when_the_old_one_is_silent() {
    let mut it = Site::new();
    it.read(&printer(S1, Some(1), "10.0.0.1", 100));
    let told = it.after_hours(1).read(&printer(S1, Some(2), "10.0.0.1", 110));
    assert_eq!((kinds(&told), told.is_held), (vec![EventKind::IdentityConflict], true));
    let told = it.after_hours(1).read(&printer(S1, Some(2), "10.0.0.1", 120));
    assert!(told.is_held && told.events.is_empty() && told.flags == ["IDENTITY_CONFLICT"], "{told:?}");
    let told = it.after_hours(1).read(&printer(S1, Some(2), "10.0.0.1", 130));
    assert_eq!((kinds(&told), told.is_held), (vec![EventKind::DeviceMoved], false));
    assert_eq!(told.events[0].evidence, ["MAC 02:00:00:00:00:01 -> 02:00:00:00:00:02"]);
}

#[test]
fn two_printers_with_one_serial_number_are_held_and_then_known_by_their_network_cards() {
    let mut it = Site::new();
    let (one, other) =
        (|total| printer(S1, Some(1), "10.0.0.1", total), |total| printer(S1, Some(2), "10.0.0.2", total));
    it.read(&one(100));
    let told = it.read(&other(90_000));
    assert_eq!((kinds(&told), told.is_held), (vec![EventKind::IdentityConflict], true));
    assert_ne!(told.place_key, told.device_key, "both places are asked again");
    it.after_hours(1);
    assert!(it.read(&one(101)).is_held && it.read(&other(90_001)).is_held);
    it.after_hours(1);
    let told = it.read(&one(102));
    assert_eq!(kinds(&told), [EventKind::KeyChanged, EventKind::WeakId]);
    assert_eq!(told.events[0].old_key.as_deref(), Some("serial:HP:CNB1234567"));
    assert!(!told.is_held && told.device_key.starts_with("mac:02:00:00:00:00:01"), "{told:?}");
    let told = it.read(&other(90_002));
    assert_eq!((kinds(&told), told.is_held), (vec![EventKind::DeviceNew, EventKind::WeakId], false));
    assert!(told.device_key.starts_with("mac:02:00:00:00:00:02") && told.flags == ["WEAK_ID"], "{told:?}");
}

#[test]
fn a_reading_that_lacks_the_serial_number_belongs_to_its_network_card() {
    let mut it = Site::new();
    it.read(&printer(S1, Some(1), "10.0.0.1", 100));
    let told = it.after_hours(1).read(&printer(None, Some(1), "10.0.0.1", 110));
    assert_eq!((told.device_key.as_str(), told.events.len()), ("serial:HP:CNB1234567", 0));
    // Without a network card either, nothing is proven.
    let told = it.after_hours(1).read(&printer(None, None, "10.0.0.1", 120));
    assert_eq!(
        (kinds(&told), told.is_held, told.place_key == told.device_key),
        (vec![EventKind::IdentityConflict], true, true)
    );
    let told = it.after_hours(1).read(&printer(S1, Some(1), "10.0.0.1", 130));
    assert!(told.events.is_empty() && !told.is_held, "{told:?}");
}

#[test]
fn a_better_key_takes_over_what_belonged_to_the_lesser_one() {
    let mut it = Site::new();
    let told = it.read(&with_uptime(printer(None, None, "10.0.0.1", 100), 50));
    assert_eq!(kinds(&told), [EventKind::DeviceNew, EventKind::WeakId]);
    // The same agent has run on: it is the same device.
    let told = it.after_hours(1).read(&with_uptime(printer(None, Some(1), "10.0.0.1", 110), 51));
    assert_eq!(kinds(&told), [EventKind::KeyChanged, EventKind::WeakId]);
    assert_eq!(told.events[0].old_key.as_deref(), Some("provisional:10.0.0.1"));
    let told = it.after_hours(1).read(&with_uptime(printer(S1, Some(1), "10.0.0.7", 120), 1));
    assert_eq!(
        kinds(&told),
        [EventKind::KeyChanged, EventKind::DeviceMoved],
        "by the network card, restarted elsewhere"
    );
    assert!(told.flags.contains(&"KEY_CHANGED".to_owned()) && it.book.devices().count() == 1);
}

#[test]
fn what_is_known_by_its_address_alone_merges_with_nothing_that_may_be_another() {
    let mut it = Site::new();
    it.read(&with_uptime(printer(None, None, "10.0.0.1", 100), 50));
    let told = it.after_hours(1).read(&with_uptime(printer(S1, None, "10.0.0.1", 110), 3));
    assert_eq!(kinds(&told), [EventKind::DeviceReplaced], "restarted: perhaps another one");
    // And back without a serial number, another kind of device.
    let other = Reading { sys_object_id: Some("1.3.6.1.4.1.99".into()), ..printer(None, None, "10.0.0.1", 7) };
    let told = it.after_hours(1).read(&other);
    assert_eq!(told.events[0].kind, EventKind::DeviceReplaced);
    assert!(!told.flags.iter().any(|flag| flag.starts_with("RESET")), "it begins anew: {told:?}");
}

#[test]
fn an_engine_id_stands_between_serial_number_and_network_card() {
    let mut it = Site::new();
    let v3 = |reading| Reading { engine_id: Some("8000000b0400aabbccdd".into()), ..reading };
    it.read(&printer(None, Some(1), "10.0.0.1", 100));
    let told = it.after_hours(1).read(&v3(printer(None, Some(1), "10.0.0.1", 110)));
    assert_eq!((told.device_key.as_str(), kinds(&told)[0]), ("engine:8000000b0400aabbccdd", EventKind::KeyChanged));
    let told = it.after_hours(1).read(&printer(None, Some(1), "10.0.0.1", 120));
    assert_eq!(told.device_key, "engine:8000000b0400aabbccdd", "by v2c again");
}

#[test]
fn a_printer_that_is_known_from_before_is_not_new() {
    let mut it = Site::new();
    let known = Device::named("serial:HP:CNB1234567", Some("10.0.0.1"), it.now());
    it.book.apply(vec![Change::Device(Box::new(known))]);
    assert!(it.read(&printer(S1, Some(1), "10.0.0.1", 100)).events.is_empty());
    let mut it = Site::new();
    let known = Device::named("serial:HP:CNB1234567", Some("10.0.0.1"), it.now());
    it.book.apply(vec![Change::Device(Box::new(known))]);
    assert!(
        it.read(&printer(S1, Some(1), "10.0.0.2", 100)).events.is_empty(),
        "nobody knows how long it has been there"
    );
}

#[test]
fn meters_are_flagged_by_name_and_told_together() {
    let mut it = Site::new();
    let both = |total, mono| {
        let mut reading = printer(S1, Some(1), "10.0.0.1", total);
        reading.meters.push(Meter {
            name: "mono".into(),
            value: mono,
            unit: "impressions".into(),
            oid: "1.4".into(),
            ..Meter::default()
        });
        reading
    };
    it.read(&both(80_000, 50_000));
    let told = it.after_hours(1).read(&both(3, 2));
    assert_eq!(told.flags, ["RESET:total", "RESET:mono"]);
    assert_eq!((told.events.len(), told.events[0].severity, told.events[0].values.len()), (1, Severity::Critical, 2));
    let told = it.after_hours(1).read(&printer(S1, Some(1), "10.0.0.1", 5));
    assert_eq!(told.flags, ["NO_VALUE:mono"]);
}

fn jam() -> Alert {
    Alert { index: 1, severity: "critical".into(), group: "media_path".into(), code: "jam".into(), ..Alert::default() }
}

#[test]
fn a_look_tells_alerts_of_the_device_that_it_knows_and_of_no_other() {
    let mut it = Site::new();
    it.read(&with_uptime(printer(S1, Some(1), "10.0.0.1", 100), 50));
    let key = "serial:HP:CNB1234567";
    let round = |hours: u64, total| StatusRound {
        sys_object_id: Some("1.3.6.1.4.1.11.2.3.9.1".into()),
        status: Status { uptime_centiseconds: Some(hours * 360_000), ..Status::default() },
        alerts: vec![jam()],
        alerts_complete: true,
        total: Some(total),
        ..StatusRound::default()
    };
    it.after_hours(1);
    let look = |it: &Site, round: &StatusRound| step_status(&it.book, key, "10.0.0.1", round, it.now());
    let told = look(&it, &round(51, 130));
    assert_eq!((told.events.len(), told.events[0].severity, told.wants_reading), (1, Severity::Critical, None));
    it.book.apply(told.changes);
    assert!(look(&it, &round(51, 130)).events.is_empty());
    assert_eq!(look(&it, &round(51, 99)).wants_reading, Some(WantsReading::OddTotal));
    // A meter is judged by readings: the look has changed nothing.
    assert!(it.read(&with_uptime(printer(S1, Some(1), "10.0.0.1", 99), 51)).flags.contains(&"RESET:total".to_owned()));

    let restarted = look(&it, &round(0, 130));
    assert_eq!((restarted.wants_reading, restarted.events.len()), (Some(WantsReading::Unproven), 0));
    let with_serial = StatusRound { serial: Some("00cnb1234567".into()), ..round(0, 130) };
    assert_eq!(look(&it, &with_serial).wants_reading, None, "its serial number proves it");
    let other_kind = StatusRound { sys_object_id: Some("1.3.6.1.4.1.9".into()), ..with_serial.clone() };
    assert_eq!(look(&it, &other_kind).wants_reading, Some(WantsReading::Unproven));
    assert_eq!(
        step_status(&it.book, key, "10.0.0.5", &with_serial, it.now()).wants_reading,
        Some(WantsReading::Unproven)
    );
}
