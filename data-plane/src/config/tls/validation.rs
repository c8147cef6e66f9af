//! `CertificateValidationContext`: what a peer's certificate must be like.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::envoy::extensions::transport_sockets::tls::v3 as pb;
use proto::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context as context;
use proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use proto::envoy::r#type::matcher::v3::StringMatcher as PbStringMatcher;
use rustls_pki_types::CertificateDer;

use super::{SanKind, SanMatcher, TrustedCa, Validation, certificate};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::resource::ParseCx;
use crate::config::route::match_rules::parse_string_matcher;
use crate::config::{data_source, field};

/// Kinds that an untyped matcher (`match_subject_alt_names`) looks at.
const UNTYPED: [SanKind; 4] = [SanKind::Dns, SanKind::Uri, SanKind::Email, SanKind::Ip];

/// The rules for a peer's certificate.
///
/// # Errors
/// All that is wrong with them, up to the limit of problems.
pub(super) fn parse(
    message: pb::CertificateValidationContext,
    cx: &ParseCx<'_>,
) -> Result<Validation, Problems> {
    let mut all = Collector::default();
    all.keep(refuse_unbuilt(&message));
    let roots = message.trusted_ca.map(|source| {
        let pem = data_source::parse(source, cx)?;
        only_certificates(&pem)?;
        certificate::certificates(&pem)?.into_iter().map(anchor).collect()
    });
    let roots = all.keep(roots.transpose().at("trusted_ca"));
    let names = all.keep(typed_names(message.match_typed_subject_alt_names));
    let untyped = all.keep(untyped_names(message.match_subject_alt_names));
    let hashes = all.keep(each(&message.verify_certificate_hash, "verify_certificate_hash", hex));
    let spki = all.keep(each(&message.verify_certificate_spki, "verify_certificate_spki", spki));
    all.finish()?;
    let validation = Validation {
        roots: roots.flatten().unwrap_or_default(),
        names: [names, untyped].into_iter().flatten().flatten().collect(),
        certificate_hashes: hashes.unwrap_or_default(),
        spki_hashes: spki.unwrap_or_default(),
        suppress_client_ca_list: message.suppress_client_ca_list,
    };
    if validation.roots.is_empty() && !validation.names.is_empty() {
        // Envoy's words.
        let text = "SAN-based verification of peer certificates without trusted CA is insecure \
                    and not allowed";
        return Err(Reason::Rule(text.into()).into()).at("match_typed_subject_alt_names");
    }
    Ok(validation)
}

fn refuse_unbuilt(message: &pb::CertificateValidationContext) -> Result<(), Problems> {
    let mut all = Collector::default();
    let chain = message.trust_chain_verification;
    let chain: Option<context::TrustChainVerification> =
        all.keep(field::enumeration(chain, "trust_chain_verification"));
    let untrusted =
        chain.is_some_and(|chain| chain != context::TrustChainVerification::VerifyTrustChain);
    for (present, name) in [
        (message.ca_certificate_provider_instance.is_some(), "ca_certificate_provider_instance"),
        (message.system_root_certs.is_some(), "system_root_certs"),
        (message.watched_directory.is_some(), "watched_directory"),
        (
            field::flag(message.require_signed_certificate_timestamp, false),
            "require_signed_certificate_timestamp",
        ),
        (message.crl.is_some(), "crl"),
        (message.allow_expired_certificate, "allow_expired_certificate"),
        (untrusted, "trust_chain_verification"),
        (message.custom_validator_config.is_some(), "custom_validator_config"),
        (message.only_verify_leaf_cert_crl, "only_verify_leaf_cert_crl"),
        (message.max_verify_depth.is_some(), "max_verify_depth"),
    ] {
        all.keep(field::refuse(present, name));
    }
    all.finish()
}

