//! Readings that differ little from an earlier one of the same printer are accepted as what differs: a hundred octets in the
//! place of five thousand, so that three months of two hundred printers fit on the box, and its flash card lasts.
//!
//! Each day begins with a whole reading for each printer, and so does each start of the agent. What differs is told as edits of
//! the serialised reading (`ReadingUpdate` in the contract), so that nothing is lost whatever a reading holds.

use std::collections::HashMap;

use prost::Message;

use crate::proto::update::{apply, reading_of};
use crate::proto::v1;
use crate::proto::v1::record::What;
use crate::store::{Draft, Epoch, Label, MAX_PAYLOAD_BYTES, Moved, Outbox, Portion, Seq, StoreError};

/// Whole readings that are remembered, in octets altogether: a thousand printers. Whose is not remembered is accepted whole.
const REMEMBERED_MAX_BYTES: usize = 8 << 20;
/// Octets that must be the same again after a difference. Fewer would find what is the same by chance.
const SAME_AGAIN_BYTES: usize = 8;
/// Longest difference in one place, in octets on either side together. Longer ones make an update hardly shorter.
const DIFFERENCE_MAX_BYTES: usize = 96;
/// An update longer than this part of the reading is not worth its while.
const WORTHWHILE_PART: usize = 3;

/// What a reading can be told by.
#[derive(Debug)]
struct Base {
    epoch: Epoch,
    seq: Seq,
    day: u32,
    reading: Vec<u8>,
}

/// The last whole reading of each printer that the outbox holds.
#[derive(Debug, Default)]
pub(super) struct Bases {
    by_device: HashMap<String, Base>,
    bytes: usize,
}

/// A reading as it is accepted.
#[derive(Debug)]
pub(super) struct Encoded {
    /// The serialised `platen.v1.Record`.
    pub record: Vec<u8>,
    /// Whose reading it needs; `None`: it is whole.
    pub base: Option<Seq>,
    /// The day on which it was taken, in days since 1970-01-01 (UTC).
    pub day: u32,
}

fn day_of(unix_ms: u64) -> u32 {
    u32::try_from(unix_ms / 86_400_000).unwrap_or(u32::MAX)
}

impl Bases {
    /// Encodes a reading that will be accepted under this number, whole or by a whole one that is not older than `from`;
    /// remembers it if it is whole. Should it then not be accepted, everything must be [forgotten](Self::clear).
    pub(super) fn encode(&mut self, reading: v1::Reading, epoch: Epoch, seq: Seq, from: Seq) -> Encoded {
        let taken_ms = reading.taken.as_ref().map_or(0, |taken| taken.wall_clock_unix_ms);
        let (device_key, day) = (reading.device_key.clone(), day_of(taken_ms));
        let serialised = reading.encode_to_vec();
        let is_fit = |base: &&Base| base.epoch == epoch && base.day == day && base.seq >= from;
        let base = self.by_device.get(&device_key).filter(is_fit);
        if let Some(base) = base
            && let Some(edits) = edits(&base.reading, &serialised)
        {
            let crc32 = crc32fast::hash(&serialised);
            let update = v1::ReadingUpdate { base_seq: base.seq.0, edits, crc32 };
            let record = v1::Record { what: Some(What::Update(update)) }.encode_to_vec();
            if record.len() < serialised.len() / WORTHWHILE_PART {
                return Encoded { record, base: Some(base.seq), day };
            }
        }
        self.remember(device_key, Base { epoch, seq, day, reading: serialised });
        Encoded { record: v1::Record { what: Some(What::Reading(reading)) }.encode_to_vec(), base: None, day }
    }

    /// Forgets all: every printer is read whole once more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn remember(&mut self, device_key: String, base: Base) {
        if let Some(before) = self.by_device.remove(&device_key) {
            self.bytes -= before.reading.len();
        }
        if self.bytes + base.reading.len() <= REMEMBERED_MAX_BYTES {
            self.bytes += base.reading.len();
            self.by_device.insert(device_key, base);
        }
    }
}

/// Whole readings of an ended epoch that are remembered while it is moved: an hour's of the largest site, some.
const MOVED_BASES_MAX: usize = 1_024;

/// Makes records of an ended epoch fit for the one that they are moved into: updates of what stays behind become whole, or
/// updates of what is there.
#[derive(Debug, Default)]
pub(super) struct Rebase {
    /// Serialised readings of the ended epoch, by their numbers.
    known: HashMap<Seq, Vec<u8>>,
}

