//! Which messages become a cluster. `discovery.rs`, `lb.rs`, `http.rs` have the larger parts.

use std::sync::Arc;
use std::time::Duration;

use proto::envoy::config::cluster::v3 as pb;
use proto::envoy::config::cluster::v3::circuit_breakers::Thresholds as PbThresholds;
use proto::envoy::config::core::v3::RoutingPriority;

use super::{
    CircuitBreakers, ClusterConfig, Discovery, RetryBudget, Thresholds, UpstreamHttpConfig,
    UpstreamProtocol, UpstreamTransport, bind, discovery, health, http, lb, outlier,
};
use crate::base::bind::BindConfig;
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::resource::ParseCx;
use crate::config::{address, field, metadata, tls};

/// `connect_timeout` where none is written.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// `per_connection_buffer_limit_bytes` where none is written.
pub(in crate::config) const BUFFER_LIMIT_BYTES_DEFAULT: u32 = 1024 * 1024;

/// A cluster.
///
/// # Errors
/// All that is wrong with it, up to the limit of problems.
pub fn parse(cluster: pb::Cluster, cx: &ParseCx<'_>) -> Result<ClusterConfig, Problems> {
    let mut all = Collector::default();
    if cluster.name.is_empty() {
        let missing: Result<(), Problems> = Err(Reason::Missing.into());
        all.keep(missing.at("name"));
    }
    all.keep(refuse_unbuilt(&cluster));
    let found = all.keep(discovery::parse(&cluster, cx));
    let balancing = all.keep(lb::parse(&cluster));
    let lb_common = all.keep(lb::parse_common(cluster.common_lb_config.clone()));
    let http = all.keep(http::parse(&cluster, cx));
    let transport = all.keep(parse_transport(&cluster, cx));
    let breakers = all.keep(parse_breakers(cluster.circuit_breakers).at("circuit_breakers"));
    let http1 = |http: &UpstreamHttpConfig| matches!(http.protocol, UpstreamProtocol::Http1(_));
    let http2 = !http.as_ref().is_some_and(http1);
    let around = health::parse::Around { name: &cluster.name, cx, http2 };
    let health = all.keep(health::parse::parse(cluster.health_checks.clone(), around));
    let outlier = cluster.outlier_detection.map(outlier::parse).transpose();
    let outlier = all.keep(outlier.at("outlier_detection"));
    let bind = cluster.upstream_bind_config.clone().map(bind::parse).transpose();
    let bind = all.keep(bind.at("upstream_bind_config"));
    let connect_timeout = all.keep(field::duration(cluster.connect_timeout, "connect_timeout"));
    all.finish()?;
    let parts = found.zip(balancing).zip(lb_common).zip(http).zip(breakers);
    // The collector is clean, so each of them is there.
    let ((((found, lb), lb_common), http), circuit_breakers) = parts.ok_or(Reason::Missing)?;
    let options = cluster.upstream_connection_options.unwrap_or_default();
    let warm_default = !matches!(found.discovery, Discovery::Static);
    Ok(ClusterConfig {
        name: cluster.name.into(),
        alt_stat_name: Some(cluster.alt_stat_name).filter(|n| !n.is_empty()).map(Into::into),
        discovery: found.discovery,
        connect_timeout: connect_timeout.flatten().unwrap_or(CONNECT_TIMEOUT_DEFAULT),
        lb,
        lb_common,
        circuit_breakers,
        health_check: health.flatten().map(Arc::new),
        outlier: outlier.flatten().map(Arc::new),
        http,
        per_connection_buffer_limit_bytes: field::uint(
            cluster.per_connection_buffer_limit_bytes,
            BUFFER_LIMIT_BYTES_DEFAULT,
        ),
        tcp_keepalive: options.tcp_keepalive.map(address::parse_keepalive),
        bind: BindConfig::merged(bind.flatten(), cx.bind),
        transport: transport.unwrap_or_default(),
        metadata: Arc::new(metadata::parse(cluster.metadata)),
        ignore_health_on_host_removal: cluster.ignore_health_on_host_removal,
        wait_for_warm_on_init: field::flag(cluster.wait_for_warm_on_init, warm_default),
        load_assignment: Arc::new(found.load_assignment),
    })
}

