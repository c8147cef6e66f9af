//! Certificates that are taken and refused, the choice of one, and what is told of one.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::Error;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::peer::{CertificateFacts, fingerprint, url_encoded_pem};
use super::verify::{Side, Verifier, WrongHash, WrongName, sha256};
use crate::base::pattern::{Case, Re2, StringMatcher};
use crate::config::tls::{SanKind, SanMatcher, TrustedCa, Validation};

/// 2026.
const NOW_S: u64 = 1_780_000_000;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

fn ca(name: &str) -> Ca {
    ca_that(name, |_| {})
}

fn ca_that(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Ca {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    Ca { issuer: Issuer::new(params, key), der }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params
}

fn leaf(ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = params("leaf");
    change(&mut params);
    params.signed_by(&KeyPair::generate().unwrap(), &ca.issuer).unwrap().der().clone()
}

fn named(ca: &Ca, names: &[SanType]) -> CertificateDer<'static> {
    leaf(ca, |params| params.subject_alt_names = names.to_vec())
}

fn trusting(ca: &CertificateDer<'static>) -> Validation {
    let anchor = webpki::anchor_from_trusted_cert(ca).unwrap().to_owned();
    Validation { roots: vec![TrustedCa { der: ca.clone(), anchor }], ..Validation::default() }
}

fn check(rules: &Validation, leaf: &CertificateDer<'_>, side: Side) -> Result<(), String> {
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW_S));
    Verifier::new(rules, side, true).check(leaf, &[], now).map_err(|error| match error {
        Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            let inner = &other.0;
            let ours = inner.is::<WrongName>() || inner.is::<WrongHash>();
            if ours { inner.to_string() } else { format!("other: {inner}") }
        }
        other => format!("{other:?}"),
    })
}

fn matcher(kind: SanKind, matcher: StringMatcher) -> SanMatcher {
    SanMatcher { kind, matcher }
}

fn exact(kind: SanKind, text: &str) -> SanMatcher {
    matcher(kind, StringMatcher::Exact(text.into(), Case::Sensitive))
}

#[test]
fn a_chain_must_lead_to_a_trusted_authority_and_be_valid_now() {
    let (own, other) = (ca("own"), ca("other"));
    let rules = trusting(&own.der);
    assert_eq!(check(&rules, &named(&own, &[]), Side::Client), Ok(()));
    let unknown = check(&rules, &named(&other, &[]), Side::Client).unwrap_err();
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let old = leaf(&own, |params| params.not_after = date_time_ymd(2021, 1, 1));
    let old = check(&rules, &old, Side::Client).unwrap_err();
    assert!(old.contains("Expired"), "{old}");
    let early = leaf(&own, |params| params.not_before = date_time_ymd(2029, 1, 1));
    let early = check(&rules, &early, Side::Client).unwrap_err();
    assert!(early.contains("NotValidYet"), "{early}");
    assert_eq!(check(&Validation::default(), &named(&other, &[]), Side::Client), Ok(()));
}

#[test]
fn a_root_must_be_valid_now_and_an_authority_that_signs() {
    type Change = fn(&mut CertificateParams);
    let cases: [(&str, Change, Option<&str>); 6] = [
        ("old", |ca| ca.not_after = date_time_ymd(2021, 1, 1), Some("Expired")),
        ("early", |ca| ca.not_before = date_time_ymd(2029, 1, 1), Some("NotValidYet")),
        ("lists", |ca| ca.key_usages = vec![KeyUsagePurpose::CrlSign], Some("UnknownIssuer")),
        ("none", |ca| ca.is_ca = IsCa::ExplicitNoCa, Some("UnknownIssuer")),
        ("silent", |ca| ca.is_ca = IsCa::NoCa, Some("UnknownIssuer")),
        ("good", |ca| ca.key_usages = vec![KeyUsagePurpose::KeyCertSign], None),
    ];
    for (name, change, reason) in cases {
        let root = ca_that(name, change);
        for side in [Side::Client, Side::Server] {
            let got = check(&trusting(&root.der), &named(&root, &[]), side);
            match (reason, got) {
                (None, Ok(())) => {}
                (Some(reason), Err(got)) if got.contains(reason) => {}
                (_, got) => panic!("{name}: {got:?}"),
            }
        }
    }
}

#[test]
fn what_stands_between_must_sign_and_be_allowed_for() {
    let between = |root: &Ca, usages: &[KeyUsagePurpose]| {
        let mut params = params("between");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = usages.to_vec();
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &root.issuer).unwrap().der().clone();
        Ca { issuer: Issuer::new(params, key), der }
    };
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW_S));
    let (root, flat) = (
        ca("root"),
        ca_that("flat", |ca| {
            ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }),
    );
    for (root, usage, taken) in [
        (&root, KeyUsagePurpose::KeyCertSign, true),
        (&root, KeyUsagePurpose::CrlSign, false),
        (&flat, KeyUsagePurpose::KeyCertSign, false),
    ] {
        let between = between(root, &[usage]);
        let verifier = Verifier::new(&trusting(&root.der), Side::Client, true);
        let got = verifier.check(&named(&between, &[]), std::slice::from_ref(&between.der), now);
        assert_eq!(got.is_ok(), taken, "{usage:?}: {got:?}");
    }
}

