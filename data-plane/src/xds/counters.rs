//! What subscriptions count, as Envoy counts it (§10 of the protocol notes).
//!
//! A subscription over a stream counts an attempt when it starts and one for each outcome; one to a
//! file counts an attempt for each reading. After a refusal `version` and `version_text` stay.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh64::xxh64;

use super::stream::{Cause, Event, Update};
use super::{Name, TypeUrl, WILDCARD};
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{ClusterStat, EdsStat, Group, ReloadStat, SubscriptionStat};

/// The groups in which one subscription counts.
#[derive(Clone, Debug, Default)]
pub enum WatchStats {
    /// Nowhere.
    #[default]
    Nowhere,
    /// EDS: `cluster.<name>.`.
    Endpoints {
        /// What every cluster has.
        cluster: Group<ClusterStat>,
        /// What clusters of type EDS have besides.
        eds: Group<EdsStat>,
    },
    /// CDS, LDS, RDS: `cluster_manager.cds.`, `listener_manager.lds.`, `http.….rds.<name>.`.
    Subscription {
        /// What every subscription has.
        stats: Group<SubscriptionStat>,
        /// `config_reload`, where the subscription has it.
        reload: Option<Group<ReloadStat>>,
    },
}

/// How a source brings its updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// It is read.
    File,
    /// It pushes.
    Stream,
}

/// The subscriptions of one source and where they count.
#[derive(Debug)]
pub(super) struct Counters {
    medium: Medium,
    /// Guards the map alone; never held while anything else is locked or awaited.
    watches: Mutex<HashMap<(TypeUrl, Name), Vec<WatchStats>>>,
}

/// What an event means for one subscription.
#[derive(Clone, Copy, Debug)]
enum Outcome<'a> {
    Failure,
    FetchTimeout,
    Rejected,
    Success { version: &'a str, reload: bool, now: SystemTime },
}

impl Counters {
    pub(super) fn new(medium: Medium) -> Self {
        Self { medium, watches: Mutex::default() }
    }

    /// Adds a place where the subscription counts; its parents may come and go.
    pub(super) fn watch(&self, type_url: &TypeUrl, name: &Name, stats: WatchStats) {
        if self.medium == Medium::Stream {
            stats.attempt();
        }
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.entry((type_url.clone(), name.clone())).or_default().push(stats);
    }

    pub(super) fn unwatch(&self, type_url: &TypeUrl, name: &Name) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.remove(&(type_url.clone(), name.clone()));
    }

    pub(super) fn record<V>(&self, event: &Event<V>, now: SystemTime) {
        match event {
            Event::Disconnected { .. } => self.each(|_, _| Some(Outcome::Failure)),
            Event::FetchTimeout { type_url, name } => self.each(|other, watched| {
                (other == type_url && watched == &**name).then_some(Outcome::FetchTimeout)
            }),
            Event::Update(update) if update.cause == Cause::Response => {
                let outcomes = by_name(update, now);
                self.each(|type_url, name| match type_url == &update.type_url {
                    true => outcomes.get(name).copied(),
                    false => None,
                });
            }
            Event::Absent { .. } | Event::Connect | Event::Ignored { .. } | Event::Update(_) => {}
        }
    }

    /// A file could not be read: a failure for whoever waits for it.
    pub(super) fn record_failure(&self) {
        self.each(|_, _| Some(Outcome::Failure));
    }

    fn each<'a>(&self, outcome: impl Fn(&TypeUrl, &str) -> Option<Outcome<'a>>) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        for ((type_url, name), all) in watches.iter() {
            let Some(outcome) = outcome(type_url, name) else { continue };
            for stats in all {
                stats.attempt();
                stats.record(outcome);
            }
        }
    }
}

/// The outcome for each name that the update names, and for `*`.
fn by_name<V>(update: &Update<V>, now: SystemTime) -> HashMap<&str, Outcome<'_>> {
    let success = |reload| Outcome::Success { version: &update.version, reload, now };
    let moved = !update.changed.is_empty() || !update.removed.is_empty();
    let mut outcomes = HashMap::new();
    outcomes.extend(update.unchanged.iter().map(|(name, _)| (&**name, success(false))));
    outcomes.extend(update.changed.iter().map(|changed| (&*changed.name, success(true))));
    outcomes.extend(update.removed.iter().map(|name| (&**name, success(true))));
    outcomes.extend(update.rejected.iter().map(|bad| (&*bad.name, Outcome::Rejected)));
    let all = match update.rejected.is_empty() {
        true => success(moved),
        false => Outcome::Rejected,
    };
    outcomes.insert(WILDCARD, all);
    outcomes
}

impl WatchStats {
    fn attempt(&self) {
        match self {
            Self::Nowhere => {}
            Self::Endpoints { cluster, .. } => {
                cluster.inc(WorkerId::CONTROL, ClusterStat::UpdateAttempt);
            }
            Self::Subscription { stats, .. } => {
                stats.inc(WorkerId::CONTROL, SubscriptionStat::UpdateAttempt);
            }
        }
    }

    fn record(&self, outcome: Outcome<'_>) {
        match self {
            Self::Nowhere => {}
            Self::Endpoints { cluster, eds } => record_endpoints(cluster, eds, outcome),
            Self::Subscription { stats, reload } => record_subscription(stats, reload, outcome),
        }
    }
}

fn record_endpoints(cluster: &Group<ClusterStat>, eds: &Group<EdsStat>, outcome: Outcome<'_>) {
    let worker = WorkerId::CONTROL;
    match outcome {
        Outcome::Failure => cluster.inc(worker, ClusterStat::UpdateFailure),
        Outcome::FetchTimeout => eds.inc(worker, EdsStat::InitFetchTimeout),
        Outcome::Rejected => eds.inc(worker, EdsStat::UpdateRejected),
        Outcome::Success { version, now, .. } => {
            cluster.inc(worker, ClusterStat::UpdateSuccess);
            cluster.set(ClusterStat::Version, xxh64(version.as_bytes(), 0));
            eds.set(EdsStat::UpdateTime, millis(now));
            eds.set_text(EdsStat::VersionText, version);
        }
    }
}

fn record_subscription(
    stats: &Group<SubscriptionStat>,
    reload: &Option<Group<ReloadStat>>,
    outcome: Outcome<'_>,
) {
    let worker = WorkerId::CONTROL;
    match outcome {
        Outcome::Failure => stats.inc(worker, SubscriptionStat::UpdateFailure),
        Outcome::FetchTimeout => stats.inc(worker, SubscriptionStat::InitFetchTimeout),
        Outcome::Rejected => stats.inc(worker, SubscriptionStat::UpdateRejected),
        Outcome::Success { version, reload: moved, now } => {
            stats.inc(worker, SubscriptionStat::UpdateSuccess);
            stats.set(SubscriptionStat::UpdateTime, millis(now));
            stats.set(SubscriptionStat::Version, xxh64(version.as_bytes(), 0));
            stats.set_text(SubscriptionStat::VersionText, version);
            if let Some(reload) = reload.as_ref().filter(|_| moved) {
                reload.inc(worker, ReloadStat::ConfigReload);
                reload.set(ReloadStat::ConfigReloadTimeMs, millis(now));
            }
        }
    }
}

fn millis(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_version_is_the_hash_that_envoy_shows() {
        assert_eq!(xxh64(b"v1", 0), 9_194_640_092_791_331_756);
    }
}
