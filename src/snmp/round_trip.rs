//! How long a device takes to answer, and so how long to wait for it: the estimator of RFC 6298 §2, with bounds that fit
//! printers. Time is an argument.
//!
//! Karn's rule (RFC 6298 §3) forbids samples of what was sent twice, as an answer could belong to either try. Here each
//! try has an id of its own, so each answer names its try, and every one is a sample.

use super::limits::{MAX_ADAPTIVE_TIMEOUT, MIN_ADAPTIVE_TIMEOUT};
use std::time::Duration;

/// What the answers of one device have taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoundTrip {
    /// SRTT.
    smoothed: Duration,
    /// RTTVAR.
    variation: Duration,
}

impl RoundTrip {
    /// Takes one more sample in.
    pub(super) fn learn(known: Option<Self>, sample: Duration) -> Self {
        let Some(known) = known else { return Self { smoothed: sample, variation: sample / 2 } };
        let off = known.smoothed.abs_diff(sample);
        Self { smoothed: (known.smoothed * 7 + sample) / 8, variation: (known.variation * 3 + off) / 4 }
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

    proptest! {
        #[test]
        fn whatever_was_measured_the_wait_stays_in_its_bounds(samples in proptest::collection::vec(0u64..10_000_000, 1..50)) {
            let wait = after(&samples).timeout(SECOND);
            prop_assert!((MIN_ADAPTIVE_TIMEOUT..=MAX_ADAPTIVE_TIMEOUT).contains(&wait));
        }
    }
}
