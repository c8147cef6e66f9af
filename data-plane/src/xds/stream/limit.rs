//! How fast a stream may send (K7).
//!
//! Pure: the time is an argument.

use std::time::Duration;

use crate::base::clock::Instant;

use crate::config::source::RateLimit;

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
