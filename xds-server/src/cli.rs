//! The command line: flags to options, errors to exit codes.
//!
//! 0 a good end, 64 a wrong flag or a bad configuration, 1 anything else that fails.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{ADMIN, Exposure, LISTEN, Options, Server, StartError};
use crate::check::Problem;
use crate::durable::Location;
use crate::share::Node;
use crate::snapshot::Resource;
use crate::source::{Empty, Source};
use crate::support::Unsupported;
use crate::translate;

/// Exit code of a wrong flag or a bad configuration (`EX_USAGE`).
const CONFIG: u8 = 64;
/// How long `healthcheck` waits.
const HEALTHCHECK_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Parser)]
#[command(name = "xds-server", version, about = "A control plane for Envoy and data-plane")]
#[command(group = ArgGroup::new("source").args(["config", "resources"]))]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Args, Debug)]
struct Serve {
    /// Mesh file to serve, beside what comes by the API
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of Envoy resources (*.yaml, *.json) to serve to every node
    #[arg(long, value_name = "DIR")]
    resources: Option<PathBuf>,
    /// Serve a folder without resources
    #[arg(long, requires = "resources")]
    allow_empty: bool,
    /// Refuse what data-plane does not support instead of warning of it
    #[arg(long)]
    strict: bool,
    /// Address of the xDS services
    #[arg(long, value_name = "ADDR", default_value = LISTEN)]
    listen: SocketAddr,
    /// Address of the status pages
    #[arg(long, value_name = "ADDR", default_value = ADMIN)]
    admin: SocketAddr,
    /// File that keeps what is registered, or 'memory' [default: in the state folder]
    #[arg(long, value_name = "PATH", conflicts_with = "resources")]
    store: Option<String>,
    /// State folder [default: $STATE_DIRECTORY, $XDG_STATE_HOME/gomesh or ~/.local/state/gomesh]
    #[arg(long, value_name = "DIR", conflicts_with = "resources")]
    state: Option<PathBuf>,
    /// Serve anyone who reaches an address beyond loopback
    #[arg(long)]
    insecure: bool,
    /// Seconds that clients may take to leave when the server stops
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    shutdown_grace_s: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the Envoy resources that a mesh file becomes
    Translate {
        /// Mesh file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Only what nodes of this node.cluster get
        #[arg(long, value_name = "CLUSTER")]
        node: Option<String>,
    },
    /// Ask a running server whether it is ready
    Healthcheck {
        /// Address of its status pages
        #[arg(long, value_name = "ADDR", default_value = ADMIN)]
        admin: SocketAddr,
    },
}

/// Runs the program with these arguments, the first of which is its name.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // To stdout or stderr as is due; nothing can be done where that fails.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(CONFIG) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Some(Command::Translate { config, node }) => print_translation(config, node),
        Some(Command::Healthcheck { admin }) => healthcheck(admin).await,
        None => serve(cli.serve).await,
    }
}

async fn serve(flags: Serve) -> ExitCode {
    let Some(store) = store(&flags) else {
        eprintln!(
            "xds-server: no state folder in the environment; --state DIR or --store is needed"
        );
        return ExitCode::from(CONFIG);
    };
    let source = match (flags.config, flags.resources) {
        (Some(file), _) => Source::Mesh(file),
        (None, Some(folder)) => {
            let empty = if flags.allow_empty { Empty::Allowed } else { Empty::Refused };
            Source::Resources { folder, empty }
        }
        // Only if it is said: a server started by mistake would empty its clients.
        (None, None) if flags.store.is_some() || flags.state.is_some() => Source::Objects,
        (None, None) => {
            eprintln!(
                "xds-server: --config FILE or --resources DIR is needed, or --store or --state to \
                 serve what comes by the API alone; see --help"
            );
            return ExitCode::from(CONFIG);
        }
    };
    let exposure = if flags.insecure { Exposure::Insecure } else { Exposure::LoopbackOnly };
    let options = Options {
        source,
        listen: flags.listen,
        admin: flags.admin,
        exposure,
        unsupported: if flags.strict { Unsupported::Refused } else { Unsupported::Warned },
        store,
        shutdown_grace: Duration::from_secs(flags.shutdown_grace_s),
    };
    let server = match Server::start(options).await {
        Ok(server) => server,
        Err(error) => return start_failed(&error),
    };
    let addresses = server.addresses();
    tracing::info!(xds = %addresses.xds, admin = %addresses.admin, "serving");
    match signals(server).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xds-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Where the store is; a folder of resources has none.
fn store(flags: &Serve) -> Option<Location> {
    if flags.resources.is_some() {
        return Some(Location::Memory);
    }
    match (&flags.store, &flags.state) {
        (Some(store), _) => Some(Location::parse(store)),
        (None, Some(folder)) => Some(Location::in_folder(folder)),
        (None, None) => Location::standard(|name| std::env::var(name).ok()),
    }
}

/// Serves until a signal; a second one ends the program at once.
async fn signals(server: Server) -> anyhow::Result<ExitCode> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let reloader = server.reloader();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut stop = Some(stop);
    let serving = server.run(async {
        // The sender lives until the first signal.
        let _ = stopped.await;
    });
    tokio::pin!(serving);
    loop {
        tokio::select! {
            ended = &mut serving => return ended.map(|()| ExitCode::SUCCESS),
            _ = hangup.recv() => {
                reloader.reload();
                continue;
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        match stop.take() {
            Some(stop) => {
                tracing::info!("stopping");
                // The receiver is gone only if serving has ended, which the loop sees.
                let _ = stop.send(());
            }
            None => return Ok(ExitCode::FAILURE),
        }
    }
}

fn start_failed(error: &StartError) -> ExitCode {
    match error {
        StartError::Config(problems) => config_failed(problems),
        StartError::Run(error) => {
            eprintln!("xds-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn config_failed(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("xds-server: {problem}");
    }
    ExitCode::from(CONFIG)
}

fn print_translation(config: PathBuf, node: Option<String>) -> ExitCode {
    let loaded = match Source::Mesh(config).load(Unsupported::Warned) {
        Ok(loaded) => loaded,
        Err(problems) => return config_failed(&problems),
    };
    for warning in &loaded.warnings {
        eprintln!("xds-server: warning: {warning}");
    }
    let mut resources = loaded.resources();
    if let Some(cluster) = node {
        let node = Node { cluster, ..Default::default() };
        let shares = loaded.shares.iter().filter(|share| share.audience.includes(&node));
        let of_node: Vec<_> = shares.flat_map(|share| &share.resources).collect();
        resources.retain(|r| of_node.iter().any(|other| std::sync::Arc::ptr_eq(r, other)));
        if of_node.is_empty() {
            eprintln!("xds-server: nothing is configured for node.cluster '{}'", node.cluster);
        }
    }
    match translate::print(resources.iter().map(AsRef::<Resource>::as_ref)) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xds-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn healthcheck(admin: SocketAddr) -> ExitCode {
    let asked = tokio::time::timeout(HEALTHCHECK_MAX, ask_ready(admin)).await;
    let why = match asked {
        Ok(Ok(line)) if line.contains(" 200 ") => return ExitCode::SUCCESS,
        Ok(Ok(line)) => format!("answered '{line}'"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", HEALTHCHECK_MAX.as_secs()),
    };
    eprintln!("xds-server: http://{admin}/ready: {why}");
    ExitCode::FAILURE
}

/// The status line of `/ready`.
async fn ask_ready(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET /ready HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    stream.take(1024).read_to_end(&mut head).await?;
    let text = String::from_utf8_lossy(&head);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
