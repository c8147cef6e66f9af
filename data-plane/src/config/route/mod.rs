//! `envoy.config.route.v3.RouteConfiguration`: which request goes where.
//!
//! This file and `matcher.rs`, `action.rs` say what a route table is; `parse.rs` and its
//! neighbours say which messages become one. All of Envoy's defaults are resolved here, so that
//! nobody downstream knows them. Order matters everywhere: the first route that matches wins.
//!
//! Patterns are compiled already; equality is that of what was written. The lookup lives in
//! `crate::route`, which indexes this model without changing it.

pub mod action;
mod action_rules;
pub mod match_rules;
pub mod matcher;
mod mirror;
mod parse;
pub mod rate_limit;
mod retry;
pub mod support;
#[cfg(test)]
mod tests;
mod upgrade_rules;

use std::sync::Arc;

use http::HeaderName;

pub use action::{
    Action, ClusterSpecifier, ClusterWeight, ConnectMode, DirectResponse, Forward, GrpcTimeout,
    HashPolicy, HashSource, HostRewrite, MaxStreamDuration, PathRewrite, Priority, Redirect,
    RedirectPath, RedirectScheme, RouteRateLimits, RouteTimeout, RouteUpgrade, RouteUpgrades,
    WeightedClusters,
};
pub use matcher::{
    CookieMatcher, HeaderMatcher, HeaderRef, HeaderTest, PathMatcher, QueryMatcher, QueryTest,
    RouteMatcher, RuntimeFraction,
};
pub use mirror::{MirrorHost, MirrorPolicy, MirrorUse};

pub use parse::{DIRECT_RESPONSE_BYTES_MAX, parse};
pub use rate_limit::{Absent, RateLimitAction, RateLimitRule};
pub use retry::{BackOff, RateLimitedBackOff, ResetFormat, RetryNames, RetryOn, RetryPolicy};

use super::extension::FilterOverride;
use super::header_mutation::HeaderValueOption;
use super::metadata::Metadata;
use super::tracing::{Decorator, RouteTracing};
use crate::base::names::{ClusterName, RouteConfigName};

/// A route table as it was configured.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// `name`: what RDS asks for; may be empty in a static table.
    pub name: RouteConfigName,
    /// `virtual_hosts`; no domain stands in two of them.
    pub virtual_hosts: Vec<VirtualHostConfig>,
    /// `internal_only_headers`: taken off external requests before any filter sees them.
    pub internal_only_headers: Vec<HeaderName>,
    /// Header changes of the whole table.
    pub headers: HeaderChanges,
    /// In which order the levels' header changes are applied.
    pub header_order: HeaderOrder,
    /// `validate_clusters`; `None` means yes in a static table, no in one from RDS.
    pub validate_clusters: Option<bool>,
    /// `ignore_port_in_host_matching`: how the port of `:authority` counts.
    pub host_port: HostPort,
    /// `ignore_path_parameters_in_path_matching`: how `;params` count.
    pub path_parameters: PathParameters,
    /// Per-filter configuration of the whole table.
    pub overrides: FilterOverrides,
    /// `metadata`.
    pub metadata: Metadata,
    /// `request_mirror_policies`, for virtual hosts and routes without any of their own.
    pub mirrors: Vec<MirrorPolicy>,
}

/// A cluster that a route names, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterUse<'a> {
    /// Place of the virtual host.
    pub virtual_host: usize,
    /// Place of the route in it.
    pub route: usize,
    /// Place of the entry of `weighted_clusters`, if it is one.
    pub weighted: Option<usize>,
    /// The cluster.
    pub name: &'a ClusterName,
}

impl RouteConfig {
    /// All clusters that the table names outright, for `validate_clusters` and for warming.
    pub fn clusters(&self) -> impl Iterator<Item = ClusterUse<'_>> {
        let hosts = self.virtual_hosts.iter().enumerate();
        let routes = hosts.flat_map(|(i, host)| {
            host.routes.iter().enumerate().map(move |(j, route)| (i, j, &route.action))
        });
        routes.flat_map(|(virtual_host, route, action)| {
            let named = named_clusters(action).into_iter();
            named.map(move |(weighted, name)| ClusterUse { virtual_host, route, weighted, name })
        })
    }
}

fn named_clusters(action: &Action) -> Vec<(Option<usize>, &ClusterName)> {
    let Action::Forward(forward) = action else { return Vec::new() };
    match &forward.cluster {
        ClusterSpecifier::Cluster(name) => vec![(None, name)],
        ClusterSpecifier::Header(_) => Vec::new(),
        ClusterSpecifier::Weighted(weighted) => {
            let named = weighted.clusters.iter().enumerate();
            let named = named.filter_map(|(at, cluster)| match &cluster.target {
                action::ClusterTarget::Cluster(name) => Some((Some(at), name)),
                action::ClusterTarget::Header(_) => None,
            });
            named.collect()
        }
    }
}

impl RouteConfig {
    /// A table without a virtual host: every request is answered with 404.
    #[must_use]
    pub fn empty(name: RouteConfigName) -> Self {
        Self {
            name,
            virtual_hosts: Vec::new(),
            internal_only_headers: Vec::new(),
            headers: HeaderChanges::default(),
            header_order: HeaderOrder::default(),
            validate_clusters: None,
            host_port: HostPort::default(),
            path_parameters: PathParameters::default(),
            overrides: FilterOverrides::default(),
            metadata: Metadata::default(),
            mirrors: Vec::new(),
        }
    }
}

