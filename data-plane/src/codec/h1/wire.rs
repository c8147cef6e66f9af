//! The socket of an HTTP/1 connection with its buffers. It decides how much to read and gives the
//! buffers back when the connection rests; it knows nothing of messages.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use super::write::OutBuf;
use crate::codec::io::{BODY_READ, BufferPool, HEAD_READ, Io};

/// A socket and what was read from it and is to be written to it.
#[derive(Debug)]
pub(super) struct Wire<I> {
    pub io: I,
    pub pool: Rc<BufferPool>,
    /// Read and not yet understood.
    pub rbuf: BytesMut,
    /// To be written.
    pub out: OutBuf,
    /// The peer has nothing more to say.
    pub eof: bool,
    holds: bool,
    /// The last read filled the buffer, so that a larger one pays.
    full: bool,
    /// Bytes read and written in all.
    pub received: u64,
    /// See `received`.
    pub sent: u64,
    /// Writing failed once.
    pub dead: bool,
}

impl<I: Io> Wire<I> {
    pub(super) fn new(io: I, pool: Rc<BufferPool>) -> Self {
        Self {
            io,
            pool,
            rbuf: BytesMut::new(),
            out: OutBuf::default(),
            eof: false,
            holds: false,
            full: false,
            received: 0,
            sent: 0,
            dead: false,
        }
    }

    /// Puts bytes in front that somebody else read.
    pub(super) fn preload(&mut self, bytes: &[u8]) {
        if !self.holds {
            self.rbuf = self.pool.take();
            self.holds = true;
        }
        self.rbuf.extend_from_slice(bytes);
        self.received += bytes.len() as u64;
    }

    /// Reads once; 0 is the end, and also every read after it. `expected` bytes surely follow.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        expected: u64,
    ) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        if !self.holds {
            ready!(self.io.poll_readable(cx))?;
            self.rbuf = self.pool.take();
            self.holds = true;
        }
        let large = self.full || expected >= BODY_READ as u64;
        let hint = if large && expected > 0 { BODY_READ } else { HEAD_READ };
        let n = ready!(self.io.poll_read_buf(cx, &mut self.rbuf, hint))?;
        self.full = self.rbuf.len() == self.rbuf.capacity();
        self.eof = n == 0;
        self.received += n as u64;
        Poll::Ready(Ok(n))
    }

    /// Writes until nothing is left.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx, 0))?;
        // Only TLS holds something back; for a socket this is nothing.
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Writes until at most `rest` bytes are left.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, rest: usize) -> Poll<io::Result<()>> {
        if self.dead {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        while self.out.len() > rest {
            let io = Pin::new(&mut self.io);
            let wrote = if self.out.only_small() {
                io.poll_write(cx, &self.out.small)
            } else {
                let mut slices = OutBuf::slots();
                let used = self.out.slices(&mut slices);
                io.poll_write_vectored(cx, &slices[..used])
            };
            match ready!(wrote) {
                Ok(0) => return Poll::Ready(Err(self.die(ErrorKind::WriteZero.into()))),
                Ok(n) => {
                    self.sent += n as u64;
                    self.out.advance(n);
                }
                Err(error) => return Poll::Ready(Err(self.die(error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn die(&mut self, error: io::Error) -> io::Error {
        self.dead = true;
        self.out.clear();
        error
    }

    /// Nothing is going on: buffers go back.
    pub(super) fn rest(&mut self) {
        if self.holds && self.rbuf.is_empty() {
            self.pool.give(std::mem::take(&mut self.rbuf));
            self.holds = false;
        }
        self.out.shrink();
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<I> Drop for Wire<I> {
    fn drop(&mut self) {
        if self.holds {
            self.pool.give(std::mem::take(&mut self.rbuf));
        }
    }
}
