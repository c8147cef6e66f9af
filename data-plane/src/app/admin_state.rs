//! What the admin interface shows and lets people do: the application's side of `admin`.
//!
//! The control loop leaves a picture of what is in force here after each change; pages read it.
//! What a page changes goes to the control loop as a command.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use proto::envoy::config::bootstrap::v3::Bootstrap;
use proto::envoy::config::listener::v3::Listener;
use proto::envoy::config::listener::v3::filter::ConfigType;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::extensions::transport_sockets::tls::v3::Secret;
use proto::prost::Message as _;

use super::control::{Command, Handle};
use super::load::Loaded;
use super::logging;
use super::setup::{DrainStrategy, Setup};
use crate::admin::{
    AdminState, BootstrapView, ClusterView, CommandLine, ConfigEntry, ConfigSection, ConfigState,
    ConfigView, Drain, Health, HostAddress, HostView, ListenerView, LogChange, LogLevel,
    OutlierView, RuntimeView, ServerState, ServerView, Thresholds, UnknownLogger,
};
use crate::base::clock::{self, Instant};
use crate::cluster::host::HealthFlag;
use crate::cluster::outlier::{Detector, Side};
use crate::cluster::{self, Cluster, Host};
use crate::config::resource::Raw;
use crate::listener::{BoundAddress, GlobalConnections, ListenerState, Which};
use crate::snapshot::Origin;
use crate::telemetry::stats::{Group, Registry, Scope, ServerStat};
use crate::xds::TypeUrl;
use crate::xds::node::build_node;
use crate::xds::status::{Status, TypeStatus};

/// What is in force, as the control loop last left it.
#[derive(Default)]
pub(super) struct Picture {
    pub(super) state: Option<ServerState>,
    pub(super) clusters: Vec<(Arc<Cluster>, Origin)>,
    pub(super) listeners: Vec<ListenerState>,
    /// Names of resources that are accepted and not yet in force.
    pub(super) warming: HashSet<String>,
}

/// The application's side of the admin interface.
pub(super) struct Shown {
    /// Guards the picture alone; taken when it changes and when a page is read.
    picture: Mutex<Picture>,
    /// Guards one flag of `/healthcheck/fail`.
    failing: Mutex<bool>,
    handle: Handle,
    setup: Setup,
    loaded: LoadedView,
    status: Arc<Status>,
    server: Group<ServerStat>,
    begun: Instant,
    begun_system: SystemTime,
    global: Arc<GlobalConnections>,
}

/// Parts of the bootstrap that pages show.
struct LoadedView {
    raw: Bytes,
    node: Bytes,
    clusters: Vec<(String, Raw)>,
    listeners: Vec<(String, Raw)>,
    runtime: RuntimeView,
}

/// What the picture is made of besides.
pub(super) struct ShownParts<'a> {
    pub(super) handle: Handle,
    pub(super) setup: &'a Setup,
    pub(super) loaded: &'a Loaded,
    pub(super) status: Arc<Status>,
    pub(super) registry: &'a Registry,
    pub(super) begun: Instant,
    pub(super) global: Arc<GlobalConnections>,
}

impl Shown {
    pub(super) fn new(parts: ShownParts<'_>) -> Self {
        let ShownParts { handle, setup, loaded, status, registry, begun, global } = parts;
        let server: Group<ServerStat> = registry.group(Scope::plain("server."));
        server.set(ServerStat::Concurrency, u64::from(setup.concurrency));
        server.set(ServerStat::Live, 1);
        server.set(ServerStat::Version, version_number());
        server.set(ServerStat::State, ServerState::PreInitializing as u64);
        Self {
            picture: Mutex::default(),
            failing: Mutex::new(false),
            handle,
            setup: setup.clone(),
            loaded: LoadedView::new(loaded),
            status,
            server,
            begun,
            begun_system: clock::system_now(),
            global,
        }
    }

    /// Leaves a new picture.
    pub(super) fn update(&self, picture: Picture) {
        *lock(&self.picture) = picture;
        self.server.set(ServerStat::State, self.state() as u64);
    }

