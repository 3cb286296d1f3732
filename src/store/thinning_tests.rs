//! Thinning: what stays, what goes, and that it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::files::write_atomically;
use super::record::{HASH_BYTES, RECORD_HEAD_BYTES, next_chain, sha256};
use super::{Content, Draft, Entry, Epoch, Label, Limits, Outbox, Seq, StoreError};
use crate::sys::{Fault, FaultFs, Fs, SystemEntropy};

const DIR: &str = "/box/outbox";
const LIMITS: Limits = Limits { max_total_bytes: 120_000, segment_bytes: 7_000 };
const NOW: u64 = 1_764_000_000;

fn open(fs: &FaultFs) -> Outbox {
    Outbox::open_on(Arc::new(fs.clone()), &SystemEntropy, Path::new(DIR), LIMITS).unwrap().0
}

/// Everything that waits, read through a copy of the disk; the hash chain is followed through it.
fn all_waiting(fs: &FaultFs) -> Vec<(Epoch, Entry)> {
    let mut outbox = open(&fs.copy());
    let mut found = Vec::new();
    let mut chain = None;
    while let Some(batch) = outbox.next_batch(37, 20_000).unwrap() {
        assert!(chain.is_none_or(|chain| chain == batch.previous_chain));
        let mut before = batch.previous_chain;
        for entry in &batch.entries {
            assert_eq!(entry.chain, next_chain(&before, entry.seq, &entry.sha256));
            before = entry.chain;
        }
        chain = Some(before);
        outbox.acknowledge(batch.epoch, batch.last_seq(), NOW).unwrap();
        found.extend(batch.entries.into_iter().map(|entry| (batch.epoch, entry)));
    }
    found
}

/// What was appended, by number from 1.
#[derive(Default)]
struct Appended(Vec<Draft>);

impl Appended {
    fn seq(&self, index: usize) -> Seq {
        Seq(index as u64 + 1)
    }

    /// What no thinning may touch, by the words of the promise.
    fn must_stay(&self) -> BTreeSet<Seq> {
        let mut first_and_last = BTreeMap::new();
        let mut newest = BTreeMap::new();
        for (index, Draft { label, .. }) in self.0.iter().enumerate() {
            let seq = self.seq(index);
            first_and_last.entry((label.group, label.day)).or_insert((seq, seq)).1 = seq;
            let day = newest.entry(label.group).or_insert(label.day);
            *day = label.day.max(*day);
        }
        let mut stay = BTreeSet::new();
        for (index, Draft { label, .. }) in self.0.iter().enumerate().rev() {
            let seq = self.seq(index);
            let (first, last) = first_and_last[&(label.group, label.day)];
            let is_edge = seq == first || seq == last || newest[&label.group] == label.day;
            if is_edge || label.is_kept || label.group == 0 || stay.contains(&seq) {
                stay.insert(seq);
                stay.extend(label.base);
            }
        }
        stay
    }

    /// The bytes that are needed at least.
    fn least_bytes(&self) -> usize {
        let stay = self.must_stay();
        let bytes = |(index, draft): (usize, &Draft)| match stay.contains(&self.seq(index)) {
            true => RECORD_HEAD_BYTES + draft.payload.len(),
            false => HASH_BYTES,
        };
        self.0.iter().enumerate().map(bytes).sum()
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|draft| RECORD_HEAD_BYTES + draft.payload.len()).sum()
    }
}

/// A site whose printers are read in rounds, some of them failing now and then.
struct Site {
    random: fastrand::Rng,
    printers: u64,
    rounds_a_day: u32,
    appended: Appended,
    bases: BTreeMap<u64, Seq>,
    round: u32,
}

