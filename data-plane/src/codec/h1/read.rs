//! Bytes → body parts, for both roles: one object that knows how the body at hand ends.
//!
//! Sans-IO: it takes from a buffer and says when it needs more; what the end of the stream means is
//! told by [`BodyReader::eof`].

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::chunked::{Chunk, Chunked};
use super::framing::Framing;
use crate::codec::{BodyError, ProtocolError};

/// What was found next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// Some bytes.
    Data(Bytes),
    /// Trailers; the body is complete after them.
    Trailers(HeaderMap),
    /// The body is complete.
    End,
    /// More bytes are needed.
    More,
    /// Nothing may be read before it is known whether a tunnel opens.
    Undecided,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Done,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Undecided,
    Tunnel,
    TunnelDone,
}

/// The body of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyReader {
    state: State,
    may_tunnel: bool,
    trailers: bool,
    max_fields: usize,
}

impl BodyReader {
    /// A reader that has nothing to read.
    pub(super) fn new(trailers: bool, max_fields: usize) -> Self {
        Self { state: State::Done, may_tunnel: false, trailers, max_fields }
    }

    /// Starts a body. With `may_tunnel` nothing past it is read until [`Self::decide`].
    pub(super) fn start(&mut self, framing: Framing, may_tunnel: bool) {
        self.may_tunnel = may_tunnel;
        self.state = match framing {
            Framing::Empty | Framing::Length(0) => self.after(),
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::Chunked(Chunked::new()),
            Framing::UntilClose => State::UntilClose,
            Framing::Tunnel => State::Tunnel,
        };
    }

    fn after(&self) -> State {
        if self.may_tunnel { State::Undecided } else { State::Done }
    }

    /// The answer is there: a tunnel opens, or the message ends where its framing says.
    pub(super) fn decide(&mut self, tunnel: bool) {
        self.may_tunnel = false;
        match self.state {
            _ if tunnel => self.state = State::Tunnel,
            State::Undecided => self.state = State::Done,
            _ => {}
        }
    }

    /// Whether the message is complete.
    pub(super) fn done(&self) -> bool {
        matches!(self.state, State::Done | State::TunnelDone)
    }

    /// Whether raw bytes are read.
    pub(super) fn tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel | State::TunnelDone)
    }

    /// Bytes that surely follow, to choose the size of the next read.
    pub(super) fn expected(&self) -> u64 {
        match &self.state {
            State::Length(n) => *n,
            State::Chunked(chunked) => chunked.remaining(),
            State::UntilClose | State::Tunnel => 1,
            State::Done | State::Undecided | State::TunnelDone => 0,
        }
    }

    /// Takes the next part of at most `limit` bytes from `buf`.
    pub(super) fn decode(
        &mut self,
        buf: &mut BytesMut,
        limit: usize,
    ) -> Result<Decoded, ProtocolError> {
        match &mut self.state {
            State::Done | State::TunnelDone => Ok(Decoded::End),
            State::Undecided => Ok(Decoded::Undecided),
            State::Length(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(limit).min(buf.len());
                if most == 0 {
                    return Ok(Decoded::More);
                }
                *left -= most as u64;
                if *left == 0 {
                    self.state = self.after();
                }
                Ok(Decoded::Data(buf.split_to(most).freeze()))
            }
            State::UntilClose | State::Tunnel => {
                let most = limit.min(buf.len());
                if most == 0 {
                    return Ok(Decoded::More);
                }
                Ok(Decoded::Data(buf.split_to(most).freeze()))
            }
            State::Chunked(chunked) => match chunked.decode(buf, limit, self.max_fields)? {
                Chunk::Data(bytes) => Ok(Decoded::Data(bytes)),
                Chunk::More => Ok(Decoded::More),
                Chunk::End(map) => {
                    self.state = self.after();
                    if self.trailers && !map.is_empty() {
                        return Ok(Decoded::Trailers(map));
                    }
                    self.decode(buf, limit)
                }
            },
        }
    }

    /// The stream ended.
    ///
    /// # Errors
    /// The body did not end.
    pub(super) fn eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done | State::TunnelDone => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Tunnel => {
                self.state = State::TunnelDone;
                Ok(())
            }
            State::Length(_) | State::Chunked(_) | State::Undecided => Err(BodyError::Closed),
        }
    }
}
