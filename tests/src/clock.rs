//! The one place of the tests that reads the clock; deadlines alone are made of it.

use std::time::{Duration, Instant};

/// The present, on the monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tests watch real processes in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The end of a wait that begins now.
#[must_use]
pub fn deadline(after: Duration) -> Instant {
    now() + after
}
