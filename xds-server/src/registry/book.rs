//! The book of instances: leases, drains, and what becomes of those that are silent.
//!
//! A lease that ends makes its instance [`Life::Lost`]: unhealthy at once, removed after
//! [`GONE_AFTER`], unless no other instance of the service is alive: then it stays, stale, until
//! it is deregistered or another one registers. So an outage never empties a service. Time is
//! given; only names of leases are made with the wall clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::record;
use crate::clock::{self, Instant};
use crate::durable::Write;
use crate::snapshot::version_of;

/// How long an instance drains before it is removed.
pub const DRAIN_FOR: Duration = Duration::from_secs(10);
/// From the end of a lease to the removal of its instance.
pub const GONE_AFTER: Duration = Duration::from_secs(30);
/// Most instances of a service.
pub const PER_SERVICE_MAX: usize = 10_000;
/// Most instances of all services.
pub const INSTANCES_MAX: usize = 100_000;

/// How an instance says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Well.
    #[default]
    Passing,
    /// Works, but others are better.
    Warning,
    /// Does not work, or says nothing any more.
    Critical,
    /// Finishes what it has.
    Draining,
}

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Where peers connect to.
    pub address: SocketAddr,
    /// What subsets select by.
    pub labels: BTreeMap<String, String>,
    /// Share among the instances of the service.
    pub weight: u32,
    /// Where it runs; empty where it does not say.
    pub zone: String,
    /// How long a lease is.
    pub ttl: Duration,
    /// How it is.
    pub health: Health,
}

/// What keeps a lease alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// Renewals.
    Renewals,
    /// A stream that was just opened.
    NewStream,
    /// The stream that is that lease.
    SameStream(Arc<str>),
}

/// What an instance lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// A lease that ends then.
    Until(Instant),
    /// A stream.
    Stream,
    /// Nothing any more; it is removed then, if it may be.
    Lost(Instant),
    /// It is removed then.
    Draining(Instant),
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it says of itself.
    pub spec: Spec,
    /// Its lease.
    pub lease: Arc<str>,
    /// What it lives on.
    pub life: Life,
    /// Kept beyond its time because the service would be empty without it.
    pub stale: bool,
}

impl Instance {
    /// How it is, for those who balance.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.life {
            Life::Until(_) | Life::Stream => self.spec.health,
            Life::Lost(_) => Health::Critical,
            Life::Draining(_) => Health::Draining,
        }
    }

    fn is_alive(&self) -> bool {
        matches!(self.life, Life::Until(_) | Life::Stream)
    }

    /// When something is to be done about it.
    fn deadline(&self) -> Option<Instant> {
        match self.life {
            Life::Until(at) | Life::Draining(at) => Some(at),
            Life::Lost(at) => (!self.stale).then_some(at),
            Life::Stream => None,
        }
    }
}

/// An instance with its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The service.
    pub service: String,
    /// Its name within the service.
    pub id: String,
    /// The instance.
    pub instance: Instance,
}

/// A lease that was given or renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its name.
    pub lease: Arc<str>,
    /// When it ends; `None` where a stream is the lease.
    pub until: Option<Instant>,
    /// Whether the instance was not there before.
    pub created: bool,
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such service, with those that there are.
    #[error("the mesh has no service '{0}'")]
    UnknownService(String),
    /// Its endpoints are written down.
    #[error(
        "the service '{0}' has its endpoints in the mesh; with `discover: registry` it would \
             take registrations"
    )]
    NotDiscovered(String),
    /// No such instance.
    #[error("the service '{service}' has no instance '{id}'; register it")]
    UnknownInstance {
        /// The service.
        service: String,
        /// The instance.
        id: String,
    },
    /// Another lease is in force.
    #[error("'{0}' is not the lease of that instance; another registration took its place")]
    OtherLease(String),
    /// It drains.
    #[error("the instance '{0}' drains; register it again to keep it")]
    Drains(String),
    /// It holds, but only in memory so far.
    #[error("in force, but not stored yet: {0}")]
    NotStored(String),
    /// A limit.
    #[error("at most {0} instances {1}")]
    TooMany(usize, &'static str),
}

