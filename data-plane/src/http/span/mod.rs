//! Spans of requests: what Envoy's connection manager, router and OpenTelemetry tracer do.
//!
//! `sample` decides which requests are traced, `context` reads and writes `traceparent`, `record`
//! makes a finished request's span, `export` sends it in the background. A request that is not
//! sampled still has an id, since the next hop is told one: some random bytes inside of the
//! exchange, and the header that carries them. All else is there for sampled requests alone.

mod context;
mod export;
mod record;
mod sample;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, StatusCode};
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanKind, TraceState};
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;

use crate::base::clock;
use crate::cluster::Host;
use crate::codec::{RequestHead, ResponseHead};
use crate::config::listener::TrafficDirection;
use crate::config::tracing::{Decorator, OpenTelemetryConfig, Propagation, TracingConfig};
use crate::http::entry;
use crate::http::error::ErrorKind;
use crate::http::exchange::{Exchange, Keep};
use crate::http::filter::RouterConfig;
use crate::http::manager::{Manager, ManagerCx};
use crate::http::names::{TRACEPARENT, TRACESTATE, X_ENVOY_DECORATOR_OPERATION};
use crate::http::view::ViewCell;
use crate::telemetry::WorkerId;
use crate::telemetry::access_log::LogType;
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::stats::{Group, HttpTracingStat, OpenTelemetryStat, Scope};

pub use export::{Rules, run};

use context::{Brought, Context};

/// Tracing of one connection manager.
#[derive(Debug)]
pub struct Tracing {
    config: Arc<TracingConfig>,
    traffic: Traffic,
    stats: Group<HttpTracingStat>,
    /// Without one only decisions are made.
    tracer: Option<Tracer>,
}

/// What a manager says of its tracing.
pub struct Traced<'a> {
    /// What was configured.
    pub config: &'a Arc<TracingConfig>,
    /// The manager's.
    pub stat_prefix: &'a str,
    /// Where the collector's cluster is found.
    pub cell: &'a Arc<ViewCell>,
}

/// Whose requests come to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    /// Those of the service beside it, to others.
    Egress,
    /// Those to the service.
    Ingress,
}

/// Takes finished spans.
#[derive(Debug)]
struct Tracer {
    queue: mpsc::Sender<SpanData>,
    stats: Group<OpenTelemetryStat>,
    scope: InstrumentationScope,
}

/// What tracing knows of a request.
#[derive(Debug, Default)]
pub struct SpanState {
    /// The decision was made and counted.
    counted: bool,
    /// The trace begins here: whatever the client said of another is none of it.
    fresh: bool,
    context: Option<Context>,
    /// Names the span, and is told to the other side.
    decorator: Option<Arc<Decorator>>,
    /// Only of sampled requests.
    recorded: Option<Box<Recorded>>,
}

/// What becomes of a sampled request's spans.
#[derive(Debug)]
struct Recorded {
    name: String,
    parent: Option<[u8; 8]>,
    state: TraceState,
    attempt: Option<AttemptSpan>,
}

/// An attempt that has a span of its own.
#[derive(Debug)]
struct AttemptSpan {
    name: String,
    id: [u8; 8],
    begun: SystemTime,
    /// The first is 1.
    number: u32,
    host: Option<Arc<Host>>,
    status: Option<u16>,
    custom: Vec<(Arc<str>, String)>,
}

impl Tracing {
    /// Starts the exporter, if there is a tracer.
    #[must_use]
    pub fn new(traced: &Traced<'_>, direction: TrafficDirection, cx: &ManagerCx) -> Self {
        let scope = Scope::http(traced.stat_prefix).join("tracing.");
        let provider = traced.config.provider.as_ref();
        Self {
            config: Arc::clone(traced.config),
            traffic: match direction {
                TrafficDirection::Outbound => Traffic::Egress,
                TrafficDirection::Inbound | TrafficDirection::Unspecified => Traffic::Ingress,
            },
            stats: cx.registry.group(scope),
            tracer: provider.map(|provider| Tracer::start(provider, traced.cell, cx)),
        }
    }

    fn kind(&self) -> SpanKind {
        match self.traffic {
            // A hop of its own: its attempts are the clients.
            _ if self.config.spawn_upstream_span => SpanKind::Server,
            Traffic::Egress => SpanKind::Client,
            Traffic::Ingress => SpanKind::Server,
        }
    }
}

impl Tracer {
    fn start(config: &Arc<OpenTelemetryConfig>, cell: &Arc<ViewCell>, cx: &ManagerCx) -> Self {
        let stats: Group<OpenTelemetryStat> =
            cx.registry.group(Scope::plain("tracing.opentelemetry."));
        let scope = match config.scope {
            true => InstrumentationScope::builder("gomesh").with_version(env!("CARGO_PKG_VERSION")),
            false => InstrumentationScope::builder(""),
        };
        Self {
            queue: export::start(config, cell, stats.clone(), &*cx.runtime),
            stats,
            scope: scope.build(),
        }
    }

