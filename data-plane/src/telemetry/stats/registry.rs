//! The tree: which groups exist.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::group::{Group, Inner};
use super::scope::Scope;
use super::table::{StatSet, Table};

/// All groups of one data plane. Cloning gives another handle to the same tree.
#[derive(Clone, Debug)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    workers: u16,
    /// Guards the map alone: taken when a group is made and when the tree is read, never while a
    /// request counts.
    groups: Mutex<Groups>,
}

/// By prefix, then by set: one prefix may bear several sets (`http.edge.` those of the connection
/// manager and of the router).
type Key = (Box<str>, usize);

#[derive(Debug, Default)]
struct Groups {
    by_key: BTreeMap<Key, Weak<Inner>>,
    /// Size after which dead entries are looked for.
    sweep_at: usize,
}

impl Registry {
    /// An empty tree for `workers` workers and the control runtime.
    #[must_use]
    pub fn new(workers: u16) -> Self {
        Self { shared: Arc::new(Shared { workers, groups: Mutex::default() }) }
    }

    /// Number of workers.
    #[must_use]
    pub fn workers(&self) -> u16 {
        self.shared.workers
    }

    /// The group of set `S` at `scope`: the living one if there is one, else a new one.
    #[must_use]
    pub fn group<S: StatSet>(&self, scope: Scope) -> Group<S> {
        let table = S::TABLE;
        let key = (scope.prefix.clone(), std::ptr::from_ref::<Table>(table).addr());
        let mut groups = self.shared.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(living) = groups.by_key.get(&key).and_then(Weak::upgrade) {
            return Group::of(living);
        }
        let rows = usize::from(self.shared.workers) + 1;
        let inner = Arc::new(Inner::new(scope, table, rows));
        groups.by_key.insert(key, Arc::downgrade(&inner));
        if groups.by_key.len() > groups.sweep_at {
            groups.by_key.retain(|_, group| group.strong_count() > 0);
            groups.sweep_at = 2 * groups.by_key.len() + 64;
        }
        Group::of(inner)
    }

    /// The living groups, in order of their prefixes.
    pub(super) fn living(&self) -> Vec<Arc<Inner>> {
        let groups = self.shared.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.by_key.values().filter_map(Weak::upgrade).collect()
    }
}
