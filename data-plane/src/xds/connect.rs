//! How bytes get to a management server: a trait, so that TLS can be put around them by others, and
//! the plain way over TCP or a Unix socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::base::bind::BindConfig;
use crate::config::address::Address;
use crate::config::cluster::{ClusterConfig, Discovery};
use crate::config::error::{Problems, Reason};

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Any byte stream.
pub type BoxedIo = Box<dyn Io>;

/// A connection that is being opened.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<BoxedIo>> + Send + 'a>>;

/// Opens connections to one management server.
pub trait Connect: Send + Sync {
    /// Opens one. Called again for each new stream; may choose another endpoint each time.
    fn connect(&self) -> Connecting<'_>;

    /// How long opening one may take, all handshakes included (`Cluster.connect_timeout`).
    fn timeout(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// Plain connections to the endpoints of a static cluster, one after the other.
#[derive(Debug)]
pub struct PlainConnector {
    addresses: Vec<Address>,
    bind: Option<Arc<BindConfig>>,
    timeout: Duration,
    next: AtomicUsize,
}

impl PlainConnector {
    /// Connects to `addresses` in turn.
    #[must_use]
    pub fn new(addresses: Vec<Address>, timeout: Duration) -> Self {
        Self { addresses, bind: None, timeout, next: AtomicUsize::new(0) }
    }

    /// Connects to the endpoints that are written into `cluster`; names are resolved each time.
    ///
    /// # Errors
    /// The cluster's endpoints come by EDS, which needs a server to begin with (§2.2).
    pub fn to_cluster(cluster: &ClusterConfig) -> Result<Self, Problems> {
        if let Discovery::Eds { .. } = cluster.discovery {
            let got = format!("'{}', whose endpoints come by EDS", cluster.name);
            return Err(Reason::Invalid { got, must: "a static cluster".into() }.into());
        }
        let endpoints = cluster.load_assignment.localities.iter().flat_map(|l| &l.endpoints);
        let addresses = endpoints.map(|endpoint| endpoint.address.clone()).collect();
        let plain = Self::new(addresses, cluster.connect_timeout);
        Ok(Self { bind: cluster.bind.clone(), ..plain })
    }
}

impl Connect for PlainConnector {
    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let address = turn.checked_rem(self.addresses.len()).map(|i| &self.addresses[i]);
            let Some(address) = address else {
                return Err(io::Error::other("the cluster has no endpoint"));
            };
            dial(address, self.bind.as_deref())
                .await
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
        })
    }
}

/// Dials an address; a TCP connection is watched by the kernel, so that a peer that vanished
/// without a word is noticed within 25 s (K4).
///
/// # Errors
/// What the system says.
pub async fn dial(address: &Address, bind: Option<&BindConfig>) -> io::Result<BoxedIo> {
    let tcp = match address {
        Address::Pipe(pipe) => return dial_unix(&pipe.path).await,
        Address::Ip(address) => dial_tcp(*address, bind).await?,
        Address::Name { host, port } => dial_name((host, *port), bind).await?,
    };
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(Box::new(tcp))
}

/// Tries the addresses of a name one after the other.
async fn dial_name(name: (&str, u16), bind: Option<&BindConfig>) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the name has no address");
    for address in tokio::net::lookup_host(name).await? {
        match dial_tcp(address, bind).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn dial_tcp(address: SocketAddr, bind: Option<&BindConfig>) -> io::Result<TcpStream> {
    let Some(bind) = bind else { return TcpStream::connect(address).await };
    let raw = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    raw.set_nonblocking(true)?;
    bind.apply(&raw, address).map_err(io::Error::other)?;
    TcpSocket::from_std_stream(raw.into()).connect(address).await
}

#[cfg(target_os = "linux")]
async fn dial_unix(path: &str) -> io::Result<BoxedIo> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixStream as StdUnixStream};

    let Some(name) = path.strip_prefix('@') else {
        return Ok(Box::new(UnixStream::connect(path).await?));
    };
    // A connect to an abstract socket of this machine either succeeds or fails at once.
    let stream = StdUnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    stream.set_nonblocking(true)?;
    Ok(Box::new(UnixStream::from_std(stream)?))
}

#[cfg(not(target_os = "linux"))]
async fn dial_unix(path: &str) -> io::Result<BoxedIo> {
    Ok(Box::new(UnixStream::connect(path).await?))
}
