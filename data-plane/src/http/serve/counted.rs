//! A client's stream that counts its bytes where they pass: for HTTP/2, whose library owns it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ConnCx;
use crate::codec::io::Io;
use crate::telemetry::stats::HttpStat;

/// See the module.
pub(super) struct CountedIo<I> {
    io: I,
    cx: Rc<ConnCx>,
}

impl<I> CountedIo<I> {
    /// Counts on from `read` bytes that were taken off the stream before.
    pub(super) fn new(io: I, read: usize, cx: &Rc<ConnCx>) -> Self {
        let counted = Self { io, cx: Rc::clone(cx) };
        counted.count(HttpStat::DownstreamCxRxBytesTotal, read);
        counted
    }

    fn count(&self, stat: HttpStat, bytes: usize) {
        let record = &self.cx.info.record;
        let sum = match stat {
            HttpStat::DownstreamCxRxBytesTotal => &record.received,
            _ => &record.sent,
        };
        sum.set(sum.get() + bytes as u64);
        self.cx.manager.manager.stats.http.add(self.cx.worker.id, stat, bytes as u64);
    }

    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.count(HttpStat::DownstreamCxTxBytesTotal, *bytes);
        }
        written
    }
}

impl<I: Io> Io for CountedIo<I> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_readable(cx)
    }

    fn try_closed(&self) -> bool {
        self.io.try_closed()
    }
}

impl<I: Io> AsyncRead for CountedIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.count(HttpStat::DownstreamCxRxBytesTotal, buf.filled().len() - before);
        read
    }
}

impl<I: Io> AsyncWrite for CountedIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