type Key = (Arc<str>, Arc<str>);

/// See the module.
#[derive(Debug, Default)]
pub struct Book {
    services: BTreeMap<Arc<str>, Service>,
    /// Services that take registrations, and the others of the mesh.
    discovered: BTreeSet<String>,
    others: BTreeSet<String>,
    deadlines: BTreeSet<(Instant, Key)>,
    instances: usize,
    /// Counts changes of what is served.
    changes: u64,
    leases: u64,
    /// Instances of which the store does not have the newest.
    unwritten: Vec<Key>,
}

#[derive(Debug, Default)]
struct Service {
    /// Value of `changes` at its last change.
    generation: u64,
    instances: BTreeMap<Arc<str>, Instance>,
}

impl Book {
    /// Which services take registrations, and which others there are.
    pub fn set_services(&mut self, discovered: BTreeSet<String>, others: BTreeSet<String>) {
        self.discovered = discovered;
        self.others = others;
    }

    /// Services that take registrations.
    pub fn discovered(&self) -> impl Iterator<Item = &str> {
        self.discovered.iter().map(String::as_str)
    }

    /// Counts changes of what is served.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The number of a service's last change; 0 where there was none.
    #[must_use]
    pub fn generation(&self, service: &str) -> u64 {
        self.services.get(service).map_or(0, |service| service.generation)
    }

    /// When [`Book::sweep`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Instances of a service, by id.
    #[must_use]
    pub fn list(&self, service: &str) -> Vec<Listed> {
        let found = self.services.get_key_value(service);
        found.into_iter().flat_map(|(name, service)| listed(name, service)).collect()
    }

    /// All instances, by service and id.
    #[must_use]
    pub fn list_all(&self) -> Vec<Listed> {
        self.services.iter().flat_map(|(name, service)| listed(name, service)).collect()
    }

