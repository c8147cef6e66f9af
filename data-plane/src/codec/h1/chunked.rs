//! Chunked transfer coding, incoming (RFC 9112 §7.1). A state machine that takes bytes as they
//! come and hands chunk data out as slices of the read buffer.
//!
//! Line ends are CRLF and nothing else: a reader that also takes a bare LF sees other chunks than
//! its neighbour. The one liberty is space after a size, which Envoy takes too. Extensions are
//! skipped, within a limit a line.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::Status;

use super::fields::special;
use crate::codec::ProtocolError;

/// What the decoder found next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Some bytes of the body.
    Data(Bytes),
    /// The body is complete; the map is empty without trailers.
    End(HeaderMap),
    /// More bytes are needed.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a size's first digit.
    Start,
    Size,
    /// Space after a size.
    Space,
    Extension,
    /// After the CR of a size line.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

/// The decoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    state: State,
    size: u64,
    /// Bytes of this size line, or how much of the trailers was looked at.
    seen: usize,
}

/// Longest size line, extensions and leading zeros included.
const MAX_LINE: usize = 4 * 1024;
/// Largest trailer section.
const MAX_TRAILERS: usize = 16 * 1024;

impl Chunked {
    pub(super) fn new() -> Self {
        Self { state: State::Start, size: 0, seen: 0 }
    }

    /// Bytes of the chunk at hand that are still to come.
    pub(super) fn remaining(&self) -> u64 {
        if self.state == State::Data { self.size } else { 0 }
    }

    /// Takes what it can from `buf`: at most `limit` bytes of data.
    pub(super) fn decode(
        &mut self,
        buf: &mut BytesMut,
        limit: usize,
        max_fields: usize,
    ) -> Result<Chunk, ProtocolError> {
        loop {
            match self.state {
                State::Data => {
                    let n = usize::try_from(self.size).unwrap_or(usize::MAX);
                    let n = n.min(limit).min(buf.len());
                    if n == 0 {
                        return Ok(Chunk::More);
                    }
                    self.size -= n as u64;
                    if self.size == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Chunk::Data(buf.split_to(n).freeze()));
                }
                State::Trailers => return self.trailers(buf, max_fields),
                _ => {
                    let Some(&byte) = buf.first() else { return Ok(Chunk::More) };
                    self.state = self.byte(byte)?;
                    buf.advance(1);
                }
            }
        }
    }

    fn byte(&mut self, byte: u8) -> Result<State, ProtocolError> {
        self.seen += 1;
        if self.seen > MAX_LINE {
            return Err(ProtocolError::BadChunk);
        }
        Ok(match (self.state, byte) {
            (State::Start | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from((byte as char).to_digit(16).unwrap_or(0));
                if self.size >> 60 != 0 {
                    return Err(ProtocolError::BadChunk);
                }
                self.size = self.size << 4 | digit;
                State::Size
            }
            (State::Size | State::Space, b' ' | b'\t') => State::Space,
            (State::Size | State::Space, b';') => State::Extension,
            (State::Size | State::Space | State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | b' '..=0x7e | 0x80..) => State::Extension,
            (State::SizeLf, b'\n') => {
                self.seen = 0;
                if self.size == 0 { State::Trailers } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.seen = 0;
                State::Start
            }
            _ => return Err(ProtocolError::BadChunk),
        })
    }

    fn trailers(&mut self, buf: &mut BytesMut, max_fields: usize) -> Result<Chunk, ProtocolError> {
        match &buf[..] {
            [] | [b'\r'] => return Ok(Chunk::More),
            [b'\r', b'\n', ..] => {
                buf.advance(2);
                return Ok(Chunk::End(HeaderMap::new()));
            }
            [b'\r' | b'\n', ..] => return Err(ProtocolError::BadChunk),
            _ => {}
        }
        // Whole lines alone are judged, so that the verdict does not depend on how bytes were cut.
        let section = &buf[..buf.len().min(MAX_TRAILERS + 1)];
        let too_large = section.len() > MAX_TRAILERS;
        let fresh = self.seen.min(section.len());
        let lines = section[fresh..].iter().rposition(|&b| b == b'\n').map(|at| fresh + at + 1);
        self.seen = section.len();
        let Some(lines) = lines else {
            return if too_large { Err(ProtocolError::HeadersTooLarge) } else { Ok(Chunk::More) };
        };
        let mut slots = vec![httparse::EMPTY_HEADER; max_fields];
        match httparse::parse_headers(&section[..lines], &mut slots) {
            Ok(Status::Complete((len, fields))) if len <= MAX_TRAILERS => {
                let map = trailer_map(fields)?;
                buf.advance(len);
                Ok(Chunk::End(map))
            }
            Ok(Status::Partial) if !too_large => Ok(Chunk::More),
            Ok(_) => Err(ProtocolError::HeadersTooLarge),
            Err(httparse::Error::TooManyHeaders) => Err(ProtocolError::TooManyHeaders),
            Err(_) => Err(ProtocolError::BadHeader),
        }
    }
}

/// Trailers without what may not be one (RFC 9110 §6.5.1): framing, routing, authentication.
fn trailer_map(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, ProtocolError> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| ProtocolError::BadHeader)?;
        if special(field.name.as_bytes()).is_some() || forbidden_trailer(&name) {
            continue;
        }
        let value =
            HeaderValue::from_bytes(field.value).map_err(|_| ProtocolError::BadCharacter)?;
        map.try_append(name, value).map_err(|_| ProtocolError::TooManyHeaders)?;
    }
    Ok(map)
}

/// Fields that are dropped from trailers on the way in and out.
pub(super) fn forbidden_trailer(name: &HeaderName) -> bool {
    let name = name.as_str();
    special(name.as_bytes()).is_some()
        || name.starts_with("x-envoy-")
        || name.starts_with("x-forwarded-")
        || matches!(
            name,
            "authorization"
                | "proxy-authorization"
                | "www-authenticate"
                | "cookie"
                | "set-cookie"
                | "cache-control"
                | "content-encoding"
                | "content-range"
                | "content-type"
                | "expect"
                | "max-forwards"
                | "range"
                | "trailer"
        )
}
