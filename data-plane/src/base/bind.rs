//! Where outgoing connections come from, and how their sockets are set before they are bound
//! (`envoy.config.core.v3.BindConfig`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::Socket;

/// What a cluster says, or the whole process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindConfig {
    /// `source_address`, and one more of the other IP version.
    pub addresses: Vec<SocketAddr>,
    /// An address may be bound that the machine does not have.
    pub freebind: Option<bool>,
    /// `socket_options`.
    pub options: Vec<SocketOption>,
}

/// A socket option that may be set by its numbers; on Linux alone, whose numbers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// `SO_KEEPALIVE`.
    KeepAlive(bool),
    /// `TCP_KEEPCNT`.
    KeepAliveProbes(u32),
    /// `TCP_KEEPIDLE`, in seconds.
    KeepAliveTime(u32),
    /// `TCP_KEEPINTVL`, in seconds.
    KeepAliveInterval(u32),
    /// `SO_MARK`.
    Mark(u32),
    /// `TCP_NODELAY`.
    NoDelay(bool),
    /// `SO_PRIORITY`.
    Priority(u32),
    /// `SO_RCVBUF`, in bytes.
    ReceiveBuffer(u32),
    /// `SO_SNDBUF`, in bytes.
    SendBuffer(u32),
    /// `IP_TOS`.
    Tos(u32),
    /// `IPV6_TCLASS`.
    TrafficClass(u32),
    /// `TCP_USER_TIMEOUT`, in milliseconds.
    UserTimeout(u32),
}

/// A source address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An option was refused by the system.
    #[error("a socket option cannot be set: {0}")]
    Option(io::Error),
    /// The address was.
    #[error("failed to bind to {0}: {1}")]
    Address(SocketAddr, io::Error),
}

impl BindConfig {
    /// What holds for a cluster that says `own` where the process says `usual`. As in Envoy the
    /// addresses are those of the first that is there, and all else is inherited.
    #[must_use]
    pub fn merged(own: Option<Self>, usual: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let Some(own) = own else { return usual.cloned() };
        let inherited = usual.filter(|_| own.options.is_empty());
        let options = inherited.map_or(own.options, |usual| usual.options.clone());
        let freebind = own.freebind.or_else(|| usual?.freebind);
        Some(Arc::new(Self { addresses: own.addresses, freebind, options }))
    }

    /// Sets and binds a socket that will be connected to `to`. Where no source is of that IP
    /// version the first is tried, and fails, as in Envoy.
    ///
    /// # Errors
    /// The system refuses.
    pub fn apply(&self, socket: &Socket, to: SocketAddr) -> Result<(), BindError> {
        let same = self.addresses.iter().find(|source| source.is_ipv4() == to.is_ipv4());
        let source = same.or_else(|| self.addresses.first());
        set_all(socket, to, self).map_err(BindError::Option)?;
        let Some(source) = source else { return Ok(()) };
        socket.bind(&(*source).into()).map_err(|error| BindError::Address(*source, error))
    }
}

#[cfg(target_os = "linux")]
fn set_all(socket: &Socket, to: SocketAddr, config: &BindConfig) -> io::Result<()> {
    if config.freebind == Some(true) {
        if to.is_ipv4() {
            socket.set_freebind_v4(true)?;
        } else {
            socket.set_freebind_v6(true)?;
        }
    }
    config.options.iter().try_for_each(|option| set(socket, *option))
}

