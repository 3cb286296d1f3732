//! The box is killed (SIGKILL) at random moments, again and again, and in a part of the cycles the cloud too, while 15 %
//! of the acknowledgements are lost, and as many connections are cut where they are due. Whatever the box has ever said to have accepted must be in the cloud in the end:
//! none lost, none twice, no number missing.
//!
//! `tests/run kill [N]`: N kills, 200 when left out. What a power cut does, a kill does not: the kernel keeps what was written and
//! not synced. That is in the tests beside `src/store`, on a simulated disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod common;
mod house;

use std::sync::atomic::Ordering;
use std::time::Duration;

use house::House;
use house::books::{Accepted, Row, audit, rows};
use house::proxy::Proxy;
use platen::proto::v1;
use prost::Message;

const PRINTERS: usize = 400;
/// Kills when nobody says how many.
const KILLS: u32 = 200;
/// Acknowledgements that the cloud loses, in percent; further ones are cut off on the way.
const LOSE_ACKS: [&str; 2] = ["--lose-acks", "15"];
/// How long a box lives, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 300..1_500;
/// Longest time for the last box to deliver what waits.
const SETTLE: Duration = Duration::from_secs(90);
/// In one of so many cycles the cloud is killed too.
const CLOUD_DIES_ONE_IN: u32 = 4;

fn number_from(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn what_was_accepted_arrives_once_however_often_box_and_cloud_are_killed() {
    let (kills, seed) = (number_from("PLATEN_KILLS", KILLS), number_from("PLATEN_SEED", 42));
    let mut random = fastrand::Rng::with_seed(u64::from(seed));
    let house = House::new(0, PRINTERS);
    let printers = house.start_small_printers();
    let mut cloud = house.start_cloud(&LOSE_ACKS);
    house.wait_for_cloud();
    let box_id = house.enrol("box");
    let proxy = Proxy::to(house.cloud_port, random.u64(..));
    house.configure("box", proxy.port, "");

    // The first life is long enough to find the printers.
    let first = house.start_box("box");
    house.wait_for_status("box", "finding the printers", |status| {
        status.lan.printers_known as usize == PRINTERS && status.lan.last_scan_unix_ms.is_some()
    });
    drop(first);

    let mut clouds_killed = 0;
    for _ in 0..kills {
        let life = Duration::from_millis(random.u64(LIFE_MS));
        let mut the_box = house.start_box("box");
        if random.u32(..CLOUD_DIES_ONE_IN) == 0 {
            let before = life.mul_f64(random.f64());
            std::thread::sleep(before);
            drop(cloud);
            cloud = house.start_cloud(&LOSE_ACKS);
            clouds_killed += 1;
            std::thread::sleep(life - before);
        } else {
            std::thread::sleep(life);
        }
        let ended = the_box.0.try_wait().unwrap();
        assert!(ended.is_none(), "the box ended by itself: {ended:?}\n{}", last_lines(&house.log_text("box")));
    }

    // Everything settles: no printer answers any more, and nothing is cut any more.
    drop((printers, cloud));
    proxy.be_kind();
    let cloud = house.start_cloud(&[]);
    house.wait_for_cloud();
    let before = house.status("box").unwrap().boot_id;
    let last = house.start_box("box");
    let settled = house.reaches_status("box", SETTLE, |status| {
        status.boot_id != before && status.cloud.last_contact_unix_ms.is_some() && status.outbox.pending == 0
    });
    drop(last);
    drop(cloud);

    let accepted = Accepted::of_log(&house.log_text("box"));
    let verdict = audit(&accepted, &rows(&house.cloud_folder(), &box_id));
    let cuts = proxy.cuts.load(Ordering::Relaxed);
    println!("{kills} kills, {}", verdict.line());
    println!("(seed {seed}; {clouds_killed} clouds killed too, {cuts} acknowledgements cut off)");
    assert!(verdict.is_good(), "{}\n{}", verdict.details(), last_lines(&house.log_text("box")));
    assert!(
        settled.is_some(),
        "what waits was not delivered within {SETTLE:?}: {}",
        last_lines(&house.log_text("box"))
    );
    assert_eq!(accepted.epochs(), 1, "no kill may begin a new epoch");
    assert!(accepted.count() > kills as usize, "the boxes hardly got to work");
}

fn last_lines(log: &str) -> String {
    log.lines().rev().take(10).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// A record with a reading as the cloud would have stored it.
fn row(seq: u64, device_key: &str, monotonic_ms: u64) -> Row {
    let taken = Some(v1::Taken { boot_id: "b".to_owned(), monotonic_ms, ..v1::Taken::default() });
    let reading = v1::Reading { device_key: device_key.to_owned(), taken, ..v1::Reading::default() };
    let record = v1::Record { what: Some(v1::record::What::Reading(reading)) };
    Row { epoch: 1, seq, record: record.encode_to_vec() }
}

#[test]
fn the_audit_sees_what_is_lost_what_is_twice_and_what_is_missing() {
    let log = "x DEBUG platen::agent::outbox: accepted epoch=0000000000000001 first=1 last=2\n\
               x DEBUG platen::agent::outbox: accepted epoch=0000000000000001 first=3 last=3\n\
               x DEBUG platen::agent::outbox: accepted epoch=00000000000";
    let accepted = Accepted::of_log(log);
    let (a, b, c) = (row(1, "a", 1), row(2, "b", 1), row(3, "a", 2));
    assert!(audit(&accepted, &[a.clone(), b.clone(), c.clone()]).is_good());
    let counts = |verdict: house::books::Verdict| (verdict.lost.len(), verdict.twice.len(), verdict.gaps.len());
    assert_eq!(counts(audit(&accepted, &[a.clone(), b.clone()])), (1, 0, 0), "the last is lost");
    assert_eq!(counts(audit(&accepted, &[a.clone(), c.clone()])), (1, 0, 1), "one in the middle is lost");
    assert_eq!(counts(audit(&accepted, &[a.clone(), b.clone(), c.clone(), c])), (0, 2, 0), "stored twice");
    assert_eq!(counts(audit(&accepted, &[a, b, row(3, "a", 1)])), (0, 1, 0), "one reading under two numbers");
    let again = format!("{log}\nx DEBUG platen::agent::outbox: accepted epoch=0000000000000001 first=3 last=3\n");
    let rows = [row(1, "a", 1), row(2, "b", 1), row(3, "a", 2)];
    assert_eq!(counts(audit(&Accepted::of_log(&again), &rows)), (0, 1, 0), "one number for two readings");
}
