//! Own certificates: PEM to a chain and a key that fits it.

use std::sync::Arc;

use proto::envoy::extensions::transport_sockets::tls::v3 as pb;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::CertificateConfig;
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::resource::ParseCx;
use crate::config::{data_source, field};

/// A certificate with its key.
///
/// # Errors
/// If a part is missing, is no PEM, or the key is another certificate's.
pub(super) fn parse(
    message: pb::TlsCertificate,
    cx: &ParseCx<'_>,
) -> Result<CertificateConfig, Problems> {
    let mut all = Collector::default();
    for (present, name) in [
        (message.watched_directory.is_some(), "watched_directory"),
        (message.private_key_provider.is_some(), "private_key_provider"),
        (message.password.is_some(), "password"),
        (message.ocsp_staple.is_some(), "ocsp_staple"),
        (!message.signed_certificate_timestamp.is_empty(), "signed_certificate_timestamp"),
        (message.pkcs12.is_some(), "pkcs12"),
    ] {
        all.keep(field::refuse(present, name));
    }
    all.finish()?;
    let chain = field::required(message.certificate_chain, "certificate_chain")?;
    let chain = data_source::parse(chain, cx).and_then(|pem| certificates(&pem));
    let chain = chain.at("certificate_chain")?;
    let key = field::required(message.private_key, "private_key")?;
    let key = data_source::parse(key, cx).and_then(|pem| private_key(&pem)).at("private_key")?;
    let leaf = leaf(&chain[0]).at("certificate_chain")?;
    let key = any_supported_type(&key).map_err(|error| {
        let text = format!("private_key cannot be used: {error}");
        Problems::from(Reason::Rule(text))
    })?;
    // Compared here and not by rustls, which reads no certificate of version 1.
    if key.public_key().is_some_and(|public| *public != *leaf.public_key) {
        let text = "private_key does not belong to the first certificate of certificate_chain";
        return Err(Reason::Rule(text.into()).into());
    }
    let Leaf { dns_names, uris, .. } = leaf;
    Ok(CertificateConfig { key: Arc::new(CertifiedKey::new(chain, key)), dns_names, uris })
}

/// The certificates of a PEM text, at least one.
///
/// # Errors
/// If there is none, or one is broken.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problems> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match list {
        Ok(list) if list.is_empty() => Err(Reason::Invalid {
            got: "no PEM section CERTIFICATE".into(),
            must: "at least one certificate in PEM".into(),
        }
        .into()),
        Ok(list) => Ok(list),
        Err(error) => Err(Reason::Invalid {
            got: format!("PEM that cannot be read ({error})"),
            must: "certificates in PEM".into(),
        }
        .into()),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Problems> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        // The text of the error has nothing of the key in it.
        let got = format!("no private key that can be read ({error})");
        Reason::Invalid { got, must: "a private key in PEM that is not encrypted".into() }.into()
    })
}

/// What is needed of our own certificate.
struct Leaf {
    public_key: Vec<u8>,
    dns_names: Vec<Arc<str>>,
    uris: Vec<Arc<str>>,
}

fn leaf(der: &CertificateDer<'_>) -> Result<Leaf, Problems> {
    let broken = |error: String| Reason::Invalid {
        got: format!("a certificate that cannot be read ({error})"),
        must: "an X.509 certificate".into(),
    };
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| broken(error.to_string()))?;
    let (mut dns_names, mut uris) = (Vec::new(), Vec::new());
    let names = certificate.subject_alternative_name().map_err(|e| broken(e.to_string()))?;
    for name in names.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => dns_names.push(name.to_ascii_lowercase().into()),
            GeneralName::URI(uri) => uris.push((*uri).into()),
            _ => {}
        }
    }
    Ok(Leaf { public_key: certificate.public_key().raw.to_vec(), dns_names, uris })
}
