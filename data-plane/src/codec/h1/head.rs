//! Bytes → heads. One pass of `httparse` finds the fields, a second over the fields makes names
//! and slices of the read buffer; a head without special fields is not touched again.
//!
//! A head that comes in crumbs is parsed again only when a line was completed or the amount
//! doubled, so that a byte at a time costs no quadratic work. The verdict never depends on how the
//! bytes were cut: only the first `max_head_bytes` + 1 are looked at, and a bad head is named after
//! its first offending byte.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use httparse::{Error, Header, ParserConfig, Status};

use super::fields::{Hop, Special};
use super::framing::{Asked, Framing};
use super::spare::{Span, Spans, SpareHeads};
use super::target::{Target, target, valid_host};
use super::{ClientOptions, ServerOptions, Underscores};
use crate::codec::{ProtocolError, RequestHead, ResponseHead, Version};

/// How far a head was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    seen: usize,
    tried: usize,
}

impl Scan {
    /// Whether parsing may say something new.
    fn due(&mut self, buf: &[u8], limit: usize) -> bool {
        let fresh = &buf[self.seen.min(buf.len())..];
        let grown = self.tried == 0 || buf.len() >= self.tried * 2 || buf.len() > limit;
        let due = grown || fresh.contains(&b'\n');
        self.seen = buf.len();
        if due {
            self.tried = buf.len();
        }
        due && !buf.is_empty()
    }
}

/// What came of a look at the buffer.
#[derive(Debug)]
pub enum Step<T> {
    /// More bytes are needed.
    More,
    /// A message's head, taken off the buffer.
    Done(T),
    /// It breaks the protocol; for a request, with as much of the head as was understood.
    Bad(ProtocolError, Option<Box<RequestHead>>),
}

/// A request's head and what the connection must know of it.
#[derive(Debug)]
pub struct ParsedRequest {
    /// The head, ready to be handed on.
    pub head: Box<RequestHead>,
    /// How its body ends.
    pub framing: Framing,
    /// Another request may follow.
    pub keep_alive: bool,
}

/// A response's head and what the connection must know of it.
#[derive(Debug)]
pub struct ParsedResponse {
    /// The head, ready to be handed on.
    pub head: ResponseHead,
    /// How its body ends.
    pub framing: Framing,
    /// The connection may be used again.
    pub keep_alive: bool,
}

/// Fields up to this many are parsed without an allocation.
const STACK_FIELDS: usize = 128;

fn offset(base: &[u8], part: &[u8]) -> (usize, usize) {
    // Empty slices may point anywhere.
    let start = (part.as_ptr() as usize).wrapping_sub(base.as_ptr() as usize);
    if part.is_empty() { (0, 0) } else { (start, start + part.len()) }
}

