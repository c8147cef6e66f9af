//! Which messages become an access logger.

use proto::envoy::config::accesslog::v3 as pb;
use proto::envoy::config::accesslog::v3::access_log::ConfigType;
use proto::envoy::config::core::v3::SubstitutionFormatString;
use proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use proto::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};

use super::{AccessLogConfig, AccessLogSink, filter_rules};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension::{self, Body};
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
    AccessLogConfig { name, filter: None, sink: AccessLogSink::File(path.into()), format: None }
}

fn parse(log: pb::AccessLog, cx: &ParseCx<'_>) -> Result<AccessLogConfig, Problems> {
    let filter = log.filter.map(filter_rules::parse).transpose().at("filter")?;
    let Some(ConfigType::TypedConfig(any)) = log.config_type else {
        return Err(Reason::Missing.into()).at("typed_config");
    };
    let (sink, format) = parse_sink(&any, &log.name, cx).at("typed_config")?;
    Ok(AccessLogConfig { name: log.name.into(), filter, sink, format })
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
            let opened = cx.sources.appendable(&file.path).map_err(|why| {
                let must = format!("a file that can be written: {why}");
                Problems::from(Reason::Invalid { got: format!("\"{}\"", file.path), must })
            });
            opened.at("path")?;
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
