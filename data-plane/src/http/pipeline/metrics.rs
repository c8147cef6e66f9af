//! Metrics: what a connection manager counts (Envoy's names) and the `gomesh_*` families.
//!
//! Cells of the request's own worker only; nothing here is shared between requests.

use super::Layer;
use super::recovery::Caught;
use crate::base::clock;
use crate::codec::{RequestHead, ResponseHead, Version};
use crate::http::exchange::Exchange;
use crate::telemetry::metrics::ErrorType;
use crate::telemetry::stats::{HttpStat, ListenerHttpStat};

/// See the module.
pub(super) struct Metrics;

impl Layer for Metrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn on_request(&self, ex: &mut Exchange, head: &mut RequestHead) {
        let (worker, stats) = (ex.worker.id, &ex.manager.stats);
        stats.http.inc(worker, HttpStat::DownstreamRqTotal);
        stats.http.inc(worker, HttpStat::DownstreamRqActive);
        let by_version = match head.version {
            Version::Http10 | Version::Http11 => HttpStat::DownstreamRqHttp1Total,
            Version::Http2 => HttpStat::DownstreamRqHttp2Total,
        };
        stats.http.inc(worker, by_version);
        ex.worker.shared.metrics.request_started(worker);
    }

    fn on_response(&self, ex: &mut Exchange, head: &mut ResponseHead) {
        let (worker, stats) = (ex.worker.id, &ex.manager.stats);
        stats.http.inc(worker, HttpStat::DownstreamRqCompleted);
        stats.listener.inc(worker, ListenerHttpStat::DownstreamRqCompleted);
        let (http, listener) = match head.status.as_u16() / 100 {
            1 => (HttpStat::DownstreamRq1xx, ListenerHttpStat::DownstreamRq1xx),
            2 => (HttpStat::DownstreamRq2xx, ListenerHttpStat::DownstreamRq2xx),
            3 => (HttpStat::DownstreamRq3xx, ListenerHttpStat::DownstreamRq3xx),
            4 => (HttpStat::DownstreamRq4xx, ListenerHttpStat::DownstreamRq4xx),
            _ => (HttpStat::DownstreamRq5xx, ListenerHttpStat::DownstreamRq5xx),
        };
        stats.http.inc(worker, http);
        stats.listener.inc(worker, listener);
    }

    fn on_end(&self, ex: &mut Exchange, _: &RequestHead) {
        let (worker, stats) = (ex.worker.id, &ex.manager.stats);
        let taken = clock::now().saturating_duration_since(ex.times.start);
        stats.http.dec(worker, HttpStat::DownstreamRqActive);
        let millis = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
        stats.http.record(worker, HttpStat::DownstreamRqTime, millis);
        let shared = &ex.worker.shared;
        shared.metrics.request_ended(worker);
        ex.service().completed(worker, ex.response.status, taken);
        if let Some(kind) = ex.error_type {
            ex.service().error(worker, kind);
        }
    }

    fn on_panic(&self, ex: &mut Exchange, _: &RequestHead, _: &Caught) {
        ex.error_type = Some(ErrorType::Panic);
        ex.worker.shared.metrics.panicked(ex.worker.id);
    }
}