/// Envoy reads more than certificates of such a bundle: what would be passed over here is refused,
/// a revocation list above all. A key is passed over there too.
fn only_certificates(pem: &[u8]) -> Result<(), Problems> {
    let lines = pem.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    let labels = lines.filter_map(|line| line.strip_prefix(b"-----BEGIN "));
    let mut other = labels.map(|label| label.strip_suffix(b"-----").unwrap_or(label));
    match other.find(|label| *label != b"CERTIFICATE" && !label.ends_with(b"PRIVATE KEY")) {
        None => Ok(()),
        Some(label) => {
            let what = format!("PEM section {} of trusted_ca", String::from_utf8_lossy(label));
            Err(Reason::NotSupported { what }.into())
        }
    }
}

fn anchor(der: CertificateDer<'static>) -> Result<TrustedCa, Problems> {
    let anchor = webpki::anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned());
    let anchor = anchor.map_err(|error| Reason::Invalid {
        got: format!("a certificate that cannot be read ({error})"),
        must: "X.509 certificates".into(),
    })?;
    Ok(TrustedCa { der, anchor })
}

fn typed_names(matchers: Vec<pb::SubjectAltNameMatcher>) -> Result<Vec<SanMatcher>, Problems> {
    const NAME: &str = "match_typed_subject_alt_names";
    let mut all = Collector::default();
    let mut out = Vec::with_capacity(matchers.len());
    for (i, matcher) in matchers.into_iter().enumerate() {
        out.extend(all.keep(typed_name(matcher).at_index(NAME, i)));
    }
    all.finish().map(|()| out)
}

fn typed_name(matcher: pb::SubjectAltNameMatcher) -> Result<SanMatcher, Problems> {
    let kind = match field::enumeration(matcher.san_type, "san_type")? {
        SanType::Dns => SanKind::Dns,
        SanType::Email => SanKind::Email,
        SanType::IpAddress => SanKind::Ip,
        SanType::Uri => SanKind::Uri,
        SanType::OtherName => {
            let what = "OTHER_NAME".into();
            return Err(Reason::NotSupported { what }.into()).at("san_type");
        }
        SanType::Unspecified => return Err(Reason::Missing.into()).at("san_type"),
    };
    let text = field::required(matcher.matcher, "matcher")?;
    Ok(SanMatcher { kind, matcher: parse_string_matcher(text).at("matcher")? })
}

fn untyped_names(matchers: Vec<PbStringMatcher>) -> Result<Vec<SanMatcher>, Problems> {
    let mut all = Collector::default();
    let mut out = Vec::new();
    for (i, matcher) in matchers.into_iter().enumerate() {
        let parsed = parse_string_matcher(matcher).at_index("match_subject_alt_names", i);
        let Some(matcher) = all.keep(parsed) else { continue };
        out.extend(UNTYPED.map(|kind| SanMatcher { kind, matcher: matcher.clone() }));
    }
    all.finish().map(|()| out)
}

fn each(
    texts: &[String],
    name: &'static str,
    read: fn(&str) -> Option<[u8; 32]>,
) -> Result<Vec<[u8; 32]>, Problems> {
    let mut all = Collector::default();
    let mut out = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        let must = "the SHA-256 of a certificate in hex or of a public key in base64".into();
        let hash = read(text)
            .ok_or_else(|| Problems::from(Reason::Invalid { got: format!("\"{text}\""), must }));
        out.extend(all.keep(hash.at_index(name, i)));
    }
    all.finish().map(|()| out)
}

/// 64 hex digits, or pairs of them with colons between.
fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = match text.len() {
        64 => text.bytes().collect(),
        95 if text.bytes().skip(2).step_by(3).all(|b| b == b':') => {
            text.bytes().filter(|b| *b != b':').collect()
        }
        _ => return None,
    };
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|p| !p.starts_with('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    (digits.len() == 64).then_some(hash)
}

fn spki(text: &str) -> Option<[u8; 32]> {
    BASE64.decode(text).ok()?.try_into().ok()
}
