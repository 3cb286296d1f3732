//! The outbox against a model: random sequences of appends, acknowledgements, resends, passing time, restarts, faults and
//! power cuts on a disk so small that it must thin, and each single call failing in turn. The model knows what was
//! accepted; the outbox must still have it, in order, once, and whole where no thinning may touch it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind::{Other, StorageFull};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::record::{Chain, first_chain, next_chain, sha256};
use super::{Content, Draft, Epoch, Label, Limits, Outbox, Seq, StoreError};
use crate::sys::{Fault, FaultFs, SystemEntropy};

const DIR: &str = "/box/outbox";
/// Small, so that a few records fill a segment, and some dozen of them the outbox.
const LIMITS: Limits = Limits { max_total_bytes: 6_000, segment_bytes: 500 };
const START_S: u64 = 1_764_000_000;
const HOUR_S: u64 = 3_600;
const PRINTERS: u64 = 3;

type Number = (Epoch, Seq);

/// The outbox and what must be true of it.
struct Model {
    fs: FaultFs,
    outbox: Option<Outbox>,
    now_s: u64,
    day: u32,
    /// What `append` promised, in order.
    accepted: Vec<Number>,
    /// Everything that any append was ever asked to take, by its hash.
    attempted: BTreeMap<Chain, Draft>,
    /// Up to where the cloud has everything and has not asked again.
    acknowledged: BTreeMap<Epoch, Seq>,
    /// What each pair of numbers was ever seen to mean.
    meaning: BTreeMap<Number, Chain>,
    /// The last whole reading of each printer.
    bases: BTreeMap<(Epoch, u64), Seq>,
    next_payload: u32,
}

impl Model {
    fn new() -> Self {
        Self {
            fs: FaultFs::default(),
            outbox: None,
            now_s: START_S,
            day: 1,
            accepted: Vec::new(),
            attempted: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            meaning: BTreeMap::new(),
            bases: BTreeMap::new(),
            next_payload: 0,
        }
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.outbox = None;
        let (outbox, _) = Outbox::open_on(Arc::new(self.fs.clone()), &SystemEntropy, Path::new(DIR), LIMITS)?;
        self.outbox = Some(outbox);
        Ok(())
    }

    fn power_cut(&mut self, random: &mut fastrand::Rng) {
        self.outbox = None;
        self.fs.crash(random);
    }

    fn means(&mut self, number: Number, sha256: Chain) {
        let known = self.meaning.entry(number).or_insert(sha256);
        assert_eq!(*known, sha256, "the number {number:?} was used twice");
    }

    /// A payload of its own, and the label that it comes with.
    fn draft(&mut self, epoch: Epoch, seq: Seq, length: usize) -> Draft {
        self.next_payload += 1;
        let mut payload = self.next_payload.to_le_bytes().to_vec();
        payload.resize(4 + length, self.next_payload as u8);
        let group = u64::from(self.next_payload) % (PRINTERS + 1);
        let base = self.bases.get(&(epoch, group)).copied().filter(|base| *base < seq && !length.is_multiple_of(4));
        let label = match group {
            0 => Label::kept(),
            _ => Label { group, day: self.day, is_kept: length.is_multiple_of(29), base },
        };
        if base.is_none() && group != 0 {
            self.bases.insert((epoch, group), seq);
        }
        let draft = Draft { payload, label };
        self.attempted.insert(sha256(&draft.payload), draft.clone());
        draft
    }

    fn append(&mut self, lengths: &[usize]) -> Result<(), StoreError> {
        let outbox = self.outbox.as_mut().unwrap();
        let (epoch, before) = (outbox.epoch(), outbox.last_seq());
        let bases = self.bases.clone();
        let drafts: Vec<Draft> =
            lengths.iter().zip(before.0 + 1..).map(|(length, seq)| self.draft(epoch, Seq(seq), *length)).collect();
        let outbox = self.outbox.as_mut().unwrap();
        let result = outbox.append(&drafts);
        assert!(outbox.used_bytes() <= LIMITS.max_total_bytes);
        let range = match result {
            Ok(range) => range,
            Err(error) => {
                self.bases = bases;
                // Full is no fault: it goes on when the cloud has taken something.
                return if matches!(error, StoreError::Full { .. }) { Ok(()) } else { Err(error) };
            }
        };
        assert_eq!((range.start().0, range.end().0), (before.0 + 1, before.0 + drafts.len() as u64));
        for (seq, draft) in (range.start().0..).map(Seq).zip(drafts) {
            self.means((epoch, seq), sha256(&draft.payload));
            self.accepted.push((epoch, seq));
        }
        Ok(())
    }

