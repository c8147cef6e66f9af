//! The sockets of a data plane: bound once, outliving the listeners that use them.
//!
//! A [`SocketTable`] is owned by the application and keyed by address; with `reuse_port` there is
//! one socket a worker behind an address, so that the kernel spreads connections and no worker
//! waits for another. A listener that is replaced keeps its sockets: nothing is refused between
//! the old one and the new one. Linux lets two programs of one user share a port with
//! SO_REUSEPORT, and each would get a part of the connections; so a probe without that option
//! comes first and finds a port that another program holds.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::base::names::ListenerName;
use crate::config::address::Pipe;
use crate::config::listener::BindAddress;

/// How an address is to be bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BindSpec {
    /// What is bound.
    pub address: BindAddress,
    /// Sockets wanted: one a worker with `reuse_port`, else one.
    pub sockets: usize,
    /// Length of the accept queue.
    pub backlog: Option<u32>,
}

/// The sockets behind one address, with the address that they got.
#[derive(Debug)]
pub struct Bound {
    /// The address that was bound; the port that the system chose where 0 was asked for.
    pub address: Option<SocketAddr>,
    /// One a worker, or a single one.
    pub sockets: Vec<Socket>,
}

/// Why an address cannot be bound; one clear line.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind {address}: {reason}")]
pub struct BindError {
    address: String,
    reason: String,
}

/// All sockets of a data plane.
#[derive(Debug, Default)]
pub struct SocketTable {
    bound: HashMap<Key, Entry>,
    held: Held,
    /// Listeners that give up their addresses in the step that is under way.
    leaving: HashSet<ListenerName>,
}

/// Which addresses a data plane holds itself, for whoever has to judge one before it is bound.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Taken for a look or a change by the control runtime alone.
    addresses: Arc<Mutex<HashSet<BindAddress>>>,
}

