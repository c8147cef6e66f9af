//! L7: sockets, workers, accepting, and which filter chain a connection gets.
//!
//! [`Listeners`] is the control runtime's side: it binds, hands sockets to the workers and drains
//! what is replaced. A [`worker`] accepts and serves; nothing is shared between workers while
//! connections are served but atomics.

mod accept;
pub mod chain;
mod connection;
mod log;
mod manager;
pub mod socket;
mod terminal;
mod worker;

pub use manager::{BoundAddress, ListenerState, Listeners, Which};
pub use worker::{
    Acceptance, Begun, GlobalConnections, SPARE_BUFFERS, WorkerHandle, WorkerSetup, spawn_worker,
};

#[cfg(test)]
mod tests;
