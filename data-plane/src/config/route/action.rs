//! What becomes of a request (`envoy.config.route.v3.RouteAction`, `RedirectAction`,
//! `DirectResponseAction`); shape only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::rate_limit::RateLimitRule;
use super::{FilterOverrides, HeaderChanges, HeaderRef, MirrorPolicy, RetryPolicy};
use crate::base::names::ClusterName;
use crate::base::pattern::Substitution;
use crate::config::metadata::Metadata;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `direct_response`: an answer from here.
    DirectResponse(DirectResponse),
    /// `route`: on to a cluster.
    Forward(Box<Forward>),
    /// `redirect`: an answer with `location`.
    Redirect(Box<Redirect>),
}

/// An answer from here (`DirectResponseAction`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// `status`, 200–599.
    pub status: StatusCode,
    /// `body`; empty if there is none.
    pub body: Bytes,
}

/// Where and how to forward (`RouteAction`).
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// `cluster_specifier`.
    pub cluster: ClusterSpecifier,
    /// `cluster_not_found_response_code`: 503 unless another was chosen.
    pub cluster_not_found: StatusCode,
    /// `prefix_rewrite` or `regex_rewrite`.
    pub path_rewrite: Option<PathRewrite>,
    /// `host_rewrite_specifier`.
    pub host_rewrite: Option<HostRewrite>,
    /// `append_x_forwarded_host`: a rewritten host is added to `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
    /// `timeout`: from the end of the request to the end of the response, retries included;
    /// `None` is no limit. 15 s where nothing is written.
    pub timeout: Option<Duration>,
    /// `retry_policy`; in place of the virtual host's, not added to it.
    pub retry: Option<Arc<RetryPolicy>>,
    /// `idle_timeout` of the stream.
    pub idle_timeout: RouteTimeout,
    /// `max_stream_duration`; with it there is no timeout besides.
    pub max_stream_duration: Option<MaxStreamDuration>,
    /// `max_grpc_timeout` and `grpc_timeout_offset`, where the former is set.
    pub grpc_timeout: Option<GrpcTimeout>,
    /// `priority`: which thresholds of the circuit breakers apply.
    pub priority: Priority,
    /// `hash_policy`, in order.
    pub hash_policies: Vec<HashPolicy>,
    /// `metadata_match`, for subset balancing.
    pub metadata_match: Metadata,
    /// `upgrade_configs`.
    pub upgrades: RouteUpgrades,
    /// `rate_limits`.
    pub rate_limits: RouteRateLimits,
    /// `request_mirror_policies`; in place of the virtual host's, not added to them.
    pub mirrors: Vec<MirrorPolicy>,
}

/// By what filters that limit rates tell the requests of a route apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteRateLimits {
    /// `rate_limits`.
    pub rules: Vec<RateLimitRule>,
    /// `include_vh_rate_limits`: the virtual host's count too.
    pub include_virtual_host: bool,
}

/// What a route says about upgrades (`RouteAction.upgrade_configs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteUpgrades {
    /// The word of the route; it wins over the connection manager's.
    pub types: Box<[RouteUpgrade]>,
    /// Who answers CONNECT (`connect_config`).
    pub connect: ConnectMode,
}

impl RouteUpgrades {
    /// The route's word about an upgrade, compared without case; `None` leaves the manager's.
    #[must_use]
    pub fn allows(&self, upgrade_type: &str) -> Option<bool> {
        let found = self.types.iter().find(|u| u.upgrade_type.eq_ignore_ascii_case(upgrade_type));
        found.map(|upgrade| upgrade.enabled)
    }
}

/// `RouteAction.UpgradeConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteUpgrade {
    /// `upgrade_type`.
    pub upgrade_type: Box<str>,
    /// `enabled`.
    pub enabled: bool,
}

/// Who answers CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConnectMode {
    /// The upstream does: CONNECT is sent on as it is (the default).
    #[default]
    Forward,
    /// We do (`connect_config`): the payload goes to the upstream as plain TCP.
    Terminate,
}

/// What is meant by a timeout that may be absent, zero or something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RouteTimeout {
    /// This much.
    After(Duration),
    /// Zero was written: none, whatever the connection manager says.
    Disabled,
    /// Nothing was written: the connection manager's.
    #[default]
    Inherit,
}

/// `RouteAction.MaxStreamDuration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxStreamDuration {
    /// `max_stream_duration`.
    pub max: RouteTimeout,
    /// `grpc_timeout_header_max`: `grpc-timeout` counts, up to this (zero: without limit).
    pub grpc_timeout_header_max: Option<Duration>,
    /// `grpc_timeout_header_offset`: taken off `grpc-timeout`.
    pub grpc_timeout_header_offset: Duration,
}