fn spans(
    base: &[u8],
    fields: &[Header<'_>],
    underscores: Underscores,
    spare: &SpareHeads,
) -> Result<Spans, ProtocolError> {
    let mut spans = spare.take_spans();
    for field in fields {
        let bytes = field.name.as_bytes();
        if underscores != Underscores::Allow && bytes.contains(&b'_') {
            match underscores {
                Underscores::Reject => return Err(ProtocolError::UnderscoreHeader),
                _ => continue,
            }
        }
        let (name, kind) = spare.name(bytes)?;
        spans.push(Span { kind, name, value: offset(base, field.value) });
    }
    Ok(spans)
}

/// A request line's parts: method, target's place, minor version.
type Line = (Method, (usize, usize), Version);

enum Scanned<L> {
    More,
    Bad(ProtocolError),
    Whole { len: usize, line: L, spans: Result<Spans, ProtocolError> },
}

fn scan_request(buf: &[u8], opts: &ServerOptions, spare: &SpareHeads) -> Scanned<Line> {
    let most = opts.max_headers_count;
    let mut stack = [const { MaybeUninit::uninit() }; STACK_FIELDS];
    let mut heap = Vec::new();
    let slots = slots(&mut stack, &mut heap, most);
    let mut request = httparse::Request::new(&mut []);
    let parsed =
        ParserConfig::default().parse_request_with_uninit_headers(&mut request, buf, slots);
    let len = match parsed {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Scanned::More,
        Err(Error::TooManyHeaders) => return Scanned::Bad(ProtocolError::TooManyHeaders),
        Err(_) => return Scanned::Bad(blame_request(buf)),
    };
    let (Some(method), Some(path), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Scanned::Bad(ProtocolError::BadRequestLine);
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    match Method::from_bytes(method.as_bytes()) {
        Ok(method) => Scanned::Whole {
            len,
            line: (method, offset(buf, path.as_bytes()), version),
            spans: spans(buf, request.headers, opts.underscores, spare),
        },
        Err(_) => Scanned::Bad(ProtocolError::BadMethod),
    }
}

fn slots<'a, 'b>(
    stack: &'a mut [MaybeUninit<Header<'b>>; STACK_FIELDS],
    heap: &'a mut Vec<MaybeUninit<Header<'b>>>,
    most: usize,
) -> &'a mut [MaybeUninit<Header<'b>>] {
    if most <= STACK_FIELDS {
        &mut stack[..most]
    } else {
        heap.resize(most, MaybeUninit::uninit());
        heap
    }
}

/// A head that was taken off the buffer.
struct Whole<L> {
    bytes: Bytes,
    line: L,
    spans: Result<Spans, ProtocolError>,
}

/// Takes a head of at most `limit` bytes off `buf`; `None` while it is not whole. Both roles decide
/// here when a head is too large.
fn whole<L>(
    buf: &mut BytesMut,
    scan: &mut Scan,
    limit: usize,
    scan_head: impl FnOnce(&[u8]) -> Scanned<L>,
) -> Result<Option<Whole<L>>, ProtocolError> {
    skip_empty_lines(buf, scan);
    if !scan.due(buf, limit) {
        return Ok(None);
    }
    let seen = buf.len().min(limit + 1);
    match scan_head(&buf[..seen]) {
        Scanned::More if buf.len() > limit => Err(ProtocolError::HeadersTooLarge),
        Scanned::More => Ok(None),
        Scanned::Bad(error) => Err(error),
        Scanned::Whole { len, .. } if len > limit => Err(ProtocolError::HeadersTooLarge),
        Scanned::Whole { len, line, spans } => {
            *scan = Scan::default();
            Ok(Some(Whole { bytes: buf.split_to(len).freeze(), line, spans }))
        }
    }
}

/// Takes a request's head off `buf`, if it is whole.
pub fn parse_request(
    buf: &mut BytesMut,
    scan: &mut Scan,
    opts: &ServerOptions,
    spare: &SpareHeads,
) -> Step<ParsedRequest> {
    match whole(buf, scan, opts.max_head_bytes, |seen| scan_request(seen, opts, spare)) {
        Ok(Some(Whole { bytes, line, spans })) => request(&bytes, line, spans, opts, spare),
        Ok(None) => Step::More,
        Err(error) => Step::Bad(error, None),
    }
}

fn request(
    bytes: &Bytes,
    line: Line,
    spans: Result<Spans, ProtocolError>,
    opts: &ServerOptions,
    spare: &SpareHeads,
) -> Step<ParsedRequest> {
    let (method, path, version) = line;
    if version == Version::Http10 && !opts.accept_http_10 {
        return Step::Bad(ProtocolError::Http10NotAccepted, None);
    }
    if !opts.allow_custom_methods && !known(&method) {
        return Step::Bad(ProtocolError::BadMethod, None);
    }
    let text = bytes.slice(path.0..path.1);
    let Target { scheme, authority, path } = match target(text, &method, opts.allow_absolute_url) {
        Ok(target) => target,
        Err(error) => return Step::Bad(error, None),
    };
    let spans = match spans {
        Ok(spans) => spans,
        Err(error) => return Step::Bad(error, None),
    };
    let mut head = Box::new(RequestHead {
        method,
        scheme,
        authority,
        path,
        version,
        headers: spare.take_map(),
        ends: false,
        upgrade: None,
    });
    match complete(bytes, spans, &mut head, opts, spare) {
        Ok((framing, keep_alive)) => Step::Done(ParsedRequest { head, framing, keep_alive }),
        Err(error) => Step::Bad(error, Some(head)),
    }
}

