//! Random histories of printers that move, are swapped, restarted, reset, cloned, half read and not read, on a box that
//! restarts with a wrong clock: what a simple cloud books by the flags is what was printed, for the printer that printed it.
//! `PLATEN_HISTORIES=1000000` runs so many; a few thousand otherwise. A history is its seed: a failure names it.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::printer::{Alert, Meter, Reading, Status, StatusRound};

const RULES: Rules = Rules { live_for: Duration::from_secs(9_000) };
const HOUR_MS: u64 = 3_600_000;
const ADDRESSES: usize = 6;
const PRINTERS: usize = 5;
const MODULI: [u64; 3] = [1_000_000, 1 << 24, 1 << 32];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    Own,
    /// Its serial number with "00" before it, now and then.
    TwoSpellings,
    WithoutMac,
    Placeholder,
    /// All of these have one serial number.
    Clone,
    /// No serial number and no MAC.
    Nothing,
    /// A serial number that it tells from some day on.
    Late,
}

#[derive(Debug, Clone)]
struct Printer {
    identity: Identity,
    mac: u32,
    address: Option<usize>,
    is_on: bool,
    booted_ms: u64,
    /// What it has printed in its life: the truth.
    printed: u64,
    /// What its meter is ahead of that, lost with the power, reset, or jumped.
    offset: i64,
    lost: u64,
    modulus: u64,
    has_alert: bool,
    is_telling: bool,
    was_read: bool,
    /// What happened to its meter, and when.
    reset_ms: u64,
    jump_ms: u64,
}

impl Printer {
    fn raw(&self) -> u64 {
        let count = i128::from(self.printed) + i128::from(self.offset);
        count.rem_euclid(i128::from(self.modulus)) as u64
    }
}

/// What is booked under one key, by a cloud that knows the flags and nothing else.
#[derive(Debug, Clone)]
struct Account {
    truth: usize,
    high: u64,
    read_ms: u64,
    booked: u64,
    printed_first: u64,
    printed_last: u64,
    lost_first: u64,
    lost_last: u64,
    is_held: bool,
    /// Another device was where this one had been, until it turned up again.
    is_replaced: bool,
    has_alert: bool,
}

