//! One endpoint of a cluster, and what all workers know about it.
//!
//! A [`Host`] is shared by every worker and lives as long as anything uses it: host-set updates
//! keep the object of an address that stays, so that its counters, health and connections survive.
//! What an update may change in place (health, weight, priority, metadata) is atomic; the address
//! and the hostname never change. Nothing here locks.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::outlier::Monitor;
use crate::config::endpoint::{HealthStatus, Locality};
use crate::config::metadata::Metadata;

/// Where a host is reached. `Display` is Envoy's form of `/clusters` and `%UPSTREAM_HOST%`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostAddress {
    /// An address and port (`core.v3.SocketAddress`, resolved).
    Socket(SocketAddr),
    /// A Unix socket (`core.v3.Pipe`).
    Pipe(Arc<Path>),
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => write!(f, "{address}"),
            Self::Pipe(path) => write!(f, "{}", path.display()),
        }
    }
}

impl From<SocketAddr> for HostAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

/// A reason not to use a host, or to use it last. The texts are those of `/clusters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthFlag {
    /// Failed active health checks.
    FailedActiveHc,
    /// Ejected by outlier detection.
    FailedOutlier,
    /// The control plane says `UNHEALTHY`, `DRAINING` or `TIMEOUT`.
    FailedEds,
    /// An active health check answered "degraded".
    DegradedActiveHc,
    /// The control plane says `DEGRADED`.
    DegradedEds,
    /// Removed by discovery, kept while active health checks pass.
    PendingDynamicRemoval,
    /// Not checked yet since it joined.
    PendingActiveHc,
    /// An immediate health-check failure excludes it from the counts behind panic and priorities.
    ExcludedByImmediateHc,
    /// The last active health check timed out.
    ActiveHcTimeout,
    /// The control plane says `DRAINING`.
    EdsDraining,
}

impl HealthFlag {
    const ALL: [(Self, &'static str); 10] = [
        (Self::FailedActiveHc, "/failed_active_hc"),
        (Self::FailedOutlier, "/failed_outlier_check"),
        (Self::FailedEds, "/failed_eds_health"),
        (Self::DegradedActiveHc, "/degraded_active_hc"),
        (Self::DegradedEds, "/degraded_eds_health"),
        (Self::PendingDynamicRemoval, "/pending_dynamic_removal"),
        (Self::PendingActiveHc, "/pending_active_hc"),
        (Self::ExcludedByImmediateHc, "/excluded_via_immediate_hc_fail"),
        (Self::ActiveHcTimeout, "/active_hc_timeout"),
        (Self::EdsDraining, "/eds_status_draining"),
    ];
    const UNHEALTHY: u32 =
        Self::FailedActiveHc.bit() | Self::FailedOutlier.bit() | Self::FailedEds.bit();
    const DEGRADED: u32 = Self::DegradedActiveHc.bit() | Self::DegradedEds.bit();
    const EXCLUDED: u32 = Self::PendingActiveHc.bit() | Self::ExcludedByImmediateHc.bit();

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// How a host takes part in balancing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Gets requests.
    Healthy,
    /// Gets requests when too few healthy hosts are left.
    Degraded,
    /// Gets requests only in panic.
    Unhealthy,
}

/// Where and as whom a host is probed (`Endpoint.HealthCheckConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CheckTarget {
    /// Another address than its own.
    pub address: Option<HostAddress>,
    /// What it is called there; empty: what the cluster's check says.
    pub hostname: Arc<str>,
    /// It is not probed, and counts as well.
    pub disabled: bool,
}

/// What an update says about a host; the parts that a [`Host`] takes over in place.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// Address to connect to.
    pub address: HostAddress,
    /// Name it was found by (`Endpoint.hostname`, or the DNS name); may be empty.
    pub hostname: Arc<str>,
    /// Where it stands; equal localities of one update share one value.
    pub locality: Arc<Locality>,
    /// Its own metadata, such as the keys of subsets.
    pub metadata: Arc<Metadata>,
    /// `load_balancing_weight`, at least 1.
    pub weight: u32,
    /// `LocalityLbEndpoints.priority`.
    pub priority: u32,
    /// What the control plane says of its health.
    pub health: HealthStatus,
    /// How it is probed. Of another target an update makes another host.
    pub check: CheckTarget,
}

impl HostSpec {
    /// A healthy host of weight 1 and priority 0.
    #[must_use]
    pub fn new(address: impl Into<HostAddress>) -> Self {
        Self {
            address: address.into(),
            hostname: "".into(),
            locality: Arc::default(),
            metadata: Arc::default(),
            weight: 1,
            priority: 0,
            health: HealthStatus::Unknown,
            check: CheckTarget::default(),
        }
    }
}