impl Site {
    fn new(seed: u64, printers: u64, rounds_a_day: u32) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { random, printers, rounds_a_day, appended: Appended::default(), bases: BTreeMap::new(), round: 0 }
    }

    /// One round's drafts, as they would be numbered from here on.
    fn drafts(&mut self) -> Vec<Draft> {
        let day = 20_000 + self.round / self.rounds_a_day;
        self.round += 1;
        let mut drafts = Vec::new();
        for printer in 1..=self.printers {
            if self.random.u8(0..10) == 0 {
                continue;
            }
            let seq = Seq((self.appended.0.len() + drafts.len()) as u64 + 1);
            // A whole reading now and then, in the middle of a day too, which serves for the next day as well.
            let base = self.bases.get(&printer).copied().filter(|_| self.random.u8(0..30) != 0);
            if base.is_none() {
                self.bases.insert(printer, seq);
            }
            let length = if base.is_none() { 900 } else { self.random.usize(200..700) };
            let mut payload = vec![0; length];
            self.random.fill(&mut payload);
            let label = Label { group: printer, day, is_kept: self.random.u8(0..100) == 0, base };
            drafts.push(Draft { payload, label });
        }
        if self.random.u8(0..20) == 0 {
            drafts.push(Draft { payload: vec![self.random.u8(..); 50], label: Label::kept() });
        }
        drafts
    }

    /// Fills an outbox to so many times its quota, or until it is rightly full.
    fn fill(&mut self, outbox: &mut Outbox, times: usize) -> bool {
        while self.appended.bytes() < times * usize::try_from(LIMITS.max_total_bytes).unwrap() {
            let drafts = self.drafts();
            let result = outbox.append(&drafts);
            assert!(outbox.used_bytes() <= LIMITS.max_total_bytes);
            self.appended.0.extend(drafts);
            match result {
                Ok(_) => {}
                Err(StoreError::Full { .. }) => {
                    let least = self.appended.least_bytes() as u64;
                    assert!(least * 10 > LIMITS.max_total_bytes * 8, "full with {least} bytes that must stay");
                    return false;
                }
                Err(error) => panic!("{error}"),
            }
        }
        true
    }
}

/// Compares what waits with what was appended.
fn check(appended: &Appended, found: &[(Epoch, Entry)]) -> u64 {
    let stay = appended.must_stay();
    assert_eq!(found.len(), appended.0.len());
    let mut thinned = 0;
    for (index, ((_, entry), draft)) in found.iter().zip(&appended.0).enumerate() {
        assert_eq!(entry.seq, appended.seq(index), "order");
        assert_eq!(entry.sha256, sha256(&draft.payload));
        match &entry.content {
            Content::Payload(payload) => assert_eq!(payload, &draft.payload),
            Content::Thinned => {
                assert!(!stay.contains(&entry.seq), "{} is thinned: {:?}", entry.seq, draft.label);
                thinned += 1;
            }
        }
    }
    thinned
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn day_ends_flagged_ones_and_bases_stay_when_it_is_filled_many_times(
        seed in any::<u64>(), printers in 1_u64..7, rounds in 15_u32..40, times in prop_oneof![Just(2_usize), Just(5)]
    ) {
        let fs = FaultFs::default();
        let mut outbox = open(&fs);
        let mut site = Site::new(seed, printers, rounds);
        let filled = site.fill(&mut outbox, times);
        if !filled {
            // What was refused is not there.
            site.appended.0.truncate(usize::try_from(outbox.last_seq().0).unwrap());
        }
        let thinned = check(&site.appended, &all_waiting(&fs));
        prop_assert_eq!(outbox.thinned(), thinned);
        prop_assert!(thinned > 0 || !filled);
        drop(outbox);
        fs.crash(&mut site.random);
        prop_assert_eq!(open(&fs).thinned(), thinned);
        prop_assert_eq!(check(&site.appended, &all_waiting(&fs)), thinned);
    }
}

#[test]
fn thinning_makes_a_good_piece_of_room_at_once_and_the_oldest_days_go_first() {
    let fs = FaultFs::default();
    let mut outbox = open(&fs);
    let mut site = Site::new(1, 3, 30);
    let mut before = 0;
    while outbox.thinned() == 0 {
        before = outbox.used_bytes();
        let drafts = site.drafts();
        outbox.append(&drafts).unwrap();
        site.appended.0.extend(drafts);
    }
    assert!(before * 100 > LIMITS.max_total_bytes * 95, "not before it is needed");
    assert!(outbox.used_bytes() * 100 < LIMITS.max_total_bytes * 93);
    let days: BTreeSet<u32> = all_waiting(&fs)
        .iter()
        .filter(|(_, entry)| entry.content == Content::Thinned)
        .map(|(_, entry)| site.appended.0[usize::try_from(entry.seq.0).unwrap() - 1].label.day)
        .collect();
    assert!(days.contains(&20_000) && !days.contains(&site.appended.0.last().unwrap().label.day), "{days:?}");
    assert!(days.last().unwrap() - days.first().unwrap() < 4, "{days:?}");
}

#[test]
fn what_may_not_be_thinned_is_refused_when_it_is_full_and_the_files_are_not_read_for_nothing() {
    let fs = FaultFs::default();
    let mut outbox = open(&fs);
    let event = || vec![Draft { payload: vec![7; 500], label: Label::kept() }];
    let mut count = 0;
    while outbox.append(&event()).is_ok() {
        count += 1;
    }
    assert!(count > 190, "{count}");
    // The second time it is known that there is nothing to gain: no call reaches the disk.
    fs.fail(1, Fault::ForEver(std::io::ErrorKind::Other));
    assert!(matches!(outbox.append(&event()), Err(StoreError::Full { .. })));
    assert!(!fs.repair());
    assert_eq!((outbox.thinned(), outbox.pending()), (0, count));
}

