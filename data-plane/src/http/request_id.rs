//! `x-request-id`: a random UUID (RFC 9562 version 4) made at the edge.
//!
//! As Envoy's `UuidRequestIdConfig`: an id that came from outside is replaced at an edge unless it
//! is to be preserved; the digit that carries the trace decision then says "no trace".

use http::HeaderValue;

use crate::codec::RequestHead;
use crate::config::http_manager::RequestIdConfig;
use crate::http::names::X_REQUEST_ID;
use crate::http::trace::hex;

/// Place of the version digit, which Envoy uses for its trace decision.
pub(super) const DECISION: usize = 14;

/// Where a request comes from, as far as its id is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From an external client to an edge.
    Edge,
    /// From anywhere else.
    Inside,
}

/// Sets the id that goes upstream; without `brought` the request has none, which spares a look.
pub fn assign(
    head: &mut RequestHead,
    config: &RequestIdConfig,
    origin: Origin,
    brought: bool,
    random: impl FnOnce(&mut [u8]),
) {
    let given = if brought { head.headers.get(X_REQUEST_ID) } else { None };
    let given = given.filter(|v| !v.is_empty());
    let replace = origin == Origin::Edge && !config.preserve_external;
    match given {
        Some(id) if !replace && origin == Origin::Edge && config.pack_trace_reason => {
            let untraced = without_decision(id);
            head.headers.insert(X_REQUEST_ID, untraced);
        }
        Some(_) if !replace => {}
        _ if config.generate => {
            head.headers.insert(X_REQUEST_ID, new_id(random));
        }
        _ => {}
    }
}

/// A client outside does not decide on tracing: the digit becomes that of a plain id.
fn without_decision(id: &HeaderValue) -> HeaderValue {
    let mut bytes = id.as_bytes().to_vec();
    let is_uuid = bytes.len() == 36 && [8, 13, 18, 23].iter().all(|&at| bytes[at] == b'-');
    if is_uuid && matches!(bytes[DECISION], b'9' | b'a' | b'b') {
        bytes[DECISION] = b'4';
    }
    HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| id.clone())
}

fn new_id(random: impl FnOnce(&mut [u8])) -> HeaderValue {
    let mut bytes = [0; 16];
    random(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::<32>(&bytes);
    let mut text = [b'-'; 36];
    for (range, from) in [(0..8, 0), (9..13, 8), (14..18, 12), (19..23, 16), (24..36, 20)] {
        let len = range.len();
        text[range].copy_from_slice(&digits[from..from + len]);
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Version;
    use http::{HeaderMap, Method};

    const CONFIG: RequestIdConfig = RequestIdConfig {
        generate: true,
        preserve_external: false,
        always_set_in_response: false,
        pack_trace_reason: true,
        use_for_trace_sampling: true,
    };

    fn run(id: Option<&str>, config: RequestIdConfig, origin: Origin) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(id) = id {
            headers.insert(X_REQUEST_ID, id.parse().unwrap());
        }
        let mut head = RequestHead {
            method: Method::GET,
            scheme: None,
            authority: None,
            path: HeaderValue::from_static("/"),
            version: Version::Http11,
            headers,
            ends: true,
            upgrade: None,
        };
        assign(&mut head, &config, origin, id.is_some(), |bytes| bytes.fill(0xff));
        head.headers.get(X_REQUEST_ID).map(|v| v.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_missing_id_is_made_as_a_uuid_of_version_4() {
        let made = "ffffffff-ffff-4fff-bfff-ffffffffffff";
        assert_eq!(run(None, CONFIG, Origin::Inside).as_deref(), Some(made));
        assert_eq!(run(Some("mine"), CONFIG, Origin::Edge).as_deref(), Some(made));
        assert_eq!(run(None, RequestIdConfig { generate: false, ..CONFIG }, Origin::Edge), None);
    }

    #[test]
    fn an_inner_or_preserved_id_stays_without_an_outside_trace_decision() {
        assert_eq!(run(Some("mine"), CONFIG, Origin::Inside).as_deref(), Some("mine"));
        let keep = RequestIdConfig { preserve_external: true, ..CONFIG };
        let traced = "a6b8e7f0-1111-a222-8333-444455556666";
        assert_eq!(
            run(Some(traced), keep, Origin::Edge).as_deref(),
            Some("a6b8e7f0-1111-4222-8333-444455556666")
        );
        assert_eq!(run(Some(traced), keep, Origin::Inside).as_deref(), Some(traced));
    }
}
