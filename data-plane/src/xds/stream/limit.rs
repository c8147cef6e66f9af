//! Pace of a stream: how long to wait before connecting again, and how fast to send.
//!
//! Both take the time as an argument; randomness comes from a generator that the owner seeds.

use std::time::Duration;

use tokio::time::Instant;

/// Bounds of the wait before a reconnect (`EnvoyGrpc.retry_policy.retry_back_off`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffSettings {
    /// First upper bound; doubled by each failure.
    pub base: Duration,
    /// Last upper bound.
    pub max: Duration,
}

impl Default for BackoffSettings {
    /// Envoy's defaults for xDS streams (K1).
    fn default() -> Self {
        Self { base: Duration::from_millis(500), max: Duration::from_secs(30) }
    }
}

/// `RateLimitSettings` of an `ApiConfigSource` (K7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Requests that may go out at once.
    pub max_tokens: u32,
    /// Requests a second after that; finite and greater than 0.
    pub fill_rate: f64,
}

impl Default for RateLimit {
    /// What an empty message means.
    fn default() -> Self {
        Self { max_tokens: 100, fill_rate: 10.0 }
    }
}

/// Exponential back-off with full jitter (K1).
#[derive(Debug)]
pub(super) struct Backoff {
    settings: BackoffSettings,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(settings: BackoffSettings) -> Self {
        Self { settings, failures: 0 }
    }

    /// A random wait below the current bound; the bound doubles for the next time.
    pub(super) fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let bound = self.settings.base.saturating_mul(factor).min(self.settings.max);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(rng.f64())
    }

    /// The server answered: the next failure counts as the first.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A token bucket whose shortage has an end that a timer can wait for.
#[derive(Debug)]
pub(super) struct TokenBucket {
    limit: RateLimit,
    tokens: f64,
    filled_at: Option<Instant>,
    blocked_until: Option<Instant>,
    enforced: u64,
}

impl TokenBucket {
    pub(super) fn new(limit: RateLimit) -> Self {
        let tokens = f64::from(limit.max_tokens.max(1));
        Self { limit, tokens, filled_at: None, blocked_until: None, enforced: 0 }
    }

    /// Takes a token, or notes until when there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.blocked_until.is_some_and(|until| now < until) {
            return false;
        }
        self.blocked_until = None;
        let passed = self.filled_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let max = f64::from(self.limit.max_tokens.max(1));
        self.tokens = (self.tokens + passed.as_secs_f64() * self.limit.fill_rate).min(max);
        self.filled_at = Some(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return true;
        }
        // Envoy's slowest rate is one token a year; a longer wait would overflow an `Instant`.
        let wait = ((1.0 - self.tokens) / self.limit.fill_rate).clamp(1e-3, SECONDS_A_YEAR);
        self.blocked_until = Some(now + Duration::from_secs_f64(wait));
        self.enforced += 1;
        false
    }

    /// When the next token comes, if one was asked for in vain.
    pub(super) fn blocked_until(&self) -> Option<Instant> {
        self.blocked_until
    }

    /// Lets the next request try again.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.blocked_until.is_some_and(|until| until <= now) {
            self.blocked_until = None;
        }
    }

    /// How often a request had to wait.
    pub(super) fn enforced(&self) -> u64 {
        self.enforced
    }
}

const SECONDS_A_YEAR: f64 = 365.0 * 24.0 * 3600.0;
