//! Why a response is what it is: `%RESPONSE_FLAGS%` and `%RESPONSE_CODE_DETAILS%`.
//!
//! A flag is set where the failure is understood, and read by logs, counters and tests. Names,
//! long names and the order in which they are printed are Envoy's.

use std::fmt;

macro_rules! flags {
    ($($(#[$doc:meta])* $bit:literal $name:ident $short:literal $long:literal;)*) => {
        impl ResponseFlags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// Short and long names, in the order in which they are printed.
            const NAMES: &'static [(&'static str, &'static str)] = &[$(($short, $long),)*];
        }
    };
}

/// A set of Envoy's response flags. `Display` gives `URX,UF`, or `-` for none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u32);

flags! {
    /// The local server failed its health check (`LH`).
    0 FAILED_LOCAL_HEALTH_CHECK "LH" "FailedLocalHealthCheck";
    /// No healthy host in the cluster (`UH`).
    1 NO_HEALTHY_UPSTREAM "UH" "NoHealthyUpstream";
    /// The upstream took too long (`UT`).
    2 UPSTREAM_REQUEST_TIMEOUT "UT" "UpstreamRequestTimeout";
    /// We reset the upstream stream (`LR`).
    3 LOCAL_RESET "LR" "LocalReset";
    /// The upstream reset the stream (`UR`).
    4 UPSTREAM_REMOTE_RESET "UR" "UpstreamRemoteReset";
    /// No connection to the upstream (`UF`).
    5 UPSTREAM_CONNECTION_FAILURE "UF" "UpstreamConnectionFailure";
    /// The upstream connection closed (`UC`).
    6 UPSTREAM_CONNECTION_TERMINATION "UC" "UpstreamConnectionTermination";
    /// A circuit breaker was open (`UO`).
    7 UPSTREAM_OVERFLOW "UO" "UpstreamOverflow";
    /// No route (`NR`).
    8 NO_ROUTE_FOUND "NR" "NoRouteFound";
    /// The fault filter delayed the request (`DI`).
    9 DELAY_INJECTED "DI" "DelayInjected";
    /// The fault filter aborted the request (`FI`).
    10 FAULT_INJECTED "FI" "FaultInjected";
    /// Rate limited (`RL`).
    11 RATE_LIMITED "RL" "RateLimited";
    /// Denied by the external authorizer (`UAEX`).
    12 UNAUTHORIZED_EXTERNAL_SERVICE "UAEX" "UnauthorizedExternalService";
    /// The rate limit service failed (`RLSE`).
    13 RATELIMIT_SERVICE_ERROR "RLSE" "RateLimitServiceError";
    /// The client went away (`DC`).
    14 DOWNSTREAM_CONNECTION_TERMINATION "DC" "DownstreamConnectionTermination";
    /// Retries or connection attempts ran out (`URX`).
    15 UPSTREAM_RETRY_LIMIT_EXCEEDED "URX" "UpstreamRetryLimitExceeded";
    /// The stream was idle too long (`SI`).
    16 STREAM_IDLE_TIMEOUT "SI" "StreamIdleTimeout";
    /// A strictly checked header was invalid (`IH`).
    17 INVALID_ENVOY_REQUEST_HEADERS "IH" "InvalidEnvoyRequestHeaders";
    /// The client broke the protocol (`DPE`).
    18 DOWNSTREAM_PROTOCOL_ERROR "DPE" "DownstreamProtocolError";
    /// `max_stream_duration` of the upstream ran out (`UMSDR`).
    19 UPSTREAM_MAX_STREAM_DURATION_REACHED "UMSDR" "UpstreamMaxStreamDurationReached";
    /// Served from a cache (`RFCF`).
    20 RESPONSE_FROM_CACHE_FILTER "RFCF" "ResponseFromCacheFilter";
    /// A filter's configuration was not there in time (`NFCF`).
    21 NO_FILTER_CONFIG_FOUND "NFCF" "NoFilterConfigFound";
    /// `max_stream_duration` or the request timeout of the connection manager ran out (`DT`).
    22 DURATION_TIMEOUT "DT" "DurationTimeout";
    /// The upstream broke the protocol (`UPE`).
    23 UPSTREAM_PROTOCOL_ERROR "UPE" "UpstreamProtocolError";
    /// The cluster does not exist (`NC`).
    24 NO_CLUSTER_FOUND "NC" "NoClusterFound";
    /// The overload manager ended it (`OM`).
    25 OVERLOAD_MANAGER "OM" "OverloadManagerTerminated";
    /// DNS failed (`DF`).
    26 DNS_FAILURE "DF" "DnsResolutionFailed";
    /// `drop_overloads` (`DO`).
    27 DROP_OVERLOAD "DO" "DropOverload";
    /// The client reset the stream (`DR`).
    28 DOWNSTREAM_REMOTE_RESET "DR" "DownstreamRemoteReset";
    /// Unconditional drop overload (`UDO`).
    29 UNCONDITIONAL_DROP_OVERLOAD "UDO" "UnconditionalDropOverload";
    /// The attempts of a TCP proxy ran out: the same flag, set after what made them fail.
    30 CONNECT_ATTEMPTS_EXCEEDED "URX" "UpstreamRetryLimitExceeded";
}

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// Adds the flags of `other`.
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Both sets together; what `|` is, in constants.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// At least one of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// No flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flag with this short name (`UF`), as access-log filters name them.
    #[must_use]
    pub fn from_short(name: &str) -> Option<Self> {
        let of_name = |(at, (short, _)): (usize, &(&str, _))| (*short == name).then_some(1 << at);
        let bits = Self::NAMES.iter().enumerate().filter_map(of_name);
        bits.reduce(|all, bit| all | bit).map(Self)
    }

    /// Short names of the flags that are set.
    pub fn short(self) -> impl Iterator<Item = &'static str> {
        self.names().map(|(short, _)| *short)
    }

    /// Long names of the flags that are set.
    pub fn long(self) -> impl Iterator<Item = &'static str> {
        self.names().map(|(_, long)| *long)
    }

    /// Envoy prints flags as they came. Of those that come together only what ended the retries is
    /// set before another flag of a higher rank.
    fn names(self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        let first = Self::UPSTREAM_RETRY_LIMIT_EXCEEDED.or(Self::UPSTREAM_OVERFLOW).0;
        let of = |bits: u32| {
            let is_set = move |(at, _): &(usize, _)| bits >> at & 1 == 1;
            Self::NAMES.iter().enumerate().filter(is_set).map(|(_, names)| names)
        };
        of(self.0 & first).chain(of(self.0 & !first))
    }
}

