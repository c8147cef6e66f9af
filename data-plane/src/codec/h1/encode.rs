//! Heads → bytes. Framing and hop fields are written by the codec alone: whatever stands in the
//! map under those names is skipped.
//!
//! Names and values come as `http` types, which cannot hold CR, LF or NUL; the path is one of them,
//! so that no configuration can split a message.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Version as HttpVersion, header};

use super::NameCase;
use super::chunked::forbidden_trailer;
use super::fields::{Special, special};
use super::framing::{Announce, parse_length};
use crate::codec::{RequestHead, ResponseHead, Version};

/// What the codec itself says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Nothing: the version's default holds.
    Default,
    /// `connection: close`.
    Close,
    /// `connection: keep-alive`, for HTTP/1.0.
    KeepAlive,
    /// `connection: upgrade`, as the upstream said it, and `upgrade`.
    Upgrade,
}

/// What a head's own fields say about its message, found while they are written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// The first `content-length`, if it is one.
    pub length: Option<u64>,
    /// The first `connection` names `close`.
    pub close: bool,
}

/// Writes a request's head but its end.
pub(super) fn request(
    out: &mut BytesMut,
    head: &RequestHead,
    case: NameCase,
    full_url: bool,
) -> Said {
    out.reserve(256 + head.path.len());
    out.put_slice(head.method.as_str().as_bytes());
    out.put_u8(b' ');
    let authority = head.authority.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    if head.method == Method::CONNECT {
        out.put_slice(authority);
    } else {
        if full_url {
            out.put_slice(head.scheme.as_ref().map_or(&b"http"[..], HeaderValue::as_bytes));
            out.put_slice(b"://");
            out.put_slice(authority);
        }
        out.put_slice(head.path.as_bytes());
    }
    out.put_slice(b" HTTP/1.1\r\n");
    field(out, "host", authority, case);
    fields(out, &head.headers, case)
}

/// Writes the end of a request's head.
pub(super) fn end_request(
    out: &mut BytesMut,
    head: &RequestHead,
    announce: Announce,
    case: NameCase,
) {
    announced(out, announce, case);
    if let Some(protocol) = &head.upgrade {
        upgrade(out, &head.headers, Some(protocol), case);
    }
    out.put_slice(b"\r\n");
}

/// The two fields of an upgrade, `connection` as the peer wrote it.
fn upgrade(
    out: &mut BytesMut,
    headers: &HeaderMap,
    protocol: Option<&HeaderValue>,
    case: NameCase,
) {
    let said = headers.get(header::CONNECTION).map_or(&b"upgrade"[..], HeaderValue::as_bytes);
    field(out, "connection", said, case);
    if let Some(protocol) = protocol {
        field(out, "upgrade", protocol.as_bytes(), case);
    }
}

/// Writes a response's head but its end, for a client of that version.
pub(super) fn response(
    out: &mut BytesMut,
    head: &ResponseHead,
    version: Version,
    case: NameCase,
) -> Said {
    out.reserve(256);
    out.put_slice(if version == Version::Http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.put_slice(head.status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(reason(head.status).as_bytes());
    out.put_slice(b"\r\n");
    fields(out, &head.headers, case)
}

/// Writes the end of a response's head.
pub(super) fn end_response(
    out: &mut BytesMut,
    head: &ResponseHead,
    (announce, persistence): (Announce, Persistence),
    case: NameCase,
) {
    announced(out, announce, case);
    if persistence == Persistence::Upgrade {
        upgrade(out, &head.headers, head.headers.get(header::UPGRADE), case);
    } else {
        connection(out, persistence, case);
    }
    out.put_slice(b"\r\n");
}

/// Writes trailers and the empty line after them.
pub(super) fn trailers(out: &mut BytesMut, map: &HeaderMap, case: NameCase) {
    for (name, value) in map {
        if !forbidden_trailer(name) {
            field(out, name.as_str(), value.as_bytes(), case);
        }
    }
    out.put_slice(b"\r\n");
}

fn fields(out: &mut BytesMut, map: &HeaderMap, case: NameCase) -> Said {
    let (mut length, mut close) = (None, None);
    for (name, value) in map {
        let name = name.as_str();
        match special(name.as_bytes()) {
            None | Some(Special::Te) => field(out, name, value.as_bytes(), case),
            Some(Special::ContentLength) => {
                length.get_or_insert_with(|| parse_length(value.as_bytes()));
            }
            Some(Special::Connection) => {
                close.get_or_insert_with(|| names_close(value));
            }
            Some(_) => {}
        }
    }
    Said { length: length.flatten(), close: close.unwrap_or_default() }
}

fn names_close(value: &HeaderValue) -> bool {
    let mut tokens = value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii);
    tokens.any(|t| t.eq_ignore_ascii_case(b"close"))
}

fn announced(out: &mut BytesMut, announce: Announce, case: NameCase) {
    match announce {
        Announce::Nothing => {}
        Announce::Chunked => field(out, "transfer-encoding", b"chunked", case),
        Announce::Length(n) => {
            let mut digits = [0; 20];
            field(out, "content-length", decimal(n, &mut digits), case);
        }
    }
}

fn connection(out: &mut BytesMut, persistence: Persistence, case: NameCase) {
    let value: &[u8] = match persistence {
        Persistence::Default | Persistence::Upgrade => return,
        Persistence::Close => b"close",
        Persistence::KeepAlive => b"keep-alive",
    };
    field(out, "connection", value, case);
}

fn field(out: &mut BytesMut, name: &str, value: &[u8], case: NameCase) {
    let name = name.as_bytes();
    out.reserve(name.len() + value.len() + 4);
    match case {
        NameCase::Lower => out.put_slice(name),
        NameCase::Proper => {
            let mut start = true;
            for &b in name {
                out.put_u8(if start { b.to_ascii_uppercase() } else { b });
                start = !b.is_ascii_alphanumeric();
            }
        }
    }
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Decimal digits of `n`, without the formatting machinery.
fn decimal(mut n: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &digits[at..];
        }
    }
}

/// A chunk's size line.
pub(super) fn chunk_size(out: &mut BytesMut, n: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut line = [0; 18];
    let mut at = line.len() - 2;
    line[at..].copy_from_slice(b"\r\n");
    let mut n = n;
    loop {
        at -= 1;
        line[at] = HEX[n & 15];
        n >>= 4;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&line[at..]);
}

impl From<Version> for HttpVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::Http10 => Self::HTTP_10,
            Version::Http11 => Self::HTTP_11,
            Version::Http2 => Self::HTTP_2,
        }
    }
}

/// The phrase that Envoy writes; codes that it does not know are `Unknown`. Its table differs from
/// the registered phrases in these.
fn reason(status: http::StatusCode) -> &'static str {
    match status.as_u16() {
        102 | 103 | 418 | 451 => "Unknown",
        203 => "Non-Authoritative Information",
        599 => "Last Unassigned Server Error Code",
        _ => status.canonical_reason().unwrap_or("Unknown"),
    }
}
