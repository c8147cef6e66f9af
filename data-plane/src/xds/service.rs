//! Which gRPC method serves which type (§2.1 of the protocol notes).

use super::TypeUrl;
use super::stream::Variant;

/// ADS, delta.
pub const ADS_DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// ADS, state of the world.
pub const ADS_SOTW: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// The method of the aggregated service.
#[must_use]
pub fn aggregated(variant: Variant) -> &'static str {
    match variant {
        Variant::Delta => ADS_DELTA,
        Variant::Sotw => ADS_SOTW,
    }
}

/// The method of the service of one type; `None` if this client knows no such service.
#[must_use]
pub fn of_type(type_url: &TypeUrl, variant: Variant) -> Option<&'static str> {
    let (_, sotw, delta) = METHODS.iter().find(|(known, _, _)| known == type_url)?;
    Some(match variant {
        Variant::Delta => delta,
        Variant::Sotw => sotw,
    })
}

/// Type, state of the world, delta.
const METHODS: [(TypeUrl, &str, &str); 4] = [
    (
        TypeUrl::CLUSTER,
        "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters",
        "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters",
    ),
    (
        TypeUrl::ENDPOINTS,
        "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints",
        "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints",
    ),
    (
        TypeUrl::LISTENER,
        "/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners",
        "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners",
    ),
    (
        TypeUrl::ROUTES,
        "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes",
        "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes",
    ),
];
