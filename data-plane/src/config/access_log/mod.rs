//! Access loggers (`envoy.config.accesslog.v3.AccessLog`): file, stdout and stderr.
//!
//! Shape only; `parse.rs` has the rules. Filters of an access log are refused until they are built.

pub mod parse;

use std::sync::Arc;

use super::format::FormatConfig;

/// One access logger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// `name`, for error texts and dumps.
    pub name: Arc<str>,
    /// Where the entries go.
    pub sink: AccessLogSink,
    /// How an entry is written; `None` is Envoy's default text format.
    pub format: Option<FormatConfig>,
}

/// Where entries go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AccessLogSink {
    /// Appended to a file, which is opened anew on SIGUSR1.
    File(Arc<str>),
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
}

/// A condition on an entry (`envoy.config.accesslog.v3.AccessLogFilter`), as far as it is built:
/// mappers of local replies need the comparisons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogFilter {
    /// All hold.
    And(Vec<Self>),
    /// The duration in ms compares so.
    Duration(Comparison),
    /// One of these flags is set; empty: any is.
    ResponseFlag(Vec<Arc<str>>),
    /// One holds.
    Or(Vec<Self>),
    /// The status compares so.
    StatusCode(Comparison),
}

/// `ComparisonFilter`: the left side is the entry's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Comparison {
    /// How.
    pub op: ComparisonOp,
    /// With what, unless the runtime key says otherwise.
    pub value: u32,
    /// Runtime key that overrides `value`; empty is none.
    pub runtime_key: Arc<str>,
}

/// `ComparisonFilter.Op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ComparisonOp {
    /// Equal.
    Eq,
    /// Greater or equal.
    Ge,
    /// Less or equal.
    Le,
    /// Different.
    Ne,
}

impl Comparison {
    /// Whether `left` compares so with the configured value.
    #[must_use]
    pub const fn holds(&self, left: u64) -> bool {
        let right = self.value as u64;
        match self.op {
            ComparisonOp::Eq => left == right,
            ComparisonOp::Ge => left >= right,
            ComparisonOp::Le => left <= right,
            ComparisonOp::Ne => left != right,
        }
    }
}
