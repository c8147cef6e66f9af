//! Exponential back-off with injected jitter.
//!
//! The strategies are Envoy's (`JitteredExponentialBackOffStrategy` and its lower-bound sibling),
//! so that many proxies that lost the same server do not come back in the same instant. Pure: the
//! caller brings the random number and does the waiting.

use std::time::Duration;

/// Fully jittered exponential back-off: each delay is uniform in `[0, interval)`, and the
/// interval doubles from `base` up to `max`.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    interval: Duration,
}

impl Backoff {
    /// Starts at `base` (at least 1 ms); a `max` below it counts as `base`.
    #[must_use]
    pub fn new(base: Duration, max: Duration) -> Self {
        let base = base.max(Duration::from_millis(1));
        Self { base, max: max.max(base), interval: base }
    }

    /// The next delay, drawn with `random`.
    pub fn next_delay(&mut self, random: u64) -> Duration {
        let interval = self.interval;
        self.interval = interval.saturating_mul(2).min(self.max);
        part_of(interval, random)
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.interval = self.base;
    }

    /// The upper bound of the next delay.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

/// `base` plus up to half of it: a period that never comes early.
#[must_use]
pub fn jittered_lower_bound(base: Duration, random: u64) -> Duration {
    base + part_of(base / 2, random)
}

/// Uniform in `[0, whole)` at nanosecond grain; zero for an empty whole.
fn part_of(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    random.checked_rem(nanos).map_or(Duration::ZERO, Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_doubles_up_to_max_and_reset_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(3));
        let mut intervals = Vec::new();
        for _ in 0..5 {
            intervals.push(backoff.interval().as_millis());
            backoff.next_delay(7);
        }
        assert_eq!(intervals, [500, 1000, 2000, 3000, 3000]);
        backoff.reset();
        assert_eq!(backoff.interval().as_millis(), 500);
    }

    #[test]
    fn delays_fill_the_interval_and_never_reach_it() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut low, mut high) = (false, false);
        for _ in 0..1000 {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
            let delay = backoff.next_delay(rng.u64(..));
            assert!(delay < Duration::from_secs(1));
            low |= delay < Duration::from_millis(100);
            high |= delay > Duration::from_millis(900);
        }
        assert!(low && high);
    }

    #[test]
    fn lower_bound_is_kept() {
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..1000 {
            let delay = jittered_lower_bound(Duration::from_secs(2), rng.u64(..));
            assert!(delay >= Duration::from_secs(2) && delay < Duration::from_secs(3));
        }
        assert_eq!(jittered_lower_bound(Duration::ZERO, 9), Duration::ZERO);
    }
}
