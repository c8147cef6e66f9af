//! A whole server: reads its source, binds, serves, reloads, stops.
//!
//! The only place that knows all the others. Nothing here is process-wide: many servers can run
//! in one process, each with its own ports, metrics and files.

mod changes;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use self::changes::Changes;
use crate::accept::{self, Connection};
use crate::admin::{self, Pages};
use crate::api::config::Config;
use crate::api::grpc;
use crate::api::guard::Hosts;
use crate::api::instances::Instances;
use crate::catalog::{self, Catalog, Objects};
use crate::check::Problem;
use crate::compose::Composer;
use crate::durable::journal::Journal;
use crate::durable::{Disk, Location};
use crate::metrics::Metrics;
use crate::registry::{self, Book, Registry};
use crate::service;
use crate::source::Source;
use crate::source::watch::FileWatch;
use crate::status::Status;
use crate::store::Store;
use crate::stream::Shared;
use crate::support::Unsupported;

/// Default address of the xDS services.
pub const LISTEN: &str = "127.0.0.1:18000";
/// Default address of the pages and the API.
pub const ADMIN: &str = "127.0.0.1:19000";
/// Between HTTP/2 pings on a connection.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// How long a ping may stay unanswered: a dead client is gone within half a minute.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams on one connection.
const STREAMS_MAX: u32 = 1_000;

/// How to run a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the resources come from.
    pub source: Source,
    /// Address of the xDS services; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the pages and the API; port 0 takes a free one.
    pub admin: SocketAddr,
    /// Whether addresses beyond loopback are served without authentication.
    pub exposure: Exposure,
    /// What to make of what only our own data plane does not support.
    pub unsupported: Unsupported,
    /// Where what is registered outlives the server; a folder of resources has nothing to keep.
    pub store: Location,
    /// How long clients may take to end when the server stops.
    pub shutdown_grace: Duration,
}

impl Options {
    /// Both addresses on loopback with ports of the system's choice, for a server in a process
    /// of something else.
    #[must_use]
    pub fn local(source: Source) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            source,
            listen: any,
            admin: any,
            exposure: Exposure::LoopbackOnly,
            unsupported: Unsupported::Warned,
            store: Location::Memory,
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// What `--insecure` decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Anyone who reaches the ports is served.
    Insecure,
    /// The start is refused beyond loopback, since there is no authentication yet.
    LoopbackOnly,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong (exit code 64): one line a problem.
    Config(Vec<Problem>),
    /// Anything else (exit code 1), such as a port that is taken.
    Run(anyhow::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => {
                for (index, problem) in problems.iter().enumerate() {
                    let end = if index > 0 { "\n" } else { "" };
                    write!(f, "{end}{problem}")?;
                }
                Ok(())
            }
            Self::Run(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A server that is bound and has its first snapshot; it serves while [`Server::run`] is polled.
#[derive(Debug)]
pub struct Server {
    options: Options,
    xds: TcpListener,
    admin: TcpListener,
    addresses: Addresses,
    shared: Shared,
    metrics: Arc<Metrics>,
    reload: Arc<Notify>,
    watch: FileWatch,
    composer: Composer,
    registry: Arc<Registry>,
    catalog: Catalog,
    requests: mpsc::Receiver<catalog::Request>,
    /// Absent where nothing outlives the process.
    journal: Option<Journal>,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The xDS services.
    pub xds: SocketAddr,
    /// The pages and the API.
    pub admin: SocketAddr,
}

/// Asks a running server to read its files now.
#[derive(Clone, Debug)]
pub struct Reloader(Arc<Notify>);

impl Reloader {
    /// See the type.
    pub fn reload(&self) {
        self.0.notify_one();
    }
}

impl Server {
    /// Reads the source and binds.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        check_exposure(&options)?;
        // Before the reading, so that no change falls between the two.
        let watch = FileWatch::new(options.source.clone());
        let kept = open_store(&options).await.map_err(StartError::Run)?;
        let objects = kept.objects.all();
        let loaded = changes::load(&options.source, objects, options.unsupported).await;
        let loaded = loaded.map_err(StartError::Config)?;
        changes::log_warnings(&loaded.warnings);
        let xds = bind(options.listen, "--listen").await.map_err(StartError::Run)?;
        let admin = bind(options.admin, "--admin").await.map_err(StartError::Run)?;
        let local = |listener: &TcpListener| {
            listener.local_addr().context("local address").map_err(StartError::Run)
        };
        let addresses = Addresses { xds: local(&xds)?, admin: local(&admin)? };
        let metrics = Arc::new(Metrics::new().map_err(StartError::Run)?);
        let registry = Arc::new(Registry::new(kept.book, kept.journal.clone()));
        metrics.observe_instances(registry.clone());
        let mut composer = Composer::new(loaded, registry.clone());
        let (catalog, requests) = Catalog::new(kept.objects);
        metrics.set_revision(1);
        let shared = Shared {
            store: Arc::new(Store::new(composer.shares())),
            status: Arc::new(Status::new(metrics.clone())),
            stop: CancellationToken::new(),
        };
        let reload = Arc::new(Notify::new());
        Ok(Self {
            options,
            xds,
            admin,
            addresses,
            shared,
            metrics,
            reload,
            watch,
            composer,
            registry,
            catalog,
            requests,
            journal: kept.journal,
        })
    }

    /// Where it listens, with the ports that were taken.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// For whoever gets the signal to reload.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader(self.reload.clone())
    }

    /// Serves until `shutdown` is ready, then ends the streams and waits for clients to leave,
    /// as long as [`Options::shutdown_grace`] allows.
    ///
    /// # Errors
    /// Where a server ends by itself.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let stop = self.shared.stop.clone();
        // Also on an error and when this future is dropped: tasks must not outlive the server.
        let _guard = stop.clone().drop_guard();
        let loopback = self.options.admin.ip().is_loopback();
        // A folder of resources has no services and no objects.
        let folder = matches!(self.options.source, Source::Resources { .. });
        let instances = Instances::new((!folder).then(|| self.registry.clone()));
        let objects = (!folder).then(|| self.catalog.clone());
        let config = Config::new(objects, self.shared.store.clone(), self.shared.status.clone());
        let pages = Pages {
            instances: instances.clone(),
            config: config.clone(),
            stop: stop.clone(),
            hosts: if loopback { Hosts::Loopback } else { Hosts::Any },
            store: self.shared.store.clone(),
            status: self.shared.status.clone(),
            metrics: self.metrics.clone(),
        };
        let admin = axum::serve(self.admin, admin::router(pages))
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future();
        let connections = accept::spawn_accept(self.xds, stop.clone());
        let xds = serve_xds(connections, self.shared.clone(), instances, config)?;
        let changes = Changes {
            unsupported: self.options.unsupported,
            composer: self.composer,
            registry: self.registry,
            store: self.shared.store,
            metrics: self.metrics,
            catalog: self.catalog,
            journal: self.journal,
        };
        let reloads = changes.run(self.watch, self.reload, self.requests);
        let serving = async {
            tokio::try_join!(async { xds.await.context("the xDS server ended") }, async {
                admin.await.context("the admin server ended")
            },)
        };
        tokio::pin!(serving, reloads);
        tokio::select! {
            ended = &mut serving => return ended.map(|_| ()),
            // Cancel-safe: it is not polled again, and a reading that runs on changes nothing.
            () = &mut reloads => anyhow::bail!("the files are no longer watched"),
            () = shutdown => {}
        }
        stop.cancel();
        match tokio::time::timeout(self.options.shutdown_grace, serving).await {
            Ok(ended) => ended.map(|_| ()),
            Err(_) => Ok(()),
        }
    }
}

