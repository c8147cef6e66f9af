//! A stream of scripted pieces: what the fuzz targets put beneath a connection. The first byte of
//! the input says how the rest is cut, so that the fuzzer explores cuts as well as bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use data_plane::codec::io::Io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives `bytes` in pieces of at most `piece`, then the end; takes whatever is written.
pub struct Script<'a> {
    bytes: &'a [u8],
    piece: usize,
    /// Everything that was written.
    pub written: Vec<u8>,
}

impl<'a> Script<'a> {
    /// The whole input at once.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, piece: usize::MAX, written: Vec::new() }
    }

    /// The input in pieces.
    pub fn pieces(bytes: &'a [u8], piece: u8) -> Self {
        Self { piece: usize::from(piece).max(1), ..Self::whole(bytes) }
    }
}

impl AsyncRead for Script<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = self.bytes.len().min(self.piece).min(buf.remaining());
        let (now, later) = self.bytes.split_at(n);
        buf.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io for Script<'_> {
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn try_closed(&self) -> bool {
        self.bytes.is_empty()
    }
}
