//! A whole server in this process, spoken to over sockets as clients do.

use std::fs;
use std::path::Path;

use proto::convert::unpack;
use proto::envoy::config::cluster::v3::Cluster;
use proto::envoy::config::core::v3::Node;
use proto::envoy::config::route::v3::RouteConfiguration;
use proto::envoy::service::cluster::v3::cluster_discovery_service_client as cds;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_client as ads;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::google::rpc;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::*;
use crate::snapshot::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use crate::source::Empty;

const MESH: &str = r#"version: 1
services:
  one: { endpoints: ["127.0.0.1:3001"] }
  two: { endpoints: ["127.0.0.1:3002"] }
gateways:
  edge: { listen: "127.0.0.1:8000" }
routes:
  - { name: web, gateway: edge, path: /, to: one }
"#;

/// A running server over a mesh file of its own.
struct Running {
    folder: TempDir,
    addresses: Addresses,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start(mesh: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mesh.yaml"), mesh).unwrap();
        let source = Source::Mesh(folder.path().join("mesh.yaml"));
        Self::over(folder, Options::local(source)).await
    }

    async fn over(folder: TempDir, options: Options) -> Self {
        let server = Server::start(options).await.expect("it starts");
        let addresses = server.addresses();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(server.run(shutdown));
        Self { folder, addresses, stop: Some(stop), task }
    }

    /// Replaces the mesh file as an editor does.
    fn write(&self, mesh: &str) {
        let path = self.folder.path();
        fs::write(path.join("new"), mesh).unwrap();
        fs::rename(path.join("new"), path.join("mesh.yaml")).unwrap();
    }

