//! When a reading was really taken: an interval that holds the true time, from what is known of the box's clocks. Nothing is
//! invented: where only a bound is known, the interval is wide and says so.
//!
//! A box without a clock chip has two clocks. The one that never jumps counts from each start; the wall clock is at first a
//! lower bound. What ties them together are statements "then it was not earlier than … and not later than …":
//! * a reading or an anchor with the time from the cloud or a time server: its wall clock, give or take its radius;
//! * any other reading: not earlier than its wall clock;
//! * whatever arrives: not later than its arrival.
//!
//! A statement about one moment of a start bounds all others of that start, by the clock that never jumps and its drift. And
//! starts follow one another, in the order of sequence numbers: whatever was taken in one was taken after all that came
//! before, and before all that came after.

use crate::proto::v1::{self, ClockQuality};

/// Drift that is allowed to a clock that never jumps: 100 millionths. Crystals on small boards have 20 to 50.
const DRIFT_DIVISOR: i64 = 10_000;
/// Largest time that is reckoned with, in milliseconds: far beyond all that is meant, far below where sums overflow.
const TIME_MAX_MS: i64 = 1 << 53;

/// An interval of time that holds the true time, in milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Not earlier.
    pub low_ms: i64,
    /// Not later.
    pub high_ms: i64,
}

impl Interval {
    /// Its middle: what is sorted and drawn by.
    #[must_use]
    pub fn middle_ms(self) -> i64 {
        self.low_ms + (self.high_ms - self.low_ms) / 2
    }

    /// How far the true time may be from the middle.
    #[must_use]
    pub fn radius_ms(self) -> i64 {
        (self.high_ms - self.low_ms + 1) / 2
    }
}

/// What a record says about when it was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The start of the box; empty when it was not told.
    pub boot_id: String,
    /// Milliseconds since that start, by the clock that never jumps.
    pub mono_ms: i64,
    /// The wall clock of the box.
    pub wall_ms: i64,
    /// How far that may be off; of no meaning unless [`Stamp::is_exact`].
    pub radius_ms: i64,
    /// The contract's `ClockQuality`, as a number.
    pub quality: i32,
}

fn time(ms: u64) -> i64 {
    i64::try_from(ms).map_or(TIME_MAX_MS, |ms| ms.min(TIME_MAX_MS))
}

impl Stamp {
    /// Whether the wall clock is good to its radius. Otherwise it is a lower bound; so is one of which nothing is said.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(ClockQuality::try_from(self.quality), Ok(ClockQuality::Token | ClockQuality::Ntp))
    }

    /// The earliest moment that the record itself allows.
    fn low_ms(&self) -> i64 {
        if self.is_exact() { (self.wall_ms - self.radius_ms).max(0) } else { self.wall_ms }
    }

    fn high_ms(&self) -> Option<i64> {
        self.is_exact().then(|| self.wall_ms + self.radius_ms)
    }
}

impl From<&v1::Taken> for Stamp {
    fn from(taken: &v1::Taken) -> Self {
        Self {
            boot_id: taken.boot_id.clone(),
            mono_ms: time(taken.monotonic_ms),
            wall_ms: time(taken.wall_clock_unix_ms),
            radius_ms: time(taken.radius_ms),
            quality: taken.quality,
        }
    }
}

impl From<&v1::ClockAnchor> for Stamp {
    fn from(anchor: &v1::ClockAnchor) -> Self {
        Self {
            boot_id: anchor.boot_id.clone(),
            mono_ms: time(anchor.monotonic_ms),
            wall_ms: time(anchor.unix_ms),
            radius_ms: time(anchor.radius_ms),
            quality: anchor.quality,
        }
    }
}

/// One half of a statement: at this moment of a start, the true time was not earlier (or not later) than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Milliseconds since the start.
    pub mono_ms: i64,
    /// Milliseconds since 1970.
    pub unix_ms: i64,
}

impl Mark {
    fn drift(self, mono_ms: i64) -> i64 {
        let distance = (mono_ms - self.mono_ms).abs();
        if distance == 0 { 0 } else { distance / DRIFT_DIVISOR + 1 }
    }

    fn low_at(self, mono_ms: i64) -> i64 {
        self.unix_ms + (mono_ms - self.mono_ms) - self.drift(mono_ms)
    }

    fn high_at(self, mono_ms: i64) -> i64 {
        self.unix_ms + (mono_ms - self.mono_ms) + self.drift(mono_ms)
    }
}

