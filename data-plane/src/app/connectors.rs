//! Ways to management servers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::names::ClusterName;
use crate::config::bootstrap::BootstrapConfig;
use crate::config::cluster::ClusterConfig;
use crate::config::error::{Problems, Reason};
use crate::config::source::GrpcServiceConfig;
use crate::xds;
use crate::xds::connect::{Connect, PlainConnector};

/// The static clusters of the bootstrap, in the clear.
pub(super) struct StaticConnectors {
    clusters: HashMap<ClusterName, Arc<ClusterConfig>>,
}

impl StaticConnectors {
    pub(super) fn new(config: &BootstrapConfig) -> Self {
        let clusters = config.clusters.iter();
        let clusters = clusters.map(|c| (c.value.name.clone(), Arc::clone(&c.value)));
        Self { clusters: clusters.collect() }
    }
}

impl xds::Connectors for StaticConnectors {
    fn connector(&self, service: &GrpcServiceConfig) -> Result<Arc<dyn Connect>, Problems> {
        let name = service.cluster.as_str();
        let unknown = || Problems::from(Reason::Unknown { kind: "cluster", name: name.to_owned() });
        let cluster = self.clusters.get(name).ok_or_else(unknown)?;
        Ok(Arc::new(PlainConnector::to_cluster(cluster)?))
    }
}
