//! What filters that limit rates count, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// The local rate limit (`<stat_prefix>.http_local_rate_limit.`).
    LocalRateLimitStat {
        Enabled: [Counter] "enabled",
        Enforced: [Counter] "enforced",
        Ok: [Counter] "ok",
        RateLimited: [Counter] "rate_limited",
    }
}
