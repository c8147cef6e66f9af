//! Which messages become a TCP proxy.

use std::time::Duration;

use pb::TcpProxy;
use pb::tcp_proxy::{ClusterSpecifier, TcpAccessLogOptions as PbOptions, WeightedCluster};
use proto::envoy::extensions::filters::network::tcp_proxy::v3 as pb;

use super::{TcpAccessLogOptions, TcpClusters, TcpProxyConfig};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::resource::ParseCx;
use crate::config::{access_log, field};

const IDLE_DEFAULT: Duration = Duration::from_secs(3600);

/// A TCP proxy.
///
/// # Errors
/// All that is wrong with it, up to the limit of problems.
pub fn parse(mut proxy: TcpProxy, cx: &ParseCx<'_>) -> Result<TcpProxyConfig, Problems> {
    let mut all = Collector::default();
    let clusters = all.keep(parse_clusters(proxy.cluster_specifier.take()));
    let idle = field::timeout(proxy.idle_timeout, Some(IDLE_DEFAULT), "idle_timeout");
    let idle_timeout = all.keep(idle);
    let most = field::duration(
        proxy.max_downstream_connection_duration,
        "max_downstream_connection_duration",
    );
    let max_duration = all.keep(most);
    let jitter = field::percent(
        proxy.max_downstream_connection_duration_jitter_percentage,
        0.0,
        "max_downstream_connection_duration_jitter_percentage",
    );
    let max_duration_jitter_percent = all.keep(jitter);
    let access_log_options = all.keep(parse_options(&proxy));
    let logs = std::mem::take(&mut proxy.access_log);
    let access_log = all.keep(access_log::parse::parse_all(logs, "access_log", cx));
    all.finish()?;
    let build = || {
        Some(TcpProxyConfig {
            stat_prefix: proxy.stat_prefix.into(),
            clusters: clusters?,
            idle_timeout: idle_timeout?,
            max_connect_attempts: field::uint(proxy.max_connect_attempts, 1),
            max_duration: max_duration?,
            max_duration_jitter_percent: max_duration_jitter_percent?,
            access_log: access_log?,
            access_log_options: access_log_options?,
        })
    };
    // The collector was clean, so every part is there.
    build().ok_or_else(|| Reason::Missing.into())
}

fn parse_clusters(specifier: Option<ClusterSpecifier>) -> Result<TcpClusters, Problems> {
    match specifier.ok_or(Reason::Missing)? {
        ClusterSpecifier::Cluster(name) => Ok(TcpClusters::One(name.into())),
        ClusterSpecifier::WeightedClusters(WeightedCluster { clusters }) => {
            let weighted = clusters.into_iter().map(|one| (one.name.into(), one.weight));
            Ok(TcpClusters::Weighted(weighted.collect()))
        }
    }
}

/// Envoy: the deprecated fields may not stand beside `access_log_options`.
fn parse_options(proxy: &TcpProxy) -> Result<TcpAccessLogOptions, Problems> {
    let old = PbOptions {
        access_log_flush_interval: proxy.access_log_flush_interval,
        flush_access_log_on_connected: proxy.flush_access_log_on_connected,
        flush_access_log_on_start: false,
    };
    let (options, place) = match proxy.access_log_options {
        None => (old, None),
        Some(_) if old != PbOptions::default() => {
            let text = "may not be set beside access_log_flush_interval or \
                        flush_access_log_on_connected";
            return Err(Reason::Rule(text.into()).into()).at("access_log_options");
        }
        Some(options) => (options, Some("access_log_options")),
    };
    let interval = options.access_log_flush_interval;
    let interval = field::duration(interval, "access_log_flush_interval");
    Ok(TcpAccessLogOptions {
        flush_interval: match place {
            None => interval?,
            Some(place) => interval.at(place)?,
        },
        flush_on_connected: options.flush_access_log_on_connected,
        flush_on_start: options.flush_access_log_on_start,
    })
}
