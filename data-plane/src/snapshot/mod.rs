//! L6: validated configuration → live objects, published as one.
//!
//! [`Snapshot`] is the control runtime's picture of what is configured: clusters, route tables and
//! listeners, each active or warming. It takes one change after another and says what is to be done
//! ([`Effect`]); it does no I/O and reads no clock, so that every order of events can be tested.
//! Warm means: a cluster has its endpoints or names (xds-protocol W1, S8), a listener has its route
//! tables (W2). Until then the old one serves.
//!
//! Requests see a change through the `ViewCell` of their connection manager: routes, filter
//! chains and clusters of one view always belong together.

mod clusters;
mod listeners;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::base::names::{ClusterName, ListenerName, RouteConfigName};
use crate::cluster::{Cluster, ClusterMap};
use crate::config::endpoint::EndpointsConfig;
use crate::config::filter_chain::FilterChainMatch;
use crate::config::listener::TcpListenerConfig;
use crate::config::source::ConfigSource;
use crate::http::access_log::AccessLog;
use crate::http::manager::{Manager, ManagerCx};
use crate::http::routes::Routes;
use crate::http::view::Retired;
use crate::tcp::{NetworkRbac, TcpProxy};
use crate::telemetry::stats::{Group, ListenerStat, Registry, TlsInspectorStat};
use crate::tls::server::Server;

pub use clusters::Origin;

/// A listener, ready to be served.
#[derive(Debug)]
pub struct ListenerSpec {
    /// Its name.
    pub name: ListenerName,
    /// What was configured.
    pub config: Arc<TcpListenerConfig>,
    /// Its chains, in the order of the configuration.
    pub chains: Vec<ChainSpec>,
    /// The chain for connections that no other takes.
    pub default_chain: Option<ChainSpec>,
    /// Its access logs: a line a connection.
    pub access_logs: Vec<AccessLog>,
    /// `listener.<address>.`.
    pub stats: Group<ListenerStat>,
    /// `tls_inspector.`, where first bytes are looked at.
    pub inspector: Option<Group<TlsInspectorStat>>,
}

/// One filter chain of a listener.
#[derive(Debug)]
pub struct ChainSpec {
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// Which connections it is for.
    pub matches: FilterChainMatch,
    /// Its TLS; `None` is in the clear.
    pub tls: Option<Arc<Server>>,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
    /// Who of them may be served; all must agree.
    pub access: Vec<NetworkRbac>,
    /// What is done with them.
    pub handler: Handler,
}

/// What a filter chain does with a connection.
#[derive(Clone, Debug)]
pub enum Handler {
    /// Close it (a chain without filters).
    Close,
    /// Serve HTTP.
    Http(Arc<Manager>),
    /// Pass bytes on.
    Tcp(Arc<TcpProxy>),
}

impl Handler {
    /// The connection manager, if it is one.
    #[must_use]
    pub const fn manager(&self) -> Option<&Arc<Manager>> {
        match self {
            Self::Close | Self::Tcp(_) => None,
            Self::Http(manager) => Some(manager),
        }
    }

    /// The TCP proxy, if it is one.
    #[must_use]
    pub const fn tcp_proxy(&self) -> Option<&Arc<TcpProxy>> {
        match self {
            Self::Close | Self::Http(_) => None,
            Self::Tcp(proxy) => Some(proxy),
        }
    }
}

impl ListenerSpec {
    /// Whether its filters do anything beside requests.
    #[must_use]
    pub fn has_chores(&self) -> bool {
        let mut managers = self.chains().filter_map(|chain| chain.handler.manager());
        managers.any(|manager| !manager.cell.load().chains.chores().is_empty())
    }

    /// All chains, the default chain last.
    pub fn chains(&self) -> impl Iterator<Item = &ChainSpec> {
        self.chains.iter().chain(&self.default_chain)
    }
}

