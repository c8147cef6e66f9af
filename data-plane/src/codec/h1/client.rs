//! The client role: one request after another, over a connection that a pool lends out.
//!
//! Order of calls: [`ClientConn::push_request`], then parts through [`Sink`] while
//! [`ClientConn::poll_head`] waits for the answer, whose body is pulled through [`Source`]. The
//! answer may come before the request is complete. [`ClientConn::reusable`] tells afterwards
//! whether the connection may be lent out again: anything odd (bytes after the answer, a request
//! not sent whole, `close`, a body up to the connection's end) says no.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, StatusCode, header};

use super::ClientOptions;
use super::encode;
use super::framing::{self, Asked, Framing};
use super::head::{Scan, Step, parse_answer};
use super::read::{BodyReader, Decoded};
use super::wire::Wire;
use super::write::BodyWriter;
use crate::codec::io::{BufferPool, Io};
use crate::codec::{
    BodyError, BodyPart, Outgoing, ProtocolError, RequestHead, ResponseEvent, ResponseHead, Sink,
    Source, Upstream, Version,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request is under way.
    Idle,
    /// The answer's head is awaited.
    Waiting,
    /// Raw bytes go both ways; nobody was told yet.
    Raw,
    /// The answer's body comes, or came.
    Answer,
    /// Of no more use.
    Broken,
}

/// A connection to an upstream host.
#[derive(Debug)]
pub struct ClientConn<I> {
    wire: Wire<I>,
    opts: Rc<ClientOptions>,
    scan: Scan,
    reader: BodyReader,
    writer: BodyWriter,
    asked: Asked,
    phase: Phase,
    keep_alive: bool,
    /// `wire.received` when the request was pushed.
    before: u64,
    shut: bool,
}

impl<I: Io> ClientConn<I> {
    /// A connection that was just opened.
    #[must_use]
    pub fn new(io: I, opts: Rc<ClientOptions>, pool: Rc<BufferPool>) -> Self {
        let reader = BodyReader::new(opts.enable_trailers, opts.max_headers_count);
        let writer = BodyWriter::new(opts.enable_trailers, opts.name_case);
        Self {
            wire: Wire::new(io, pool),
            opts,
            scan: Scan::default(),
            reader,
            writer,
            asked: Asked::Plain,
            phase: Phase::Idle,
            keep_alive: true,
            before: 0,
            shut: false,
        }
    }

    /// Starts a request on an idle connection. Nothing is written before [`Sink::poll_flush`] or
    /// until the buffer is full, so that head and first part leave together.
    pub fn push_request(&mut self, head: &RequestHead) {
        let idle = self.phase == Phase::Idle || (self.phase == Phase::Answer && self.reusable());
        if !idle || !self.wire.rbuf.is_empty() {
            self.break_off();
            return;
        }
        self.asked = Asked::of(head);
        self.phase = Phase::Waiting;
        self.keep_alive = true;
        self.before = self.wire.received;
        let (case, full_url) = (self.opts.name_case, self.opts.send_fully_qualified_url);
        let out = &mut self.wire.out.small;
        let said = encode::request(out, head, case, full_url);
        let (framing, announce) = framing::send_request(head, said.length);
        encode::end_request(out, head, announce, case);
        self.writer.reset();
        let empty = matches!(framing, Framing::Tunnel | Framing::Length(0));
        if self.asked.may_tunnel() && empty {
            self.writer.hold();
        } else {
            self.writer.start(framing, head.ends);
        }
        self.reader.start(Framing::Empty, false);
    }

    /// Starts an exchange of raw bytes on a connection that carried nothing yet (CONNECT that ends
    /// here); [`Self::poll_head`] gives the 200 that the client is to get.
    pub fn start_raw(&mut self) {
        self.asked = Asked::Connect;
        self.phase = Phase::Raw;
        self.writer.start(Framing::Tunnel, false);
        self.reader.start(Framing::Tunnel, false);
    }

    fn break_off(&mut self) {
        self.phase = Phase::Broken;
        self.writer.break_off();
    }

