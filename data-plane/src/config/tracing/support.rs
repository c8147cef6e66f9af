//! Which fields of tracing are built, and which are accepted without effect.

use proto::rules::PolicyRow;

/// The rows of tracing, of whoever has it.
pub const ROWS: &[PolicyRow<'static>] = &[
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing",
        &[
            "client_sampling",
            "random_sampling",
            "overall_sampling",
            "max_path_tag_length",
            "custom_tags",
            "provider",
            "spawn_upstream_span",
            "operation",
            "upstream_operation",
            "no_context_propagation",
        ],
        // Events inside of spans: when bytes came and went.
        &["verbose"],
    ),
    ("envoy.config.trace.v3.Tracing", &["http"], &[]),
    ("envoy.config.trace.v3.Tracing.Http", &["name", "typed_config"], &[]),
    (
        "envoy.config.trace.v3.OpenTelemetryConfig",
        &[
            "grpc_service",
            "service_name",
            "sampler",
            "max_cache_size",
            "set_telemetry_sdk_resource_attributes",
            "set_service_name_resource_attribute",
            "set_instrumentation_scope",
        ],
        &[],
    ),
    (
        "envoy.config.route.v3.Tracing",
        &[
            "client_sampling",
            "random_sampling",
            "overall_sampling",
            "custom_tags",
            "operation",
            "upstream_operation",
        ],
        &[],
    ),
    ("envoy.config.route.v3.Decorator", &["operation", "propagate"], &[]),
    ("envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig", &[], &[]),
    (
        "envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig",
        &["wrapped_sampler"],
        &[],
    ),
    (
        "envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig",
        &["sampling_percentage"],
        &[],
    ),
    // Metadata is refused.
    (
        "envoy.type.tracing.v3.CustomTag",
        &["tag", "literal", "environment", "request_header", "value"],
        &[],
    ),
    ("envoy.type.tracing.v3.CustomTag.Literal", &["value"], &[]),
    ("envoy.type.tracing.v3.CustomTag.Environment", &["name", "default_value"], &[]),
    ("envoy.type.tracing.v3.CustomTag.Header", &["name", "default_value"], &[]),
];

/// Tracers of Envoy's that are not built: requests pass, and no span is sent.
pub const OTHER_TRACERS: &[PolicyRow<'static>] = &[
    (
        "envoy.config.trace.v3.DatadogConfig",
        &[],
        &["collector_cluster", "service_name", "collector_hostname", "remote_config"],
    ),
    ("envoy.config.trace.v3.SkyWalkingConfig", &[], &["grpc_service", "client_config"]),
    (
        "envoy.config.trace.v3.XRayConfig",
        &[],
        &["daemon_endpoint", "segment_name", "sampling_rule_manifest", "segment_fields"],
    ),
    (
        "envoy.config.trace.v3.ZipkinConfig",
        &[],
        &[
            "collector_cluster",
            "collector_endpoint",
            "trace_id_128bit",
            "shared_span_context",
            "collector_endpoint_version",
            "collector_hostname",
            "split_spans_for_request",
            "trace_context_option",
            "collector_service",
            "timestamp_trace_ids",
        ],
    ),
];
