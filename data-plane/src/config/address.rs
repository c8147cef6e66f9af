//! Addresses (`envoy.config.core.v3.Address`), as far as this build can bind or dial them.
//!
//! The model says what was written; whether a name may stand where it stands is decided by the
//! caller: a listener and a `STATIC` cluster want an IP address, `STRICT_DNS` resolves names.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use proto::envoy::config::core::v3 as pb;
use proto::envoy::config::core::v3::address::Address as Kind;
use proto::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};

use super::error::{At, Problems, Reason};
use super::field;

/// Longest path of a Unix domain socket: `sun_path` without its end.
const PIPE_PATH_BYTES_MAX: usize = 107;

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

/// Parses an address as it is written, names included.
///
/// # Errors
/// If it is of a kind, protocol or resolver that is not built, or no address at all.
pub fn parse(address: pb::Address) -> Result<Address, Problems> {
    match address.address.ok_or(Reason::Missing)? {
        Kind::SocketAddress(socket) => parse_socket(socket).at("socket_address"),
        Kind::Pipe(pipe) => parse_pipe(pipe).at("pipe").map(Address::Pipe),
        Kind::EnvoyInternalAddress(_) => {
            let what = "an internal address".into();
            Err(Reason::NotSupported { what }.into()).at("envoy_internal_address")
        }
    }
}

/// Parses an address that must be an IP address and a port.
///
/// # Errors
/// As for [`parse`], and for a name or a pipe.
pub fn parse_ip(address: pb::Address) -> Result<SocketAddr, Problems> {
    match parse(address)? {
        Address::Ip(address) => Ok(address),
        Address::Name { host, .. } => {
            field::ip(&host).at("address").at("socket_address")?;
            Err(Reason::Missing.into())
        }
        Address::Pipe(pipe) => {
            let must = "an IP address and a port".into();
            Err(Reason::Invalid { got: format!("pipe {}", pipe.path), must }.into())
        }
    }
}

/// Parses a socket address that must be an IP address and a port.
///
/// # Errors
/// As for [`parse`], and for a name.
pub fn parse_socket_ip(socket: pb::SocketAddress) -> Result<SocketAddr, Problems> {
    match parse_socket(socket)? {
        Address::Ip(address) => Ok(address),
        Address::Name { host, .. } => {
            field::ip(&host).at("address")?;
            Err(Reason::Missing.into())
        }
        Address::Pipe(_) => Err(Reason::Missing.into()),
    }
}

/// Keep-alive values; 0 is the system's, as in Envoy.
#[must_use]
pub fn parse_keepalive(keepalive: pb::TcpKeepalive) -> TcpKeepalive {
    TcpKeepalive {
        probes: keepalive.keepalive_probes.map(|v| v.value),
        time_s: keepalive.keepalive_time.map(|v| v.value),
        interval_s: keepalive.keepalive_interval.map(|v| v.value),
    }
}

fn parse_socket(socket: pb::SocketAddress) -> Result<Address, Problems> {
    if field::enumeration::<Protocol>(socket.protocol, "protocol")? == Protocol::Udp {
        return Err(Reason::NotSupported { what: "UDP".into() }.into()).at("protocol");
    }
    field::refuse(!socket.network_namespace_filepath.is_empty(), "network_namespace_filepath")?;
    if !socket.resolver_name.is_empty() && socket.resolver_name != "envoy.ip" {
        let reason = Reason::Unknown { kind: "address resolver", name: socket.resolver_name };
        return Err(reason.into()).at("resolver_name");
    }
    let port = match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => field::port(port, "port_value")?,
        Some(PortSpecifier::NamedPort(_)) => {
            return Err(Reason::NotSupported { what: "a named port".into() }.into())
                .at("named_port");
        }
        None => return Err(Reason::Missing.into()).at("port_value"),
    };
    if socket.address.is_empty() {
        return Err(Reason::Missing.into()).at("address");
    }
    Ok(match socket.address.parse() {
        Ok(ip) => Address::Ip(SocketAddr::new(ip, port)),
        Err(_) => Address::Name { host: socket.address.into(), port },
    })
}

fn parse_pipe(pipe: pb::Pipe) -> Result<Pipe, Problems> {
    if pipe.path.len() > PIPE_PATH_BYTES_MAX {
        let must = format!("at most {PIPE_PATH_BYTES_MAX} bytes long");
        let got = format!("a path of {} bytes", pipe.path.len());
        return Err(Reason::Invalid { got, must }.into()).at("path");
    }
    if pipe.path.starts_with('@') && pipe.mode != 0 {
        let text = "an abstract socket has no mode".into();
        return Err(Reason::Rule(text).into()).at("mode");
    }
    Ok(Pipe { path: pipe.path.into(), mode: pipe.mode })
}