    /// Lets the cloud take `count` payloads of the next batch and acknowledge them.
    fn deliver(&mut self, count: usize) -> Result<(), StoreError> {
        let outbox = self.outbox.as_mut().unwrap();
        let Some(batch) = outbox.next_batch(count, 10_000)? else { return Ok(()) };
        let (epoch, last) = (batch.epoch, batch.last_seq());
        for entry in &batch.entries {
            self.means((epoch, entry.seq), entry.sha256);
        }
        let result = self.outbox.as_mut().unwrap().acknowledge(epoch, last, self.now_s);
        // Also when it failed, the acknowledgement may have become durable.
        self.acknowledged.insert(epoch, last);
        result.map(|_| ())
    }

    /// The cloud was restored from a backup, and lacks the last so many.
    fn resend(&mut self, back: u64) -> Result<(), StoreError> {
        let outbox = self.outbox.as_mut().unwrap();
        let epoch = outbox.epoch();
        let acknowledged = outbox.acknowledged_seq().0;
        let from = acknowledged.saturating_sub(back).max(1);
        let pending = outbox.pending();
        let resend = outbox.resend_from(epoch, Seq(from))?;
        assert_eq!(outbox.pending(), pending + resend.again);
        if acknowledged >= from {
            assert_eq!(resend.again + resend.lost, acknowledged + 1 - from);
        }
        if resend.again > 0 {
            self.acknowledged.insert(epoch, Seq(acknowledged - resend.again));
        }
        Ok(())
    }

    fn pass(&mut self, hours: u64) -> Result<(), StoreError> {
        self.now_s += hours * HOUR_S;
        self.day += u32::try_from(hours / 24).unwrap();
        self.outbox.as_mut().unwrap().tidy(self.now_s)
    }

    /// What no thinning may have touched: of each printer and day of an epoch the first and the last, what is flagged,
    /// the newest day, and the bases of all these.
    fn must_stay(&self) -> BTreeSet<Number> {
        let mut edges: BTreeMap<(Epoch, u64, u32), (Seq, Seq)> = BTreeMap::new();
        let mut newest: BTreeMap<u64, u32> = BTreeMap::new();
        for label in self.attempted.values().map(|draft| draft.label) {
            let day = newest.entry(label.group).or_insert(label.day);
            *day = label.day.max(*day);
        }
        let labels = || self.meaning.iter().map(|(number, sha256)| (*number, self.attempted[sha256].label));
        for ((epoch, seq), label) in labels() {
            edges.entry((epoch, label.group, label.day)).or_insert((seq, seq)).1 = seq;
        }
        let mut stay = BTreeSet::new();
        for ((epoch, seq), label) in labels() {
            let (first, last) = edges[&(epoch, label.group, label.day)];
            if seq == first || seq == last || label.is_kept || label.group == 0 || newest[&label.group] == label.day {
                stay.insert((epoch, seq));
                stay.extend(label.base.map(|base| (epoch, base)));
            }
        }
        stay
    }

