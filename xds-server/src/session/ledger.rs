//! One type on one stream: what the client wants, what it holds, what it is owed.
//!
//! Invariants: at most one response is unanswered; a resource is owed only while it differs from
//! what was last sent, or while the client asked for it by name; a rejected response is never
//! owed again until something changes (S1). Nothing is queued: what is owed is a set of names, so
//! a slow client gets the newest snapshot and the memory is bounded by names.
//!
//! The ledger knows nothing of other types; what waits for what is the session's business.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::order;
use super::subscription::{Shift, Subscription};
use super::{Protocol, Reply};
use crate::snapshot::{Resource, TypeSet, TypeUrl, version_of};

/// A resource as the client is believed to hold it.
#[derive(Debug)]
struct Held {
    version: Arc<str>,
    /// What was sent; absent where the client brought it along from an earlier stream.
    body: Option<Arc<Resource>>,
    /// Some version of it was acknowledged.
    acked: bool,
}

/// A response that the client has not answered.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) version: Arc<str>,
    names: Vec<Arc<str>>,
}

/// Which part of what is owed goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Additions, changes and answers.
    Make,
    /// Removals.
    Break,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    type_url: TypeUrl,
    protocol: Protocol,
    pub(super) subscription: Subscription,
    set: Arc<TypeSet>,
    held: HashMap<Arc<str>, Held>,
    /// In the set and not held in this version.
    changed: BTreeSet<Arc<str>>,
    /// Asked for by name, to be answered even when unchanged (S3, S4).
    asked: BTreeSet<Arc<str>>,
    /// Held and no longer in the set, where the client has to be told.
    gone: BTreeSet<Arc<str>>,
    /// Part of a response that was rejected and not sent since.
    rejected: BTreeSet<Arc<str>>,
    /// A response is owed even if it carries nothing.
    answer_owed: bool,
    pub(super) in_flight: Option<InFlight>,
    pub(super) last_nonce: String,
    /// Names of another type that the client is about to ask for because of this one.
    pub(super) awaits: BTreeSet<Arc<str>>,
    /// Load assignments whose cluster was sent again; owed if the client asks again (S8).
    pub(super) repeat_if_asked: BTreeSet<Arc<str>>,
}

impl Ledger {
    pub(super) fn new(type_url: TypeUrl, protocol: Protocol, set: Arc<TypeSet>) -> Self {
        Self {
            type_url,
            protocol,
            subscription: Subscription::default(),
            set,
            held: HashMap::new(),
            changed: BTreeSet::new(),
            asked: BTreeSet::new(),
            gone: BTreeSet::new(),
            rejected: BTreeSet::new(),
            answer_owed: false,
            in_flight: None,
            last_nonce: String::new(),
            awaits: BTreeSet::new(),
            repeat_if_asked: BTreeSet::new(),
        }
    }

    /// Puts a new set in force; what differs from what is held becomes owed.
    pub(super) fn apply_set(&mut self, set: &Arc<TypeSet>) {
        if Arc::ptr_eq(&self.set, set) || self.set.version() == set.version() {
            self.set = set.clone();
            return;
        }
        self.set = set.clone();
        self.recompute();
        if !self.changed.is_empty() {
            // A client may drop the good neighbours of a bad resource (C11): they go out again
            // together with the change that may cure it.
            let again = self.rejected.iter().filter(|name| self.wants(name)).cloned();
            self.changed.extend(again.collect::<Vec<_>>());
        }
    }

    /// The first request on a stream whose client brings resources along from an earlier one:
    /// SotW by the version of the whole (no push where it is still true), delta by a version for
    /// each (D2).
    pub(super) fn resume_whole(&mut self, version: &str) -> bool {
        if version.is_empty() || version != &*self.target_version() {
            return false;
        }
        for resource in self.targets().cloned().collect::<Vec<_>>() {
            self.note_held(&resource, Acked::Yes);
        }
        self.changed.clear();
        self.asked.clear();
        self.answer_owed = false;
        true
    }

