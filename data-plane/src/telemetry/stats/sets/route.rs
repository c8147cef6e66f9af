//! What virtual clusters and routes with a `stat_prefix` count, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// A virtual cluster (`vhost.<host>.vcluster.<name>.`) or a route
    /// (`vhost.<host>.route.<stat_prefix>.`). `upstream_rq_time` stands first: the times of
    /// responses are recorded in it.
    RouteStat responses Plain {
        UpstreamRqTime: optional [Histogram] "upstream_rq_time",
        UpstreamRqRetry: [Counter] "upstream_rq_retry",
        UpstreamRqRetryLimitExceeded: [Counter] "upstream_rq_retry_limit_exceeded",
        UpstreamRqRetryOverflow: [Counter] "upstream_rq_retry_overflow",
        UpstreamRqRetrySuccess: [Counter] "upstream_rq_retry_success",
        UpstreamRqTimeout: [Counter] "upstream_rq_timeout",
        UpstreamRqTotal: [Counter] "upstream_rq_total",
    }
}
