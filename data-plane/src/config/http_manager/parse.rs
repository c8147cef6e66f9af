//! Which messages become a connection manager. `client.rs` and `reply.rs` have parts of it,
//! `chain.rs` the HTTP filters.

use std::sync::Arc;
use std::time::Duration;

use pb::HttpConnectionManager;
use pb::http_connection_manager::{
    CodecType as PbCodec, HcmAccessLogOptions, PathWithEscapedSlashesAction, RouteSpecifier,
    ServerHeaderTransformation, StripPortMode,
};
use proto::envoy::config::core::v3::SchemeHeaderTransformation;
use proto::envoy::config::core::v3::scheme_header_transformation::Transformation;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as pb;

use super::{
    AccessLogOptions, CodecType, EscapedSlashes, HttpManagerConfig, ManagerIdentity,
    ManagerTimeouts, NormalizationConfig, RouteSource, SchemeTransformation, ServerHeader,
    StripPort, chain, client, reply,
};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::http_protocol::{StreamErrors, parse_common, parse_http1, parse_http2};
use crate::config::resource::ParseCx;
use crate::config::tracing::parse as tracing;
use crate::config::{access_log, field, route, source};

const REQUEST_HEADERS_KB_DEFAULT: u32 = 60;
const STREAM_IDLE_DEFAULT: Duration = Duration::from_secs(300);
const DRAIN_DEFAULT: Duration = Duration::from_secs(5);
const DELAYED_CLOSE_DEFAULT: Duration = Duration::from_secs(1);

/// A connection manager.
///
/// # Errors
/// All that is wrong with it, up to the limit of problems.
pub fn parse(
    mut hcm: HttpConnectionManager,
    cx: &ParseCx<'_>,
) -> Result<HttpManagerConfig, Problems> {
    let mut all = Collector::default();
    if hcm.stat_prefix.is_empty() {
        let missing: Result<(), Problems> = Err(Reason::Missing.into());
        all.keep(missing.at("stat_prefix"));
    }
    all.keep(refuse_unbuilt(&hcm));
    let access_log_options = all.keep(parse_access_log_options(&hcm));
    let codec = all.keep(parse_codec(hcm.codec_type));
    let routes = all.keep(parse_routes(hcm.route_specifier.take(), cx));
    let filters = std::mem::take(&mut hcm.http_filters);
    let http_filters = all.keep(chain::parse(filters, "http_filters", cx));
    let upgrades = std::mem::take(&mut hcm.upgrade_configs);
    let upgrades = all.keep(chain::parse_upgrades(upgrades, cx));
    let stream_error = field::flag(hcm.stream_error_on_invalid_http_message, false);
    let errors = if stream_error { StreamErrors::EndStream } else { StreamErrors::EndConnection };
    let common = parse_common(hcm.common_http_protocol_options.take());
    let common = all.keep(common.at("common_http_protocol_options"));
    let http1 = parse_http1(hcm.http_protocol_options.take(), errors);
    let http1 = all.keep(http1.at("http_protocol_options"));
    let http2 = parse_http2(hcm.http2_protocol_options.take());
    let http2 = all.keep(http2.at("http2_protocol_options"));
    let timeouts = all.keep(parse_timeouts(&hcm));
    let identity = all.keep(parse_identity(&hcm));
    let client = all.keep(client::parse(&mut hcm));
    let request_id = all.keep(client::parse_request_id(&hcm));
    let normalization = all.keep(parse_normalization(&hcm));
    let logs = std::mem::take(&mut hcm.access_log);
    let access_log = all.keep(access_log::parse::parse_all(logs, "access_log", cx));
    let traced = hcm.tracing.take().map(|message| tracing::parse(message, cx));
    let traced = all.keep(traced.transpose().at("tracing"));
    let local_reply = hcm.local_reply_config.take();
    let local_reply = all.keep(reply::parse(local_reply, cx).at("local_reply_config"));
    all.finish()?;
    let build = || {
        Some(HttpManagerConfig {
            codec: codec?,
            stat_prefix: hcm.stat_prefix.into(),
            routes: routes?,
            http_filters: http_filters?,
            upgrades: upgrades?,
            common: common?,
            http1: http1?,
            http2: http2?,
            timeouts: timeouts?,
            max_request_headers_kb: field::uint(
                hcm.max_request_headers_kb,
                REQUEST_HEADERS_KB_DEFAULT,
            ),
            identity: identity?,
            client: client?,
            request_id: request_id?,
            normalization: normalization?,
            access_log: access_log?,
            access_log_options: access_log_options?,
            proxy_100_continue: hcm.proxy_100_continue,
            stream_error_on_invalid_http_message: stream_error,
            local_reply: local_reply?,
            tracing: traced?.map(Arc::new),
            proxy_status: hcm.proxy_status_config.map(reply::parse_proxy_status),
        })
    };
    // The collector was clean, so every part is there.
    build().ok_or_else(|| Reason::Missing.into())
}

