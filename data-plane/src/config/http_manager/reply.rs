//! Local replies and `proxy-status`.

use pb::http_connection_manager::ProxyStatusConfig as PbStatus;
use pb::http_connection_manager::proxy_status_config::ProxyName as PbName;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as pb;

use super::{LocalReplyConfig, ProxyName, ProxyStatusConfig, ResponseMapper};
use crate::config::error::{At, Problems, Reason};
use crate::config::resource::ParseCx;
use crate::config::{access_log, data_source, field, format, header_mutation};

pub(super) fn parse(
    config: Option<pb::LocalReplyConfig>,
    cx: &ParseCx<'_>,
) -> Result<LocalReplyConfig, Problems> {
    let Some(config) = config else { return Ok(LocalReplyConfig::default()) };
    let body_format = config.body_format.map(|f| format::parse(f, cx)).transpose();
    let mappers = config.mappers.into_iter().enumerate();
    let mappers = mappers.map(|(i, mapper)| parse_mapper(mapper, cx).at_index("mappers", i));
    Ok(LocalReplyConfig {
        mappers: mappers.collect::<Result<_, _>>()?,
        body_format: body_format.at("body_format")?,
    })
}

fn parse_mapper(mapper: pb::ResponseMapper, cx: &ParseCx<'_>) -> Result<ResponseMapper, Problems> {
    let filter = field::required(mapper.filter, "filter")?;
    let status = mapper.status_code.map(|code| parse_status(code.value)).transpose();
    let body = mapper.body.map(|body| data_source::parse(body, cx)).transpose();
    let format = mapper.body_format_override.map(|f| format::parse(f, cx)).transpose();
    Ok(ResponseMapper {
        filter: access_log::filter_rules::parse(filter).at("filter")?,
        status: status.at("status_code")?,
        body: body.at("body")?,
        body_format_override: format.at("body_format_override")?,
        headers_to_add: header_mutation::parse_additions(
            mapper.headers_to_add,
            "headers_to_add",
            cx,
        )?,
    })
}

fn parse_status(code: u32) -> Result<http::StatusCode, Problems> {
    let status = u16::try_from(code).ok().filter(|code| (200..600).contains(code));
    status.and_then(|code| http::StatusCode::from_u16(code).ok()).ok_or_else(|| {
        Reason::Invalid { got: code.to_string(), must: "between 200 and 599".into() }.into()
    })
}

pub(super) fn parse_proxy_status(config: PbStatus) -> ProxyStatusConfig {
    ProxyStatusConfig {
        remove_details: config.remove_details,
        remove_connection_termination_details: config.remove_connection_termination_details,
        remove_response_flags: config.remove_response_flags,
        set_recommended_response_code: config.set_recommended_response_code,
        proxy_name: match config.proxy_name {
            Some(PbName::UseNodeId(true)) => ProxyName::NodeId,
            Some(PbName::LiteralProxyName(name)) => ProxyName::Literal(name.into()),
            Some(PbName::UseNodeId(false)) | None => ProxyName::ServerName,
        },
    }
}
