//! The server role: requests come one after another, each is answered before the next is looked
//! at, whatever was pipelined.
//!
//! Order of calls: [`ServerConn::poll_next`] gives a head; its body is pulled through [`Source`],
//! the answer pushed through [`Sink`], in any order; `poll_next` again flushes what is left and
//! goes on or closes. A request whose body was not read to its end is never followed by another:
//! the connection lingers (it reads and drops, so that the client gets the answer and no RST) and
//! closes. How long that may take is the caller's deadline.

use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use http::StatusCode;

use super::ServerOptions;
use super::encode::{self, Persistence};
use super::framing::{self, Announce, Asked, Framing};
use super::head::{Scan, Step, parse_request};
use super::read::{BodyReader, Decoded};
use super::wire::Wire;
use super::write::BodyWriter;
use crate::codec::io::{BufferPool, Io};
use crate::codec::{
    BodyError, BodyPart, Downstream, Incoming, Outgoing, ResponseHead, Sink, Source, Version,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between two requests.
    Idle,
    /// A request is at hand.
    Exchange,
    /// Everything is said; the peer's leftovers are read and dropped.
    Linger,
    Closed,
}

/// A client's connection.
#[derive(Debug)]
pub struct ServerConn<I> {
    wire: Wire<I>,
    opts: Rc<ServerOptions>,
    scan: Scan,
    reader: BodyReader,
    writer: BodyWriter,
    asked: Asked,
    version: Version,
    phase: Phase,
    keep_alive: bool,
    close: bool,
    /// Dropped while lingering.
    dropped: usize,
    /// It ended inside a head.
    broke_off: bool,
    waker: Option<Waker>,
    shut: bool,
}

/// Bytes that are read ahead of a request's end to learn that the client left.
const AHEAD: usize = 16 * 1024;
/// Bytes that a closing connection reads and drops.
const LINGER: usize = 1024 * 1024;

impl<I: Io> ServerConn<I> {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(io: I, opts: Rc<ServerOptions>, pool: Rc<BufferPool>) -> Self {
        let reader = BodyReader::new(opts.enable_trailers, opts.max_headers_count);
        let writer = BodyWriter::new(opts.enable_trailers, opts.name_case);
        Self {
            wire: Wire::new(io, pool),
            opts,
            scan: Scan::default(),
            reader,
            writer,
            asked: Asked::Plain,
            version: Version::Http11,
            phase: Phase::Idle,
            keep_alive: true,
            close: false,
            dropped: 0,
            broke_off: false,
            waker: None,
            shut: false,
        }
    }

    /// Takes over a connection whose first bytes were already read (protocol detection).
    #[must_use]
    pub fn with_bytes(io: I, opts: Rc<ServerOptions>, pool: Rc<BufferPool>, bytes: &[u8]) -> Self {
        let mut conn = Self::new(io, opts, pool);
        conn.wire.preload(bytes);
        conn
    }