    /// Never waits: what does not fit is dropped and counted.
    fn send(&self, worker: WorkerId, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.stats.inc(worker, OpenTelemetryStat::SpansDropped);
        }
    }
}

/// A request whose route is known (Envoy's `mutateTracingRequestHeader` and `traceRequest`). One
/// that is refused before any filter is counted and has no span, as in Envoy.
pub fn begin(manager: &Manager, ex: &mut Exchange, head: &mut RequestHead, admitted: bool) {
    let Some(tracing) = manager.tracing.as_deref() else { return };
    let reason = sample::decide(&tracing.config, ex, head);
    tracing.stats.inc(ex.worker.id, reason.stat());
    ex.span.counted = true;
    if !admitted {
        return;
    }
    if tracing.tracer.is_some() {
        start(tracing, reason.traced(), ex, head);
    }
    name(tracing, ex, head);
}

/// Gives the request its place in a trace. A client's broken `traceparent` leaves it without one,
/// and goes on as it came.
fn start(tracing: &Tracing, traced: bool, ex: &mut Exchange, head: &RequestHead) {
    let parent = match context::brought(&head.headers) {
        Brought::Broken => return,
        Brought::Nothing => None,
        Brought::Parent(parent) => Some(parent),
    };
    let trace_id = parent.map_or_else(|| new_trace_id(ex), |parent| parent.trace_id);
    let callers = parent.map(|parent| parent.sampled);
    let provider = tracing.config.provider.as_ref();
    let sampled = match provider.and_then(|provider| provider.sampler.as_ref()) {
        Some(sampler) => traced && sample::samples(sampler, &trace_id, callers),
        None => traced && callers.unwrap_or(true),
    };
    let context = Context { trace_id, span_id: new_span_id(ex), sampled };
    ex.span.context = Some(context);
    ex.span.fresh = parent.is_none();
    note_trace_id(ex, &context.trace_id);
    if context.sampled {
        // What the upstream says of gRPC is in its trailers.
        ex.response.keep = Keep::Headers;
        ex.span.recorded = Some(Box::new(Recorded {
            name: match tracing.traffic {
                Traffic::Ingress => "ingress".to_owned(),
                Traffic::Egress => format!("egress {}", text(head.authority.as_ref())),
            },
            parent: parent.map(|parent| parent.span_id),
            state: parent.map(|_| context::state(&head.headers)).unwrap_or_default(),
            attempt: None,
        }));
    }
}

/// The id of a trace that begins here: that of `X-Trace-ID`, where it can be one.
fn new_trace_id(ex: &Exchange) -> [u8; 16] {
    let known = ex.trace.as_ref().and_then(|ids| context::trace_id(ids.trace_id.as_bytes()));
    known.unwrap_or_else(|| {
        let mut id = [0; 16];
        ex.worker.random(&mut id);
        id[15] |= u8::from(id == [0; 16]);
        id
    })
}

/// Logs say both ids where `X-Trace-ID` is another one: its client gave it another form.
fn note_trace_id(ex: &mut Exchange, id: &[u8; 16]) {
    if let Some(ids) = &mut ex.trace
        && ids.w3c_trace_id.is_none()
        && context::trace_id(ids.trace_id.as_bytes()) != Some(*id)
    {
        ids.w3c_trace_id = Some(context::text(id));
    }
}

fn new_span_id(ex: &Exchange) -> [u8; 8] {
    let mut id = [0; 8];
    ex.worker.random(&mut id);
    id[7] |= u8::from(id == [0; 8]);
    id
}

/// Names the span: by the configured format, or by decorators, of which the two sides of a hop tell
/// each other.
fn name(tracing: &Tracing, ex: &mut Exchange, head: &mut RequestHead) {
    if let Some(format) = operation(tracing, ex) {
        if ex.span.recorded.is_some() {
            let name = ex.worker.format(&format, &entry::of(ex, head, LogType::NotSet));
            rename(ex, &name);
        }
        return;
    }
    let route = ex.route().and_then(|route| route.entry());
    let decorator = route.and_then(|route| route.decorator.clone());
    if let Some(decorator) = &decorator {
        rename(ex, decorator.operation.as_bytes());
    }
    let told = decorator.as_ref().filter(|decorator| decorator.propagate);
    match tracing.traffic {
        Traffic::Egress => {
            if let Some(header) = told.and_then(|decorator| decorator.header.clone()) {
                head.headers.insert(X_ENVOY_DECORATOR_OPERATION, header);
            }
        }
        Traffic::Ingress => match head.headers.remove(X_ENVOY_DECORATOR_OPERATION) {
            Some(name) if !name.is_empty() => rename(ex, name.as_bytes()),
            _ => ex.span.decorator = decorator,
        },
    }
}

