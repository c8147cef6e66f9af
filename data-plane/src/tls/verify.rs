//! Whether a peer's certificate is taken: Envoy's rules in rustls's place for them.
//!
//! With `trusted_ca` a chain must lead there and be valid now, the root too, for the side that it
//! is used on; then names, then hashes. Without it chains are not verified, as in Envoy; that the
//! peer holds the key is proved in any case. Names are compared by kind and value
//! (`match_typed_subject_alt_names`).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    SupportedCipherSuite,
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};

use crate::base::pattern::StringMatcher;
use crate::config::tls::{SanKind, SanMatcher, TrustedCa, Validation};

/// The certificate is of a good authority and of the wrong name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongName;

/// The certificate is none of those whose hashes are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongHash;

impl fmt::Display for WrongName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no subject alternative name matches")
    }
}

impl fmt::Display for WrongHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the hash matches none that is listed")
    }
}

impl std::error::Error for WrongName {}
impl std::error::Error for WrongHash {}

/// Which end presents the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// Verifies peers of one context.
#[derive(Debug)]
pub struct Verifier {
    rules: Validation,
    anchors: Vec<TrustAnchor<'static>>,
    side: Side,
    /// A client must have a certificate.
    mandatory: bool,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Verifies the certificates that `side` presents.
    #[must_use]
    pub fn new(rules: &Validation, side: Side, mandatory: bool) -> Arc<Self> {
        let subjects = rules.roots.iter().map(|root| &root.anchor.subject);
        // An anchor has the content of the name's SEQUENCE; the wire wants the whole.
        let hints = subjects.map(|subject| DistinguishedName::in_sequence(subject));
        Arc::new(Self {
            anchors: rules.roots.iter().map(|root| root.anchor.clone()).collect(),
            side,
            mandatory,
            hints: if rules.suppress_client_ca_list { Vec::new() } else { hints.collect() },
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
            rules: rules.clone(),
        })
    }

    /// Signature algorithms that are taken.
    #[must_use]
    pub const fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }

    /// Whether the certificate is taken.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if !self.anchors.is_empty() {
            self.check_chain(leaf, chain, now)?;
        }
        if !self.rules.names.is_empty() && !has_name(leaf, &self.rules.names) {
            return Err(other(WrongName));
        }
        let (hashes, keys) = (&self.rules.certificate_hashes, &self.rules.spki_hashes);
        if hashes.is_empty() && keys.is_empty() {
            return Ok(());
        }
        let known = hashes.contains(&sha256(leaf))
            || spki_of(leaf).is_some_and(|spki| keys.contains(&sha256(&spki)));
        if known { Ok(()) } else { Err(other(WrongHash)) }
    }

    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        // A certificate that is trusted itself needs no path; webpki takes no authority for a leaf.
        if self.rules.roots.iter().any(|root| *root.der == **leaf) {
            return self.check_trusted(leaf, now);
        }
        let certificate = EndEntityCert::try_from(leaf).map_err(refused)?;
        let usage = match self.side {
            Side::Client => KeyUsage::client_auth(),
            Side::Server => KeyUsage::server_auth(),
        };
        let (all, anchors) = (self.algorithms.all, &self.anchors);
        let fits = |path: &VerifiedPath<'_>| self.check_issuers(path, now);
        certificate
            .verify_for_usage(all, anchors, chain, now, usage, None, Some(&fits))
            .map(|_| ())
            .map_err(refused)
    }

    /// What webpki leaves out of a path, and Envoy's does not: it looks at no key usage, and of an
    /// anchor at nothing but name and key.
    fn check_issuers(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), webpki::Error> {
        let between = path.intermediate_certificates();
        let mut count = 0;
        for certificate in between {
            let der = certificate.der();
            let (_, certificate) =
                X509Certificate::from_der(&der).map_err(|_| webpki::Error::BadDer)?;
            if !signs_certificates(&certificate) {
                return Err(webpki::Error::UnknownIssuer);
            }
            count += 1;
        }
        let anchor = path.anchor();
        let is_it = |root: &&TrustedCa| {
            root.anchor.subject == anchor.subject
                && root.anchor.subject_public_key_info == anchor.subject_public_key_info
        };
        // Another root of the same name and key may have been renewed in time.
        let mut refused = webpki::Error::UnknownIssuer;
        for root in self.rules.roots.iter().filter(is_it) {
            match check_root(root, count, now) {
                Ok(()) => return Ok(()),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn check_trusted(&self, leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        let encoding = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| encoding())?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = certificate.validity();
        if now < validity.not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > validity.not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        let usage = certificate.extended_key_usage().map_err(|_| encoding())?;
        let fits = usage.is_none_or(|usage| match self.side {
            Side::Client => usage.value.any || usage.value.client_auth,
            Side::Server => usage.value.any || usage.value.server_auth,
        });
        if fits { Ok(()) } else { Err(CertificateError::InvalidPurpose.into()) }
    }
}

/// Whether a root may issue now, with so many authorities below it.
fn check_root(root: &TrustedCa, below: u32, now: UnixTime) -> Result<(), webpki::Error> {
    let (_, certificate) =
        X509Certificate::from_der(&root.der).map_err(|_| webpki::Error::BadDer)?;
    let at = |seconds: i64| {
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    let validity = certificate.validity();
    let not_before = at(validity.not_before.timestamp());
    let not_after = at(validity.not_after.timestamp());
    if now < not_before {
        return Err(webpki::Error::CertNotValidYet { time: now, not_before });
    }
    if now > not_after {
        return Err(webpki::Error::CertExpired { time: now, not_after });
    }
    // A certificate of version 1 has no extensions that could say so.
    let old = certificate.version() == X509Version::V1;
    let constraints = certificate.basic_constraints().map_err(|_| webpki::Error::BadDer)?;
    let authority = constraints.is_some_and(|constraints| {
        let most = constraints.value.path_len_constraint;
        constraints.value.ca && most.is_none_or(|most| below <= most)
    });
    if (old || authority) && signs_certificates(&certificate) {
        return Ok(());
    }
    Err(webpki::Error::UnknownIssuer)
}

/// Where a certificate says what its key is for, that must be among it.
fn signs_certificates(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    }
}

fn other(reason: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(reason))).into()
}

