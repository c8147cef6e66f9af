//! Body parts → bytes, for both roles, and the buffer in which bytes wait for the socket.
//!
//! Small pieces are copied behind one another, large ones are queued as they are, and one vectored
//! write moves both. A body that does not keep to its announced length breaks the message: from
//! then on nothing is written and the connection must close, which is the only way to tell the
//! peer.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::NameCase;
use super::encode;
use super::framing::Framing;

/// Pieces up to this size are copied.
const COPY_MAX: usize = 4 * 1024;
/// What an idle connection keeps for the next head.
const KEEP: usize = 1024;
/// Most slices of one write.
const SLICES: usize = 16;

/// A large piece and how many bytes of the small ones come before it.
#[derive(Debug)]
struct Large {
    at: usize,
    bytes: Bytes,
}

/// Bytes on their way out.
#[derive(Debug, Default)]
pub(super) struct OutBuf {
    /// Everything small, one after another.
    pub small: BytesMut,
    large: VecDeque<Large>,
    large_len: usize,
}

impl OutBuf {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.small.len() + self.large_len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues `bytes`, copying what is small.
    pub(super) fn put(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_MAX {
            self.small.extend_from_slice(&bytes);
            return;
        }
        self.large_len += bytes.len();
        self.large.push_back(Large { at: self.small.len(), bytes });
    }

    /// The first bytes in the order in which they go out.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let (mut used, mut done) = (0, 0);
        for large in &self.large {
            if used + 2 > SLICES {
                return used;
            }
            if large.at > done {
                slices[used] = IoSlice::new(&self.small[done..large.at]);
                used += 1;
                done = large.at;
            }
            slices[used] = IoSlice::new(&large.bytes);
            used += 1;
        }
        if done < self.small.len() && used < SLICES {
            slices[used] = IoSlice::new(&self.small[done..]);
            used += 1;
        }
        used
    }

    /// Whether everything lies in one slice.
    pub(super) fn only_small(&self) -> bool {
        self.large.is_empty()
    }

    /// `n` bytes were written.
    pub(super) fn advance(&mut self, mut n: usize) {
        if self.large.is_empty() && n == self.small.len() {
            // The usual case; unlike advancing it leaves the buffer whole for the next message.
            self.small.clear();
            return;
        }
        let mut small = 0;
        while n > 0 {
            let Some(first) = self.large.front_mut() else {
                small += n;
                break;
            };
            let before = (first.at - small).min(n);
            small += before;
            n -= before;
            let part = first.bytes.len().min(n);
            first.bytes.advance(part);
            self.large_len -= part;
            n -= part;
            if first.bytes.is_empty() {
                self.large.pop_front();
            }
        }
        self.small.advance(small);
        for large in &mut self.large {
            large.at -= small;
        }
    }

    /// Gives memory back that is more than the next head needs.
    pub(super) fn shrink(&mut self) {
        if self.small.is_empty() && self.small.capacity() > KEEP {
            self.small = BytesMut::new();
        }
        if self.large.is_empty() && self.large.capacity() > 0 {
            self.large = VecDeque::new();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.small.clear();
        self.large.clear();
        self.large_len = 0;
    }

    pub(super) fn slots<'a>() -> [IoSlice<'a>; SLICES] {
        [IoSlice::new(&[]); SLICES]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No head yet.
    Idle,
    /// So many bytes are still due; a tunnel may follow.
    Length(u64),
    Chunked,
    UntilClose,
    /// The head was all; parts are swallowed (HEAD, 304).
    Nothing,
    /// An upgrade was asked for and not yet answered.
    Held,
    Tunnel,
    Done,
    Broken,
}

/// The body of one message that goes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyWriter {
    state: State,
    trailers: bool,
    case: NameCase,
}

impl BodyWriter {
    pub(super) fn new(trailers: bool, case: NameCase) -> Self {
        Self { state: State::Idle, trailers, case }
    }

    /// Back to where no head was sent.
    pub(super) fn reset(&mut self) {
        self.state = State::Idle;
    }

    /// A head went out; `ends` as it said itself.
    pub(super) fn start(&mut self, framing: Framing, ends: bool) {
        self.state = match framing {
            Framing::Tunnel => State::Tunnel,
            _ if ends => State::Done,
            Framing::Empty => State::Nothing,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::Chunked,
            Framing::UntilClose => State::UntilClose,
        };
    }

    /// The head of an upgrade request without a body went out.
    pub(super) fn hold(&mut self) {
        self.state = State::Held;
    }

    /// The answer to an upgrade request is there.
    pub(super) fn decide(&mut self, tunnel: bool) {
        match self.state {
            _ if tunnel => self.state = State::Tunnel,
            State::Held => self.state = State::Nothing,
            _ => {}
        }
    }

    /// Whether a final head went out.
    pub(super) fn started(&self) -> bool {
        self.state != State::Idle
    }

    /// Whether data must wait for an answer.
    pub(super) fn held(&self) -> bool {
        self.state == State::Held
    }

    /// Whether the message went out whole.
    pub(super) fn done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether nothing of the message's own is due any more: what follows belongs to a tunnel.
    pub(super) fn complete(&self) -> bool {
        matches!(self.state, State::Held | State::Length(0) | State::Done)
    }

    pub(super) fn broken(&self) -> bool {
        self.state == State::Broken
    }

    pub(super) fn tunnel(&self) -> bool {
        self.state == State::Tunnel
    }

    pub(super) fn break_off(&mut self) {
        self.state = State::Broken;
    }

    /// Some bytes of the body.
    pub(super) fn data(&mut self, out: &mut OutBuf, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.state {
            State::Length(left) => match left.checked_sub(bytes.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    out.put(bytes);
                }
                None => self.state = State::Broken,
            },
            State::Chunked => {
                encode::chunk_size(&mut out.small, bytes.len());
                out.put(bytes);
                out.small.extend_from_slice(b"\r\n");
            }
            State::UntilClose | State::Tunnel => out.put(bytes),
            State::Nothing => {}
            State::Idle | State::Held | State::Done | State::Broken => self.state = State::Broken,
        }
    }

    /// The end without trailers.
    pub(super) fn end(&mut self, out: &mut OutBuf) {
        self.finish(out, None);
    }

    /// The end with trailers, which only chunks can carry.
    pub(super) fn finish(&mut self, out: &mut OutBuf, trailers: Option<&HeaderMap>) {
        self.state = match self.state {
            State::Chunked => {
                out.small.extend_from_slice(b"0\r\n");
                match trailers.filter(|_| self.trailers) {
                    Some(map) => encode::trailers(&mut out.small, map, self.case),
                    None => out.small.extend_from_slice(b"\r\n"),
                }
                State::Done
            }
            State::Length(0)
            | State::UntilClose
            | State::Nothing
            | State::Tunnel
            | State::Held
            | State::Done => State::Done,
            State::Length(_) | State::Idle | State::Broken => State::Broken,
        };
    }
}
