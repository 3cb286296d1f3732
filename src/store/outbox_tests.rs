//! The outbox, one promise at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::generation::Standing;
use super::limits::{MAX_APPEND_BYTES, MAX_PAYLOAD_BYTES};
use super::record::{
    RECORD_HEAD_BYTES, SEGMENT_HEADER_BYTES, next_chain, read_segment_header, write_record, write_segment_header,
};
use super::{Batch, Draft, Entry, Epoch, Label, Limits, NewEpoch, Outbox, Recovery, Seq, StoreError};
use crate::sys::{Fault, FaultFs, Fs, SystemEntropy};

const DIR: &str = "/box/outbox";
const LIMITS: Limits = Limits { max_total_bytes: 4_000, segment_bytes: 400 };

const NOW: u64 = 1_764_000_000;
/// More than the seven days for which what was acknowledged is kept.
const LONG: u64 = 9 * 86_400;

/// Lets so much time pass, as a box does that is switched on.
fn live(outbox: &mut Outbox, seconds: u64) {
    for passed in (0..=seconds).step_by(3_600) {
        outbox.tidy(NOW + passed).unwrap();
    }
}

fn kept(payloads: impl IntoIterator<Item = Vec<u8>>) -> Vec<Draft> {
    payloads.into_iter().map(|payload| Draft { payload, label: Label::kept() }).collect()
}

/// An entry that waits, whole.
#[derive(Debug)]
struct Waiting {
    epoch: Epoch,
    seq: Seq,
    sha256: [u8; 32],
    payload: Vec<u8>,
}

fn waiting(outbox: &mut Outbox, max_count: usize, max_bytes: usize) -> Vec<Waiting> {
    let Some(Batch { epoch, mut previous_chain, entries }) = outbox.next_batch(max_count, max_bytes).unwrap() else {
        return Vec::new();
    };
    let whole = |Entry { seq, sha256, content, chain }: Entry| {
        previous_chain = next_chain(&previous_chain, seq, &sha256);
        assert_eq!(chain, previous_chain, "the hash chain");
        Waiting { epoch, seq, sha256, payload: content.payload().unwrap().to_vec() }
    };
    entries.into_iter().map(whole).collect()
}

fn open(fs: &FaultFs) -> (Outbox, Recovery) {
    Outbox::open_on(Arc::new(fs.clone()), &SystemEntropy, Path::new(DIR), LIMITS).unwrap()
}

fn payload(n: usize) -> Vec<u8> {
    vec![u8::try_from(n % 256).unwrap(); 90]
}

/// Appends payloads 1 to `count`, one by one.
fn filled(fs: &FaultFs, count: usize) -> Outbox {
    let (mut outbox, _) = open(fs);
    for n in 1..=count {
        outbox.append(&kept([payload(n)])).unwrap();
    }
    outbox
}

fn segments(fs: &FaultFs) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains(".seg");
    fs.files().into_iter().map(|(path, _)| path).filter(is_segment).collect()
}

fn seqs(batch: &[Waiting]) -> Vec<u64> {
    batch.iter().map(|entry| entry.seq.0).collect()
}

#[test]
fn a_new_outbox_is_empty_and_begins_at_one() {
    let fs = FaultFs::default();
    let (mut outbox, recovery) = open(&fs);
    assert_eq!(recovery.new_epoch, Some(NewEpoch::First));
    assert_ne!(outbox.epoch(), Epoch(0));
    assert_eq!((outbox.last_seq(), outbox.pending()), (Seq(0), 0));
    assert!(waiting(&mut outbox, 10, 1_000).is_empty());
    assert_eq!(outbox.append(&kept([])).unwrap(), Seq(1)..=Seq(0));
    assert_eq!(outbox.append(&kept([payload(1), vec![]])).unwrap(), Seq(1)..=Seq(2));
    assert_eq!(outbox.append(&kept([payload(3)])).unwrap(), Seq(3)..=Seq(3));
    let batch = waiting(&mut outbox, 10, 1_000);
    assert_eq!(seqs(&batch), [1, 2, 3]);
    assert_eq!(batch[0].payload, payload(1));
    assert_eq!(batch[0].sha256, ring::digest::digest(&ring::digest::SHA256, &payload(1)).as_ref());
}

