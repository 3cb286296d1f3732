//! A process that fills an outbox is killed (SIGKILL) at random moments, again and again, also while it thins and while it
//! takes a resend. What it had accepted, and said so on its standard output, must all be there afterwards: the right
//! bytes (or, where thinning may, their hash), in order, under the same numbers.
//!
//! The child is this test binary itself, told by an environment variable to play the child's part. (A kill leaves the
//! kernel's memory alone; what a power cut does is in the tests beside `src/store`, on a simulated disk.)

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use platen::store::{Content, Draft, Entry, Epoch, Label, Limits, NewEpoch, Outbox, Seq, StoreError};

const CHILD: &str = "PLATEN_STORE_KILL_CHILD";
const ROUNDS: u64 = 40;
/// Small segments, so that kills also hit the change from one to the next, and a quota that makes it thin.
const LIMITS: Limits = Limits { max_total_bytes: 512 * 1024, segment_bytes: 16 * 1024 };
const NOW: u64 = 1_764_000_000;
const PRINTERS: u64 = 5;
/// Numbers in a day.
const DAY: u64 = 200;

/// The payload that belongs to a number: length and contents follow from it, so that it can be checked afterwards.
fn payload(seq: u64) -> Vec<u8> {
    let length = usize::try_from(seq.wrapping_mul(2_654_435_761) % 1_000).unwrap();
    let mut payload = seq.to_le_bytes().to_vec();
    payload.resize(8 + length, (seq % 251) as u8);
    payload
}

/// And the label: every twentieth number is kept, the others need the first of their printer and day.
fn label(seq: u64) -> Label {
    let (group, day) = (1 + seq % PRINTERS, seq / DAY);
    let first = (day * DAY..).find(|first| *first > 0 && first % PRINTERS == seq % PRINTERS).unwrap();
    let base = (first < seq).then_some(Seq(first));
    Label { group, day: u32::try_from(day).unwrap(), is_kept: seq.is_multiple_of(20), base }
}

/// What no thinning may touch while `last` is the last number.
fn must_stay(seq: u64, last: u64) -> bool {
    let Label { day, is_kept, base, .. } = label(seq);
    let is_last = seq + PRINTERS >= (u64::from(day) + 1) * DAY;
    // An append that was not accepted any more may have brought the next day.
    let newest = last + 4 - (last + 4 - seq) % PRINTERS;
    is_kept || base.is_none() || is_last || u64::from(day) == newest / DAY
}

/// The child's part: append, say so, now and then acknowledge or send again, until it is killed.
fn child(dir: &Path) {
    let (mut outbox, recovery) = Outbox::open(dir, LIMITS).unwrap();
    assert!(matches!(recovery.new_epoch, None | Some(NewEpoch::First)), "{recovery:?}");
    let mut out = std::io::stdout().lock();
    let epoch = outbox.epoch();
    let mut say = |what: &str, a: u64, b: u64| {
        writeln!(out, "{what} {} {a} {b}", epoch.0).unwrap();
        out.flush().unwrap();
    };
    say("open", outbox.last_seq().0, outbox.pending());
    // Bounded, in case nobody kills it.
    for cycle in 0..100_000_u64 {
        let first = outbox.last_seq().0 + 1;
        let drafts: Vec<_> =
            (first..first + 1 + cycle % 4).map(|seq| Draft { payload: payload(seq), label: label(seq) }).collect();
        let range = match outbox.append(&drafts) {
            Err(StoreError::Full { .. }) => {
                let last = outbox.last_seq();
                say("acknowledging", last.0, 0);
                outbox.acknowledge(epoch, last, NOW).unwrap();
                continue;
            }
            other => other.unwrap(),
        };
        say("accepted", range.start().0, range.end().0);
        if cycle % 97 == 96 {
            let up_to = range.end().0 - outbox.pending() / 2;
            say("acknowledging", up_to, 0);
            outbox.acknowledge(epoch, Seq(up_to), NOW).unwrap();
        }
        if cycle % 61 == 60 {
            let from = outbox.acknowledged_seq().0.saturating_sub(20).max(1);
            say("sending again", from, 0);
            outbox.resend_from(epoch, Seq(from)).unwrap();
        }
        if outbox.thinned() > 0 && cycle % 50 == 0 {
            say("thinned", outbox.thinned(), 0);
        }
    }
}