    /// The answer's head, or a 1xx before it. What was pushed must be flushed by the caller.
    ///
    /// # Errors
    /// No answer comes; [`Self::answered`] tells whether anything of one came.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseEvent, BodyError>> {
        if self.phase == Phase::Raw {
            self.phase = Phase::Answer;
            return Poll::Ready(Ok(ResponseEvent::Head(connected())));
        }
        loop {
            if self.phase != Phase::Waiting {
                return Poll::Ready(Err(BodyError::Closed));
            }
            if let Some(event) = self.parse() {
                return Poll::Ready(event);
            }
            match ready!(self.wire.poll_fill(cx, 0)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    // What is there may be no beginning of an answer at all.
                    self.scan = Scan::default();
                    let event = self.parse().unwrap_or(Err(BodyError::Closed));
                    self.break_off();
                    return Poll::Ready(event);
                }
            }
        }
    }

    fn parse(&mut self) -> Option<Result<ResponseEvent, BodyError>> {
        let Wire { rbuf, pool, .. } = &mut self.wire;
        if rbuf.is_empty() {
            return None;
        }
        match parse_answer(rbuf, &mut self.scan, &self.opts, self.asked, &pool.heads) {
            Step::More => None,
            Step::Bad(error, _) => Some(Err(self.refuse(error))),
            Step::Done(parsed) => Some(self.head(parsed)),
        }
    }

    /// Whether any byte of an answer came. If none did and the connection was used before, the
    /// peer most likely closed it in the meantime.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.wire.received > self.before
    }

    /// Whether the whole request was pushed and written to the socket.
    #[must_use]
    pub fn request_sent(&self) -> bool {
        self.writer.done() && self.wire.out.is_empty()
    }

    fn refuse(&mut self, error: ProtocolError) -> BodyError {
        self.break_off();
        BodyError::Protocol(error)
    }

    fn head(&mut self, parsed: super::ParsedResponse) -> Result<ResponseEvent, BodyError> {
        let status = parsed.head.status;
        let agreed = self.asked == Asked::Upgrade
            && self.writer.complete()
            && parsed.head.headers.contains_key(header::UPGRADE);
        if status == StatusCode::SWITCHING_PROTOCOLS && !agreed {
            return Err(self.refuse(ProtocolError::UnexpectedUpgrade));
        }
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(ResponseEvent::Informational(parsed.head));
        }
        self.phase = Phase::Answer;
        self.keep_alive = parsed.keep_alive;
        self.reader.start(parsed.framing, false);
        self.writer.decide(parsed.framing == Framing::Tunnel);
        Ok(ResponseEvent::Head(parsed.head))
    }

    /// Whether the exchange is over and the connection may serve another.
    #[must_use]
    pub fn reusable(&self) -> bool {
        let over = match self.phase {
            Phase::Idle => true,
            Phase::Answer => self.reader.done() && self.request_sent(),
            Phase::Waiting | Phase::Raw | Phase::Broken => false,
        };
        over && self.keep_alive
            && !self.asked_for_tunnel()
            && self.wire.rbuf.is_empty()
            && !self.wire.eof
            && !self.wire.dead
    }

    /// Puts the connection to rest before it goes into a pool: buffers go back.
    pub fn rest(&mut self) {
        self.wire.rest();
    }

    /// Whether a resting connection is still good for a request: the peer neither closed it nor
    /// sent anything. No syscall while nothing happened.
    #[must_use]
    pub fn check_idle(&self) -> bool {
        self.reusable() && !self.wire.io.try_closed()
    }

    /// Ready when a resting connection is of no more use.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wire.io.poll_readable(cx).map(|_| ())
    }

    /// Whether the request asked for a tunnel. Whatever was answered, nobody knows what the peer
    /// takes the connection for: it carries no other request.
    #[must_use]
    pub fn asked_for_tunnel(&self) -> bool {
        self.asked.may_tunnel()
    }

    /// Whether the connection carries raw bytes (after 101, or 2xx to CONNECT).
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        self.reader.tunnel() || self.writer.tunnel()
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
}

/// The answer to a CONNECT that ends here.
fn connected() -> ResponseHead {
    let (version, headers) = (Version::Http11, HeaderMap::new());
    ResponseHead { status: StatusCode::OK, version, headers, ends: false }
}

impl<I: Io> Upstream for ClientConn<I> {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseEvent, BodyError>> {
        Self::poll_head(self, cx)
    }

    fn answered(&self) -> bool {
        Self::answered(self)
    }

    fn request_sent(&self) -> bool {
        Self::request_sent(self)
    }
}

impl<I: Io> Source for ClientConn<I> {
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
                Ok(Decoded::End | Decoded::Undecided) => return Poll::Ready(Ok(None)),
                Ok(Decoded::More) => {}
                Err(error) => return Poll::Ready(Err(self.refuse(error))),
            }
            if self.reader.tunnel() {
                // It may be silent for hours.
                self.wire.rest();
            }
            let expected = self.reader.expected();
            match ready!(self.wire.poll_fill(cx, expected)) {
                Ok(1..) => {}
                Ok(0) => {
                    if let Err(error) = self.reader.eof() {
                        self.break_off();
                        return Poll::Ready(Err(error));
                    }
                }
                Err(_) => {
                    self.break_off();
                    return Poll::Ready(Err(BodyError::Closed));
                }
            }
        }
    }
}

impl<I: Io> Sink for ClientConn<I> {
    /// An upgrade that is not answered yet holds data back (not ready, woken by the answer).
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.writer.broken() || self.wire.dead {
            return Poll::Ready(Err(BodyError::Closed));
        }
        if self.writer.held() {
            // `poll_head` is polled by the same task and decides.
            return Poll::Pending;
        }
        if self.wire.out.len() < self.opts.high_watermark {
            return Poll::Ready(Ok(()));
        }
        let low = self.opts.high_watermark / 2;
        self.wire.poll_drain(cx, low).map_err(|_| BodyError::Closed)
    }

    /// Heads are not for this role: requests start with [`ClientConn::push_request`].
    fn push(&mut self, piece: Outgoing) {
        match piece {
            Outgoing::Part(BodyPart::Data(bytes)) => self.writer.data(&mut self.wire.out, bytes),
            Outgoing::Part(BodyPart::Trailers(map)) => {
                self.writer.finish(&mut self.wire.out, Some(&map));
            }
            Outgoing::End => self.writer.end(&mut self.wire.out),
            Outgoing::Informational(_) | Outgoing::Head(_) | Outgoing::Reset(_) => self.break_off(),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if ready!(self.wire.poll_flush(cx)).is_err() || self.writer.broken() {
            return Poll::Ready(Err(BodyError::Closed));
        }
        if self.reader.tunnel() && self.writer.done() && !self.shut {
            let _ = ready!(self.wire.poll_shutdown(cx));
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}
