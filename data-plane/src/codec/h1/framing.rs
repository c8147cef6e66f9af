//! Where a body ends: the one place that decides it, for what comes in and for what goes out.
//!
//! Incoming messages follow RFC 9112 §6.3 to the letter, on the strict side of every choice, since
//! two readers that disagree about a body's end are a smuggling hole. Outgoing messages get their
//! framing from what is really sent, never from fields that somebody else wrote.

use http::{Method, StatusCode};

use crate::codec::{ProtocolError, RequestHead, ResponseHead, Version};

/// How a body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    Empty,
    /// So many bytes; may be 0.
    Length(u64),
    /// Chunks up to the empty one.
    Chunked,
    /// Everything up to the end of the connection (responses alone).
    UntilClose,
    /// Not HTTP any more: raw bytes both ways.
    Tunnel,
}

/// What the `transfer-encoding` lines amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    Absent,
    Chunked,
    /// `chunked` twice or not last.
    Bad,
    /// Another coding.
    Unsupported,
}

/// The framing fields of one head, gathered line by line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FramingFields {
    length: Option<u64>,
    bad_length: bool,
    coding: Coding,
}

impl FramingFields {
    /// Takes one `content-length` line. A second one, equal or not, and a list are invalid, as with
    /// Envoy.
    pub(super) fn content_length(&mut self, value: &[u8]) {
        match parse_length(value) {
            Some(n) if self.length.is_none() => self.length = Some(n),
            _ => self.bad_length = true,
        }
    }

    /// Takes one `transfer-encoding` line.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) {
        for coding in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding = match self.coding {
                Coding::Absent if chunked => Coding::Chunked,
                Coding::Absent => Coding::Unsupported,
                Coding::Chunked => Coding::Bad,
                other => other,
            };
        }
    }

    /// Whether both fields are there, so that the connection must close after the message
    /// (RFC 9112 §6.1).
    pub(super) fn conflict(&self) -> bool {
        self.coding != Coding::Absent && (self.length.is_some() || self.bad_length)
    }

    fn coded(&self, allow_chunked_length: bool) -> Result<bool, ProtocolError> {
        match self.coding {
            Coding::Absent => return Ok(false),
            Coding::Bad => return Err(ProtocolError::BadTransferEncoding),
            Coding::Unsupported => return Err(ProtocolError::UnsupportedTransferEncoding),
            Coding::Chunked => {}
        }
        if self.conflict() && !allow_chunked_length {
            return Err(ProtocolError::ContentLengthAndTransferEncoding);
        }
        Ok(true)
    }

    /// Framing of a request's body.
    pub(super) fn of_request(
        &self,
        version: Version,
        method: &Method,
        allow_chunked_length: bool,
    ) -> Result<Framing, ProtocolError> {
        if self.coding != Coding::Absent && *method == Method::CONNECT {
            return Err(ProtocolError::UnsupportedTransferEncoding);
        }
        if self.coded(allow_chunked_length)? {
            // RFC 9112 §6.1: the framing of such a message is faulty.
            if version == Version::Http10 {
                return Err(ProtocolError::BadTransferEncoding);
            }
            return Ok(Framing::Chunked);
        }
        if self.bad_length {
            return Err(ProtocolError::BadContentLength);
        }
        match self.length {
            Some(1..) if *method == Method::CONNECT => Err(ProtocolError::BodyDisallowed),
            Some(n) => Ok(Framing::Length(n)),
            None => Ok(Framing::Empty),
        }
    }

    /// Framing of a response's body.
    pub(super) fn of_response(
        &self,
        status: StatusCode,
        asked: Asked,
        allow_chunked_length: bool,
    ) -> Result<Framing, ProtocolError> {
        if asked.tunnels(status) {
            return Ok(Framing::Tunnel);
        }
        let coded = self.coded(allow_chunked_length)?;
        if self.bad_length && !coded {
            return Err(ProtocolError::BadContentLength);
        }
        if bodiless(status) && coded && status != StatusCode::NOT_MODIFIED {
            // RFC 9112 §6.1; `http1.transfer_encoding_not_allowed` in Envoy.
            return Err(ProtocolError::BadTransferEncoding);
        }
        Ok(match self.length {
            _ if asked == Asked::Head || bodiless(status) => Framing::Empty,
            _ if coded => Framing::Chunked,
            Some(n) => Framing::Length(n),
            None => Framing::UntilClose,
        })
    }
}

