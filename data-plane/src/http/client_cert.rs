//! What is known of a client's certificate, and told upstream of it in `x-forwarded-client-cert`.
//! Made once a connection, since nothing of it changes with a request.

use std::cell::OnceCell;

use http::HeaderValue;
use rustls::pki_types::CertificateDer;

use crate::codec::Version;
use crate::config::http_manager::{ClientAddressConfig, ForwardClientCert};
use crate::http::conn::TlsFacts;
use crate::tls::peer::{CertificateFacts, TlsInfo, fingerprint, url_encoded_pem};

impl TlsFacts {
    /// What a manager needs of a connection in TLS.
    #[must_use]
    pub fn new(tls: &TlsInfo, config: &ClientAddressConfig) -> Self {
        let told = matches!(
            config.forward_client_cert,
            ForwardClientCert::AppendForward | ForwardClientCert::SanitizeSet
        );
        let forwarded = if told { value(tls, config) } else { None };
        Self { forwarded, ..Self::of(tls) }
    }

    /// What is known without a manager.
    #[must_use]
    pub fn of(tls: &TlsInfo) -> Self {
        Self {
            alpn: match tls.alpn.as_slice() {
                b"h2" => Some(Version::Http2),
                b"" => None,
                // As in Envoy, anything else is HTTP/1.
                _ => Some(Version::Http11),
            },
            client_certificate: tls.peer.first().cloned(),
            names: OnceCell::new(),
            forwarded: None,
        }
    }

    /// The names of the client's certificate; all empty where it presented none.
    #[must_use]
    pub fn names(&self) -> &CertificateFacts {
        let read = |der: &CertificateDer<'_>| CertificateFacts::of(der);
        self.names.get_or_init(|| self.client_certificate.as_ref().map(read).unwrap_or_default())
    }
}

/// The element for this hop: By, Hash, then what is asked for, in Envoy's order.
fn value(tls: &TlsInfo, config: &ClientAddressConfig) -> Option<HeaderValue> {
    let leaf = tls.peer.first()?;
    let facts = CertificateFacts::of(leaf);
    let wanted = &config.client_cert_details;
    let mut parts: Vec<String> = tls.own_uris.iter().map(|uri| format!("By={uri}")).collect();
    parts.push(format!("Hash={}", fingerprint(leaf)));
    if wanted.cert {
        parts.push(format!("Cert=\"{}\"", url_encoded_pem(&tls.peer[..1])));
    }
    if wanted.chain {
        parts.push(format!("Chain=\"{}\"", url_encoded_pem(&tls.peer)));
    }
    if wanted.subject {
        parts.push(format!("Subject=\"{}\"", facts.subject));
    }
    if wanted.uri {
        // The key stands there even without a URI.
        if facts.uris.is_empty() {
            parts.push("URI=".to_owned());
        }
        parts.extend(facts.uris.iter().map(|uri| format!("URI={uri}")));
    }
    if wanted.dns {
        parts.extend(facts.dns.iter().map(|name| format!("DNS={name}")));
    }
    HeaderValue::from_str(&parts.join(";")).ok()
}
