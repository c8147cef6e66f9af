//! Reading configuration: files and `--config-yaml` → a valid bootstrap, or all that is wrong.
//!
//! `--mode validate` and a start go through the same functions.

use std::fmt;
use std::sync::{Arc, LazyLock};

use proto::envoy::config::bootstrap::v3::Bootstrap;
use proto::prost::Message as _;
use proto::rules::Policy;
use proto::text::{self, Diagnostic, DuplicateKeys, Format, Read, ReadOptions, SourceMap};

use crate::base::bind::BindConfig;
use crate::config::bootstrap::{self, BootstrapConfig};
use crate::config::data_source::{DataSources, NoSources};
use crate::config::error::{Problem, Problems, Reason, Segment};
use crate::config::extension::ExtensionParser;
use crate::config::resource::{self, Decoded, Notes, Origin, ParseCx, UnknownFields};
use crate::config::support;
use crate::config::tls::{STATIC_SECRET, Secrets};
use crate::config::tracing::OpenTelemetryConfig;
use crate::http::filter;
use crate::telemetry::access_log::Operators;

/// Where a bootstrap comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config-path`.
    pub path: Option<String>,
    /// `--config-yaml`, merged over the file.
    pub yaml: Option<String>,
    /// Fields that the schema does not know are skipped (`--allow-unknown-static-fields`).
    pub allow_unknown: bool,
    /// `--service-node`, `--service-cluster`, `--service-zone`.
    pub node: NodeFlags,
}

/// What the command line says about the node; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct NodeFlags {
    /// `node.id`.
    pub id: Option<String>,
    /// `node.cluster`.
    pub cluster: Option<String>,
    /// `node.locality.zone`.
    pub zone: Option<String>,
}

impl NodeFlags {
    fn apply(&self, bootstrap: &mut Bootstrap) {
        if self.id.is_none() && self.cluster.is_none() && self.zone.is_none() {
            return;
        }
        let node = bootstrap.node.get_or_insert_default();
        node.id = self.id.clone().unwrap_or(std::mem::take(&mut node.id));
        node.cluster = self.cluster.clone().unwrap_or(std::mem::take(&mut node.cluster));
        if let Some(zone) = &self.zone {
            node.locality.get_or_insert_default().zone.clone_from(zone);
        }
    }
}

/// A bootstrap that may be started.
#[derive(Debug)]
pub struct Loaded {
    /// What it means.
    pub config: BootstrapConfig,
    /// The message as it was read, for `/config_dump`.
    pub raw: Vec<u8>,
    /// What was accepted without effect.
    pub notes: Notes,
    /// What is odd but accepted, a line each.
    pub warnings: Vec<String>,
}

/// Why a configuration is refused: one line a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The problems, each with its place.
    pub lines: Vec<String>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for LoadError {}

impl LoadError {
    /// One line.
    #[must_use]
    pub fn line(text: impl Into<String>) -> Self {
        Self { lines: vec![text.into()] }
    }
}

/// Reads and checks a bootstrap.
///
/// # Errors
/// All problems, with `file:line:column` where they have a place.
pub fn load(sources: &Sources) -> Result<Loaded, LoadError> {
    let options = ReadOptions {
        format: Format::Detect,
        unknown_fields: if sources.allow_unknown {
            text::UnknownFields::Allow
        } else {
            text::UnknownFields::Refuse
        },
        duplicate_keys: DuplicateKeys::Warn,
    };
    let file = sources.path.as_deref().map(|path| {
        let bytes = std::fs::read(path)
            .map_err(|error| LoadError::line(format!("{path}: cannot read it: {error}")))?;
        text::parse::<Bootstrap>(path, &bytes, &options).map_err(|error| diagnosed(&error))
    });
    let yaml = sources.yaml.as_deref().map(|yaml| {
        let options = ReadOptions { format: Format::Yaml, ..options };
        text::parse::<Bootstrap>("--config-yaml", yaml.as_bytes(), &options)
            .map_err(|error| diagnosed(&error))
    });
    let mut read = match (file.transpose()?, yaml.transpose()?) {
        (Some(file), Some(yaml)) => text::merge(file, yaml).map_err(|error| diagnosed(&error))?,
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => {
            return Err(LoadError::line(
                "no configuration: give -c FILE (an Envoy bootstrap) or --config-yaml YAML",
            ));
        }
    };
    sources.node.apply(&mut read.message);
    accept(read)
}

