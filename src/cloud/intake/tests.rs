//! The intake over both makings of its rows: memory and SQLite do the same.

use std::fmt::Debug;

use prost::Message;

use super::memory::{Lie, MemoryError, MemoryRows};
use super::*;
use crate::proto::v1::record::What;

/// Noon of a day in 2026, in milliseconds since 1970.
const NOON: i64 = 1_795_608_000_000;

/// Boxes a and b share a site; c is alone.
const BOXES: [(&str, &str); 3] = [("a", "office"), ("b", "office"), ("c", "c")];

fn memory() -> MemoryRows {
    let rows = MemoryRows::default();
    BOXES.iter().for_each(|(id, site)| rows.add_box(id, site, NOON));
    rows
}

/// Tries a scenario over both.
macro_rules! over_both {
    ($($name:ident => $scenario:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            $scenario(&memory()).await;
            let folder = tempfile::tempdir().unwrap();
            let database = crate::cloud::db::Database::open(folder.path()).await.unwrap();
            for (id, site) in BOXES {
                database.add_box(id, id, site, id, 0).await.unwrap();
            }
            $scenario(&database).await;
            database.close().await;
        }
    )*};
}

over_both! {
    what_comes_twice_is_stored_once_and_other_content_stops_the_box => twice_and_conflict;
    beyond_a_gap_nothing_is_acknowledged_until_it_is_filled => gap;
    a_thinned_record_never_replaces_content_and_content_fills_a_thinned_one => thinned;
    a_hash_chain_that_does_not_fit_stops_the_box => chains;
    an_update_makes_the_whole_reading_of_its_base_and_is_never_guessed => updates;
    an_old_copy_of_a_box_is_noticed_and_a_released_one_begins_a_new_epoch => restored;
    numbers_that_were_given_again_are_found_in_an_epoch_that_has_ended => restored_and_damaged;
    a_released_box_that_does_not_end_its_epoch_is_stopped_again => unwilling;
    two_boxes_with_one_certificate_are_noticed_and_a_late_poll_is_none => cloned;
    a_restored_cloud_asks_for_what_it_lacks_and_passes_over_what_is_gone => resend;
    a_restored_cloud_asks_for_epochs_that_have_ended_as_well => ended;
    an_anchor_dates_what_was_taken_before_it => anchored;
    a_printer_is_taken_over_within_three_polls_and_nothing_is_doubled => takeover;
    a_printer_that_its_holder_cannot_read_is_read_by_another => takeover_of_one;
    a_key_change_holds_for_the_whole_site => key_change;
    a_silent_box_is_flagged_once_with_its_last_words_and_unflagged_when_it_is_back => silent_box;
}

fn taken(seq: u64) -> v1::Taken {
    v1::Taken {
        boot_id: "boot".to_owned(),
        monotonic_ms: seq * 1_000,
        wall_clock_unix_ms: u64::try_from(NOON).unwrap() + seq * 1_000,
        quality: v1::ClockQuality::Token.into(),
        radius_ms: 100,
    }
}

fn reading(key: &str, total: u64, taken: v1::Taken) -> v1::Record {
    let meter = v1::Meter { name: "total".to_owned(), value: total, ..v1::Meter::default() };
    let reading =
        v1::Reading { device_key: key.to_owned(), taken: Some(taken), meters: vec![meter], ..v1::Reading::default() };
    v1::Record { what: Some(What::Reading(reading)) }
}

fn stored(seq: u64, record: &v1::Record) -> v1::StoredReading {
    let record = record.encode_to_vec();
    v1::StoredReading { seq, content_sha256: chain::sha256(&record), record, thinned: false }
}

fn batch(first: u64, records: &[v1::Record]) -> v1::ReadingBatch {
    let readings = (first..).zip(records).map(|(seq, record)| stored(seq, record)).collect();
    v1::ReadingBatch { epoch: 9, readings, ..v1::ReadingBatch::default() }
}