/// Fills in the fields and draws the conclusions.
fn complete(
    bytes: &Bytes,
    spans: Spans,
    head: &mut RequestHead,
    opts: &ServerOptions,
    spare: &SpareHeads,
) -> Result<(Framing, bool), ProtocolError> {
    let mut hop = Hop::default();
    let mut host = None;
    gather(bytes, spans, spare, &mut head.headers, |kind, value| match kind {
        Special::Host if host.is_some() => Err(ProtocolError::BadHost),
        Special::Host => {
            host = Some(value);
            Ok(())
        }
        _ => hop.take(kind, &value),
    })?;
    if let Some(host) = host {
        if !valid_host(host.as_bytes()) {
            return Err(ProtocolError::BadHost);
        }
        head.authority.get_or_insert(host);
    }
    let allowed = opts.allow_chunked_length;
    let framing = hop.framing.of_request(head.version, &head.method, allowed)?;
    keep_length(framing, bytes_of_length(framing), &mut head.headers);
    hop.apply(&mut head.headers);
    if head.authority.is_none() && head.version == Version::Http10 {
        head.authority.clone_from(&opts.default_host_for_http_10);
    }
    // With chunks nobody could say where the request ends and the tunnel begins: no upgrade then.
    if hop.speaks_of_upgrade()
        && head.version == Version::Http11
        && head.method != Method::CONNECT
        && framing != Framing::Chunked
    {
        upgrade_fields(&mut hop, &mut head.headers, &mut head.upgrade);
    }
    let body = !matches!(framing, Framing::Empty | Framing::Length(0));
    head.ends = !body && !Asked::of(head).may_tunnel();
    let persistent = match head.version {
        Version::Http10 => hop.keep_alive,
        _ => true,
    };
    if head.authority.is_none() {
        return Err(ProtocolError::MissingHost);
    }
    Ok((framing, persistent && !hop.close && !hop.framing.conflict()))
}

/// Puts the two fields that ask for an upgrade, or agree to it, among the others.
fn upgrade_fields(hop: &mut Hop, headers: &mut HeaderMap, upgrade: &mut Option<HeaderValue>) {
    if let Some((connection, protocol)) = hop.upgrade_to() {
        headers.insert(header::CONNECTION, connection);
        headers.insert(header::UPGRADE, protocol.clone());
        *upgrade = Some(protocol);
    }
}

fn bytes_of_length(framing: Framing) -> Option<u64> {
    if let Framing::Length(n) = framing { Some(n) } else { None }
}

/// A valid `content-length` stays among the fields, as it is the message's own.
fn keep_length(framing: Framing, length: Option<u64>, headers: &mut HeaderMap) {
    if let (Framing::Length(_), Some(n)) = (framing, length) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(n));
    }
}

/// Puts plain fields into `headers` and gives special ones to `take`.
fn gather(
    bytes: &Bytes,
    mut spans: Spans,
    spare: &SpareHeads,
    headers: &mut HeaderMap,
    mut take: impl FnMut(Special, HeaderValue) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    for span in spans.drain(..) {
        let value = HeaderValue::from_maybe_shared(bytes.slice(span.value.0..span.value.1))
            .map_err(|_| ProtocolError::BadCharacter)?;
        match span.kind {
            None => {
                let added = headers.try_append(span.name, value);
                added.map_err(|_| ProtocolError::TooManyHeaders)?;
            }
            Some(kind) => take(kind, value)?,
        }
    }
    spare.give_spans(spans);
    Ok(())
}