#[test]
fn a_cycle_is_one_write_and_one_sync() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    for _ in 0..5 {
        let (writes, syncs) = fs.writes_and_syncs();
        outbox.append(&kept(vec![payload(1); 3])).unwrap();
        assert_eq!(fs.writes_and_syncs(), (writes + 1, syncs + 1));
    }
}

#[test]
fn numbers_go_on_after_everything_was_acknowledged_and_the_outbox_opened_again() {
    let fs = FaultFs::default();
    let mut outbox = filled(&fs, 20);
    let epoch = outbox.epoch();
    assert_eq!(outbox.acknowledge(epoch, Seq(20), NOW).unwrap(), 20);
    assert!(segments(&fs).len() > 1, "kept for seven days");
    live(&mut outbox, LONG);
    assert_eq!(segments(&fs).len(), 1, "only the one that is being written is left");
    for round in 0..5 {
        drop(outbox);
        fs.crash(&mut fastrand::Rng::with_seed(round));
        let (again, recovery) = open(&fs);
        outbox = again;
        assert_eq!((recovery.new_epoch, recovery.pending), (None, 0));
        assert_eq!(outbox.epoch(), epoch);
        let next = Seq(21 + round);
        assert_eq!(outbox.append(&kept([payload(1)])).unwrap(), next..=next);
        outbox.acknowledge(epoch, next, NOW).unwrap();
    }
}

#[test]
fn batches_keep_to_their_bounds_and_cross_segments() {
    let fs = FaultFs::default();
    let mut outbox = filled(&fs, 10);
    assert!(segments(&fs).len() > 3);
    assert_eq!(seqs(&waiting(&mut outbox, 8, 10_000)), (1..=8).collect::<Vec<_>>());
    assert_eq!(seqs(&waiting(&mut outbox, 100, 450)), (1..=5).collect::<Vec<_>>());
    assert_eq!(seqs(&waiting(&mut outbox, 100, 449)), (1..=4).collect::<Vec<_>>());
    assert_eq!(seqs(&waiting(&mut outbox, 100, 1)), [1], "one at least, or it would block the queue");
    assert!(waiting(&mut outbox, 0, 1_000).is_empty());
    let epoch = outbox.epoch();
    outbox.acknowledge(epoch, Seq(4), NOW).unwrap();
    assert_eq!(seqs(&waiting(&mut outbox, 3, 1_000)), [5, 6, 7]);
    assert_eq!(outbox.pending(), 6);
}

#[test]
fn an_acknowledgement_is_believed_only_as_far_as_numbers_were_given() {
    let fs = FaultFs::default();
    let mut outbox = filled(&fs, 3);
    let epoch = outbox.epoch();
    assert!(matches!(outbox.acknowledge(epoch, Seq(4), NOW), Err(StoreError::AcknowledgedTooMuch { .. })));
    assert!(matches!(outbox.acknowledge(Epoch(epoch.0 ^ 1), Seq(1), NOW), Err(StoreError::UnknownEpoch(_))));
    assert_eq!(outbox.acknowledge(epoch, Seq(2), NOW).unwrap(), 2);
    assert_eq!(outbox.acknowledge(epoch, Seq(1), NOW).unwrap(), 0, "a cloud restored from a backup");
    assert_eq!(outbox.pending(), 1);
}

#[test]
fn a_full_outbox_refuses_and_goes_on_once_the_cloud_has_taken_something() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    let mut accepted = 0;
    let error = loop {
        match outbox.append(&kept([payload(1)])) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100);
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(outbox.used_bytes() <= LIMITS.max_total_bytes);
    assert_eq!(outbox.pending(), accepted);
    let epoch = outbox.epoch();
    outbox.acknowledge(epoch, Seq(accepted), NOW).unwrap();
    assert_eq!(outbox.append(&kept([payload(1)])).unwrap(), Seq(accepted + 1)..=Seq(accepted + 1));
}

