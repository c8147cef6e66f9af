//! Which messages become a TLS context.

use proto::envoy::config::core::v3::TransportSocket;
use proto::envoy::config::core::v3::transport_socket::ConfigType::TypedConfig;
use proto::envoy::extensions::transport_sockets::tls::v3 as pb;
use proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use proto::envoy::extensions::transport_sockets::tls::v3::downstream_tls_context::{
    OcspStaplePolicy, SessionTicketKeysType,
};
use proto::prost::Message as _;

use rustls_pki_types::ServerName;

use super::params::{self, MaxVersion};
use super::{
    CertificateConfig, CommonTls, DownstreamTls, UpstreamTls, Validation, certificate, validation,
};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::field;
use crate::config::resource::ParseCx;

const DOWNSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const UPSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/// The transport socket of a filter chain; `None` is in the clear.
///
/// # Errors
/// If it is one that is not built, or something in it is wrong.
pub(in crate::config) fn parse_downstream(
    socket: &TransportSocket,
    cx: &ParseCx<'_>,
) -> Result<Option<DownstreamTls>, Problems> {
    parse_socket(socket, DOWNSTREAM, cx, |bytes| downstream(extension::decode(bytes)?, cx))
}

/// The transport socket of a cluster; `None` is in the clear.
///
/// # Errors
/// As for [`parse_downstream`].
pub(in crate::config) fn parse_upstream(
    socket: &TransportSocket,
    cx: &ParseCx<'_>,
) -> Result<Option<UpstreamTls>, Problems> {
    parse_socket(socket, UPSTREAM, cx, |bytes| upstream(extension::decode(bytes)?, cx))
}

fn parse_socket<T>(
    socket: &TransportSocket,
    wanted: &str,
    cx: &ParseCx<'_>,
    parse: impl FnOnce(&[u8]) -> Result<T, Problems>,
) -> Result<Option<T>, Problems> {
    let Some(TypedConfig(any)) = &socket.config_type else {
        return match socket.name.as_str() {
            "envoy.transport_sockets.raw_buffer" => Ok(None),
            name => Err(extension::unknown("transport socket", name, "").into()),
        };
    };
    let opened = extension::open_checked(any, cx).at("typed_config")?;
    match opened.body {
        _ if opened.message == RAW_BUFFER => Ok(None),
        Body::Message(bytes) if opened.message == wanted => {
            parse(&bytes).at("typed_config").map(Some)
        }
        _ => Err(extension::unknown("transport socket", &socket.name, &opened.message).into()),
    }
}

fn upstream(context: pb::UpstreamTlsContext, cx: &ParseCx<'_>) -> Result<UpstreamTls, Problems> {
    let mut all = Collector::default();
    for (present, name) in [
        (context.auto_host_sni, "auto_host_sni"),
        (context.auto_sni_san_validation, "auto_sni_san_validation"),
        (context.allow_renegotiation, "allow_renegotiation"),
        (field::flag(context.enforce_rsa_key_usage, false), "enforce_rsa_key_usage"),
    ] {
        all.keep(field::refuse(present, name));
    }
    let common = context.common_tls_context.unwrap_or_default();
    let common = parse_common(common, MaxVersion::Tls12, cx).at("common_tls_context");
    let common = all.keep(common);
    let sni = Some(context.sni).filter(|name| !name.is_empty()).map(|name| {
        ServerName::try_from(name.clone()).map_err(|_| {
            let must = "a DNS name or an address".into();
            Problems::from(Reason::Invalid { got: format!("\"{name}\""), must })
        })
    });
    let sni = all.keep(sni.transpose().at("sni"));
    all.finish()?;
    let (common, sni) = common.zip(sni).ok_or(Reason::Missing)?;
    if common.certificates.len() > 1 {
        // Envoy: "Multiple TLS certificates are not supported for client contexts".
        let text = "a client has at most one certificate";
        return Err(Reason::Rule(text.into()).into())
            .at("tls_certificates")
            .at("common_tls_context");
    }
    Ok(UpstreamTls { common, sni, max_session_keys: field::uint(context.max_session_keys, 1) })
}

fn downstream(
    context: pb::DownstreamTlsContext,
    cx: &ParseCx<'_>,
) -> Result<DownstreamTls, Problems> {
    let mut all = Collector::default();
    let staple = context.ocsp_staple_policy;
    let staple: Option<OcspStaplePolicy> =
        all.keep(field::enumeration(staple, "ocsp_staple_policy"));
    let staple = staple.is_some_and(|policy| policy != OcspStaplePolicy::LenientStapling);
    let (keys, tickets) = match context.session_ticket_keys_type {
        None => (None, true),
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(off)) => (None, !off),
        Some(SessionTicketKeysType::SessionTicketKeys(_)) => (Some("session_ticket_keys"), true),
        Some(SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(_)) => {
            (Some("session_ticket_keys_sds_secret_config"), true)
        }
    };
    for (present, name) in [
        (field::flag(context.require_sni, false), "require_sni"),
        (context.session_timeout.is_some(), "session_timeout"),
        (staple, "ocsp_staple_policy"),
        (
            field::flag(context.full_scan_certs_on_sni_mismatch, false),
            "full_scan_certs_on_sni_mismatch",
        ),
        (keys.is_some(), keys.unwrap_or_default()),
    ] {
        all.keep(field::refuse(present, name));
    }
    let common = context.common_tls_context.unwrap_or_default();
    let common = all.keep(parse_common(common, MaxVersion::Tls13, cx).at("common_tls_context"));
    all.finish()?;
    let common = common.ok_or(Reason::Missing)?;
    if common.certificates.is_empty() {
        // Envoy: "No TLS certificates found for server context".
        let text = "a server must have a certificate";
        return Err(Reason::Rule(text.into()).into())
            .at("tls_certificates")
            .at("common_tls_context");
    }
    Ok(DownstreamTls {
        common,
        require_client_certificate: field::flag(context.require_client_certificate, false),
        tickets,
        prefer_client_ciphers: context.prefer_client_ciphers,
    })
}

