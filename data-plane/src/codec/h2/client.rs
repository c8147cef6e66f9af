//! The client role: a handle that opens streams, a [`Driver`] that moves the frames and is spawned
//! on the worker, and a stream a request.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use ::h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use bytes::Bytes;
use http::{HeaderValue, Method};

use super::head::{length, request_out, response_in};
use super::pings::Pings;
use super::recv::{Inbound, Limits};
use super::send::Outbound;
use super::{Counted, Options, stream_error};
use crate::codec::h1::Underscores;
use crate::codec::io::Io;
use crate::codec::{
    BodyError, BodyPart, Outgoing, ProtocolError, RequestHead, ResponseEvent, Sink, Source,
    Upstream,
};

type Pending<I> = Pin<Box<dyn Future<Output = Result<Opened<I>, ::h2::Error>>>>;
type Opened<I> = (SendRequest<Bytes>, Connection<I, Bytes>);

/// A connection whose preface and SETTINGS are being sent.
pub struct Handshake<I: Io> {
    pending: Pending<I>,
    opts: Options,
}

impl<I: Io + 'static> Future for Handshake<I> {
    type Output = Result<(ClientConn, Driver<I>), BodyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (send, mut conn) = match ready!(self.pending.as_mut().poll(cx)) {
            Ok(opened) => opened,
            Err(error) => return Poll::Ready(Err(stream_error(&error))),
        };
        let closed = Rc::new(Cell::new(false));
        let high_watermark = self.opts.high_watermark;
        let max_headers_count = self.opts.max_headers_count;
        let limit = self.opts.max_concurrent_streams as usize;
        let handle = ClientConn {
            send,
            closed: closed.clone(),
            high_watermark,
            max_headers_count,
            limit,
            streams: Rc::default(),
        };
        let rules = self.opts.keepalive;
        let pings = rules.and_then(|rules| Pings::new(conn.ping_pong()?, rules));
        Poll::Ready(Ok((handle, Driver { conn, pings, closed })))
    }
}

/// Moves the frames of a connection; ends with it. Spawn it on the worker.
pub struct Driver<I: Io> {
    conn: Connection<I, Bytes>,
    pings: Option<Pings>,
    closed: Rc<Cell<bool>>,
}

impl<I: Io> Future for Driver<I> {
    type Output = Result<(), BodyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.pings.as_mut().is_some_and(|pings| pings.poll(cx).is_ready()) {
            // Dropped with the connection in it, so that every stream learns of the end.
            self.closed.set(true);
            return Poll::Ready(Err(BodyError::Closed));
        }
        let ended = ready!(Pin::new(&mut self.conn).poll(cx));
        self.closed.set(true);
        Poll::Ready(ended.map_err(|error| stream_error(&error)))
    }
}

impl<I: Io> Drop for Driver<I> {
    fn drop(&mut self) {
        self.closed.set(true);
    }
}

/// A connection to an upstream host; clones share it. The last one dropped, and no stream open,
/// the driver ends.
#[derive(Clone)]
pub struct ClientConn {
    send: SendRequest<Bytes>,
    closed: Rc<Cell<bool>>,
    high_watermark: usize,
    max_headers_count: usize,
    limit: usize,
    streams: Rc<Cell<usize>>,
}

