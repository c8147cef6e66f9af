//! Other static resources in place of those in force, without a restart (zero-config).
//!
//! First comes what can be refused: nothing is touched by a configuration that cannot be taken over
//! whole. Then its clusters; its listeners when those are warm, so that no request meets a cluster
//! without hosts; and what it no longer names goes last.

use std::collections::HashSet;

use super::{Control, Parts, Reload};
use crate::app::start::StartError;
use crate::base::names::{ClusterName, ListenerName};
use crate::snapshot::Origin;

/// What is left to do of a reload.
#[derive(Debug)]
pub(super) struct Reloading {
    from: String,
}

impl Control {
    pub(super) async fn reload(&mut self, reload: Reload) -> Result<(), StartError> {
        let Reload { from, loaded, shutdown_grace } = reload;
        let refused = |why: &dyn std::fmt::Display| StartError::System(format!("{from}: {why}"));
        let address = |loaded: &crate::app::Loaded| {
            loaded.config.admin.as_ref().and_then(|admin| admin.address.clone())
        };
        if address(&loaded) != address(&self.parts.loaded) {
            return Err(refused(&"admin: its address changes only with a restart"));
        }
        self.check_addresses(&loaded).map_err(|error| {
            refused(&format!("{error}; save the file again, or send SIGHUP, once it is free"))
        })?;
        self.parts.loaded = loaded;
        self.parts.setup.shutdown_grace = shutdown_grace;
        let mut effects = Vec::new();
        let Parts { loaded, snapshot, .. } = &mut self.parts;
        for cluster in &loaded.config.clusters {
            snapshot.set_cluster(&cluster.value, Origin::Static, &mut effects);
        }
        self.reloading = Some(Reloading { from });
        self.perform(effects).await?;
        self.continue_reload().await
    }

    /// Goes on with a reload once its clusters are warm.
    pub(super) async fn continue_reload(&mut self) -> Result<(), StartError> {
        if self.parts.snapshot.warming_clusters().next().is_some() {
            return Ok(());
        }
        let Some(Reloading { from }) = self.reloading.take() else { return Ok(()) };
        self.set_static().await?;
        let config = &self.parts.loaded.config;
        let clusters: HashSet<ClusterName> =
            config.clusters.iter().map(|cluster| cluster.value.name.clone()).collect();
        let listeners: HashSet<ListenerName> =
            config.listeners.iter().map(|listener| listener.value.name.clone()).collect();
        let mut effects = Vec::new();
        self.parts.snapshot.retain_static(&clusters, &listeners, &mut effects);
        self.perform(effects).await?;
        tracing::info!(file = from, "configuration read again");
        Ok(())
    }
}