/// Fields whose default is harmless to write out, and whose other values are not built.
fn refuse_unbuilt(hcm: &HttpConnectionManager) -> Result<(), Problems> {
    let mut all = Collector::default();
    for (present, name) in [
        (!hcm.original_ip_detection_extensions.is_empty(), "original_ip_detection_extensions"),
        (!hcm.early_header_mutation_extensions.is_empty(), "early_header_mutation_extensions"),
        (hcm.path_normalization_options.is_some(), "path_normalization_options"),
        (hcm.typed_header_validation_config.is_some(), "typed_header_validation_config"),
        (hcm.forward_client_cert_matcher.is_some(), "forward_client_cert_matcher"),
        (hcm.forward_proto_config.is_some(), "forward_proto_config"),
        (hcm.append_local_overload, "append_local_overload"),
    ] {
        all.keep(field::refuse(present, name));
    }
    all.finish()
}

fn parse_codec(codec: i32) -> Result<CodecType, Problems> {
    match field::enumeration(codec, "codec_type")? {
        PbCodec::Auto => Ok(CodecType::Auto),
        PbCodec::Http1 => Ok(CodecType::Http1),
        PbCodec::Http2 => Ok(CodecType::Http2),
        PbCodec::Http3 => {
            Err(Reason::NotSupported { what: "HTTP/3".into() }.into()).at("codec_type")
        }
    }
}

