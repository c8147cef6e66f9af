//! Opening one connection to a host.
//!
//! A TCP (or Unix) connection is made within the cluster's `connect_timeout`, with Nagle off and
//! keep-alive as configured. What fails becomes a typed [`ConnectError`] in Envoy's words; nothing
//! was sent by then, so that a retry is always safe. The bytes of a connection are counted here,
//! nothing is pooled.

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive as Keepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::host::HostAddress;
use crate::base::bind::{BindConfig, BindError};
use crate::codec::io::Io;
use crate::codec::io::tls::{HandshakeError, TlsStream};
use crate::config::address::TcpKeepalive;
use crate::config::cluster::ClusterConfig;
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{ClusterStat, Group};
use crate::tls::client::{Client, Offer};
use crate::tls::words;

/// A connected byte stream, which counts what passes.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    meter: Option<Meter>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed, so that connections in the clear have no room for it.
    Tls(Box<TlsStream<Self>>),
}

/// Where the bytes of a connection are counted (`upstream_cx_{rx,tx}_bytes_total`).
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) stats: Group<ClusterStat>,
    pub(super) worker: WorkerId,
}

/// Why there is no connection. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.kind.text())]
pub struct ConnectError {
    /// What Envoy calls it.
    pub kind: ConnectErrorKind,
    /// More about the transport, such as `delayed connect error: Connection refused`; empty where
    /// Envoy says nothing.
    pub transport: Cow<'static, str>,
}

/// The classes of Envoy's pool failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// The source address could not be bound.
    Bind,
    /// `connect_timeout` passed.
    Timeout,
    /// The other side refused, or was not reached.
    Remote,
    /// We could not even try (no descriptor, no address).
    Local,
}

impl ConnectErrorKind {
    /// Envoy's words, which stand in response bodies and details.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Timeout => "connection timeout",
            Self::Remote => "remote connection failure",
            Self::Bind | Self::Local => "local connection failure",
        }
    }
}

impl ConnectError {
    /// `connect_timeout` passed.
    #[must_use]
    pub const fn timeout() -> Self {
        Self { kind: ConnectErrorKind::Timeout, transport: Cow::Borrowed("") }
    }

    fn local(error: &io::Error) -> Self {
        Self { kind: ConnectErrorKind::Local, transport: errno_text(error).into() }
    }

    fn bind(error: BindError) -> Self {
        match error {
            BindError::Option(error) => Self::local(&error),
            BindError::Address(source, error) => {
                let text = format!("failed to bind to {source}: {}", errno_text(&error));
                Self { kind: ConnectErrorKind::Bind, transport: text.into() }
            }
        }
    }

    fn remote(error: &io::Error) -> Self {
        let text = format!("delayed connect error: {}", errno_text(error));
        Self { kind: ConnectErrorKind::Remote, transport: text.into() }
    }
}

/// The system's text without Rust's `(os error N)`.
fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text).to_owned()
}

/// How connections of a cluster are made.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Longest wait.
    pub timeout: Duration,
    /// `upstream_connection_options.tcp_keepalive`.
    pub keepalive: Option<TcpKeepalive>,
    /// Where connections come from (`upstream_bind_config`).
    pub bind: Option<Arc<BindConfig>>,
    /// TLS, and what is offered by ALPN.
    pub tls: Option<(Arc<Client>, Offer)>,
}

impl From<&ClusterConfig> for ConnectOptions {
    fn from(config: &ClusterConfig) -> Self {
        Self {
            timeout: config.connect_timeout,
            keepalive: config.tcp_keepalive,
            bind: config.bind.clone(),
            tls: None,
        }
    }
}

/// Opens a connection, its TLS handshake included.
///
/// # Errors
/// It could not be opened in time.
pub async fn connect(
    address: &HostAddress,
    options: &ConnectOptions,
    worker: WorkerId,
) -> Result<Socket, ConnectError> {
    let opening = async {
        let socket = open(address, options).await?;
        match &options.tls {
            None => Ok(socket),
            // Boxed, so that attempts in the clear have no room for it.
            Some((client, offer)) => Box::pin(encrypt(socket, client, *offer, worker)).await,
        }
    };
    match tokio::time::timeout(options.timeout, opening).await {
        Ok(done) => done,
        Err(_elapsed) => Err(ConnectError::timeout()),
    }
}

