//! The names that a resource refers to.
//!
//! Only references that this server would be asked for count: by ADS, or by `self` from a
//! resource that came over ADS. A name in a file source or on another server is not ours.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto::convert::unpack;
use proto::envoy::config::cluster::v3::{Cluster, cluster};
use proto::envoy::config::core::v3::{ConfigSource, config_source::ConfigSourceSpecifier};
use proto::envoy::config::listener::v3::{Filter, Listener, filter};
use proto::envoy::config::route::v3::{
    RouteAction, RouteConfiguration, ScopedRouteConfiguration, VirtualHost, route, route_action,
};
use proto::envoy::extensions::clusters::aggregate::v3::ClusterConfig as Aggregate;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use proto::google::protobuf::Any;
use proto::prost::Message as _;

use crate::snapshot::{CLUSTER, LISTENER, ROUTE, References, SCOPED_ROUTE, VIRTUAL_HOST};

/// What the resource refers to; nothing where its bytes do not decode.
#[must_use]
pub fn references(any: &Any) -> References {
    let bytes = any.value.as_slice();
    let mut found = Found::default();
    match any.type_url.as_str() {
        LISTENER => Listener::decode(bytes).iter().for_each(|listener| found.listener(listener)),
        ROUTE => RouteConfiguration::decode(bytes).iter().for_each(|config| found.config(config)),
        SCOPED_ROUTE => {
            if let Ok(scope) = ScopedRouteConfiguration::decode(bytes) {
                found.scope(&scope);
            }
        }
        VIRTUAL_HOST => VirtualHost::decode(bytes).iter().for_each(|host| found.host(host)),
        CLUSTER => Cluster::decode(bytes).iter().for_each(|cluster| found.cluster(cluster)),
        _ => {}
    }
    References {
        clusters: names(found.clusters),
        endpoints: names(found.endpoints),
        routes: names(found.routes),
    }
}

fn names(found: BTreeSet<String>) -> Vec<Arc<str>> {
    found.into_iter().filter(|name| !name.is_empty()).map(Into::into).collect()
}

#[derive(Default)]
struct Found {
    clusters: BTreeSet<String>,
    endpoints: BTreeSet<String>,
    routes: BTreeSet<String>,
}

impl Found {
    fn listener(&mut self, listener: &Listener) {
        let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
        chains.flat_map(|chain| &chain.filters).for_each(|filter| self.filter(filter));
        let api = listener.api_listener.as_ref().and_then(|api| api.api_listener.as_ref());
        if let Some(manager) = api.and_then(unpack::<hcm::HttpConnectionManager>) {
            self.manager(&manager);
        }
    }

    fn filter(&mut self, filter: &Filter) {
        let Some(filter::ConfigType::TypedConfig(any)) = &filter.config_type else { return };
        if let Some(manager) = unpack::<hcm::HttpConnectionManager>(any) {
            self.manager(&manager);
        } else if let Some(proxy) = unpack::<tcp::TcpProxy>(any) {
            use tcp::tcp_proxy::ClusterSpecifier;
            match proxy.cluster_specifier {
                Some(ClusterSpecifier::Cluster(name)) => {
                    self.clusters.insert(name);
                }
                Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                    self.clusters.extend(weighted.clusters.into_iter().map(|c| c.name));
                }
                _ => {}
            }
        }
    }

    fn manager(&mut self, manager: &hcm::HttpConnectionManager) {
        use hcm::http_connection_manager::RouteSpecifier;
        match &manager.route_specifier {
            Some(RouteSpecifier::Rds(rds)) if is_ours(rds.config_source.as_ref()) => {
                self.routes.insert(rds.route_config_name.clone());
            }
            Some(RouteSpecifier::RouteConfig(config)) => self.config(config),
            Some(RouteSpecifier::ScopedRoutes(scoped)) => {
                use hcm::scoped_routes::ConfigSpecifier;
                if let Some(ConfigSpecifier::ScopedRouteConfigurationsList(list)) =
                    &scoped.config_specifier
                    && is_ours(scoped.rds_config_source.as_ref())
                {
                    list.scoped_route_configurations.iter().for_each(|scope| self.scope(scope));
                }
            }
            _ => {}
        }
    }

    fn scope(&mut self, scope: &ScopedRouteConfiguration) {
        match &scope.route_configuration {
            Some(config) => self.config(config),
            None => {
                self.routes.insert(scope.route_configuration_name.clone());
            }
        }
    }

    fn config(&mut self, config: &RouteConfiguration) {
        config.virtual_hosts.iter().for_each(|host| self.host(host));
        let mirrors = config.request_mirror_policies.iter();
        self.clusters.extend(mirrors.map(|mirror| mirror.cluster.clone()));
    }

    fn host(&mut self, host: &VirtualHost) {
        let mirrors = host.request_mirror_policies.iter();
        self.clusters.extend(mirrors.map(|mirror| mirror.cluster.clone()));
        for route in &host.routes {
            if let Some(route::Action::Route(action)) = &route.action {
                self.action(action);
            }
        }
    }

    fn action(&mut self, action: &RouteAction) {
        use route_action::ClusterSpecifier;
        match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => {
                self.clusters.insert(name.clone());
            }
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                self.clusters.extend(weighted.clusters.iter().map(|c| c.name.clone()));
            }
            _ => {}
        }
        let mirrors = action.request_mirror_policies.iter();
        self.clusters.extend(mirrors.map(|mirror| mirror.cluster.clone()));
    }

    fn cluster(&mut self, cluster: &Cluster) {
        use cluster::{ClusterDiscoveryType, DiscoveryType};
        match &cluster.cluster_discovery_type {
            Some(ClusterDiscoveryType::Type(kind)) if *kind == DiscoveryType::Eds as i32 => {
                let config = cluster.eds_cluster_config.clone().unwrap_or_default();
                if is_ours(config.eds_config.as_ref()) {
                    let own = config.service_name.is_empty();
                    let name = if own { cluster.name.clone() } else { config.service_name };
                    self.endpoints.insert(name);
                }
            }
            Some(ClusterDiscoveryType::ClusterType(custom)) => {
                let aggregate = custom.typed_config.as_ref().and_then(unpack::<Aggregate>);
                self.clusters.extend(aggregate.map(|a| a.clusters).unwrap_or_default());
            }
            _ => {}
        }
    }
}

fn is_ours(source: Option<&ConfigSource>) -> bool {
    let specifier = source.and_then(|source| source.config_source_specifier.as_ref());
    matches!(specifier, Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)))
}
