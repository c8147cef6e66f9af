//! Certificates made for a test, and a client in TLS that presents and believes what it is told.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use serde_json::{Value, json};

use crate::client::Response;
use crate::message::{self, Reader};

/// How long a client waits for bytes.
const PATIENCE: Duration = Duration::from_secs(5);

/// A certificate and its key.
pub struct Identity {
    /// The certificate in PEM.
    pub certificate: String,
    /// The key in PEM.
    pub key: String,
    der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl Identity {
    /// As a `TlsCertificate`.
    #[must_use]
    pub fn config(&self) -> Value {
        json!({
            "certificate_chain": {"inline_string": self.certificate},
            "private_key": {"inline_string": self.key},
        })
    }

    /// The certificate.
    #[must_use]
    pub const fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// SHA-256 of the certificate in hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else { return "".into() };
        let hash = suite.common.hash_provider.hash(&self.der);
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key.
    #[must_use]
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key_der.clone()).into()
    }
}

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate in PEM.
    pub pem: String,
    /// Its own certificate.
    pub der: CertificateDer<'static>,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// Where no key can be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a root certificate");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// A certificate for both sides, with these names.
    ///
    /// # Panics
    /// Where a name is none.
    #[must_use]
    pub fn issue(&self, subject: &str, dns: &[&str], uris: &[&str]) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "GoMesh");
        params.distinguished_name.push(DnType::CommonName, subject);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let dns = dns.iter().map(|name| SanType::DnsName((*name).try_into().expect("a name")));
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("a URI")));
        params.subject_alt_names = dns.chain(uris).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }
}

/// A client in TLS.
#[derive(Clone)]
pub struct Client<'a> {
    /// Whom it believes.
    pub authority: &'a Authority,
    /// What it presents.
    pub identity: Option<&'a Identity>,
    /// The name that it asks for.
    pub name: &'a str,
    /// The protocols that it offers.
    pub alpn: &'a [&'a str],
    /// The only version that it speaks.
    pub version: &'static SupportedProtocolVersion,
}

impl<'a> Client<'a> {
    /// One that presents nothing and offers nothing.
    #[must_use]
    pub const fn new(authority: &'a Authority, name: &'a str) -> Self {
        let version = &rustls::version::TLS13;
        Self { authority, identity: None, name, alpn: &[], version }
    }

    /// Connects and makes the handshake.
    ///
    /// # Errors
    /// What the system or rustls says.
    pub fn open(&self, address: SocketAddr) -> io::Result<Stream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der.clone()).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(vec![own.der.clone()], own.key_der())
                .map_err(io::Error::other)?,
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(self.name.to_owned()).map_err(io::Error::other)?;
        let mut session =
            ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Stream(StreamOwned::new(session, stream)))
    }

    /// A GET on a connection of its own.
    ///
    /// # Errors
    /// As `open`, and what reading says.
    pub fn get(&self, address: SocketAddr, target: &str, more: &str) -> io::Result<Response> {
        let text = format!("GET {target} HTTP/1.1\r\nhost: {}\r\n{more}\r\n", self.name);
        self.open(address)?.exchange(text.as_bytes())
    }
}

/// A connection in TLS.
pub struct Stream(StreamOwned<ClientConnection, TcpStream>);

impl Stream {
    /// The protocol that was agreed on.
    #[must_use]
    pub fn alpn(&self) -> Option<String> {
        self.0.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// The certificate that the proxy presented.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.0.conn.peer_certificates()?.first().map(|der| der.clone().into_owned())
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// What sending or reading says.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        self.0.write_all(request)?;
        let mut reader = Reader::new(&mut self.0);
        let head = reader.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let body = reader.body(message::response_framing("GET", &head));
        Ok(Response { interim: Vec::new(), head, body })
    }

    /// The raw stream, for other protocols.
    pub const fn raw(&mut self) -> &mut StreamOwned<ClientConnection, TcpStream> {
        &mut self.0
    }
}

/// A `DownstreamTlsContext` as a transport socket.
#[must_use]
pub fn downstream(context: Value) -> Value {
    socket("DownstreamTlsContext", context)
}

/// An `UpstreamTlsContext` as a transport socket.
#[must_use]
pub fn upstream(context: Value) -> Value {
    socket("UpstreamTlsContext", context)
}

fn socket(name: &str, mut context: Value) -> Value {
    let package = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
    context["@type"] = json!(format!("{package}.{name}"));
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

/// A backend in TLS that answers each connection's requests with one text, over HTTP/1.
pub struct Backend {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// What a client of the backend asked for and proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The name that it asked for.
    pub name: Option<String>,
    /// What was agreed on by ALPN.
    pub alpn: Option<String>,
    /// Its certificate.
    pub certificate: Option<CertificateDer<'static>>,
    /// The head of its request.
    pub head: message::Head,
}

impl Backend {
    /// Starts one that presents `own` and wants a certificate of `clients`, if that is given.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn start(own: &Identity, clients: Option<&Authority>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the versions of the provider");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone()).expect("a root");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let mut config = builder
            .with_single_cert(vec![own.der.clone()], own.key_der())
            .expect("a certificate and its key");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (config, seen) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let all = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, seen) = (Arc::clone(&config), Arc::clone(&all));
                thread::spawn(move || answer(stream, config, &seen));
            }
        });
        Self { address, seen }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it saw so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(mut stream: TcpStream, config: Arc<ServerConfig>, seen: &Mutex<Vec<Seen>>) {
    let Ok(mut session) = ServerConnection::new(config) else { return };
    while session.is_handshaking() {
        if session.complete_io(&mut stream).is_err() {
            return;
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let name = session.server_name().map(ToOwned::to_owned);
    let alpn = session.alpn_protocol().map(text);
    let peer = session.peer_certificates().and_then(|chain| chain.first());
    let certificate = peer.map(|der| der.clone().into_owned());
    let mut stream = StreamOwned::new(session, stream);
    loop {
        let head = Reader::new(&mut stream).head();
        let Ok(Some(head)) = head else { return };
        let (name, alpn, certificate) = (name.clone(), alpn.clone(), certificate.clone());
        let one = Seen { name, alpn, certificate, head };
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").is_err() {
            return;
        }
    }
}
