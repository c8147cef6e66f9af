//! What must agree while a request lives: routes, filter chains and clusters, swapped as one.
//!
//! One [`ViewCell`] a connection manager. A worker looks at the cell once a request through its
//! [`ViewCache`] (a pointer compare in the steady state) and wraps a new view in an `Rc`, so that
//! requests share it without touching a counter that other cores touch. The publisher keeps what it
//! replaced in a [`Retired`] list and frees it on the control runtime once no worker uses it: no
//! worker ever drops 100,000 routes between two requests.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::cluster::ClusterMap;
use crate::http::chain::Chains;
use crate::http::routes::Routes;

/// Everything that a request decides by.
#[derive(Debug)]
pub struct View {
    /// The routes; an empty table answers 404.
    pub routes: Arc<Routes>,
    /// The filters.
    pub chains: Arc<Chains>,
    /// The clusters.
    pub clusters: Arc<ClusterMap>,
    /// Number of the configuration that this is a part of.
    pub generation: u64,
}

/// Where the current view of one connection manager is.
#[derive(Debug)]
pub struct ViewCell(ArcSwap<View>);

impl ViewCell {
    /// A cell with its first view.
    #[must_use]
    pub fn new(view: Arc<View>) -> Self {
        Self(ArcSwap::new(view))
    }

    /// The current view, for the control runtime.
    #[must_use]
    pub fn load(&self) -> Arc<View> {
        self.0.load_full()
    }

    /// Publishes a view; the one that it replaces goes to `retired`.
    pub fn publish(&self, view: Arc<View>, retired: &mut Retired) {
        retired.keep(self.0.swap(view));
    }
}

/// A worker's way to the current view of one manager.
#[derive(Debug)]
pub struct ViewCache {
    cache: RefCell<Cached>,
}

#[derive(Debug)]
struct Cached {
    source: arc_swap::Cache<CellRef, Arc<View>>,
    #[expect(clippy::redundant_allocation, reason = "a count that no other core touches")]
    local: Rc<Arc<View>>,
}

/// A cell as [`arc_swap::Cache`] wants it.
#[derive(Debug)]
struct CellRef(Arc<ViewCell>);

impl std::ops::Deref for CellRef {
    type Target = ArcSwap<View>;

    fn deref(&self) -> &ArcSwap<View> {
        &self.0.0
    }
}

impl ViewCache {
    /// A cache of that cell.
    #[must_use]
    pub fn new(cell: &Arc<ViewCell>) -> Self {
        let mut source = arc_swap::Cache::new(CellRef(Arc::clone(cell)));
        let local = Rc::new(Arc::clone(source.load()));
        Self { cache: RefCell::new(Cached { source, local }) }
    }

    /// The view that a request which begins now decides by, from its start to its end.
    #[must_use]
    pub fn current(&self) -> Rc<Arc<View>> {
        let cached = &mut *self.cache.borrow_mut();
        let newest = cached.source.load();
        if !Arc::ptr_eq(newest, &cached.local) {
            cached.local = Rc::new(Arc::clone(newest));
        }
        Rc::clone(&cached.local)
    }
}

/// What was replaced (views, maps of clusters) and may still be in use.
#[derive(Debug, Default)]
pub struct Retired {
    parts: Vec<Arc<dyn Any + Send + Sync>>,
}

impl Retired {
    /// Keeps a part until nobody else holds it.
    pub fn keep<T: Any + Send + Sync>(&mut self, part: Arc<T>) {
        self.sweep();
        self.parts.push(part);
    }

    /// Frees the parts that nobody else holds any more.
    pub fn sweep(&mut self) {
        self.parts.retain(|part| Arc::strong_count(part) > 1);
    }

    /// How many are waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether none is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}
