//! `RANDOM`: any host, each as likely as the others; weights play no part, as in Envoy.

use std::sync::Arc;

use super::{Balancer, BalancerFactory, PickCx};
use crate::cluster::host::Host;

/// The policy; it has no settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl BalancerFactory for Random {
    fn balancer(&self, _: &[Arc<Host>], _: u64) -> Box<dyn Balancer> {
        Box::new(Any)
    }
}

#[derive(Debug)]
struct Any;

impl Balancer for Any {
    fn pick(&mut self, hosts: &[Arc<Host>], cx: &mut PickCx<'_>) -> Option<usize> {
        (!hosts.is_empty()).then(|| cx.rng.usize(..hosts.len()))
    }
}
