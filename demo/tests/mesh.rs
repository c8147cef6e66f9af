//! The mesh in one process, as a newcomer starts it, and the files that ship with it.
//!
//! The mesh runs on ports that were free a moment ago; nothing needs a fixed one.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use demo::client;
use demo::mesh::{MESH, Mesh};
use demo::ports::Ports;
use http_body_util::Empty;
use serde_json::Value;
use xds_server::source::Source;
use xds_server::support::Unsupported;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Ports that nobody holds. All are held at once before any is let go, so that they differ.
fn free_ports() -> Ports {
    let held: Vec<TcpListener> =
        (0..7).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    let port = |at: usize| held[at].local_addr().unwrap().port();
    Ports {
        edge: port(0),
        edge_admin: port(1),
        backends: [port(2), port(3), port(4)],
        xds: port(5),
        xds_admin: port(6),
    }
}

struct Edge(String);

impl Edge {
    fn new(ports: Ports) -> Self {
        Self(SocketAddr::from(([127, 0, 0, 1], ports.edge)).to_string())
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> client::Answer {
        let mut request = http::Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        client::ask(&self.0, request, PATIENCE).await.unwrap()
    }

    async fn echo(&self, path: &str, headers: &[(&str, &str)]) -> Value {
        let answer = self.get(path, headers).await;
        assert_eq!(answer.status(), 200, "{path}");
        serde_json::from_slice(answer.body()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mesh_answers_as_the_readme_says() {
    let ports = free_ports();
    let mesh = Mesh::start(ports).await.unwrap();
    assert_eq!(mesh.summary().lines().count(), 8, "{}", mesh.summary());
    assert_eq!(mesh.summary().matches("curl ").count(), 3);
    let edge = Edge::new(ports);

    let echo = edge.echo("/api/users", &[("x-trace-id", "mine")]).await;
    assert_eq!((&echo["path"], &echo["method"]), (&"/api/users".into(), &"GET".into()));
    assert_eq!(echo["trace_id"], "mine");
    let own = edge.get("/", &[("x-trace-id", "mine")]).await;
    assert_eq!(own.headers()["x-trace-id"], "mine");

    let broken = edge.get("/panic", &[]).await;
    assert_eq!(
        (broken.status().as_u16(), &broken.body()[..]),
        (500, &b"Internal Server Error"[..])
    );
    assert_eq!(edge.get("/backend/panic", &[]).await.status(), 503);
    assert_eq!(edge.get("/health", &[]).await.status(), 200);
    assert_eq!(edge.get("/slow?ms=5", &[]).await.status(), 200);
    assert_eq!(edge.get("/status/418", &[]).await.status(), 418);
    assert_eq!(edge.echo("/", &[("x-beta", "1")]).await["version"], "v2");

    let metrics = edge.get("/metrics", &[]).await;
    let metrics = String::from_utf8_lossy(metrics.body()).into_owned();
    assert!(metrics.contains("gomesh_requests_total{service=\"backend\""), "{metrics}");
    mesh.stop().await;
    // All is let go: the same ports can be had again.
    Mesh::start(ports).await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_mesh_file_is_live_without_a_restart() {
    let ports = free_ports();
    let mesh = Mesh::start(ports).await.unwrap();
    let edge = Edge::new(ports);
    let text = ports.put_into(MESH);
    let changed = text.replace("path: /, to: backend }", "path: /, to: backend/v2 }");
    assert_ne!(changed, text);
    let new = mesh.file().with_extension("new");
    std::fs::write(&new, changed).unwrap();
    std::fs::rename(&new, mesh.file()).unwrap();
    let live = async {
        let mut in_a_row = 0;
        while in_a_row < 9 {
            let v2 = edge.echo("/", &[]).await["version"] == "v2";
            in_a_row = if v2 { in_a_row + 1 } else { 0 };
        }
    };
    tokio::time::timeout(PATIENCE, live).await.unwrap();
    mesh.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_one_line_that_names_it() {
    let ports = free_ports();
    let _held = TcpListener::bind(("127.0.0.1", ports.xds)).unwrap();
    let Err(error) = Mesh::start(ports).await else { panic!("the port is taken") };
    let error = format!("{error:#}");
    assert!(error.contains(&format!("127.0.0.1:{} is in use", ports.xds)), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn every_bootstrap_file_is_accepted() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("bootstrap")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        let accepted = if path.ends_with("proxy.yaml") {
            let loaded = data_plane::app::zero_config::load(Some(&name), None);
            loaded.map(|(zero, _)| assert_eq!(zero, Default::default(), "they are the defaults"))
        } else {
            let sources =
                data_plane::app::Sources { path: Some(name.clone()), ..Default::default() };
            data_plane::app::load::load(&sources)
                .map(|loaded| assert_eq!(loaded.warnings, Vec::<String>::new(), "{name}"))
        };
        accepted.unwrap_or_else(|error| panic!("{error}"));
        seen += 1;
    }
    assert!(seen >= 6, "{seen} files");
}

#[test]
fn both_mesh_files_are_accepted() {
    for file in ["demo/mesh.yaml", "demo/compose/mesh.yaml"] {
        let loaded = Source::Mesh(root().join(file)).load(Unsupported::Refused);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{file}: {problems:?}"));
        assert!(loaded.warnings.is_empty(), "{file}: {:?}", loaded.warnings);
    }
}
