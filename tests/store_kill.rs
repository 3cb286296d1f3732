//! A process that fills an outbox is killed (SIGKILL) at random moments, again and again. What it had accepted, and
//! said so on its standard output, must all be there afterwards: the right bytes, in order, under the same numbers.
//!
//! The child is this test binary itself, told by an environment variable to play the child's part. (A kill leaves the
//! kernel's memory alone; what a power cut does is in the tests beside `src/store`, on a simulated disk.)

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use platen::store::{Content, Draft, Epoch, Label, Limits, NewEpoch, Outbox, Seq};

const CHILD: &str = "PLATEN_STORE_KILL_CHILD";
const ROUNDS: u64 = 40;
/// Small segments, so that kills also hit the change from one to the next, and acknowledgements that remove some.
const LIMITS: Limits = Limits { max_total_bytes: 64 * 1024 * 1024, segment_bytes: 16 * 1024 };

/// The payload that belongs to a number: length and contents follow from it, so that it can be checked afterwards.
fn payload(seq: u64) -> Vec<u8> {
    let length = usize::try_from(seq.wrapping_mul(2_654_435_761) % 3_000).unwrap();
    let mut payload = seq.to_le_bytes().to_vec();
    payload.resize(8 + length, (seq % 251) as u8);
    payload
}

/// The child's part: append, say so, now and then acknowledge, until it is killed.
fn child(dir: &Path) {
    let (mut outbox, recovery) = Outbox::open(dir, LIMITS).unwrap();
    assert!(matches!(recovery.new_epoch, None | Some(NewEpoch::First)), "{recovery:?}");
    let mut out = std::io::stdout().lock();
    let epoch = outbox.epoch().0;
    writeln!(out, "open {epoch} {} {}", outbox.last_seq(), outbox.pending()).unwrap();
    // Bounded, in case nobody kills it.
    for cycle in 0..100_000_u64 {
        let first = outbox.last_seq().0 + 1;
        let drafts: Vec<_> =
            (first..first + 1 + cycle % 4).map(|seq| Draft { payload: payload(seq), label: Label::kept() }).collect();
        let range = outbox.append(&drafts).unwrap();
        writeln!(out, "accepted {epoch} {} {}", range.start(), range.end()).unwrap();
        out.flush().unwrap();
        if cycle % 7 == 6 {
            let upto = range.end().0 - outbox.pending() / 2;
            writeln!(out, "acknowledging {epoch} {upto} 0").unwrap();
            out.flush().unwrap();
            outbox.acknowledge(Epoch(epoch), Seq(upto), 1_764_000_000).unwrap();
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
    // Highest number accepted and highest acknowledgement begun, per epoch.
    let mut accepted: BTreeMap<u64, u64> = BTreeMap::new();
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(42);
    let mut kills_while_working = 0;
    for round in 0..ROUNDS {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "no_accepted_payload_is_lost_when_the_process_is_killed", "--nocapture"])
            .env(CHILD, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            // A last line that was cut by the kill has no end and is not counted.
            let mut lines = Vec::new();
            let mut stdout = stdout;
            let mut line = String::new();
            while stdout.read_line(&mut line).is_ok_and(|read| read > 0) {
                if line.ends_with('\n') {
                    lines.push(line.trim_end().to_owned());
                }
                line.clear();
            }
            lines
        });
        std::thread::sleep(Duration::from_micros(random.u64(2_000..60_000)));
        process.kill().unwrap();
        process.wait().unwrap();
        for line in reader.join().unwrap() {
            let words: Vec<_> = line.split(' ').collect();
            let [what, epoch, a, b] = words[..] else { continue };
            // Lines of the test harness itself are passed over.
            let (Ok(epoch), Ok(a), Ok(b)) = (epoch.parse::<u64>(), a.parse::<u64>(), b.parse::<u64>()) else {
                continue;
            };
            match what {
                "accepted" => {
                    let before = accepted.insert(epoch, b).unwrap_or(0);
                    assert!(a > before, "round {round}: {a} was used again after {before}");
                    kills_while_working += u64::from(before == 0 || a == before + 1);
                }
                "acknowledging" => {
                    acknowledged.insert(epoch, a);
                }
                _ => {}
            }
        }

        let (mut outbox, recovery) = Outbox::open(&dir, LIMITS).unwrap();
        assert!(matches!(recovery.new_epoch, None | Some(NewEpoch::First)), "round {round}: {recovery:?}");
        let epoch = outbox.epoch();
        let highest = accepted.get(&epoch.0).copied().unwrap_or(0);
        assert!(outbox.last_seq().0 >= highest, "round {round}: {highest} was accepted and is gone");
        let waiting = outbox.next_batch(1_000_000, usize::MAX).unwrap().map_or(Vec::new(), |batch| batch.entries);
        assert_eq!(waiting.len() as u64, outbox.pending(), "round {round}");
        let begun = acknowledged.get(&epoch.0).copied().unwrap_or(0);
        if let Some(first) = waiting.first() {
            assert!(first.seq.0 <= begun + 1, "round {round}: {} was removed unacknowledged", first.seq.0 - 1);
        }
        for (entry, seq) in waiting.iter().zip(waiting.first().map_or(0, |first| first.seq.0)..) {
            assert_eq!(entry.seq.0, seq, "round {round}");
            assert_eq!(entry.content, Content::Payload(payload(seq)), "round {round}");
        }
        // An unannounced append that was found counts from here on as accepted: it may be delivered.
        accepted.insert(epoch.0, outbox.last_seq().0);
    }
    let total: u64 = accepted.values().sum();
    eprintln!("{ROUNDS} kills, {total} payloads accepted, 0 lost");
    assert_eq!(accepted.len(), 1, "no kill may begin a new epoch");
    assert!(kills_while_working > ROUNDS, "the children hardly got to work");
}
