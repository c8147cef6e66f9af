//! Whole requests through one worker: a connection manager out of a bootstrap as people write it,
//! clients on pipes in memory, upstreams on sockets of this test's own runtime.
//!
//! What must hold for every request, whatever happened to it, is in [`Rig::assert_settled`]: it was
//! counted up and down, and it left one line when it began and one when it ended.

mod filters;
mod heads;
mod panics;
mod requests;
mod sizes;
mod streams;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::app::load;
use crate::base::task::{self, Task};
use crate::cluster::pool::Pools;
use crate::codec::io::BufferPool;
use crate::codec::io::mem::{MemIo, pair};
use crate::http::conn::{ConnInfo, Peer, Transport};
use crate::http::drain::LocalDrain;
use crate::http::headers::LocalInfo;
use crate::http::manager::ManagerCx;
use crate::http::serve::{ConnCx, WorkerManager, serve};
use crate::http::worker::{Options, Shared, Worker};
use crate::route::NoRuntime;
use crate::snapshot::{Effect, Origin, Snapshot};
use crate::telemetry::WorkerId;
use crate::telemetry::access_log::{LogOptions, Logs, Target};
use crate::telemetry::metrics::{BuildInfo, Metrics};
use crate::telemetry::request_log::RequestLog;
use crate::telemetry::stats::{HttpStat, Registry, Scope};

/// How long a test waits for bytes that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// One worker with one connection manager.
struct Rig {
    manager: Rc<WorkerManager>,
    worker: Rc<Worker>,
    drain: LocalDrain,
    logs: Logs,
    folder: tempfile::TempDir,
    peer: Peer,
    registry: Registry,
}

impl Rig {
    /// A manager with `options` (lines of YAML in flow style, each ending with a comma), routes of
    /// a virtual host for everything, and the cluster `up` on that port.
    fn new(options: &str, routes: &str, port: u16) -> Self {
        Self::of(&bootstrap(options, "", routes, port))
    }

    fn of(yaml: &str) -> Self {
        let loaded = load::load_text("test.yaml", yaml).expect("the test's own bootstrap");
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(1);
        let metrics = Arc::new(Metrics::new(1, BuildInfo { version: "0", revision: "0" }));
        let group = registry.group(Scope::plain("filesystem."));
        let logs = Logs::new(1, LogOptions::default(), group);
        let manager_cx = Arc::new(ManagerCx {
            registry: registry.clone(),
            metrics: Arc::clone(&metrics),
            logs: logs.clone(),
            runtime: Arc::new(NoRuntime),
        });
        let mut snapshot = Snapshot::new(registry.clone(), manager_cx);
        let mut effects = Vec::new();
        for cluster in &loaded.config.clusters {
            snapshot.set_cluster(&cluster.value, Origin::Static, &mut effects);
        }
        for listener in &loaded.config.listeners {
            snapshot.set_listener(&listener.value, Origin::Static, &mut effects);
        }
        let specs = effects.into_iter().filter_map(|effect| match effect {
            Effect::Listen(spec) => Some(spec),
            _ => None,
        });
        let spec = specs.last().expect("a listener that is warm");
        let manager = Arc::clone(spec.chains[0].handler.manager().unwrap());
        let log = |name: &str| RequestLog::to(&logs, &Target::File(folder.path().join(name)));
        let shared = Shared {
            options: Options { trace_headers: None },
            runtime: Box::new(NoRuntime),
            local: LocalInfo {
                service_cluster: HeaderValue::from_static("c1"),
                service_node: HeaderValue::from_static("n1"),
                zone: "z1".into(),
                address: [192, 0, 2, 2].into(),
            },
            no_service: metrics.service("none"),
            metrics,
            request_log: Some(log("requests").unwrap()),
            panic_log: log("panics").unwrap(),
            workers: 1,
        };
        let buffers = BufferPool::new(8);
        let id = WorkerId::worker(0);
        let pools = Pools::new(id, Rc::clone(&buffers), 1);
        let worker = Rc::new(Worker::new(id, Arc::new(shared), pools, buffers, [7; 32]));
        Self {
            manager: Rc::new(WorkerManager::new(&manager, &worker.buffers)),
            worker,
            drain: LocalDrain::default(),
            logs,
            folder,
            peer: Peer::Ip(([127, 0, 0, 1], 4711).into()),
            registry,
        }
    }

    fn cx(&self) -> ConnCx {
        let local = Peer::Ip(([127, 0, 0, 1], 8000).into());
        let id = self.worker.next_connection_id();
        ConnCx {
            worker: Rc::clone(&self.worker),
            manager: Rc::clone(&self.manager),
            info: Rc::new(ConnInfo::new(id, self.peer.clone(), local, Transport::Plain)),
            drain: self.drain.join(),
        }
    }

    /// A client of a connection of its own.
    fn connect(&self) -> Client {
        self.connect_with(1 << 20)
    }

