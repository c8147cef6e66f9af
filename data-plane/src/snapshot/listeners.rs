//! Listeners and route tables: add, change, warm, remove.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{ChainSpec, Effect, Handler, ListenerSpec, Origin, Snapshot, Wanted};
use crate::base::names::{ListenerName, RouteConfigName};
use crate::config::filter_chain::{DownstreamTransport, FilterChainConfig, NetworkFilters};
use crate::config::http_manager::{HttpManagerConfig, RouteSource};
use crate::config::listener::{BindAddress, ListenerConfig, TcpListenerConfig, TlsInspection};
use crate::config::route::RouteConfig;
use crate::http::access_log::AccessLog;
use crate::http::manager::Manager;
use crate::http::routes::Routes;
use crate::http::view::View;
use crate::tcp::{NetworkRbac, TcpProxy};
use crate::telemetry::stats::Scope;
use crate::tls::server::Server;

/// How long a TLS handshake may take where nothing is written. Envoy waits for ever, which lets
/// anybody hold connections that cost a session each.
const HANDSHAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// A listener's place: what serves, and what warms to replace it.
#[derive(Debug)]
pub(super) struct Slot {
    origin: Origin,
    active: Option<Entry>,
    warming: Option<Entry>,
}

#[derive(Debug)]
struct Entry {
    config: Arc<ListenerConfig>,
    spec: Arc<ListenerSpec>,
    /// Its filters are ready to serve.
    begun: bool,
}

impl Entry {
    /// The managers that read a route table by RDS.
    fn managers(&self) -> impl Iterator<Item = &Arc<Manager>> {
        self.spec.chains().filter_map(|chain| chain.handler.manager())
    }
}

impl Entry {
    fn tcp_proxies(&self) -> impl Iterator<Item = &Arc<TcpProxy>> {
        self.spec.chains().filter_map(|chain| chain.handler.tcp_proxy())
    }
}

impl Slot {
    pub(super) const fn origin(&self) -> Origin {
        self.origin
    }

    fn newest(&self) -> Option<&Entry> {
        self.warming.as_ref().or(self.active.as_ref())
    }
}

impl Snapshot {
    /// Adds a listener or changes it. An equal one changes nothing; one of the bootstrap stays.
    pub fn set_listener(
        &mut self,
        config: &Arc<ListenerConfig>,
        origin: Origin,
        effects: &mut Vec<Effect>,
    ) {
        let name = config.name.clone();
        if let Some(slot) = self.listeners.get(&name) {
            let taken = slot.origin == Origin::Static && origin == Origin::Dynamic;
            if taken || slot.newest().is_some_and(|entry| *entry.config == **config) {
                return;
            }
        }
        // An API listener has no socket; it is for clients that embed a proxy.
        let Some(tcp) = config.tcp() else { return };
        let spec = Arc::new(self.build_listener(&name, tcp));
        let begun = !spec.has_chores();
        if !begun {
            effects.push(Effect::Begin(Arc::clone(&spec)));
        }
        let entry = Entry { config: Arc::clone(config), spec, begun };
        for (source, rds) in rds_of(&entry) {
            self.want(Wanted::Routes(rds), &source, effects);
        }
        let slot = self.listeners.entry(name.clone()).or_insert(Slot {
            origin,
            active: None,
            warming: None,
        });
        slot.origin = origin;
        if let Some(replaced) = slot.warming.replace(entry) {
            self.forget(&replaced, effects);
        }
        self.try_activate(&name, effects);
    }

    /// The filters of a listener are ready to serve, if it is still wanted.
    pub fn begun(&mut self, spec: &Weak<ListenerSpec>, effects: &mut Vec<Effect>) {
        let Some(spec) = spec.upgrade() else { return };
        let slot = self.listeners.get_mut(&spec.name);
        let warming = slot.and_then(|slot| slot.warming.as_mut());
        if let Some(entry) = warming.filter(|entry| Arc::ptr_eq(&entry.spec, &spec)) {
            entry.begun = true;
            self.try_activate(&spec.name, effects);
        }
    }

    /// Removes a listener that came by xDS.
    pub fn remove_listener(&mut self, name: &ListenerName, effects: &mut Vec<Effect>) {
        if self.listeners.get(name).is_some_and(|slot| slot.origin == Origin::Dynamic) {
            self.drop_listener(name, effects);
        }
    }

    pub(super) fn drop_listener(&mut self, name: &ListenerName, effects: &mut Vec<Effect>) {
        let Some(slot) = self.listeners.remove(name) else { return };
        if slot.active.is_some() {
            effects.push(Effect::Unlisten(name.clone()));
        }
        for entry in [slot.active, slot.warming].into_iter().flatten() {
            self.forget(&entry, effects);
        }
    }

