//! `envoy.extensions.filters.http.fault.v3.HTTPFault`: which requests are held up or refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::envoy::extensions::filters::common::fault::v3 as common;
use proto::envoy::extensions::filters::http::fault::v3 as pb;
use proto::envoy::r#type::v3::FractionalPercent;
use proto::envoy::r#type::v3::fractional_percent::DenominatorType;
use proto::rules::PolicyRow;

use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::field;
use crate::config::route::HeaderMatcher;
use crate::config::route::match_rules::parse_header_matchers;

/// Full name of the message.
pub(super) const MESSAGE: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

/// What is built. `response_rate_limit` and `filter_metadata` are not.
pub(super) const ROWS: &[PolicyRow<'static>] = &[
    (
        MESSAGE,
        &[
            "delay",
            "abort",
            "upstream_cluster",
            "headers",
            "downstream_nodes",
            "max_active_faults",
            "delay_percent_runtime",
            "abort_percent_runtime",
            "delay_duration_runtime",
            "abort_http_status_runtime",
            "max_active_faults_runtime",
            "abort_grpc_status_runtime",
            "disable_downstream_cluster_stats",
            // The key of a limit that is not built.
            "response_rate_limit_percent_runtime",
        ],
        &[],
    ),
    (
        "envoy.extensions.filters.http.fault.v3.FaultAbort",
        &["http_status", "grpc_status", "header_abort", "percentage", "response_body"],
        &[],
    ),
    ("envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort", &[], &[]),
    (
        "envoy.extensions.filters.common.fault.v3.FaultDelay",
        &["fixed_delay", "header_delay", "percentage"],
        &[],
    ),
    ("envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay", &[], &[]),
];

/// Which requests get a fault, and which one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultConfig {
    /// `delay`.
    pub delay: Option<Delay>,
    /// `abort`; it may follow a delay.
    pub abort: Option<Abort>,
    /// `upstream_cluster`: only requests whose route leads there.
    pub upstream_cluster: Option<Box<str>>,
    /// `headers`: all must match.
    pub headers: Vec<HeaderMatcher>,
    /// `downstream_nodes`, sorted: only requests of these; empty is of anyone.
    pub nodes: Vec<Box<str>>,
    /// `max_active_faults`.
    pub max_active: Option<u32>,
    /// Runtime keys that change the rest.
    pub keys: Keys,
    /// Whether faults are counted by `x-envoy-downstream-service-cluster` too.
    pub counts_clusters: bool,
}

/// A request is held up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// For how long.
    pub length: Length,
    /// Of how many requests.
    pub share: Share,
}

/// How long a request is held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// `fixed_delay`; Envoy counts milliseconds.
    Fixed(Duration),
    /// `header_delay`: as `x-envoy-fault-delay-request` says.
    Header,
}

/// A request is answered without its upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// With what.
    pub status: Status,
    /// How many requests.
    pub share: Share,
    /// The body.
    pub body: Bytes,
}

/// What an aborted request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `grpc_status`, with HTTP 200.
    Grpc(u32),
    /// `header_abort`: as `x-envoy-fault-abort-request` or `-abort-grpc-request` says.
    Header,
    /// `http_status`.
    Http(u16),
}

/// A share of requests; nothing where nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// So many
    pub numerator: u32,
    /// of so many.
    pub denominator: u32,
}

/// Runtime keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Share of aborted requests.
    pub abort_percent: Arc<str>,
    /// gRPC status.
    pub abort_grpc_status: Arc<str>,
    /// HTTP status.
    pub abort_http_status: Arc<str>,
    /// Milliseconds.
    pub delay_duration: Arc<str>,
    /// Share of delayed requests.
    pub delay_percent: Arc<str>,
    /// Most faults at one time.
    pub max_active: Arc<str>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            abort_percent: "fault.http.abort.abort_percent".into(),
            abort_grpc_status: "fault.http.abort.grpc_status".into(),
            abort_http_status: "fault.http.abort.http_status".into(),
            delay_duration: "fault.http.delay.fixed_duration_ms".into(),
            delay_percent: "fault.http.delay.fixed_delay_percent".into(),
            max_active: "fault.http.max_active_faults".into(),
        }
    }
}

/// Reads the message, of a chain or of a route.
pub(super) fn parse(body: &Body<'_>) -> Result<FaultConfig, Problems> {
    let Body::Message(bytes) = body else {
        return Err(Reason::Rule(format!("{MESSAGE} is no free form")).into());
    };
    let message: pb::HttpFault = extension::decode(bytes)?;
    let mut all = Collector::default();
    let delay = all.keep(message.delay.map(parse_delay).transpose().at("delay")).flatten();
    let abort = all.keep(message.abort.map(parse_abort).transpose().at("abort")).flatten();
    let headers = all.keep(parse_header_matchers(message.headers)).unwrap_or_default();
    all.finish()?;
    let mut nodes: Vec<Box<str>> = message.downstream_nodes.into_iter().map(Into::into).collect();
    nodes.sort_unstable();
    let mut keys = Keys::default();
    for (key, text) in [
        (&mut keys.abort_percent, message.abort_percent_runtime),
        (&mut keys.abort_grpc_status, message.abort_grpc_status_runtime),
        (&mut keys.abort_http_status, message.abort_http_status_runtime),
        (&mut keys.delay_duration, message.delay_duration_runtime),
        (&mut keys.delay_percent, message.delay_percent_runtime),
        (&mut keys.max_active, message.max_active_faults_runtime),
    ] {
        if !text.is_empty() {
            *key = text.into();
        }
    }
    Ok(FaultConfig {
        delay,
        abort,
        upstream_cluster: Some(message.upstream_cluster).filter(|n| !n.is_empty()).map(Into::into),
        headers,
        nodes,
        max_active: message.max_active_faults.map(|max| max.value),
        keys,
        counts_clusters: !message.disable_downstream_cluster_stats,
    })
}

fn parse_delay(message: common::FaultDelay) -> Result<Delay, Problems> {
    use common::fault_delay::FaultDelaySecifier as S;
    let length = match message.fault_delay_secifier {
        None => return Err(Reason::Missing.into()).at("fault_delay_secifier"),
        Some(S::FixedDelay(fixed)) => {
            Length::Fixed(field::duration(Some(fixed), "fixed_delay")?.unwrap_or_default())
        }
        Some(S::HeaderDelay(_)) => Length::Header,
    };
    Ok(Delay { length, share: parse_share(message.percentage).at("percentage")? })
}

fn parse_abort(message: pb::FaultAbort) -> Result<Abort, Problems> {
    use pb::fault_abort::ErrorType as E;
    let status = match message.error_type {
        None => return Err(Reason::Missing.into()).at("error_type"),
        // The rule of the field holds it between 200 and 599.
        Some(E::HttpStatus(status)) => Status::Http(u16::try_from(status).unwrap_or(500)),
        Some(E::GrpcStatus(status)) => Status::Grpc(status),
        Some(E::HeaderAbort(_)) => Status::Header,
    };
    let body = match message.response_body {
        body if body.is_empty() => Bytes::from_static(b"fault filter abort"),
        body => body.into(),
    };
    Ok(Abort { status, share: parse_share(message.percentage).at("percentage")?, body })
}

fn parse_share(percentage: Option<FractionalPercent>) -> Result<Share, Problems> {
    let FractionalPercent { numerator, denominator } = percentage.unwrap_or_default();
    let denominator = match field::enumeration(denominator, "denominator")? {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    };
    Ok(Share { numerator, denominator })
}
