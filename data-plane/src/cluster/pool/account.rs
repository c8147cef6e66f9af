//! Counting for connections and requests: what is opened is closed once, whatever the path.
//!
//! An [`Owner`] is who counts: a cluster, one of its hosts, a worker and a routing priority. An
//! [`Opened`] is a connection that counts as open from its attempt on; a [`RequestSlot`] and a
//! [`PendingSlot`] are a request on a connection and one that waits for a connection.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::clock::{self, Instant};
use crate::cluster::circuit::{LimitKind, Overflow, RoutingPriority};
use crate::cluster::connect::{ConnectError, ConnectErrorKind};
use crate::cluster::{Cluster, Host};
use crate::telemetry::WorkerId;
use crate::telemetry::stats::ClusterStat;

/// Who counts.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) cluster: Arc<Cluster>,
    pub(super) host: Arc<Host>,
    pub(super) worker: WorkerId,
    pub(super) priority: RoutingPriority,
}

impl Owner {
    pub(super) fn inc(&self, stat: ClusterStat) {
        self.cluster.stats().inc(self.worker, stat);
    }

    fn dec(&self, stat: ClusterStat) {
        self.cluster.stats().dec(self.worker, stat);
    }

    fn take(&self, kind: LimitKind) -> bool {
        self.cluster.limits().counter(self.priority, kind).try_take()
    }

    fn give_back(&self, kind: LimitKind) {
        self.cluster.limits().counter(self.priority, kind).give_back();
    }

    /// Nothing of it is to be kept: the host left, or the cluster was replaced.
    pub(super) fn is_gone(&self) -> bool {
        self.host.is_removed() || self.cluster.is_removed()
    }
}

/// Which side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Local,
    Remote,
}

/// A connection from its attempt to its end.
#[derive(Debug)]
pub(super) struct Opened {
    owner: Rc<Owner>,
    born: Instant,
    open: Cell<bool>,
    requests: Cell<u64>,
}

impl Opened {
    /// Begins an attempt, if the limits allow it. A pool without any may always try.
    /// `protocol` is the counter of connections of its protocol, if it speaks one.
    pub(super) fn begin(
        owner: &Rc<Owner>,
        protocol: Option<ClusterStat>,
        pool: PoolIs,
    ) -> Option<Self> {
        let breakers = &owner.cluster.config().circuit_breakers;
        let of_host = owner.host.stats.cx_active.load(std::sync::atomic::Ordering::Relaxed);
        let host_full = owner.priority == RoutingPriority::Default
            && breakers.per_host_max_connections.is_some_and(|max| of_host >= max);
        if host_full || !owner.take(LimitKind::Connections) {
            owner.inc(ClusterStat::UpstreamCxOverflow);
            if pool == PoolIs::InUse {
                return None;
            }
            owner.cluster.limits().counter(owner.priority, LimitKind::Connections).take_anyway();
        }
        owner.host.stats.connection_begun();
        owner.inc(ClusterStat::UpstreamCxTotal);
        owner.inc(ClusterStat::UpstreamCxActive);
        if let Some(protocol) = protocol {
            owner.inc(protocol);
        }
        Some(Self {
            owner: Rc::clone(owner),
            born: clock::now(),
            open: Cell::new(true),
            requests: Cell::new(0),
        })
    }

    pub(super) fn born(&self) -> Instant {
        self.born
    }

    /// The attempt succeeded.
    pub(super) fn connected(&self) {
        let millis = millis(clock::now().saturating_duration_since(self.born));
        let stats = self.owner.cluster.stats();
        stats.record(self.owner.worker, ClusterStat::UpstreamCxConnectMs, millis);
    }

