//! What must hold between the resources of a bootstrap, before anything is built from it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{BootstrapConfig, DynamicResources};
use crate::config::cluster::{ClusterConfig, Discovery};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::http_manager::RouteSource;
use crate::config::listener::{BindAddress, ListenerConfig};
use crate::config::route::RouteConfig;
use crate::config::source::{ApiSource, ConfigSource, SourceKind};

/// Checks names and references; paths are those of the bootstrap's message.
///
/// # Errors
/// All that does not fit together, up to the limit of problems.
pub fn check(config: &BootstrapConfig) -> Result<(), Problems> {
    let mut all = Collector::default();
    let clusters: Vec<&ClusterConfig> = config.clusters.iter().map(|c| &*c.value).collect();
    let listeners: Vec<&Arc<ListenerConfig>> = config.listeners.iter().map(|l| &l.value).collect();
    all.keep(check_cluster_names(&clusters).at("static_resources"));
    all.keep(check_addresses(&listeners).at("static_resources"));
    let names = Names::new(&clusters);
    if let Some(local) = &config.local_cluster_name
        && !names.all.contains(local.as_str())
    {
        let unknown: Result<(), Problems> = Err(names.unknown(local.as_str()));
        all.keep(unknown.at("local_cluster_name").at("cluster_manager"));
    }
    all.keep(check_dynamic(&config.dynamic, &names).at("dynamic_resources"));
    for (i, cluster) in clusters.iter().enumerate() {
        if let Discovery::Eds { source, .. } = &cluster.discovery {
            let checked = check_source(source, &names).at("eds_config").at("eds_cluster_config");
            all.keep(checked.at_index("clusters", i).at("static_resources"));
        }
    }
    for (i, listener) in listeners.iter().enumerate() {
        all.keep(check_routes(listener, &names).at_index("listeners", i).at("static_resources"));
    }
    all.keep(check_node(config));
    all.finish()
}

/// The clusters of the file: all, and those that a management server may be reached through.
struct Names<'a> {
    all: HashSet<&'a str>,
    servers: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    fn new(clusters: &[&'a ClusterConfig]) -> Self {
        let is_eds = |c: &&&ClusterConfig| matches!(c.discovery, Discovery::Eds { .. });
        Self {
            all: clusters.iter().map(|c| c.name.as_str()).collect(),
            servers: clusters.iter().filter(|c| !is_eds(c)).map(|c| c.name.as_str()).collect(),
        }
    }

    fn unknown(&self, name: &str) -> Problems {
        let similar = proto::text::suggest(name, self.all.iter().copied());
        let hint = similar.map(|other| format!(" (did you mean '{other}'?)"));
        let text = format!("unknown cluster '{name}'{}", hint.unwrap_or_default());
        Reason::Rule(text).into()
    }
}

/// Envoy: "cluster manager: duplicate cluster".
fn check_cluster_names(clusters: &[&ClusterConfig]) -> Result<(), Problems> {
    let mut all = Collector::default();
    let mut seen = HashSet::new();
    for (i, cluster) in clusters.iter().enumerate() {
        if !seen.insert(cluster.name.as_str()) {
            let value = cluster.name.to_string();
            let twice: Result<(), Problems> = Err(Reason::Duplicate { value }.into());
            all.keep(twice.at("name").at_index("clusters", i));
        }
    }
    all.finish()
}

/// Envoy: "has duplicate address as existing listener".
fn check_addresses(listeners: &[&Arc<ListenerConfig>]) -> Result<(), Problems> {
    let mut all = Collector::default();
    let mut owners: HashMap<&BindAddress, &str> = HashMap::new();
    for (i, listener) in listeners.iter().enumerate() {
        let Some(tcp) = listener.tcp().filter(|tcp| tcp.bind_to_port) else { continue };
        for address in &tcp.addresses {
            if matches!(&address.bind, BindAddress::Tcp { address, .. } if address.port() == 0) {
                continue;
            }
            if let Some(owner) = owners.insert(&address.bind, listener.name.as_str()) {
                let text = format!("listener '{owner}' has the same address");
                let twice: Result<(), Problems> = Err(Reason::Rule(text).into());
                all.keep(twice.at("address").at_index("listeners", i));
            }
        }
    }
    all.finish()
}

fn check_dynamic(dynamic: &DynamicResources, names: &Names<'_>) -> Result<(), Problems> {
    let mut all = Collector::default();
    if let Some(ads) = &dynamic.ads {
        all.keep(check_api(ads, names).at("ads_config"));
    }
    for (source, name) in [(&dynamic.cds, "cds_config"), (&dynamic.lds, "lds_config")] {
        let Some(source) = source else { continue };
        all.keep(check_source(source, names).at(name));
    }
    all.finish()
}

