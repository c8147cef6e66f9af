//! Over gRPC: both variants, restart, Unix sockets, message sizes, statistics.

use proto::convert::duration_to_proto;
use proto::envoy::service::discovery::v3 as pb;
use proto::google::protobuf::Any;
use tonic::Status as GrpcStatus;

use super::server::Server;
use super::*;
use crate::telemetry::stats::{ControlPlaneStat, Scope, SubscriptionStat};
use Variant::{Delta, Sotw};

const CDS: TypeUrl = TypeUrl::CLUSTER;
const EDS: TypeUrl = TypeUrl::ENDPOINTS;

fn delta_resource(url: &TypeUrl, name: &str, version: &str, value: &str) -> pb::Resource {
    let value = format!("{name}={value}").into_bytes();
    pb::Resource {
        name: name.into(),
        version: version.into(),
        resource: Some(Any { type_url: url.to_string(), value }),
        ttl: Some(duration_to_proto(Duration::from_secs(3600))),
        ..Default::default()
    }
}

/// 1. The client asks for all clusters, with node and metadata. 2. It acknowledges a response,
/// refuses a bad one with its name and path, and keeps the old version.
#[tokio::test]
async fn c1_c2_sotw_over_grpc() {
    let mut server = Server::start().await;
    let mut client = Client::new(Some(api(Sotw, service())), &server.endpoint);
    client.watch(&CDS, "*").await;
    let mut stream = server.next_sotw().await;
    assert_eq!(stream.metadata.get("authorization").unwrap(), "Bearer t");
    let first = stream.request().await;
    assert_eq!((first.type_url.as_str(), first.version_info.as_str()), (CDS.as_str(), ""));
    assert_eq!(first.node.expect("the node goes along").id, "n1");

    stream.send_resources(&CDS, "1", &["a=1"]).await;
    assert_eq!(client.next().await, "CDS@1 +a=1");
    let ack = stream.request().await;
    assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str()), ("1", "1"));
    assert_eq!((ack.node, ack.error_detail), (None, None));

    stream.send_resources(&CDS, "2", &["a=bad"]).await;
    assert_eq!(client.next().await, "CDS@2 !a");
    let nack = stream.request().await;
    assert_eq!((nack.version_info.as_str(), nack.response_nonce.as_str()), ("1", "2"));
    let detail = nack.error_detail.expect("it is a NACK");
    assert_eq!((detail.code, detail.message.as_str()), (13, "a: value: got bad; must be good"));

    let status = client.subscriptions.status().of_type(&CDS);
    assert_eq!(status.version, "1");
    let a = &status.resources["a"];
    assert_eq!(a.client_status, status::ClientStatus::Nacked);
    assert_eq!(&a.accepted.as_ref().unwrap().raw[..], b"a=1");
    assert_eq!(&a.error.as_ref().unwrap().raw[..], b"a=bad");
}

/// 1. Delta brings two endpoints. 2. The server dies and comes back on the same port. 3. The first
/// request tells what is held; nothing was lost meanwhile.
#[tokio::test]
async fn d2_k3_delta_survives_a_restart_of_the_server() {
    let mut server = Server::start().await;
    let mut client = Client::new(Some(api(Delta, service())), &server.endpoint);
    client.watch(&EDS, "a").await;
    let mut stream = server.next_delta().await;
    let first = stream.request().await;
    assert_eq!(first.resource_names_subscribe, ["a"]);
    assert!(first.initial_resource_versions.is_empty());
    stream
        .send(pb::DeltaDiscoveryResponse {
            type_url: EDS.to_string(),
            nonce: "n1".into(),
            resources: vec![delta_resource(&EDS, "a", "7", "x")],
            ..Default::default()
        })
        .await;
    assert_eq!(client.next().await, "EDS@ +a=x");
    assert_eq!(stream.request().await.response_nonce, "n1");

    drop(stream);
    let address = server.stop().await;
    assert_eq!(client.next().await, "ended");
    let mut server = Server::start_at(address).await;
    let mut stream = server.next_delta().await;
    let again = stream.request().await;
    assert_eq!(again.resource_names_subscribe, ["a"]);
    assert_eq!(again.initial_resource_versions["a"], "7");
    assert!(again.response_nonce.is_empty());
    assert!(again.node.is_some(), "each stream's first request bears the node");
}

#[tokio::test]
async fn k2_stream_ended_by_the_server_is_opened_again() {
    let mut server = Server::start().await;
    let mut client = Client::new(Some(api(Sotw, service())), &server.endpoint);
    client.watch(&CDS, "*").await;
    let mut stream = server.next_sotw().await;
    stream.request().await;
    stream.send_resources(&CDS, "1", &["a=1"]).await;
    assert_eq!(client.next().await, "CDS@1 +a=1");
    stream.responses.send(Err(GrpcStatus::unavailable("going away"))).await.unwrap();
    drop(stream);
    assert_eq!(client.next().await, "ended");
    let mut stream = server.next_sotw().await;
    assert_eq!(stream.request().await.version_info, "1");
    stream.send_resources(&CDS, "1", &["a=1"]).await;
    assert_eq!(client.next().await, "CDS@1 ~a");
}

