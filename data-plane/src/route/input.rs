//! What the choice of a route looks at.

use http::{HeaderMap, HeaderValue};

use crate::config::route::HeaderRef;

/// A request, as far as the choice of a route looks at it.
#[derive(Clone, Copy)]
pub struct RouteInput<'a> {
    /// `:authority`; `None` only where the version allows a request without one.
    pub authority: Option<&'a [u8]>,
    /// `:path` with its query; empty if there is none: plain CONNECT, and nothing else.
    pub path: &'a [u8],
    /// `:method`; empty where no request could be read.
    pub method: &'a [u8],
    /// `:scheme`.
    pub scheme: &'a [u8],
    /// All other fields. `x-forwarded-proto` and `x-envoy-internal` in it decide about
    /// `require_tls`, so they must have been sanitized before.
    pub headers: &'a HeaderMap,
    /// The request's random number: the same for every look-up of one request.
    pub random: u64,
    /// Runtime keys of this moment.
    pub runtime: &'a dyn RuntimeKeys,
}

impl<'a> RouteInput<'a> {
    /// The first value of a field.
    #[must_use]
    pub fn field(&self, name: &HeaderRef) -> Option<&'a [u8]> {
        match name {
            HeaderRef::Authority => self.authority,
            HeaderRef::Method => Some(self.method).filter(|method| !method.is_empty()),
            HeaderRef::Name(name) => self.headers.get(name).map(HeaderValue::as_bytes),
            HeaderRef::Path => Some(self.path).filter(|path| !path.is_empty()),
            HeaderRef::Scheme => Some(self.scheme).filter(|scheme| !scheme.is_empty()),
            HeaderRef::Unknown(_) => None,
        }
    }
}

/// Look-ups in the runtime layers.
pub trait RuntimeKeys: Sync {
    /// The value under `key`, if it is an unsigned integer.
    fn integer(&self, key: &str) -> Option<u64>;

    /// The value under `key` as numerator and denominator. An integer is a percentage; what is
    /// above 100 counts as 100.
    fn fraction(&self, key: &str) -> Option<(u32, u32)> {
        let percent = self.integer(key)?.min(100);
        Some((u32::try_from(percent).unwrap_or(100), 100))
    }
}

/// No key is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRuntime;

impl RuntimeKeys for NoRuntime {
    fn integer(&self, _: &str) -> Option<u64> {
        None
    }
}
