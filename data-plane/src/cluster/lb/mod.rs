//! Which host gets a request. Pure: no clock, no I/O; randomness comes in with [`PickCx`].
//!
//! A [`BalancerFactory`] is shared and immutable and belongs to a host set; each worker makes its
//! own [`Balancer`]s from it, so that picking takes no lock. A balancer picks among the hosts of
//! one group (a priority's healthy hosts, a locality's); which group is asked is decided by the
//! host set. Every balancer starts at a random place, so that workers do not walk in step.

mod edf;
mod least_request;
mod random;
mod round_robin;

pub(in crate::cluster) use edf::Edf;
pub use least_request::{LeastRequest, Selection};
pub use random::Random;
pub use round_robin::RoundRobin;

use std::fmt;
use std::sync::Arc;

use crate::cluster::host::Host;

/// What a pick may look at.
#[derive(Debug)]
pub struct PickCx<'a> {
    /// The worker's random numbers; seeded in tests.
    pub rng: &'a mut fastrand::Rng,
    /// Hash of the request, where the route's `hash_policy` gave one.
    pub hash: Option<u64>,
}

/// One worker's state for one group of hosts.
pub trait Balancer: fmt::Debug {
    /// Index into `hosts`, which is the same slice at every call of one balancer; `None` for an
    /// empty one.
    fn pick(&mut self, hosts: &[Arc<Host>], cx: &mut PickCx<'_>) -> Option<usize>;
}

/// Makes balancers; shared by all workers.
pub trait BalancerFactory: fmt::Debug + Send + Sync {
    /// A balancer for a group of hosts. `seed` decides where it starts.
    fn balancer(&self, hosts: &[Arc<Host>], seed: u64) -> Box<dyn Balancer>;
}

/// Whether all hosts weigh the same, which spares the schedule.
fn equal_weights(hosts: &[Arc<Host>]) -> bool {
    hosts.windows(2).all(|pair| pair[0].weight() == pair[1].weight())
}

#[cfg(test)]
mod tests;
