//! The control loop: events of xDS, DNS, signals and the admin interface, one after another.
//!
//! All of it runs in one task, so that nothing here needs a lock. What a change asks for
//! ([`Effect`]) is carried out at once; listeners wait until the clusters that the start knows of
//! are warm (xds-protocol W4), as in Envoy.

mod reload;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;

use reload::Reloading;

use super::admin_state::{Picture, Shown};
use super::load::Loaded;
use super::logging;
use super::setup::Setup;
use super::start::StartError;
use crate::admin::ServerState;
use crate::base::clock::{self, Instant};
use crate::base::names::{ClusterName, ListenerName};
use crate::base::task::{self, Task};
use crate::cluster::dns::{Resolution, Resolve, resolver_of};
use crate::cluster::{Cluster, health, outlier};
use crate::config::listener::ListenerKind;
use crate::config::resource::ResourceValue;
use crate::config::source::ConfigSource;
use crate::http::drain::DrainLevel;
use crate::listener::{Acceptance, Begun, Listeners, Which};
use crate::snapshot::{Effect, ListenerSpec, Origin, Snapshot, Wanted};
use crate::telemetry::access_log::Logs;
use crate::telemetry::metrics::{Metrics, UpdateResult};
use crate::telemetry::stats::{
    ClusterManagerStat, ClusterStat, EdsStat, Group, ListenerManagerStat, Registry, ReloadStat,
    Scope, SubscriptionStat,
};
use crate::xds::{self, Event, Subscriptions, TypeUrl, WILDCARD, Watch, WatchStats};

/// How often what was replaced is freed, and shares of a drain are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// How often a draining data plane looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What a data plane is told.
#[derive(Debug)]
pub enum Command {
    /// Drain listeners; accepting stops unless the drain is graceful.
    Drain {
        /// Which.
        which: Which,
        /// Gracefully: connections close over the drain time.
        graceful: bool,
        /// Whether sockets stay open after a graceful drain.
        skip_exit: bool,
    },
    /// Take over other static resources (zero-config).
    Reload(Box<Reload>),
    /// Open log files anew.
    ReopenLogs,
    /// End: finish what is in flight within the grace time.
    Shutdown,
}

/// A configuration that takes the place of the static one.
#[derive(Debug)]
pub struct Reload {
    /// Where it was read.
    pub from: String,
    /// What it says.
    pub loaded: Loaded,
    /// What is in flight may take this long at the end.
    pub shutdown_grace: Duration,
}

/// Tells a running data plane what to do.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    pub(super) const fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }

    /// Says it; a data plane that has ended takes nothing.
    pub async fn send(&self, command: Command) {
        let _ended = self.commands.send(command).await;
    }

    /// Says it if there is room.
    pub fn try_send(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            tracing::warn!("the control loop is busy; a command was dropped");
        }
    }

    /// Asks it to end.
    pub async fn shutdown(&self) {
        self.send(Command::Shutdown).await;
    }
}

/// How far the start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Clusters are awaited.
    Clusters,
    /// Listeners are awaited.
    Listeners,
    /// Requests are served.
    Live,
}

/// What a control loop is made of.
pub(super) struct Parts {
    pub(super) setup: Setup,
    pub(super) loaded: Loaded,
    pub(super) registry: Registry,
    pub(super) metrics: Arc<Metrics>,
    pub(super) logs: Logs,
    pub(super) snapshot: Snapshot,
    pub(super) listeners: Listeners,
    pub(super) subscriptions: Subscriptions<ResourceValue>,
    pub(super) events: mpsc::Receiver<Event<ResourceValue>>,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) begun: Instant,
    pub(super) shown: Arc<Shown>,
}

/// The control loop.
pub(super) struct Control {
    pub(super) parts: Parts,
    pub(super) phase: Phase,
    /// Listeners that wait for the start to come that far.
    held: Vec<Effect>,
    /// Listeners whose address was not to be had; each is tried again.
    unbound: BTreeMap<ListenerName, Arc<ListenerSpec>>,
    /// A reload whose clusters warm; its listeners come after them.
    reloading: Option<Reloading>,
    /// Name resolution of clusters, by name.
    resolving: HashMap<ClusterName, Task>,
    resolved: mpsc::Receiver<Arc<Cluster>>,
    resolved_tx: mpsc::Sender<Arc<Cluster>>,
    /// Listeners whose filters are ready to serve.
    begun: mpsc::Receiver<Weak<ListenerSpec>>,
    begun_tx: Begun,
    cds_answered: bool,
    lds_answered: bool,
}

