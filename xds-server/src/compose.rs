//! What is served: what the operator wrote, with the instances that the registry has.
//!
//! A change of an instance makes the load assignments of its service anew and nothing else, so
//! that it is on its way to clients at once, however large the mesh is.

use std::collections::HashMap;
use std::sync::Arc;

use proto::envoy::config::core::v3::HealthStatus;

use crate::registry::{Health, Listed, Registry};
use crate::share::{Discovered, Loaded, Share};
use crate::snapshot::{ENDPOINT, Resource};
use crate::translate::cluster::{self, Peer};

/// See the module.
#[derive(Debug)]
pub struct Composer {
    loaded: Loaded,
    registry: Arc<Registry>,
    /// Load assignments by cluster, with the number of the last change of the service.
    made: HashMap<String, (u64, Arc<Resource>)>,
}

impl Composer {
    /// Composes that with what the registry has; its services are the registry's from now on.
    #[must_use]
    pub fn new(loaded: Loaded, registry: Arc<Registry>) -> Self {
        let composer = Self { loaded, registry, made: HashMap::new() };
        composer.announce();
        composer
    }

    /// Something else was written.
    pub fn replace(&mut self, loaded: Loaded) {
        self.loaded = loaded;
        self.made.clear();
        self.announce();
    }

    fn announce(&self) {
        let services = self.loaded.services.clone();
        self.registry.set_services(services.discovered, services.written);
    }

    /// All shares as of now.
    #[must_use]
    pub fn shares(&mut self) -> Vec<Share> {
        for discovered in &self.loaded.discovered {
            let seen = self.made.get(&discovered.cluster).map(|(generation, _)| *generation);
            let changed = self.registry.instances(&discovered.service, seen);
            if let Some((generation, instances)) = changed {
                let resource = Arc::new(assignment(discovered, &instances));
                self.made.insert(discovered.cluster.clone(), (generation, resource));
            }
        }
        let mut shares = self.loaded.shares.clone();
        if self.made.is_empty() {
            return shares;
        }
        for resource in shares.iter_mut().flat_map(|share| &mut share.resources) {
            if resource.any.type_url == ENDPOINT
                && let Some((_, made)) = self.made.get(&*resource.name)
            {
                *resource = made.clone();
            }
        }
        shares
    }
}

fn assignment(discovered: &Discovered, instances: &[Listed]) -> Resource {
    let belongs = |listed: &&Listed| {
        let labels = &listed.instance.spec.labels;
        discovered.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let peers = instances.iter().filter(belongs).map(|listed| Peer {
        address: listed.instance.spec.address,
        weight: listed.instance.spec.weight,
        zone: listed.instance.spec.zone.clone(),
        health: match listed.instance.health() {
            Health::Passing => HealthStatus::Healthy,
            Health::Warning => HealthStatus::Degraded,
            Health::Critical => HealthStatus::Unhealthy,
            Health::Draining => HealthStatus::Draining,
        },
    });
    cluster::assignment(discovered, peers)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
    use proto::prost::Message as _;
    use proto::rules::{self, Policy};

    use super::*;
    use crate::canonical::canonical;
    use crate::intent::Texts;
    use crate::registry::{Keeper, Spec};
    use crate::{intent, support, translate};

    const MESH: &str = r#"version: 1
services:
  a:
    discover: registry
    subsets: { v1: { version: v1 } }
  b: { endpoints: ["127.0.0.1:3001"] }
gateways: { edge: { listen: "127.0.0.1:8000" } }
routes:
  - { name: all, gateway: edge, path: /, to: a }
  - { name: one, gateway: edge, path: /1, to: a/v1 }
  - { name: b, gateway: edge, path: /b, to: b }
"#;

    fn loaded(mesh: &str) -> Loaded {
        let mesh = intent::parse(mesh).expect("the mesh is fine");
        let loaded = translate::translate(&mesh, &Texts::new(Path::new("mesh.yaml"), []))
            .expect("it translates");
        assert_eq!(loaded.warnings, [], "an empty registry is nothing to warn of");
        loaded
    }

    async fn register(registry: &Registry, id: &str, port: u16, version: &str, health: Health) {
        let spec = Spec {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            labels: [("version".to_owned(), version.to_owned())].into(),
            weight: port.into(),
            zone: version.to_owned(),
            ttl: std::time::Duration::from_secs(15),
            health,
        };
        registry.register("a", id, spec, Keeper::Renewals).await.unwrap();
    }

    fn endpoints(shares: &[Share], cluster: &str) -> (Arc<Resource>, Vec<(String, i32)>) {
        let all = shares.iter().flat_map(|share| &share.resources);
        let mut of_name = all.filter(|r| r.any.type_url == ENDPOINT && *r.name == *cluster);
        let found = of_name.next().expect("a load assignment").clone();
        let message = ClusterLoadAssignment::decode(found.any.value.as_slice()).unwrap();
        let list = message.endpoints.iter().flat_map(|zone| {
            let zone_name = zone.locality.clone().unwrap_or_default().zone;
            zone.lb_endpoints
                .iter()
                .map(move |endpoint| (zone_name.clone(), endpoint.health_status))
        });
        (found, list.collect())
    }

    #[tokio::test]
    async fn instances_appear_in_the_clusters_that_their_labels_fit() {
        let registry = Arc::new(Registry::default());
        let mut composer = Composer::new(loaded(MESH), registry.clone());
        assert_eq!(endpoints(&composer.shares(), "a").1, []);
        register(&registry, "x", 1, "v1", Health::Passing).await;
        register(&registry, "y", 2, "v2", Health::Warning).await;
        let shares = composer.shares();
        let both = [("v1", HealthStatus::Healthy), ("v2", HealthStatus::Degraded)];
        let both = both.map(|(zone, health)| (zone.to_owned(), health as i32));
        assert_eq!(endpoints(&shares, "a").1, both);
        assert_eq!(endpoints(&shares, "a/v1").1, both[..1]);
        registry.deregister("a", "x", "").await.unwrap();
        let after = composer.shares();
        let draining = ("v1".to_owned(), HealthStatus::Draining as i32);
        assert_eq!(endpoints(&after, "a/v1").1, [draining]);
        let (before, after) = (endpoints(&shares, "b").0, endpoints(&after, "b").0);
        assert!(Arc::ptr_eq(&before, &after), "nothing else is made anew");
    }

    #[tokio::test]
    async fn what_is_made_is_canonical_and_both_proxies_take_it() {
        let registry = Arc::new(Registry::default());
        let mut composer = Composer::new(loaded(MESH), registry.clone());
        for port in 1..=50u16 {
            register(
                &registry,
                &port.to_string(),
                port,
                ["v1", "v2", ""][port as usize % 3],
                Health::Critical,
            )
            .await;
        }
        let any = &endpoints(&composer.shares(), "a").0.any.clone();
        let bytes = canonical(&proto::descriptors(), &any.type_url, any.value.clone());
        assert_eq!(bytes, any.value);
        assert_eq!(rules::check(&any.type_url, &any.value, &Policy::everything()), []);
        assert_eq!(support::objections(any), support::Objections::default());
    }

    #[tokio::test]
    async fn other_file_keeps_the_instances() {
        let registry = Arc::new(Registry::default());
        let mut composer = Composer::new(loaded(MESH), registry.clone());
        register(&registry, "x", 1, "v1", Health::Passing).await;
        composer.replace(loaded(&MESH.replace("path: /1", "path: /2")));
        assert_eq!(endpoints(&composer.shares(), "a/v1").1.len(), 1);
    }
}
