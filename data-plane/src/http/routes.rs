//! A route table and what its virtual clusters and routes count (`vhost.`), made and gone as one.

use std::sync::Arc;

use crate::config::route::{RouteConfig, VirtualHostConfig};
use crate::route::{RouteChoice, RouteTable};
use crate::telemetry::stats::{Group, Registry, RouteStat, Scope};

/// A route table with its counters. Shared by all workers.
#[derive(Debug)]
pub struct Routes {
    /// The routes.
    pub table: RouteTable,
    /// A place a virtual host; empty where none counts anything.
    counters: Box<[HostCounters]>,
}

#[derive(Debug)]
struct HostCounters {
    /// Virtual clusters in their order, then the catch-all.
    clusters: Box<[Group<RouteStat>]>,
    /// Routes that have a `stat_prefix`, by place.
    routes: Box<[(usize, Group<RouteStat>)]>,
}

impl HostCounters {
    fn new(host: &VirtualHostConfig, registry: &Registry) -> Self {
        let cluster = |name: &str| registry.group(Scope::virtual_cluster(&host.name, name));
        let mut clusters: Vec<_> = host.virtual_clusters.iter().map(|c| cluster(&c.name)).collect();
        if !clusters.is_empty() {
            clusters.push(cluster("other"));
        }
        let prefixes = host.routes.iter().map(|route| &*route.stat_prefix).enumerate();
        let routes = prefixes
            .filter(|(_, prefix)| !prefix.is_empty())
            .map(|(at, prefix)| (at, registry.group(Scope::route(&host.name, prefix))));
        Self { routes: routes.collect(), clusters: clusters.into() }
    }

    fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.routes.is_empty()
    }
}

impl Routes {
    /// Indexes a configuration and registers its counters.
    #[must_use]
    pub fn build(config: Arc<RouteConfig>, registry: &Registry) -> Self {
        let hosts = config.virtual_hosts.iter().map(|host| HostCounters::new(host, registry));
        let mut counters: Box<[_]> = hosts.collect();
        if counters.iter().all(HostCounters::is_empty) {
            counters = Box::default();
        }
        Self { table: RouteTable::build(config), counters }
    }

    /// Who counts the requests of a choice of this table, and of a virtual cluster of its host.
    pub fn counters(
        &self,
        choice: RouteChoice,
        virtual_cluster: Option<usize>,
    ) -> impl Iterator<Item = &Group<RouteStat>> {
        let (host, route) = choice.place();
        let host = self.counters.get(host);
        let cluster = host.and_then(|host| host.clusters.get(virtual_cluster?));
        let route = host.and_then(|host| {
            let at = host.routes.binary_search_by_key(&route?, |(at, _)| *at).ok()?;
            Some(&host.routes[at].1)
        });
        cluster.into_iter().chain(route)
    }
}
