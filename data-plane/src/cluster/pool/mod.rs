//! Upstream connections, one set of pools a worker.
//!
//! [`core`](self) has the rules that both protocols share; nothing here is `Send`, nothing locks,
//! and what all workers must agree on (limits, counters of hosts) goes through the cluster's
//! atomics. Connections are closed when their host or cluster is gone, and never under a request.

mod account;
mod core;
mod lease;

pub use self::core::{Conn, Pool, Restored};
pub use lease::{Lease, LeaseError, Leasing, Reuse};

#[cfg(test)]
mod tests;
