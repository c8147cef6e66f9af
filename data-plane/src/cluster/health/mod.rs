//! Active health checks: hosts are asked whether they are well, and used only if they are.
//!
//! One task a cluster on the control runtime follows its hosts; each host has a session, a task
//! under it, so that a slow host holds nothing up. A session asks (`http`, `tcp`, `grpc`), tells
//! its `record`, which sets the host's flags, and waits. The cluster's task publishes the hosts
//! anew once for all that changed by then. Workers see what is published and take no part.

mod grpc;
mod http;
mod record;
mod session;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, mpsc};

use self::session::{Probe, Session};
use super::Cluster;
use super::connect::ConnectOptions;
use super::host::{HealthFlag, Host};
use crate::base::task::{self, Task};
use crate::config::cluster::ClusterConfig;
use crate::config::cluster::health::HealthCheckConfig;
use crate::telemetry::stats::{ClusterStat, Group, HealthCheckStat};
use crate::tls::client::{Client, Offer};

/// Active health checks of one cluster.
#[derive(Debug)]
pub(super) struct Checker {
    probe: Arc<Probe>,
    /// All hosts that there will be at first are known.
    found: AtomicBool,
    /// Each of them was checked once.
    warm: AtomicBool,
    task: OnceLock<Task>,
}

/// What sessions say to the task of the cluster.
#[derive(Debug, Default)]
pub(super) struct Bell {
    wake: Notify,
    changed: AtomicBool,
}

impl Bell {
    /// A check was done.
    fn ring(&self, changed: bool) {
        if changed {
            self.changed.store(true, Ordering::Relaxed);
        }
        self.wake.notify_one();
    }
}

impl Checker {
    pub(super) fn new(
        config: &ClusterConfig,
        check: &Arc<HealthCheckConfig>,
        tls: Option<&Arc<Client>>,
        traffic: Group<ClusterStat>,
        stats: Group<HealthCheckStat>,
    ) -> Self {
        let connect = ConnectOptions {
            timeout: check.timeout,
            // As in Envoy, only what the TLS context itself names is offered by ALPN.
            tls: tls.map(|client| (Arc::clone(client), Offer::Nothing)),
            ..ConnectOptions::from(config)
        };
        let (config, bell) = (Arc::clone(check), Arc::default());
        let probe = Probe { config, connect, traffic, stats, bell };
        Self {
            probe: Arc::new(probe),
            found: AtomicBool::new(false),
            warm: AtomicBool::new(false),
            task: OnceLock::new(),
        }
    }

    /// Hosts joined: nothing is known of them, so that they are not used.
    pub(super) fn joined(&self, hosts: &[Arc<Host>], wait_for_first: bool) {
        for host in hosts.iter().filter(|host| !host.check().disabled) {
            host.set_flag(HealthFlag::FailedActiveHc, true);
            host.set_flag(HealthFlag::PendingActiveHc, wait_for_first);
        }
    }

    /// Hosts came or went, or the whole cluster did.
    pub(super) fn hosts_changed(&self) {
        self.probe.bell.ring(false);
    }

    /// Whether every host was checked once, now that the first hosts are known. If not yet, the
    /// task says it when it is so.
    pub(super) fn is_warm(&self, hosts: &[Arc<Host>]) -> bool {
        self.found.store(true, Ordering::Relaxed);
        if hosts.iter().all(|host| host.check().disabled) {
            self.warm.store(true, Ordering::Relaxed);
        }
        self.hosts_changed();
        self.warm.load(Ordering::Relaxed)
    }
}

/// Checks a cluster's hosts on this runtime until the cluster is replaced or removed, and says when
/// each was checked once. A cluster without health checks has nothing to check.
pub fn start(cluster: &Arc<Cluster>, warm: mpsc::Sender<Arc<Cluster>>) {
    let Some(checker) = cluster.checker() else { return };
    let (watched, bell) = (Arc::downgrade(cluster), Arc::clone(&checker.probe.bell));
    let watching = async move {
        let mut sessions = Sessions::default();
        loop {
            bell.wake.notified().await;
            let Some(cluster) = watched.upgrade() else { return };
            let Some(checker) = cluster.checker() else { return };
            if cluster.is_removed() {
                return;
            }
            if bell.changed.swap(false, Ordering::Relaxed) {
                cluster.refresh();
            }
            let is_out = |host: &Arc<Host>| host.has_flag(HealthFlag::FailedOutlier);
            if let Some(detector) = cluster.outlier()
                && cluster.hosts().hosts().iter().any(is_out)
            {
                detector.probed();
            }
            sessions.follow(cluster.hosts().hosts(), &checker.probe);
            let found = checker.found.load(Ordering::Relaxed);
            if found && sessions.all_began() && !checker.warm.swap(true, Ordering::Relaxed) {
                let _ended = warm.send(Arc::clone(&cluster)).await;
            }
        }
    };
    let _twice = checker.task.set(task::spawn("health checks", watching));
}

/// The sessions of a cluster by their host's address, which the session keeps alive.
#[derive(Default)]
struct Sessions(HashMap<usize, Session>);

impl Sessions {
    fn follow(&mut self, hosts: &[Arc<Host>], probe: &Arc<Probe>) {
        let mut known = std::mem::take(&mut self.0);
        for host in hosts.iter().filter(|host| !host.check().disabled) {
            let key = Arc::as_ptr(host).addr();
            let session = known.remove(&key).unwrap_or_else(|| Session::start(host, probe));
            self.0.insert(key, session);
        }
    }

    /// Whether each host was checked once.
    fn all_began(&self) -> bool {
        self.0.values().all(Session::has_result)
    }
}
