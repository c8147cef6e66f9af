//! HTTP/1 messages as bytes: the little that a test needs to read one, without any opinion.
//!
//! Heads stay as they were on the wire; a byte is a character (Latin-1), so that nothing is lost.

use std::io::{self, Read};

/// Fields of a head or trailer section, in order, as they came.
pub type Fields = Vec<(String, String)>;

/// A head: its first line and its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The request or status line.
    pub line: String,
    /// The fields below it.
    pub fields: Fields,
}

impl Head {
    /// The first value of a field, by its name in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The status code of a response's head; 0 where it is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

/// A body and what told its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The bytes without framing.
    pub bytes: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: Fields,
    /// Whether its end was seen.
    pub complete: bool,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By the chunked coding.
    Chunked,
    /// By a length; 0 where there is no body.
    Length(usize),
    /// By the end of the connection.
    UntilClose,
}

/// Bytes of a connection that were read, and those still to come.
pub struct Reader<R> {
    from: R,
    buffer: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads from a connection.
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new() }
    }

    /// The next head, or `None` at the end of the connection.
    ///
    /// # Errors
    /// What reading says; `UnexpectedEof` inside a head.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(text) = self.section()? else { return Ok(None) };
        let mut lines = text.lines();
        let line = lines.next().unwrap_or_default().to_owned();
        Ok(Some(Head { line, fields: fields(lines) }))
    }

    /// The next body; an end that comes too early leaves it incomplete.
    pub fn body(&mut self, framing: Framing) -> Body {
        let mut body = Body::default();
        let read = match framing {
            Framing::Length(length) => self.length(length, &mut body.bytes),
            Framing::UntilClose => self.rest().map(|bytes| body.bytes = bytes),
            Framing::Chunked => self.chunked(&mut body),
        };
        body.complete = read.is_ok();
        body
    }

    /// All that comes until the connection ends.
    ///
    /// # Errors
    /// What reading says, a reset by the other side too.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// What comes next, however much it is; nothing at the connection's end.
    ///
    /// # Errors
    /// What reading says.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// So many bytes.
    ///
    /// # Errors
    /// What reading says, or that the connection ends before.
    pub fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.length(length, &mut bytes).map(|()| bytes)
    }

    fn chunked(&mut self, body: &mut Body) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            if size == 0 {
                let text = self.section_after_line()?;
                body.trailers = fields(text.lines());
                return Ok(());
            }
            self.length(size, &mut body.bytes)?;
            self.line()?;
        }
    }

    fn length(&mut self, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let mut left = length;
        loop {
            let take = left.min(self.buffer.len());
            into.extend(self.buffer.drain(..take));
            left -= take;
            if left == 0 {
                return Ok(());
            }
            self.some_more()?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                return Ok(latin1(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            self.some_more()?;
        }
    }

    /// Lines up to an empty one, which may be the first.
    fn section_after_line(&mut self) -> io::Result<String> {
        let mut text = String::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(text);
            }
            text += &line;
            text.push('\n');
        }
    }

    fn section(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..at + 4).collect();
                return Ok(Some(latin1(&head)));
            }
            if self.fill()? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    fn some_more(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut part = [0; 16 * 1024];
        let read = self.from.read(&mut part)?;
        self.buffer.extend_from_slice(&part[..read]);
        Ok(read)
    }
}

/// The framing that a request's head announces.
#[must_use]
pub fn request_framing(head: &Head) -> Framing {
    announced(head).unwrap_or(Framing::Length(0))
}

/// The framing of a response to `method`.
#[must_use]
pub fn response_framing(method: &str, head: &Head) -> Framing {
    let status = head.status();
    let tunnel = method == "CONNECT" && (200..300).contains(&status);
    if tunnel || method == "HEAD" || status < 200 || status == 204 || status == 304 {
        return Framing::Length(0);
    }
    announced(head).unwrap_or(Framing::UntilClose)
}

/// Bytes as text, a character a byte.
#[must_use]
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Text of characters up to U+00FF as bytes; others become their UTF-8.
#[must_use]
pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(u32::from(c)) {
            Ok(byte) => out.push(byte),
            Err(_) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

fn announced(head: &Head) -> Option<Framing> {
    if head.field("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        return Some(Framing::Chunked);
    }
    let length = head.field("content-length")?.trim().parse().ok()?;
    Some(Framing::Length(length))
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Fields {
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
