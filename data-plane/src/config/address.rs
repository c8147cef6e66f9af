//! Addresses (`envoy.config.core.v3.Address`), as far as this build can bind or dial them.
//!
//! The model says what was written; whether a name may stand where it stands is decided by the
//! caller: a listener and a `STATIC` cluster want an IP address, `STRICT_DNS` resolves names.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where to bind or whom to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A host name that DNS resolves, and a port.
    Name {
        /// The name as written.
        host: Arc<str>,
        /// TCP port.
        port: u16,
    },
    /// A Unix domain socket.
    Pipe(Pipe),
}

/// A Unix domain socket (`envoy.config.core.v3.Pipe`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pipe {
    /// Path in the file system; `@name` is an abstract socket.
    pub path: Arc<str>,
    /// Mode bits of the socket file; 0 leaves them as the umask makes them.
    pub mode: u32,
}

/// TCP keep-alive of a socket (`envoy.config.core.v3.TcpKeepalive`); `None` is the system's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection counts as dead.
    pub probes: Option<u32>,
    /// Seconds of silence before the first probe.
    pub time_s: Option<u32>,
    /// Seconds between probes.
    pub interval_s: Option<u32>,
}

impl Address {
    /// The IP address and port, unless it is a name or a pipe.
    #[must_use]
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Name { .. } | Self::Pipe(_) => None,
        }
    }
}

/// As Envoy writes it: `1.2.3.4:80`, `[::1]:80`, `host:80`, `/path`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Pipe(pipe) => f.write_str(&pipe.path),
        }
    }
}
