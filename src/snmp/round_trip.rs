//! How long a device takes to answer, and so how long to wait for it: the estimator of RFC 6298 §2, with bounds that fit
//! printers. Time is an argument.
//!
//! Karn's rule (RFC 6298 §3) forbids samples of what was sent twice, as an answer could belong to either try. Here each
//! try has an id of its own, so each answer names its try, and every one is a sample.

use super::limits::{
    MAX_ADAPTIVE_TIMEOUT, MAX_REST, MIN_ADAPTIVE_TIMEOUT, STRAINED_AFTER_ANSWERS, STRAINED_AT_LEAST, STRAINED_TIMES,
};
use std::time::Duration;

/// What the answers of one device have taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoundTrip {
    /// SRTT.
    smoothed: Duration,
    /// RTTVAR.
    variation: Duration,
    /// What it takes when nothing is the matter with it: quick to fall and slow to rise.
    baseline: Duration,
    answers: u32,
}

impl RoundTrip {
    /// Takes one more sample in.
    pub(super) fn learn(known: Option<Self>, sample: Duration) -> Self {
        let Some(known) = known else {
            return Self { smoothed: sample, variation: sample / 2, baseline: sample, answers: 1 };
        };
        let off = known.smoothed.abs_diff(sample);
        let share = if sample < known.baseline { 8 } else { 512 };
        Self {
            smoothed: (known.smoothed * 7 + sample) / 8,
            variation: (known.variation * 3 + off) / 4,
            baseline: (known.baseline * (share - 1) + sample) / share,
            answers: known.answers.saturating_add(1),
        }
    }

    /// Least time from one request to the next: `gap`, and for a device that has become much slower than it used to be
    /// twice what it takes, so that half of its time is its own.
    pub(super) fn rest(&self, gap: Duration) -> Duration {
        let is_strained = self.answers >= STRAINED_AFTER_ANSWERS
            && self.smoothed >= STRAINED_AT_LEAST
            && self.smoothed > self.baseline * STRAINED_TIMES;
        if is_strained { (self.smoothed * 2).min(MAX_REST).max(gap) } else { gap }
    }

    /// How long the first try of the next request waits. It is never shorter than [`MIN_ADAPTIVE_TIMEOUT`], or than
    /// `configured` where that is less: a printer that thinks must not be asked again while it does.
    pub(super) fn timeout(&self, configured: Duration) -> Duration {
        let floor = MIN_ADAPTIVE_TIMEOUT.min(configured);
        (self.smoothed + self.variation * 4).clamp(floor, MAX_ADAPTIVE_TIMEOUT.max(floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(samples: &[u64]) -> RoundTrip {
        samples.iter().fold(None, |known, ms| Some(RoundTrip::learn(known, Duration::from_millis(*ms)))).unwrap()
    }

    #[test]
    fn the_first_sample_sets_it_and_later_ones_move_it_as_the_rfc_says() {
        assert_eq!(after(&[400]).timeout(SECOND), Duration::from_millis(400 + 4 * 200));
        // RTTVAR = 3/4 * 200 + 1/4 * |400 - 800|, SRTT = 7/8 * 400 + 1/8 * 800.
        assert_eq!(after(&[400, 800]).timeout(SECOND), Duration::from_millis(450 + 4 * 250));
    }

    #[test]
    fn a_quick_device_is_waited_for_at_least_the_floor_and_a_slow_one_longer_than_was_configured() {
        assert_eq!(after(&[1; 50]).timeout(SECOND), MIN_ADAPTIVE_TIMEOUT);
        assert_eq!(after(&[1; 50]).timeout(Duration::from_millis(30)), Duration::from_millis(30));
        assert!(after(&[3_000; 50]).timeout(SECOND) >= Duration::from_secs(3));
        assert_eq!(after(&[60_000]).timeout(SECOND), MAX_ADAPTIVE_TIMEOUT);
    }

    #[test]
    fn a_device_that_has_become_four_times_as_slow_gets_half_of_its_time_for_itself() {
        let gap = Duration::from_millis(20);
        let usual = vec![50; 30];
        let slow = [usual.clone(), vec![400; 12]].concat();
        let rest = after(&slow).rest(gap);
        assert!((Duration::from_millis(500)..Duration::from_millis(800)).contains(&rest), "{rest:?}");
        for calm in [
            usual.clone(),
            // One answer late is nothing yet, nor is a device that was never quick, nor one that is still quick.
            [usual.clone(), vec![400]].concat(),
            vec![400; 50],
            [vec![1; 30], vec![50; 30]].concat(),
            [vec![1; 3], vec![400; 6]].concat(),
            // Better again; and in the long run what it takes is what it takes.
            [slow.clone(), vec![50; 12]].concat(),
            [usual, vec![400; 400]].concat(),
        ] {
            assert_eq!(after(&calm).rest(gap), gap, "{calm:?}");
        }
        assert_eq!(after(&[vec![50; 30], vec![60_000; 12]].concat()).rest(gap), MAX_REST);
    }

    proptest! {
        #[test]
        fn whatever_was_measured_the_wait_stays_in_its_bounds(samples in proptest::collection::vec(0u64..10_000_000, 1..50)) {
            let gap = Duration::from_millis(20);
            prop_assert!((gap..=MAX_REST).contains(&after(&samples).rest(gap)));
            let wait = after(&samples).timeout(SECOND);
            prop_assert!((MIN_ADAPTIVE_TIMEOUT..=MAX_ADAPTIVE_TIMEOUT).contains(&wait));
        }
    }
}
