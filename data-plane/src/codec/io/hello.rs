//! A connection's first bytes: TLS or not, and what a ClientHello asks for.
//!
//! The bytes that were read are handed on, to TLS or to HTTP. How long a client may take is the
//! caller's deadline.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};

use super::Io;

/// Most bytes of a ClientHello, as in Envoy (`TLS_MAX_CLIENT_HELLO`).
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Type of a record that carries a handshake.
const HANDSHAKE: u8 = 22;

/// What a connection begins with.
pub enum Hello {
    /// Something else than TLS; these bytes were read.
    Plain(BytesMut),
    /// TLS, and what is needed to go on with it; these bytes were read.
    Tls {
        /// The ClientHello.
        accepted: Box<Accepted>,
        /// All bytes that were read.
        bytes: BytesMut,
        /// How many of them went into `accepted`; the others belong to the session made of it.
        fed: usize,
    },
    /// Something that claims to be TLS and is none that can be spoken.
    Broken(Box<(rustls::Error, AcceptedAlert)>, BytesMut),
    /// The client left.
    Closed,
}

/// Reads until it is clear.
pub struct Inspect<I> {
    io: Option<I>,
    bytes: BytesMut,
    acceptor: Acceptor,
    /// How many of the bytes rustls has seen.
    fed: usize,
}

impl<I: Io> Inspect<I> {
    /// Starts with a connection of which nothing was read.
    #[must_use]
    pub fn new(io: I) -> Self {
        Self { io: Some(io), bytes: BytesMut::new(), acceptor: Acceptor::default(), fed: 0 }
    }

    /// The stream and what it begins with.
    ///
    /// # Panics
    /// When polled again after it was ready.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(I, Hello)> {
        loop {
            if let Some(hello) = self.judge() {
                let io = self.io.take().expect("polled after it was ready");
                return Poll::Ready((io, hello));
            }
            let io = self.io.as_mut().expect("polled after it was ready");
            // Nothing is held while nothing comes.
            let read = ready!(io.poll_readable(cx))
                .map(|()| io.poll_read_buf(cx, &mut self.bytes, FIRST_READ));
            let n = match read {
                Ok(read) => ready!(read).unwrap_or(0),
                Err(_) => 0,
            };
            if n == 0 {
                let io = self.io.take().expect("it was there a moment ago");
                return Poll::Ready((io, Hello::Closed));
            }
        }
    }

    /// The stream and the bytes so far, when nobody waits any longer.
    pub fn give_up(self) -> Option<(I, BytesMut)> {
        self.io.map(|io| (io, self.bytes))
    }

    /// The bytes so far, if they are enough.
    fn judge(&mut self) -> Option<Hello> {
        if *self.bytes.first()? != HANDSHAKE || self.bytes.get(1).is_some_and(|major| *major != 3) {
            return Some(Hello::Plain(std::mem::take(&mut self.bytes)));
        }
        if self.bytes.len() > HELLO_BYTES_MAX {
            // Envoy looks no further and takes it for something else.
            return Some(Hello::Plain(std::mem::take(&mut self.bytes)));
        }
        while self.fed < self.bytes.len() {
            let mut rest = &self.bytes[self.fed..];
            match self.acceptor.read_tls(&mut rest) {
                Ok(0) | Err(_) => break,
                Ok(n) => self.fed += n,
            }
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Some(Hello::Tls {
                        accepted: Box::new(accepted),
                        bytes: std::mem::take(&mut self.bytes),
                        fed: self.fed,
                    });
                }
                Err(broken) => {
                    let bytes = std::mem::take(&mut self.bytes);
                    return Some(Hello::Broken(Box::new(broken), bytes));
                }
            }
        }
        None
    }
}

/// Tells a client why nothing comes of its ClientHello, of which these bytes were read; one that
/// takes it at once at least.
///
/// # Errors
/// The stream is broken.
pub async fn alert<I: Io>(mut io: I, hello: &[u8], mut alert: AcceptedAlert) -> io::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let mut bytes = Vec::new();
    if is_old(hello) {
        bytes.extend_from_slice(&PROTOCOL_VERSION);
    } else {
        alert.write_all(&mut bytes)?;
    }
    io.write_all(&bytes).await?;
    io.shutdown().await
}

/// Whether it is a ClientHello of a version before 1.2. rustls misses extensions in it that came
/// later, and would name them instead of the version.
fn is_old(hello: &[u8]) -> bool {
    hello.get(9..11).is_some_and(|version| version < &TLS_12[..])
}

const TLS_12: [u8; 2] = [3, 3];

/// A record with the fatal alert `protocol_version`.
const PROTOCOL_VERSION: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];

/// A usual ClientHello fits.
const FIRST_READ: usize = 4 * 1024;
