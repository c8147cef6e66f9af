//! How a cluster finds its endpoints: `type`, `eds_cluster_config`, `load_assignment`, DNS.

use std::net::SocketAddr;
use std::time::Duration;

use proto::envoy::config::cluster::v3 as pb;
use proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily as PbFamily,
};
use proto::envoy::config::core::v3::{Address, DnsResolutionConfig, TypedExtensionConfig};
use proto::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as NewFamily;
use proto::envoy::extensions::clusters::dns::v3::DnsCluster;
use proto::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use proto::google::protobuf::Duration as PbDuration;

use super::{Discovery, DnsConfig, DnsHosts, DnsLookupFamily};
use crate::config::address::Address as Place;
use crate::config::endpoint::{self, EndpointsConfig};
use crate::config::error::{At, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::resource::ParseCx;
use crate::config::source::Backoff;
use crate::config::{address, field, source};

/// What was found out about the endpoints of a cluster.
pub(super) struct Found {
    pub(super) discovery: Discovery,
    pub(super) load_assignment: EndpointsConfig,
}

pub(super) fn parse(cluster: &pb::Cluster, cx: &ParseCx<'_>) -> Result<Found, Problems> {
    let kind = match &cluster.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => field::enumeration(*kind, "type")?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return parse_custom(custom, cluster).at("cluster_type");
        }
    };
    let discovery = match kind {
        DiscoveryType::Static => Discovery::Static,
        DiscoveryType::StrictDns => Discovery::Dns(parse_dns(cluster, DnsHosts::Every)?),
        DiscoveryType::LogicalDns => Discovery::Dns(parse_dns(cluster, DnsHosts::First)?),
        DiscoveryType::Eds => parse_eds(cluster, cx)?,
        DiscoveryType::OriginalDst => {
            let what = format!("cluster type {}", kind.as_str_name());
            return Err(Reason::NotSupported { what }.into()).at("type");
        }
    };
    if kind != DiscoveryType::Eds && cluster.eds_cluster_config.is_some() {
        let text = "may be set for a cluster of type EDS only".into();
        return Err(Reason::Rule(text).into()).at("eds_cluster_config");
    }
    let load_assignment = parse_assignment(cluster, &discovery)?;
    Ok(Found { discovery, load_assignment })
}

/// `cluster_type`: the one that is built is DNS.
fn parse_custom(custom: &CustomClusterType, cluster: &pb::Cluster) -> Result<Found, Problems> {
    let any = custom.typed_config.clone().unwrap_or_default();
    let opened = extension::open(&any).at("typed_config")?;
    let discovery = match opened.body {
        Body::Message(bytes) if opened.message == "envoy.extensions.clusters.dns.v3.DnsCluster" => {
            let dns = extension::decode(&bytes).and_then(parse_dns_cluster);
            Discovery::Dns(dns.at("typed_config")?)
        }
        _ => {
            let reason = extension::unknown("cluster type", &custom.name, &opened.message);
            return Err(reason.into());
        }
    };
    Ok(Found { load_assignment: parse_assignment(cluster, &discovery)?, discovery })
}

