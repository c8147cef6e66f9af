//! The hosts of a cluster at one moment, grouped for balancing.
//!
//! A [`HostSet`] is immutable: hosts, weights, health classes and the policy's shared state are
//! swapped as one, so that no worker sees new hosts with old weights. Health changes make a new
//! set too. It holds groups (all, healthy, degraded hosts of each priority, and of each locality
//! where localities are weighted); which group a request gets is decided by `pick`.

use std::collections::HashMap;
use std::sync::Arc;

use super::host::{Availability, Host};
use super::lb::{BalancerFactory, LeastRequest, Random, RoundRobin, Selection};
use super::priority::{Class, Counts, Load, Loads, Rules, loads};
use crate::config::cluster::{ClusterConfig, LbPolicy, LocalityLb};
use crate::config::endpoint::{EndpointsConfig, Locality};

/// All hosts of a cluster, and how requests are spread over them.
#[derive(Debug)]
pub struct HostSet {
    hosts: Arc<[Arc<Host>]>,
    groups: Box<[Group]>,
    levels: Box<[Level]>,
    loads: Loads,
    factory: Arc<dyn BalancerFactory>,
    fail_on_panic: bool,
}

/// Hosts that one balancer picks among.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) hosts: Arc<[Arc<Host>]>,
    /// Place of each in the whole set; empty where the group is the set.
    places: Box<[u32]>,
}

impl Group {
    /// Place in the whole set of this group's `index`th host.
    pub(super) fn place(&self, index: usize) -> usize {
        self.places.get(index).map_or(index, |place| *place as usize)
    }
}

/// Index of a group.
pub(super) type GroupId = u32;

/// One priority.
#[derive(Debug)]
struct Level {
    all: GroupId,
    healthy: GroupId,
    degraded: GroupId,
    healthy_localities: Option<Box<Localities>>,
    degraded_localities: Option<Box<Localities>>,
}

/// Localities of one level and class, by effective weight.
#[derive(Debug)]
pub(super) struct Localities {
    pub(super) weights: Box<[f64]>,
    pub(super) groups: Box<[GroupId]>,
}

/// How many hosts there are, by health (`membership_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// All hosts.
    pub total: u64,
    /// Healthy ones.
    pub healthy: u64,
    /// Degraded ones.
    pub degraded: u64,
    /// Those that panic and priorities do not count.
    pub excluded: u64,
}

/// Where a request goes: a group, and whether its level is in panic.
#[derive(Debug)]
pub(super) enum Target<'a> {
    Group { id: GroupId, panic: bool },
    Localities { slot: usize, localities: &'a Localities },
}

impl HostSet {
    /// A set without hosts: every pick fails.
    #[must_use]
    pub fn empty(config: &ClusterConfig) -> Self {
        Self::new(Vec::new(), config, &config.load_assignment)
    }

    /// Groups hosts by priority, health and locality as they are now.
    #[must_use]
    pub fn new(hosts: Vec<Arc<Host>>, config: &ClusterConfig, endpoints: &EndpointsConfig) -> Self {
        let rules = Rules {
            overprovisioning: u64::from(endpoints.overprovisioning_factor_percent),
            panic_threshold: config.lb_common.healthy_panic_threshold_percent,
        };
        let weighted = matches!(config.lb.locality, LocalityLb::Weighted);
        let mut builder = Builder::new(hosts.into());
        let levels = builder.level_count();
        let levels: Box<[Level]> = (0..levels)
            .map(|priority| {
                let weights = weighted.then(|| locality_weights(endpoints, priority));
                builder.level(priority, weights.as_ref(), rules)
            })
            .collect();
        let by_weight = endpoints.weighted_priority_health;
        let counts: Vec<Counts> = (0..levels.len())
            .map(|level| counts(&builder.groups[levels[level].all as usize].hosts, by_weight))
            .collect();
        let fail_on_panic =
            matches!(config.lb.locality, LocalityLb::ZoneAware { fail_traffic_on_panic: true, .. });
        Self {
            loads: loads(&counts, rules),
            hosts: builder.hosts,
            groups: builder.groups.into(),
            levels,
            factory: factory(&config.lb.policy),
            fail_on_panic,
        }
    }

    /// Every host, in the order of the configuration.
    #[must_use]
    pub fn hosts(&self) -> &Arc<[Arc<Host>]> {
        &self.hosts
    }

    /// Numbers of hosts by health.
    #[must_use]
    pub fn membership(&self) -> Membership {
        let count =
            |is: &dyn Fn(&Host) -> bool| self.hosts.iter().filter(|host| is(host)).count() as u64;
        Membership {
            total: self.hosts.len() as u64,
            healthy: count(&|host| host.availability() == Availability::Healthy),
            degraded: count(&|host| host.availability() == Availability::Degraded),
            excluded: count(&Host::is_excluded),
        }
    }

    pub(super) fn factory(&self) -> &dyn BalancerFactory {
        &*self.factory
    }

    pub(super) fn group(&self, id: GroupId) -> &Group {
        &self.groups[id as usize]
    }

    pub(super) fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// How many locality schedules [`Target::Localities`] can name.
    pub(super) fn locality_slots(&self) -> usize {
        self.levels.len() * 2
    }

    pub(super) fn loads(&self) -> &[Load] {
        &self.loads
    }

    /// The hosts for a request of this level and class; `None` where panic means refusal.
    pub(super) fn target(&self, level: usize, class: Class) -> Option<Target<'_>> {
        let place = self.levels.get(level)?;
        if self.loads[level].panic {
            let id = place.all;
            return (!self.fail_on_panic).then_some(Target::Group { id, panic: true });
        }
        let (id, localities, slot) = match class {
            Class::Healthy => (place.healthy, &place.healthy_localities, 0),
            Class::Degraded => (place.degraded, &place.degraded_localities, 1),
        };
        Some(match localities {
            Some(localities) => Target::Localities { slot: level * 2 + slot, localities },
            None => Target::Group { id, panic: false },
        })
    }
}

