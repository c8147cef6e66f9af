//! HTTP/2 as bare frames over TCP: what no client library would send.
//!
//! Field blocks are literals without Huffman codes unless a test writes bytes by itself. Nothing is
//! answered by itself: no SETTINGS are acknowledged and no window is given back.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long reading and writing may stand still.
const PATIENCE: Duration = Duration::from_secs(5);

/// Types of frames (RFC 9113 §6).
pub mod kind {
    /// Parts of bodies.
    pub const DATA: u8 = 0;
    /// A head, or trailers.
    pub const HEADERS: u8 = 1;
    /// Deprecated, ignored.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream by one side.
    pub const RST_STREAM: u8 = 3;
    /// Settings of a side.
    pub const SETTINGS: u8 = 4;
    /// A question for a sign of life.
    pub const PING: u8 = 6;
    /// The end of a connection by one side.
    pub const GOAWAY: u8 = 7;
    /// Room for more bytes.
    pub const WINDOW_UPDATE: u8 = 8;
    /// The rest of a head.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    /// The last frame of a stream.
    pub const END_STREAM: u8 = 1;
    /// Of SETTINGS and PING: the answer to one.
    pub const ACK: u8 = 1;
    /// The last frame of a head.
    pub const END_HEADERS: u8 = 4;
}

/// A frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream that it belongs to; 0 is the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame.
    #[must_use]
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self { kind, flags, stream, payload: payload.to_vec() }
    }

    /// A whole head.
    #[must_use]
    pub fn headers(stream: u32, flags: u8, block: &[u8]) -> Self {
        Self::new(kind::HEADERS, flags | flag::END_HEADERS, stream, block)
    }

    /// A reset.
    #[must_use]
    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    /// A PING with a number in it.
    #[must_use]
    pub fn ping(number: u64) -> Self {
        Self::new(kind::PING, 0, 0, &number.to_be_bytes())
    }

    /// Settings by their numbers.
    #[must_use]
    pub fn settings(settings: &[(u16, u32)]) -> Self {
        let bytes =
            |(id, value): &(u16, u32)| [id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat();
        let payload: Vec<u8> = settings.iter().flat_map(bytes).collect();
        Self::new(kind::SETTINGS, 0, 0, &payload)
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a short frame").to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The error code of RST_STREAM or GOAWAY.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        let bytes = self.payload.get(at..at + 4)?;
        bytes.try_into().ok().map(u32::from_be_bytes)
    }

    /// The status of a response's head, where it is one of the static table.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let first = self.payload.first().filter(|_| self.kind == kind::HEADERS)?;
        let known = [200, 204, 206, 304, 400, 404, 500];
        known.get(usize::from(first.checked_sub(0x88)?)).copied()
    }

    /// Whether it is the last one of its stream.
    #[must_use]
    pub fn ends_stream(&self) -> bool {
        let ends = matches!(self.kind, kind::DATA | kind::HEADERS);
        self.kind == kind::RST_STREAM || ends && self.flags & flag::END_STREAM != 0
    }
}

/// A field block of literals without index.
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value.as_bytes());
    }
    block
}

/// A request for `path` with more fields.
#[must_use]
pub fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "h")];
    block(&[head.as_slice(), more].concat())
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1), and the bytes themselves.
pub fn string(block: &mut Vec<u8>, text: &[u8]) {
    match u8::try_from(text.len()) {
        Ok(short @ 0..=126) => block.push(short),
        _ => {
            block.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap_or(0));
        }
    }
    block.extend_from_slice(text);
}

/// A connection on which a test says every byte.
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    /// Connects, and sends the preface with these settings.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(address: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut raw = Self { stream, buffer: Vec::new() };
        raw.send_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        raw.send(&Frame::settings(settings))?;
        Ok(raw)
    }

    /// How long writing and reading may stand still from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))?;
        self.stream.set_write_timeout(Some(patience))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.send_bytes(&frame.bytes())
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame; `None` at the end of the connection, a reset too.
    ///
    /// # Errors
    /// Nothing comes for as long as patience lasts.
    pub fn receive(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(Some(frame));
            }
            let mut part = [0; 16 * 1024];
            match self.stream.read(&mut part) {
                Ok(0) => return Ok(None),
                Ok(n) => self.buffer.extend_from_slice(&part[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Frames up to one that `wanted` takes, or up to the end of the connection.
    ///
    /// # Errors
    /// As `receive`.
    pub fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> io::Result<Option<Frame>> {
        while let Some(frame) = self.receive()? {
            if wanted(&frame) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Whether the other side still answers: a PING of ours comes back.
    #[must_use]
    pub fn alive(&mut self) -> bool {
        let answer = |frame: &Frame| frame.kind == kind::PING && frame.flags & flag::ACK != 0;
        self.send(&Frame::ping(7)).is_ok() && matches!(self.until(answer), Ok(Some(_)))
    }

    fn take(&mut self) -> Option<Frame> {
        let head = self.buffer.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let end = 9 + usize::try_from(length).ok()?;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.buffer.get(9..end)?.to_vec();
        self.buffer.drain(..end);
        Some(Frame { kind, flags, stream, payload })
    }
}
