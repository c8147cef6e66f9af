//! `static_resources.secrets`, by name.

use std::collections::HashMap;
use std::sync::Arc;

use proto::envoy::extensions::transport_sockets::tls::v3 as pb;
use proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;

use super::{CertificateConfig, certificate, validation};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::field;
use crate::config::resource::ParseCx;

/// How the kind of a secret of the bootstrap begins where one is not known.
pub const STATIC_SECRET: &str = "static secret";

/// Secrets that the bootstrap brings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Secrets {
    certificates: HashMap<Arc<str>, CertificateConfig>,
    /// As messages, since a combined context merges them with another one.
    validations: HashMap<Arc<str>, pb::CertificateValidationContext>,
}

impl Secrets {
    /// No secret at all.
    #[must_use]
    pub fn none() -> &'static Self {
        static NONE: std::sync::LazyLock<Secrets> = std::sync::LazyLock::new(Secrets::default);
        &NONE
    }

    /// Reads the secrets of a bootstrap; paths begin at its `static_resources`.
    ///
    /// # Errors
    /// All that is wrong with them, up to the limit of problems.
    pub fn parse(secrets: Vec<pb::Secret>, cx: &ParseCx<'_>) -> Result<Self, Problems> {
        let mut all = Collector::default();
        let mut out = Self::default();
        for (i, secret) in secrets.into_iter().enumerate() {
            all.keep(out.add(secret, cx).at_index("secrets", i));
        }
        all.finish().map(|()| out)
    }

    fn add(&mut self, secret: pb::Secret, cx: &ParseCx<'_>) -> Result<(), Problems> {
        let name: Arc<str> = secret.name.into();
        let twice = match secret.r#type {
            Some(Type::TlsCertificate(message)) => {
                let certificate = certificate::parse(message, cx).at("tls_certificate")?;
                self.certificates.insert(Arc::clone(&name), certificate).is_some()
            }
            Some(Type::ValidationContext(message)) => {
                validation::parse(message.clone(), cx).at("validation_context")?;
                self.validations.insert(Arc::clone(&name), message).is_some()
            }
            Some(Type::SessionTicketKeys(_)) => return field::refuse(true, "session_ticket_keys"),
            Some(Type::GenericSecret(_)) => return field::refuse(true, "generic_secret"),
            None => return Err(Reason::Missing.into()).at("type"),
        };
        if twice {
            return Err(Reason::Duplicate { value: name.to_string() }.into()).at("name");
        }
        Ok(())
    }

    /// The certificate that a context names.
    ///
    /// # Errors
    /// If it is asked for by SDS, or the bootstrap has none of that name.
    pub(super) fn certificate(
        &self,
        wanted: &pb::SdsSecretConfig,
    ) -> Result<&CertificateConfig, Problems> {
        find(&self.certificates, wanted, "static secret with a certificate")
    }

    /// The rules that a context names.
    ///
    /// # Errors
    /// As for [`Self::certificate`].
    pub(super) fn validation(
        &self,
        wanted: &pb::SdsSecretConfig,
    ) -> Result<&pb::CertificateValidationContext, Problems> {
        find(&self.validations, wanted, "static secret with a validation context")
    }
}

fn find<'a, T>(
    map: &'a HashMap<Arc<str>, T>,
    wanted: &pb::SdsSecretConfig,
    kind: &'static str,
) -> Result<&'a T, Problems> {
    field::refuse(wanted.sds_config.is_some(), "sds_config")?;
    let name = wanted.name.as_str();
    map.get(name)
        .ok_or_else(|| Problems::from(Reason::Unknown { kind, name: name.to_owned() }))
        .at("name")
}