/// What is to be done after a change.
#[derive(Debug)]
pub enum Effect {
    /// Do what the filters of this listener do beside requests, from now on, and tell
    /// [`Snapshot::begun`] when it may serve.
    Begin(Arc<ListenerSpec>),
    /// Serve this listener, in place of the one of the same name.
    Listen(Arc<ListenerSpec>),
    /// Watch the hosts of this cluster, for as long as it lives.
    Watch(Arc<Cluster>),
    /// Resolve the names of this cluster, from now on.
    Resolve(Arc<Cluster>),
    /// Ask for this resource.
    Subscribe(Wanted, ConfigSource),
    /// A listener is gone.
    Unlisten(ListenerName),
    /// The names of this cluster need not be resolved any more.
    Unresolve(ClusterName),
    /// Nobody needs this resource any more.
    Unsubscribe(Wanted),
}

/// A resource that another one names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wanted {
    /// A load assignment, by its name.
    Endpoints(Arc<str>),
    /// A route table, by its name.
    Routes(RouteConfigName),
}

/// What is configured, active and warming.
pub struct Snapshot {
    registry: Registry,
    manager_cx: Arc<ManagerCx>,
    clusters: BTreeMap<ClusterName, clusters::Slot>,
    endpoints: HashMap<Arc<str>, Arc<EndpointsConfig>>,
    routes: HashMap<RouteConfigName, Arc<Routes>>,
    listeners: BTreeMap<ListenerName, listeners::Slot>,
    /// Who is subscribed to, and by how many.
    wanted: BTreeMap<Wanted, usize>,
    map: Arc<ClusterMap>,
    generation: u64,
    retired: Retired,
    /// Managers of replaced and removed listeners. Their connections may last as long as a drain
    /// does, and must not go on to hosts that are long gone.
    draining: Vec<Weak<Manager>>,
}

impl Snapshot {
    /// Nothing is configured yet.
    #[must_use]
    pub fn new(registry: Registry, manager_cx: Arc<ManagerCx>) -> Self {
        Self {
            registry,
            manager_cx,
            clusters: BTreeMap::new(),
            endpoints: HashMap::new(),
            routes: HashMap::new(),
            listeners: BTreeMap::new(),
            wanted: BTreeMap::new(),
            map: Arc::new(ClusterMap::default()),
            generation: 0,
            retired: Retired::default(),
            draining: Vec::new(),
        }
    }

    /// The clusters that requests may go to now.
    #[must_use]
    pub const fn cluster_map(&self) -> &Arc<ClusterMap> {
        &self.map
    }

    /// Frees what was replaced and is no longer used; to be called now and then.
    pub fn sweep(&mut self) {
        self.retired.sweep();
        self.draining.retain(|manager| manager.strong_count() > 0);
    }

    /// Removes static resources that the bootstrap, which was read again, does not name any more.
    pub fn retain_static(
        &mut self,
        clusters: &HashSet<ClusterName>,
        listeners: &HashSet<ListenerName>,
        effects: &mut Vec<Effect>,
    ) {
        let gone = self
            .listeners
            .iter()
            .filter(|(name, slot)| slot.origin() == Origin::Static && !listeners.contains(*name));
        for name in gone.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.drop_listener(&name, effects);
        }
        let gone = self
            .clusters
            .iter()
            .filter(|(name, slot)| slot.origin == Origin::Static && !clusters.contains(*name));
        for name in gone.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.drop_cluster(&name, effects);
        }
    }

    /// One more needs a resource.
    fn want(&mut self, what: Wanted, source: &ConfigSource, effects: &mut Vec<Effect>) {
        let count = self.wanted.entry(what.clone()).or_default();
        *count += 1;
        if *count == 1 {
            effects.push(Effect::Subscribe(what, source.clone()));
        }
    }

    /// Whether anybody needs a resource.
    fn is_wanted(&self, what: &Wanted) -> bool {
        self.wanted.contains_key(what)
    }

    /// One less needs a resource; what nobody needs is forgotten.
    fn unwant(&mut self, what: &Wanted, effects: &mut Vec<Effect>) {
        let Some(count) = self.wanted.get_mut(what) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.wanted.remove(what);
        match what {
            Wanted::Endpoints(name) => drop(self.endpoints.remove(name)),
            Wanted::Routes(name) => drop(self.routes.remove(name)),
        }
        effects.push(Effect::Unsubscribe(what.clone()));
    }
}

#[cfg(test)]
mod tests;