#[test]
fn what_is_too_long_is_refused_and_nothing_of_it_taken() {
    let fs = FaultFs::default();
    let limits = Limits { max_total_bytes: 100_000_000, ..LIMITS };
    let (mut outbox, _) = Outbox::open_on(Arc::new(fs), &SystemEntropy, Path::new(DIR), limits).unwrap();
    let too_long = outbox.append(&kept([payload(1), vec![0; MAX_PAYLOAD_BYTES + 1]])).unwrap_err();
    assert!(too_long.to_string().contains("payload 1"), "{too_long}");
    let too_many = vec![vec![0; MAX_PAYLOAD_BYTES]; MAX_APPEND_BYTES / MAX_PAYLOAD_BYTES];
    assert!(matches!(outbox.append(&kept(too_many)), Err(StoreError::AppendTooLong { .. })));
    assert_eq!(outbox.last_seq(), Seq(0));
    outbox.append(&kept([vec![0; MAX_PAYLOAD_BYTES], vec![1; MAX_PAYLOAD_BYTES], payload(3)])).unwrap();
    drop(waiting(&mut outbox, 1, MAX_PAYLOAD_BYTES));
    assert_eq!(waiting(&mut outbox, 3, 3 * MAX_PAYLOAD_BYTES).len(), 3);
}

#[test]
fn it_can_be_handed_to_the_thread_that_may_block() {
    fn may_move<T: Send + 'static>(_: &T) {}
    let (outbox, recovery) = open(&FaultFs::default());
    may_move(&outbox);
    may_move(&recovery);
}

#[test]
fn only_one_may_have_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = Outbox::open(folder.path(), Limits::default()).unwrap();
    assert!(matches!(Outbox::open(folder.path(), Limits::default()), Err(StoreError::InUse(_))));
    drop(first);
    Outbox::open(folder.path(), Limits::default()).unwrap();
}

#[test]
fn on_a_real_disk_what_was_accepted_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("var/outbox");
    let (mut outbox, _) = Outbox::open(&dir, LIMITS).unwrap();
    for n in 1..=12 {
        outbox.append(&kept([payload(n)])).unwrap();
    }
    let epoch = outbox.epoch();
    outbox.acknowledge(epoch, Seq(5), NOW).unwrap();
    drop(outbox);
    let (mut outbox, recovery) = Outbox::open(&dir, LIMITS).unwrap();
    assert_eq!((recovery.epoch, recovery.new_epoch, recovery.pending), (epoch, None, 7));
    let batch = waiting(&mut outbox, 100, 10_000);
    assert_eq!(seqs(&batch), (6..=12).collect::<Vec<_>>());
    assert_eq!(batch[6].payload, payload(12));
}

#[test]
fn after_a_failed_sync_nothing_is_taken_until_opened_again() {
    let fs = FaultFs::default();
    let mut outbox = filled(&fs, 1);
    fs.fail(2, Fault::Once(std::io::ErrorKind::Other)); // 1 is the write, 2 the sync
    assert!(matches!(outbox.append(&kept([payload(2)])), Err(StoreError::Io { act: "sync", .. })));
    assert!(fs.repair());
    let refused = outbox.append(&kept([payload(3)])).unwrap_err();
    assert!(refused.to_string().contains("open it again"), "{refused}");
    assert!(outbox.acknowledge(outbox.epoch(), Seq(1), NOW).is_err());
    assert_eq!(seqs(&waiting(&mut outbox, 10, 1_000)), [1], "what was accepted can still be delivered");
    drop(outbox);
    let (mut outbox, recovery) = open(&fs);
    assert_eq!((recovery.pending, recovery.new_epoch), (1, None));
    assert_eq!(outbox.append(&kept([payload(4)])).unwrap(), Seq(2)..=Seq(2));
}

