//! HTTP on the wire, both sides, every version behind one seam.
//!
//! What a connection brings is an [`Incoming`]; a body is pulled from a [`Source`] part by part and
//! an answer is pushed into a [`Sink`]. Both are poll-based, because one task moves both directions
//! of a request: awaiting a write to one side would stop the other. Pulling *is* back-pressure: a
//! part that nobody pulls stays in the kernel's buffer (HTTP/1) or closes the window (HTTP/2).
//!
//! A malformed head is an event and not a silent close, so that the pipeline can answer, count and
//! log it as Envoy does. The codec decides framing; it knows no route, no filter and no limit of a
//! cluster.

pub mod detect;
pub mod h1;
pub mod h2;
pub mod io;

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// Protocol version of a message. `Display` is Envoy's `%PROTOCOL%`: `HTTP/1.0`, `HTTP/1.1`,
/// `HTTP/2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// A request's head in HTTP/2's terms, whatever version brought it.
///
/// `Host` is never in `headers`: it became `authority` (RFC 9112 §3.2: an absolute-form target
/// overrides it). `transfer-encoding` and the hop-by-hop framing of HTTP/1 are gone; a valid
/// `content-length` stays for matchers, logs and the encoder, which checks it against the body
/// that is really sent.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// `:method`.
    pub method: Method,
    /// `:scheme`, where the message itself says one (HTTP/2, absolute-form).
    pub scheme: Option<HeaderValue>,
    /// `:authority`; absent only where the version allows it (HTTP/1.0 without Host).
    pub authority: Option<HeaderValue>,
    /// `:path` with its query, as it came; empty for a plain CONNECT.
    pub path: HeaderValue,
    /// Version of the connection that the head came over, or goes out over.
    pub version: Version,
    /// Every other header field, names in lower case.
    pub headers: HeaderMap,
    /// Nothing follows: no body, no trailers.
    pub ends: bool,
    /// Protocol asked for by `Connection: upgrade` + `Upgrade`, or HTTP/2's `:protocol`, as it
    /// came; compared without case. `headers` has both fields then, for matchers, filters and
    /// logs.
    pub upgrade: Option<HeaderValue>,
}

impl RequestHead {
    /// The upgrade that is asked for, CONNECT included.
    #[must_use]
    pub fn wanted_upgrade(&self) -> Option<&str> {
        if self.method == Method::CONNECT {
            return Some("CONNECT");
        }
        // What is no text is the name of no upgrade.
        self.upgrade.as_ref().map(|protocol| protocol.to_str().unwrap_or_default())
    }

    /// Whether it asks for a tunnel: an upgrade, or CONNECT.
    #[must_use]
    pub fn asks_for_tunnel(&self) -> bool {
        self.upgrade.is_some() || self.method == Method::CONNECT
    }

    /// Whether WebSocket is the protocol asked for.
    #[must_use]
    pub fn wants_websocket(&self) -> bool {
        let wanted = self.upgrade.as_ref();
        wanted.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
    }

    /// Whether this answer makes a tunnel of the message exchange.
    #[must_use]
    pub fn tunnels(&self, status: StatusCode) -> bool {
        if !self.asks_for_tunnel() {
            return false;
        }
        match self.method {
            Method::CONNECT => status.is_success(),
            _ => status == StatusCode::SWITCHING_PROTOCOLS,
        }
    }

    /// Stands for a head of which nothing could be read.
    #[must_use]
    pub fn unknown(version: Version) -> Self {
        Self {
            method: Method::GET,
            scheme: None,
            authority: None,
            path: HeaderValue::from_static(""),
            version,
            headers: HeaderMap::new(),
            ends: true,
            upgrade: None,
        }
    }
}

/// A response's head. The same rules for framing fields as in [`RequestHead`].
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// `:status`.
    pub status: StatusCode,
    /// Version of the connection that it came over, or goes out over.
    pub version: Version,
    /// Header fields, names in lower case.
    pub headers: HeaderMap,
    /// Nothing follows: no body, no trailers.
    pub ends: bool,
}

