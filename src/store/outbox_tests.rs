//! What the outbox promises, tried against crashes at every byte, flipped bits, and a simple model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn open(folder: &tempfile::TempDir) -> (Outbox, Recovery) {
    Outbox::open(folder.path(), OutboxLimits::default()).unwrap()
}

fn payload(n: u64) -> Vec<u8> {
    format!("reading {n}").into_bytes()
}

fn newest_segment(folder: &tempfile::TempDir) -> PathBuf {
    let (_, _, path) = epoch_folders(folder.path()).unwrap().pop().unwrap();
    segment_path(&path, segment_firsts(&path).unwrap().pop().unwrap())
}

#[test]
fn an_accepted_reading_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let epoch = {
        let (mut outbox, _) = open(&folder);
        assert_eq!(outbox.append(&[payload(1), payload(2)]).unwrap(), 1..=2);
        outbox.epoch()
    };
    let (outbox, recovery) = open(&folder);
    assert_eq!((outbox.epoch(), recovery.pending), (epoch, 2));
    let (batch_epoch, batch) = outbox.next_batch(10, 10_000).unwrap();
    assert_eq!(batch_epoch, epoch);
    assert_eq!(batch.iter().map(|e| e.payload.clone()).collect::<Vec<_>>(), [payload(1), payload(2)]);
}

#[test]
fn numbers_are_not_used_again_after_everything_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (mut outbox, _) = open(&folder);
        outbox.append(&[payload(1), payload(2), payload(3)]).unwrap();
        outbox.acknowledge(outbox.epoch(), 3).unwrap();
        assert_eq!(outbox.pending(), 0);
    }
    // Even when the segment is gone.
    fs::remove_file(newest_segment(&folder)).unwrap();
    let (mut outbox, _) = open(&folder);
    assert_eq!(outbox.append(&[payload(4)]).unwrap(), 4..=4);
}

#[test]
fn closed_segments_are_deleted_when_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(&folder);
    let large = vec![7; PAYLOAD_MAX_BYTES];
    for _ in 0..20 {
        outbox.append(&[large.clone(), large.clone()]).unwrap();
    }
    assert!(outbox.epochs[0].segments.len() >= 2);
    outbox.acknowledge(outbox.epoch(), 40).unwrap();
    assert_eq!(outbox.epochs[0].segments.len(), 1);
    assert_eq!(outbox.append(&[payload(41)]).unwrap(), 41..=41);
    assert_eq!(outbox.next_batch(10, 10_000).unwrap().1[0].payload, payload(41));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(&folder);
    outbox.append(&[payload(1)]).unwrap();
    let epoch = outbox.epoch();
    assert!(matches!(outbox.acknowledge(epoch, 2), Err(StoreError::UnknownAck { .. })));
    assert!(matches!(outbox.acknowledge(epoch ^ 1, 1), Err(StoreError::UnknownAck { .. })));
    assert_eq!(outbox.pending(), 1);
}

#[test]
fn a_full_outbox_says_so_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, _) = Outbox::open(folder.path(), OutboxLimits { total_bytes: 200 }).unwrap();
    outbox.append(&[payload(1), payload(2)]).unwrap();
    assert!(matches!(outbox.append(&[payload(3), payload(4)]), Err(StoreError::Full { .. })));
    assert_eq!((outbox.pending(), outbox.last_seq()), (2, 2));
}

#[test]
fn a_second_process_does_not_get_in() {
    let folder = tempfile::tempdir().unwrap();
    let (_outbox, _) = open(&folder);
    assert!(matches!(Outbox::open(folder.path(), OutboxLimits::default()), Err(StoreError::InUse { .. })));
}

#[test]
fn batches_keep_their_limits_and_a_large_reading_still_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(&folder);
    outbox.append(&[vec![1; 5_000], payload(2), payload(3)]).unwrap();
    assert_eq!(outbox.next_batch(10, 1_000).unwrap().1.len(), 1);
    assert_eq!(outbox.next_batch(2, 100_000).unwrap().1.len(), 2);
}