/// Takes a response's head off `buf`, if it is whole.
pub(super) fn parse_answer(
    buf: &mut BytesMut,
    scan: &mut Scan,
    opts: &ClientOptions,
    asked: Asked,
    spare: &SpareHeads,
) -> Step<ParsedResponse> {
    let scan_head = |seen: &_| scan_response(seen, opts, spare);
    let whole = match whole(buf, scan, opts.max_head_bytes, scan_head) {
        Ok(Some(whole)) => whole,
        Ok(None) => return Step::More,
        Err(error) => return Step::Bad(error, None),
    };
    let Whole { bytes, line: (status, version), spans } = whole;
    let parsed = spans.and_then(|spans| {
        let head = ResponseHead { status, version, headers: spare.take_map(), ends: false };
        answer(&bytes, spans, head, asked, opts.allow_chunked_length, spare)
    });
    parsed.map_or_else(|error| Step::Bad(error, None), Step::Done)
}

/// Takes the response to an ordinary request off `buf`, if it is whole.
pub fn parse_response(
    buf: &mut BytesMut,
    scan: &mut Scan,
    opts: &ClientOptions,
    spare: &SpareHeads,
) -> Step<ParsedResponse> {
    parse_answer(buf, scan, opts, Asked::Plain, spare)
}

fn scan_response(
    buf: &[u8],
    opts: &ClientOptions,
    spare: &SpareHeads,
) -> Scanned<(StatusCode, Version)> {
    let mut stack = [const { MaybeUninit::uninit() }; STACK_FIELDS];
    let mut heap = Vec::new();
    let slots = slots(&mut stack, &mut heap, opts.max_headers_count);
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut response, buf, slots);
    let len = match parsed {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Scanned::More,
        Err(Error::TooManyHeaders) => return Scanned::Bad(ProtocolError::TooManyHeaders),
        Err(Error::Status | Error::Token | Error::Version) => {
            return Scanned::Bad(ProtocolError::BadStatusLine);
        }
        Err(_) => return Scanned::Bad(ProtocolError::BadHeader),
    };
    let version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
    match response.code.map(StatusCode::from_u16) {
        Some(Ok(status)) if status.as_u16() < 600 => Scanned::Whole {
            len,
            line: (status, version),
            spans: spans(buf, response.headers, Underscores::Allow, spare),
        },
        _ => Scanned::Bad(ProtocolError::BadStatusLine),
    }
}

fn answer(
    bytes: &Bytes,
    spans: Spans,
    mut head: ResponseHead,
    asked: Asked,
    allow_chunked_length: bool,
    spare: &SpareHeads,
) -> Result<ParsedResponse, ProtocolError> {
    let mut hop = Hop::default();
    let mut length = None;
    gather(bytes, spans, spare, &mut head.headers, |kind, value| {
        hop.take(kind, &value)?;
        if kind == Special::ContentLength {
            length = Some(value);
        }
        Ok(())
    })?;
    let framing = hop.framing.of_response(head.status, asked, allow_chunked_length)?;
    // HEAD and 304 tell the length that a GET would have had.
    let told = matches!(framing, Framing::Length(_))
        || (framing == Framing::Empty && !hop.framing.conflict());
    if let Some(length) = length.filter(|_| told) {
        head.headers.insert(header::CONTENT_LENGTH, length);
    }
    // `te` means nothing in an answer.
    hop.te_trailers = false;
    hop.apply(&mut head.headers);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        upgrade_fields(&mut hop, &mut head.headers, &mut None);
    }
    head.ends = matches!(framing, Framing::Empty | Framing::Length(0));
    let persistent = match head.version {
        Version::Http10 => hop.keep_alive && framing != Framing::Chunked,
        _ => true,
    } && !matches!(framing, Framing::UntilClose | Framing::Tunnel);
    let keep_alive = persistent && !hop.close && !hop.framing.conflict();
    Ok(ParsedResponse { head, framing, keep_alive })
}

