//! Facts about one downstream connection.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use rustls::pki_types::CertificateDer;

use crate::base::clock::{self, Instant};
use crate::codec::Version;
use crate::telemetry::flags::ResponseFlags;
use crate::tls::peer::CertificateFacts;

/// Most things that filters keep for one connection; the oldest, which belongs to a configuration
/// long gone, makes room.
const KEPT_MAX: usize = 64;

/// An end of a downstream connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix domain socket; the path of the listening end, empty for a client's.
    Unix(Arc<str>),
}

/// Facts about one downstream connection that do not change while it lives.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// `%CONNECTION_ID%`: unique in this process.
    pub id: u64,
    /// The client's end.
    pub remote: Peer,
    /// Our end.
    pub local: Peer,
    /// Whether it is encrypted.
    pub transport: Transport,
    /// When it was accepted.
    pub accepted: Instant,
    /// What the TLS handshake agreed on.
    pub tls: Option<Box<TlsFacts>>,
    /// The name that the client asked for, in lower case; empty where it asked for none, or where
    /// no `tls_inspector` read its first bytes.
    pub server_name: Box<str>,
    /// What became of it, for the logs of its listener.
    pub record: ConnRecord,
    /// It is to close after the response at hand.
    closes: Cell<bool>,
    /// What filters keep as long as it lives.
    kept: RefCell<Vec<Rc<dyn Any>>>,
}

/// What became of a connection; its codec writes it, and it is read when the connection is over.
#[derive(Clone, Debug, Default)]
pub struct ConnRecord {
    /// What it spoke, once that was understood.
    pub protocol: Cell<Option<Version>>,
    /// Bytes that came.
    pub received: Cell<u64>,
    /// Bytes that went.
    pub sent: Cell<u64>,
    /// `%RESPONSE_FLAGS%` of the connection.
    pub flags: Cell<ResponseFlags>,
}

/// What HTTP needs to know of a TLS connection.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// The version of HTTP that ALPN agreed on.
    pub alpn: Option<Version>,
    /// The client's own certificate, if it presented one.
    pub client_certificate: Option<CertificateDer<'static>>,
    /// Its names, read once something asks for them.
    pub(super) names: OnceCell<CertificateFacts>,
    /// What is said of it in `x-forwarded-client-cert`.
    pub forwarded: Option<HeaderValue>,
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In the clear.
    Plain,
    /// TLS.
    Tls,
}

impl ConnRecord {
    /// Notes what it spoke: nothing where nothing came, or, as in Envoy, where not even the first
    /// of its heads was understood.
    pub fn speaks(&self, version: Version, requests: u32) {
        if requests > 0 || (self.received.get() > 0 && self.flags.get().is_empty()) {
            self.protocol.set(Some(version));
        }
    }
}

impl ConnInfo {
    /// A connection that was accepted now.
    #[must_use]
    pub fn new(id: u64, remote: Peer, local: Peer, transport: Transport) -> Self {
        let (accepted, closes) = (clock::now(), Cell::new(false));
        let (record, kept) = (ConnRecord::default(), RefCell::default());
        let (tls, server_name) = (None, Box::default());
        Self { id, remote, local, transport, accepted, tls, server_name, record, closes, kept }
    }

    /// The version of HTTP that ALPN agreed on.
    #[must_use]
    pub fn alpn(&self) -> Option<Version> {
        self.tls.as_ref().and_then(|tls| tls.alpn)
    }

    /// Asks for the connection to be closed after the response at hand (HTTP/1).
    pub fn close_after(&self) {
        self.closes.set(true);
    }

    /// Whether that was asked for.
    #[must_use]
    pub const fn closes_after(&self) -> bool {
        self.closes.get()
    }

    /// What a filter keeps for the connection: what `is` tells among things of its type, or else
    /// what is made now.
    pub fn keep<T: Any>(&self, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> Rc<T> {
        let mut kept = self.kept.borrow_mut();
        let known = kept.iter().find_map(|one| Rc::clone(one).downcast().ok().filter(|t| is(t)));
        known.unwrap_or_else(|| {
            let made = Rc::new(make());
            if kept.len() == KEPT_MAX {
                kept.remove(0);
            }
            kept.push(Rc::<T>::clone(&made));
            made
        })
    }

    /// The client's IP address, if it has one.
    #[must_use]
    pub const fn remote_ip(&self) -> Option<IpAddr> {
        match &self.remote {
            Peer::Ip(address) => Some(address.ip()),
            Peer::Unix(_) => None,
        }
    }

    /// Our port, if it is TCP.
    #[must_use]
    pub const fn local_port(&self) -> Option<u16> {
        match &self.local {
            Peer::Ip(address) => Some(address.port()),
            Peer::Unix(_) => None,
        }
    }

    /// Whether the client came over a Unix socket.
    #[must_use]
    pub const fn is_unix(&self) -> bool {
        matches!(self.remote, Peer::Unix(_))
    }

    /// `http` or `https`.
    #[must_use]
    pub const fn scheme_value(&self) -> HeaderValue {
        HeaderValue::from_static(match self.transport {
            Transport::Plain => "http",
            Transport::Tls => "https",
        })
    }
}
