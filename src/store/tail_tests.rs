//! What is kept after the acknowledgement, and what is kept back for a full disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Content, Draft, Epoch, Label, Limits, NewEpoch, Outbox, Recovery, Resend, Seq, StoreError, TAIL_S};
use crate::sys::{Fault, FaultFs, Fs as _, SystemEntropy};

const DIR: &str = "/box/outbox";
const LIMITS: Limits = Limits { max_total_bytes: 40_000, segment_bytes: 500 };
const NOW: u64 = 1_764_000_000;
const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 86_400;

fn open(fs: &FaultFs) -> (Outbox, Recovery) {
    Outbox::open_on(Arc::new(fs.clone()), &SystemEntropy, Path::new(DIR), LIMITS).unwrap()
}

fn payload(n: u64) -> Vec<u8> {
    vec![u8::try_from(n % 251).unwrap(); 90]
}

fn append(outbox: &mut Outbox, count: u64) {
    for _ in 0..count {
        let payload = payload(outbox.last_seq().0 + 1);
        outbox.append(&[Draft { payload, label: Label::kept() }]).unwrap();
    }
}

/// The numbers that wait; every payload is compared.
fn waiting(outbox: &mut Outbox) -> Vec<u64> {
    let entries = outbox.next_batch(1_000, 1_000_000).unwrap().map_or(Vec::new(), |batch| batch.entries);
    entries.iter().for_each(|entry| assert_eq!(entry.content, Content::Payload(payload(entry.seq.0))));
    entries.iter().map(|entry| entry.seq.0).collect()
}

fn segments(fs: &FaultFs) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains(".seg");
    fs.files().into_iter().map(|(path, _)| path).filter(is_segment).collect()
}

fn has_ballast(fs: &FaultFs) -> bool {
    fs.files().iter().any(|(path, length)| path.ends_with("ballast") && *length as u64 == LIMITS.ballast_bytes())
}

/// Lets time pass from one point to another, in hours.
fn live(outbox: &mut Outbox, from_s: u64, to_s: u64) {
    (from_s..=to_s).step_by(HOUR_S as usize).for_each(|now_s| outbox.tidy(now_s).unwrap());
}

#[test]
fn what_was_acknowledged_is_kept_for_seven_days_and_no_longer() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    let epoch = outbox.epoch();
    outbox.acknowledge(epoch, Seq(20), NOW).unwrap();
    live(&mut outbox, NOW, NOW + TAIL_S - HOUR_S);
    drop(outbox);
    let (mut outbox, _) = open(&fs);
    assert_eq!(outbox.resend_from(epoch, Seq(1)).unwrap(), Resend { again: 20, lost: 0 });
    assert_eq!(waiting(&mut outbox), (1..=20).collect::<Vec<_>>());
    outbox.acknowledge(epoch, Seq(20), NOW + TAIL_S - HOUR_S).unwrap();
    live(&mut outbox, NOW + TAIL_S, NOW + 2 * TAIL_S);
    let held = segments(&fs).len();
    assert_eq!(held, 1, "the last one is held until another follows");
    append(&mut outbox, 1);
    outbox.tidy(NOW + 2 * TAIL_S + HOUR_S).unwrap();
    assert_eq!(segments(&fs).len(), 1, "the one that was written was closed after a day");
    let Resend { again, lost } = outbox.resend_from(epoch, Seq(1)).unwrap();
    assert_eq!((again, lost), (0, 20));
    assert_eq!(waiting(&mut outbox), [21], "goes on from the first that is held");
}

