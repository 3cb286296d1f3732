//! What the box remembers of its printers' past, and what follows from a reading: flags and events, as records for the outbox.
//!
//! The order is: accept into the outbox, then remember. A power cut in between makes the box see the same change again, from
//! the same past; the event then has the same id, and the cloud passes it over. So nothing is lost and nothing is told twice.
//!
//! It is written whole twice a day and at the end (some megabytes at a large site), and in between only what events changed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use prost::Message;
use serde::{Deserialize, Serialize};

use super::convert::{event_to_message, kind, to_message};
use super::ledger_log::{LedgerLog, Line};
use super::outbox::Draft;
use crate::printer::history::{Book, Change, Event, Moment, Rules, Sighting, StatusTold, Told, step, step_status};
use crate::printer::{Profiles, Reading, StatusRound};
use crate::proto::v1;
use crate::proto::v1::record::What;
use crate::store::{read_bounded, write_atomically};

/// Largest file, in bytes: 4,096 printers of some 6 KB.
const FILE_MAX_BYTES: usize = 32 << 20;
/// All that is remembered is written this often: a flash card bears only so many writes.
const SAVE_EVERY: Duration = Duration::from_secs(12 * 3_600);
/// Lines that wait for the disk; there are more only while it refuses.
const NEWS_MAX: usize = 1_000;
/// Length of an event's id, in bytes.
const ID_BYTES: usize = 16;

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    book: Book,
    /// How often it was written: which lines of the log follow it.
    #[serde(default)]
    generation: u64,
    /// How many events were told of each printer, by its key.
    told: BTreeMap<String, u64>,
}

/// What is remembered.
#[derive(Debug)]
pub(super) struct Ledger {
    kept: Kept,
    file: PathBuf,
    log: LedgerLog,
    /// What was accepted with events and is not in the log yet.
    news: Vec<Line>,
    /// Whether it must be written whole before the log can go on.
    wants_whole: bool,
    /// When it was written, by the clock that never jumps.
    saved_ms: u64,
}

/// Records that are accepted together, and how to undo what was remembered with them.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// What goes into the outbox.
    pub records: Vec<Draft>,
    /// How many of them are readings.
    pub readings: u32,
    undo: Vec<Change>,
    told_before: Vec<(String, u64)>,
    lines: Vec<Line>,
}

impl Ledger {
    /// Reads what was remembered. A damaged file is set aside: then every printer is new once more.
    pub(super) fn open(file: PathBuf) -> Self {
        let kept = match read_bounded(&file, FILE_MAX_BYTES)
            .and_then(|bytes| Ok(serde_json::from_slice::<Kept>(&bytes)?))
        {
            Ok(kept) if kept.book.is_usable() => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            other => {
                let problem = other.map_or_else(|error| error.to_string(), |_| "it is of another version".to_owned());
                let aside = file.with_extension("json.corrupt");
                let moved = std::fs::rename(&file, &aside);
                tracing::warn!(%problem, set_aside = moved.is_ok(), "what was known of printers' past is lost");
                Kept::default()
            }
        };
        let (log, lines) = LedgerLog::open(&file);
        let mut ledger = Self { kept, file, log, news: Vec::new(), wants_whole: true, saved_ms: 0 };
        for line in lines.into_iter().filter(|line| line.generation == ledger.kept.generation) {
            ledger.kept.book.apply(line.changes);
            ledger.kept.told.extend(line.told);
        }
        ledger
    }

    /// What follows from a reading. Nothing is remembered yet.
    pub(super) fn judge(&self, reading: &Reading, profiles: &Profiles, now: Moment, rules: &Rules) -> Told {
        let profile = reading.profile.as_deref().and_then(|profile| profiles.meter_rules(profile));
        let sighting = Sighting {
            reading,
            pages_per_minute: reading.capabilities.pages_per_minute,
            moduli: profile.map(|rules| rules.rollover.as_slice()).unwrap_or_default(),
        };
        step(&self.kept.book, sighting, now, rules)
    }

