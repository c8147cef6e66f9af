//! L4: upstream clusters: hosts, balancing, limits, connections.
//!
//! A [`Cluster`] is shared by all workers; what changes at run time (hosts) is swapped as one.
//! Each worker has its own [`pool`]s, balancers and picks; nothing on the way of a request takes a
//! lock. Balancing, priorities, limits and the building of host sets are pure; `connect`, `pool`
//! and `dns` do I/O. Nothing here knows a route, a filter or a listener.

pub mod build;
pub mod circuit;
pub mod connect;
pub mod dns;
pub mod health;
pub mod host;
pub mod host_set;
pub mod lb;
pub mod outlier;
pub mod pick;
pub mod pool;
mod priority;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Cache, Guard};

pub use circuit::{LimitKind, Limits, Overflow, Permit, RoutingPriority};
pub use host::{Answered, Host, HostAddress};
pub use host_set::{HostSet, Membership};

use self::health::Checker;
use self::host::{Availability, HealthFlag};
use self::outlier::{Detector, Report};
use crate::base::names::ClusterName;
use crate::config::cluster::{ClusterConfig, Discovery, DnsHosts, UpstreamTransport};
use crate::config::endpoint::EndpointsConfig;
use crate::telemetry::WorkerId;
use crate::telemetry::metrics::Service;
use crate::telemetry::stats::{ClusterStat, Group, Registry, Scope};
use crate::tls::client::Client;

/// One upstream cluster, as all workers see it.
///
/// A changed configuration makes a new `Cluster`, with new limits and connections; the old one
/// serves the requests that it has and is then freed. New endpoints only swap [`Cluster::hosts`].
#[derive(Debug)]
pub struct Cluster {
    config: Arc<ClusterConfig>,
    hosts: ArcSwap<HostSet>,
    /// What [`Cluster::refresh`] builds from; only the control runtime writes it.
    endpoints: ArcSwap<EndpointsConfig>,
    limits: Limits,
    stats: Group<ClusterStat>,
    tls: Option<Arc<Client>>,
    outlier: Option<Detector>,
    checker: Option<Checker>,
    service: Option<Service>,
    removed: AtomicBool,
}

impl Cluster {
    /// A cluster with the hosts that its configuration itself brings (STATIC), else with none
    /// until [`Cluster::set_endpoints`].
    #[must_use]
    pub fn new(config: Arc<ClusterConfig>, registry: &Registry) -> Self {
        let breakers = &config.circuit_breakers;
        let stat_name = config.alt_stat_name.as_deref().unwrap_or(config.name.as_str());
        let stats = registry.group(Scope::cluster(stat_name));
        let tls = match &config.transport {
            UpstreamTransport::RawBuffer => None,
            UpstreamTransport::Tls(tls) => {
                let stats = registry.group(Scope::cluster(stat_name).join("ssl."));
                Some(Arc::new(Client::new(tls, stats)))
            }
        };
        let checker = config.health_check.as_ref().map(|check| {
            let own = registry.group(Scope::cluster(stat_name).join("health_check."));
            Checker::new(&config, check, tls.as_ref(), stats.clone(), own)
        });
        let cluster = Self {
            hosts: ArcSwap::from_pointee(HostSet::empty(&config)),
            endpoints: ArcSwap::new(Arc::clone(&config.load_assignment)),
            limits: Limits::new(&breakers.default, &breakers.high),
            stats,
            tls,
            checker,
            outlier: config.outlier.as_ref().map(|outlier| {
                let scope = Scope::cluster(stat_name).join("outlier_detection.");
                Detector::new(outlier, registry.group(scope))
            }),
            service: None,
            removed: AtomicBool::new(false),
            config,
        };
        cluster.publish_membership();
        if matches!(cluster.config.discovery, Discovery::Static) {
            let endpoints = Arc::clone(&cluster.config.load_assignment);
            cluster.set_endpoints(endpoints, &build::no_names);
        }
        cluster
    }

    /// Gives it its series in the `gomesh_*` families.
    #[must_use]
    pub fn counted_as(mut self, service: Service) -> Self {
        self.service = Some(service);
        self
    }

