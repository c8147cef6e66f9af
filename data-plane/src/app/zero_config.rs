//! The short form: one proxy, one backend (contracts §8), translated to an Envoy bootstrap.
//!
//! One path: what it becomes goes through the same reader, rules and snapshot as any bootstrap.
//! The file is watched by its directory, so that an atomic rename counts; a good change swaps in, a
//! bad one is refused with its place and changes nothing.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::control::{Command, Handle};
use super::load::{self, LoadError, Loaded};
use crate::base::task::{self, Task};

/// Events of one save come together; this is waited for before the file is read.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// The short form with its defaults.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct ZeroConfig {
    /// Where clients come in.
    pub proxy: Proxy,
    /// Where requests go.
    pub backend: Backend,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// The admin interface.
    pub admin: Admin,
}

/// `proxy`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on.
    pub port: u16,
}

/// `backend`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Backend {
    /// Its name in metrics and logs.
    pub name: String,
    /// Its address or name.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// `timeouts`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// To make a connection to the backend.
    #[serde(deserialize_with = "duration")]
    pub connect: Duration,
    /// From the end of a request to the end of its response.
    #[serde(deserialize_with = "duration")]
    pub request: Duration,
    /// Without any activity on a connection.
    #[serde(deserialize_with = "duration")]
    pub idle: Duration,
    /// To finish what is in flight at the end.
    #[serde(deserialize_with = "duration")]
    pub shutdown: Duration,
}

/// `admin`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on.
    pub port: u16,
}

impl Default for Proxy {
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: 8000 }
    }
}

impl Default for Backend {
    fn default() -> Self {
        Self { name: "backend".into(), host: "localhost".into(), port: 3000 }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), request: seconds(15), idle: seconds(60), shutdown: seconds(5) }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: 9901 }
    }
}

/// `250ms`, `5s`, `1.5s`, `2m`.
fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let (number, unit) =
        text.split_at(text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len()));
    let scale = match unit {
        "ms" => Some(0.001),
        "s" => Some(1.0),
        "m" => Some(60.0),
        _ => None,
    };
    let parsed = number.trim().parse::<f64>().ok().zip(scale);
    parsed.and_then(|(number, scale)| Duration::try_from_secs_f64(number * scale).ok()).ok_or_else(
        || serde::de::Error::custom(format!("'{text}' is not a duration (write 250ms, 5s, 2m)")),
    )
}

/// Reads the file, or takes the defaults, and translates.
///
/// # Errors
/// All that is wrong with the file, with its place.
pub fn load(file: Option<&str>, builtin: Option<bool>) -> Result<(ZeroConfig, Loaded), LoadError> {
    let zero = match file {
        None => ZeroConfig::default(),
        Some(file) => read(file)?.unwrap_or_default(),
    };
    translated(zero, builtin)
}

/// Reads a file that has changed. At a start an empty one means the defaults; here it is what an
/// editor leaves for a moment before it writes, and must not move the proxy to another port.
fn load_again(file: &str, builtin: Option<bool>) -> Result<Loaded, LoadError> {
    let zero = read(file)?.ok_or_else(|| LoadError::line(format!("{file}: the file is empty")))?;
    Ok(translated(zero, builtin)?.1)
}

fn translated(zero: ZeroConfig, builtin: Option<bool>) -> Result<(ZeroConfig, Loaded), LoadError> {
    let loaded = load::load_text("zero-config.yaml", &translate(&zero, builtin))?;
    Ok((zero, loaded))
}

/// What a file says; `None` where it says nothing.
fn read(file: &str) -> Result<Option<ZeroConfig>, LoadError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| LoadError::line(format!("{file}: cannot read it: {error}")))?;
    if text.trim_start().starts_with('{') || mentions_bootstrap(&text) {
        return Err(LoadError::line(format!(
            "{file}: this is an Envoy bootstrap; start it with -c {file}"
        )));
    }
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(None);
    }
    serde_saphyr::from_str(&text).map(Some).map_err(|error| refused(file, &text, &error))
}

