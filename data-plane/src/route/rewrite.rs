//! What `:path` and `:authority` become on their way upstream.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

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

    /// The host that the route itself asks for; `None` leaves it. `path` is the path before its own
    /// rewrite, `headers` are those after the route's header changes. With
    /// [`HostRewrite::Auto`] the name of the chosen host counts, which only the router knows:
    /// [`RouteRef::rewrites_host_to_upstream`].
    #[must_use]
    pub fn rewrite_host<'a>(
        &'a self,
        path: &[u8],
        headers: &'a HeaderMap,
    ) -> Option<Cow<'a, [u8]>> {
        if let Some(host) = self.cluster_weight().and_then(|weight| weight.host_rewrite.as_deref())
        {
            return Some(Cow::Borrowed(host.as_bytes()));
        }
        let host = match self.forward()?.host_rewrite.as_ref()? {
            HostRewrite::Auto => return None,
            HostRewrite::Header(name) => Cow::Borrowed(headers.get(name)?.as_bytes()),
            HostRewrite::Literal(host) => Cow::Borrowed(host.as_bytes()),
            HostRewrite::PathRegex(substitution) => {
                Cow::Owned(substitution.replace_all(path_before_query(path)))
            }
        };
        (!host.is_empty()).then_some(host)
    }

    /// `auto_host_rewrite`: the host becomes the name of the upstream host that is chosen.
    #[must_use]
    pub fn rewrites_host_to_upstream(&self) -> bool {
        let literal = self.cluster_weight().is_some_and(|weight| weight.host_rewrite.is_some());
        let auto = |host: &HostRewrite| matches!(host, HostRewrite::Auto);
        !literal && self.forward().and_then(|f| f.host_rewrite.as_ref()).is_some_and(auto)
    }
}

/// Replaces what the matcher matched: its own text, or the whole path for an expression.
fn swap_matched(matcher: &PathMatcher, path: &[u8], to: &str) -> Vec<u8> {
    let matched = match matcher {
        PathMatcher::Exact(text, _)
        | PathMatcher::Prefix(text, _)
        | PathMatcher::Segments(text, _) => text.len(),
        PathMatcher::Regex(_) => path_before_query(path).len(),
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
