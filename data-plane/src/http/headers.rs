//! What the connection manager does to heads before filters see them and before they leave.
//!
//! Who the client is, what it may not say about itself (`x-envoy-*`), what belongs to one hop only
//! and what we add. The order of the steps is Envoy's (`ConnectionManagerUtility`); each step cites
//! the header or field that it is about. Names are matched as written in the model, so nothing here
//! allocates for a request that needs no change.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::codec::{RequestHead, ResponseHead};
use crate::config::http_manager::{
    ForwardClientCert, HttpManagerConfig, SchemeTransformation, ServerHeader, StripPort,
};
use crate::http::conn::ConnInfo;
use crate::http::names as n;
use crate::http::reply::LocalReply;
use crate::route::path::{self, Sanitized};

/// What the node says about itself.
#[derive(Clone, Debug)]
pub struct LocalInfo {
    /// `node.cluster`.
    pub service_cluster: HeaderValue,
    /// `node.id`.
    pub service_node: HeaderValue,
    /// `node.locality.zone`.
    pub zone: Arc<str>,
    /// Address of this machine, used where the peer's is a loopback address.
    pub address: IpAddr,
}

/// What the connection manager found out about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientFacts {
    /// The address that is believed to be the client's.
    pub address: Option<IpAddr>,
    /// It comes from inside (`x-envoy-internal`).
    pub internal: bool,
}

/// Headers that an external client may not set (`ConnectionManagerUtility::cleanInternalHeaders`).
const INTERNAL: [HeaderName; 15] = [
    n::X_ENVOY_RETRIABLE_STATUS_CODES,
    n::X_ENVOY_RETRIABLE_HEADER_NAMES,
    n::X_ENVOY_RETRY_ON,
    n::X_ENVOY_RETRY_GRPC_ON,
    n::X_ENVOY_MAX_RETRIES,
    n::X_ENVOY_UPSTREAM_ALT_STAT_NAME,
    n::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
    n::X_ENVOY_UPSTREAM_STREAM_DURATION_MS,
    n::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
    n::X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE,
    n::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
    n::X_ENVOY_FORCE_TRACE,
    n::X_ENVOY_IP_TAGS,
    n::X_ENVOY_ORIGINAL_URL,
    n::X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
];

/// Headers that nobody outside may set at an edge.
const EDGE: [HeaderName; 5] = [
    n::X_ENVOY_DECORATOR_OPERATION,
    n::X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER,
    n::X_ENVOY_DOWNSTREAM_SERVICE_NODE,
    n::X_ENVOY_ORIGINAL_HOST,
    n::X_ENVOY_ORIGINAL_PATH,
];

/// Rules of the connection manager that a head must keep before anything else looks at it.
///
/// # Errors
/// The answer to a head without host or with a path that is none.
pub fn check(head: &mut RequestHead, config: &HttpManagerConfig) -> Result<(), Box<LocalReply>> {
    if head.authority.is_none() {
        return Err(Box::new(LocalReply::rejected(StatusCode::BAD_REQUEST, "missing_host_header")));
    }
    let path = head.path.as_bytes();
    if head.method == Method::CONNECT && path.is_empty() {
        return Ok(());
    }
    if path.is_empty() {
        return Err(Box::new(LocalReply::rejected(StatusCode::NOT_FOUND, "missing_path_rejected")));
    }
    if path[0] != b'/' {
        return Err(Box::new(LocalReply::rejected(
            StatusCode::NOT_FOUND,
            "absolute_path_rejected",
        )));
    }
    normalize(head, config)
}

fn normalize(head: &mut RequestHead, config: &HttpManagerConfig) -> Result<(), Box<LocalReply>> {
    let rejected =
        || Box::new(LocalReply::rejected(StatusCode::BAD_REQUEST, "path_normalization_failed"));
    if path::fragment(head.path.as_bytes()).is_some() {
        return Err(rejected());
    }
    let sanitized = path::sanitize(head.path.as_bytes(), &config.normalization);
    match sanitized {
        Sanitized::Forward(Cow::Borrowed(_)) => {}
        Sanitized::Forward(Cow::Owned(path)) => {
            head.path = HeaderValue::from_bytes(&path).map_err(|_| rejected())?;
        }
        Sanitized::Redirect(path) => {
            let location = HeaderValue::from_bytes(&path).map_err(|_| rejected())?;
            let mut reply =
                LocalReply::rejected(StatusCode::TEMPORARY_REDIRECT, "path_normalization_failed");
            reply.error_type = None;
            return Err(Box::new(reply.with_header(header::LOCATION, location)));
        }
        Sanitized::Reject => return Err(rejected()),
    }
    Ok(())
}

