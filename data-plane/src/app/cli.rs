//! The command line: Envoy's flags, ours, and what becomes of the process.
//!
//! Exit codes (contracts §2): 0 for a good end and a good validation, 64 for a wrong flag or
//! configuration, 1 for a port that cannot be bound and other failures at run time.

mod args;

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::control::Command;
use super::load::{self, LoadError, Loaded, NodeFlags, Sources};
use super::logging::{self, InstallError};
use super::setup::{Compat, DrainStrategy, Setup, default_concurrency};
use super::short_file::ShortFile;
use super::start::{self, Running};
use super::zero_config::{self, ZeroConfig};
use crate::config::resource::UnknownFields;
use crate::http::pipeline::recovery;
use crate::telemetry::request_log::{self, Level};

use args::{Args, Invocation, Mode};

/// The commit that this was built from; 40 hex digits, zeros where the build did not know it.
pub const COMMIT: &str = match option_env!("GOMESH_COMMIT") {
    Some(commit) => commit,
    None => "0000000000000000000000000000000000000000",
};

/// Exit code of a wrong flag or a bad configuration.
const BAD_CONFIGURATION: u8 = 64;

/// What is logged, and where to.
pub(super) struct LogChoice {
    pub(super) level: String,
    pub(super) components: Option<String>,
    pub(super) path: Option<String>,
}

impl LogChoice {
    fn of(args: &Args) -> Self {
        Self {
            level: args.log_level.clone(),
            components: args.component_log_level.clone(),
            // A check writes nothing.
            path: args.log_path.clone().filter(|_| args.mode == Mode::Serve),
        }
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os().collect())
}

