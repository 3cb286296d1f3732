//! The real programs, and a box whose system clock is wrong: it starts in 1970, two years behind, a year ahead; it jumps by days
//! while the box runs; the time that was written down is wrong. The cloud and the printers have the true time.
//!
//! In each case the box gets through to its cloud, whose certificates hold only from the beginning of the trial on; nothing is
//! lost or doubled; every reading is dated with an interval that holds the true time, also what was read before the box knew it;
//! and no other time appears anywhere.
//!
//! The system clock is libfaketime's (Debian: `faketime`), which leaves the clock alone that never jumps, as a wrong clock chip does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;
mod house;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::Peer;
use house::House;
use house::books::{Accepted, audit, rows};
use house::dates::{Life, assert_no_invented_time, assert_no_invented_time_in, assert_true, dated, now_ms};
use house::proxy::Proxy;
use platen::agent::status::Status;
use platen::proto::v1::ClockQuality;

const PRINTERS: usize = 6;
const DAY_S: i64 = 86_400;
/// What the cloud offers is dated from the beginning of the trial on.
const FROM_NOW: [&str; 1] = ["--certificates-from-now"];
const LOG: &str = "warn,platen::agent=info,platen::uplink=info,platen::agent::outbox=debug";
/// A row's interval is not wider than this once the time was known, in milliseconds, however busy the machine.
const NARROW_MS: i64 = 30_000;

/// A system clock that is off by what a file says, from one look at it to the next.
struct WrongClock {
    library: PathBuf,
    file: PathBuf,
}

