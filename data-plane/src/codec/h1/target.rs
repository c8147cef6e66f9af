//! Request target and Host: which scheme, authority and path a request means (RFC 9112 §3.2).
//!
//! Stricter than Envoy where two readers could disagree about the host: user information, a comma
//! or a port that is no number in Host are refused. The path is passed on as it came; what it means
//! is for the path rules of the pipeline, which read it once for everybody.

use bytes::Bytes;
use http::{HeaderValue, Method};

use crate::codec::ProtocolError;

/// What a target says.
#[derive(Debug)]
pub(super) struct Target {
    /// `http` or `https` of an absolute-form.
    pub scheme: Option<HeaderValue>,
    /// Authority of an absolute- or authority-form; it overrides Host.
    pub authority: Option<HeaderValue>,
    /// Path and query; empty for CONNECT.
    pub path: HeaderValue,
}

/// Reads a target that `httparse` accepted (visible ASCII and bytes above 0x7f).
pub(super) fn target(
    text: Bytes,
    method: &Method,
    allow_absolute_url: bool,
) -> Result<Target, ProtocolError> {
    if *method == Method::CONNECT {
        return connect(text);
    }
    if !text.is_ascii() {
        return Err(ProtocolError::BadTarget);
    }
    match text.first() {
        Some(b'/') => Ok(Target { scheme: None, authority: None, path: value(text)? }),
        Some(b'*') if text.len() == 1 && *method == Method::OPTIONS => {
            Ok(Target { scheme: None, authority: None, path: HeaderValue::from_static("*") })
        }
        Some(b'*') => Err(ProtocolError::BadUrl),
        _ if allow_absolute_url => absolute(&text),
        _ => Err(ProtocolError::BadTarget),
    }
}

fn value(text: Bytes) -> Result<HeaderValue, ProtocolError> {
    HeaderValue::from_maybe_shared(text).map_err(|_| ProtocolError::BadTarget)
}

fn connect(text: Bytes) -> Result<Target, ProtocolError> {
    // authority-form: a port is a must (RFC 9112 §3.2.3).
    let colon = text.iter().rposition(|&b| b == b':').ok_or(ProtocolError::BadUrl)?;
    let port = std::str::from_utf8(&text[colon + 1..]).ok().and_then(|p| p.parse::<u16>().ok());
    if port.is_none() || colon == 0 || !valid_host(&text) {
        return Err(ProtocolError::BadUrl);
    }
    let authority = value(text)?;
    Ok(Target { scheme: None, authority: Some(authority), path: HeaderValue::from_static("") })
}

fn absolute(text: &Bytes) -> Result<Target, ProtocolError> {
    let colon = text.iter().position(|&b| b == b':').ok_or(ProtocolError::BadTarget)?;
    if !text[colon..].starts_with(b"://") {
        return Err(ProtocolError::BadTarget);
    }
    let scheme = match &text[..colon] {
        s if s.eq_ignore_ascii_case(b"http") => HeaderValue::from_static("http"),
        s if s.eq_ignore_ascii_case(b"https") => HeaderValue::from_static("https"),
        _ => return Err(ProtocolError::BadScheme),
    };
    let rest = text.slice(colon + 3..);
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let mut authority = rest.slice(..end);
    if let Some(at) = authority.iter().rposition(|&b| b == b'@') {
        // RFC 9110 §4.2.4: user information is nobody's business any more; Envoy drops it too.
        authority = authority.slice(at + 1..);
    }
    if authority.is_empty() || authority[0] == b':' || !valid_host(&authority) {
        return Err(ProtocolError::BadUrl);
    }
    let path = rest.slice(end..);
    let path = match path.first() {
        None => HeaderValue::from_static("/"),
        Some(b'/') => value(path)?,
        Some(_) => value([b"/", &path[..]].concat().into())?,
    };
    Ok(Target { scheme: Some(scheme), authority: Some(value(authority)?), path })
}

/// `uri-host [":" port]` of RFC 9110 §7.2, or nothing at all.
pub(super) fn valid_host(text: &[u8]) -> bool {
    let (host, port) = match text.first() {
        None => return true,
        Some(b'[') => {
            let Some(end) = text.iter().position(|&b| b == b']') else { return false };
            let inside = text[1..end]
                .iter()
                .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'%' | b'v' | b'V'));
            if !inside || end == 1 {
                return false;
            }
            (None, &text[end + 1..])
        }
        Some(_) => match text.iter().position(|&b| b == b':') {
            None => (Some(text), &b""[..]),
            Some(colon) => (Some(&text[..colon]), &text[colon..]),
        },
    };
    host.is_none_or(|h| h.iter().all(|b| HOST_BYTES[usize::from(*b)]))
        && match port.split_first() {
            None => true,
            Some((b':', digits)) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
            Some(_) => false,
        }
}

/// `reg-name` without the comma.
static HOST_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        let c = b as u8;
        table[b] = c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            );
        b += 1;
    }
    table
};
