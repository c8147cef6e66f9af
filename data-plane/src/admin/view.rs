//! What pages show: plain facts, filled in by the application.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::xds::status::{ClientStatus, ErrorState};

/// `envoy.admin.v3.ServerInfo.State`, also the value of `server.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Serving.
    Live = 0,
    /// Told to fail health checks.
    Draining = 1,
    /// Clusters are not yet initialized.
    PreInitializing = 2,
    /// Listeners are not yet initialized.
    Initializing = 3,
}

impl ServerState {
    /// As `/ready` and `/server_info` print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
        }
    }
}

/// `envoy.admin.v3.ServerInfo`.
#[derive(Clone, Debug)]
pub struct ServerView {
    /// The state.
    pub state: ServerState,
    /// `<sha>/1.40.0/Clean/RELEASE/rustls`.
    pub version: String,
    /// Time since the start.
    pub uptime: Duration,
    /// The command line.
    pub options: CommandLine,
    /// An encoded `envoy.config.core.v3.Node`, as control planes see it.
    pub node: Bytes,
}

/// `envoy.admin.v3.CommandLineOptions`, as far as a value can differ from Envoy's default.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of Envoy's command line")]
pub struct CommandLine {
    /// `--concurrency`.
    pub concurrency: u32,
    /// `--config-path`.
    pub config_path: String,
    /// `--config-yaml`.
    pub config_yaml: String,
    /// `--allow-unknown-static-fields`.
    pub allow_unknown_static_fields: bool,
    /// `--reject-unknown-dynamic-fields`.
    pub reject_unknown_dynamic_fields: bool,
    /// `--ignore-unknown-dynamic-fields`.
    pub ignore_unknown_dynamic_fields: bool,
    /// `--skip-deprecated-logs`.
    pub skip_deprecated_logs: bool,
    /// `--admin-address-path`.
    pub admin_address_path: String,
    /// `--local-address-ip-version`: `v4` or `v6`.
    pub local_address_ip_version: &'static str,
    /// `--log-level`.
    pub log_level: String,
    /// `--component-log-level`.
    pub component_log_level: String,
    /// `--log-format`.
    pub log_format: String,
    /// `--log-format-escaped`.
    pub log_format_escaped: bool,
    /// `--log-path`.
    pub log_path: String,
    /// `--service-cluster`.
    pub service_cluster: String,
    /// `--service-node`.
    pub service_node: String,
    /// `--service-zone`.
    pub service_zone: String,
    /// `--file-flush-interval-msec`.
    pub file_flush_interval: Duration,
    /// `--file-flush-min-size-kb`, in KiB; 0 when not given.
    pub file_flush_min_size: u32,
    /// `--drain-time-s`.
    pub drain_time: Duration,
    /// `--drain-strategy`: `Gradual` or `Immediate`.
    pub drain_strategy: &'static str,
    /// `--parent-shutdown-time-s`.
    pub parent_shutdown_time: Duration,
    /// `--mode`: `Serve`, `Validate`, `InitOnly`.
    pub mode: &'static str,
    /// `--disable-hot-restart`.
    pub disable_hot_restart: bool,
    /// `--cpuset-threads`.
    pub cpuset_threads: bool,
    /// `--disable-extensions`.
    pub disabled_extensions: Vec<String>,
    /// `--stats-tag`.
    pub stats_tag: Vec<String>,
}

impl Default for CommandLine {
    fn default() -> Self {
        Self {
            concurrency: 1,
            config_path: String::new(),
            config_yaml: String::new(),
            allow_unknown_static_fields: false,
            reject_unknown_dynamic_fields: false,
            ignore_unknown_dynamic_fields: false,
            skip_deprecated_logs: false,
            admin_address_path: String::new(),
            local_address_ip_version: "v4",
            log_level: "info".into(),
            component_log_level: String::new(),
            log_format: "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v".into(),
            log_format_escaped: false,
            log_path: String::new(),
            service_cluster: String::new(),
            service_node: String::new(),
            service_zone: String::new(),
            file_flush_interval: Duration::from_secs(10),
            file_flush_min_size: 0,
            drain_time: Duration::from_secs(600),
            drain_strategy: "Gradual",
            parent_shutdown_time: Duration::from_secs(900),
            mode: "Serve",
            disable_hot_restart: false,
            cpuset_threads: false,
            disabled_extensions: Vec::new(),
            stats_tag: Vec::new(),
        }
    }
}

