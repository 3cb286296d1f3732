//! How long to wait before the next try: exponential with full jitter, so that ten thousand boxes that lost their
//! cloud at once do not come back at once.

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
        let ceiling = self.first.saturating_mul(1 << self.failures.min(20)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(unit.clamp(0.0, 1.0))
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

    proptest! {
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