impl Control {
    pub(super) fn new(parts: Parts) -> Self {
        let (resolved_tx, resolved) = mpsc::channel(256);
        let (begun_tx, begun) = mpsc::channel(256);
        Self {
            phase: Phase::Clusters,
            held: Vec::new(),
            unbound: BTreeMap::new(),
            reloading: None,
            resolving: HashMap::new(),
            resolved,
            resolved_tx,
            begun,
            begun_tx,
            cds_answered: parts.loaded.config.dynamic.cds.is_none(),
            lds_answered: parts.loaded.config.dynamic.lds.is_none(),
            parts,
        }
    }

    /// Takes over the static resources. Without dynamic ones it is live when this returns.
    pub(super) async fn begin(mut self) -> Result<Self, StartError> {
        let dynamic = self.parts.loaded.config.dynamic.clone();
        // Static listeners may wait for a management server before they accept; that their ports
        // are taken is said at once all the same.
        self.check_addresses(&self.parts.loaded)?;
        self.set_static().await?;
        if let Some(source) = &dynamic.cds {
            self.watch_all(TypeUrl::CLUSTER, source, "cluster_manager.cds.").await?;
        }
        self.advance().await?;
        // What a management server has to say may take for ever, and a signal to end must not wait.
        let local = dynamic.cds.is_none() && dynamic.lds.is_none() && dynamic.ads.is_none();
        while self.phase < Phase::Live && local {
            // Names of static clusters, endpoints and route tables of other sources: each of them
            // comes, or is given up after its time. All branches are receives of channels.
            tokio::select! {
                Some(cluster) = self.resolved.recv() => self.cluster_resolved(&cluster).await?,
                Some(spec) = self.begun.recv() => self.listener_begun(&spec).await?,
                Some(event) = self.parts.events.recv() => self.event(event).await?,
                else => break,
            }
        }
        self.show();
        Ok(self)
    }

    /// Runs until it is told to end.
    pub(super) async fn run(mut self) {
        let mut sweep = tokio::time::interval(SWEEP);
        let mut flush = tokio::time::interval(self.parts.loaded.config.stats_flush_interval);
        loop {
            // Each branch is safe to cancel: all but the tick are receives of channels.
            let done = tokio::select! {
                command = self.parts.inbox.recv() => match command {
                    None | Some(Command::Shutdown) => break,
                    Some(command) => self.command(command).await,
                },
                Some(event) = self.parts.events.recv() => self.event(event).await,
                Some(cluster) = self.resolved.recv() => self.cluster_resolved(&cluster).await,
                Some(spec) = self.begun.recv() => self.listener_begun(&spec).await,
                () = self.parts.listeners.hand_over() => Ok(()),
                _ = sweep.tick() => {
                    self.parts.snapshot.sweep();
                    self.bind_again().await;
                    Ok(())
                }
                _ = flush.tick() => {
                    self.parts.registry.flush();
                    Ok(())
                }
            };
            if let Err(error) = done {
                tracing::error!(%error, "could not be carried out; what was in force goes on");
            }
            self.show();
        }
        self.shut_down().await;
    }

    async fn command(&mut self, command: Command) -> Result<(), StartError> {
        match command {
            Command::Drain { which, graceful, skip_exit } => {
                let accept = if skip_exit { Acceptance::Continue } else { Acceptance::Stop };
                let level = if graceful { DrainLevel::Announce } else { DrainLevel::Close };
                let over = self.parts.setup.drain_plan().over;
                self.parts.listeners.drain(which, level, over, accept).await;
            }
            Command::Reload(reload) => self.reload(*reload).await?,
            Command::ReopenLogs => {
                self.parts.logs.reopen();
                logging::reopen();
            }
            Command::Shutdown => {}
        }
        Ok(())
    }

