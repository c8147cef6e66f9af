//! An HTTP/1 client that sends exactly what it is told and reports exactly what came back.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::message::{self, Body, Fields, Head, Reader};

/// How long a client waits for bytes.
const PATIENCE: Duration = Duration::from_secs(5);

/// A response with the interim ones before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Heads of 1xx responses, in order.
    pub interim: Vec<Head>,
    /// The final head.
    pub head: Head,
    /// Its body.
    pub body: Body,
}

impl Response {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }

    /// The trailers.
    #[must_use]
    pub fn trailers(&self) -> &Fields {
        &self.body.trailers
    }
}

/// A connection to a proxy.
pub struct Connection {
    stream: TcpStream,
    reader: Reader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = Reader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    /// The client's own address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// How long sending and receiving may stand still from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))?;
        self.stream.set_write_timeout(Some(patience))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that no more bytes will be sent.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Ends the connection with a reset.
    ///
    /// # Errors
    /// What the system says.
    pub fn reset(self) -> io::Result<()> {
        use std::os::fd::AsFd as _;
        let now = Some(Duration::ZERO);
        Ok(rustix::net::sockopt::set_socket_linger(self.stream.as_fd(), now)?)
    }

    /// Reads the response to a request of `method`.
    ///
    /// # Errors
    /// What reading says; `UnexpectedEof` where the connection ends before a head.
    pub fn receive(&mut self, method: &str) -> io::Result<Response> {
        let mut interim = Vec::new();
        loop {
            let head = self.reader.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if (100..200).contains(&head.status()) && head.status() != 101 {
                interim.push(head);
                continue;
            }
            let body = self.reader.body(message::response_framing(method, &head));
            return Ok(Response { interim, head, body });
        }
    }

    /// Reads one head, interim ones too.
    ///
    /// # Errors
    /// As `receive`.
    pub fn receive_head(&mut self) -> io::Result<Head> {
        self.reader.head()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// A second handle, to read while this one sends; what this one read ahead stays here.
    ///
    /// # Errors
    /// What the system says.
    pub fn clone_for_reading(&self) -> io::Result<Self> {
        let reader = Reader::new(self.stream.try_clone()?);
        Ok(Self { stream: self.stream.try_clone()?, reader })
    }

    /// Reads so many bytes of a tunnel.
    ///
    /// # Errors
    /// What reading says, or that the connection ends before.
    pub fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        self.reader.exactly(length)
    }

    /// Reads until the other side ends the connection.
    ///
    /// # Errors
    /// What reading says, a reset too.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        self.reader.rest()
    }

    /// Sends a request and reads its response; the method is the first word of the bytes.
    ///
    /// # Errors
    /// What sending or reading says.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        let end = request.iter().position(|byte| *byte == b' ').unwrap_or(0);
        let method = message::latin1(&request[..end]);
        self.send(request)?;
        self.receive(&method)
    }
}

/// One GET on a connection of its own.
///
/// # Errors
/// What connecting, sending or reading says.
pub fn get(address: SocketAddr, target: &str) -> io::Result<Response> {
    ask(address, "GET", target)
}

/// One request without a body on a connection of its own.
///
/// # Errors
/// What connecting, sending or reading says.
pub fn ask(address: SocketAddr, method: &str, target: &str) -> io::Result<Response> {
    let text = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: \
         0\r\n\r\n"
    );
    Connection::open(address)?.exchange(text.as_bytes())
}

/// One request with a body of JSON on a connection of its own.
///
/// # Errors
/// What connecting, sending or reading says.
pub fn send_json(
    address: SocketAddr,
    method: &str,
    target: &str,
    body: &str,
) -> io::Result<Response> {
    let length = body.len();
    let text = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: \
         application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    Connection::open(address)?.exchange(text.as_bytes())
}