/// Nothing to do: the configuration refuses options elsewhere.
#[cfg(not(target_os = "linux"))]
fn set_all(_: &Socket, _: SocketAddr, _: &BindConfig) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn set(socket: &Socket, option: SocketOption) -> io::Result<()> {
    use std::time::Duration;

    use rustix::net::sockopt;

    let seconds = |value: u32| Duration::from_secs(u64::from(value));
    let bytes = |value: u32| value as usize;
    match option {
        SocketOption::KeepAlive(on) => socket.set_keepalive(on),
        SocketOption::KeepAliveProbes(count) => Ok(sockopt::set_tcp_keepcnt(socket, count)?),
        SocketOption::KeepAliveTime(time) => Ok(sockopt::set_tcp_keepidle(socket, seconds(time))?),
        SocketOption::KeepAliveInterval(time) => {
            Ok(sockopt::set_tcp_keepintvl(socket, seconds(time))?)
        }
        SocketOption::Mark(mark) => socket.set_mark(mark),
        SocketOption::NoDelay(on) => socket.set_tcp_nodelay(on),
        SocketOption::Priority(priority) => socket.set_priority(priority),
        SocketOption::ReceiveBuffer(size) => socket.set_recv_buffer_size(bytes(size)),
        SocketOption::SendBuffer(size) => socket.set_send_buffer_size(bytes(size)),
        SocketOption::Tos(tos) => socket.set_tos_v4(tos),
        SocketOption::TrafficClass(class) => socket.set_tclass_v6(class),
        SocketOption::UserTimeout(time) => {
            socket.set_tcp_user_timeout(Some(Duration::from_millis(u64::from(time))))
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Type};

    use super::*;

    fn socket() -> Socket {
        Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
    }

    fn from(addresses: &[&str]) -> BindConfig {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        BindConfig { addresses, ..BindConfig::default() }
    }

    fn to() -> SocketAddr {
        "127.0.0.1:80".parse().unwrap()
    }

    #[test]
    fn the_source_of_the_right_version_is_bound() {
        let socket = socket();
        from(&["[::1]:0", "127.0.0.2:0"]).apply(&socket, to()).unwrap();
        let bound = socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(bound.ip().to_string(), "127.0.0.2");
        let error = from(&["[::1]:0"]).apply(&self::socket(), to()).unwrap_err();
        assert!(error.to_string().starts_with("failed to bind to [::1]:0: "), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn freebind_takes_an_address_that_is_not_here() {
        let foreign = from(&["192.0.2.1:0"]);
        let error = foreign.apply(&socket(), to()).unwrap_err();
        assert!(matches!(error, BindError::Address(..)), "{error}");
        let free = BindConfig { freebind: Some(true), ..foreign };
        free.apply(&socket(), to()).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn options_are_set() {
        let socket = socket();
        let options = vec![
            SocketOption::KeepAlive(true),
            SocketOption::KeepAliveTime(7),
            SocketOption::KeepAliveInterval(8),
            SocketOption::KeepAliveProbes(9),
            SocketOption::UserTimeout(1500),
            SocketOption::Tos(0x20),
        ];
        let config = BindConfig { options, ..BindConfig::default() };
        config.apply(&socket, to()).unwrap();
        assert!(socket.keepalive().unwrap());
        let seconds = (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval());
        assert_eq!((seconds.0.unwrap().as_secs(), seconds.1.unwrap().as_secs()), (7, 8));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 9);
        assert_eq!(socket.tcp_user_timeout().unwrap().unwrap().as_millis(), 1500);
        assert_eq!(socket.tos_v4().unwrap(), 0x20);
    }

    #[test]
    fn a_cluster_inherits_what_it_does_not_say() {
        let usual = Arc::new(BindConfig {
            freebind: Some(true),
            options: vec![SocketOption::KeepAlive(true)],
            ..from(&["127.0.0.2:0"])
        });
        assert_eq!(BindConfig::merged(None, Some(&usual)), Some(Arc::clone(&usual)));
        let own = from(&["127.0.0.3:0"]);
        let merged = BindConfig::merged(Some(own.clone()), Some(&usual)).unwrap();
        assert_eq!(merged.addresses, own.addresses);
        assert_eq!((merged.freebind, merged.options.len()), (Some(true), 1));
        let none = BindConfig::merged(Some(BindConfig::default()), Some(&usual)).unwrap();
        assert!(none.addresses.is_empty(), "a cluster that binds to nothing is not bound");
        let off = BindConfig { freebind: Some(false), ..own };
        assert_eq!(BindConfig::merged(Some(off), Some(&usual)).unwrap().freebind, Some(false));
    }
}
