//! Spans of requests: `HttpConnectionManager.Tracing`, `envoy.config.route.v3.Tracing` and
//! `Decorator`, and the tracer `envoy.tracers.opentelemetry`.
//!
//! Shape only; `parse.rs` has the rules. Envoy's defaults are resolved.

pub mod parse;
pub mod support;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::route::RuntimeFraction;
use super::source::GrpcServiceConfig;

/// `tracing` of a connection manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracingConfig {
    /// Which requests are traced.
    pub sampling: Sampling,
    /// Most bytes of the path in `http.url`; default 256.
    pub max_path_tag_length: u32,
    /// Attributes besides Envoy's own.
    pub custom_tags: Vec<CustomTag>,
    /// Who makes and exports spans; without one only decisions are made.
    pub provider: Option<Arc<OpenTelemetryConfig>>,
    /// Each attempt has a span of its own.
    pub spawn_upstream_span: bool,
    /// How spans are called.
    pub names: SpanNames,
    /// Whether `traceparent` and `tracestate` are written for the upstream.
    pub propagation: Propagation,
}

/// Shares of requests, each under the runtime key that Envoy gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Of those with `x-client-trace-id` (`tracing.client_enabled`).
    pub client: RuntimeFraction,
    /// Of those for which nobody asked (`tracing.random_sampling`).
    pub random: RuntimeFraction,
    /// Of all that would be traced (`tracing.global_enabled`).
    pub overall: RuntimeFraction,
}

/// Format strings for names of spans (`operation`, `upstream_operation`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanNames {
    /// In place of decorators and of `x-envoy-decorator-operation`.
    pub operation: Option<Arc<str>>,
    /// Of the spans of attempts.
    pub upstream: Option<Arc<str>>,
}

/// Whether the upstream is told the span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Propagation {
    /// It is not (`no_context_propagation`).
    Off,
    /// It is (the default).
    #[default]
    On,
}

/// `envoy.type.tracing.v3.CustomTag`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CustomTag {
    /// Name of the attribute.
    pub name: Arc<str>,
    /// Where its value comes from; one that comes out empty is left out.
    pub value: TagValue,
}

/// Where the value of a custom tag comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TagValue {
    /// Fixed: a literal, or a variable of the environment as it was when this was read.
    Fixed(Arc<str>),
    /// A format string.
    Format(Arc<str>),
    /// A header of the request, else a default.
    Header(HeaderName, Arc<str>),
}

/// `envoy.config.route.v3.Tracing`: in place of what the manager says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTracing {
    /// Which requests are traced.
    pub sampling: Sampling,
    /// Besides the manager's; of two with one name these win.
    pub custom_tags: Vec<CustomTag>,
    /// How spans are called.
    pub names: SpanNames,
}

/// `envoy.config.route.v3.Decorator`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decorator {
    /// Name of the span.
    pub operation: Arc<str>,
    /// The same as a header's value, if it can be one.
    pub header: Option<HeaderValue>,
    /// Whether the other side is told it; default true.
    pub propagate: bool,
}

/// `envoy.config.trace.v3.OpenTelemetryConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTelemetryConfig {
    /// The collector.
    pub service: GrpcServiceConfig,
    /// `service.name` of the resource; `None` leaves it out.
    pub service_name: Option<Arc<str>>,
    /// Whether the resource says which SDK made it; default true.
    pub sdk_attributes: bool,
    /// Whether spans say which library made them; default true.
    pub scope: bool,
    /// Most spans that wait for the collector; default 1024.
    pub max_cache_size: u32,
    /// Decides, of the requests that are traced at all; `None` leaves it to the caller's span.
    pub sampler: Option<Sampler>,
}

/// A sampler of OpenTelemetry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sampler {
    /// Takes all.
    AlwaysOn,
    /// As the caller's span says; without one as another sampler says.
    ParentBased(Box<Self>),
    /// A share of all trace ids.
    TraceIdRatio {
        /// Numerator.
        numerator: u32,
        /// 100, 10,000 or 1,000,000.
        denominator: u32,
    },
}