fn parse_routes(
    specifier: Option<RouteSpecifier>,
    cx: &ParseCx<'_>,
) -> Result<RouteSource, Problems> {
    match specifier {
        None => Err(Reason::Missing.into()).at("route_specifier"),
        Some(RouteSpecifier::RouteConfig(config)) => {
            let config = route::parse(config, cx).at("route_config")?;
            Ok(RouteSource::Inline(Arc::new(config)))
        }
        Some(RouteSpecifier::Rds(rds)) => {
            let source = field::required(rds.config_source, "config_source").at("rds")?;
            let source = source::parse_dependency(source, cx).at("config_source").at("rds")?;
            Ok(RouteSource::Rds { source, name: rds.route_config_name.into() })
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => {
            field::refuse(true, "scoped_routes")?;
            Err(Reason::Missing.into())
        }
    }
}

fn parse_timeouts(hcm: &HttpConnectionManager) -> Result<ManagerTimeouts, Problems> {
    let stream_idle =
        field::timeout(hcm.stream_idle_timeout, Some(STREAM_IDLE_DEFAULT), "stream_idle_timeout")?;
    let jitter = field::percent(hcm.drain_timeout_jitter, 0.0, "drain_timeout_jitter")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
    let drain_jitter_percent = jitter.round() as u32;
    Ok(ManagerTimeouts {
        stream_idle,
        request: field::timeout(hcm.request_timeout, None, "request_timeout")?,
        request_headers: field::timeout(
            hcm.request_headers_timeout,
            None,
            "request_headers_timeout",
        )?,
        drain: field::duration(hcm.drain_timeout, "drain_timeout")?.unwrap_or(DRAIN_DEFAULT),
        drain_jitter_percent,
        delayed_close: field::timeout(
            hcm.delayed_close_timeout,
            Some(DELAYED_CLOSE_DEFAULT),
            "delayed_close_timeout",
        )?,
    })
}

fn parse_identity(hcm: &HttpConnectionManager) -> Result<ManagerIdentity, Problems> {
    let transformation = hcm.server_header_transformation;
    let server_header = match field::enumeration(transformation, "server_header_transformation")? {
        ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite,
        ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent,
        ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
    };
    let name = if hcm.server_name.is_empty() { "envoy" } else { &hcm.server_name };
    let via = Some(&hcm.via).filter(|via| !via.is_empty());
    Ok(ManagerIdentity {
        server_name: field::header_value(name, "server_name")?,
        server_header,
        via: via.map(|via| field::header_value(via, "via")).transpose()?,
        add_user_agent: field::flag(hcm.add_user_agent, false),
        scheme: parse_scheme(hcm.scheme_header_transformation.as_ref())
            .at("scheme_header_transformation")?,
    })
}

fn parse_scheme(
    config: Option<&SchemeHeaderTransformation>,
) -> Result<SchemeTransformation, Problems> {
    let Some(config) = config else { return Ok(SchemeTransformation::Keep) };
    match &config.transformation {
        // The fixed scheme wins over match_upstream, as in Envoy.
        Some(Transformation::SchemeToOverwrite(scheme)) => match scheme.as_str() {
            "http" => Ok(SchemeTransformation::Http),
            "https" => Ok(SchemeTransformation::Https),
            other => {
                let (got, must) = (format!("\"{other}\""), "http or https".into());
                Err(Reason::Invalid { got, must }.into()).at("scheme_to_overwrite")
            }
        },
        None if config.match_upstream => Ok(SchemeTransformation::MatchUpstream),
        None => Ok(SchemeTransformation::Keep),
    }
}

fn parse_normalization(hcm: &HttpConnectionManager) -> Result<NormalizationConfig, Problems> {
    let any_port = matches!(hcm.strip_port_mode, Some(StripPortMode::StripAnyHostPort(true)));
    let strip_port = match (hcm.strip_matching_host_port, any_port) {
        (true, true) => {
            let text = "strip_matching_host_port and strip_any_host_port may not both be on";
            return Err(Reason::Rule(text.into()).into()).at("strip_any_host_port");
        }
        (true, false) => StripPort::Matching,
        (false, true) => StripPort::Any,
        (false, false) => StripPort::Never,
    };
    use PathWithEscapedSlashesAction as Action;
    let action = hcm.path_with_escaped_slashes_action;
    Ok(NormalizationConfig {
        normalize_path: field::flag(hcm.normalize_path, false),
        merge_slashes: hcm.merge_slashes,
        escaped_slashes: match field::enumeration(action, "path_with_escaped_slashes_action")? {
            // The runtime key that this default asks for says "keep" unless it is set.
            Action::ImplementationSpecificDefault | Action::KeepUnchanged => {
                EscapedSlashes::KeepUnchanged
            }
            Action::RejectRequest => EscapedSlashes::RejectRequest,
            Action::UnescapeAndRedirect => EscapedSlashes::UnescapeAndRedirect,
            Action::UnescapeAndForward => EscapedSlashes::UnescapeAndForward,
        },
        strip_port,
        strip_trailing_host_dot: hcm.strip_trailing_host_dot,
    })
}

fn parse_access_log_options(hcm: &HttpConnectionManager) -> Result<AccessLogOptions, Problems> {
    let old = HcmAccessLogOptions {
        access_log_flush_interval: hcm.access_log_flush_interval,
        flush_access_log_on_new_request: hcm.flush_access_log_on_new_request,
        flush_log_on_tunnel_successfully_established: false,
    };
    let options = match hcm.access_log_options {
        None => old,
        Some(_) if old != HcmAccessLogOptions::default() => {
            let text = "may not be set beside access_log_flush_interval or \
                        flush_access_log_on_new_request";
            return Err(Reason::Rule(text.into()).into()).at("access_log_options");
        }
        Some(options) => options,
    };
    Ok(AccessLogOptions {
        flush_on_new_request: options.flush_access_log_on_new_request,
        flush_on_tunnel_established: options.flush_log_on_tunnel_successfully_established,
    })
}
