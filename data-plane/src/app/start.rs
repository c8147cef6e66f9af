//! Building a data plane: threads, sockets, clients, in the order in which they need each other.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use rand::Rng as _;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

use super::addresses;
use super::admin_state::{Shown, ShownParts};
use super::control::{Control, Handle};
use super::load::{Loaded, dynamic_cx};
use super::runtime::FlatRuntime;
use super::setup::{Compat, Setup};
use crate::admin::{Admin, AdminOptions, AdminState};
use crate::base::clock;
use crate::base::task::{self, Task};
use crate::cluster::dns::{Resolve, SystemResolver};
use crate::cluster::pool::Pools;
use crate::codec::io::BufferPool;
use crate::config::address::Address;
use crate::config::error::Problems;
use crate::config::resource::{self, ResourceValue};
use crate::http::headers::LocalInfo;
use crate::http::manager::ManagerCx;
use crate::http::trace::TraceStart;
use crate::http::worker::{Options, Shared, Worker};
use crate::listener::socket::Held;
use crate::listener::{GlobalConnections, Listeners, WorkerHandle, spawn_worker};
use crate::snapshot::Snapshot;
use crate::telemetry::WorkerId;
use crate::telemetry::access_log::{LogOptions, Logs};
use crate::telemetry::metrics::{BuildInfo, Metrics};
use crate::telemetry::request_log::RequestLog;
use crate::telemetry::stats::{Registry, Scope};
use crate::xds::{self, Subscriptions};

/// Why a data plane cannot run; one clear line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration names something that is not there.
    #[error("{0}")]
    Config(Problems),
    /// A port, a thread or a file is not to be had.
    #[error("{0}")]
    System(String),
}

/// A data plane that runs.
pub struct Running {
    /// Tells it what to do.
    pub handle: Handle,
    control: Task,
    _admin: Option<Task>,
}

impl Running {
    /// Waits until it has ended. False where that was not in good order: the control loop failed.
    pub async fn wait(self) -> bool {
        self.control.join().await
    }
}

/// Starts a data plane on the current runtime. Static listeners are bound when this returns.
///
/// # Errors
/// A port cannot be bound, the system has no thread to give, a source cannot be used.
pub async fn start(loaded: Loaded, setup: Setup) -> Result<Running, StartError> {
    let begun = clock::now();
    let registry = Registry::new(setup.concurrency);
    let metrics = Arc::new(Metrics::new(setup.concurrency, build_info()));
    let logs = Logs::new(
        setup.concurrency,
        LogOptions { interval: setup.log_flush_interval, min_flush: setup.log_min_flush },
        registry.group(Scope::plain("filesystem.")),
    );
    metrics.observe_logs(&logs);
    let declared: Vec<_> = setup.services.iter().map(|name| metrics.declare(name)).collect();
    drop(declared);
    let shared = Arc::new(shared(&loaded, &setup, &metrics, &logs)?);
    let global =
        Arc::new(GlobalConnections::new(loaded.config.overload.max_downstream_connections));
    let workers = spawn_workers(&setup, &shared, &global)?;
    let manager_cx = Arc::new(ManagerCx {
        registry: registry.clone(),
        metrics: Arc::clone(&metrics),
        logs: logs.clone(),
        runtime: Arc::new(FlatRuntime::new(&loaded.config.runtime)),
    });
    let snapshot = Snapshot::new(registry.clone(), manager_cx);
    let listeners = Listeners::new(workers);
    let held = listeners.held().clone();
    let (subscriptions, events) = subscriptions(&loaded, &setup, &registry, &metrics, held)?;
    let resolver: Arc<dyn Resolve> = Arc::new(
        SystemResolver::new(&loaded.config.dns)
            .map_err(|error| StartError::System(error.to_string()))?,
    );
    let (commands, inbox) = mpsc::channel(64);
    let handle = Handle::new(commands);
    let shown = Arc::new(Shown::new(ShownParts {
        handle: handle.clone(),
        setup: &setup,
        loaded: &loaded,
        status: Arc::clone(subscriptions.status()),
        registry: &registry,
        begun,
        global,
    }));
    let admin = admin(&loaded, &setup, &shown, &registry, &metrics).await?;
    let control = Control::new(super::control::Parts {
        setup,
        loaded,
        registry,
        metrics,
        logs,
        snapshot,
        listeners,
        subscriptions,
        events,
        resolver,
        inbox,
        begun,
        shown,
    });
    let control = control.begin().await?;
    Ok(Running { handle, control: task::spawn("control", control.run()), _admin: admin })
}

