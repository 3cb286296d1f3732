//! Two boxes at one site, the real programs: the cloud gives each printer to one of them, and the other leaves it alone. When the
//! one is killed, the other takes over; when it is back, it stands by. No reading is lost or booked twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;
mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::Peer;
use house::House;
use house::books::{Accepted, audit, query, rows};
use house::dates::now_ms;

const PRINTERS: usize = 6;
/// Longest wait for something that takes some polls, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Polls of the other in which the cloud may still believe in a box that is dead: it has patience for two and a half.
const STILL_BELIEVED: usize = 3;

/// A reading, as far as it matters whose it is. Those outside of leases are kept, and booked by nobody.
#[derive(Debug, sqlx::FromRow)]
struct Booked {
    device_id: i64,
    box_id: String,
    taken_low_ms: i64,
    received_ms: i64,
    is_outside: bool,
}

struct Site {
    house: House,
    ids: BTreeMap<&'static str, String>,
}

impl Site {
    fn new(net: u8) -> Self {
        Self { house: House::new(net, PRINTERS), ids: BTreeMap::new() }
    }

    fn enrol(&mut self, name: &'static str) {
        self.ids.insert(name, self.house.enrol_at(name, "the site"));
        self.house.configure(name, self.house.cloud_port, "");
    }

    fn booked(&self) -> Vec<Booked> {
        let sql = "SELECT device_id, box_id, taken_low_ms, received_ms, is_outside FROM readings
                   WHERE kind IN ('reading', 'update') ORDER BY taken_low_ms + taken_high_ms";
        query(&self.house.cloud_folder(), async |pool| sqlx::query_as(sql).fetch_all(&pool).await.unwrap())
    }

    /// Who holds the printers now, and since when; each has one holder.
    fn holders(&self) -> BTreeMap<i64, (String, i64)> {
        let sql = "SELECT device_id, box_id, since_ms FROM leases WHERE until_ms IS NULL";
        let rows: Vec<(i64, String, i64)> =
            query(&self.house.cloud_folder(), async |pool| sqlx::query_as(sql).fetch_all(&pool).await.unwrap());
        let holders: BTreeMap<_, _> = rows.iter().map(|(id, holder, since)| (*id, (holder.clone(), *since))).collect();
        assert_eq!(holders.len(), rows.len(), "two hold one printer: {rows:?}");
        holders
    }

    fn are_held_by(&self, name: &str) -> bool {
        let holders = self.holders();
        holders.len() == PRINTERS && holders.values().all(|(holder, _)| *holder == self.ids[name])
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            let logs = self.ids.keys().map(|name| self.house.log_text(name)).collect::<String>();
            assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}: {logs}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// So many polls of a box pass.
    fn polls_pass(&self, name: &str, count: usize) {
        let before = self.house.polls(name).last().copied().unwrap_or(0);
        let since = || self.house.polls(name).iter().filter(|at| **at > before).count();
        self.until("polling", || since() >= count);
    }

    /// A box that was started then has been told whom to leave alone, and whatever it had begun before has ended.
    fn was_told(&self, name: &str, since_ms: u64) {
        const ROUND_MS: u64 = 3_000;
        self.until("being told", || {
            let mut polls = self.house.polls(name).into_iter().filter(|at| *at >= since_ms);
            polls.next().is_some_and(|first| polls.any(|at| at >= first + ROUND_MS))
        });
    }

    /// While one reads, the other does not ask a single printer for anything, nor accepts anything.
    fn only_one_reads(&self, reader: &str, other: &str) {
        let before = (self.house.asked(), self.house.status(other).unwrap().outbox.last_seq);
        let delivered = self.house.status(reader).unwrap().outbox.acknowledged;
        self.polls_pass(other, 2);
        let after = (self.house.asked(), self.house.status(other).unwrap().outbox.last_seq);
        assert_eq!(after.1, before.1, "{other} has read something");
        let mut askers = BTreeSet::new();
        for (printer, asked) in &after.0 {
            let was = |from| before.0.get(printer).and_then(|asked| asked.get(from)).copied().unwrap_or(0);
            let busy: Vec<_> =
                asked.iter().filter(|(from, count)| **count > was(from)).map(|(from, _)| *from).collect();
            assert_eq!(busy.len(), 1, "{printer} was asked by {busy:?}");
            askers.extend(busy);
        }
        assert_eq!((after.0.len(), askers.len()), (PRINTERS, 1), "one box, by one socket: {askers:?}");
        assert!(self.house.status(reader).unwrap().outbox.acknowledged > delivered, "{reader} reads on");
    }