impl ResponseHead {
    /// A 1xx head without fields.
    #[must_use]
    pub fn informational(status: StatusCode) -> Self {
        Self { status, version: Version::Http11, headers: HeaderMap::new(), ends: false }
    }
}

/// A piece of a message's body, or its trailers, which are always the last piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// Some bytes; never empty.
    Data(Bytes),
    /// Trailers, names in lower case.
    Trailers(HeaderMap),
}

/// What a server connection brings next.
#[derive(Debug)]
pub enum Incoming {
    /// The client has nothing more to say, or went away between two requests.
    Closed,
    /// The head of a request; its body is pulled from the [`Source`].
    Head(Box<RequestHead>),
    /// A head that breaks the protocol: it is answered once and the connection closes. `head` is
    /// what could be read of it, for the access log.
    Malformed {
        /// The rule that it breaks.
        error: ProtocolError,
        /// Method, target and fields as far as they were understood.
        head: Option<Box<RequestHead>>,
    },
}

/// What goes into a [`Sink`].
#[derive(Debug)]
pub enum Outgoing {
    /// A 1xx head (100, 102, 103).
    Informational(ResponseHead),
    /// The head of a response.
    Head(ResponseHead),
    /// A piece of the body, or the trailers.
    Part(BodyPart),
    /// The body is complete. Not sent after a head with `ends` nor after trailers.
    End,
    /// Break the message off: HTTP/2 resets the stream, HTTP/1 closes without a proper end.
    Reset(ResetCode),
}

/// Why a message was broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCode {
    /// The peer or we no longer want it (`CANCEL`).
    Cancelled,
    /// Something inside failed (`INTERNAL_ERROR`).
    Internal,
    /// The peer broke the protocol (`PROTOCOL_ERROR`).
    Protocol,
    /// Nothing was processed, a retry is safe (`REFUSED_STREAM`).
    Refused,
    /// Any other HTTP/2 error code.
    Other(u32),
}

/// Why a body ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The connection closed.
    Closed,
    /// The peer broke the protocol in the middle of a body (a bad chunk, too long).
    Protocol(ProtocolError),
    /// The peer reset the stream.
    Reset(ResetCode),
}