/// One endpoint of one cluster.
#[derive(Debug)]
pub struct Host {
    address: HostAddress,
    hostname: Arc<str>,
    check: CheckTarget,
    locality: ArcSwap<Locality>,
    metadata: ArcSwap<Metadata>,
    weight: AtomicU32,
    priority: AtomicU32,
    health: AtomicU32,
    removed: AtomicBool,
    /// How often its connections were to be let go.
    partings: AtomicU32,
    /// What outlier detection counts, where the cluster has some.
    monitor: OnceLock<Box<Monitor>>,
    /// Counters of `/clusters`.
    pub stats: HostStats,
}

impl Host {
    /// A host as an update describes it.
    #[must_use]
    pub fn new(spec: &HostSpec) -> Self {
        let host = Self {
            address: spec.address.clone(),
            hostname: Arc::clone(&spec.hostname),
            check: spec.check.clone(),
            locality: ArcSwap::new(Arc::clone(&spec.locality)),
            metadata: ArcSwap::new(Arc::clone(&spec.metadata)),
            weight: AtomicU32::new(1),
            priority: AtomicU32::new(0),
            health: AtomicU32::new(0),
            removed: AtomicBool::new(false),
            partings: AtomicU32::new(0),
            monitor: OnceLock::new(),
            stats: HostStats::default(),
        };
        host.update(spec);
        host
    }

    /// Takes over what a later update says about the same address. Returns whether anything that
    /// balancing looks at changed.
    pub fn update(&self, spec: &HostSpec) -> bool {
        let weight = spec.weight.max(1);
        let mut changed = self.weight.swap(weight, Ordering::Relaxed) != weight;
        changed |= self.priority.swap(spec.priority, Ordering::Relaxed) != spec.priority;
        if **self.locality.load() != *spec.locality {
            self.locality.store(Arc::clone(&spec.locality));
            changed = true;
        }
        if **self.metadata.load() != *spec.metadata {
            self.metadata.store(Arc::clone(&spec.metadata));
            changed = true;
        }
        let eds = spec.health;
        let failed =
            matches!(eds, HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout);
        changed |= self.set_flag(HealthFlag::FailedEds, failed);
        changed |= self.set_flag(HealthFlag::EdsDraining, eds == HealthStatus::Draining);
        changed |= self.set_flag(HealthFlag::DegradedEds, eds == HealthStatus::Degraded);
        changed |= self.set_flag(HealthFlag::PendingDynamicRemoval, false);
        changed |= self.removed.swap(false, Ordering::Relaxed);
        changed
    }

    /// Address to connect to.
    #[must_use]
    pub const fn address(&self) -> &HostAddress {
        &self.address
    }

    /// Name that it was found by; empty where none is known.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// How it is probed.
    #[must_use]
    pub const fn check(&self) -> &CheckTarget {
        &self.check
    }

