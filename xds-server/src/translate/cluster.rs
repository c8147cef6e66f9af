//! A service, or a subset of one, as a cluster with its endpoints.
//!
//! Literal addresses come by EDS, so that a change of endpoints touches nothing else. A single
//! DNS name makes the whole cluster `STRICT_DNS`, which takes addresses as well.

use proto::envoy::config::cluster::v3::Cluster;
use proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
};
use proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};

use super::{ads, metadata, socket_address};
use crate::intent::{self, Host, Service, Subset};

/// What a cluster consists of.
pub(super) struct Parts {
    pub(super) cluster: Cluster,
    /// Served on its own, where the cluster asks for it.
    pub(super) assignment: Option<ClusterLoadAssignment>,
    pub(super) endpoints: usize,
}

pub(super) fn build(name: &str, service: &Service, subset: Option<&Subset>) -> Parts {
    let belongs = |endpoint: &&intent::Endpoint| {
        subset.is_none_or(|subset| {
            subset.labels.iter().all(|(key, value)| endpoint.labels.get(key) == Some(value))
        })
    };
    let endpoints: Vec<&intent::Endpoint> = service.endpoints.iter().filter(belongs).collect();
    let by_dns = endpoints.iter().any(|endpoint| matches!(endpoint.host, Host::Name(_)));
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: endpoints.iter().map(|e| lb_endpoint(e, &service.name)).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let discovery = if by_dns { DiscoveryType::StrictDns } else { DiscoveryType::Eds };
    let mut cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery as i32)),
        metadata: metadata(&service.name),
        ..Default::default()
    };
    if by_dns {
        // Names such as localhost have both families where only IPv4 is listened on.
        cluster.dns_lookup_family = DnsLookupFamily::V4Preferred as i32;
        cluster.load_assignment = Some(assignment);
        return Parts { cluster, assignment: None, endpoints: endpoints.len() };
    }
    let eds = EdsClusterConfig { eds_config: ads(), ..Default::default() };
    cluster.eds_cluster_config = Some(eds);
    Parts { cluster, assignment: Some(assignment), endpoints: endpoints.len() }
}

fn lb_endpoint(endpoint: &intent::Endpoint, service: &str) -> LbEndpoint {
    let host = match &endpoint.host {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.clone(),
    };
    let address = socket_address(host, endpoint.port);
    let identifier = Endpoint { address, ..Default::default() };
    LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(identifier)),
        metadata: metadata(service),
        ..Default::default()
    }
}
