//! How long to wait before the next try: exponential with full jitter, so that ten thousand boxes that lost their
//! cloud at once do not come back at once; and never shorter than the server asks for.

use std::time::Duration;

/// The waits after failures. Reset it after a success.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits up to `first` after the first failure, up to twice that after the second, and so on up to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// The wait after one more failure; `unit` is a random number from 0 (inclusive) to 1 (exclusive).
    pub fn next(&mut self, unit: f64) -> Duration {
        self.step().mul_f64(unit.clamp(0.0, 1.0))
    }

    /// As [`next`](Self::next), after a failure whose server wants to be left alone for a while: at least that long, and then
    /// spread over as much again. Else all whom it told the same would come back in the same second.
    pub fn next_after(&mut self, unit: f64, retry_after: Option<Duration>) -> Duration {
        let Some(asked) = retry_after else { return self.next(unit) };
        let spread = self.step().max(asked);
        asked + spread.mul_f64(unit.clamp(0.0, 1.0))
    }

    fn step(&mut self) -> Duration {
        let ceiling = self.first.saturating_mul(1 << self.failures.min(20)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        ceiling
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERD: usize = 10_000;

    /// The busiest second.
    fn peak(times_s: impl Iterator<Item = f64>) -> usize {
        let mut seconds = std::collections::HashMap::<u64, usize>::new();
        for time in times_s {
            *seconds.entry(time.floor() as u64).or_default() += 1;
        }
        seconds.values().copied().max().unwrap_or(0)
    }

    /// When a box that lost the cloud at 0 gets through, if the cloud is back after `outage_s`.
    fn back_at(outage_s: f64, random: &mut fastrand::Rng) -> f64 {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        let mut now = 0.0;
        while now < outage_s {
            now += backoff.next(random.f64()).as_secs_f64().max(0.2);
        }
        now
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn ten_thousand_boxes_that_are_sent_away_at_once_do_not_come_back_at_once(
            asked_s in 2..3_600_u64, failures in 0..12_u32, seed: u64
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let asked = Duration::from_secs(asked_s);
            let mut spread = asked;
            let waits: Vec<_> = (0..HERD).map(|_| {
                let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
                for _ in 0..failures { backoff.next(0.0); }
                spread = asked.max(backoff.clone().step());
                backoff.next_after(random.f64(), Some(asked))
            }).collect();
            prop_assert!(waits.iter().all(|wait| *wait >= asked && *wait <= asked + spread));
            let even_share = HERD as f64 / spread.as_secs_f64();
            let busiest = peak(waits.iter().map(Duration::as_secs_f64));
            prop_assert!((busiest as f64) < 3.0 * even_share + 20.0, "{busiest} in a second, {even_share} would be even");
        }

        #[test]
        fn ten_thousand_boxes_that_lose_the_cloud_at_once_come_back_spread_over_the_length_of_the_outage(
            outage_s in 5.0..7_200.0_f64, seed: u64
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let back: Vec<f64> = (0..HERD).map(|_| back_at(outage_s, &mut random)).collect();
            let spread = outage_s.min(300.0) / 2.0;
            let even_share = HERD as f64 / spread;
            let busiest = peak(back.iter().map(|at| at - outage_s));
            prop_assert!((busiest as f64) < 4.0 * even_share, "{busiest} in a second, {even_share} would be even");
            prop_assert!(back.iter().all(|at| at - outage_s <= 300.0));
        }

        #[test]
        fn no_wait_is_longer_than_the_most(units in proptest::collection::vec(0.0f64..1.0, 1..80)) {
            let most = Duration::from_secs(60);
            let mut backoff = Backoff::new(Duration::from_secs(1), most);
            for (n, unit) in units.into_iter().enumerate() {
                let wait = backoff.next(unit);
                prop_assert!(wait <= most);
                if n == 0 { prop_assert!(wait <= Duration::from_secs(1)); }
            }
        }
    }

    #[test]
    fn waits_grow_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let waits: Vec<_> = (0..4).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8]);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_secs(), 1);
    }
}