async fn encrypt(
    socket: Socket,
    client: &Client,
    offer: Offer,
    worker: WorkerId,
) -> Result<Socket, ConnectError> {
    let failed = |error: &rustls::Error| {
        client.recorder.failed(worker, error);
        let transport = format!("TLS_error:|{}:TLS_error_end", words::reason(error)).into();
        ConnectError { kind: ConnectErrorKind::Remote, transport }
    };
    let session = client.session(offer).map_err(|error| failed(&error))?;
    match TlsStream::handshake(socket.stream, session, &[]).await {
        Ok(mut stream) => {
            client.recorder.done(worker, stream.session());
            Ok(Socket::new(Stream::Tls(Box::new(stream))))
        }
        Err(HandshakeError::Tls(error)) => Err(failed(&error)),
        Err(HandshakeError::Io(_)) => {
            Err(ConnectError { kind: ConnectErrorKind::Remote, transport: "".into() })
        }
    }
}

async fn open(address: &HostAddress, options: &ConnectOptions) -> Result<Socket, ConnectError> {
    match address {
        HostAddress::Socket(address) => {
            let socket = tcp_socket(*address, options)?;
            let stream = socket.connect(*address).await;
            stream.map(Stream::Tcp).map(Socket::new).map_err(|e| failed(&e))
        }
        HostAddress::Pipe(path) => {
            let stream = UnixStream::connect(path).await;
            stream.map(Stream::Unix).map(Socket::new).map_err(|e| ConnectError::remote(&e))
        }
    }
}

/// No route or descriptor is our own trouble; all else is the other side's.
fn failed(error: &io::Error) -> ConnectError {
    match error.kind() {
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse | ErrorKind::PermissionDenied => {
            ConnectError::local(error)
        }
        _ => ConnectError::remote(error),
    }
}

fn tcp_socket(address: SocketAddr, options: &ConnectOptions) -> Result<TcpSocket, ConnectError> {
    let raw = raw_socket(address).map_err(|error| ConnectError::local(&error))?;
    if let Some(bind) = &options.bind {
        bind.apply(&raw, address).map_err(ConnectError::bind)?;
    }
    let socket = TcpSocket::from_std_stream(raw.into());
    if let Some(keepalive) = options.keepalive {
        let set = SockRef::from(&socket).set_tcp_keepalive(&keepalive_of(keepalive));
        set.map_err(|error| ConnectError::local(&error))?;
    }
    Ok(socket)
}

fn raw_socket(address: SocketAddr) -> io::Result<RawSocket> {
    let raw = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    raw.set_nonblocking(true)?;
    raw.set_tcp_nodelay(true)?;
    Ok(raw)
}

fn keepalive_of(config: TcpKeepalive) -> Keepalive {
    let seconds = |value: u32| Duration::from_secs(u64::from(value));
    let mut keepalive = Keepalive::new();
    if let Some(time) = config.time_s {
        keepalive = keepalive.with_time(seconds(time));
    }
    if let Some(interval) = config.interval_s {
        keepalive = keepalive.with_interval(seconds(interval));
    }
    if let Some(probes) = config.probes {
        keepalive = keepalive.with_retries(probes);
    }
    keepalive
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl Io for Stream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_readable(cx),
            Self::Unix(stream) => stream.poll_readable(cx),
            Self::Tls(stream) => stream.poll_readable(cx),
        }
    }

    fn try_closed(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.try_closed(),
            Self::Unix(stream) => stream.try_closed(),
            Self::Tls(stream) => stream.try_closed(),
        }
    }

    fn end_with_reset(&self) {
        match self {
            Self::Tcp(stream) => stream.end_with_reset(),
            Self::Unix(stream) => stream.end_with_reset(),
            Self::Tls(stream) => stream.end_with_reset(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut socket.stream).poll_read(cx, buf);
        socket.count(ClusterStat::UpstreamCxRxBytesTotal, buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.stream).poll_write(cx, bytes);
        socket.written(written)
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
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.stream).poll_write_vectored(cx, parts);
        socket.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl Io for Socket {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_readable(cx)
    }

    fn try_closed(&self) -> bool {
        self.stream.try_closed()
    }

    fn end_with_reset(&self) {
        self.stream.end_with_reset();
    }
}