/// What a response answers, as far as its framing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Asked {
    /// Any other request.
    #[default]
    Plain,
    /// HEAD: the answer has no body whatever it says.
    Head,
    /// CONNECT: 2xx opens a tunnel.
    Connect,
    /// `Connection: upgrade`: 101 opens a tunnel.
    Upgrade,
}

impl Asked {
    pub(super) fn of(head: &RequestHead) -> Self {
        match head.method {
            Method::HEAD => Self::Head,
            Method::CONNECT => Self::Connect,
            _ if head.upgrade.is_some() => Self::Upgrade,
            _ => Self::Plain,
        }
    }

    /// Whether this answer turns the connection into a tunnel.
    pub(super) fn tunnels(self, status: StatusCode) -> bool {
        match self {
            Self::Connect => status.is_success(),
            Self::Upgrade => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Plain | Self::Head => false,
        }
    }

    /// Whether the answer may turn the connection into a tunnel.
    pub(super) fn may_tunnel(self) -> bool {
        matches!(self, Self::Connect | Self::Upgrade)
    }
}

/// RFC 9110 §6.4.1: statuses that never have content.
pub(super) fn bodiless(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// A `content-length` value: digits alone.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 64 {
        return None;
    }
    value.iter().try_fold(0_u64, |n, b| {
        let digit = b.checked_sub(b'0').filter(|d| *d < 10)?;
        n.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// What an outgoing head says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announce {
    /// No framing field.
    Nothing,
    /// `content-length: n`.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
}

/// Framing of a request that goes out, with the length that its fields say.
pub(super) fn send_request(head: &RequestHead, length: Option<u64>) -> (Framing, Announce) {
    if head.method == Method::CONNECT {
        return (Framing::Tunnel, Announce::Nothing);
    }
    if head.ends {
        // The methods for which Envoy says nothing about an absent body.
        let silent =
            matches!(head.method, Method::GET | Method::HEAD | Method::DELETE | Method::TRACE);
        return match length {
            None if silent => (Framing::Empty, Announce::Nothing),
            _ => (Framing::Empty, Announce::Length(0)),
        };
    }
    match length {
        Some(n) => (Framing::Length(n), Announce::Length(n)),
        None if head.upgrade.is_some() => (Framing::Tunnel, Announce::Nothing),
        None => (Framing::Chunked, Announce::Chunked),
    }
}

/// Framing of a response that goes out to a client of that version, with the length that its
/// fields say.
pub(super) fn send_response(
    head: &ResponseHead,
    length: Option<u64>,
    asked: Asked,
    version: Version,
) -> (Framing, Announce) {
    let said = length.map_or(Announce::Nothing, Announce::Length);
    if asked.tunnels(head.status) {
        return (Framing::Tunnel, Announce::Nothing);
    }
    if head.status == StatusCode::NOT_MODIFIED {
        return (Framing::Empty, said);
    }
    if bodiless(head.status) {
        return (Framing::Empty, Announce::Nothing);
    }
    if asked == Asked::Head {
        // What a GET would get. Where nothing is known of a length Envoy says chunks, even of an
        // answer that never had a body (RFC 9112 6.1 allows it in an answer to HEAD).
        let chunked = length.is_none() && version != Version::Http10;
        return (Framing::Empty, if chunked { Announce::Chunked } else { said });
    }
    match length {
        _ if head.ends => (Framing::Empty, Announce::Length(0)),
        Some(n) => (Framing::Length(n), Announce::Length(n)),
        None if version == Version::Http10 => (Framing::UntilClose, Announce::Nothing),
        None => (Framing::Chunked, Announce::Chunked),
    }
}