/// Checks a bootstrap that was made by ourselves out of another form.
///
/// # Errors
/// All problems; they point at a bug of ours.
pub fn load_text(name: &str, yaml: &str) -> Result<Loaded, LoadError> {
    let read = text::parse::<Bootstrap>(name, yaml.as_bytes(), &ReadOptions::default());
    accept(read.map_err(|error| diagnosed(&error))?)
}

fn accept(read: Read<Bootstrap>) -> Result<Loaded, LoadError> {
    let warnings = read.warnings.iter().map(ToString::to_string).collect();
    let raw = read.message.encode_to_vec();
    let located = |problems: &Problems| located(problems, &read.positions);
    let (config, notes) = bootstrap::parse::decode(read.message, &static_cx())
        .map_err(|problems| located(&problems))?;
    bootstrap::check(&config).map_err(|problems| located(&problems))?;
    Ok(Loaded { config, raw, notes, warnings })
}

fn diagnosed(diagnostics: &text::Diagnostics) -> LoadError {
    let lines: Vec<String> = diagnostics.errors.iter().map(Diagnostic::to_string).collect();
    LoadError { lines }
}

fn located(problems: &Problems, positions: &SourceMap) -> LoadError {
    let one = |problem: &Problem| {
        let path = problem.path.to_string();
        positions.diagnose(&path, &problem.reason.to_string()).to_string()
    };
    LoadError { lines: problems.all().iter().map(one).collect() }
}

/// The filters of this build, as the configuration layer sees them.
#[must_use]
pub fn parsers() -> &'static [&'static dyn ExtensionParser] {
    static PARSERS: LazyLock<Vec<&'static dyn ExtensionParser>> = LazyLock::new(filter::parsers);
    &PARSERS
}

fn policy() -> &'static Policy {
    static POLICY: LazyLock<Policy> = LazyLock::new(|| support::policy(parsers()));
    &POLICY
}

/// What parsers of static configuration may know.
#[must_use]
pub fn static_cx() -> ParseCx<'static> {
    ParseCx {
        http_filters: parsers(),
        formats: &Operators,
        sources: &Machine,
        secrets: Secrets::none(),
        bind: None,
        tracer: None,
        origin: Origin::Static,
        unknown_fields: UnknownFields::Count,
        policy: policy(),
    }
}

/// What parsers of resources by xDS may know.
#[must_use]
pub fn dynamic_cx<'a>(
    unknown_fields: UnknownFields,
    secrets: &'a Secrets,
    bind: Option<&'a Arc<BindConfig>>,
    tracer: Option<&'a Arc<OpenTelemetryConfig>>,
) -> ParseCx<'a> {
    ParseCx { origin: Origin::Dynamic, unknown_fields, secrets, bind, tracer, ..static_cx() }
}

/// What this build, with all its filters, says of a resource that others are to get: what a
/// control plane asks before it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What Envoy refuses too.
    pub wrong: Vec<Problem>,
    /// What Envoy knows and this build does not do: each a [`Reason::NotSupported`].
    pub unsupported: Vec<Problem>,
}

/// Judges a resource; nothing is held against a type that this build does not ask for.
///
/// A resource with something unsupported is looked at once more as if all were supported, so that
/// this does not hide what is wrong. Files and variables are those of whoever gets the resource:
/// they are not looked at.
#[must_use]
pub fn judge(type_url: &str, bytes: &[u8]) -> Judgement {
    static EVERYTHING: LazyLock<Policy> = LazyLock::new(Policy::everything);
    let cx = dynamic_cx(UnknownFields::Count, Secrets::none(), None, None);
    let cx = ParseCx { sources: &NoSources, ..cx };
    let mut found = objections(type_url, bytes, &cx);
    if found.iter().any(is_unsupported) {
        for problem in objections(type_url, bytes, &ParseCx { policy: &EVERYTHING, ..cx }) {
            if !found.contains(&problem) {
                found.push(problem);
            }
        }
    }
    let (unsupported, mut wrong): (Vec<_>, Vec<_>) = found.into_iter().partition(is_unsupported);
    if !unsupported.is_empty() {
        wrong.retain(|problem| !is_replaced(problem, &unsupported));
    }
    wrong.retain(|problem| !is_elsewhere(problem));
    Judgement { wrong, unsupported }
}

fn is_unsupported(problem: &Problem) -> bool {
    matches!(problem.reason, Reason::NotSupported { .. })
}

