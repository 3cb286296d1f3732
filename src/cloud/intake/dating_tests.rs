//! Dates over random lives of a box: starts without the time, a floor behind the truth, lost polls, late deliveries.

use proptest::prelude::*;

use super::memory::MemoryRows;
use super::*;
use crate::proto::v1::{ClockQuality, record::What};
use prost::Message;

/// Something in the life of a box.
#[derive(Debug, Clone)]
enum Step {
    /// A reading is taken after so many seconds, and accepted.
    Read(u32),
    /// The box is off for so many seconds, and starts again without the time; its floor is what it last knew.
    Restart(u32),
    /// It learns the time, to so many milliseconds.
    Learn(u16),
    /// It polls; the poll takes so many milliseconds.
    Poll(u16),
    /// It delivers so many of what it has.
    Deliver(u8),
    /// The poll or the batch is lost, but for its time.
    Nothing(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (60_u32..20_000).prop_map(Step::Read),
        1 => (1_u32..9_000_000).prop_map(Step::Restart),
        1 => (1_u16..5_000).prop_map(Step::Learn),
        2 => (0_u16..30_000).prop_map(Step::Poll),
        2 => (1_u8..12).prop_map(Step::Deliver),
        1 => (1_u32..200_000).prop_map(Step::Nothing),
    ]
}

/// A box and the truth about it.
struct Life {
    /// The true time.
    now_ms: i64,
    /// How fast its clock that never jumps goes wrong, in millionths.
    drift_ppm: i64,
    boot: u32,
    started_ms: i64,
    /// The box's wall clock less the clock that never jumps.
    wall_offset_ms: i64,
    radius_ms: Option<u64>,
    outbox: Vec<v1::Record>,
    delivered: usize,
    truths: Vec<i64>,
}

impl Life {
    fn mono_ms(&self) -> i64 {
        let true_ms = self.now_ms - self.started_ms;
        true_ms + true_ms * self.drift_ppm / 1_000_000
    }

    fn taken(&self) -> v1::Taken {
        let mono = self.mono_ms();
        let quality = if self.radius_ms.is_some() { ClockQuality::Token } else { ClockQuality::Floor };
        // A clock that knows the time is kept right; the floor is behind.
        let drifted = if self.radius_ms.is_some() { self.now_ms } else { self.wall_offset_ms + mono };
        v1::Taken {
            boot_id: format!("boot {}", self.boot),
            monotonic_ms: u64::try_from(mono).unwrap(),
            wall_clock_unix_ms: u64::try_from(drifted).unwrap(),
            quality: quality.into(),
            radius_ms: self.radius_ms.unwrap_or(0),
        }
    }

    fn accept(&mut self, record: What) {
        self.outbox.push(v1::Record { what: Some(record) });
        self.truths.push(self.now_ms);
    }
}

