//! Header changes of one level, compiled: what they do to a message's fields.
//!
//! Removals come first, then the additions in their order (Envoy's `HeaderParser`). A value without
//! `%` is made once, when the table is built; others are formats whose facts only the caller
//! knows, so it renders them. Names with a colon and `host` cannot stand here: the configuration
//! refuses them.

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::header_mutation::{AppendAction, EmptyValue, HeaderValueOption};
use crate::telemetry::access_log::{Empty, Format};

/// The changes of one level to one side's headers.
#[derive(Clone, Debug)]
pub struct HeaderEdits {
    side: Side,
    remove: Vec<HeaderName>,
    add: Vec<Addition>,
}

#[derive(Clone, Debug)]
struct Addition {
    name: HeaderName,
    value: Value,
    action: AppendAction,
    empty: EmptyValue,
}

#[derive(Clone, Debug)]
enum Value {
    Format(Box<Format>),
    Static(HeaderValue),
}

impl HeaderEdits {
    /// Compiles the two lists of one level.
    #[must_use]
    pub fn new(side: Side, remove: &[HeaderName], add: &[HeaderValueOption]) -> Self {
        let add = add.iter().map(|option| Addition {
            name: option.name.clone(),
            value: Value::new(&option.value),
            action: option.append_action,
            empty: option.keep_empty_value,
        });
        Self { side, remove: remove.to_vec(), add: add.collect() }
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Changes `headers`. What a rendered value may not hold in a header drops the header.
    pub fn apply(&self, headers: &mut HeaderMap, render: &mut Render<'_>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for addition in &self.add {
            if let Some(value) = addition.value(render, headers) {
                put(headers, &addition.name, value, addition.action, self.side);
            }
        }
    }

    /// What would be added to fields that are not there yet.
    pub fn additions(
        &self,
        render: &mut Render<'_>,
    ) -> Vec<(HeaderName, HeaderValue, AppendAction)> {
        let none = HeaderMap::new();
        let add = self.add.iter();
        add.filter_map(|a| Some((a.name.clone(), a.value(render, &none)?, a.action))).collect()
    }
}

impl Addition {
    /// Nothing where the value may not stand in a header, or is empty and not kept.
    fn value(&self, render: &mut Render<'_>, headers: &HeaderMap) -> Option<HeaderValue> {
        let value = match &self.value {
            Value::Static(value) => value.clone(),
            Value::Format(format) => {
                HeaderValue::from_maybe_shared(render(format, headers)).ok()?
            }
        };
        (!value.is_empty() || self.empty == EmptyValue::Keep).then_some(value)
    }
}

/// Makes a value of a format with operators: the caller fills an
/// [`Entry`](crate::telemetry::access_log::Entry) with what it knows and with the headers handed
/// in, which are as they stand at that moment.
pub type Render<'r> = dyn FnMut(&Format, &HeaderMap) -> Vec<u8> + 'r;

const EMPTY: HeaderValue = HeaderValue::from_static("");

impl Value {
    fn new(text: &str) -> Self {
        // The configuration was refused if it does not compile; the text itself is the safe rest.
        let Ok(format) = Format::text(text, Empty::Omit) else {
            return Self::Static(HeaderValue::from_str(text).unwrap_or(EMPTY));
        };
        match format.constant().map(HeaderValue::from_bytes) {
            Some(value) => Self::Static(value.unwrap_or(EMPTY)),
            None => Self::Format(Box::new(format)),
        }
    }
}

/// Adds or sets one field.
pub fn put(
    headers: &mut HeaderMap,
    name: &HeaderName,
    value: HeaderValue,
    action: AppendAction,
    side: Side,
) {
    match (action, headers.entry(name)) {
        (AppendAction::OverwriteIfExists, Entry::Vacant(_))
        | (AppendAction::AddIfAbsent, Entry::Occupied(_)) => {}
        (_, Entry::Vacant(entry)) => {
            entry.insert(value);
        }
        (AppendAction::AppendIfExistsOrAdd, Entry::Occupied(mut entry)) => {
            if is_single(name, side) {
                let joined = [entry.get().as_bytes(), b",", value.as_bytes()].concat();
                if let Ok(joined) = HeaderValue::from_bytes(&joined) {
                    entry.insert(joined);
                }
            } else {
                entry.append(value);
            }
        }
        (_, Entry::Occupied(mut entry)) => {
            entry.insert(value);
        }
    }
}

/// Whether Envoy keeps one field of that name and joins several values with a comma (its
/// predefined inline headers, which differ between requests and responses).
#[must_use]
pub fn is_single(name: &HeaderName, side: Side) -> bool {
    let names = match side {
        Side::Request => REQUEST,
        Side::Response => RESPONSE,
    };
    names.binary_search(&name.as_str()).is_ok()
}

/// Which message's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The request's.
    Request,
    /// The response's.
    Response,
}

// Sorted. Envoy 1.40.0 was asked for each of some 140 names; those that it takes off before a route
// could add to them are known from its documentation.
const REQUEST: &[&str] = &[
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authorization",
    "cache-control",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "pragma",
    "proxy-connection",
    "proxy-status",
    "referer",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-is-timeout-retry",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

const RESPONSE: &[&str] = &[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "keep-alive",
    "last-modified",
    "location",
    "proxy-connection",
    "proxy-status",
    "server",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-service-time",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        assert!(REQUEST.is_sorted() && RESPONSE.is_sorted());
    }

    #[test]
    fn what_envoy_keeps_as_one_is_joined() {
        let mut headers = HeaderMap::new();
        for value in ["a", "b"] {
            for name in ["accept", "vary", "x-own"] {
                let name = HeaderName::from_static(name);
                let value = HeaderValue::from_static(value);
                let action = AppendAction::AppendIfExistsOrAdd;
                put(&mut headers, &name, value, action, Side::Request);
            }
        }
        let count = |name: &str| headers.get_all(name).iter().count();
        assert_eq!((count("accept"), count("vary"), count("x-own")), (1, 2, 2));
        assert_eq!(headers["accept"], "a,b");
    }
}
