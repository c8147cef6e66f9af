//! The registry over sockets: by REST and gRPC the same, and a stream as a lease.

use proto::control::v1::registry_client::RegistryClient;
use proto::control::v1::{
    InstanceState, LeaseRequest, LeaseResponse, ListInstancesRequest, RegisterRequest,
    Registration, RenewRequest,
};

use super::*;

const DISCOVERED: &str = r#"version: 1
services:
  one: { discover: registry }
  two: { endpoints: ["127.0.0.1:3002"] }
gateways:
  edge: { listen: "127.0.0.1:8000" }
routes:
  - { name: web, gateway: edge, path: /, to: one }
"#;

pub(super) const JSON: &str = "content-type: application/json\r\n";
const X: &str = "/v1/registry/services/one/instances/x";

impl Running {
    /// Status and body of a request as a client on this machine makes it.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        head: &str,
        body: &str,
    ) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.addresses.admin).await.unwrap();
        let (host, length) = (self.addresses.admin, body.len());
        let request = format!(
            "{method} {path} HTTP/1.0\r\nhost: {host}\r\ncontent-length: {length}\r\n{head}\r\n\
             {body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn registry(&self) -> RegistryClient<Channel> {
        RegistryClient::new(self.channel().await)
    }
}

fn registration(port: u32) -> Option<Registration> {
    Some(Registration { address: "127.0.0.1".into(), port, ..Default::default() })
}