    /// See [`Self::resume_whole`]; called before the subscription is settled.
    pub(super) fn resume_each(&mut self, versions: HashMap<String, String>) {
        for (name, version) in versions {
            let held = Held { version: version.into(), body: None, acked: true };
            self.held.insert(name.into(), held);
        }
    }

    /// Settles what a changed subscription makes owed.
    pub(super) fn settle(&mut self, shift: Shift, first: First) {
        let full_state = order::is_full_state(self.type_url.as_str());
        for name in shift.dropped {
            if self.subscription.is_wildcard() {
                if self.protocol == Protocol::Delta {
                    // D5: the client keeps it until told that it stays or goes.
                    self.asked.insert(name);
                }
                continue;
            }
            self.forget(&name);
        }
        for name in shift.asked {
            let current = self.set.find(&name).map(|resource| &resource.version);
            let held = self.held.get(&name).map(|held| &held.version);
            let known = first == First::Yes && held.is_some();
            match self.protocol {
                Protocol::Delta if known => {
                    if current.is_some() && current != held {
                        self.changed.insert(name);
                    }
                }
                Protocol::Delta => {
                    self.asked.insert(name);
                }
                Protocol::Sotw => {
                    self.answer_owed |= full_state;
                    if current.is_some() {
                        self.asked.insert(name);
                    }
                }
            }
        }
        if shift.wildcard_began || shift.wildcard_ended || first == First::Yes {
            let covers = |name: &str| self.subscription.covers(name);
            self.held.retain(|name, _| covers(name));
            for names in [&mut self.asked, &mut self.rejected, &mut self.repeat_if_asked] {
                names.retain(|name| covers(name));
            }
            self.recompute();
        }
        if shift.wildcard_began {
            self.answer_owed |= self.protocol == Protocol::Sotw || self.held.is_empty();
        }
    }

    /// S8: a SotW request that changes nothing asks again for what a re-sent cluster needs.
    pub(super) fn answer_repeats(&mut self) {
        let again = std::mem::take(&mut self.repeat_if_asked);
        let again = again.into_iter().filter(|name| self.wants(name)).collect::<Vec<_>>();
        self.asked.extend(again);
    }

    /// The client took the response that is in flight.
    pub(super) fn accept(&mut self) -> Option<InFlight> {
        let in_flight = self.in_flight.take()?;
        for name in &in_flight.names {
            if let Some(held) = self.held.get_mut(name) {
                held.acked = true;
            }
        }
        Some(in_flight)
    }

    /// The client refused the response that is in flight (S1).
    pub(super) fn reject(&mut self) -> Option<InFlight> {
        let in_flight = self.in_flight.take()?;
        let names = in_flight.names.iter().filter(|name| self.subscription.covers(name));
        self.rejected.extend(names.cloned());
        self.awaits.clear();
        Some(in_flight)
    }

    /// Whether the client refuses something that it should have.
    pub(super) fn is_rejecting(&self) -> bool {
        self.rejected.iter().any(|name| self.wants(name))
    }

    /// Resources that the client should have, but refused, and holds in no earlier version.
    pub(super) fn doubts(&self) -> BTreeSet<Arc<str>> {
        let unsure = |name: &&Arc<str>| self.held.get(*name).is_none_or(|held| !held.acked);
        self.rejected.iter().filter(|name| self.wants(name)).filter(unsure).cloned().collect()
    }

    /// Whether an update waits for a cluster that the client refuses.
    pub(super) fn is_holding_back(&self, doubts: &BTreeSet<Arc<str>>) -> bool {
        self.changed.iter().any(|name| self.is_held_back(name, doubts))
    }

