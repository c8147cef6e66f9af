//! What a finished handshake says about the connection and the peer.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::Connection;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;

use super::verify::sha256;

/// Facts about a connection in TLS.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// The protocol that ALPN agreed on; empty if none.
    pub alpn: Vec<u8>,
    /// URIs of our own certificate.
    pub own_uris: Arc<[Arc<str>]>,
    /// The peer's certificates, its own first; empty if it has none.
    pub peer: Vec<CertificateDer<'static>>,
}

/// What `x-forwarded-client-cert` can say of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject (RFC 2253).
    pub subject: String,
    /// URIs among its names.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
}

impl TlsInfo {
    /// What `session` agreed on.
    #[must_use]
    pub fn new(session: &Connection, own_uris: &Arc<[Arc<str>]>) -> Self {
        let peer = session.peer_certificates().unwrap_or_default();
        Self {
            alpn: session.alpn_protocol().unwrap_or_default().to_vec(),
            own_uris: Arc::clone(own_uris),
            peer: peer.iter().map(|der| der.clone().into_owned()).collect(),
        }
    }
}

impl CertificateFacts {
    /// Reads a certificate; what cannot be read is left empty.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Self::default() };
        let mut facts = Self { subject: rfc2253(certificate.subject()), ..Self::default() };
        let names = certificate.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::URI(uri) => facts.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => facts.dns.push((*name).to_owned()),
                _ => {}
            }
        }
        facts
    }
}

/// SHA-256 of a certificate in hex.
#[must_use]
pub fn fingerprint(der: &[u8]) -> String {
    sha256(der).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _written = write!(hex, "{byte:02x}");
        hex
    })
}

/// Certificates in PEM, with what may not stand in a header's value percent-encoded as Envoy does.
#[must_use]
pub fn url_encoded_pem(chain: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for der in chain {
        text.push_str("-----BEGIN%20CERTIFICATE-----%0A");
        let base64 = BASE64.encode(der);
        for line in base64.as_bytes().chunks(64) {
            for &byte in line {
                match byte {
                    b'+' => text.push_str("%2B"),
                    b'/' => text.push_str("%2F"),
                    b'=' => text.push_str("%3D"),
                    byte => text.push(char::from(byte)),
                }
            }
            text.push_str("%0A");
        }
        text.push_str("-----END%20CERTIFICATE-----%0A");
    }
    text
}

/// A name as RFC 2253 writes it: the most specific part first.
fn rfc2253(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for rdn in name.iter() {
        let attributes: Vec<String> = rdn
            .iter()
            .map(|attribute| {
                let oid = attribute.attr_type();
                let key = short_name(&oid.to_id_string()).map(ToOwned::to_owned);
                let value = attribute.as_str().unwrap_or_default();
                format!("{}={}", key.unwrap_or_else(|| oid.to_id_string()), escaped(value))
            })
            .collect();
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

/// OpenSSL's short names.
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        let edge = (at == 0 && matches!(c, ' ' | '#')) || (at == last && c == ' ');
        if edge || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
            out.push(c);
        } else if c.is_ascii() && !c.is_ascii_control() {
            out.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _written = write!(out, "\\{byte:02X}");
            }
        }
    }
    out
}