#[test]
fn wherever_the_last_write_is_cut_what_was_accepted_before_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (accepted, whole) = {
        let (mut outbox, _) = open(&folder);
        outbox.append(&[payload(1)]).unwrap();
        let accepted = fs::metadata(newest_segment(&folder)).unwrap().len();
        outbox.append(&[payload(2), payload(3)]).unwrap();
        (accepted, fs::read(newest_segment(&folder)).unwrap())
    };
    for cut in usize::try_from(accepted).unwrap()..whole.len() {
        fs::write(newest_segment(&folder), &whole[..cut]).unwrap();
        let (mut outbox, recovery) = open(&folder);
        assert!(recovery.damaged.is_empty() && recovery.pending >= 1, "cut at {cut}");
        let next = outbox.last_seq() + 1;
        assert_eq!(*outbox.append(&[payload(9)]).unwrap().start(), next);
        assert_eq!(outbox.next_batch(1, 1_000).unwrap().1[0].payload, payload(1));
    }
}

#[test]
fn a_damaged_record_ends_the_epoch_and_nothing_wrong_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let old_epoch = {
        let (mut outbox, _) = open(&folder);
        outbox.append(&(1..=5).map(payload).collect::<Vec<_>>()).unwrap();
        outbox.epoch()
    };
    let segment = newest_segment(&folder);
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2; // in record 3
    bytes[middle] ^= 0x40;
    fs::write(&segment, bytes).unwrap();

    let (mut outbox, recovery) = open(&folder);
    assert_eq!(recovery.damaged.len(), 1);
    assert_ne!(outbox.epoch(), old_epoch);
    outbox.append(&[payload(100)]).unwrap();
    let (epoch, batch) = outbox.next_batch(10, 10_000).unwrap();
    assert_eq!((epoch, batch.len()), (old_epoch, 2));
    outbox.acknowledge(old_epoch, 2).unwrap();
    let (epoch, batch) = outbox.next_batch(10, 10_000).unwrap();
    assert_eq!((epoch, batch[0].payload.clone()), (outbox.epoch(), payload(100)));
    drop(outbox);
    let (outbox, recovery) = open(&folder);
    assert_eq!((outbox.pending(), recovery.damaged.len()), (1, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Acknowledge(prop::sample::Index),
    Restart,
    TornWrite(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1usize..4).prop_map(Step::Append),
        2 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
        1 => Just(Step::Restart),
        1 => proptest::collection::vec(any::<u8>(), 0..60).prop_map(Step::TornWrite),
    ];
    proptest::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_accepted_is_lost_and_no_number_is_used_twice(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = Some(open(&folder).0);
        let mut accepted: BTreeMap<Seq, Vec<u8>> = BTreeMap::new();
        let mut acknowledged = 0;
        for step in steps {
            match step {
                Step::Append(count) => {
                    let box_ = outbox.as_mut().unwrap();
                    let next = accepted.len() as u64 + 1;
                    let payloads: Vec<_> = (next..).take(count).map(payload).collect();
                    let range = box_.append(&payloads).unwrap();
                    prop_assert_eq!(*range.start(), next);
                    accepted.extend(range.zip(payloads));
                }
                Step::Acknowledge(index) => {
                    let box_ = outbox.as_mut().unwrap();
                    let seq = index.index(accepted.len() + 1) as u64;
                    box_.acknowledge(box_.epoch(), seq).unwrap();
                    acknowledged = acknowledged.max(seq);
                }
                Step::Restart => {
                    drop(outbox.take());
                    outbox = Some(open(&folder).0);
                }
                Step::TornWrite(bytes) => {
                    drop(outbox.take());
                    if epoch_folders(folder.path()).unwrap().iter().any(|(_, _, p)| !segment_firsts(p).unwrap().is_empty()) {
                        OpenOptions::new().append(true).open(newest_segment(&folder)).unwrap().write_all(&bytes).unwrap();
                    }
                    outbox = Some(open(&folder).0);
                }
            }
            let box_ = outbox.as_ref().unwrap();
            let (_, batch) = box_.next_batch(usize::MAX, usize::MAX).unwrap();
            let waiting: Vec<_> = batch.into_iter().map(|e| (e.seq, e.payload)).collect();
            let expected: Vec<_> = accepted.range(acknowledged + 1..).map(|(s, p)| (*s, p.clone())).collect();
            prop_assert_eq!(waiting, expected);
        }
    }
}