impl Socket {
    const fn new(stream: Stream) -> Self {
        Self { stream, meter: None }
    }

    /// Counts its bytes from now on.
    pub(super) fn metered(self, meter: Meter) -> Self {
        Self { meter: Some(meter), ..self }
    }

    fn count(&self, stat: ClusterStat, bytes: usize) {
        if let Some(meter) = self.meter.as_ref().filter(|_| bytes > 0) {
            meter.stats.add(meter.worker, stat, bytes as u64);
        }
    }

    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.count(ClusterStat::UpstreamCxTxBytesTotal, *bytes);
        }
        written
    }

    /// Our own address, for `%UPSTREAM_LOCAL_ADDRESS%`; `None` for a Unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Tls(stream) => stream.with_io(|stream| match stream {
                Stream::Tcp(stream) => stream.local_addr().ok(),
                Stream::Unix(_) | Stream::Tls(_) => None,
            }),
            Stream::Unix(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn options() -> ConnectOptions {
        ConnectOptions { timeout: Duration::from_secs(5), ..ConnectOptions::default() }
    }

    #[tokio::test]
    async fn connects_with_nodelay_keepalive_and_source() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = ConnectOptions {
            keepalive: Some(TcpKeepalive { time_s: Some(7), ..TcpKeepalive::default() }),
            bind: Some(Arc::new(BindConfig {
                addresses: vec!["127.0.0.2:0".parse().unwrap()],
                ..BindConfig::default()
            })),
            ..options()
        };
        let socket = connect(&address.into(), &options, WorkerId::CONTROL).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip().to_string(), "127.0.0.2");
        assert_eq!(socket.local_address(), Some(peer));
        let Stream::Tcp(stream) = socket.stream else { panic!("not TCP") };
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }

    #[tokio::test]
    async fn a_source_that_is_not_here_is_a_local_failure_in_envoys_words() {
        let bind =
            BindConfig { addresses: vec!["192.0.2.1:0".parse().unwrap()], ..BindConfig::default() };
        let options = ConnectOptions { bind: Some(Arc::new(bind)), ..options() };
        let to = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = connect(&to.into(), &options, WorkerId::CONTROL).await.unwrap_err();
        assert_eq!(error.to_string(), "local connection failure");
        let why = "failed to bind to 192.0.2.1:0: Cannot assign requested address";
        assert_eq!((error.kind, &*error.transport), (ConnectErrorKind::Bind, why));
    }

    #[tokio::test]
    async fn a_closed_port_is_a_remote_failure_in_envoys_words() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = connect(&address.into(), &options(), WorkerId::CONTROL).await.unwrap_err();
        assert_eq!(error.to_string(), "remote connection failure");
        assert_eq!(error.transport, "delayed connect error: Connection refused");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_connection_times_out() {
        // A listener whose queue is full answers no SYN.
        let raw = RawSocket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        raw.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        raw.listen(0).unwrap();
        let address = raw.local_addr().unwrap().as_socket().unwrap();
        let filler = std::net::TcpStream::connect(address).unwrap();
        let error = connect(&address.into(), &options(), WorkerId::CONTROL).await.unwrap_err();
        assert_eq!(error, ConnectError::timeout());
        assert_eq!(error.to_string(), "connection timeout");
        drop(filler);
    }

    #[tokio::test]
    async fn a_missing_pipe_is_a_remote_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.sock");
        let error = connect(&HostAddress::Pipe(path.into()), &options(), WorkerId::CONTROL)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ConnectErrorKind::Remote);
    }
}
