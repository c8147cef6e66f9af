//! One worker's picking: level, locality, then a host of that group.
//!
//! A [`Picker`] belongs to one worker and one host set; balancers of groups are made when they are
//! first needed. Pure; randomness comes in with [`PickCx`].

use std::sync::Arc;

use super::host_set::{GroupId, HostSet, Localities, Target};
use super::lb::{Balancer, Edf, PickCx};
use super::priority::{Class, choose};

/// The state of one worker for one host set.
#[derive(Debug)]
pub struct Picker {
    set: Arc<HostSet>,
    balancers: Box<[Option<Box<dyn Balancer>>]>,
    schedules: Box<[Option<Edf>]>,
}

/// A picked host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Its place in [`HostSet::hosts`].
    pub index: usize,
    /// Too few healthy hosts: all were considered (`lb_healthy_panic`).
    pub panic: bool,
}

impl Picker {
    /// Nothing picked yet.
    #[must_use]
    pub fn new(set: Arc<HostSet>) -> Self {
        let balancers = (0..set.group_count()).map(|_| None).collect();
        let schedules = (0..set.locality_slots()).map(|_| None).collect();
        Self { set, balancers, schedules }
    }

    /// The host set that is picked from.
    #[must_use]
    pub const fn set(&self) -> &Arc<HostSet> {
        &self.set
    }

    /// A host for a request; `None` if there is none to use.
    pub fn pick(&mut self, cx: &mut PickCx<'_>) -> Option<Pick> {
        let set = Arc::clone(&self.set);
        let (level, class) = match set.loads() {
            [only] if only.healthy == 100 => (0, Class::Healthy),
            loads => choose(loads, cx.rng.u64(..100))?,
        };
        let (id, panic) = match set.target(level, class)? {
            Target::Group { id, panic } => (id, panic),
            Target::Localities { slot, localities } => {
                (self.locality(slot, localities, cx)?, false)
            }
        };
        let group = set.group(id);
        let balancer = self.balancers[id as usize]
            .get_or_insert_with(|| set.factory().balancer(&group.hosts, cx.rng.u64(..)));
        let index = group.place(balancer.pick(&group.hosts, cx)?);
        Some(Pick { index, panic })
    }

    fn locality(
        &mut self,
        slot: usize,
        localities: &Localities,
        cx: &mut PickCx<'_>,
    ) -> Option<GroupId> {
        let schedule = self.schedules[slot]
            .get_or_insert_with(|| Edf::new(&localities.weights, cx.rng.u64(..)));
        let index = schedule.pick(|index| localities.weights[index])?;
        Some(localities.groups[index])
    }
}

#[cfg(test)]
mod tests;
