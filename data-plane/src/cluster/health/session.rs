//! The checks of one host, one after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::record::{Failure, Record, Verdict};
use super::{Bell, grpc, http, tcp};
use crate::base::task::{self, Task};
use crate::cluster::connect::{ConnectOptions, Socket};
use crate::cluster::host::{Host, HostAddress};
use crate::config::cluster::health::{CheckKind, HealthCheckConfig};
use crate::telemetry::stats::{ClusterStat, Group, HealthCheckStat};

/// What all sessions of a cluster share.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) config: Arc<HealthCheckConfig>,
    pub(super) connect: ConnectOptions,
    /// The cluster's own numbers, which tell whether requests ever went there.
    pub(super) traffic: Group<ClusterStat>,
    pub(super) stats: Group<HealthCheckStat>,
    pub(super) bell: Arc<Bell>,
}

/// The session of one host; its checks end when it drops.
#[derive(Debug)]
pub(super) struct Session {
    /// Keeps the address of the host from being another's.
    _host: Arc<Host>,
    has_result: Arc<AtomicBool>,
    _task: Task,
}

impl Session {
    pub(super) fn start(host: &Arc<Host>, probe: &Arc<Probe>) -> Self {
        let has_result = Arc::new(AtomicBool::new(false));
        let rng = fastrand::Rng::new();
        let record = Record::new(&probe.config, &probe.stats, host, rng);
        let checking = run(Arc::clone(host), Arc::clone(probe), record, Arc::clone(&has_result));
        let task = task::spawn("health check", checking);
        Self { _host: Arc::clone(host), has_result, _task: task }
    }

    /// Whether the first check is done.
    pub(super) fn has_result(&self) -> bool {
        self.has_result.load(Ordering::Relaxed)
    }
}

/// What is kept from one check to the next.
#[derive(Debug, Default)]
struct Kept {
    link: Option<http::Link>,
    socket: Option<Socket>,
}

async fn run(host: Arc<Host>, probe: Arc<Probe>, mut record: Record, has_result: Arc<AtomicBool>) {
    let mut kept = Kept::default();
    let first = record.before_first();
    if !first.is_zero() {
        tokio::time::sleep(first).await;
    }
    loop {
        record.begin();
        let checking = check(&host, &probe, &record, &mut kept);
        // A check that is given up takes its connection with it.
        let verdict = match tokio::time::timeout(probe.config.timeout, checking).await {
            Ok(verdict) => verdict,
            Err(_elapsed) => Verdict::Failed(Failure::Timeout),
        };
        if !probe.config.reuse_connection {
            kept = Kept::default();
        }
        if verdict != (Verdict::Passed { degraded: false }) {
            tracing::debug!(host = %host.address(), ?verdict, "health check");
        }
        let mut next = probe.take(&mut record, verdict);
        has_result.store(true, Ordering::Relaxed);
        loop {
            // Both are safe to cancel: neither loses anything but the wait.
            tokio::select! {
                () = tokio::time::sleep(next) => break,
                // As in Envoy, a host that ends the connection between two checks failed one.
                () = tcp::lost(&mut kept.socket) => {
                    next = probe.take(&mut record, Verdict::Failed(Failure::Network));
                }
            }
        }
    }
}

impl Probe {
    /// Tells the record, and the cluster what came of it; how long to wait for the next check.
    fn take(&self, record: &mut Record, verdict: Verdict) -> Duration {
        let traffic = self.traffic.value(ClusterStat::UpstreamCxTotal) > 0;
        let outcome = record.take(verdict, traffic);
        self.bell.ring(outcome.changed);
        outcome.next
    }
}

async fn check(host: &Host, probe: &Probe, record: &Record, kept: &mut Kept) -> Verdict {
    match &probe.config.kind {
        CheckKind::Http(check) => http::check(check, host, probe, record, &mut kept.link).await,
        CheckKind::Tcp(check) => tcp::check(check, host, probe, &mut kept.socket).await,
        CheckKind::Grpc(check) => grpc::check(check, host, probe, &mut kept.link).await,
    }
}

/// Where a host is asked.
pub(super) fn address(host: &Host) -> &HostAddress {
    host.check().address.as_ref().unwrap_or_else(|| host.address())
}
