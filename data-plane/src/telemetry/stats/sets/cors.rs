//! What the CORS filter counts.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// Origins of requests across origins (`http.<stat_prefix>.cors.`).
    CorsStat {
        OriginInvalid: [Counter] "origin_invalid",
        OriginValid: [Counter] "origin_valid",
    }
}
