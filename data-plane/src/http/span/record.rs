//! What a finished request's spans say (`HttpTracerUtility::finalizeDownstreamSpan` and
//! `finalizeUpstreamSpan`).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId};
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{Recorded, Tracing, text};
use crate::base::clock;
use crate::codec::{RequestHead, Version};
use crate::config::cluster::UpstreamProtocol;
use crate::config::tracing::{CustomTag, TagValue};
use crate::http::conn::Peer;
use crate::http::entry;
use crate::http::error::ErrorKind;
use crate::http::exchange::Exchange;
use crate::http::names as n;
use crate::telemetry::access_log::LogType;
use crate::telemetry::flags::ResponseFlags;

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is not wanted any more.
    Canceled(ResponseFlags),
    /// It broke.
    Failed(ErrorKind),
    /// By itself.
    Whole,
}

/// Attributes of a span, in the order in which they were set.
#[derive(Default)]
struct Tags(Vec<KeyValue>);

impl Tags {
    fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        let tag = KeyValue::new(key.into(), value.into());
        match self.0.iter_mut().find(|known| known.key == tag.key) {
            Some(known) => *known = tag,
            None => self.0.push(tag),
        }
    }

    fn extend(&mut self, custom: Vec<(Arc<str>, String)>) {
        for (key, value) in custom {
            self.set(key, value);
        }
    }

    fn set_header(&mut self, key: &'static str, headers: &HeaderMap, name: impl AsHeader) {
        if let Some(value) = name.of(headers) {
            self.set(key, text(Some(value)).into_owned());
        }
    }
}

/// A header by its name, known or not.
trait AsHeader {
    fn of(self, headers: &HeaderMap) -> Option<&HeaderValue>;
}

impl AsHeader for HeaderName {
    fn of(self, headers: &HeaderMap) -> Option<&HeaderValue> {
        headers.get(self)
    }
}

impl AsHeader for &str {
    fn of(self, headers: &HeaderMap) -> Option<&HeaderValue> {
        headers.get(self)
    }
}

/// One span that is over.
struct Finished<'a> {
    name: String,
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    parent_is_remote: bool,
    kind: SpanKind,
    begun: SystemTime,
    failed: bool,
    tags: Tags,
    recorded: &'a Recorded,
}

/// Sends the span of the attempt at hand, if it has one.
pub(super) fn attempt(ex: &mut Exchange, end: End) {
    let Some(attempt) = ex.span.recorded.as_mut().and_then(|r| r.attempt.take()) else { return };
    let manager = Arc::clone(&ex.manager);
    let (Some(tracing), Some(recorded), Some(context)) =
        (manager.tracing.as_deref(), ex.span.recorded.as_deref(), ex.span.context)
    else {
        return;
    };
    let mut tags = Tags::default();
    if attempt.number > 1 {
        tags.set("retry.count", (attempt.number - 1).to_string());
    }
    let (mut flags, mut protocol) = (ResponseFlags::NONE, upstream_protocol(ex));
    let mut grpc = None;
    match end {
        End::Canceled(why) => {
            flags = why;
            tags.set("canceled", "true");
        }
        End::Failed(kind) => {
            flags = kind.flag();
            tags.set("error", "true");
            tags.set("error.reason", kind.text());
            if kind.flag() == ResponseFlags::UPSTREAM_CONNECTION_FAILURE {
                protocol = "-";
            }
        }
        End::Whole => grpc = of_response(&mut tags, ex),
    }
    tags.set("http.protocol", protocol);
    if let Some(host) = &attempt.host {
        let address = host.address().to_string();
        tags.set("upstream_address", address.clone());
        tags.set("peer.address", address);
    }
    let status = attempt.status.unwrap_or(0);
    common(&mut tags, ex, status, flags);
    tags.extend(attempt.custom);
    let finished = Finished {
        name: attempt.name,
        id: attempt.id,
        parent: Some(context.span_id),
        parent_is_remote: false,
        kind: SpanKind::Client,
        begun: attempt.begun,
        failed: status >= 400 || grpc.is_some_and(|code| code != 0),
        tags,
        recorded,
    };
    send(tracing, ex, finished);
}

