//! Whole data planes in this process: start, reload, drain, end.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::base::task::{self, Task};
use crate::listener::Which;

const PATIENCE: Duration = Duration::from_secs(20);

struct Plane {
    running: Running,
    folder: tempfile::TempDir,
}

impl Plane {
    async fn start(yaml: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let setup = Setup {
            concurrency: 1,
            drain_strategy: DrainStrategy::Immediate,
            admin_address_path: Some(folder.path().join("admin")),
            ..Setup::default()
        };
        let starting = start(loaded(yaml, folder.path()), setup);
        let started =
            tokio::time::timeout(PATIENCE, starting).await.expect("it hangs at its start");
        Self { running: started.expect("it starts"), folder }
    }

    /// The address of the one listener.
    async fn address(&self) -> SocketAddr {
        let admin = std::fs::read_to_string(self.folder.path().join("admin")).unwrap();
        let mut stream = TcpStream::connect(admin.trim()).await.unwrap();
        stream
            .write_all(b"GET /listeners HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix("l::"));
        line.unwrap_or_else(|| panic!("no listener l: {page}")).parse().unwrap()
    }

    async fn reload(&self, loaded: Loaded) {
        let reload =
            Reload { from: "test.yaml".into(), loaded, shutdown_grace: Duration::from_secs(5) };
        self.running.handle.send(Command::Reload(Box::new(reload))).await;
    }

    async fn end(self) {
        self.running.handle.shutdown().await;
        let good = tokio::time::timeout(PATIENCE, self.running.wait()).await;
        assert!(good.expect("it does not end"), "its control loop failed");
    }
}

fn loaded(yaml: &str, folder: &Path) -> Loaded {
    let yaml = yaml.replace("FOLDER", &folder.display().to_string());
    load::load_text("test.yaml", &yaml).expect("the test's own bootstrap")
}

/// The connection manager's message.
const HCM: &str = "type.googleapis.com/envoy.extensions.filters.network.\
                   http_connection_manager.v3.HttpConnectionManager";

/// A listener whose connection manager gets its routes from `source`, and clusters.
fn bootstrap(source: &str, clusters: &str) -> String {
    format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains: [{{filters: [{{name: hcm, typed_config: {{
      "@type": "{HCM}",
      stat_prefix: in, {source},
      http_filters: [{{name: router, typed_config: {{
        "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]
    }}}}]}}]
  clusters: [{clusters}]
"#
    )
}

fn direct(text: &str) -> String {
    format!(
        "route_config: {{name: r, virtual_hosts: [{{name: v, domains: [\"*\"], routes: [{{match: \
         {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {text}}}}}}}]}}]}}"
    )
}

const TO_UP: &str = "route_config: {name: r, virtual_hosts: [{name: v, domains: [\"*\"], \
                     routes: [{match: {prefix: /}, route: {cluster: up}}]}]}";

fn up(port: u16) -> String {
    format!(
        "{{name: up, connect_timeout: 5s, load_assignment: {{cluster_name: up, endpoints: \
         [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, \
         port_value: {port}}}}}}}}}]}}]}}}}"
    )
}

async fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
}

/// Head and body of an answer with a length.
async fn answer(stream: &mut TcpStream) -> (String, String) {
    let mut read = Vec::new();
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return (head.to_owned(), body.to_owned());
                }
            }
            let more = stream.read_buf(&mut read).await.expect("an answer");
            assert!(more > 0, "closed after {text:?}");
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("no answer comes")
}

async fn closes(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    reading.expect("it stays open").expect("a clean end");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn routes_and_endpoints_of_files_are_waited_for() {
    let port = backend("ok").await;
    let source = "rds: {route_config_name: r, config_source: {path_config_source: \
                  {path: FOLDER/rds.yaml}}}";
    let cluster = "{name: up, type: EDS, connect_timeout: 5s, eds_cluster_config: {eds_config: \
                   {path_config_source: {path: FOLDER/eds.yaml}}}}";
    let routes = "resources: [{\"@type\": type.googleapis.com/envoy.config.route.v3.\
                  RouteConfiguration, name: r, virtual_hosts: [{name: v, domains: [\"*\"], \
                  routes: [{match: {prefix: /}, route: {cluster: up}}]}]}]";
    let endpoints = format!(
        "resources: [{{\"@type\": type.googleapis.com/envoy.config.endpoint.v3.\
         ClusterLoadAssignment, cluster_name: up, endpoints: [{{lb_endpoints: [{{endpoint: \
         {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}]",
        port.0
    );
    let files = [("rds.yaml", routes), ("eds.yaml", &*endpoints)];
    let plane = Plane::start(&bootstrap(source, cluster), &files).await;
    let mut stream = TcpStream::connect(plane.address().await).await.unwrap();
    ask(&mut stream).await;
    let (head, body) = answer(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body == "ok", "{head} {body}");
    plane.end().await;
}

/// Answers every connection's every request at once.
async fn backend(text: &'static str) -> (u16, Task) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            task::spawn("backend", async move {
                let mut read = Vec::new();
                while stream.read_buf(&mut read).await.is_ok_and(|n| n > 0) {
                    if read.ends_with(b"\r\n\r\n") {
                        read.clear();
                        let length = text.len();
                        let answer =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{text}");
                        let _gone = stream.write_all(answer.as_bytes()).await;
                    }
                }
            })
            .detach();
        }
    };
    (port, task::spawn("backends", serving))
}