/// The format of the span's name: the route's, else the manager's.
fn operation(tracing: &Tracing, ex: &Exchange) -> Option<Arc<str>> {
    let route = ex.route().and_then(|route| route.entry()?.tracing.as_deref());
    let own = route.and_then(|tracing| tracing.names.operation.clone());
    own.or_else(|| tracing.config.names.operation.clone())
}

fn rename(ex: &mut Exchange, name: &[u8]) {
    if let Some(recorded) = &mut ex.span.recorded {
        recorded.name = String::from_utf8_lossy(name).into_owned();
    }
}

/// An attempt begins: it may have a span, and its upstream is told where it stands.
pub fn attempt(head: &mut RequestHead, router: RouterConfig, ex: &mut Exchange) {
    let Some(mut context) = ex.span.context else { return };
    let Some(tracing) = ex.manager.tracing.as_deref() else { return };
    let propagation = tracing.config.propagation;
    if tracing.config.spawn_upstream_span || router.start_child_span {
        context.span_id = new_span_id(ex);
        if ex.span.recorded.is_some() {
            let attempt = begin_attempt(tracing, context.span_id, ex, head);
            if let Some(recorded) = &mut ex.span.recorded {
                recorded.attempt = Some(attempt);
            }
        }
    }
    if propagation == Propagation::Off {
        return;
    }
    // Allocates the header's own bytes, for every request: the next hop is told a span in any case,
    // as in Envoy.
    head.headers.insert(TRACEPARENT, context.header());
    let empty = HeaderValue::from_static("");
    if ex.span.fresh {
        head.headers.insert(TRACESTATE, empty);
    } else {
        head.headers.entry(TRACESTATE).or_insert(empty);
    }
}

fn begin_attempt(tracing: &Tracing, id: [u8; 8], ex: &Exchange, head: &RequestHead) -> AttemptSpan {
    let route = ex.route().and_then(|route| route.entry()?.tracing.as_deref());
    let format = route.and_then(|tracing| tracing.names.upstream.as_deref());
    let name = match format.or(tracing.config.names.upstream.as_deref()) {
        Some(format) => {
            let name = ex.worker.format(format, &entry::of(ex, head, LogType::NotSet));
            String::from_utf8_lossy(&name).into_owned()
        }
        None => {
            let cluster = ex.upstream.cluster.as_ref();
            format!("router {} egress", cluster.map_or("", |c| c.config().stat_name()))
        }
    };
    AttemptSpan {
        name,
        id,
        begun: clock::system_now(),
        number: ex.upstream.attempts,
        host: ex.upstream.host.clone(),
        status: None,
        custom: record::custom(tracing, ex, head),
    }
}

/// The attempt at hand has an answer.
pub fn answered(ex: &mut Exchange, status: StatusCode) {
    if let Some(recorded) = &mut ex.span.recorded
        && let Some(attempt) = &mut recorded.attempt
    {
        attempt.status = Some(status.as_u16());
    }
}

/// The attempt at hand failed.
pub fn failed(ex: &mut Exchange, kind: ErrorKind) {
    record::attempt(ex, record::End::Failed(kind));
}

/// The attempt at hand is complete.
pub fn over(ex: &mut Exchange) {
    record::attempt(ex, record::End::Whole);
}

/// The attempt at hand was given up: for its timeout, for another one, or for good.
pub fn canceled(ex: &mut Exchange, flags: ResponseFlags) {
    record::attempt(ex, record::End::Canceled(flags));
}

/// The head of the response is about to leave.
pub fn respond(ex: &mut Exchange, head: &mut ResponseHead) {
    let Some(tracing) = ex.manager.tracing.as_deref() else { return };
    match tracing.traffic {
        Traffic::Ingress => {
            let told = ex.span.decorator.as_ref().filter(|decorator| decorator.propagate);
            if let Some(header) = told.and_then(|decorator| decorator.header.clone()) {
                head.headers.insert(X_ENVOY_DECORATOR_OPERATION, header);
            }
        }
        Traffic::Egress if operation(tracing, ex).is_some() => {}
        Traffic::Egress => {
            let name = head.headers.remove(X_ENVOY_DECORATOR_OPERATION);
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                rename(ex, name.as_bytes());
            }
        }
    }
}

/// The request is over.
pub fn end(ex: &mut Exchange, head: &RequestHead) {
    if ex.span.recorded.is_some() {
        record::attempt(ex, record::End::Whole);
        record::request(ex, head);
    } else if let Some(tracing) = ex.manager.tracing.as_deref().filter(|_| !ex.span.counted) {
        tracing.stats.inc(ex.worker.id, HttpTracingStat::NotTraceable);
    }
}

fn text(value: Option<&HeaderValue>) -> std::borrow::Cow<'_, str> {
    value.map_or("".into(), |value| String::from_utf8_lossy(value.as_bytes()))
}