#[test]
fn an_acknowledgement_is_written_on_a_full_disk() {
    let fs = FaultFs::default();
    let mut outbox = filled(&fs, 9);
    fs.fail(2, Fault::Once(std::io::ErrorKind::StorageFull)); // 1 makes the new state file, 2 writes it
    assert_eq!(outbox.acknowledge(outbox.epoch(), Seq(9), NOW).unwrap(), 9);
    assert!(fs.repair());
    assert!(fs.files().iter().any(|(path, _)| path.ends_with("ballast")), "made again when space was freed");
}

#[test]
fn a_torn_end_is_cut_off_at_every_byte() {
    let fs = FaultFs::default();
    drop(filled(&fs, 2));
    let (path, whole) = fs.files().into_iter().find(|(path, _)| path.to_string_lossy().contains(".seg")).unwrap();
    let record = (whole - SEGMENT_HEADER_BYTES) / 2;
    for cut in 0..whole {
        let fs = fs.copy();
        fs.cut(&path, cut);
        let (mut outbox, recovery) = open(&fs);
        let whole = cut.saturating_sub(SEGMENT_HEADER_BYTES) / record;
        assert_eq!((recovery.pending, recovery.new_epoch), (whole as u64, None), "cut at {cut}");
        let rest = if cut < SEGMENT_HEADER_BYTES { cut } else { (cut - SEGMENT_HEADER_BYTES) % record };
        assert_eq!(recovery.torn_bytes, rest as u64);
        outbox.append(&kept([payload(7)])).unwrap();
        drop(outbox);
        assert_eq!(open(&fs).1.torn_bytes, 0);
    }
}

#[test]
fn damage_in_the_middle_keeps_what_precedes_and_begins_a_new_epoch() {
    let fs = FaultFs::default();
    let outbox = filled(&fs, 9);
    let old = outbox.epoch();
    drop(outbox);
    let damaged = segments(&fs)[1].clone();
    fs.flip(&damaged, 200, 1); // in its second record: number 4 or later
    let (mut outbox, recovery) = open(&fs);
    let Some(NewEpoch::Damaged { file, kept_up_to, .. }) = recovery.new_epoch else { panic!("{recovery:?}") };
    assert!(damaged.ends_with(&file));
    assert_ne!(outbox.epoch(), old);
    assert_eq!(recovery.set_aside.len(), segments(&fs).len() - 1, "that file and those behind it");
    let aside = format!("{}{}", damaged.display(), Standing::Corrupt.suffix());
    assert!(segments(&fs).contains(&PathBuf::from(aside)));

    // New ones go to the new epoch, from 1; the old ones are still delivered first, under their old names.
    assert_eq!(outbox.append(&kept([payload(50)])).unwrap(), Seq(1)..=Seq(1));
    drop(outbox);
    let (mut outbox, recovery) = open(&fs);
    assert_eq!((recovery.new_epoch, recovery.set_aside.len()), (None, 0), "told once");
    let batch = waiting(&mut outbox, 100, 10_000);
    assert_eq!(seqs(&batch), (1..=kept_up_to.0).collect::<Vec<_>>());
    assert!(batch.iter().all(|entry| entry.epoch == old && entry.payload == payload(entry.seq.0 as usize)));
    outbox.acknowledge(old, kept_up_to, NOW).unwrap();
    let batch = waiting(&mut outbox, 100, 10_000);
    assert_eq!((seqs(&batch), &batch[0].payload), (vec![1], &payload(50)));
    assert_eq!(outbox.acknowledge(old, kept_up_to, NOW).unwrap(), 0, "kept for seven days");
    live(&mut outbox, LONG);
    assert!(matches!(outbox.acknowledge(old, kept_up_to, NOW), Err(StoreError::UnknownEpoch(_))));
    drop(outbox);
    assert_eq!(open(&fs).1.pending, 1);
}