/// Sends the span of the request.
pub(super) fn request(ex: &mut Exchange, head: &RequestHead) {
    let Some(recorded) = ex.span.recorded.take() else { return };
    let manager = Arc::clone(&ex.manager);
    let (Some(tracing), Some(context)) = (manager.tracing.as_deref(), ex.span.context) else {
        return;
    };
    let mut tags = Tags::default();
    let local = &ex.worker.shared.local;
    tags.set("node_id", text(Some(&local.service_node)).into_owned());
    tags.set("zone", Arc::clone(&local.zone));
    of_request(&mut tags, tracing, ex, head);
    tags.set("request_size", ex.bytes.received.to_string());
    tags.set("response_size", ex.bytes.sent.to_string());
    common(&mut tags, ex, ex.response.status, ex.flags);
    let grpc = of_response(&mut tags, ex);
    tags.extend(custom(tracing, ex, head));
    let kind = tracing.kind();
    let finished = Finished {
        name: recorded.name.clone(),
        id: context.span_id,
        parent: recorded.parent,
        parent_is_remote: recorded.parent.is_some(),
        begun: ex.times.start_system,
        failed: match kind {
            SpanKind::Client => ex.response.status >= 400 || grpc.is_some_and(|code| code != 0),
            _ => ex.response.status >= 500 || grpc.is_some_and(is_servers_fault),
        },
        kind,
        tags,
        recorded: &recorded,
    };
    send(tracing, ex, finished);
}

fn of_request(tags: &mut Tags, tracing: &Tracing, ex: &Exchange, head: &RequestHead) {
    let headers = &head.headers;
    let or_dash = |value: Option<&HeaderValue>| match value {
        Some(value) => text(Some(value)).into_owned(),
        None => "-".to_owned(),
    };
    tags.set_header("guid:x-request-id", headers, n::X_REQUEST_ID);
    tags.set("http.url", url(head, tracing.config.max_path_tag_length as usize));
    tags.set("http.method", head.method.as_str().to_owned());
    let caller = headers.get(n::X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER);
    tags.set("downstream_cluster", or_dash(caller));
    tags.set("user_agent", or_dash(headers.get(header::USER_AGENT)));
    tags.set("http.protocol", entry::protocol(ex.protocol).as_str());
    tags.set(
        "peer.address",
        match &ex.conn.remote {
            Peer::Ip(address) => address.ip().to_string(),
            Peer::Unix(path) => path.to_string(),
        },
    );
    tags.set_header("guid:x-client-trace-id", headers, n::X_CLIENT_TRACE_ID);
    if is_grpc(headers) {
        tags.set("grpc.path", text(Some(&head.path)).into_owned());
        tags.set("grpc.authority", text(head.authority.as_ref()).into_owned());
        tags.set_header("grpc.content_type", headers, header::CONTENT_TYPE);
        tags.set_header("grpc.timeout", headers, "grpc-timeout");
    }
}

/// What the response says of gRPC; its status, if that is a number.
fn of_response(tags: &mut Tags, ex: &Exchange) -> Option<u32> {
    let parts = [ex.response.trailers.as_ref(), ex.response.headers.as_ref()];
    let said = parts.into_iter().flatten().find(|part| part.contains_key("grpc-status"))?;
    tags.set_header("grpc.status_code", said, "grpc-status");
    tags.set_header("grpc.message", said, "grpc-message");
    let code = said.get("grpc-status")?.to_str().ok()?.parse().ok();
    // RESOURCE_EXHAUSTED too is an error to Envoy's tag, and none of a server's span.
    if code.is_some_and(|code| code == 8 || is_servers_fault(code)) {
        tags.set("error", "true");
    }
    code
}

/// What an upstream speaks that there is a connection to.
fn upstream_protocol(ex: &Exchange) -> &'static str {
    let cluster = ex.upstream.cluster.as_ref();
    let version = match cluster.map(|cluster| &cluster.config().http.protocol) {
        Some(UpstreamProtocol::Http1(_)) => Version::Http11,
        Some(UpstreamProtocol::Http2(_)) => Version::Http2,
        Some(UpstreamProtocol::UseDownstream { .. }) | None => ex.protocol.max(Version::Http11),
    };
    entry::protocol(version).as_str()
}