impl Held {
    /// Whether an address can be had, or is ours already; it is not kept by this.
    ///
    /// # Errors
    /// The address is taken, not this machine's, or not permitted.
    pub fn check(&self, address: &BindAddress) -> Result<(), BindError> {
        if self.lock().contains(address) { Ok(()) } else { check_free(address) }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<BindAddress>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where sockets are found again. With port 0 each listener has its own.
type Key = (BindAddress, Option<ListenerName>);

fn key(address: &BindAddress, listener: &ListenerName) -> Key {
    let any = matches!(address, BindAddress::Tcp { address, .. } if address.port() == 0);
    (address.clone(), any.then(|| listener.clone()))
}

#[derive(Debug)]
struct Entry {
    bound: Bound,
    /// Who uses it: a listener and, for a moment, the one that takes its place.
    users: Vec<ListenerName>,
}

impl SocketTable {
    /// The sockets of an address, bound now or already there. They stay until as many
    /// [`SocketTable::release`] calls were made as `acquire` calls.
    ///
    /// # Errors
    /// The address is another listener's that stays, taken by another program, not this machine's,
    /// or not permitted.
    pub fn acquire(
        &mut self,
        listener: &ListenerName,
        spec: &BindSpec,
    ) -> Result<Bound, BindError> {
        let key = key(&spec.address, listener);
        if let Some(entry) = self.bound.get_mut(&key) {
            let stays = |user: &&ListenerName| *user != listener && !self.leaving.contains(*user);
            if let Some(owner) = entry.users.iter().find(stays) {
                let reason = format!("listener '{owner}' has the same address");
                return Err(BindError { address: display(&spec.address), reason });
            }
            let copy = entry.bound.duplicate(&spec.address)?;
            entry.users.push(listener.clone());
            return Ok(copy);
        }
        let bound = bind(spec)?;
        let copy = bound.duplicate(&spec.address)?;
        self.held.lock().insert(spec.address.clone());
        self.bound.insert(key, Entry { bound, users: vec![listener.clone()] });
        Ok(copy)
    }

    /// The addresses that are bound here.
    #[must_use]
    pub const fn held(&self) -> &Held {
        &self.held
    }

    /// Says whose addresses may be taken over, since they go in the same step; until it is said
    /// anew.
    pub fn expect_to_leave(&mut self, listeners: impl IntoIterator<Item = ListenerName>) {
        self.leaving.clear();
        self.leaving.extend(listeners);
    }

    /// A listener no longer needs the address; the last one closes its sockets.
    pub fn release(&mut self, listener: &ListenerName, address: &BindAddress) {
        let key = key(address, listener);
        let Some(entry) = self.bound.get_mut(&key) else { return };
        if let Some(at) = entry.users.iter().position(|user| user == listener) {
            entry.users.swap_remove(at);
        }
        if entry.users.is_empty() {
            self.bound.remove(&key);
            // With port 0 the address may be another listener's too, but it can always be had.
            self.held.lock().remove(address);
        }
    }
}

impl Bound {
    fn duplicate(&self, address: &BindAddress) -> Result<Self, BindError> {
        let sockets = self.sockets.iter().map(Socket::try_clone).collect::<io::Result<_>>();
        let sockets = sockets.map_err(|error| refused(address, &error))?;
        Ok(Self { address: self.address, sockets })
    }
}

fn bind(spec: &BindSpec) -> Result<Bound, BindError> {
    let outcome = match &spec.address {
        BindAddress::Pipe(pipe) => bind_pipe(pipe, spec.backlog),
        BindAddress::Tcp { address, ipv4_compat } => bind_tcp(*address, *ipv4_compat, spec),
    };
    outcome.map_err(|error| refused(&spec.address, &error))
}

fn refused(address: &BindAddress, error: &io::Error) -> BindError {
    let address = display(address);
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; stop it or choose another port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => error.to_string(),
    };
    BindError { address, reason }
}

/// An address as a user wrote it.
#[must_use]
pub fn display(address: &BindAddress) -> String {
    match address {
        BindAddress::Pipe(pipe) => pipe.path.to_string(),
        BindAddress::Tcp { address, .. } => address.to_string(),
    }
}

fn backlog(wanted: Option<u32>) -> i32 {
    // The kernel caps it at net.core.somaxconn.
    wanted.and_then(|n| i32::try_from(n).ok()).unwrap_or(i32::MAX)
}

/// Whether an address can be had, without keeping it.
fn check_free(address: &BindAddress) -> Result<(), BindError> {
    let free = match address {
        BindAddress::Tcp { address, ipv4_compat } => {
            let socket = tcp_socket(*address, *ipv4_compat);
            socket.and_then(|socket| socket.bind(&(*address).into()))
        }
        BindAddress::Pipe(pipe) if pipe.path.starts_with('@') => Ok(()),
        BindAddress::Pipe(pipe) => check_path(Path::new(&*pipe.path)),
    };
    free.map_err(|error| refused(address, &error))
}

/// Whether a socket file can be made at a path: its folder is there and nobody listens on it.
fn check_path(path: &Path) -> io::Result<()> {
    stale(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::metadata(folder.unwrap_or(Path::new("."))).map(drop)
}

fn bind_tcp(address: SocketAddr, ipv4_compat: bool, spec: &BindSpec) -> io::Result<Bound> {
    let probe = tcp_socket(address, ipv4_compat)?;
    probe.bind(&address.into())?;
    let mut chosen = address;
    if address.port() == 0 {
        chosen = local_address(&probe)?;
    }
    if spec.sockets == 1 {
        probe.listen(backlog(spec.backlog))?;
        return Ok(Bound { address: Some(chosen), sockets: vec![probe] });
    }
    drop(probe);
    let mut sockets = Vec::with_capacity(spec.sockets);
    for _ in 0..spec.sockets {
        let socket = tcp_socket(address, ipv4_compat)?;
        socket.set_reuse_port(true)?;
        socket.bind(&chosen.into())?;
        sockets.push(socket);
    }
    // All are bound before one listens, so that no connection waits at a socket nobody reads.
    for socket in &sockets {
        socket.listen(backlog(spec.backlog))?;
    }
    Ok(Bound { address: Some(chosen), sockets })
}

fn tcp_socket(address: SocketAddr, ipv4_compat: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restarted proxy takes over a port whose old connections are still in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!ipv4_compat)?;
    }
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::other("the socket has no IP address"))
}