    /// Its series in the `gomesh_*` families.
    #[must_use]
    pub const fn service(&self) -> Option<&Service> {
        self.service.as_ref()
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &Arc<ClusterConfig> {
        &self.config
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ClusterName {
        &self.config.name
    }

    /// Its limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Its counters.
    #[must_use]
    pub const fn stats(&self) -> &Group<ClusterStat> {
        &self.stats
    }

    /// Its TLS, if it has some.
    #[must_use]
    pub const fn tls(&self) -> Option<&Arc<Client>> {
        self.tls.as_ref()
    }

    /// Its outlier detection, if it has some.
    #[must_use]
    pub const fn outlier(&self) -> Option<&Detector> {
        self.outlier.as_ref()
    }

    /// Takes what a request made of its host.
    #[inline]
    pub fn report(&self, host: &Host, report: Report) {
        if let Some(detector) = &self.outlier {
            detector.report(host, report);
        }
    }

    const fn checker(&self) -> Option<&Checker> {
        self.checker.as_ref()
    }

    /// Whether it may serve now that its first hosts are known: health checks, if it has some,
    /// have looked at each of them. If not yet, they say when it is so.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.checker.as_ref().is_none_or(|checker| checker.is_warm(self.hosts.load().hosts()))
    }

    /// Its hosts now; workers keep theirs in a picker and come here only when they changed.
    #[must_use]
    pub fn hosts(&self) -> Guard<Arc<HostSet>> {
        self.hosts.load()
    }

    /// A worker's cheap way to the hosts.
    pub(crate) fn host_cache(self: &Arc<Self>) -> HostCache {
        Cache::new(HostsOf(Arc::clone(self)))
    }

    /// Takes over endpoints, with names resolved by `resolve`. To be called by one thread at a
    /// time (the control runtime). Hosts whose address stays are kept. Returns whether anything
    /// changed.
    pub fn set_endpoints(
        &self,
        endpoints: Arc<EndpointsConfig>,
        resolve: build::Resolve<'_>,
    ) -> bool {
        let specs = build::specs(&endpoints, resolve);
        let merged = build::merge(self.hosts.load().hosts(), &specs, |host| self.stays(host));
        if let Some(checker) = &self.checker {
            let by_discovery = !matches!(self.config.discovery, Discovery::Static);
            let excluded = by_discovery && self.config.lb_common.ignore_new_hosts_until_first_hc;
            checker.joined(&merged.joined, excluded);
            checker.hosts_changed();
        }
        let same_rules = **self.endpoints.load() == *endpoints;
        self.endpoints.store(endpoints);
        if merged.membership_changed {
            self.stats.inc(WorkerId::CONTROL, ClusterStat::MembershipChange);
        }
        let changed = merged.changed || !same_rules;
        if let Some(detector) = &self.outlier {
            merged.hosts.iter().for_each(|host| host.watch());
            // The task looks when this is done: it runs on the same thread.
            if merged.membership_changed {
                detector.hosts_changed();
            }
        }
        if changed {
            self.publish(merged.hosts);
        }
        changed
    }

    /// Whether a host that discovery no longer names stays, since its checks pass.
    fn stays(&self, host: &Host) -> bool {
        let several = match &self.config.discovery {
            Discovery::Static => false,
            Discovery::Eds { .. } => true,
            Discovery::Dns(dns) => matches!(dns.hosts, DnsHosts::Every),
        };
        several
            && self.checker.is_some()
            && !self.config.ignore_health_on_host_removal
            && !host.check().disabled
            && host.availability() != Availability::Unhealthy
            && !host.has_flag(HealthFlag::EdsDraining)
    }

    /// Groups the hosts anew after their health changed. One that was only waiting for its checks
    /// to fail goes.
    pub fn refresh(&self) {
        let mut hosts = self.hosts.load().hosts().to_vec();
        let before = hosts.len();
        hosts.retain(|host| {
            let goes = host.has_flag(HealthFlag::PendingDynamicRemoval)
                && host.has_flag(HealthFlag::FailedActiveHc);
            if goes {
                host.set_removed();
            }
            !goes
        });
        if hosts.len() < before {
            self.stats.inc(WorkerId::CONTROL, ClusterStat::MembershipChange);
        }
        self.publish(hosts);
    }

    fn publish(&self, hosts: Vec<Arc<Host>>) {
        let set = HostSet::new(hosts, &self.config, &self.endpoints.load());
        self.hosts.store(Arc::new(set));
        self.publish_membership();
    }

    fn publish_membership(&self) {
        let set = self.hosts.load();
        let membership = set.membership();
        self.stats.set(ClusterStat::MembershipTotal, membership.total);
        self.stats.set(ClusterStat::MembershipHealthy, membership.healthy);
        self.stats.set(ClusterStat::MembershipDegraded, membership.degraded);
        self.stats.set(ClusterStat::MembershipExcluded, membership.excluded);
        // As in Envoy, clusters whose hosts never change do not tell it.
        if !matches!(self.config.discovery, Discovery::Static) {
            let heaviest = set.hosts().iter().map(|host| u64::from(host.weight())).max();
            self.stats.set(ClusterStat::MaxHostWeight, heaviest.unwrap_or(1));
        }
    }

    /// Brings the gauges of the circuit breakers up to date; called before statistics are read,
    /// so that requests need not.
    pub fn publish_breakers(&self) {
        for priority in RoutingPriority::ALL {
            for (stat, value) in self.limits.gauges(priority) {
                self.stats.set(stat, value);
            }
        }
    }

    /// Whether it was replaced or removed: its idle connections close.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Marks it as replaced or removed.
    pub fn set_removed(&self) {
        self.removed.store(true, Ordering::Relaxed);
        if let Some(detector) = &self.outlier {
            detector.hosts_changed();
        }
        if let Some(checker) = &self.checker {
            checker.hosts_changed();
        }
    }
}

/// Follows a cluster's hosts: a pointer compare while nothing changes.
pub(crate) type HostCache = Cache<HostsOf, Arc<HostSet>>;

/// A cluster, as the holder of its hosts.
#[derive(Clone, Debug)]
pub(crate) struct HostsOf(Arc<Cluster>);

impl std::ops::Deref for HostsOf {
    type Target = ArcSwap<HostSet>;

    fn deref(&self) -> &ArcSwap<HostSet> {
        &self.0.hosts
    }
}

impl AsRef<Limits> for Cluster {
    fn as_ref(&self) -> &Limits {
        &self.limits
    }
}

/// All clusters by name; immutable, replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct ClusterMap {
    by_name: HashMap<ClusterName, Arc<Cluster>>,
}

impl ClusterMap {
    /// The cluster of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.by_name.get(name)
    }

    /// Every cluster, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.by_name.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl FromIterator<Arc<Cluster>> for ClusterMap {
    /// Of two with one name the later one stays.
    fn from_iter<I: IntoIterator<Item = Arc<Cluster>>>(clusters: I) -> Self {
        let by_name = clusters.into_iter().map(|cluster| (cluster.name().clone(), cluster));
        Self { by_name: by_name.collect() }
    }
}

#[cfg(test)]
mod tests;
