//! DATA and trailers → body parts. The window is given back when a part is pulled, never before.

use std::task::{Context, Poll, Waker, ready};

use ::h2::RecvStream;
use bytes::Bytes;
use http::HeaderMap;

use super::head::underscores;
use super::stream_error;
use crate::codec::h1::Underscores;
use crate::codec::{BodyError, BodyPart, ProtocolError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is read before a tunnel is agreed upon.
    Undecided,
    Data,
    Trailers,
    Done,
}

/// The incoming half of a stream.
#[derive(Debug)]
pub(super) struct Inbound {
    stream: RecvStream,
    /// The rest of a frame that was larger than the caller's limit.
    held: Bytes,
    state: State,
    waker: Option<Waker>,
    limits: Limits,
}

/// What trailers may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most fields.
    pub(super) count: usize,
    /// What becomes of names with an underscore.
    pub(super) underscores: Underscores,
}

impl Limits {
    fn keep(self, mut trailers: HeaderMap) -> Result<Option<BodyPart>, BodyError> {
        if trailers.len() > self.count {
            return Err(BodyError::Protocol(ProtocolError::TooManyHeaders));
        }
        underscores(&mut trailers, self.underscores).map_err(BodyError::Protocol)?;
        Ok(Some(trailers).filter(|map| !map.is_empty()).map(BodyPart::Trailers))
    }
}

impl Inbound {
    pub(super) fn new(stream: RecvStream, undecided: bool, limits: Limits) -> Self {
        let state = match undecided {
            true => State::Undecided,
            false if stream.is_end_stream() => State::Done,
            false => State::Data,
        };
        Self { stream, held: Bytes::new(), state, waker: None, limits }
    }

    pub(super) fn done(&self) -> bool {
        self.state == State::Done
    }

    /// The answer is there: a tunnel opens, or the request had no body.
    pub(super) fn decide(&mut self, tunnel: bool) {
        if self.state == State::Undecided {
            self.state = if tunnel { State::Data } else { State::Done };
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    pub(super) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Result<Option<BodyPart>, BodyError>> {
        loop {
            if !self.held.is_empty() {
                let part = self.held.split_to(self.held.len().min(limit.max(1)));
                // Fails only if the stream is gone, which the next read tells.
                let _ = self.stream.flow_control().release_capacity(part.len());
                return Poll::Ready(Ok(Some(BodyPart::Data(part))));
            }
            match self.state {
                State::Done => return Poll::Ready(Ok(None)),
                State::Undecided => {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                State::Data => match ready!(self.stream.poll_data(cx)) {
                    Some(Ok(bytes)) => self.held = bytes,
                    Some(Err(error)) => return Poll::Ready(Err(stream_error(&error))),
                    None => self.state = State::Trailers,
                },
                State::Trailers => {
                    let trailers = ready!(self.stream.poll_trailers(cx));
                    self.state = State::Done;
                    return Poll::Ready(match trailers {
                        Ok(None) => Ok(None),
                        Ok(Some(map)) => self.limits.keep(map),
                        Err(error) => Err(stream_error(&error)),
                    });
                }
            }
        }
    }
}