/// Fields whose default is harmless to write out, and whose other values are not built.
fn refuse_unbuilt(cluster: &pb::Cluster) -> Result<(), Problems> {
    let mut all = Collector::default();
    for (present, name) in [
        (!cluster.filters.is_empty(), "filters"),
        (!cluster.transport_socket_matches.is_empty(), "transport_socket_matches"),
        (cluster.transport_socket_matcher.is_some(), "transport_socket_matcher"),
        (cluster.upstream_config.is_some(), "upstream_config"),
        // Only what finds a host failed closes its connections.
        (
            cluster.close_connections_on_host_health_failure
                && (cluster.outlier_detection.is_some() || !cluster.health_checks.is_empty()),
            "close_connections_on_host_health_failure",
        ),
        (cluster.queuing_policies.is_some(), "queuing_policies"),
        (
            cluster.per_connection_buffer_high_watermark_timeout.is_some(),
            "per_connection_buffer_high_watermark_timeout",
        ),
        (
            cluster.connection_pool_per_downstream_connection,
            "connection_pool_per_downstream_connection",
        ),
    ] {
        all.keep(field::refuse(present, name));
    }
    all.finish()
}

fn parse_transport(cluster: &pb::Cluster, cx: &ParseCx<'_>) -> Result<UpstreamTransport, Problems> {
    let socket = cluster.transport_socket.as_ref();
    let tls = socket.map(|socket| tls::parse::parse_upstream(socket, cx)).transpose();
    Ok(match tls.at("transport_socket")?.flatten() {
        None => UpstreamTransport::RawBuffer,
        Some(tls) => {
            http::refuse_automatic_names(cluster)?;
            UpstreamTransport::Tls(Arc::new(tls))
        }
    })
}

fn parse_breakers(breakers: Option<pb::CircuitBreakers>) -> Result<CircuitBreakers, Problems> {
    let breakers = breakers.unwrap_or_default();
    let mut default = None;
    let mut high = None;
    for (i, thresholds) in breakers.thresholds.into_iter().enumerate() {
        let (priority, thresholds) = parse_thresholds(thresholds).at_index("thresholds", i)?;
        // Envoy takes the first entry of a priority.
        match priority {
            RoutingPriority::Default => default.get_or_insert(thresholds),
            RoutingPriority::High => high.get_or_insert(thresholds),
        };
    }
    let mut per_host_max_connections = None;
    for (i, thresholds) in breakers.per_host_thresholds.into_iter().enumerate() {
        let (priority, limit) = parse_per_host(&thresholds).at_index("per_host_thresholds", i)?;
        if priority == RoutingPriority::Default && per_host_max_connections.is_none() {
            per_host_max_connections = limit;
        }
    }
    Ok(CircuitBreakers {
        default: default.unwrap_or_default(),
        high: high.unwrap_or_default(),
        per_host_max_connections,
    })
}

fn parse_thresholds(t: PbThresholds) -> Result<(RoutingPriority, Thresholds), Problems> {
    let d = Thresholds::default();
    let priority = field::enumeration(t.priority, "priority")?;
    Ok((
        priority,
        Thresholds {
            max_connections: field::uint(t.max_connections, d.max_connections),
            max_pending_requests: field::uint(t.max_pending_requests, d.max_pending_requests),
            max_requests: field::uint(t.max_requests, d.max_requests),
            max_retries: field::uint(t.max_retries, d.max_retries),
            retry_budget: t.retry_budget.map(parse_budget).transpose().at("retry_budget")?,
            track_remaining: t.track_remaining,
        },
    ))
}

fn parse_budget(
    budget: pb::circuit_breakers::thresholds::RetryBudget,
) -> Result<RetryBudget, Problems> {
    let percent = field::percent(budget.budget_percent, 20.0, "budget_percent")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10000")]
    let budget_basis_points = (percent * 100.0).round() as u32;
    let min_retry_concurrency = field::uint(budget.min_retry_concurrency, 3);
    Ok(RetryBudget { budget_basis_points, min_retry_concurrency })
}

/// `per_host_thresholds`: Envoy takes `max_connections` only.
fn parse_per_host(t: &PbThresholds) -> Result<(RoutingPriority, Option<u32>), Problems> {
    let only_connections = t.max_pending_requests.is_none()
        && t.max_requests.is_none()
        && t.max_retries.is_none()
        && t.retry_budget.is_none()
        && t.max_connection_pools.is_none();
    if !only_connections {
        let text = "only max_connections may be set for each host".into();
        return Err(Reason::Rule(text).into());
    }
    let priority = field::enumeration(t.priority, "priority")?;
    Ok((priority, t.max_connections.map(|v| v.value)))
}
