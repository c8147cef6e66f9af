//! Clusters and their endpoints: add, change, warm, remove.

use std::sync::Arc;

use super::{Effect, Snapshot, Wanted};
use crate::base::names::ClusterName;
use crate::cluster::{Cluster, ClusterMap, build};
use crate::config::cluster::{ClusterConfig, Discovery, UpstreamTransport};
use crate::config::endpoint::EndpointsConfig;

/// Where a cluster or listener came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By xDS.
    Dynamic,
    /// From the bootstrap; it can't be changed by xDS.
    Static,
}

/// A cluster's place: what serves, and what warms to replace it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) origin: Origin,
    pub(super) active: Option<Arc<Cluster>>,
    pub(super) warming: Option<Arc<Cluster>>,
}

impl Slot {
    fn newest(&self) -> Option<&Arc<Cluster>> {
        self.warming.as_ref().or(self.active.as_ref())
    }
}

impl Snapshot {
    /// Adds a cluster or changes it. An equal one changes nothing; one of the bootstrap stays.
    pub fn set_cluster(
        &mut self,
        config: &Arc<ClusterConfig>,
        origin: Origin,
        effects: &mut Vec<Effect>,
    ) {
        let name = config.name.clone();
        let old = self.clusters.get(&name);
        if let Some(slot) = old {
            let taken = slot.origin == Origin::Static && origin == Origin::Dynamic;
            if taken || slot.newest().is_some_and(|c| **c.config() == **config) {
                return;
            }
        }
        let replaced = old.and_then(|slot| slot.warming.clone());
        if let UpstreamTransport::Tls(tls) = &config.transport
            && !tls.common.validation.checks()
        {
            tracing::warn!(
                cluster = %name,
                "its hosts' certificates are not verified: its TLS context has no trusted_ca"
            );
        }
        let service = self.manager_cx.metrics.service(config.stat_name());
        let cluster = Cluster::new(Arc::clone(config), &self.registry).counted_as(service);
        let cluster = Arc::new(cluster);
        if config.outlier.is_some() || config.health_check.is_some() {
            effects.push(Effect::Watch(Arc::clone(&cluster)));
        }
        // The new one's subscription comes first, so that a name both need is not dropped between.
        let ready = self.start(&cluster, effects);
        let slot =
            self.clusters.entry(name).or_insert(Slot { origin, active: None, warming: None });
        slot.origin = origin;
        slot.warming = Some(Arc::clone(&cluster));
        if let Some(replaced) = replaced {
            self.stop(&replaced, effects);
        }
        if ready {
            self.activate(&cluster, effects);
        }
    }

    /// Removes a cluster that came by xDS; requests that are on their way to it end there.
    pub fn remove_cluster(&mut self, name: &ClusterName, effects: &mut Vec<Effect>) {
        if self.clusters.get(name).is_some_and(|slot| slot.origin == Origin::Dynamic) {
            self.drop_cluster(name, effects);
        }
    }

    pub(super) fn drop_cluster(&mut self, name: &ClusterName, effects: &mut Vec<Effect>) {
        let Some(slot) = self.clusters.remove(name) else { return };
        self.publish_clusters();
        for cluster in [slot.active, slot.warming].into_iter().flatten() {
            cluster.set_removed();
            self.stop(&cluster, effects);
        }
    }

    /// New endpoints for every cluster that reads them under this name.
    pub fn set_endpoints(
        &mut self,
        service: &str,
        endpoints: &Arc<EndpointsConfig>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_wanted(&Wanted::Endpoints(service.into())) {
            // It was on its way when the last cluster that reads it went.
            return;
        }
        self.endpoints.insert(service.into(), Arc::clone(endpoints));
        for cluster in self.readers(service) {
            cluster.set_endpoints(Arc::clone(endpoints), &build::no_names);
            self.activate(&cluster, effects);
        }
    }

    /// The names of a cluster were resolved, or could not be for the first time, or each of its
    /// hosts was checked once: it serves.
    pub fn resolved(&mut self, cluster: &Arc<Cluster>, effects: &mut Vec<Effect>) {
        self.activate(cluster, effects);
    }

    /// A load assignment did not come in time, or does not exist: clusters that wait for it serve
    /// without hosts, as in Envoy.
    pub fn give_up_endpoints(&mut self, service: &str, effects: &mut Vec<Effect>) {
        if !self.is_wanted(&Wanted::Endpoints(service.into())) {
            return;
        }
        // A change of such a cluster does not wait again for what nobody will say any more.
        let none = || Arc::new(EndpointsConfig::empty(service));
        self.endpoints.entry(service.into()).or_insert_with(none);
        for cluster in self.readers(service) {
            self.activate(&cluster, effects);
        }
    }

