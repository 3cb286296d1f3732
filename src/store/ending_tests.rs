//! Epochs that are ended at the cloud's wish: what follows the cut is accepted anew, once, whatever happens meanwhile.

use std::path::Path;
use std::sync::Arc;

use super::{Content, Draft, Epoch, Label, Limits, Moved, Outbox, Portion, Seq, StoreError};
use crate::sys::{Fault, FaultFs, SystemEntropy};

const LIMITS: Limits = Limits { max_total_bytes: 40_000, segment_bytes: 500 };
const NOW: u64 = 1_764_000_000;

fn open(fs: &FaultFs) -> Result<Outbox, StoreError> {
    Outbox::open_on(Arc::new(fs.clone()), &SystemEntropy, Path::new("/box/outbox"), LIMITS).map(|(outbox, _)| outbox)
}

fn payload(n: u64) -> Vec<u8> {
    n.to_be_bytes().repeat(12)
}

/// Appends these, of one printer, so many a day.
fn append(outbox: &mut Outbox, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        let label = Label { group: 1, day: u32::try_from(n / 10).unwrap(), is_kept: false, base: None };
        outbox.append(&[Draft { payload: payload(n), label }]).unwrap();
    }
}

#[allow(clippy::unnecessary_wraps)] // as it is wanted
fn as_it_is(_: &Outbox, portion: Portion) -> Result<Vec<Moved>, StoreError> {
    Ok(portion.records)
}

fn end(outbox: &mut Outbox, epoch: Epoch, after: u64) -> Result<bool, StoreError> {
    let is_new = outbox.end_epoch(epoch, Seq(after), &SystemEntropy)?;
    while outbox.move_on(as_it_is)? {}
    Ok(is_new)
}

/// Epoch, number, payload or hash.
type Delivered = (Epoch, u64, Result<Vec<u8>, [u8; 32]>);

/// Delivers all that waits.
fn deliver(outbox: &mut Outbox) -> Vec<Delivered> {
    let mut delivered = Vec::new();
    while let Some(batch) = outbox.next_batch(7, 1_000_000).unwrap() {
        let last = batch.last_seq();
        for entry in batch.entries {
            let content = match entry.content {
                Content::Payload(payload) => Ok(payload),
                Content::Thinned => Err(entry.sha256),
            };
            delivered.push((batch.epoch, entry.seq.0, content));
        }
        outbox.acknowledge(batch.epoch, last, NOW).unwrap();
    }
    delivered
}

#[test]
fn what_follows_the_cut_is_accepted_anew_once_and_in_its_order() {
    let fs = FaultFs::default();
    let mut outbox = open(&fs).unwrap();
    append(&mut outbox, 1..=30);
    let old = outbox.epoch();
    outbox.acknowledge(old, Seq(15), NOW).unwrap();
    assert!(outbox.end_epoch(old, Seq(17), &SystemEntropy).unwrap());
    assert_eq!((outbox.pending(), outbox.is_moving()), (15, true));
    let refused = outbox.append(&[Draft { payload: payload(31), label: Label::kept() }]);
    assert!(matches!(refused, Err(StoreError::Full { .. })), "what was accepted before comes first");
    while outbox.move_on(as_it_is).unwrap() {}
    let new = outbox.epoch();
    assert_ne!(new, old);
    assert!(!end(&mut outbox, old, 17).unwrap(), "only once");
    append(&mut outbox, 31..=32);
    drop(outbox);
    let mut outbox = open(&fs).unwrap();
    assert_eq!((outbox.epoch(), outbox.pending(), outbox.last_seq()), (new, 17, Seq(15)));
    let expected = [16, 17].map(|n| (old, n, Ok(payload(n)))).into_iter();
    let expected = expected.chain((18..=32).map(|n| (new, n - 17, Ok(payload(n)))));
    assert_eq!(deliver(&mut outbox), expected.collect::<Vec<_>>());
    // The tail of the old epoch is kept, up to the cut.
    let [ended] = outbox.ended()[..] else { panic!("{:?}", outbox.ended()) };
    assert_eq!((ended.epoch, ended.acknowledged, ended.last), (old, Seq(17), Seq(17)));
    outbox.resend_from(old, Seq(10)).unwrap();
    assert_eq!(deliver(&mut outbox), (10..=17).map(|n| (old, n, Ok(payload(n)))).collect::<Vec<_>>());
}

