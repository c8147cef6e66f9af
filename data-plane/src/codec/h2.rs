//! HTTP/2, both roles, on the `h2` crate itself.
//!
//! Not through hyper, because hyper hides what a proxy needs: 1xx answers, when the peer's window
//! takes data (writing is back-pressure here), and when our window is given back (only when a part
//! was pulled, so that a slow upstream closes the client's window and nothing is buffered).
//!
//! The heads speak HTTP/1's terms where the pipeline has one set of words for both: extended
//! CONNECT (RFC 8441) arrives as GET with `upgrade`, its answer is pushed as 101 and goes out as
//! 200, and the other way round upstream, as Envoy does it.
//!
//! `h2` itself refuses broken frames, connection-specific fields, bad pseudo fields and bodies that
//! differ from `content-length`, and limits resets, CONTINUATION, PING, SETTINGS and tiny DATA
//! frames. Added here: the count of fields (cookie crumbs included), `:authority` against `host`,
//! and the length check of what we send.
//!
//! A connection is driven by whoever polls it ([`ServerConn::poll_accept`], [`Driver`]); streams
//! may live in tasks of their own on the same worker.

mod client;
mod head;
mod pings;
mod recv;
mod send;
mod server;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::rc::Rc;

use ::h2::Reason;

pub use client::{ClientConn, ClientStream, Driver, Handshake};
pub use pings::Pings;
pub use server::{Accepted, ServerConn, ServerStream};

use super::h1::Underscores;
use super::{BodyError, ProtocolError, ResetCode};
use crate::config::http_protocol::Http2Keepalive;

/// Settings of a connection, either role (`Http2ProtocolOptions`). Defaults are Envoy 1.40's.
#[derive(Clone, Debug)]
pub struct Options {
    /// `initial_stream_window_size`, bytes (16 MiB).
    pub initial_stream_window_size: u32,
    /// `initial_connection_window_size`, bytes (24 MiB).
    pub initial_connection_window_size: u32,
    /// `max_concurrent_streams` that the peer may open; as a client: that we open at most (1024).
    pub max_concurrent_streams: u32,
    /// `hpack_table_size` (4096).
    pub hpack_table_size: u32,
    /// Largest decoded header list in bytes (`max_request_headers_kb`, 60 KiB). Beyond it `h2`
    /// answers 431 itself, far beyond it the connection ends.
    pub max_header_list_size: u32,
    /// Most fields of a head (`max_headers_count`, 100), cookie crumbs included, and of trailers.
    pub max_headers_count: usize,
    /// What becomes of a request's fields with an underscore in their name, trailers included.
    pub underscores: Underscores,
    /// `connection_keepalive`.
    pub keepalive: Option<Http2Keepalive>,
    /// Extended CONNECT (`allow_connect`).
    pub allow_connect: bool,
    /// Bytes that wait for the peer's window, a stream, from which on the sink is not ready.
    pub high_watermark: usize,
    /// Streams that the peer reset before they were accepted (rapid reset), beyond which the
    /// connection ends.
    pub max_pending_reset_streams: usize,
    /// Streams that we reset for the peer's errors, beyond which the connection ends.
    pub max_error_resets: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            initial_stream_window_size: 16 * 1024 * 1024,
            initial_connection_window_size: 24 * 1024 * 1024,
            max_concurrent_streams: 1024,
            hpack_table_size: 4096,
            max_header_list_size: 60 * 1024,
            max_headers_count: 100,
            underscores: Underscores::Allow,
            keepalive: None,
            allow_connect: false,
            high_watermark: 64 * 1024,
            max_pending_reset_streams: 20,
            max_error_resets: 1024,
        }
    }
}

impl From<Reason> for ResetCode {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::CANCEL | Reason::NO_ERROR => Self::Cancelled,
            Reason::INTERNAL_ERROR => Self::Internal,
            Reason::PROTOCOL_ERROR => Self::Protocol,
            Reason::REFUSED_STREAM => Self::Refused,
            other => Self::Other(other.into()),
        }
    }
}

impl From<ResetCode> for Reason {
    fn from(code: ResetCode) -> Self {
        match code {
            ResetCode::Cancelled => Self::CANCEL,
            ResetCode::Internal => Self::INTERNAL_ERROR,
            ResetCode::Protocol => Self::PROTOCOL_ERROR,
            ResetCode::Refused => Self::REFUSED_STREAM,
            ResetCode::Other(code) => code.into(),
        }
    }
}

/// What an error of `h2` means for one stream.
fn stream_error(error: &::h2::Error) -> BodyError {
    let reason = error.reason();
    if error.is_reset() {
        return match reason {
            // Our side found the peer's frames broken.
            Some(_) if error.is_library() => BodyError::Protocol(ProtocolError::Http2Frame),
            Some(reason) => BodyError::Reset(reason.into()),
            None => BodyError::Closed,
        };
    }
    if error.is_go_away() {
        return match reason {
            // RFC 9113 §6.8: streams beyond the last one were not looked at.
            Some(Reason::NO_ERROR) if error.is_remote() => BodyError::Reset(ResetCode::Refused),
            _ if error.is_library() => BodyError::Protocol(ProtocolError::Http2Frame),
            _ => BodyError::Closed,
        };
    }
    BodyError::Closed
}

/// Counts one stream for as long as its owner holds it.
#[derive(Debug)]
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