fn readings(seqs: std::ops::RangeInclusive<u64>) -> v1::ReadingBatch {
    let records: Vec<_> = seqs.clone().map(|seq| reading("k", 100 + seq, taken(seq))).collect();
    batch(*seqs.start(), &records)
}

async fn send<R: Rows<Error: Debug>>(rows: &R, box_id: &str, batch: &v1::ReadingBatch) -> Outcome {
    accept(rows, box_id, batch, NOON + 3_600_000).await.unwrap()
}

async fn row<R: Rows<Error: Debug>>(rows: &R, box_id: &str, seq: u64) -> Option<Row> {
    let mut work = rows.begin().await.unwrap();
    let row = work.row(&Key { box_id: box_id.to_owned(), epoch: 9, seq }).await.unwrap();
    work.abandon().await.unwrap();
    row
}

fn status(boot_id: &str, uptime_ms: u64, last_seq: u64) -> v1::BoxStatus {
    let boot_id = boot_id.to_owned();
    v1::BoxStatus { boot_id, uptime_ms, outbox_epoch: 9, outbox_last_seq: last_seq, ..v1::BoxStatus::default() }
}

async fn ask<R: Rows<Error: Debug>>(rows: &R, box_id: &str, status: v1::BoxStatus, now_ms: i64) -> Polled {
    ask_with(rows, box_id, status, Vec::new(), now_ms).await
}

async fn ask_with<R: Rows<Error: Debug>>(
    rows: &R,
    box_id: &str,
    status: v1::BoxStatus,
    silent: Vec<v1::SilentPrinter>,
    now_ms: i64,
) -> Polled {
    let request = v1::PollRequest { status: Some(status), silent, contact: None };
    poll(rows, box_id, &request, 300, now_ms).await.unwrap()
}

fn welcome(polled: Polled) -> (Vec<v1::Resend>, Vec<String>) {
    match polled {
        Polled::Welcome { resend, standby, .. } => (resend, standby),
        Polled::Suspended(reason) => panic!("stopped: {reason}"),
    }
}

async fn twice_and_conflict<R: Rows<Error: Debug>>(rows: &R) {
    assert_eq!(send(rows, "c", &readings(1..=3)).await, Outcome::UpTo(3));
    assert_eq!(send(rows, "c", &readings(2..=5)).await, Outcome::UpTo(5));
    assert_eq!(send(rows, "nobody", &readings(1..=1)).await, Outcome::Suspended("no box of this cloud".to_owned()));
    let other = batch(5, &[reading("k", 999, taken(5)), reading("k", 1_000, taken(6))]);
    assert_eq!(send(rows, "c", &other).await, Outcome::Conflict(5));
    assert_eq!(row(rows, "c", 6).await, None);
    assert_eq!(send(rows, "c", &readings(6..=6)).await, Outcome::Suspended("seq_conflict".to_owned()));
    assert_eq!(ask(rows, "c", status("x", 1, 6), NOON).await, Polled::Suspended("seq_conflict".to_owned()));
    assert!(release(rows, "c", NOON).await.unwrap());
    assert!(!release(rows, "c", NOON).await.unwrap());
    assert_eq!(send(rows, "c", &readings(6..=6)).await, Outcome::UpTo(6));
}

async fn gap<R: Rows<Error: Debug>>(rows: &R) {
    assert_eq!(send(rows, "c", &readings(3..=4)).await, Outcome::UpTo(0));
    assert_eq!(send(rows, "c", &readings(1..=1)).await, Outcome::UpTo(1));
    assert_eq!(send(rows, "c", &readings(2..=2)).await, Outcome::UpTo(4));
}

