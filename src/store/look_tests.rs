//! Looks at an outbox while its owner writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Draft, Held, Label, Limits, Outbox, Seq, StoreError, TAIL_S, look};
use crate::sys::{FaultFs, SystemEntropy};

const DIR: &str = "/box/outbox";
const NOW: u64 = 1_764_000_000;

fn outbox(fs: &FaultFs) -> Outbox {
    let limits = Limits { max_total_bytes: 40_000, segment_bytes: 500 };
    Outbox::open_on(Arc::new(fs.clone()), &SystemEntropy, Path::new(DIR), limits).unwrap().0
}

fn append(outbox: &mut Outbox, count: u64, label: Label) {
    for _ in 0..count {
        let payload = (outbox.last_seq().0 + 1).to_string().into_bytes();
        outbox.append(&[Draft { payload: [payload, vec![b'.'; 90]].concat(), label }]).unwrap();
    }
}

/// Number, whether it was delivered, whether it is still there.
fn seen(fs: &FaultFs) -> Vec<(u64, bool, bool)> {
    let mut seen = Vec::new();
    let result = look(fs, Path::new(DIR), &mut |held: Held<'_>| {
        if let Some(payload) = held.payload {
            assert_eq!(payload, [held.seq.to_string().into_bytes(), vec![b'.'; 90]].concat());
        }
        seen.push((held.seq.0, held.is_delivered, held.payload.is_some()));
    });
    result.unwrap();
    seen
}

fn segments(fs: &FaultFs) -> Vec<PathBuf> {
    fs.files().into_iter().map(|(path, _)| path).filter(|path| path.extension().is_some_and(|e| e == "seg")).collect()
}

#[test]
fn everything_that_waits_or_is_kept_is_seen_once_and_in_order_while_its_owner_has_it() {
    let fs = FaultFs::default();
    let mut outbox = outbox(&fs);
    append(&mut outbox, 20, Label::kept());
    outbox.acknowledge(outbox.epoch(), Seq(7), NOW).unwrap();
    let all: Vec<_> = (1..=20).map(|seq| (seq, seq <= 7, true)).collect();
    assert_eq!(seen(&fs), all);
    assert_eq!(seen(&fs), all, "a look changes nothing");
    append(&mut outbox, 1, Label::kept());
    assert_eq!(seen(&fs).last(), Some(&(21, false, true)));
    // The week is over: what was delivered is let go and not seen.
    (0..=TAIL_S + 7_200).step_by(3_600).for_each(|s| outbox.tidy(NOW + s).unwrap());
    assert_eq!(seen(&fs).first(), Some(&(7, true, true)), "in one file with what waits");
}

#[test]
fn what_was_moved_into_a_new_epoch_is_seen_there_and_not_twice() {
    let fs = FaultFs::default();
    let mut outbox = outbox(&fs);
    append(&mut outbox, 9, Label::kept());
    outbox.end_epoch(outbox.epoch(), Seq(4), &SystemEntropy).unwrap();
    while outbox.move_on(|_, portion| Ok(portion.records)).unwrap() {}
    let mut numbers = Vec::new();
    look(&fs, Path::new(DIR), &mut |held: Held<'_>| numbers.push((held.epoch == outbox.epoch(), held.seq.0))).unwrap();
    let expected = (1..=4).map(|seq| (false, seq)).chain((1..=5).map(|seq| (true, seq)));
    assert_eq!(numbers, expected.collect::<Vec<_>>());
}

#[test]
fn of_what_was_thinned_the_number_is_seen() {
    let fs = FaultFs::default();
    let mut outbox = outbox(&fs);
    for day in 20_000..20_004 {
        append(&mut outbox, 100, Label { group: 1, day, is_kept: false, base: None });
    }
    assert!(outbox.thinned() > 0);
    let seen = seen(&fs);
    assert_eq!(seen.iter().map(|(seq, _, _)| *seq).collect::<Vec<_>>(), (1..=400).collect::<Vec<_>>());
    assert_eq!(seen.iter().filter(|(_, _, is_there)| !is_there).count() as u64, outbox.thinned());
}

#[test]
fn a_record_that_is_being_written_ends_the_look_and_a_damaged_one_is_named() {
    let fs = FaultFs::default();
    let mut outbox = outbox(&fs);
    append(&mut outbox, 20, Label::kept());
    let files = segments(&fs);
    let last = files.last().unwrap();
    let length = fs.files().iter().find(|(path, _)| path == last).unwrap().1;
    fs.cut(last, length - 10);
    assert_eq!(seen(&fs).len(), 19);
    fs.flip(&files[0], 100, 1);
    let error = look(&fs, Path::new(DIR), &mut |_| {}).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { path, .. } if *path == files[0]), "{error}");
}

#[test]
fn a_folder_that_is_not_there_holds_nothing() {
    assert_eq!(seen(&FaultFs::default()), []);
}