struct World {
    random: fastrand::Rng,
    now_ms: u64,
    boot: u64,
    wall_offset_ms: i64,
    clock_was_set: bool,
    printers: Vec<Printer>,
    book: Book,
    accounts: BTreeMap<String, Account>,
    closed: Vec<Account>,
    next_mac: u32,
    /// Every reading arrives, and whole.
    is_calm: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let now_ms = 1_000 * HOUR_MS;
        let printers = (0..PRINTERS).map(|n| {
            let identity = match random.u32(0..12) {
                0..3 => Identity::Own,
                3..5 => Identity::TwoSpellings,
                5 => Identity::WithoutMac,
                6 => Identity::Placeholder,
                7..9 => Identity::Clone,
                9 => Identity::Nothing,
                _ => Identity::Late,
            };
            let modulus = MODULI[random.usize(0..3)];
            let printed = if random.bool() { modulus - random.u64(1..2_000) } else { random.u64(20_000..900_000) };
            Printer {
                identity,
                mac: n as u32,
                address: Some(n),
                is_on: true,
                booted_ms: now_ms - random.u64(0..900 * HOUR_MS),
                printed,
                offset: 0,
                lost: 0,
                modulus,
                has_alert: false,
                is_telling: identity != Identity::Late,
                was_read: false,
                reset_ms: 0,
                jump_ms: 0,
            }
        });
        let printers = printers.collect();
        Self {
            random,
            now_ms,
            boot: 1,
            wall_offset_ms: 0,
            clock_was_set: false,
            printers,
            book: Book::default(),
            accounts: BTreeMap::new(),
            closed: Vec::new(),
            next_mac: 100,
            is_calm: false,
        }
    }

    fn now(&self) -> Moment {
        let wall = self.now_ms as i64 + self.wall_offset_ms;
        Moment { boot: self.boot, monotonic_ms: self.now_ms, wall_unix_ms: wall.max(0) as u64 }
    }

    fn pick(&mut self) -> usize {
        self.random.usize(0..PRINTERS)
    }

    /// Something happens.
    fn act(&mut self) {
        // Two printers that were started at the same time, of one kind, cannot be told apart by their uptime.
        self.now_ms += 180_000;
        let (n, other) = (self.pick(), self.pick());
        let free = (0..ADDRESSES).find(|at| self.printers.iter().all(|printer| printer.address != Some(*at)));
        let now_ms = self.now_ms;
        match self.random.u32(0..30) {
            0..7 => self.printers[n].printed += self.random.u64(1..400),
            7..17 => self.poll(),
            17 => self.look(),
            18 => self.now_ms += self.random.u64(1..30) * HOUR_MS,
            19..21 => self.printers[n].address = free,
            21 => {
                let (one, two) = (self.printers[n].address, self.printers[other].address);
                (self.printers[n].address, self.printers[other].address) = (two, one);
            }
            // Whoever has a clone must be seen: clones that are never alive together cannot be told apart.
            22 if self.printers[n].identity != Identity::Clone => self.restart(n, now_ms),
            23 if self.printers[n].identity != Identity::Clone => {
                self.printers[n].is_on = !self.printers[n].is_on;
                self.restart(n, now_ms);
            }
            // Once: a card that is changed again before its serial number was believed with it leaves a device behind that may
            // have been read by that card alone, and nothing tells any more whose it was.
            24 if self.printers[n].identity != Identity::Clone && self.printers[n].mac == n as u32 => {
                (self.printers[n].mac, self.next_mac) = (self.next_mac, self.next_mac + 1);
                self.printers[n].was_read = false;
                self.restart(n, now_ms);
            }
            25 => self.spoil(n),
            26 => self.printers[n].has_alert = !self.printers[n].has_alert,
            27 => self.printers[n].is_telling = true,
            28 => {
                // The book comes back as it was kept; the clocks do not.
                let kept = serde_json::to_vec(&self.book).unwrap();
                self.book = serde_json::from_slice(&kept).unwrap();
                self.boot += 1;
                let hours = self.random.i64(-3..=3);
                self.clock_was_set |= hours != 0;
                self.wall_offset_ms += hours * HOUR_MS as i64;
            }
            _ => {}
        }
    }

    fn restart(&mut self, n: usize, now_ms: u64) {
        let printer = &mut self.printers[n];
        printer.booted_ms = now_ms;
        let lost = self.random.u64(0..10).min(printer.raw());
        printer.offset -= lost as i64;
        printer.lost += lost;
    }

    /// Another board, or a counter gone mad; once for each printer, where it can be told from anything else.
    fn spoil(&mut self, n: usize) {
        let is_reset = self.random.bool();
        let printer = &mut self.printers[n];
        if printer.reset_ms + printer.jump_ms > 0 || printer.modulus != 1 << 32 || printer.printed > 1_000_000 {
            return;
        }
        if is_reset {
            (printer.offset, printer.reset_ms) = (-(printer.printed as i64), self.now_ms);
        } else {
            printer.offset += 100_000_000;
            printer.jump_ms = self.now_ms;
        }
    }

    /// One time in so many, in stormy times.
    fn chance(&mut self, one_in: u32) -> bool {
        self.random.u32(0..one_in) == 0 && !self.is_calm
    }

    fn reading(&mut self, n: usize) -> Reading {
        // A first reading that says nothing leaves nothing to know the device by later.
        let may_lack =
            std::mem::replace(&mut self.printers[n].was_read, true) && self.printers[n].identity != Identity::Clone;
        let (lacks_serial, lacks_all) = (may_lack && self.chance(20), may_lack && self.chance(60));
        let (has_zeros, breaks_off) = (self.random.bool(), self.chance(20));
        let printer = &self.printers[n];
        let serial = match printer.identity {
            Identity::Own | Identity::WithoutMac => Some(format!("CNB000000{n}")),
            Identity::TwoSpellings => Some(format!("{}CNB000000{n}", if has_zeros { "00" } else { "" })),
            Identity::Placeholder => Some("XXXXXXXXXX".to_owned()),
            Identity::Clone => Some("CNB5555555".to_owned()),
            Identity::Late => printer.is_telling.then(|| format!("CNB000000{n}")),
            Identity::Nothing => None,
        };
        let has_mac = !matches!(printer.identity, Identity::WithoutMac | Identity::Nothing) && !lacks_all;
        // Most are of one kind; a device without any key has at least that.
        let kind = if printer.identity == Identity::Nothing { n } else { 99 };
        Reading {
            is_printer: true,
            vendor: Some("HP".to_owned()),
            serial: serial.filter(|_| !lacks_serial && !lacks_all),
            mac: has_mac.then(|| format!("02:00:00:00:00:{:02x}", printer.mac)),
            address: printer.address.map(|at| format!("10.0.0.{at}")),
            sys_object_id: Some(format!("1.3.6.1.4.1.11.{kind}")),
            meters: vec![Meter {
                name: "total".into(),
                value: printer.raw(),
                unit: "impressions".into(),
                oid: "1.3".into(),
                ..Meter::default()
            }],
            alerts: if printer.has_alert && !breaks_off { vec![jam()] } else { Vec::new() },
            alerts_complete: !breaks_off,
            status: Status { uptime_centiseconds: Some((self.now_ms - printer.booted_ms) / 10), ..Status::default() },
            ..Reading::default()
        }
    }

    /// A round of readings, in any order; some are lost, some come twice.
    fn poll(&mut self) {
        self.now_ms += HOUR_MS;
        let mut order: Vec<usize> = (0..PRINTERS).collect();
        self.random.shuffle(&mut order);
        for n in order {
            let is_lost = self.chance(10) && self.printers[n].identity != Identity::Clone;
            if !self.printers[n].is_on || self.printers[n].address.is_none() || is_lost {
                continue;
            }
            self.now_ms += self.random.u64(0..5_000);
            let reading = self.reading(n);
            for _ in 0..if self.chance(10) { 2 } else { 1 } {
                let sighting = Sighting { reading: &reading, pages_per_minute: None, moduli: &[] };
                let told = step(&self.book, sighting, self.now(), &RULES);
                self.book.apply(told.changes.clone());
                self.deliver(n, &reading, &told);
            }
        }
    }

    /// The cloud takes a reading and what was told with it.
    fn deliver(&mut self, n: usize, reading: &Reading, told: &Told) {
        for event in &told.events {
            let old = event.old_key.as_deref().and_then(|old| self.accounts.remove(old));
            match (event.kind, old) {
                (EventKind::KeyChanged, Some(account)) => {
                    // Where both had been counted for, each keeps what it counted.
                    if self.accounts.contains_key(&event.device_key) {
                        self.closed.push(account);
                    } else {
                        self.accounts.insert(event.device_key.clone(), account);
                    }
                }
                (EventKind::DeviceReplaced, Some(account)) if event.old_key.as_deref() == Some(&told.device_key) => {
                    self.closed.push(account);
                }
                (_, Some(account)) => {
                    // Closed with its last reading; should it turn up again, it goes on.
                    let account = Account { is_replaced: true, ..account };
                    self.accounts.insert(event.old_key.clone().unwrap(), account);
                }
                (_, None) => {}
            }
        }
        for event in &told.events {
            if let Some(account) = self.accounts.get_mut(&event.device_key) {
                match event.kind {
                    EventKind::AlertStarted => account.has_alert = true,
                    EventKind::AlertEnded => account.has_alert = false,
                    _ => {}
                }
            }
        }
        let held = told.flags.iter().any(|flag| flag == "IDENTITY_CONFLICT");
        assert_eq!(held, told.is_held);
        if !held {
            let (printer, raw) = (self.printers[n].clone(), reading.meters[0].value);
            self.book_pages(n, &printer, raw, told);
            if reading.alerts_complete {
                let account = &self.accounts[&told.device_key];
                assert_eq!(account.has_alert, printer.has_alert, "alerts of {}", told.device_key);
            }
        }
    }

    fn book_pages(&mut self, n: usize, printer: &Printer, raw: u64, told: &Told) {
        let opened = Account {
            truth: n,
            high: raw,
            read_ms: self.now_ms,
            booked: 0,
            printed_first: printer.printed,
            printed_last: printer.printed,
            lost_first: printer.lost,
            lost_last: printer.lost,
            is_held: false,
            is_replaced: false,
            has_alert: told.events.iter().any(|event| event.kind == EventKind::AlertStarted),
        };
        let flag = |word: &str| told.flags.iter().find(|flag| flag.starts_with(word)).map(String::as_str);
        let key = &told.device_key;
        let is_first = !self.accounts.contains_key(key);
        let account = self.accounts.entry(key.clone()).or_insert(opened);
        if account.truth != n {
            // By an address alone nothing better can be said, and the flag says so.
            assert!(
                key.starts_with("provisional:") && flag("WEAK_ID").is_some(),
                "{key}: {n} is booked for {}",
                account.truth
            );
            account.is_held = true;
            return;
        }
        let lost = printer.lost - account.lost_last;
        let (was_reset, has_jumped) = (printer.reset_ms >= account.read_ms, printer.jump_ms >= account.read_ms);
        let (is_reset, is_jump) = (flag("RESET").is_some(), flag("JUMP").is_some());
        if !is_first {
            assert!(is_reset || !was_reset, "{key}: a reset without a flag: {told:?}");
            assert!(is_jump || !has_jumped, "{key}: a jump without a flag: {told:?}");
            assert!(!is_reset || was_reset || lost > 0 || self.clock_was_set, "{key}: no reset: {told:?}");
            assert!(!is_jump || has_jumped || self.clock_was_set, "{key}: no jump: {told:?}");
        }
        if is_reset || is_jump {
            account.is_held = true;
        } else if let Some(flag) = flag("ROLLOVER(") {
            let modulus: u64 = flag["ROLLOVER(".len()..flag.find(')').unwrap()].parse().unwrap();
            account.booked += raw + modulus - account.high;
            account.high = raw;
        } else if raw > account.high {
            account.booked += raw - account.high;
            account.high = raw;
        }
        (account.read_ms, account.is_replaced) = (self.now_ms, false);
        (account.printed_last, account.lost_last) = (printer.printed, printer.lost);
    }

    /// Light looks at all devices that the box knows.
    fn look(&mut self) {
        let known: Vec<(String, String)> =
            self.book.devices().filter_map(|device| Some((device.key.clone(), device.address.clone()?))).collect();
        for (key, address) in known {
            let there = self.printers.iter().position(|printer| {
                printer.is_on && printer.address.is_some_and(|at| format!("10.0.0.{at}") == address)
            });
            let Some(n) = there else { continue };
            let reading = self.reading(n);
            let round = StatusRound {
                sys_object_id: reading.sys_object_id,
                serial: reading.serial,
                status: reading.status,
                alerts: reading.alerts,
                alerts_complete: reading.alerts_complete,
                total: Some(reading.meters[0].value),
            };
            let told = step_status(&self.book, &key, &address, &round, self.now());
            self.book.apply(told.changes);
            for event in told.events {
                let account = self.accounts.get_mut(&key).unwrap();
                assert!(account.truth == n || account.is_held, "{key}: told of {}, seen of {n}", account.truth);
                account.has_alert = event.kind == EventKind::AlertStarted;
            }
        }
    }

    /// Everything that is booked was printed, by the one for whom it is booked.
    fn check(&self) {
        for (key, account) in &self.accounts {
            account.check(key);
        }
        self.closed.iter().for_each(|account| account.check("a closed account"));
        for (n, printer) in self.printers.iter().enumerate() {
            if matches!(printer.identity, Identity::Own | Identity::TwoSpellings) {
                // By whatever key: what began by a lesser one was merged, or told to be replaced.
                let is_provisional = |key: &str| key.starts_with("provisional:");
                let is_of = |key: &str| {
                    self.accounts[key].truth == n && !self.accounts[key].is_replaced && !is_provisional(key)
                };
                let keys: Vec<&String> = self.accounts.keys().filter(|key| is_of(key)).collect();
                assert!(keys.len() == 1, "{n} is there {keys:?}");
                assert_eq!(self.accounts[keys[0]].printed_last, printer.printed, "{keys:?} is held for ever");
            }
        }
    }
}