impl std::ops::BitOr for ResponseFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.insert(other);
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (at, name) in self.short().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `%RESPONSE_CODE_DETAILS%`: Envoy's constant texts (`StreamInfo::ResponseCodeDetails`). Details
/// with a part that varies are made where they arise (`upstream_reset_before_response_started{…}`).
pub mod details {
    /// The response came from the upstream.
    pub const VIA_UPSTREAM: &str = "via_upstream";
    /// A redirect or direct response of a route.
    pub const DIRECT_RESPONSE: &str = "direct_response";
    /// No route.
    pub const ROUTE_NOT_FOUND: &str = "route_not_found";
    /// The route's cluster does not exist.
    pub const CLUSTER_NOT_FOUND: &str = "cluster_not_found";
    /// No healthy host.
    pub const NO_HEALTHY_UPSTREAM: &str = "no_healthy_upstream";
    /// The route's timeout ran out.
    pub const RESPONSE_TIMEOUT: &str = "response_timeout";
    /// The per-try timeout ran out.
    pub const UPSTREAM_PER_TRY_TIMEOUT: &str = "upstream_per_try_timeout";
    /// The per-try idle timeout ran out.
    pub const UPSTREAM_PER_TRY_IDLE_TIMEOUT: &str = "upstream_per_try_idle_timeout";
    /// `max_stream_duration` of the upstream ran out.
    pub const UPSTREAM_MAX_STREAM_DURATION_REACHED: &str = "upstream_max_stream_duration_reached";
    /// The upstream reset after the response had begun.
    pub const LATE_UPSTREAM_RESET: &str = "upstream_reset_after_response_started";
    /// The upstream reset before the response had begun; `{reason}` follows.
    pub const EARLY_UPSTREAM_RESET: &str = "upstream_reset_before_response_started";
    /// `request_timeout` ran out.
    pub const REQUEST_OVERALL_TIMEOUT: &str = "request_overall_timeout";
    /// `request_headers_timeout` ran out.
    pub const REQUEST_HEADER_TIMEOUT: &str = "request_header_timeout";
    /// `stream_idle_timeout` ran out.
    pub const STREAM_IDLE_TIMEOUT: &str = "stream_idle_timeout";
    /// `max_stream_duration` ran out.
    pub const MAX_DURATION_TIMEOUT: &str = "max_duration_timeout";
    /// A buffered request body was too large.
    pub const REQUEST_PAYLOAD_TOO_LARGE: &str = "request_payload_too_large";
    /// A buffered response body was too large.
    pub const RESPONSE_PAYLOAD_TOO_LARGE: &str = "response_payload_too_large";
    /// The request's headers were too large.
    pub const REQUEST_HEADERS_TOO_LARGE: &str = "request_headers_too_large";
    /// HTTP/1.1 without Host.
    pub const MISSING_HOST: &str = "missing_host_header";
    /// A host that is no host.
    pub const INVALID_HOST: &str = "http1.invalid_authority";
    /// No path.
    pub const MISSING_PATH: &str = "missing_path_rejected";
    /// A path that does not begin with `/`.
    pub const ABSOLUTE_PATH_REJECTED: &str = "absolute_path_rejected";
    /// The path could not be normalised.
    pub const PATH_NORMALIZATION_FAILED: &str = "path_normalization_failed";
    /// HTTP/1.0 and `accept_http_10` is off.
    pub const LOW_VERSION: &str = "low_version";
    /// `merge_slashes` or `path_with_escaped_slashes_action` redirected.
    pub const NORMALIZED_PATH_REDIRECT: &str = "path_normalization_redirect";
    /// CONNECT or upgrade that no configuration allows.
    pub const UPGRADE_FAILED: &str = "upgrade_failed";
    /// The client closed before the response was complete.
    pub const DOWNSTREAM_REMOTE_DISCONNECT: &str = "downstream_remote_disconnect";
    /// We closed the client's connection before the response was complete.
    pub const DOWNSTREAM_LOCAL_DISCONNECT: &str = "downstream_local_disconnect";
    /// The client reset the stream.
    pub const REMOTE_RESET: &str = "remote_reset";
    /// The maintenance mode of the cluster.
    pub const MAINTENANCE_MODE: &str = "maintenance_mode";
    /// The overload manager said no.
    pub const OVERLOAD: &str = "overload";
    /// A request of a client that does not speak HTTP as it should: HTTP/1 codec error.
    pub const HTTP1_CODEC_ERROR: &str = "http1.codec_error";
}

#[cfg(test)]
mod tests {
    use super::ResponseFlags as Flags;

    #[test]
    fn flags_print_in_envoys_order_whatever_order_they_came_in() {
        let mut flags = Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
        flags.insert(Flags::UPSTREAM_CONNECTION_FAILURE);
        assert_eq!(flags.to_string(), "URX,UF");
        assert_eq!(flags.long().last(), Some("UpstreamConnectionFailure"));
        assert_eq!(Flags::NONE.to_string(), "-");
    }

    #[test]
    fn a_short_name_finds_its_flag() {
        assert_eq!(Flags::from_short("NC"), Some(Flags::NO_CLUSTER_FOUND));
        assert_eq!(Flags::from_short("XX"), None);
    }
}