    /// How many instances a service has in each state.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, Health, usize)> {
        let mut counts = Vec::new();
        for (name, service) in &self.services {
            for health in [Health::Passing, Health::Warning, Health::Critical, Health::Draining] {
                let all = service.instances.values();
                let count = all.filter(|instance| instance.health() == health).count();
                counts.push((name.to_string(), health, count));
            }
        }
        counts
    }

    /// Registers an instance, or renews and changes one that is there. It takes the place of one
    /// that was registered at the same address under another name: two processes cannot listen
    /// there, so the other one is gone.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn register(
        &mut self,
        service: &str,
        id: &str,
        spec: Spec,
        keeper: Keeper,
        now: Instant,
    ) -> Result<Registered, Refusal> {
        if !self.discovered.contains(service) {
            let known = self.others.contains(service);
            let refusal = if known { Refusal::NotDiscovered } else { Refusal::UnknownService };
            return Err(refusal(service.to_owned()));
        }
        if let Keeper::SameStream(lease) = &keeper {
            let held = self.checked(service, id, lease)?;
            if matches!(held.life, Life::Draining(_)) {
                return Err(Refusal::Drains(id.to_owned()));
            }
        }
        let before = self.find(service, id).cloned();
        let created = before.is_none();
        if created {
            self.check_room(service)?;
        }
        let life = match keeper {
            Keeper::Renewals => Life::Until(now + spec.ttl),
            Keeper::NewStream | Keeper::SameStream(_) => Life::Stream,
        };
        let kept = before.as_ref().filter(|old| match keeper {
            Keeper::Renewals => matches!(old.life, Life::Until(_) | Life::Lost(_)),
            Keeper::NewStream => false,
            Keeper::SameStream(_) => true,
        });
        let lease = match kept {
            Some(old) => old.lease.clone(),
            None => self.new_lease(service, id),
        };
        let address = spec.address;
        let instance = Instance { spec, lease: lease.clone(), life, stale: false };
        let until = instance.deadline();
        self.put(service, id, Some(instance));
        self.remove_others_at(service, id, address);
        self.give_stale_ones_a_chance(service, now);
        Ok(Registered { lease, until, created })
    }

    /// Renews the lease of an instance, also after it ended; an empty `lease` is the present one.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn renew(
        &mut self,
        service: &str,
        id: &str,
        lease: &str,
        now: Instant,
    ) -> Result<Registered, Refusal> {
        let mut instance = self.checked(service, id, lease)?.clone();
        let lease = instance.lease.clone();
        let life = match instance.life {
            Life::Draining(_) => return Err(Refusal::Drains(id.to_owned())),
            Life::Stream => Life::Stream,
            Life::Until(_) | Life::Lost(_) => Life::Until(now + instance.spec.ttl),
        };
        instance.life = life;
        instance.stale = false;
        let until = instance.deadline();
        self.put(service, id, Some(instance));
        self.give_stale_ones_a_chance(service, now);
        Ok(Registered { lease, until, created: false })
    }

    /// Lets an instance drain; returns when it is removed.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn deregister(
        &mut self,
        service: &str,
        id: &str,
        lease: &str,
        now: Instant,
    ) -> Result<Instant, Refusal> {
        let mut instance = self.checked(service, id, lease)?.clone();
        let removed_at = match instance.life {
            Life::Draining(at) => at,
            _ => now + DRAIN_FOR,
        };
        instance.life = Life::Draining(removed_at);
        instance.stale = false;
        self.put(service, id, Some(instance));
        Ok(removed_at)
    }

    /// The lease ended before its time; nothing where it is not in force.
    pub fn lose(&mut self, service: &str, id: &str, lease: &str, now: Instant) {
        if let Ok(instance) = self.checked(service, id, lease)
            && instance.is_alive()
        {
            let mut instance = instance.clone();
            instance.life = Life::Lost(now + GONE_AFTER);
            self.put(service, id, Some(instance));
        }
    }

    /// Does all that is due.
    pub fn sweep(&mut self, now: Instant) {
        while let Some((at, (service, id))) = self.deadlines.first().cloned()
            && at <= now
        {
            let Some(mut instance) = self.find(&service, &id).cloned() else {
                self.deadlines.remove(&(at, (service, id)));
                continue;
            };
            let next = match instance.life {
                Life::Until(at) => {
                    instance.life = Life::Lost(at + GONE_AFTER);
                    Some(instance)
                }
                Life::Lost(_) if self.would_be_empty(&service) => {
                    instance.stale = true;
                    Some(instance)
                }
                Life::Lost(_) | Life::Draining(_) | Life::Stream => None,
            };
            self.put(&service, &id, next);
        }
    }

    /// An instance that the store has, as it comes back after a restart.
    pub fn restore(&mut self, service: &str, id: &str, instance: Instance) {
        self.put(service, id, Some(instance));
        self.unwritten.clear();
    }

    /// What the store does not have yet, from now on taken for written.
    #[must_use]
    pub fn take_unwritten(&mut self) -> Vec<Write> {
        let keys = std::mem::take(&mut self.unwritten);
        let write = |(service, id): Key| {
            let record = self.find(&service, &id).map(record::encode);
            Write::Instance { service: service.to_string(), id: id.to_string(), record }
        };
        keys.into_iter().map(write).collect()
    }

    fn find(&self, service: &str, id: &str) -> Option<&Instance> {
        self.services.get(service)?.instances.get(id)
    }

    fn checked(&self, service: &str, id: &str, lease: &str) -> Result<&Instance, Refusal> {
        let unknown = || {
            let (service, id) = (service.to_owned(), id.to_owned());
            Refusal::UnknownInstance { service, id }
        };
        let instance = self.find(service, id).ok_or_else(unknown)?;
        if lease.is_empty() || *instance.lease == *lease {
            Ok(instance)
        } else {
            Err(Refusal::OtherLease(lease.to_owned()))
        }
    }

    fn check_room(&self, service: &str) -> Result<(), Refusal> {
        let there = self.services.get(service).map_or(0, |service| service.instances.len());
        if there >= PER_SERVICE_MAX {
            return Err(Refusal::TooMany(PER_SERVICE_MAX, "of a service"));
        }
        if self.instances >= INSTANCES_MAX {
            return Err(Refusal::TooMany(INSTANCES_MAX, "of all services"));
        }
        Ok(())
    }

    /// Whether the service lives on the lost ones alone. One that the mesh does not discover any
    /// more is not kept.
    fn would_be_empty(&self, service: &str) -> bool {
        let alive = |service: &Service| service.instances.values().any(Instance::is_alive);
        self.discovered.contains(service) && !self.services.get(service).is_some_and(alive)
    }

    /// Someone lives again: those that were kept beyond their time have one more lease's length
    /// to come back as well, and go then.
    fn give_stale_ones_a_chance(&mut self, service: &str, now: Instant) {
        let Some(found) = self.services.get(service) else { return };
        let stale = found.instances.iter().filter(|(_, instance)| instance.stale);
        let stale: Vec<_> = stale.map(|(id, instance)| (id.clone(), instance.clone())).collect();
        for (id, mut instance) in stale {
            instance.stale = false;
            instance.life = Life::Lost(now + instance.spec.ttl);
            self.put(service, &id, Some(instance));
        }
    }

    fn remove_others_at(&mut self, service: &str, id: &str, address: SocketAddr) {
        let Some(found) = self.services.get(service) else { return };
        let same = |(other, instance): &(&Arc<str>, &Instance)| {
            ***other != *id && instance.spec.address == address
        };
        let same: Vec<_> = found.instances.iter().filter(same).map(|(id, _)| id.clone()).collect();
        for other in same {
            tracing::info!(service, instance = %other, by = id, "replaced at the same address");
            self.put(service, &other, None);
        }
    }

    /// The one place that changes an instance: keeps deadlines, counts and generations right.
    fn put(&mut self, service: &str, id: &str, new: Option<Instance>) {
        let key: Key = (service.into(), id.into());
        let old = self.find(service, id);
        let served = |instance: &Instance| (instance.spec.clone(), instance.health());
        let changed = old.map(served) != new.as_ref().map(served);
        let differs = !record::same(old, new.as_ref());
        let (was_there, deadline) = (old.is_some(), old.and_then(Instance::deadline));
        if let Some(at) = deadline {
            self.deadlines.remove(&(at, key.clone()));
        }
        if differs {
            self.unwritten.push(key.clone());
        }
        self.instances += usize::from(new.is_some());
        self.instances -= usize::from(was_there);
        if let Some(at) = new.as_ref().and_then(Instance::deadline) {
            self.deadlines.insert((at, key.clone()));
        }
        let entry = self.services.entry(key.0).or_default();
        match new {
            Some(new) => entry.instances.insert(key.1, new),
            None => entry.instances.remove(&key.1),
        };
        if changed {
            self.changes += 1;
            entry.generation = self.changes;
        }
    }

    /// Not a secret, but never the same twice, also over restarts.
    fn new_lease(&mut self, service: &str, id: &str) -> Arc<str> {
        self.leases += 1;
        let at = clock::system_now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let unique = format!("{}-{}", at.as_nanos(), self.leases);
        version_of([(service, id), (unique.as_str(), "")])
    }
}

fn listed<'a>(name: &'a Arc<str>, service: &'a Service) -> impl Iterator<Item = Listed> + 'a {
    service.instances.iter().map(move |(id, instance)| Listed {
        service: name.to_string(),
        id: id.to_string(),
        instance: instance.clone(),
    })
}
