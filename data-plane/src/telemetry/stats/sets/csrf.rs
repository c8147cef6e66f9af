//! What the CSRF filter counts.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// Origins of requests that change something (`http.<stat_prefix>.csrf.`).
    CsrfStat {
        MissingSourceOrigin: [Counter] "missing_source_origin",
        RequestInvalid: [Counter] "request_invalid",
        RequestValid: [Counter] "request_valid",
    }
}
