//! Rows of the connection manager and of HTTP's protocol options.

use proto::rules::PolicyRow;

/// Name of a message inside of the connection manager's.
macro_rules! manager {
    ($name:literal) => {
        concat!(
            "envoy.extensions.filters.network.http_connection_manager.v3.",
            "HttpConnectionManager.",
            $name
        )
    };
}

pub(super) const ROWS: &[PolicyRow<'static>] = &[
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        &[
            "codec_type",
            "stat_prefix",
            "rds",
            "route_config",
            "http_filters",
            "add_user_agent",
            "common_http_protocol_options",
            "http_protocol_options",
            "http2_protocol_options",
            "server_name",
            "server_header_transformation",
            "scheme_header_transformation",
            "max_request_headers_kb",
            "stream_idle_timeout",
            "request_timeout",
            "request_headers_timeout",
            "drain_timeout",
            "drain_timeout_jitter",
            "delayed_close_timeout",
            "access_log",
            "access_log_options",
            "flush_access_log_on_new_request",
            "use_remote_address",
            "xff_num_trusted_hops",
            "internal_address_config",
            "skip_xff_append",
            "via",
            "generate_request_id",
            "preserve_external_request_id",
            "always_set_request_id_in_response",
            "forward_client_cert_details",
            "set_current_client_cert_details",
            "proxy_100_continue",
            "represent_ipv4_remote_address_as_ipv4_mapped_ipv6",
            "normalize_path",
            "merge_slashes",
            "path_with_escaped_slashes_action",
            "request_id_extension",
            "local_reply_config",
            "strip_matching_host_port",
            "strip_any_host_port",
            "stream_error_on_invalid_http_message",
            "strip_trailing_host_dot",
            "append_x_forwarded_port",
            "upgrade_configs",
            "tracing",
            // State of a PROXY protocol, which no listener filter reads yet.
            "add_proxy_protocol_connection_state",
        ],
        // HTTP/3 needs a UDP listener, which is refused.
        &["http3_protocol_options"],
    ),
    (manager!("InternalAddressConfig"), &["unix_sockets", "cidr_ranges"], &[]),
    (manager!("SetCurrentClientCertDetails"), &["subject", "cert", "chain", "dns", "uri"], &[]),
    (manager!("UpgradeConfig"), &["upgrade_type", "filters", "enabled"], &[]),
    (
        manager!("ProxyStatusConfig"),
        &[
            "remove_details",
            "remove_connection_termination_details",
            "remove_response_flags",
            "set_recommended_response_code",
            "use_node_id",
            "literal_proxy_name",
        ],
        &[],
    ),
    (
        manager!("HcmAccessLogOptions"),
        // Entries while a request lasts are not written.
        &["flush_access_log_on_new_request", "flush_log_on_tunnel_successfully_established"],
        &[],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig",
        &["mappers", "body_format"],
        &[],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper",
        &["filter", "status_code", "body", "body_format_override", "headers_to_add"],
        &[],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.Rds",
        &["config_source", "route_config_name"],
        &[],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        &["name", "typed_config", "is_optional", "disabled"],
        &[],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension",
        &["typed_config"],
        &[],
    ),
    (
        "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
        &["pack_trace_reason", "use_request_id_for_trace_sampling"],
        &[],
    ),
    (
        "envoy.config.core.v3.HttpProtocolOptions",
        &[
            "idle_timeout",
            "max_connection_duration",
            "max_connection_duration_jitter",
            "max_headers_count",
            "max_response_headers_kb",
            "max_stream_duration",
            "headers_with_underscores_action",
            "max_requests_per_connection",
        ],
        &[],
    ),
    (
        "envoy.config.core.v3.Http1ProtocolOptions",
        &[
            "allow_absolute_url",
            "accept_http_10",
            "default_host_for_http_10",
            "header_key_format",
            "enable_trailers",
            "allow_chunked_length",
            "override_stream_error_on_invalid_http_message",
            "send_fully_qualified_url",
            "allow_custom_methods",
        ],
        // Which of its two parsers Envoy uses; ours is a third one.
        &["use_balsa_parser"],
    ),
    ("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat", &["proper_case_words"], &[]),
    (
        "envoy.config.core.v3.Http2ProtocolOptions",
        &[
            "hpack_table_size",
            "max_concurrent_streams",
            "initial_stream_window_size",
            "initial_connection_window_size",
            "allow_connect",
            "connection_keepalive",
        ],
        &[
            // A bad message always ends its stream alone.
            "stream_error_on_invalid_http_messaging",
            "override_stream_error_on_invalid_http_message",
            // Which library encodes, and how well it compresses.
            "use_oghttp2_codec",
            "enable_huffman_encoding",
            "max_metadata_size",
        ],
    ),
    ("envoy.config.core.v3.KeepaliveSettings", &["interval", "timeout", "interval_jitter"], &[]),
    (
        "envoy.config.core.v3.SchemeHeaderTransformation",
        &["scheme_to_overwrite", "match_upstream"],
        &[],
    ),
    // Server name and certificate names matter to TLS alone, and are refused beside it.
    (
        "envoy.config.core.v3.UpstreamHttpProtocolOptions",
        &["auto_sni", "auto_san_validation", "override_auto_sni_header"],
        &[],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        &[
            "common_http_protocol_options",
            "upstream_http_protocol_options",
            "explicit_http_config",
            "use_downstream_protocol_config",
        ],
        &[],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig",
        &["http_protocol_options", "http2_protocol_options"],
        &[],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig",
        &["http_protocol_options", "http2_protocol_options"],
        // For HTTP/3 clients, of which there are none.
        &["http3_protocol_options"],
    ),
];