fn parse_dns_cluster(config: DnsCluster) -> Result<DnsConfig, Problems> {
    field::refuse(config.dns_min_refresh_rate.is_some(), "dns_min_refresh_rate")?;
    let d = DnsConfig::default();
    let resolver = config.typed_dns_resolver_config.as_ref().map(parse_resolver).transpose();
    let failure = config.dns_failure_refresh_rate;
    let failure = failure.map(|rate| parse_failure_rate(rate.base_interval, rate.max_interval));
    let rate = field::duration(config.dns_refresh_rate, "dns_refresh_rate")?;
    Ok(DnsConfig {
        // One endpoint with all addresses is what LOGICAL_DNS is.
        hosts: match config.all_addresses_in_single_endpoint {
            true => DnsHosts::First,
            false => DnsHosts::Every,
        },
        refresh_rate: rate.unwrap_or(d.refresh_rate),
        failure_refresh_rate: failure.transpose().at("dns_failure_refresh_rate")?,
        jitter: field::duration(config.dns_jitter, "dns_jitter")?.unwrap_or(Duration::ZERO),
        respect_ttl: config.respect_dns_ttl,
        lookup_family: match field::enumeration(config.dns_lookup_family, "dns_lookup_family")? {
            NewFamily::All => DnsLookupFamily::All,
            NewFamily::Unspecified | NewFamily::Auto => DnsLookupFamily::Auto,
            NewFamily::V4Only => DnsLookupFamily::V4Only,
            NewFamily::V4Preferred => DnsLookupFamily::V4Preferred,
            NewFamily::V6Only => DnsLookupFamily::V6Only,
        },
        ..resolver.at("typed_dns_resolver_config")?.unwrap_or(d)
    })
}

fn parse_failure_rate(
    base: Option<PbDuration>,
    max: Option<PbDuration>,
) -> Result<Backoff, Problems> {
    let base = field::required(base, "base_interval")?;
    let base = field::duration(Some(base), "base_interval")?.unwrap_or_default();
    let max = field::duration(max, "max_interval")?.unwrap_or(base * 10);
    if max < base {
        let text = "max_interval must be at least base_interval".into();
        return Err(Reason::Rule(text).into());
    }
    Ok(Backoff { base, max })
}

fn parse_eds(cluster: &pb::Cluster, cx: &ParseCx<'_>) -> Result<Discovery, Problems> {
    let config = field::required(cluster.eds_cluster_config.clone(), "eds_cluster_config")?;
    let at = "eds_cluster_config";
    let source = field::required(config.eds_config, "eds_config").at(at)?;
    let source = source::parse_dependency(source, cx).at("eds_config").at(at)?;
    let name = if config.service_name.is_empty() { &cluster.name } else { &config.service_name };
    Ok(Discovery::Eds { source, service_name: name.as_str().into() })
}

/// Which addresses may stand in the endpoints depends on who reads them.
fn parse_assignment(
    cluster: &pb::Cluster,
    discovery: &Discovery,
) -> Result<EndpointsConfig, Problems> {
    let parsed = match cluster.load_assignment.clone() {
        None => EndpointsConfig::empty(&cluster.name),
        Some(assignment) => endpoint::parse::parse(assignment).at("load_assignment")?,
    };
    match discovery {
        Discovery::Static => endpoint::parse::ips_only(&parsed),
        Discovery::Dns(DnsConfig { hosts: DnsHosts::First, .. }) => one_name(&parsed),
        Discovery::Dns(_) | Discovery::Eds { .. } => Ok(()),
    }
    .at("load_assignment")?;
    Ok(parsed)
}

/// A LOGICAL_DNS cluster is one name. Envoy takes a pipe and never has a host then.
fn one_name(endpoints: &EndpointsConfig) -> Result<(), Problems> {
    let [locality] = endpoints.localities.as_slice() else { return Err(not_one().into()) };
    let [endpoint] = locality.endpoints.as_slice() else { return Err(not_one().into()) };
    match endpoint.address {
        Place::Ip(_) | Place::Name { .. } => Ok(()),
        Place::Pipe(_) => {
            let (got, must) = ("a pipe".into(), "a socket_address in a LOGICAL_DNS cluster".into());
            Err(Reason::Invalid { got, must }.into())
        }
    }
}

fn not_one() -> Reason {
    let text = "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single \
                lb_endpoint";
    Reason::Rule(text.into())
}

