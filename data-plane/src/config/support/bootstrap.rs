//! Rows of the bootstrap.

use proto::rules::PolicyRow;

pub(super) const ROWS: &[PolicyRow<'static>] = &[
    (
        "envoy.config.bootstrap.v3.Bootstrap",
        &[
            "node",
            "static_resources",
            "dynamic_resources",
            "cluster_manager",
            "layered_runtime",
            "admin",
            "overload_manager",
            "header_prefix",
            "use_tcp_for_dns_lookups",
            "dns_resolution_config",
            "typed_dns_resolver_config",
            "stats_flush_interval",
            "default_regex_engine",
            "application_log_config",
            // Looked at for what Envoy refuses in them; no effect otherwise.
            "stats_config",
            "stats_sinks",
            "bootstrap_extensions",
            "default_socket_interface",
            "listener_manager",
            "tracing",
        ],
        &[
            "node_context_params",
            "hds_config",
            "flags_path",
            "deferred_stat_options",
            "stats_flush_on_admin",
            "stats_eviction_interval",
            "watchdog",
            "watchdogs",
            "enable_dispatcher_stats",
            "stats_server_version_override",
            "inline_headers",
            "perf_tracing_file_path",
            "grpc_async_client_manager_config",
            "memory_allocator_manager",
            "enable_worker_cpu_affinity",
        ],
    ),
    (
        "envoy.config.bootstrap.v3.Bootstrap.StaticResources",
        &["listeners", "clusters", "secrets"],
        &[],
    ),
    (
        "envoy.config.bootstrap.v3.Bootstrap.DynamicResources",
        &["lds_config", "cds_config", "ads_config"],
        &[],
    ),
    ("envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig", &["log_format"], &[]),
    (
        "envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig.LogFormat",
        &["json_format", "text_format"],
        &[],
    ),
    (
        "envoy.config.bootstrap.v3.Admin",
        &["address", "ignore_global_conn_limit", "allow_paths"],
        // Its own requests are not logged yet; what is written there is checked all the same.
        &["access_log", "access_log_path", "profile_path"],
    ),
    (
        "envoy.config.bootstrap.v3.ClusterManager",
        &["local_cluster_name", "upstream_bind_config"],
        // The event log of a detection that is refused; load reports; memory.
        &["outlier_detection", "load_stats_config", "enable_deferred_cluster_creation"],
    ),
    ("envoy.config.bootstrap.v3.LayeredRuntime", &["layers"], &[]),
    (
        "envoy.config.bootstrap.v3.RuntimeLayer",
        &["name", "static_layer"],
        // Accepted until they are built: their keys keep the values of the layers below.
        &["disk_layer", "admin_layer", "rtds_layer"],
    ),
    (
        "envoy.config.core.v3.Node",
        &[
            "id",
            "cluster",
            "metadata",
            "dynamic_parameters",
            "locality",
            "user_agent_name",
            "user_agent_version",
            "user_agent_build_version",
            "extensions",
            "client_features",
            "listening_addresses",
        ],
        &[],
    ),
    ("xds.core.v3.ContextParams", &["params"], &[]),
    ("envoy.config.core.v3.BuildVersion", &["version", "metadata"], &[]),
    ("envoy.type.v3.SemanticVersion", &["major_number", "minor_number", "patch"], &[]),
    (
        "envoy.config.core.v3.Extension",
        &["name", "category", "type_descriptor", "version", "disabled", "type_urls"],
        &[],
    ),
    (
        "envoy.config.overload.v3.OverloadManager",
        &["resource_monitors", "actions", "loadshed_points"],
        &["refresh_interval", "buffer_factory_config"],
    ),
    ("envoy.config.overload.v3.ResourceMonitor", &["name", "typed_config"], &[]),
    (
        "envoy.config.overload.v3.OverloadAction",
        &["name", "triggers"],
        // How much an action gives way; actions themselves have no effect yet.
        &["typed_config"],
    ),
    ("envoy.config.overload.v3.LoadShedPoint", &["name", "triggers"], &[]),
    ("envoy.config.overload.v3.Trigger", &["name", "threshold", "scaled"], &[]),
    ("envoy.config.overload.v3.ThresholdTrigger", &["value"], &[]),
    ("envoy.config.overload.v3.ScaledTrigger", &["scaling_threshold", "saturation_threshold"], &[]),
    (
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        &["max_active_downstream_connections"],
        &[],
    ),
    // Heap, memory and processor monitors: what they would trigger is not built.
    (
        "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        &[],
        &["max_heap_size_bytes"],
    ),
    ("envoy.extensions.resource_monitors.cpu_utilization.v3.CpuUtilizationConfig", &[], &["mode"]),
    (
        "envoy.extensions.resource_monitors.cgroup_memory.v3.CgroupMemoryConfig",
        &[],
        &["max_memory_bytes"],
    ),
    (
        "envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig",
        &[],
        &["filename"],
    ),
    (
        "envoy.config.metrics.v3.StatsConfig",
        &["stats_tags"],
        &["use_all_default_tags", "stats_matcher", "histogram_bucket_settings"],
    ),
    ("envoy.config.metrics.v3.TagSpecifier", &["tag_name", "regex", "fixed_value"], &[]),
    // A sink exports what `/stats` shows as well.
    ("envoy.config.metrics.v3.StatsSink", &["name"], &["typed_config"]),
    ("envoy.extensions.regex_engines.v3.GoogleRE2", &[], &[]),
    (
        "envoy.type.matcher.v3.StringMatcher",
        &["exact", "prefix", "suffix", "safe_regex", "contains", "ignore_case"],
        &[],
    ),
];