    /// Where it stands.
    #[must_use]
    pub fn locality(&self) -> Arc<Locality> {
        self.locality.load_full()
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> Arc<Metadata> {
        self.metadata.load_full()
    }

    /// Weight among its peers, at least 1.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Priority level, 0 first.
    #[must_use]
    pub fn priority(&self) -> u32 {
        self.priority.load(Ordering::Relaxed)
    }

    /// Sets or clears a flag and returns whether that changed it. Whoever changes one publishes
    /// the host set anew, since sets are immutable.
    pub fn set_flag(&self, flag: HealthFlag, on: bool) -> bool {
        let before = if on {
            self.health.fetch_or(flag.bit(), Ordering::Relaxed)
        } else {
            self.health.fetch_and(!flag.bit(), Ordering::Relaxed)
        };
        (before & flag.bit() != 0) != on
    }

    /// Whether a flag is set.
    #[must_use]
    pub fn has_flag(&self, flag: HealthFlag) -> bool {
        self.health.load(Ordering::Relaxed) & flag.bit() != 0
    }

    /// How it takes part in balancing now.
    #[must_use]
    pub fn availability(&self) -> Availability {
        let flags = self.health.load(Ordering::Relaxed);
        if flags & HealthFlag::UNHEALTHY != 0 {
            Availability::Unhealthy
        } else if flags & HealthFlag::DEGRADED != 0 {
            Availability::Degraded
        } else {
            Availability::Healthy
        }
    }

    /// Whether the counts behind panic and priority loads leave it out.
    #[must_use]
    pub fn is_excluded(&self) -> bool {
        self.health.load(Ordering::Relaxed) & HealthFlag::EXCLUDED != 0
    }

    /// Health as `/clusters` prints it: `healthy`, or every flag with a slash before it.
    #[must_use]
    pub fn health_text(&self) -> String {
        let set = HealthFlag::ALL.iter().filter(|(flag, _)| self.has_flag(*flag));
        let text: String = set.map(|(_, text)| *text).collect();
        if text.is_empty() { "healthy".to_owned() } else { text }
    }

    /// Begins to count for outlier detection.
    pub(super) fn watch(&self) {
        self.monitor.get_or_init(Box::default);
    }

    /// What outlier detection counts of it.
    #[must_use]
    pub fn monitor(&self) -> Option<&Monitor> {
        self.monitor.get().map(|monitor| &**monitor)
    }

    /// Lets no connection that was made so far take another request. Workers see it with the next
    /// host set.
    pub(super) fn let_connections_go(&self) {
        self.partings.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    pub(super) fn partings(&self) -> u32 {
        self.partings.load(Ordering::Relaxed)
    }

    /// Whether an update took it out of its cluster: idle connections close, new ones are not
    /// kept.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Marks it as taken out of its cluster.
    pub fn set_removed(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }
}

/// Counters of one host (Envoy's `ALL_HOST_STATS`), shared by all workers.
#[derive(Debug, Default)]
pub struct HostStats {
    /// Connections open now.
    pub cx_active: AtomicU32,
    /// Requests in progress now; what least-request balancing compares.
    pub rq_active: AtomicU32,
    /// Requests that wait for a connection now.
    pub rq_pending_active: AtomicU32,
    /// Connections opened.
    pub cx_total: AtomicU64,
    /// Connection attempts that failed.
    pub cx_connect_fail: AtomicU64,
    /// Requests begun.
    pub rq_total: AtomicU64,
    /// Requests answered without a 5xx.
    pub rq_success: AtomicU64,
    /// Requests that failed or were answered with a 5xx.
    pub rq_error: AtomicU64,
    /// Requests that timed out.
    pub rq_timeout: AtomicU64,
}

impl HostStats {
    /// Name and value of each, in the order of `/clusters`.
    #[must_use]
    pub fn values(&self) -> [(&'static str, u64); 9] {
        let all = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = |gauge: &AtomicU32| u64::from(gauge.load(Ordering::Relaxed));
        [
            ("cx_active", now(&self.cx_active)),
            ("cx_connect_fail", all(&self.cx_connect_fail)),
            ("cx_total", all(&self.cx_total)),
            ("rq_active", now(&self.rq_active)),
            ("rq_error", all(&self.rq_error)),
            ("rq_pending_active", now(&self.rq_pending_active)),
            ("rq_success", all(&self.rq_success)),
            ("rq_timeout", all(&self.rq_timeout)),
            ("rq_total", all(&self.rq_total)),
        ]
    }

    /// A request was given to the host.
    pub fn request_begun(&self) {
        self.rq_total.fetch_add(1, Ordering::Relaxed);
        self.rq_active.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is over, in whatever way.
    pub fn request_over(&self) {
        self.rq_active.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request began to wait for a connection.
    pub(super) fn pending_begun(&self) {
        self.rq_pending_active.fetch_add(1, Ordering::Relaxed);
    }

    /// A request waits no longer.
    pub(super) fn pending_over(&self) {
        self.rq_pending_active.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request was answered; `error` for a 5xx and for failures before an answer.
    pub fn answered(&self, outcome: Answered) {
        let counter = match outcome {
            Answered::Success => &self.rq_success,
            Answered::Error => &self.rq_error,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A request timed out.
    pub fn timed_out(&self) {
        self.rq_timeout.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was opened, or its attempt began.
    pub fn connection_begun(&self) {
        self.cx_total.fetch_add(1, Ordering::Relaxed);
        self.cx_active.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is gone.
    pub fn connection_over(&self) {
        self.cx_active.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection attempt failed.
    pub fn connect_failed(&self) {
        self.cx_connect_fail.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a request to a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Without a 5xx.
    Success,
    /// With a 5xx, or without an answer.
    Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> HostSpec {
        HostSpec::new(SocketAddr::from(([127, 0, 0, 1], 80)))
    }

    #[test]
    fn eds_status_decides_availability_and_text() {
        let host = Host::new(&spec());
        assert_eq!(
            (host.availability(), host.health_text().as_str()),
            (Availability::Healthy, "healthy")
        );
        assert!(host.update(&HostSpec { health: HealthStatus::Draining, ..spec() }));
        assert_eq!(host.availability(), Availability::Unhealthy);
        assert_eq!(host.health_text(), "/failed_eds_health/eds_status_draining");
        assert!(host.update(&HostSpec { health: HealthStatus::Degraded, ..spec() }));
        assert_eq!(host.availability(), Availability::Degraded);
    }

    #[test]
    fn an_equal_update_changes_nothing() {
        let host = Host::new(&spec());
        assert!(!host.update(&spec()));
        assert!(host.update(&HostSpec { weight: 5, ..spec() }));
        host.set_removed();
        assert!(host.update(&HostSpec { weight: 5, ..spec() }));
        assert!(!host.is_removed());
    }

    #[test]
    fn a_weight_of_zero_counts_as_one() {
        assert_eq!(Host::new(&HostSpec { weight: 0, ..spec() }).weight(), 1);
    }

    #[test]
    fn addresses_print_as_envoy_does() {
        let v6: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(HostAddress::from(v6).to_string(), "[::1]:80");
        assert_eq!(HostAddress::Pipe(Path::new("/run/a").into()).to_string(), "/run/a");
    }
}