    /// A route table came by RDS.
    pub fn set_routes(&mut self, config: &Arc<RouteConfig>, effects: &mut Vec<Effect>) {
        let name = config.name.clone();
        if !self.is_wanted(&Wanted::Routes(name.clone())) {
            // It was on its way when the last listener that reads it went.
            return;
        }
        if self.routes.get(&name).is_some_and(|routes| **routes.table.config() == **config) {
            return;
        }
        self.routes.insert(name.clone(), self.build_routes(Arc::clone(config)));
        self.publish_routes(&name);
        self.wake_listeners(&name, effects);
    }

    /// A route table did not come in time: listeners that wait for it serve, and answer 404, as in
    /// Envoy.
    pub fn give_up_routes(&mut self, name: &RouteConfigName, effects: &mut Vec<Effect>) {
        if !self.is_wanted(&Wanted::Routes(name.clone())) {
            return;
        }
        if !self.routes.contains_key(name) {
            let empty = self.build_routes(Arc::new(RouteConfig::empty(name.clone())));
            self.routes.insert(name.clone(), empty);
            self.publish_routes(name);
        }
        self.wake_listeners(name, effects);
    }

    /// Stat prefix of the first manager that reads this table, for `http.<prefix>.rds.<name>.`.
    #[must_use]
    pub fn rds_prefix(&self, name: &RouteConfigName) -> String {
        let entries =
            self.listeners.values().flat_map(|slot| slot.warming.iter().chain(&slot.active));
        let mut managers = entries.flat_map(Entry::managers);
        let found = managers.find(|manager| manager.rds_name() == Some(name));
        found.map(|manager| manager.config.stat_prefix.to_string()).unwrap_or_default()
    }

    /// Listeners that came by xDS.
    pub fn dynamic_listeners(&self) -> impl Iterator<Item = &ListenerName> {
        let dynamic = |slot: &Slot| slot.origin == Origin::Dynamic;
        self.listeners.iter().filter(move |(_, slot)| dynamic(slot)).map(|(name, _)| name)
    }

    /// Listeners that still warm.
    pub fn warming_listeners(&self) -> impl Iterator<Item = &ListenerName> {
        self.listeners.iter().filter(|(_, slot)| slot.warming.is_some()).map(|(name, _)| name)
    }

    /// How many listeners serve, and how many warm.
    #[must_use]
    pub fn listener_counts(&self) -> (usize, usize) {
        let active = self.listeners.values().filter(|slot| slot.active.is_some()).count();
        let warming = self.listeners.values().filter(|slot| slot.warming.is_some()).count();
        (active, warming)
    }

    fn build_listener(&self, name: &ListenerName, tcp: &Arc<TcpListenerConfig>) -> ListenerSpec {
        let stat_name = stat_name(tcp);
        let scope = Scope::listener(&stat_name);
        if tcp.tls_inspection == TlsInspection::Needed {
            tracing::warn!(
                listener = %name,
                "filter chains are matched by what a ClientHello says and no tls_inspector is \
                 configured; it is added, as Envoy does"
            );
        }
        let chain = |config: &Arc<FilterChainConfig>| ChainSpec {
            name: Arc::clone(&config.name),
            matches: config.matches.clone(),
            tls: match &config.transport {
                DownstreamTransport::RawBuffer => None,
                DownstreamTransport::Tls(tls) => {
                    Some(Arc::new(Server::new(tls, self.registry.group(scope.join("ssl.")))))
                }
            },
            handshake_timeout: config
                .transport_socket_connect_timeout
                .unwrap_or(HANDSHAKE_TIMEOUT_DEFAULT),
            access: config
                .access
                .iter()
                .map(|rbac| NetworkRbac::build(rbac, &self.registry))
                .collect(),
            handler: match &config.filters {
                NetworkFilters::Close => Handler::Close,
                NetworkFilters::Http(config) => {
                    Handler::Http(Arc::new(self.build_manager(config, &stat_name, tcp)))
                }
                NetworkFilters::Tcp(tcp) => {
                    let parts = (&self.registry, &self.manager_cx.logs);
                    Handler::Tcp(Arc::new(TcpProxy::build(tcp, &config.name, parts, &self.map)))
                }
            },
        };
        ListenerSpec {
            name: name.clone(),
            chains: tcp.filter_chains.iter().map(chain).collect(),
            default_chain: tcp.default_filter_chain.as_ref().map(chain),
            access_logs: tcp
                .access_log
                .iter()
                .filter_map(|log| AccessLog::open(log, &self.manager_cx.logs))
                .collect(),
            stats: self.registry.group(scope.clone()),
            inspector: (tcp.tls_inspection != TlsInspection::Off)
                .then(|| self.registry.group(Scope::plain("tls_inspector."))),
            config: Arc::clone(tcp),
        }
    }