    /// Names of clusters that still warm.
    pub fn warming_clusters(&self) -> impl Iterator<Item = &ClusterName> {
        self.clusters.iter().filter(|(_, slot)| slot.warming.is_some()).map(|(name, _)| name)
    }

    /// Clusters that came by xDS.
    pub fn dynamic_clusters(&self) -> impl Iterator<Item = &ClusterName> {
        let dynamic = |slot: &Slot| slot.origin == Origin::Dynamic;
        self.clusters.iter().filter(move |(_, slot)| dynamic(slot)).map(|(name, _)| name)
    }

    /// Clusters that serve, with where they came from.
    pub fn clusters(&self) -> impl Iterator<Item = (&Arc<Cluster>, Origin)> {
        self.clusters.values().filter_map(|slot| Some((slot.active.as_ref()?, slot.origin)))
    }

    /// The cluster under whose name the statistics of an EDS subscription stand: of those that
    /// share a `service_name`, the first.
    #[must_use]
    pub fn endpoints_reader(&self, service: &str) -> Option<&Arc<Cluster>> {
        self.reading(service).next()
    }

    fn readers(&self, service: &str) -> Vec<Arc<Cluster>> {
        self.reading(service).cloned().collect()
    }

    fn reading(&self, service: &str) -> impl Iterator<Item = &Arc<Cluster>> {
        let reads = move |cluster: &&Arc<Cluster>| match &cluster.config().discovery {
            Discovery::Eds { service_name, .. } => **service_name == *service,
            Discovery::Static | Discovery::Dns(_) => false,
        };
        let all = self.clusters.values().flat_map(|slot| slot.active.iter().chain(&slot.warming));
        all.filter(reads)
    }

    /// Asks for what the cluster needs; whether it needs nothing more to serve.
    fn start(&mut self, cluster: &Arc<Cluster>, effects: &mut Vec<Effect>) -> bool {
        match &cluster.config().discovery {
            Discovery::Static => true,
            Discovery::Dns(_) => {
                effects.push(Effect::Resolve(Arc::clone(cluster)));
                false
            }
            Discovery::Eds { source, service_name } => {
                self.want(Wanted::Endpoints(Arc::clone(service_name)), source, effects);
                // S8: endpoints that are here already are used at once.
                let Some(endpoints) = self.endpoints.get(service_name) else { return false };
                cluster.set_endpoints(Arc::clone(endpoints), &build::no_names);
                true
            }
        }
    }

    fn stop(&mut self, cluster: &Arc<Cluster>, effects: &mut Vec<Effect>) {
        match &cluster.config().discovery {
            Discovery::Static => {}
            Discovery::Dns(_) => {
                let name = cluster.name();
                // A cluster of the same name that took over has begun its own resolution.
                let again =
                    self.clusters.get(name).and_then(Slot::newest).is_some_and(|newest| {
                        matches!(newest.config().discovery, Discovery::Dns(_))
                    });
                if !again {
                    effects.push(Effect::Unresolve(name.clone()));
                }
            }
            Discovery::Eds { service_name, .. } => {
                self.unwant(&Wanted::Endpoints(Arc::clone(service_name)), effects);
            }
        }
    }

    /// A warm cluster takes the place of the one that served.
    fn activate(&mut self, cluster: &Arc<Cluster>, effects: &mut Vec<Effect>) {
        let Some(slot) = self.clusters.get_mut(cluster.name()) else { return };
        if !slot.warming.as_ref().is_some_and(|warming| Arc::ptr_eq(warming, cluster)) {
            return;
        }
        if !cluster.is_checked() {
            // Its health checks say when each host had its first one.
            return;
        }
        let warm = slot.warming.take();
        let old = std::mem::replace(&mut slot.active, warm);
        self.publish_clusters();
        if let Some(old) = old {
            old.set_removed();
            self.stop(&old, effects);
        }
    }

    /// Shows all connection managers the clusters as they are now.
    fn publish_clusters(&mut self) {
        let active = self.clusters.values().filter_map(|slot| slot.active.clone());
        self.map = Arc::new(active.collect::<ClusterMap>());
        self.publish_views();
    }
}
