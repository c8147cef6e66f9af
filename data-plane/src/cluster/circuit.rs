//! `circuit_breakers`: limits of one cluster, over all workers.
//!
//! [`Limits`] counts connections, pending requests, requests and retries for each of the two
//! routing priorities; what was taken returns when its [`Permit`] drops, so nothing leaks on any
//! path. Requests, pending requests and retries are never above their maximum. Connections are
//! soft, as in Envoy: a pool that has none may open one anyway (`connection_anyway`).

use crate::base::limits::Bounded;
use crate::config::cluster::Thresholds;

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

    /// Part of a counter's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::High => "high",
        }
    }
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
    track_remaining: bool,
}

impl Level {
    const fn new(thresholds: &Thresholds) -> Self {
        Self {
            connections: Bounded::new(thresholds.max_connections),
            pending: Bounded::new(thresholds.max_pending_requests),
            requests: Bounded::new(thresholds.max_requests),
            retries: Bounded::new(thresholds.max_retries),
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
        match priority {
            RoutingPriority::Default => self.default.of(kind),
            RoutingPriority::High => self.high.of(kind),
        }
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
        if owner.as_ref().counter(priority, kind).try_take() {
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

    /// Gauges of one priority below `cluster.NAME.`: `circuit_breakers.default.rq_open`, … The
    /// `remaining_*` ones are there only with `track_remaining`; without it Envoy shows 0.
    pub fn gauges(&self, priority: RoutingPriority) -> impl Iterator<Item = (&'static str, u64)> {
        let level = match priority {
            RoutingPriority::Default => &self.default,
            RoutingPriority::High => &self.high,
        };
        let open = |kind| u64::from(level.of(kind).is_full());
        let remaining = |kind: LimitKind| {
            if level.track_remaining { u64::from(level.of(kind).remaining()) } else { 0 }
        };
        // Limits on pools themselves are refused by the configuration, so never open.
        [
            ("cx_open", open(LimitKind::Connections)),
            ("cx_pool_open", 0),
            ("rq_open", open(LimitKind::Requests)),
            ("rq_pending_open", open(LimitKind::PendingRequests)),
            ("rq_retry_open", open(LimitKind::Retries)),
            ("remaining_cx", remaining(LimitKind::Connections)),
            ("remaining_cx_pools", 0),
            ("remaining_pending", remaining(LimitKind::PendingRequests)),
            ("remaining_retries", remaining(LimitKind::Retries)),
            ("remaining_rq", remaining(LimitKind::Requests)),
        ]
        .into_iter()
    }
}

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