/// Binds and serves the admin interface, if there is one.
async fn admin(
    loaded: &Loaded,
    setup: &Setup,
    shown: &Arc<Shown>,
    registry: &Registry,
    metrics: &Arc<Metrics>,
) -> Result<Option<Task>, StartError> {
    let Some(config) = &loaded.config.admin else { return Ok(None) };
    let Some(address) = &config.address else { return Ok(None) };
    let state: Arc<dyn AdminState> = Arc::<Shown>::clone(shown);
    let options =
        AdminOptions { allow_paths: config.allow_paths.clone(), ..AdminOptions::default() };
    let admin = Admin::new(state, registry.clone(), (**metrics).clone(), options);
    let refused = |error: std::io::Error| {
        StartError::System(format!("admin interface: cannot bind {address}: {error}"))
    };
    let (shown_address, task) = match address {
        Address::Pipe(pipe) => {
            let listener = UnixListener::bind(&*pipe.path).map_err(refused)?;
            let serving = async move { match admin.serve_unix(listener).await {} };
            (pipe.path.to_string(), task::spawn("admin", serving))
        }
        Address::Ip(_) | Address::Name { .. } => {
            let listener = TcpListener::bind(address.to_string()).await.map_err(refused)?;
            let bound = listener.local_addr().map_err(refused)?;
            let serving = async move { match admin.serve(listener).await {} };
            (bound.to_string(), task::spawn("admin", serving))
        }
    };
    if let Some(path) = &setup.admin_address_path {
        std::fs::write(path, shown_address).map_err(|error| {
            StartError::System(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(Some(task))
}

fn build_info() -> BuildInfo {
    BuildInfo { version: env!("CARGO_PKG_VERSION"), revision: super::cli::COMMIT }
}

fn shared(
    loaded: &Loaded,
    setup: &Setup,
    metrics: &Arc<Metrics>,
    logs: &Logs,
) -> Result<Shared, StartError> {
    let runtime = &loaded.config.runtime;
    let ours = setup.compat == Compat::GoMesh;
    let trace_headers = (ours && runtime.flag("gomesh.trace_headers", true)).then(|| {
        if runtime.flag("gomesh.trace_start", false) { TraceStart::On } else { TraceStart::Off }
    });
    let wants_log = setup.request_log.unwrap_or_else(|| runtime.flag("gomesh.request_log", false));
    let stderr = || {
        RequestLog::stderr(logs)
            .map_err(|error| StartError::System(format!("cannot write to stderr: {error}")))
    };
    let node = &loaded.config.node;
    Ok(Shared {
        options: Options { trace_headers },
        runtime: Box::new(FlatRuntime::new(runtime)),
        local: LocalInfo {
            service_cluster: value(&node.cluster),
            service_node: value(&node.id),
            zone: Arc::clone(&node.locality.zone),
            address: own_address(),
        },
        metrics: Arc::clone(metrics),
        no_service: metrics.service("none"),
        request_log: (ours && wants_log).then(stderr).transpose()?,
        panic_log: stderr()?,
        workers: setup.concurrency,
    })
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The address by which this machine is known outside; connecting a UDP socket sends nothing, it
/// only asks the routing table.
fn own_address() -> IpAddr {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let asked = std::net::UdpSocket::bind(("0.0.0.0", 0)).and_then(|socket| {
        socket.connect(("192.0.2.1", 9))?;
        socket.local_addr()
    });
    asked.map_or(loopback, |address| address.ip())
}

fn spawn_workers(
    setup: &Setup,
    shared: &Arc<Shared>,
    global: &Arc<GlobalConnections>,
) -> Result<Vec<WorkerHandle>, StartError> {
    let mut random = rand::rng();
    (0..setup.concurrency)
        .map(|index| {
            let shared = Arc::clone(shared);
            let mut seed = [0; 32];
            random.fill_bytes(&mut seed);
            let pool_seed = random.next_u64();
            let make = Box::new(move || {
                let id = WorkerId::worker(index);
                let buffers = BufferPool::new(crate::listener::SPARE_BUFFERS);
                let pools = Pools::new(id, std::rc::Rc::clone(&buffers), pool_seed);
                std::rc::Rc::new(Worker::new(id, shared, pools, buffers, seed))
            });
            spawn_worker(format!("worker_{index}"), Arc::clone(global), make)
                .map_err(|error| StartError::System(format!("cannot start a worker: {error}")))
        })
        .collect()
}

type Events = mpsc::Receiver<xds::Event<ResourceValue>>;

fn subscriptions(
    loaded: &Loaded,
    setup: &Setup,
    registry: &Registry,
    metrics: &Arc<Metrics>,
    held: Held,
) -> Result<(Subscriptions<ResourceValue>, Events), StartError> {
    let unknown = setup.unknown_dynamic_fields;
    let metrics = Arc::clone(metrics);
    let (secrets, bind) = (Arc::clone(&loaded.config.secrets), loaded.config.bind.clone());
    let tracer = loaded.config.tracer.clone();
    let decode = xds::decoder(
        move |type_url, bytes| {
            let cx = dynamic_cx(unknown, &secrets, bind.as_ref(), tracer.as_ref());
            addresses::bindable(resource::decode(type_url, bytes, &cx), &held)
        },
        move |_, _, notes| {
            for field in &notes.ignored_fields {
                metrics.ignored_field(field);
            }
        },
    );
    let options = xds::Options {
        node: Arc::new(xds::node::build_node(&loaded.config.node)),
        ads: loaded.config.dynamic.ads.clone(),
        connectors: Arc::new(super::connectors::StaticConnectors::new(&loaded.config, registry)),
        decode,
        review: Some(addresses::review(&loaded.config.listeners)),
        registry: Some(registry.clone()),
        keepalive: Some(xds::client::Keepalive::default()),
        seed: rand::rng().next_u64(),
    };
    Subscriptions::new(options).map_err(StartError::Config)
}
