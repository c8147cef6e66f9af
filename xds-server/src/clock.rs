//! The one place that asks what time it is.
//!
//! Monotonic time is tokio's, so that tests with a paused clock control every deadline.
//! `Instant::now` and `SystemTime::now` are banned elsewhere (`clippy.toml`).

use std::time::SystemTime;

pub use tokio::time::Instant;

/// Monotonic time, for deadlines and durations.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall-clock time, for what people read; never for deadlines.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn system_now() -> SystemTime {
    SystemTime::now()
}

/// RFC 3339 in UTC with milliseconds; empty for times beyond jiff's range.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}
