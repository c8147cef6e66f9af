//! The command line. Exit codes: 0 a good end, 64 a wrong flag, 1 anything else that fails.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::backend::{Backend, Lines, OnPanic};
use crate::frontend::Frontend;
use crate::mesh::Mesh;
use crate::ports::Ports;
use crate::{client, server};

/// Exit code of a wrong flag (`EX_USAGE`).
const WRONG_FLAG: u8 = 64;

/// How long `healthcheck` waits.
const HEALTHCHECK_MAX: Duration = Duration::from_secs(2);

/// Without a subcommand: a whole mesh in one process, on loopback
#[derive(Debug, Parser)]
#[command(name = "demo", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Move all ports of the mesh (8000, 9901, 3000-3002, 18000, 19000) up by N
    #[arg(long, value_name = "N", default_value_t = 0)]
    port_offset: u16,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The echo service alone
    Backend {
        /// Address to listen on
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
        listen: SocketAddr,
        /// /panic ends the process instead of the connection
        #[arg(long)]
        exit_on_panic: bool,
        /// Version in answers
        #[arg(long, value_name = "V", default_value = "v1")]
        version: String,
        /// Name in answers
        #[arg(long, value_name = "NAME", default_value = "backend")]
        service: String,
    },
    /// A service that calls the backend through its sidecar
    Frontend {
        /// Address to listen on
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where the sidecar listens for this application
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15001")]
        sidecar: String,
        /// Host by which the sidecar knows the backend
        #[arg(long, value_name = "NAME", default_value = "backend")]
        backend: String,
    },
    /// Ask a service of the demo whether it is well
    Healthcheck {
        /// Its address
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
        address: SocketAddr,
    },
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // To stdout or stderr as is due; nothing can be done where that fails.
            let _closed = error.print();
            return if error.use_stderr() { WRONG_FLAG.into() } else { ExitCode::SUCCESS };
        }
    };
    log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::anyhow!("no runtime: {error}")),
    };
    let ended = runtime.block_on(run(cli));
    // A reading of files that still runs must not hold up the end.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("demo: {error:#}");
    ExitCode::FAILURE
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logger = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    logger.with_writer(std::io::stderr).init();
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        None => mesh(cli.port_offset).await,
        Some(Command::Backend { listen, exit_on_panic, version, service }) => {
            let on_panic = if exit_on_panic { OnPanic::Exit } else { OnPanic::BreakConnection };
            let listener = server::bind(listen).await?;
            let lines = Lines::Stdout;
            lines.say(&format!("Starting test backend on {}", listener.local_addr()?));
            lines.say("Ready to receive requests from the proxy");
            serve(listener, Backend { service, version, on_panic, lines }).await
        }
        Some(Command::Frontend { listen, sidecar, backend }) => {
            let listener = server::bind(listen).await?;
            tracing::info!(address = %listener.local_addr()?, sidecar, "frontend starting");
            serve(listener, Frontend { sidecar, backend }).await
        }
        Some(Command::Healthcheck { address }) => {
            let authority = address.to_string();
            let answer = client::get(&authority, "/health", HEALTHCHECK_MAX).await?;
            anyhow::ensure!(answer.status() == 200, "{authority}: answered {}", answer.status());
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    service: impl server::Service,
) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let mut signals = Signals::new()?;
    let serving = server::run(listener, Arc::new(service), stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return Ok(ExitCode::SUCCESS),
        () = signals.next() => stop.cancel(),
    }
    Ok(ending(serving, &mut signals).await)
}

async fn mesh(port_offset: u16) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let mesh = tokio::select! {
        mesh = Mesh::start(Ports::moved(port_offset)?) => mesh?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    {
        use std::io::Write as _;
        // Whoever closed stdout does not want to know.
        let _closed = write!(std::io::stdout(), "{}", mesh.summary());
    }
    tokio::select! {
        failure = mesh.failed() => return Err(failure),
        () = signals.next() => {}
    }
    let stopping = mesh.stop();
    tokio::pin!(stopping);
    Ok(ending(stopping, &mut signals).await)
}

/// The end in good order, or at once with 1 at the second signal.
async fn ending(end: impl Future<Output = ()>, signals: &mut Signals) -> ExitCode {
    tokio::select! {
        () = end => ExitCode::SUCCESS,
        () = signals.next() => ExitCode::FAILURE,
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        // Cancel-safe: a signal that comes between two calls is kept by its stream.
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
