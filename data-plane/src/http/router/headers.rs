//! What the router changes in heads, both ways.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::base::clock;
use crate::cluster::Host;
use crate::codec::{RequestHead, ResponseHead};
use crate::config::route::Forward;
use crate::http::exchange::Exchange;
use crate::http::names as n;
use crate::route::append_forwarded_host;

/// The timeout that holds: the route's, or what a trusted caller asks for in
/// `x-envoy-upstream-rq-timeout-ms` (`FilterUtility::finalTimeout`).
pub(super) fn timeout(
    head: &mut RequestHead,
    forward: &Forward,
    _ex: &Exchange,
) -> Option<Duration> {
    let asked = head.headers.remove(n::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS);
    let asked = asked.as_ref().and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    match asked {
        None => forward.timeout,
        Some(0) => None,
        Some(millis) => Some(Duration::from_millis(millis)),
    }
}

/// The head as it goes upstream: the route's changes, rewrites, what Envoy tells the next hop.
pub(super) fn prepare(
    head: &mut RequestHead,
    host: &Arc<Host>,
    timeout: Option<Duration>,
    ex: &Exchange,
) {
    let Some(route) = ex.route() else { return };
    if let Some(timeout) = timeout {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        head.headers.insert(n::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, HeaderValue::from(millis));
    }
    if route.virtual_host().attempt_count.request {
        head.headers.insert(n::X_ENVOY_ATTEMPT_COUNT, HeaderValue::from(1));
    }
    for edits in route.request_edits() {
        let mut headers = std::mem::take(&mut head.headers);
        edits.apply(&mut headers, &mut |format, now| ex.manager.render(format, head, now, ex));
        head.headers = headers;
    }
    let old_path = head.path.clone();
    if let Some(path) = route.rewrite_path(old_path.as_bytes())
        && let Ok(path) = HeaderValue::from_maybe_shared(bytes::Bytes::from(path))
    {
        head.headers.insert(n::X_ENVOY_ORIGINAL_PATH, old_path.clone());
        head.path = path;
    }
    let new_host = route
        .rewrite_host(old_path.as_bytes(), &head.headers)
        .and_then(|host| HeaderValue::from_bytes(&host).ok())
        .or_else(|| {
            let named = route.rewrites_host_to_upstream() && !host.hostname().is_empty();
            named.then(|| HeaderValue::from_str(host.hostname()).ok()).flatten()
        });
    if let Some(new) = new_host {
        rewrite_host(head, new, &route);
    }
}

fn rewrite_host(head: &mut RequestHead, new: HeaderValue, route: &crate::route::RouteRef<'_>) {
    let Some(old) = head.authority.replace(new) else { return };
    if route.forward().is_some_and(|forward| forward.append_x_forwarded_host) {
        append_forwarded_host(&mut head.headers, &old);
    }
    head.headers.insert(n::X_ENVOY_ORIGINAL_HOST, old);
}

/// The upstream's head as the client gets it.
pub(super) fn finish(head: &mut ResponseHead, ex: &Exchange) {
    let from = ex.times.request_end.unwrap_or(ex.times.start);
    let taken = clock::now().saturating_duration_since(from);
    let millis = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
    head.headers.insert(n::X_ENVOY_UPSTREAM_SERVICE_TIME, HeaderValue::from(millis));
    edit_response(head, ex);
}

/// The route's changes to a response.
pub(super) fn edit_response(head: &mut ResponseHead, ex: &Exchange) {
    let Some(route) = ex.route() else { return };
    for edits in route.response_edits() {
        let mut headers: HeaderMap = std::mem::take(&mut head.headers);
        edits.apply(&mut headers, &mut |format, now| ex.manager.render_response(format, now, ex));
        head.headers = headers;
    }
    if route.virtual_host().attempt_count.response && ex.upstream.attempts > 0 {
        head.headers.insert(n::X_ENVOY_ATTEMPT_COUNT, HeaderValue::from(ex.upstream.attempts));
    }
}
