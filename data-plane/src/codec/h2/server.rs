//! The server role. [`ServerConn::poll_accept`] drives the whole connection: the frames of every
//! stream move only while somebody polls it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::h2::server::{Builder, Connection, Handshake, SendResponse};
use ::h2::{PingPong, Reason};
use bytes::{Buf, Bytes, BytesMut};
use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::{length, request_in, response_out};
use super::recv::{Inbound, Limits};
use super::send::Outbound;
use super::{Counted, Options, stream_error};
use crate::codec::io::Io;
use crate::codec::{
    BodyError, BodyPart, Downstream, Incoming, Outgoing, ResetCode, ResponseHead, Sink, Source,
};

/// Bytes that are read before what they brought is accepted. `h2` reads as long as anything comes
/// and keeps each head until then: a thousand empty fields are a byte each on the wire and 72 in
/// memory (CVE-2026-47774's class).
const ROUND: usize = 32 * 1024;

/// A stream with bytes in front that somebody else read.
#[derive(Debug)]
struct Prefixed<I> {
    prefix: BytesMut,
    io: I,
    /// What may be read in this round.
    left: Rc<Cell<usize>>,
}

impl<I: Io> AsyncRead for Prefixed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.left.get();
        if left == 0 {
            // The next round is begun by `poll_accept`, which wakes its task for it.
            return Poll::Pending;
        }
        if self.prefix.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            // One read may go beyond, by no more than the reader's buffer has room for.
            self.left.set(left.saturating_sub(buf.filled().len() - before));
            return Poll::Ready(Ok(()));
        }
        let n = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..n]);
        self.prefix.advance(n);
        if self.prefix.is_empty() {
            self.prefix = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Io> AsyncWrite for Prefixed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

enum State<I> {
    Handshake(Box<Handshake<Prefixed<I>, Bytes>>),
    Open(Box<Connection<Prefixed<I>, Bytes>>),
    Done,
}

/// A client's connection.
pub struct ServerConn<I: Io> {
    state: State<I>,
    opts: Options,
    drain: bool,
    streams: Rc<Cell<usize>>,
    /// What may be read in this round.
    left: Rc<Cell<usize>>,
}

/// A request and the stream that it came on. [`Incoming::Head`] or [`Incoming::Malformed`], which
/// is answered on its stream; the connection lives on.
pub type Accepted = (Incoming, ServerStream);

impl<I: Io> ServerConn<I> {
    /// A connection of which `read` was already read (protocol detection); it may be empty.
    #[must_use]
    pub fn new(io: I, opts: Options, read: BytesMut) -> Self {
        let mut builder = Builder::new();
        builder
            .initial_window_size(opts.initial_stream_window_size)
            .initial_connection_window_size(opts.initial_connection_window_size)
            .max_concurrent_streams(opts.max_concurrent_streams)
            .header_table_size(opts.hpack_table_size)
            .max_header_list_size(opts.max_header_list_size)
            .max_send_buffer_size(opts.high_watermark)
            .max_pending_accept_reset_streams(opts.max_pending_reset_streams)
            .max_local_error_reset_streams(Some(opts.max_error_resets));
        if opts.allow_connect {
            builder.enable_connect_protocol();
        }
        let left = Rc::new(Cell::new(ROUND));
        let handshake = builder.handshake(Prefixed { prefix: read, io, left: Rc::clone(&left) });
        Self {
            state: State::Handshake(Box::new(handshake)),
            opts,
            drain: false,
            streams: Rc::default(),
            left,
        }
    }

    /// The next request; `None` when the connection is over. It must be polled for as long as any
    /// stream of it lives.
    ///
    /// # Errors
    /// The connection ended by a broken protocol or transport; its streams are gone.
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Accepted, BodyError>>> {
        let accepted = self.poll_state(cx);
        if accepted.is_pending() && self.left.replace(ROUND) == 0 {
            // All that was read is accepted. The streams' tasks have their turn before more is.
            cx.waker().wake_by_ref();
        }
        accepted
    }

    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, BodyError>>> {
        loop {
            match &mut self.state {
                State::Done => return Poll::Ready(None),
                State::Handshake(handshake) => match ready!(Pin::new(handshake).poll(cx)) {
                    Ok(mut conn) => {
                        if self.drain {
                            conn.graceful_shutdown();
                        }
                        self.state = State::Open(Box::new(conn));
                    }
                    Err(error) => return Poll::Ready(Some(Err(self.fail(&error)))),
                },
                State::Open(conn) => match ready!(conn.poll_accept(cx)) {
                    None => self.state = State::Done,
                    Some(Err(error)) => return Poll::Ready(Some(Err(self.fail(&error)))),
                    Some(Ok((request, respond))) => {
                        let accepted = self.accepted(request, respond);
                        return Poll::Ready(Some(Ok(accepted)));
                    }
                },
            }
        }
    }

    fn fail(&mut self, error: &::h2::Error) -> BodyError {
        self.state = State::Done;
        stream_error(error)
    }

    fn accepted(
        &self,
        request: http::Request<::h2::RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Accepted {
        let (parts, body) = request.into_parts();
        let (head, error) = request_in(parts, body.is_end_stream(), &self.opts);
        let extended = head.upgrade.is_some();
        let limits =
            Limits { count: self.opts.max_headers_count, underscores: self.opts.underscores };
        let tunnel = extended || head.method == Method::CONNECT;
        let stream = ServerStream {
            respond,
            recv: Inbound::new(body, tunnel, limits),
            send: Outbound::new(),
            extended,
            tunnel,
            head_request: head.method == Method::HEAD,
            answered: false,
            high_watermark: self.opts.high_watermark,
            _counted: Counted::new(&self.streams),
        };
        match error {
            None => (Incoming::Head(head), stream),
            Some(error) => (Incoming::Malformed { error, head: Some(head) }, stream),
        }
    }

    /// GOAWAY: streams that are open finish, new ones are refused; then `poll_accept` ends.
    pub fn graceful_shutdown(&mut self) {
        self.drain = true;
        if let State::Open(conn) = &mut self.state {
            conn.graceful_shutdown();
        }
    }

    /// GOAWAY with that code, at once; streams that are open end.
    pub fn abrupt_shutdown(&mut self, code: ResetCode) {
        if let State::Open(conn) = &mut self.state {
            conn.abrupt_shutdown(code.into());
        }
    }

    /// Streams that their owners have not dropped yet.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whether the client's preface came.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The one handle for PINGs of ours, once the connection is open.
    pub fn take_ping_pong(&mut self) -> Option<PingPong> {
        match &mut self.state {
            State::Open(conn) => conn.ping_pong(),
            State::Handshake(_) | State::Done => None,
        }
    }
}

/// One request of a client's connection. Dropping it resets what is not complete.
pub struct ServerStream {
    respond: SendResponse<Bytes>,
    recv: Inbound,
    send: Outbound,
    /// The answer to extended CONNECT: 101 goes out as 200.
    extended: bool,
    tunnel: bool,
    head_request: bool,
    answered: bool,
    high_watermark: usize,
    _counted: Counted,
}

impl ServerStream {
    /// The stream's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.respond.stream_id().as_u32()
    }

    fn push_head(&mut self, head: ResponseHead) {
        if self.answered {
            self.reset(ResetCode::Internal);
            return;
        }
        self.answered = true;
        let opens = match self.extended {
            true => head.status == StatusCode::SWITCHING_PROTOCOLS,
            false => head.status.is_success(),
        } && self.tunnel;
        self.recv.decide(opens);
        let bodiless = head.status == StatusCode::NOT_MODIFIED || self.head_request;
        let promised = length(&head.headers).filter(|_| !opens && !bodiless);
        let mut ends = head.ends && !opens;
        let mut head = head;
        if bodiless || head.status == StatusCode::NO_CONTENT {
            ends = true;
        } else if ends && promised.is_some_and(|n| n > 0) {
            // What is sent decides (the body was taken out on the way).
            head.headers.insert(http::header::CONTENT_LENGTH, 0.into());
        }
        match self.respond.send_response(response_out(head, self.extended), ends) {
            Ok(stream) => self.send.start(stream, promised, ends),
            Err(error) => self.send.die(stream_error(&error)),
        }
    }

    fn push_informational(&mut self, head: ResponseHead) {
        if !self.answered && head.status != StatusCode::SWITCHING_PROTOCOLS {
            // A stream that is gone shows with the answer.
            let _ = self.respond.send_informational(response_out(head, false));
        }
    }

    fn reset(&mut self, code: ResetCode) {
        if !self.send.reset(code) {
            self.respond.send_reset(Reason::from(code));
        }
    }
}

impl Source for ServerStream {
    fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Result<Option<BodyPart>, BodyError>> {
        self.recv.poll_part(cx, limit)
    }
}

impl Sink for ServerStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.send.poll_move(cx, self.high_watermark)
    }

    fn push(&mut self, piece: Outgoing) {
        match piece {
            Outgoing::Informational(head) => self.push_informational(head),
            Outgoing::Head(head) => self.push_head(head),
            // HEAD and 304 swallow a body, as in HTTP/1.
            Outgoing::Part(_) | Outgoing::End if self.send.done() => {}
            Outgoing::Part(BodyPart::Data(bytes)) => self.send.data(bytes),
            Outgoing::Part(BodyPart::Trailers(map)) => self.send.end(Some(map)),
            Outgoing::End => self.send.end(None),
            Outgoing::Reset(code) => self.reset(code),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.send.poll_move(cx, 0)
    }
}

impl Downstream for ServerStream {
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        if self.answered {
            return self.send.poll_reset(cx);
        }
        Poll::Ready(match ready!(self.respond.poll_reset(cx)) {
            Ok(reason) => BodyError::Reset(reason.into()),
            Err(error) => stream_error(&error),
        })
    }

    fn set_close(&mut self) {}

    fn request_complete(&self) -> bool {
        self.recv.done()
    }

    fn answered(&self) -> bool {
        self.answered
    }
}
