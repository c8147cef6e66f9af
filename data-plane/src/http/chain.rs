//! The HTTP filters of a connection manager, built once, and those of one request.
//!
//! A [`Chain`] is shared by all workers. A [`FilterStack`] holds one request's filters; each is
//! made when its turn comes, so that what a route says about it is looked up then, and a filter
//! that clears the route cache changes what the later ones see. A response passes all filters of
//! the chain, so the missing ones are made then.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::config::extension::ExtensionConfig;
use crate::config::http_manager::{HttpFilterConfig, HttpManagerConfig};
use crate::http::chore::Chore;
use crate::http::exchange::Exchange;
use crate::http::filter::{FILTERS, FilterCx, FilterFactory, HttpFilter, Interest, RouterConfig};

/// One place of a chain.
#[derive(Debug)]
struct Entry {
    /// Key of per-route configuration.
    name: Arc<str>,
    factory: Arc<dyn FilterFactory>,
    interest: Interest,
    /// Off unless a route turns it on.
    disabled: bool,
}

/// The filters before the router, in order, and what is configured of it.
#[derive(Debug, Default)]
pub struct Chain {
    entries: Vec<Entry>,
    router: RouterConfig,
}

impl Chain {
    /// Builds the filters of a list; the router at its end is not one of them.
    #[must_use]
    pub fn build(filters: &[HttpFilterConfig], cx: &FilterCx<'_>) -> Self {
        let entries = filters
            .iter()
            .filter(|filter| !filter.terminal)
            .filter_map(|filter| {
                let message = filter.config.message();
                let kind = FILTERS.iter().find(|kind| kind.message() == message)?;
                let factory = kind.build(&filter.config, cx);
                Some(Entry {
                    name: Arc::clone(&filter.name),
                    interest: factory.interest(),
                    factory,
                    disabled: filter.disabled,
                })
            })
            .collect();
        let last = filters.iter().find(|filter| filter.terminal);
        let router = last.and_then(|filter| filter.config.value()).copied().unwrap_or_default();
        Self { entries, router }
    }

    /// The router at its end.
    #[must_use]
    pub const fn router(&self) -> RouterConfig {
        self.router
    }

    /// How many filters there are before the router.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether requests go straight to the router.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// All chains of a manager: the usual one and one for each upgrade that has its own.
#[derive(Debug, Default)]
pub struct Chains {
    usual: Arc<Chain>,
    by_upgrade: Vec<Upgrade>,
}

#[derive(Debug)]
struct Upgrade {
    kind: Arc<str>,
    chain: Arc<Chain>,
    enabled: bool,
}

impl Chains {
    /// Builds all chains of a manager.
    #[must_use]
    pub fn build(config: &HttpManagerConfig, cx: &FilterCx<'_>) -> Self {
        let usual = Arc::new(Chain::build(&config.http_filters, cx));
        let by_upgrade = config
            .upgrades
            .iter()
            .map(|upgrade| Upgrade {
                kind: Arc::clone(&upgrade.upgrade_type),
                chain: match &upgrade.filters {
                    None => Arc::clone(&usual),
                    Some(filters) => Arc::new(Chain::build(filters, cx)),
                },
                enabled: upgrade.enabled,
            })
            .collect();
        Self { usual, by_upgrade }
    }

    /// What the filters of all chains do beside requests.
    #[must_use]
    pub fn chores(&self) -> Vec<Arc<dyn Chore>> {
        let mut chains = vec![&self.usual];
        for upgrade in &self.by_upgrade {
            if !chains.iter().any(|known| Arc::ptr_eq(known, &upgrade.chain)) {
                chains.push(&upgrade.chain);
            }
        }
        let entries = chains.into_iter().flat_map(|chain| &chain.entries);
        entries.flat_map(|entry| entry.factory.chores()).collect()
    }

    /// The chain of requests that ask for no upgrade.
    #[must_use]
    pub fn usual(&self) -> &Arc<Chain> {
        &self.usual
    }

    /// The chain for an upgrade; `None` where it is not allowed. What the route says wins over the
    /// manager's list, whose chain of that type is used all the same.
    #[must_use]
    pub fn pick(&self, wanted: &str, route: Option<bool>) -> Option<&Arc<Chain>> {
        let own = self.by_upgrade.iter().find(|u| u.kind.eq_ignore_ascii_case(wanted));
        let enabled = route.unwrap_or_else(|| own.is_some_and(|u| u.enabled));
        enabled.then(|| own.map_or(&self.usual, |u| &u.chain))
    }
}

/// A place in the stack of one request.
enum Slot {
    /// Its turn has not come.
    NotYet,
    /// The route switched it off.
    Off,
    /// At work.
    On(Box<dyn HttpFilter>),
}

/// The filters of one request.
pub struct FilterStack {
    chain: Arc<Chain>,
    // Inline for the usual handful of filters: a request allocates a box a filter and no list.
    slots: SmallVec<[Slot; 4]>,
}

impl FilterStack {
    /// A stack whose filters are yet to be made.
    #[must_use]
    pub fn new(chain: &Arc<Chain>) -> Self {
        let slots = chain.entries.iter().map(|_| Slot::NotYet).collect();
        Self { chain: Arc::clone(chain), slots }
    }

    /// How many places there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What the filter at a place wants to see.
    #[must_use]
    pub fn interest(&self, at: usize) -> Interest {
        self.chain.entries[at].interest
    }

    /// The filter at a place, made now if this is its turn; `None` where it is switched off.
    pub fn get(&mut self, at: usize, ex: &Exchange) -> Option<&mut dyn HttpFilter> {
        if matches!(self.slots[at], Slot::NotYet) {
            self.slots[at] = make(&self.chain.entries[at], ex);
        }
        match &mut self.slots[at] {
            Slot::On(filter) => Some(&mut **filter),
            Slot::NotYet | Slot::Off => None,
        }
    }

    /// Filters that were made, in order.
    pub fn made(&mut self) -> impl Iterator<Item = &mut dyn HttpFilter> {
        self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::On(filter) => Some(&mut **filter as &mut dyn HttpFilter),
            Slot::NotYet | Slot::Off => None,
        })
    }
}

/// Reads what every level of the route says, least to most specific, and makes the filter.
fn make(entry: &Entry, ex: &Exchange) -> Slot {
    let mut enabled = !entry.disabled;
    let mut overrides: SmallVec<[&ExtensionConfig; 4]> = SmallVec::new();
    for level in ex.override_levels() {
        let Some(found) = level.find(&entry.name) else { continue };
        enabled = found.enabled.unwrap_or(enabled);
        overrides.extend(found.config.as_ref());
    }
    if enabled { Slot::On(entry.factory.create(&overrides)) } else { Slot::Off }
}
