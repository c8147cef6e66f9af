//! HTTP/1 of our own: sans-IO over `httparse`, server and client role from the same parts.
//!
//! | part | job |
//! | --- | --- |
//! | `head` | bytes → request and response heads, in one pass |
//! | `target` | request target and Host → scheme, authority, path |
//! | `fields` | the fields that frame a message or belong to one hop |
//! | `framing` | the one place that decides where a body ends, both ways |
//! | `chunked`, `read` | bytes → body parts |
//! | `encode`, `write` | heads and body parts → bytes |
//! | `spare` | memory and names that one head leaves for the next |
//! | `wire` | the socket and its buffers |
//! | [`ServerConn`], [`ClientConn`] | the two roles: thin drivers over the parts above |
//!
//! Invariants. Values are slices of the read buffer. Framing on the way out is made anew from the
//! body that is really sent; a body that is longer or shorter than announced kills the message, so
//! that nothing after it can be taken for another. A message that breaks RFC 9112 is refused and
//! not repaired, apart from what Envoy 1.40 accepts without harm: bare LF in a head, empty lines
//! before it, space after a chunk's size.

mod chunked;
mod client;
mod encode;
mod fields;
mod framing;
mod head;
mod read;
mod server;
mod spare;
mod target;
mod wire;
mod write;

#[cfg(test)]
mod tests;

use http::HeaderValue;

pub use super::ResponseEvent;
pub use client::ClientConn;
pub use head::{ParsedRequest, ParsedResponse, Scan, Step, parse_request, parse_response};
pub use server::ServerConn;
pub use spare::SpareHeads;

/// What to do with a field whose name has an underscore
/// (`HttpProtocolOptions.headers_with_underscores_action`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// Takes it as any other.
    #[default]
    Allow,
    /// Refuses the request.
    Reject,
    /// Drops the field.
    Drop,
}

/// How names are written (`Http1ProtocolOptions.header_key_format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameCase {
    /// In lower case.
    #[default]
    Lower,
    /// `proper_case_words`: a capital at the start and after everything that is no letter or digit.
    Proper,
}

/// Settings of the server role. Defaults are Envoy's.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Largest head in bytes (`max_request_headers_kb`, 60 KiB).
    pub max_head_bytes: usize,
    /// Most fields of a head or of trailers (`max_headers_count`, 100).
    pub max_headers_count: usize,
    /// HTTP/1.0 is answered (`accept_http_10`).
    pub accept_http_10: bool,
    /// Authority of HTTP/1.0 requests without Host (`default_host_for_http_10`).
    pub default_host_for_http_10: Option<HeaderValue>,
    /// Trailers are passed on both ways (`enable_trailers`).
    pub enable_trailers: bool,
    /// `headers_with_underscores_action`.
    pub underscores: Underscores,
    /// Absolute-form is understood (`allow_absolute_url`).
    pub allow_absolute_url: bool,
    /// `content-length` beside `transfer-encoding` is dropped instead of refused
    /// (`allow_chunked_length`); the connection closes afterwards.
    pub allow_chunked_length: bool,
    /// Methods that Envoy does not know are taken (`allow_custom_methods`).
    pub allow_custom_methods: bool,
    /// A request without Host leaves the connection open
    /// (`override_stream_error_on_invalid_http_message`).
    pub stream_error_on_invalid_http_message: bool,
    /// `header_key_format`.
    pub name_case: NameCase,
    /// Bytes in the write buffer from which on the sink is not ready
    /// (`per_connection_buffer_limit_bytes`).
    pub high_watermark: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_head_bytes: 60 * 1024,
            max_headers_count: 100,
            accept_http_10: false,
            default_host_for_http_10: None,
            enable_trailers: false,
            underscores: Underscores::Allow,
            allow_absolute_url: true,
            allow_chunked_length: false,
            allow_custom_methods: false,
            stream_error_on_invalid_http_message: false,
            name_case: NameCase::Lower,
            high_watermark: HIGH_WATERMARK,
        }
    }
}

/// Settings of the client role. Defaults are Envoy's.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Largest head in bytes (`max_response_headers_kb`, 60 KiB).
    pub max_head_bytes: usize,
    /// Most fields of a head or of trailers (`max_headers_count`, 100).
    pub max_headers_count: usize,
    /// Trailers are passed on both ways (`enable_trailers`).
    pub enable_trailers: bool,
    /// `content-length` beside `transfer-encoding` is dropped instead of refused
    /// (`allow_chunked_length`); the connection is not used again.
    pub allow_chunked_length: bool,
    /// The request line carries scheme and authority (`send_fully_qualified_url`).
    pub send_fully_qualified_url: bool,
    /// `header_key_format`.
    pub name_case: NameCase,
    /// Bytes in the write buffer from which on the sink is not ready
    /// (`per_connection_buffer_limit_bytes`).
    pub high_watermark: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            max_head_bytes: 60 * 1024,
            max_headers_count: 100,
            enable_trailers: false,
            allow_chunked_length: false,
            send_fully_qualified_url: false,
            name_case: NameCase::Lower,
            high_watermark: HIGH_WATERMARK,
        }
    }
}

/// Enough for one large part in flight and one behind it.
const HIGH_WATERMARK: usize = 128 * 1024;