#[test]
fn a_lost_state_delivers_everything_again_under_its_old_names() {
    let fs = FaultFs::default();
    let mut outbox = filled(&fs, 9);
    let old = outbox.epoch();
    outbox.acknowledge(old, Seq(8), NOW).unwrap();
    drop(outbox);
    fs.flip(&Path::new(DIR).join("state"), 20, 4);
    let (mut outbox, recovery) = open(&fs);
    assert!(matches!(recovery.new_epoch, Some(NewEpoch::StateLost { .. })));
    assert_ne!(outbox.epoch(), old);
    let batch = waiting(&mut outbox, 100, 10_000);
    assert_eq!(batch.last().map(|entry| (entry.epoch, entry.seq)), Some((old, Seq(9))));
    outbox.append(&kept([payload(1)])).unwrap();
    outbox.acknowledge(old, Seq(9), NOW).unwrap();
    assert_eq!(waiting(&mut outbox, 100, 10_000).len(), 1);
}

#[test]
fn a_flipped_byte_anywhere_never_brings_a_wrong_payload_and_never_stops_the_outbox() {
    let fs = FaultFs::default();
    let mut outbox = filled(&fs, 10);
    let old = outbox.epoch();
    outbox.acknowledge(old, Seq(2), NOW).unwrap();
    drop(outbox);
    let mut new_epochs = 0;
    for (path, length) in fs.files() {
        for offset in (0..length.min(2_000)).step_by(1) {
            for mask in [0x01, 0x80, 0xff] {
                let fs = fs.copy();
                fs.flip(&path, offset, mask);
                let (mut outbox, recovery) = open(&fs);
                new_epochs += u32::from(recovery.new_epoch.is_some());
                let batch = waiting(&mut outbox, 100, 10_000);
                for (entry, seq) in batch.iter().zip(batch.first().map_or(0, |entry| entry.seq.0)..) {
                    assert_eq!((entry.epoch, entry.seq), (old, Seq(seq)));
                    assert_eq!(entry.payload, payload(seq as usize));
                }
                let undamaged = recovery.new_epoch.is_none();
                assert!(!undamaged || batch.len() == 8, "{path:?} {offset}: something is gone and nobody said so");
                // Whatever was damaged: life goes on, and the numbers are not used again.
                let epoch = outbox.epoch();
                let next = outbox.append(&kept([payload(99)])).unwrap();
                assert_eq!(next, if undamaged { Seq(11)..=Seq(11) } else { Seq(1)..=Seq(1) });
                assert_eq!(epoch == old, undamaged);
                drop(outbox);
                assert_eq!(open(&fs).1.new_epoch, None);
            }
        }
    }
    assert!(new_epochs > 1_000, "most of these bytes matter");
}

#[test]
fn damage_that_appears_while_it_is_open_is_not_delivered() {
    let fs = FaultFs::default();
    let mut outbox = filled(&fs, 3);
    fs.flip(&segments(&fs)[0], SEGMENT_HEADER_BYTES + 60, 1);
    let error = outbox.next_batch(10, 1_000).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(outbox.append(&kept([payload(4)])).is_err(), "to be opened again first");
    drop(outbox);
    assert!(matches!(open(&fs).1.new_epoch, Some(NewEpoch::Damaged { kept_up_to: Seq(0), .. })));
}

#[test]
fn a_disk_that_forgot_what_the_cloud_already_has_does_not_give_the_number_again() {
    let fs = FaultFs::default();
    let mut outbox = filled(&fs, 2);
    let old = outbox.epoch();
    outbox.acknowledge(old, Seq(2), NOW).unwrap();
    drop(outbox);
    let segment = segments(&fs)[0].clone();
    fs.cut(&segment, SEGMENT_HEADER_BYTES + RECORD_HEAD_BYTES + 90); // exactly its first record: looks whole
    let (mut outbox, recovery) = open(&fs);
    assert!(matches!(recovery.new_epoch, Some(NewEpoch::Damaged { .. })), "{recovery:?}");
    outbox.append(&kept([payload(9)])).unwrap();
    assert_ne!(waiting(&mut outbox, 1, 1_000)[0].epoch, old);
}

