//! What `:path` and `:authority` become on their way upstream.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::input::{NoRuntime, RouteInput};
use super::mutation::Render;
use super::table::RouteRef;
use crate::config::route::action::RedirectPath;
use crate::config::route::{Action, HostRewrite, PathMatcher, PathRewrite};

/// A rewritten `:path`, with its query.
pub type RewrittenPath = Vec<u8>;

/// A path without query and fragment.
#[must_use]
pub fn path_before_query(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|&b| matches!(b, b'?' | b'#')).unwrap_or(path.len());
    &path[..end]
}

impl RouteRef<'_> {
    /// The path after the route's `prefix_rewrite` or `regex_rewrite` (also those of a redirect);
    /// `None` if the route rewrites none. Where it is not `None` and Envoy's headers are not
    /// suppressed, the old path goes into `x-envoy-original-path`, even if both are equal.
    #[must_use]
    pub fn rewrite_path(&self, path: &[u8]) -> Option<RewrittenPath> {
        let entry = self.entry()?;
        let matcher = &entry.matcher.path;
        match &entry.action {
            Action::Forward(forward) => match forward.path_rewrite.as_ref()? {
                PathRewrite::Prefix(to) => Some(swap_matched(matcher, path, to)),
                PathRewrite::Regex(substitution) => {
                    Some(whole(path, |p| substitution.replace_all(p)))
                }
            },
            Action::Redirect(redirect) => match redirect.path.as_ref()? {
                RedirectPath::Path(_) => None,
                RedirectPath::Prefix(to) => Some(swap_matched(matcher, path, to)),
                RedirectPath::Regex(substitution) => {
                    let new = substitution.replace_all(path_before_query(path));
                    // An empty outcome counts as no rewrite, as in Envoy.
                    (!new.is_empty()).then(|| whole(path, |_| new))
                }
            },
            Action::DirectResponse(_) => None,
        }
    }

    /// The host that the route itself asks for; `None` leaves it. `input` holds the path before its
    /// own rewrite and the headers after the route's header changes. With
    /// [`HostRewrite::Auto`] the name of the chosen host counts, which only the router knows:
    /// [`RouteRef::rewrites_host_to_upstream`].
    fn rewrite_host<'a>(&'a self, input: &RouteInput<'a>) -> Option<Cow<'a, [u8]>> {
        let host = match self.forward()?.host_rewrite.as_ref()? {
            HostRewrite::Auto => return None,
            HostRewrite::Header(name) => Cow::Borrowed(input.field(name)?),
            HostRewrite::Literal(host) => Cow::Borrowed(host.as_bytes()),
            HostRewrite::PathRegex(substitution) => {
                Cow::Owned(substitution.replace_all(path_before_query(input.path)))
            }
        };
        (!host.is_empty()).then_some(host)
    }

    /// `auto_host_rewrite`: the host becomes the name of the upstream host that is chosen, if it
    /// has one; `append_x_forwarded_host` and `x-envoy-original-host` as for any host rewrite.
    #[must_use]
    pub fn rewrites_host_to_upstream(&self) -> bool {
        let rewrite = self.forward().and_then(|forward| forward.host_rewrite.as_ref());
        matches!(rewrite, Some(HostRewrite::Auto))
    }

    /// Everything that the route changes on a request before it goes upstream, in Envoy's order:
    /// the weighted cluster's headers and host, all levels' headers, the host, the path. `render`
    /// makes header values of formats with operators.
    pub fn finalize_request(
        &self,
        fields: &mut RequestFields<'_>,
        original: OriginalHeaders,
        render: &mut Render<'_>,
    ) {
        for edits in self.request_edits() {
            edits.apply(fields.headers, render);
        }
        // The weighted cluster's own host leaves no trace (Envoy sets it directly).
        let literal = self.cluster_weight().and_then(|weight| weight.host_rewrite.as_deref());
        if let Some(host) = literal.and_then(|host| HeaderValue::from_str(host).ok()) {
            *fields.authority = Some(host);
        }
        let host = self.rewrite_host(&fields.input()).map(Cow::into_owned);
        if let Some(host) = host.and_then(|host| HeaderValue::from_maybe_shared(host).ok()) {
            let append = self.forward().is_some_and(|forward| forward.append_x_forwarded_host);
            fields.set_host(host, append, original);
        }
        // CONNECT has none, and gets none.
        let path = Some(fields.path.as_bytes()).filter(|path| !path.is_empty());
        let path = path.and_then(|path| self.rewrite_path(path));
        if let Some(path) = path.and_then(|path| HeaderValue::from_maybe_shared(path).ok()) {
            let old = std::mem::replace(fields.path, path);
            if original == OriginalHeaders::Add {
                fields.headers.insert(HeaderName::from_static("x-envoy-original-path"), old);
            }
        }
    }
}

/// The fields of a request that a route may change.
#[derive(Debug)]
pub struct RequestFields<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:scheme`.
    pub scheme: &'a [u8],
    /// `:authority`.
    pub authority: &'a mut Option<HeaderValue>,
    /// `:path` with its query.
    pub path: &'a mut HeaderValue,
    /// All other fields.
    pub headers: &'a mut HeaderMap,
}

/// Whether rewrites leave `x-envoy-original-path` and `-host` (`suppress_envoy_headers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OriginalHeaders {
    /// They do.
    Add,
    /// They leave no trace.
    Suppress,
}

impl RequestFields<'_> {
    fn input(&self) -> RouteInput<'_> {
        RouteInput {
            authority: self.authority.as_ref().map(HeaderValue::as_bytes),
            path: self.path.as_bytes(),
            method: self.method,
            scheme: self.scheme,
            headers: self.headers,
            random: 0,
            runtime: &NoRuntime,
        }
    }

    /// Sets the host as a host rewrite does (also for `auto_host_rewrite`).
    pub fn set_host(&mut self, host: HeaderValue, append: bool, original: OriginalHeaders) {
        let Some(old) = self.authority.replace(host) else { return };
        if append {
            append_forwarded_host(self.headers, &old);
        }
        if original == OriginalHeaders::Add {
            self.headers.insert(HeaderName::from_static("x-envoy-original-host"), old);
        }
    }
}

/// Replaces what the matcher matched: its own text, or the whole path for an expression.
fn swap_matched(matcher: &PathMatcher, path: &[u8], to: &str) -> Vec<u8> {
    let matched = match matcher {
        PathMatcher::Exact(text, _)
        | PathMatcher::Prefix(text, _)
        | PathMatcher::Segments(text, _) => text.len(),
        PathMatcher::Connect | PathMatcher::Regex(_) => path_before_query(path).len(),
    };
    // A filter may have changed the path since the route was chosen.
    [to.as_bytes(), path.get(matched..).unwrap_or_default()].concat()
}

fn whole(path: &[u8], new: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let before = path_before_query(path);
    let mut out = new(before);
    out.extend_from_slice(&path[before.len()..]);
    out
}

/// `append_x_forwarded_host`: adds the host before its rewrite, unless it is the last one there.
pub fn append_forwarded_host(headers: &mut HeaderMap, host: &HeaderValue) {
    const NAME: HeaderName = HeaderName::from_static("x-forwarded-host");
    if host.is_empty() {
        return;
    }
    let Some(value) = headers.get(NAME).filter(|value| !value.is_empty()) else {
        headers.insert(NAME, host.clone());
        return;
    };
    let last = value.as_bytes().split(|&b| b == b',').rfind(|part| !part.is_empty());
    if last.is_some_and(|last| last != host.as_bytes()) {
        let joined = [value.as_bytes(), b",", host.as_bytes()].concat();
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(NAME, joined);
        }
    }
}