async fn thinned<R: Rows<Error: Debug>>(rows: &R) {
    let thin = |batch: &v1::ReadingBatch| {
        let mut batch = batch.clone();
        for stored in &mut batch.readings {
            (stored.thinned, stored.record) = (true, Vec::new());
        }
        batch
    };
    let whole = readings(1..=2);
    assert_eq!(send(rows, "c", &thin(&whole)).await, Outcome::UpTo(2));
    assert_eq!(row(rows, "c", 1).await.unwrap().kind, Kind::Thinned);
    assert_eq!(send(rows, "c", &whole).await, Outcome::UpTo(2));
    let filled = row(rows, "c", 1).await.unwrap();
    assert_eq!((filled.kind, &filled.record), (Kind::Reading, &whole.readings[0].record));
    assert_eq!(send(rows, "c", &thin(&whole)).await, Outcome::UpTo(2));
    assert_eq!(row(rows, "c", 1).await.unwrap(), filled);
    let mut with_record = whole.clone();
    with_record.readings[0].thinned = true;
    assert!(matches!(send(rows, "c", &with_record).await, Outcome::Refused(_)));
    let mut other = thin(&whole);
    other.readings[1].content_sha256[0] ^= 1;
    assert_eq!(send(rows, "c", &other).await, Outcome::Conflict(2));
}

/// A batch with its chain.
fn chained(seqs: std::ops::RangeInclusive<u64>) -> v1::ReadingBatch {
    let whole = readings(1..=*seqs.end());
    let link_all = |until: u64| {
        let before = whole.readings.iter().take_while(|stored| stored.seq <= until);
        before.fold(beginning(9), |chain, stored| link(&chain, stored.seq, &stored.content_sha256))
    };
    let (previous_chain, chain) = (link_all(seqs.start() - 1), link_all(*seqs.end()));
    v1::ReadingBatch { previous_chain, chain, ..readings(seqs) }
}

async fn chains<R: Rows<Error: Debug>>(rows: &R) {
    assert_eq!(send(rows, "c", &chained(1..=2)).await, Outcome::UpTo(2));
    assert_eq!(send(rows, "c", &chained(1..=4)).await, Outcome::UpTo(4));
    assert_eq!(send(rows, "c", &chained(7..=7)).await, Outcome::UpTo(4));
    assert_eq!(send(rows, "c", &chained(5..=6)).await, Outcome::UpTo(7));
    let torn = v1::ReadingBatch { previous_chain: beginning(8), ..chained(8..=9) };
    assert_eq!(send(rows, "c", &torn).await, Outcome::ChainBroken(7));
    assert_eq!(row(rows, "c", 8).await, None);
    assert_eq!(send(rows, "c", &chained(8..=9)).await, Outcome::Suspended("chain_broken".to_owned()));
    // Whoever releases the box takes its word for the chain from then on.
    ask(rows, "c", status("x", 1, 9), NOON).await;
    assert!(release(rows, "c", NOON).await.unwrap());
    assert_eq!(send(rows, "c", &chained(8..=9)).await, Outcome::UpTo(9));
}

async fn updates<R: Rows<Error: Debug>>(rows: &R) {
    let base = reading("k", 100, taken(1));
    let now = reading("k", 101, taken(2));
    let whole = |record: &v1::Record| crate::proto::update::reading_of(&record.encode_to_vec()).unwrap().to_vec();
    let edit = v1::Edit { keep: 0, skip: u32::try_from(whole(&base).len()).unwrap(), put: whole(&now) };
    let update = |base_seq, crc32| {
        let update = v1::ReadingUpdate { base_seq, edits: vec![edit.clone()], crc32 };
        v1::Record { what: Some(What::Update(update)) }
    };
    let crc32 = crc32fast::hash(&whole(&now));
    // Of the same batch; of a wrong base; of an update; of one that comes later.
    let records =
        [base.clone(), update(1, crc32), update(1, crc32 ^ 1), update(2, crc32), update(7, crc32), update(6, crc32)];
    assert_eq!(send(rows, "c", &batch(1, &records)).await, Outcome::UpTo(6));
    let kinds = [Kind::Reading, Kind::Update, Kind::Unfit, Kind::Unfit, Kind::Unfit, Kind::Unfit];
    for (seq, kind) in (1..).zip(kinds) {
        let row = row(rows, "c", seq).await.unwrap();
        assert_eq!((seq, row.kind), (seq, kind));
        assert_eq!(row.record, records[usize::try_from(seq).unwrap() - 1].encode_to_vec());
    }
    let made = row(rows, "c", 2).await.unwrap();
    assert_eq!(made.whole, Some(whole(&now)));
    assert_eq!(made.taken, Some(Interval { low_ms: NOON + 1_900, high_ms: NOON + 2_100 }));
    assert_eq!(send(rows, "c", &batch(7, &[base])).await, Outcome::UpTo(7));
    assert_eq!(row(rows, "c", 5).await.unwrap().kind, Kind::Update);
    assert_eq!(row(rows, "c", 6).await.unwrap().kind, Kind::Unfit);
}