    /// Leaves a picture of what is in force for the admin interface.
    fn show(&self) {
        let Parts { snapshot, listeners, registry, shown, .. } = &self.parts;
        let state = match self.phase {
            Phase::Clusters => ServerState::PreInitializing,
            Phase::Listeners => ServerState::Initializing,
            Phase::Live => ServerState::Live,
        };
        let warming_clusters = snapshot.warming_clusters().map(ToString::to_string);
        let warming_listeners = snapshot.warming_listeners().map(ToString::to_string);
        let picture = Picture {
            state: Some(state),
            clusters: snapshot.clusters().map(|(c, origin)| (Arc::clone(c), origin)).collect(),
            listeners: listeners.states().collect(),
            warming: warming_clusters.chain(warming_listeners).collect(),
        };
        let (active, warming) = snapshot.listener_counts();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let stats: Group<ListenerManagerStat> = registry.group(Scope::plain("listener_manager."));
        stats.set(ListenerManagerStat::TotalListenersActive, count(active));
        stats.set(ListenerManagerStat::TotalListenersWarming, count(warming));
        stats.set(ListenerManagerStat::WorkersStarted, u64::from(self.phase == Phase::Live));
        let stats: Group<ClusterManagerStat> = registry.group(Scope::plain("cluster_manager."));
        stats.set(ClusterManagerStat::ActiveClusters, count(picture.clusters.len()));
        stats.set(ClusterManagerStat::WarmingClusters, count(snapshot.warming_clusters().count()));
        shown.update(picture);
    }