/// What every span says.
fn common(tags: &mut Tags, ex: &Exchange, status: u16, flags: ResponseFlags) {
    tags.set("component", "proxy");
    if let Some(cluster) = &ex.upstream.cluster {
        tags.set("upstream_cluster", cluster.name().as_str().to_owned());
        tags.set("upstream_cluster.name", cluster.config().stat_name().to_owned());
    }
    tags.set("http.status_code", status.to_string());
    tags.set("response_flags", flags.to_string());
    if status == 0 || status >= 500 {
        tags.set("error", "true");
    }
}

/// The manager's tags, and the route's, which win.
pub(super) fn custom(
    tracing: &Tracing,
    ex: &Exchange,
    head: &RequestHead,
) -> Vec<(Arc<str>, String)> {
    let route = ex.route().and_then(|route| route.entry()?.tracing.as_deref());
    let of_route = route.map_or(&[][..], |tracing| &tracing.custom_tags[..]);
    let of_manager = tracing.config.custom_tags.iter();
    let of_manager = of_manager.filter(|tag| of_route.iter().all(|own| own.name != tag.name));
    let all = of_manager.chain(of_route).map(|tag| (tag, value_of(tag, ex, head)));
    let said = all.filter(|(_, value)| !value.is_empty());
    said.map(|(tag, value)| (Arc::clone(&tag.name), value.into_owned())).collect()
}

fn value_of<'a>(tag: &'a CustomTag, ex: &Exchange, head: &'a RequestHead) -> Cow<'a, str> {
    match &tag.value {
        TagValue::Fixed(value) => Cow::Borrowed(value),
        TagValue::Format(format) => {
            let value = ex.worker.format(format, &entry::of(ex, head, LogType::DownstreamEnd));
            Cow::Owned(String::from_utf8_lossy(&value).into_owned())
        }
        TagValue::Header(name, default) => match head.headers.get(name) {
            Some(value) => text(Some(value)),
            None => Cow::Borrowed(default),
        },
    }
}

fn send(tracing: &Tracing, ex: &Exchange, span: Finished<'_>) {
    let (Some(tracer), Some(context)) = (&tracing.tracer, ex.span.context) else { return };
    // The wall clock may be set while a request lasts.
    let end = match ex.times.start_system.checked_add(clock::now() - ex.times.start) {
        Some(end) => end.max(span.begun),
        None => span.begun,
    };
    tracer.send(
        ex.worker.id,
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(context.trace_id),
                SpanId::from_bytes(span.id),
                TraceFlags::SAMPLED,
                false,
                span.recorded.state.clone(),
            ),
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: span.parent_is_remote,
            span_kind: span.kind,
            name: span.name.into(),
            start_time: span.begun,
            end_time: end,
            attributes: span.tags.0,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if span.failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: tracer.scope.clone(),
        },
    );
}

/// The URL that the client asked for, its path cut.
fn url(head: &RequestHead, path_max: usize) -> String {
    if head.path.is_empty() {
        return String::new();
    }
    let path = head.headers.get(n::X_ENVOY_ORIGINAL_PATH).unwrap_or(&head.path).as_bytes();
    let path = String::from_utf8_lossy(&path[..path.len().min(path_max)]);
    format!("{}://{}{path}", text(head.scheme.as_ref()), text(head.authority.as_ref()))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
fn is_servers_fault(code: u32) -> bool {
    matches!(code, 2 | 4 | 12..=15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_the_clients_with_its_path_cut() {
        let mut head = RequestHead::unknown(Version::Http11);
        assert_eq!(url(&head, 256), "");
        head.path = HeaderValue::from_static("/rewritten");
        head.scheme = Some(HeaderValue::from_static("https"));
        head.authority = Some(HeaderValue::from_static("a.test"));
        assert_eq!(url(&head, 256), "https://a.test/rewritten");
        head.headers.insert(n::X_ENVOY_ORIGINAL_PATH, HeaderValue::from_static("/asked?for=it"));
        assert_eq!(url(&head, 6), "https://a.test/asked");
    }

    #[test]
    fn a_tag_that_is_set_again_has_the_last_value() {
        let mut tags = Tags::default();
        tags.set("a", "1");
        tags.set("b", "2");
        tags.set("a", "3");
        let values: Vec<_> = tags.0.iter().map(|tag| tag.value.to_string()).collect();
        assert_eq!(values, ["3", "2"]);
    }
}