async fn restored<R: Rows<Error: Debug>>(rows: &R) {
    welcome(ask(rows, "c", status("x", 1_000, 0), NOON).await);
    send(rows, "c", &readings(1..=5)).await;
    // A power cut: another start, no number less.
    welcome(ask(rows, "c", status("y", 1_000, 5), NOON + 1_000).await);
    // A poll that was sent before the last record was taken, and overtaken by it.
    welcome(ask(rows, "c", status("boot", 4_000, 4), NOON + 2_000).await);
    assert_eq!(ask(rows, "c", status("z", 1_000, 3), NOON + 3_000).await, Polled::Suspended("box_restored".to_owned()));
    assert!(release(rows, "c", NOON).await.unwrap());
    welcome(ask(rows, "c", status("z", 2_000, 3), NOON + 4_000).await);
    // It had three, and has given three numbers again: it is acknowledged only what both have.
    assert_eq!(send(rows, "c", &readings(3..=3)).await, Outcome::UpTo(3));
    let again: Vec<_> = (4..=6).map(|seq| reading("k", 7 + seq, taken(seq))).collect();
    let conflict = batch(3, &[vec![reading("k", 103, taken(3))], again.clone()].concat());
    assert_eq!(send(rows, "c", &conflict).await, Outcome::UpTo(3));
    for uptime_ms in [3_000, 4_000] {
        let polled = ask(rows, "c", status("z", uptime_ms, 6), NOON + 5_000).await;
        let Polled::Welcome { end_epoch, .. } = polled else { panic!("{polled:?}") };
        assert_eq!(end_epoch, Some(v1::EndEpoch { epoch: 9, after_seq: 3 }));
        assert_eq!(send(rows, "c", &conflict).await, Outcome::UpTo(3));
    }
    // The new epoch; nothing is doubled, and what was decided of the old one does not hold for it.
    let ended_epochs = vec![v1::EndedEpoch { epoch: 9, acknowledged: 3, last_seq: 3 }];
    let now = |last_seq| v1::BoxStatus {
        outbox_epoch: 10,
        ended_epochs: ended_epochs.clone(),
        ..status("z", 5_000, last_seq)
    };
    let polled = ask(rows, "c", now(3), NOON + 6_000).await;
    assert!(matches!(polled, Polled::Welcome { end_epoch: None, .. }), "{polled:?}");
    let anew = |from, records: &[v1::Record]| v1::ReadingBatch { epoch: 10, ..batch(from, records) };
    assert_eq!(send(rows, "c", &anew(1, &again)).await, Outcome::UpTo(3));
    assert_eq!(send(rows, "c", &anew(3, &[reading("k", 1, taken(3))])).await, Outcome::Conflict(3));
}

