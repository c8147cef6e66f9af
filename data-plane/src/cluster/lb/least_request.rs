//! `LEAST_REQUEST`: of a few random hosts the one with the fewest requests in progress.
//!
//! With equal weights that is "power of `choice_count` choices" (or a full scan). With different
//! weights it is a schedule by `weight / (active + 1)^bias`, as in Envoy.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Balancer, BalancerFactory, Edf, PickCx, equal_weights};
use crate::cluster::host::Host;

/// The policy's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeastRequest {
    /// Random hosts that are compared, at least 2 (`choice_count`).
    pub choice_count: u32,
    /// How much requests in progress reduce a weight; 0 ignores them (`active_request_bias`).
    pub active_request_bias: f64,
    /// How the compared hosts are chosen (`selection_method`).
    pub selection: Selection,
}

/// `LeastRequest.SelectionMethod`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// `N_CHOICES`.
    #[default]
    Choices,
    /// `FULL_SCAN`.
    FullScan,
}

impl Default for LeastRequest {
    fn default() -> Self {
        Self { choice_count: 2, active_request_bias: 1.0, selection: Selection::Choices }
    }
}

impl BalancerFactory for LeastRequest {
    fn balancer(&self, hosts: &[Arc<Host>], seed: u64) -> Box<dyn Balancer> {
        if equal_weights(hosts) {
            return Box::new(Choices { policy: *self });
        }
        let weights: Vec<f64> = hosts.iter().map(|host| self.weight(host)).collect();
        Box::new(Weighted { policy: *self, schedule: Edf::new(&weights, seed) })
    }
}

impl LeastRequest {
    fn weight(&self, host: &Host) -> f64 {
        let weight = f64::from(host.weight());
        let active = f64::from(host.stats.rq_active.load(Ordering::Relaxed)) + 1.0;
        if self.active_request_bias == 0.0 {
            weight
        } else if (self.active_request_bias - 1.0).abs() < f64::EPSILON {
            weight / active
        } else {
            weight / active.powf(self.active_request_bias)
        }
    }
}

#[derive(Debug)]
struct Choices {
    policy: LeastRequest,
}

impl Balancer for Choices {
    fn pick(&mut self, hosts: &[Arc<Host>], cx: &mut PickCx<'_>) -> Option<usize> {
        let active = |index: usize| hosts[index].stats.rq_active.load(Ordering::Relaxed);
        if hosts.len() < 2 {
            return (!hosts.is_empty()).then_some(0);
        }
        if self.policy.selection == Selection::FullScan {
            return Some(scan(hosts, cx));
        }
        let mut best = cx.rng.usize(..hosts.len());
        for _ in 1..self.policy.choice_count.max(2) {
            let other = cx.rng.usize(..hosts.len());
            if active(other) < active(best) {
                best = other;
            }
        }
        Some(best)
    }
}

/// The least busy of all; a random one of those that are equally so.
fn scan(hosts: &[Arc<Host>], cx: &mut PickCx<'_>) -> usize {
    let (mut best, mut least, mut ties) = (0, u32::MAX, 0);
    for (index, host) in hosts.iter().enumerate() {
        let active = host.stats.rq_active.load(Ordering::Relaxed);
        if active < least {
            (best, least, ties) = (index, active, 1);
        } else if active == least {
            ties += 1;
            if cx.rng.u32(..ties) == 0 {
                best = index;
            }
        }
    }
    best
}

#[derive(Debug)]
struct Weighted {
    policy: LeastRequest,
    schedule: Edf,
}

impl Balancer for Weighted {
    fn pick(&mut self, hosts: &[Arc<Host>], _: &mut PickCx<'_>) -> Option<usize> {
        let policy = self.policy;
        self.schedule.pick(|index| hosts.get(index).map_or(1.0, |host| policy.weight(host)))
    }
}