    /// Whether something of that phase is owed and may be sent as far as this type is concerned.
    pub(super) fn is_due(&self, phase: Phase, doubts: &BTreeSet<Arc<str>>) -> bool {
        if self.in_flight.is_some() {
            return false;
        }
        match phase {
            Phase::Make => {
                self.answer_owed
                    || !self.asked.is_empty()
                    || (self.removes_at_once() && !self.gone.is_empty())
                    || self.changed.iter().any(|name| !self.is_held_back(name, doubts))
            }
            Phase::Break => !self.gone.is_empty(),
        }
    }

    /// The response for that phase, and those of its resources that are news to the client.
    /// What it carries becomes held.
    pub(super) fn compose(
        &mut self,
        phase: Phase,
        nonce: String,
        doubts: &BTreeSet<Arc<str>>,
    ) -> (Reply, Vec<Arc<Resource>>) {
        let (resources, removed) = match self.protocol {
            Protocol::Sotw => (self.compose_whole(phase, doubts), Vec::new()),
            Protocol::Delta => self.compose_change(phase, doubts),
        };
        let differs =
            |r: &&Arc<Resource>| self.held.get(&r.name).is_none_or(|h| h.version != r.version);
        let news = resources.iter().filter(differs).cloned().collect();
        for resource in &resources {
            self.rejected.remove(&resource.name);
            self.repeat_if_asked.remove(&resource.name);
            self.note_held(resource, Acked::AsBefore);
        }
        let version = self.held_version(&resources);
        self.in_flight = Some(InFlight {
            version: version.clone(),
            names: resources.iter().map(|resource| resource.name.clone()).collect(),
        });
        self.last_nonce.clone_from(&nonce);
        let type_url = self.type_url.clone();
        (Reply { type_url, version, nonce, resources, removed }, news)
    }

    fn compose_whole(&mut self, phase: Phase, doubts: &BTreeSet<Arc<str>>) -> Vec<Arc<Resource>> {
        self.answer_owed = false;
        let drops = phase == Phase::Break || self.removes_at_once();
        if drops {
            for name in std::mem::take(&mut self.gone) {
                self.held.remove(&name);
                self.rejected.remove(&name);
            }
        }
        let mut wanted: BTreeSet<Arc<str>> = std::mem::take(&mut self.asked);
        let changed = std::mem::take(&mut self.changed);
        let (back, ready): (BTreeSet<_>, BTreeSet<_>) =
            changed.into_iter().partition(|name| self.is_held_back(name, doubts));
        self.changed = back;
        wanted.extend(ready);
        if order::is_full_state(self.type_url.as_str()) {
            wanted.extend(self.targets().map(|resource| resource.name.clone()));
            wanted.extend(self.gone.iter().cloned());
        }
        let body = |name: Arc<str>| {
            let stays = self.changed.contains(&name) || self.gone.contains(&name);
            match self.held.get(&name) {
                Some(held) if stays => held.body.clone(),
                _ => self.set.find(&name).cloned(),
            }
        };
        wanted.into_iter().filter_map(body).collect()
    }

    fn compose_change(
        &mut self,
        phase: Phase,
        doubts: &BTreeSet<Arc<str>>,
    ) -> (Vec<Arc<Resource>>, Vec<Arc<str>>) {
        let mut removed = Vec::new();
        if phase == Phase::Break || self.removes_at_once() {
            removed.extend(std::mem::take(&mut self.gone));
        }
        let mut resources = Vec::new();
        if phase == Phase::Make {
            self.answer_owed = false;
            let changed = std::mem::take(&mut self.changed);
            let (back, ready): (BTreeSet<_>, BTreeSet<_>) =
                changed.into_iter().partition(|name| self.is_held_back(name, doubts));
            let mut wanted = ready;
            wanted.extend(std::mem::take(&mut self.asked));
            self.changed = back.difference(&wanted).cloned().collect();
            for name in wanted {
                match self.set.find(&name) {
                    Some(resource) => resources.push(resource.clone()),
                    None => removed.push(name),
                }
            }
            removed.sort();
            removed.dedup();
        }
        for name in &removed {
            self.forget(name);
        }
        (resources, removed)
    }