#[test]
fn a_resend_is_durable_and_comes_once() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 10);
    let epoch = outbox.epoch();
    outbox.acknowledge(epoch, Seq(8), NOW).unwrap();
    assert_eq!(outbox.resend_from(epoch, Seq(5)).unwrap(), Resend { again: 4, lost: 0 });
    drop(outbox);
    fs.crash(&mut fastrand::Rng::with_seed(1));
    let (mut outbox, recovery) = open(&fs);
    assert_eq!((recovery.pending, recovery.new_epoch), (6, None));
    assert_eq!(waiting(&mut outbox), [5, 6, 7, 8, 9, 10]);
    assert_eq!(outbox.acknowledge(epoch, Seq(8), NOW).unwrap(), 4);
    assert_eq!(outbox.resend_from(epoch, Seq(9)).unwrap(), Resend::default(), "that waits anyway");
    assert_eq!(outbox.resend_from(epoch, Seq(11)).unwrap(), Resend::default());
    assert!(matches!(outbox.resend_from(epoch, Seq(12)), Err(StoreError::NeverGiven { last: Seq(10), .. })));
    assert!(matches!(outbox.resend_from(Epoch(epoch.0 ^ 1), Seq(1)), Err(StoreError::UnknownEpoch(_))));
    append(&mut outbox, 1);
    assert_eq!(waiting(&mut outbox), [9, 10, 11], "no number was given again");
}

#[test]
fn a_clock_that_jumps_neither_ends_the_tail_nor_keeps_it_for_ever() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    let epoch = outbox.epoch();
    // A box that starts in 1970, delivers, and then is told the time.
    outbox.acknowledge(epoch, Seq(20), 1_000).unwrap();
    outbox.tidy(1_300).unwrap();
    outbox.tidy(NOW).unwrap();
    assert_eq!(outbox.current.first_held(), Seq(1));
    // Set back for good, and on it goes.
    outbox.tidy(5_000).unwrap();
    live(&mut outbox, 5_000, 5_000 + 5 * DAY_S);
    assert_eq!(outbox.current.first_held(), Seq(1));
    live(&mut outbox, 5_000 + 5 * DAY_S, 5_000 + 7 * DAY_S);
    assert!(outbox.current.first_held() > Seq(10));
}

#[test]
fn time_passes_although_the_box_restarts_and_nothing_is_acknowledged() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    let epoch = outbox.epoch();
    outbox.acknowledge(epoch, Seq(20), NOW).unwrap();
    drop(outbox);
    for hours in (0..9 * 24).step_by(7) {
        let (mut outbox, _) = open(&fs);
        live(&mut outbox, NOW + hours * HOUR_S, NOW + (hours + 6) * HOUR_S);
    }
    let (outbox, _) = open(&fs);
    assert!(outbox.current.first_held() > Seq(10));
}

#[test]
fn a_tidy_that_has_nothing_to_do_writes_nothing() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    outbox.acknowledge(outbox.epoch(), Seq(10), NOW).unwrap();
    let before = fs.writes_and_syncs();
    (0..60).for_each(|minutes| outbox.tidy(NOW + minutes * 60).unwrap());
    assert_eq!(fs.writes_and_syncs(), before);
}

#[test]
fn the_tail_is_given_up_before_anything_is_thinned_or_refused() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    let draft = |day| Draft { payload: vec![1; 200], label: Label { group: 5, day, is_kept: false, base: None } };
    for round in 0..20 {
        for _ in 0..20 {
            outbox.append(&[draft(round)]).unwrap();
            assert!(outbox.used_bytes() <= LIMITS.max_total_bytes);
        }
        let last = outbox.last_seq();
        outbox.acknowledge(outbox.epoch(), last, NOW).unwrap();
    }
    assert_eq!(outbox.thinned(), 0);
    assert!(outbox.used_bytes() > LIMITS.max_total_bytes / 10 * 8, "kept as long as there is room");
}

