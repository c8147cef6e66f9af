//! The bootstrap (`envoy.config.bootstrap.v3.Bootstrap`).
//!
//! Shape only; `parse.rs` has the rules, `check.rs` what must hold between its static resources.

mod check;
mod overload;
pub mod parse;
mod runtime;
mod stats;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::access_log::AccessLogConfig;
use super::address::Address;
use super::cluster::{ClusterConfig, DnsConfig};
use super::endpoint::Locality;
use super::listener::ListenerConfig;
use super::metadata::Metadata;
use super::resource::Accepted;
use super::source::{ApiSource, ConfigSource};
use super::tls::Secrets;
use super::tracing::OpenTelemetryConfig;
use crate::base::bind::BindConfig;
use crate::base::names::ClusterName;
use crate::base::pattern::StringMatcher;

pub use check::check;

/// Everything that a start needs.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapConfig {
    /// Where connections come from, unless a cluster says it.
    pub bind: Option<Arc<BindConfig>>,
    /// The tracer of managers that name none (`tracing.http`).
    pub tracer: Option<Arc<OpenTelemetryConfig>>,
    /// Who this proxy is.
    pub node: NodeConfig,
    /// The admin interface; `None` has none.
    pub admin: Option<AdminConfig>,
    /// Listeners of the file.
    pub listeners: Vec<Accepted<ListenerConfig>>,
    /// Clusters of the file.
    pub clusters: Vec<Accepted<ClusterConfig>>,
    /// Secrets of the file; resources by xDS may name them too.
    pub secrets: Arc<Secrets>,
    /// Where further resources come from.
    pub dynamic: DynamicResources,
    /// Runtime keys of the static layers, the later layer winning.
    pub runtime: RuntimeConfig,
    /// Cluster of this proxy's own peers, for zone aware routing.
    pub local_cluster_name: Option<ClusterName>,
    /// Limits on the whole process.
    pub overload: OverloadConfig,
    /// `header_prefix`; default `x-envoy`.
    pub header_prefix: Arc<str>,
    /// Resolution of names where a cluster does not say.
    pub dns: DnsConfig,
    /// How statistics are cut into names; read by `/stats`.
    pub stats_flush_interval: Duration,
    /// Text format of the log (`application_log_config`); `None` is Envoy's.
    pub log_format: Option<super::format::FormatShape>,
}

/// `envoy.config.core.v3.Node`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeConfig {
    /// `id`; `--service-node` overrides it.
    pub id: Arc<str>,
    /// `cluster`; `--service-cluster` overrides it.
    pub cluster: Arc<str>,
    /// `metadata`, as a JSON object.
    pub metadata: Value,
    /// Where it runs; `--service-zone` overrides the zone.
    pub locality: Locality,
    /// `user_agent_name` of the file; empty: `envoy`.
    pub user_agent_name: Arc<str>,
    /// What control planes may count on.
    pub client_features: Vec<Arc<str>>,
    /// The message as it was written, serialized: the xDS client sends it with what it adds.
    pub raw: Vec<u8>,
}

/// `Admin`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// Where it listens; `None`: it has no socket, as in Envoy.
    pub address: Option<Address>,
    /// Access logs of its requests.
    pub access_log: Vec<AccessLogConfig>,
    /// Paths that are answered; empty: all.
    pub allow_paths: Vec<StringMatcher>,
    /// Its connections are outside the global limit.
    pub ignore_global_conn_limit: bool,
}

/// `DynamicResources`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynamicResources {
    /// The aggregated stream.
    pub ads: Option<Arc<ApiSource>>,
    /// Source of clusters.
    pub cds: Option<ConfigSource>,
    /// Source of listeners.
    pub lds: Option<ConfigSource>,
}

/// Runtime keys. Nested objects are flattened to `a.b.c`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeConfig {
    /// The layers in order, each with its own keys, for `/runtime`.
    pub layers: Vec<RuntimeLayer>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeLayer {
    /// Its name, unique.
    pub name: Arc<str>,
    /// Its keys; empty for layers that are only accepted so far.
    pub values: BTreeMap<String, Value>,
    /// What kind it is.
    pub kind: RuntimeLayerKind,
}

/// The kinds of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeLayerKind {
    /// Set through the admin interface.
    Admin,
    /// Read from a directory.
    Disk,
    /// Fetched by RTDS.
    Rtds,
    /// Written in the bootstrap.
    Static,
}

/// What of the overload manager is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverloadConfig {
    /// Most downstream connections of the process; `None` does not limit.
    pub max_downstream_connections: Option<u64>,
}

impl RuntimeConfig {
    /// The value that `key` has: the last layer that has the key decides.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Value> {
        self.layers.iter().rev().find_map(|layer| layer.values.get(key))
    }

    /// The value of a feature flag, or `default` where it is absent or no truth value.
    #[must_use]
    pub fn flag(&self, key: &str, default: bool) -> bool {
        match self.find(key) {
            Some(Value::Bool(on)) => *on,
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => true,
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => false,
            _ => default,
        }
    }
}

impl BootstrapConfig {
    /// A bootstrap with nothing in it: what Envoy has for an empty file.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            tracer: None,
            bind: None,
            node: NodeConfig::default(),
            admin: None,
            listeners: Vec::new(),
            clusters: Vec::new(),
            secrets: Arc::default(),
            dynamic: DynamicResources::default(),
            runtime: RuntimeConfig::default(),
            local_cluster_name: None,
            overload: OverloadConfig::default(),
            header_prefix: "x-envoy".into(),
            dns: DnsConfig::default(),
            stats_flush_interval: Duration::from_secs(5),
            log_format: None,
        }
    }
}

/// `metadata` of a node as other code reads metadata.
impl From<&NodeConfig> for Metadata {
    fn from(node: &NodeConfig) -> Self {
        let filter = match &node.metadata {
            Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            _ => BTreeMap::new(),
        };
        Self { filter, typed: BTreeMap::new() }
    }
}
