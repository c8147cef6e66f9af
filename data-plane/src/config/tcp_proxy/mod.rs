//! The TCP proxy (`envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`).
//!
//! Shape only; `parse.rs` has the rules. Defaults are Envoy's, resolved.

pub mod parse;

use std::sync::Arc;
use std::time::Duration;

use super::access_log::AccessLogConfig;
use crate::base::names::ClusterName;

/// A TCP proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpProxyConfig {
    /// `stat_prefix` of `tcp.<stat_prefix>.`.
    pub stat_prefix: Arc<str>,
    /// Where connections go.
    pub clusters: TcpClusters,
    /// Without a byte either way for so long a connection ends; default 1 h; `None` (0): never.
    pub idle_timeout: Option<Duration>,
    /// Connections that are tried before one is given up; default 1.
    pub max_connect_attempts: u32,
    /// `max_downstream_connection_duration`.
    pub max_duration: Option<Duration>,
    /// So much of it is added at most, by chance.
    pub max_duration_jitter_percent: f64,
    /// Access logs.
    pub access_log: Vec<AccessLogConfig>,
    /// When there is an entry besides that at the end.
    pub access_log_options: TcpAccessLogOptions,
}

/// `TcpProxy.cluster_specifier`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpClusters {
    /// One cluster.
    One(ClusterName),
    /// Several, each with its weight, which is at least 1.
    Weighted(Vec<(ClusterName, u32)>),
}

/// `TcpProxy.TcpAccessLogOptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpAccessLogOptions {
    /// An entry each time that this has passed.
    pub flush_interval: Option<Duration>,
    /// An entry when the upstream is connected.
    pub flush_on_connected: bool,
    /// An entry when the connection begins.
    pub flush_on_start: bool,
}

impl TcpClusters {
    /// The cluster that a random number means.
    #[must_use]
    pub fn pick(&self, random: u64) -> Option<&ClusterName> {
        let all = match self {
            Self::One(name) => return Some(name),
            Self::Weighted(all) => all,
        };
        let total: u64 = all.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = random.checked_rem(total)?;
        for (name, weight) in all {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return Some(name),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fall_on_clusters_by_weight() {
        let all = vec![("a".into(), 1), ("b".into(), 3)];
        let clusters = TcpClusters::Weighted(all);
        let picked: Vec<&str> =
            (0..8).map(|random| clusters.pick(random).unwrap().as_str()).collect();
        assert_eq!(picked, ["a", "b", "b", "b", "a", "b", "b", "b"]);
        assert_eq!(TcpClusters::One("c".into()).pick(7).unwrap().as_str(), "c");
    }
}
