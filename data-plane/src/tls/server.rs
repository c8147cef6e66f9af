//! The server's side: a filter chain's certificates and rules.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Connection, ServerConfig, ServerConnection, SignatureAlgorithm};

use super::peer::TlsInfo;
use super::stats::Recorder;
use super::verify::{Side, Verifier};
use crate::config::tls::{CertificateConfig, CommonTls, DownstreamTls};
use crate::telemetry::stats::{Group, SslStat};

/// The TLS of a filter chain, for all workers.
pub struct Server {
    config: Arc<ServerConfig>,
    /// What is counted.
    pub recorder: Recorder,
    certificates: Arc<Certificates>,
    /// A client's certificate is held against something.
    verifies: bool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl Server {
    /// Builds it; its configuration has been checked, so that nothing fails any more.
    ///
    /// # Panics
    /// If the configuration was not made by `config::tls`.
    #[must_use]
    pub fn new(tls: &DownstreamTls, stats: Group<SslStat>) -> Self {
        let provider = Arc::new(provider(&tls.common));
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&tls.common.params.versions)
            .expect("each version has a suite and a key exchange");
        let rules = &tls.common.validation;
        let builder = if rules.checks() || tls.require_client_certificate {
            // As in Envoy: who lists names or hashes means that a client shows one of them.
            let mandatory = tls.require_client_certificate || rules.lists();
            builder.with_client_cert_verifier(Verifier::new(rules, Side::Client, mandatory))
        } else {
            builder.with_no_client_auth()
        };
        let certificates = Arc::new(Certificates(tls.common.certificates.clone()));
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as _);
        let protocols = tls.common.alpn_protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        config.ignore_client_order = !tls.prefer_client_ciphers;
        // By tickets alone: a store would be a lock that all workers share. Both are the chain's
        // own, so that nobody resumes what other rules allowed.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match aws_lc_rs::Ticketer::new() {
            Ok(ticketer) if tls.tickets => config.ticketer = ticketer,
            _ => config.send_tls13_tickets = 0,
        }
        Self {
            config: Arc::new(config),
            recorder: Recorder::new(stats),
            certificates,
            verifies: rules.checks(),
        }
    }

    /// What a connection starts with whose ClientHello is this, if it can be read.
    #[must_use]
    pub fn open(&self, hello: Option<&ClientHello<'_>>) -> Opening {
        let ours = &self.config.alpn_protocols;
        let known = |name: &[u8]| ours.iter().any(|own| own.as_slice() == name);
        let offered = hello.and_then(ClientHello::alpn);
        let strange = offered.is_some_and(|mut names| !names.any(known));
        let several = self.certificates.0.len() > 1;
        if !(strange || several) {
            return Opening { config: Arc::clone(&self.config), choice: None };
        }
        let mut config = ServerConfig::clone(&self.config);
        if strange {
            // Envoy goes on without a protocol where rustls would end the handshake.
            config.alpn_protocols.clear();
        }
        let choice = several.then(|| {
            // rustls does not tell which one it took: a resolver of the connection's own remembers.
            let all = Arc::clone(&self.certificates);
            Arc::new(Choice { all, place: OnceLock::new() })
        });
        if let Some(choice) = &choice {
            config.cert_resolver = Arc::clone(choice) as _;
        }
        Opening { config: Arc::new(config), choice }
    }

    /// What a finished handshake agreed on.
    #[must_use]
    pub fn info(&self, session: &Connection, opening: &Opening) -> TlsInfo {
        let chosen = opening.choice.as_ref().and_then(|choice| choice.place.get());
        let own = self.certificates.0.get(chosen.copied().unwrap_or(0));
        let uris: Arc<[Arc<str>]> = own.map(|own| own.uris.as_slice()).unwrap_or_default().into();
        let mut info = TlsInfo::new(session, &uris);
        if !self.verifies {
            // Anybody makes such a certificate: it says nothing of who calls.
            info.peer.clear();
        }
        info
    }
}

/// What a connection starts with.
pub struct Opening {
    config: Arc<ServerConfig>,
    choice: Option<Arc<Choice>>,
}

impl Opening {
    /// What rustls needs to go on with a ClientHello that was read.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// A session for a connection of which nothing was read.
    ///
    /// # Errors
    /// rustls has no memory or no randomness.
    pub fn session(&self) -> Result<Connection, rustls::Error> {
        ServerConnection::new(Arc::clone(&self.config)).map(Connection::Server)
    }
}

/// Versions, suites and key exchanges as configured.
pub(super) fn provider(tls: &CommonTls) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: tls.params.suites.clone(),
        kx_groups: tls.params.groups.clone(),
        ..aws_lc_rs::default_provider()
    }
}

/// The choice of a certificate, as Envoy's default selector makes it: among those whose names fit
/// the SNI, else among all; ECDSA before RSA where the client takes it.
#[derive(Debug)]
struct Certificates(Vec<CertificateConfig>);

impl Certificates {
    /// The place of the one for this client.
    fn choose(&self, hello: &ClientHello<'_>) -> usize {
        let usable = |(_, own): &(usize, &CertificateConfig)| {
            own.key.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let named = |(_, own): &(usize, &CertificateConfig)| {
            hello.server_name().is_some_and(|name| is_for(own, &name.to_ascii_lowercase()))
        };
        let ecdsa = |(_, own): &(usize, &CertificateConfig)| {
            own.key.key.algorithm() == SignatureAlgorithm::ECDSA
        };
        let fit = || self.0.iter().enumerate().filter(named).filter(usable);
        let all = || self.0.iter().enumerate().filter(usable);
        let chosen = fit().find(ecdsa).or_else(|| fit().next());
        let chosen = chosen.or_else(|| all().find(ecdsa)).or_else(|| all().next());
        // With nothing that fits, the first fails in rustls's words.
        chosen.map_or(0, |(place, _)| place)
    }

    fn key(&self, place: usize) -> Option<Arc<CertifiedKey>> {
        self.0.get(place).map(|own| Arc::clone(&own.key))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key(self.choose(&hello))
    }
}

/// The choice for one connection, which is remembered.
#[derive(Debug)]
struct Choice {
    all: Arc<Certificates>,
    place: OnceLock<usize>,
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let place = self.place.get_or_init(|| self.all.choose(&hello));
        self.all.key(*place)
    }
}

fn is_for(own: &CertificateConfig, name: &str) -> bool {
    own.dns_names.iter().any(|own| match own.strip_prefix("*.") {
        Some(suffix) => name.split_once('.').is_some_and(|(_, rest)| rest == suffix),
        None => **own == *name,
    })
}