#[test]
fn nothing_acknowledged_is_accepted_anew_and_an_unknown_epoch_changes_nothing() {
    let fs = FaultFs::default();
    let mut outbox = open(&fs).unwrap();
    append(&mut outbox, 1..=10);
    let old = outbox.epoch();
    outbox.acknowledge(old, Seq(6), NOW).unwrap();
    assert!(!end(&mut outbox, Epoch(7), 3).unwrap());
    assert_eq!(outbox.epoch(), old);
    assert!(end(&mut outbox, old, 3).unwrap());
    let new = outbox.epoch();
    assert_eq!(deliver(&mut outbox), (7..=10).map(|n| (new, n - 6, Ok(payload(n)))).collect::<Vec<_>>());
    // Past the end: a new epoch, and nothing to move.
    assert!(end(&mut outbox, new, 99).unwrap());
    assert_eq!((outbox.pending(), outbox.last_seq()), (0, Seq(0)));
}

#[test]
fn an_epoch_that_has_ended_already_is_cut_as_well() {
    let fs = FaultFs::default();
    let mut outbox = open(&fs).unwrap();
    append(&mut outbox, 1..=20);
    let old = outbox.epoch();
    assert!(end(&mut outbox, old, 20).unwrap());
    append(&mut outbox, 21..=22);
    let middle = outbox.epoch();
    // It has a cut, and gets no other one.
    assert!(!end(&mut outbox, old, 5).unwrap());
    drop(outbox);
    let newest = fs.files().into_iter().map(|(path, _)| path).rfind(|path| path.to_string_lossy().contains("2-"));
    fs.flip(&newest.unwrap(), 70, 1);
    let mut outbox = open(&fs).unwrap();
    append(&mut outbox, 23..=24);
    let new = outbox.epoch();
    assert_ne!(new, middle);
    let delivered = deliver(&mut outbox);
    assert_eq!(delivered.iter().filter(|(epoch, ..)| *epoch == old).count(), 20);
    assert_eq!(delivered.iter().filter(|(epoch, ..)| *epoch == new).count(), 2);
}

#[test]
fn wherever_the_power_fails_it_is_moved_once() {
    let mut random = fastrand::Rng::with_seed(5);
    let image = FaultFs::default();
    let mut outbox = open(&image).unwrap();
    append(&mut outbox, 1..=30);
    let old = outbox.epoch();
    outbox.acknowledge(old, Seq(4), NOW).unwrap();
    drop(outbox);
    for nth in 1.. {
        let fs = image.copy();
        let mut outbox = open(&fs).unwrap();
        fs.fail(nth, Fault::Killed);
        let result = end(&mut outbox, old, 11);
        let struck = fs.repair();
        drop(outbox);
        if struck {
            fs.crash(&mut random);
        } else {
            assert!(result.unwrap());
        }
        let mut outbox = open(&fs).unwrap();
        // The cloud repeats its wish.
        end(&mut outbox, old, 11).unwrap();
        append(&mut outbox, 31..=31);
        let new = outbox.epoch();
        let expected = (5..=11).map(|n| (old, n, Ok(payload(n))));
        let expected = expected.chain((12..=31).map(|n| (new, n - 11, Ok(payload(n)))));
        assert_eq!(deliver(&mut outbox), expected.collect::<Vec<_>>(), "after call {nth}");
        drop(outbox);
        let outbox = open(&fs).unwrap();
        assert_eq!((outbox.pending(), outbox.is_moving()), (0, false));
        if !struck {
            assert!(nth > 20, "a state, some files, a state: {nth}");
            return;
        }
    }
}

#[test]
fn of_what_was_thinned_the_hash_is_moved() {
    let fs = FaultFs::default();
    let mut outbox = open(&fs).unwrap();
    append(&mut outbox, 1..=300);
    assert!(outbox.thinned() > 20);
    let old = outbox.epoch();
    let before = deliver(&mut open(&fs.copy()).unwrap());
    // The room is short; what is delivered of the new epoch makes it.
    outbox.end_epoch(old, Seq(0), &SystemEntropy).unwrap();
    let mut after = Vec::new();
    for _ in 0..1_000 {
        match outbox.move_on(as_it_is) {
            Ok(true) => {}
            Ok(false) => break,
            Err(StoreError::Full { .. }) => after.extend(deliver(&mut outbox)),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(!outbox.is_moving() && !after.is_empty(), "there was no room at times");
    after.extend(deliver(&mut outbox));
    assert!(after.iter().all(|(epoch, ..)| *epoch == outbox.epoch()));
    let contents =
        |all: Vec<Delivered>| -> Vec<_> { all.into_iter().map(|(_, seq, content)| (seq, content)).collect() };
    assert_eq!(contents(after), contents(before));
}