fn run(argv: Vec<OsString>) -> ExitCode {
    let invocation = match args::parse(argv) {
        Ok(invocation) => invocation,
        Err(args::Stop::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(args::Stop::Wrong(text)) => {
            eprintln!("{text}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    match invocation {
        Invocation::HealthCheck { admin } => health_check(&admin),
        Invocation::Serve(args) => serve(*args),
    }
}

fn health_check(admin: &str) -> ExitCode {
    match ready(admin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Asks `/ready`, within two seconds.
fn ready(admin: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{admin}: {error}");
    let mut found = admin.to_socket_addrs().map_err(failed)?;
    let address = found.next().ok_or_else(|| format!("{admin}: no such address"))?;
    let limit = Some(Duration::from_secs(2));
    let mut stream =
        TcpStream::connect_timeout(&address, Duration::from_secs(2)).map_err(failed)?;
    stream.set_read_timeout(limit).map_err(failed)?;
    let request = format!("GET /ready HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut head = [0; 64];
    let read = stream.read(&mut head).map_err(failed)?;
    let line = String::from_utf8_lossy(&head[..read]);
    let line = line.lines().next().unwrap_or_default();
    if line.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("{admin}: {line}")) }
}

/// What is to be served.
enum Source {
    /// An Envoy bootstrap.
    Bootstrap(Sources),
    /// Our own short form, with its file if there is one.
    ZeroConfig(Option<String>),
}

fn serve(args: Args) -> ExitCode {
    if let Err(error) = logging::install(&LogChoice::of(&args)) {
        eprintln!("{error}");
        return match error {
            InstallError::Flag { .. } => ExitCode::from(BAD_CONFIGURATION),
            InstallError::File { .. } => ExitCode::FAILURE,
        };
    }
    let mut setup = match setup_of(&args) {
        Ok(setup) => setup,
        Err(error) => return refuse(&error),
    };
    recovery::install_hook();
    // Before anything that takes time: a signal means the same while the configuration is read.
    let (runtime, signals) = match Signals::with_runtime() {
        Ok(both) => both,
        Err(error) => {
            eprintln!("cannot start the control runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let source = match (&args.config, &args.config_path, &args.config_yaml) {
        (None, None, None) => Source::ZeroConfig(None),
        (Some(file), None, None) => Source::ZeroConfig(Some(file.clone())),
        (Some(_), _, _) => {
            return refuse(&LoadError::line("--config goes without -c and --config-yaml"));
        }
        (None, path, yaml) => Source::Bootstrap(Sources {
            path: path.clone(),
            yaml: yaml.clone(),
            allow_unknown: args.allow_unknown_static_fields || args.allow_unknown_fields,
            node: NodeFlags {
                id: args.service_node.clone(),
                cluster: args.service_cluster.clone(),
                zone: args.service_zone.clone(),
            },
        }),
    };
    let (loaded, short) = match &source {
        Source::Bootstrap(sources) => match load::load(sources) {
            Ok(loaded) => (loaded, Short::default()),
            Err(error) => return refuse(&error),
        },
        Source::ZeroConfig(file) => match Short::load(file.clone(), &args) {
            Ok(loaded) => loaded,
            Err(error) => return refuse(&error),
        },
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for field in &loaded.notes.ignored_fields {
        tracing::warn!(field, "accepted without effect");
    }
    if args.mode != Mode::Serve {
        let name = args.config_path.as_deref().or(args.config.as_deref()).unwrap_or("");
        println!("configuration '{name}' OK");
        return ExitCode::SUCCESS;
    }
    if let Some(zero) = &short.says {
        setup.shutdown_grace = args.shutdown_grace().unwrap_or(zero.timeouts.shutdown);
        setup.services = vec![zero.backend.name.clone()];
        announce(zero, args.config.as_deref());
    }
    runtime.block_on(until_end(loaded, setup, short.file, signals))
}

/// The short form, where that is what is served.
#[derive(Default)]
struct Short {
    says: Option<ZeroConfig>,
    file: Option<ShortFile>,
}

impl Short {
    fn load(file: Option<String>, args: &Args) -> Result<(Loaded, Self), LoadError> {
        let builtin = args.builtin_paths();
        Ok(match file {
            None => {
                let (zero, loaded) = zero_config::load(None, builtin)?;
                (loaded, Self { says: Some(zero), file: None })
            }
            Some(file) => {
                let (short, zero, loaded) = ShortFile::open(file, builtin, args.shutdown_grace())?;
                (loaded, Self { says: Some(zero), file: Some(short) })
            }
        })
    }
}

fn refuse(error: &LoadError) -> ExitCode {
    for line in &error.lines {
        eprintln!("{line}");
    }
    ExitCode::from(BAD_CONFIGURATION)
}

fn setup_of(args: &Args) -> Result<Setup, LoadError> {
    let seconds = |s: u64| Duration::from_secs(s);
    let defaults = Setup::default();
    let compat = std::env::var("GOMESH_COMPAT").ok();
    let compat = match args.compat.as_deref().or(compat.as_deref()) {
        Some("envoy") => Compat::Envoy,
        None | Some("gomesh" | "") => Compat::GoMesh,
        Some(other) => {
            let must = "must be envoy or gomesh";
            return Err(LoadError::line(format!("GOMESH_COMPAT: got '{other}'; {must}")));
        }
    };
    Ok(Setup {
        concurrency: args.concurrency.filter(|n| *n > 0).unwrap_or_else(default_concurrency),
        drain_time: seconds(args.drain_time_s),
        drain_strategy: match args.drain_strategy.as_str() {
            "immediate" => DrainStrategy::Immediate,
            _ => DrainStrategy::Gradual,
        },
        shutdown_grace: args.shutdown_grace().unwrap_or(defaults.shutdown_grace),
        log_flush_interval: Duration::from_millis(args.file_flush_interval_msec),
        log_min_flush: args.file_flush_min_size_kb.saturating_mul(1024),
        unknown_dynamic_fields: if args.reject_unknown_dynamic_fields {
            UnknownFields::Refuse
        } else {
            UnknownFields::Count
        },
        compat,
        request_log: args.request_log.then_some(true),
        admin_address_path: args.admin_address_path.clone().map(Into::into),
        command_line: args.shown(),
        services: Vec::new(),
    })
}

/// The seed's start-up lines.
fn announce(zero: &ZeroConfig, file: Option<&str>) {
    let from = file.map_or_else(
        || "built-in defaults".to_owned(),
        |file| format!("configuration loaded from {file}"),
    );
    let backend = format!("http://{}:{}", zero.backend.host, zero.backend.port);
    let lines = [
        from,
        format!("GoMesh proxy starting on port {}", zero.proxy.port),
        format!("forwarding all traffic to {backend}"),
        "press Ctrl+C to stop".to_owned(),
    ];
    for line in lines {
        eprint!("{}", request_log::message(Level::Info, &line, &[]));
    }
}

async fn until_end(
    loaded: Loaded,
    setup: Setup,
    short: Option<ShortFile>,
    mut signals: Signals,
) -> ExitCode {
    // A start may wait for names and files for as long as it was told to; a signal ends it.
    let started = tokio::select! {
        biased;
        () = signals.ending() => return ExitCode::SUCCESS,
        started = start::start(loaded, setup) => started,
    };
    let running = match started {
        Ok(running) => running,
        Err(start::StartError::Config(problems)) => {
            eprintln!("{problems}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let _watching = short.as_ref().map(|short| short.watch(running.handle.clone()));
    until_signal(running, signals, short.as_ref()).await
}

/// The signals that mean something (contracts §2).
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
}

impl Signals {
    /// The control runtime and its signals.
    fn with_runtime() -> std::io::Result<(tokio::runtime::Runtime, Self)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let signals = Self::listen()?;
        drop(entered);
        Ok((runtime, signals))
    }

    /// From now on none of them ends the process by itself.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for SIGTERM or SIGINT. Cancel safe.
    async fn ending(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// First SIGTERM or SIGINT: end in good order; the second: at once. SIGHUP re-reads the zero-config
/// file, SIGUSR1 opens log files anew.
async fn until_signal(
    running: Running,
    mut signals: Signals,
    short: Option<&ShortFile>,
) -> ExitCode {
    let handle = running.handle.clone();
    let wait = running.wait();
    tokio::pin!(wait);
    let mut ending = false;
    loop {
        tokio::select! {
            good = &mut wait => {
                return if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
            _ = signals.term.recv() => {}
            _ = signals.int.recv() => {}
            _ = signals.hup.recv() => {
                match short {
                    Some(short) => short.reload(&handle).await,
                    None => tracing::info!("SIGHUP: an Envoy bootstrap is not read again"),
                }
                continue;
            }
            _ = signals.usr1.recv() => {
                handle.send(Command::ReopenLogs).await;
                continue;
            }
        }
        if ending {
            return ExitCode::FAILURE;
        }
        ending = true;
        handle.shutdown().await;
    }
}