#[test]
fn what_waits_keeps_the_whole_reading_that_it_needs_although_the_room_is_wanted() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    let draft = |base| Draft { payload: vec![1; 200], label: Label { group: 5, day: 1, is_kept: true, base } };
    // Ten that nothing needs, the base, its first update; all of it delivered. Then updates that wait.
    for _ in 0..11 {
        outbox.append(&[draft(None)]).unwrap();
    }
    let base = outbox.last_seq();
    let epoch = outbox.epoch();
    outbox.append(&[draft(Some(base))]).unwrap();
    outbox.acknowledge(epoch, Seq(12), NOW).unwrap();
    while outbox.append(&[draft(Some(base))]).is_ok() {}
    let first_held = |outbox: &mut Outbox| {
        let Resend { again, lost } = outbox.resend_from(epoch, Seq(1)).unwrap();
        assert!(again > 0 && lost > 0, "{again} {lost}");
        lost + 1
    };
    let held = first_held(&mut outbox);
    assert!(held > 5 && held <= base.0, "the base is held: from {held} on");
    let batch = outbox.next_batch(1_000, 1_000_000).unwrap().unwrap();
    assert!(batch.entries.iter().any(|entry| entry.seq == base && entry.content.payload().is_some()));
    // Once nothing that waits needs it, it goes.
    let last = outbox.last_seq();
    outbox.acknowledge(epoch, last, NOW).unwrap();
    for _ in 0..100 {
        outbox.append(&[draft(None)]).unwrap();
    }
    assert!(first_held(&mut outbox) > base.0);
}

#[test]
fn a_base_lies_at_most_a_quarter_of_the_quota_back() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    assert_eq!(outbox.bases_from(), Seq(1));
    append(&mut outbox, 100);
    let distance = outbox.last_seq().0 - outbox.bases_from().0;
    assert!((40..=80).contains(&distance), "{distance} records of some 160 bytes, of a quota of 40,000");
}

#[test]
fn damage_in_the_tail_costs_the_tail_and_nothing_that_waits() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    let epoch = outbox.epoch();
    outbox.acknowledge(epoch, Seq(15), NOW).unwrap();
    drop(outbox);
    for which in 0..4 {
        for offset in [3, 50, 61, 70, 100, 200, 300] {
            let fs = fs.copy();
            fs.flip(&segments(&fs)[which], offset, 4);
            let (mut outbox, recovery) = open(&fs);
            assert_eq!((outbox.epoch(), recovery.new_epoch.clone()), (epoch, None), "{which} {offset}");
            assert_eq!(waiting(&mut outbox), [16, 17, 18, 19, 20]);
            let resend = outbox.resend_from(epoch, Seq(1)).unwrap();
            assert_eq!(resend.again + resend.lost, 15);
            assert_eq!(resend.lost, recovery.tail_lost);
            // Of a payload that is damaged, number and hash are left.
            let batch = outbox.next_batch(100, 100_000).unwrap().unwrap();
            let whole = batch.entries.iter().filter(|entry| entry.content == Content::Payload(payload(entry.seq.0)));
            let damaged = usize::from(recovery.tail_lost == 0);
            assert_eq!(whole.count(), batch.entries.len() - damaged, "{which} {offset}");
            drop(outbox);
            let (outbox, recovery) = open(&fs);
            assert_eq!((outbox.epoch(), recovery.new_epoch, recovery.tail_lost), (epoch, None, 0));
        }
    }
}

#[test]
fn a_closed_epoch_is_kept_as_long_as_its_tail() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    let old = outbox.epoch();
    drop(outbox);
    fs.flip(&segments(&fs)[4], 200, 1);
    let (mut outbox, recovery) = open(&fs);
    let Some(NewEpoch::Damaged { kept_up_to, .. }) = recovery.new_epoch else { panic!("{recovery:?}") };
    outbox.acknowledge(old, kept_up_to, NOW).unwrap();
    live(&mut outbox, NOW, NOW + 6 * DAY_S);
    drop(outbox);
    let (mut outbox, _) = open(&fs);
    assert_eq!(outbox.resend_from(old, Seq(3)).unwrap(), Resend { again: kept_up_to.0 - 2, lost: 0 });
    assert_eq!(waiting(&mut outbox), (3..=kept_up_to.0).collect::<Vec<_>>());
    outbox.acknowledge(old, kept_up_to, NOW + 6 * DAY_S).unwrap();
    live(&mut outbox, NOW + 6 * DAY_S, NOW + 14 * DAY_S);
    assert!(matches!(outbox.resend_from(old, Seq(3)), Err(StoreError::UnknownEpoch(_))));
}

