//! A service, or a subset of one, as a cluster with its endpoints.
//!
//! Literal addresses come by EDS, so that a change of endpoints touches nothing else. A single
//! DNS name makes the whole cluster `STRICT_DNS`, which takes addresses as well. What the registry
//! has comes by EDS too, through [`assignment`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proto::convert::pack;
use proto::envoy::config::cluster::v3::Cluster;
use proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
};
use proto::envoy::config::core::v3::{HealthStatus, Locality};
use proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use proto::google::protobuf::UInt32Value;

use super::{ads, metadata, socket_address};
use crate::intent::{self, Host, Service, Subset};
use crate::share::Discovered;
use crate::snapshot::{References, Resource};

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

/// An instance that the registry has, as a load assignment shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// Its share.
    pub weight: u32,
    /// Where it runs; may be empty.
    pub zone: String,
    /// How it is.
    pub health: HealthStatus,
}

/// The load assignment of a cluster with these endpoints.
///
/// It is made anew with each change of an instance, so it does without what is dear: no map of it
/// has two entries, so its bytes are canonical as they are, and all values were checked before.
#[must_use]
pub fn assignment(cluster: &Discovered, peers: impl IntoIterator<Item = Peer>) -> Resource {
    let mut zones: BTreeMap<String, Vec<LbEndpoint>> = BTreeMap::new();
    for peer in peers {
        let address = socket_address(peer.address.ip().to_string(), peer.address.port());
        let identifier = Endpoint { address, ..Default::default() };
        let endpoint = LbEndpoint {
            health_status: peer.health as i32,
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(identifier)),
            load_balancing_weight: (peer.weight != 1).then_some(UInt32Value { value: peer.weight }),
            metadata: metadata(&cluster.service),
        };
        zones.entry(peer.zone).or_default().push(endpoint);
    }
    let locality = |zone: String| Locality { zone, ..Default::default() };
    let endpoints = zones.into_iter().map(|(zone, lb_endpoints)| LocalityLbEndpoints {
        locality: (!zone.is_empty()).then(|| locality(zone)),
        lb_endpoints,
        ..Default::default()
    });
    let message = ClusterLoadAssignment {
        cluster_name: cluster.cluster.clone(),
        endpoints: endpoints.collect(),
        ..Default::default()
    };
    let place = cluster.place.clone();
    Resource::new(&cluster.cluster, pack(&message), References::default(), place)
}
