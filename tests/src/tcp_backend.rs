//! Backends that speak no protocol: each has one manner, and tells how its clients ended.
//!
//! A thread a connection; listening ends with the value.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// What a backend does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It says `bye` after the first bytes, ends its side, and hears the client out.
    Bye,
    /// It reads nothing and says nothing, for as long as the backend lives.
    Deaf,
    /// What comes goes back.
    Echo,
    /// It says this at once, and then it is an echo.
    Greet(&'static str),
    /// It ends with a reset after the first bytes.
    Reset,
}

/// The backend.
pub struct TcpBackend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Manner,
    over: AtomicBool,
    /// Connections that are over, or of which no line will come.
    done: AtomicU64,
    /// Guards what was seen.
    seen: Mutex<Vec<String>>,
    /// Guards connections that are kept open.
    kept: Mutex<Vec<TcpStream>>,
}

impl TcpBackend {
    /// Listens on a port that the system chooses.
    ///
    /// # Panics
    /// Where the system gives no port.
    #[must_use]
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            manner,
            over: AtomicBool::new(false),
            done: AtomicU64::new(0),
            seen: Mutex::default(),
            kept: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections are over since the start, their lines written.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Acquire)
    }

    /// Takes a line a connection that is over: what came, and how it ended.
    #[must_use]
    pub fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for TcpBackend {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // The accept loop wakes up, sees the end and lets the port go.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let line = serve(stream, &shared);
            if let Some(line) = line {
                shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
            shared.done.fetch_add(1, Ordering::Release);
        });
    }
}

/// Serves a connection; a line about it when it is over.
fn serve(mut stream: TcpStream, shared: &Shared) -> Option<String> {
    let mut heard = Vec::new();
    let (echo, first) = match shared.manner {
        Manner::Deaf => {
            shared.kept.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            return None;
        }
        Manner::Greet(text) => (true, stream.write_all(text.as_bytes()).map(|()| true)),
        Manner::Echo => (true, Ok(true)),
        Manner::Bye => (false, some(&mut stream, &mut heard, false)),
        Manner::Reset => {
            let _ = some(&mut stream, &mut heard, false);
            let _ = set_socket_linger(&stream, Some(Duration::ZERO));
            return None;
        }
    };
    if shared.manner == Manner::Bye {
        let _ = stream.write_all(b"bye");
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut goes_on = first;
    while let Ok(true) = goes_on {
        goes_on = some(&mut stream, &mut heard, echo);
    }
    let text = match heard.len() {
        0..=64 => String::from_utf8_lossy(&heard).into_owned(),
        length => format!("{length} bytes"),
    };
    let end = match goes_on.map_err(|error| error.kind()) {
        Ok(_) => "the end",
        Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => "a reset",
        Err(_) => "an error",
    };
    Some(format!("heard {text:?}, then {end}"))
}

/// Hears something; false at the end.
fn some(stream: &mut TcpStream, heard: &mut Vec<u8>, echo: bool) -> io::Result<bool> {
    let mut bytes = [0; 16 * 1024];
    let length = stream.read(&mut bytes)?;
    heard.extend_from_slice(&bytes[..length]);
    if echo {
        stream.write_all(&bytes[..length])?;
    }
    Ok(length > 0)
}
