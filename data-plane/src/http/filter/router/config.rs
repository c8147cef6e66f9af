//! `envoy.extensions.filters.http.router.v3.Router`.

use proto::envoy::extensions::filters::http::router::v3 as pb;
use proto::rules::PolicyRow;

use super::MESSAGE;

/// What a chain says about its router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterConfig {
    /// `suppress_envoy_headers`: neither upstream nor client is told anything in `x-envoy-*`.
    pub suppress_envoy_headers: bool,
    /// `start_child_span`: each attempt has a span of its own.
    pub start_child_span: bool,
}

/// The fields that are built.
pub(super) const ROWS: &[PolicyRow<'static>] =
    &[(MESSAGE, &["suppress_envoy_headers", "start_child_span"], &[])];

/// The router.
#[expect(deprecated, reason = "start_child_span is still sent")]
pub(super) const fn parse(message: &pb::Router) -> RouterConfig {
    RouterConfig {
        suppress_envoy_headers: message.suppress_envoy_headers,
        start_child_span: message.start_child_span,
    }
}
