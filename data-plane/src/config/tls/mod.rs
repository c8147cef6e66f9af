//! TLS contexts (`envoy.extensions.transport_sockets.tls.v3`).
//!
//! Shape only; `parse.rs` and its neighbours have the rules. Certificates and keys are read here
//! and fit each other, so that nothing can fail later. A private key never shows in `Debug`.

mod certificate;
mod params;
pub mod parse;
mod secrets;
mod validation;

use std::fmt;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor};

pub use secrets::{STATIC_SECRET, Secrets};

use crate::base::pattern::StringMatcher;

/// `DownstreamTlsContext`.
#[derive(Clone, Debug, PartialEq)]
pub struct DownstreamTls {
    /// What both sides have.
    pub common: CommonTls,
    /// A client without a certificate is refused.
    pub require_client_certificate: bool,
    /// Sessions may be resumed by tickets.
    pub tickets: bool,
    /// The client's order of cipher suites decides.
    pub prefer_client_ciphers: bool,
}

/// `UpstreamTlsContext`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// What both sides have; at most one certificate.
    pub common: CommonTls,
    /// The name that is asked for.
    pub sni: Option<ServerName<'static>>,
    /// Sessions that are kept for resumption.
    pub max_session_keys: u32,
}

/// `CommonTlsContext`.
#[derive(Clone, Debug, PartialEq)]
pub struct CommonTls {
    /// Versions, suites and curves.
    pub params: TlsParams,
    /// Own certificates; a server has at least one.
    pub certificates: Vec<CertificateConfig>,
    /// What a peer's certificate must be like.
    pub validation: Validation,
    /// ALPN, by preference.
    pub alpn_protocols: Vec<Arc<str>>,
}

/// `TlsParameters`, as far as rustls has them.
#[derive(Clone)]
pub struct TlsParams {
    /// Versions that are spoken; never empty.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Suites by preference; some for each version.
    pub suites: Vec<SupportedCipherSuite>,
    /// Key exchanges by preference.
    pub groups: Vec<&'static dyn rustls::crypto::SupportedKxGroup>,
}

/// A certificate with its key (`TlsCertificate`).
#[derive(Clone)]
pub struct CertificateConfig {
    /// Chain and key, ready for handshakes.
    pub key: Arc<CertifiedKey>,
    /// DNS names of the leaf, in lower case, for the choice by SNI.
    pub dns_names: Vec<Arc<str>>,
    /// URIs of the leaf, for `x-forwarded-client-cert`.
    pub uris: Vec<Arc<str>>,
}

/// `CertificateValidationContext`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validation {
    /// `trusted_ca`; empty: chains are not verified.
    pub roots: Vec<TrustedCa>,
    /// One of the names of the peer must match one of these, if there are any.
    pub names: Vec<SanMatcher>,
    /// SHA-256 of certificates that are taken.
    pub certificate_hashes: Vec<[u8; 32]>,
    /// SHA-256 of public keys (SPKI) that are taken.
    pub spki_hashes: Vec<[u8; 32]>,
    /// Clients are not told which authorities are trusted.
    pub suppress_client_ca_list: bool,
}

/// One certificate of `trusted_ca`.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedCa {
    /// As it came.
    pub der: CertificateDer<'static>,
    /// What path building needs of it.
    pub anchor: TrustAnchor<'static>,
}

/// `SubjectAltNameMatcher`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SanMatcher {
    /// Which names it looks at.
    pub kind: SanKind,
    /// What they must be like.
    pub matcher: StringMatcher,
}

/// Kind of a subject alternative name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SanKind {
    /// A DNS name; an exact matcher understands wildcards of the certificate.
    Dns,
    /// An e-mail address.
    Email,
    /// An IP address, as text.
    Ip,
    /// A URI.
    Uri,
}

impl Validation {
    /// Whether a peer's certificate is looked at in any way.
    #[must_use]
    pub fn checks(&self) -> bool {
        !(self.roots.is_empty()
            && self.certificate_hashes.is_empty()
            && self.spki_hashes.is_empty())
    }

    /// Whether names or hashes are listed, of which a peer must show one.
    #[must_use]
    pub fn lists(&self) -> bool {
        !(self.names.is_empty()
            && self.certificate_hashes.is_empty()
            && self.spki_hashes.is_empty())
    }
}

impl fmt::Debug for CertificateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateConfig")
            .field("dns_names", &self.dns_names)
            .field("uris", &self.uris)
            .finish_non_exhaustive()
    }
}

/// The key fits the leaf's public key, so equal chains have equal keys.
impl PartialEq for CertificateConfig {
    fn eq(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

impl fmt::Debug for TrustedCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedCa({} bytes)", self.der.len())
    }
}

impl TlsParams {
    fn shape(&self) -> (Vec<u16>, Vec<u16>, Vec<u16>) {
        (
            self.versions.iter().map(|v| v.version.into()).collect(),
            self.suites.iter().map(|s| s.suite().into()).collect(),
            self.groups.iter().map(|g| g.name().into()).collect(),
        )
    }
}

impl fmt::Debug for TlsParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shape().fmt(f)
    }
}

impl PartialEq for TlsParams {
    fn eq(&self, other: &Self) -> bool {
        self.shape() == other.shape()
    }
}
