//! The facts of a request as formats see them.

use http::{HeaderMap, HeaderValue};

use crate::base::clock::{self, Instant};
use crate::cluster::HostAddress;
use crate::codec::{RequestHead, Version};
use crate::http::conn::Peer;
use crate::http::exchange::Exchange;
use crate::http::names::X_REQUEST_ID;
use crate::telemetry::access_log::{Addr, Entry, LogType, Protocol};

/// Everything that is known of a request now.
#[must_use]
pub fn of<'a>(ex: &'a Exchange, head: &'a RequestHead, log_type: LogType) -> Entry<'a> {
    let since = |at: Option<Instant>| Some(at?.saturating_duration_since(ex.times.start));
    let route = ex.route();
    let unknown = head.path.is_empty() && head.authority.is_none();
    let cluster = ex.upstream.cluster.as_ref();
    let virtual_cluster = || {
        let clusters = &route?.virtual_host().virtual_clusters;
        Some(&*clusters.get(ex.upstream.virtual_cluster?)?.name)
    };
    Entry {
        start: Some(ex.times.start_system),
        protocol: Some(protocol(head.version)),
        method: (!unknown).then(|| head.method.as_str()),
        path: text(Some(&head.path)).filter(|path| !path.is_empty()),
        authority: text(head.authority.as_ref()),
        scheme: text(head.scheme.as_ref()),
        request_headers: Some(&head.headers),
        response_headers: ex.response.headers.as_ref(),
        response_trailers: ex.response.trailers.as_ref(),
        status: Some(ex.response.status),
        flags: ex.flags,
        details: (!ex.details.is_empty()).then_some(&*ex.details),
        route_name: route.map(|route| route.name()).filter(|name| !name.is_empty()),
        virtual_cluster: virtual_cluster(),
        cluster: cluster.map(|cluster| cluster.name().as_str()),
        cluster_observability_name: cluster.map(|cluster| cluster.config().stat_name()),
        upstream_host: ex.upstream.host.as_ref().map(|host| host_addr(host.address())),
        attempts: ex.upstream.attempts,
        bytes_received: ex.bytes.received,
        bytes_sent: ex.bytes.sent,
        request_received: since(ex.times.request_end),
        response_started: since(ex.times.upstream_head),
        response_sent: ex.response.complete.then(|| since(Some(clock::now()))).flatten(),
        duration: since(Some(clock::now())),
        upstream_failure: ex.upstream.failure.as_deref(),
        stream_id: text(head.headers.get(X_REQUEST_ID)),
        trace_id: ex.trace.as_ref().and_then(|ids| text(Some(&ids.trace_id))),
        log_type,
        ..of_connection(ex)
    }
}

/// What is known of its connection.
fn of_connection(ex: &Exchange) -> Entry<'_> {
    let direct = peer_addr(&ex.conn.remote);
    let believed = match (ex.client.address, &ex.conn.remote) {
        (Some(address), Peer::Ip(remote)) if address != remote.ip() => {
            // An address out of x-forwarded-for has no port; Envoy prints 0.
            Addr::Ip(std::net::SocketAddr::new(address, 0))
        }
        _ => direct,
    };
    Entry {
        remote: Some(believed),
        direct_remote: Some(direct),
        local: Some(peer_addr(&ex.conn.local)),
        connection_id: Some(ex.conn.id),
        ..Entry::default()
    }
}

/// The same with other headers: those of the moment in which a value is made.
#[must_use]
pub fn with_headers<'a>(entry: Entry<'a>, headers: &'a HeaderMap) -> Entry<'a> {
    Entry { request_headers: Some(headers), ..entry }
}

/// An end of a connection as formats see it.
#[must_use]
pub fn peer_addr(peer: &Peer) -> Addr<'_> {
    match peer {
        Peer::Ip(address) => Addr::Ip(*address),
        Peer::Unix(path) => Addr::Pipe(path),
    }
}

/// A host as formats see it.
#[must_use]
pub fn host_addr(address: &HostAddress) -> Addr<'_> {
    match address {
        HostAddress::Socket(address) => Addr::Ip(*address),
        HostAddress::Pipe(path) => Addr::Pipe(path.to_str().unwrap_or_default()),
    }
}

/// `%PROTOCOL%` of a version.
#[must_use]
pub const fn protocol(version: Version) -> Protocol {
    match version {
        Version::Http10 => Protocol::Http10,
        Version::Http11 => Protocol::Http11,
        Version::Http2 => Protocol::Http2,
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}
