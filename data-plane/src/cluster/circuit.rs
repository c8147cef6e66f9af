//! `circuit_breakers`: limits of one cluster, over all workers.
//!
//! [`Limits`] counts connections, pending requests, requests and retries for each of the two
//! routing priorities; what was taken returns when its [`Permit`] drops, so nothing leaks on any
//! path. Requests, pending requests and retries are never above their maximum. Connections are
//! soft, as in Envoy: a pool that has none may open one anyway (`connection_anyway`).

use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::limits::Bounded;
use crate::config::cluster::{RetryBudget, Thresholds};
use crate::telemetry::stats::ClusterStat;

/// Envoy's `core.v3.RoutingPriority`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoutingPriority {
    /// `DEFAULT`.
    #[default]
    Default,
    /// `HIGH`.
    High,
}

impl RoutingPriority {
    /// Both, in the order of Envoy's pages.
    pub const ALL: [Self; 2] = [Self::Default, Self::High];
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// `max_connections`.
    Connections,
    /// `max_pending_requests`: requests that wait for a connection.
    PendingRequests,
    /// `max_requests`: requests in progress.
    Requests,
    /// `max_retries`: retries in progress.
    Retries,
}

/// A limit is reached; the request is answered 503 with flag UO, and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} of the cluster are at their limit", match .0 {
    LimitKind::Connections => "connections",
    LimitKind::PendingRequests => "pending requests",
    LimitKind::Requests => "requests",
    LimitKind::Retries => "retries",
})]
pub struct Overflow(pub LimitKind);

/// The counters of one priority.
#[derive(Debug)]
struct Level {
    connections: Bounded,
    pending: Bounded,
    requests: Bounded,
    retries: Bounded,
    /// Pools of this priority; their number has no limit.
    pools: AtomicU32,
    retry_budget: Option<RetryBudget>,
    track_remaining: bool,
}

impl Level {
    const fn new(thresholds: &Thresholds) -> Self {
        Self {
            connections: Bounded::new(thresholds.max_connections),
            pending: Bounded::new(thresholds.max_pending_requests),
            requests: Bounded::new(thresholds.max_requests),
            retries: Bounded::new(thresholds.max_retries),
            pools: AtomicU32::new(0),
            retry_budget: thresholds.retry_budget,
            track_remaining: thresholds.track_remaining,
        }
    }

    const fn of(&self, kind: LimitKind) -> &Bounded {
        match kind {
            LimitKind::Connections => &self.connections,
            LimitKind::PendingRequests => &self.pending,
            LimitKind::Requests => &self.requests,
            LimitKind::Retries => &self.retries,
        }
    }

    /// What the limit is now: a retry budget follows the requests in progress.
    fn max(&self, kind: LimitKind) -> u32 {
        match (kind, self.retry_budget) {
            (LimitKind::Retries, Some(budget)) => {
                let active = u64::from(self.requests.used()) + u64::from(self.pending.used());
                let share = active * u64::from(budget.budget_basis_points) / 10_000;
                let share = u32::try_from(share).unwrap_or(u32::MAX);
                share.max(budget.min_retry_concurrency)
            }
            _ => self.of(kind).max(),
        }
    }
}

/// All limits of one cluster.
#[derive(Debug)]
pub struct Limits {
    default: Level,
    high: Level,
}

impl Limits {
    /// Limits of both priorities.
    #[must_use]
    pub const fn new(default: &Thresholds, high: &Thresholds) -> Self {
        Self { default: Level::new(default), high: Level::new(high) }
    }

    /// The counter behind one limit.
    #[must_use]
    pub const fn counter(&self, priority: RoutingPriority, kind: LimitKind) -> &Bounded {
        self.level(priority).of(kind)
    }

    /// Takes one, held by `owner`, through which the limits are reached (an `Arc<Cluster>`).
    ///
    /// # Errors
    /// The limit is reached.
    pub fn try_acquire<O: AsRef<Self>>(
        owner: O,
        priority: RoutingPriority,
        kind: LimitKind,
    ) -> Result<Permit<O>, Overflow> {
        let level = owner.as_ref().level(priority);
        if level.of(kind).try_take_below(level.max(kind)) {
            Ok(Permit { owner, priority, kind })
        } else {
            Err(Overflow(kind))
        }
    }

