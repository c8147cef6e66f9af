//! What the fault filter counts, and how many faults are active.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::telemetry::WorkerId;
use crate::telemetry::stats::{FaultClusterStat, FaultStat, Group, Registry, Scope};

/// Most callers that are counted apart; a caller writes its name itself.
const CALLERS_MAX: usize = 1024;

/// The counters of one connection manager's fault filters.
#[derive(Debug)]
pub(super) struct Counters {
    all: Group<FaultStat>,
    registry: Registry,
    stat_prefix: Box<str>,
    /// Those of callers that got faults. The lock is taken for requests that are being held up or
    /// refused anyway, and only where they name their caller.
    callers: Mutex<BTreeMap<Box<str>, Group<FaultClusterStat>>>,
}

impl Counters {
    pub(super) fn new(registry: &Registry, stat_prefix: &str) -> Self {
        Self {
            all: registry.group(Scope::http(stat_prefix).join("fault.")),
            registry: registry.clone(),
            stat_prefix: stat_prefix.into(),
            callers: Mutex::default(),
        }
    }

    /// Takes a place among at most `limit` active faults. As in Envoy the limit is no exact one:
    /// two workers may take the last place.
    pub(super) fn activate(&self, limit: u64, worker: WorkerId) -> bool {
        if self.all.value(FaultStat::ActiveFaults) >= limit {
            self.all.inc(worker, FaultStat::FaultsOverflow);
            return false;
        }
        self.all.inc(worker, FaultStat::ActiveFaults);
        true
    }

    /// Gives the place back. The gauge is one cell for all workers.
    pub(super) fn deactivate(&self) {
        self.all.dec(WorkerId::CONTROL, FaultStat::ActiveFaults);
    }

    pub(super) fn delayed(&self, worker: WorkerId, caller: Option<&str>) {
        self.all.inc(worker, FaultStat::DelaysInjected);
        self.count_caller(worker, caller, FaultClusterStat::DelaysInjected);
    }

    pub(super) fn aborted(&self, worker: WorkerId, caller: Option<&str>) {
        self.all.inc(worker, FaultStat::AbortsInjected);
        self.count_caller(worker, caller, FaultClusterStat::AbortsInjected);
    }

    fn count_caller(&self, worker: WorkerId, caller: Option<&str>, stat: FaultClusterStat) {
        let Some(name) = caller else { return };
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = callers.get(name) {
            return group.inc(worker, stat);
        }
        if callers.len() < CALLERS_MAX {
            let group = self.registry.group(Scope::fault_caller(&self.stat_prefix, name));
            group.inc(worker, stat);
            callers.insert(name.into(), group);
        }
    }
}
