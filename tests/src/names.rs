//! A DNS server for tests: every name has the IPv4 addresses that a test says.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The server; it ends with this.
pub struct NameServer {
    address: SocketAddr,
    /// Guards what is answered.
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    addresses: Vec<Ipv4Addr>,
    asked: u64,
    over: bool,
}

impl NameServer {
    /// Listens on a port that the system chooses.
    ///
    /// # Panics
    /// Where the system gives no port.
    #[must_use]
    pub fn start(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        let said = Said { addresses: addresses.to_vec(), ..Said::default() };
        let said = Arc::new(Mutex::new(said));
        let shared = Arc::clone(&said);
        thread::spawn(move || serve(&socket, &shared));
        Self { address, said }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is answered from now on.
    pub fn say(&self, addresses: &[Ipv4Addr]) {
        with(&self.said, |said| said.addresses = addresses.to_vec());
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        with(&self.said, |said| said.asked)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        with(&self.said, |said| said.over = true);
        // Wakes the thread; if that fails it only waits on.
        let woken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let _ = woken.and_then(|socket| socket.send_to(&[], self.address));
    }
}

fn with<T>(said: &Mutex<Said>, act: impl FnOnce(&mut Said) -> T) -> T {
    act(&mut said.lock().unwrap_or_else(PoisonError::into_inner))
}

fn serve(socket: &UdpSocket, said: &Mutex<Said>) {
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let addresses = with(said, |said| {
            said.asked += 1;
            (!said.over).then(|| said.addresses.clone())
        });
        let Some(addresses) = addresses else { return };
        if let Some(answer) = answer(&buffer[..length], &addresses) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// RFC 1035 4: the question again, and a record with a TTL of a minute for each address.
fn answer(query: &[u8], addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let mut at = 12;
    while *query.get(at)? != 0 {
        at += usize::from(query[at]) + 1;
    }
    let question = query.get(12..at + 5)?;
    let is_v4 = question[question.len() - 4..] == [0, 1, 0, 1];
    let addresses = if is_v4 { addresses } else { &[] };
    let count = u8::try_from(addresses.len()).ok()?;
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
