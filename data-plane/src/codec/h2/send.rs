//! Body parts → DATA and trailers, as fast as the peer's windows allow. Parts wait here until a
//! window takes them; the end rides on the last part where it can.
//!
//! A body that does not keep to its announced length resets the stream, so that nobody downstream
//! of us can take a part for the whole (CVE-2026-48743's class).

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use ::h2::{Reason, SendStream};
use bytes::Bytes;
use http::{HeaderMap, header};

use super::stream_error;
use crate::codec::{BodyError, ProtocolError, ResetCode};

#[derive(Debug)]
enum Ending {
    Plain,
    Trailers(HeaderMap),
}

/// The outgoing half of a stream.
#[derive(Debug)]
pub(super) struct Outbound {
    stream: Option<SendStream<Bytes>>,
    queue: VecDeque<Bytes>,
    queued: usize,
    ending: Option<Ending>,
    /// What `content-length` promised and is not there yet.
    left: Option<u64>,
    ended: bool,
    dead: Option<BodyError>,
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self {
            stream: None,
            queue: VecDeque::new(),
            queued: 0,
            ending: None,
            left: None,
            ended: false,
            dead: None,
        }
    }

    /// A head with that length went out.
    pub(super) fn start(&mut self, stream: SendStream<Bytes>, length: Option<u64>, ends: bool) {
        self.stream = Some(stream);
        self.left = length;
        self.ended = ends;
    }

    /// Whether the end was pushed and everything went to the connection.
    pub(super) fn done(&self) -> bool {
        self.ended && self.queue.is_empty() && self.ending.is_none() && self.dead.is_none()
    }

    /// Nothing can be sent any more.
    pub(super) fn die(&mut self, error: BodyError) {
        self.queue.clear();
        self.queued = 0;
        self.ending = None;
        self.dead.get_or_insert(error);
    }

    pub(super) fn data(&mut self, bytes: Bytes) {
        if bytes.is_empty() || self.dead.is_some() {
            return;
        }
        if self.ended {
            self.mismatch();
            return;
        }
        if let Some(left) = &mut self.left {
            match left.checked_sub(bytes.len() as u64) {
                Some(rest) => *left = rest,
                None => return self.mismatch(),
            }
        }
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    pub(super) fn end(&mut self, trailers: Option<HeaderMap>) {
        if self.ended || self.dead.is_some() {
            return;
        }
        if self.left.is_some_and(|left| left > 0) {
            self.mismatch();
            return;
        }
        self.ended = true;
        self.ending = Some(match trailers {
            Some(mut map) => {
                for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST] {
                    map.remove(name);
                }
                Ending::Trailers(map)
            }
            None => Ending::Plain,
        });
    }

    fn mismatch(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        self.die(BodyError::Protocol(ProtocolError::BodyLengthMismatch));
    }

    /// Resets the stream; false if no head went out yet.
    pub(super) fn reset(&mut self, code: ResetCode) -> bool {
        self.die(BodyError::Reset(code));
        match &mut self.stream {
            Some(stream) => {
                stream.send_reset(code.into());
                true
            }
            None => false,
        }
    }

    /// Ready when at most `rest` bytes wait for a window.
    pub(super) fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        rest: usize,
    ) -> Poll<Result<(), BodyError>> {
        let moved = self.poll_queue(cx);
        if let Some(error) = &self.dead {
            return Poll::Ready(Err(error.clone()));
        }
        if moved.is_pending() && self.queued > rest {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_queue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = &mut self.stream else {
            return if self.queue.is_empty() { Poll::Ready(()) } else { Poll::Pending };
        };
        while let Some(front) = self.queue.front_mut() {
            stream.reserve_capacity(self.queued);
            let room = match stream.capacity() {
                0 => match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(room)) => room,
                    Some(Err(error)) => {
                        self.die(stream_error(&error));
                        return Poll::Ready(());
                    }
                    None => return self.lost(cx),
                },
                room => room,
            };
            let part = front.split_to(room.min(front.len()));
            if front.is_empty() {
                self.queue.pop_front();
            }
            self.queued -= part.len();
            let last = self.queue.is_empty() && matches!(self.ending, Some(Ending::Plain));
            if last {
                self.ending = None;
            }
            if stream.send_data(part, last).is_err() {
                return self.lost(cx);
            }
        }
        let sent = match self.ending.take() {
            None => Ok(()),
            Some(Ending::Plain) => stream.send_data(Bytes::new(), true),
            Some(Ending::Trailers(map)) => stream.send_trailers(map),
        };
        if sent.is_err() { self.lost(cx) } else { Poll::Ready(()) }
    }

    /// The stream is gone: finds out why.
    fn lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let error = match self.poll_reset(cx) {
            Poll::Ready(error) => error,
            Poll::Pending => BodyError::Closed,
        };
        self.die(error);
        Poll::Ready(())
    }

    /// Ready when the peer reset the stream or the connection is gone.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        if let Some(error) = &self.dead {
            return Poll::Ready(error.clone());
        }
        match &mut self.stream {
            None => Poll::Pending,
            Some(stream) => Poll::Ready(match ready!(stream.poll_reset(cx)) {
                Ok(reason) => BodyError::Reset(reason.into()),
                Err(error) => stream_error(&error),
            }),
        }
    }
}
