//! The mesh in one process: control plane, edge and echo services, put together as programs are.
//!
//! The edge boots from `bootstrap/edge.yaml` and gets listener, routes, clusters and endpoints
//! over xDS from the control plane, which reads a copy of `demo/mesh.yaml` in a temporary folder
//! (edit it there: the change is live at once). What starts last ends first, so that no request
//! in flight loses the service that it waits for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use data_plane::app::load::load_text;
use data_plane::app::{Running, Setup};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use xds_server::app::{Exposure, Options, Server};
use xds_server::durable::Location;
use xds_server::source::Source;
use xds_server::support::Unsupported;

use crate::backend::{Backend, Lines, OnPanic};
use crate::ports::{Ports, loopback};
use crate::{client, server};

/// What the control plane serves.
pub const MESH: &str = include_str!("../mesh.yaml");

/// What the edge boots from.
pub const EDGE: &str = include_str!("../../bootstrap/edge.yaml");

/// Versions of the backends, in the order of their ports.
const VERSIONS: [&str; 3] = ["v1", "v1", "v2"];

/// Worker threads of the edge: a demo leaves processors to others.
const EDGE_WORKERS: u16 = 2;

/// How long the edge may take from its start to its first answer.
const START_MAX: Duration = Duration::from_secs(15);

/// Between two questions whether it answers.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Between two looks whether all parts still run.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long the parts may take to finish what is in flight.
const GRACE: Duration = Duration::from_secs(5);

/// A running mesh.
pub struct Mesh {
    ports: Ports,
    folder: TempDir,
    edge: Running,
    control: Part,
    backends: Vec<Part>,
}

/// A part that serves in a task of its own.
struct Part {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Part {
    fn spawn<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("a part of the mesh failed at its end: {error:#}"),
            Err(error) => tracing::warn!(%error, "a part of the mesh failed at its end"),
        }
    }
}

impl Mesh {
    /// Starts everything; the edge answers when this returns.
    ///
    /// # Errors
    /// One line: a port that is in use, or a part that does not start.
    pub async fn start(ports: Ports) -> anyhow::Result<Self> {
        check_free(ports)?;
        data_plane::http::pipeline::recovery::install_hook();
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let file = folder.path().join("mesh.yaml");
        std::fs::write(&file, ports.put_into(MESH))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let mut backends = Vec::new();
        for (port, version) in ports.backends.into_iter().zip(VERSIONS) {
            backends.push(start_backend(port, version).await?);
        }
        let control = start_control(ports, file).await?;
        let edge = start_edge(ports).await?;
        let mesh = Self { ports, folder, edge, control, backends };
        mesh.wait_until_it_answers().await?;
        Ok(mesh)
    }

    /// What runs where and what to try: eight lines.
    #[must_use]
    pub fn summary(&self) -> String {
        let Ports { edge, edge_admin, backends: [one, two, three], xds, xds_admin } = self.ports;
        let file = self.folder.path().join("mesh.yaml");
        let file = file.display();
        format!(
            "GoMesh runs, all of it on 127.0.0.1; logs go to stderr, Ctrl+C stops it\n  \
             edge        :{edge}  (admin :{edge_admin}), all that it serves came over xDS\n  \
             xds-server  :{xds}, http://127.0.0.1:{xds_admin}/v1/nodes, serving {file}\n  \
             backends    :{one} v1, :{two} v1, :{three} v2\n\
             Try:\n  \
             curl -i localhost:{edge}/api/users\n  \
             curl -i localhost:{edge}/panic\n  \
             curl -s localhost:{edge}/metrics | grep gomesh_requests_total\n"
        )
    }

    /// The mesh file that the control plane reads.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("mesh.yaml")
    }

    /// Ready when a part ended that should not have.
    pub async fn failed(&self) -> anyhow::Error {
        loop {
            if self.control.task.is_finished() {
                return anyhow::anyhow!("the control plane ended by itself; see the log");
            }
            if self.backends.iter().any(|part| part.task.is_finished()) {
                return anyhow::anyhow!("a backend ended by itself; see the log");
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Ends everything in order: the edge, what it calls, what it is told by.
    pub async fn stop(self) {
        self.edge.handle.shutdown().await;
        self.edge.wait().await;
        for backend in self.backends {
            backend.stop().await;
        }
        self.control.stop().await;
    }

    async fn wait_until_it_answers(&self) -> anyhow::Result<()> {
        let authority = loopback(self.ports.edge).to_string();
        let asking = async {
            loop {
                match client::get(&authority, "/health", START_MAX).await {
                    Ok(answer) if answer.status() == 200 => return,
                    _ => tokio::time::sleep(ASK_AGAIN).await,
                }
            }
        };
        tokio::time::timeout(START_MAX, asking).await.map_err(|_| {
            anyhow::anyhow!(
                "the edge does not answer on {authority} within {} s; see the log",
                START_MAX.as_secs()
            )
        })
    }
}

/// Names the first port that is taken. A listener that comes over xDS would be refused without a
/// word on the terminal, so all are tried before anything starts.
fn check_free(ports: Ports) -> anyhow::Result<()> {
    for port in ports.each() {
        let address = loopback(port);
        std::net::TcpListener::bind(address)
            .map_err(|error| server::cannot_listen(address, &error))?;
    }
    Ok(())
}

async fn start_backend(port: u16, version: &str) -> anyhow::Result<Part> {
    let listener = server::bind(loopback(port)).await?;
    let backend = Backend {
        service: "backend".into(),
        version: version.into(),
        on_panic: OnPanic::BreakConnection,
        lines: Lines::Stderr,
    };
    Ok(Part::spawn(|stop| async move {
        server::run(listener, Arc::new(backend), stop).await;
        Ok(())
    }))
}

async fn start_control(ports: Ports, file: PathBuf) -> anyhow::Result<Part> {
    let options = Options {
        // Beside the mesh file, in the folder that goes with the mesh.
        store: Location::File(file.with_file_name("xds-server.redb")),
        source: Source::Mesh(file),
        listen: loopback(ports.xds),
        admin: loopback(ports.xds_admin),
        exposure: Exposure::LoopbackOnly,
        unsupported: Unsupported::Warned,
        shutdown_grace: GRACE,
    };
    let server = Server::start(options).await.context("xds-server")?;
    Ok(Part::spawn(|stop| server.run(stop.cancelled_owned())))
}

async fn start_edge(ports: Ports) -> anyhow::Result<Running> {
    let loaded = load_text("bootstrap/edge.yaml", &ports.put_into(EDGE)).context("the edge")?;
    let setup = Setup { concurrency: EDGE_WORKERS, shutdown_grace: GRACE, ..Setup::default() };
    data_plane::app::start(loaded, setup).await.context("the edge")
}