    fn removes_at_once(&self) -> bool {
        order::removes_at_once(self.type_url.as_str())
    }

    /// S13: an update that sends traffic to a cluster which the client refuses, and so has not,
    /// is kept back while an earlier version of it works.
    fn is_held_back(&self, name: &Arc<str>, doubts: &BTreeSet<Arc<str>>) -> bool {
        if doubts.is_empty() || !order::WAITING.contains(&self.type_url.as_str()) {
            return false;
        }
        // The older version can only be repeated where it is at hand; delta repeats nothing.
        let repeatable = |held: &Held| held.body.is_some() || self.protocol == Protocol::Delta;
        let works = self.held.get(name).is_some_and(|held| held.acked && repeatable(held));
        let next = self.set.find(name);
        works && next.is_some_and(|r| r.references.clusters.iter().any(|c| doubts.contains(c)))
    }

    fn note_held(&mut self, resource: &Arc<Resource>, acked: Acked) {
        let version = resource.version.clone();
        let before = self.held.get(&resource.name).is_some_and(|held| held.acked);
        let acked = acked == Acked::Yes || before;
        let held = Held { version, body: Some(resource.clone()), acked };
        self.held.insert(resource.name.clone(), held);
    }

    fn forget(&mut self, name: &str) {
        self.held.remove(name);
        self.changed.remove(name);
        self.asked.remove(name);
        self.gone.remove(name);
        self.rejected.remove(name);
        self.repeat_if_asked.remove(name);
    }

    fn wants(&self, name: &Arc<str>) -> bool {
        self.subscription.covers(name) && self.set.find(name).is_some()
    }

    /// What the client should hold.
    fn targets(&self) -> Box<dyn Iterator<Item = &Arc<Resource>> + '_> {
        if self.subscription.is_wildcard() {
            Box::new(self.set.iter())
        } else {
            Box::new(self.subscription.names().filter_map(|name| self.set.find(name)))
        }
    }

    fn recompute(&mut self) {
        let differs =
            |r: &&Arc<Resource>| self.held.get(&r.name).is_none_or(|h| h.version != r.version);
        let changed = self.targets().filter(differs).map(|r| r.name.clone()).collect();
        let gone: BTreeSet<Arc<str>> =
            self.held.keys().filter(|name| self.set.find(name).is_none()).cloned().collect();
        self.changed = changed;
        let tells_removal =
            self.protocol == Protocol::Delta || order::is_full_state(self.type_url.as_str());
        if tells_removal {
            self.gone = gone;
        } else {
            // C7: absence means nothing here; the client drops it with its parent.
            for name in gone {
                self.forget(&name);
            }
        }
    }

    /// The version under which a client holds everything it should.
    fn target_version(&self) -> Arc<str> {
        if self.subscription.is_wildcard() {
            return self.set.version().clone();
        }
        version_of(self.targets().map(|r| (&*r.name, &*r.version)))
    }

    /// The version of what the client holds once it takes these resources. It equals
    /// [`Self::target_version`] only if nothing is missing, outdated, refused or left over, so
    /// that a client which comes back with it needs no push.
    fn held_version(&self, resources: &[Arc<Resource>]) -> Arc<str> {
        if self.protocol == Protocol::Delta {
            return self.set.version().clone();
        }
        if order::is_full_state(self.type_url.as_str()) {
            return version_of(resources.iter().map(|r| (&*r.name, &*r.version)));
        }
        let mut held: Vec<(&str, &str)> = self
            .held
            .iter()
            .filter(|(name, _)| !self.rejected.contains(*name))
            .map(|(name, held)| (&**name, &*held.version))
            .collect();
        held.sort_unstable();
        version_of(held)
    }
}

/// Whether a request is the first of its type on the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Yes,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Acked {
    Yes,
    AsBefore,
}