/// Numbers were given again in an epoch that has ended since, past where the cloud has its chain.
async fn restored_and_damaged<R: Rows<Error: Debug>>(rows: &R) {
    send(rows, "c", &chained(1..=4)).await;
    let again: Vec<_> = (3..=6).map(|seq| reading("k", 7 + seq, taken(seq))).collect();
    let conflict = v1::ReadingBatch { previous_chain: chained(1..=2).chain, ..batch(3, &again) };
    let ended_epochs = vec![v1::EndedEpoch { epoch: 9, acknowledged: 0, last_seq: 6 }];
    let now =
        |uptime_ms| v1::BoxStatus { outbox_epoch: 10, ended_epochs: ended_epochs.clone(), ..status("z", uptime_ms, 0) };
    welcome(ask(rows, "c", now(1_000), NOON).await);
    assert_eq!(send(rows, "c", &conflict).await, Outcome::Conflict(3));
    assert!(release(rows, "c", NOON).await.unwrap());
    assert_eq!(send(rows, "c", &conflict).await, Outcome::UpTo(2));
    let polled = ask(rows, "c", now(2_000), NOON).await;
    let Polled::Welcome { end_epoch, .. } = polled else { panic!("{polled:?}") };
    assert_eq!(end_epoch, Some(v1::EndEpoch { epoch: 9, after_seq: 2 }));
}

/// A box that does not know how to end an epoch, or does not do it, is stopped again.
async fn unwilling<R: Rows<Error: Debug>>(rows: &R) {
    send(rows, "c", &readings(1..=5)).await;
    welcome(ask(rows, "c", status("x", 1_000, 5), NOON).await);
    let conflict = batch(4, &[reading("k", 7, taken(4))]);
    assert_eq!(send(rows, "c", &conflict).await, Outcome::Conflict(4));
    assert!(release(rows, "c", NOON).await.unwrap());
    for uptime_ms in 0..5 {
        assert_eq!(send(rows, "c", &conflict).await, Outcome::UpTo(3));
        welcome(ask(rows, "c", status("x", 2_000 + uptime_ms, 5), NOON).await);
    }
    assert_eq!(send(rows, "c", &conflict).await, Outcome::Conflict(4));
    let polled = ask(rows, "c", status("x", 3_000, 5), NOON).await;
    assert_eq!(polled, Polled::Suspended("seq_conflict".to_owned()));
}

async fn cloned<R: Rows<Error: Debug>>(rows: &R) {
    welcome(ask(rows, "c", status("x", 10_000, 0), NOON).await);
    welcome(ask(rows, "c", status("y", 1_000, 0), NOON + 20_000).await);
    // Sent by the first start before it ended, and long on its way.
    welcome(ask(rows, "c", status("x", 11_000, 0), NOON + 21_000).await);
    welcome(ask(rows, "c", status("y", 3_000, 0), NOON + 22_000).await);
    // The first start is still running.
    let twin = ask(rows, "c", status("x", 40_000, 0), NOON + 30_000).await;
    assert_eq!(twin, Polled::Suspended("box_cloned".to_owned()));
    let other = ask(rows, "c", status("y", 20_000, 0), NOON + 40_000).await;
    assert_eq!(other, Polled::Suspended("box_cloned".to_owned()));
    assert_eq!(send(rows, "c", &readings(1..=1)).await, Outcome::Suspended("box_cloned".to_owned()));
}

async fn resend<R: Rows<Error: Debug>>(rows: &R) {
    send(rows, "c", &readings(1..=3)).await;
    // The backup had three; the box was told ten, and has the last three of them yet.
    let believes = |acknowledged| v1::BoxStatus { outbox_acknowledged: acknowledged, ..status("boot", 99_000, 12) };
    assert!(welcome(ask(rows, "c", believes(3), NOON).await).0.is_empty());
    let (asked, _) = welcome(ask(rows, "c", believes(10), NOON).await);
    assert_eq!(asked, [v1::Resend { epoch: 9, from_seq: 4 }]);
    // What was on its way before the box heard of it.
    assert_eq!(send(rows, "c", &readings(11..=12)).await, Outcome::UpTo(3));
    assert_eq!(send(rows, "c", &readings(8..=10)).await, Outcome::UpTo(12));
    assert!(welcome(ask(rows, "c", believes(12), NOON).await).0.is_empty());
}

