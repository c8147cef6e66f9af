//! A request on an upstream connection, whatever protocol it speaks.

use std::task::{Context, Poll, ready};

use crate::cluster::pool::{H1Lease, H2Lease, Lease, Payload, Reuse};
use crate::codec::h2::ClientStream;
use crate::codec::{
    BodyError, BodyPart, Outgoing, RequestHead, ResetCode, ResponseEvent, Sink, Source, Upstream,
};

/// A request under way.
pub(super) enum Stream {
    /// A connection of its own.
    H1(H1Lease),
    /// A stream of a shared one, and its place there.
    H2(Box<ClientStream>, H2Lease),
}

/// What was broken off with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// Its connection, which Envoy counts as a connection alone.
    Connection,
    /// The stream was reset.
    Stream,
}

impl Stream {
    /// Starts a request; on HTTP/1 nothing is written before the first flush.
    ///
    /// # Errors
    /// The connection takes no stream any more, or cannot say the head.
    pub(super) fn start(
        lease: Lease,
        head: &RequestHead,
        payload: Payload,
    ) -> Result<Self, BodyError> {
        match lease {
            Lease::H1(mut lease) => {
                match payload {
                    Payload::Http => lease.conn().push_request(head),
                    Payload::Raw => lease.conn().start_raw(),
                }
                Ok(Self::H1(lease))
            }
            Lease::H2(mut lease) => {
                let stream = lease.conn().send(head)?;
                Ok(Self::H2(Box::new(stream), lease))
            }
        }
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::H1(lease) => lease.conn().poll_ready(cx),
            Self::H2(stream, _) => stream.poll_ready(cx),
        }
    }

    pub(super) fn push(&mut self, piece: Outgoing) {
        match self {
            Self::H1(lease) => lease.conn().push(piece),
            Self::H2(stream, _) => stream.push(piece),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::H1(lease) => lease.conn().poll_flush(cx),
            Self::H2(stream, _) => stream.poll_flush(cx),
        }
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseEvent, BodyError>> {
        match self {
            Self::H1(lease) => lease.conn().poll_head(cx),
            Self::H2(stream, _) => stream.poll_head(cx),
        }
    }

    pub(super) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Result<Option<BodyPart>, BodyError>> {
        let part = ready!(match self {
            Self::H1(lease) => lease.conn().poll_part(cx, limit),
            Self::H2(stream, _) => stream.poll_part(cx, limit),
        });
        if part.is_err() {
            self.closed_by_peer();
        }
        Poll::Ready(part)
    }

    /// Whether its end is that of a connection, and no message of the protocol.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self, Self::H1(_))
    }

    /// Whether an answer over HTTP/1 had begun.
    pub(super) fn answered(&mut self) -> bool {
        match self {
            Self::H1(lease) => lease.conn().answered(),
            Self::H2(..) => false,
        }
    }

    /// The other side ended the connection.
    pub(super) fn closed_by_peer(&mut self) {
        match self {
            Self::H1(lease) => lease.closed_by_peer(),
            Self::H2(_, lease) => lease.closed_by_peer(),
        }
    }

    /// The exchange is over: the connection goes back to its pool if it may.
    pub(super) fn finish(self) {
        match self {
            Self::H1(mut lease) => {
                // What might have been a tunnel has no more use; otherwise the pool looks itself
                // whether the connection may serve another.
                let tunnel = lease.conn().asked_for_tunnel();
                lease.finish(if tunnel { Reuse::Close } else { Reuse::Keep });
            }
            Self::H2(stream, lease) => {
                drop(stream);
                lease.finish(Reuse::Keep);
            }
        }
    }

    /// Breaks it off.
    pub(super) fn cancel(self) -> Cancelled {
        match self {
            // Nobody knows what is still under way on the connection: it closes.
            Self::H1(lease) => {
                drop(lease);
                Cancelled::Connection
            }
            Self::H2(mut stream, lease) => {
                stream.push(Outgoing::Reset(ResetCode::Cancelled));
                drop(stream);
                lease.finish(Reuse::Keep);
                Cancelled::Stream
            }
        }
    }
}