/// A cluster in `/clusters`.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Its `alt_stat_name`, else its name.
    pub observability_name: String,
    /// It came over xDS.
    pub added_via_api: bool,
    /// `eds_service_name` of an EDS cluster.
    pub eds_service_name: String,
    /// Circuit breakers of the default priority.
    pub default_priority: Thresholds,
    /// Circuit breakers of the high priority.
    pub high_priority: Thresholds,
    /// Outlier detection, where configured.
    pub outlier: Option<OutlierView>,
    /// Hosts of all priorities.
    pub hosts: Vec<HostView>,
}

/// Circuit breakers of a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// `max_connections`
    pub max_connections: u32,
    /// `max_pending_requests`
    pub max_pending_requests: u32,
    /// `max_requests`
    pub max_requests: u32,
    /// `max_retries`
    pub max_retries: u32,
}

impl Default for Thresholds {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
        }
    }
}

/// Success rates of a cluster in percent; `None` is printed as -1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OutlierView {
    /// Average over all hosts.
    pub success_rate_average: Option<f64>,
    /// Below this a host is ejected.
    pub success_rate_ejection_threshold: Option<f64>,
    /// Average of errors that arose here.
    pub local_origin_success_rate_average: Option<f64>,
    /// Below this a host is ejected for them.
    pub local_origin_success_rate_ejection_threshold: Option<f64>,
}

/// Where a host or listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostAddress {
    /// IP address and port.
    Ip(SocketAddr),
    /// Path of a Unix socket.
    Pipe(String),
}

impl std::fmt::Display for HostAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Pipe(path) => f.write_str(path),
        }
    }
}

/// A host in `/clusters`.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "health flags are independent of each other")]
pub struct HostView {
    /// Where it is.
    pub address: HostAddress,
    /// Its name, if it came from DNS.
    pub hostname: String,
    /// Open connections.
    pub cx_active: u64,
    /// Connections that failed.
    pub cx_connect_fail: u64,
    /// Connections ever.
    pub cx_total: u64,
    /// Requests under way.
    pub rq_active: u64,
    /// Requests that failed.
    pub rq_error: u64,
    /// Requests that wait for a connection.
    pub rq_pending_active: u64,
    /// Requests that succeeded.
    pub rq_success: u64,
    /// Requests that timed out.
    pub rq_timeout: u64,
    /// Requests ever.
    pub rq_total: u64,
    /// The active health check failed.
    pub failed_active_health_check: bool,
    /// Outlier detection ejected it.
    pub failed_outlier_check: bool,
    /// The active health check says degraded.
    pub failed_active_degraded_check: bool,
    /// The control plane removed it, but its health check still passes.
    pub pending_dynamic_removal: bool,
    /// Health checks have not run yet.
    pub pending_active_hc: bool,
    /// An immediate failure took it out of the counts of hosts.
    pub excluded_via_immediate_hc_fail: bool,
    /// Its last active check took too long.
    pub active_hc_timeout: bool,
    /// `health_status` of EDS: `HEALTHY`, `UNHEALTHY`, `DRAINING`, `TIMEOUT`, `DEGRADED`.
    pub eds_health_status: &'static str,
    /// Load balancing weight.
    pub weight: u32,
    /// Region, zone and sub-zone.
    pub locality: [String; 3],
    /// `canary` in its metadata.
    pub canary: bool,
    /// Priority.
    pub priority: u32,
    /// Success rate in percent, where outlier detection knows it.
    pub success_rate: Option<f64>,
    /// The same for errors that arose here.
    pub local_origin_success_rate: Option<f64>,
}