impl Rebase {
    /// The same records, as they are accepted anew.
    ///
    /// # Errors
    /// When a whole reading cannot be read back: then nothing is moved, for what it is the base of would be lost.
    pub(super) fn portion(
        &mut self,
        outbox: &Outbox,
        portion: Portion,
        bases: &mut Bases,
    ) -> Result<Vec<Moved>, StoreError> {
        let (epoch, from) = (outbox.epoch(), outbox.bases_from());
        let numbered = (portion.first.0..).map(Seq).zip(portion.records);
        let mut one = |(seq, moved)| match moved {
            Moved::Draft(draft) => {
                let reading = self.whole(outbox, portion.from, &draft)?;
                Ok(Moved::Draft(match reading.map(|reading| bases.encode(reading, epoch, seq, from)) {
                    Some(new) if new.record.len() <= MAX_PAYLOAD_BYTES => {
                        Draft { payload: new.record, label: Label { base: new.base, ..draft.label } }
                    }
                    Some(_) => {
                        // It was remembered as whole, and is not.
                        bases.clear();
                        without_base(draft)
                    }
                    None => without_base(draft),
                }))
            }
            thinned @ Moved::Thinned(_) => Ok(thinned),
        };
        numbered.map(&mut one).collect()
    }

    /// The reading in a record, if it is one and what it is told by is there.
    fn whole(&mut self, outbox: &Outbox, epoch: Epoch, draft: &Draft) -> Result<Option<v1::Reading>, StoreError> {
        let Ok(record) = v1::Record::decode(draft.payload.as_slice()) else { return Ok(None) };
        Ok(match record.what {
            Some(What::Reading(reading)) => Some(reading),
            Some(What::Update(update)) => {
                let base = self.base(outbox, epoch, Seq(update.base_seq))?;
                let whole = base.and_then(|base| apply(base, &update.edits, update.crc32).ok());
                whole.and_then(|whole| v1::Reading::decode(whole.as_slice()).ok())
            }
            _ => None,
        })
    }

    fn base(&mut self, outbox: &Outbox, epoch: Epoch, seq: Seq) -> Result<Option<&[u8]>, StoreError> {
        if !self.known.contains_key(&seq) {
            let record = outbox.payload(epoch, seq)?;
            let Some(reading) = record.as_deref().and_then(reading_of) else { return Ok(None) };
            if self.known.len() >= MOVED_BASES_MAX {
                self.known.clear();
            }
            self.known.insert(seq, reading.to_vec());
        }
        Ok(self.known.get(&seq).map(Vec::as_slice))
    }
}

/// A record as it is, but for what it is told by, which is not there: its number means another one in another epoch.
fn without_base(draft: Draft) -> Draft {
    let label = Label { base: None, ..draft.label };
    let Ok(v1::Record { what: Some(What::Update(update)) }) = v1::Record::decode(draft.payload.as_slice()) else {
        return Draft { label, ..draft };
    };
    let update = v1::ReadingUpdate { base_seq: 0, ..update };
    Draft { payload: v1::Record { what: Some(What::Update(update)) }.encode_to_vec(), label }
}

/// What makes `now` of `base`; `None` where they differ too much for that to be worth while.
///
/// Looked at and not taken: general libraries of differences. They find the least of them at the price of a time that grows
/// with their number; two readings of a printer differ in a few numbers, found in one pass.
fn edits(base: &[u8], now: &[u8]) -> Option<Vec<v1::Edit>> {
    let (mut at_base, mut at_now) = (0, 0);
    let mut edits = Vec::new();
    loop {
        let (rest_base, rest_now) = (base.get(at_base..)?, now.get(at_now..)?);
        let keep = rest_base.iter().zip(rest_now).take_while(|(a, b)| a == b).count();
        let (rest_base, rest_now) = (rest_base.get(keep..)?, rest_now.get(keep..)?);
        if rest_base.is_empty() && rest_now.is_empty() {
            return Some(edits);
        }
        let (skip, put) = difference(rest_base, rest_now)?;
        edits.push(v1::Edit {
            keep: u32::try_from(keep).ok()?,
            skip: u32::try_from(skip).ok()?,
            put: rest_now.get(..put)?.to_vec(),
        });
        (at_base, at_now) = (at_base + keep + skip, at_now + keep + put);
    }
}

