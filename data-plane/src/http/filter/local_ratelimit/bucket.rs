//! A bucket of tokens that all workers take from: one atomic number, no lock.
//!
//! The number is the moment at which the bucket would have been empty (in seconds, as bits of a
//! double): what is in it is the time since then times the rate, up to its size. To take a token is
//! to move that moment on. Tokens drip in continuously, as in Envoy's `AtomicTokenBucketImpl`.

use std::sync::atomic::{AtomicU64, Ordering};

use super::config::BucketConfig;
use crate::base::clock::Instant;

/// What rounding may have taken from a token.
const ROUNDING: f64 = 1e-6;

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Zero of the seconds below.
    origin: Instant,
    size: f64,
    /// Tokens a second.
    rate: f64,
    /// When it was empty.
    empty_at: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(config: &BucketConfig, now: Instant) -> Self {
        let (size, rate) = (f64::from(config.max_tokens), config.rate());
        Self { origin: now, size, rate, empty_at: AtomicU64::new((-size / rate).to_bits()) }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&self, now: Instant) -> bool {
        let now = self.seconds(now);
        let mut before = self.empty_at.load(Ordering::Relaxed);
        loop {
            let tokens = self.tokens_since(before, now);
            if tokens + ROUNDING < 1.0 {
                return false;
            }
            // Whoever loses the race looks again: no token is given out twice.
            let after = (now - (tokens - 1.0).max(0.0) / self.rate).to_bits();
            match self.empty_at.compare_exchange_weak(
                before,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(current) => before = current,
            }
        }
    }

    /// Its size, in tokens.
    pub(super) fn size(&self) -> u64 {
        whole(self.size)
    }

    /// Whole tokens that are left.
    pub(super) fn left(&self, now: Instant) -> u64 {
        whole(self.tokens(now) + ROUNDING)
    }

    /// Whole seconds until there is a token again, rounded up.
    pub(super) fn seconds_to_next(&self, now: Instant) -> u64 {
        let tokens = self.tokens(now);
        if tokens + ROUNDING >= 1.0 { 0 } else { whole(((1.0 - tokens) / self.rate).ceil()) }
    }

    fn tokens(&self, now: Instant) -> f64 {
        self.tokens_since(self.empty_at.load(Ordering::Relaxed), self.seconds(now))
    }

    fn tokens_since(&self, empty_at: u64, now: f64) -> f64 {
        // A worker whose clock was read a moment before another's finds nothing less than nothing.
        ((now - f64::from_bits(empty_at)) * self.rate).clamp(0.0, self.size)
    }

    fn seconds(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.origin).as_secs_f64()
    }
}

/// A number of tokens or seconds without its fraction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn whole(number: f64) -> u64 {
    number as u64
}
