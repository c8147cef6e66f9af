//! The byte stream beneath a connection: a TCP socket, a Unix socket, TLS; in tests a pipe.
//!
//! Waiting for bytes and holding a buffer are two things here: an idle connection waits with
//! [`Io::poll_readable`] and owns no buffer, which is what keeps ten thousand of them cheap. After
//! a short read tokio has already cleared the readiness, so the next wait costs no syscall.
//!
//! Everything belongs to one worker: no `Send`, no locks. No clock either: deadlines are the
//! caller's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::poll_read_buf;

use super::h1::SpareHeads;

pub mod hello;
#[cfg(test)]
pub mod mem;
pub mod tls;

/// A byte stream whose reading can be awaited without a buffer.
pub trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Ready when a read may bring bytes, the end or an error. It may be ready in vain.
    ///
    /// # Errors
    /// The stream is broken.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether a connection that must be silent (idle in a pool) is not usable any more: the peer
    /// closed it or sent something. Never waits; costs no syscall while nothing happened.
    fn try_closed(&self) -> bool;

    /// What is dropped from now on ends with a reset, where the stream knows such a thing.
    fn end_with_reset(&self) {}

    /// Appends what is there to `buf`, after making room for `hint` bytes; 0 is the end.
    ///
    /// # Errors
    /// The stream is broken.
    fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        hint: usize,
    ) -> Poll<io::Result<usize>>
    where
        Self: Sized,
    {
        let room = buf.capacity() - buf.len();
        // A body's rest of a buffer is not worth a syscall either, if a whole one is to be had.
        let body = hint >= BODY_READ && buf.is_empty() && room < BODY_READ / 2;
        if body || room < MIN_READ {
            buf.reserve(hint);
        }
        poll_read_buf(Pin::new(self), cx, buf)
    }
}

/// With less room than this a read is not worth its syscall.
const MIN_READ: usize = 2 * 1024;

/// `try_read`'s outcome on a stream that must be silent.
fn spoken(read: &io::Result<usize>) -> bool {
    !matches!(read, Err(e) if e.kind() == ErrorKind::WouldBlock)
}

impl Io for TcpStream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_closed(&self) -> bool {
        spoken(&self.try_read(&mut [0]))
    }

    fn end_with_reset(&self) {
        // A socket that refuses ends as others do.
        let _set = self.set_zero_linger();
    }
}

impl Io for UnixStream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_closed(&self) -> bool {
        spoken(&self.try_read(&mut [0]))
    }
}

impl<T: Io + ?Sized> Io for Box<T> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_readable(cx)
    }

    fn try_closed(&self) -> bool {
        (**self).try_closed()
    }

    fn end_with_reset(&self) {
        (**self).end_with_reset();
    }
}

/// Room for a head and a small body in one read.
pub const HEAD_READ: usize = 16 * 1024;
/// Read size for bodies that fill the smaller one.
pub const BODY_READ: usize = 64 * 1024;

/// Buffers that are waited for while others read from them.
const READ_MOST: usize = 64;

/// Whether a buffer is none that a large body made larger.
fn kept(buffer: &BytesMut) -> bool {
    buffer.capacity() <= BODY_READ + HEAD_READ
}

/// A worker's spare read buffers and parts of heads. A connection takes a buffer when bytes arrive
/// and gives it back when it is idle.
#[derive(Debug)]
pub struct BufferPool {
    /// What heads leave behind.
    pub heads: SpareHeads,
    spare: RefCell<Vec<BytesMut>>,
    /// Given back while others still read from them, the oldest first.
    read: RefCell<VecDeque<BytesMut>>,
    most: usize,
    lent: Cell<usize>,
}

impl BufferPool {
    /// A pool that keeps at most `most` spare buffers of 16 to 64 KiB.
    #[must_use]
    pub fn new(most: usize) -> Rc<Self> {
        Rc::new(Self {
            heads: SpareHeads::default(),
            spare: RefCell::default(),
            read: RefCell::default(),
            most,
            lent: Cell::new(0),
        })
    }

    /// An empty buffer with at least [`HEAD_READ`] bytes of room.
    #[must_use]
    pub fn take(&self) -> BytesMut {
        self.lent.set(self.lent.get() + 1);
        let spare = self.spare.borrow_mut().pop().or_else(|| self.take_read());
        spare.unwrap_or_else(|| BytesMut::with_capacity(HEAD_READ))
    }

    /// The oldest of those that others read from, if they are done with it.
    fn take_read(&self) -> Option<BytesMut> {
        let mut read = self.read.borrow_mut();
        let mut buffer = read.pop_front()?;
        if !buffer.try_reclaim(HEAD_READ) {
            read.push_back(buffer);
            return None;
        }
        Some(buffer).filter(kept)
    }

    /// Takes a buffer back. What others still read from (slices of it, an answer that HTTP/2 has
    /// yet to write) is of use once they are done; who reads for long is not waited for.
    pub fn give(&self, mut buffer: BytesMut) {
        self.lent.set(self.lent.get().saturating_sub(1));
        buffer.clear();
        let (mut spare, mut read) = (self.spare.borrow_mut(), self.read.borrow_mut());
        if spare.len() >= self.most {
            return;
        }
        if buffer.try_reclaim(HEAD_READ) {
            spare.extend(Some(buffer).filter(kept));
            return;
        }
        if read.len() >= READ_MOST {
            read.pop_front();
        }
        read.push_back(buffer);
    }

    /// Buffers that connections hold at the moment.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.lent.get()
    }

    /// Buffers that lie ready.
    #[must_use]
    pub fn spare(&self) -> usize {
        self.spare.borrow().len()
    }
}

#[cfg(test)]
mod tests;