async fn ended<R: Rows<Error: Debug>>(rows: &R) {
    send(rows, "c", &readings(1..=3)).await;
    let ended = |epoch, acknowledged| v1::EndedEpoch { epoch, acknowledged, last_seq: 8 };
    let now = |ended_epochs| v1::BoxStatus { outbox_epoch: 10, ended_epochs, ..status("boot", 99_000, 0) };
    let (asked, _) = welcome(ask(rows, "c", now(vec![ended(7, 4), ended(9, 8), ended(0, 8), ended(8, 0)]), NOON).await);
    assert_eq!(asked, [v1::Resend { epoch: 7, from_seq: 1 }, v1::Resend { epoch: 9, from_seq: 4 }]);
    // What is not there any more is passed over, as in the present epoch.
    assert_eq!(send(rows, "c", &readings(6..=8)).await, Outcome::UpTo(8));
    assert!(welcome(ask(rows, "c", now(vec![ended(9, 8)]), NOON).await).0.is_empty());
    // Of more than the contract has, the rest is not looked at.
    let many = (100..200).map(|epoch| ended(epoch, 1)).collect();
    assert_eq!(welcome(ask(rows, "c", now(many), NOON).await).0.len(), 16);
    // A box that does not know the field.
    assert!(welcome(ask(rows, "c", now(Vec::new()), NOON).await).0.is_empty());
}

/// The status as a cloud has it that was made before boxes told of ended epochs.
#[derive(Clone, PartialEq, prost::Message)]
struct OldStatus {
    #[prost(uint64, tag = "6")]
    outbox_epoch: u64,
    #[prost(uint64, tag = "13")]
    outbox_acknowledged: u64,
}

#[test]
fn a_cloud_that_knows_nothing_of_ended_epochs_reads_the_status_as_before() {
    let ended_epochs = vec![v1::EndedEpoch { epoch: 7, acknowledged: 4, last_seq: 8 }];
    let new = v1::BoxStatus { outbox_acknowledged: 5, ended_epochs, ..status("boot", 99_000, 12) };
    let old = OldStatus::decode(new.encode_to_vec().as_slice()).unwrap();
    assert_eq!(old, OldStatus { outbox_epoch: 9, outbox_acknowledged: 5 });
    let told = v1::BoxStatus::decode(old.encode_to_vec().as_slice()).unwrap();
    assert_eq!((told.outbox_epoch, told.ended_epochs), (9, vec![]));
}

fn stamp(boot: &str, mono_ms: u64, wall_ms: i64, quality: v1::ClockQuality) -> v1::Taken {
    v1::Taken {
        boot_id: boot.to_owned(),
        monotonic_ms: mono_ms,
        wall_clock_unix_ms: u64::try_from(wall_ms).unwrap(),
        quality: quality.into(),
        radius_ms: 50,
    }
}

async fn anchored<R: Rows<Error: Debug>>(rows: &R) {
    let floor = |boot: &str, mono_ms, wall_ms| stamp(boot, mono_ms, wall_ms, v1::ClockQuality::Floor);
    let hour = 3_600_000;
    // Two starts without the time; the floor is a day behind.
    let first = [
        reading("k", 1, floor("one", 1_000, NOON - 86_400_000)),
        reading("k", 2, floor("two", 1_000, NOON - 86_300_000)),
        reading("k", 3, floor("two", 61_000, NOON - 86_240_000)),
    ];
    accept(rows, "c", &batch(1, &first), NOON + hour).await.unwrap();
    let before = row(rows, "c", 3).await.unwrap();
    assert_eq!(before.taken, Some(Interval { low_ms: NOON - 86_240_000, high_ms: NOON + hour }));
    assert!(before.is_open);
    let anchor = v1::ClockAnchor {
        boot_id: "two".to_owned(),
        monotonic_ms: 121_000,
        unix_ms: u64::try_from(NOON).unwrap(),
        radius_ms: 50,
        quality: v1::ClockQuality::Token.into(),
    };
    let anchor = v1::Record { what: Some(What::ClockAnchor(anchor)) };
    accept(rows, "c", &batch(4, &[anchor]), NOON + hour).await.unwrap();
    let dated = row(rows, "c", 3).await.unwrap();
    // A minute earlier, give or take the radius and the drift of a minute.
    assert_eq!(dated.taken, Some(Interval { low_ms: NOON - 60_057, high_ms: NOON - 59_943 }));
    assert!(!dated.is_open && row(rows, "c", 4).await.unwrap().kind == Kind::Anchor);
    // The start before ended before this one began.
    let earlier = row(rows, "c", 1).await.unwrap();
    assert_eq!(earlier.taken.unwrap().low_ms, NOON - 86_400_000);
    assert_eq!(earlier.taken.unwrap().high_ms, NOON - 121_000 + 50 + 13);
}

