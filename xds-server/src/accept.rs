//! Accepts connections for the gRPC server and guards against those that never speak.
//!
//! Accepting never ends on an error (out of descriptors, a peer that went away): it is logged and
//! tried again. At most [`CONNECTIONS_MAX`] are open at once; a connection that has not sent
//! HTTP/2's preface within [`PREFACE_DEADLINE`] is closed. Later silence is keepalive's matter.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections that may be open at once.
pub const CONNECTIONS_MAX: usize = 20_000;
/// How long a client may take to send the preface.
pub const PREFACE_DEADLINE: Duration = Duration::from_secs(10);
/// Length of HTTP/2's connection preface (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
/// Pause after an accept that failed.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until `stop`; connections come out of the receiver, whose bound is back-pressure on
/// the kernel's queue.
#[must_use]
pub fn spawn_accept(
    listener: TcpListener,
    stop: CancellationToken,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(16);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        // The socket must close when the server stops, also while no slot is free.
        stop.run_until_cancelled(accept(listener, slots, sender)).await;
    });
    receiver
}

async fn accept(
    listener: TcpListener,
    slots: Arc<Semaphore>,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting an xDS connection failed; trying again");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let connection = Connection::new(stream, peer, slot);
        if sender.send(Ok(connection)).await.is_err() {
            return;
        }
    }
}

/// A client's connection; see the module.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// `None` once the preface is through.
    preface: Option<(Pin<Box<Sleep>>, usize)>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "TCP_NODELAY");
        }
        let deadline = Box::pin(tokio::time::sleep(PREFACE_DEADLINE));
        Self { stream, peer, preface: Some((deadline, 0)), _slot: slot }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let Some((deadline, seen)) = &mut this.preface else { return polled };
        *seen += buf.filled().len() - before;
        if *seen >= PREFACE_BYTES {
            this.preface = None;
            return polled;
        }
        if polled.is_pending() && deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        let local_addr = self.stream.local_addr().ok();
        TcpConnectInfo { local_addr, remote_addr: Some(self.peer) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::clock;

    async fn pair() -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let mut accepted = spawn_accept(listener, stop.clone());
        let client = TcpStream::connect(address).await.unwrap();
        let connection = accepted.recv().await.unwrap().unwrap();
        stop.cancel();
        (client, connection)
    }

    #[tokio::test(start_paused = true)]
    async fn connection_without_a_preface_ends_at_the_deadline() {
        let (mut client, mut connection) = pair().await;
        client.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
        let mut bytes = [0; 64];
        let begin = clock::now();
        let error = loop {
            if let Err(error) = connection.read(&mut bytes).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() <= PREFACE_DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn connection_with_a_preface_may_be_silent() {
        let (mut client, mut connection) = pair().await;
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut preface = [0; PREFACE_BYTES];
        connection.read_exact(&mut preface).await.unwrap();
        let silent = tokio::time::timeout(PREFACE_DEADLINE * 3, connection.read(&mut preface));
        assert!(silent.await.is_err(), "still open");
    }
}
