//! The `location` of a redirect.

use super::table::RouteRef;
use crate::config::route::action::RedirectPath;
use crate::config::route::{Action, RedirectScheme};

/// What a `location` is made from.
#[derive(Clone, Copy, Debug)]
pub struct RedirectRequest<'a> {
    /// `:authority`.
    pub authority: &'a [u8],
    /// `:path` with its query, before any rewrite.
    pub path: &'a [u8],
    /// `:scheme`.
    pub scheme: &'a [u8],
    /// `x-forwarded-proto`.
    pub forwarded_proto: &'a [u8],
}

/// Where a redirect route sends the client; `None` if the route is no redirect.
#[must_use]
pub fn location(route: &RouteRef<'_>, request: &RedirectRequest<'_>) -> Option<Vec<u8>> {
    let Action::Redirect(redirect) = &route.entry()?.action else { return None };
    let scheme = match &redirect.scheme {
        Some(RedirectScheme::Https) => b"https",
        Some(RedirectScheme::To(scheme)) => scheme.as_bytes(),
        None => request.scheme,
    };
    let port = redirect.port.map(|port| format!(":{port}")).unwrap_or_default();
    let host = match &redirect.host {
        Some(host) => host.as_bytes(),
        None => request_host(request, scheme, redirect.port),
    };
    let rewritten = route.rewrite_path(request.path);
    let mut path = rewritten.unwrap_or_else(|| request.path.to_vec());
    let mut keeps_query = !redirect.strip_query;
    if let Some(RedirectPath::Path(to)) = &redirect.path {
        let own_query = to.contains('?');
        let query = path.iter().position(|&b| b == b'?').map_or(&b""[..], |at| &path[at..]);
        path = [to.as_bytes(), if own_query { b"" } else { query }].concat();
        keeps_query |= own_query;
    }
    if !keeps_query {
        let end = path.iter().position(|&b| b == b'?').unwrap_or(path.len());
        path.truncate(end);
    }
    let slash: &[u8] = if path.first() == Some(&b'/') { b"" } else { b"/" };
    Some([scheme, b"://", host, port.as_bytes(), slash, &path].concat())
}

/// Where `require_tls` sends the client.
#[must_use]
pub fn location_of_tls_redirect(request: &RedirectRequest<'_>) -> Vec<u8> {
    [b"https://", request.authority, request.path].concat()
}

/// The request's host; its port goes if another one follows, or if it is the default port of the
/// scheme that is left behind.
fn request_host<'a>(request: &RedirectRequest<'a>, scheme: &[u8], port: Option<u32>) -> &'a [u8] {
    let host = request.authority;
    let colon = host.iter().rposition(|&b| b == b':');
    let colon = colon.filter(|&at| host[0] != b'[' || host[at - 1] == b']');
    let Some(colon) = colon else { return host };
    let default = (request.forwarded_proto == b"https" && &host[colon..] == b":443")
        || (request.forwarded_proto == b"http" && &host[colon..] == b":80");
    let drops = port.is_some() || (scheme != request.forwarded_proto && default);
    if drops { &host[..colon] } else { host }
}
