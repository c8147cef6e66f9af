//! A scriptable HTTP/1 backend: it answers what a test wrote down, byte for byte, and keeps what
//! it was sent.
//!
//! A thread a connection. Replies are taken from a list, then from a default that stays.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::message::{self, Body, Head, Reader};

/// A request as the backend saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The head.
    pub head: Head,
    /// The body; incomplete where the proxy broke off.
    pub body: Body,
}

/// When a reply is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// After the head, before the body was read.
    Head,
    /// After the whole request.
    #[default]
    Request,
}

/// What happens to the connection after a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// It ends, in order.
    Close,
    /// What comes is sent back until the other side ends: a tunnel.
    Echo,
    /// Nothing, and nothing more is answered.
    Hang,
    /// The next request is read.
    #[default]
    Keep,
    /// It ends with a reset.
    Reset,
}

/// A reply.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// What is sent, byte for byte.
    pub bytes: Vec<u8>,
    /// When it is sent.
    pub when: When,
    /// What follows.
    pub then: Then,
}

impl Reply {
    /// A whole reply after the whole request.
    #[must_use]
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), ..Self::default() }
    }

    /// A 200 with a body.
    #[must_use]
    pub fn ok(body: &str) -> Self {
        let length = body.len();
        Self::bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"))
    }
}

/// The backend; its listening ends with it.
pub struct Backend {
    address: SocketAddr,
    script: Arc<Script>,
}

struct Script {
    /// Guards what was seen and what is still to be said.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    next: VecDeque<Reply>,
    always: Reply,
    over: bool,
}

impl Backend {
    /// Listens on a port that the system chooses; answers 200 until told otherwise.
    ///
    /// # Panics
    /// Where the system gives no port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// The same at an address of the test's.
    ///
    /// # Panics
    /// Where it is taken.
    #[must_use]
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = State { always: Reply::ok("hello"), ..State::default() };
        let script = Arc::new(Script { state: Mutex::new(state) });
        let shared = Arc::clone(&script);
        thread::spawn(move || accept(&listener, &shared));
        Self { address, script }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the replies to the next requests.
    pub fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.with(|state| state.next = replies.into_iter().collect());
    }

    /// Sets the reply for when the list is used up.
    pub fn always(&self, reply: Reply) {
        self.script.with(|state| state.always = reply);
    }

    /// Takes what was seen until now.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        self.script.with(|state| std::mem::take(&mut state.seen))
    }

    /// How many requests were seen and not taken.
    #[must_use]
    pub fn seen_count(&self) -> usize {
        self.script.with(|state| state.seen.len())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.script.with(|state| state.over = true);
        // The accept loop wakes up, sees the end and lets the port go.
        let _ = TcpStream::connect(self.address);
    }
}

impl Script {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reply(&self) -> Reply {
        self.with(|state| state.next.pop_front().unwrap_or_else(|| state.always.clone()))
    }
}

fn accept(listener: &TcpListener, script: &Arc<Script>) {
    for stream in listener.incoming().flatten() {
        if script.with(|state| state.over) {
            return;
        }
        let script = Arc::clone(script);
        thread::spawn(move || serve(stream, &script));
    }
}

/// Answers a connection's requests until it ends.
fn serve(mut stream: TcpStream, script: &Script) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = Reader::new(stream.try_clone().ok()?);
    loop {
        let head = reader.head().ok()??;
        let framing = message::request_framing(&head);
        let reply = script.reply();
        if reply.when == When::Head {
            stream.write_all(&reply.bytes).ok()?;
        }
        let body = match (reply.when, reply.then) {
            (When::Head, Then::Close | Then::Reset) => Body::default(),
            _ => reader.body(framing),
        };
        let complete = body.complete;
        script.with(|state| state.seen.push(Seen { head, body }));
        if reply.when == When::Request && complete {
            stream.write_all(&reply.bytes).ok()?;
        }
        match reply.then {
            Then::Keep => {}
            Then::Echo => return echo(&mut reader, &mut stream).ok(),
            Then::Hang => drop(reader.rest()),
            Then::Close => return stream.shutdown(Shutdown::Both).ok(),
            Then::Reset => return reset(&stream).ok(),
        }
    }
}

/// Sends back what comes.
fn echo(reader: &mut Reader<TcpStream>, stream: &mut TcpStream) -> io::Result<()> {
    loop {
        let bytes = reader.some()?;
        if bytes.is_empty() {
            return stream.shutdown(Shutdown::Both);
        }
        stream.write_all(&bytes)?;
    }
}

/// Ends a connection with a reset: unread or unsent bytes are thrown away.
fn reset(stream: &TcpStream) -> io::Result<()> {
    use std::os::fd::AsFd as _;
    let now = Some(std::time::Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(stream.as_fd(), now).map_err(io::Error::from)?;
    // The reader holds a second handle; it goes with the thread, right after this.
    Ok(())
}

/// An address that refuses connections for as long as this process runs: its port is taken, so that
/// nobody else is given it, and nothing listens there.
///
/// # Panics
/// Where the system gives no port.
#[must_use]
pub fn dead_address() -> SocketAddr {
    use rustix::net;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None);
    let socket = socket.expect("a socket");
    net::bind(&socket, &any).expect("a free port");
    let address = net::getsockname(&socket).expect("a bound socket has an address");
    // It stays open until the process ends.
    let _fd = std::os::fd::IntoRawFd::into_raw_fd(socket);
    address.try_into().expect("an address of IPv4")
}

/// An address that was free a moment ago, for somebody else to listen on.
///
/// # Panics
/// Where the system gives no port.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket has an address")
}
