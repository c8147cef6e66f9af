//! A request's place in a trace, as `traceparent` says it (W3C Trace Context §3.2).
//!
//! Read as Envoy's tracer reads it, which takes any version and capital digits.

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::TraceState;

use crate::http::names::{TRACEPARENT, TRACESTATE};
use crate::http::trace::{hex, text_value};

/// Length of the header.
const LENGTH: usize = 55;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) sampled: bool,
}

/// What a request brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// A header that says nothing.
    Broken,
    /// No header.
    Nothing,
    /// The caller's span.
    Parent(Context),
}

pub(super) fn brought(headers: &HeaderMap) -> Brought {
    match headers.get(TRACEPARENT) {
        None => Brought::Nothing,
        Some(value) => parse(value.as_bytes()).map_or(Brought::Broken, Brought::Parent),
    }
}

fn parse(value: &[u8]) -> Option<Context> {
    let dashes = [2, 35, 52].iter().all(|&at| value.get(at) == Some(&b'-'));
    if value.len() != LENGTH || !dashes {
        return None;
    }
    let _version: [u8; 1] = unhex(&value[..2])?;
    let trace_id = unhex(&value[3..35]).filter(|id| *id != [0; 16])?;
    let span_id = unhex(&value[36..52]).filter(|id| *id != [0; 8])?;
    let [flags] = unhex(&value[53..])?;
    Some(Context { trace_id, span_id, sampled: flags & 1 == 1 })
}

/// What other systems say; lines are joined.
pub(super) fn state(headers: &HeaderMap) -> TraceState {
    let lines: Vec<_> =
        headers.get_all(TRACESTATE).iter().filter_map(|line| line.to_str().ok()).collect();
    lines.join(",").parse().unwrap_or_default()
}

/// A trace id in the form that `traceparent` has.
pub(super) fn trace_id(text: &[u8]) -> Option<[u8; 16]> {
    let small = !text.iter().any(u8::is_ascii_uppercase);
    unhex(text).filter(|id| small && *id != [0; 16])
}

/// A trace id as logs say it.
pub(super) fn text(id: &[u8; 16]) -> Box<str> {
    String::from_utf8_lossy(&hex::<32>(id)).into()
}

/// The bytes of exactly `N` pairs of hex digits.
fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

impl Context {
    /// `traceparent`.
    pub(super) fn header(&self) -> HeaderValue {
        let mut parent = [b'-'; LENGTH];
        parent[..2].copy_from_slice(b"00");
        parent[3..35].copy_from_slice(&hex::<32>(&self.trace_id));
        parent[36..52].copy_from_slice(&hex::<16>(&self.span_id));
        parent[53..].copy_from_slice(if self.sampled { b"01" } else { b"00" });
        text_value(&parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_is_written_as_it_was_read() {
        let context = parse(PARENT.as_bytes()).unwrap();
        assert_eq!(context.header(), PARENT);
        assert!(context.sampled);
        let other = format!("{}00", &PARENT[..53]);
        assert!(!parse(other.as_bytes()).unwrap().sampled);
        let capital = parse(PARENT.to_uppercase().as_bytes()).unwrap();
        assert_eq!(capital, context);
    }

    #[test]
    fn what_is_no_header_is_none() {
        for bad in [
            "",
            "bad",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "0000af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