    fn build_manager(
        &self,
        config: &Arc<HttpManagerConfig>,
        stat_name: &str,
        tcp: &TcpListenerConfig,
    ) -> Manager {
        let routes = match &config.routes {
            RouteSource::Inline(inline) => self.build_routes(Arc::clone(inline)),
            RouteSource::Rds { name, .. } => {
                self.routes.get(name).cloned().unwrap_or_else(|| {
                    self.build_routes(Arc::new(RouteConfig::empty(name.clone())))
                })
            }
        };
        Manager::build(config, stat_name, tcp, &self.manager_cx, |chains| View {
            routes,
            chains,
            clusters: Arc::clone(&self.map),
            generation: self.generation,
        })
    }

    fn build_routes(&self, config: Arc<RouteConfig>) -> Arc<Routes> {
        Arc::new(Routes::build(config, &self.registry))
    }

    fn forget(&mut self, entry: &Entry, effects: &mut Vec<Effect>) {
        self.draining.extend(entry.managers().map(Arc::downgrade));
        for (_, rds) in rds_of(entry) {
            self.unwant(&Wanted::Routes(rds), effects);
        }
    }

    fn wake_listeners(&mut self, routes: &RouteConfigName, effects: &mut Vec<Effect>) {
        let waiting = self.listeners.iter().filter(|(_, slot)| {
            let names = slot.warming.iter().flat_map(rds_of);
            names.into_iter().any(|(_, rds)| rds == *routes)
        });
        let names: Vec<ListenerName> = waiting.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.try_activate(&name, effects);
        }
    }

    /// A listener that has all its route tables, and whose filters are ready, takes
    /// the place of the one that served.
    fn try_activate(&mut self, name: &ListenerName, effects: &mut Vec<Effect>) {
        let Some(slot) = self.listeners.get_mut(name) else { return };
        let Some(entry) = &slot.warming else { return };
        let has_routes = rds_of(entry).iter().all(|(_, rds)| self.routes.contains_key(rds));
        if !has_routes || !entry.begun {
            return;
        }
        let warm = slot.warming.take();
        let old = std::mem::replace(&mut slot.active, warm);
        let spec = slot.active.as_ref().map(|entry| Arc::clone(&entry.spec));
        // Route tables and clusters may have changed while it was warming.
        self.publish_views();
        effects.extend(spec.map(Effect::Listen));
        if let Some(old) = old {
            self.forget(&old, effects);
        }
    }

    /// Shows the managers that read this table its new state.
    fn publish_routes(&mut self, name: &RouteConfigName) {
        self.publish_where(|manager| manager.rds_name() == Some(name));
    }

    /// Shows every manager the clusters and routes as they are now.
    pub(super) fn publish_views(&mut self) {
        let entries =
            self.listeners.values().flat_map(|slot| slot.active.iter().chain(&slot.warming));
        for proxy in entries.flat_map(Entry::tcp_proxies) {
            proxy.publish(&self.map, &mut self.retired);
        }
        self.publish_where(|_| true);
    }

    fn publish_where(&mut self, wanted: impl Fn(&Manager) -> bool) {
        self.generation += 1;
        let entries =
            self.listeners.values().flat_map(|slot| slot.active.iter().chain(&slot.warming));
        let serving = entries.flat_map(Entry::managers).cloned();
        let draining = self.draining.iter().filter_map(Weak::upgrade);
        for manager in serving.chain(draining).filter(|manager| wanted(manager)) {
            let now = manager.cell.load();
            let routes = manager.rds_name().and_then(|name| self.routes.get(name));
            let routes = routes.unwrap_or(&now.routes);
            if Arc::ptr_eq(routes, &now.routes) && Arc::ptr_eq(&self.map, &now.clusters) {
                continue;
            }
            let view = View {
                routes: Arc::clone(routes),
                chains: Arc::clone(&now.chains),
                clusters: Arc::clone(&self.map),
                generation: self.generation,
            };
            manager.cell.publish(Arc::new(view), &mut self.retired);
        }
    }
}

/// Route tables that the managers of a listener read by RDS.
fn rds_of(entry: &Entry) -> Vec<(crate::config::source::ConfigSource, RouteConfigName)> {
    let mut found = Vec::new();
    for manager in entry.managers() {
        if let RouteSource::Rds { source, name } = &manager.config.routes {
            found.push((source.clone(), name.clone()));
        }
    }
    found
}

/// The listener's name in counters: `stat_prefix` is the caller's; else its address, `:` as `_`.
fn stat_name(tcp: &TcpListenerConfig) -> String {
    let address = tcp.addresses.first().map(|place| match &place.bind {
        BindAddress::Pipe(pipe) => pipe.path.to_string(),
        BindAddress::Tcp { address, .. } => address.to_string(),
    });
    address.unwrap_or_default().replace(':', "_")
}
