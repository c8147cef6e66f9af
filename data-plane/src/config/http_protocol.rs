//! Protocol options of HTTP, for both sides (`envoy.config.core.v3.*HttpProtocolOptions`).
//!
//! Envoy's defaults are resolved here, so that nobody else has to know them. `None` in a field of
//! a duration or a limit means "no limit", never "default".

use std::sync::Arc;
use std::time::Duration;

use proto::envoy::config::core::v3 as pb;
use proto::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use proto::envoy::config::core::v3::http1_protocol_options::HeaderKeyFormat as PbKeyFormat;
use proto::envoy::config::core::v3::http1_protocol_options::header_key_format::HeaderFormat;

use super::error::{At, Problems, Reason};
use super::field;

/// Options that do not depend on the version (`envoy.config.core.v3.HttpProtocolOptions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonHttpOptions {
    /// A connection without a stream closes after this; default 1 h; 0 is `None`.
    pub idle_timeout: Option<Duration>,
    /// A connection is drained when it is this old.
    pub max_connection_duration: Option<Duration>,
    /// Share of `max_connection_duration` by which it is randomly prolonged, in percent.
    pub max_connection_duration_jitter_percent: u32,
    /// Most headers of a message; default 100.
    pub max_headers_count: u32,
    /// Largest head of a response in KiB (upstream side); default 60 (HTTP/1: 80).
    pub max_response_headers_kb: Option<u32>,
    /// A stream is reset when it is this old.
    pub max_stream_duration: Option<Duration>,
    /// What becomes of header names with an underscore.
    pub headers_with_underscores: HeadersWithUnderscores,
    /// A connection is drained after this many requests.
    pub max_requests_per_connection: Option<u32>,
}

/// `HttpProtocolOptions.HeadersWithUnderscoresAction`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeadersWithUnderscores {
    /// Forward them (the default).
    #[default]
    Allow,
    /// Drop the header.
    DropHeader,
    /// Answer 400.
    RejectRequest,
}

/// HTTP/1 (`envoy.config.core.v3.Http1ProtocolOptions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http1Options {
    /// Requests in absolute form are taken; default true.
    pub allow_absolute_url: bool,
    /// HTTP/1.0 requests are served instead of answered with 426.
    pub accept_http_10: bool,
    /// Host of an HTTP/1.0 request that names none.
    pub default_host_for_http_10: Option<Arc<str>>,
    /// How header names are written.
    pub header_key_format: HeaderKeyFormat,
    /// Trailers are forwarded; default false: dropped.
    pub enable_trailers: bool,
    /// `content-length` beside `transfer-encoding: chunked` is removed instead of refused.
    pub allow_chunked_length: bool,
    /// A bad message ends its stream only (true) or the whole connection (false, the default).
    pub stream_error_on_invalid_http_message: bool,
    /// Upstream requests are written in absolute form.
    pub send_fully_qualified_url: bool,
    /// Methods outside the registered ones are taken.
    pub allow_custom_methods: bool,
}

/// How HTTP/1 header names are written (`Http1ProtocolOptions.HeaderKeyFormat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderKeyFormat {
    /// All lower case (the default).
    #[default]
    LowerCase,
    /// `Each-Word` with a capital.
    ProperCaseWords,
}

/// HTTP/2 (`envoy.config.core.v3.Http2ProtocolOptions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Options {
    /// Size of the HPACK table; default 4096.
    pub hpack_table_bytes: u32,
    /// Streams open at once; default 1024.
    pub max_concurrent_streams: u32,
    /// Receive window of a stream; default 16 MiB.
    pub initial_stream_window_bytes: u32,
    /// Receive window of a connection; default 24 MiB.
    pub initial_connection_window_bytes: u32,
    /// Extended CONNECT (RFC 8441) is offered.
    pub allow_connect: bool,
    /// PING keep-alive; `None` sends none.
    pub keepalive: Option<Http2Keepalive>,
}

/// PING keep-alive (`envoy.config.core.v3.KeepaliveSettings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Http2Keepalive {
    /// Between pings; `None` sends none.
    pub interval: Option<Duration>,
    /// An unanswered ping ends the connection after this.
    pub timeout: Duration,
    /// Random prolongation of the interval in percent; default 15.
    pub interval_jitter_percent: u32,
}

impl Default for CommonHttpOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            max_connection_duration_jitter_percent: 0,
            max_headers_count: 100,
            max_response_headers_kb: None,
            max_stream_duration: None,
            headers_with_underscores: HeadersWithUnderscores::Allow,
            max_requests_per_connection: None,
        }
    }
}

impl Default for Http1Options {
    fn default() -> Self {
        Self {
            allow_absolute_url: true,
            accept_http_10: false,
            default_host_for_http_10: None,
            header_key_format: HeaderKeyFormat::LowerCase,
            enable_trailers: false,
            allow_chunked_length: false,
            stream_error_on_invalid_http_message: false,
            send_fully_qualified_url: false,
            allow_custom_methods: false,
        }
    }
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            hpack_table_bytes: 4096,
            max_concurrent_streams: 1024,
            initial_stream_window_bytes: 16 * 1024 * 1024,
            initial_connection_window_bytes: 24 * 1024 * 1024,
            allow_connect: false,
            keepalive: None,
        }
    }
}

/// What a bad message ends where the options do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamErrors {
    /// Its connection.
    EndConnection,
    /// Its stream.
    EndStream,
}