    /// The same with room for so many bytes under way.
    fn connect_with(&self, capacity: usize) -> Client {
        let (io, ours) = pair(capacity);
        let task = task::spawn_local("connection", serve(ours, bytes::BytesMut::new(), self.cx()));
        Client { io, task }
    }

    fn stat(&self, stat: HttpStat) -> u64 {
        self.manager.manager.stats.http.value(stat)
    }

    fn lines(&self, log: &str) -> Vec<String> {
        self.logs.flush(PATIENCE);
        let path: PathBuf = self.folder.path().join(log);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// All `requests` are over: counted once up, once down, recorded once.
    fn assert_settled(&self, requests: u64) {
        assert_eq!(self.stat(HttpStat::DownstreamRqTotal), requests, "downstream_rq_total");
        assert_eq!(self.stat(HttpStat::DownstreamRqActive), 0, "downstream_rq_active");
        let lines = self.lines("requests");
        let of = |msg: &str| lines.iter().filter(|line| line.contains(msg)).count() as u64;
        assert_eq!(of("request started"), requests, "{lines:#?}");
        assert_eq!(of("request completed"), requests, "{lines:#?}");
        let metrics = self.worker.shared.metrics.render();
        assert!(metrics.contains("\ngomesh_requests_in_flight 0\n"), "{metrics}");
    }
}

fn bootstrap(options: &str, filters: &str, routes: &str, port: u16) -> String {
    format!(
        r#"static_resources:
  clusters:
  - name: up
    connect_timeout: 5s
    load_assignment: {{cluster_name: up, endpoints: [{{lb_endpoints: [{{endpoint: {{address:
      {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 8000}}}}
    filter_chains: [{{filters: [{{name: hcm, typed_config: {{
      "@type": "{HCM}",
      stat_prefix: in, {options}
      http_filters: [{filters} {{name: router, typed_config: {{
        "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}],
      route_config: {{name: r, virtual_hosts: [{{name: v, domains: ["*"], routes: [
        {routes} {{match: {{prefix: /direct}}, direct_response:
          {{status: 200, body: {{inline_string: direct}}}}}},
        {{match: {{prefix: /}}, route: {{cluster: up}}}}]}}]}}
    }}}}]}}]
"#
    )
}

/// A client and its connection.
struct Client {
    io: MemIo,
    task: Task,
}

impl Client {
    async fn say(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until what came ends with `end`.
    async fn read_to(&mut self, end: &str) -> String {
        let text = self.read_until(end).await;
        assert!(text.ends_with(end), "{text:?} must end with {end:?}");
        text
    }

    /// The same, or until the proxy closes.
    async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        let reading = async {
            while !read.ends_with(end.as_bytes()) {
                match self.io.read_u8().await {
                    Ok(byte) => read.push(byte),
                    Err(_) => break,
                }
            }
        };
        let timely = tokio::time::timeout(PATIENCE, reading).await;
        let text = String::from_utf8_lossy(&read).into_owned();
        assert!(timely.is_ok(), "the connection hangs after {text:?}");
        text
    }

    /// Reads until the proxy closes.
    async fn read_all(&mut self) -> String {
        let mut read = Vec::new();
        let timely = tokio::time::timeout(PATIENCE, self.io.read_to_end(&mut read)).await;
        let text = String::from_utf8_lossy(&read).into_owned();
        assert!(timely.is_ok(), "the connection stays open after {text:?}");
        text
    }

    /// Leaves, and waits until the connection's task is over.
    async fn leave(self) {
        drop(self.io);
        let timely = tokio::time::timeout(PATIENCE, self.task.join()).await;
        assert!(timely.is_ok(), "the connection's task goes on without its client");
    }
}

/// A server that gives each connection to `handle`.
async fn upstream<F, R>(handle: F) -> (u16, Task)
where
    F: Fn(TcpStream) -> R + 'static,
    R: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = async move {
        while let Ok((stream, _)) = listener.accept().await {
            task::spawn_local("upstream", handle(stream)).detach();
        }
    };
    (port, task::spawn_local("upstreams", serving))
}

/// Reads a head; what came with it of the body is its second half.
async fn read_head(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = read.split_off(at + 4);
            return Some((String::from_utf8_lossy(&read).into_owned(), body));
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// The connection manager's message.
const HCM: &str = "type.googleapis.com/envoy.extensions.filters.network.\
                   http_connection_manager.v3.HttpConnectionManager";

/// Answers every request with its own head.
async fn mirror(mut stream: TcpStream) {
    while let Some((head, _)) = read_head(&mut stream).await {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Where nobody listens.
const NOWHERE: u16 = 1;

#[tokio::test(flavor = "local")]
async fn requests_follow_each_other_on_one_connection() {
    let (port, _upstream) = upstream(mirror).await;
    let rig = Rig::new("", "", port);
    let mut client = rig.connect();
    for path in ["/a", "/b"] {
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
        let head = client.read_to("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let seen = client.read_to("\r\n\r\n").await;
        assert!(seen.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{seen}");
    }
    client.leave().await;
    rig.assert_settled(2);
}
