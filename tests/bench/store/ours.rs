//! What tests/bench/store measures: how much the outbox writes in a day, and how 90 days without the cloud fit into it.
//!
//! `day DIR [whole] [--device NAME]`: 200 printers every 15 minutes, delivered every five; after eight days one is measured.
//! `offline DIR MINUTES [whole]`: 90 days of 200 printers without the cloud, read every so many minutes.
//! `open DIR`: opens what the last one left and reads all of it.
//! An update has 120 bytes; each printer's first reading of a day is a whole one of 5 KiB, with `whole` all are.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark ends where it fails")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use platen::store::{Draft, Label, Limits, Outbox, Seq, StoreError};

const PRINTERS: u64 = 200;
const GROUP: usize = 32;
const UPDATE_BYTES: usize = 120;
const WHOLE_BYTES: usize = 5 * 1024;
const START_S: u64 = 20_000 * 86_400;
const DAY_S: u64 = 86_400;
const DELIVERY_S: u64 = 300;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let device = arguments.iter().position(|argument| argument == "--device").map(|at| {
        let name = arguments.remove(at + 1);
        arguments.remove(at);
        name
    });
    let is_whole = arguments.iter().any(|argument| argument == "whole");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["day", dir, ..] => day(Path::new(dir), is_whole, device.as_deref()),
        ["offline", dir, minutes, ..] => offline(Path::new(dir), minutes.parse().unwrap(), is_whole),
        ["open", dir] => open(Path::new(dir)),
        _ => println!("bench-store day DIR [whole] [--device NAME] | offline DIR MINUTES [whole] | open DIR"),
    }
}

/// Printers that are read in turn.
struct Site {
    outbox: Outbox,
    random: fastrand::Rng,
    bases: Vec<Option<(u32, Seq)>>,
    is_whole: bool,
    appends: u64,
    longest: Duration,
    /// Readings that found no room, and since which day.
    refused: u64,
    refused_from: Option<u64>,
}

impl Site {
    fn new(dir: &Path, is_whole: bool) -> Self {
        let (outbox, _) = Outbox::open(dir, Limits::default()).unwrap();
        let bases = vec![None; usize::try_from(PRINTERS).unwrap()];
        let random = fastrand::Rng::with_seed(1);
        Self { outbox, random, bases, is_whole, appends: 0, longest: Duration::ZERO, refused: 0, refused_from: None }
    }

    /// All printers are read once, and accepted in groups.
    fn round(&mut self, now_s: u64) {
        let day = u32::try_from(now_s / DAY_S).unwrap();
        let printers: Vec<usize> = (0..self.bases.len()).collect();
        for group in printers.chunks(GROUP) {
            let mut seq = self.outbox.last_seq();
            let mut drafts = Vec::new();
            for printer in group {
                seq = Seq(seq.0 + 1);
                let base = self.bases[*printer].filter(|(of, _)| *of == day && !self.is_whole).map(|(_, base)| base);
                if base.is_none() {
                    self.bases[*printer] = Some((day, seq));
                }
                let mut payload = vec![0; if base.is_none() { WHOLE_BYTES } else { UPDATE_BYTES }];
                self.random.fill(&mut payload);
                let label = Label { group: *printer as u64 + 1, day, is_kept: false, base };
                drafts.push(Draft { payload, label });
            }
            let begin = Instant::now();
            match self.outbox.append(&drafts) {
                Ok(_) => {}
                Err(StoreError::Full { .. }) => {
                    self.refused += drafts.len() as u64;
                    self.refused_from.get_or_insert((now_s - START_S) / DAY_S);
                }
                Err(error) => panic!("{error}"),
            }
            self.longest = self.longest.max(begin.elapsed());
            self.appends += 1;
        }
    }

    fn deliver(&mut self, now_s: u64) {
        while let Some(batch) = self.outbox.next_batch(500, 512 * 1024).unwrap() {
            self.outbox.acknowledge(batch.epoch, batch.last_seq(), now_s).unwrap();
        }
        self.outbox.tidy(now_s).unwrap();
    }
}

fn day(dir: &Path, is_whole: bool, device: Option<&str>) {
    let mut site = Site::new(dir, is_whole);
    let mut before = (0, 0, 0);
    for day in 0..9 {
        if day == 8 {
            before = (written(), device.map_or(0, on_device), site.appends);
        }
        for second in (0..DAY_S).step_by(300) {
            let now_s = START_S + day * DAY_S + second;
            if second % 900 == 0 {
                site.round(now_s);
            }
            if second % DELIVERY_S == 0 {
                site.deliver(now_s);
            }
        }
    }
    let appends = site.appends - before.2;
    let by_process = written() - before.0;
    println!("appends {appends}, longest {:.1} ms", site.longest.as_secs_f64() * 1e3);
    println!("write_bytes {:.1} MB a day, {:.1} kB a group", mb(by_process), by_process as f64 / appends as f64 / 1e3);
    if let Some(device) = device {
        let bytes = on_device(device) - before.1;
        println!("device      {:.1} MB a day, {:.1} kB a group", mb(bytes), bytes as f64 / appends as f64 / 1e3);
    }
    println!("held {:.1} MB after nine days", mb(site.outbox.used_bytes()));
}

fn offline(dir: &Path, minutes: u64, is_whole: bool) {
    let mut site = Site::new(dir, is_whole);
    let begin = Instant::now();
    let mut highest = 0;
    for second in (0..90 * DAY_S).step_by(usize::try_from(minutes * 60).unwrap()) {
        site.round(START_S + second);
        highest = highest.max(site.outbox.used_bytes());
    }
    let (records, thinned) = (site.outbox.last_seq().0, site.outbox.thinned());
    println!("{records} records in {:.0} s, {thinned} of them thinned", begin.elapsed().as_secs_f64());
    if let Some(day) = site.refused_from {
        println!("{} readings refused, the first on day {day}", site.refused);
    }
    println!("used {:.1} MiB, at most {:.1} MiB", mib(site.outbox.used_bytes()), mib(highest));
    println!("longest append {:.2} s; written {:.1} MB a day", site.longest.as_secs_f64(), mb(written()) / 90.0);
    println!("resident at most {} KiB, while it thinned too", memory_kib("VmHWM:"));
}

fn open(dir: &Path) {
    let before = resident_kib();
    let begin = Instant::now();
    let (mut outbox, recovery) = Outbox::open(dir, Limits::default()).unwrap();
    let took = begin.elapsed();
    let after = resident_kib();
    let records = outbox.pending();
    println!("opened {:.1} MiB, {records} records in {:.2} s", mib(outbox.used_bytes()), took.as_secs_f64());
    println!("resident {before} KiB before, {after} KiB after; {} files", std::fs::read_dir(dir).unwrap().count());
    println!("{recovery:?}");
    let begin = Instant::now();
    let mut delivered = 0;
    let mut batches = 0;
    while let Some(batch) = outbox.next_batch(500, 512 * 1024).unwrap() {
        delivered += batch.entries.len();
        batches += 1;
        outbox.acknowledge(batch.epoch, batch.last_seq(), START_S).unwrap();
    }
    println!("delivered {delivered} in {batches} batches in {:.1} s", begin.elapsed().as_secs_f64());
}

/// Bytes that this process has had written to the disk.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

/// Bytes written to a block device since the machine started.
fn on_device(name: &str) -> u64 {
    let path = PathBuf::from("/sys/class/block").join(name).join("stat");
    let text = std::fs::read_to_string(path).unwrap();
    text.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() * 512
}

fn resident_kib() -> u64 {
    memory_kib("VmRSS:")
}

fn memory_kib(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
