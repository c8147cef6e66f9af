//! What the process itself counts, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// The process (`server.`).
    ServerStat {
        CompilationSettingsFipsMode: [SharedGauge] "compilation_settings.fips_mode",
        Concurrency: [SharedGauge] "concurrency",
        DaysUntilFirstCertExpiring: [SharedGauge] "days_until_first_cert_expiring",
        DebugAssertionFailures: [SharedCounter] "debug_assertion_failures",
        DroppedStatFlushes: [SharedCounter] "dropped_stat_flushes",
        DynamicUnknownFields: [SharedCounter] "dynamic_unknown_fields",
        EnvoyBugFailures: [SharedCounter] "envoy_bug_failures",
        EnvoyNotifications: [SharedCounter] "envoy_notifications",
        HotRestartEpoch: [SharedGauge] "hot_restart_epoch",
        HotRestartGeneration: [SharedGauge] "hot_restart_generation",
        InitializationTimeMs: [Histogram] "initialization_time_ms",
        Live: [SharedGauge] "live",
        MainThreadWatchdogMegaMiss: [SharedCounter] "main_thread.watchdog_mega_miss",
        MainThreadWatchdogMiss: [SharedCounter] "main_thread.watchdog_miss",
        MemoryAllocated: [SharedGauge] "memory_allocated",
        MemoryHeapSize: [SharedGauge] "memory_heap_size",
        MemoryPhysicalSize: [SharedGauge] "memory_physical_size",
        ParentConnections: [SharedGauge] "parent_connections",
        SecondsUntilFirstOcspResponseExpiring: [SharedGauge]
            "seconds_until_first_ocsp_response_expiring",
        State: [SharedGauge] "state",
        StaticUnknownFields: [SharedCounter] "static_unknown_fields",
        StatsRecentLookups: [SharedGauge] "stats_recent_lookups",
        TotalConnections: [SharedGauge] "total_connections",
        Uptime: [SharedGauge] "uptime",
        Version: [SharedGauge] "version",
        WipProtos: [SharedCounter] "wip_protos",
    }
}

stat_set! {
    /// What the cluster manager counts (`cluster_manager.`).
    ClusterManagerStat {
        ActiveClusters: [SharedGauge] "active_clusters",
        ClusterAdded: [SharedCounter] "cluster_added",
        ClusterModified: [SharedCounter] "cluster_modified",
        ClusterRemoved: [SharedCounter] "cluster_removed",
        ClusterUpdated: [SharedCounter] "cluster_updated",
        ClusterUpdatedViaMerge: [SharedCounter] "cluster_updated_via_merge",
        UpdateMergeCancelled: [SharedCounter] "update_merge_cancelled",
        UpdateOutOfMergeWindow: [SharedCounter] "update_out_of_merge_window",
        WarmingClusters: [SharedGauge] "warming_clusters",
    }
}

stat_set! {
    /// Writing of log files (`filesystem.`).
    FilesystemStat {
        FlushedByTimer: [SharedCounter] "flushed_by_timer",
        ReopenFailed: [SharedCounter] "reopen_failed",
        WriteBuffered: [Counter] "write_buffered",
        WriteCompleted: [SharedCounter] "write_completed",
        WriteFailed: [SharedCounter] "write_failed",
        WriteTotalBuffered: [Gauge] "write_total_buffered",
    }
}

stat_set! {
    /// Runtime layers (`runtime.`).
    RuntimeStat {
        AdminOverridesActive: [SharedGauge] "admin_overrides_active",
        DeprecatedFeatureSeenSinceProcessStart: [SharedGauge]
            "deprecated_feature_seen_since_process_start",
        DeprecatedFeatureUse: [SharedCounter] "deprecated_feature_use",
        LoadError: [SharedCounter] "load_error",
        LoadSuccess: [SharedCounter] "load_success",
        NumKeys: [SharedGauge] "num_keys",
        NumLayers: [SharedGauge] "num_layers",
        OverrideDirExists: [SharedCounter] "override_dir_exists",
        OverrideDirNotExists: [SharedCounter] "override_dir_not_exists",
    }
}

stat_set! {
    /// A watchdog (`main_thread.`, `workers.`, `server.main_thread.`, `server.worker_0.`).
    WatchdogStat {
        WatchdogMegaMiss: [SharedCounter] "watchdog_mega_miss",
        WatchdogMiss: [SharedCounter] "watchdog_miss",
    }
}

stat_set! {
    /// Clusters that a thread has made (`thread_local_cluster_manager.worker_0.`).
    ThreadLocalStat {
        ClustersInflated: [SharedGauge] "clusters_inflated",
    }
}

stat_set! {
    /// Overload manager (`overload.`).
    OverloadStat {
        RefreshIntervalDelay: [Histogram] "refresh_interval_delay",
    }
}

stat_set! {
    /// The overload action that is always there (`envoy.overload_actions.`).
    OverloadActionStat {
        ResetHighMemoryStreamCount: [SharedCounter] "reset_high_memory_stream.count",
    }
}