fn objections(type_url: &str, bytes: &[u8], cx: &ParseCx<'_>) -> Vec<Problem> {
    use resource::{CLUSTER, ENDPOINTS, LISTENER, ROUTE_CONFIG};
    if ![LISTENER, ROUTE_CONFIG, CLUSTER, ENDPOINTS].contains(&type_url) {
        return Vec::new();
    }
    match resource::decode(type_url, bytes, cx) {
        Decoded::Accepted(_) => Vec::new(),
        Decoded::Rejected { problems, .. } => problems.all().to_vec(),
        Decoded::Undecodable(problem) => vec![problem],
    }
}

/// Whether the problem is one for parsers only that do not read what is unsupported: that may
/// stand in the place of what they miss, and a matcher in the place of chains' own matches. What
/// Envoy itself requires is one of its constraint rules, and these are another check.
fn is_replaced(problem: &Problem, unsupported: &[Problem]) -> bool {
    let names = |problem: &Problem, name: &str| {
        problem.path.segments().any(|segment| matches!(segment, Segment::Field(f) if f == name))
    };
    problem.reason == Reason::Missing
        || names(problem, "filter_chain_match")
            && unsupported.iter().any(|other| names(other, "filter_chain_matcher"))
}

/// Whether it is about a file or a variable, which only the machine of a client has, or about a
/// secret of its bootstrap.
fn is_elsewhere(problem: &Problem) -> bool {
    if matches!(&problem.reason, Reason::Unknown { kind, .. } if kind.starts_with(STATIC_SECRET)) {
        return true;
    }
    let of_machine = ["filename", "environment_variable"];
    let last = problem.path.segments().last();
    matches!(last, Some(Segment::Field(name)) if of_machine.contains(&&**name))
}

/// Files and environment of this machine.
struct Machine;

impl DataSources for Machine {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error.to_string())
    }

    fn appendable(&self, path: &str) -> Result<(), String> {
        // What is no plain file (a pipe, a terminal) could make us wait for its reader here.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Ok(());
        }
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
        opened.map(drop).map_err(|error| error.to_string())
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
    const LISTENER: &str = "envoy.config.listener.v3.Listener";

    /// What is said of a resource, wrong and unsupported.
    fn judged(message: &str, yaml: &str) -> (Vec<String>, Vec<String>) {
        let options = ReadOptions { format: Format::Yaml, ..Default::default() };
        let read = text::parse_encoded(message, "r.yaml", yaml.as_bytes(), &options).unwrap();
        let found = judge(&format!("type.googleapis.com/{message}"), &read.message);
        let texts = |problems: &[Problem]| problems.iter().map(ToString::to_string).collect();
        (texts(&found.wrong), texts(&found.unsupported))
    }

    #[test]
    fn good_resources_and_types_that_nobody_asks_for_pass() {
        assert_eq!(judged(CLUSTER, "{name: a, type: STATIC}"), Default::default());
        assert_eq!(judged("envoy.config.core.v3.Node", "{id: a}"), Default::default());
    }

    #[test]
    fn what_is_wrong_is_found_beside_what_is_unsupported() {
        let udp = "{name: u, address: {socket_address: {protocol: UDP, address: 127.0.0.1, \
                   port_value: 1}}, udp_listener_config: {}";
        let (wrong, unsupported) = judged(LISTENER, &format!("{udp}}}"));
        assert_eq!(wrong, Vec::<String>::new(), "chains are missing, but UDP needs none");
        assert!(unsupported.iter().any(|text| text.contains("UDP")), "{unsupported:?}");

        let format = "access_log: [{name: a, typed_config: {'@type': type.googleapis.com/\
                      envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, \
                      log_format: {text_format_source: {inline_string: '%NOPE%'}}}}]";
        let (wrong, _) = judged(LISTENER, &format!("{udp}, {format}}}"));
        assert!(wrong.len() == 1 && wrong[0].contains("NOPE"), "{wrong:?}");
    }

    #[test]
    fn files_of_other_machines_are_not_missed() {
        let listener = |source: &str| {
            let text = "{name: l, address: {pipe: {path: /x}}, filter_chains: [{filters: []}], \
                        access_log: [{name: a, typed_config: {'@type': type.googleapis.com/\
                        envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, \
                        log_format: {text_format_source: SOURCE}}}]}";
            judged(LISTENER, &text.replace("SOURCE", source)).0
        };
        for source in ["{filename: /no/such}", "{environment_variable: NO_SUCH}"] {
            assert_eq!(listener(source), Vec::<String>::new(), "{source}");
        }
        assert_eq!(listener("{inline_string: '%NOPE%'}").len(), 1);
    }
}