    /// Reads all that waits and compares.
    fn check(&mut self) {
        let outbox = self.outbox.as_mut().unwrap();
        let pending = usize::try_from(outbox.pending()).unwrap();
        // Each epoch is read through a copy of the disk, where it can be acknowledged to get at the next one.
        let copy = Outbox::open_on(Arc::new(self.fs.copy()), &SystemEntropy, Path::new(DIR), LIMITS);
        let (mut copy, _) = copy.unwrap();
        let mut waiting = Vec::new();
        let mut chains: BTreeMap<Epoch, Chain> = BTreeMap::new();
        for _ in 0..1_000 {
            let Some(batch) = copy.next_batch(7, 1_000).unwrap() else { break };
            copy.acknowledge(batch.epoch, batch.last_seq(), 0).unwrap();
            let first = batch.entries[0].seq;
            let chain = chains.entry(batch.epoch).or_insert(batch.previous_chain);
            assert_eq!(*chain, batch.previous_chain);
            assert!(first != Seq(1) || *chain == first_chain(batch.epoch));
            for entry in batch.entries {
                *chain = next_chain(chain, entry.seq, &entry.sha256);
                assert_eq!(*chain, entry.chain);
                waiting.push((batch.epoch, entry));
            }
        }
        assert_eq!(waiting.len(), pending);
        let mut seen = BTreeSet::new();
        let mut before: BTreeMap<Epoch, Seq> = BTreeMap::new();
        for (epoch, entry) in &waiting {
            self.means((*epoch, entry.seq), entry.sha256);
            let Some(draft) = self.attempted.get(&entry.sha256) else { panic!("a payload that nobody appended") };
            assert!(entry.content.payload().is_none_or(|payload| payload == draft.payload));
            assert!(seen.insert(entry.sha256), "a payload is there twice");
            if let Some(before) = before.insert(*epoch, entry.seq) {
                assert_eq!(entry.seq.0, before.0 + 1, "a gap");
            }
        }
        let stay = self.must_stay();
        for (epoch, entry) in &waiting {
            let number = (*epoch, entry.seq);
            assert!(entry.content != Content::Thinned || !stay.contains(&number), "{number:?} is thinned");
        }
        let mut waiting = waiting.iter();
        for (epoch, seq) in &self.accepted {
            if self.acknowledged.get(epoch).is_some_and(|acknowledged| seq <= acknowledged) {
                continue;
            }
            let found = waiting.any(|(of, entry)| (of, &entry.seq) == (epoch, seq));
            assert!(found, "accepted and lost (or out of order): {seq} of epoch {epoch}");
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<usize>),
    Deliver(usize),
    Resend(u64),
    Pass(u64),
    Reopen,
    PowerCut(u64),
    Fail(u64, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => prop::collection::vec(0_usize..150, 1..5).prop_map(Step::Append),
        2 => (1_usize..9).prop_map(Step::Deliver),
        1 => (0_u64..20).prop_map(Step::Resend),
        2 => prop_oneof![0_u64..30, Just(24)].prop_map(Step::Pass),
        1 => Just(Step::Reopen),
        2 => any::<u64>().prop_map(Step::PowerCut),
        3 => (1_u64..40, 0_u8..3).prop_map(|(nth, kind)| Step::Fail(nth, kind)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn invariant_4_what_was_accepted_is_kept_in_order_and_no_number_means_two_things(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let mut model = Model::new();
        model.reopen().unwrap();
        for step in steps {
            let result = match &step {
                Step::Append(lengths) => model.append(lengths),
                Step::Deliver(count) => model.deliver(*count),
                Step::Resend(back) => model.resend(*back),
                Step::Pass(hours) => model.pass(*hours),
                Step::Reopen => model.reopen(),
                Step::PowerCut(seed) => {
                    model.power_cut(&mut fastrand::Rng::with_seed(*seed));
                    model.reopen()
                }
                Step::Fail(nth, kind) => {
                    let kinds = [Fault::Once(StorageFull), Fault::Once(Other), Fault::Killed];
                    model.fs.fail(*nth, kinds[usize::from(*kind)]);
                    continue;
                }
            };
            if result.is_err() {
                model.fs.repair();
                model.reopen().unwrap();
            }
            if model.fs.repair() || matches!(step, Step::Reopen | Step::PowerCut(_)) {
                model.check();
            }
        }
        model.fs.repair();
        model.reopen().unwrap();
        model.check();
        model.power_cut(&mut fastrand::Rng::with_seed(7));
        model.reopen().unwrap();
        model.check();
    }

    #[test]
    fn no_flipped_byte_of_a_thinned_outbox_brings_a_wrong_payload(
        steps in prop::collection::vec(step(), 40..80), seed in any::<u64>()
    ) {
        let mut model = Model::new();
        model.reopen().unwrap();
        for step in steps {
            match &step {
                Step::Append(lengths) => model.append(lengths).unwrap(),
                Step::Deliver(count) => model.deliver(*count).unwrap(),
                Step::Resend(back) => model.resend(*back).unwrap(),
                Step::Pass(hours) => model.pass(*hours).unwrap(),
                _ => {}
            }
        }
        model.check();
        let outbox = model.outbox.take().unwrap();
        let (epoch, last) = (outbox.epoch(), outbox.last_seq());
        drop(outbox);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..40 {
            let fs = model.fs.copy();
            let files = fs.files();
            let (path, length) = &files[random.usize(..files.len())];
            if *length == 0 {
                continue;
            }
            fs.flip(path, random.usize(..*length), random.u8(1..));
            let mut handed_out = 0;
            let (mut outbox, recovery) = Outbox::open_on(Arc::new(fs), &SystemEntropy, Path::new(DIR), LIMITS).unwrap();
            prop_assert!(recovery.new_epoch.is_some() || (outbox.epoch(), outbox.last_seq()) == (epoch, last));
            let _ = outbox.resend_from(epoch, Seq(1));
            while let Some(batch) = outbox.next_batch(5, 1_000).unwrap() {
                for entry in &batch.entries {
                    prop_assert_eq!(&model.meaning[&(batch.epoch, entry.seq)], &entry.sha256);
                    let payload = entry.content.payload();
                    prop_assert!(payload.is_none_or(|payload| payload == model.attempted[&entry.sha256].payload));
                    handed_out += 1;
                }
                outbox.acknowledge(batch.epoch, batch.last_seq(), START_S).unwrap();
                prop_assert!(handed_out < 10_000);
            }
        }
    }
}

/// Some weeks of an outbox; stops at the first error.
fn weeks(model: &mut Model) -> Result<(), StoreError> {
    model.reopen()?;
    model.append(&[10, 20, 30])?;
    model.append(&[100, 100, 100])?;
    model.append(&[40])?;
    model.deliver(4)?;
    model.pass(5)?;
    model.reopen()?;
    model.append(&[50, 60])?;
    model.resend(3)?;
    model.deliver(100)?;
    model.deliver(100)?;
    // Without the cloud until it must be thinned.
    for n in 0..14 {
        model.pass(if n % 4 == 3 { 24 } else { 1 })?;
        model.append(&[101, 90, 117, 126, 99])?;
    }
    model.deliver(12)?;
    model.reopen()?;
    for _ in 0..9 {
        model.pass(24)?;
    }
    model.append(&[300])?;
    model.append(&[7])?;
    model.resend(9)?;
    model.deliver(1)
}

/// Lets each call of these weeks go wrong in turn, then either only the process or also the power ends, and the next
/// weeks must find everything.
fn each_call_goes_wrong(fault: Fault, power_cut: bool) {
    for nth in 1..4_000 {
        let mut random = fastrand::Rng::with_seed(nth);
        let mut model = Model::new();
        model.fs.fail(nth, fault);
        let _ = weeks(&mut model);
        let struck = model.fs.repair();
        if power_cut {
            model.power_cut(&mut random);
        }
        model.reopen().unwrap();
        model.check();
        if random.bool() {
            // The very next thing is an append and then the power: what was left unsynced must not carry it off.
            model.append(&[1]).unwrap();
            model.power_cut(&mut random);
            model.reopen().unwrap();
            model.check();
        }
        weeks(&mut model).unwrap();
        model.check();
        model.power_cut(&mut random);
        model.reopen().unwrap();
        model.check();
        if !struck {
            assert!(nth > 250, "these weeks have more calls than {nth}");
            return;
        }
    }
    panic!("never ran through");
}

#[test]
fn these_weeks_thin() {
    let mut model = Model::new();
    weeks(&mut model).unwrap();
    assert!(model.outbox.unwrap().thinned() > 5);
}

#[test]
fn invariant_4_each_call_finds_the_disk_full() {
    each_call_goes_wrong(Fault::Once(StorageFull), false);
    each_call_goes_wrong(Fault::Once(StorageFull), true);
}

#[test]
fn invariant_4_each_call_fails_once() {
    each_call_goes_wrong(Fault::Once(Other), false);
    each_call_goes_wrong(Fault::Once(Other), true);
}

#[test]
fn invariant_4_the_disk_becomes_read_only_in_each_call() {
    each_call_goes_wrong(Fault::ReadOnly, false);
    each_call_goes_wrong(Fault::ReadOnly, true);
}

#[test]
fn invariant_4_the_process_is_killed_in_each_call() {
    each_call_goes_wrong(Fault::Killed, false);
    each_call_goes_wrong(Fault::Killed, true);
}

#[test]
fn invariant_4_the_disk_dies_in_each_call_and_comes_back_after_a_power_cut() {
    each_call_goes_wrong(Fault::ForEver(Other), true);
}
