//! Tracing: every request has a trace id, the upstream and the client are told it.
//!
//! Where the manager makes spans (`http::span`), Envoy's rules hold for `traceparent`.

use super::Layer;
use crate::codec::{RequestHead, ResponseHead};
use crate::http::exchange::Exchange;
use crate::http::names::X_TRACE_ID;
use crate::http::span;
use crate::http::trace::{self, TraceStart};

/// See the module.
pub(super) struct Tracing;

impl Layer for Tracing {
    fn name(&self) -> &'static str {
        "tracing"
    }

    fn on_request(&self, ex: &mut Exchange, head: &mut RequestHead) {
        let Some(mut start) = ex.worker.shared.options.trace_headers else { return };
        if ex.manager.tracing.is_some() {
            start = TraceStart::Spans;
        }
        let worker = &ex.worker;
        ex.trace = Some(trace::assign(&mut head.headers, start, |bytes| worker.random(bytes)));
    }

    fn on_response(&self, ex: &mut Exchange, head: &mut ResponseHead) {
        if let Some(ids) = &ex.trace {
            head.headers.insert(X_TRACE_ID, ids.trace_id.clone());
        }
        span::respond(ex, head);
    }

    fn on_end(&self, ex: &mut Exchange, head: &RequestHead) {
        span::end(ex, head);
    }
}