    /// Makes records of a reading and what was told of it, and remembers it.
    pub(super) fn enter(&mut self, mut reading: Reading, told: Told, taken: &v1::Taken, group: &mut Group) {
        reading.flags.extend(told.flags);
        let mut message = to_message(reading, taken.clone());
        message.device_key = told.place_key;
        group.readings += 1;
        group.records.push(Draft::Reading { is_flagged: !message.flags.is_empty(), message: Box::new(message) });
        self.tell(told.events, told.changes, taken, group);
    }

    /// What follows from a light look at a printer. Nothing is remembered yet.
    pub(super) fn judge_look(&self, device_key: &str, address: &str, round: &StatusRound, now: Moment) -> StatusTold {
        step_status(&self.kept.book, device_key, address, round, now)
    }

    /// What a light look needs to know.
    pub(super) fn device(&self, device_key: &str) -> Option<&crate::printer::history::Device> {
        self.kept.book.device(device_key)
    }

    /// Makes records of events, and remembers what led to them.
    pub(super) fn tell(&mut self, events: Vec<Event>, changes: Vec<Change>, seen: &v1::Taken, group: &mut Group) {
        let mut line = Line { generation: 0, changes: Vec::new(), told: Vec::new() };
        for event in events {
            let count = self.kept.told.entry(event.device_key.clone()).or_default();
            group.told_before.push((event.device_key.clone(), *count));
            *count += 1;
            line.told.push((event.device_key.clone(), *count));
            let id = id_of(&event, *count);
            let message = event_to_message(event, seen.clone(), &id);
            group.records.push(Draft::Kept(v1::Record { what: Some(What::Event(message)) }.encode_to_vec()));
        }
        if !line.told.is_empty() {
            line.changes.clone_from(&changes);
            group.lines.push(line);
        }
        let undo = self.kept.book.apply(changes);
        group.undo.splice(0..0, undo);
    }

    /// Forgets what was remembered with a group that could not be accepted.
    pub(super) fn undo(&mut self, group: Group) {
        self.kept.book.apply(group.undo);
        for (key, count) in group.told_before.into_iter().rev() {
            self.kept.told.insert(key, count);
        }
    }

    /// A group was accepted: what it remembered is to be written down.
    pub(super) fn accepted(&mut self, group: Group) {
        self.news.extend(group.lines);
        if self.news.len() > NEWS_MAX {
            // The disk has refused for long: all of it is written when it takes something again.
            self.news.clear();
            self.wants_whole = true;
        }
    }

    /// Writes down what events changed; all of it when it is time, and at the end.
    ///
    /// # Errors
    /// When the disk refuses: it is tried again the next time.
    pub(super) fn save(&mut self, now_ms: u64, is_the_end: bool) -> io::Result<()> {
        let is_time = now_ms.saturating_sub(self.saved_ms) >= u64::try_from(SAVE_EVERY.as_millis()).unwrap_or(u64::MAX);
        if !self.wants_whole && !is_time && !is_the_end && !self.log.is_long() {
            if self.news.is_empty() {
                return Ok(());
            }
            self.news.iter_mut().for_each(|line| line.generation = self.kept.generation);
            // Half a line may be there now: nothing can follow it.
            self.wants_whole = self.log.append(&self.news).is_err();
            if !self.wants_whole {
                self.news.clear();
                return Ok(());
            }
        }
        let book = &self.kept.book;
        self.kept.told.retain(|key, _| book.device(key).is_some());
        self.kept.generation += 1;
        self.wants_whole = true;
        write_atomically(&self.file, &serde_json::to_vec(&self.kept).map_err(io::Error::other)?)?;
        self.log.begin()?;
        self.news.clear();
        (self.wants_whole, self.saved_ms) = (false, now_ms);
        Ok(())
    }
}

/// The same for the same event told again from the same past: what it is of, and the how manieth of its printer it is.
fn id_of(event: &Event, count: u64) -> Vec<u8> {
    let number = count.to_be_bytes();
    let parts: [&[u8]; 4] =
        [event.device_key.as_bytes(), kind(event.kind).as_bytes(), event.subject.as_bytes(), &number];
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finish().as_ref().get(..ID_BYTES).unwrap_or_default().to_vec()
}