/// `strip_matching_host_port`, `strip_any_host_port`, `strip_trailing_host_dot`.
pub fn normalize_host(head: &mut RequestHead, config: &HttpManagerConfig, conn: &ConnInfo) {
    let rules = &config.normalization;
    if rules.strip_port == StripPort::Never && !rules.strip_trailing_host_dot {
        return;
    }
    let Some(authority) = head.authority.as_ref().and_then(|a| a.to_str().ok()) else { return };
    let (mut host, mut port) = split_port(authority);
    let strip = match rules.strip_port {
        StripPort::Any => port.is_some(),
        StripPort::Matching => {
            port.and_then(|p| p.parse().ok()) == conn.local_port() && port.is_some()
        }
        StripPort::Never => false,
    };
    if strip && head.method != Method::CONNECT {
        port = None;
    }
    if rules.strip_trailing_host_dot {
        host = host.strip_suffix('.').unwrap_or(host);
    }
    let stripped = match port {
        None => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    };
    if stripped != authority {
        head.authority = HeaderValue::from_str(&stripped).ok();
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
#[must_use]
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Everything that `mutateRequestHeaders` does but the request id and tracing. `seen` is what the
/// head has before it.
pub fn sanitize_request(
    head: &mut RequestHead,
    config: &HttpManagerConfig,
    conn: &ConnInfo,
    local: &LocalInfo,
    seen: Seen,
) -> ClientFacts {
    if seen.hop_by_hop || seen.envoy {
        remove_hop_by_hop(head);
    }
    if seen.forwarded {
        join_lines(&mut head.headers, n::X_FORWARDED_FOR);
    }
    let single_xff = !seen.forwarded || !head.headers.contains_key(n::X_FORWARDED_FOR);
    let (address, trusted_single) = if config.client.use_remote_address {
        let address = edge_address(head, config, conn);
        append_forwarded(head, config, conn, local);
        (address, single_xff)
    } else if seen.forwarded {
        believed_address(&head.headers, config, conn)
    } else {
        (conn.remote_ip(), false)
    };
    let untold = !seen.forwarded && !config.client.use_remote_address;
    let ours = untold || !head.headers.contains_key(n::X_FORWARDED_PROTO);
    if ours {
        head.headers.insert(n::X_FORWARDED_PROTO, conn.scheme_value());
    }
    set_scheme(head, config, conn, ours);
    let internal = trusted_single
        && address.map_or_else(
            || config.client.internal.unix_sockets && conn.is_unix(),
            |a| config.client.internal.cidr_ranges.iter().any(|net| net.contains(&a)),
        );
    let edge = !internal && config.client.use_remote_address;
    clean(head, seen, internal, edge);
    if seen.forwarded || conn.tls.is_some() {
        forward_client_cert(head, config, conn);
    }
    identify(head, config, local);
    if edge && let Some(address) = address {
        insert_text(&mut head.headers, n::X_ENVOY_EXTERNAL_ADDRESS, &address.to_string());
    }
    ClientFacts { address, internal }
}

/// `x-forwarded-client-cert` (`ConnectionManagerUtility::mutateXfccRequestHeader`). Where nobody
/// proved by a certificate who calls, nobody may say that somebody did.
fn forward_client_cert(head: &mut RequestHead, config: &HttpManagerConfig, conn: &ConnInfo) {
    use ForwardClientCert as F;
    const NAME: HeaderName = n::X_FORWARDED_CLIENT_CERT;
    let rule = config.client.forward_client_cert;
    // Envoy knows the field and makes one line of several.
    join_lines(&mut head.headers, NAME);
    if rule == F::AlwaysForwardOnly {
        return;
    }
    let Some(tls) = conn.tls.as_ref().filter(|tls| tls.client_certificate.is_some()) else {
        head.headers.remove(NAME);
        return;
    };
    match (rule, &tls.forwarded) {
        (F::AlwaysForwardOnly | F::ForwardOnly, _) => {}
        // Where our own element cannot be written, the client's would stand for it.
        (F::Sanitize, _) | (F::SanitizeSet | F::AppendForward, None) => {
            head.headers.remove(NAME);
        }
        (F::SanitizeSet, Some(value)) => {
            head.headers.insert(NAME, value.clone());
        }
        (F::AppendForward, Some(value)) => match value.to_str() {
            Ok(text) => append_joined(&mut head.headers, NAME, text, ","),
            Err(_) => {
                head.headers.remove(NAME);
            }
        },
    }
}

/// Which kinds of fields a head has. Nearly none has one of these, and one walk over its few names
/// is cheaper than a look-up of each name that would have to go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// A field of one hop.
    hop_by_hop: bool,
    /// `x-envoy-…`.
    envoy: bool,
    /// `x-forwarded-…`.
    forwarded: bool,
    /// `x-request-id`.
    pub request_id: bool,
    /// `expect`.
    pub expect: bool,
    /// `date`.
    date: bool,
}

impl Seen {
    /// What these fields are.
    #[must_use]
    pub fn in_map(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            let name = name.as_str();
            match name.as_bytes()[0] {
                b'x' => {
                    seen.envoy |= name.starts_with("x-envoy-");
                    seen.forwarded |= name.starts_with("x-forwarded-");
                    seen.request_id |= name == "x-request-id";
                }
                b'd' => seen.date |= name == "date",
                b'e' => seen.expect |= name == "expect",
                b'c' | b'k' | b'p' | b't' | b'u' => {
                    seen.hop_by_hop |= matches!(
                        name,
                        "connection"
                            | "keep-alive"
                            | "proxy-connection"
                            | "transfer-encoding"
                            | "upgrade"
                    );
                }
                _ => {}
            }
        }
        seen
    }
}