    /// The next request, after what is left of the last one was written.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            match self.phase {
                Phase::Exchange => ready!(self.poll_finish(cx)),
                Phase::Linger => ready!(self.poll_linger(cx)),
                Phase::Closed => return Poll::Ready(Incoming::Closed),
                Phase::Idle => {
                    if let Some(incoming) = self.parse() {
                        return Poll::Ready(incoming);
                    }
                    if self.close && self.wire.rbuf.is_empty() {
                        self.phase = Phase::Closed;
                        continue;
                    }
                    self.wire.rest();
                    match ready!(self.wire.poll_fill(cx, 0)) {
                        Ok(1..) => {}
                        Ok(0) => return Poll::Ready(self.last_words()),
                        Err(_) => self.cut(),
                    }
                }
            }
        }
    }

    /// The client said all it will: what is there may still be refused, but waits for nothing.
    fn last_words(&mut self) -> Incoming {
        self.scan = Scan::default();
        self.parse().unwrap_or_else(|| {
            self.cut();
            Incoming::Closed
        })
    }

    /// The client is gone between two requests, or inside a head.
    fn cut(&mut self) {
        self.broke_off = !self.wire.rbuf.is_empty();
        self.phase = Phase::Closed;
    }

    /// Whether the connection ended inside a head, of which nothing is known.
    #[must_use]
    pub fn broke_off(&self) -> bool {
        self.broke_off
    }

    fn parse(&mut self) -> Option<Incoming> {
        if self.wire.rbuf.is_empty() {
            return None;
        }
        let Wire { rbuf, pool, .. } = &mut self.wire;
        match parse_request(rbuf, &mut self.scan, &self.opts, &pool.heads) {
            Step::More => None,
            Step::Done(parsed) => {
                self.begin(parsed.head.version, parsed.keep_alive);
                self.asked = Asked::of(&parsed.head);
                self.reader.start(parsed.framing, self.asked.may_tunnel());
                Some(Incoming::Head(parsed.head))
            }
            Step::Bad(error, head) => {
                let version = head.as_ref().map_or(Version::Http11, |h| h.version);
                let stay = self.opts.stream_error_on_invalid_http_message
                    && error == crate::codec::ProtocolError::MissingHost
                    && head.as_ref().is_some_and(|h| h.ends);
                self.begin(version, stay);
                self.asked = head.as_deref().map_or(Asked::Plain, Asked::of);
                self.reader.start(Framing::Empty, false);
                Some(Incoming::Malformed { error, head })
            }
        }
    }

    fn begin(&mut self, version: Version, keep_alive: bool) {
        self.phase = Phase::Exchange;
        self.version = version;
        self.keep_alive = keep_alive;
        self.writer.reset();
    }

    /// Whether another request may come after this one, as far as is known.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        self.keep_alive && !self.close && !self.wire.eof
    }

    /// Whether nothing of a request has been read since the last answer.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle && self.wire.rbuf.is_empty()
    }

    /// Whether the connection carries raw bytes (after 101, or 2xx to CONNECT).
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        self.writer.tunnel() || self.reader.tunnel()
    }

    /// Bytes received and sent on this connection.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.wire.received, self.wire.sent)
    }

    /// The stream beneath.
    #[must_use]
    pub fn io(&self) -> &I {
        &self.wire.io
    }

    /// Ready when the client went away while its request is at hand. Envoy's rule: the end of the
    /// client's direction counts as gone. What a client pipelines is read ahead up to 16 KiB;
    /// beyond that its leaving shows later.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        loop {
            if self.wire.dead {
                return Poll::Ready(BodyError::Closed);
            }
            // A body is read by whoever pulls it, a tunnel's end is a half-close.
            if !self.reader.done() && !self.waits_for_tunnel() || self.reader.tunnel() {
                return Poll::Pending;
            }
            if self.wire.rbuf.len() >= AHEAD {
                return Poll::Pending;
            }
            match ready!(self.wire.poll_fill(cx, 0)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(BodyError::Closed),
            }
        }
    }

    /// The head that is coming in is not waited for any longer: it can be answered once, then the
    /// connection closes.
    pub fn abandon_head(&mut self) {
        self.begin(Version::Http11, false);
        self.asked = Asked::Plain;
        self.reader.start(Framing::Empty, false);
        self.scan = Scan::default();
        self.wire.rbuf.clear();
    }

    /// The answer to the request at hand is the last one: it says `connection: close`. Without a
    /// request the connection closes at the next [`ServerConn::poll_next`].
    pub fn set_close(&mut self) {
        self.close = true;
    }

    /// Whether the whole request was read.
    #[must_use]
    pub fn request_complete(&self) -> bool {
        self.reader.done()
    }

    /// Whether the head of a final answer was pushed.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.writer.started()
    }

    fn waits_for_tunnel(&self) -> bool {
        self.asked.may_tunnel() && self.reader.expected() == 0
    }

    /// After an exchange: flush, then the next request, linger or close.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if ready!(self.wire.poll_flush(cx)).is_err() || !self.writer.done() {
            self.phase = Phase::Closed;
            return Poll::Ready(());
        }
        let whole = self.drop_body();
        self.phase = if self.reader.tunnel() {
            Phase::Closed
        } else if whole && self.keeps_alive_after() {
            Phase::Idle
        } else if self.wire.eof || (whole && self.wire.rbuf.is_empty()) {
            Phase::Closed
        } else {
            Phase::Linger
        };
        if self.phase == Phase::Closed {
            // A FIN of our own accord; the socket's close does the rest.
            let _ = self.wire.poll_shutdown(cx);
        }
        Poll::Ready(())
    }

    fn keeps_alive_after(&self) -> bool {
        self.keep_alive && !self.close
    }

    /// Drops what is already here of an unread body; true once it is complete.
    fn drop_body(&mut self) -> bool {
        loop {
            match self.reader.decode(&mut self.wire.rbuf, usize::MAX) {
                Ok(Decoded::Data(_) | Decoded::Trailers(_)) => {}
                Ok(Decoded::End) => return true,
                Ok(Decoded::More | Decoded::Undecided) | Err(_) => return false,
            }
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shut {
            let _ = ready!(self.wire.poll_shutdown(cx));
            self.shut = true;
        }
        loop {
            self.dropped += self.wire.rbuf.len();
            self.wire.rbuf.clear();
            if self.dropped > LINGER {
                break;
            }
            match ready!(self.wire.poll_fill(cx, 0)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        self.phase = Phase::Closed;
        Poll::Ready(())
    }

    fn push_head(&mut self, head: &ResponseHead) {
        let case = self.opts.name_case;
        let said = encode::response(&mut self.wire.out.small, head, self.version, case);
        self.close |= said.close;
        let (framing, announce) =
            framing::send_response(head, said.length, self.asked, self.version);
        let tunnel = framing == Framing::Tunnel;
        self.reader.decide(tunnel);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        // An answer that is complete before its request: the rest is not waited for.
        if head.ends && !tunnel && !self.drop_body() {
            self.close = true;
        }
        let persistence = self.persistence(head, framing);
        if framing == Framing::UntilClose || tunnel {
            self.keep_alive = false;
        }
        let out = &mut self.wire.out.small;
        encode::end_response(out, head, (announce, persistence), case);
        self.writer.start(framing, head.ends);
    }

    fn persistence(&self, head: &ResponseHead, framing: Framing) -> Persistence {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Persistence::Upgrade;
        }
        if framing == Framing::Tunnel {
            return Persistence::Default;
        }
        if !self.keep_alive || self.close || framing == Framing::UntilClose {
            return Persistence::Close;
        }
        match self.version {
            Version::Http10 => Persistence::KeepAlive,
            _ => Persistence::Default,
        }
    }

    fn push_informational(&mut self, head: &ResponseHead) {
        // HTTP/1.0 knows none; 101 is a final answer and comes as one.
        let out_of_turn = self.writer.started() || self.version == Version::Http10;
        if out_of_turn || head.status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let (out, case) = (&mut self.wire.out.small, self.opts.name_case);
        encode::response(out, head, self.version, case);
        encode::end_response(out, head, (Announce::Nothing, Persistence::Default), case);
    }
}

impl<I: Io> Downstream for ServerConn<I> {
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        Self::poll_closed(self, cx)
    }

    fn set_close(&mut self) {
        Self::set_close(self);
    }

    fn request_complete(&self) -> bool {
        Self::request_complete(self)
    }

    fn answered(&self) -> bool {
        Self::answered(self)
    }
}