/// Options of every version.
///
/// # Errors
/// If a duration is negative.
pub fn parse_common(
    options: Option<pb::HttpProtocolOptions>,
) -> Result<CommonHttpOptions, Problems> {
    let Some(options) = options else { return Ok(CommonHttpOptions::default()) };
    let default = CommonHttpOptions::default();
    let underscores = options.headers_with_underscores_action;
    let jitter = options.max_connection_duration_jitter;
    let jitter = field::percent(jitter, 0.0, "max_connection_duration_jitter")?;
    Ok(CommonHttpOptions {
        idle_timeout: field::timeout(options.idle_timeout, default.idle_timeout, "idle_timeout")?,
        max_connection_duration: field::timeout(
            options.max_connection_duration,
            None,
            "max_connection_duration",
        )?,
        max_connection_duration_jitter_percent: whole(jitter),
        max_headers_count: field::uint(options.max_headers_count, default.max_headers_count),
        max_response_headers_kb: options.max_response_headers_kb.map(|v| v.value),
        max_stream_duration: field::timeout(
            options.max_stream_duration,
            None,
            "max_stream_duration",
        )?,
        headers_with_underscores: match field::enumeration(
            underscores,
            "headers_with_underscores_action",
        )? {
            HeadersWithUnderscoresAction::Allow => HeadersWithUnderscores::Allow,
            HeadersWithUnderscoresAction::DropHeader => HeadersWithUnderscores::DropHeader,
            HeadersWithUnderscoresAction::RejectRequest => HeadersWithUnderscores::RejectRequest,
        },
        max_requests_per_connection: nonzero(options.max_requests_per_connection),
    })
}

/// Options of HTTP/1.
///
/// # Errors
/// If a header format is not built.
pub fn parse_http1(
    options: Option<pb::Http1ProtocolOptions>,
    errors: StreamErrors,
) -> Result<Http1Options, Problems> {
    let stream_errors = errors == StreamErrors::EndStream;
    let Some(options) = options else {
        let default = Http1Options::default();
        return Ok(Http1Options { stream_error_on_invalid_http_message: stream_errors, ..default });
    };
    field::refuse(!options.ignore_http_11_upgrade.is_empty(), "ignore_http_11_upgrade")?;
    let host = Some(options.default_host_for_http_10).filter(|host| !host.is_empty());
    let overridden = options.override_stream_error_on_invalid_http_message;
    Ok(Http1Options {
        allow_absolute_url: field::flag(options.allow_absolute_url, true),
        accept_http_10: options.accept_http_10,
        default_host_for_http_10: host.map(Into::into),
        header_key_format: parse_key_format(options.header_key_format).at("header_key_format")?,
        enable_trailers: options.enable_trailers,
        allow_chunked_length: options.allow_chunked_length,
        stream_error_on_invalid_http_message: field::flag(overridden, stream_errors),
        send_fully_qualified_url: options.send_fully_qualified_url,
        allow_custom_methods: options.allow_custom_methods,
    })
}

/// Options of HTTP/2.
///
/// # Errors
/// If custom settings are wanted, or two fields contradict each other.
pub fn parse_http2(options: Option<pb::Http2ProtocolOptions>) -> Result<Http2Options, Problems> {
    let d = Http2Options::default();
    let Some(options) = options else { return Ok(d) };
    refuse_http2(&options)?;
    let keepalive = options.connection_keepalive.map(parse_keepalive);
    Ok(Http2Options {
        hpack_table_bytes: field::uint(options.hpack_table_size, d.hpack_table_bytes),
        max_concurrent_streams: field::uint(
            options.max_concurrent_streams,
            d.max_concurrent_streams,
        ),
        initial_stream_window_bytes: field::uint(
            options.initial_stream_window_size,
            d.initial_stream_window_bytes,
        ),
        initial_connection_window_bytes: field::uint(
            options.initial_connection_window_size,
            d.initial_connection_window_bytes,
        ),
        allow_connect: options.allow_connect,
        keepalive: keepalive.transpose().at("connection_keepalive")?,
    })
}

fn refuse_http2(options: &pb::Http2ProtocolOptions) -> Result<(), Problems> {
    field::refuse(options.allow_metadata, "allow_metadata")?;
    field::refuse(!options.custom_settings_parameters.is_empty(), "custom_settings_parameters")
}

fn parse_keepalive(keepalive: pb::KeepaliveSettings) -> Result<Http2Keepalive, Problems> {
    let jitter = field::percent(keepalive.interval_jitter, 15.0, "interval_jitter")?;
    let timeout = field::required(keepalive.timeout, "timeout")?;
    Ok(Http2Keepalive {
        interval: field::timeout(keepalive.interval, None, "interval")?,
        timeout: field::duration(Some(timeout), "timeout")?.unwrap_or_default(),
        interval_jitter_percent: whole(jitter),
    })
}

fn parse_key_format(format: Option<PbKeyFormat>) -> Result<HeaderKeyFormat, Problems> {
    let Some(format) = format else { return Ok(HeaderKeyFormat::LowerCase) };
    match format.header_format.ok_or(Reason::Missing)? {
        HeaderFormat::ProperCaseWords(_) => Ok(HeaderKeyFormat::ProperCaseWords),
        HeaderFormat::StatefulFormatter(extension) => {
            let what = format!("header formatter {}", extension.name);
            Err(Reason::NotSupported { what }.into()).at("stateful_formatter")
        }
    }
}

/// A percentage as whole percents, rounded as Envoy rounds it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
fn whole(percent: f64) -> u32 {
    percent.clamp(0.0, 100.0).round() as u32
}

fn nonzero(value: Option<proto::google::protobuf::UInt32Value>) -> Option<u32> {
    value.map(|v| v.value).filter(|v| *v > 0)
}
