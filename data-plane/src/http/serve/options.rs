//! The codecs' settings from those of a connection manager.

use http::HeaderValue;

use crate::codec::h1::{NameCase, ServerOptions, Underscores};
use crate::codec::h2::Options;
use crate::config::http_manager::HttpManagerConfig;
use crate::config::http_protocol::{CommonHttpOptions, HeaderKeyFormat, HeadersWithUnderscores};

/// HTTP/1.
pub(super) fn h1(config: &HttpManagerConfig, buffer_limit: u32) -> ServerOptions {
    let (common, http1) = (&config.common, &config.http1);
    let defaults = ServerOptions::default();
    ServerOptions {
        max_head_bytes: config.max_request_headers_kb as usize * 1024,
        max_headers_count: common.max_headers_count as usize,
        accept_http_10: http1.accept_http_10,
        default_host_for_http_10: http1
            .default_host_for_http_10
            .as_ref()
            .and_then(|host| HeaderValue::from_str(host).ok()),
        enable_trailers: http1.enable_trailers,
        underscores: underscores(common),
        allow_absolute_url: http1.allow_absolute_url,
        allow_chunked_length: http1.allow_chunked_length,
        allow_custom_methods: http1.allow_custom_methods,
        stream_error_on_invalid_http_message: http1.stream_error_on_invalid_http_message
            || config.stream_error_on_invalid_http_message,
        name_case: match http1.header_key_format {
            HeaderKeyFormat::LowerCase => NameCase::Lower,
            HeaderKeyFormat::ProperCaseWords => NameCase::Proper,
        },
        high_watermark: match buffer_limit {
            0 => usize::MAX,
            limit => defaults.high_watermark.min(limit as usize),
        },
    }
}

fn underscores(common: &CommonHttpOptions) -> Underscores {
    match common.headers_with_underscores {
        HeadersWithUnderscores::Allow => Underscores::Allow,
        HeadersWithUnderscores::DropHeader => Underscores::Drop,
        HeadersWithUnderscores::RejectRequest => Underscores::Reject,
    }
}

/// HTTP/2.
pub(super) fn h2(config: &HttpManagerConfig, buffer_limit: u32) -> Options {
    let (common, http2) = (&config.common, &config.http2);
    let defaults = Options::default();
    Options {
        initial_stream_window_size: http2.initial_stream_window_bytes,
        initial_connection_window_size: http2.initial_connection_window_bytes,
        max_concurrent_streams: http2.max_concurrent_streams,
        hpack_table_size: http2.hpack_table_bytes,
        max_header_list_size: config.max_request_headers_kb.saturating_mul(1024),
        max_headers_count: common.max_headers_count as usize,
        underscores: underscores(common),
        keepalive: http2.keepalive,
        allow_connect: http2.allow_connect,
        high_watermark: match buffer_limit {
            0 => usize::MAX,
            limit => defaults.high_watermark.min(limit as usize),
        },
        ..defaults
    }
}