/// `max_grpc_timeout`: the timeout of gRPC requests is what they ask for in `grpc-timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcTimeout {
    /// `max_grpc_timeout` (zero: without limit).
    pub max: Duration,
    /// `grpc_timeout_offset`: taken off `grpc-timeout`.
    pub offset: Duration,
}

/// `envoy.config.core.v3.RoutingPriority`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// `DEFAULT`.
    #[default]
    Default,
    /// `HIGH`.
    High,
}

/// How the cluster is found (`cluster_specifier`).
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterSpecifier {
    /// `cluster`.
    Cluster(ClusterName),
    /// `cluster_header`: the first value of that header names it.
    Header(HeaderRef),
    /// `weighted_clusters`.
    Weighted(Box<WeightedClusters>),
}

/// `envoy.config.route.v3.WeightedCluster`.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedClusters {
    /// `clusters`; never empty.
    pub clusters: Vec<ClusterWeight>,
    /// Sum of all weights: above zero, at most `u32::MAX`.
    pub total: u32,
    /// `runtime_key_prefix`: `prefix.name` in runtime replaces a weight.
    pub runtime_key_prefix: Option<Box<str>>,
    /// `header_name`: where the random value is read from, if it is there and a number.
    pub random_header: Option<HeaderRef>,
}

/// `WeightedCluster.ClusterWeight`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterWeight {
    /// `name` or `cluster_header`.
    pub target: ClusterTarget,
    /// `weight`.
    pub weight: u32,
    /// Header changes when this cluster is chosen.
    pub headers: HeaderChanges,
    /// Per-filter configuration when this cluster is chosen.
    pub overrides: FilterOverrides,
    /// `host_rewrite_literal`; wins over the route's.
    pub host_rewrite: Option<Box<str>>,
    /// `metadata_match`, over the route's.
    pub metadata_match: Metadata,
}

/// How one entry of a list of clusters is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClusterTarget {
    /// By its name.
    Cluster(ClusterName),
    /// `cluster_header`: the first value of that header names it.
    Header(HeaderRef),
}

/// How `:path` changes on its way upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// `prefix_rewrite`: what the matcher matched becomes this.
    Prefix(Box<str>),
    /// `regex_rewrite`: over the path without its query.
    Regex(Substitution),
}

/// How `:authority` changes on its way upstream (`host_rewrite_specifier`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRewrite {
    /// `auto_host_rewrite`: the chosen host's name.
    Auto,
    /// `host_rewrite_header`: the first value of that header, if not empty.
    Header(HeaderRef),
    /// `host_rewrite_literal`.
    Literal(Box<str>),
    /// `host_rewrite_path_regex`: the path without its query, replaced.
    PathRegex(Substitution),
}

/// `RouteAction.HashPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// `terminal`: nothing after it counts once there is a hash.
    pub terminal: bool,
}

/// What is hashed (`policy_specifier`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashSource {
    /// `cookie`.
    Cookie {
        /// `name`.
        name: Box<str>,
        /// `ttl`: a cookie that is absent is made, with this lifetime (zero: of the session).
        ttl: Option<Duration>,
        /// `path` of a cookie that is made.
        path: Box<str>,
        /// `attributes` of a cookie that is made: names and values.
        attributes: Vec<(Box<str>, Box<str>)>,
    },
    /// `header`.
    Header {
        /// `header_name`.
        name: HeaderRef,
        /// `regex_rewrite` of the value before it is hashed.
        rewrite: Option<Substitution>,
    },
    /// `query_parameter`.
    QueryParameter(Box<str>),
    /// `connection_properties.source_ip`.
    SourceIp,
}

/// An answer with `location` (`RedirectAction`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `scheme_rewrite_specifier`.
    pub scheme: Option<RedirectScheme>,
    /// `host_redirect`.
    pub host: Option<Box<str>>,
    /// `port_redirect`.
    pub port: Option<u32>,
    /// `path_rewrite_specifier`.
    pub path: Option<RedirectPath>,
    /// `response_code`: 301 unless another was chosen.
    pub status: StatusCode,
    /// `strip_query`. The query of a `path_redirect` stays in any case.
    pub strip_query: bool,
}

/// What becomes of the scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectScheme {
    /// `https_redirect`.
    Https,
    /// `scheme_redirect`.
    To(Box<str>),
}

/// What becomes of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPath {
    /// `path_redirect`: all of it.
    Path(Box<str>),
    /// `prefix_rewrite`: what the matcher matched.
    Prefix(Box<str>),
    /// `regex_rewrite`: over the path without its query.
    Regex(Substitution),
}