    async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.addresses.xds);
        Channel::from_shared(url).unwrap().connect().await.unwrap()
    }

    /// Status and body of a page.
    async fn page(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addresses.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn node(&self) -> Value {
        let (status, body) = self.page("/v1/nodes/n1").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Looks at a page until it shows what is wanted.
    async fn until(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        for _ in 0..2_000 {
            let body = self.page(path).await.1;
            if wanted(&body) {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{path} never showed it: {}", self.page(path).await.1);
    }

    async fn end(self) {
        self.ended().await;
    }

    /// Ends it and gives its folder back.
    async fn ended(mut self) -> TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap().unwrap();
        self.folder
    }
}

fn node(cluster: &str) -> Option<Node> {
    Some(Node { id: "n1".into(), cluster: cluster.into(), ..Default::default() })
}

/// One SotW stream; ACKs repeat the names asked for first.
struct Sotw {
    send: mpsc::Sender<DiscoveryRequest>,
    receive: Streaming<DiscoveryResponse>,
}

impl Sotw {
    async fn open(running: &Running) -> Self {
        let mut client = ads::AggregatedDiscoveryServiceClient::new(running.channel().await);
        let (send, requests) = mpsc::channel(16);
        // The answer's head comes with the first reply, so requests go first.
        send.send(Self::request(CLUSTER, &[])).await.unwrap();
        let stream = ReceiverStream::new(requests);
        let receive = client.stream_aggregated_resources(stream).await.unwrap().into_inner();
        Self { send, receive }
    }

    fn request(type_url: &str, names: &[&str]) -> DiscoveryRequest {
        DiscoveryRequest {
            node: node("edge"),
            type_url: type_url.into(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }
    }

    async fn ask(&self, type_url: &str, names: &[&str]) {
        self.send.send(Self::request(type_url, names)).await.unwrap();
    }

    async fn next(&mut self, type_url: &str) -> DiscoveryResponse {
        let reply = self.receive.message().await.unwrap().expect("a response");
        assert_eq!(reply.type_url, type_url);
        reply
    }

    async fn ack(&self, reply: &DiscoveryResponse, names: &[&str]) {
        let request = DiscoveryRequest {
            response_nonce: reply.nonce.clone(),
            version_info: reply.version_info.clone(),
            ..Self::request(&reply.type_url, names)
        };
        self.send.send(request).await.unwrap();
    }

    async fn nack(&self, reply: &DiscoveryResponse, names: &[&str], message: &str) {
        let error = rpc::Status { code: 13, message: message.into(), details: vec![] };
        let request = DiscoveryRequest {
            response_nonce: reply.nonce.clone(),
            error_detail: Some(error),
            ..Self::request(&reply.type_url, names)
        };
        self.send.send(request).await.unwrap();
    }
}

fn cluster_names(reply: &DiscoveryResponse) -> Vec<String> {
    reply.resources.iter().map(|any| unpack::<Cluster>(any).unwrap().name).collect()
}

/// 1. Boot over state of the world. 2. The route moves to another cluster: the new cluster comes
/// first, the old one goes last. 3. A bad file changes nothing. 4. The server stops: the stream
/// ends with UNAVAILABLE.
#[tokio::test]
async fn sotw_boot_update_bad_file_and_stop() {
    let running = Running::start(MESH).await;
    let mut stream = Sotw::open(&running).await;
    let clusters = stream.next(CLUSTER).await;
    assert_eq!(cluster_names(&clusters), ["one"]);
    stream.ack(&clusters, &[]).await;
    for (url, names) in [(ENDPOINT, &["one"][..]), (LISTENER, &[]), (ROUTE, &["edge"])] {
        stream.ask(url, names).await;
        let reply = stream.next(url).await;
        assert_eq!(reply.resources.len(), 1);
        stream.ack(&reply, names).await;
    }

    running.write(&MESH.replace("to: one", "to: two"));
    let both = stream.next(CLUSTER).await;
    assert_eq!(cluster_names(&both), ["one", "two"]);
    stream.ack(&both, &[]).await;
    let loads_nonce = running.until("/v1/nodes/n1", |body| body.contains(&both.version_info)).await;
    assert!(loads_nonce.contains(ENDPOINT));
    let mut request = Sotw::request(ENDPOINT, &["one", "two"]);
    // Nonces count up on a stream: 1 to 4 at the boot, endpoints were the second.
    request.response_nonce = "2".into();
    stream.send.send(request).await.unwrap();
    let loads = stream.next(ENDPOINT).await;
    assert_eq!(loads.resources.len(), 1);
    stream.ack(&loads, &["one", "two"]).await;
    let routes = stream.next(ROUTE).await;
    let config = unpack::<RouteConfiguration>(&routes.resources[0]).unwrap();
    assert!(format!("{config:?}").contains("Cluster(\"two\")"));
    stream.ack(&routes, &["edge"]).await;
    let last = stream.next(CLUSTER).await;
    assert_eq!(cluster_names(&last), ["two"]);
    stream.ack(&last, &[]).await;

    running.write("version: 1\nrouts: []\n");
    let refused = "gomesh_config_reloads_total{result=\"refused\"} 1";
    running.until("/metrics", |body| body.contains(refused)).await;
    let metrics = running.page("/metrics").await.1;
    assert!(metrics.contains("gomesh_snapshot_revision 2"), "{metrics}");
    assert!(metrics.contains("gomesh_xds_clients 1"), "{metrics}");
    assert!(metrics.contains("gomesh_xds_pushes_total{type=\"cds\"} 3"), "{metrics}");

    running.end().await;
    let end = stream.receive.message().await.expect_err("the stream ends");
    assert_eq!(end.code(), Code::Unavailable);
}

/// 1. Boot over delta with a wildcard. 2. A change sends what changed. 3. On a new stream with
/// versions nothing is sent again, and the page says that the node holds it.
#[tokio::test]
async fn delta_boot_update_and_reconnect() {
    let running = Running::start(MESH).await;
    let mut client = ads::AggregatedDiscoveryServiceClient::new(running.channel().await);
    let request = |held: &[(String, String)], nonce: &str| DeltaDiscoveryRequest {
        node: node("edge"),
        type_url: CLUSTER.into(),
        initial_resource_versions: held.iter().cloned().collect(),
        response_nonce: nonce.into(),
        ..Default::default()
    };
    let (send, requests) = mpsc::channel(16);
    send.send(request(&[], "")).await.unwrap();
    let stream = client.delta_aggregated_resources(ReceiverStream::new(requests)).await.unwrap();
    let mut stream = stream.into_inner();
    let first = stream.message().await.unwrap().unwrap();
    let held = |reply: &DeltaDiscoveryResponse| -> Vec<(String, String)> {
        reply.resources.iter().map(|r| (r.name.clone(), r.version.clone())).collect()
    };
    assert_eq!(held(&first).len(), 1);
    send.send(request(&[], &first.nonce)).await.unwrap();

    running.write(&MESH.replace("to: one", "split: { one: 1, two: 1 }"));
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(second.resources.len(), 1);
    assert_eq!(second.resources[0].name, "two");
    let all: Vec<_> = held(&first).into_iter().chain(held(&second)).collect();
    drop((send, stream));
    running.until("/v1/nodes/n1", |body| body.contains("\"connected\":false")).await;

    let (send, requests) = mpsc::channel(16);
    send.send(request(&all, "")).await.unwrap();
    send.send(DeltaDiscoveryRequest {
        type_url: ENDPOINT.into(),
        resource_names_subscribe: vec!["two".into()],
        ..Default::default()
    })
    .await
    .unwrap();
    let stream = client.delta_aggregated_resources(ReceiverStream::new(requests)).await.unwrap();
    let next = stream.into_inner().message().await.unwrap().unwrap();
    assert_eq!(next.type_url, ENDPOINT, "clusters are not sent again");
    let view = running.node().await;
    let cds = &view["types"][CLUSTER];
    assert_eq!(cds["sent"], json!(second.system_version_info));
    assert_eq!(cds["acked"], cds["sent"]);
    running.end().await;
}

#[tokio::test]
async fn s12_nack_is_shown_and_not_answered() {
    let running = Running::start(MESH).await;
    let mut stream = Sotw::open(&running).await;
    let clusters = stream.next(CLUSTER).await;
    stream.nack(&clusters, &[], "no such thing").await;
    stream.ask(LISTENER, &[]).await;
    stream.next(LISTENER).await;
    let view = running.node().await;
    assert_eq!(view["connected"], json!(true));
    let cds = &view["types"][CLUSTER];
    assert_eq!(cds["sent"], json!(clusters.version_info));
    assert_eq!(cds["acked"], Value::Null);
    assert_eq!(cds["nack"]["version"], json!(clusters.version_info));
    assert_eq!(cds["nack"]["message"], json!("no such thing"));
    assert_eq!(cds["nack"]["count"], json!(1));
    let metrics = running.page("/metrics").await.1;
    assert!(metrics.contains("gomesh_xds_nacks_total{type=\"cds\"} 1"), "{metrics}");
    running.end().await;
}

#[tokio::test]
async fn node_that_nothing_is_for_gets_nothing_and_a_note() {
    let running = Running::start(MESH).await;
    let mut client = cds::ClusterDiscoveryServiceClient::new(running.channel().await);
    let request = DiscoveryRequest { node: node("stranger"), ..Default::default() };
    let (send, requests) = mpsc::channel(4);
    send.send(request.clone()).await.unwrap();
    let stream = client.stream_clusters(ReceiverStream::new(requests)).await.unwrap();
    let reply = stream.into_inner().message().await.unwrap().unwrap();
    assert_eq!((reply.type_url.as_str(), reply.resources.len()), (CLUSTER, 0));
    let (_, body) = running.page("/v1/nodes/n1").await;
    assert!(body.contains("nothing is configured for node.cluster 'stranger'"), "{body}");

    let of_edge = DiscoveryRequest { node: node("edge"), ..Default::default() };
    let fetched = client.fetch_clusters(of_edge).await.unwrap().into_inner();
    assert_eq!(cluster_names(&fetched), ["one"]);
    running.end().await;
}

#[tokio::test]
async fn wrong_requests_end_the_stream_with_their_reason() {
    let running = Running::start(MESH).await;
    let mut client = ads::AggregatedDiscoveryServiceClient::new(running.channel().await);
    let request = DiscoveryRequest { node: node("edge"), ..Default::default() };
    let mut stream = client
        .stream_aggregated_resources(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let end = stream.message().await.expect_err("S10");
    assert_eq!(end.code(), Code::InvalidArgument);
    assert!(end.message().contains("type_url"));
    running.end().await;
}

#[tokio::test]
async fn pages_health_and_reflection_answer() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_response};

    let running = Running::start(MESH).await;
    assert_eq!(running.page("/ready").await.0, 200);
    assert_eq!(running.page("/v1/nodes").await.1.trim(), r#"{"nodes":[]}"#);
    assert_eq!(running.page("/v1/nodes/none").await.0, 404);
    assert_eq!(running.page("/nope").await.0, 404);
    assert!(running.page("/").await.1.contains("/v1/nodes"));

    let channel = running.channel().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in ["", service::SERVICE_NAMES[0]] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service} is SERVING");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answer = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let Some(server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("{answer:?}");
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(service::SERVICE_NAMES.iter().all(|name| names.contains(name)), "{names:?}");
    running.end().await;
}

/// A gateway with a filter that Envoy has and our data plane has not.
fn with_lua() -> String {
    let lua = r#"{ listen: "127.0.0.1:8000", http_filters: [ { name: lua, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua } } ] }"#;
    MESH.replace(r#"{ listen: "127.0.0.1:8000" }"#, lua)
}

/// It is served; its nodes show what `data-plane` would refuse as long as they are served it.
#[tokio::test]
async fn node_shows_what_our_data_plane_does_not_do() {
    let running = Running::start(MESH).await;
    let mut stream = Sotw::open(&running).await;
    stream.next(CLUSTER).await;
    assert_eq!(running.node().await.get("warnings"), None);
    running.write(&with_lua());
    let body = running.until("/v1/nodes", |body| body.contains("\"warnings\"")).await;
    let view: Value = serde_json::from_str(&body).unwrap();
    let warnings = view["nodes"][0]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{body}");
    let text = warnings[0].as_str().unwrap();
    assert!(text.contains("mesh.yaml:6:3: ") && text.contains("HTTP filter lua"), "{text}");
    drop(stream);
    running.until("/v1/nodes/n1", |body| body.contains("\"connected\":false")).await;
    assert_eq!(running.node().await.get("warnings"), None);
    running.end().await;
}

/// 1. A start with it is refused. 2. A change to it is refused, and the old state stays.
#[tokio::test]
async fn strict_refuses_what_our_data_plane_does_not_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    fs::write(&path, with_lua()).unwrap();
    let strict = || Options {
        unsupported: Unsupported::Refused,
        ..Options::local(Source::Mesh(path.clone()))
    };
    let Err(StartError::Config(problems)) = Server::start(strict()).await else {
        panic!("it starts")
    };
    assert!(problems[0].to_string().ends_with("; refused by --strict"), "{problems:?}");

    fs::write(&path, MESH).unwrap();
    let server = Server::start(strict()).await.expect("it starts");
    let (store, metrics) = (server.shared.store.clone(), server.metrics.clone());
    let reloader = server.reloader();
    let task = tokio::spawn(server.run(std::future::pending()));
    fs::write(&path, with_lua()).unwrap();
    reloader.reload();
    let refused = "gomesh_config_reloads_total{result=\"refused\"}";
    while !metrics.render().unwrap().contains(refused) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(store.current().revision(), 1);
    task.abort();
}

#[tokio::test]
async fn reload_reads_the_files_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    fs::write(&path, MESH).unwrap();
    let server = Server::start(Options::local(Source::Mesh(path))).await.unwrap();
    let (reloader, store) = (server.reloader(), server.shared.store.clone());
    let metrics = server.metrics.clone();
    let task = tokio::spawn(server.run(std::future::pending()));
    reloader.reload();
    let unchanged = "gomesh_config_reloads_total{result=\"unchanged\"} 1";
    while !metrics.render().unwrap().contains(unchanged) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(store.current().revision(), 1);
    task.abort();
}

#[tokio::test]
async fn start_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let resources =
        |folder: &Path| Source::Resources { folder: folder.to_owned(), empty: Empty::Refused };
    let refused = Server::start(Options::local(resources(folder.path()))).await;
    let Err(StartError::Config(problems)) = refused else { panic!("an empty folder") };
    assert!(problems[0].to_string().contains("--allow-empty"));

    let mut open = Options::local(resources(folder.path()));
    open.listen = "0.0.0.0:0".parse().unwrap();
    let refused = Server::start(open).await;
    let Err(StartError::Config(problems)) = refused else { panic!("beyond loopback") };
    assert!(problems[0].to_string().contains("--insecure"));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let source = Source::Resources { folder: folder.path().to_owned(), empty: Empty::Allowed };
    let mut options = Options::local(source);
    options.admin = taken.local_addr().unwrap();
    let refused = Server::start(options).await;
    let Err(StartError::Run(error)) = refused else { panic!("a port that is taken") };
    let text = format!("{error:#}");
    let named = format!("--admin {}", taken.local_addr().unwrap());
    assert!(text.contains(&named), "{text}");
}

mod config;
mod registry;