/// 1. REST registers, gRPC renews and lists, REST shows. 2. REST deregisters. 3. What is not
/// there is said by both.
#[tokio::test]
async fn rest_and_grpc_are_one_registry() {
    let running = Running::start(DISCOVERED).await;
    let body = r#"{"address": "127.0.0.1", "port": 3001, "labels": {"version": "v1"}}"#;
    let (status, given) = running.ask("PUT", X, JSON, body).await;
    assert_eq!(status, 201, "{given}");
    let lease = given["lease_id"].as_str().unwrap();
    assert!(given["expires_at"].as_str().unwrap().ends_with('Z'), "{given}");
    let (status, again) = running.ask("PUT", X, JSON, body).await;
    assert_eq!((status, again["lease_id"].as_str()), (200, Some(lease)));
    let renew = format!("{X}/renew");
    let (status, renewed) = running.ask("POST", &renew, JSON, "").await;
    assert_eq!((status, renewed["lease_id"].as_str()), (200, Some(lease)));
    let (status, other) = running.ask("POST", &renew, JSON, r#"{"lease_id": "z"}"#).await;
    assert_eq!(status, 409, "{other}");

    let mut client = running.registry().await;
    let (service, id) = ("one".to_owned(), "x".to_owned());
    let request = RenewRequest { service, id, lease_id: lease.to_owned() };
    assert_eq!(client.renew(request).await.unwrap().get_ref().lease_id, lease);
    let request = ListInstancesRequest { service: "one".into() };
    let all = client.list_instances(request).await.unwrap().into_inner().instances;
    assert_eq!((all.len(), all[0].state()), (1, InstanceState::Passing));
    let (_, shown) = running.ask("GET", X, "", "").await;
    assert_eq!(shown["registration"]["labels"]["version"], "v1");
    assert_eq!((&shown["state"], &shown["stale"]), (&json!("passing"), &json!(false)));
    let metrics = running.page("/metrics").await.1;
    let counted = "gomesh_registry_instances{service=\"one\",state=\"passing\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    let (status, gone) = running.ask("DELETE", X, "", "").await;
    assert!(status == 200 && gone["removed_at"].is_string(), "{gone}");
    assert_eq!(running.ask("GET", X, "", "").await.1["state"], "draining");
    assert_eq!(running.ask("DELETE", "/v1/registry/services/one/instances/y", "", "").await.0, 404);
    running.end().await;
}

#[tokio::test]
async fn refusals_are_said_in_both_protocols() {
    let running = Running::start(DISCOVERED).await;
    let (status, body) = running.ask("PUT", X, JSON, r#"{"address": "a", "port": 0}"#).await;
    assert_eq!(status, 422);
    assert_eq!(body["problems"][1]["message"], "got '0'; must be 1 to 65535");
    let two = X.replace("/one/", "/two/");
    assert_eq!(
        running.ask("PUT", &two, JSON, r#"{"address": "10.0.0.1", "port": 1}"#).await.0,
        409
    );
    let big = format!("{{\"zone\": \"{}\"}}", "z".repeat(70_000));
    assert_eq!(running.ask("PUT", X, JSON, &big).await.0, 413);
    assert_eq!(running.ask("PUT", X, "", "{}").await.0, 415);
    let origin = format!("{JSON}origin: http://evil.example\r\n");
    assert_eq!(running.ask("PUT", X, &origin, "{}").await.0, 403);

    let mut client = running.registry().await;
    let request = RegisterRequest { service: "one".into(), ..Default::default() };
    let refused = client.register(request).await.expect_err("is refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("id: got ''; must be 1 to 200 letters"), "{refused}");
    running.end().await;
}

struct Held {
    send: mpsc::Sender<LeaseRequest>,
    receive: Streaming<LeaseResponse>,
}

impl Held {
    async fn open(server: SocketAddr, id: &str) -> Self {
        let (send, requests) = mpsc::channel(4);
        let (service, id) = ("one".to_owned(), id.to_owned());
        let port = 3000 + u32::from(id.as_bytes()[0]);
        let first = LeaseRequest { service, id, registration: registration(port) };
        send.send(first).await.unwrap();
        let channel = Channel::from_shared(format!("http://{server}")).unwrap();
        let mut client = RegistryClient::new(channel.connect().await.unwrap());
        let receive = client.lease(ReceiverStream::new(requests)).await.unwrap().into_inner();
        Self { send, receive }
    }

    async fn lease(&mut self) -> String {
        self.receive.message().await.unwrap().expect("an answer").lease_id
    }
}

/// 1. Two streams register. 2. One changes what it says under the same lease. 3. One ends: its
/// instance drains. 4. The other is lost: its instance is critical at once.
#[tokio::test]
async fn stream_is_a_lease() {
    let running = Running::start(DISCOVERED).await;
    let server = running.addresses.xds;
    let elsewhere = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let opening = elsewhere.spawn(async move { Held::open(server, "y").await });
    let (mut x, mut y) = (Held::open(server, "x").await, opening.await.unwrap());
    let lease = x.lease().await;
    y.lease().await;
    let sick = registration(3001).map(|r| Registration { state: 2, ..r });
    x.send.send(LeaseRequest { registration: sick, ..Default::default() }).await.unwrap();
    assert_eq!(x.lease().await, lease);
    let state =
        |body: &str| -> Value { serde_json::from_str::<Value>(body).unwrap()["state"].clone() };
    assert_eq!(state(&running.page(X).await.1), "warning");

    drop(x.send);
    assert!(x.receive.message().await.unwrap().is_none(), "the server ends it as well");
    running.until(X, |body| state(body) == "draining").await;
    // As a process that is killed: its connection closes, nothing is said.
    elsewhere.shutdown_background();
    let path = X.replace("/x", "/y");
    let lost = running.until(&path, |body| state(body) == "critical").await;
    assert!(lost.contains("\"expires_at\":\"\""), "{lost}");
    running.end().await;
}

#[tokio::test]
async fn stream_that_is_refused_ends_with_the_reason() {
    let running = Running::start(DISCOVERED).await;
    let mut held = Held::open(running.addresses.xds, "x").await;
    held.lease().await;
    let other =
        LeaseRequest { id: "y".into(), registration: registration(1), ..Default::default() };
    held.send.send(other).await.unwrap();
    let refused = held.receive.message().await.expect_err("one stream, one lease");
    assert!(refused.message().contains("the lease of 'x'"), "{refused}");
    running.end().await;
}