    fn state(&self) -> ServerState {
        if *lock(&self.failing) {
            return ServerState::Draining;
        }
        lock(&self.picture).state.unwrap_or(ServerState::PreInitializing)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Envoy's `server.version`: the first three bytes of the commit as a number.
fn version_number() -> u64 {
    u64::from_str_radix(&super::cli::COMMIT[..6], 16).unwrap_or(0)
}

impl LoadedView {
    fn new(loaded: &Loaded) -> Self {
        let config = &loaded.config;
        let names: Vec<String> =
            config.runtime.layers.iter().map(|layer| layer.name.to_string()).collect();
        let mut entries: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (at, layer) in config.runtime.layers.iter().enumerate() {
            for (key, value) in &layer.values {
                let values = entries.entry(key.clone());
                let values = values.or_insert_with(|| vec![String::new(); names.len()]);
                values[at] = match value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
            }
        }
        Self {
            raw: loaded.raw.clone().into(),
            node: build_node(&config.node).encode_to_vec().into(),
            clusters: config
                .clusters
                .iter()
                .map(|c| (c.value.name.to_string(), c.raw.clone()))
                .collect(),
            listeners: config
                .listeners
                .iter()
                .map(|l| (l.value.name.to_string(), l.raw.clone()))
                .collect(),
            runtime: RuntimeView { layers: names, entries: entries.into_iter().collect() },
        }
    }
}

impl AdminState for Shown {
    fn server(&self) -> ServerView {
        let setup = &self.setup;
        let given = |name: &str| {
            let found = setup.command_line.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        ServerView {
            state: self.state(),
            version: format!("{}/1.40.0/Clean/RELEASE/rustls", super::cli::COMMIT),
            uptime: clock::now().saturating_duration_since(self.begun),
            options: CommandLine {
                concurrency: u32::from(setup.concurrency),
                config_path: given("config_path"),
                config_yaml: given("config_yaml"),
                log_level: given("log_level"),
                service_cluster: given("service_cluster"),
                service_node: given("service_node"),
                service_zone: given("service_zone"),
                file_flush_interval: setup.log_flush_interval,
                drain_time: setup.drain_time,
                drain_strategy: match setup.drain_strategy {
                    DrainStrategy::Gradual => "Gradual",
                    DrainStrategy::Immediate => "Immediate",
                },
                ..CommandLine::default()
            },
            node: self.loaded.node.clone(),
        }
    }

    fn clusters(&self) -> Vec<ClusterView> {
        lock(&self.picture).clusters.iter().map(|(c, origin)| cluster_view(c, *origin)).collect()
    }

    fn listeners(&self) -> Vec<ListenerView> {
        let shown = |address: &BoundAddress| match address {
            BoundAddress::Ip(address) => HostAddress::Ip(*address),
            BoundAddress::Pipe(path) => HostAddress::Pipe(path.to_string()),
        };
        let picture = lock(&self.picture);
        let views = picture.listeners.iter().filter_map(|listener| {
            let mut addresses = listener.addresses.iter().map(shown);
            Some(ListenerView {
                name: listener.name.to_string(),
                address: addresses.next()?,
                additional: addresses.collect(),
            })
        });
        views.collect()
    }

    fn config(&self) -> ConfigView {
        let warming = lock(&self.picture).warming.clone();
        let statics = |all: &[(String, Raw)], type_url: &'static str| -> Vec<ConfigEntry> {
            let entry = |(name, raw): &(String, Raw)| {
                let bytes = Bytes::copy_from_slice(&raw.bytes);
                static_entry(name.clone(), type_url, bytes, self.begun_system)
            };
            all.iter().map(entry).collect()
        };
        let section = |own: Vec<ConfigEntry>, type_url: &TypeUrl, url: &'static str| {
            section(own, &self.status.of_type(type_url), url, &warming)
        };
        let mut routes = Vec::new();
        for (_, raw) in &self.loaded.listeners {
            for (name, bytes) in inline_routes(&raw.bytes) {
                routes.push(static_entry(name, ROUTES, bytes, self.begun_system));
            }
        }
        let secrets = static_secrets(&self.loaded.raw)
            .into_iter()
            .map(|(name, bytes)| static_entry(name, SECRETS, bytes, self.begun_system))
            .collect();
        let bootstrap =
            BootstrapView { raw: self.loaded.raw.clone(), last_updated: self.begun_system };
        ConfigView {
            bootstrap: Some(bootstrap),
            clusters: section(
                statics(&self.loaded.clusters, CLUSTERS),
                &TypeUrl::CLUSTER,
                CLUSTERS,
            ),
            endpoints: section(Vec::new(), &TypeUrl::ENDPOINTS, ENDPOINTS),
            listeners: section(
                statics(&self.loaded.listeners, LISTENERS),
                &TypeUrl::LISTENER,
                LISTENERS,
            ),
            routes: section(routes, &TypeUrl::ROUTES, ROUTES),
            secrets: ConfigSection { entries: secrets, ..ConfigSection::default() },
        }
    }

    fn runtime(&self) -> RuntimeView {
        self.loaded.runtime.clone()
    }

    fn modify_runtime(&self, _: &[(String, String)]) -> Result<(), String> {
        Err("No admin layer specified".to_owned())
    }

    fn loggers(&self) -> Vec<(String, LogLevel)> {
        logging::loggers()
    }

    fn set_log_levels(&self, change: &LogChange) -> Result<(), UnknownLogger> {
        logging::change(change)
    }

    fn drain_listeners(&self, drain: Drain) {
        let which = if drain.inbound_only { Which::Inbound } else { Which::All };
        let (graceful, skip_exit) = (drain.graceful, drain.skip_exit);
        self.handle.try_send(Command::Drain { which, graceful, skip_exit });
    }

    fn set_health(&self, health: Health) {
        *lock(&self.failing) = health == Health::Failed;
        self.server.set(ServerStat::State, self.state() as u64);
    }

    fn quit(&self) {
        self.handle.try_send(Command::Shutdown);
    }

    fn reopen_logs(&self) {
        self.handle.try_send(Command::ReopenLogs);
    }

    fn refresh_stats(&self) {
        let uptime = clock::now().saturating_duration_since(self.begun).as_secs();
        self.server.set(ServerStat::Uptime, uptime);
        self.server.set(ServerStat::TotalConnections, self.global.open());
        let memory = resident_bytes();
        self.server.set(ServerStat::MemoryAllocated, memory);
        self.server.set(ServerStat::MemoryHeapSize, memory);
        self.server.set(ServerStat::MemoryPhysicalSize, memory);
        for (cluster, _) in &lock(&self.picture).clusters {
            cluster.publish_breakers();
        }
    }
}

const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENERS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const SECRETS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// Memory of this process that is in RAM; 0 where the system does not say.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

fn static_entry(
    name: String,
    type_url: &'static str,
    raw: Bytes,
    last_updated: SystemTime,
) -> ConfigEntry {
    ConfigEntry {
        name,
        state: ConfigState::Static,
        version: String::new(),
        type_url,
        raw,
        last_updated: Some(last_updated),
        error: None,
        client_status: None,
    }
}

/// Static entries and, after them, those that came by xDS.
fn section(
    own: Vec<ConfigEntry>,
    status: &TypeStatus,
    type_url: &'static str,
    warming: &HashSet<String>,
) -> ConfigSection {
    let mut entries = own;
    for (name, resource) in &status.resources {
        let accepted = resource.accepted.as_ref();
        let state = match accepted {
            None => ConfigState::Absent,
            Some(_) if warming.contains(&**name) => ConfigState::Warming,
            Some(_) => ConfigState::Active,
        };
        entries.push(ConfigEntry {
            name: name.to_string(),
            state,
            version: accepted.map(|a| a.version.clone()).unwrap_or_default(),
            type_url,
            raw: accepted.map(|a| a.raw.clone()).unwrap_or_default(),
            last_updated: accepted.map(|a| a.last_updated),
            error: resource.error.clone(),
            client_status: Some(resource.client_status),
        });
    }
    let nameless = status.nameless.clone();
    ConfigSection { version: status.version.clone(), entries, nameless }
}

/// `static_resources.secrets`; the page takes out what is sensitive.
fn static_secrets(bootstrap: &[u8]) -> Vec<(String, Bytes)> {
    let resources = Bootstrap::decode(bootstrap).ok().and_then(|b| b.static_resources);
    let secrets = resources.map(|resources| resources.secrets).unwrap_or_default();
    let entry = |secret: Secret| (secret.name.clone(), secret.encode_to_vec().into());
    secrets.into_iter().map(entry).collect()
}

/// The route tables that stand inside a listener.
fn inline_routes(listener: &[u8]) -> Vec<(String, Bytes)> {
    let Ok(listener) = Listener::decode(listener) else { return Vec::new() };
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    let mut found = Vec::new();
    for filter in chains.flat_map(|chain| &chain.filters) {
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else { continue };
        let Ok(manager) = hcm::HttpConnectionManager::decode(&*any.value) else { continue };
        if let Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(routes)) =
            manager.route_specifier
        {
            found.push((routes.name.clone(), routes.encode_to_vec().into()));
        }
    }
    found
}

