//! What listeners count, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// What a listener counts (`listener.<address or stat_prefix>.`).
    ListenerStat per_worker ["downstream_cx_active", "downstream_cx_total"] {
        ConnectionsAcceptedPerSocketEvent: [Histogram] "connections_accepted_per_socket_event",
        DownstreamCxActive: [Gauge] "downstream_cx_active",
        DownstreamCxDestroy: [Counter] "downstream_cx_destroy",
        DownstreamCxLengthMs: [Histogram] "downstream_cx_length_ms",
        DownstreamCxOverflow: [Counter] "downstream_cx_overflow",
        DownstreamCxOverloadReject: [Counter] "downstream_cx_overload_reject",
        DownstreamCxTotal: [Counter] "downstream_cx_total",
        DownstreamCxTransportSocketConnectTimeout: [Counter]
            "downstream_cx_transport_socket_connect_timeout",
        DownstreamGlobalCxOverflow: [Counter] "downstream_global_cx_overflow",
        DownstreamListenerFilterError: [Counter] "downstream_listener_filter_error",
        DownstreamListenerFilterRemoteClose: [Counter] "downstream_listener_filter_remote_close",
        DownstreamPreCxActive: [Gauge] "downstream_pre_cx_active",
        DownstreamPreCxTimeout: [Counter] "downstream_pre_cx_timeout",
        ExtensionConfigMissing: [SharedCounter] "extension_config_missing",
        NetworkExtensionConfigMissing: [SharedCounter] "network_extension_config_missing",
        NoFilterChainMatch: [Counter] "no_filter_chain_match",
    }
}

stat_set! {
    /// What the listener manager counts (`listener_manager.`).
    ListenerManagerStat {
        ListenerAdded: [SharedCounter] "listener_added",
        ListenerCreateFailure: [SharedCounter] "listener_create_failure",
        ListenerCreateSuccess: [SharedCounter] "listener_create_success",
        ListenerInPlaceUpdated: [SharedCounter] "listener_in_place_updated",
        ListenerModified: [SharedCounter] "listener_modified",
        ListenerRemoved: [SharedCounter] "listener_removed",
        ListenerStopped: [SharedCounter] "listener_stopped",
        TotalFilterChainsDraining: [SharedGauge] "total_filter_chains_draining",
        TotalListenersActive: [SharedGauge] "total_listeners_active",
        TotalListenersDraining: [SharedGauge] "total_listeners_draining",
        TotalListenersWarming: [SharedGauge] "total_listeners_warming",
        WorkersPinned: [SharedGauge] "workers_pinned",
        WorkersStarted: [SharedGauge] "workers_started",
    }
}

stat_set! {
    /// What the admin listener counts (`listener.admin.`).
    AdminListenerStat {
        ConnectionsAcceptedPerSocketEvent: [Histogram] "connections_accepted_per_socket_event",
        DownstreamCxActive: [Gauge] "downstream_cx_active",
        DownstreamCxDestroy: [Counter] "downstream_cx_destroy",
        DownstreamCxLengthMs: [Histogram] "downstream_cx_length_ms",
        DownstreamCxOverflow: [Counter] "downstream_cx_overflow",
        DownstreamCxOverloadReject: [Counter] "downstream_cx_overload_reject",
        DownstreamCxTotal: [Counter] "downstream_cx_total",
        DownstreamCxTransportSocketConnectTimeout: [Counter]
            "downstream_cx_transport_socket_connect_timeout",
        DownstreamGlobalCxOverflow: [Counter] "downstream_global_cx_overflow",
        DownstreamListenerFilterError: [Counter] "downstream_listener_filter_error",
        DownstreamListenerFilterRemoteClose: [Counter] "downstream_listener_filter_remote_close",
        DownstreamPreCxActive: [Gauge] "downstream_pre_cx_active",
        DownstreamPreCxTimeout: [Counter] "downstream_pre_cx_timeout",
        MainThreadDownstreamCxActive: [Gauge] "main_thread.downstream_cx_active",
        MainThreadDownstreamCxTotal: [Counter] "main_thread.downstream_cx_total",
        NoFilterChainMatch: [Counter] "no_filter_chain_match",
    }
}

stat_set! {
    /// What `tls_inspector`s find in first bytes (`tls_inspector.`), all listeners together.
    TlsInspectorStat {
        AlpnFound: [Counter] "alpn_found",
        AlpnNotFound: [Counter] "alpn_not_found",
        BytesProcessed: [Histogram] "bytes_processed",
        ClientHelloTooLarge: [Counter] "client_hello_too_large",
        SniFound: [Counter] "sni_found",
        SniNotFound: [Counter] "sni_not_found",
        TlsFound: [Counter] "tls_found",
        TlsNotFound: [Counter] "tls_not_found",
    }
}
