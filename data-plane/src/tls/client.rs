//! The client's side: how the hosts of a cluster are spoken to, and which of them are believed.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, SignatureScheme,
};

use super::server::provider;
use super::stats::Recorder;
use super::verify::{Side, Verifier};
use crate::config::tls::UpstreamTls;
use crate::telemetry::stats::{Group, SslStat};

/// What the connection is for, where the context does not say what to offer by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
    /// Nothing: the protocol is not ours to know.
    Nothing,
}

/// The TLS of a cluster, for all workers.
pub struct Client {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    plain: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// What is counted.
    pub recorder: Recorder,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Client {
    /// Builds it; its configuration has been checked, so that nothing fails any more.
    ///
    /// # Panics
    /// If the configuration was not made by `config::tls`.
    #[must_use]
    pub fn new(tls: &UpstreamTls, stats: Group<SslStat>) -> Self {
        let with_alpn = |protocols: Vec<Vec<u8>>| {
            let mut config = config(tls);
            config.alpn_protocols = protocols;
            Arc::new(config)
        };
        let own = || tls.common.alpn_protocols.iter().map(|name| name.as_bytes().to_vec());
        let or = |fallback: &[u8]| match own().collect::<Vec<_>>() {
            none if none.is_empty() => vec![fallback.to_vec()],
            own => own,
        };
        // Without a name none is sent: an address never is.
        let nobody = || ServerName::from(std::net::IpAddr::from(Ipv4Addr::UNSPECIFIED));
        Self {
            http1: with_alpn(or(b"http/1.1")),
            http2: with_alpn(or(b"h2")),
            plain: with_alpn(own().collect()),
            name: tls.sni.clone().unwrap_or_else(nobody),
            recorder: Recorder::new(stats),
        }
    }

    /// A session for a new connection.
    ///
    /// # Errors
    /// rustls has no randomness.
    pub fn session(&self, offer: Offer) -> Result<Connection, Error> {
        let config = match offer {
            Offer::Http1 => &self.http1,
            Offer::Http2 => &self.http2,
            Offer::Nothing => &self.plain,
        };
        ClientConnection::new(Arc::clone(config), self.name.clone()).map(Connection::Client)
    }
}

fn config(tls: &UpstreamTls) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider(&tls.common)))
        .with_protocol_versions(&tls.common.params.versions)
        .expect("each version has a suite and a key exchange")
        .dangerous()
        .with_custom_certificate_verifier(Verifier::new(
            &tls.common.validation,
            Side::Server,
            true,
        ));
    let mut config = match tls.common.certificates.first() {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let own = SingleCertAndKey::from(Arc::clone(&own.key));
            builder.with_client_cert_resolver(Arc::new(own))
        }
    };
    config.resumption = match tls.max_session_keys {
        0 => Resumption::disabled(),
        most => Resumption::in_memory_sessions(most as usize),
    };
    config
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}