impl WrongClock {
    /// `None` where libfaketime is not installed.
    fn of(house: &House) -> Option<Self> {
        let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
        let library = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|it| it.is_file());
        if library.is_none() {
            assert!(std::env::var_os("PLATEN_REQUIRE_PEERS").is_none(), "faketime is not installed: run tests/run");
            eprintln!("SKIPPED: faketime is not installed");
        }
        let clock = Self { library: library?, file: house.at().join("off-by") };
        clock.off_by(0);
        Some(clock)
    }

    fn off_by(&self, seconds: i64) {
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(beside, &self.file).unwrap();
    }

    fn worn_by<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.envs([("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("NO_FAKE_STAT", "1")])
    }

    /// What time it shows, by `date`: that there is anything wrong with it is part of the trial.
    fn shows_s(&self) -> i64 {
        let output = self.worn_by(Command::new("date").arg("+%s")).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }
}

struct Trial {
    house: House,
    clock: WrongClock,
    proxy: Proxy,
    box_id: String,
    began_ms: i64,
    lives: Vec<Life>,
    the_box: Option<Peer>,
    printers: Option<Peer>,
    _cloud: Peer,
}

impl Trial {
    /// Printers, a cloud that cannot be reached yet, and a box with this clock that does not run yet.
    fn new(net: u8, off_by_s: i64) -> Option<Self> {
        let house = House::new(net, PRINTERS);
        let clock = WrongClock::of(&house)?;
        clock.off_by(off_by_s);
        assert!((clock.shows_s() - now_ms() / 1_000 - off_by_s).abs() < 60, "libfaketime does not fake");
        let began_ms = now_ms();
        let (printers, cloud) = (house.start_small_printers(), house.start_cloud(&FROM_NOW));
        house.wait_for_cloud();
        let box_id = house.enrol("box");
        let proxy = Proxy::to(house.cloud_port, 1);
        proxy.be_kind();
        proxy.open(false);
        house.configure("box", proxy.port, "");
        let (the_box, printers) = (None, Some(printers));
        Some(Self { house, clock, proxy, box_id, began_ms, lives: Vec::new(), the_box, printers, _cloud: cloud })
    }

    fn start(&mut self) {
        let mut command = self.house.box_command("box");
        self.clock.worn_by(&mut command).env("PLATEN_LOG", LOG);
        let spawned_ms = now_ms();
        self.the_box = Some(self.house.start_box_by("box", &mut command));
        let lives = &self.lives;
        let is_new = |status: &Status| lives.iter().all(|life| life.boot_id != status.boot_id);
        let status = self.house.wait_for_status("box", "starting", is_new);
        self.lives.push(Life { boot_id: status.boot_id, spawned_ms, seen_ms: now_ms() });
    }

    fn kill(&mut self) {
        self.the_box = None;
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let boot_id = self.lives.last().unwrap().boot_id.clone();
        let status = self.house.wait_for_status("box", what, |status| status.boot_id == boot_id && is_so(status));
        let ended = self.the_box.as_mut().unwrap().0.try_wait().unwrap();
        assert!(ended.is_none(), "the box ended: {ended:?}\n{}", self.house.log_text("box"));
        status
    }

    /// Some readings are accepted, and the cloud has nothing of them.
    fn reads_without_the_cloud(&mut self) -> Status {
        let before = self.house.status("box").unwrap().outbox.last_seq;
        self.until("reading without the cloud", |status| status.outbox.last_seq >= before + 2 * PRINTERS as u64)
    }

    /// What is taken from now on arrives.
    fn delivers(&mut self) {
        let before = self.house.status("box").unwrap();
        let (last_seq, contact) = (before.outbox.last_seq, before.cloud.last_contact_unix_ms);
        self.until("delivering", |status| {
            status.outbox.acknowledged > last_seq && status.cloud.last_contact_unix_ms > contact
        });
    }

    fn has_said(&self, words: &str) -> bool {
        self.house.log_text("box").contains(words)
    }

    /// The box knows the time and says so, to the cloud and at home.
    fn knows_the_time(&self) {
        let told = self.house.told(&self.box_id);
        assert_eq!(told.clock_quality(), ClockQuality::Token);
        assert!(told.wall_clock_unix_ms.abs_diff(now_ms() as u64) < 60_000, "{told:?}");
        let mut command = Command::new(house::platen());
        command.args(["status", "--runtime-dir"]).arg(self.house.runtime_folder("box"));
        let looked = self.clock.worn_by(&mut command).output().unwrap();
        let text = common::text(&looked);
        assert!(looked.status.success(), "by the same clock: {text}");
        let ago = text.lines().find_map(|line| line.split_once("last contact ")?.1.split_once(" s ago"));
        let ago: u64 = ago.unwrap_or_else(|| panic!("{text}")).0.parse().unwrap();
        assert!(ago < 60, "{text}");
    }

    /// Lets everything arrive, and judges it. Returns what is dated.
    fn settle(mut self) -> Vec<house::dates::Dated> {
        drop(self.printers.take());
        self.house.wait_for_all_delivered("box");
        self.kill();
        let folder = self.house.cloud_folder();
        let accepted = Accepted::of_log(&self.house.log_text("box"));
        let verdict = audit(&accepted, &rows(&folder, &self.box_id));
        println!("{}", verdict.line());
        assert!(verdict.is_good(), "{}", verdict.details());
        assert_eq!(accepted.epochs(), 1);
        let dated = dated(&folder, &self.box_id);
        assert_true(&dated, &self.lives);
        assert_no_invented_time(&folder, self.began_ms);
        let fleet: serde_json::Value = serde_json::from_str(&self.house.portal("/api/v1/fleet")).unwrap();
        assert_no_invented_time_in(&fleet, self.began_ms);
        let printers = fleet["printers"].as_array().unwrap();
        assert_eq!(printers.len(), PRINTERS);
        let id = &printers[0]["id"];
        let printer = serde_json::from_str(&self.house.portal(&format!("/api/v1/printers/{id}"))).unwrap();
        assert_no_invented_time_in(&printer, self.began_ms);
        let pages = self.house.portal("/") + &self.house.portal(&format!("/printers/{id}"));
        // A certificate ends in the future.
        let pages: String = pages
            .split("<dt>Certificate</dt>")
            .enumerate()
            .map(|(at, part)| if at == 0 { part } else { part.split_once("</dd>").map_or(part, |(_, rest)| rest) })
            .collect();
        // Pages name the year only of dates that are not of this year.
        for year in 1970..2070 {
            assert!(!pages.contains(&format!(" {year} ")), "the portal shows something of {year}");
        }
        dated
    }
}

/// Nothing of what is dated stays open, and all of it is narrow.
fn assert_all_known(dated: &[house::dates::Dated]) {
    for row in dated {
        assert!(!row.is_open && row.taken_high_ms - row.taken_low_ms < NARROW_MS, "{row:?}");
    }
}

/// A box starts with a clock that is off, reads without the cloud, and then finds it.
fn starts(net: u8, off_by_s: i64, way: &str) {
    let Some(mut trial) = Trial::new(net, off_by_s) else { return };
    trial.start();
    let away = trial.reads_without_the_cloud();
    assert_eq!(away.cloud.last_contact_unix_ms, None);
    assert_ne!(away.cloud.cause.as_deref(), Some("clock"), "nobody was reached: that is no question of the time");
    trial.proxy.open(true);
    trial.delivers();
    trial.delivers();
    trial.knows_the_time();
    assert!(trial.has_said(way), "{}", trial.house.log_text("box"));
    assert!(trial.has_said("the clock is set"));
    let dated = trial.settle();
    assert_all_known(&dated);
    let qualities: Vec<_> = dated.iter().map(|row| row.quality).collect();
    let (floor, token) = (ClockQuality::Floor as i64, ClockQuality::Token as i64);
    assert!(qualities.contains(&floor) && qualities.contains(&token), "{qualities:?}");
    assert!(qualities.is_sorted(), "what is known is not forgotten: {qualities:?}");
}

#[test]
fn a_box_that_starts_in_1970_gets_through_and_all_is_dated() {
    starts(30, -now_ms() / 1_000, "asking for the time first");
}

#[test]
fn a_box_that_is_two_years_behind_gets_through_and_all_is_dated() {
    starts(31, -730 * DAY_S, "asking for the time first");
}

#[test]
fn a_box_that_is_so_far_ahead_that_the_cloud_seems_expired_gets_through_and_all_is_dated() {
    starts(32, 400 * DAY_S, "asking for the time first");
}

#[test]
fn a_box_that_is_ahead_while_the_cloud_does_not_seem_expired_gets_through_and_all_is_dated() {
    starts(33, 300 * DAY_S, "the clock is set");
}

#[test]
fn jumps_of_the_system_clock_do_nothing() {
    let Some(mut trial) = Trial::new(34, 0) else { return };
    trial.start();
    trial.reads_without_the_cloud();
    for off_by_s in [DAY_S, -DAY_S] {
        trial.clock.off_by(off_by_s);
        trial.reads_without_the_cloud();
    }
    trial.proxy.open(true);
    trial.delivers();
    for off_by_s in [0, DAY_S, -DAY_S, DAY_S, -DAY_S, 0] {
        trial.clock.off_by(off_by_s);
        trial.delivers();
        trial.knows_the_time();
    }
    assert_all_known(&trial.settle());
}

#[test]
fn a_time_that_was_written_down_wrong_is_named_and_taken_back_by_hand() {
    let Some(mut trial) = Trial::new(35, 0) else { return };
    let file = trial.house.box_folder("box").join("clock.json");
    let ahead_ms = (now_ms() + 400 * DAY_S * 1_000) as u64;
    let check = crc32fast::hash(&[ahead_ms; 3].map(u64::to_be_bytes).concat());
    let kept = format!(
        "{{\"unix_ms\":{ahead_ms},\"floor_unix_ms\":{ahead_ms},\"next_floor_unix_ms\":{ahead_ms},\"crc32\":{check}}}"
    );
    std::fs::write(&file, kept).unwrap();
    trial.proxy.open(true);
    trial.start();
    let kept_out = trial.until("naming the clock", |status| status.cloud.cause.is_some());
    assert_eq!(kept_out.cloud.cause.as_deref(), Some("clock"), "{kept_out:#?}");
    assert_eq!(kept_out.word(), "clock/tls");
    assert!(kept_out.cloud.last_error.unwrap().contains("past for certain"));
    trial.reads_without_the_cloud();
    trial.kill();
    std::fs::remove_file(&file).unwrap();
    trial.start();
    trial.delivers();
    trial.knows_the_time();
    trial.settle();
}

/// The interval must hold the true time also where the box shows a later one, which nobody vouches for, and is switched off
/// before it learns better; and where it is switched on again only when even that time has passed.
#[test]
fn what_was_read_by_a_clock_that_is_a_little_ahead_is_dated_though_the_box_is_switched_off_before_it_knows() {
    let Some(mut trial) = Trial::new(36, 5) else { return };
    trial.start();
    trial.reads_without_the_cloud();
    trial.kill();
    trial.clock.off_by(0);
    std::thread::sleep(Duration::from_secs(8));
    trial.proxy.open(true);
    trial.start();
    trial.delivers();
    trial.knows_the_time();
    let first = trial.lives[0].boot_id.clone();
    let dated = trial.settle();
    assert!(dated.iter().any(|row| row.boot_id == first));
}
