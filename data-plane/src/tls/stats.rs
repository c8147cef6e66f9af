//! What handshakes count (`listener.<address>.ssl.`, `cluster.<name>.ssl.`).

use rustls::{
    CertificateError, CipherSuite, Connection, Error, HandshakeKind, NamedGroup, ProtocolVersion,
};

use super::verify::{WrongHash, WrongName};
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{Group, SslStat};

/// Counts the outcome of handshakes.
#[derive(Clone, Debug)]
pub struct Recorder {
    stats: Group<SslStat>,
}

impl Recorder {
    /// Counts in `stats`.
    #[must_use]
    pub const fn new(stats: Group<SslStat>) -> Self {
        Self { stats }
    }

    /// A handshake is done.
    pub fn done(&self, worker: WorkerId, session: &Connection) {
        self.stats.inc(worker, SslStat::Handshake);
        if session.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.stats.inc(worker, SslStat::SessionReused);
        }
        if session.peer_certificates().is_none() {
            self.stats.inc(worker, SslStat::NoCertificate);
        }
        let suite = session.negotiated_cipher_suite();
        let found = [
            session.protocol_version().and_then(version),
            suite.and_then(|suite| cipher(suite.suite())),
            session.negotiated_key_exchange_group().and_then(|group| curve(group.name())),
        ];
        for stat in found.into_iter().flatten() {
            self.stats.inc(worker, stat);
        }
    }

    /// A handshake failed for a reason of TLS.
    pub fn failed(&self, worker: WorkerId, error: &Error) {
        self.stats.inc(worker, cause(error));
    }
}

/// What a failure counts as.
fn cause(error: &Error) -> SslStat {
    match error {
        Error::NoCertificatesPresented => SslStat::FailVerifyNoCert,
        Error::InvalidCertificate(CertificateError::Other(other)) if other.0.is::<WrongName>() => {
            SslStat::FailVerifySan
        }
        Error::InvalidCertificate(CertificateError::Other(other)) if other.0.is::<WrongHash>() => {
            SslStat::FailVerifyCertHash
        }
        Error::InvalidCertificate(_) => SslStat::FailVerifyError,
        _ => SslStat::ConnectionError,
    }
}

fn version(version: ProtocolVersion) -> Option<SslStat> {
    match version {
        ProtocolVersion::TLSv1_2 => Some(SslStat::VersionTls12),
        ProtocolVersion::TLSv1_3 => Some(SslStat::VersionTls13),
        _ => None,
    }
}

fn cipher(suite: CipherSuite) -> Option<SslStat> {
    use CipherSuite as S;
    Some(match suite {
        S::TLS13_AES_128_GCM_SHA256 => SslStat::CipherTls13Aes128,
        S::TLS13_AES_256_GCM_SHA384 => SslStat::CipherTls13Aes256,
        S::TLS13_CHACHA20_POLY1305_SHA256 => SslStat::CipherTls13Chacha,
        S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => SslStat::CipherEcdsaAes128,
        S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => SslStat::CipherEcdsaAes256,
        S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => SslStat::CipherEcdsaChacha,
        S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => SslStat::CipherRsaAes128,
        S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => SslStat::CipherRsaAes256,
        S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => SslStat::CipherRsaChacha,
        _ => return None,
    })
}

fn curve(group: NamedGroup) -> Option<SslStat> {
    Some(match group {
        NamedGroup::X25519 => SslStat::CurveX25519,
        NamedGroup::secp256r1 => SslStat::CurveP256,
        NamedGroup::secp384r1 => SslStat::CurveP384,
        NamedGroup::X25519MLKEM768 => SslStat::CurveX25519Mlkem768,
        _ => return None,
    })
}