#[test]
fn no_accepted_payload_is_lost_when_the_process_is_killed() {
    if let Ok(dir) = std::env::var(CHILD) {
        child(Path::new(&dir));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("outbox");
    // Highest number accepted, and highest acknowledgement begun.
    let mut accepted = 0;
    let mut acknowledged = 0;
    let mut epochs: BTreeSet<Epoch> = BTreeSet::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(42);
    for round in 0..ROUNDS {
        for (what, a, b) in run_and_kill(&dir, random.u64(2_000..60_000)) {
            match what.as_str() {
                "accepted" => {
                    assert!(a > accepted, "round {round}: {a} was used again after {accepted}");
                    accepted = b;
                }
                "acknowledging" => acknowledged = acknowledged.max(a),
                _ => {}
            }
            *counts.entry(what).or_default() += 1;
        }

        let (mut outbox, recovery) = Outbox::open(&dir, LIMITS).unwrap();
        assert!(matches!(recovery.new_epoch, None | Some(NewEpoch::First)), "round {round}: {recovery:?}");
        epochs.insert(outbox.epoch());
        let last = outbox.last_seq().0;
        assert!(last >= accepted, "round {round}: {accepted} was accepted and is gone");
        let waiting = outbox.next_batch(1_000_000, usize::MAX).unwrap().map_or(Vec::new(), |batch| batch.entries);
        assert_eq!(waiting.len() as u64, outbox.pending(), "round {round}");
        let first = waiting.first().map_or(last + 1, |first| first.seq.0);
        assert!(first <= acknowledged + 1, "round {round}: {} was removed unacknowledged", first - 1);
        for (Entry { seq, content, .. }, expected) in waiting.iter().zip(first..) {
            assert_eq!(seq.0, expected, "round {round}");
            match content {
                Content::Payload(found) => assert_eq!(*found, payload(seq.0), "round {round}"),
                Content::Thinned => assert!(!must_stay(seq.0, last), "round {round}: {seq} is thinned, last {last}"),
            }
        }
        // An unannounced append that was found counts from here on as accepted: it may be delivered.
        accepted = last;
    }
    eprintln!("{ROUNDS} kills, {accepted} payloads accepted, 0 lost; {counts:?}");
    assert_eq!(epochs.len(), 1, "no kill may begin a new epoch");
    assert!(counts["accepted"] > ROUNDS, "the children hardly got to work");
    assert!(counts.contains_key("thinned"), "nothing was thinned");
}

/// Runs a child for so many microseconds; answers with what it said. Epochs are compared by opening.
fn run_and_kill(dir: &Path, microseconds: u64) -> Vec<(String, u64, u64)> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_accepted_payload_is_lost_when_the_process_is_killed", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        let mut line = String::new();
        // A last line that was cut by the kill has no end and is not counted; nor are the test harness's own.
        while stdout.read_line(&mut line).is_ok_and(|read| read > 0) {
            let words: Vec<_> = line.strip_suffix('\n').unwrap_or("").rsplitn(4, ' ').collect();
            if let [b, a, epoch, what] = words[..]
                && let (Ok(a), Ok(b), Ok(_)) = (a.parse(), b.parse(), epoch.parse::<u64>())
            {
                said.push((what.to_owned(), a, b));
            }
            line.clear();
        }
        said
    });
    std::thread::sleep(Duration::from_micros(microseconds));
    process.kill().unwrap();
    process.wait().unwrap();
    reader.join().unwrap()
}