/// A reading of printer `key` at `at_ms` with the right time.
fn seen(key: &str, total: u64, at_ms: i64) -> v1::Record {
    reading(
        key,
        total,
        stamp("boot", u64::try_from(at_ms - NOON + 1_000_000_000).unwrap(), at_ms, v1::ClockQuality::Token),
    )
}

fn bare() -> v1::BoxStatus {
    v1::BoxStatus::default()
}

async fn takeover<R: Rows<Error: Debug>>(rows: &R) {
    let interval = 300_000;
    let at = |polls: i64| NOON + polls * interval;
    for box_id in ["a", "b"] {
        assert!(welcome(ask(rows, box_id, bare(), NOON).await).1.is_empty());
    }
    accept(rows, "a", &batch(1, &[seen("k", 100, NOON)]), NOON).await.unwrap();
    // The other finds it too, in a search.
    accept(rows, "b", &batch(1, &[seen("k", 101, NOON + 1_000)]), NOON + 1_000).await.unwrap();
    assert!(row(rows, "b", 1).await.unwrap().is_outside && !row(rows, "a", 1).await.unwrap().is_outside);
    assert_eq!(welcome(ask(rows, "b", bare(), at(1)).await).1, ["k"]);
    assert!(welcome(ask(rows, "a", bare(), at(1)).await).1.is_empty());
    // a is cut off, and goes on reading.
    assert_eq!(welcome(ask(rows, "b", bare(), at(2)).await).1, ["k"]);
    assert_eq!(welcome(ask(rows, "b", bare(), at(3)).await).1, ["k"]);
    assert!(welcome(ask(rows, "b", bare(), at(4)).await).1.is_empty());
    accept(rows, "b", &batch(2, &[seen("k", 110, at(5))]), at(5)).await.unwrap();
    assert!(!row(rows, "b", 2).await.unwrap().is_outside);
    // It comes back with what it read meanwhile: stored and acknowledged, and marked where it was not its turn.
    assert_eq!(welcome(ask(rows, "a", bare(), at(6)).await).1, ["k"]);
    let backlog = batch(2, &[seen("k", 105, at(2)), seen("k", 110, at(5) + 1_000)]);
    assert_eq!(accept(rows, "a", &backlog, at(6)).await.unwrap(), Outcome::UpTo(3));
    assert!(!row(rows, "a", 2).await.unwrap().is_outside && row(rows, "a", 3).await.unwrap().is_outside);
    assert_eq!(row(rows, "a", 3).await.unwrap().device_id, row(rows, "b", 2).await.unwrap().device_id);
}

async fn takeover_of_one<R: Rows<Error: Debug>>(rows: &R) {
    let at = |polls: i64| NOON + polls * 300_000;
    let silent = |missed| v1::SilentPrinter {
        device_key: "k".to_owned(),
        cause: v1::Cause::Silent.into(),
        missed,
        ..v1::SilentPrinter::default()
    };
    welcome(ask(rows, "a", bare(), NOON).await);
    accept(rows, "a", &batch(1, &[seen("k", 100, NOON), seen("l", 100, NOON)]), NOON).await.unwrap();
    assert_eq!(welcome(ask(rows, "b", bare(), at(0)).await).1, ["k", "l"]);
    welcome(ask_with(rows, "a", bare(), vec![silent(1)], at(1)).await);
    // b may try it now, and takes it over when it has read it.
    assert_eq!(welcome(ask(rows, "b", bare(), at(1) + 1).await).1, ["l"]);
    accept(rows, "b", &batch(1, &[seen("k", 101, at(1) + 2)]), at(1) + 2).await.unwrap();
    assert_eq!(welcome(ask(rows, "b", bare(), at(2)).await).1, ["l"]);
    let (_, standby) = welcome(ask_with(rows, "a", bare(), vec![silent(2)], at(2)).await);
    assert_eq!(standby, ["k"]);
}

