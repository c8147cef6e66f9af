//! Which HTTP a client speaks without TLS (`codec_type: AUTO`): HTTP/2 by prior knowledge begins
//! with a preface that no HTTP/1 request can begin with.
//!
//! The bytes that were read are handed on; none is lost. How long a client may take is the caller's
//! deadline, which counts from the accept.

use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use super::io::Io;

/// RFC 9113 §3.4.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1, or something that its parser will refuse.
    Http1,
    /// The preface of HTTP/2, or as much of it as tells it from HTTP/1.
    Http2,
}

/// Reads until the protocol is clear.
#[derive(Debug)]
pub struct Detect<I> {
    io: Option<I>,
    bytes: BytesMut,
}

/// Enough of the preface: no method `PRI` exists, and Envoy decides by the whole of it.
#[must_use]
pub fn protocol_of(bytes: &[u8]) -> Option<Protocol> {
    let n = bytes.len().min(PREFACE.len());
    if bytes[..n] != PREFACE[..n] {
        Some(Protocol::Http1)
    } else if n == PREFACE.len() {
        Some(Protocol::Http2)
    } else {
        None
    }
}

impl<I: Io> Detect<I> {
    /// Starts with a connection of which nothing was read.
    #[must_use]
    pub fn new(io: I) -> Self {
        Self::with_bytes(io, BytesMut::new())
    }

    /// Starts with a connection of which `bytes` were read.
    #[must_use]
    pub const fn with_bytes(io: I, bytes: BytesMut) -> Self {
        Self { io: Some(io), bytes }
    }

    /// Whether anything came.
    #[must_use]
    pub fn begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// What came is not waited for any longer: it is the beginning of an HTTP/1 request. `None`
    /// where nothing came.
    pub fn settle(&mut self) -> Option<(Protocol, I, BytesMut)> {
        let bytes = std::mem::take(&mut self.bytes);
        let io = self.io.take()?;
        (!bytes.is_empty()).then_some((Protocol::Http1, io, bytes))
    }

    /// The protocol, the stream and the bytes that were read. `None`: the client left before it
    /// said anything.
    ///
    /// # Panics
    /// When polled again after it was ready.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Protocol, I, BytesMut)>> {
        let io = self.io.as_mut().expect("polled after it was ready");
        loop {
            let n = match protocol_of(&self.bytes) {
                Some(protocol) => {
                    let bytes = std::mem::take(&mut self.bytes);
                    return Poll::Ready(self.io.take().map(|io| (protocol, io, bytes)));
                }
                None => {
                    // Nothing is held while nothing comes.
                    ready!(io.poll_readable(cx)).ok();
                    ready!(io.poll_read_buf(cx, &mut self.bytes, FIRST_READ)).unwrap_or(0)
                }
            };
            if n == 0 {
                return Poll::Ready(self.settle());
            }
        }
    }
}

/// A usual head fits.
const FIRST_READ: usize = 4 * 1024;