/// Lives a life; whether every date holds the truth, and whether the order is right.
async fn live(steps: Vec<Step>, drift_ppm: i64) {
    let start = 1_795_608_000_000;
    let rows = MemoryRows::default();
    rows.add_box("c", "c", start);
    let mut life = Life {
        now_ms: start,
        drift_ppm,
        boot: 0,
        started_ms: start,
        wall_offset_ms: start - 40_000_000_000,
        radius_ms: None,
        outbox: Vec::new(),
        delivered: 0,
        truths: Vec::new(),
    };
    let end = [Step::Nothing(10), Step::Deliver(255), Step::Poll(0)];
    for step in steps.into_iter().chain(end) {
        match step {
            Step::Read(after_s) => {
                life.now_ms += i64::from(after_s) * 1_000;
                let reading =
                    v1::Reading { device_key: "k".to_owned(), taken: Some(life.taken()), ..v1::Reading::default() };
                life.accept(What::Reading(reading));
            }
            Step::Restart(off_s) => {
                // The floor is what the wall clock last said.
                let wall_ms = life.taken().wall_clock_unix_ms;
                life.now_ms += i64::from(off_s) * 1_000;
                life.wall_offset_ms =
                    i64::try_from(wall_ms).unwrap() - i64::try_from(life.radius_ms.unwrap_or(0)).unwrap();
                (life.started_ms, life.radius_ms) = (life.now_ms, None);
                life.boot += 1;
            }
            Step::Learn(radius_ms) => {
                life.radius_ms = Some(radius_ms.into());
                let taken = life.taken();
                // It is off by up to its radius.
                let unix_ms = taken.wall_clock_unix_ms + u64::from(radius_ms) * u64::from(radius_ms % 3) / 2;
                let unix_ms = unix_ms - u64::from(radius_ms) / 2;
                life.accept(What::ClockAnchor(v1::ClockAnchor {
                    boot_id: taken.boot_id,
                    monotonic_ms: taken.monotonic_ms,
                    unix_ms,
                    radius_ms: radius_ms.into(),
                    quality: ClockQuality::Token.into(),
                }));
            }
            Step::Poll(way_ms) => {
                let taken = life.taken();
                let status = v1::BoxStatus {
                    boot_id: taken.boot_id,
                    uptime_ms: taken.monotonic_ms,
                    outbox_epoch: 9,
                    outbox_last_seq: life.outbox.len() as u64,
                    ..v1::BoxStatus::default()
                };
                life.now_ms += i64::from(way_ms);
                let request = v1::PollRequest { status: Some(status), ..Default::default() };
                let polled = poll(&rows, "c", &request, 300, life.now_ms).await.unwrap();
                assert!(matches!(polled, Polled::Welcome { .. }), "{polled:?}");
            }
            Step::Deliver(count) => {
                let from = life.delivered;
                let readings: Vec<_> = (from as u64 + 1..)
                    .zip(life.outbox.iter().skip(from).take(count.into()))
                    .map(|(seq, record)| {
                        let record = record.encode_to_vec();
                        v1::StoredReading { seq, content_sha256: chain::sha256(&record), record, thinned: false }
                    })
                    .collect();
                life.delivered += readings.len();
                if !readings.is_empty() {
                    let batch = v1::ReadingBatch { epoch: 9, readings, ..v1::ReadingBatch::default() };
                    assert_eq!(
                        accept(&rows, "c", &batch, life.now_ms).await.unwrap(),
                        Outcome::UpTo(life.delivered as u64)
                    );
                }
            }
            Step::Nothing(seconds) => life.now_ms += i64::from(seconds) * 1_000,
        }
    }
    judge(&rows.rows(), &life.truths);
}

fn judge(rows: &[Row], truths: &[i64]) {
    assert_eq!(rows.len(), truths.len());
    let mut readings = Vec::new();
    for (row, truth) in rows.iter().zip(truths) {
        let taken = row.taken.unwrap();
        assert!(taken.low_ms <= *truth && *truth <= taken.high_ms, "{truth} is not in {taken:?} of {:?}", row.stamp);
        if row.kind == Kind::Reading {
            readings.push((*truth, taken));
        }
    }
    for pair in readings.windows(2) {
        let [(_, earlier), (_, later)] = pair else { continue };
        // Readings are a minute apart or more, and clocks that know the time know it to five seconds.
        assert!(earlier.middle_ms() < later.middle_ms(), "{earlier:?} is not before {later:?}");
        assert!(earlier.low_ms <= later.low_ms + 10_000 && earlier.high_ms <= later.high_ms + 10_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_true_time_is_always_within_the_interval_and_the_order_is_right(
        steps in proptest::collection::vec(step(), 1..80),
        drift_ppm in -95_i64..95,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(steps, drift_ppm));
    }
}

#[test]
fn a_lower_bound_that_contradicts_the_cloud_counts_for_nothing() {
    let stamp = Stamp { wall_ms: 5_000, ..Stamp::default() };
    assert_eq!(Clocks::default().interval(&stamp, 1_000), Interval { low_ms: 0, high_ms: 1_000 });
    assert_eq!(Clocks::default().interval(&stamp, 6_000), Interval { low_ms: 5_000, high_ms: 6_000 });
}