impl Account {
    fn check(&self, key: &str) {
        if self.is_held {
            return;
        }
        let (printed, lost) = (self.printed_last - self.printed_first, self.lost_last - self.lost_first);
        let is_right = self.booked <= printed && self.booked + lost >= printed;
        assert!(is_right, "{key}: {printed} printed, {lost} lost, {} booked", self.booked);
    }
}

fn jam() -> Alert {
    Alert { index: 1, severity: "critical".into(), group: "media_path".into(), code: "jam".into(), ..Alert::default() }
}

fn live(seed: u64, acts: usize) {
    let mut world = World::new(seed);
    for _ in 0..acts {
        world.act();
    }
    // In the end all is clear: nobody is held, and nobody is there twice.
    world.is_calm = true;
    world.printers.iter_mut().for_each(|printer| printer.is_on = true);
    (0..14).for_each(|_| world.poll());
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// The length shrinks: the shortest history that fails is shown.
    #[test]
    fn whatever_happens_every_page_is_booked_once_for_its_printer_or_flagged(seed in any::<u64>(), acts in 1usize..80) {
        live(seed, acts);
    }
}

#[test]
fn many_histories_are_booked_right() {
    let count: u64 = std::env::var("PLATEN_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000);
    for seed in 0..count {
        if let Err(panic) = std::panic::catch_unwind(|| live(seed, 60)) {
            eprintln!("history {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