/// Whether a file is of the other kind: a top-level key of Envoy's.
fn mentions_bootstrap(text: &str) -> bool {
    const KEYS: [&str; 4] =
        ["static_resources:", "dynamic_resources:", "node:", "layered_runtime:"];
    text.lines().any(|line| KEYS.iter().any(|key| line.starts_with(key)))
}

fn refused(file: &str, text: &str, error: &serde_saphyr::Error) -> LoadError {
    let place = error.location().map(|at| (at.line(), at.column()));
    let (line, column) = place.unwrap_or((0, 0));
    let message = error.without_snippet().to_string();
    let message = message.lines().next().unwrap_or_default();
    let known = [
        "proxy", "backend", "timeouts", "admin", "host", "port", "name", "connect", "request",
        "idle", "shutdown",
    ];
    let wrong = message.split('`').nth(1).unwrap_or_default();
    let hint = if message.contains("unknown field") {
        proto::text::suggest(wrong, known).map(|key| format!("; did you mean '{key}'?"))
    } else {
        None
    };
    let _source = text;
    LoadError::line(format!("{file}:{line}:{column}: {message}{}", hint.unwrap_or_default()))
}

/// The Envoy bootstrap that the short form stands for.
fn translate(zero: &ZeroConfig, builtin: Option<bool>) -> String {
    let loopback = zero.proxy.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let builtin = builtin.unwrap_or(loopback || zero.proxy.host == "localhost");
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_bootstrap(&mut out, zero, builtin);
    out
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}s", duration.as_secs_f64())
}

/// A place to listen at, which must be an address.
fn address(host: &str, port: u16) -> String {
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    format!("{{socket_address: {{address: {host:?}, port_value: {port}}}}}")
}

fn write_bootstrap(out: &mut String, zero: &ZeroConfig, builtin: bool) -> std::fmt::Result {
    let admin = address(&zero.admin.host, zero.admin.port);
    writeln!(out, "node: {{id: zero-config, cluster: zero-config}}")?;
    writeln!(out, "admin: {{address: {admin}}}")?;
    writeln!(out, "layered_runtime: {{layers: [{{name: zero-config, static_layer: ")?;
    writeln!(out, "  {{gomesh.request_log: true, gomesh.trace_start: true}}}}]}}")?;
    writeln!(out, "static_resources:")?;
    write_listener(out, zero, builtin)?;
    write_backend(out, zero)?;
    if builtin {
        write!(
            out,
            "  - name: gomesh_admin
    type: STATIC
    load_assignment:
      cluster_name: gomesh_admin
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {admin}}}
"
        )?;
    }
    Ok(())
}

fn write_listener(out: &mut String, zero: &ZeroConfig, builtin: bool) -> std::fmt::Result {
    let ZeroConfig { proxy, backend, timeouts, .. } = zero;
    let (metrics_route, panic_filter) = if builtin {
        (
            "              - {match: {path: /metrics}, route: {cluster: gomesh_admin}}\n",
            PANIC_FILTER,
        )
    } else {
        ("", "")
    };
    write!(
        out,
        "  listeners:
  - name: proxy
    address: {listen}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.\
http_connection_manager.v3.HttpConnectionManager
          stat_prefix: proxy
          server_name: gomesh
          common_http_protocol_options: {{idle_timeout: {idle}}}
          stream_idle_timeout: {idle}
          http_filters:
{panic_filter}          - name: router
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: proxy
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
{metrics_route}              - match: {{prefix: /}}
                route: {{cluster: {name:?}, timeout: {request}}}
",
        listen = address(&proxy.host, proxy.port),
        idle = seconds(timeouts.idle),
        name = backend.name,
        request = seconds(timeouts.request),
    )
}

fn write_backend(out: &mut String, zero: &ZeroConfig) -> std::fmt::Result {
    let ZeroConfig { backend, timeouts, .. } = zero;
    let (name, host, port) = (&backend.name, &backend.host, backend.port);
    write!(
        out,
        "  clusters:
  - name: {name:?}
    type: STRICT_DNS
    connect_timeout: {connect}
    load_assignment:
      cluster_name: {name:?}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {host:?}, port_value: {port}}}}}}}
",
        connect = seconds(timeouts.connect),
    )
}