/// rustls turns the reason into the right alert.
fn refused(error: webpki::Error) -> Error {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } => CertificateError::Expired.into(),
        E::CertNotValidYet { .. } => CertificateError::NotValidYet.into(),
        E::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose.into(),
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding.into(),
        error => other(error),
    }
}

/// SHA-256, from the provider that the handshakes use.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let SupportedCipherSuite::Tls13(suite) = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
    else {
        return [0; 32];
    };
    let mut hash = [0; 32];
    hash.copy_from_slice(suite.common.hash_provider.hash(bytes).as_ref());
    hash
}

fn spki_of(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().raw.to_vec())
}

/// Whether a name of the certificate matches.
fn has_name(der: &[u8], matchers: &[SanMatcher]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    let names = &names.value.general_names;
    names.iter().any(|name| matchers.iter().any(|matcher| fits(name, matcher)))
}

fn fits(name: &GeneralName<'_>, wanted: &SanMatcher) -> bool {
    match (name, wanted.kind) {
        (GeneralName::DNSName(name), SanKind::Dns) => match &wanted.matcher {
            StringMatcher::Exact(exact, _) => dns_matches(name, exact),
            matcher => matcher.is_match(name.as_bytes()),
        },
        (GeneralName::RFC822Name(text), SanKind::Email)
        | (GeneralName::URI(text), SanKind::Uri) => wanted.matcher.is_match(text.as_bytes()),
        (GeneralName::IPAddress(bytes), SanKind::Ip) => {
            address(bytes).is_some_and(|ip| wanted.matcher.is_match(ip.to_string().as_bytes()))
        }
        _ => false,
    }
}

/// RFC 6125 §6.4.3: a `*` stands for one whole label, the first.
fn dns_matches(name: &str, wanted: &str) -> bool {
    if name.eq_ignore_ascii_case(wanted) {
        return true;
    }
    let Some(suffix) = name.strip_prefix("*.") else { return false };
    wanted
        .split_once('.')
        .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(suffix))
}

/// The address that a name carries.
#[must_use]
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
