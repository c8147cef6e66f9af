//! Outlier detection: hosts that keep failing are taken out for a while.
//!
//! Workers count in the host's [`Monitor`], which is atomic; when a host has failed so often in a
//! row that something is to be done they mark it and wake the one task a cluster has for this on
//! the control runtime. That task drives the [`Judge`], which decides, and publishes the hosts anew
//! once for all that changed, so that every worker sees the same ejections. The rules are Envoy's.

mod judge;
mod monitor;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

pub use monitor::{Monitor, Side};

use self::judge::Judge;
use self::monitor::Told;
use super::Cluster;
use super::host::Host;
use crate::base::clock;
use crate::base::task::{self, Task};
use crate::config::cluster::outlier::OutlierConfig;
use crate::telemetry::stats::{Group, OutlierStat};

/// What a request made of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// There was a connection for it; of no account unless failures to reach hosts are judged
    /// apart.
    Connected,
    /// No connection, or it broke before the answer was complete.
    Failed,
    /// There was a connection, and more is not asked of it: bytes alone go over it.
    Served,
    /// An answer with this status; of gRPC the HTTP status that its own stands for.
    Status(u16),
    /// It took too long.
    TimedOut,
}

/// Outlier detection of one cluster.
#[derive(Debug)]
pub struct Detector {
    config: Arc<OutlierConfig>,
    stats: Group<OutlierStat>,
    /// Told when a host is due, or hosts came and went.
    wake: Arc<Notify>,
    averages: [Averages; 2],
    task: OnceLock<Task>,
}

/// Success rates over all hosts, as the last interval had them; bits of floats, negative if none.
#[derive(Debug)]
struct Averages {
    mean: AtomicU64,
    threshold: AtomicU64,
}

impl Default for Averages {
    fn default() -> Self {
        let none = || AtomicU64::new((-1.0f64).to_bits());
        Self { mean: none(), threshold: none() }
    }
}

impl Detector {
    pub(super) fn new(config: &Arc<OutlierConfig>, stats: Group<OutlierStat>) -> Self {
        Self {
            config: Arc::clone(config),
            stats,
            wake: Arc::default(),
            averages: Default::default(),
            task: OnceLock::new(),
        }
    }

    /// Takes what a request made of its host. Called by workers: a few atomic additions; only
    /// where a host is due is the task woken, which takes tokio's lock of waiters.
    pub fn report(&self, host: &Host, report: Report) {
        let Some(monitor) = host.monitor() else { return };
        let told = match (report, self.config.split_local_origin) {
            (Report::Status(status), _) => Told::Answer(status),
            (Report::Connected, false) => return,
            (Report::Served, false) => Told::Answer(200),
            (Report::Failed, false) => Told::Answer(503),
            (Report::TimedOut, false) => Told::Answer(504),
            (Report::Connected | Report::Served, true) => Told::Reached,
            (Report::Failed | Report::TimedOut, true) => Told::Unreached,
        };
        if monitor.take(told, &self.config) {
            self.wake.notify_one();
        }
    }

    /// A probe of a host that is out may have passed.
    pub(super) fn probed(&self) {
        self.wake.notify_one();
    }

    /// Hosts came or went, or the whole cluster did.
    pub(super) fn hosts_changed(&self) {
        self.wake.notify_one();
    }

    /// Mean of the success rates and what a host must reach, in percent, where there are any.
    #[must_use]
    pub fn averages(&self, side: Side) -> (Option<f64>, Option<f64>) {
        let averages = &self.averages[side as usize];
        (monitor::rate(&averages.mean), monitor::rate(&averages.threshold))
    }

    fn set_averages(&self, side: Side, (mean, threshold): (f64, f64)) {
        let averages = &self.averages[side as usize];
        averages.mean.store(mean.to_bits(), Ordering::Relaxed);
        averages.threshold.store(threshold.to_bits(), Ordering::Relaxed);
    }
}

/// Watches a cluster's hosts on this runtime until the cluster is replaced or removed; a cluster
/// without outlier detection has nothing to watch.
pub fn start(cluster: &Arc<Cluster>) {
    let Some(detector) = cluster.outlier() else { return };
    let (watched, wake) = (Arc::downgrade(cluster), Arc::clone(&detector.wake));
    let interval = detector.config.interval;
    let mut judge = Judge::new(&detector.config, detector.stats.clone(), fastrand::Rng::new());
    let watching = async move {
        let mut next = clock::now() + interval;
        loop {
            // Both are safe to cancel: neither loses anything but the wait.
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
            let Some(cluster) = watched.upgrade() else { return };
            let Some(detector) = cluster.outlier() else { return };
            if cluster.is_removed() {
                return;
            }
            let now = clock::now();
            judge.follow(cluster.hosts().hosts());
            // What passed did so before anything that fails now.
            let mut changed = judge.probed();
            changed |= judge.consecutive(now);
            if now >= next {
                changed |= judge.interval(now);
                for side in Side::ALL {
                    detector.set_averages(side, judge.averages(side));
                }
                next = now + interval;
            }
            if changed {
                cluster.refresh();
            }
        }
    };
    let _twice = detector.task.set(task::spawn("outlier detection", watching));
}

#[cfg(test)]
mod tests;
