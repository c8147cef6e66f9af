//! Which messages become an access logger.

use proto::envoy::config::accesslog::v3 as pb;
use proto::envoy::config::accesslog::v3::access_log::ConfigType;
use proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use proto::envoy::config::accesslog::v3::comparison_filter::Op;
use proto::envoy::config::core::v3::SubstitutionFormatString;
use proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use proto::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};

use super::{AccessLogConfig, AccessLogFilter, AccessLogSink, Comparison, ComparisonOp};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::field;
use crate::config::format::{self, FormatConfig, FormatShape};
use crate::config::resource::ParseCx;

type FileFormat = file_access_log::AccessLogFormat;

/// The access loggers of field `name`.
///
/// # Errors
/// If a logger, its format or its filter is not built or not right.
pub fn parse_all(
    list: Vec<pb::AccessLog>,
    name: &'static str,
    cx: &ParseCx<'_>,
) -> Result<Vec<AccessLogConfig>, Problems> {
    let mut all = Collector::default();
    let mut out = Vec::with_capacity(list.len());
    for (i, log) in list.into_iter().enumerate() {
        out.extend(all.keep(parse(log, cx).at_index(name, i)));
    }
    all.finish().map(|()| out)
}

/// A file logger with the default format (the old `access_log_path` of the admin interface).
#[must_use]
pub fn plain_file(path: String) -> AccessLogConfig {
    let name = "envoy.access_loggers.file".into();
    AccessLogConfig { name, sink: AccessLogSink::File(path.into()), format: None }
}

fn parse(log: pb::AccessLog, cx: &ParseCx<'_>) -> Result<AccessLogConfig, Problems> {
    if log.filter.is_some() {
        field::refuse(true, "filter")?;
    }
    let Some(ConfigType::TypedConfig(any)) = log.config_type else {
        return Err(Reason::Missing.into()).at("typed_config");
    };
    let (sink, format) = parse_sink(&any, &log.name, cx).at("typed_config")?;
    Ok(AccessLogConfig { name: log.name.into(), sink, format })
}

fn parse_sink(
    any: &proto::google::protobuf::Any,
    name: &str,
    cx: &ParseCx<'_>,
) -> Result<(AccessLogSink, Option<FormatConfig>), Problems> {
    let opened = extension::open(any)?;
    let Body::Message(bytes) = opened.body else {
        return Err(extension::unknown("access logger", name, &opened.message).into());
    };
    match opened.message.as_str() {
        "envoy.extensions.access_loggers.file.v3.FileAccessLog" => {
            let file: FileAccessLog = extension::decode(&bytes)?;
            let format = file.access_log_format.map(|f| parse_file_format(f, cx)).transpose()?;
            Ok((AccessLogSink::File(file.path.into()), format))
        }
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog" => {
            let log: StdoutAccessLog = extension::decode(&bytes)?;
            let format =
                log.access_log_format.map(|stdout_access_log::AccessLogFormat::LogFormat(f)| f);
            Ok((AccessLogSink::Stdout, parse_stream_format(format, cx)?))
        }
        "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" => {
            let log: StderrAccessLog = extension::decode(&bytes)?;
            let format =
                log.access_log_format.map(|stderr_access_log::AccessLogFormat::LogFormat(f)| f);
            Ok((AccessLogSink::Stderr, parse_stream_format(format, cx)?))
        }
        _ => Err(extension::unknown("access logger", name, &opened.message).into()),
    }
}

fn parse_stream_format(
    format: Option<SubstitutionFormatString>,
    cx: &ParseCx<'_>,
) -> Result<Option<FormatConfig>, Problems> {
    format.map(|f| format::parse(f, cx)).transpose().at("log_format")
}

fn parse_file_format(format: FileFormat, cx: &ParseCx<'_>) -> Result<FormatConfig, Problems> {
    match format {
        FileFormat::Format(text) => {
            format::parse_shape(FormatShape::Text(text.into()), "format", cx)
        }
        FileFormat::JsonFormat(fields) => {
            format::parse_shape(format::json(fields), "json_format", cx)
        }
        FileFormat::TypedJsonFormat(fields) => {
            format::parse_shape(format::json(fields), "typed_json_format", cx)
        }
        FileFormat::LogFormat(format) => format::parse(format, cx).at("log_format"),
    }
}

/// A filter, as far as mappers of local replies need it.
///
/// # Errors
/// If it is of another kind.
pub fn parse_filter(filter: pb::AccessLogFilter) -> Result<AccessLogFilter, Problems> {
    match filter.filter_specifier.ok_or(Reason::Missing)? {
        FilterSpecifier::StatusCodeFilter(f) => {
            let comparison = parse_comparison(f.comparison).at("status_code_filter")?;
            Ok(AccessLogFilter::StatusCode(comparison))
        }
        FilterSpecifier::DurationFilter(f) => {
            let comparison = parse_comparison(f.comparison).at("duration_filter")?;
            Ok(AccessLogFilter::Duration(comparison))
        }
        FilterSpecifier::ResponseFlagFilter(f) => {
            let flags = f.flags.into_iter().map(Into::into).collect();
            Ok(AccessLogFilter::ResponseFlag(flags))
        }
        FilterSpecifier::AndFilter(f) => {
            parse_filters(f.filters).at("and_filter").map(AccessLogFilter::And)
        }
        FilterSpecifier::OrFilter(f) => {
            parse_filters(f.filters).at("or_filter").map(AccessLogFilter::Or)
        }
        other => {
            Err(Reason::NotSupported { what: format!("access log filter {}", kind(&other)) }.into())
        }
    }
}

fn parse_filters(list: Vec<pb::AccessLogFilter>) -> Result<Vec<AccessLogFilter>, Problems> {
    let list = list.into_iter().enumerate();
    list.map(|(i, filter)| parse_filter(filter).at_index("filters", i)).collect()
}

fn parse_comparison(comparison: Option<pb::ComparisonFilter>) -> Result<Comparison, Problems> {
    let comparison = field::required(comparison, "comparison")?;
    let op = match field::enumeration(comparison.op, "op").at("comparison")? {
        Op::Eq => ComparisonOp::Eq,
        Op::Ge => ComparisonOp::Ge,
        Op::Le => ComparisonOp::Le,
        Op::Ne => ComparisonOp::Ne,
    };
    let value = field::required(comparison.value, "value").at("comparison")?;
    Ok(Comparison { op, value: value.default_value, runtime_key: value.runtime_key.into() })
}

const fn kind(filter: &FilterSpecifier) -> &'static str {
    match filter {
        FilterSpecifier::StatusCodeFilter(_) => "status_code_filter",
        FilterSpecifier::DurationFilter(_) => "duration_filter",
        FilterSpecifier::NotHealthCheckFilter(_) => "not_health_check_filter",
        FilterSpecifier::TraceableFilter(_) => "traceable_filter",
        FilterSpecifier::RuntimeFilter(_) => "runtime_filter",
        FilterSpecifier::AndFilter(_) => "and_filter",
        FilterSpecifier::OrFilter(_) => "or_filter",
        FilterSpecifier::HeaderFilter(_) => "header_filter",
        FilterSpecifier::ResponseFlagFilter(_) => "response_flag_filter",
        FilterSpecifier::GrpcStatusFilter(_) => "grpc_status_filter",
        FilterSpecifier::ExtensionFilter(_) => "extension_filter",
        FilterSpecifier::MetadataFilter(_) => "metadata_filter",
        FilterSpecifier::LogTypeFilter(_) => "log_type_filter",
    }
}