const PANIC_FILTER: &str = "          - name: gomesh.filters.http.panic
            is_optional: true
            typed_config:
              '@type': type.googleapis.com/xds.type.v3.TypedStruct
              type_url: type.googleapis.com/gomesh.filters.http.panic.v1.Panic
              value: {path: /panic, at: request_head}
";

/// Reads the file again and hands it over; what is wrong with it is logged and changes nothing.
pub async fn reload(file: &str, builtin: Option<bool>, handle: &Handle) {
    match load_again(file, builtin) {
        Ok(loaded) => {
            tracing::info!(file, "configuration read again");
            handle.send(Command::Reload(Box::new(loaded))).await;
        }
        Err(error) => {
            for line in error.lines {
                tracing::error!("{line}; the last good configuration stays");
            }
        }
    }
}

/// Watches the file for as long as the task lives.
pub fn watch(file: String, builtin: Option<bool>, handle: Handle) -> Task {
    task::spawn("watch", async move {
        let (changed, mut changes) = mpsc::channel(1);
        let path = Path::new(&file);
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // One wake-up that waits is enough: the file is read after it.
                let _waiting = changed.try_send(());
            }
        });
        let watching = watcher.and_then(|mut watcher| {
            let directory = directory.unwrap_or_else(|| Path::new("."));
            watcher.watch(directory, RecursiveMode::NonRecursive).map(|()| watcher)
        });
        let _watching = match watching {
            Ok(watching) => watching,
            Err(error) => {
                tracing::warn!(file, %error, "the file is not watched; SIGHUP reads it again");
                return;
            }
        };
        let mut last = std::fs::read(&file).ok();
        while changes.recv().await.is_some() {
            // Not while it is being written, but not put off for ever either.
            for _ in 0..10 {
                tokio::time::sleep(DEBOUNCE).await;
                if changes.try_recv().is_err() {
                    break;
                }
            }
            let now = std::fs::read(&file).ok();
            if now.is_some() && now != last {
                last = now;
                reload(&file, builtin, &handle).await;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_a_valid_bootstrap() {
        let (zero, loaded) = load(None, None).expect("the defaults are good");
        assert_eq!(zero, ZeroConfig::default());
        assert_eq!(loaded.config.listeners.len(), 1);
        assert_eq!(loaded.config.clusters.len(), 2);
        let (_, loaded) = load(None, Some(false)).expect("the defaults are good");
        assert_eq!(loaded.config.clusters.len(), 1);
    }

    fn read_text(text: &str) -> Result<ZeroConfig, LoadError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path().to_str().unwrap()).map(Option::unwrap_or_default)
    }

    #[test]
    fn an_emptied_file_is_refused_while_it_is_watched() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        std::fs::write(file.path(), "# later\n\n").unwrap();
        assert_eq!(load(Some(path), None).unwrap().0, ZeroConfig::default());
        let error = load_again(path, None).unwrap_err().to_string();
        assert!(error.ends_with("the file is empty"), "{error}");
        std::fs::write(file.path(), "backend: {port: 3001}\n").unwrap();
        assert_eq!(load_again(path, None).unwrap().config.clusters.len(), 2);
    }

    #[test]
    fn a_file_changes_what_it_names_and_no_more() {
        let zero = read_text("backend: {port: 3001}\ntimeouts: {request: 250ms}\n").unwrap();
        assert_eq!(zero.backend.port, 3001);
        assert_eq!(zero.backend.host, "localhost");
        assert_eq!(zero.timeouts.request, Duration::from_millis(250));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place_and_a_suggestion() {
        let error = read_text("proxy:\n  prot: 8000\n").unwrap_err().to_string();
        assert!(error.contains(":2:"), "{error}");
        assert!(error.contains("did you mean 'port'"), "{error}");
    }

    #[test]
    fn an_envoy_bootstrap_is_refused_with_the_right_flag() {
        let error = read_text("static_resources: {}\n").unwrap_err().to_string();
        assert!(error.contains("-c "), "{error}");
    }

    #[test]
    fn a_wrong_duration_says_how_to_write_one() {
        let error = read_text("timeouts: {request: fast}\n").unwrap_err().to_string();
        assert!(error.contains("is not a duration"), "{error}");
    }
}