#[test]
fn of_an_ended_epoch_it_is_told_what_is_held_and_what_is_gone_is_not_awaited() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    let old = outbox.epoch();
    assert_eq!(outbox.ended(), []);
    outbox.acknowledge(old, Seq(20), NOW).unwrap();
    drop(outbox);
    // The newest file is gone, and with it what the cloud has acknowledged.
    let newest = segments(&fs).pop().unwrap();
    fs.remove(&newest).unwrap();
    let (outbox, recovery) = open(&fs);
    assert!(matches!(recovery.new_epoch, Some(NewEpoch::Damaged { .. })), "{recovery:?}");
    drop(outbox);
    let (mut outbox, _) = open(&fs);
    let [ended] = outbox.ended()[..] else { panic!("{:?}", outbox.ended()) };
    assert_eq!((ended.epoch, ended.acknowledged), (old, ended.last));
    assert!(ended.last.0 > 10 && ended.last.0 < 20, "{ended:?}");
    assert_eq!(outbox.pending(), 0);
    outbox.resend_from(old, Seq(3)).unwrap();
    assert_eq!(waiting(&mut outbox), (3..=ended.last.0).collect::<Vec<_>>());
    outbox.acknowledge(old, ended.last, NOW).unwrap();
    assert_eq!(outbox.pending(), 0, "nothing waits that is not there");
}

#[test]
fn a_cloud_that_has_what_the_disk_has_lost_of_an_epoch_ends_the_waiting_for_it() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    let old = outbox.epoch();
    drop(outbox);
    fs.flip(&segments(&fs)[4], 200, 1);
    let (mut outbox, recovery) = open(&fs);
    let Some(NewEpoch::Damaged { kept_up_to, .. }) = recovery.new_epoch else { panic!("{recovery:?}") };
    // All of it had arrived; only the acknowledgement was not written down.
    assert_eq!(outbox.acknowledge(old, Seq(20), NOW).unwrap(), kept_up_to.0);
    assert_eq!((outbox.pending(), waiting(&mut outbox)), (0, vec![]));
    let error = outbox.acknowledge(outbox.epoch(), Seq(1), NOW).unwrap_err();
    assert!(
        matches!(error, StoreError::AcknowledgedTooMuch { .. }),
        "of the present epoch nothing is forgotten: {error}"
    );
}

