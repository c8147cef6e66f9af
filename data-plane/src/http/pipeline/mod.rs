//! The order in which a request passes the layers, in one place: the seed's `Chain`.
//!
//! ```text
//! Recovery → Tracing → Metrics → Logging → HTTP filters (from xDS) → router
//! ```
//!
//! [`ORDER`] is that line as data, and a test holds it. Recovery is the outermost: it guards every
//! step of a request's work, the layers included ([`recovery::guard`]). Tracing, Metrics and
//! Logging are [`LAYERS`]: each sees a request when it comes in, the response's head on its way out
//! and the end, the responses in reverse. Filters and router are the request's own task (`pump`).

mod logging;
mod metrics;
pub mod recovery;
mod tracing;

use crate::codec::{RequestHead, ResponseHead, Version};
use crate::http::error::{ErrorKind, ProxyError, ResponseStage, Sent};
use crate::http::exchange::Exchange;
use crate::http::headers;
use crate::http::manager::Manager;
use crate::http::names::{X_ENVOY_FORCE_TRACE, X_REQUEST_ID};
use crate::http::pump::{Expired, TunnelSide};
use crate::http::span;
use crate::telemetry::access_log::LogType;
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::stats::{HttpStat, ListenerHttpStat};

/// The pipeline, outermost first.
pub const ORDER: [&str; 6] = ["recovery", "tracing", "metrics", "logging", "filters", "router"];

/// The layers between Recovery and the filters, outermost first.
static LAYERS: [&dyn Layer; 3] = [&tracing::Tracing, &metrics::Metrics, &logging::Logging];

/// A layer around filters and router. Stateless: what it knows of a request is in the exchange.
trait Layer: Sync {
    /// Its name in [`ORDER`].
    #[cfg_attr(not(test), expect(dead_code, reason = "held against ORDER by a test"))]
    fn name(&self) -> &'static str;
    /// The request's head is here, before any filter.
    fn on_request(&self, _ex: &mut Exchange, _head: &mut RequestHead) {}
    /// The response's head is about to leave, after all filters.
    fn on_response(&self, _ex: &mut Exchange, _head: &mut ResponseHead) {}
    /// The request is over.
    fn on_end(&self, _ex: &mut Exchange, _head: &RequestHead) {}
    /// A panic was caught.
    fn on_panic(&self, _ex: &mut Exchange, _head: &RequestHead, _panic: &recovery::Caught) {}
}

/// A request begins.
pub fn on_request(ex: &mut Exchange, head: &mut RequestHead) {
    for layer in LAYERS {
        layer.on_request(ex, head);
    }
}

/// The head of its response is about to leave.
pub fn on_response(ex: &mut Exchange, request: &RequestHead, head: &mut ResponseHead) {
    for layer in LAYERS.iter().rev() {
        layer.on_response(ex, head);
    }
    let worker = ex.worker.id;
    head.version = request.version;
    headers::finish_response(head, &ex.manager.config, &ex.worker.date());
    // Comparing a dozen names costs less than hashing this one.
    let traced = request.headers.keys().any(|name| *name == X_ENVOY_FORCE_TRACE);
    if (ex.manager.config.request_id.always_set_in_response || traced)
        && let Some(id) = request.headers.get(X_REQUEST_ID)
    {
        head.headers.insert(X_REQUEST_ID, id.clone());
    }
    if !ex.request_ended {
        ex.manager.stats.http.inc(worker, HttpStat::DownstreamRqResponseBeforeRqComplete);
        if request.version < Version::Http2 {
            ex.conn.close_after();
        }
    }
}

/// Its route is known, and whether there is a filter chain for it.
pub fn routed(manager: &Manager, ex: &mut Exchange, head: &mut RequestHead, admitted: bool) {
    span::begin(manager, ex, head, admitted);
}

/// Its route and filters are chosen, and no filter has seen it yet.
pub fn chosen(ex: &mut Exchange, head: &RequestHead) {
    if ex.manager.config.access_log_options.flush_on_new_request {
        ex.name_cluster(head);
        logging::entry(ex, head, LogType::DownstreamStart);
    }
}

