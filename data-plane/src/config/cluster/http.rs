//! HTTP to an upstream: `HttpProtocolOptions` of `typed_extension_protocol_options`, or the old
//! fields of the cluster where that is absent.

use proto::envoy::config::cluster::v3 as pb;
use proto::envoy::config::cluster::v3::cluster::ClusterProtocolSelection;
use proto::envoy::config::core::v3::UpstreamHttpProtocolOptions;
use proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig, explicit_http_config,
};

use super::{UpstreamHttpConfig, UpstreamProtocol};
use crate::config::error::{At, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::field;
use crate::config::http_protocol::{StreamErrors, parse_common, parse_http1, parse_http2};
use crate::config::resource::ParseCx;

/// The key of `typed_extension_protocol_options` that is for HTTP.
const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What a bad response ends.
const ERRORS: StreamErrors = StreamErrors::EndConnection;

pub(super) fn parse(
    cluster: &pb::Cluster,
    _: &ParseCx<'_>,
) -> Result<UpstreamHttpConfig, Problems> {
    let mut options = None;
    for (key, any) in &cluster.typed_extension_protocol_options {
        let parsed = parse_options(key, any).at_key("typed_extension_protocol_options", key)?;
        options = Some(parsed);
    }
    let mut out = match options {
        Some(options) => options,
        None => parse_old(cluster)?,
    };
    out.common.max_requests_per_connection =
        out.common.max_requests_per_connection.or_else(|| old_max_requests(cluster));
    Ok(out)
}

/// Names that follow each request need a pool a name, which is not built; without TLS they mean
/// nothing.
///
/// # Errors
/// If they are asked for.
pub(super) fn refuse_automatic_names(cluster: &pb::Cluster) -> Result<(), Problems> {
    let old = cluster.upstream_http_protocol_options.as_ref();
    refuse_automatic(old).at("upstream_http_protocol_options")?;
    for (key, any) in &cluster.typed_extension_protocol_options {
        let opened = extension::open(any)?;
        let Body::Message(bytes) = opened.body else { continue };
        if opened.message != OPTIONS {
            continue;
        }
        let options: HttpProtocolOptions = extension::decode(&bytes)?;
        refuse_automatic(options.upstream_http_protocol_options.as_ref())
            .at("upstream_http_protocol_options")
            .at_key("typed_extension_protocol_options", key)?;
    }
    Ok(())
}

fn refuse_automatic(options: Option<&UpstreamHttpProtocolOptions>) -> Result<(), Problems> {
    let Some(options) = options else { return Ok(()) };
    field::refuse(options.auto_sni, "auto_sni")?;
    field::refuse(options.auto_san_validation, "auto_san_validation")?;
    field::refuse(!options.override_auto_sni_header.is_empty(), "override_auto_sni_header")
}

fn old_max_requests(cluster: &pb::Cluster) -> Option<u32> {
    cluster.max_requests_per_connection.map(|v| v.value).filter(|v| *v > 0)
}

fn parse_options(
    key: &str,
    any: &proto::google::protobuf::Any,
) -> Result<UpstreamHttpConfig, Problems> {
    let opened = extension::open(any)?;
    if key != OPTIONS {
        return Err(
            extension::unknown("protocol options", key, &opened.message_if_named(key)).into()
        );
    }
    match opened.body {
        Body::Message(bytes) if opened.message == OPTIONS => {
            parse_typed(extension::decode(&bytes)?)
        }
        _ => Err(extension::unknown("protocol options", key, &opened.message).into()),
    }
}

fn parse_typed(options: HttpProtocolOptions) -> Result<UpstreamHttpConfig, Problems> {
    for (present, name) in [
        (!options.http_filters.is_empty(), "http_filters"),
        (options.header_validation_config.is_some(), "header_validation_config"),
        (options.outlier_detection.is_some(), "outlier_detection"),
        (!options.request_mirror_policies.is_empty(), "request_mirror_policies"),
        (!options.hash_policy.is_empty(), "hash_policy"),
        (options.retry_policy.is_some(), "retry_policy"),
    ] {
        field::refuse(present, name)?;
    }
    let common = parse_common(options.common_http_protocol_options);
    let protocol = match options.upstream_protocol_options {
        None => return Err(Reason::Missing.into()).at("upstream_protocol_options"),
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            parse_explicit(explicit).at("explicit_http_config")?
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(both)) => {
            parse_both(both).at("use_downstream_protocol_config")?
        }
        Some(UpstreamProtocolOptions::AutoConfig(_)) => {
            let what = "auto_config (it needs ALPN, so TLS)".into();
            return Err(Reason::NotSupported { what }.into()).at("auto_config");
        }
    };
    Ok(UpstreamHttpConfig { protocol, common: common.at("common_http_protocol_options")? })
}

fn parse_explicit(explicit: ExplicitHttpConfig) -> Result<UpstreamProtocol, Problems> {
    use explicit_http_config::ProtocolConfig;
    match explicit.protocol_config.ok_or(Reason::Missing)? {
        ProtocolConfig::HttpProtocolOptions(http1) => {
            let http1 = parse_http1(Some(http1), ERRORS).at("http_protocol_options")?;
            Ok(UpstreamProtocol::Http1(http1))
        }
        ProtocolConfig::Http2ProtocolOptions(http2) => {
            let http2 = parse_http2(Some(http2)).at("http2_protocol_options")?;
            Ok(UpstreamProtocol::Http2(http2))
        }
        ProtocolConfig::Http3ProtocolOptions(_) => {
            let what = "HTTP/3".into();
            Err(Reason::NotSupported { what }.into()).at("http3_protocol_options")
        }
    }
}

fn parse_both(both: UseDownstreamHttpConfig) -> Result<UpstreamProtocol, Problems> {
    Ok(UpstreamProtocol::UseDownstream {
        http1: parse_http1(both.http_protocol_options, ERRORS).at("http_protocol_options")?,
        http2: parse_http2(both.http2_protocol_options).at("http2_protocol_options")?,
    })
}

fn parse_old(cluster: &pb::Cluster) -> Result<UpstreamHttpConfig, Problems> {
    let common = parse_common(cluster.common_http_protocol_options);
    let http1 = parse_http1(cluster.http_protocol_options.clone(), ERRORS);
    let http1 = http1.at("http_protocol_options")?;
    let http2 = parse_http2(cluster.http2_protocol_options.clone());
    let http2 = http2.at("http2_protocol_options")?;
    let selection = field::enumeration(cluster.protocol_selection, "protocol_selection")?;
    let protocol = match selection {
        ClusterProtocolSelection::UseDownstreamProtocol => {
            UpstreamProtocol::UseDownstream { http1, http2 }
        }
        ClusterProtocolSelection::UseConfiguredProtocol => {
            // Envoy refuses both unless the downstream's protocol is used.
            if cluster.http2_protocol_options.is_some() {
                UpstreamProtocol::Http2(http2)
            } else {
                UpstreamProtocol::Http1(http1)
            }
        }
    };
    Ok(UpstreamHttpConfig { protocol, common: common.at("common_http_protocol_options")? })
}