fn parse_dns(cluster: &pb::Cluster, hosts: DnsHosts) -> Result<DnsConfig, Problems> {
    let d = DnsConfig::default();
    let failure = cluster.dns_failure_refresh_rate;
    let failure = failure.map(|rate| parse_failure_rate(rate.base_interval, rate.max_interval));
    let mut dns = resolver(cluster)?;
    dns.hosts = hosts;
    dns.refresh_rate =
        field::duration(cluster.dns_refresh_rate, "dns_refresh_rate")?.unwrap_or(d.refresh_rate);
    if dns.refresh_rate.is_zero() {
        let must = "greater than 0".into();
        return Err(Reason::Invalid { got: "0s".into(), must }.into()).at("dns_refresh_rate");
    }
    dns.failure_refresh_rate = failure.transpose().at("dns_failure_refresh_rate")?;
    dns.jitter = field::duration(cluster.dns_jitter, "dns_jitter")?.unwrap_or(Duration::ZERO);
    dns.respect_ttl = cluster.respect_dns_ttl;
    dns.lookup_family = match field::enumeration(cluster.dns_lookup_family, "dns_lookup_family")? {
        PbFamily::All => DnsLookupFamily::All,
        PbFamily::Auto => DnsLookupFamily::Auto,
        PbFamily::V4Only => DnsLookupFamily::V4Only,
        PbFamily::V4Preferred => DnsLookupFamily::V4Preferred,
        PbFamily::V6Only => DnsLookupFamily::V6Only,
    };
    Ok(dns)
}

fn resolver(cluster: &pb::Cluster) -> Result<DnsConfig, Problems> {
    if let Some(extension) = &cluster.typed_dns_resolver_config {
        return parse_resolver(extension).at("typed_dns_resolver_config");
    }
    if let Some(config) = cluster.dns_resolution_config.clone() {
        return parse_resolution(config).at("dns_resolution_config");
    }
    Ok(DnsConfig {
        resolvers: parse_servers(cluster.dns_resolvers.clone(), "dns_resolvers")?,
        use_tcp: cluster.use_tcp_for_dns_lookups,
        ..DnsConfig::default()
    })
}

/// The old form of a resolver's configuration.
///
/// # Errors
/// If a server is no IP address.
pub(in crate::config) fn parse_resolution(
    config: DnsResolutionConfig,
) -> Result<DnsConfig, Problems> {
    let options = config.dns_resolver_options.unwrap_or_default();
    Ok(DnsConfig {
        resolvers: parse_servers(config.resolvers, "resolvers")?,
        use_tcp: options.use_tcp_for_dns_lookups,
        no_default_search_domain: options.no_default_search_domain,
        ..DnsConfig::default()
    })
}

/// A resolver extension: c-ares and getaddrinfo are taken for what they say about servers.
///
/// # Errors
/// If it is another one, or a server is no IP address.
pub(in crate::config) fn parse_resolver(
    extension: &TypedExtensionConfig,
) -> Result<DnsConfig, Problems> {
    let any = field::required(extension.typed_config.as_ref(), "typed_config")?;
    let opened = extension::open(any).at("typed_config")?;
    match (opened.message.as_str(), opened.body) {
        (
            "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            Body::Message(bytes),
        ) => {
            let config: CaresDnsResolverConfig = extension::decode(&bytes).at("typed_config")?;
            parse_cares(config).at("typed_config")
        }
        (
            "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig",
            _,
        ) => Ok(DnsConfig::default()),
        (message, _) => Err(extension::unknown("DNS resolver", &extension.name, message).into()),
    }
}

fn parse_cares(config: CaresDnsResolverConfig) -> Result<DnsConfig, Problems> {
    let options = config.dns_resolver_options.unwrap_or_default();
    Ok(DnsConfig {
        resolvers: parse_servers(config.resolvers, "resolvers")?,
        use_tcp: options.use_tcp_for_dns_lookups,
        no_default_search_domain: options.no_default_search_domain,
        ..DnsConfig::default()
    })
}

fn parse_servers(list: Vec<Address>, name: &'static str) -> Result<Vec<SocketAddr>, Problems> {
    let list = list.into_iter().enumerate();
    list.map(|(i, server)| address::parse_ip(server).at_index(name, i)).collect()
}
