//! Reading configuration: files and `--config-yaml` → a valid bootstrap, or all that is wrong.
//!
//! `--mode validate` and a start go through the same functions.

use std::fmt;
use std::sync::LazyLock;

use proto::envoy::config::bootstrap::v3::Bootstrap;
use proto::prost::Message as _;
use proto::rules::Policy;
use proto::text::{self, Diagnostic, DuplicateKeys, Format, Read, ReadOptions, SourceMap};

use crate::config::bootstrap::{self, BootstrapConfig};
use crate::config::data_source::DataSources;
use crate::config::error::Problems;
use crate::config::extension::ExtensionParser;
use crate::config::resource::{Notes, Origin, ParseCx, UnknownFields};
use crate::config::support;
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
    let one = |problem: &crate::config::error::Problem| {
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
        origin: Origin::Static,
        unknown_fields: UnknownFields::Count,
        policy: policy(),
    }
}

/// What parsers of resources by xDS may know.
#[must_use]
pub fn dynamic_cx(unknown_fields: UnknownFields) -> ParseCx<'static> {
    ParseCx { origin: Origin::Dynamic, unknown_fields, ..static_cx() }
}

/// Files and environment of this machine.
struct Machine;

impl DataSources for Machine {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error.to_string())
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
