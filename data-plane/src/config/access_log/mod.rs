//! Access loggers (`envoy.config.accesslog.v3.AccessLog`): file, stdout and stderr.
//!
//! Shape only; `parse.rs` and `filter_rules.rs` have the rules.

pub mod filter_rules;
pub mod parse;

use std::sync::Arc;

use super::format::FormatConfig;
use super::route::HeaderMatcher;

/// One access logger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// `name`, for error texts and dumps.
    pub name: Arc<str>,
    /// Which entries are written; `None` is all.
    pub filter: Option<AccessLogFilter>,
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

/// A condition on an entry (`envoy.config.accesslog.v3.AccessLogFilter`), for access logs and for
/// mappers of local replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogFilter {
    /// All hold.
    And(Vec<Self>),
    /// The duration in ms compares so.
    Duration(Comparison),
    /// The gRPC status is one of these.
    GrpcStatus(OneOf<u32>),
    /// A header of the request.
    Header(Box<HeaderMatcher>),
    /// The entry is of one of these types, by their numbers.
    LogType(OneOf<u32>),
    /// It is no health check. No filter of ours answers health checks, so that it always holds.
    NotHealthCheck,
    /// One of these flags is set; empty: any is.
    ResponseFlag(Vec<Arc<str>>),
    /// One holds.
    Or(Vec<Self>),
    /// A share of the requests.
    Runtime(Sampling),
    /// The status compares so.
    StatusCode(Comparison),
}

/// A set that a value must be in, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOf<T> {
    /// The set.
    pub values: Vec<T>,
    /// It must be none of them.
    pub exclude: bool,
}

impl<T: PartialEq> OneOf<T> {
    /// Whether it passes.
    #[must_use]
    pub fn holds(&self, value: &T) -> bool {
        self.values.contains(value) != self.exclude
    }
}

/// `RuntimeFilter`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sampling {
    /// Runtime key that overrides the numerator.
    pub runtime_key: Arc<str>,
    /// Of so many...
    pub denominator: u32,
    /// ...these pass.
    pub numerator: u32,
    /// A random number of its own, instead of the request id's.
    pub independent: bool,
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
    /// Whether `left` compares so with `right`: the configured value, or that of its runtime key.
    #[must_use]
    pub const fn holds(&self, left: u64, right: u64) -> bool {
        match self.op {
            ComparisonOp::Eq => left == right,
            ComparisonOp::Ge => left >= right,
            ComparisonOp::Le => left <= right,
            ComparisonOp::Ne => left != right,
        }
    }
}
