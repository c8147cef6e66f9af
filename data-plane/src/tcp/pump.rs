//! Moving bytes one way: what was read is written before more is read, which is the back-pressure.
//!
//! Who is idle holds no buffer: it waits for bytes first and takes a buffer when some are there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};

use crate::codec::io::{BODY_READ, BufferPool, HEAD_READ, Io};

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Half {
    buffer: Option<BytesMut>,
    state: State,
    /// Bytes that were read.
    pub(super) read: u64,
    /// Bytes that were written.
    pub(super) written: u64,
    /// Writes that had to wait, so that reading paused.
    pub(super) pauses: u64,
    paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more is read; what is here is written, and then the end is told.
    Ending,
    Ended,
}

/// Which side broke.
#[derive(Debug)]
pub(super) enum Broken {
    /// The one that is read from.
    Source(io::Error),
    /// The one that is written to.
    Sink(io::Error),
}

impl Half {
    /// A direction in which `bytes` were read already.
    pub(super) fn new(bytes: BytesMut) -> Self {
        let read = bytes.len() as u64;
        let buffer = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self { buffer, state: State::Open, read, written: 0, pauses: 0, paused: false }
    }

    /// Whether all was moved and the end told.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether bytes were read that are not written yet.
    pub(super) const fn holds_bytes(&self) -> bool {
        self.buffer.is_some()
    }

    /// Nothing more can be read; what is here still goes.
    pub(super) fn cut(&mut self) {
        if self.state == State::Open {
            self.state = State::Ending;
        }
    }

    /// Nothing more can be written.
    pub(super) fn stop(&mut self, buffers: &BufferPool) {
        self.state = State::Ended;
        self.give_back(buffers);
    }

    /// Moves what can be moved; ready when the source has ended and the sink was told.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (source, sink): (&mut impl Io, &mut impl Io),
        buffers: &BufferPool,
    ) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_write(cx, sink, buffers)).map_err(Broken::Sink)?;
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(Broken::Sink)?;
                    self.state = State::Ended;
                }
                State::Open => {
                    // TLS may hold the rest of a record back until it is asked for.
                    if let Poll::Ready(flushed) = Pin::new(&mut *sink).poll_flush(cx) {
                        flushed.map_err(Broken::Sink)?;
                    }
                    ready!(self.poll_read(cx, source, buffers)).map_err(Broken::Source)?;
                }
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Io,
        buffers: &BufferPool,
    ) -> Poll<io::Result<()>> {
        while let Some(buffer) = self.buffer.as_mut().filter(|buffer| !buffer.is_empty()) {
            match Pin::new(&mut *sink).poll_write(cx, buffer) {
                Poll::Pending => {
                    self.pauses += u64::from(!std::mem::replace(&mut self.paused, true));
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    buffer.advance(n);
                    self.written += n as u64;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        self.paused = false;
        self.give_back(buffers);
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Io,
        buffers: &BufferPool,
    ) -> Poll<io::Result<()>> {
        ready!(source.poll_readable(cx))?;
        let mut buffer = buffers.take();
        // A buffer that was filled once is a stream's, which gains by larger reads.
        let hint = if self.read > HEAD_READ as u64 { BODY_READ } else { HEAD_READ };
        let read = source.poll_read_buf(cx, &mut buffer, hint);
        match read {
            Poll::Ready(Ok(n)) if n > 0 => {
                self.read += n as u64;
                self.buffer = Some(buffer);
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(_)) => self.state = State::Ending,
            _ => {}
        }
        buffers.give(buffer);
        read.map_ok(|_| ())
    }

    fn give_back(&mut self, buffers: &BufferPool) {
        if let Some(buffer) = self.buffer.take() {
            buffers.give(buffer);
        }
    }
}
