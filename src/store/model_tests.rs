//! The outbox against a model: random sequences of appends, acknowledgements, restarts, faults and power cuts, and
//! each single call failing in turn. The model knows what was accepted; the outbox must still have it, in order, once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind::{Other, StorageFull};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Batch, Draft, Epoch, Label, Limits, Outbox, Seq, StoreError};
use crate::sys::{Fault, FaultFs, SystemEntropy};

const DIR: &str = "/box/outbox";
/// Small, so that a few records fill a segment.
const LIMITS: Limits = Limits { max_total_bytes: 1_000_000, segment_bytes: 400 };

/// The outbox and what must be true of it.
struct Model {
    fs: FaultFs,
    outbox: Option<Outbox>,
    /// What `append` promised, in order.
    accepted: Vec<(Epoch, Seq, Vec<u8>)>,
    /// Everything that any append was ever asked to take.
    attempted: BTreeSet<Vec<u8>>,
    acknowledged: BTreeMap<Epoch, Seq>,
    /// What each pair of numbers was ever seen to mean.
    meaning: BTreeMap<(Epoch, Seq), Vec<u8>>,
    next_payload: u32,
}

impl Model {
    fn new() -> Self {
        Self {
            fs: FaultFs::default(),
            outbox: None,
            accepted: Vec::new(),
            attempted: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            meaning: BTreeMap::new(),
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

    fn means(&mut self, epoch: Epoch, seq: Seq, payload: &[u8]) {
        let known = self.meaning.entry((epoch, seq)).or_insert_with(|| payload.to_vec());
        assert_eq!(known, payload, "the number {seq} of epoch {epoch} was used twice");
    }

    fn append(&mut self, lengths: &[usize]) -> Result<(), StoreError> {
        let mut payloads = Vec::new();
        for length in lengths {
            let mut payload = self.next_payload.to_le_bytes().to_vec();
            payload.resize(4 + length, self.next_payload as u8);
            self.next_payload += 1;
            self.attempted.insert(payload.clone());
            payloads.push(payload);
        }
        let outbox = self.outbox.as_mut().unwrap();
        let epoch = outbox.epoch();
        let draft = |payload: &Vec<u8>| Draft { payload: payload.clone(), label: Label::kept() };
        let range = outbox.append(&payloads.iter().map(draft).collect::<Vec<_>>())?;
        assert_eq!(range.end().0 + 1 - range.start().0, payloads.len() as u64);
        for (seq, payload) in (range.start().0..).map(Seq).zip(payloads) {
            self.means(epoch, seq, &payload);
            self.accepted.push((epoch, seq, payload));
        }
        Ok(())
    }

    /// Lets the cloud take `count` payloads of the next batch and acknowledge them.
    fn deliver(&mut self, count: usize) -> Result<(), StoreError> {
        let outbox = self.outbox.as_mut().unwrap();
        let Some(batch) = outbox.next_batch(count, 10_000)? else { return Ok(()) };
        let (epoch, last) = (batch.epoch, batch.last_seq());
        for entry in &batch.entries {
            self.means(epoch, entry.seq, entry.content.payload().unwrap());
        }
        let result = self.outbox.as_mut().unwrap().acknowledge(epoch, last, 0);
        // Also when it failed, the acknowledgement may have become durable.
        self.acknowledged.insert(epoch, last);
        result.map(|_| ())
    }

    /// Reads all that waits and compares.
    fn check(&mut self) {
        let outbox = self.outbox.as_mut().unwrap();
        let pending = usize::try_from(outbox.pending()).unwrap();
        let mut waiting = Vec::new();
        // Each epoch is read through a copy of the disk, where it can be acknowledged to get at the next one.
        let copy = Outbox::open_on(Arc::new(self.fs.copy()), &SystemEntropy, Path::new(DIR), LIMITS);
        let (mut copy, _) = copy.unwrap();
        for _ in 0..1_000 {
            let Some(batch) = copy.next_batch(7, 1_000).unwrap() else { break };
            copy.acknowledge(batch.epoch, batch.last_seq(), 0).unwrap();
            let Batch { epoch, entries, .. } = batch;
            let whole = |payload: Option<&[u8]>| payload.unwrap().to_vec();
            waiting.extend(entries.into_iter().map(|entry| (epoch, entry.seq, whole(entry.content.payload()))));
        }
        assert_eq!(waiting.len(), pending);
        let mut payloads = BTreeSet::new();
        let mut before: BTreeMap<Epoch, Seq> = BTreeMap::new();
        for (epoch, seq, payload) in &waiting {
            self.means(*epoch, *seq, payload);
            assert!(self.attempted.contains(payload), "a payload that nobody appended");
            assert!(payloads.insert(payload.clone()), "a payload is there twice");
            if let Some(before) = before.insert(*epoch, *seq) {
                assert_eq!(seq.0, before.0 + 1, "a gap");
            }
        }
        let mut waiting = waiting.iter();
        for (epoch, seq, payload) in &self.accepted {
            if self.acknowledged.get(epoch).is_some_and(|acknowledged| seq <= acknowledged) {
                continue;
            }
            let found = waiting.any(|entry| entry == &(*epoch, *seq, payload.clone()));
            assert!(found, "accepted and lost (or out of order): {seq} of epoch {epoch}");
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<usize>),
    Deliver(usize),
    Reopen,
    PowerCut(u64),
    Fail(u64, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => prop::collection::vec(0_usize..150, 1..5).prop_map(Step::Append),
        3 => (1_usize..9).prop_map(Step::Deliver),
        1 => Just(Step::Reopen),
        2 => any::<u64>().prop_map(Step::PowerCut),
        3 => (1_u64..9, 0_u8..3).prop_map(|(nth, kind)| Step::Fail(nth, kind)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_accepted_is_kept_in_order_and_no_number_means_two_things(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let mut model = Model::new();
        model.reopen().unwrap();
        for step in steps {
            let result = match &step {
                Step::Append(lengths) => model.append(lengths),
                Step::Deliver(count) => model.deliver(*count),
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
}

/// A day of an outbox; stops at the first error.
fn day(model: &mut Model) -> Result<(), StoreError> {
    model.reopen()?;
    model.append(&[10, 20, 30])?;
    model.append(&[100, 100, 100])?;
    model.append(&[40])?;
    model.deliver(4)?;
    model.reopen()?;
    model.append(&[50, 60])?;
    model.deliver(100)?;
    model.deliver(100)?;
    model.append(&[300])?;
    model.append(&[7])?;
    model.deliver(1)
}

/// Lets each call of a day go wrong in turn, then either only the process or also the power ends, and the next day
/// must find everything.
fn each_call_goes_wrong(fault: Fault, power_cut: bool) {
    for nth in 1..2_000 {
        let mut struck = false;
        for seed in 0..8 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut model = Model::new();
            model.fs.fail(nth, fault);
            let _ = day(&mut model);
            struck = model.fs.repair();
            if power_cut {
                model.power_cut(&mut random);
            }
            model.reopen().unwrap();
            model.check();
            if seed % 2 == 0 {
                // The very next thing is an append and then the power: what was left unsynced must not carry it off.
                model.append(&[1]).unwrap();
                model.power_cut(&mut random);
                model.reopen().unwrap();
                model.check();
            }
            day(&mut model).unwrap();
            model.check();
            model.power_cut(&mut random);
            model.reopen().unwrap();
            model.check();
        }
        if !struck {
            assert!(nth > 60, "the day has more calls than that");
            return;
        }
    }
    panic!("never ran through");
}

#[test]
fn each_call_finds_the_disk_full() {
    each_call_goes_wrong(Fault::Once(StorageFull), false);
    each_call_goes_wrong(Fault::Once(StorageFull), true);
}

#[test]
fn each_call_fails_once() {
    each_call_goes_wrong(Fault::Once(Other), false);
    each_call_goes_wrong(Fault::Once(Other), true);
}

#[test]
fn the_process_is_killed_in_each_call() {
    each_call_goes_wrong(Fault::Killed, false);
    each_call_goes_wrong(Fault::Killed, true);
}

#[test]
fn the_disk_dies_in_each_call_and_comes_back_after_a_power_cut() {
    each_call_goes_wrong(Fault::ForEver(Other), true);
}