fn check_source(source: &ConfigSource, names: &Names<'_>) -> Result<(), Problems> {
    match &source.kind {
        SourceKind::Api(api) => check_api(api, names).at("api_config_source"),
        // Envoy takes a reference to ADS without an `ads_config`; nothing ever comes then.
        SourceKind::Ads | SourceKind::Path(_) => Ok(()),
    }
}

/// Envoy: "must have a statically defined non-EDS cluster".
fn check_api(api: &ApiSource, names: &Names<'_>) -> Result<(), Problems> {
    let mut all = Collector::default();
    for (i, service) in api.services.iter().enumerate() {
        let name = service.cluster.as_str();
        if names.servers.contains(name) {
            continue;
        }
        let problem = if names.all.contains(name) {
            let must = "a static cluster that is not found by EDS itself".into();
            Reason::Invalid { got: format!("'{name}'"), must }.into()
        } else {
            names.unknown(name)
        };
        let refused: Result<(), Problems> = Err(problem);
        let refused = refused.at("cluster_name").at("envoy_grpc");
        all.keep(refused.at_index("grpc_services", i));
    }
    all.finish()
}

fn check_routes(listener: &ListenerConfig, names: &Names<'_>) -> Result<(), Problems> {
    let mut all = Collector::default();
    let Some(tcp) = listener.tcp() else { return Ok(()) };
    for (i, chain) in tcp.filter_chains.iter().enumerate() {
        let Some(manager) = chain.manager() else { continue };
        let checked = check_manager(&manager.routes, names);
        let checked = checked.at("typed_config").at_index("filters", 0);
        all.keep(checked.at_index("filter_chains", i));
    }
    if let Some(manager) = tcp.default_filter_chain.as_ref().and_then(|c| c.manager()) {
        let checked = check_manager(&manager.routes, names);
        all.keep(checked.at("typed_config").at_index("filters", 0).at("default_filter_chain"));
    }
    all.finish()
}

fn check_manager(routes: &RouteSource, names: &Names<'_>) -> Result<(), Problems> {
    match routes {
        RouteSource::Rds { source, .. } => {
            check_source(source, names).at("config_source").at("rds")
        }
        // `validate_clusters`: "defaults to true if the route table is statically defined".
        RouteSource::Inline(table) if table.validate_clusters == Some(false) => Ok(()),
        RouteSource::Inline(table) => check_table(table, names).at("route_config"),
    }
}

fn check_table(table: &RouteConfig, names: &Names<'_>) -> Result<(), Problems> {
    let mut all = Collector::default();
    for used in table.clusters().filter(|used| !names.all.contains(used.name.as_str())) {
        let unknown: Result<(), Problems> = Err(names.unknown(used.name.as_str()));
        let unknown = match used.weighted {
            None => unknown.at("cluster"),
            Some(k) => unknown.at("name").at_index("clusters", k).at("weighted_clusters"),
        };
        let unknown = unknown.at("route").at_index("routes", used.route);
        all.keep(unknown.at_index("virtual_hosts", used.virtual_host));
    }
    for used in table.mirrors().into_iter().filter(|m| !names.all.contains(m.name.as_str())) {
        let mut unknown: Result<(), Problems> = Err(names.unknown(used.name.as_str()));
        unknown = unknown.at("cluster").at_index("request_mirror_policies", used.policy);
        if let Some(route) = used.route {
            unknown = unknown.at("route").at_index("routes", route);
        }
        if let Some(host) = used.virtual_host {
            unknown = unknown.at_index("virtual_hosts", host);
        }
        all.keep(unknown);
    }
    all.finish()
}

/// Envoy: "node 'id' and 'cluster' are required", as soon as a management server is spoken to.
fn check_node(config: &BootstrapConfig) -> Result<(), Problems> {
    let needs = config.dynamic.ads.is_some() || sources(config).any(is_api);
    let (id, cluster) = (&config.node.id, &config.node.cluster);
    if !needs || !(id.is_empty() || cluster.is_empty()) {
        return Ok(());
    }
    let missing = if id.is_empty() { "id" } else { "cluster" };
    let text = "must be set where a management server is used (or by --service-node and \
                --service-cluster)";
    Err(Reason::Rule(text.into()).into()).at(missing).at("node")
}

fn is_api(source: &ConfigSource) -> bool {
    matches!(source.kind, SourceKind::Api(_))
}

fn sources(config: &BootstrapConfig) -> impl Iterator<Item = &ConfigSource> {
    let dynamic = config.dynamic.cds.iter().chain(&config.dynamic.lds);
    let clusters = config.clusters.iter().filter_map(|c| match &c.value.discovery {
        Discovery::Eds { source, .. } => Some(source),
        Discovery::Static | Discovery::Dns(_) => None,
    });
    let managers = config.listeners.iter().flat_map(|l| l.value.managers());
    let routes = managers.filter_map(|manager| match &manager.routes {
        RouteSource::Rds { source, .. } => Some(source),
        RouteSource::Inline(_) => None,
    });
    dynamic.chain(clusters).chain(routes)
}