/// How many octets of each differ before they are the same again: the least number of both together.
fn difference(base: &[u8], now: &[u8]) -> Option<(usize, usize)> {
    for total in 1..=DIFFERENCE_MAX_BYTES {
        for skip in 0..=total {
            let put = total - skip;
            let (Some(base), Some(now)) = (base.get(skip..), now.get(put..)) else { continue };
            let same = base.iter().zip(now).take(SAME_AGAIN_BYTES).take_while(|(a, b)| a == b).count();
            if same == SAME_AGAIN_BYTES || (same == base.len() && same == now.len()) {
                return Some((skip, put));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As another cloud would do it, by the words of the contract.
    fn apply(base: &[u8], edits: &[v1::Edit]) -> Vec<u8> {
        let (mut at, mut out) = (0, Vec::new());
        for edit in edits {
            out.extend_from_slice(&base[at..at + edit.keep as usize]);
            out.extend_from_slice(&edit.put);
            at += (edit.keep + edit.skip) as usize;
        }
        out.extend_from_slice(&base[at..]);
        out
    }

    fn reading(total: u64, level: i64, at_ms: u64) -> v1::Reading {
        let meter = |n: u64| v1::Meter {
            name: format!("meter_{n}"),
            value: total * (n + 1),
            unit: "impressions".to_owned(),
            oid: format!("1.3.6.1.4.1.2435.2.3.9.4.2.1.5.5.{n}.0"),
            function: "total".to_owned(),
            source: "standard: prtMarkerLifeCount".to_owned(),
            ..v1::Meter::default()
        };
        v1::Reading {
            device_key: "serial:Acme:1".to_owned(),
            taken: Some(v1::Taken {
                boot_id: "ab".repeat(16),
                monotonic_ms: at_ms,
                wall_clock_unix_ms: 1_790_000_000_000 + at_ms,
                ..v1::Taken::default()
            }),
            meters: (0..20).map(meter).collect(),
            supplies: vec![v1::Supply { level: Some(level), state: "ok".to_owned(), ..v1::Supply::default() }],
            ..v1::Reading::default()
        }
    }

    #[test]
    fn a_printer_that_printed_a_little_costs_little() {
        let mut bases = Bases::default();
        let whole = bases.encode(reading(1_000, 80, 0), Epoch(1), Seq(1), Seq(1));
        assert_eq!(whole.base, None);
        let idle = bases.encode(reading(1_000, 80, 900_000), Epoch(1), Seq(2), Seq(1));
        assert_eq!(idle.base, Some(Seq(1)));
        assert!(idle.record.len() < 60, "{}", idle.record.len());
        let busy = bases.encode(reading(1_003, 79, 1_800_000), Epoch(1), Seq(3), Seq(1));
        assert_eq!(busy.base, Some(Seq(1)));
        assert!(busy.record.len() < whole.record.len() / 5, "{} of {}", busy.record.len(), whole.record.len());
        let Some(What::Update(update)) = v1::Record::decode(busy.record.as_slice()).unwrap().what else { panic!() };
        let made = apply(&reading(1_000, 80, 0).encode_to_vec(), &update.edits);
        assert_eq!(made, reading(1_003, 79, 1_800_000).encode_to_vec());
        assert_eq!(crc32fast::hash(&made), update.crc32);
    }

    #[test]
    fn a_new_day_a_new_epoch_and_a_new_start_begin_with_a_whole_reading() {
        let mut bases = Bases::default();
        bases.encode(reading(1, 1, 0), Epoch(1), Seq(1), Seq(1));
        assert_eq!(bases.encode(reading(1, 1, 86_400_000), Epoch(1), Seq(2), Seq(1)).base, None);
        assert_eq!(bases.encode(reading(1, 1, 86_400_001), Epoch(1), Seq(3), Seq(1)).base, Some(Seq(2)));
        assert_eq!(bases.encode(reading(1, 1, 86_400_002), Epoch(2), Seq(1), Seq(1)).base, None);
        bases.clear();
        assert_eq!(bases.encode(reading(1, 1, 86_400_003), Epoch(2), Seq(2), Seq(1)).base, None);
        assert_eq!(bases.encode(reading(1, 1, 86_400_004), Epoch(2), Seq(3), Seq(2)).base, Some(Seq(2)));
        assert_eq!(bases.encode(reading(1, 1, 86_400_005), Epoch(2), Seq(4), Seq(3)).base, None, "too far back");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut bases = Bases::default();
        for n in 0..40u64 {
            let big = v1::Reading {
                device_key: format!("serial:Acme:{n}"),
                name: Some("x".repeat(500_000)),
                ..v1::Reading::default()
            };
            bases.encode(big, Epoch(1), Seq(n + 1), Seq(1));
        }
        assert!(bases.bytes <= REMEMBERED_MAX_BYTES && bases.by_device.len() < 20);
        assert_eq!(bases.bytes, bases.by_device.values().map(|base| base.reading.len()).sum::<usize>());
    }

    /// What the cloud makes of the records of an epoch, by their numbers.
    fn as_the_cloud_reads_them(records: &[Vec<u8>]) -> Vec<Option<v1::Reading>> {
        let whole = |seq: u64| reading_of(records.get(usize::try_from(seq.checked_sub(1)?).ok()?)?);
        let one = |record: &Vec<u8>| match v1::Record::decode(record.as_slice()).unwrap().what.unwrap() {
            What::Reading(reading) => Some(reading),
            What::Update(update) => {
                let made = crate::proto::update::apply(whole(update.base_seq)?, &update.edits, update.crc32).ok()?;
                Some(v1::Reading::decode(made.as_slice()).unwrap())
            }
            _ => None,
        };
        records.iter().map(one).collect()
    }

    #[test]
    fn what_is_moved_into_a_new_epoch_can_be_read_there_and_stays_short() {
        use std::{path::Path, sync::Arc};
        let fs = Arc::new(crate::sys::FaultFs::default());
        let limits = crate::store::Limits::of(1 << 20);
        let entropy = crate::sys::SystemEntropy;
        let (mut outbox, _) = Outbox::open_on(fs, &entropy, Path::new("/box/outbox"), limits).unwrap();
        let old = outbox.epoch();
        let mut bases = Bases::default();
        // Whole, and three updates of it, one of which has lost its base; a clock anchor among them.
        for n in 1..=4 {
            let encoded = bases.encode(reading(1_000 + n, 80, n), old, Seq(n), Seq(1));
            let label = Label { group: 1, day: encoded.day, is_kept: n == 3, base: encoded.base };
            outbox.append(&[Draft { payload: encoded.record, label }]).unwrap();
        }
        let anchor = v1::Record { what: Some(What::ClockAnchor(v1::ClockAnchor::default())) }.encode_to_vec();
        let lost = v1::ReadingUpdate { base_seq: 1, edits: Vec::new(), crc32: 1 };
        let lost = v1::Record { what: Some(What::Update(lost)) }.encode_to_vec();
        for payload in [anchor.clone(), lost] {
            outbox.append(&[Draft { payload, label: Label { base: None, ..Label::kept() } }]).unwrap();
        }
        assert!(outbox.end_epoch(old, Seq(1), &entropy).unwrap());
        let mut rebase = Rebase::default();
        while outbox.move_on(|outbox, portion| rebase.portion(outbox, portion, &mut bases)).unwrap() {}
        outbox.acknowledge(old, Seq(1), 1).unwrap();
        let batch = outbox.next_batch(100, 1_000_000).unwrap().unwrap();
        assert_eq!(batch.epoch, outbox.epoch());
        let records: Vec<_> = batch.entries.iter().map(|entry| entry.content.payload().unwrap().to_vec()).collect();
        let read = as_the_cloud_reads_them(&records);
        let expected = [2, 3, 4].map(|n| Some(reading(1_000 + n, 80, n))).into_iter().chain([None, None]);
        assert_eq!(read, expected.collect::<Vec<_>>());
        assert_eq!(records[3], anchor);
        assert!(records[1].len() < records[0].len() / 5, "the first is whole, the others are updates of it");
        let Some(What::Update(update)) = v1::Record::decode(records[4].as_slice()).unwrap().what else { panic!() };
        assert_eq!(update.base_seq, 0, "what has no base there names none");
    }

    proptest! {
        #[test]
        fn edits_make_the_one_of_the_other_whatever_they_are(
            base in proptest::collection::vec(0u8..4, 0..300),
            now in proptest::collection::vec(0u8..4, 0..300),
        ) {
            if let Some(edits) = edits(&base, &now) {
                prop_assert_eq!(apply(&base, &edits), now);
            }
        }

        #[test]
        fn a_few_changes_are_always_told_by_edits(
            base in proptest::collection::vec(any::<u8>(), 200..2_000),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<Vec<u8>>()), 0..6),
        ) {
            let mut now = base.clone();
            for (index, put) in &changes {
                let at = index.index(now.len());
                now.splice(at..(at + 3).min(now.len()), put.iter().copied().take(8));
            }
            let edits = edits(&base, &now);
            prop_assert!(edits.is_some());
            prop_assert_eq!(apply(&base, &edits.unwrap()), now);
        }
    }
}