#[test]
fn a_new_day_of_a_printer_makes_room_in_a_full_outbox() {
    let fs = FaultFs::default();
    let mut outbox = open(&fs);
    let of_day = |day| Draft { payload: vec![7; 500], label: Label { group: 9, day, is_kept: false, base: None } };
    while outbox.append(&[of_day(1)]).is_ok() {}
    assert_eq!(outbox.thinned(), 0, "the newest day is left alone");
    outbox.append(&[of_day(2)]).unwrap();
    assert!(outbox.thinned() > 10);
}

#[test]
fn a_base_that_cannot_be_one_is_refused() {
    let mut outbox = open(&FaultFs::default());
    let with_base =
        |base| Draft { payload: vec![1], label: Label { group: 9, day: 1, is_kept: false, base: Some(Seq(base)) } };
    for base in [0, 1, 2] {
        let error = outbox.append(&[with_base(base)]).unwrap_err();
        assert!(error.to_string().contains("its base"), "{error}");
    }
    outbox
        .append(&[Draft { label: Label { base: None, ..with_base(0).label }, payload: vec![] }, with_base(1)])
        .unwrap();
}

#[test]
fn files_that_became_short_are_joined() {
    let fs = FaultFs::default();
    let mut outbox = open(&fs);
    let mut site = Site::new(5, 2, 30);
    site.fill(&mut outbox, 5);
    let is_segment = |path: &PathBuf| path.to_string_lossy().ends_with(".seg");
    let count = fs.files().into_iter().filter(|(path, _)| is_segment(path)).count() as u64;
    assert!(count < 2 + 3 * LIMITS.max_total_bytes / LIMITS.segment_bytes, "{count} files");
    let last = usize::try_from(outbox.last_seq().0).unwrap();
    site.appended.0.truncate(last);
    check(&site.appended, &all_waiting(&fs));
}

#[test]
fn a_crash_before_joined_files_are_removed_harms_nothing() {
    let fs = FaultFs::default();
    let mut outbox = open(&fs);
    let mut site = Site::new(5, 2, 30);
    let segments = |fs: &FaultFs| -> Vec<PathBuf> {
        let is_segment = |path: &PathBuf| path.to_string_lossy().ends_with(".seg");
        fs.files().into_iter().map(|(path, _)| path).filter(is_segment).collect()
    };
    let mut joins = 0;
    while joins < 3 {
        let before = fs.copy();
        let drafts = site.drafts();
        outbox.append(&drafts).unwrap();
        site.appended.0.extend(drafts);
        let now = segments(&fs);
        let removed: Vec<_> = segments(&before).into_iter().filter(|path| !now.contains(path)).collect();
        if removed.is_empty() {
            continue;
        }
        joins += 1;
        // As if none of the removals had arrived on the disk.
        let crashed = fs.copy();
        for path in &removed {
            let bytes = Fs::read_at(&before, path, 0, 1_000_000).unwrap();
            write_atomically(&crashed, path, &bytes).unwrap();
        }
        let (again, recovery) =
            Outbox::open_on(Arc::new(crashed.clone()), &SystemEntropy, Path::new(DIR), LIMITS).unwrap();
        assert_eq!((recovery.new_epoch, recovery.set_aside.len()), (None, 0));
        assert_eq!((again.thinned(), again.used_bytes()), (outbox.thinned(), outbox.used_bytes()));
        drop(again);
        assert_eq!(segments(&crashed), now, "the leftovers are removed");
        check(&site.appended, &all_waiting(&crashed));
    }
}

#[test]
fn it_is_thinned_on_a_disk_that_has_only_the_ballast_left() {
    let fs = FaultFs::default();
    let mut outbox = open(&fs);
    let mut site = Site::new(3, 3, 30);
    loop {
        let used: usize = fs.files().iter().map(|(_, length)| length).sum();
        // Others have filled the partition.
        if outbox.used_bytes() > LIMITS.max_total_bytes / 2 {
            fs.set_capacity(Some(used + 100));
        }
        let drafts = site.drafts();
        match outbox.append(&drafts) {
            Ok(_) => site.appended.0.extend(drafts),
            Err(error) => panic!("{error}"),
        }
        if outbox.thinned() > 0 {
            break;
        }
    }
    check(&site.appended, &all_waiting(&fs));
    fs.set_capacity(None);
    outbox.tidy(NOW).unwrap();
    assert!(
        fs.files()
            .iter()
            .any(|(path, length)| { path.ends_with("ballast") && *length as u64 == LIMITS.ballast_bytes() })
    );
}