impl ClientConn {
    /// Starts HTTP/2 on a stream that agreed on it (ALPN, or prior knowledge).
    #[must_use]
    pub fn handshake<I: Io + 'static>(io: I, opts: Options) -> Handshake<I> {
        let mut builder = Builder::new();
        builder
            .initial_window_size(opts.initial_stream_window_size)
            .initial_connection_window_size(opts.initial_connection_window_size)
            .header_table_size(opts.hpack_table_size)
            .max_header_list_size(opts.max_header_list_size)
            .max_send_buffer_size(opts.high_watermark)
            .max_local_error_reset_streams(Some(opts.max_error_resets))
            .initial_max_send_streams(opts.max_concurrent_streams as usize)
            .enable_push(false);
        let pending = async move { builder.handshake::<I, Bytes>(io).await };
        Handshake { pending: Box::pin(pending), opts }
    }

    /// Ready when another stream may be opened now.
    ///
    /// # Errors
    /// The connection takes no more streams (GOAWAY, closed).
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.closed.get() {
            return Poll::Ready(Err(BodyError::Closed));
        }
        self.send.poll_ready(cx).map_err(|error| stream_error(&error))
    }

    /// Whether the connection can still take streams, now or when others end.
    #[must_use]
    pub fn usable(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.closed.get() && !matches!(self.send.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Streams that may be open at once: ours and the peer's limit.
    #[must_use]
    pub fn max_streams(&self) -> usize {
        self.send.current_max_send_streams().min(self.limit)
    }

    /// Streams that their owners have not dropped yet.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Opens a stream, after [`Self::poll_ready`] said so.
    ///
    /// # Errors
    /// The connection takes no more streams, or the head cannot be said in HTTP/2.
    pub fn send(&mut self, head: &RequestHead) -> Result<ClientStream, BodyError> {
        // Whether the peer knows extended CONNECT is not waited for, as in Envoy: its SETTINGS may
        // still be on their way, and `h2` does not tell when they are here. A peer that does not
        // know it resets the stream (RFC 8441 §3 has the client wait).
        let request = request_out(head).map_err(BodyError::Protocol)?;
        let promised = length(request.headers());
        let sent = self.send.send_request(request, head.ends);
        let (response, stream) = sent.map_err(|error| stream_error(&error))?;
        let tunnel = head.upgrade.is_some() || head.method == Method::CONNECT;
        let mut send = Outbound::new();
        send.start(stream, promised.filter(|_| !tunnel && !head.ends), head.ends);
        Ok(ClientStream {
            response: Some(response),
            recv: None,
            send,
            upgrade: head.upgrade.clone(),
            held: tunnel,
            max_headers_count: self.max_headers_count,
            high_watermark: self.high_watermark,
            heard: false,
            _counted: Counted::new(&self.streams),
        })
    }
}

/// One request on an upstream connection. Dropping it resets what is not complete.
pub struct ClientStream {
    response: Option<ResponseFuture>,
    recv: Option<Inbound>,
    send: Outbound,
    upgrade: Option<HeaderValue>,
    /// A tunnel was asked for and not yet answered: data waits.
    held: bool,
    max_headers_count: usize,
    high_watermark: usize,
    heard: bool,
    _counted: Counted,
}

impl Upstream for ClientStream {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseEvent, BodyError>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(BodyError::Closed));
        };
        match response.poll_informational(cx) {
            Poll::Ready(Some(Ok(response))) => {
                self.heard = true;
                let head = response_in(response.into_parts().0, true, None);
                return Poll::Ready(Ok(ResponseEvent::Informational(head)));
            }
            Poll::Ready(Some(Err(error))) => {
                self.response = None;
                return Poll::Ready(Err(stream_error(&error)));
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        let response = match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => response,
            Err(error) => {
                self.response = None;
                return Poll::Ready(Err(stream_error(&error)));
            }
        };
        self.response = None;
        self.heard = true;
        self.held = false;
        let (parts, body) = response.into_parts();
        if parts.headers.len() > self.max_headers_count {
            return Poll::Ready(Err(BodyError::Protocol(ProtocolError::TooManyHeaders)));
        }
        let head = response_in(parts, body.is_end_stream(), self.upgrade.as_ref());
        let limits = Limits { count: self.max_headers_count, underscores: Underscores::Allow };
        self.recv = Some(Inbound::new(body, false, limits));
        Poll::Ready(Ok(ResponseEvent::Head(head)))
    }

    fn answered(&self) -> bool {
        self.heard
    }

    fn request_sent(&self) -> bool {
        self.send.done()
    }
}

impl Source for ClientStream {
    /// The body of the answer, once its head is there.
    fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Result<Option<BodyPart>, BodyError>> {
        match &mut self.recv {
            Some(recv) => recv.poll_part(cx, limit),
            None => Poll::Ready(Err(BodyError::Closed)),
        }
    }
}

impl Sink for ClientStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.held {
            // `poll_head` is polled by the same task and decides.
            return Poll::Pending;
        }
        self.send.poll_move(cx, self.high_watermark)
    }

    /// Heads are not for this role: requests start with [`ClientConn::send`].
    fn push(&mut self, piece: Outgoing) {
        match piece {
            Outgoing::Part(BodyPart::Data(bytes)) => self.send.data(bytes),
            Outgoing::Part(BodyPart::Trailers(map)) => self.send.end(Some(map)),
            Outgoing::End => self.send.end(None),
            Outgoing::Reset(code) => {
                self.send.reset(code);
            }
            Outgoing::Informational(_) | Outgoing::Head(_) => {
                self.send.reset(crate::codec::ResetCode::Internal);
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.send.poll_move(cx, 0)
    }
}