fn cluster_view(cluster: &Arc<Cluster>, origin: Origin) -> ClusterView {
    let config = cluster.config();
    let thresholds = |limits: &crate::config::cluster::Thresholds| Thresholds {
        max_connections: limits.max_connections,
        max_pending_requests: limits.max_pending_requests,
        max_requests: limits.max_requests,
        max_retries: limits.max_retries,
    };
    let eds_service_name = match &config.discovery {
        crate::config::cluster::Discovery::Eds { service_name, .. }
            if **service_name != *config.name.as_str() =>
        {
            service_name.to_string()
        }
        _ => String::new(),
    };
    ClusterView {
        name: config.name.to_string(),
        observability_name: config.stat_name().to_owned(),
        added_via_api: origin == Origin::Dynamic,
        eds_service_name,
        default_priority: thresholds(&config.circuit_breakers.default),
        high_priority: thresholds(&config.circuit_breakers.high),
        outlier: cluster.outlier().map(outlier_view),
        hosts: cluster.hosts().hosts().iter().map(host_view).collect(),
    }
}

fn outlier_view(detector: &Detector) -> OutlierView {
    let (external, external_threshold) = detector.averages(Side::External);
    let (local, local_threshold) = detector.averages(Side::LocalOrigin);
    OutlierView {
        success_rate_average: external,
        success_rate_ejection_threshold: external_threshold,
        local_origin_success_rate_average: local,
        local_origin_success_rate_ejection_threshold: local_threshold,
    }
}