#[test]
fn a_certificate_for_the_other_side_is_refused() {
    let own = ca("own");
    let for_servers = leaf(&own, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let rules = trusting(&own.der);
    assert_eq!(check(&rules, &for_servers, Side::Server), Ok(()));
    let refused = check(&rules, &for_servers, Side::Client).unwrap_err();
    assert!(refused.contains("InvalidPurpose"), "{refused}");
}

#[test]
fn a_certificate_that_is_trusted_itself_is_taken_while_it_is_valid() {
    let own = ca("own");
    assert_eq!(check(&trusting(&own.der), &own.der, Side::Server), Ok(()));
    let key = KeyPair::generate().unwrap();
    let mut old = params("old");
    old.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    old.not_after = date_time_ymd(2021, 1, 1);
    let old = old.self_signed(&key).unwrap().der().clone();
    let refused = check(&trusting(&old), &old, Side::Server).unwrap_err();
    assert!(refused.contains("Expired"), "{refused}");
}

#[test]
fn names_are_compared_by_kind_and_whole_value() {
    let own = ca("own");
    let certificate = named(
        &own,
        &[
            SanType::URI("spiffe://td/ab".try_into().unwrap()),
            SanType::DnsName("*.Example.com".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 7].into()),
            SanType::Rfc822Name("me@example.com".try_into().unwrap()),
        ],
    );
    let prefix = |text: &str| StringMatcher::Prefix(text.into(), Case::Sensitive);
    let regex = StringMatcher::Regex(Re2::new(r"10\.0\.0\.\d").unwrap());
    let cases = [
        (exact(SanKind::Uri, "spiffe://td/ab"), true),
        (exact(SanKind::Uri, "spiffe://td/a"), false),
        (exact(SanKind::Dns, "spiffe://td/ab"), false),
        (matcher(SanKind::Uri, prefix("spiffe://td/")), true),
        (matcher(SanKind::Uri, prefix("spiffe://other/")), false),
        (exact(SanKind::Dns, "a.example.com"), true),
        (exact(SanKind::Dns, "example.com"), false),
        (exact(SanKind::Dns, "a.b.example.com"), false),
        (exact(SanKind::Dns, ".example.com"), false),
        (exact(SanKind::Ip, "10.0.0.7"), true),
        (matcher(SanKind::Ip, regex), true),
        (exact(SanKind::Ip, "10.0.0.8"), false),
        (exact(SanKind::Email, "me@example.com"), true),
        (exact(SanKind::Email, "you@example.com"), false),
    ];
    for (wanted, taken) in cases {
        let rules = Validation { names: vec![wanted.clone()], ..trusting(&own.der) };
        let expected = if taken { Ok(()) } else { Err(WrongName.to_string()) };
        assert_eq!(check(&rules, &certificate, Side::Client), expected, "{wanted:?}");
    }
    let rules = Validation { names: vec![exact(SanKind::Dns, "leaf")], ..trusting(&own.der) };
    assert_eq!(
        check(&rules, &named(&own, &[]), Side::Client),
        Err(WrongName.to_string()),
        "the subject's common name is no name"
    );
}

#[test]
fn hashes_pin_a_certificate_or_its_key() {
    let own = ca("own");
    let (one, two) = (named(&own, &[]), named(&own, &[]));
    let by_hash = Validation { certificate_hashes: vec![sha256(&one)], ..Validation::default() };
    assert_eq!(check(&by_hash, &one, Side::Client), Ok(()));
    assert_eq!(check(&by_hash, &two, Side::Client), Err(WrongHash.to_string()));
    let (_, parsed) = x509_parser::parse_x509_certificate(&one).unwrap();
    let spki = sha256(parsed.public_key().raw);
    let by_key = Validation { spki_hashes: vec![spki], ..Validation::default() };
    assert_eq!(check(&by_key, &one, Side::Client), Ok(()));
    assert_eq!(check(&by_key, &two, Side::Client), Err(WrongHash.to_string()));
}

#[test]
fn a_certificate_is_told_in_envoys_form() {
    let own = ca("own");
    let certificate = leaf(&own, |params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "A, \"B\" + C");
        params.distinguished_name.push(DnType::CommonName, "näme");
        params.subject_alt_names = vec![
            SanType::URI("spiffe://td/a".try_into().unwrap()),
            SanType::DnsName("a.example".try_into().unwrap()),
        ];
    });
    let facts = CertificateFacts::of(&certificate);
    assert_eq!(facts.subject, r#"CN=n\C3\A4me,O=A\, \"B\" \+ C,C=DE"#);
    assert_eq!(facts.uris, ["spiffe://td/a"]);
    assert_eq!(facts.dns, ["a.example"]);
    assert_eq!(fingerprint(b"abc").get(..8), Some("ba7816bf"));
    let pem = url_encoded_pem(&[certificate]);
    assert!(pem.starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"), "{pem}");
    assert!(pem.ends_with("%0A-----END%20CERTIFICATE-----%0A"), "{pem}");
    assert!(!pem.contains(['+', '/', '=', '\n', ' ']), "{pem}");
}