/// A rule of the protocol that a peer broke. What is answered (status, details) is decided in one
/// place, `http::reply`; `Display` is the sentence for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProtocolError {
    /// A body where the method allows none: CONNECT with `content-length`
    /// (`http1.body_disallowed`).
    #[error("body is not allowed")]
    BodyDisallowed,
    /// `Connection` names a field that it may not remove, or ten and more
    /// (`http1.connection_header_rejected`).
    #[error("invalid connection header")]
    BadConnectionHeader,
    /// A control character where none may be, NUL above all (`http1.invalid_characters`).
    #[error("invalid character")]
    BadCharacter,
    /// RFC 9112 §7.1: chunk size, extension or terminator.
    #[error("invalid chunk")]
    BadChunk,
    /// RFC 9110 §8.6: not a number, or several that differ.
    #[error("invalid content-length")]
    BadContentLength,
    /// RFC 9112 §5: a field line that is no field line.
    #[error("invalid header field")]
    BadHeader,
    /// RFC 9112 §3.2: Host twice or not an authority (`http.invalid_authority`).
    #[error("repeated or invalid host")]
    BadHost,
    /// RFC 9110 §9.1: not a token.
    #[error("invalid method")]
    BadMethod,
    /// RFC 9112 §3: a request line of another form (`http1.codec_error`).
    #[error("invalid request line")]
    BadRequestLine,
    /// Absolute-form with a scheme other than http and https (`http1.invalid_scheme`).
    #[error("invalid scheme")]
    BadScheme,
    /// RFC 9112 §4: not a status line.
    #[error("invalid status line")]
    BadStatusLine,
    /// Absolute-form or authority-form without a valid authority, `*` with another method than
    /// OPTIONS (`http1.invalid_url`).
    #[error("invalid URL")]
    BadUrl,
    /// RFC 9112 §3.2: a target of no known form (`http1.codec_error`).
    #[error("invalid request target")]
    BadTarget,
    /// RFC 9112 §6.1: transfer codings that do not end in one `chunked`.
    #[error("invalid transfer-encoding")]
    BadTransferEncoding,
    /// RFC 9112 §2.3: a version that is neither 1.0 nor 1.1 (Envoy: 426 `low_version`).
    #[error("unsupported HTTP version")]
    BadVersion,
    /// More bytes or fewer than `content-length` says.
    #[error("body length differs from content-length")]
    BodyLengthMismatch,
    /// RFC 9112 §6.1: both `content-length` and `transfer-encoding`.
    #[error("both content-length and transfer-encoding")]
    ContentLengthAndTransferEncoding,
    /// Head larger than `max_request_headers_kb` (or the response's limit).
    #[error("header block too large")]
    HeadersTooLarge,
    /// HTTP/1.0 where `accept_http_10` is off.
    #[error("HTTP/1.0 is not accepted")]
    Http10NotAccepted,
    /// A broken frame or stream state of HTTP/2.
    #[error("invalid HTTP/2 frame")]
    Http2Frame,
    /// RFC 9112 §3.2: no Host (`missing_host_header`); `head` is complete.
    #[error("missing host")]
    MissingHost,
    /// More fields than `max_headers_count`.
    #[error("too many header fields")]
    TooManyHeaders,
    /// A field name with `_` where the configuration rejects it.
    #[error("header name with underscore")]
    UnderscoreHeader,
    /// RFC 9110 §15.2.2: 101 without an upgrade asked for, before the request was complete, or
    /// without saying to what.
    #[error("unexpected 101")]
    UnexpectedUpgrade,
    /// Bytes after a message that allows none.
    #[error("unexpected bytes after the message")]
    UnexpectedBytes,
    /// A transfer coding other than `chunked` (501).
    #[error("unsupported transfer-encoding")]
    UnsupportedTransferEncoding,
}

/// Where body parts come from.
pub trait Source {
    /// The next part of at most `limit` bytes; `None` once the message is complete. Not pulling
    /// holds the peer back.
    ///
    /// # Errors
    /// The message ended before its end; nothing more comes.
    fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Result<Option<BodyPart>, BodyError>>;
}

/// Where a message goes.
pub trait Sink {
    /// Ready when less than the high watermark is buffered.
    ///
    /// # Errors
    /// The peer is gone or reset the stream; nothing more can be sent.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>>;

    /// Takes one piece. It may be called without readiness for heads, ends and resets, which are
    /// small; data is pushed only after `poll_ready` said so.
    fn push(&mut self, piece: Outgoing);

    /// Moves what is buffered towards the peer; ready when nothing is left.
    ///
    /// # Errors
    /// As for [`Sink::poll_ready`].
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>>;
}

/// What a server connection of any version offers for the request at hand.
pub trait Downstream: Source + Sink {
    /// Ready when the client gave the request up: it left or reset the stream. Costs nothing while
    /// nothing happens.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<BodyError>;

    /// HTTP/1: the answer is the last one of the connection. HTTP/2 knows no such thing.
    fn set_close(&mut self);

    /// Whether the whole request was read.
    fn request_complete(&self) -> bool;

    /// Whether the head of a final answer was pushed.
    fn answered(&self) -> bool;
}

/// What comes before a response's body.
#[derive(Debug)]
pub enum ResponseEvent {
    /// A 1xx head other than 101; more follows.
    Informational(ResponseHead),
    /// The head of the answer (101 included, if an upgrade was asked for).
    Head(ResponseHead),
}

/// What a client connection of any version offers for the request that was sent over it.
pub trait Upstream: Source + Sink {
    /// The answer's head, or a 1xx before it. What was pushed must be flushed by the caller.
    ///
    /// # Errors
    /// No answer comes; [`Upstream::answered`] tells whether anything of one came.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseEvent, BodyError>>;

    /// Whether anything of an answer came.
    fn answered(&self) -> bool;

    /// Whether the whole request was handed to the connection.
    fn request_sent(&self) -> bool;
}