fn parse_common(
    common: pb::CommonTlsContext,
    max: MaxVersion,
    cx: &ParseCx<'_>,
) -> Result<CommonTls, Problems> {
    let mut all = Collector::default();
    for (present, name) in [
        (common.custom_handshaker.is_some(), "custom_handshaker"),
        (common.custom_tls_certificate_selector.is_some(), "custom_tls_certificate_selector"),
        (common.key_log.is_some(), "key_log"),
        (common.tls_certificate_provider_instance.is_some(), "tls_certificate_provider_instance"),
    ] {
        all.keep(field::refuse(present, name));
    }
    let params = common.tls_params.unwrap_or_default();
    let params = all.keep(params::parse(params, max).at("tls_params"));
    let sds = common.tls_certificate_sds_secret_configs;
    let certificates = all.keep(parse_certificates(common.tls_certificates, &sds, cx));
    let validation = all.keep(parse_validation(common.validation_context_type, cx));
    // Envoy joins the list with commas and splits it again: "h2,http/1.1" is two.
    let protocols = common.alpn_protocols.iter().enumerate();
    let protocols = protocols.flat_map(|(i, names)| names.split(',').map(move |name| (i, name)));
    let protocols = protocols.map(|(i, name)| match name.len() {
        1..=255 => Ok(name.into()),
        n => {
            let must = "a protocol of 1 to 255 bytes".into();
            let got = format!("{n} bytes");
            Err(Problems::from(Reason::Invalid { got, must })).at_index("alpn_protocols", i)
        }
    });
    let alpn_protocols = all.keep(protocols.collect::<Result<_, _>>());
    all.finish()?;
    let build = || {
        Some(CommonTls {
            params: params?,
            certificates: certificates?,
            validation: validation?,
            alpn_protocols: alpn_protocols?,
        })
    };
    // The collector was clean, so every part is there.
    build().ok_or_else(|| Reason::Missing.into())
}

fn parse_certificates(
    inline: Vec<pb::TlsCertificate>,
    named: &[pb::SdsSecretConfig],
    cx: &ParseCx<'_>,
) -> Result<Vec<CertificateConfig>, Problems> {
    let mut all = Collector::default();
    let mut out = Vec::new();
    // Envoy: what stands in place goes before what is named.
    let named = if inline.is_empty() { named } else { &[] };
    for (i, message) in inline.into_iter().enumerate() {
        let parsed = certificate::parse(message, cx).at_index("tls_certificates", i);
        out.extend(all.keep(parsed));
    }
    for (i, wanted) in named.iter().enumerate() {
        let found = cx.secrets.certificate(wanted);
        let found = found.at_index("tls_certificate_sds_secret_configs", i);
        out.extend(all.keep(found).cloned());
    }
    all.finish().map(|()| out)
}

fn parse_validation(
    kind: Option<ValidationContextType>,
    cx: &ParseCx<'_>,
) -> Result<Validation, Problems> {
    use ValidationContextType as T;
    match kind {
        None => Ok(Validation::default()),
        Some(T::ValidationContext(message)) => {
            validation::parse(message, cx).at("validation_context")
        }
        Some(T::ValidationContextSdsSecretConfig(wanted)) => {
            let found = cx.secrets.validation(&wanted);
            validation::parse(found.at("validation_context_sds_secret_config")?.clone(), cx)
                .at("validation_context_sds_secret_config")
        }
        Some(T::CombinedValidationContext(combined)) => {
            combine(combined, cx).at("combined_validation_context")
        }
        Some(T::ValidationContextCertificateProvider(_)) => {
            refused("validation_context_certificate_provider")
        }
        Some(T::ValidationContextCertificateProviderInstance(_)) => {
            refused("validation_context_certificate_provider_instance")
        }
    }
}

fn refused(name: &'static str) -> Result<Validation, Problems> {
    field::refuse(true, name)?;
    Ok(Validation::default())
}

/// The secret merged over the default, as protobuf merges messages.
fn combine(
    combined: CombinedCertificateValidationContext,
    cx: &ParseCx<'_>,
) -> Result<Validation, Problems> {
    let mut message = combined.default_validation_context.unwrap_or_default();
    let wanted = combined.validation_context_sds_secret_config;
    let wanted = field::required(wanted, "validation_context_sds_secret_config")?;
    let secret = cx.secrets.validation(&wanted).at("validation_context_sds_secret_config")?;
    message.merge(&*secret.encode_to_vec()).map_err(|error| Reason::Rule(error.to_string()))?;
    validation::parse(message, cx)
}
