//! A request on an upstream connection, whatever protocol it speaks.

use std::task::{Context, Poll, ready};

use crate::cluster::pool::{H1Lease, Lease, Reuse};
use crate::codec::h1::ResponseEvent;
use crate::codec::{BodyError, BodyPart, Outgoing, RequestHead, ResetCode, Sink, Source, Version};

/// A request under way.
pub(super) enum Stream {
    /// A connection of its own.
    H1(H1Lease),
}

impl Stream {
    /// Starts a request; nothing is written before the first flush.
    pub(super) fn start(lease: Lease, head: &RequestHead) -> Self {
        match lease {
            Lease::H1(mut lease) => {
                lease.conn().push_request(head);
                Self::H1(lease)
            }
        }
    }

    /// What the connection speaks.
    pub(super) const fn version(&self) -> Version {
        match self {
            Self::H1(_) => Version::Http11,
        }
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::H1(lease) => lease.conn().poll_ready(cx),
        }
    }

    pub(super) fn push(&mut self, piece: Outgoing) {
        match self {
            Self::H1(lease) => lease.conn().push(piece),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::H1(lease) => lease.conn().poll_flush(cx),
        }
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseEvent, BodyError>> {
        match self {
            Self::H1(lease) => lease.conn().poll_head(cx),
        }
    }

    pub(super) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Result<Option<BodyPart>, BodyError>> {
        match self {
            Self::H1(lease) => {
                let part = ready!(lease.conn().poll_part(cx, limit));
                if part.is_err() {
                    lease.closed_by_peer();
                }
                Poll::Ready(part)
            }
        }
    }

    /// The other side ended it.
    pub(super) fn closed_by_peer(&mut self) {
        match self {
            Self::H1(lease) => lease.closed_by_peer(),
        }
    }

    /// The exchange is over: the connection goes back to its pool if it may.
    pub(super) fn finish(self) {
        match self {
            Self::H1(mut lease) => {
                let reuse = if lease.conn().reusable() { Reuse::Keep } else { Reuse::Close };
                lease.finish(reuse);
            }
        }
    }

    /// Breaks it off.
    pub(super) fn cancel(self) {
        match self {
            // Nobody knows what is still under way on the connection: it closes.
            Self::H1(lease) => drop(lease),
        }
    }
}

/// Named for what the router resets a stream with when the client gave up.
pub(super) const CANCELLED: ResetCode = ResetCode::Cancelled;