/// The tunnel that it asked for stands.
pub fn tunnelled(ex: &Exchange, head: &RequestHead) {
    if ex.manager.config.access_log_options.flush_on_tunnel_established {
        logging::entry(ex, head, LogType::TunnelEstablished);
    }
}

/// A 1xx head leaves; Envoy counts it as a response of its own.
pub fn on_informational(ex: &mut Exchange) {
    let (worker, stats) = (ex.worker.id, &ex.manager.stats);
    stats.http.inc(worker, HttpStat::DownstreamRq1xx);
    stats.http.inc(worker, HttpStat::DownstreamRqCompleted);
    stats.listener.inc(worker, ListenerHttpStat::DownstreamRq1xx);
    stats.listener.inc(worker, ListenerHttpStat::DownstreamRqCompleted);
}

/// The request asks for a tunnel that is allowed.
pub fn upgraded(ex: &mut Exchange) {
    let (worker, http) = (ex.worker.id, &ex.manager.stats.http);
    http.inc(worker, HttpStat::DownstreamCxUpgradesTotal);
    http.inc(worker, HttpStat::DownstreamCxUpgradesActive);
    ex.upgraded = true;
}

/// A tunnel is over. Envoy knows no half-closed connection of HTTP/1: the side that ends first has
/// disconnected, and so it is logged, though the other side could say the rest.
pub fn tunnel_ended(ex: &mut Exchange, first: TunnelSide) {
    match first {
        TunnelSide::Client => {
            ex.flags.insert(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
            ex.details = "downstream_remote_disconnect".into();
        }
        TunnelSide::Upstream => {
            let error = ProxyError::new(ErrorKind::ConnectionTermination, Sent::Body);
            ex.flags.insert(error.kind.flag());
            ex.details = error.details(ResponseStage::AfterHead).into();
            ex.manager.stats.http.inc(ex.worker.id, HttpStat::DownstreamRqTxReset);
        }
    }
}

/// It is over and everything about it is known.
pub fn finish(ex: &mut Exchange, head: &RequestHead) {
    if ex.upgraded {
        ex.manager.stats.http.dec(ex.worker.id, HttpStat::DownstreamCxUpgradesActive);
    }
    if !ex.request_ended {
        // The stream ends before its request did: to Envoy's codec that is a reset.
        stream_reset(ex);
    }
    for layer in LAYERS.iter().rev() {
        layer.on_end(ex, head);
    }
}

/// A panic was caught while it was at work.
pub fn panicked(ex: &mut Exchange, head: &RequestHead, panic: &recovery::Caught) {
    for layer in LAYERS {
        layer.on_panic(ex, head, panic);
    }
}

/// One of its deadlines passed.
pub fn expired(ex: &mut Exchange, which: Expired) {
    let (worker, http) = (ex.worker.id, &ex.manager.stats.http);
    match which {
        Expired::Idle => http.inc(worker, HttpStat::DownstreamRqIdleTimeout),
        Expired::Request => http.inc(worker, HttpStat::DownstreamRqTimeout),
        Expired::Stream => http.inc(worker, HttpStat::DownstreamRqMaxDurationReached),
        Expired::Route => {}
    }
}

/// The client is gone.
pub fn client_gone(ex: &mut Exchange) {
    stream_reset(ex);
}

/// We reset the client's stream.
pub fn reset(ex: &mut Exchange) {
    ex.manager.stats.http.inc(ex.worker.id, HttpStat::DownstreamRqTxReset);
    stream_reset(ex);
}

/// Envoy's codec tells of the end of a stream that is not complete on both sides once, whoever
/// ended it, and all of that is counted as received.
fn stream_reset(ex: &mut Exchange) {
    if !std::mem::replace(&mut ex.stream_reset, true) {
        ex.manager.stats.http.inc(ex.worker.id, HttpStat::DownstreamRqRxReset);
        ex.request_ended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_seeds() {
        let layers: Vec<_> = LAYERS.iter().map(|layer| layer.name()).collect();
        assert_eq!(layers, ORDER[1..4]);
        assert_eq!(ORDER[0], "recovery");
        assert_eq!(ORDER[4..], ["filters", "router"]);
    }
}