    /// Takes a connection even above the limit: for a pool that has none.
    pub fn connection_anyway<O: AsRef<Self>>(owner: O, priority: RoutingPriority) -> Permit<O> {
        let kind = LimitKind::Connections;
        owner.as_ref().counter(priority, kind).take_anyway();
        Permit { owner, priority, kind }
    }

    const fn level(&self, priority: RoutingPriority) -> &Level {
        match priority {
            RoutingPriority::Default => &self.default,
            RoutingPriority::High => &self.high,
        }
    }

    /// A worker made a pool for a host.
    pub(super) fn pool_made(&self, priority: RoutingPriority) {
        self.level(priority).pools.fetch_add(1, Ordering::Relaxed);
    }

    /// A pool is gone.
    pub(super) fn pool_gone(&self, priority: RoutingPriority) {
        self.level(priority).pools.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gauges of one priority (`circuit_breakers.default.rq_open`, …). The `remaining_*` ones are
    /// there only with `track_remaining`, as in Envoy.
    pub fn gauges(&self, priority: RoutingPriority) -> impl Iterator<Item = (ClusterStat, u64)> {
        let level = self.level(priority);
        let (names, pools) = match priority {
            RoutingPriority::Default => {
                (&DEFAULT_GAUGES, ClusterStat::CircuitBreakersDefaultRemainingCxPools)
            }
            RoutingPriority::High => {
                (&HIGH_GAUGES, ClusterStat::CircuitBreakersHighRemainingCxPools)
            }
        };
        let made = u64::from(level.pools.load(Ordering::Relaxed));
        let pools_left = level.track_remaining.then(|| (pools, u64::MAX - made));
        let limits = names.iter().flat_map(|(kind, open, remaining)| {
            let counter = level.of(*kind);
            let (used, max) = (counter.used(), level.max(*kind));
            let left = level.track_remaining.then(|| u64::from(max.saturating_sub(used)));
            let open = (*open, u64::from(used >= max));
            [Some(open), left.map(|left| (*remaining, left))].into_iter().flatten()
        });
        limits.chain(pools_left)
    }
}

/// Gauges of a limit: open, remaining.
type Gauges = [(LimitKind, ClusterStat, ClusterStat); 4];

const DEFAULT_GAUGES: Gauges = [
    (
        LimitKind::Connections,
        ClusterStat::CircuitBreakersDefaultCxOpen,
        ClusterStat::CircuitBreakersDefaultRemainingCx,
    ),
    (
        LimitKind::PendingRequests,
        ClusterStat::CircuitBreakersDefaultRqPendingOpen,
        ClusterStat::CircuitBreakersDefaultRemainingPending,
    ),
    (
        LimitKind::Requests,
        ClusterStat::CircuitBreakersDefaultRqOpen,
        ClusterStat::CircuitBreakersDefaultRemainingRq,
    ),
    (
        LimitKind::Retries,
        ClusterStat::CircuitBreakersDefaultRqRetryOpen,
        ClusterStat::CircuitBreakersDefaultRemainingRetries,
    ),
];

const HIGH_GAUGES: Gauges = [
    (
        LimitKind::Connections,
        ClusterStat::CircuitBreakersHighCxOpen,
        ClusterStat::CircuitBreakersHighRemainingCx,
    ),
    (
        LimitKind::PendingRequests,
        ClusterStat::CircuitBreakersHighRqPendingOpen,
        ClusterStat::CircuitBreakersHighRemainingPending,
    ),
    (
        LimitKind::Requests,
        ClusterStat::CircuitBreakersHighRqOpen,
        ClusterStat::CircuitBreakersHighRemainingRq,
    ),
    (
        LimitKind::Retries,
        ClusterStat::CircuitBreakersHighRqRetryOpen,
        ClusterStat::CircuitBreakersHighRemainingRetries,
    ),
];

/// One taken from a limit; it returns on drop.
#[derive(Debug)]
#[must_use = "dropping the permit returns it"]
pub struct Permit<O: AsRef<Limits>> {
    owner: O,
    priority: RoutingPriority,
    kind: LimitKind,
}

impl<O: AsRef<Limits>> Drop for Permit<O> {
    fn drop(&mut self) {
        self.owner.as_ref().counter(self.priority, self.kind).give_back();
    }
}

#[cfg(test)]
mod tests;
