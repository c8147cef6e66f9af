//! A byte stream in memory for tests: two ends, each direction a pipe of bounded capacity, so that
//! back-pressure, half-close and reset show as on a socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Io;

#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// One end of a [`pair`].
#[derive(Debug)]
pub struct MemIo {
    read: Rc<RefCell<Pipe>>,
    write: Rc<RefCell<Pipe>>,
    /// Reads bring at most so many bytes, to try splits.
    pub read_limit: usize,
}

/// Two connected ends; at most `capacity` bytes wait in each direction.
#[must_use]
pub fn pair(capacity: usize) -> (MemIo, MemIo) {
    let pipe = || Rc::new(RefCell::new(Pipe { capacity, ..Pipe::default() }));
    let (a, b) = (pipe(), pipe());
    let one = MemIo { read: a.clone(), write: b.clone(), read_limit: usize::MAX };
    (one, MemIo { read: b, write: a, read_limit: usize::MAX })
}

impl MemIo {
    /// What the peer wrote so far, at once.
    #[must_use]
    pub fn drain(&self) -> Vec<u8> {
        let mut pipe = self.read.borrow_mut();
        let bytes = pipe.bytes.drain(..).collect();
        pipe.wake();
        bytes
    }

    /// Writes past the capacity, as a test that feeds bytes wants it.
    pub fn feed(&self, bytes: &[u8]) {
        let mut pipe = self.write.borrow_mut();
        pipe.bytes.extend(bytes);
        pipe.wake();
    }

    /// Closes the direction from here to the peer.
    pub fn finish(&self) {
        let mut pipe = self.write.borrow_mut();
        pipe.closed = true;
        pipe.wake();
    }

    /// Whether the peer closed its direction.
    #[must_use]
    pub fn peer_finished(&self) -> bool {
        self.read.borrow().closed
    }
}

impl Drop for MemIo {
    fn drop(&mut self) {
        for pipe in [&self.read, &self.write] {
            let mut pipe = pipe.borrow_mut();
            pipe.closed = true;
            pipe.wake();
        }
    }
}

impl AsyncRead for MemIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = self.read.borrow_mut();
        if pipe.bytes.is_empty() {
            if pipe.closed {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = pipe.bytes.len().min(buf.remaining()).min(self.read_limit);
        let bytes: Vec<u8> = pipe.bytes.drain(..most).collect();
        buf.put_slice(&bytes);
        if let Some(waker) = pipe.writer.take() {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.write.borrow_mut();
        if pipe.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = pipe.capacity.saturating_sub(pipe.bytes.len()).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.bytes.extend(&bytes[..room]);
        if let Some(waker) = pipe.reader.take() {
            waker.wake();
        }
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Io for MemIo {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.read.borrow_mut();
        if pipe.bytes.is_empty() && !pipe.closed {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn try_closed(&self) -> bool {
        let pipe = self.read.borrow();
        pipe.closed || !pipe.bytes.is_empty()
    }
}