    async fn shut_down(mut self) {
        let (close, now) = (DrainLevel::Close, Duration::ZERO);
        self.parts.listeners.drain(Which::All, close, now, Acceptance::Stop).await;
        let until = clock::now() + self.parts.setup.shutdown_grace;
        while self.parts.listeners.connections().await > 0 && clock::now() < until {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        self.parts.listeners.stop().await;
        self.parts.logs.flush(Duration::from_secs(1));
    }

    async fn set_static(&mut self) -> Result<(), StartError> {
        let mut effects = Vec::new();
        let Parts { loaded, snapshot, .. } = &mut self.parts;
        for cluster in &loaded.config.clusters {
            snapshot.set_cluster(&cluster.value, Origin::Static, &mut effects);
        }
        for listener in &loaded.config.listeners {
            snapshot.set_listener(&listener.value, Origin::Static, &mut effects);
        }
        self.perform(effects).await
    }

    /// Whether all addresses of a configuration's listeners can be had.
    fn check_addresses(&self, loaded: &Loaded) -> Result<(), StartError> {
        for listener in loaded.config.listeners.iter().map(|l| &l.value) {
            let ListenerKind::Tcp(tcp) = &listener.kind else { continue };
            for address in tcp.addresses.iter().filter(|_| tcp.bind_to_port) {
                self.parts.listeners.held().check(&address.bind).map_err(|error| {
                    StartError::System(format!("listener {}: {error}", listener.name))
                })?;
            }
        }
        Ok(())
    }

    async fn watch_all(
        &mut self,
        type_url: TypeUrl,
        source: &ConfigSource,
        prefix: &str,
    ) -> Result<(), StartError> {
        let stats: Group<SubscriptionStat> = self.parts.registry.group(Scope::plain(prefix));
        let stats = WatchStats::Subscription { stats, reload: None };
        let watch = Watch { type_url, name: WILDCARD.into(), source, stats };
        self.parts.subscriptions.watch(watch).await.map_err(StartError::Config)
    }

    async fn cluster_resolved(&mut self, cluster: &Arc<Cluster>) -> Result<(), StartError> {
        let mut effects = Vec::new();
        self.parts.snapshot.resolved(cluster, &mut effects);
        self.perform_and_advance(effects).await
    }

    async fn listener_begun(&mut self, spec: &Weak<ListenerSpec>) -> Result<(), StartError> {
        let mut effects = Vec::new();
        self.parts.snapshot.begun(spec, &mut effects);
        self.perform_and_advance(effects).await
    }

    async fn event(&mut self, event: Event<ResourceValue>) -> Result<(), StartError> {
        let mut effects = Vec::new();
        match event {
            Event::Connect => {}
            Event::Disconnected { reason, .. } => {
                self.parts.metrics.set_xds_connected(false);
                // The source has said so, and no more often than is good.
                tracing::debug!(reason, "the control plane's stream ended");
            }
            Event::Update(update) => {
                self.parts.metrics.set_xds_connected(true);
                self.update(update, &mut effects);
            }
            Event::Absent { type_url, name, .. } | Event::FetchTimeout { type_url, name } => {
                self.answered(&type_url);
                let snapshot = &mut self.parts.snapshot;
                if type_url == TypeUrl::ENDPOINTS {
                    snapshot.give_up_endpoints(&name, &mut effects);
                } else if type_url == TypeUrl::ROUTES {
                    snapshot.give_up_routes(&(&*name).into(), &mut effects);
                }
            }
            Event::Ignored { type_url } => {
                tracing::warn!(type_url, "a response of a type that was never asked for");
            }
        }
        self.perform_and_advance(effects).await
    }

    /// What cannot be carried out holds up nothing else.
    async fn perform_and_advance(&mut self, effects: Vec<Effect>) -> Result<(), StartError> {
        let performed = self.perform(effects).await;
        let advanced = self.advance().await;
        self.continue_reload().await.and(advanced).and(performed)
    }

    fn update(&mut self, update: xds::Update<ResourceValue>, effects: &mut Vec<Effect>) {
        let kind = update.type_url.message_name().to_owned();
        for refused in &update.rejected {
            self.parts.metrics.config_update(&kind, UpdateResult::Rejected);
            let (name, problems) = (&refused.name, &refused.problems);
            tracing::warn!(kind, %name, %problems, "a resource was refused, the last good stays");
        }
        let snapshot = &mut self.parts.snapshot;
        for changed in update.changed {
            self.parts.metrics.config_update(&kind, UpdateResult::Accepted);
            match changed.value {
                ResourceValue::Cluster(cluster) => {
                    snapshot.set_cluster(&cluster, Origin::Dynamic, effects);
                }
                ResourceValue::Endpoints(endpoints) => {
                    snapshot.set_endpoints(&changed.name, &endpoints, effects);
                }
                ResourceValue::Listener(listener) => {
                    snapshot.set_listener(&listener, Origin::Dynamic, effects);
                }
                ResourceValue::RouteConfig(routes) => snapshot.set_routes(&routes, effects),
            }
        }
        for name in update.removed {
            if update.type_url == TypeUrl::CLUSTER {
                snapshot.remove_cluster(&(&*name).into(), effects);
            } else if update.type_url == TypeUrl::LISTENER {
                snapshot.remove_listener(&(&*name).into(), effects);
            }
        }
        self.answered(&update.type_url);
    }

    fn answered(&mut self, type_url: &TypeUrl) {
        if *type_url == TypeUrl::CLUSTER {
            self.cds_answered = true;
        } else if *type_url == TypeUrl::LISTENER {
            self.lds_answered = true;
        }
    }

    /// Goes on with the start as far as what has arrived allows.
    async fn advance(&mut self) -> Result<(), StartError> {
        if self.phase == Phase::Clusters
            && self.cds_answered
            && self.parts.snapshot.warming_clusters().next().is_none()
        {
            self.phase = Phase::Listeners;
            // What filters ask clusters for had to wait for those.
            let held = std::mem::take(&mut self.held);
            self.perform(held).await?;
            if let Some(source) = self.parts.loaded.config.dynamic.lds.clone() {
                self.watch_all(TypeUrl::LISTENER, &source, "listener_manager.lds.").await?;
            }
        }
        if self.phase == Phase::Listeners
            && self.lds_answered
            && self.parts.snapshot.listener_counts().1 == 0
        {
            self.phase = Phase::Live;
            let held = std::mem::take(&mut self.held);
            let performed = self.perform(held).await;
            let taken = clock::now().saturating_duration_since(self.parts.begun);
            tracing::info!(ready_ms = u64::try_from(taken.as_millis()).unwrap_or(0), "ready");
            performed?;
        }
        Ok(())
    }

    async fn perform(&mut self, effects: Vec<Effect>) -> Result<(), StartError> {
        let mut failed = None;
        let leaving = effects.iter().filter_map(|effect| match effect {
            Effect::Unlisten(name) => Some(name.clone()),
            _ => None,
        });
        self.parts.listeners.expect_to_leave(leaving);
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let wanted = match &effect {
                Effect::Subscribe(wanted, _) => Some(wanted.clone()),
                _ => None,
            };
            let Err(error) = self.perform_one(effect).await else { continue };
            if let Some(wanted) = wanted {
                // Nobody will ever answer: what waits for it must not wait for ever.
                let mut more = Vec::new();
                self.give_up(&wanted, &mut more);
                effects.extend(more);
            }
            failed = Some(error);
        }
        self.parts.listeners.expect_to_leave([]);
        failed.map_or(Ok(()), Err)
    }

    fn give_up(&mut self, wanted: &Wanted, effects: &mut Vec<Effect>) {
        let snapshot = &mut self.parts.snapshot;
        match wanted {
            Wanted::Endpoints(name) => snapshot.give_up_endpoints(name, effects),
            Wanted::Routes(name) => snapshot.give_up_routes(name, effects),
        }
    }

