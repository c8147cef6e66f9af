//! The short form: one proxy, one backend (contracts §8), translated to an Envoy bootstrap.
//!
//! One path: what it becomes goes through the same reader, rules and snapshot as any bootstrap.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::load::{self, LoadError, Loaded};

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
    #[serde(deserialize_with = "port")]
    pub port: u16,
}

/// `backend`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Backend {
    /// Its name in metrics and logs.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Its address or name.
    pub host: String,
    /// Its port.
    #[serde(deserialize_with = "port")]
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
    #[serde(deserialize_with = "port")]
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

/// A port; the message names the value, which a plain number's would not.
fn port<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    let text = String::deserialize(from)?;
    text.trim().parse().map_err(|_| {
        serde::de::Error::custom(format!("port: got '{text}'; must be a number from 0 to 65535"))
    })
}

/// A name that can be shown.
fn name<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text.trim().is_empty() {
        return Err(serde::de::Error::custom(format!("name: got '{text}'; must not be empty")));
    }
    Ok(text)
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
        Some(file) => parse(file, &read(file)?)?.unwrap_or_default(),
    };
    translated(zero, builtin)
}

/// The bootstrap that the short form stands for, read as any bootstrap is.
pub(super) fn translated(
    zero: ZeroConfig,
    builtin: Option<bool>,
) -> Result<(ZeroConfig, Loaded), LoadError> {
    let loaded = load::load_text("zero-config.yaml", &translate(&zero, builtin))?;
    Ok((zero, loaded))
}

/// The text of a file.
pub(super) fn read(file: &str) -> Result<String, LoadError> {
    std::fs::read_to_string(file)
        .map_err(|error| LoadError::line(format!("{file}: cannot read it: {error}")))
}

/// What a file says; `None` where it says nothing.
pub(super) fn parse(file: &str, text: &str) -> Result<Option<ZeroConfig>, LoadError> {
    if mentions_bootstrap(text) {
        return Err(LoadError::line(format!(
            "{file}: this is an Envoy bootstrap; start it with -c {file}"
        )));
    }
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(None);
    }
    serde_saphyr::from_str(text).map(Some).map_err(|error| refused(file, &error))
}

/// Whether a file is of the other kind: a top-level key of Envoy's, in YAML or JSON.
fn mentions_bootstrap(text: &str) -> bool {
    const KEYS: [&str; 4] = ["static_resources", "dynamic_resources", "node", "layered_runtime"];
    let in_flow = text.trim_start().starts_with('{');
    let names = |line: &str, key: &str| {
        let line = if in_flow { line.trim_start_matches(['{', ' ', '\t', '"']) } else { line };
        line.strip_prefix(key).is_some_and(|rest| rest.starts_with([':', '"']))
    };
    text.lines().any(|line| KEYS.iter().any(|key| names(line, key)))
}

fn refused(file: &str, error: &serde_saphyr::Error) -> LoadError {
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
    let ZeroConfig { proxy, timeouts, .. } = zero;
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
                route: {{cluster: {CLUSTER}, timeout: {request}}}
",
        listen = address(&proxy.host, proxy.port),
        idle = seconds(timeouts.idle),
        request = seconds(timeouts.request),
    )
}

/// The cluster's name whatever the backend is called: a connection that began before a change of
/// `backend.name` finds it still. Statistics, metrics and logs bear the backend's own name.
const CLUSTER: &str = "gomesh_backend";

fn write_backend(out: &mut String, zero: &ZeroConfig) -> std::fmt::Result {
    let ZeroConfig { backend, timeouts, .. } = zero;
    let (name, host, port) = (&backend.name, &backend.host, backend.port);
    write!(
        out,
        "  clusters:
  - name: {CLUSTER}
    alt_stat_name: {name:?}
    type: STRICT_DNS
    dns_lookup_family: V4_PREFERRED
    connect_timeout: {connect}
    load_assignment:
      cluster_name: {CLUSTER}
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
        parse("proxy.yaml", text).map(Option::unwrap_or_default)
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
        for text in ["static_resources: {}\n", "{ \"node\": {} }", "{\n  static_resources: {}}\n"] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.contains("-c "), "{error}");
        }
        let flow = read_text("{proxy: {port: 8001}, backend: {name: node}}").unwrap();
        assert_eq!((flow.proxy.port, flow.backend.name.as_str()), (8001, "node"));
    }

    #[test]
    fn a_wrong_port_is_named_with_its_value_and_its_place() {
        for (text, value) in [("proxy: {port: 70000}\n", "70000"), ("admin: {port: x}\n", "'x'")] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.contains("proxy.yaml:1:") && error.contains(value), "{error}");
            assert!(error.contains("65535"), "{error}");
        }
    }

    #[test]
    fn a_wrong_duration_says_how_to_write_one() {
        let error = read_text("timeouts: {request: fast}\n").unwrap_err().to_string();
        assert!(error.contains("is not a duration"), "{error}");
    }
}
