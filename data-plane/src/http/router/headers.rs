//! What the router changes in heads, both ways.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::cluster::Host;
use crate::codec::{RequestHead, ResponseHead};
use crate::http::entry;
use crate::http::exchange::Exchange;
use crate::http::filter::RouterConfig;
use crate::http::headers::number;
use crate::http::names as n;
use crate::route::{OriginalHeaders, RequestFields, RouteRef};
use crate::telemetry::access_log::LogType;

/// Whether a request has any header of Envoy's. Nearly none does.
pub(super) fn has_envoys(head: &RequestHead) -> bool {
    head.headers.keys().any(|name| name.as_str().starts_with("x-envoy-"))
}

/// What a caller tells the router alone; the next hop does not see it.
const FOR_THE_ROUTER: [HeaderName; 11] = [
    n::X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
    n::X_ENVOY_MAX_RETRIES,
    n::X_ENVOY_RETRIABLE_HEADER_NAMES,
    n::X_ENVOY_RETRIABLE_STATUS_CODES,
    n::X_ENVOY_RETRY_GRPC_ON,
    n::X_ENVOY_RETRY_ON,
    n::X_ENVOY_UPSTREAM_ALT_STAT_NAME,
    n::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
    n::X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE,
    n::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
    n::X_ENVOY_UPSTREAM_STREAM_DURATION_MS,
];

/// Takes away what was for the router alone, which has read it.
pub(super) fn strip(head: &mut RequestHead) {
    for name in &FOR_THE_ROUTER {
        head.headers.remove(name);
    }
}

/// The head as it goes upstream: the route's changes, rewrites, what Envoy tells the next hop.
pub(super) fn prepare(
    head: &mut RequestHead,
    host: &Arc<Host>,
    timeout: Option<Duration>,
    config: RouterConfig,
    ex: &Exchange,
) {
    let Some(route) = ex.route() else { return };
    let original = originals(config);
    tell_timeout(head, timeout, config);
    if route.virtual_host().attempt_count.request {
        head.headers.insert(n::X_ENVOY_ATTEMPT_COUNT, HeaderValue::from(1));
    }
    let method = head.method.clone();
    let scheme = head.scheme.clone();
    // What formats may name besides headers; copies share their bytes.
    let before = (!route.request_edits().is_empty()).then(|| RequestHead {
        path: head.path.clone(),
        authority: head.authority.clone(),
        scheme: scheme.clone(),
        method: method.clone(),
        ..RequestHead::unknown(head.version)
    });
    let mut fields = RequestFields {
        method: method.as_str().as_bytes(),
        scheme: scheme.as_ref().map_or(b"http", |s| s.as_bytes()),
        authority: &mut head.authority,
        path: &mut head.path,
        headers: &mut head.headers,
    };
    route.finalize_request(&mut fields, original, &mut |format, now| {
        // Nothing is rendered without an edit.
        let Some(before) = &before else { return Vec::new() };
        let entry = entry::of(ex, before, LogType::NotSet);
        format.render(&entry::with_headers(entry, now))
    });
    set_upstreams_host(&mut fields, &route, host, original);
}

/// Whether what a rewrite changes is told to the upstream.
const fn originals(config: RouterConfig) -> OriginalHeaders {
    if config.suppress_envoy_headers { OriginalHeaders::Suppress } else { OriginalHeaders::Add }
}

/// `x-envoy-expected-rq-timeout-ms`: how long the upstream has.
pub(super) fn tell_timeout(
    head: &mut RequestHead,
    timeout: Option<Duration>,
    config: RouterConfig,
) {
    if let Some(timeout) = timeout.filter(|_| !config.suppress_envoy_headers) {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        head.headers.insert(n::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, number(millis));
    }
}

/// What is different in the head of another attempt.
pub(super) fn prepare_again(
    head: &mut RequestHead,
    host: &Host,
    timeout: Option<Duration>,
    after_timeout: bool,
    config: RouterConfig,
    ex: &Exchange,
) {
    let Some(route) = ex.route() else { return };
    tell_timeout(head, timeout, config);
    if route.virtual_host().attempt_count.request {
        head.headers.insert(n::X_ENVOY_ATTEMPT_COUNT, HeaderValue::from(ex.upstream.attempts));
    }
    if route.virtual_host().timeout_retry_header {
        let value = if after_timeout { "true" } else { "false" };
        head.headers.insert(n::X_ENVOY_IS_TIMEOUT_RETRY, HeaderValue::from_static(value));
    }
    let (method, scheme) = (head.method.clone(), head.scheme.clone());
    let mut fields = RequestFields {
        method: method.as_str().as_bytes(),
        scheme: scheme.as_ref().map_or(b"http", |s| s.as_bytes()),
        authority: &mut head.authority,
        path: &mut head.path,
        headers: &mut head.headers,
    };
    set_upstreams_host(&mut fields, &route, host, originals(config));
}

/// `auto_host_rewrite`. As in Envoy each attempt does it anew, from what the one before left.
fn set_upstreams_host(
    fields: &mut RequestFields<'_>,
    route: &RouteRef<'_>,
    host: &Host,
    original: OriginalHeaders,
) {
    if route.rewrites_host_to_upstream()
        && !host.hostname().is_empty()
        && let Ok(name) = HeaderValue::from_str(host.hostname())
    {
        let append = route.forward().is_some_and(|forward| forward.append_x_forwarded_host);
        fields.set_host(name, append, original);
    }
}

/// The upstream's head as the client gets it.
pub(super) fn finish(
    head: &mut ResponseHead,
    request: &RequestHead,
    config: RouterConfig,
    ex: &Exchange,
) {
    // An answer to half a request says nothing about how long the service takes.
    if !config.suppress_envoy_headers
        && let (Some(from), Some(at)) = (ex.times.request_end, ex.times.upstream_head)
    {
        let taken = at.saturating_duration_since(from);
        let millis = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
        head.headers.insert(n::X_ENVOY_UPSTREAM_SERVICE_TIME, number(millis));
    }
    edit_response(head, request, ex);
}

/// The route's changes to a response.
pub(super) fn edit_response(head: &mut ResponseHead, request: &RequestHead, ex: &Exchange) {
    let Some(route) = ex.route() else { return };
    let status = head.status.as_u16();
    for edits in route.response_edits() {
        edits.apply(&mut head.headers, &mut |format, now| {
            let mut entry = entry::of(ex, request, LogType::NotSet);
            entry.response_headers = Some(now);
            entry.status = Some(status);
            format.render(&entry)
        });
    }
    tell_attempts(head, ex);
}

/// `x-envoy-attempt-count` of a response, an answer of the router's own included.
pub(super) fn tell_attempts(head: &mut ResponseHead, ex: &Exchange) {
    let wanted = ex.route().is_some_and(|route| route.virtual_host().attempt_count.response);
    if wanted && ex.upstream.attempts > 0 {
        head.headers.insert(n::X_ENVOY_ATTEMPT_COUNT, HeaderValue::from(ex.upstream.attempts));
    }
}