fn host_view(host: &Arc<Host>) -> HostView {
    let address = match host.address() {
        cluster::HostAddress::Socket(address) => HostAddress::Ip(*address),
        cluster::HostAddress::Pipe(path) => HostAddress::Pipe(path.display().to_string()),
    };
    let [cx_active, cx_connect_fail, cx_total, rq_active, rest @ ..] =
        host.stats.values().map(|(_, value)| value);
    let [rq_error, rq_pending_active, rq_success, rq_timeout, rq_total] = rest;
    let locality = host.locality();
    let rate = |side| host.monitor().and_then(|monitor| monitor.success_rate(side));
    HostView {
        hostname: host.hostname().to_owned(),
        cx_active,
        cx_connect_fail,
        cx_total,
        rq_active,
        rq_error,
        rq_pending_active,
        rq_success,
        rq_timeout,
        rq_total,
        failed_active_health_check: host.has_flag(HealthFlag::FailedActiveHc),
        failed_active_degraded_check: host.has_flag(HealthFlag::DegradedActiveHc),
        pending_dynamic_removal: host.has_flag(HealthFlag::PendingDynamicRemoval),
        pending_active_hc: host.has_flag(HealthFlag::PendingActiveHc),
        excluded_via_immediate_hc_fail: host.has_flag(HealthFlag::ExcludedByImmediateHc),
        active_hc_timeout: host.has_flag(HealthFlag::ActiveHcTimeout),
        failed_outlier_check: host.has_flag(HealthFlag::FailedOutlier),
        eds_health_status: if host.has_flag(HealthFlag::EdsDraining) {
            "DRAINING"
        } else if host.has_flag(HealthFlag::FailedEds) {
            "UNHEALTHY"
        } else if host.has_flag(HealthFlag::DegradedEds) {
            "DEGRADED"
        } else {
            "HEALTHY"
        },
        weight: host.weight(),
        locality: [
            locality.region.to_string(),
            locality.zone.to_string(),
            locality.sub_zone.to_string(),
        ],
        priority: host.priority(),
        success_rate: rate(Side::External),
        local_origin_success_rate: rate(Side::LocalOrigin),
        ..HostView::new(address)
    }
}
