//! Logging: the request log (contracts §6) and the access logs of the connection manager.
//!
//! Lines go into a buffer of the request's own worker; one writer takes it from there. If a sink
//! blocks, lines are dropped and counted, never the request.

use super::Layer;
use super::recovery::Caught;
use crate::base::clock;
use crate::codec::RequestHead;
use crate::http::entry::peer_addr;
use crate::http::exchange::Exchange;
use crate::telemetry::access_log::LogType;
use crate::telemetry::request_log::{Outcome, Panic, Request};

/// See the module.
pub(super) struct Logging;

impl Layer for Logging {
    fn name(&self) -> &'static str {
        "logging"
    }

    fn on_request(&self, ex: &mut Exchange, head: &mut RequestHead) {
        if ex.worker.shared.request_log.is_some() {
            // The router may rewrite the path; both lines say what the client asked for.
            ex.asked_path = Some(head.path.clone());
        }
        if let Some(log) = &ex.worker.shared.request_log {
            log.started(ex.worker.id, &line(ex, head));
        }
    }

    fn on_end(&self, ex: &mut Exchange, head: &RequestHead) {
        if let Some(log) = &ex.worker.shared.request_log {
            let outcome = Outcome {
                status: ex.response.status,
                latency: clock::now().saturating_duration_since(ex.times.start),
                service: ex.service().name(),
                bytes_in: ex.bytes.received,
                bytes_out: ex.bytes.sent,
                flags: ex.flags,
            };
            log.completed(ex.worker.id, &line(ex, head), &outcome);
        }
        entry(ex, head, LogType::DownstreamEnd);
    }

    fn on_panic(&self, ex: &mut Exchange, head: &RequestHead, caught: &Caught) {
        let request = line(ex, head);
        ex.worker.shared.panic_log.panicked(
            ex.worker.id,
            &Panic {
                error: &caught.message,
                method: request.method,
                path: request.path,
                trace_id: request.trace_id,
                stack: &caught.stack,
            },
        );
    }
}

/// Writes the access logs as things are now.
pub(super) fn entry(ex: &Exchange, head: &RequestHead, log_type: LogType) {
    for log in &ex.manager.access_logs {
        log.request(ex, head, log_type);
    }
}

fn line<'a>(ex: &'a Exchange, head: &'a RequestHead) -> Request<'a> {
    Request {
        trace_id: ex.trace.as_ref().and_then(|t| t.trace_id.to_str().ok()).unwrap_or("none"),
        w3c_trace_id: ex.trace.as_ref().and_then(|t| t.w3c_trace_id.as_deref()),
        method: head.method.as_str(),
        path: ex.asked_path.as_ref().unwrap_or(&head.path).as_bytes(),
        remote_addr: peer_addr(&ex.conn.remote),
    }
}
