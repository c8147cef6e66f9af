//! What the filter that asks for tokens counts, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// Tokens (`http.<stat_prefix>.jwt_authn.`).
    JwtStat {
        Allowed: [Counter] "allowed",
        CorsPreflightBypassed: [Counter] "cors_preflight_bypassed",
        Denied: [Counter] "denied",
        JwksFetchFailed: [Counter] "jwks_fetch_failed",
        JwksFetchSuccess: [Counter] "jwks_fetch_success",
        JwtCacheHit: [Counter] "jwt_cache_hit",
        JwtCacheMiss: [Counter] "jwt_cache_miss",
    }
}
