//! Listeners on workers with threads of their own: who has an address, and who gets a connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use http::HeaderValue;
use socket2::{Domain, Socket, Type};

use super::*;
use crate::app::load;
use crate::cluster::pool::Pools;
use crate::codec::io::BufferPool;
use crate::http::drain::DrainPlan;
use crate::http::headers::LocalInfo;
use crate::http::manager::ManagerCx;
use crate::http::worker::{Options, Shared, Worker};
use crate::route::NoRuntime;
use crate::snapshot::{Effect, ListenerSpec, Origin, Snapshot};
use crate::telemetry::WorkerId;
use crate::telemetry::access_log::{LogOptions, Logs};
use crate::telemetry::metrics::{BuildInfo, Metrics};
use crate::telemetry::request_log::RequestLog;
use crate::telemetry::stats::{Registry, Scope};

/// The connection manager's message.
const HCM: &str = "type.googleapis.com/envoy.extensions.filters.network.\
                   http_connection_manager.v3.HttpConnectionManager";

const WORKERS: u16 = 2;

const AT_ONCE: DrainPlan = DrainPlan { over: Duration::ZERO, until: Duration::ZERO };

struct Rig {
    listeners: Listeners,
    snapshot: Snapshot,
}

impl Rig {
    fn new() -> Self {
        let registry = Registry::new(WORKERS);
        let metrics = Arc::new(Metrics::new(WORKERS, BuildInfo { version: "0", revision: "0" }));
        let group = registry.group(Scope::plain("filesystem."));
        let logs = Logs::new(WORKERS, LogOptions::default(), group);
        let shared = Arc::new(Shared {
            options: Options { trace_headers: None },
            runtime: Box::new(NoRuntime),
            local: LocalInfo {
                service_cluster: HeaderValue::from_static("c"),
                service_node: HeaderValue::from_static("n"),
                zone: "z1".into(),
                address: [127, 0, 0, 1].into(),
            },
            no_service: metrics.service("none"),
            metrics: Arc::clone(&metrics),
            request_log: None,
            panic_log: RequestLog::stderr(&logs).unwrap(),
            workers: WORKERS,
        });
        let global = Arc::new(GlobalConnections::new(None));
        let worker = |index: u16| {
            let shared = Arc::clone(&shared);
            let make = Box::new(move || {
                let id = WorkerId::worker(index);
                let buffers = BufferPool::new(SPARE_BUFFERS);
                let pools = Pools::new(id, Rc::clone(&buffers), 1);
                Rc::new(Worker::new(id, shared, pools, buffers, [7; 32]))
            });
            spawn_worker(format!("worker_{index}"), Arc::clone(&global), make).unwrap()
        };
        let manager_cx = Arc::new(ManagerCx {
            registry: registry.clone(),
            metrics,
            logs,
            runtime: Arc::new(NoRuntime),
        });
        Self {
            listeners: Listeners::new((0..WORKERS).map(worker).collect()),
            snapshot: Snapshot::new(registry, manager_cx),
        }
    }

