//! Connections that carry bytes alone, each for one connection of a client: made when it is
//! needed, never kept.
//!
//! They count as those of a pool that holds nothing: a request that waits, an attempt, a request
//! on a connection, since that is how Envoy counts them. The limit on requests is not theirs.

use std::rc::Rc;
use std::sync::Arc;

use super::account::{Ended, Opened, Owner, PendingSlot, PoolIs, RequestSlot};
use super::lease::LeaseError;
use super::{HostPool, RoutingPriority};
use crate::cluster::connect::Socket;
use crate::telemetry::stats::ClusterStat;
use crate::tls::client::Offer;

/// A connection to a host in the hands of one client's connection.
#[derive(Debug)]
pub struct TcpConn {
    /// The bytes.
    pub socket: Socket,
    opened: Opened,
    _request: RequestSlot,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// We did.
    Us,
    /// The host did.
    Host,
}

impl TcpConn {
    /// Counts its end.
    pub fn over(&self, by: EndedBy) {
        let ended = match by {
            EndedBy::Us => Ended::Local,
            EndedBy::Host => Ended::Remote,
        };
        self.opened.close(ended, true);
    }
}

/// Whoever gives the wait for a connection up has cancelled what it waited for.
struct Waiting {
    slot: Option<PendingSlot>,
    owner: Rc<Owner>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.slot.take().is_some() {
            self.owner.inc(ClusterStat::UpstreamRqCancelled);
        }
    }
}

impl HostPool {
    /// A connection of one's own.
    ///
    /// # Errors
    /// A limit is reached, or it could not be made.
    pub async fn connect(&self) -> Result<TcpConn, LeaseError> {
        let owner = Rc::new(Owner {
            cluster: Arc::clone(&self.cluster),
            host: Arc::clone(&self.host),
            worker: self.shared.worker,
            priority: RoutingPriority::Default,
        });
        let slot = Some(PendingSlot::take(&owner)?);
        let mut waiting = Waiting { slot, owner: Rc::clone(&owner) };
        let Some(opened) = Opened::begin(&owner, None, PoolIs::Empty) else {
            // It never is: an empty pool may always try.
            return Err(super::Overflow(super::LimitKind::Connections).into());
        };
        match self.dialer(Offer::Nothing).dial().await {
            Ok(socket) => {
                opened.connected();
                opened.request();
                waiting.slot = None;
                Ok(TcpConn { socket, opened, _request: RequestSlot::take_anyway(&owner) })
            }
            Err(error) => {
                opened.failed(&error);
                owner.inc(ClusterStat::UpstreamRqPendingFailureEject);
                waiting.slot = None;
                Err(error.into())
            }
        }
    }
}