impl HostView {
    /// A healthy host without traffic.
    #[must_use]
    pub const fn new(address: HostAddress) -> Self {
        Self {
            address,
            hostname: String::new(),
            cx_active: 0,
            cx_connect_fail: 0,
            cx_total: 0,
            rq_active: 0,
            rq_error: 0,
            rq_pending_active: 0,
            rq_success: 0,
            rq_timeout: 0,
            rq_total: 0,
            failed_active_health_check: false,
            failed_outlier_check: false,
            failed_active_degraded_check: false,
            pending_dynamic_removal: false,
            pending_active_hc: false,
            excluded_via_immediate_hc_fail: false,
            active_hc_timeout: false,
            eds_health_status: "HEALTHY",
            weight: 1,
            locality: [String::new(), String::new(), String::new()],
            canary: false,
            priority: 0,
            success_rate: None,
            local_origin_success_rate: None,
        }
    }
}

/// A listener in `/listeners`.
#[derive(Clone, Debug)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Where it really listens (port 0 became a port).
    pub address: HostAddress,
    /// Its `additional_addresses`.
    pub additional: Vec<HostAddress>,
}

/// Everything in `/config_dump`.
#[derive(Clone, Debug, Default)]
pub struct ConfigView {
    /// The bootstrap in force.
    pub bootstrap: Option<BootstrapView>,
    /// Clusters.
    pub clusters: ConfigSection,
    /// Load assignments (shown with `include_eds`).
    pub endpoints: ConfigSection,
    /// Listeners.
    pub listeners: ConfigSection,
    /// Route configurations; inline ones are static.
    pub routes: ConfigSection,
    /// Secrets.
    pub secrets: ConfigSection,
}

/// The bootstrap in force.
#[derive(Clone, Debug)]
pub struct BootstrapView {
    /// An encoded `envoy.config.bootstrap.v3.Bootstrap`.
    pub raw: Bytes,
    /// When it was read.
    pub last_updated: SystemTime,
}

/// All resources of one type.
#[derive(Clone, Debug, Default)]
pub struct ConfigSection {
    /// `version_info` of the last accepted response; empty without one.
    pub version: String,
    /// The resources, in the order in which they are shown.
    pub entries: Vec<ConfigEntry>,
    /// What was refused and had no name.
    pub nameless: Vec<ErrorState>,
}

/// Where a resource stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigState {
    /// From the bootstrap or inline.
    Static,
    /// In force.
    Active,
    /// Accepted, not yet in force.
    Warming,
    /// Being drained.
    Draining,
    /// Nothing is in force: refused, or asked for in vain.
    Absent,
}

/// A resource.
#[derive(Clone, Debug)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: ConfigState,
    /// Its version; empty if static.
    pub version: String,
    /// Full type URL of `raw`.
    pub type_url: &'static str,
    /// The encoded resource.
    pub raw: Bytes,
    /// When its content came.
    pub last_updated: Option<SystemTime>,
    /// What was refused later.
    pub error: Option<ErrorState>,
    /// Its state as CSDS tells it; not part of Envoy's dump of files and static resources.
    pub client_status: Option<ClientStatus>,
}

/// `/runtime`.
#[derive(Clone, Debug, Default)]
pub struct RuntimeView {
    /// Names of the layers, the lowest first.
    pub layers: Vec<String>,
    /// Keys with a value for each layer; empty where a layer has none.
    pub entries: Vec<(String, Vec<String>)>,
}

/// Envoy's log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `trace`
    Trace,
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warning`
    Warning,
    /// `error`
    Error,
    /// `critical`
    Critical,
    /// `off`
    Off,
}

impl LogLevel {
    /// All of them, in rising order.
    pub const ALL: [Self; 7] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Off,
    ];

    /// As the page prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Off => "off",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

/// `/logging`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChange {
    /// All loggers.
    All(LogLevel),
    /// Some loggers by name; all of them or none change.
    Some(Vec<(String, LogLevel)>),
}

/// `/drain_listeners`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Drain over `--drain-time-s` before closing.
    pub graceful: bool,
    /// Drain connections, and never stop the listeners.
    pub skip_exit: bool,
    /// Only listeners with `traffic_direction: INBOUND`.
    pub inbound_only: bool,
}

/// What `/ready` and health checks are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// `/healthcheck/ok`
    Ok,
    /// `/healthcheck/fail`
    Failed,
}