    fn start(&self, name: &str) -> Peer {
        let before = self.house.status(name).map(|status| status.boot_id);
        let started = self.house.start_box(name);
        self.house.wait_for_status(name, "reading and delivering", |status| {
            Some(&status.boot_id) != before.as_ref()
                && status.outbox.acknowledged > PRINTERS as u64
                && status.cloud.last_contact_unix_ms.is_some()
        });
        started
    }
}

#[test]
fn of_two_boxes_one_reads_each_printer_and_the_other_takes_over_when_it_dies() {
    let mut site = Site::new(50);
    let printers = site.house.start_small_printers();
    let cloud = site.house.start_cloud(&[]);
    site.house.wait_for_cloud();
    site.enrol("one");
    site.enrol("other");
    let one = site.start("one");
    site.until("holding all printers", || site.are_held_by("one"));
    // The other searches once, reads whom it finds, and is told at its first polls to leave them alone.
    let other = site.start("other");
    site.until("ending the search", || {
        site.house.status("other").is_some_and(|status| {
            status.lan.last_scan_unix_ms.is_some() && status.lan.activity.is_none() && status.outbox.pending == 0
        })
    });
    site.polls_pass("other", 1);
    site.only_one_reads("one", "other");
    assert!(site.are_held_by("one"));

    drop(one);
    let died_ms: i64 = query(&site.house.cloud_folder(), async |pool| {
        let sql = "SELECT last_poll_ms FROM boxes WHERE id = $1";
        sqlx::query_scalar(sql).bind(site.ids["one"].clone()).fetch_one(&pool).await.unwrap()
    });
    site.until("taking over", || site.are_held_by("other"));
    let (died_ms, since_ms) = (died_ms as u64, site.holders().values().map(|(_, since)| *since as u64).max().unwrap());
    // The poll at which the printers were given to it was sent before the cloud wrote that down.
    let polls: Vec<_> = site.house.polls("other").into_iter().filter(|at| (died_ms..since_ms).contains(at)).collect();
    assert!(polls.len() <= STILL_BELIEVED + 1, "it died at {died_ms}, and was believed in at {polls:?}");
    let readings = || site.booked().iter().filter(|row| row.received_ms as u64 > since_ms && !row.is_outside).count();
    site.until("reading in its place", || readings() >= 2 * PRINTERS);

    // It is back: what it reads before it is told is kept, and booked by nobody.
    let back_ms = now_ms() as u64;
    let back = site.house.start_box("one");
    site.was_told("one", back_ms);
    site.only_one_reads("other", "one");
    assert!(site.are_held_by("other"));

    drop(printers);
    for name in ["one", "other"] {
        site.house.wait_for_all_delivered(name);
    }
    drop((back, other, cloud));
    for (name, id) in &site.ids {
        let verdict = audit(&Accepted::of_log(&site.house.log_text(name)), &rows(&site.house.cloud_folder(), id));
        println!("{name}: {}", verdict.line());
        assert!(verdict.is_good(), "{}", verdict.details());
    }
    let mut booked: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    let all = site.booked();
    for row in all.iter().filter(|row| !row.is_outside) {
        let of_printer = booked.entry(row.device_id).or_default();
        if of_printer.last() != Some(&row.box_id.as_str()) {
            of_printer.push(&row.box_id);
        }
    }
    let expected = [site.ids["one"].as_str(), site.ids["other"].as_str()];
    assert!(booked.len() == PRINTERS && booked.values().all(|boxes| *boxes == expected), "{booked:?}");
    let is_late = |row: &&Booked| row.box_id == site.ids["one"] && row.taken_low_ms as u64 > since_ms;
    assert!(all.iter().filter(is_late).all(|row| row.is_outside), "what it read after its return is booked");
}