/// This moment by both clocks; by the wall clock as it is shown, which is the best guess and need not be a bound.
pub(super) fn moment(taken: &v1::Taken, wall_unix_ms: u64) -> Moment {
    let boot = taken.boot_id.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Moment { boot: boot.unwrap_or_default(), monotonic_ms: taken.monotonic_ms, wall_unix_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::{Meter, MeterKey};

    fn reading(serial: &str, total: u64) -> Reading {
        let meter = Meter {
            name: "total".to_owned(),
            key: MeterKey::TOTAL,
            value: total,
            unit: "impressions".to_owned(),
            oid: "1.3.6.1.2.1.43.10.2.1.4.1.1".to_owned(),
            ..Meter::default()
        };
        Reading {
            is_printer: true,
            vendor: Some("Acme".to_owned()),
            serial: Some(serial.to_owned()),
            address: Some("10.0.0.7".to_owned()),
            meters: vec![meter],
            ..Reading::default()
        }
    }

    fn taken(minutes: u64) -> v1::Taken {
        let ms = minutes * 60_000;
        v1::Taken {
            boot_id: "00".repeat(16),
            monotonic_ms: ms,
            wall_clock_unix_ms: 1_700_000_000_000 + ms,
            ..v1::Taken::default()
        }
    }

    fn enter(ledger: &mut Ledger, total: u64, minutes: u64) -> Group {
        let (reading, taken) = (reading("ABC12345", total), taken(minutes));
        let rules = Rules::for_interval(Duration::from_secs(300));
        let told = ledger.judge(&reading, &Profiles::built_in(), moment(&taken, taken.wall_clock_unix_ms), &rules);
        let mut group = Group::default();
        ledger.enter(reading, told, &taken, &mut group);
        group
    }

    fn events(group: &Group) -> Vec<(String, Vec<u8>)> {
        let kept = group.records.iter().filter_map(|draft| match draft {
            Draft::Kept(bytes) => v1::Record::decode(bytes.as_slice()).unwrap().what,
            Draft::Reading { .. } => None,
        });
        kept.filter_map(|what| if let What::Event(event) = what { Some((event.kind, event.id)) } else { None })
            .collect()
    }

    fn flags(group: &Group) -> Vec<String> {
        match &group.records[0] {
            Draft::Reading { message, .. } => message.flags.clone(),
            Draft::Kept(_) => panic!("the reading comes first"),
        }
    }

    #[test]
    fn a_power_cut_before_it_is_written_tells_the_same_event_with_the_same_id() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.json");
        let mut ledger = Ledger::open(file.clone());
        assert_eq!(events(&enter(&mut ledger, 80_000, 0))[0].0, "DEVICE_NEW");
        ledger.save(0, false).unwrap();
        // A page count that falls; accepted, and then the power fails.
        let first = enter(&mut ledger, 3, 5);
        assert!(flags(&first).contains(&"RESET:total".to_owned()), "{:?}", flags(&first));
        drop(ledger);
        let mut ledger = Ledger::open(file.clone());
        let second = enter(&mut ledger, 4, 7);
        assert_eq!(events(&first), events(&second));
        // What comes later is another one.
        ledger.accepted(second);
        ledger.save(0, false).unwrap();
        let mut ledger = Ledger::open(file);
        assert!(events(&enter(&mut ledger, 5, 9)).is_empty());
        let third = enter(&mut ledger, 1_000_000, 11);
        assert!(events(&third)[0].0 == "METER_JUMP" && events(&third)[0].1 != events(&first)[0].1);
    }

    #[test]
    fn what_could_not_be_accepted_is_seen_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path().join("ledger.json"));
        let first = enter(&mut ledger, 80_000, 0);
        let told = events(&first);
        ledger.undo(first);
        assert_eq!(events(&enter(&mut ledger, 80_001, 5)), told);
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.json");
        std::fs::write(&file, b"{").unwrap();
        assert!(Ledger::open(file.clone()).kept.told.is_empty());
        assert!(!file.exists() && folder.path().join("ledger.json.corrupt").exists());
    }
}
