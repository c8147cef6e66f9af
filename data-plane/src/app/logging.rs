//! The log of the program itself: levels, components, where to.
//!
//! The logger is process-wide by its nature (contracts §1); the levels of its components can be
//! changed while it runs (`/logging`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use super::cli::LogChoice;
use crate::admin::{LogChange, LogLevel, UnknownLogger};

/// Envoy's components that something here does, and the modules that do it.
const COMPONENTS: [(&str, &str); 12] = [
    ("admin", "data_plane::admin"),
    ("client", "data_plane::cluster::pool"),
    ("config", "data_plane::config"),
    ("connection", "data_plane::codec"),
    ("conn_handler", "data_plane::listener"),
    ("dns", "data_plane::cluster::dns"),
    ("filter", "data_plane::http::filter"),
    ("grpc", "data_plane::xds"),
    ("http", "data_plane::http"),
    ("main", "data_plane::app"),
    ("router", "data_plane::http::router"),
    ("upstream", "data_plane::cluster"),
];

/// Envoy's other components: agents name them, and nothing here does what they do.
const ONLY_ENVOYS: &str = "\
     a2a ai_protocol_manager alternate_protocols_cache aws assert backtrace basic_auth \
     cache_filter compression credential_injector decompression dubbo envoy_bug ext_authz \
     ext_proc rocketmq file forward_proxy geolocation happy_eyeballs hc health_checker http2 \
     hystrix init io jwt json_rpc kafka key_value_store lua local_rate_limit matcher mcp misc \
     mongo multi_connection notification oauth2 quic quic_stream pool rate_limit_quota rbac rds \
     redis runtime stats secret sse tap testing thrift tracing udp wasm websocket golang \
     stats_sinks dynamic_modules ip_tagging";

/// The levels in force, and the way to change them.
struct Levels {
    by_name: BTreeMap<String, LogLevel>,
    handle: reload::Handle<EnvFilter, Registry>,
    file: Option<LogFile>,
}

/// The file of `--log-path`, which can be opened anew after it was moved away.
#[derive(Clone)]
struct LogFile {
    path: String,
    /// Taken for each line and for the change of the file.
    open: Arc<Mutex<File>>,
}

impl LogFile {
    fn open(path: &str) -> io::Result<File> {
        File::options().create(true).append(true).open(path)
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lock().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

fn levels() -> Option<MutexGuard<'static, Levels>> {
    let levels = LEVELS.get()?;
    Some(levels.lock().unwrap_or_else(PoisonError::into_inner))
}

static LEVELS: OnceLock<Mutex<Levels>> = OnceLock::new();

/// Why the logger cannot be as the command line wants it; one clear line.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    /// A flag's value is none of those it takes.
    #[error("{flag}: got '{value}'; must be {must}")]
    Flag { flag: &'static str, value: String, must: &'static str },
    /// The file of `--log-path` cannot be written.
    #[error("--log-path: cannot open {path}: {error}")]
    File { path: String, error: std::io::Error },
}

/// Sets up the process-wide logger; a second call changes nothing.
///
/// # Errors
/// A level or component that is none, a file that cannot be opened.
pub(super) fn install(choice: &LogChoice) -> Result<(), InstallError> {
    let must = "trace, debug, info, warning (warn), error (err), critical or off";
    let wrong =
        |flag, value: &str, must| InstallError::Flag { flag, value: value.to_owned(), must };
    let base = level(&choice.level).ok_or_else(|| wrong("--log-level", &choice.level, must))?;
    let mut by_name: BTreeMap<String, LogLevel> =
        COMPONENTS.iter().map(|(name, _)| ((*name).to_owned(), base)).collect();
    let parts = choice.components.iter().flat_map(|text| text.split(','));
    for part in parts.filter(|part| !part.is_empty()) {
        let flag = "--component-log-level";
        let named = part.split_once(':');
        let (component, own) = named.ok_or_else(|| wrong(flag, part, "component:level"))?;
        let own = level(own).ok_or_else(|| wrong(flag, own, must))?;
        match by_name.get_mut(component) {
            Some(known) => *known = own,
            None if ONLY_ENVOYS.split_whitespace().any(|name| name == component) => {}
            None => return Err(wrong(flag, component, "a component that Envoy has (/logging)")),
        }
    }
    let (filter, handle) = reload::Layer::new(filter(&by_name));
    let open = |path: &String| match LogFile::open(path) {
        Ok(file) => Ok(LogFile { path: path.clone(), open: Arc::new(Mutex::new(file)) }),
        Err(error) => Err(InstallError::File { path: path.clone(), error }),
    };
    let file = choice.path.as_ref().map(open).transpose()?;
    let lines = fmt::layer().json().flatten_event(true);
    // Another logger that is there already (a program that embeds this one) stays.
    let installed = match file.clone() {
        Some(file) => tracing_subscriber::registry()
            .with(filter)
            .with(lines.with_writer(move || file.clone()))
            .try_init(),
        None => tracing_subscriber::registry()
            .with(filter)
            .with(lines.with_writer(std::io::stderr))
            .try_init(),
    };
    if installed.is_ok() {
        let _only_once = LEVELS.set(Mutex::new(Levels { by_name, handle, file }));
    }
    Ok(())
}

/// Opens the file of `--log-path` anew; the old one stays where that fails.
pub(super) fn reopen() {
    let Some(file) = levels().and_then(|levels| levels.file.clone()) else { return };
    match LogFile::open(&file.path) {
        Ok(new) => *file.lock() = new,
        Err(error) => tracing::error!(path = file.path, %error, "the log cannot be opened anew"),
    }
}

/// The components and their levels.
pub(super) fn loggers() -> Vec<(String, LogLevel)> {
    match levels() {
        Some(levels) => levels.by_name.iter().map(|(name, level)| (name.clone(), *level)).collect(),
        None => COMPONENTS.iter().map(|(name, _)| ((*name).to_owned(), LogLevel::Info)).collect(),
    }
}

/// Changes levels: all of the named ones or none.
pub(super) fn change(change: &LogChange) -> Result<(), UnknownLogger> {
    let Some(mut levels) = levels() else { return Ok(()) };
    match change {
        LogChange::All(level) => levels.by_name.values_mut().for_each(|own| *own = *level),
        LogChange::Some(some) => {
            if some.iter().any(|(name, _)| !levels.by_name.contains_key(name)) {
                return Err(UnknownLogger);
            }
            levels.by_name.extend(some.iter().cloned());
        }
    }
    let filter = filter(&levels.by_name);
    // It fails only when the logger is gone, and then nothing is logged any more.
    let _gone = levels.handle.reload(filter);
    Ok(())
}

fn filter(levels: &BTreeMap<String, LogLevel>) -> EnvFilter {
    let main = levels.get("main").copied().unwrap_or(LogLevel::Info);
    let mut text = directive(main).to_owned();
    for (name, module) in COMPONENTS {
        if let Some(level) = levels.get(name) {
            text.push_str(&format!(",{module}={}", directive(*level)));
        }
    }
    EnvFilter::try_new(&text).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Envoy's level names, the short forms included.
fn level(name: &str) -> Option<LogLevel> {
    match name {
        "warn" => Some(LogLevel::Warning),
        "err" => Some(LogLevel::Error),
        other => LogLevel::parse(other),
    }
}

const fn directive(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warning => "warn",
        LogLevel::Error | LogLevel::Critical => "error",
        LogLevel::Off => "off",
    }
}