#[tokio::test]
async fn xd01_server_that_appears_late_is_found() {
    let server = Server::start().await;
    let endpoint = server.endpoint.clone();
    let address = server.stop().await;
    let fast = crate::config::source::Backoff {
        base: Duration::from_millis(1),
        max: Duration::from_millis(5),
    };
    let service = GrpcServiceConfig { backoff: Some(fast), ..service() };
    let mut client = Client::new(Some(api(Sotw, service)), &endpoint);
    client.watch(&CDS, "*").await;
    assert_eq!(client.next().await, "failed");
    let mut server = Server::start_at(address).await;
    let mut stream = tokio::select! {
        stream = server.next_sotw() => stream,
        // Failures must be taken, or the client waits for its reader.
        _ = async { loop { client.next().await; } } => unreachable!(),
    };
    stream.request().await;
    stream.send_resources(&CDS, "1", &["a=1"]).await;
    assert_eq!(client.next_update().await, "CDS@1 +a=1");
}

#[tokio::test]
async fn k5_xd21_message_beyond_grpcs_usual_limit_is_read() {
    let mut server = Server::start().await;
    let mut client = Client::new(Some(api(Sotw, service())), &server.endpoint);
    client.watch(&CDS, "*").await;
    let mut stream = server.next_sotw().await;
    stream.request().await;
    let large = format!("a={}", "x".repeat(6 << 20));
    stream.send_resources(&CDS, "1", &[&large]).await;
    assert_eq!(client.next().await.len(), "CDS@1 +".len() + large.len());
}

#[tokio::test]
async fn k5_message_beyond_the_configured_limit_ends_the_stream_and_keeps_the_rest() {
    let mut server = Server::start().await;
    let service = GrpcServiceConfig { max_receive_message_bytes: Some(1000), ..service() };
    let mut client = Client::new(Some(api(Sotw, service)), &server.endpoint);
    client.watch(&CDS, "*").await;
    let mut stream = server.next_sotw().await;
    stream.request().await;
    stream.send_resources(&CDS, "1", &["a=1"]).await;
    assert_eq!(client.next().await, "CDS@1 +a=1");
    stream.send_resources(&CDS, "2", &[&format!("a={}", "x".repeat(2000))]).await;
    assert_eq!(client.next().await, "ended");
    let status = client.subscriptions.status().of_type(&CDS);
    assert_eq!(&status.resources["a"].accepted.as_ref().unwrap().raw[..], b"a=1");
}

#[tokio::test]
async fn server_on_a_unix_socket_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_unix(directory.path().join("xds")).await;
    let mut client = Client::new(Some(api(Delta, service())), &server.endpoint);
    client.watch(&CDS, "*").await;
    let mut stream = server.next_delta().await;
    let first = stream.request().await;
    assert!(first.resource_names_subscribe.is_empty(), "D6");
}

/// The program takes no events while it gives many commands, and nothing locks up.
#[tokio::test]
async fn commands_are_taken_while_events_wait() {
    let mut server = Server::start().await;
    let mut client = Client::new(Some(api(Sotw, service())), &server.endpoint);
    client.watch(&CDS, "*").await;
    let mut stream = server.next_sotw().await;
    stream.request().await;
    for version in 0..100 {
        stream.send_resources(&CDS, &version.to_string(), &[&format!("a={version}")]).await;
        if version > 64 {
            break;
        }
        stream.request().await;
    }
    let many = async {
        for i in 0..2000 {
            client.watch(&EDS, &i.to_string()).await;
        }
    };
    tokio::time::timeout(LONG, many).await.expect("commands are taken");
}

#[tokio::test]
async fn t_subscription_and_control_plane_count_as_envoy_does() {
    let mut server = Server::start().await;
    let mut client = Client::new(Some(api(Sotw, service())), &server.endpoint);
    let stats = client.registry.group::<SubscriptionStat>(Scope::plain("cluster_manager.cds."));
    let source = ConfigSource { kind: SourceKind::Ads, initial_fetch_timeout: None };
    let watch = Watch {
        type_url: CDS,
        name: WILDCARD.into(),
        source: &source,
        stats: WatchStats::Subscription { stats: stats.clone(), reload: None },
    };
    client.subscriptions.watch(watch).await.unwrap();
    let mut stream = server.next_sotw().await;
    stream.request().await;
    stream
        .send(pb::DiscoveryResponse {
            type_url: CDS.to_string(),
            version_info: "v1".into(),
            control_plane: Some(proto::envoy::config::core::v3::ControlPlane {
                identifier: "tests".into(),
            }),
            ..Default::default()
        })
        .await;
    client.next().await;
    stream.send_resources(&CDS, "v2", &["a=bad"]).await;
    client.next().await;
    let read = |stat| stats.value(stat);
    assert_eq!(read(SubscriptionStat::UpdateAttempt), 3);
    assert_eq!(read(SubscriptionStat::UpdateSuccess), 1);
    assert_eq!(read(SubscriptionStat::UpdateRejected), 1);
    // That of "v1": a refusal keeps the old version.
    assert_eq!(read(SubscriptionStat::Version), 9_194_640_092_791_331_756);
    let server_stats = client.registry.group::<ControlPlaneStat>(Scope::plain("control_plane."));
    assert_eq!(server_stats.value(ControlPlaneStat::ConnectedState), 1);
}

#[tokio::test]
async fn ads_without_ads_config_is_an_error_that_says_so() {
    let server = Server::start().await;
    let mut client = Client::new(None, &server.endpoint);
    let source = ConfigSource { kind: SourceKind::Ads, initial_fetch_timeout: None };
    let error = client.watch_from(&CDS, "*", &source).await.expect_err("there is no ADS");
    assert_eq!(error.to_string(), "ads: the bootstrap has no ads_config");
}
