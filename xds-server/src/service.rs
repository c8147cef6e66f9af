//! The discovery services: each hands its streams to [`crate::stream`].
//!
//! Aggregated, and one service each for listeners, routes, clusters and endpoints, in both
//! variants. No rule of the protocol stands here.

use proto::envoy::service::cluster::v3::cluster_discovery_service_server as cds;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server as ads;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::envoy::service::endpoint::v3::endpoint_discovery_service_server as eds;
use proto::envoy::service::listener::v3::listener_discovery_service_server as lds;
use proto::envoy::service::route::v3::route_discovery_service_server as rds;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status as Code, Streaming};

use crate::session::Scope;
use crate::snapshot::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use crate::stream::{self, Delta, Shared, Sotw};

/// Largest request that is read: a reconnecting client names everything it holds (K5).
pub const REQUEST_BYTES_MAX: usize = 64 << 20;

/// Names of the services, as reflection and health know them.
pub const SERVICE_NAMES: [&str; 5] = [
    "envoy.service.discovery.v3.AggregatedDiscoveryService",
    "envoy.service.listener.v3.ListenerDiscoveryService",
    "envoy.service.route.v3.RouteDiscoveryService",
    "envoy.service.cluster.v3.ClusterDiscoveryService",
    "envoy.service.endpoint.v3.EndpointDiscoveryService",
];

/// All discovery services of a server.
#[must_use]
pub fn routes(shared: &Shared) -> Routes {
    let service = || Discovery { shared: shared.clone() };
    macro_rules! limited {
        ($server:expr) => {
            $server
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(usize::MAX)
        };
    }
    Routes::new(limited!(ads::AggregatedDiscoveryServiceServer::new(service())))
        .add_service(limited!(lds::ListenerDiscoveryServiceServer::new(service())))
        .add_service(limited!(rds::RouteDiscoveryServiceServer::new(service())))
        .add_service(limited!(cds::ClusterDiscoveryServiceServer::new(service())))
        .add_service(limited!(eds::EndpointDiscoveryServiceServer::new(service())))
}

struct Discovery {
    shared: Shared,
}

type SotwReplies = ReceiverStream<Result<DiscoveryResponse, Code>>;
type DeltaReplies = ReceiverStream<Result<DeltaDiscoveryResponse, Code>>;

impl Discovery {
    fn sotw(
        &self,
        scope: Scope,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Response<SotwReplies> {
        let replies = stream::spawn_stream::<Sotw>(&self.shared, scope, request.into_inner());
        Response::new(ReceiverStream::new(replies))
    }

    fn delta(
        &self,
        scope: Scope,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Response<DeltaReplies> {
        let replies = stream::spawn_stream::<Delta>(&self.shared, scope, request.into_inner());
        Response::new(ReceiverStream::new(replies))
    }
}

#[tonic::async_trait]
impl ads::AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = SotwReplies;
    type DeltaAggregatedResourcesStream = DeltaReplies;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<SotwReplies>, Code> {
        Ok(self.sotw(Scope::Aggregated, request))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<DeltaReplies>, Code> {
        Ok(self.delta(Scope::Aggregated, request))
    }
}

/// A service of one type: stream, delta and fetch differ between services by name only.
macro_rules! service_of_one_type {
    ($service:path, $type_url:expr, $stream:ident: $Stream:ident, $delta:ident: $Delta:ident,
     $fetch:ident) => {
        #[tonic::async_trait]
        impl $service for Discovery {
            type $Stream = SotwReplies;
            type $Delta = DeltaReplies;

            async fn $stream(
                &self,
                request: Request<Streaming<DiscoveryRequest>>,
            ) -> Result<Response<SotwReplies>, Code> {
                Ok(self.sotw(Scope::Single($type_url.into()), request))
            }

            async fn $delta(
                &self,
                request: Request<Streaming<DeltaDiscoveryRequest>>,
            ) -> Result<Response<DeltaReplies>, Code> {
                Ok(self.delta(Scope::Single($type_url.into()), request))
            }

            async fn $fetch(
                &self,
                request: Request<DiscoveryRequest>,
            ) -> Result<Response<DiscoveryResponse>, Code> {
                let scope = Scope::Single($type_url.into());
                stream::fetch(&self.shared, scope, request.into_inner()).map(Response::new)
            }
        }
    };
}

service_of_one_type!(
    lds::ListenerDiscoveryService, LISTENER,
    stream_listeners: StreamListenersStream,
    delta_listeners: DeltaListenersStream, fetch_listeners
);
service_of_one_type!(
    rds::RouteDiscoveryService, ROUTE,
    stream_routes: StreamRoutesStream,
    delta_routes: DeltaRoutesStream, fetch_routes
);
service_of_one_type!(
    cds::ClusterDiscoveryService, CLUSTER,
    stream_clusters: StreamClustersStream,
    delta_clusters: DeltaClustersStream, fetch_clusters
);
service_of_one_type!(
    eds::EndpointDiscoveryService, ENDPOINT,
    stream_endpoints: StreamEndpointsStream,
    delta_endpoints: DeltaEndpointsStream, fetch_endpoints
);
