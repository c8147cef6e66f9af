//! `ROUND_ROBIN`: in turn; by a weighted schedule where weights differ.

use std::sync::Arc;

use super::{Balancer, BalancerFactory, Edf, PickCx, equal_weights};
use crate::cluster::host::Host;

/// The policy; it has no settings (slow start is not supported).
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin;

impl BalancerFactory for RoundRobin {
    fn balancer(&self, hosts: &[Arc<Host>], seed: u64) -> Box<dyn Balancer> {
        if equal_weights(hosts) {
            return Box::new(InTurn { next: seed });
        }
        let weights: Vec<f64> = hosts.iter().map(|host| f64::from(host.weight())).collect();
        Box::new(Weighted { schedule: Edf::new(&weights, seed) })
    }
}

#[derive(Debug)]
struct InTurn {
    next: u64,
}

impl Balancer for InTurn {
    fn pick(&mut self, hosts: &[Arc<Host>], _: &mut PickCx<'_>) -> Option<usize> {
        let index = self.next.checked_rem(hosts.len() as u64)?;
        self.next = self.next.wrapping_add(1);
        usize::try_from(index).ok()
    }
}

#[derive(Debug)]
struct Weighted {
    schedule: Edf,
}

impl Balancer for Weighted {
    fn pick(&mut self, hosts: &[Arc<Host>], _: &mut PickCx<'_>) -> Option<usize> {
        self.schedule.pick(|index| hosts.get(index).map_or(1.0, |host| f64::from(host.weight())))
    }
}
