//! TLS around another stream, either side of it.
//!
//! rustls keeps the state and never does I/O; this moves its records. Ciphertext that the socket
//! did not take goes on at the next write, flush or read. A peer that ends without a
//! `close_notify` has cut the stream off: that is an error, never an end.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead as _, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Io;

/// A stream in TLS.
pub struct TlsStream<I> {
    // Cells, so that an idle connection can be looked at through a shared reference.
    io: RefCell<I>,
    session: RefCell<Box<Connection>>,
}

impl<I: fmt::Debug> fmt::Debug for TlsStream<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("io", &self.io).finish_non_exhaustive()
    }
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The stream broke or ended.
    #[error("{0}")]
    Io(io::Error),
    /// A peer that cannot be talked to, or may not.
    #[error("{0}")]
    Tls(rustls::Error),
}

impl<I: AsyncRead + AsyncWrite + Unpin> TlsStream<I> {
    /// Makes the handshake. `bytes` were read before and belong to it.
    ///
    /// # Errors
    /// It failed; the peer was told why.
    pub async fn handshake(
        io: I,
        mut session: Connection,
        mut bytes: &[u8],
    ) -> Result<Self, HandshakeError> {
        let mut broken = None;
        while !bytes.is_empty() && broken.is_none() {
            session.read_tls(&mut bytes).map_err(HandshakeError::Io)?;
            broken = session.process_new_packets().err();
        }
        let mut stream = Self { io: RefCell::new(io), session: RefCell::new(Box::new(session)) };
        if let Some(error) = broken {
            // The alert; a peer that does not take it learns nothing.
            std::future::poll_fn(|cx| {
                let _sent = send(stream.io.get_mut(), stream.session.get_mut(), cx);
                Poll::Ready(())
            })
            .await;
            return Err(HandshakeError::Tls(error));
        }
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeError>> {
        let (io, session) = (self.io.get_mut(), self.session.get_mut());
        loop {
            let sent = send(io, session, cx);
            if let Poll::Ready(Err(error)) = sent {
                return Poll::Ready(Err(HandshakeError::Io(error)));
            }
            // What is left to send (tickets) goes with what comes next: a peer that does not read
            // yet must not hold its own request up.
            if !session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match ready!(receive(io, session, cx)) {
                Ok(0) => {
                    let end = ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(HandshakeError::Io(end)));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(handshake_error(error))),
            }
        }
    }

    /// The session: what was negotiated, and whom with.
    pub fn session(&mut self) -> &Connection {
        self.session.get_mut()
    }

    /// Looks at the stream beneath.
    pub fn with_io<T>(&self, look: impl FnOnce(&I) -> T) -> T {
        look(&self.io.borrow())
    }
}

fn handshake_error(error: io::Error) -> HandshakeError {
    let of_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    if !of_tls {
        return HandshakeError::Io(error);
    }
    match error.into_inner().map(|inner| inner.downcast::<rustls::Error>()) {
        Some(Ok(inner)) => HandshakeError::Tls(*inner),
        _ => HandshakeError::Io(ErrorKind::Other.into()),
    }
}

/// Sends the records that wait.
fn send<I: AsyncWrite + Unpin>(
    io: &mut I,
    session: &mut Connection,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while session.wants_write() {
        match session.write_tls(&mut Adapter { io, cx }) {
            Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}

/// Takes in records; 0 is the end of the stream beneath.
fn receive<I: AsyncRead + AsyncWrite + Unpin>(
    io: &mut I,
    session: &mut Connection,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let n = match session.read_tls(&mut Adapter { io, cx }) {
        Ok(n) => n,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
        Err(error) => return Poll::Ready(Err(error)),
    };
    if let Err(error) = session.process_new_packets() {
        // The alert; a peer that does not take it learns nothing.
        let _sent = send(io, session, cx);
        return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, error)));
    }
    Poll::Ready(Ok(n))
}

/// Whether a read would give something (bytes, the end, an error) without the stream beneath.
fn has_plaintext(session: &mut Connection) -> bool {
    let mut reader = session.reader();
    !matches!(reader.fill_buf(), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// An asynchronous stream as rustls wants to see it.
struct Adapter<'a, 'w, I> {
    io: &'a mut I,
    cx: &'a mut Context<'w>,
}

impl<I: AsyncRead + Unpin> Read for Adapter<'_, '_, I> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(bytes);
        match Pin::new(&mut *self.io).poll_read(self.cx, &mut buf) {
            Poll::Ready(read) => read.map(|()| buf.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl<I: AsyncWrite + Unpin> Write for Adapter<'_, '_, I> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        block(Pin::new(&mut *self.io).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        block(Pin::new(&mut *self.io).poll_write_vectored(self.cx, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        block(Pin::new(&mut *self.io).poll_flush(self.cx))
    }
}

fn block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(done) => done,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (io, session) = (this.io.get_mut(), this.session.get_mut());
        // Its failure shows when somebody writes.
        let _sent = send(io, session, cx);
        loop {
            let mut reader = session.reader();
            match reader.fill_buf() {
                Ok(chunk) => {
                    let n = chunk.len().min(buf.remaining());
                    buf.put_slice(&chunk[..n]);
                    reader.consume(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(receive(io, session, cx))?;
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> TlsStream<I> {
    fn poll_put(
        &mut self,
        cx: &mut Context<'_>,
        put: impl FnOnce(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let (io, session) = (self.io.get_mut(), self.session.get_mut());
        // Nothing new is taken while something older waits: that is the back-pressure.
        ready!(send(io, session, cx))?;
        let n = put(&mut session.writer())?;
        match send(io, session, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // The rest goes with the next write, flush or read, for which the waker is set.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(n)),
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_put(cx, |writer| writer.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_put(cx, |writer| writer.write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(send(this.io.get_mut(), this.session.get_mut(), cx))?;
        Pin::new(this.io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Said once; rustls ignores a second time.
        this.session.get_mut().send_close_notify();
        ready!(send(this.io.get_mut(), this.session.get_mut(), cx))?;
        Pin::new(this.io.get_mut()).poll_shutdown(cx)
    }
}

impl<I: Io> Io for TlsStream<I> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (io, session) = (self.io.get_mut(), self.session.get_mut());
        let _sent = send(io, session, cx);
        if has_plaintext(session) {
            return Poll::Ready(Ok(()));
        }
        io.poll_readable(cx)
    }

    fn end_with_reset(&self) {
        self.io.borrow().end_with_reset();
    }

    /// A server may send session tickets to a client that is silent, so records are taken in until
    /// one means something. Nobody waits on an idle connection, hence the waker that wakes nobody.
    fn try_closed(&self) -> bool {
        let (mut io, mut session) = (self.io.borrow_mut(), self.session.borrow_mut());
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if has_plaintext(&mut session) {
                return true;
            }
            match receive(&mut *io, &mut session, &mut cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests;