fn bind_pipe(pipe: &Pipe, wanted: Option<u32>) -> io::Result<Bound> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let path = Path::new(&*pipe.path);
    if let Some(name) = pipe.path.strip_prefix('@') {
        socket.bind(&SockAddr::unix(format!("\0{name}"))?)?;
    } else {
        if stale(path)? {
            std::fs::remove_file(path)?;
        }
        socket.bind(&SockAddr::unix(path)?)?;
        if pipe.mode != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(pipe.mode))?;
        }
    }
    socket.listen(backlog(wanted))?;
    Ok(Bound { address: None, sockets: vec![socket] })
}

/// Whether a socket file stands there that nobody listens on any more; a live one or another file
/// is in the way.
fn stale(path: &Path) -> io::Result<bool> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(false) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::other("a file that is no socket is in the way"));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(port: u16, sockets: usize) -> BindSpec {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        BindSpec {
            address: BindAddress::Tcp { address, ipv4_compat: false },
            sockets,
            backlog: None,
        }
    }

    #[test]
    fn a_port_that_another_program_holds_is_found_despite_reuse_port() {
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        other.set_reuse_port(true).unwrap();
        other.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        other.listen(1).unwrap();
        let port = local_address(&other).unwrap().port();
        let error =
            SocketTable::default().acquire(&"l".into(), &spec(port, 2)).unwrap_err().to_string();
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
        assert!(error.contains("another program"), "{error}");
    }

    #[test]
    fn an_address_is_looked_at_without_being_kept() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = spec(other.local_addr().unwrap().port(), 1).address;
        let held = Held::default();
        let error = held.check(&taken).unwrap_err().to_string();
        assert!(error.contains("another program"), "{error}");
        drop(other);
        held.check(&taken).unwrap();
        let BindAddress::Tcp { address, .. } = taken else { panic!("it is TCP") };
        // Without SO_REUSEADDR: nothing may be left that holds it.
        let plain = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        plain.bind(&address.into()).unwrap();
    }

    #[test]
    fn an_address_that_is_held_is_ours_and_one_listeners_alone() {
        let mut table = SocketTable::default();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let spec = spec(port, 2);
        table.acquire(&"a".into(), &spec).unwrap();
        table.held().check(&spec.address).unwrap();
        let error = table.acquire(&"b".into(), &spec).unwrap_err().to_string();
        assert!(error.contains("listener 'a' has the same address"), "{error}");
        table.expect_to_leave(["a".into()]);
        table.acquire(&"b".into(), &spec).unwrap();
        table.expect_to_leave([]);
        table.release(&"a".into(), &spec.address);
        assert!(table.acquire(&"c".into(), &spec).is_err(), "b has it now");
        table.release(&"b".into(), &spec.address);
        table.acquire(&"c".into(), &spec).unwrap();
    }

    #[test]
    fn sockets_outlive_a_listener_that_is_replaced() {
        let mut table = SocketTable::default();
        let first = table.acquire(&"l".into(), &spec(0, 2)).unwrap();
        let port = first.address.unwrap().port();
        assert_eq!(first.sockets.len(), 2);
        let second = table.acquire(&"l".into(), &spec(0, 2)).unwrap();
        assert_eq!(second.address.unwrap().port(), port);
        table.release(&"l".into(), &spec(0, 2).address);
        drop(first);
        assert!(std::net::TcpStream::connect(second.address.unwrap()).is_ok());
        table.release(&"l".into(), &spec(0, 2).address);
        drop(second);
        let gone = std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)));
        assert!(gone.is_err());
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let pipe = |path: &Path| BindSpec {
            address: BindAddress::Pipe(Pipe { path: path.to_str().unwrap().into(), mode: 0o600 }),
            sockets: 1,
            backlog: None,
        };
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let bound = SocketTable::default().acquire(&"l".into(), &pipe(&path)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(SocketTable::default().acquire(&"l".into(), &pipe(&path)).is_err(), "it is alive");
        drop(bound);
        let file = folder.path().join("f");
        std::fs::write(&file, "x").unwrap();
        assert!(SocketTable::default().acquire(&"l".into(), &pipe(&file)).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
    }
}
