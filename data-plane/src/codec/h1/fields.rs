//! The fields of a head that frame a message or belong to one hop: found while the head is read,
//! acted upon once, and never passed on.
//!
//! A message without such fields pays a comparison of lengths a field and nothing else. What a
//! `Connection` line names is removed, except what must not be removed by a peer (RFC 9110 §7.6.1,
//! and Envoy's rules, measured): forwarding fields and pseudo fields refuse the request, framing
//! and Host stay.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use super::framing::FramingFields;
use crate::codec::ProtocolError;

/// A field with a meaning for this hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// `connection`.
    Connection,
    /// `content-length`.
    ContentLength,
    /// `host`.
    Host,
    /// `keep-alive`, which goes.
    KeepAlive,
    /// `proxy-connection`: read as `connection`'s close and keep-alive, and gone.
    ProxyConnection,
    /// `te`, of which `trailers` stays.
    Te,
    /// `transfer-encoding`.
    TransferEncoding,
    /// `upgrade`.
    Upgrade,
}

/// What kind of field that name is, in any case.
#[inline]
pub(super) fn special(name: &[u8]) -> Option<Special> {
    // Length and first letter tell nearly all others apart before anything is compared.
    let (text, kind): (&[u8], Special) = match (name.len(), name.first()? | 0x20) {
        (2, b't') => (b"te", Special::Te),
        (4, b'h') => (b"host", Special::Host),
        (7, b'u') => (b"upgrade", Special::Upgrade),
        (10, b'c') => (b"connection", Special::Connection),
        (10, b'k') => (b"keep-alive", Special::KeepAlive),
        (14, b'c') => (b"content-length", Special::ContentLength),
        (16, b'p') => (b"proxy-connection", Special::ProxyConnection),
        (17, b't') => (b"transfer-encoding", Special::TransferEncoding),
        _ => return None,
    };
    // Names that we write ourselves, and most that come, are in lower case.
    (name == text || name.eq_ignore_ascii_case(text)).then_some(kind)
}

/// What the special fields of one head said.
#[derive(Debug, Default)]
pub(super) struct Hop {
    /// `content-length` and `transfer-encoding`.
    pub framing: FramingFields,
    /// `close` was named.
    pub close: bool,
    /// `keep-alive` was named.
    pub keep_alive: bool,
    /// `te` had `trailers`.
    pub te_trailers: bool,
    /// In a box, since nearly no message has one of them and every message drops this.
    upgrade: Option<Box<UpgradeLines>>,
    named: SmallVec<[HeaderName; 2]>,
    tokens: usize,
}

/// The lines that ask for another protocol, or agree to it.
#[derive(Debug, Default)]
struct UpgradeLines {
    /// `Upgrade`, several lines joined.
    protocol: Option<HeaderValue>,
    /// The `Connection` line that named `upgrade`.
    connection: Option<HeaderValue>,
}

/// As many names on the `Connection` lines refuse the request (Envoy's limit).
const MAX_TOKENS: usize = 10;

impl Hop {
    /// Takes a line of any kind but Host.
    ///
    /// # Errors
    /// A `Connection` line that names what it may not.
    pub(super) fn take(&mut self, kind: Special, value: &HeaderValue) -> Result<(), ProtocolError> {
        match kind {
            Special::Connection => return self.connection(value),
            Special::ContentLength => self.framing.content_length(value.as_bytes()),
            Special::TransferEncoding => self.framing.transfer_encoding(value.as_bytes()),
            Special::ProxyConnection => {
                self.close |= value.as_bytes().eq_ignore_ascii_case(b"close");
                self.keep_alive |= value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
            }
            Special::Te => {
                let mut tokens = value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii);
                self.te_trailers |= tokens.any(|t| t.eq_ignore_ascii_case(b"trailers"));
            }
            Special::Upgrade => self.protocol(value),
            Special::Host | Special::KeepAlive => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &HeaderValue) -> Result<(), ProtocolError> {
        for token in value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if token.is_empty() {
                continue;
            }
            self.tokens += 1;
            if self.tokens >= MAX_TOKENS || token[0] == b':' {
                return Err(ProtocolError::BadConnectionHeader);
            }
            if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade.get_or_insert_default().connection = Some(value.clone());
            } else {
                self.name(token)?;
            }
        }
        Ok(())
    }

    fn name(&mut self, token: &[u8]) -> Result<(), ProtocolError> {
        // Not a name: nothing can bear it.
        let Ok(name) = HeaderName::from_bytes(token) else { return Ok(()) };
        match name.as_str() {
            "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => {
                Err(ProtocolError::BadConnectionHeader)
            }
            "host" | "content-length" | "te" => Ok(()),
            _ => {
                self.named.push(name);
                Ok(())
            }
        }
    }

    fn protocol(&mut self, value: &HeaderValue) {
        if value.is_empty() {
            return;
        }
        let lines = self.upgrade.get_or_insert_default();
        lines.protocol = match lines.protocol.take() {
            None => Some(value.clone()),
            Some(first) => {
                let both = [first.as_bytes(), b",", value.as_bytes()].concat();
                HeaderValue::from_maybe_shared(bytes::Bytes::from(both)).ok()
            }
        };
    }

    /// Whether one of the lines about upgrades is there.
    pub(super) fn speaks_of_upgrade(&self) -> bool {
        self.upgrade.is_some()
    }

    /// What to upgrade to, if `Connection: upgrade` and `Upgrade` both say so, with the line of
    /// `Connection`. Where that named fields of one hop too, they do not go on, and it names them
    /// no longer.
    pub(super) fn upgrade_to(&mut self) -> Option<(HeaderValue, HeaderValue)> {
        let lines = self.upgrade.take()?;
        let (connection, protocol) = (lines.connection?, lines.protocol?);
        // h2c is never offered on (RFC 9113 §3.1 removed it); Envoy drops it always. In a list,
        // also one of several lines, it stays: no configuration allows a list.
        if protocol.as_bytes().eq_ignore_ascii_case(b"h2c") {
            return None;
        }
        match self.named.is_empty() {
            true => Some((connection, protocol)),
            false => Some((HeaderValue::from_static("Upgrade"), protocol)),
        }
    }

    /// Removes what the `Connection` lines named and puts back what stays of `te`.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.named {
            headers.remove(name);
        }
        if self.te_trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
}