/// What is known of the clocks in one start of a box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// Which.
    pub boot_id: String,
    /// Sequence number of the first of its records that the cloud has.
    pub first_seq: u64,
    /// The latest moment of it that is known, in milliseconds since the start.
    pub last_mono_ms: i64,
    /// The best lower bound.
    pub low: Option<Mark>,
    /// The best upper bound.
    pub high: Option<Mark>,
    /// Whether the true time was known in it: then its records are dated for good.
    pub is_known: bool,
}

impl Boot {
    fn not_earlier(&mut self, mark: Mark) {
        if self.low.is_none_or(|old| mark.unix_ms > old.low_at(mark.mono_ms)) {
            self.low = Some(mark);
        }
    }

    /// Takes down that it was not later. Whether anything was learnt by it.
    pub fn not_later(&mut self, mark: Mark) -> bool {
        let is_better = self.high.is_none_or(|old| mark.unix_ms < old.high_at(mark.mono_ms));
        if is_better {
            self.high = Some(mark);
        }
        is_better
    }
}

/// The starts of a box in one epoch of its outbox, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clocks {
    boots: Vec<Boot>,
}

impl Clocks {
    /// Of what is stored.
    #[must_use]
    pub fn new(mut boots: Vec<Boot>) -> Self {
        boots.sort_by_key(|boot| boot.first_seq);
        Self { boots }
    }

    /// What is to be stored.
    #[must_use]
    pub fn boots(&self) -> &[Boot] {
        &self.boots
    }

    /// One start.
    pub fn boot_mut(&mut self, boot_id: &str) -> Option<&mut Boot> {
        self.boots.iter_mut().find(|boot| boot.boot_id == boot_id)
    }

    /// Takes down what a record that arrived says about the clocks. Whether the true time became known in a start where it
    /// was not: then earlier records can be dated anew.
    pub fn learn(&mut self, seq: u64, stamp: &Stamp, received_ms: i64) -> bool {
        if stamp.boot_id.is_empty() {
            return false;
        }
        let at = match self.boots.iter().position(|boot| boot.boot_id == stamp.boot_id) {
            Some(at) => at,
            None => {
                let boot = Boot { boot_id: stamp.boot_id.clone(), first_seq: seq, ..Boot::default() };
                self.boots.push(boot);
                self.boots.len() - 1
            }
        };
        let Some(boot) = self.boots.get_mut(at) else { return false };
        boot.first_seq = boot.first_seq.min(seq);
        boot.last_mono_ms = boot.last_mono_ms.max(stamp.mono_ms);
        boot.not_earlier(Mark { mono_ms: stamp.mono_ms, unix_ms: stamp.low_ms() });
        let high_ms = stamp.high_ms().map_or(received_ms, |high| high.min(received_ms));
        boot.not_later(Mark { mono_ms: stamp.mono_ms, unix_ms: high_ms });
        let is_new = stamp.is_exact() && !boot.is_known;
        boot.is_known |= stamp.is_exact();
        self.boots.sort_by_key(|boot| boot.first_seq);
        is_new
    }

    /// When a record was taken that arrived at `received_ms`.
    #[must_use]
    pub fn interval(&self, stamp: &Stamp, received_ms: i64) -> Interval {
        let mut lows = vec![stamp.low_ms()];
        let mut high_ms = stamp.high_ms().map_or(received_ms, |high| high.min(received_ms));
        if let Some(at) = self.boots.iter().position(|boot| boot.boot_id == stamp.boot_id) {
            let (before, rest) = self.boots.split_at(at);
            lows.extend(before.iter().filter_map(|boot| Some(boot.low?.low_at(boot.last_mono_ms))));
            let (own, after) = rest.split_at(1);
            lows.extend(own.iter().filter_map(|boot| Some(boot.low?.low_at(stamp.mono_ms))));
            let ends = own.iter().filter_map(|boot| Some(boot.high?.high_at(stamp.mono_ms)));
            let starts = after.iter().filter_map(|boot| Some(boot.high?.high_at(0)));
            high_ms = ends.chain(starts).fold(high_ms, i64::min);
        }
        let high_ms = high_ms.max(0);
        // A lower bound above the upper one contradicts what the cloud knows better: it counts for nothing.
        let low_ms = lows.into_iter().filter(|low| *low <= high_ms).max().unwrap_or(0).max(0);
        Interval { low_ms, high_ms }
    }

    /// Whether what was taken then may be dated more closely one day.
    #[must_use]
    pub fn is_open(&self, stamp: &Stamp) -> bool {
        !stamp.is_exact() && self.boots.iter().any(|boot| boot.boot_id == stamp.boot_id && !boot.is_known)
    }
}