impl<I: Io> Source for ServerConn<I> {
    fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Result<Option<BodyPart>, BodyError>> {
        loop {
            match self.reader.decode(&mut self.wire.rbuf, limit) {
                Ok(Decoded::Data(bytes)) => return Poll::Ready(Ok(Some(BodyPart::Data(bytes)))),
                Ok(Decoded::Trailers(map)) => {
                    return Poll::Ready(Ok(Some(BodyPart::Trailers(map))));
                }
                Ok(Decoded::End) => return Poll::Ready(Ok(None)),
                Ok(Decoded::More) => {}
                Ok(Decoded::Undecided) => {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Err(error) => {
                    self.keep_alive = false;
                    return Poll::Ready(Err(BodyError::Protocol(error)));
                }
            }
            if self.reader.tunnel() {
                // It may be silent for hours.
                self.wire.rest();
            }
            let expected = self.reader.expected();
            match ready!(self.wire.poll_fill(cx, expected)) {
                Ok(1..) => {}
                Ok(0) => self.reader.eof()?,
                Err(_) => return Poll::Ready(Err(BodyError::Closed)),
            }
        }
    }
}

impl<I: Io> Sink for ServerConn<I> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.wire.out.len() < self.opts.high_watermark && !self.wire.dead {
            return Poll::Ready(Ok(()));
        }
        let low = self.opts.high_watermark / 2;
        self.wire.poll_drain(cx, low).map_err(|_| BodyError::Closed)
    }

    fn push(&mut self, piece: Outgoing) {
        match piece {
            Outgoing::Informational(head) => self.push_informational(&head),
            Outgoing::Head(head) if !self.writer.started() => {
                self.push_head(&head);
                self.wire.pool.heads.give_map(head.headers);
            }
            // A second answer would be taken for the answer to the next request.
            Outgoing::Head(_) | Outgoing::Reset(_) => self.writer.break_off(),
            Outgoing::Part(BodyPart::Data(bytes)) => self.writer.data(&mut self.wire.out, bytes),
            Outgoing::Part(BodyPart::Trailers(map)) => {
                self.writer.finish(&mut self.wire.out, Some(&map));
            }
            Outgoing::End => self.writer.end(&mut self.wire.out),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if ready!(self.wire.poll_flush(cx)).is_err() || self.writer.broken() {
            return Poll::Ready(Err(BodyError::Closed));
        }
        if self.reader.tunnel() && self.writer.done() && !self.shut {
            // The end of a tunnel's direction is a half-close.
            let _ = ready!(self.wire.poll_shutdown(cx));
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}
