//! Trace ids: `X-Trace-ID` of the seed and W3C `traceparent` beside it (contracts §5).
//!
//! Without a span of ours a `traceparent` goes through as it came: a new span id would orphan the
//! callers' trees, and a made-up sampling flag would overrule the services' own samplers.

use http::{HeaderMap, HeaderValue};

use crate::http::names::{TRACEPARENT, X_TRACE_ID};

/// Longest `X-Trace-ID` that is taken over.
const TRACE_ID_MAX: usize = 128;

/// The ids of one request.
#[derive(Clone, Debug)]
pub struct TraceIds {
    /// What `X-Trace-ID` and `trace_id` of the logs say.
    pub trace_id: HeaderValue,
    /// Trace id of the request's own `traceparent`, where it differs from `trace_id`.
    pub w3c_trace_id: Option<Box<str>>,
}

/// Whether a `traceparent` is started where the request brings none (`gomesh.trace_start`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceStart {
    /// It is.
    On,
    /// It is not.
    Off,
    /// Spans of ours say what the header is (`HttpConnectionManager.tracing`).
    Spans,
}

/// Takes the ids that a request brings, makes what is missing and writes what goes upstream.
/// `random` gives as many random bytes as it is asked for.
pub fn assign(
    headers: &mut HeaderMap,
    start: TraceStart,
    mut random: impl FnMut(&mut [u8]),
) -> TraceIds {
    // One walk spares three look-ups for a request that brings neither.
    let brought = headers.keys().any(|name| *name == X_TRACE_ID || *name == TRACEPARENT);
    let (mut given, mut parent) = (None, None);
    if brought {
        given = headers.get(X_TRACE_ID).filter(|v| is_trace_id(v.as_bytes())).cloned();
        parent = headers.get(TRACEPARENT).and_then(|v| trace_id_of(v.as_bytes()));
    }
    let parent = parent.map(str::to_owned);
    let trace_id = match (&given, &parent) {
        (Some(given), _) => given.clone(),
        (None, Some(parent)) => text_value(parent.as_bytes()),
        (None, None) => new_id(&mut random),
    };
    if given.is_none() {
        headers.insert(X_TRACE_ID, trace_id.clone());
    }
    if parent.is_none() && start != TraceStart::Spans {
        if brought {
            headers.remove(TRACEPARENT);
        }
        if start == TraceStart::On {
            let own = as_w3c(&trace_id).unwrap_or_else(|| new_id(&mut random));
            headers.insert(TRACEPARENT, new_parent(&own, &mut random));
        }
    }
    let w3c_trace_id = parent.filter(|p| p.as_bytes() != trace_id.as_bytes()).map(Into::into);
    TraceIds { trace_id, w3c_trace_id }
}

/// 1 to 128 visible ASCII characters.
fn is_trace_id(value: &[u8]) -> bool {
    (1..=TRACE_ID_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// The trace id of a valid `traceparent` (W3C Trace Context §3.2).
fn trace_id_of(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let mut fields = text.split('-');
    let (version, trace, span, flags) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let known = version == "00";
    if known && fields.next().is_some() {
        return None;
    }
    let hex = |field: &str, len| {
        field.len() == len && field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |field: &str| field.bytes().all(|b| b == b'0');
    let valid = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && hex(span, 16)
        && hex(flags, 2)
        && !zero(trace)
        && !zero(span);
    valid.then_some(trace)
}

/// The value itself where it may be a W3C trace id.
fn as_w3c(value: &HeaderValue) -> Option<HeaderValue> {
    let bytes = value.as_bytes();
    let hex = bytes.len() == 32 && bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (hex && bytes.iter().any(|&b| b != b'0')).then(|| value.clone())
}

fn new_id(random: &mut impl FnMut(&mut [u8])) -> HeaderValue {
    let mut bytes = [0; 16];
    random(&mut bytes);
    if bytes == [0; 16] {
        bytes[15] = 1;
    }
    text_value(&hex::<32>(&bytes))
}

fn new_parent(trace: &HeaderValue, random: &mut impl FnMut(&mut [u8])) -> HeaderValue {
    let mut span = [0; 8];
    random(&mut span);
    if span == [0; 8] {
        span[7] = 1;
    }
    let mut parent = [b'-'; 55];
    parent[..2].copy_from_slice(b"00");
    parent[3..35].copy_from_slice(trace.as_bytes());
    parent[36..52].copy_from_slice(&hex::<16>(&span));
    parent[53..].copy_from_slice(b"00");
    text_value(&parent)
}

/// Lower-case hex digits; `N` is twice the length.
pub(crate) fn hex<const N: usize>(bytes: &[u8]) -> [u8; N] {
    static PAIRS: [[u8; 2]; 256] = {
        let digits = b"0123456789abcdef";
        let mut pairs = [[0; 2]; 256];
        let mut n = 0;
        while n < 256 {
            pairs[n] = [digits[n >> 4], digits[n & 15]];
            n += 1;
        }
        pairs
    };
    let mut out = [b'0'; N];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&PAIRS[usize::from(*byte)]);
    }
    out
}

pub(super) fn text_value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn run(pairs: &[(&'static str, &str)], start: TraceStart) -> (HeaderMap, TraceIds) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let ids = assign(&mut headers, start, |bytes| bytes.fill(0xab));
        (headers, ids)
    }

    #[test]
    fn neither_makes_a_new_id_and_a_parent_only_when_asked() {
        let (headers, ids) = run(&[], TraceStart::Off);
        assert_eq!(ids.trace_id, "ab".repeat(16));
        assert_eq!(headers["x-trace-id"], ids.trace_id);
        assert!(!headers.contains_key("traceparent"));
        let (headers, _) = run(&[], TraceStart::On);
        assert_eq!(headers["traceparent"], format!("00-{}-{}-00", "ab".repeat(16), "ab".repeat(8)));
    }

    #[test]
    fn a_valid_parent_passes_and_names_the_trace() {
        let (headers, ids) = run(&[("traceparent", PARENT)], TraceStart::On);
        assert_eq!(headers["traceparent"], PARENT);
        assert_eq!(ids.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert!(ids.w3c_trace_id.is_none());
    }

    #[test]
    fn a_given_id_wins_and_the_other_is_logged() {
        let (headers, ids) =
            run(&[("traceparent", PARENT), ("x-trace-id", "my-trace-1")], TraceStart::On);
        assert_eq!(headers["x-trace-id"], "my-trace-1");
        assert_eq!(headers["traceparent"], PARENT);
        assert_eq!(ids.w3c_trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    }

    #[test]
    fn a_given_id_of_32_hex_digits_becomes_the_started_trace() {
        let id = "0123456789abcdef0123456789abcdef";
        let (headers, _) = run(&[("x-trace-id", id)], TraceStart::On);
        assert!(headers["traceparent"].to_str().unwrap().starts_with(&format!("00-{id}-")));
        let (headers, _) = run(&[("x-trace-id", "short")], TraceStart::On);
        assert!(headers["traceparent"].to_str().unwrap().starts_with("00-abab"));
    }

    #[test]
    fn invalid_values_are_replaced_as_if_absent() {
        for bad in [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-xyz",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            let (headers, ids) = run(&[("traceparent", bad)], TraceStart::Off);
            assert_eq!(ids.trace_id, "ab".repeat(16), "{bad}");
            assert!(!headers.contains_key("traceparent"));
        }
        let long = "x".repeat(129);
        let (headers, _) = run(&[("x-trace-id", &long)], TraceStart::Off);
        assert_eq!(headers["x-trace-id"], "ab".repeat(16));
    }
}
