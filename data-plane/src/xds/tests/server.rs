//! A management server that a test plays by hand: it sees each request and sends what it is told.

use std::net::SocketAddr;
use std::path::PathBuf;

use proto::envoy::service::discovery::v3 as pb;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::google::protobuf::Any;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::LONG;
use crate::base::task::{self, Task};
use crate::config::address::{Address, Pipe};
use crate::xds::TypeUrl;

/// Where a server listens.
#[derive(Clone, Debug)]
pub(in crate::xds) enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Endpoint {
    pub(super) fn address(&self) -> Address {
        match self {
            Self::Tcp(address) => Address::Ip(*address),
            Self::Unix(path) => {
                Address::Pipe(Pipe { path: path.display().to_string().into(), mode: 0 })
            }
        }
    }
}

/// A stream as the server sees it.
pub(super) struct Stream<Q, R> {
    pub(super) metadata: MetadataMap,
    pub(super) requests: Streaming<Q>,
    pub(super) responses: mpsc::Sender<Result<R, Status>>,
}

pub(super) type SotwStream = Stream<pb::DiscoveryRequest, pb::DiscoveryResponse>;
pub(super) type DeltaStream = Stream<pb::DeltaDiscoveryRequest, pb::DeltaDiscoveryResponse>;

/// A running server; it and its connections end when this drops.
pub(super) struct Server {
    pub(super) endpoint: Endpoint,
    pub(super) sotw: mpsc::Receiver<SotwStream>,
    pub(super) delta: mpsc::Receiver<DeltaStream>,
    task: Task,
}

struct Service {
    sotw: mpsc::Sender<SotwStream>,
    delta: mpsc::Sender<DeltaStream>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(super) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
        let (service, sotw, delta) = Service::new();
        let task = task::spawn("test-server", async move {
            let router = tonic::transport::Server::builder().add_service(service);
            router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { endpoint, sotw, delta, task }
    }

    pub(super) async fn start_unix(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let (service, sotw, delta) = Service::new();
        let task = task::spawn("test-server", async move {
            let router = tonic::transport::Server::builder().add_service(service);
            router.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
        Self { endpoint: Endpoint::Unix(path), sotw, delta, task }
    }

    /// Ends the server and gives its port free.
    pub(super) async fn stop(self) -> SocketAddr {
        let Endpoint::Tcp(address) = self.endpoint else { panic!("a TCP server") };
        drop(self.task);
        while TcpListener::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        address
    }

    pub(super) async fn next_sotw(&mut self) -> SotwStream {
        tokio::time::timeout(LONG, self.sotw.recv()).await.expect("a stream in time").unwrap()
    }

    pub(super) async fn next_delta(&mut self) -> DeltaStream {
        tokio::time::timeout(LONG, self.delta.recv()).await.expect("a stream in time").unwrap()
    }
}

impl<Q, R> Stream<Q, R> {
    pub(super) async fn request(&mut self) -> Q {
        let request = tokio::time::timeout(LONG, self.requests.message()).await;
        request.expect("a request in time").expect("the stream lives").expect("the stream is open")
    }

    pub(super) async fn send(&self, response: R) {
        self.responses.send(Ok(response)).await.expect("the client listens");
    }
}

impl SotwStream {
    pub(super) async fn send_resources(&self, url: &TypeUrl, version: &str, bodies: &[&str]) {
        let any = |body: &&str| Any { type_url: url.to_string(), value: body.as_bytes().to_vec() };
        self.send(pb::DiscoveryResponse {
            type_url: url.to_string(),
            version_info: version.into(),
            nonce: version.into(),
            resources: bodies.iter().map(any).collect(),
            ..Default::default()
        })
        .await;
    }
}

impl Service {
    fn new() -> (
        AggregatedDiscoveryServiceServer<Self>,
        mpsc::Receiver<SotwStream>,
        mpsc::Receiver<DeltaStream>,
    ) {
        let (sotw, sotw_streams) = mpsc::channel(8);
        let (delta, delta_streams) = mpsc::channel(8);
        let service = AggregatedDiscoveryServiceServer::new(Self { sotw, delta });
        (service, sotw_streams, delta_streams)
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<pb::DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        ReceiverStream<Result<pb::DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (responses, out) = mpsc::channel(8);
        let metadata = request.metadata().clone();
        let requests = request.into_inner();
        self.sotw.send(Stream { metadata, requests, responses }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(out)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, out) = mpsc::channel(8);
        let metadata = request.metadata().clone();
        let requests = request.into_inner();
        self.delta.send(Stream { metadata, requests, responses }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(out)))
    }
}