async fn key_change<R: Rows<Error: Debug>>(rows: &R) {
    let changed = |id: u8| {
        let event = v1::Event {
            id: vec![id; 16],
            kind: "KEY_CHANGED".to_owned(),
            device_key: "new".to_owned(),
            old_key: Some("old".to_owned()),
            seen: Some(taken(2)),
            ..v1::Event::default()
        };
        v1::Record { what: Some(What::Event(event)) }
    };
    send(rows, "a", &batch(1, &[reading("old", 1, taken(1)), changed(1), reading("new", 2, taken(3))])).await;
    let device = row(rows, "a", 3).await.unwrap().device_id;
    assert_eq!(row(rows, "a", 1).await.unwrap().device_id, device);
    // The other box has not noticed yet; when it does, it is one printer again.
    send(rows, "b", &batch(1, &[reading("old", 2, taken(4))])).await;
    assert_ne!(row(rows, "b", 1).await.unwrap().device_id, device);
    send(rows, "b", &batch(2, &[changed(2)])).await;
    assert_eq!(row(rows, "b", 1).await.unwrap().device_id, device);
}

async fn silent_box<R: Rows<Error: Debug>>(rows: &R) {
    let trouble = v1::Trouble { cause: v1::Cause::NoLink.into(), detail: String::new() };
    let status = v1::BoxStatus { troubles: vec![trouble], ..bare() };
    let late = NOON + 900_001;
    assert!(!flag_silent(rows, "c", 0, late).await.unwrap(), "it has never been heard of");
    welcome(ask(rows, "c", status.clone(), NOON).await);
    assert!(!flag_silent(rows, "c", 0, late - 1).await.unwrap());
    assert!(flag_silent(rows, "c", 0, late).await.unwrap());
    assert!(!flag_silent(rows, "c", 0, late + 1).await.unwrap());
    welcome(ask(rows, "c", status, late + 2).await);
    assert!(!flag_silent(rows, "c", 0, late + 3).await.unwrap());
    assert!(flag_silent(rows, "c", 0, late + 2 + 900_001).await.unwrap());
}

#[tokio::test]
async fn what_is_not_committed_when_the_machine_crashes_is_lost_and_nothing_else() {
    let mut acknowledged = 0;
    let rows = memory();
    for steps in 0..400 {
        let seq = acknowledged + 1;
        rows.crash_after(steps % 40);
        match accept(&rows, "c", &readings(seq..=seq), NOON).await {
            Ok(outcome) => {
                assert_eq!(outcome, Outcome::UpTo(seq));
                acknowledged = seq;
            }
            Err(error) => assert_eq!(error, MemoryError::Crashed),
        }
        rows.restart();
        assert_eq!(rows.count("c", 9), usize::try_from(acknowledged).unwrap());
    }
    assert!(acknowledged > 100);
}

#[tokio::test]
async fn rows_that_lie_are_seen_through() {
    let rows = memory();
    rows.lie(Lie::AckBeforeCommit);
    assert_eq!(send(&rows, "c", &readings(1..=2)).await, Outcome::UpTo(2));
    rows.sync();
    assert_eq!(send(&rows, "c", &readings(3..=4)).await, Outcome::UpTo(4));
    rows.crash();
    rows.restart();
    assert_eq!(rows.count("c", 9), 2);
    rows.lie(Lie::NoUniqueKey);
    send(&rows, "c", &readings(1..=2)).await;
    assert_eq!(rows.count("c", 9), 4);
}