/// Empty lines before a head are nobody's (RFC 9112 §2.2); they are not kept, or they would count.
fn skip_empty_lines(buf: &mut BytesMut, scan: &mut Scan) {
    let mut empty = 0;
    loop {
        match &buf[empty..] {
            [b'\r', b'\n', ..] => empty += 2,
            [b'\n', ..] => empty += 1,
            _ => break,
        }
    }
    if empty > 0 {
        buf.advance(empty);
        *scan = Scan::default();
    }
}

/// The methods that Envoy knows.
fn known(method: &Method) -> bool {
    match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS
        | Method::CONNECT
        | Method::PATCH
        | Method::TRACE => true,
        ref other => OTHER_METHODS.contains(&other.as_str()),
    }
}

const OTHER_METHODS: [&str; 25] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "MSEARCH",
    "NOTIFY",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// Why `httparse` refused a request: the rule that the first offending byte breaks. Only bad heads
/// come here.
fn blame_request(buf: &[u8]) -> ProtocolError {
    let line_end = buf.iter().position(|&b| b == b'\n');
    let line = &buf[..line_end.unwrap_or(buf.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if let Some(error) = blame_line(line, line_end.is_some()) {
        return error;
    }
    // A field line: a control character, or no field line at all.
    for line in buf[line_end.map_or(buf.len(), |end| end + 1)..].split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let name = line.iter().position(|&b| b == b':');
        let token = |b: &u8| token(*b);
        let end = name.unwrap_or(line.len());
        match line[..end].iter().position(|b| !token(b)) {
            Some(at) if control(line[at]) => return ProtocolError::BadCharacter,
            Some(_) => return ProtocolError::BadHeader,
            None if end == 0 && name.is_some() => return ProtocolError::BadHeader,
            None => {}
        }
        if line[end..].iter().any(|&b| control(b)) {
            return ProtocolError::BadCharacter;
        }
    }
    ProtocolError::BadHeader
}

fn blame_line(line: &[u8], whole: bool) -> Option<ProtocolError> {
    let mut parts = line.splitn(3, |&b| b == b' ');
    let method = parts.next().unwrap_or_default();
    if let Some(at) = method.iter().position(|&b| !token(b)) {
        // Envoy looks at the first byte by itself: what no method begins with is no request.
        let odd = at > 0 && control(method[at]);
        return Some(if odd { ProtocolError::BadCharacter } else { ProtocolError::BadMethod });
    }
    if method.is_empty() {
        return Some(ProtocolError::BadRequestLine);
    }
    let target = parts.next().unwrap_or_default();
    match target.iter().find(|&&b| control(b)) {
        // To Envoy it parts the line into too many words.
        Some(b'\r') => return Some(ProtocolError::BadRequestLine),
        Some(_) => return Some(ProtocolError::BadCharacter),
        None => {}
    }
    let Some(version) = parts.next() else {
        // HTTP/0.9's simple request, which nobody sends in earnest.
        let simple = whole && target.starts_with(b"/");
        return whole.then_some(if simple {
            ProtocolError::Http10NotAccepted
        } else {
            ProtocolError::BadRequestLine
        });
    };
    match version.strip_prefix(b"HTTP/") {
        Some(b"1.0" | b"1.1") if !target.is_empty() => None,
        Some([b'0', b'.', b'0'..=b'9']) => Some(ProtocolError::Http10NotAccepted),
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) if !target.is_empty() => {
            Some(ProtocolError::BadVersion)
        }
        _ if version.iter().any(|&b| control(b)) => Some(ProtocolError::BadCharacter),
        _ => Some(ProtocolError::BadRequestLine),
    }
}

fn control(b: u8) -> bool {
    (b < 0x20 && b != b'\t') || b == 0x7f
}

/// RFC 9110 §5.6.2.
pub(super) fn token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}