#[tokio::test]
async fn a_reload_is_seen_and_loses_no_request() {
    let plane = Plane::start(&bootstrap(&direct("v0"), ""), &[]).await;
    let address = plane.address().await;
    let mut kept = TcpStream::connect(address).await.unwrap();
    for version in 1..=20 {
        let yaml = bootstrap(&direct(&format!("v{version}")), "");
        let new = loaded(&yaml, plane.folder.path());
        plane.reload(new).await;
        let seen = async {
            loop {
                ask(&mut kept).await;
                let (head, body) = answer(&mut kept).await;
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
                if head.contains("connection: close") {
                    closes(&mut kept).await;
                    kept = TcpStream::connect(address).await.expect("the socket stays open");
                }
                if body == format!("v{version}") {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("the new routes are not seen");
    }
    plane.end().await;
}

#[tokio::test]
async fn an_end_waits_for_what_is_at_hand() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let plane = Plane::start(&bootstrap(TO_UP, &up(port)), &[]).await;
    let address = plane.address().await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut busy = TcpStream::connect(address).await.unwrap();
    ask(&mut busy).await;
    let (mut backend, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        backend.read_buf(&mut request).await.unwrap();
    }
    plane.running.handle.shutdown().await;
    closes(&mut idle).await;
    backend.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    let (head, body) = answer(&mut busy).await;
    assert!(head.contains("connection: close") && body == "ok", "{head} {body}");
    closes(&mut busy).await;
    let good = tokio::time::timeout(PATIENCE, plane.running.wait()).await;
    assert!(good.expect("it ends before its grace"));
    TcpStream::connect(address).await.expect_err("nobody listens any more");
}

#[tokio::test]
async fn a_drain_at_once_stops_accepting_and_closes_what_is_idle() {
    let plane = Plane::start(&bootstrap(&direct("ok"), ""), &[]).await;
    let address = plane.address().await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    ask(&mut idle).await;
    answer(&mut idle).await;
    let drain = Command::Drain { which: Which::All, graceful: false, skip_exit: false };
    plane.running.handle.send(drain).await;
    closes(&mut idle).await;
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("it still accepts");
    plane.end().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let yaml = bootstrap(&direct("ok"), "");
    let (before, after) = yaml.split_once("  - name: l").unwrap();
    let after = after.replacen("port_value: 0", &format!("port_value: {port}"), 1);
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded(&format!("{before}  - name: l{after}"), folder.path());
    let setup = Setup { concurrency: 1, ..Setup::default() };
    let error = start(loaded, setup).await.err().expect("the port is taken").to_string();
    assert!(error.contains(&port.to_string()) && error.contains("listener l"), "{error}");
}
