//! Heads between `http`'s messages and the codec's words: authority and Host, cookie crumbs,
//! extended CONNECT, and the fields that HTTP/2 forbids.

use ::h2::ext::Protocol;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
    request, response,
};

use super::Options;
use crate::codec::h1::Underscores;
use crate::codec::{ProtocolError, RequestHead, ResponseHead, Version};

fn value(text: &str) -> HeaderValue {
    // URI parts are visible ASCII or above 0x7f, all of it allowed in a value.
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A request that came, with what is wrong about it.
pub(super) fn request_in(
    parts: request::Parts,
    ends: bool,
    opts: &Options,
) -> (Box<RequestHead>, Option<ProtocolError>) {
    let request::Parts { method, uri, mut headers, extensions, .. } = parts;
    let mut error = None;
    if headers.len() > opts.max_headers_count {
        error = Some(ProtocolError::TooManyHeaders);
    }
    if let Err(e) = underscores(&mut headers, opts.underscores) {
        error.get_or_insert(e);
    }
    let mut authority = uri.authority().map(|a| value(a.as_str()));
    if let Err(e) = host(&mut headers, &mut authority) {
        error.get_or_insert(e);
    }
    join_cookies(&mut headers);
    let protocol = extensions.get::<Protocol>().map(|p| value(p.as_str()));
    if let Some(protocol) = &protocol {
        // As HTTP/1 says it: matchers, filters and logs know one form.
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
    let connect = method == Method::CONNECT && protocol.is_none();
    let path = match uri.path_and_query() {
        Some(path) if !connect => value(path.as_str()),
        _ => HeaderValue::from_static(""),
    };
    if !connect && !well_formed(&method, &path) {
        error.get_or_insert(ProtocolError::BadTarget);
    }
    let head = RequestHead {
        ends: ends && !connect && protocol.is_none(),
        method: if protocol.is_some() { Method::GET } else { method },
        scheme: uri.scheme().map(|s| match s.as_str() {
            "http" => HeaderValue::from_static("http"),
            "https" => HeaderValue::from_static("https"),
            other => value(other),
        }),
        authority,
        path,
        version: Version::Http2,
        headers,
        upgrade: protocol,
    };
    (Box::new(head), error)
}

/// `headers_with_underscores_action` over a head or trailers.
pub(super) fn underscores(fields: &mut HeaderMap, rule: Underscores) -> Result<(), ProtocolError> {
    let has = |name: &HeaderName| name.as_str().contains('_');
    if rule == Underscores::Allow || !fields.keys().any(has) {
        return Ok(());
    }
    if rule == Underscores::Reject {
        return Err(ProtocolError::UnderscoreHeader);
    }
    let names: Vec<HeaderName> = fields.keys().filter(|name| has(name)).cloned().collect();
    for name in names {
        fields.remove(name);
    }
    Ok(())
}

/// RFC 9113 §8.3.1: `host` stands in for a missing `:authority`, and may not differ from it.
fn host(headers: &mut HeaderMap, authority: &mut Option<HeaderValue>) -> Result<(), ProtocolError> {
    if let Some(host) = headers.remove(header::HOST) {
        match authority {
            Some(authority) if !authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
                return Err(ProtocolError::BadHost);
            }
            Some(_) => {}
            None => *authority = Some(host),
        }
    }
    if authority.is_none() { Err(ProtocolError::MissingHost) } else { Ok(()) }
}

fn well_formed(method: &Method, path: &HeaderValue) -> bool {
    let path = path.as_bytes();
    path.first() == Some(&b'/') && path.is_ascii() || path == b"*" && *method == Method::OPTIONS
}

/// RFC 9113 §8.2.3: crumbs become one field, in one pass.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(header::COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return;
    }
    let size = crumbs.iter().map(|c| c.len() + 2).sum();
    let mut joined = Vec::with_capacity(size);
    for crumb in crumbs {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
        headers.insert(header::COOKIE, joined);
    }
}

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// RFC 9113 §8.2.2: what may not be sent.
fn strip(headers: &mut HeaderMap) {
    // Nearly no head has one of them, and one walk costs less than a look-up of each.
    let forbidden = |name: &HeaderName| {
        let names = ["connection", "transfer-encoding", "upgrade", "host", "te"];
        names.contains(&name.as_str()) || *name == KEEP_ALIVE || *name == PROXY_CONNECTION
    };
    if !headers.keys().any(forbidden) {
        return;
    }
    for name in [&header::CONNECTION, &header::TRANSFER_ENCODING, &header::UPGRADE, &header::HOST] {
        headers.remove(name);
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        headers.remove(header::TE);
    }
}

/// The one valid length among the fields, to check the body against.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A request that goes out.
///
/// # Errors
/// Authority or path that no URI can hold.
pub(super) fn request_out(head: &RequestHead) -> Result<Request<()>, ProtocolError> {
    let connect = head.method == Method::CONNECT;
    let mut uri = http::uri::Parts::default();
    let authority = head.authority.as_ref().ok_or(ProtocolError::MissingHost)?;
    let authority = Authority::try_from(authority.as_bytes());
    uri.authority = Some(authority.map_err(|_| ProtocolError::BadHost)?);
    if !connect {
        uri.scheme = Some(match head.scheme.as_ref().map(HeaderValue::as_bytes) {
            Some(b"https") => Scheme::HTTPS,
            _ => Scheme::HTTP,
        });
        let path = PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(head.path.as_bytes()));
        uri.path_and_query = Some(path.map_err(|_| ProtocolError::BadTarget)?);
    }
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| ProtocolError::BadTarget)?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.method_mut() = head.method.clone();
    let mut headers = head.headers.clone();
    strip(&mut headers);
    if head.ends && length(&headers).is_some_and(|n| n > 0) {
        headers.remove(header::CONTENT_LENGTH);
    }
    if let Some(protocol) = head.upgrade.as_ref().and_then(|p| p.to_str().ok()) {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from(protocol));
    }
    *request.headers_mut() = headers;
    Ok(request)
}

/// A response that goes out.
pub(super) fn response_out(head: ResponseHead, extended: bool) -> Response<()> {
    let mut response = Response::new(());
    let switching = extended && head.status == StatusCode::SWITCHING_PROTOCOLS;
    *response.status_mut() = if switching { StatusCode::OK } else { head.status };
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() = head.headers;
    strip(response.headers_mut());
    if switching || head.status == StatusCode::NO_CONTENT || head.status.is_informational() {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

/// A response that came; `upgrade` is what was asked for.
pub(super) fn response_in(
    parts: response::Parts,
    ends: bool,
    upgrade: Option<&HeaderValue>,
) -> ResponseHead {
    let response::Parts { mut status, mut headers, .. } = parts;
    if let Some(protocol) = upgrade.filter(|_| status.is_success()) {
        status = StatusCode::SWITCHING_PROTOCOLS;
        headers.insert(header::UPGRADE, protocol.clone());
    }
    ResponseHead { status, version: Version::Http2, headers, ends }
}