#[test]
fn a_state_older_than_the_segments_is_not_believed() {
    let fs = FaultFs::default();
    drop(filled(&fs, 3));
    let path = Path::new(DIR).join("state");
    let old = Fs::read_at(&fs, &path, 0, 10_000).unwrap();
    fs.flip(&segments(&fs)[0], SEGMENT_HEADER_BYTES + 60, 1);
    let (mut outbox, _) = open(&fs);
    outbox.append(&kept([payload(1)])).unwrap();
    let second = outbox.epoch();
    drop(outbox);
    super::files::write_atomically(&fs, &path, &old).unwrap();
    let (mut outbox, recovery) = open(&fs);
    assert!(matches!(recovery.new_epoch, Some(NewEpoch::StateLost { .. })), "{recovery:?}");
    assert_ne!(outbox.epoch(), second);
    assert_eq!(waiting(&mut outbox, 9, 1_000)[0].epoch, second, "still to be delivered");
}

#[test]
fn a_removed_file_is_damage_too() {
    let fs = FaultFs::default();
    drop(filled(&fs, 9));
    Fs::remove(&fs, &segments(&fs)[1]).unwrap();
    let (mut outbox, recovery) = open(&fs);
    let Some(NewEpoch::Damaged { what, kept_up_to, .. }) = recovery.new_epoch else { panic!("{recovery:?}") };
    assert!(what.contains("missing"));
    assert_eq!(waiting(&mut outbox, 100, 10_000).len() as u64, kept_up_to.0);
}

#[test]
fn a_dying_disk_does_not_pile_up_epochs_or_files() {
    let fs = FaultFs::default();
    let limits = Limits { max_total_bytes: 1_000_000, ..LIMITS };
    let open = |fs: &FaultFs| Outbox::open_on(Arc::new(fs.clone()), &SystemEntropy, Path::new(DIR), limits).unwrap();
    let mut given_up = 0;
    for _ in 0..40 {
        let (mut outbox, _) = open(&fs);
        for n in 1..=6 {
            outbox.append(&kept([payload(n)])).unwrap();
        }
        assert!(outbox.pending() < 200);
        drop(outbox);
        let current = segments(&fs).into_iter().filter(|path| path.to_string_lossy().ends_with(".seg"));
        fs.flip(&current.max().unwrap(), 100, 1);
        let (_, recovery) = open(&fs);
        assert!(matches!(recovery.new_epoch, Some(NewEpoch::Damaged { .. })));
        given_up += recovery.given_up;
    }
    assert!(given_up > 0);
    assert!(segments(&fs).len() < 80, "{}", segments(&fs).len());
}

#[test]
fn a_record_that_was_exchanged_for_another_right_one_is_found_out_by_the_chain() {
    let fs = FaultFs::default();
    let outbox = filled(&fs, 9);
    let old = outbox.epoch();
    drop(outbox);
    // The second segment, numbers 3 and 4, written anew with all checksums right and one payload another.
    let path = segments(&fs)[1].clone();
    let (epoch, first, chain) =
        read_segment_header(&Fs::read_at(&fs, &path, 0, SEGMENT_HEADER_BYTES).unwrap()).unwrap();
    assert_eq!((epoch, first), (old, Seq(3)));
    let mut bytes = Vec::new();
    write_segment_header(&mut bytes, epoch, first, &chain);
    write_record(&mut bytes, Seq(3), &Label::kept(), &payload(77));
    write_record(&mut bytes, Seq(4), &Label::kept(), &payload(4));
    super::files::write_atomically(&fs, &path, &bytes).unwrap();
    let (_, recovery) = open(&fs);
    let Some(NewEpoch::Damaged { what, kept_up_to, .. }) = recovery.new_epoch else { panic!("{recovery:?}") };
    assert!(what.contains("hash chain"), "{what}");
    assert_eq!(kept_up_to, Seq(4), "the files that the chain does not lead to are not delivered");
}