#[test]
fn invariant_11_everything_bounded_the_folder_stays_within_quota_ballast_and_little_more() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    let mut random = fastrand::Rng::with_seed(11);
    let mut now_s = NOW;
    for round in 0..3_000_u32 {
        now_s += random.u64(0..4 * HOUR_S);
        let label = Label { group: random.u64(0..6), day: round / 60, is_kept: random.u8(0..50) == 0, base: None };
        match outbox.append(&[Draft { payload: vec![1; random.usize(0..400)], label }]) {
            Ok(_) | Err(StoreError::Full { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        outbox.tidy(now_s).unwrap();
        if random.u8(0..200) == 0 {
            let last = outbox.last_seq();
            outbox.acknowledge(outbox.epoch(), last, now_s).unwrap();
        }
        if round % 500 == 499 {
            // Damage, which leaves files as evidence.
            drop(outbox);
            let paths = segments(&fs);
            let path = &paths[random.usize(..paths.len())];
            fs.flip(path, random.usize(0..60), 1);
            outbox = open(&fs).0;
        }
        let quota = LIMITS.max_total_bytes + LIMITS.ballast_bytes();
        let evidence = 5 * LIMITS.segment_bytes;
        let total: u64 = fs.files().iter().map(|(_, length)| *length as u64).sum();
        assert!(total <= quota + evidence + super::limits::MAX_STATE_BYTES as u64, "{total} bytes in round {round}");
        assert!(fs.files().len() < 300);
    }
}

#[test]
fn invariant_11_everything_bounded_the_limits_follow_the_partition() {
    let gib = 1 << 30;
    assert_eq!(Limits::for_partition(8 * gib), Limits::default());
    assert_eq!(Limits::default().ballast_bytes(), 1024 * 1024);
    let small = Limits::for_partition(2_000_000);
    assert_eq!(small.max_total_bytes, 1_200_000);
    assert!(small.ballast_bytes() < 100_000 && small.segment_bytes < 100_000);
    let all = small.max_total_bytes + small.ballast_bytes() + small.segment_bytes;
    assert!(all < 2_000_000);
    assert_eq!(Limits::for_partition(0).ballast_bytes(), 0);
}

/// A disk on which nothing is free.
fn fill_up(fs: &FaultFs) {
    fs.set_capacity(Some(fs.files().iter().map(|(_, length)| length).sum()));
}

#[test]
fn on_a_full_disk_it_opens_delivers_acknowledges_and_goes_on_when_there_is_room() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    let epoch = outbox.epoch();
    assert!(has_ballast(&fs));
    fill_up(&fs);
    drop(outbox);
    let (mut outbox, recovery) = open(&fs);
    assert_eq!((recovery.pending, recovery.new_epoch), (20, None));
    let refused = outbox.append(&[Draft { payload: payload(21), label: Label::kept() }]).unwrap_err();
    assert!(refused.is_disk_full() && refused.to_string().contains("make room on it"), "{refused}");
    drop(outbox);
    let (mut outbox, _) = open(&fs);
    assert_eq!(waiting(&mut outbox), (1..=20).collect::<Vec<_>>());
    outbox.acknowledge(epoch, Seq(10), NOW).unwrap();
    // The acknowledgement took from the ballast, and what the cloud has made it good; there is even room for more.
    assert!(has_ballast(&fs));
    drop(outbox);
    let (mut outbox, recovery) = open(&fs);
    assert_eq!(recovery.pending, 10);
    append(&mut outbox, 1);
    assert_eq!(waiting(&mut outbox), (11..=21).collect::<Vec<_>>());
    fs.set_capacity(None);
    append(&mut outbox, 20);
    assert_eq!(outbox.pending(), 31);
}

#[test]
fn a_damaged_outbox_opens_on_a_full_disk() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 20);
    drop(outbox);
    fs.flip(&segments(&fs)[3], 100, 1);
    fill_up(&fs);
    let (mut outbox, recovery) = open(&fs);
    let Some(NewEpoch::Damaged { kept_up_to, .. }) = recovery.new_epoch else { panic!("{recovery:?}") };
    assert_eq!(waiting(&mut outbox).len() as u64, kept_up_to.0);
}

#[test]
fn a_disk_that_others_have_filled_takes_readings_in_the_place_of_the_tail() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 40);
    outbox.acknowledge(outbox.epoch(), Seq(40), NOW).unwrap();
    fill_up(&fs);
    append(&mut outbox, 10);
    assert_eq!(waiting(&mut outbox), (41..=50).collect::<Vec<_>>());
    drop(outbox);
    assert_eq!(open(&fs).1.pending, 10);
}

#[test]
fn a_read_only_disk_is_named_for_what_it_is() {
    let fs = FaultFs::default();
    let (mut outbox, _) = open(&fs);
    append(&mut outbox, 3);
    fs.fail(1, Fault::ReadOnly);
    let error = outbox.append(&[Draft { payload: vec![], label: Label::kept() }]).unwrap_err();
    assert!(error.is_read_only(), "{error}");
    assert_eq!(waiting(&mut outbox), [1, 2, 3], "what was accepted can still be delivered");
    drop(outbox);
    let opened = Outbox::open_on(Arc::new(fs.clone()), &SystemEntropy, Path::new(DIR), LIMITS);
    let error = opened.unwrap_err();
    assert!(error.is_read_only() && error.to_string().contains("the disk is read-only"), "{error}");
    fs.repair();
    assert_eq!(open(&fs).1.pending, 3);
}