/// The balancer factory of a policy.
fn factory(policy: &LbPolicy) -> Arc<dyn BalancerFactory> {
    match policy {
        LbPolicy::RoundRobin => Arc::new(RoundRobin),
        LbPolicy::Random => Arc::new(Random),
        LbPolicy::LeastRequest { choice_count, active_request_bias, full_scan } => {
            let selection = if *full_scan { Selection::FullScan } else { Selection::Choices };
            Arc::new(LeastRequest {
                choice_count: *choice_count,
                active_request_bias: *active_request_bias,
                selection,
            })
        }
    }
}

fn locality_weights(endpoints: &EndpointsConfig, priority: u32) -> HashMap<&Locality, u32> {
    let level = endpoints.localities.iter().filter(|l| l.priority == priority);
    level.map(|l| (&l.locality, l.weight.unwrap_or(0))).collect()
}

/// What a level's health is computed from.
fn counts(hosts: &[Arc<Host>], by_weight: bool) -> Counts {
    let mut counts = Counts::default();
    for host in hosts.iter().filter(|host| !host.is_excluded()) {
        let one = if by_weight { u64::from(host.weight()) } else { 1 };
        counts.total += one;
        match host.availability() {
            Availability::Healthy => counts.healthy += one,
            Availability::Degraded => counts.degraded += one,
            Availability::Unhealthy => {}
        }
    }
    counts
}

struct Builder {
    hosts: Arc<[Arc<Host>]>,
    groups: Vec<Group>,
}

impl Builder {
    fn new(hosts: Arc<[Arc<Host>]>) -> Self {
        Self { hosts, groups: Vec::new() }
    }

    fn level_count(&self) -> u32 {
        self.hosts.iter().map(|host| host.priority() + 1).max().unwrap_or(0)
    }

    /// A group of the given hosts; one that has the same members as `like` is not made twice.
    fn group(&mut self, places: &[u32], like: Option<GroupId>) -> GroupId {
        let same = |id: &GroupId| self.groups[*id as usize].hosts.len() == places.len();
        if let Some(id) = like.filter(same) {
            return id;
        }
        let group = if places.len() == self.hosts.len() {
            Group { hosts: Arc::clone(&self.hosts), places: Box::default() }
        } else {
            let hosts = places.iter().map(|place| Arc::clone(&self.hosts[*place as usize]));
            Group { hosts: hosts.collect(), places: places.into() }
        };
        self.groups.push(group);
        GroupId::try_from(self.groups.len() - 1).unwrap_or(GroupId::MAX)
    }

    fn level(
        &mut self,
        priority: u32,
        weights: Option<&HashMap<&Locality, u32>>,
        rules: Rules,
    ) -> Level {
        let hosts = Arc::clone(&self.hosts);
        let at = |place: u32| &hosts[place as usize];
        let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        let all: Vec<u32> = (0..count).filter(|p| at(*p).priority() == priority).collect();
        let of = |availability| -> Vec<u32> {
            all.iter().copied().filter(|p| at(*p).availability() == availability).collect()
        };
        let (healthy, degraded) = (of(Availability::Healthy), of(Availability::Degraded));
        let all_id = self.group(&all, None);
        let healthy_id = self.group(&healthy, Some(all_id));
        let degraded_id = self.group(&degraded, Some(all_id));
        let mut localities = |eligible: &[u32]| {
            weights.and_then(|weights| self.localities(&all, eligible, weights, rules))
        };
        let healthy_localities = localities(&healthy).map(Box::new);
        let degraded_localities = localities(&degraded).map(Box::new);
        Level {
            all: all_id,
            healthy: healthy_id,
            degraded: degraded_id,
            healthy_localities,
            degraded_localities,
        }
    }

    /// Localities that have eligible hosts and a weight; `None` if there is no such one.
    fn localities(
        &mut self,
        all: &[u32],
        eligible: &[u32],
        weights: &HashMap<&Locality, u32>,
        rules: Rules,
    ) -> Option<Localities> {
        let hosts = Arc::clone(&self.hosts);
        let (mut names, mut members): (Vec<Arc<Locality>>, Vec<Vec<u32>>) = Default::default();
        for place in eligible {
            let locality = hosts[*place as usize].locality();
            match names.iter().position(|name| *name == locality) {
                Some(index) => members[index].push(*place),
                None => {
                    names.push(locality);
                    members.push(vec![*place]);
                }
            }
        }
        let (mut effective, mut groups) = (Vec::new(), Vec::new());
        for (name, places) in names.iter().zip(&members) {
            let counted = all.iter().map(|place| &hosts[*place as usize]);
            let total = counted.filter(|h| !h.is_excluded() && h.locality() == *name).count();
            let weight = f64::from(weights.get(&**name).copied().unwrap_or(0));
            let weight = weight * reach(places.len(), total, rules);
            if weight > 0.0 {
                effective.push(weight);
                groups.push(self.group(places, None));
            }
        }
        (!groups.is_empty())
            .then(|| Localities { weights: effective.into(), groups: groups.into() })
    }
}

/// Share of its weight that a locality keeps, given its eligible hosts.
#[expect(clippy::cast_precision_loss, reason = "hosts of a cluster are far fewer than 2^52")]
fn reach(eligible: usize, total: usize, rules: Rules) -> f64 {
    let ratio = eligible as f64 / total.max(1) as f64;
    (ratio * rules.overprovisioning as f64 / 100.0).min(1.0)
}
