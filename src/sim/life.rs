//! The life of a simulated printer: jobs come, meters turn, supplies run down and are replaced, trays empty and are filled,
//! paper jams. Time and chance are arguments, so a life can be lived again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::model::{Counter, Description};
use crate::oid;
use crate::snmp::{Oid, Recording, Value};

/// Mean pause between two jobs, in seconds.
const PAUSE_S: f64 = 25.0;
/// Longest job, in impressions.
const JOB_MAX: u32 = 40;
/// One impression in so many jams.
const JAM_ONE_IN: u32 = 900;
/// How long somebody takes to clear a jam, fill a tray, change a supply, in seconds: least and most.
const HELP_S: (f64, f64) = (15.0, 45.0);
/// Longest stretch of time that one step lives through.
const STEP_MAX: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Activity {
    Idle {
        for_s: f64,
    },
    Printing {
        pages: u32,
    },
    /// Waits for a person.
    Stopped {
        why: Stop,
        for_s: f64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stop {
    Jam,
    EmptyTray,
    EmptySupply(usize),
}

#[derive(Debug, Clone, PartialEq)]
struct ActiveAlert {
    index: u32,
    kind: (AlertKind, usize),
    time_ticks: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AlertKind {
    Jam,
    TrayEmpty,
    TrayLow,
    SupplyLow,
    SupplyEmpty,
}

/// What it has done in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    print_mono: u64,
    print_colour: u64,
    copy_mono: u64,
    copy_colour: u64,
    duplex: u64,
    scan: u64,
}

impl Counters {
    fn get(&self, counter: Counter) -> u64 {
        match counter {
            Counter::Total => self.print_mono + self.print_colour + self.copy_mono + self.copy_colour,
            Counter::Mono => self.print_mono + self.copy_mono,
            Counter::Colour => self.print_colour + self.copy_colour,
            Counter::Print => self.print_mono + self.print_colour,
            Counter::PrintMono => self.print_mono,
            Counter::PrintColour => self.print_colour,
            Counter::Copy => self.copy_mono + self.copy_colour,
            Counter::CopyMono => self.copy_mono,
            Counter::CopyColour => self.copy_colour,
            Counter::Duplex => self.duplex,
            Counter::Scan => self.scan,
            Counter::Fixed(number) => u64::from(number),
        }
    }
}

/// A printer that lives.
#[derive(Debug)]
pub struct Printer {
    description: Description,
    random: fastrand::Rng,
    counters: Counters,
    /// In the supplies' units, with fractions.
    supplies: Vec<f64>,
    trays: Vec<f64>,
    activity: Activity,
    /// Impressions that are not whole yet.
    part: f64,
    uptime: Duration,
    alerts: Vec<ActiveAlert>,
    next_alert: u32,
    shown_alerts: BTreeSet<u32>,
    vanished: Vec<Oid>,
}

impl Printer {
    /// A printer at the beginning of the simulation.
    #[must_use]
    pub fn new(description: Description, seed: u64) -> Self {
        let share = |of: f64| (description.total as f64 * of) as u64;
        let copies = share(description.copy_share);
        let of = |count: u64| (count as f64 * description.colour_share) as u64;
        let prints = description.total - copies.min(description.total);
        let counters = Counters {
            print_colour: of(prints),
            print_mono: prints - of(prints),
            copy_colour: of(copies),
            copy_mono: copies - of(copies),
            duplex: share(description.duplex_share),
            scan: share(description.scans_share),
        };
        let mut random = fastrand::Rng::with_seed(seed);
        let first = random.f64() * 10.0;
        Self {
            supplies: description.supplies.iter().map(|supply| supply.level as f64).collect(),
            trays: description.trays.iter().map(|tray| tray.level as f64).collect(),
            description,
            random,
            counters,
            activity: Activity::Idle { for_s: first },
            part: 0.0,
            uptime: Duration::from_secs(86_400),
            alerts: Vec::new(),
            next_alert: 1,
            shown_alerts: BTreeSet::new(),
            vanished: Vec::new(),
        }
    }

    /// What it is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Impressions of its life.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counters.get(Counter::Total)
    }

    /// Lets time pass.
    pub fn step(&mut self, elapsed: Duration) {
        let elapsed = elapsed.min(STEP_MAX);
        self.uptime += elapsed;
        let mut left_s = elapsed.as_secs_f64();
        // Every turn uses up time or an impression, so the number of turns is bounded by the elapsed time.
        while left_s > 0.0 {
            left_s = match self.activity {
                Activity::Idle { for_s } if for_s > left_s => {
                    self.activity = Activity::Idle { for_s: for_s - left_s };
                    0.0
                }
                Activity::Idle { for_s } => {
                    self.activity = Activity::Printing { pages: self.random.u32(1..=JOB_MAX) };
                    left_s - for_s
                }
                Activity::Stopped { why, for_s } if for_s > left_s => {
                    self.activity = Activity::Stopped { why, for_s: for_s - left_s };
                    0.0
                }
                Activity::Stopped { why, for_s } => {
                    self.help(why);
                    self.activity = Activity::Printing { pages: self.random.u32(1..=JOB_MAX) };
                    left_s - for_s
                }
                Activity::Printing { pages } => self.print(pages, left_s),
            };
        }
        self.renew_alerts();
    }

    /// Prints for as long as there is time, pages and paper; returns the time that is left.
    fn print(&mut self, mut pages: u32, left_s: f64) -> f64 {
        let per_s = f64::from(self.description.pages_per_minute.max(1)) / 60.0;
        let possible = left_s * per_s + self.part;
        let mut done = 0.0;
        while pages > 0 && done + 1.0 <= possible {
            pages -= 1;
            done += 1.0;
            if let Some(why) = self.one_impression() {
                let for_s = HELP_S.0 + self.random.f64() * (HELP_S.1 - HELP_S.0);
                self.activity = Activity::Stopped { why, for_s };
                self.part = 0.0;
                return (left_s - done / per_s).max(0.0);
            }
        }
        if pages > 0 {
            self.part = possible - done;
            self.activity = Activity::Printing { pages };
            return 0.0;
        }
        let used_s = ((done - self.part) / per_s).max(0.0);
        self.part = 0.0;
        self.activity = Activity::Idle { for_s: self.random.f64() * 2.0 * PAUSE_S };
        (left_s - used_s).max(0.0)
    }

    /// Counts an impression; says why the next one has to wait, if it has.
    fn one_impression(&mut self) -> Option<Stop> {
        let chance = |random: &mut fastrand::Rng, share: f64| random.f64() < share;
        let is_colour = chance(&mut self.random, self.description.colour_share);
        let is_copy = chance(&mut self.random, self.description.copy_share);
        let is_duplex = chance(&mut self.random, self.description.duplex_share);
        let counter = match (is_copy, is_colour) {
            (true, true) => &mut self.counters.copy_colour,
            (true, false) => &mut self.counters.copy_mono,
            (false, true) => &mut self.counters.print_colour,
            (false, false) => &mut self.counters.print_mono,
        };
        *counter += 1;
        self.counters.duplex += u64::from(is_duplex);
        self.counters.scan += u64::from(chance(&mut self.random, self.description.scans_share));
        for (level, supply) in self.supplies.iter_mut().zip(&self.description.supplies) {
            let is_used = is_colour || matches!(supply.colorant.as_str(), "" | "black");
            if is_used && supply.level >= 0 && supply.max > 0 {
                *level = (*level - supply.max as f64 / f64::from(supply.pages.max(1))).max(0.0);
            }
        }
        let sheets = if is_duplex { 0.5 } else { 1.0 };
        let filled = self.trays.iter_mut().zip(&self.description.trays).find(|(level, _)| **level >= 1.0);
        let has_trays = self.description.trays.iter().any(|tray| tray.level >= 0);
        match filled {
            Some((level, _)) => *level -= sheets,
            None if has_trays => return Some(Stop::EmptyTray),
            None => {}
        }
        let empty = |(level, supply): (&f64, &super::model::SupplyDescription)| supply.max > 0 && *level <= 0.0;
        if let Some(supply) = self.supplies.iter().zip(&self.description.supplies).position(empty) {
            return Some(Stop::EmptySupply(supply));
        }
        (self.random.u32(0..JAM_ONE_IN) == 0).then_some(Stop::Jam)
    }

    fn help(&mut self, why: Stop) {
        match why {
            Stop::Jam => {}
            Stop::EmptyTray => {
                for (level, tray) in self.trays.iter_mut().zip(&self.description.trays) {
                    *level = tray.max as f64;
                }
            }
            Stop::EmptySupply(n) => {
                if let (Some(level), Some(supply)) = (self.supplies.get_mut(n), self.description.supplies.get(n)) {
                    *level = supply.max as f64;
                }
            }
        }
    }

    /// The alerts that there should be now; each keeps its index for as long as it lasts.
    fn renew_alerts(&mut self) {
        let mut wanted: Vec<(AlertKind, usize)> = Vec::new();
        match self.activity {
            Activity::Stopped { why: Stop::Jam, .. } => wanted.push((AlertKind::Jam, 0)),
            Activity::Stopped { why: Stop::EmptyTray, .. } => wanted.push((AlertKind::TrayEmpty, 0)),
            _ => {}
        }
        for (n, (level, tray)) in self.trays.iter().zip(&self.description.trays).enumerate() {
            if *level >= 1.0 && *level < tray.max as f64 * 0.08 {
                wanted.push((AlertKind::TrayLow, n));
            }
        }
        for (n, (level, supply)) in self.supplies.iter().zip(&self.description.supplies).enumerate() {
            if supply.max > 0 && supply.level >= 0 {
                if *level <= 0.0 {
                    wanted.push((AlertKind::SupplyEmpty, n));
                } else if *level < supply.max as f64 * 0.1 {
                    wanted.push((AlertKind::SupplyLow, n));
                }
            }
        }
        self.alerts.retain(|alert| wanted.contains(&alert.kind));
        for kind in wanted {
            if !self.alerts.iter().any(|alert| alert.kind == kind) {
                self.alerts.push(ActiveAlert { index: self.next_alert, kind, time_ticks: self.ticks() });
                self.next_alert += 1;
            }
        }
        let now: BTreeSet<u32> = self.alerts.iter().map(|alert| alert.index).collect();
        let entry = oid!(1, 3, 6, 1, 2, 1, 43, 18, 1, 1);
        for gone in self.shown_alerts.difference(&now) {
            self.vanished.extend((2..=9).map(|column| entry.with(&[column, 1, *gone])));
        }
        self.shown_alerts = now;
    }

    fn ticks(&self) -> u32 {
        // TimeTicks wrap after 497 days (RFC 2578 §7.1.8).
        (self.uptime.as_millis() / 10) as u32
    }

    /// Objects of alerts that have gone since the last call.
    pub(super) fn vanished_objects(&mut self) -> Vec<Oid> {
        std::mem::take(&mut self.vanished)
    }

    /// Everything it shows.
    #[must_use]
    pub fn objects(&self) -> Recording {
        let d = &self.description;
        let text = |text: &str| Value::OctetString(text.as_bytes().to_vec());
        let mib2 = oid!(1, 3, 6, 1, 2, 1);
        let at = |arcs: &[u32]| mib2.with(arcs);
        let mac: Vec<u8> = d.mac.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        let mut objects = vec![
            (at(&[1, 1, 0]), text(&d.sys_descr)),
            (at(&[1, 2, 0]), Value::object_id(d.sys_object_id.clone())),
            (at(&[1, 5, 0]), text(&d.name)),
            (at(&[2, 1, 0]), Value::Integer(1)),
            (at(&[2, 2, 1, 1, 1]), Value::Integer(1)),
            (at(&[2, 2, 1, 6, 1]), Value::OctetString(mac)),
            (at(&[25, 3, 2, 1, 1, 1]), Value::Integer(1)),
            (at(&[25, 3, 2, 1, 2, 1]), Value::object_id(at(&[25, 3, 1, 5]))),
            (at(&[25, 3, 2, 1, 3, 1]), text(&d.hr_device_descr)),
            (at(&[43, 5, 1, 1, 2, 1]), Value::Integer(1)),
            (at(&[43, 5, 1, 1, 16, 1]), text(&d.name)),
            (at(&[43, 5, 1, 1, 17, 1]), text(&d.serial)),
            (at(&[43, 7, 1, 1, 4, 1, 1]), Value::Integer(106)), // UTF-8
            (at(&[43, 10, 2, 1, 3, 1, 1]), Value::Integer(7)),  // impressions
        ];
        for (n, tray) in (1..).zip(&d.trays) {
            objects.extend([
                (at(&[43, 8, 2, 1, 9, 1, n]), Value::Integer(tray.max)),
                (at(&[43, 8, 2, 1, 12, 1, n]), text(&tray.media)),
                (at(&[43, 8, 2, 1, 13, 1, n]), text(&tray.name)),
                (at(&[43, 8, 2, 1, 18, 1, n]), text(&tray.name)),
            ]);
        }
        let mut colorants: Vec<&str> = Vec::new();
        for (n, supply) in (1..).zip(&d.supplies) {
            let colorant = if supply.colorant.is_empty() {
                0
            } else {
                let known = colorants.iter().position(|name| *name == supply.colorant);
                known.unwrap_or_else(|| {
                    colorants.push(&supply.colorant);
                    colorants.len() - 1
                }) + 1
            };
            objects.extend([
                (at(&[43, 11, 1, 1, 2, 1, n]), Value::Integer(1)),
                (at(&[43, 11, 1, 1, 3, 1, n]), Value::Integer(colorant as i64)),
                (at(&[43, 11, 1, 1, 4, 1, n]), Value::Integer(if supply.filled { 4 } else { 3 })),
                (at(&[43, 11, 1, 1, 5, 1, n]), Value::Integer(supply.r#type)),
                (at(&[43, 11, 1, 1, 6, 1, n]), text(&supply.description)),
                (at(&[43, 11, 1, 1, 7, 1, n]), Value::Integer(supply.unit)),
                (at(&[43, 11, 1, 1, 8, 1, n]), Value::Integer(supply.max)),
            ]);
        }
        for (n, colorant) in (1..).zip(colorants) {
            objects.push((at(&[43, 12, 1, 1, 4, 1, n]), text(colorant)));
        }
        objects.extend(d.objects.iter().map(|object| (object.oid.clone(), text(&object.text))));
        objects.extend(self.changing_objects());
        Recording::from_objects(objects)
    }

    /// What changes as it lives.
    #[must_use]
    pub fn changing_objects(&self) -> Vec<(Oid, Value)> {
        let mib2 = oid!(1, 3, 6, 1, 2, 1);
        let at = |arcs: &[u32]| mib2.with(arcs);
        let counter = |counts| Value::Counter32(self.counters.get(counts) as u32); // wraps as a Counter32 does
        let (device_status, printer_status, errors) = self.status();
        let mut objects = vec![
            (at(&[1, 3, 0]), Value::TimeTicks(self.ticks())),
            (at(&[25, 3, 2, 1, 5, 1]), Value::Integer(device_status)),
            (at(&[25, 3, 5, 1, 1, 1]), Value::Integer(printer_status)),
            (at(&[25, 3, 5, 1, 2, 1]), Value::OctetString(errors.to_vec())),
            (at(&[43, 10, 2, 1, 4, 1, 1]), counter(Counter::Total)),
        ];
        for (n, level) in (1..).zip(&self.trays) {
            objects.push((at(&[43, 8, 2, 1, 10, 1, n]), Value::Integer(level.floor() as i64)));
        }
        for (n, level) in (1..).zip(&self.supplies) {
            objects.push((at(&[43, 11, 1, 1, 9, 1, n]), Value::Integer(level.ceil() as i64)));
        }
        objects.extend(self.description.meters.iter().map(|meter| match meter.counts {
            Counter::Fixed(number) => (meter.oid.clone(), Value::Integer(i64::from(number))),
            counts => (meter.oid.clone(), counter(counts)),
        }));
        for alert in &self.alerts {
            objects.extend(self.alert_row(alert));
        }
        objects
    }

    fn alert_row(&self, alert: &ActiveAlert) -> Vec<(Oid, Value)> {
        let (kind, n) = alert.kind;
        let supply = || self.description.supplies.get(n).map_or("supply", |supply| supply.description.as_str());
        let tray = || self.description.trays.get(n).map_or("tray", |tray| tray.name.as_str());
        // Severity, training level, group, code, words (RFC 3805 §6).
        let (severity, training, group, code, words) = match kind {
            AlertKind::Jam => (3, 3, 13, 8, "Paper jam".to_owned()),
            AlertKind::TrayEmpty => (3, 3, 8, 809, "Load paper".to_owned()),
            AlertKind::TrayLow => (4, 3, 8, 808, format!("{} is nearly empty", tray())),
            AlertKind::SupplyLow => (4, 3, 11, 12, format!("{} is low", supply())),
            AlertKind::SupplyEmpty => (3, 3, 11, 13, format!("Replace {}", supply())),
        };
        let entry = oid!(1, 3, 6, 1, 2, 1, 43, 18, 1, 1);
        let cell = |column: u32, value: Value| (entry.with(&[column, 1, alert.index]), value);
        vec![
            cell(2, Value::Integer(severity)),
            cell(3, Value::Integer(training)),
            cell(4, Value::Integer(group)),
            cell(5, Value::Integer(n as i64 + 1)),
            cell(6, Value::Integer(-1)),
            cell(7, Value::Integer(code)),
            cell(8, Value::OctetString(words.into_bytes())),
            cell(9, Value::TimeTicks(alert.time_ticks)),
        ]
    }

    /// hrDeviceStatus, hrPrinterStatus and hrPrinterDetectedErrorState, which agree with the alerts.
    fn status(&self) -> (i64, i64, [u8; 2]) {
        let mut errors = [0u8; 2];
        for alert in &self.alerts {
            let bits: [u8; 2] = match alert.kind.0 {
                AlertKind::Jam => [0x04, 0],
                AlertKind::TrayEmpty => [0x40, 0x04],
                AlertKind::TrayLow => [0x80, 0],
                AlertKind::SupplyLow => [0x20, 0],
                AlertKind::SupplyEmpty => [0x10, 0],
            };
            for (all, more) in errors.iter_mut().zip(bits) {
                *all |= more;
            }
        }
        let printer = match self.activity {
            Activity::Idle { .. } => 3,
            Activity::Printing { .. } => 4,
            Activity::Stopped { .. } => 1,
        };
        let device = match (self.activity, errors) {
            (Activity::Stopped { .. }, _) => 5,
            (_, [0, 0]) => 2,
            _ => 3,
        };
        (device, printer, errors)
    }
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;
