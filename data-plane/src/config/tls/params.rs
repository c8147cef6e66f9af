//! `TlsParameters`: what BoringSSL calls versions, suites and curves, as far as rustls has them.
//!
//! rustls has no CBC suites, no RSA key exchange and no P-521 exchange. They may stand in a list
//! beside others, since a list only narrows; a list of nothing else is refused.

use proto::envoy::extensions::transport_sockets::tls::v3::TlsParameters;
use proto::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, cipher_suite, default_provider, kx_group};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

use super::TlsParams;
use crate::config::error::{At, Problems, Reason};
use crate::config::field;

/// Suites of TLS 1.2 under OpenSSL's and the RFCs' names.
const SUITES: [(&str, &str, SupportedCipherSuite); 6] = [
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Suites that BoringSSL has and rustls has not.
const SUITES_LEFT_OUT: [&str; 16] = [
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "DES-CBC3-SHA",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-SHA",
    "PSK-AES128-CBC-SHA",
    "PSK-AES256-CBC-SHA",
];

const CURVES: [(&str, &dyn SupportedKxGroup); 4] = [
    ("X25519", kx_group::X25519),
    ("P-256", kx_group::SECP256R1),
    ("P-384", kx_group::SECP384R1),
    ("X25519MLKEM768", kx_group::X25519MLKEM768),
];

/// Curves that BoringSSL has and rustls has not.
const CURVES_LEFT_OUT: [&str; 2] = ["P-521", "X25519Kyber768Draft00"];

/// Highest version where none is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MaxVersion {
    /// Clients, as in Envoy.
    Tls12,
    /// Servers.
    Tls13,
}

/// The parameters.
///
/// # Errors
/// If a name is unknown, or nothing is left that both Envoy's words and rustls mean.
pub(super) fn parse(message: TlsParameters, max: MaxVersion) -> Result<TlsParams, Problems> {
    field::refuse(!message.signature_algorithms.is_empty(), "signature_algorithms")?;
    field::refuse(!message.compliance_policies.is_empty(), "compliance_policies")?;
    let lowest = bound(message.tls_minimum_protocol_version, "tls_minimum_protocol_version", 12)?;
    let max = match max {
        MaxVersion::Tls12 => 12,
        MaxVersion::Tls13 => 13,
    };
    let highest = bound(message.tls_maximum_protocol_version, "tls_maximum_protocol_version", max)?;
    let known: [(u8, &SupportedProtocolVersion); 2] =
        [(12, &version::TLS12), (13, &version::TLS13)];
    let versions = known.into_iter().filter(|(v, _)| (lowest..=highest).contains(v));
    let versions: Vec<_> = versions.map(|(_, version)| version).collect();
    if versions.is_empty() {
        let text = "tls_minimum_protocol_version is above tls_maximum_protocol_version";
        return Err(Reason::Rule(text.into()).into());
    }
    Ok(TlsParams {
        versions,
        suites: suites(&message.cipher_suites)?,
        groups: curves(&message.ecdh_curves)?,
    })
}

fn bound(value: i32, name: &'static str, default: u8) -> Result<u8, Problems> {
    match field::enumeration(value, name)? {
        TlsProtocol::TlsAuto => Ok(default),
        TlsProtocol::TlSv12 => Ok(12),
        TlsProtocol::TlSv13 => Ok(13),
        TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => {
            let what = "TLS below 1.2".into();
            Err(Reason::NotSupported { what }.into()).at(name)
        }
    }
}

/// Suites of TLS 1.3 are always on, as in BoringSSL, whose lists are for 1.2.
fn suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, Problems> {
    let of_13 = |suite: &&SupportedCipherSuite| suite.tls13().is_some();
    let mut suites: Vec<_> = ALL_CIPHER_SUITES.iter().filter(of_13).copied().collect();
    let fixed = suites.len();
    if names.is_empty() {
        return Ok(ALL_CIPHER_SUITES.to_vec());
    }
    for (i, entry) in names.iter().enumerate() {
        // `[A|B]`: equally good, the client chooses; here the first is preferred. `A:B` is a list.
        let names = entry.split(':').flat_map(|part| part.trim_matches(['[', ']']).split('|'));
        for name in names {
            let known = SUITES.iter().find(|(openssl, rfc, _)| name == *openssl || name == *rfc);
            match known {
                Some((_, _, suite)) if suites.contains(suite) => {}
                Some((_, _, suite)) => suites.push(*suite),
                None if SUITES_LEFT_OUT.contains(&name) => {}
                None => {
                    let kind = "cipher suite of TLS 1.2";
                    let unknown = Reason::Unknown { kind, name: name.to_owned() };
                    return Err(unknown.into()).at_index("cipher_suites", i);
                }
            }
        }
    }
    if suites.len() == fixed {
        let what = "a list without a suite that has ECDHE and an AEAD".into();
        return Err(Reason::NotSupported { what }.into()).at("cipher_suites");
    }
    Ok(suites)
}

fn curves(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, Problems> {
    if names.is_empty() {
        return Ok(default_provider().kx_groups);
    }
    let mut groups: Vec<&'static dyn SupportedKxGroup> = Vec::new();
    for (i, entry) in names.iter().enumerate() {
        for name in entry.split(':') {
            match CURVES.iter().find(|(known, _)| name == *known) {
                Some((_, group)) => groups.push(*group),
                None if CURVES_LEFT_OUT.contains(&name) => {}
                None => {
                    let unknown = Reason::Unknown { kind: "curve", name: name.to_owned() };
                    return Err(unknown.into()).at_index("ecdh_curves", i);
                }
            }
        }
    }
    if groups.is_empty() {
        let what = "a list without X25519, P-256, P-384 and X25519MLKEM768".into();
        return Err(Reason::NotSupported { what }.into()).at("ecdh_curves");
    }
    Ok(groups)
}
