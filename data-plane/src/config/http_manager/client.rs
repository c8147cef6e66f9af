//! Who the client is: addresses, certificates, request ids.

use pb::HttpConnectionManager;
use pb::http_connection_manager::{
    ForwardClientCertDetails, ForwardClientCertFormat, InternalAddressConfig,
    SetCurrentClientCertDetails,
};
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use proto::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;

use super::{
    ClientAddressConfig, ClientCertDetails, ForwardClientCert, InternalAddresses, RequestIdConfig,
};
use crate::config::error::{At, Problems};
use crate::config::extension::{self, Body};
use crate::config::field;

pub(super) fn parse(hcm: &mut HttpConnectionManager) -> Result<ClientAddressConfig, Problems> {
    let internal = hcm.internal_address_config.take().map(parse_internal).transpose();
    let details = hcm.set_current_client_cert_details.take();
    Ok(ClientAddressConfig {
        use_remote_address: field::flag(hcm.use_remote_address, false),
        xff_num_trusted_hops: hcm.xff_num_trusted_hops,
        skip_xff_append: hcm.skip_xff_append,
        internal: internal.at("internal_address_config")?.unwrap_or_default(),
        represent_ipv4_as_mapped_ipv6: hcm.represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
        append_x_forwarded_port: hcm.append_x_forwarded_port,
        forward_client_cert: parse_forward(hcm.forward_client_cert_details)?,
        client_cert_details: parse_details(details.unwrap_or_default())
            .at("set_current_client_cert_details")?,
    })
}

fn parse_internal(config: InternalAddressConfig) -> Result<InternalAddresses, Problems> {
    Ok(InternalAddresses {
        unix_sockets: config.unix_sockets,
        cidr_ranges: field::cidrs(config.cidr_ranges, "cidr_ranges")?,
    })
}

fn parse_forward(details: i32) -> Result<ForwardClientCert, Problems> {
    Ok(match field::enumeration(details, "forward_client_cert_details")? {
        ForwardClientCertDetails::Sanitize => ForwardClientCert::Sanitize,
        ForwardClientCertDetails::ForwardOnly => ForwardClientCert::ForwardOnly,
        ForwardClientCertDetails::AppendForward => ForwardClientCert::AppendForward,
        ForwardClientCertDetails::SanitizeSet => ForwardClientCert::SanitizeSet,
        ForwardClientCertDetails::AlwaysForwardOnly => ForwardClientCert::AlwaysForwardOnly,
    })
}

fn parse_details(details: SetCurrentClientCertDetails) -> Result<ClientCertDetails, Problems> {
    let format: ForwardClientCertFormat = field::enumeration(details.format, "format")?;
    field::refuse(format != ForwardClientCertFormat::Text, "format")?;
    field::refuse(details.issuer, "issuer")?;
    Ok(ClientCertDetails {
        subject: field::flag(details.subject, false),
        cert: details.cert,
        chain: details.chain,
        dns: details.dns,
        uri: details.uri,
    })
}

pub(super) fn parse_request_id(hcm: &HttpConnectionManager) -> Result<RequestIdConfig, Problems> {
    let any = hcm.request_id_extension.as_ref().and_then(|e| e.typed_config.as_ref());
    let uuid = any.map(parse_uuid).transpose();
    let uuid = uuid.at("typed_config").at("request_id_extension")?.unwrap_or_default();
    Ok(RequestIdConfig {
        generate: field::flag(hcm.generate_request_id, true),
        preserve_external: hcm.preserve_external_request_id,
        always_set_in_response: hcm.always_set_request_id_in_response,
        pack_trace_reason: field::flag(uuid.pack_trace_reason, true),
        use_for_trace_sampling: field::flag(uuid.use_request_id_for_trace_sampling, true),
    })
}

fn parse_uuid(any: &proto::google::protobuf::Any) -> Result<UuidRequestIdConfig, Problems> {
    let opened = extension::open(any)?;
    match opened.body {
        Body::Message(bytes)
            if opened.message == "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig" =>
        {
            extension::decode(&bytes)
        }
        _ => Err(extension::unknown("request id extension", "", &opened.message).into()),
    }
}