    /// A listener that answers with its name.
    fn spec(&mut self, name: &str, at: SocketAddr, fields: &str) -> Arc<ListenerSpec> {
        let (ip, port) = (at.ip(), at.port());
        let yaml = format!(
            r#"static_resources: {{listeners: [{{name: {name}, {fields} address: {{socket_address:
  {{address: {ip}, port_value: {port}}}}}, filter_chains: [{{filters: [{{name: hcm,
  typed_config: {{"@type": {HCM},
  stat_prefix: in, route_config: {{virtual_hosts: [{{name: v, domains: ["*"], routes: [{{match:
  {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {name}}}}}}}]}}]}},
  http_filters: [{{name: router, typed_config: {{"@type":
  type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]}}]}}"#
        );
        let loaded = load::load_text("test.yaml", &yaml).expect("the test's own listener");
        let mut effects = Vec::new();
        let config = &loaded.config.listeners[0].value;
        self.snapshot.set_listener(config, Origin::Static, &mut effects);
        let specs = effects.into_iter().filter_map(|effect| match effect {
            Effect::Listen(spec) => Some(spec),
            _ => None,
        });
        specs.last().expect("a listener that is warm")
    }

    async fn listen(&mut self, spec: &Arc<ListenerSpec>) {
        self.listeners.upsert(Arc::clone(spec), AT_ONCE).await.expect("its address is free");
    }

    /// The next listener takes the place of the one before.
    async fn take_over(&mut self, old: &ListenerSpec, new: &Arc<ListenerSpec>) {
        self.listeners.expect_to_leave([old.name.clone()]);
        self.listen(new).await;
        self.listeners.remove(&old.name, AT_ONCE).await;
        self.listeners.expect_to_leave([]);
    }
}

fn ask(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

/// An address that nothing listens on and nobody else is given: on Linux each has an IP address of
/// its own, so that no port of a connection beside can be the same.
fn free() -> SocketAddr {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let [high, low] = GIVEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let ip = if cfg!(target_os = "linux") { [127, 66 + high, low, 1] } else { [127, 0, 0, 1] };
    std::net::TcpListener::bind(SocketAddr::from((ip, 0))).unwrap().local_addr().unwrap()
}

/// Whether nobody listens there, as somebody sees it that shares nothing.
fn is_free(address: SocketAddr) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).is_ok()
}

#[tokio::test]
async fn an_address_is_free_once_its_listener_is_removed() {
    let mut rig = Rig::new();
    for fields in ["", "enable_reuse_port: false,"] {
        for round in 0..50 {
            let address = free();
            let name = format!("{fields}{round}").replace(|c: char| !c.is_alphanumeric(), "");
            let name = format!("l{name}");
            let spec = rig.spec(&name, address, fields);
            rig.listen(&spec).await;
            assert!(!is_free(address));
            rig.listeners.remove(&spec.name, AT_ONCE).await;
            assert!(is_free(address), "{fields} round {round}");
        }
    }
    rig.listeners.stop().await;
}

#[tokio::test]
async fn an_address_is_free_once_its_listener_moved() {
    let mut rig = Rig::new();
    for fields in ["", "enable_reuse_port: false,"] {
        let mut last = free();
        let spec = rig.spec("l", last, fields);
        rig.listen(&spec).await;
        for round in 0..50 {
            let next = free();
            let spec = rig.spec("l", next, fields);
            rig.listen(&spec).await;
            assert!(is_free(last), "{fields} round {round}");
            last = next;
        }
        rig.listeners.remove(&"l".into(), AT_ONCE).await;
    }
    rig.listeners.stop().await;
}

#[tokio::test]
async fn an_address_is_free_once_accepting_stopped() {
    use crate::http::drain::DrainLevel::Close;

    let mut rig = Rig::new();
    for (name, fields) in [("a", ""), ("b", "enable_reuse_port: false,")] {
        let address = free();
        let spec = rig.spec(name, address, fields);
        rig.listen(&spec).await;
        rig.listeners.drain(Which::All, Close, Duration::ZERO, Acceptance::Stop).await;
        assert!(is_free(address), "{name}");
    }
    rig.listeners.stop().await;
}

const SHARED: &str = "enable_reuse_port: false,";

#[tokio::test]
async fn a_connection_that_waited_goes_to_who_took_the_address_over() {
    let mut rig = Rig::new();
    let address = free();
    let (a, b) = (rig.spec("a", address, SHARED), rig.spec("b", address, SHARED));
    rig.listen(&a).await;
    let client = TcpStream::connect(address).unwrap();
    // It waits on this runtime, for nobody hands it over yet.
    while rig.listeners.arrived() == 0 {
        tokio::task::yield_now().await;
    }
    rig.take_over(&a, &b).await;
    rig.listeners.hand_over().await;
    assert_eq!(ask(client), "b");
    rig.listeners.stop().await;
}

#[tokio::test]
async fn one_socket_that_is_taken_over_is_for_all_workers() {
    let mut rig = Rig::new();
    let address = free();
    let (a, b) = (rig.spec("a", address, SHARED), rig.spec("b", address, ""));
    rig.listen(&a).await;
    rig.take_over(&a, &b).await;
    // It is accepted here and handed over in turn, not by the first worker alone.
    let client = TcpStream::connect(address).unwrap();
    rig.listeners.hand_over().await;
    assert_eq!(ask(client), "b");
    rig.listeners.stop().await;
}