/// What outlived the last server, and the way to write more.
#[derive(Default)]
struct Kept {
    book: Book,
    objects: Objects,
    journal: Option<Journal>,
}

async fn open_store(options: &Options) -> anyhow::Result<Kept> {
    if matches!(options.source, Source::Resources { .. }) {
        return Ok(Kept::default());
    }
    let location = options.store.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let disk = Disk::open(&location)?;
        let (book, objects) = (registry::restored(&disk)?, Objects::restored(&disk)?);
        let journal = Journal::spawn(disk, location).context("no thread for the store")?;
        Ok(Kept { book, objects, journal: Some(journal) })
    });
    opening.await.context("opening the store failed")?
}

fn check_exposure(options: &Options) -> Result<(), StartError> {
    if options.exposure == Exposure::Insecure {
        return Ok(());
    }
    for (flag, address) in [("--listen", options.listen), ("--admin", options.admin)] {
        if !address.ip().is_loopback() {
            let message = format!(
                "{flag} {address}: beyond loopback there is no authentication yet; use a loopback \
                 address, or --insecure to serve anyone who reaches it"
            );
            return Err(StartError::Config(vec![Problem::new(None, message)]));
        }
    }
    Ok(())
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{flag} {address} cannot be listened on"))
}

fn serve_xds(
    connections: mpsc::Receiver<std::io::Result<Connection>>,
    shared: Shared,
    instances: Instances,
    config: Config,
) -> anyhow::Result<impl Future<Output = Result<(), tonic::transport::Error>>> {
    let stop = shared.stop.clone();
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(proto::control::DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    let names = || service::SERVICE_NAMES.iter().chain(&grpc::SERVICE_NAMES);
    let reflection = names()
        .fold(reflection, |builder, name| builder.with_service_name(*name))
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("reflection")?;
    let routes = service::routes(&shared)
        .add_service(grpc::registry(instances, stop.clone()))
        .add_service(grpc::control(config, stop.clone()))
        .add_service(health_service)
        .add_service(reflection)
        .prepare();
    Ok(async move {
        for name in names() {
            health.set_service_status(name, tonic_health::ServingStatus::Serving).await;
        }
        tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(STREAMS_MAX)
            .add_routes(routes)
            .serve_with_incoming_shutdown(ReceiverStream::new(connections), stop.cancelled_owned())
            .await
    })
}

#[cfg(test)]
mod tests;