    /// The attempt failed.
    pub(super) fn failed(&self, error: &ConnectError) {
        let ended = match error.kind {
            ConnectErrorKind::Remote => Ended::Remote,
            ConnectErrorKind::Local => Ended::Local,
            ConnectErrorKind::Bind => {
                self.owner.inc(ClusterStat::BindErrors);
                Ended::Local
            }
            ConnectErrorKind::Timeout => {
                self.owner.inc(ClusterStat::UpstreamCxConnectTimeout);
                Ended::Local
            }
        };
        self.owner.host.stats.connect_failed();
        self.owner.inc(ClusterStat::UpstreamCxConnectFail);
        self.close(ended, false);
    }

    pub(super) fn request(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// The connection is over. Later calls do nothing.
    pub(super) fn close(&self, ended: Ended, with_request: bool) {
        if !self.open.replace(false) {
            return;
        }
        let owner = &self.owner;
        owner.inc(ClusterStat::UpstreamCxDestroy);
        owner.inc(match ended {
            Ended::Local => ClusterStat::UpstreamCxDestroyLocal,
            Ended::Remote => ClusterStat::UpstreamCxDestroyRemote,
        });
        if with_request {
            owner.inc(ClusterStat::UpstreamCxDestroyWithActiveRq);
            owner.inc(match ended {
                Ended::Local => ClusterStat::UpstreamCxDestroyLocalWithActiveRq,
                Ended::Remote => ClusterStat::UpstreamCxDestroyRemoteWithActiveRq,
            });
        }
        owner.dec(ClusterStat::UpstreamCxActive);
        owner.host.stats.connection_over();
        owner.give_back(LimitKind::Connections);
        let (stats, worker) = (owner.cluster.stats(), owner.worker);
        let length = millis(clock::now().saturating_duration_since(self.born));
        stats.record(worker, ClusterStat::UpstreamCxLengthMs, length);
        stats.record(worker, ClusterStat::UpstreamRqPerCx, self.requests.get());
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.close(Ended::Local, false);
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a pool has any connection, made or in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PoolIs {
    Empty,
    InUse,
}

/// A request on a connection.
#[derive(Debug)]
pub(super) struct RequestSlot(Rc<Owner>);

impl RequestSlot {
    pub(super) fn take(owner: &Rc<Owner>) -> Result<Self, Overflow> {
        if !owner.take(LimitKind::Requests) {
            owner.inc(ClusterStat::UpstreamRqActiveOverflow);
            return Err(Overflow(LimitKind::Requests));
        }
        Ok(Self::begun(owner))
    }

    /// Above the limit too: for what counts as a request and is none.
    pub(super) fn take_anyway(owner: &Rc<Owner>) -> Self {
        owner.cluster.limits().counter(owner.priority, LimitKind::Requests).take_anyway();
        Self::begun(owner)
    }

    fn begun(owner: &Rc<Owner>) -> Self {
        owner.host.stats.request_begun();
        owner.inc(ClusterStat::UpstreamRqTotal);
        owner.inc(ClusterStat::UpstreamRqActive);
        Self(Rc::clone(owner))
    }
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        self.0.host.stats.request_over();
        self.0.dec(ClusterStat::UpstreamRqActive);
        self.0.give_back(LimitKind::Requests);
    }
}

/// A request that waits for a connection.
#[derive(Debug)]
pub(super) struct PendingSlot(Rc<Owner>);

impl PendingSlot {
    pub(super) fn take(owner: &Rc<Owner>) -> Result<Self, Overflow> {
        if !owner.take(LimitKind::PendingRequests) {
            owner.inc(ClusterStat::UpstreamRqPendingOverflow);
            return Err(Overflow(LimitKind::PendingRequests));
        }
        owner.inc(ClusterStat::UpstreamRqPendingTotal);
        owner.inc(ClusterStat::UpstreamRqPendingActive);
        owner.host.stats.pending_begun();
        Ok(Self(Rc::clone(owner)))
    }
}

impl Drop for PendingSlot {
    fn drop(&mut self) {
        self.0.dec(ClusterStat::UpstreamRqPendingActive);
        self.0.host.stats.pending_over();
        self.0.give_back(LimitKind::PendingRequests);
    }
}