/// A small number as a header's value: those that nearly every message has allocate nothing.
#[must_use]
pub fn number(n: u64) -> HeaderValue {
    const SMALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    match n {
        0..=9 => HeaderValue::from_static(SMALL[(n % 10) as usize]),
        // The default of a route's timeout.
        15_000 => HeaderValue::from_static("15000"),
        _ => HeaderValue::from(n),
    }
}

fn remove_hop_by_hop(head: &mut RequestHead) {
    let headers = &mut head.headers;
    headers.remove(n::X_ENVOY_INTERNAL);
    headers.remove(n::KEEP_ALIVE);
    headers.remove(n::PROXY_CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    if head.upgrade.is_none() {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
    }
}

/// With `use_remote_address`: the peer, or the address that the last trusted proxy saw.
fn edge_address(head: &RequestHead, config: &HttpManagerConfig, conn: &ConnInfo) -> Option<IpAddr> {
    let hops = config.client.xff_num_trusted_hops;
    let forwarded =
        (hops > 0).then(|| address_in_xff(&head.headers, hops as usize - 1).0).flatten();
    forwarded.or_else(|| conn.remote_ip())
}

/// Adds this machine to who the request came from, for a request that it makes by itself.
pub(super) fn append_own_address(headers: &mut HeaderMap, local: &LocalInfo) {
    append_joined(headers, n::X_FORWARDED_FOR, &local.address.to_string(), ",");
}

fn append_forwarded(
    head: &mut RequestHead,
    config: &HttpManagerConfig,
    conn: &ConnInfo,
    local: &LocalInfo,
) {
    let client = &config.client;
    if !client.skip_xff_append
        && let Some(remote) = conn.remote_ip()
    {
        let shown = match remote {
            loopback if loopback.is_loopback() => local.address,
            IpAddr::V4(v4) if client.represent_ipv4_as_mapped_ipv6 => {
                IpAddr::V6(v4.to_ipv6_mapped())
            }
            other => other,
        };
        append_joined(&mut head.headers, n::X_FORWARDED_FOR, &shown.to_string(), ",");
    }
    if client.xff_num_trusted_hops == 0 || !head.headers.contains_key(n::X_FORWARDED_PROTO) {
        head.headers.insert(n::X_FORWARDED_PROTO, conn.scheme_value());
    }
    if client.append_x_forwarded_port
        && (client.xff_num_trusted_hops == 0 || !head.headers.contains_key(n::X_FORWARDED_PORT))
        && let Some(port) = conn.local_port()
    {
        head.headers.insert(n::X_FORWARDED_PORT, HeaderValue::from(port));
    }
}

/// Without `use_remote_address`: `x-forwarded-for` is believed; the flag says whether it had one
/// address only, so that it can be internal.
fn believed_address(
    headers: &HeaderMap,
    config: &HttpManagerConfig,
    conn: &ConnInfo,
) -> (Option<IpAddr>, bool) {
    let (address, single) = address_in_xff(headers, config.client.xff_num_trusted_hops as usize);
    match address {
        Some(address) => (Some(address), single),
        None => (conn.remote_ip(), false),
    }
}

/// The address `skip` places before the last one, and whether the header holds only one.
fn address_in_xff(headers: &HeaderMap, skip: usize) -> (Option<IpAddr>, bool) {
    let Some(last) = headers.get_all(n::X_FORWARDED_FOR).iter().next_back() else {
        return (None, false);
    };
    let Ok(text) = last.to_str() else { return (None, false) };
    let single = !text.contains(',');
    let address = text.rsplit(',').nth(skip).and_then(|a| a.trim().parse().ok());
    (address, single)
}

/// `ours`: nobody else said what `x-forwarded-proto` is.
fn set_scheme(head: &mut RequestHead, config: &HttpManagerConfig, conn: &ConnInfo, ours: bool) {
    let overwrite = |head: &mut RequestHead, scheme: &'static str| {
        // `scheme_to_overwrite` is what the next hop is told, too.
        head.headers.insert(n::X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        Some(HeaderValue::from_static(scheme))
    };
    head.scheme = match config.identity.scheme {
        SchemeTransformation::Http => overwrite(head, "http"),
        SchemeTransformation::Https => overwrite(head, "https"),
        SchemeTransformation::Keep | SchemeTransformation::MatchUpstream => {
            if head.scheme.is_some() {
                return;
            }
            let proto = if ours { None } else { head.headers.get(n::X_FORWARDED_PROTO) };
            let known = proto.filter(|p| *p == "http" || *p == "https");
            Some(known.cloned().unwrap_or_else(|| conn.scheme_value()))
        }
    };
}

fn clean(head: &mut RequestHead, seen: Seen, internal: bool, edge: bool) {
    let headers = &mut head.headers;
    if internal {
        headers.insert(n::X_ENVOY_INTERNAL, HeaderValue::from_static("true"));
        return;
    }
    if !seen.envoy {
        return;
    }
    if edge {
        for name in &EDGE {
            headers.remove(name);
        }
    }
    for name in &INTERNAL {
        headers.remove(name);
    }
}

fn identify(head: &mut RequestHead, config: &HttpManagerConfig, local: &LocalInfo) {
    let headers = &mut head.headers;
    if config.identity.add_user_agent {
        headers.insert(n::X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER, local.service_cluster.clone());
        if headers.get(header::USER_AGENT).is_none_or(HeaderValue::is_empty) {
            headers.insert(header::USER_AGENT, local.service_cluster.clone());
        }
        if !local.service_node.is_empty() {
            headers.insert(n::X_ENVOY_DOWNSTREAM_SERVICE_NODE, local.service_node.clone());
        }
    }
    if let Some(via) = &config.identity.via {
        append_via(headers, via);
    }
}

fn append_via(headers: &mut HeaderMap, via: &HeaderValue) {
    if let Ok(text) = via.to_str() {
        append_joined(headers, header::VIA, text, ", ");
    }
}

/// Makes one line of a list header that came as several (RFC 9110 §5.3), as Envoy does: who sends
/// a second line can hide nothing behind the first.
fn join_lines(headers: &mut HeaderMap, name: HeaderName) {
    let mut lines = headers.get_all(&name).iter();
    let (Some(first), Some(_)) = (lines.next(), lines.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for line in headers.get_all(&name).iter().skip(1) {
        joined.push(b',');
        joined.extend_from_slice(line.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(name, value);
    }
}

/// Appends to a list header, whose lines become one, or adds the header.
fn append_joined(headers: &mut HeaderMap, name: HeaderName, value: &str, separator: &str) {
    let mut joined = Vec::new();
    for old in headers.get_all(&name).iter().filter(|old| !old.is_empty()) {
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(old.as_bytes());
    }
    if !joined.is_empty() {
        joined.extend_from_slice(separator.as_bytes());
    }
    joined.extend_from_slice(value.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(name, value);
    }
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1).
#[must_use]
pub fn expects_continue(head: &RequestHead) -> bool {
    let expect = head.headers.get(header::EXPECT);
    expect.is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// `mutateResponseHeaders` and the base headers: hop-by-hop off; via, date and server on.
pub fn finish_response(head: &mut ResponseHead, config: &HttpManagerConfig, date: &HeaderValue) {
    let headers = &mut head.headers;
    let seen = Seen::in_map(headers);
    if seen.hop_by_hop {
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            headers.remove(header::CONNECTION);
            headers.remove(header::UPGRADE);
        }
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(n::KEEP_ALIVE);
        headers.remove(n::PROXY_CONNECTION);
    }
    if let Some(via) = &config.identity.via {
        append_via(headers, via);
    }
    if !seen.date {
        headers.insert(header::DATE, date.clone());
    }
    let ours = match config.identity.server_header {
        ServerHeader::AppendIfAbsent => !headers.contains_key(header::SERVER),
        ServerHeader::Overwrite => true,
        ServerHeader::PassThrough => false,
    };
    if ours {
        headers.insert(header::SERVER, config.identity.server_name.clone());
    }
}
