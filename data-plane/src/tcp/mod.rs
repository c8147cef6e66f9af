//! L6: bytes from a client's connection to a connection of its own upstream, and back
//! (`envoy.filters.network.tcp_proxy`).
//!
//! [`TcpProxy`] is what all workers share of one; [`serve`] is the life of a connection: choose a
//! cluster, connect, move bytes, leave a record. It stands above `http`, since it runs on the same
//! workers and writes the same logs. A connection knows the clusters of the moment in which it
//! looks for a host; afterwards a change of them does not touch it, as in Envoy.

mod end;
mod pump;
mod rbac;
mod record;
mod serve;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::cluster::ClusterMap;
use crate::config::tcp_proxy::TcpProxyConfig;
use crate::http::access_log::AccessLog;
use crate::http::view::Retired;
use crate::telemetry::access_log::Logs;
use crate::telemetry::stats::{Group, Registry, Scope, TcpStat};

pub use rbac::{Denied, NetworkRbac};
pub use serve::{ConnCx, serve};

/// A TCP proxy.
#[derive(Debug)]
pub struct TcpProxy {
    /// What was configured.
    pub config: Arc<TcpProxyConfig>,
    /// Name of its filter chain.
    pub chain: Arc<str>,
    /// `tcp.<stat_prefix>.`
    pub stats: Group<TcpStat>,
    /// Its access logs.
    pub access_logs: Vec<AccessLog>,
    clusters: ArcSwap<ClusterMap>,
}

impl TcpProxy {
    /// A proxy for the chain of that name.
    #[must_use]
    pub fn build(
        config: &Arc<TcpProxyConfig>,
        chain: &Arc<str>,
        (registry, logs): (&Registry, &Logs),
        clusters: &Arc<ClusterMap>,
    ) -> Self {
        let access_logs = config.access_log.iter().filter_map(|log| AccessLog::open(log, logs));
        Self {
            stats: registry.group(Scope::tcp(&config.stat_prefix)),
            access_logs: access_logs.collect(),
            clusters: ArcSwap::new(Arc::clone(clusters)),
            chain: Arc::clone(chain),
            config: Arc::clone(config),
        }
    }

    /// Shows it the clusters as they are now; those that they replace go to `retired`.
    pub fn publish(&self, clusters: &Arc<ClusterMap>, retired: &mut Retired) {
        if !Arc::ptr_eq(&self.clusters.load(), clusters) {
            retired.keep(self.clusters.swap(Arc::clone(clusters)));
        }
    }

    /// The clusters now.
    #[must_use]
    pub fn clusters(&self) -> Guard<Arc<ClusterMap>> {
        self.clusters.load()
    }
}

#[cfg(test)]
mod tests;