/// The changes to headers that one level makes; removals come first, then the list in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// `request_headers_to_add`.
    pub request_add: Vec<HeaderValueOption>,
    /// `request_headers_to_remove`.
    pub request_remove: Vec<HeaderName>,
    /// `response_headers_to_add`.
    pub response_add: Vec<HeaderValueOption>,
    /// `response_headers_to_remove`.
    pub response_remove: Vec<HeaderName>,
}

/// Order of the levels (`most_specific_header_mutations_wins`); what comes later may overwrite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderOrder {
    /// Weighted cluster, route, virtual host, table (the default): the table has the last word.
    #[default]
    MostSpecificFirst,
    /// Table, virtual host, route, weighted cluster.
    MostSpecificLast,
}

/// Whether the port of `:authority` takes part in the choice of a virtual host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostPort {
    /// It is cut off first. Ports in `domains` stay.
    Ignored,
    /// It counts (the default).
    #[default]
    Significant,
}

/// Whether `;params` in a path take part in the choice of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathParameters {
    /// Everything from the first `;` on is cut off for the match.
    Ignored,
    /// They are part of the path (the default).
    #[default]
    Significant,
}

/// `envoy.config.route.v3.VirtualHost`.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualHostConfig {
    /// `name`: for counters and logs.
    pub name: Arc<str>,
    /// `domains`, in lower case; never empty.
    pub domains: Vec<Domain>,
    /// `routes`, in order.
    pub routes: Vec<RouteEntry>,
    /// `require_tls`.
    pub require_tls: RequireTls,
    /// `virtual_clusters`, in order.
    pub virtual_clusters: Vec<VirtualCluster>,
    /// Header changes of this host.
    pub headers: HeaderChanges,
    /// Per-filter configuration of this host.
    pub overrides: FilterOverrides,
    /// Who is told `x-envoy-attempt-count`.
    pub attempt_count: AttemptCount,
    /// `retry_policy`, for routes without one of their own.
    pub retry: Option<Arc<RetryPolicy>>,
    /// `include_is_timeout_retry_header`.
    pub timeout_retry_header: bool,
    /// `rate_limits`: what filters that limit rates tell requests apart by.
    pub rate_limits: Vec<RateLimitRule>,
    /// Most body bytes that one request may hold back.
    pub buffer_limit: BufferLimit,
    /// `metadata`.
    pub metadata: Metadata,
    /// `request_mirror_policies`, for routes without any of their own.
    pub mirrors: Vec<MirrorPolicy>,
}

/// A domain of a virtual host, in lower case. Earlier variants win over later ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// The host itself, with its port if it has one.
    Exact(Box<str>),
    /// `*.foo.com`, kept without the star: at least one byte and then this.
    Suffix(Box<str>),
    /// `foo.*`, kept without the star: this and then at least one byte.
    Prefix(Box<str>),
    /// `*`.
    Any,
}

/// Which requests must come over TLS (`VirtualHost.TlsRequirementType`); others get a 301.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RequireTls {
    /// All.
    All,
    /// Those without `x-envoy-internal: true`.
    ExternalOnly,
    /// None (the default).
    #[default]
    None,
}

/// `include_request_attempt_count`, `include_attempt_count_in_response`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AttemptCount {
    /// The upstream is told.
    pub request: bool,
    /// The client is told.
    pub response: bool,
}

/// `per_request_buffer_limit_bytes` and `request_body_buffer_limit`; the second wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BufferLimit {
    /// Bounded by the connection's own limit as well.
    pub per_request_bytes: Option<u32>,
    /// In place of the connection's limit.
    pub body_bytes: Option<u64>,
}

/// Requests that are counted apart (`envoy.config.route.v3.VirtualCluster`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualCluster {
    /// `name`.
    pub name: Arc<str>,
    /// `headers`: all must match; never empty.
    pub headers: Vec<HeaderMatcher>,
}

/// `envoy.config.route.v3.Route`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteEntry {
    /// `name`: for logs; may be empty.
    pub name: Arc<str>,
    /// `match`.
    pub matcher: RouteMatcher,
    /// What becomes of a request that matches.
    pub action: Action,
    /// Header changes of this route.
    pub headers: HeaderChanges,
    /// Per-filter configuration of this route.
    pub overrides: FilterOverrides,
    /// `stat_prefix`: names counters of this route; may be empty.
    pub stat_prefix: Arc<str>,
    /// Most body bytes that one request may hold back; wins over the virtual host's.
    pub buffer_limit: BufferLimit,
    /// `metadata`.
    pub metadata: Metadata,
    /// `tracing`; most routes leave it to the manager.
    pub tracing: Option<Arc<RouteTracing>>,
    /// `decorator`.
    pub decorator: Option<Arc<Decorator>>,
}

/// `typed_per_filter_config` of one level, sorted by the filter's name in the chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterOverrides {
    entries: Vec<(Box<str>, FilterOverride)>,
}

impl FilterOverrides {
    /// Sorts; of two entries with one name the first stays.
    #[must_use]
    pub fn new(mut entries: Vec<(Box<str>, FilterOverride)>) -> Self {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, earlier| later.0 == earlier.0);
        Self { entries }
    }

    /// What this level says about the filter of that name.
    #[must_use]
    pub fn find(&self, filter: &str) -> Option<&FilterOverride> {
        let at = self.entries.binary_search_by(|(name, _)| (**name).cmp(filter)).ok()?;
        self.entries.get(at).map(|(_, found)| found)
    }

    /// All entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &FilterOverride)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }

    /// Whether the level says nothing about any filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