    async fn perform_one(&mut self, effect: Effect) -> Result<(), StartError> {
        match effect {
            Effect::Begin(spec) if self.phase < Phase::Listeners => {
                self.held.push(Effect::Begin(spec));
            }
            Effect::Begin(spec) => {
                self.parts.listeners.begin(&spec, self.begun_tx.clone()).await;
            }
            Effect::Listen(spec) if self.phase < Phase::Live => {
                self.held.push(Effect::Listen(spec));
            }
            Effect::Listen(spec) => self.listen(spec).await?,
            Effect::Unlisten(name) => {
                self.unbound.remove(&name);
                self.held.retain(|held| !matches!(held, Effect::Listen(l) if l.name == name));
                self.parts.listeners.remove(&name, self.parts.setup.drain_plan()).await;
            }
            Effect::Watch(cluster) => {
                outlier::start(&cluster);
                health::start(&cluster, self.resolved_tx.clone());
            }
            Effect::Resolve(cluster) => self.resolve(cluster),
            Effect::Unresolve(name) => drop(self.resolving.remove(&name)),
            Effect::Subscribe(wanted, source) => {
                let watch = self.watch(&wanted, &source);
                self.parts.subscriptions.watch(watch).await.map_err(StartError::Config)?;
            }
            Effect::Unsubscribe(wanted) => {
                let (type_url, name) = named(&wanted);
                self.parts.subscriptions.unwatch(&type_url, &name).await;
            }
        }
        Ok(())
    }

    /// Serves a listener. One whose address is not to be had is kept, and tried again.
    async fn listen(&mut self, spec: Arc<ListenerSpec>) -> Result<(), StartError> {
        let plan = self.parts.setup.drain_plan();
        let name = spec.name.clone();
        let bound = self.parts.listeners.upsert(Arc::clone(&spec), plan).await;
        match bound {
            Ok(()) => {
                self.unbound.remove(&name);
                Ok(())
            }
            Err(error) => {
                self.unbound.insert(name.clone(), spec);
                Err(StartError::System(format!("listener {name}: {error}")))
            }
        }
    }

    /// Whoever held the address of a listener may be gone.
    async fn bind_again(&mut self) {
        for spec in self.unbound.values().cloned().collect::<Vec<_>>() {
            let name = spec.name.clone();
            if self.listen(spec).await.is_ok() {
                tracing::info!(listener = %name, "its address could be bound at last");
            }
        }
    }

    /// Resolves a cluster's names from now on; says when each was asked for once.
    fn resolve(&mut self, cluster: Arc<Cluster>) {
        let resolver = resolver_of(&cluster, &self.parts.resolver);
        let done = self.resolved_tx.clone();
        let name = cluster.name().clone();
        let resolving = task::spawn("dns", async move {
            let mut names = Resolution::start(&cluster, &resolver);
            names.warm().await;
            let _ended = done.send(cluster).await;
            // The handle refreshes for as long as it lives.
            std::future::pending::<()>().await;
        });
        self.resolving.insert(name, resolving);
    }

    fn watch<'a>(&self, wanted: &Wanted, source: &'a ConfigSource) -> Watch<'a> {
        let (type_url, name) = named(wanted);
        let registry = &self.parts.registry;
        let stats = match wanted {
            Wanted::Endpoints(service) => {
                let reader = self.parts.snapshot.endpoints_reader(service);
                let scope = Scope::cluster(reader.map_or(&**service, |c| c.config().stat_name()));
                let cluster: Group<ClusterStat> = registry.group(scope.clone());
                let eds: Group<EdsStat> = registry.group(scope);
                WatchStats::Endpoints { cluster, eds }
            }
            Wanted::Routes(routes) => {
                let scope = Scope::rds(&self.parts.snapshot.rds_prefix(routes), routes.as_str());
                let stats: Group<SubscriptionStat> = registry.group(scope.clone());
                let reload: Group<ReloadStat> = registry.group(scope);
                WatchStats::Subscription { stats, reload: Some(reload) }
            }
        };
        Watch { type_url, name, source, stats }
    }
}

fn named(wanted: &Wanted) -> (TypeUrl, xds::Name) {
    match wanted {
        Wanted::Endpoints(name) => (TypeUrl::ENDPOINTS, Arc::clone(name)),
        Wanted::Routes(name) => (TypeUrl::ROUTES, name.as_str().into()),
    }
}
