//! Rows of messages that several resources share: `envoy.config.core.v3` and value types.

use proto::rules::PolicyRow;

pub(super) const ROWS: &[PolicyRow<'static>] = &[
    ("envoy.config.core.v3.Address", &["socket_address", "pipe"], &[]),
    (
        "envoy.config.core.v3.SocketAddress",
        &["protocol", "address", "port_value", "named_port", "resolver_name", "ipv4_compat"],
        &[],
    ),
    ("envoy.config.core.v3.Pipe", &["path", "mode"], &[]),
    (
        "envoy.config.core.v3.TcpKeepalive",
        &["keepalive_probes", "keepalive_time", "keepalive_interval"],
        &[],
    ),
    (
        "envoy.config.core.v3.BindConfig",
        &[
            "source_address",
            "freebind",
            "socket_options",
            "extra_source_addresses",
            "additional_source_addresses",
        ],
        &[],
    ),
    ("envoy.config.core.v3.ExtraSourceAddress", &["address"], &[]),
    (
        "envoy.config.core.v3.SocketOption",
        &["description", "level", "name", "int_value", "state"],
        &[],
    ),
    ("envoy.config.core.v3.SocketOptionsOverride", &["socket_options"], &[]),
    ("envoy.config.core.v3.CidrRange", &["address_prefix", "prefix_len"], &[]),
    ("envoy.config.core.v3.Locality", &["region", "zone", "sub_zone"], &[]),
    ("envoy.config.core.v3.Metadata", &["filter_metadata", "typed_filter_metadata"], &[]),
    (
        "envoy.config.core.v3.DataSource",
        &["filename", "inline_bytes", "inline_string", "environment_variable"],
        // Read once: what changes in the directory takes effect with the next update.
        &["watched_directory"],
    ),
    ("envoy.config.core.v3.WatchedDirectory", &["path", "watch_modify"], &[]),
    ("envoy.config.core.v3.HeaderValue", &["key", "value", "raw_value"], &[]),
    (
        "envoy.config.core.v3.HeaderValueOption",
        &["header", "append", "append_action", "keep_empty_value"],
        &[],
    ),
    (
        "envoy.config.core.v3.SubstitutionFormatString",
        &[
            "text_format",
            "json_format",
            "text_format_source",
            "omit_empty_values",
            "content_type",
            // Keys are always sorted.
            "json_format_options",
        ],
        &[],
    ),
    ("envoy.config.core.v3.JsonFormatOptions", &["sort_properties"], &[]),
    ("envoy.config.core.v3.RuntimeUInt32", &["default_value", "runtime_key"], &[]),
    ("envoy.config.core.v3.RuntimeDouble", &["default_value", "runtime_key"], &[]),
    ("envoy.config.core.v3.RuntimeFractionalPercent", &["default_value", "runtime_key"], &[]),
    ("envoy.config.core.v3.RuntimePercent", &["default_value", "runtime_key"], &[]),
    ("envoy.config.core.v3.RuntimeFeatureFlag", &["default_value", "runtime_key"], &[]),
    ("envoy.config.core.v3.TransportSocket", &["name", "typed_config"], &[]),
    ("envoy.config.core.v3.TypedExtensionConfig", &["name", "typed_config"], &[]),
    (
        "envoy.config.core.v3.ConfigSource",
        &[
            "path",
            "path_config_source",
            "api_config_source",
            "ads",
            "initial_fetch_timeout",
            "resource_api_version",
        ],
        &[],
    ),
    ("envoy.config.core.v3.PathConfigSource", &["path", "watched_directory", "poll_interval"], &[]),
    (
        "envoy.config.core.v3.ApiConfigSource",
        &[
            "api_type",
            "transport_api_version",
            "cluster_names",
            "grpc_services",
            "rate_limit_settings",
            "set_node_on_first_message_only",
            // Of REST sources, which are refused.
            "refresh_delay",
            "request_timeout",
        ],
        &[],
    ),
    ("envoy.config.core.v3.RateLimitSettings", &["max_tokens", "fill_rate"], &[]),
    (
        "envoy.config.core.v3.GrpcService",
        &["envoy_grpc", "timeout", "initial_metadata", "retry_policy"],
        &[],
    ),
    (
        "envoy.config.core.v3.GrpcService.EnvoyGrpc",
        &["cluster_name", "authority", "retry_policy", "max_receive_message_length"],
        &["skip_envoy_headers"],
    ),
    ("envoy.config.core.v3.RetryPolicy", &["retry_back_off", "num_retries"], &["retry_on"]),
    ("envoy.config.core.v3.HttpUri", &["uri", "cluster", "timeout"], &[]),
    ("envoy.config.core.v3.BackoffStrategy", &["base_interval", "max_interval"], &[]),
    ("envoy.config.core.v3.HealthStatusSet", &["statuses"], &[]),
    ("envoy.config.core.v3.DnsResolutionConfig", &["resolvers", "dns_resolver_options"], &[]),
    (
        "envoy.config.core.v3.DnsResolverOptions",
        &["use_tcp_for_dns_lookups", "no_default_search_domain"],
        &[],
    ),
    (
        "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        &["resolvers", "dns_resolver_options"],
        // How the library spaces and spreads its queries, not whom it asks.
        &[
            "filter_unroutable_families",
            "udp_max_queries",
            "rotate_nameservers",
            "edns0_max_payload_size",
            "max_udp_channel_duration",
            "reinit_channel_on_timeout",
            "qcache_max_ttl",
        ],
    ),
    (
        "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig",
        &[],
        &["num_retries", "num_resolver_threads"],
    ),
    ("envoy.type.v3.Percent", &["value"], &[]),
    ("envoy.type.v3.FractionalPercent", &["numerator", "denominator"], &[]),
    ("envoy.type.v3.Int32Range", &["start", "end"], &[]),
    ("envoy.type.v3.Int64Range", &["start", "end"], &[]),
];
