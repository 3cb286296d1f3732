//! A token bucket: how many datagrams may leave now, and when the next one may. Time is an argument.

use std::time::Duration;
use tokio::time::Instant;

/// Lets `rate` datagrams a second pass, and `burst` at once after a pause.
#[derive(Debug)]
pub(super) struct TokenBucket {
    /// Time that one token costs; `None` lets everything pass.
    interval: Option<Duration>,
    burst: u32,
    /// When the bucket was, or will be, empty: a token is there for each whole interval since.
    empty_at: Instant,
}

impl TokenBucket {
    pub(super) fn new(packets_per_second: Option<u32>, burst: u32, now: Instant) -> Self {
        Self::every(packets_per_second.map(|rate| Duration::from_secs(1) / rate.max(1)), burst, now)
    }

    /// One datagram in each `interval`.
    pub(super) fn every(interval: Option<Duration>, burst: u32, now: Instant) -> Self {
        let burst = burst.max(1);
        let full = interval.unwrap_or_default() * burst;
        Self { interval, burst, empty_at: now.checked_sub(full).unwrap_or(now) }
    }

    /// Whether there is a token.
    pub(super) fn has(&self, now: Instant) -> bool {
        self.next_at(now) <= now
    }

    /// Takes one token if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return true };
        // More than a full bucket is not saved up.
        if let Some(earliest) = now.checked_sub(interval * self.burst) {
            self.empty_at = self.empty_at.max(earliest);
        }
        let after = self.empty_at + interval;
        if after > now {
            return false;
        }
        self.empty_at = after;
        true
    }

    /// When the next token is there.
    pub(super) fn next_at(&self, now: Instant) -> Instant {
        self.interval.map_or(now, |interval| self.empty_at + interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_stretch_of_time_lets_more_than_its_rate_and_one_burst_pass(
            rate in 1u32..2_000, burst in 1u32..50, pauses in proptest::collection::vec(0u64..40_000, 1..400),
        ) {
            let start = Instant::now();
            let mut bucket = TokenBucket::new(Some(rate), burst, start);
            let mut now = start;
            let mut passed = 0u32;
            for pause in pauses {
                now += Duration::from_micros(pause);
                while bucket.take(now) {
                    passed += 1;
                }
                let allowed = (now - start).as_secs_f64() * f64::from(rate) + f64::from(burst) + 1.0;
                prop_assert!(f64::from(passed) <= allowed, "{passed} > {allowed}");
                prop_assert!(bucket.next_at(now) > now);
            }
        }
    }

    #[test]
    fn a_token_is_there_when_it_was_promised() {
        let mut now = Instant::now();
        let mut bucket = TokenBucket::new(Some(64), 8, now);
        for _ in 0..200 {
            now = now.max(bucket.next_at(now));
            assert!(bucket.take(now));
        }
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(None, 1, now);
        assert!((0..1000).all(|_| bucket.take(now)));
    }
}
